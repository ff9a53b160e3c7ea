"""One night on nothing but hostile texts in a folder with a hostile name, then every page, route and command on it."""

import json
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from nightloom.contracts import ITEMS as ITEM_TABLE
from nightloom.contracts import QUARANTINE_ROWS, RECOMMENDATIONS
from nightloom.contracts import USERS as USER_TABLE
from nightloom.night import stages
from nightloom.places import folder_of
from tests import hostile
from tests.first_night import Project
from tests.hostile import COUNTRY, IDS, ITEMS, MARK, NIGHT, TEXTS, USERS
from tests.serving.conftest import Client

pytestmark = pytest.mark.filterwarnings("ignore")  # what MLflow and SQLAlchemy say of themselves


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = hostile.project(tmp_path_factory.mktemp("night"))
    done = made.nightloom("night", "--date", str(NIGHT))
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def client(project: Project) -> Client:
    return Client(project.settings)


@pytest.fixture(scope="module")
def titles(project: Project) -> dict[str, str]:
    return {row["item_id"]: row["title"] for row in project.lake.rows(ITEM_TABLE).to_pylist()}


def escaped(text: str) -> str:
    return quote(text, safe="")


def test_no_text_is_lost_or_changed_on_its_way_to_the_lists(project: Project, titles: dict[str, str]) -> None:
    bad = project.lake.rows(QUARANTINE_ROWS).to_pylist()
    assert {row["reason"] for row in bad} == {"unreadable"}
    assert all("\\u0000" in row["raw"] for row in bad)
    assert {row["kind"] for row in bad} == {"events", "items", "users"}
    ids = {text for text in TEXTS if text not in IDS}
    assert titles == {item: hostile.title(n).strip(" ") for n, item in enumerate(ITEMS) if item not in ids}
    people = {row["user_id"]: dict(row["attributes"]) for row in project.lake.rows(USER_TABLE).to_pylist()}
    described = {user: {hostile.OF_USERS: TEXTS[n % 5], "country": COUNTRY} for n, user in enumerate(USERS)}
    assert people == {user: attributes for user, attributes in described.items() if user not in ids}
    lists = project.lake.rows(RECOMMENDATIONS, columns=["user_id", "items"]).to_pylist()
    assert {row["user_id"] for row in lists} == set(USERS) - ids
    assert {item for row in lists for item in row["items"]} <= set(ITEMS) - ids


def test_each_user_and_item_is_found_by_the_api_under_its_own_name(
    client: Client, project: Project, titles: dict[str, str]
) -> None:
    lists = {row["user_id"]: row["items"] for row in project.lake.rows(RECOMMENDATIONS).to_pylist()}
    for text in IDS:
        answer = client.get(f"/v1/users/{escaped(text)}/recommendations").json()
        assert (answer["user"], answer["source"]) == (text, "personal")
        assert [item["item_id"] for item in answer["items"]] == lists[text][:6]
        assert all(item["title"] == titles[item["item_id"]] for item in answer["items"])
        assert client.get(f"/v1/items/{escaped(text)}").json()["title"] == titles[text]
        assert client.get(f"/v1/items/{escaped(text)}/similar").json()["item"] == text
        left = client.get(f"/v1/users/u1/recommendations?exclude={escaped(text)}").json()["items"]
        assert "," in text or text not in [item["item_id"] for item in left]
    for text in TEXTS[:5]:
        segment = f"{hostile.OF_USERS}={text}"
        assert client.get(f"/v1/popular?segment={escaped(segment)}").json()["segment"] == segment
        stranger = client.get(f"/v1/users/nobody/recommendations?segment={escaped(segment)}").json()
        assert stranger["source"] == "segment"


class Tags(HTMLParser):
    """The elements of a page, and their attributes of events."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.handlers: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts.append(data)


def assert_harmless(page: str) -> None:
    assert MARK not in page
    assert "<script>alert(1)" not in page
    assert not [name for name in Tags(page).handlers if name == "onerror"]


def test_each_page_shows_texts_as_texts(client: Client, project: Project) -> None:
    for text in TEXTS:
        page = client.get(f"/console/users?id={escaped(text)}")
        assert page.status_code == 200
        assert ("This user has no list" in page.text) == (text not in IDS), repr(text)
        assert_harmless(page.text)
        for path in (f"/console/reports/{escaped(text)}", f"/console/data-docs/{escaped(text)}", f"/{escaped(text)}"):
            answer = client.get(path)
            assert answer.status_code == 404
            if answer.headers["content-type"] != "application/json":
                assert_harmless(answer.text)
    for path in ("/console", "/console/data", f"/console/reports/{NIGHT}"):
        assert_harmless(client.get(path).text)
    written = list(folder_of(project.settings.place("home")).rglob("*.html"))
    assert len(written) > 20
    for file in written:
        assert_harmless(file.read_text(encoding="utf8"))


def test_a_recommendation_of_a_hostile_item_to_a_hostile_user_is_explained(client: Client) -> None:
    for user in (TEXTS[0], MARK):
        item = client.get(f"/v1/users/{escaped(user)}/recommendations").json()["items"][0]["item_id"]
        why = client.get(f"/v1/users/{escaped(user)}/explain?item={escaped(item)}").json()
        assert (why["user"], why["item_id"], why["rank"]) == (user, item, 1)
        assert why["causes"]
        page = client.get(f"/console/explain?user={escaped(user)}&item={escaped(item)}")
        assert page.status_code == 200
        assert_harmless(page.text)


COMMANDS = """
import contextlib, io, json, sys
from nightloom.cli import main

