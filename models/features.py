"""Features of items and users: categories and attributes such as `category=drama` or `city=Ulm`, hashed."""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


@dataclass(frozen=True)
class Features:
    """The features of N items or users, as CSR arrays.

    They are hashed because ranks would have to agree on a list of all of them.
    """

    indptr: NDArray[np.int64]
    """N + 1: the n-th has the hashes indptr[n] .. indptr[n + 1]."""
    hashes: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def of(self, rows: NDArray[np.integer]) -> Self:
        """Those of some items or users, in the order of `rows`; none for row -1."""
        starts, lengths = np.append(self.indptr[:-1], 0)[rows], np.append(np.diff(self.indptr), 0)[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.repeat(starts - indptr[:-1], lengths) + np.arange(indptr[-1])
        return type(self)(indptr, self.hashes[places])

    def matrix(self, buckets: int) -> csr_array:
        """N x `buckets` float32: how many of the hashes fall into each bucket."""
        ones = np.ones(len(self.hashes), np.float32)
        return csr_array((ones, (self.hashes % buckets).astype(np.int32), self.indptr), shape=(len(self), buckets))

    @classmethod
    def none(cls, rows: int) -> Self:
        """N items or users without any."""
        return cls(np.zeros(rows + 1, np.int64), np.empty(0, np.uint32))

    @classmethod
    def from_lists(cls, features: Iterable[Sequence[str]]) -> Self:
        """One list for each item or user."""
        lists = list(features)
        indptr = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
        return cls(indptr, hash_features(chain.from_iterable(lists)))


def hash_features(features: Iterable[str]) -> NDArray[np.uint32]:
    """A number for each feature, the same on every machine."""
    return np.fromiter((zlib.crc32(feature.encode()) for feature in features), np.uint32)
