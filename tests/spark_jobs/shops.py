"""Small files with the layouts of three public sets, and the real ones where they are."""

from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from nightloom.samples.command import cache_folder

DATA = Path(__file__).parents[3] / "shared" / "data"
ONLINE_RETAIL = [DATA / "online-retail" / "online-retail.csv.gz"]
MOVIETWEETINGS = [DATA / "movietweetings-100k" / name for name in ("ratings.dat.gz", "movies.dat.gz")]
USERS, ITEMS, DAY = 40, 30, 86_400
START = 1_357_000_000


def online_retail(folder: Path) -> list[Path]:
    """Invoices with times of a local clock, customers such as 12001.0, lines without one, and cancelled ones."""
    draw = np.random.default_rng(3)
    lines = ["InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"]
    for invoice in range(200):
        who = "" if draw.random() < 0.3 else f"{12_000 + draw.integers(USERS)}.0"
        cancelled = draw.random() < 0.05
        at = f"2011-{1 + invoice // 20:02d}-{1 + invoice % 20:02d} {draw.integers(8, 20):02d}:30:00"
        for item in draw.choice(ITEMS, size=4, replace=False):
            count = -1 if cancelled else draw.integers(1, 9)
            number = f"{'C' if cancelled else ''}{500_000 + invoice}"
            lines.append(f'{number},{20_000 + item}A,"LAMP, {item} WATT",{count},{at},2.55,{who},France')
    return [_write(folder / "online-retail.csv", lines)]


def movietweetings(folder: Path) -> list[Path]:
    """Two colons, no header; items have more digits than users."""
    draw = np.random.default_rng(4)
    ratings = [
        f"{user + 1}::{item + 1:07d}::{draw.integers(1, 11)}::{START + int(draw.integers(90 * DAY))}"
        for user in range(USERS)
        for item in draw.choice(ITEMS, size=12, replace=False)
    ]
    movies = [
        f"{item + 1:07d}::Le Château {item} ({1950 + item})::{('Drama', 'Drama|War')[item % 2]}"
        for item in range(ITEMS)
    ]
    return [_write(folder / "ratings.dat", ratings), _write(folder / "movies.dat", movies)]


def movielens_100k(folder: Path) -> list[Path]:
    """RecBole's three files: tabs, and a header with types."""
    draw = np.random.default_rng(5)
    ratings = [
        f"{user + 1}\t{item + 1}\t{draw.integers(1, 6)}\t{START + int(draw.integers(90 * DAY))}"
        for user in range(USERS)
        for item in draw.choice(ITEMS, size=12, replace=False)
    ]
    genres = ("Comedy", "Action Thriller", "Drama War")
    items = [f"{item + 1}\tThe Lamp {item}\t{1950 + item}\t{genres[item % 3]}" for item in range(ITEMS)]
    jobs = ("none", "writer", "doctor")
    users = [f"{user + 1}\t{20 + user}\t{'MF'[user % 2]}\t{jobs[user % 3]}\t{10_000 + user}" for user in range(USERS)]
    heads = (
        "user_id:token\titem_id:token\trating:float\ttimestamp:float",
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
    )
    parts = zip(("inter", "item", "user"), heads, (ratings, items, users), strict=True)
    return [_write(folder / f"ml-100k.{ending}", [head, *rows]) for ending, head, rows in parts]


def real_movielens_100k(folder: Path) -> list[Path]:
    """The files of the wheel that `nightloom sample ml-100k` has fetched; none where it has not."""
    wheel = next(cache_folder().glob("recbole-*.whl"), None)
    if wheel is None:
        return []
    names = [f"ml-100k.{ending}" for ending in ("inter", "item", "user")]
    for name in names:
        (folder / name).write_bytes(ZipFile(wheel).read(f"recbole/dataset_example/ml-100k/{name}"))
    return [folder / name for name in names]


def _write(file: Path, lines: Iterable[str]) -> Path:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf8")
    return file
