"""docs/tutorial.md, run as it stands: a shop's CSV and a nightloom.toml of its own end in a list with names."""

import csv
import gzip
import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
ONLINE_RETAIL = ROOT.parent / "shared" / "data" / "online-retail" / "online-retail.csv.gz"
COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")

Line = dict[str, str]


def shop_export(file: Path) -> Path:
    """A small export of the tutorial's shape and dirt: customers of one half of the shop buy from that half."""
    draw = np.random.default_rng(5)
    with gzip.open(file, "wt", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        for invoice in range(2_000):
            customer = int(draw.integers(200))
            day, time = f"2011-{draw.integers(10, 12)}-{draw.integers(1, 29):02d}", f"{draw.integers(8, 20):02d}:30:00"
            when = f"{day} {time}"
            prefix, sign = ("C", -1) if draw.random() < 0.03 else ("", 1)
            for product in draw.choice(60, size=4, replace=False) + 60 * (customer % 2):
                number, name = f"{10_000 + product}", f"Product {product}, boxed"
                quantity = -3 if draw.random() < 0.01 else sign * int(draw.integers(1, 9))
                who = "" if draw.random() < 0.1 else f"{12_000 + customer}.0"
                writer.writerow([f"{prefix}{500_000 + invoice}", number, name, quantity, when, 1.25, who, "France"])
            writer.writerow(
                [
                    f"{prefix}{500_000 + invoice}",
                    "POST",
                    "POSTAGE",
                    sign,
                    when,
                    18.0,
                    f"{12_000 + customer}.0",
                    "France",
                ]
            )
        writer.writerow(["599999", "10001", "Product 1, boxed", 2, "2011-12-09 12:00:00", 1.25, "12001.0", "France"])
    return file


def blocks() -> Iterator[tuple[str, str]]:
    """(language, text) of each fenced block of the tutorial, in order."""
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf8")
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        yield found[1], found[2]


def follow(sales: Path, folder: Path) -> tuple[Path, str]:
    """Do what the tutorial says, from a folder that stands for the checkout -> (project folder, all printed text)."""
    checkout = folder / "checkout"
    checkout.mkdir()
    (checkout / "sales.csv.gz").symlink_to(sales)
    script = ["set -eu"]
    for language, text in blocks():
        if language == "toml":
            script.append(f"cat > nightloom.toml <<'END_OF_FILE'\n{text}END_OF_FILE")
        elif language == "sh":
            script.append(text.replace("export NIGHTLOOM=$PWD", f"export NIGHTLOOM='{ROOT}'"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NIGHTLOOM_", "AIRFLOW"))}
    done = subprocess.run(
        ["sh", "-c", "\n".join(script)],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return folder / "shop", done.stdout


def nightloom(project: Path, *words: str) -> Any:
    """A reading command's JSON."""
    done = subprocess.run(
        ["nightloom", *words, "--json"], cwd=project, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def fate(line: Line) -> str:
    """Where the tutorial's configuration sends a line, computed once more without Spark."""
    if line["InvoiceNo"].startswith("C"):
        return "cancellation"
    if not line["CustomerID"]:
        return "no_customer"
    if not re.match(r"[0-9]{5}", line["StockCode"]):
        return "not_a_product"
    return "purchase" if 1 <= int(line["Quantity"]) <= 100_000 else "impossible_value"


def check_the_shop(sales: Path, tmp_path: Path) -> None:
    with gzip.open(sales, "rt", newline="") as file:
        distinct = {tuple(line.values()): line for line in csv.DictReader(file)}
    expected = Counter(fate(line) for line in distinct.values())
    project, printed = follow(sales, tmp_path)

    quarantined = nightloom(
        project, "sql", "SELECT reason, count(*) AS n FROM quarantine.rows WHERE kind = 'events' GROUP BY reason"
    )
    assert {row["reason"]: row["n"] for row in quarantined} == {
        reason: expected[reason] for reason in ("cancellation", "impossible_value") if expected[reason]
    }
    kept = nightloom(project, "sql", "SELECT count(*) AS n, count(DISTINCT user_id) AS users FROM silver.interactions")[
        0
    ]
    assert kept["n"] == expected["purchase"]
    served = nightloom(project, "sql", "SELECT count(*) AS n FROM gold.recommendations")[0]
    assert served["n"] == kept["users"]
    names = {line["Description"].strip() for line in distinct.values()}
    assert any(name and name in printed for name in names), "lists come out with names"


def test_the_tutorial_ends_in_a_published_list_with_names(tmp_path: Path) -> None:
    check_the_shop(shop_export(tmp_path / "export.csv.gz"), tmp_path)


@pytest.mark.slow
def test_the_tutorial_works_on_online_retail(tmp_path: Path) -> None:
    if not ONLINE_RETAIL.exists():
        pytest.skip("the Online Retail set is not on this machine (../shared/data)")
    check_the_shop(ONLINE_RETAIL, tmp_path)
