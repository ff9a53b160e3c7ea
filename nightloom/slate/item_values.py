"""Values of items, such as categories, as CSR arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from nightloom.slate.arrays import I32, I64, Bools


@dataclass(frozen=True)
class ItemValues:
    """The values of each item, as whole numbers: item a has values[indptr[a] .. indptr[a + 1]], rising."""

    indptr: I64
    values: I32
    names: pa.Array
    """What each value stands for, by its number: texts, or float64."""

    @classmethod
    def from_pairs(cls, owners: I64, values: I64 | I32, items: int, names: pa.Array) -> ItemValues:
        """From pairs of an item and a value of it, in any order."""
        import numpy as np

        order = np.lexsort((values, owners))
        indptr = np.zeros(items + 1, np.int64)
        np.cumsum(np.bincount(np.asarray(owners, np.int64), minlength=items), out=indptr[1:])
        return cls(indptr, np.asarray(values, np.int32)[order], names)

    @property
    def owners(self) -> I64:
        """The item of each value."""
        import numpy as np

        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))

    def for_items(self, rows: I64) -> ItemValues:
        """The values of these items, in this order; a row past the last item has none."""
        import numpy as np

        lengths, starts = (np.append(each, 0)[rows] for each in (np.diff(self.indptr), self.indptr[:-1]))
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.repeat(starts - indptr[:-1], lengths) + np.arange(indptr[-1])
        return ItemValues(indptr, self.values[places], self.names)

    def merge(self, other: ItemValues) -> ItemValues:
        """Both values of each item; the other's are numbered after these, and equal names stay apart."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        owners = np.concatenate([self.owners, other.owners])
        values = np.concatenate([self.values, other.values + len(self.names)])
        sides = [pc.binary_join_element_wise(side, each.names, "") for side, each in (("<", self), (">", other))]
        return ItemValues.from_pairs(owners, values, len(self.indptr) - 1, pa.concat_arrays(sides))

    def differs(self, other: ItemValues) -> Bools:
        """Of each item, whether it has other values there; the same items in the same order, numbers may differ."""
        import numpy as np
        import pyarrow.compute as pc

        place = np.asarray(pc.fill_null(pc.index_in(other.names, value_set=self.names), -1), np.int32)
        lengths = np.diff(self.indptr)
        found: Bools = lengths != np.diff(other.indptr)
        same = np.repeat(~found, lengths), np.repeat(~found, np.diff(other.indptr))
        # Values of an item rise, and so do the names that they stand for: equal sets stand in the same order.
        unequal = self.values[same[0]] != place[other.values[same[1]]]
        found[self.owners[same[0]][unequal]] = True
        return found
