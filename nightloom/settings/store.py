"""[store] and [store.canary]: where lists are published, and to which users first."""

from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from nightloom.section import Section


class StoreKind(NamedTuple):
    """A kind of store."""

    path: str
    """Its module:class, imported on demand: a project needs the client library of its own store only."""
    schemes: tuple[str, ...] = ()
    """How an address of its server begins; none for a store in a folder."""


STORE_KINDS = {
    "lmdb": StoreKind("serving.stores.lmdb:LmdbStore"),
    "files": StoreKind("serving.stores.files:FilesStore"),
    "redis": StoreKind("serving.stores.redis:RedisStore", ("redis", "rediss")),
    "redis-cluster": StoreKind("serving.stores.redis_cluster:RedisClusterStore", ("redis", "rediss")),
    "postgresql": StoreKind("serving.stores.postgresql:PostgresStore", ("postgresql", "postgres")),
    "cassandra": StoreKind("serving.stores.cassandra:CassandraStore", ("cassandra", "cassandras")),
}
"""store.kind -> where its code is, a text as in nightloom/night/stages.py."""
if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[tuple(STORE_KINDS)]


class Canary(Section):
    """Serve a new version to a share of the users first."""

    share: float = Field(0, ge=0, lt=1)
    """Share of the users, the same ones throughout. With 0 a new version is served to all users at once."""
    minutes: float = Field(30, gt=0)
    """Duration of the canary. After it, the version is served to all users."""
    check: str | None = None
    """Shell command that checks the canary. Any exit code but 0 ends the canary, and all users get the version before.
    The variables NIGHTLOOM_CANARY and NIGHTLOOM_CURRENT hold the two versions, as in an answer's slate_version."""
    every_seconds: float = Field(30, gt=0)
    """Seconds between two calls of `check`; the last call is at the end."""
    check_seconds: float = Field(20, gt=0, le=60)
    """Most seconds of one call of `check`. A call that takes longer ends the canary like an exit code that is not 0."""

    @model_validator(mode="after")
    def _check_is_given(self) -> Self:
        if self.share and self.check is None:
            raise ValueError("share is more than 0, so it needs check: a canary that nobody watches shows nothing")
        return self


class Store(Section):
    """Where lists are published."""

    kind: Kind = "lmdb"
    """`lmdb`: embedded, readers map a file on their machine; `files`: Arrow files in a folder that many machines share;
    the others are servers at places.store_url."""
    keep: int = Field(3, ge=2)
    """Number of versions kept, the current one included; the others allow an instant rollback."""
    quota_gb: float | None = Field(None, gt=0)
    """Most GB (10^9 bytes) that all kept versions and a new one may use. The size is predicted before a push, and a
    push that would exceed it is refused. So is a push without enough room on the disk or in Redis."""
    rows_per_second: int | None = Field(None, ge=1)
    """Most rows that a push loads per second, so that readers of the same server do not wait for it."""

    deadline_ms: int = Field(250, ge=10)
    """Milliseconds that the API waits for a store on a server. Then it answers from the last good version, marked
    stale."""

    canary: Canary = Canary()
    """Serve a new version to a share of the users first."""

    @property
    def embedded(self) -> bool:
        return not STORE_KINDS[self.kind].schemes
