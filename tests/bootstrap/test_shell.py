"""The set-up's shell: the progress of a long command, and the message of a failed one."""

import sys
from pathlib import Path

import pytest

from bootstrap.shell import SetupError, Shell, move_into_cache, progress


def test_a_failed_command_shows_the_last_20_lines_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"ended with 3; the last lines of .*part\.log") as caught:
        Shell("part", tmp_path)(sys.executable, "-c", "for i in range(50): print('line', i)\nraise SystemExit(3)")
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [f"line {i}" for i in range(30, 50)]


def test_the_log_holds_each_command_and_its_output(tmp_path: Path) -> None:
    sh = Shell("part", tmp_path)
    sh("echo", "one")
    sh("sh", "-c", "echo $COLOUR >&2", extra={"COLOUR": "red"})
    assert sh.log.read_text() == "+ echo one\none\n+ sh -c echo $COLOUR >&2\nred\n"


def test_percentages_become_a_bar_and_other_logs_show_their_last_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("[  5%] Building\n  [ 50%] Building more\nwarning: no\n")
    assert progress(log) == "[##########..........] 50%"
    log.write_text("Resolved\n  Downloaded torch  \n")
    assert progress(log) == "Downloaded torch"
    log.write_text("")
    assert progress(log) == ""


def test_if_two_processes_fill_the_cache_the_first_folder_stays(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
        move_into_cache(tmp_path / name, tmp_path / "cache" / "key")
    assert [file.name for file in (tmp_path / "cache" / "key").iterdir()] == ["first"]
