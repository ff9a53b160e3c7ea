"""Checks of a record as a whole, before its values are used: it can be read, its ids are text, what is empty is named.

The first reason is the reader's: it says why a line is no record (spark_jobs/readers/).
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from nightloom.settings import Source
from spark_jobs.readers.text import MARK

PYTHON = r"^\{\s*u?'"
MAX_NAMES = 200  # characters of a record's field names in a detail


def unreadable_detail(source: Source) -> Column:
    """Why a record cannot be read; null where it can. Columns: `_bronze.problem`, `_fields`."""
    hint = F.when(F.col("_bronze.raw").rlike(PYTHON), "; it looks like a Python dict: write `format = 'python'`")
    words = F.concat(F.lit(f"not a record of a {source.format} source"), F.coalesce(hint, F.lit("")))
    return F.coalesce(F.col("_bronze.problem"), F.when(F.col("_fields").isNull(), words))


def missing_detail(name: str, sql: str, source: Source) -> Column:
    """What a required column is made of, and the record's fields where it lacks declared ones."""
    found = F.left(F.array_join(F.map_keys("_fields"), ", "), F.lit(MAX_NAMES))
    lacking = F.array_except(F.array(*map(F.lit, source.fields)), F.map_keys("_fields"))
    fields = F.concat(F.lit("; the record has no "), F.array_join(lacking, ", "), F.lit(", it has: "), found)
    empty: Column = F.lit(f"{name} is empty")
    if name.endswith("_id"):
        given = F.col(given_column(name))
        no_id = F.concat(
            F.lit(f"{name} is '"), F.left(given, F.lit(MAX_NAMES)), F.lit("', which is no id (ids.missing)")
        )
        empty = F.when(F.trim(given) != "", no_id).otherwise(empty)
    made_of = F.lit(f"; it is made of: {' '.join(sql.split())}")
    return F.concat(empty, made_of, F.when(F.size(lacking) > 0, fields).otherwise(""))


def given_column(name: str) -> str:
    """The column that has an id as its source wrote it."""
    return f"_given_{name}"


def broken_id_detail(name: str) -> Column:
    """Why an id is no text; null where it is. Two ids with broken bytes must not become one."""
    broken = F.col(name).contains(MARK) | F.col(name).contains("\0")
    detail = F.concat(F.lit(f"{name} is '"), F.left(F.col(name), F.lit(MAX_NAMES)))
    return F.when(broken, F.concat(detail, F.lit(f"': {MARK} is a byte that is no text; set the source's `encoding`")))
