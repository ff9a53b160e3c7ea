"""nightloom.toml read for real: values and defaults, and errors that name the line and the nearest key."""

import json
import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from nightloom import settings as settings_module
from nightloom.errors import SettingsError
from nightloom.settings import CONFIG_VARIABLE, Settings, line_of, load
from nightloom.settings.expressions import expression_problem
from tests.hostile import TEXTS

SAMPLE = Path(__file__).parents[2] / "nightloom.toml"
SMALL = """\
[project]
name = "shop"

[[sources]]
name = "clicks"
kind = "events"
path = "landing"
format = "json"
fields = { u = "string", i = "string", t = "timestamp" }

[sources.columns]
user_id = "u"
item_id = "i"
event = "'click'"
occurred_at = "t"

[[signals]]
event = "click"

[[models]]
name = "popularity"
"""
Change = Callable[[str, str], Settings]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("NIGHTLOOM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def change(tmp_path: Path) -> Change:
    """Load SMALL after one replacement in it; an empty text to find means: add at the end."""

    def loaded(find: str, put: str) -> Settings:
        assert find in SMALL
        file = tmp_path / "nightloom.toml"
        file.write_text(SMALL.replace(find, put, 1) if find else SMALL + put)
        return load(file)

    return loaded


def test_the_sample_is_valid_and_says_what_it_says() -> None:
    settings = load(SAMPLE)
    assert [source.kind for source in settings.sources] == ["events", "items", "users"]
    assert settings.signals[0].valid == (1, 5)
    assert settings.slate.stored == 30


def test_what_a_small_file_does_not_say_has_a_default_and_places_lie_beside_the_file(
    change: Change, tmp_path: Path
) -> None:
    settings = change("", "")
    assert settings.place("lake") == tmp_path / "data" / "lake"
    assert settings.place("docs") == tmp_path / "data" / "data-docs"
    assert settings.tracking_uri == f"sqlite:///{tmp_path / 'data' / 'mlflow.db'}"
    assert settings.clock_ahead == timedelta(hours=1)


def test_a_place_that_is_named_wins_over_home(change: Change, tmp_path: Path) -> None:
    settings = change("[[signals]]", '[places]\nhome = "/h"\nlake = "pond"\n\n[[signals]]')
    assert settings.place("lake") == tmp_path / "pond"
    assert settings.place("store") == Path("/h/store")


def test_a_variable_moves_a_place(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLOOM_PLACES__HOME", "/elsewhere")
    assert change("", "").place("lake") == Path("/elsewhere/lake")


def test_the_address_of_a_store_with_a_password_comes_from_a_variable_and_never_from_the_file(
    change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "redis://app:secret@cache:6379/0"
    with pytest.raises(SettingsError, match=r"store.kind is 'redis', a server: NIGHTLOOM_PLACES__STORE_URL says where"):
        change("", '[store]\nkind = "redis"\n')
    with pytest.raises(SettingsError, match=r"places.store_url holds a password; set NIGHTLOOM_PLACES__STORE_URL"):
        change("", f'[places]\nstore_url = "{address}"\n[store]\nkind = "redis"\n')
    monkeypatch.setenv("NIGHTLOOM_PLACES__STORE_URL", address)
    settings = change("", '[store]\nkind = "redis"\n')
    assert settings.places.store_url == address
    with pytest.raises(SettingsError, match=r"store.kind is 'lmdb', a folder: places.store says where, not store_url"):
        change("", "")


def test_a_canary_needs_somebody_who_watches_it(change: Change) -> None:
    with pytest.raises(SettingsError, match="share is more than 0, so it needs check"):
        change("", "[store.canary]\nshare = 0.1\n")


@pytest.mark.parametrize(
    ("find", "put", "said"),
    [
        ('name = "shop"', 'nmae = "shop"', r"line 2: project\.nmae: unknown key; .*Did you mean 'name'\?"),
        ("", "[slate]\nk = 10\nstroed = 30\n", r"line 24: slate\.stroed: unknown key; .*Did you mean 'stored'\?"),
        (
            "",
            "[gates.data]\nmax_quarantine = 0.1\n",
            r"gates\.data\.max_quarantine: .*Did you mean 'max_quarantined'\?",
        ),
        ("[[signals]]", "[[signal]]", r"line 17: signal: unknown key; .*Did you mean 'signals'\?"),
        ('format = "json"', 'format = "jsno"', r"line 8: sources\.0\.format: .*'csv', 'parquet' or 'kafka'"),
        ("event = \"'click'\"", "evnt = \"'click'\"", r"columns has 'evnt'; events have .*Did you mean 'event'\?"),
        ('user_id = "u"\n', "", r"columns lacks user_id; a source of events must say how it is made"),
        ('path = "landing"\n', "", r"line 4: sources\.0: format is 'json', so it needs path"),
        (
            'format = "json"',
            'format = "json"\ntopic = "t"',
            r"format is 'json', which has no topic; it has encoding, path",
        ),
        ('format = "json"', 'format = "json"\nheader = false', r"format is 'json', which has no header"),
        (
            'format = "json"',
            'format = "json"\nencoding = "utf-88"',
            r"'utf-88' is not the encoding of a text. Did you",
        ),
        ('format = "json"', 'format = "kafka"\ntopic = "t"', r"format is 'kafka', so it needs servers"),
        (
            'format = "json"',
            'format = "kafka"\nservers = "h:1"\ntopic = "t"',
            r"format is 'kafka', which has no path; it has servers, topic",
        ),
        ("", "[slate]\nk = 10\nstored = 5\n", r"line 22: slate: stored is 5, less than k = 10"),
        ("", "[store]\nkeep = 1\n", r"line 23: store\.keep: .*greater than or equal to 2"),
        ("", '[[models]]\nname = "popularity"\n', r"models has popularity more than once"),
        ('name = "shop"', 'name = "The Shop"', r"line 2: project\.name: "),
        ('name = "shop"', "name = shop", r"not valid TOML: .*line 2"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_the_nearest_key(find: str, put: str, said: str, change: Change) -> None:
    with pytest.raises(SettingsError) as error:
        change(find, put)
    assert re.search(said, str(error.value)), str(error.value)


RULE = """[slate]
k = 5
stored = 10
[[slate.PLURAL]]
name = "r"
"""


@pytest.mark.parametrize(
    ("find", "put", "said"),
    [
        (
            't = "timestamp"',
            't = "timestmp"',
            r"line 9: sources\.0\.fields\.t: 'timestmp' is no type .*mean 'timestamp'\?",
        ),
        ('t = "timestamp"', 't = "array<strng>"', r"'strng' is no type of Spark SQL"),
        ('t = "timestamp"', 't = "map<string>"', r"'map<string>' is no type of Spark SQL"),
        ('i = "string"', 'i = "string", U = "string"', r"'U' and 'u' differ by case alone"),
        (
            'item_id = "i"',
            'item_id = "upper(i"',
            r"line 13: sources\.0\.columns\.item_id: is no SQL: upper\(i: Expecting \)",
        ),
        ('item_id = "i"', "item_id = \"'it's'\"", r"item_id: is no SQL: .* without its end"),
        ('item_id = "i"', 'item_id = "j"', r"item_id: names the field 'j'; the fields are i, t, u"),
        ('item_id = "i"', 'item_id = ""', r"item_id: is no SQL: an empty text"),
        ("\"'click'\"", "\"'clik'\"", r"every event is 'clik', which no signal declares; .*Did you mean 'click'\?"),
        ("[sources.columns]", "attributes = { a = 'u' }\n[sources.columns]", r"line 11: .*events have no attributes"),
        ('kind = "events"', 'kind = "event"', r"line 6: sources\.0\.kind: .*found 'event'. Did you mean 'events'\?"),
        ('event = "click"', 'event = "click"\nvalid = [5, 1]', r"line 17: signals\.0: valid is \[5, 1\]; the lowest"),
        (
            'event = "click"',
            'event = "click"\nvalid = [1, 5]',
            r"line 19: signals\.0\.valid: no source .* gives the column",
        ),
        (
            'event = "click"',
            'event = "click"\nvalid = [1, 5]\nmin_value = 6',
            r"min_value is 6, above the highest valid",
        ),
        ('event = "click"', 'event = "click"\nweight = 0', r"line 17: signals: every weight is 0"),
        ('event = "click"', 'event = "click"\nweight = inf', r"line 19: signals\.0\.weight: .*finite number"),
        ('event = "click"', 'event = ""', r"line 18: signals\.0\.event: .*at least 1 character"),
        ('"popularity"', '"popularty"', r"line 21: models\.0\.name: no model is called .*Did you mean 'popularity'\?"),
        (
            '"popularity"',
            '"als"\nparams = { factor = 8 }',
            r"line 22: models\.0\.params\.factor: unknown .*'factors'\?",
        ),
        ('"popularity"', '"als"\nparams = { factors = "many" }', r"line 22: .*factors: .*valid integer"),
        (
            '"popularity"',
            '"als"\nsearch = { factors = { low = 0, high = 2 } }',
            r"line 22: models\.0\.search\.factors: ",
        ),
        (
            '"popularity"',
            '"blend"\nparams = { members = "als, blend" }',
            r"line 22: .*members: no member can be 'blend'",
        ),
        ("", '[places]\nspark = "wram"\n', r"places\.spark: found 'wram', expected .*Did you mean 'warm'\?"),
        ("", '[places]\nlake = "a[1]"\n', r"line 23: places\.lake: the path .*a\[1\]' holds '\[', '\]', which Delta"),
        (
            "",
            '[places]\nmlflow = "sqlit:///m.db"\n',
            r"places\.mlflow: .* with sqlit://. Did you mean 'sqlite'",
        ),
        (
            'path = "landing"\nformat = "json"',
            'format = "kafka"\nservers = "broker"\ntopic = "t"',
            r"line 8: .*servers: ",
        ),
        ('path = "landing"\nformat = "json"', 'format = "kafka"\nservers = "b:1"\ntopic = "a b"', r"line 9: .*topic: "),
        ("", '[places]\nlake = "50%20"\n', r"line 23: places\.lake: the path .* holds % and two hexadecimal"),
        ("", "[training]\nseed = -1\n", r"line 23: training\.seed: "),
        ("", '[training]\nhosts = ["a:2"]\nranks = 3\n', r"line 22: training: ranks is 3, and hosts have 2"),
        ("", "[late]\nwindow_days = 99999999999\n", r"line 23: late\.window_days: "),
        ("", RULE.replace("PLURAL", "floors") + 'at_least = 1\nwhen = "evnts > 1"\n', r"line 28: .*when: .*evnts"),
        ("", RULE.replace("PLURAL", "floors") + 'at_least = 1\nwhen = "true) a, (true"\n', r"expected a condition"),
        (
            "",
            RULE.replace("PLURAL", "pins") + 'item = "a"\nplace = 1\nfirst_day = 2024-03-02\nlast_day = 2024-03-01\n',
            r"line 25: slate\.pins\.0: last_day is 2024-03-01, before first_day = 2024-03-02",
        ),
    ],
)
def test_what_would_fail_in_a_later_night_is_told_at_load(find: str, put: str, said: str, change: Change) -> None:
    with pytest.raises(SettingsError) as error:
        change(find, put)
    assert re.search(said, str(error.value)), str(error.value)


@pytest.mark.parametrize(
    "sql", ["values", "4 >>> 1", "transform(xs, x -> x + i)", "i <=> u", "dateadd(DAY, 1, t)", "`i`"]
)
def test_what_spark_understands_is_no_mistake(sql: str) -> None:
    assert expression_problem(sql, ["u", "i", "t", "values", "xs"]) is None


def test_a_byte_order_mark_is_fine_and_other_bytes_than_utf8_have_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "nightloom.toml"
    file.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert load(file).project.name == "shop"
    file.write_bytes(SMALL.replace("'click'", "'clich\u00e9'").encode("latin1"))
    with pytest.raises(
        SettingsError, match=r"^nightloom.toml, line 14, column 16: found the byte 0xE9, which is not UTF-8"
    ):
        load(file)


@pytest.mark.parametrize("text", TEXTS[::3])
def test_any_text_in_any_place_is_a_name_or_a_mistake_of_one_line(text: str, change: Change) -> None:
    name = json.dumps(text, ensure_ascii=False)
    places = (
        f"[places]\nspark = {name}\n", f"[places]\nlake = {name}\n", f"[slate]\nsegments = [{name}]\n",
        f"[slate]\n{name} = 1\n", f"[[models]]\nname = {name}\n", f"[gates.model]\nmetric = {name}\n",
        f'[[slate.floors]]\nname = "f"\nat_least = 1\nwhen = {name}\n', f"[training]\nhosts = [{name}]\n",
        f'[[slate.pins]]\nname = "p"\nitem = {name}\nplace = 1\nusers = {{ {name} = {name} }}\n',
    )  # fmt: skip
    field = 't = "timestamp"'
    said = []
    for find, put in [("", place) for place in places] + [("\"'click'\"", name), (field, f"{field}, {name} = {name}")]:
        try:
            change(find, put)
        except SettingsError as error:
            said += str(error).split("\n")
    assert all(line.startswith("nightloom.toml") and line.isprintable() for line in said)
    assert len(said) > len(places) / 2


def test_a_variable_that_is_wrong_is_told_by_its_name(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLOOM_SLATE__K", "many")
    with pytest.raises(SettingsError, match=r"^variable NIGHTLOOM_SLATE__K: slate.k: "):
        change("", "")
    monkeypatch.setenv("NIGHTLOOM_SLATE", "{")
    with pytest.raises(SettingsError, match=r"NIGHTLOOM_.*slate.*expected JSON"):
        change("", "")
    monkeypatch.delenv("NIGHTLOOM_SLATE")
    monkeypatch.setenv("NIGHTLOOM_PLACE__HOME", "/h")
    with pytest.raises(
        SettingsError, match=r"NIGHTLOOM_PLACE__HOME: no section is called 'place'. Did you mean 'places'\?"
    ):
        change("", "")


def test_the_line_is_of_the_section_that_is_wrong_where_several_have_the_key(change: Change) -> None:
    second = '\n[[sources]]\nname = "goods"\nkind = "item"\npath = "x"\nformat = "csv"\nfields = {}\ncolumns = {}\n'
    with pytest.raises(SettingsError, match=r"line 25: sources\.1\.kind: .*'events', 'items' or 'users'"):
        change("", second)


def test_all_mistakes_are_told_at_once(change: Change) -> None:
    with pytest.raises(SettingsError) as error:
        change("", "[slate]\nk = 0\n[store]\nkeeep = 3\n")
    assert len(str(error.value).splitlines()) == 2


def test_a_file_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"is not there; .*{CONFIG_VARIABLE}"):
        load(tmp_path / "nightloom.toml")


def test_the_file_in_force_is_the_variables_else_the_working_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings_module.config_file() == tmp_path / "nightloom.toml"
    monkeypatch.setenv(CONFIG_VARIABLE, "/etc/nightloom.toml")
    assert settings_module.config_file() == Path("/etc/nightloom.toml")


def test_the_digest_changes_with_a_setting_and_not_with_a_place(change: Change) -> None:
    plain = change("", "").digest
    assert re.fullmatch("[0-9a-f]{12}", plain)
    assert change("", '[places]\nhome = "/elsewhere"\n').digest == plain
    assert change("", "[slate]\nk = 7\n").digest != plain


MART = """
[[marts]]
name = "busy"
grain = "One row per day."
key = ["day"]
period = "day"
columns = { day = "date", events = { type = "bigint", comment = "How many" } }
sql = '''
SELECT to_date(occurred_at) AS day, count(*) AS events FROM silver.interactions GROUP BY 1'''
"""


def test_a_mart_is_a_section_and_its_columns_may_be_a_type_alone(tmp_path: Path) -> None:
    (tmp_path / "nightloom.toml").write_text(SMALL + MART)
    settings = load(tmp_path / "nightloom.toml")
    (mart,) = settings.marts
    assert {name: (column.type, column.comment) for name, column in mart.columns.items()} == {
        "day": ("date", None), "events": ("bigint", "How many"),
    }  # fmt: skip
    assert (SMALL + MART).splitlines()[line_of(settings, "marts", 0, "sql") - 1] == "sql = '''"


@pytest.mark.parametrize(
    ("find", "put", "said"),
    [
        ('"bigint"', '"bigin"', r"line 28: marts.0.columns.events: type 'bigin' is not known; .*mean 'bigint'\?"),
        (
            'key = ["day"]',
            'key = ["dya"]',
            r"line 23: marts.0: key has 'dya'; columns are day, events. Did you mean 'day'",
        ),
        ('day = "date"', 'day = "string"', r"period is 'day': columns needs day = \"date\", and key holds it too"),
        ('"day"\ncolumns', '"night"\ncolumns', None),
        (
            "FROM silver.interactions",
            "FROM silver.interaction",
            r"silver.interaction, .* 'silver.interactions'",
        ),
        ("SELECT to_date", "SELECT to_date(", r"line 29: marts\.0\.sql: is no SQL: "),
        ("GROUP BY 1", "WHERE night = :night GROUP BY 1", r"has :night, and only :k, :stored have a value"),
        ('name = "busy"', 'name = "popular"', r"gold.popular is Nightloom's own table; take another name"),
        ("events = {", '"Events a day" = {', r"columns has 'Events a day'; a name is a-z, 0-9 and _"),
        ("comment =", "coment =", r"unknown key; known here are comment, personal, type. Did you mean 'comment'\?"),
        ("grain =", "grian =", r"known here are columns, grain, key, name, period, sql. Did you mean 'grain'\?"),
    ],
)
def test_a_mart_that_does_not_fit_is_told_with_its_line(find: str, put: str, said: str | None, tmp_path: Path) -> None:
    assert find in MART
    file = tmp_path / "nightloom.toml"
    file.write_text(SMALL + MART.replace(find, put, 1))
    if said is None:
        load(file)
        return
    with pytest.raises(SettingsError, match=said):
        load(file)
