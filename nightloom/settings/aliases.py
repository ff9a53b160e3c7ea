"""[[aliases]]: files of items that have another id now."""

import csv
import io
from collections.abc import Mapping

from nightloom.errors import SettingsError
from nightloom.places import Place
from nightloom.section import Section
from nightloom.settings.places import Address

HEADER = ["old", "new"]


class AliasFile(Section):
    """A file of renamed items: what anybody did to an item under its old id counts for the new one."""

    path: Address
    """A csv file with the columns `old` and `new`, or its address; relative to nightloom.toml. It has the ids in the
    spelling of `ids`. An id that was renamed twice gets its last name."""


def read_aliases(files: Mapping[str, Place]) -> dict[str, str]:
    """Old id -> its last name, by all files (path in nightloom.toml -> place).

    Raises SettingsError with the file and line where one says nothing that can be used.
    """
    names: dict[str, str] = {}
    for path, place in files.items():
        try:
            rows = csv.reader(io.StringIO(place.read_text(encoding="utf-8-sig")))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"aliases, {path}: cannot be read: {error}; expected a csv file with {HEADER}"
            ) from None
        header = next(rows, [])
        if header != HEADER:
            raise SettingsError(f"aliases, {path}: the first line is {','.join(header)!r}, expected 'old,new'")
        for row in filter(None, rows):
            if len(row) != 2 or not all(row):
                raise SettingsError(f"aliases, {path}, line {rows.line_num}: found {row}, expected two ids")
            if names.setdefault(row[0], row[1]) != row[1]:
                words = f"'{row[0]}' is '{row[1]}' here and '{names[row[0]]}' before; an item has one new id"
                raise SettingsError(f"aliases, {path}, line {rows.line_num}: {words}")
    return {old: _last_name(old, names) for old in names}


def _last_name(id: str, names: Mapping[str, str]) -> str:
    """Follow the names of an id. Raises SettingsError where they go in a circle."""
    found = [id]
    while (name := names.get(found[-1])) is not None:
        if name in found:
            circle = " -> ".join([*found, name])
            raise SettingsError(f"aliases: {circle} is a circle; one of them has to be the last name")
        found.append(name)
    return found[-1]
