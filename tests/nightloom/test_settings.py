"""nightloom.toml read for real: values and defaults, and errors (those of a key: test_settings_errors.py)."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from nightloom import settings as settings_module
from nightloom.errors import SettingsError
from nightloom.settings import CONFIG_VARIABLE, line_of, load
from nightloom.settings.expressions import expression_problem
from tests.hostile import TEXTS
from tests.nightloom.conftest import MART, SMALL, Change

pytestmark = pytest.mark.usefixtures("no_variables")

SAMPLE = Path(__file__).parents[2] / "nightloom.toml"


def test_the_sample_is_valid_and_has_its_values() -> None:
    settings = load(SAMPLE)
    assert [source.kind for source in settings.sources] == ["events", "items", "users"]
    assert settings.signals[0].valid == (1, 5)
    assert settings.slate.stored == 30


def test_a_missing_key_has_a_default_and_places_are_in_the_folder_of_the_file(change: Change, tmp_path: Path) -> None:
    settings = change("", "")
    assert settings.place("lake") == tmp_path / "data" / "lake"
    assert settings.place("docs") == tmp_path / "data" / "data-docs"
    assert settings.tracking_uri == f"sqlite:///{tmp_path / 'data' / 'mlflow.db'}"
    assert settings.clock_ahead == timedelta(hours=1)


def test_a_place_that_is_named_wins_over_home(change: Change, tmp_path: Path) -> None:
    settings = change("[[signals]]", '[places]\nhome = "/h"\nlake = "pond"\n\n[[signals]]')
    assert settings.place("lake") == tmp_path / "pond"
    assert settings.place("store") == Path("/h/store")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqlite:///mlflow.db", "sqlite:///{root}/mlflow.db"),
        ("sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
        ("http://mlflow:5000", "http://mlflow:5000"),
    ],
)
def test_mlflows_file_is_in_the_folder_of_the_configuration_wherever_a_stage_runs(
    change: Change, tmp_path: Path, given: str, expected: str
) -> None:
    settings = change("[[signals]]", f'[places]\nmlflow = "{given}"\n\n[[signals]]')
    assert settings.tracking_uri == expected.format(root=tmp_path)


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
    "sql", ["values", "4 >>> 1", "transform(xs, x -> x + i)", "i <=> u", "dateadd(DAY, 1, t)", "`i`"]
)
def test_an_expression_that_spark_understands_is_no_mistake(sql: str) -> None:
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
    lines: list[str] = []
    for find, put in [("", place) for place in places] + [("\"'click'\"", name), (field, f"{field}, {name} = {name}")]:
        try:
            change(find, put)
        except SettingsError as error:
            lines += str(error).split("\n")
    assert all(line.startswith("nightloom.toml") and line.isprintable() for line in lines)
    assert len(lines) > len(places) / 2


def test_a_wrong_variable_is_reported_by_its_name(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_all_mistakes_are_reported_at_once(change: Change) -> None:
    with pytest.raises(SettingsError) as error:
        change("", "[slate]\nk = 0\n[store]\nkeeep = 3\n")
    assert len(str(error.value).splitlines()) == 2


def test_a_missing_file_is_reported_with_what_to_do(tmp_path: Path) -> None:
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


def test_a_mart_is_a_section_and_a_column_may_be_a_type_alone(change: Change) -> None:
    settings = change("", MART)
    (mart,) = settings.marts
    assert {name: (column.type, column.comment) for name, column in mart.columns.items()} == {
        "day": ("date", None), "events": ("bigint", "How many"),
    }  # fmt: skip
    assert (SMALL + MART).splitlines()[line_of(settings, "marts", 0, "sql") - 1] == "sql = '''"
    assert change("", MART.replace('period = "day"', 'period = "night"')).marts[0].period == "night"
