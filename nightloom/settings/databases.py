"""Databases that a source may read: their addresses and drivers, and the variables of user and password."""

import os
import re
from typing import NamedTuple


class Database(NamedTuple):
    """A kind of database."""

    driver: str
    """Class of its JDBC driver."""
    quote: str
    """What stands around a column's name."""


DATABASES = {
    "postgresql": Database("org.postgresql.Driver", '"'),
    "mysql": Database("com.mysql.cj.jdbc.Driver", "`"),
    "sqlserver": Database("com.microsoft.sqlserver.jdbc.SQLServerDriver", '"'),
}
"""What an address says after `jdbc:` -> the database."""
ADDRESS = re.compile(r"jdbc:(\w+)://[^\s/?;]")
SECRET = re.compile(r"[?&;]\s*(user(name)?|pwd|\w*(password|secret|token)\w*)\s*=|//[^/?;]*@", re.IGNORECASE)


def database_of(url: str) -> Database:
    """The database at an address that url_problem() has nothing against."""
    return DATABASES[url.split(":")[1]]


def url_problem(url: str) -> str | None:
    """What is wrong with the address of a database; its text is not quoted, as it may hold a secret."""
    found = ADDRESS.match(url)
    if not found or found[1] not in DATABASES:
        known = ", ".join(f"jdbc:{name}://HOST:PORT..." for name in DATABASES)
        return f"url is no address of a database that can be read; expected one of {known}"
    return "url holds a user or a password" if SECRET.search(url) else None


def credential_variables(source: str) -> dict[str, str]:
    """`user` and `password` -> the variable of the environment that gives it for a source."""
    return {key: f"NIGHTLOOM_SOURCE_{source.upper()}_{key.upper()}" for key in ("user", "password")}


def credentials(source: str) -> dict[str, str]:
    """`user` and `password` of a source, as far as the environment gives them."""
    given = {key: os.environ.get(name) for key, name in credential_variables(source).items()}
    return {key: value for key, value in given.items() if value is not None}
