"""nightloom.toml (+ NIGHTLOOM_* variables) -> Settings, or an error that names the line and the nearest key.

Every key is documented here, under its field; `docs/settings.md` is made from these lines and a test keeps it current.
"""

import hashlib
import os
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from nightloom.contracts import TABLES, TYPES
from nightloom.errors import SettingsError
from nightloom.section import Section as Section
from nightloom.section import listed, nearest_key
from nightloom.slate.settings import Slate, misnamed

CONFIG_VARIABLE = "NIGHTLOOM_CONFIG"


class Project(Section):
    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    """Short name; the MLflow experiment and the registered model carry it."""


class Places(Section):
    """Where things are. Relative paths are relative to nightloom.toml."""

    home: Path = Path("data")
    """Folder for everything below that is not named."""
    lake: Path | None = None
    """Delta tables; default HOME/lake."""
    store: Path | None = None
    """Serving store that is a folder (store.kind = "lmdb" or "files"); default HOME/store."""
    store_url: str | None = None
    """Serving store that is a server: redis://HOST:PORT/DB, postgresql://HOST:PORT/DB. With a user's password it
    belongs into the variable NIGHTLOOM_PLACES__STORE_URL: in the file that is an error."""
    mlflow: str | None = None
    """MLflow tracking URI; default a SQLite file HOME/mlflow.db."""
    docs: Path | None = None
    """Great Expectations' Data Docs; default HOME/data-docs."""
    airflow: Path | None = None
    """AIRFLOW_HOME; default HOME/airflow."""
    spark: str = "warm"
    """`warm`: a local Spark Connect server shared by the night's stages; or a master URL (spark://..., yarn, local[2])
    with a driver per stage, or the sc://... of a server of your own."""


class Rule(Section):
    """A condition under which a row of a source is not used."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Reason written to quarantine, or name under which skipped rows are counted."""
    when: str
    """Spark SQL condition over the source's fields, e.g. "InvoiceNo LIKE 'C%'"."""
    then: Literal["quarantine", "skip"]
    """`quarantine` keeps the row with the reason, to replay; `skip` leaves it in bronze and counts it."""


class Source(Section):
    """Records of one shape, files in one folder or a Kafka topic, and how their fields become our columns."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Unique; part of the ingest checkpoint's path, so do not rename it."""
    kind: Literal["events", "items", "users"]
    """What one row is."""
    format: Literal["json", "csv", "parquet", "kafka"]
    """`json` is one object a line; csv needs a header line; gzip and zstd are seen by the file's name (.gz, .zst).
    `kafka`: each message is a JSON object."""
    path: Path | None = None
    """Landing folder of a source of files; every file in it is read once, and again when it has grown. Names that start
    with `.` or `_`, or end like an unfinished file's (.tmp, .part), are left alone."""
    settle_seconds: float = Field(2, ge=0)
    """A file that changed within this time is waited for once, and left for the next run if it goes on changing."""
    servers: str | None = None
    """Kafka: brokers to ask first, `HOST:PORT`, several with commas between."""
    topic: str | None = None
    """Kafka: the topic, read from its oldest message on, each message once."""
    fields: dict[str, str]
    """Field in the records = Spark SQL type. A value that does not fit sends its row to quarantine; a field that is not
    listed here goes to the rescued column."""
    columns: dict[str, str]
    """Our column = Spark SQL expression over the fields. Events need user_id, item_id, event, occurred_at (event_id and
    value if there are any); items need item_id (title, categories, available); users need user_id."""
    attributes: dict[str, str] = Field({})
    """Further attribute of an item or a user = Spark SQL expression over the fields."""
    rules: tuple[Rule, ...] = ()
    """Rows that are not used, and where they end."""

    @model_validator(mode="after")
    def _keys_of_the_format(self) -> Self:
        files, kafka = {"path", "settle_seconds"}, {"servers", "topic"}
        own, others = (kafka, files) if self.format == "kafka" else (files, kafka)
        if missing := [name for name in own if getattr(self, name) is None]:
            raise ValueError(f"format is '{self.format}', so it needs {listed(missing)}")
        if strange := self.model_fields_set & others:
            raise ValueError(f"format is '{self.format}', which has no {listed(strange)}; it has {listed(own)}")
        return self

    @model_validator(mode="after")
    def _known_columns(self) -> Self:
        required, optional = SOURCE_COLUMNS[self.kind]
        for name in self.columns:
            if name not in required | optional:
                known = required | optional
                raise ValueError(f"columns has '{name}'; {self.kind} have {listed(known)}{nearest_key(name, known)}")
        if missing := required - self.columns.keys():
            raise ValueError(f"columns lacks {listed(missing)}; a source of {self.kind} must say how it is made")
        return self


