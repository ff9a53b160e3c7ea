"""Settings and samples of the files -> what a night makes of them: good rows, skipped ones, quarantine and why.

The rows go the way of bronze and silver: the same readers, the same parser, the same checks. Nothing is written.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.contracts import BRONZE
from nightloom.lake import arrow_schema, now
from nightloom.settings import Settings, Source
from spark_jobs import silver_interactions, silver_items, silver_users
from spark_jobs.cluster import is_cluster
from spark_jobs.configuration import LAPTOP
from spark_jobs.context import SparkNight
from spark_jobs.draft.samples import Sample, spread, take_sample
from spark_jobs.isolation import Evaluation, evaluated
from spark_jobs.landing import find_file, present_files
from spark_jobs.parsing import GOOD, QUARANTINE, SKIP
from spark_jobs.readers.record import Layout

MOST_FILES = 4
"""Files of a source that are sampled: the first, the last and two between, by name."""
TYPES = {"events": silver_interactions.TYPES, "items": silver_items.TYPES, "users": silver_users.TYPES}
NO_NIGHTS = "source string, night date, _read_before date"


@dataclass
class SourcePreview:
    """What a night makes of a sample of a source."""

    name: str
    kind: str
    files: int
    read: int = 0
    """Records of the sample."""
    good: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Rule -> rows."""
    quarantined: Counter[str] = field(default_factory=Counter)
    """Reason -> rows."""
    details: dict[str, str] = field(default_factory=dict)
    """Reason -> the detail of one such row."""


@dataclass(frozen=True)
class Preview:
    """What a night makes of a project's files, by samples."""

    sources: Sequence[SourcePreview]
    users: int
    items: int
    first: date | None
    last: date | None
    """The days of the good events."""
    days: int
    """Days with a good event."""
    likes: int
    """Good events with a weight above 0."""


def sample_files(source: Source, settings: Settings) -> tuple[list[Sample], int]:
    """(Samples of a source's files, how many files it has). A Kafka topic has none."""
    if source.path is None:
        return [], 0
    states = present_files(source, settings.root)
    names = spread(sorted(states), MOST_FILES)
    samples = [take_sample(find_file(settings.root, name), name, states[name].modified / 1e6) for name in names]
    return samples, len(states)


def preview(night: SparkNight) -> Preview:
    """The preview of the night's settings."""
    found, totals = dict[str, SourcePreview](), dict[str, Any]()
    for kind in BRONZE:
        samples = {}
        for source in night.settings.sources_of(kind):
            if source.is_of_files:
                samples[source.name], files = sample_files(source, night.settings)
                found[source.name] = SourcePreview(source.name, kind, files)
        if any(samples.values()):
            print(f"a sample of {', '.join(samples)} goes through the checks of a night", file=sys.stderr, flush=True)
            with judged_rows(night, kind, samples) as judged:
                _count(judged, found)
                totals |= _totals(night.settings, judged) if kind == "events" else {}
    none: dict[str, Any] = {"users": 0, "items": 0, "first": None, "last": None, "days": 0, "likes": 0}
    return Preview([*found.values()], **(none | totals))


@contextmanager
def judged_rows(night: SparkNight, kind: str, samples: Mapping[str, Sequence[Sample]]) -> Iterator[DataFrame]:
    """The records of samples (source -> its samples) of one kind with their verdicts, as in a first night."""
    sources = [source for source in night.settings.sources_of(kind) if source.name in samples]
    rows = [row for source in sources for sample in samples[source.name] for row in _rows(source, sample)]
    given = {"ingested_at": now(), "night": night.date, "file_summary": None}
    bronze = pa.Table.from_pylist([row | given for row in rows], schema=arrow_schema(BRONZE[kind]))
    evaluation = Evaluation(sources, TYPES[kind], undeclared=False, judge=lambda parsed: _verdicts(night, kind, parsed))
    with evaluated(night, night.spark.createDataFrame(bronze), evaluation, _read) as (judged, _):
        yield judged


def _read(judged: DataFrame) -> dict[str, int]:
    return {"read": judged.count()}


def _rows(source: Source, sample: Sample) -> Iterator[dict[str, Any]]:
    for raw, lines, problem in sample.records(Layout.of(source)):
        key = sha256(f"{source.name}|{sample.name}|{raw}".encode()).hexdigest()
        record = {"raw": raw, "lines": lines, "problem": problem}
        yield record | {"row_id": key, "source": source.name, "file": sample.name, "file_modified_at": sample.modified}


def _count(judged: DataFrame, found: Mapping[str, SourcePreview]) -> None:
    """Add the verdicts of the rows to the previews of their sources."""
    counts = judged.groupBy("source", "verdict.outcome", "verdict.reason").agg(
        F.count("*").alias("rows"), F.min("verdict.detail").alias("detail")
    )
    for source, outcome, reason, number, detail in counts.collect():
        own = found[source]
        own.read += number
        if outcome == GOOD:
            own.good += number
        if outcome == SKIP:
            own.skipped[reason] += number
        if outcome == QUARANTINE:
            own.quarantined[reason] += number
            own.details[reason] = detail


def _verdicts(night: SparkNight, kind: str, parsed: DataFrame) -> DataFrame:
    """Parsed rows -> rows with the verdicts of the table's own stage, as in a first night."""
    if kind == "events":
        before = night.spark.createDataFrame([], NO_NIGHTS)
        return silver_interactions.judge(parsed, night.settings, before)
    judge = silver_items.judge if kind == "items" else silver_users.judge
    return judge(parsed, night.settings)


def _totals(settings: Settings, judged: DataFrame) -> dict[str, Any]:
    good = judged.where(F.col("verdict.outcome") == GOOD)
    weighed = silver_interactions.interactions(good, settings.signals)
    day = F.to_date("occurred_at")
    (row,) = weighed.agg(
        F.count_distinct("user_id").alias("users"), F.count_distinct("item_id").alias("items"),
        F.min(day).alias("first"), F.max(day).alias("last"), F.count_distinct(day).alias("days"),
        F.count(F.when(F.col("weight") > 0, True)).alias("likes"),
    ).collect()  # fmt: skip
    return row.asDict()


def open_night(settings: Settings) -> SparkNight:
    """A night that only looks, of today; on this machine, also where the project's nights run on a cluster.

    Spark's warnings are about its own plans: whoever looks at files cannot do anything about them.
    """
    quiet = settings.spark.model_copy(update={"settings": {"spark.log.level": "ERROR"} | settings.spark.settings})
    settings = settings.model_copy(update={"spark": quiet})
    if is_cluster(settings.places.spark):
        here = settings.places.model_copy(update={"spark": LAPTOP})
        settings = settings.model_copy(update={"places": here})
    return SparkNight(date=datetime.now(UTC).date(), settings=settings, run_id="check", stage="check")