for line in sys.stdin:
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["nightloom", *json.loads(line)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""
"""A process that runs many commands, each as `nightloom WORD ...` does."""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(project: Project) -> Iterator[Run]:
    """Runs a command -> exit code, stdout, stderr."""
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS], cwd=project.root, env=project.environment | {"PYTHONWARNINGS": "ignore"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        stdin, stdout = process.stdin, process.stdout
        assert stdin
        assert stdout

        def call(*words: str) -> tuple[int, str, str]:
            print(json.dumps(words), file=stdin, flush=True)
            code, out, err = json.loads(stdout.readline())
            return code, out, err

        yield call
        stdin.close()


def output(done: tuple[int, str, str]) -> str:
    assert done[0] == 0, done
    return done[1]


def test_each_reading_command_takes_and_shows_hostile_texts(run: Run) -> None:
    for text in IDS:
        assert json.loads(output(run("recommend", "--json", "--", text)))["source"] == "personal"
        assert output(run("recommend", "--", text))
    for text in (TEXTS[0], TEXTS[10], MARK):
        first = json.loads(output(run("recommend", "--json", "--", text)))["items"][0]
        assert first["title"] in output(run("explain", "--item", first["item_id"], "--", text))
        assert first["title"] in output(run("slate", "preview", "--", text))
    shown = output(run("sql", "SELECT item_id, title FROM silver.items ORDER BY 1"))
    assert all(text in shown for text in ("[bold]", MARK, ":k ?", "it's"))
    counted = run("sql", f"SELECT count(*) AS n FROM silver.items WHERE item_id = {hostile.sql(TEXTS[3])}", "--csv")
    assert output(counted) == "n\n1\n"
    assert output(run("tables", "gold.hostile_users")).startswith(f"gold.hostile_users: {TEXTS[0]}")
    for words in ("status", "quality", "quarantine list", "publish list", "model history", "tables", "store size"):
        assert output(run(*words.split()))


ARGUMENTS = [TEXTS[n].replace("\0", "") for n in (3, 5, 6, 7, 8, 9, 10, 12, 26, 27)]
"""Texts of each sort; no argument can hold a NUL."""


def wrong_words(text: str, *, slow: bool) -> Iterator[list[str]]:
    """Commands with an argument that means nothing."""
    yield from (
        ["explain", "--item", "i0", "--", f"no {text}"],
        ["tables", "--", text],
        ["publish", "pin", "--", text, "why"],
        ["recommend", "u1", f"--k=no {text}"],
        ["quality", "--", text],
        ["quarantine", "discard", "--why", text, "--reason", text],
        ["quarantine", "replay", "--source", text, "--row", text, "--raw", text],
        ["quarantine", "replay", "--from", f"no {text}"],
        ["quarantine", "show", "--night", text],
        ["night", "--date", text],
        ["backfill", "--from", text, "--to", text],
        ["sample", f"no {text}"],
        ["sql", "SELECT 1", "--as-of", text],
        ["serve", "--port", f"no {text}"],
        [f"no {text}"],
    )
    if slow:
        yield from (
            ["explain", "--item", f"no {text}", "--", "u1"],
            ["slate", "preview", "--", f"no {text}"],
            ["model", "promote", "--by", text, "--why", text, "--", text],
        )


def test_an_argument_that_means_nothing_is_an_error_of_one_line(run: Run) -> None:
    for number, text in enumerate(ARGUMENTS):
        for words in wrong_words(text, slow=number % 4 == 2):
            code, _, err = run(*words)
            assert code in (1, 2), (words, code)
            assert len(err.splitlines()) == 1, (words, err)
            assert err.strip().isprintable(), (words, err)
        assert run("sql", "--", text)[0] == 1  # what DuckDB says has a line that points at the place


def test_a_busy_port_is_a_failure_and_no_closed_gate(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        code, _, err = run("serve", "--port", str(busy.getsockname()[1]))
    assert code == 1
    assert "Address already in use; choose others with --host and --port" in err


def test_a_stage_that_can_write_no_file_says_so_in_one_line_and_loses_nothing(project: Project) -> None:
    command = [sys.executable, "-m", stages.REPORT.name, "--date", str(NIGHT)]
    environment = project.environment | {"PYTHONDONTWRITEBYTECODE": "1", "NIGHTLOOM_REVISION": "r"}

    def stage(*limit: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=project.root, env=environment,
            capture_output=True, text=True, check=False,
            preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit[0], limit[0]))) if limit else None,
        )  # fmt: skip

    before = project.content()
    done = stage(1000)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(stages.REPORT.name)]
    assert re.match(r"serving.report: a file may not grow: .*; mend that and run it again, nothing is lost$", line)
    assert "Traceback" not in done.stderr
    assert stage().returncode == 0
    assert project.content() == before


def test_files_lie_where_the_settings_say(project: Project) -> None:
    assert sorted(path.name for path in project.root.iterdir()) == ["data", "landing", "nightloom.toml"]
    log = next((project.root / "data" / "airflow" / "logs").glob("nightly-*.log"))
    assert re.search(r"python -m nightloom.stage spark_jobs.bronze --date 2024-03-28", log.read_text(encoding="utf8"))