SOURCE_COLUMNS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "events": (frozenset({"user_id", "item_id", "event", "occurred_at"}), frozenset({"event_id", "value"})),
    "items": (frozenset({"item_id"}), frozenset({"title", "categories", "available", "updated_at"})),
    "users": (frozenset({"user_id"}), frozenset({"updated_at"})),
}
"""Kind of a source -> columns it must and may give."""


class Signal(Section):
    """An event that counts. An event nobody declared sends its row to quarantine."""

    event: str
    """Name of the event, as the sources give it."""
    weight: float = Field(1.0, ge=0)
    """How much one such event says that the user likes the item."""
    min_value: float | None = None
    """Below this value the event counts as seen, but with weight 0 (a rating of 2 is no recommendation)."""
    valid: tuple[float, float] | None = None
    """Lowest and highest possible value; anything else, also no value at all, is quarantined as impossible."""


class Span(Section):
    """Where to search a hyper-parameter; whole numbers where both ends are."""

    low: int | float
    """Least value."""
    high: int | float
    """Greatest value."""
    log: bool = False
    """Search by ratios and not by differences: for rates, penalties and sizes."""

    @model_validator(mode="after")
    def _low_before_high(self) -> Self:
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"from {self.low} to {self.high} nothing can be searched; low < high, and 0 < low with log"
            )
        return self


class ModelSpec(Section):
    """A model to train, and its hyper-parameters."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Which model: a file of training/models/."""
    params: dict[str, float | int | str | bool] = Field({})
    """Hyper-parameters by name, as the model's docstring lists them."""
    search: dict[str, Span] = Field({})
    """Hyper-parameters that training.search_minutes are spent on, e.g. factors = { low = 16, high = 128, log = true }.
    Those in `params` are tried first; another value is taken only where it is better on validation."""


