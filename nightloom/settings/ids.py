"""`ids` of [[sources]]: the one spelling of the ids of a source, and the texts that stand for no id."""

import re
from functools import cached_property
from typing import Literal

from nightloom.section import Section

BLANKS = (
    " \t\n\x0b\x0c\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u2028\u2029"
    "\u202f\u205f\u3000\ufeff"
)
"""Characters that nobody sees before or after an id: blanks, line ends, the byte order mark."""
POINT_ZERO = r"^([+-]?[0-9]+)\.0+$"
LEADING_ZEROS = r"^0+([0-9A-Za-z])"
"""What the first group of a match stays of, in regular expressions that Python, Java and DuckDB read alike."""


class Ids(Section):
    """How the ids of users and items are spelled; without a key they stay as they come."""

    trim: bool = False
    """Remove blanks and other invisible characters before and after an id."""
    drop_point_zero: bool = False
    """Remove the end of a whole number that a program wrote as a decimal one: `12001.0` becomes `12001`."""
    drop_leading_zeros: bool = False
    """Remove zeros before a digit or a letter: `0042` becomes `42`, and `000` becomes `0`."""
    case: Literal["lower", "upper"] | None = None
    """Write all letters in this case."""
    missing: tuple[str, ...] = ("NULL", "NaN", "None", "N/A", "<NA>", "undefined", "\\N")
    """Texts that stand for a missing id, whatever their case and the blanks around them. The list replaces the default;
    with `[]` the text `NULL` is an id. An empty or blank text is never one."""

    @cached_property
    def no_ids(self) -> frozenset[str]:
        """What a text is, in lower case and without blanks around it, that stands for no id."""
        return frozenset({"", *(text.strip(BLANKS).lower() for text in self.missing)})

    def normalize(self, text: str) -> str | None:
        """The id in its one spelling; None where the text stands for no id. spark_jobs/ids.py has the same."""
        bare = text.strip(BLANKS)
        if bare.lower() in self.no_ids:
            return None
        made = bare if self.trim else text
        if self.drop_point_zero:
            made = re.sub(POINT_ZERO, r"\1", made)
        if self.drop_leading_zeros:
            made = re.sub(LEADING_ZEROS, r"\1", made)
        return made if self.case is None else made.lower() if self.case == "lower" else made.upper()
