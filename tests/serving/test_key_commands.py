"""`nightloom keys` and what `nightloom serve` does without one."""

from __future__ import annotations

import json
import socket
import stat
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from nightloom import settings as settings_module
from nightloom.errors import ConcurrentRunError, SettingsError
from nightloom.lake import now
from nightloom.places import lock
from serving import listeners
from serving.access.key_commands import keys
from serving.access.keys import AccessError, Scope, make_key, read_keys, rotate_key
from serving.access.limits import Limits
from serving.listeners import ServeError

if TYPE_CHECKING:
    from tests.serving.conftest import Project


@pytest.fixture(autouse=True)
def configured(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLOOM_CONFIG", str(project.root / "nightloom.toml"))


def run(*words: str) -> Result:
    return CliRunner().invoke(keys, words, catch_exceptions=False)


def create(*words: str) -> str:
    return run("create", *words).stdout.strip()


def test_a_key_is_shown_once_and_stored_as_a_digest(project: Project) -> None:
    done = run("create", "shop", "--scope", "read", "--scope", "events", "--expires", "90d")
    text = done.stdout.strip()
    assert done.stderr.startswith("The key of shop (events, read), until ")
    file = project.root / "data" / "access" / "keys.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = text.split("_", 2)[2]
    assert len(secret) >= 43
    assert secret not in file.read_text(encoding="utf8")
    assert secret not in run("list").output + run("list", "--json").output
    (listed,) = json.loads(run("list", "--json").stdout)
    assert (listed["name"], listed["scopes"], listed["state"]) == ("shop", ["events", "read"], "active")
    found = read_keys(file.parent).verify(text, now())
    assert found is not None
    assert found.expires_at is not None
    assert timedelta(days=89) < found.expires_at - now() < timedelta(days=91)


def test_a_name_is_taken_while_its_key_is_active() -> None:
    create("shop", "--scope", "read")
    with pytest.raises(AccessError, match="a key called 'shop' is active; rotate or revoke it"):
        run("create", "shop", "--scope", "read")
    assert run("revoke", "shop").stdout.startswith("Revoked: shop (")
    create("shop", "--scope", "read")
    with pytest.raises(AccessError, match="no active key is called 'web'; active are 'shop'"):
        run("revoke", "web")


def test_one_key_of_a_name_is_revoked_by_its_id() -> None:
    first = create("shop", "--scope", "read")
    second = run("rotate", "shop").stdout.strip()
    run("revoke", first.split("_")[1])
    states = {each["id"]: each["state"] for each in json.loads(run("list", "--json").stdout)}
    assert states == {first.split("_")[1]: "revoked", second.split("_")[1]: "active"}


def test_a_rotated_key_keeps_scopes_and_limits_and_never_lives_longer_than_it_was_to(project: Project) -> None:
    create("shop", "--scope", "read", "--expires", "2h", "--per-second", "7", "--burst", "9")
    new = rotate_key(project.root / "data" / "access", "shop", timedelta(hours=24)).key
    old = read_keys(project.root / "data" / "access").keys[0]
    assert (new.scopes, new.per_second, new.burst) == (old.scopes, 7, 9)
    assert old.expires_at is not None
    assert old.expires_at - old.created_at < timedelta(hours=2, seconds=60)
    assert new.expires_at is not None
    assert timedelta(hours=1, minutes=59) < new.expires_at - new.created_at < timedelta(hours=2, minutes=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("create", "shop", "--scope", "write"), "'write' is not one of 'read', 'events', 'personal', 'admin'"),
        (("create", "shop"), "Missing option '--scope'"),
        (
            ("create", "shop", "--scope", "read", "--expires", "soon"),
            "found 'soon', expected a number and s, m, h or d",
        ),
        (("create", "a\x1bb", "--scope", "read"), "expected 1 to 80 visible characters"),
        (("rotate", "shop", "--overlap", "-1h"), "found '-1h'"),
    ],
)
def test_a_wrong_argument_says_what_is_expected(words: tuple[str, ...], message: str) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert message in done.stderr


def test_two_commands_do_not_change_the_keys_at_once(project: Project) -> None:
    with (
        lock.exclusive_lock(project.root / "data" / "access"),
        pytest.raises(ConcurrentRunError, match="another command changes the keys"),
    ):
        run("create", "shop", "--scope", "read")


def test_a_damaged_file_is_named_and_not_overwritten(project: Project) -> None:
    create("shop", "--scope", "read")
    file = project.root / "data" / "access" / "keys.json"
    file.write_text('{"keys": [{"id": "x"}]}', encoding="utf8")
    with pytest.raises(AccessError, match=r"keys\.json is no file of keys \(keys\.0\."):
        run("create", "web", "--scope", "read")
    assert file.read_text(encoding="utf8") == '{"keys": [{"id": "x"}]}'


def test_without_a_key_nobody_listens_where_other_machines_come(project: Project) -> None:
    settings = project.settings
    with pytest.raises(ServeError, match=r"other machines reach 0\.0\.0\.0:\d+, and there is no key in .*/data/access"):
        listeners.open_sockets(settings, "0.0.0.0", 0)
    close(listeners.open_sockets(settings, "127.0.0.1", 0))
    close(listeners.open_sockets(settings, "localhost", 0))
    project.configure("[store]", '[serving]\nwithout_keys = "anywhere"\n\n[store]')
    opened = listeners.open_sockets(project.settings, "0.0.0.0", 0)
    assert "everybody who reaches these addresses" in listeners.describe_addresses(project.settings, opened)[1]
    close(opened)
    project.configure('without_keys = "anywhere"', 'without_keys = "loopback"')
    create("shop", "--scope", "read")
    opened = listeners.open_sockets(project.settings, "0.0.0.0", 0)
    assert len(listeners.describe_addresses(project.settings, opened)) == 1
    close(opened)


def close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('console = "8001"', "found '8001', expected HOST:PORT, such as 127.0.0.1:8001, 'shared' or 'off'"),
        ('console = "127.0.0.1:70000"', "found '127.0.0.1:70000'"),
        ('personal = "10.0.0.1:80"\nconsole = "127.0.0.1:80"', "two groups of routes have port 80"),
        ('public = "off"', "public is 'off', so there is no address to share"),
        ('public = "off"\npersonal = "off"\nconsole = "off"', "nothing to serve"),
    ],
)
def test_addresses_that_cannot_be_are_errors_of_the_settings(project: Project, lines: str, message: str) -> None:
    project.configure("[store]", f"[serving]\n{lines}\n\n[store]")
    with pytest.raises(SettingsError, match=message):
        settings_module.load()


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate(tmp_path: Path) -> None:
    limits, other_worker = Limits(tmp_path / "limits"), Limits(tmp_path / "limits")

    def takes(worker: Limits, times: int, moment: float) -> int:
        return sum(worker.take(3, 10, 5, moment) == 0.0 for _ in range(times))

    assert takes(limits, 3, 1000.0) + takes(other_worker, 3, 1000.0) == 5
    assert limits.take(3, 10, 5, 1000.0) == pytest.approx(0.1)
    assert limits.take(4, 10, 5, 1000.0) == 0.0  # another key
    assert takes(other_worker, 2, 1000.1) == 1
    assert takes(limits, 9, 1060.0) == 5
    assert takes(limits, 9, 5.0) == 5  # the machine was started again


def test_scopes_are_the_documented_ones() -> None:
    assert [each.value for each in Scope] == ["read", "events", "personal", "admin", "metrics"]
    assert make_key("x", [Scope.READ], 1, 1).text.startswith("nightloom_")