class Training(Section):
    holdout_days: int = Field(14, ge=1)
    """The last days before the night, which no challenger trains on: gate 2 judges on them."""
    every_days: int = Field(7, ge=1)
    """Retrain when the last training was this many nights ago."""
    new_rows_share: float = Field(0.2, gt=0)
    """Retrain earlier when interactions grew by this share since the last training."""
    max_drift: float = Field(0.25, gt=0)
    """Retrain earlier when the last `holdout_days` differ from as many days up to the last training by more than this:
    population stability index of event types, or of how popular the items were that people came for."""
    max_outcome_loss: float = Field(0.2, gt=0, le=1)
    """Retrain earlier when, on two of the last five days and on the newest, the share of users who found something they
    liked in their list was lower by this share than on the first days after the last training (gold.outcomes)."""
    search_minutes: float = Field(0, ge=0)
    """Minutes of each training to spend on a search for better hyper-parameters, shared by the models with a `search`;
    judged on the last `holdout_days` of what is trained on, never on the days that gate 2 judges on."""
    search_trials: int = Field(30, ge=1)
    """Trials of a model after which its search ends, if the minutes have not ended it: where it is these that do, the
    same data give the same hyper-parameters."""
    ranks: int | None = Field(None, ge=1)
    """Horovod ranks; default as many as `hosts` say, or as there are GPUs here, else 2."""
    min_ranks: int | None = Field(None, ge=1)
    """Elastic training: when a rank is lost, the others go on from the last epoch, down to so many, and a new one joins
    when its host is back. Left out, a lost rank ends the training, which goes on from the last epoch when run again."""
    launcher: Literal["horovodrun", "spark"] = "horovodrun"
    """`horovodrun`: ranks on this machine, or on `hosts` by ssh; `spark`: ranks inside the cluster of places.spark."""
    hosts: tuple[str, ...] = ()
    """HOST:RANKS, one each, the first of them this machine. All see places.home and this checkout at the same paths."""
    compression: Literal["none", "fp16"] = "none"
    """How gradients travel between ranks: `fp16` sends half the bytes, rounded. Sparse ones are never rounded."""
    fusion_mb: int = Field(128, ge=0)
    """Gradients are joined into messages of up to so many MB; 0 sends each on its own. With 3 ranks or more the joining
    may change the order in which numbers are added from run to run, and so the last bits of the weights."""
    seed: int = 7
    """Seed of every random choice in training."""

    @model_validator(mode="after")
    def _hosts_and_their_ranks(self) -> Self:
        if strange := [host for host in self.hosts if not re.fullmatch(r"[\w.-]+:[1-9]\d*", host)]:
            raise ValueError(f"hosts has '{strange[0]}'; each is HOST:RANKS, such as 'gpu1:4'")
        if self.launcher == "spark" and self.hosts:
            raise ValueError("hosts is for launcher = 'horovodrun'; Spark chooses its machines by itself")
        return self

    @model_validator(mode="after")
    def _elastic(self) -> Self:
        if self.min_ranks and self.launcher == "spark":
            raise ValueError("min_ranks is for launcher = 'horovodrun'; on Spark a training is run again instead")
        if self.min_ranks and self.ranks and self.min_ranks > self.ranks:
            raise ValueError(f"min_ranks is {self.min_ranks}, more than ranks = {self.ranks}")
        if self.min_ranks and len(self.hosts) == 1:
            raise ValueError("min_ranks needs two hosts or more, or none: a host that lost a rank is left for a while")
        return self


class DataGate(Section):
    """Gate 1, on what came in and what came out."""

    max_quarantined: float = Field(0.2, ge=0, le=1)
    """Largest share of the night's new event rows that may be in quarantine."""
    min_rows: int = Field(1, ge=0)
    """Fewest interactions there must be up to the night."""
    past_nights: int = Field(28, ge=3)
    """Nights before this one that it is compared with, as far as they ran; with fewer than 3 nothing is judged yet."""
    max_rows_change: float = Field(0.5, gt=0)
    """A source's rows may be this share more or fewer than the median of the same weekday, or of all these nights."""
    max_age_hours: float = Field(24.0, gt=0)
    """The newest event may be this much older than the end of the night's day."""
    max_undescribed: float = Field(0.05, ge=0, le=1)
    """Largest share of the night's interactions whose item, or user, no source has described."""
    max_drift: float = Field(0.25, gt=0)
    """Largest population stability index of event types, values, hours and categories against the nights before."""
    stop_on: tuple[Literal["rows", "age", "undescribed", "drift"], ...] = ()
    """Which of these comparisons close the gate; the others warn."""


class ModelGate(Section):
    """Gate 2, challenger against champion and popularity on the same later days."""

    mode: Literal["disabled", "dry_run", "enabled"] = "enabled"
    """`enabled`: the best challenger that passes is promoted. `dry_run`: all is judged and written down, and no alias
    moves. `disabled`: nothing is judged, the newest challenger is promoted, and ops.gates says so."""
    metric: Literal["ndcg", "recall", "mrr", "hit_rate"] = "ndcg"
    """What decides."""
    k: int = Field(10, ge=1)
    """Length of the list the metric looks at."""
    min_gain: float = 0.0
    """The lower end of the paired interval of challenger minus champion must be above this. The interval is one of 95 %
    for all challengers of a night together: with n of them, of 100 - 5/n % for each."""
    segment_loss: float = Field(0.1, ge=0, le=1)
    """On no segment (new, warm and hot users, tail items) may a challenger lose more than this share of the champion's
    metric. A loss counts when its whole interval is below 0; under 10 users nothing is judged."""


