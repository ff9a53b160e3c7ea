"""The text of nightloom.toml, and what TOML makes of it."""

import tomllib
from pathlib import Path
from typing import Any

from nightloom.errors import SettingsError


def read_text(file: Path) -> str:
    """The file's text, without a byte order mark. Raises SettingsError with line and column where it is not UTF-8."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise SettingsError(
            f"{file.name}, line {line}, column {column}: found the byte 0x{content[error.start]:02X}, which is not "
            "UTF-8; save the file as UTF-8"
        ) from None


def read_toml(file: Path) -> dict[str, Any]:
    """The file's keys. Raises SettingsError with the line where it is not TOML."""
    try:
        return tomllib.loads(read_text(file).replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file.name} is not valid TOML: {error}") from None
    except RecursionError:
        raise SettingsError(f"{file.name} is not valid TOML: its values are nested too deeply") from None
