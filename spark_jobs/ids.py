"""Ids of users, items and events in the one spelling that a source declares, as Ids.normalize() makes it in Python."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from nightloom.settings.ids import BLANKS, LEADING_ZEROS, POINT_ZERO, Ids


def normalized(id: Column, ids: Ids) -> Column:
    """The id in its one spelling; null where the text stands for no id."""
    bare = F.trim(id, F.lit(BLANKS))
    made = bare if ids.trim else id
    if ids.drop_point_zero:
        made = F.regexp_replace(made, POINT_ZERO, "$1")
    if ids.drop_leading_zeros:
        made = F.regexp_replace(made, LEADING_ZEROS, "$1")
    if ids.case:
        made = F.lower(made) if ids.case == "lower" else F.upper(made)
    return F.when(~F.lower(bare).isin(*sorted(ids.no_ids)), made)