class SlateGate(Section):
    """Gate 3, on the lists about to be published."""

    min_coverage: float = Field(0.99, ge=0, le=1)
    """Share of known users who must have a list."""
    min_fill: float = Field(0.9, ge=0, le=1)
    """Share of lists that must be full."""
    min_catalogue: float = Field(0.01, ge=0, le=1)
    """Share of available items that must be in somebody's first k."""
    min_overlap: float = Field(0.0, ge=0, le=1)
    """Mean overlap with the lists served now, first k, same model version; 0 switches the check off."""
    active_days: int = Field(28, ge=1)
    """Users with an interaction in the last days are active: `min_coverage` holds for them alone, too."""
    max_fallback: float = Field(1.0, ge=0, le=1)
    """Largest share of active users who get what a stranger gets: no list, or the popular one without what is seen."""
    max_score_drift: float = Field(0.25, gt=0)
    """Largest population stability index of users' mean score, first k, same model version, against what is served."""
    max_rows_loss: float = Field(0.5, ge=0, le=1)
    """The lists may be this share fewer than those served now."""
    max_missed_places: float = Field(0.2, ge=0, le=1)
    """Largest share of first pages on which a floor, a promotion, a pin or the exploration lacks a place."""
    stop_on: tuple[Literal["fallback", "score_drift", "rows_loss", "places"], ...] = ("rows_loss",)
    """Which of these comparisons close the gate; the others warn. A filter or a cap that is broken always closes it."""


class Gates(Section):
    data: DataGate = DataGate()
    model: ModelGate = ModelGate()
    slate: SlateGate = SlateGate()


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


