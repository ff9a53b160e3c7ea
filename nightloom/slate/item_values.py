"""Values of items, such as categories, as CSR arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nightloom.slate.arrays import I32, I64


@dataclass(frozen=True)
class ItemValues:
    """The values of each item, as whole numbers: item a has values[indptr[a] .. indptr[a + 1]], rising."""

    indptr: I64
    values: I32

    @classmethod
    def from_pairs(cls, owners: I64, values: I64 | I32, items: int) -> ItemValues:
        """From pairs of an item and a value of it, in any order."""
        import numpy as np

        order = np.lexsort((values, owners))
        indptr = np.zeros(items + 1, np.int64)
        np.cumsum(np.bincount(np.asarray(owners, np.int64), minlength=items), out=indptr[1:])
        return cls(indptr, np.asarray(values, np.int32)[order])

    @property
    def owners(self) -> I64:
        """The item of each value."""
        import numpy as np

        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))

    @property
    def distinct(self) -> int:
        """How many values there are, where they are numbered from 0 without gaps."""
        return int(self.values.max(initial=-1)) + 1

    def for_items(self, rows: I64) -> ItemValues:
        """The values of these items, in this order; a row past the last item has none."""
        import numpy as np

        lengths, starts = (np.append(each, 0)[rows] for each in (np.diff(self.indptr), self.indptr[:-1]))
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.repeat(starts - indptr[:-1], lengths) + np.arange(indptr[-1])
        return ItemValues(indptr, self.values[places])

    def merge(self, other: ItemValues) -> ItemValues:
        """Both values of each item; the other's are numbered after these."""
        import numpy as np

        owners = np.concatenate([self.owners, other.owners])
        values = np.concatenate([self.values, other.values + self.distinct])
        return ItemValues.from_pairs(owners, values, len(self.indptr) - 1)
