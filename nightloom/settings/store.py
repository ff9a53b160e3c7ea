"""[store] and [store.canary]: where lists are published, and to whom first."""

from typing import Literal, Self

from pydantic import Field, model_validator

from nightloom.section import Section


class Canary(Section):
    """A new version for a share of the users first."""

    share: float = Field(0, ge=0, lt=1)
    """Share of the users, the same ones all the while; with 0 a version is everybody's at once."""
    minutes: float = Field(30, gt=0)
    """For how long, before it is everybody's."""
    check: str | None = None
    """Shell command that watches it: anything but exit code 0 ends the canary, and everybody has the version before
    again. Its variables NIGHTLOOM_CANARY and NIGHTLOOM_CURRENT name the two versions, as an answer's slate_version."""
    every_seconds: float = Field(30, gt=0)
    """Time between two calls of it; the last one is at the end."""

    @model_validator(mode="after")
    def _somebody_watches(self) -> Self:
        if self.share and self.check is None:
            raise ValueError("share is more than 0, so it needs check: a canary that nobody watches shows nothing")
        return self


class Store(Section):
    """Where the lists are published to."""

    kind: Literal["lmdb", "files", "redis", "redis-cluster", "postgresql"] = "lmdb"
    """`lmdb`: embedded, readers map a file on their machine; `files`: Arrow files in a folder that many machines share;
    the others are servers at places.store_url."""
    keep: int = Field(3, ge=2)
    """Versions kept, the current one included: the others are there for an instant rollback."""
    quota_gb: float | None = Field(None, gt=0)
    """Most GB (10^9 bytes) that all kept versions and a new one may take: predicted before a push, which is refused
    when it would be more. No room on the disk, or in Redis, refuses it in any case."""
    rows_per_second: int | None = Field(None, ge=1)
    """Rows that are loaded in a second at most, so that readers of the same server do not wait for a push."""

    canary: Canary = Canary()
    """A new version for a share of the users first."""

    @property
    def embedded(self) -> bool:
        return self.kind in ("lmdb", "files")