class MartColumn(Section):
    """A column of a mart; `name = "type"` alone will do."""

    type: str
    """string, bigint, int, double, float, boolean, date, timestamp, array<TYPE> or map<TYPE,TYPE>."""
    comment: str | None = None
    """What it means, for the data dictionary."""
    personal: bool = False
    """Whether it can point to a person; `user_id` always does."""

    @model_validator(mode="before")
    @classmethod
    def _type_alone(cls, given: Any) -> Any:
        return {"type": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _known_type(self) -> Self:
        inner = re.fullmatch(r"array<(\w+)>|map<(\w+),\s*(\w+)>|(\w+)", self.type)
        for name in (found for found in inner.groups() if found) if inner else (self.type,):
            if name not in TYPES:
                raise ValueError(f"type '{name}' is not known; known are {listed(TYPES)}{nearest_key(name, TYPES)}")
        return self


class Mart(Section):
    """A table of your own, made each night from the lake's tables by one SELECT: gold.NAME."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """The table is gold.NAME."""
    grain: str = Field(min_length=1)
    """What one row is, in a sentence."""
    key: tuple[str, ...] = Field(min_length=1)
    """Columns that identify a row: never null, never twice."""
    columns: dict[str, MartColumn] = Field(min_length=1)
    """Column = type, or { type, comment, personal }."""
    sql: str
    """Spark SQL over the lake's tables by their names. `:k` and `:stored` are slate.k and slate.stored."""
    period: Literal["night", "day", "week", "month"] | None = None
    """Left out, all rows are made anew when a table in `sql` has changed. `day`, `week` or `month` (a date column of
    that name in `key`; a week's Monday, a month's first day): only those of silver.interactions that changed are made
    anew, and `sql` sees no others of it. `night` (no column of yours): each night adds its rows, and `:night` in `sql`
    is its date."""

    @model_validator(mode="after")
    def _plain_names(self) -> Self:
        if strange := [name for name in self.columns if not re.fullmatch(r"[a-z][a-z0-9_]*", name)]:
            raise ValueError(f"columns has '{strange[0]}'; a name is a-z, 0-9 and _, and begins with a letter")
        return self

    @model_validator(mode="after")
    def _key_and_period(self) -> Self:
        if strange := [name for name in self.key if name not in self.columns]:
            near = nearest_key(strange[0], self.columns)
            raise ValueError(f"key has '{strange[0]}'; columns are {listed(self.columns)}{near}")
        if self.period == "night" and "night" in self.columns:
            raise ValueError("columns has 'night'; with period = 'night' Nightloom adds it by itself, take it out")
        if self.period in ("day", "week", "month") and (
            self.period not in self.key or self.columns[self.period].type != "date"
        ):
            raise ValueError(f"period is '{self.period}': columns needs {self.period} = \"date\", and key holds it too")
        return self

    @model_validator(mode="after")
    def _name_is_free(self) -> Self:
        if any(table.full_name == f"gold.{self.name}" for table in TABLES):
            raise ValueError(f"gold.{self.name} is Nightloom's own table; take another name")
        return self


class Retention(Section):
    """What the weekly maintenance keeps. Rows: docs/tables.md says for each table how long."""

    history_days: int = Field(30, ge=1)
    """Old versions of a table can be read for this long; those that a kept serving version or the champion was made
    from, and what a later stage has not taken yet, for as long as they are needed."""


class Late(Section):
    """Events that come after their day, or before it."""

    window_days: int = Field(7, ge=0)
    """How many days after its day an event may still come: the days it belongs to are reopened. A later one goes to
    quarantine. A source's first night brings its past: nothing in it is late."""
    clock_ahead_minutes: int = Field(60, ge=0)
    """An event this much later than the moment it was ingested is quarantined: its sender's clock is wrong."""


class Settings(BaseSettings):
    """All of nightloom.toml."""

    model_config = SettingsConfigDict(
        env_prefix="NIGHTLOOM_", env_nested_delimiter="__", extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    project: Project
    places: Places = Places()
    sources: tuple[Source, ...]
    signals: tuple[Signal, ...]
    models: tuple[ModelSpec, ...]
    training: Training = Training()
    gates: Gates = Gates()
    slate: Slate = Slate()
    store: Store = Store()
    retention: Retention = Retention()
    late: Late = Late()
    marts: tuple[Mart, ...] = ()

    file: Path = Field(default=Path("nightloom.toml"), exclude=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = init_settings.init_kwargs["file"]  # type: ignore[attr-defined]  # the one keyword that load() gives
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for what, names in (
            ("sources", [source.name for source in self.sources]),
            ("signals", [signal.event for signal in self.signals]),
            ("models", [model.name for model in self.models]),
            ("marts", [mart.name for mart in self.marts]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what} has {listed(twice)} more than once; names are unique")
        return self

    @model_validator(mode="after")
    def _ranks_in_a_cluster(self) -> Self:
        if self.training.launcher == "spark" and re.match(r"warm$|sc://", self.places.spark):
            raise ValueError(
                f"training.launcher is 'spark' and places.spark is '{self.places.spark}'; ranks need the cluster's "
                "master, such as spark://HOST:7077"
            )
        return self

    @model_validator(mode="after")
    def _store_and_its_place(self) -> Self:
        if not self.store.embedded and self.places.store_url is None:
            raise ValueError(
                f"store.kind is '{self.store.kind}', a server: NIGHTLOOM_PLACES__STORE_URL says where (or, without a "
                "password, places.store_url)"
            )
        if self.store.embedded and self.places.store_url is not None:
            raise ValueError(f"store.kind is '{self.store.kind}', a folder: places.store says where, not store_url")
        written = tomllib.loads(self.file.read_text(encoding="utf8")).get("places", {}).get("store_url", "")
        if urlsplit(written).password:
            raise ValueError("places.store_url holds a password; set NIGHTLOOM_PLACES__STORE_URL and take it out here")
        return self

    @property
    def root(self) -> Path:
        """Folder of nightloom.toml, absolute."""
        return self.file.parent

    def place(self, name: Literal["home", "lake", "store", "docs", "airflow"]) -> Path:
        """Absolute path of a place, its default under home when the file does not name it."""
        default = {"docs": "data-docs"}.get(name, name)
        return self.root / (getattr(self.places, name) or self.places.home / default)

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking URI."""
        return self.places.mlflow or f"sqlite:///{self.place('home') / 'mlflow.db'}"

    def attributes(self, kind: Literal["items", "users"]) -> dict[str, str]:
        """Declared attribute of items or users -> its type: a field's where it is one as it comes, else string."""
        sources = [source for source in self.sources if source.kind == kind]
        return {name: each.fields.get(made, "string") for each in sources for name, made in each.attributes.items()}

    @property
    def clock_ahead(self) -> timedelta:
        return timedelta(minutes=self.late.clock_ahead_minutes)

    @property
    def digest(self) -> str:
        """Twelve hex digits that change when any setting but a place does; the run manifest carries them."""
        return hashlib.sha256(self.model_dump_json(exclude={"places", "file"}).encode()).hexdigest()[:12]


def config_file() -> Path:
    """The nightloom.toml in force: $NIGHTLOOM_CONFIG, else the one in the working folder; absolute."""
    return Path(os.environ.get(CONFIG_VARIABLE) or "nightloom.toml").absolute()


def load(file: Path | None = None) -> Settings:
    """Read `file` (default: config_file()). Raises SettingsError with the line and what to do."""
    file = (file or config_file()).absolute()
    if not file.is_file():
        raise SettingsError(
            f"{file} is not there; run in a project's folder or set {CONFIG_VARIABLE} to its nightloom.toml"
        )
    try:
        settings = Settings(file=file)  # the rest comes out of the file
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file.name} is not valid TOML: {error}") from None
    except ValidationError as error:
        raise SettingsError("\n".join(_explained(item, file) for item in error.errors())) from None
    if wrong := list(misnamed(settings.slate, settings.attributes("items"), settings.attributes("users"))):
        raise SettingsError("\n".join(f"{place_of(settings, *where)}: {words}" for where, words in wrong))
    return settings


def place_of(settings: Settings, *location: str | int) -> str:
    """`nightloom.toml, line N: slate.caps.0.by`: where a person finds a key."""
    return f"{settings.file.name}, line {line_of(settings, *location)}: {'.'.join(map(str, location))}"


def line_of(settings: Settings, *location: str | int) -> int:
    """Line of nightloom.toml on which a key stands, e.g. of ("marts", 0, "sql")."""
    return _line_of(location, settings.file.read_text(encoding="utf8")) or 1


def _explained(item: Any, file: Path) -> str:
    """One pydantic error as `nightloom.toml, line N: what, and the nearest known key`."""
    location = item["loc"]
    where = ".".join(str(part) for part in location)
    line = _line_of(location, file.read_text(encoding="utf8"))
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        known = _keys_beside(location)
        message = f"unknown key; known here are {listed(known)}{nearest_key(str(location[-1]), known)}"
    return f"{file.name}{f', line {line}' if line else ''}: {where}: {message}" if where else f"{file.name}: {message}"


def _keys_beside(location: tuple[str | int, ...]) -> list[str]:
    """Known keys of the section that `location` points into."""
    fields: dict[str, FieldInfo] = Settings.model_fields
    for part in location[:-1]:
        if isinstance(part, str) and part in fields:
            fields = _section(fields[part].annotation).model_fields
    return sorted(fields.keys() - {"file"})


def _section(annotation: Any) -> type[BaseModel]:
    """The Section class in an annotation such as `Places`, `tuple[Source, ...]` or `dict[str, MartColumn]`."""
    inner = getattr(annotation, "__args__", (annotation,))
    return next((each for each in inner if isinstance(each, type) and issubclass(each, BaseModel)), Section)


def _line_of(location: tuple[str | int, ...], text: str) -> int | None:
    """Line of a key: in the N-th table of its array the first line that sets it, or its header."""
    lines, start, path = text.splitlines(), 0, ""
    for part in location:
        if isinstance(part, int):
            tables = [n for n, row in enumerate(lines) if n >= start and re.match(rf"\s*\[\[{path}\]\]", row)]
            start = tables[part] if part < len(tables) else start
            continue
        path += f"{re.escape('.') if path else ''}{re.escape(part)}"
        end = next((n for n in range(start + 1, len(lines)) if re.match(r"\s*\[", lines[n])), len(lines))
        keys = [n for n in range(start, end) if re.match(rf"\s*\"?{re.escape(part)}\"?\s*[=.]", lines[n])]
        headers = [n for n in range(start, len(lines)) if re.match(rf"\s*\[+{path}[\].]", lines[n])]
        start = next(iter(keys or headers), start)
    return start + 1 if start or (lines and location) else None
