"""The contracts: every table once, with grain, columns, key, partition, retention and who reads it.

DDL, column comments, expectations, Arrow checks, the data dictionary and erasure derive from here. Plain text types
(Spark's DDL names), importable without Spark, torch or Airflow.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

Layer = Literal["bronze", "silver", "gold", "quarantine", "ops"]
TYPES = ("string", "bigint", "int", "double", "float", "boolean", "date", "timestamp")
"""Types of a column; also array<TYPE> and map<TYPE,TYPE>. Spark, DuckDB, Polars and pandas all read them."""


@dataclass(frozen=True)
class Column:
    """One column; `type` is Spark DDL, `required` is NOT NULL, `personal` says that it can point to a person."""

    name: str
    type: str
    comment: str
    required: bool = False
    personal: bool = False


@dataclass(frozen=True)
class Table:
    """One table's contract.

    `key` identifies a row. `period` is the column whose values are rebuilt as a whole: `night` by a run of that night,
    `day`, `week` or `month` when an interaction of it changes, whatever the night. `order` is the column by whose
    ranges readers look for rows: files are sorted by it. `checks` are (name, SQL condition) pairs that each row meets:
    Delta constraints and expectations are made of them.
    """

    layer: Layer
    name: str
    grain: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    period: Literal["night", "day", "week", "month"] | None = None
    retention_days: int | None = None
    order: str | None = None
    checks: tuple[tuple[str, str], ...] = ()
    readers: tuple[str, ...] = ("engineer", "analyst")

    @property
    def full_name(self) -> str:
        """Name in SQL, e.g. `silver.interactions`."""
        return f"{self.layer}.{self.name}"

    @property
    def partition(self) -> str | None:
        """Column that parts the files: nights, weeks and months are many rows each, a day's are few."""
        return None if self.period == "day" else self.period

    def period_of(self, day: date) -> date:
        """The day, week or month (its first day; a week's is its Monday) that a day is in."""
        first = {"week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}
        return first.get(self.period or "", day)

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


def _required(name: str, type: str, comment: str, *, personal: bool = False) -> Column:
    return Column(name, type, comment, required=True, personal=personal)


def _given(*columns: str) -> tuple[tuple[str, str], ...]:
    """Checks: a text that is there has at least one character."""
    return tuple((f"{column}_given", f"{column} <> ''") for column in columns)


# Checks are SQL that Spark and DataFusion (delta-rs, expectations) both read: cardinality(), and not size() or len().
SCORED = ("a_score_per_item", "cardinality(items) = cardinality(scores)")
NIGHT = _required("night", "date", "Logical date of the run that wrote the row")


def _bronze(name: str, what: str) -> Table:
    return Table(
        "bronze",
        name,
        f"One row per record of the {what} files, as it came; nothing is dropped or changed here.",
        (
            _required("row_id", "string", "SHA-256 of source, file and record: the same record of one file has one id"),
            _required("source", "string", "Name of the source in nightloom.toml"),
            _required(
                "raw",
                "string",
                "The record as a JSON object, or the line as it is where it cannot be read",
                personal=True,
            ),
            _required("file", "string", "File it came out of"),
            _required("file_modified_at", "timestamp", "When that file was last written"),
            _required("ingested_at", "timestamp", "When it was read"),
            NIGHT,
        ),
        key=("row_id",),
        checks=(("row_id_is_a_digest", "character_length(row_id) = 64"), *_given("source", "file")),
        readers=("engineer",),
    )


BRONZE_EVENTS = _bronze("events", "event")
BRONZE_ITEMS = _bronze("items", "item")
BRONZE_USERS = _bronze("users", "user")
BRONZE = {"events": BRONZE_EVENTS, "items": BRONZE_ITEMS, "users": BRONZE_USERS}

QUARANTINE_ROWS = Table(
    "quarantine",
    "rows",
    "One row per record that could not be used, with the first reason found and what became of it.",
    (
        _required("row_id", "string", "The record's id in bronze"),
        _required("kind", "string", "events, items or users"),
        _required("source", "string", "Name of the source in nightloom.toml"),
        _required(
            "reason",
            "string",
            "unreadable, missing, type, unknown_event, impossible_value, clock_ahead, too_late, or the name of a rule",
        ),
        _required("detail", "string", "What was found and what was expected"),
        _required("raw", "string", "The record as it came", personal=True),
        _required("file", "string", "File it came out of"),
        NIGHT,
        _required("state", "string", "waiting, replayed or discarded"),
        Column("replayed_as", "string", "Id in bronze of the record that went in again in its place"),
        Column("decided_at", "timestamp", "When it was replayed or discarded, UTC"),
        Column("decided_by", "string", "Who decided, and why"),
    ),
    key=("row_id",),
    checks=(
        ("known_state", "state IN ('waiting', 'replayed', 'discarded')"),
        ("known_kind", "kind IN ('events', 'items', 'users')"),
        *_given("reason", "detail"),
    ),
    readers=("engineer",),
)

INTERACTIONS = Table(
    "silver",
    "interactions",
    "One row per event id: who did what to which item, when, and how strongly.",
    (
        _required("event_id", "string", "The sender's id, or a SHA-256 of the record where the sender gives none"),
        _required("user_id", "string", "Who", personal=True),
        _required("item_id", "string", "Which item"),
        _required("event", "string", "What, one of the declared signals"),
        Column("value", "double", "The event's value if it has one, e.g. a rating or a quantity"),
        _required("weight", "double", "How much it says that the user likes the item; 0 means only seen"),
        _required("occurred_at", "timestamp", "When, UTC"),
        Column("rescued", "map<string,string>", "Fields that came but are not declared", personal=True),
        _required("row_id", "string", "The record's id in bronze"),
        NIGHT,
    ),
    key=("event_id",),
    order="occurred_at",
    checks=(*_given("event_id", "user_id", "item_id", "event"), ("weight_not_negative", "weight >= 0")),
)

ITEMS = Table(
    "silver",
    "items",
    "One row per item that was ever described, as last described.",
    (
        _required("item_id", "string", "The item"),
        _required("title", "string", "Name to show; the id where the source gives none"),
        _required("categories", "array<string>", "Categories, genres, departments"),
        _required("attributes", "map<string,string>", "Declared attributes"),
        _required("available", "boolean", "False: never listed"),
        _required("updated_at", "timestamp", "When it was described so"),
        _required("row_id", "string", "The record's id in bronze"),
        NIGHT,
    ),
    key=("item_id",),
    checks=_given("item_id", "title"),
)

USERS = Table(
    "silver",
    "users",
    "One row per user that was ever described, as last described.",
    (
        _required("user_id", "string", "The user", personal=True),
        _required("attributes", "map<string,string>", "Declared attributes", personal=True),
        _required("updated_at", "timestamp", "When it was described so"),
        _required("row_id", "string", "The record's id in bronze"),
        NIGHT,
    ),
    key=("user_id",),
    checks=_given("user_id"),
)

SILVER = {"events": INTERACTIONS, "items": ITEMS, "users": USERS}

HISTORIES = Table(
    "gold",
    "histories",
    "One row per week and user with any interaction in it: all of them, oldest first.",
    (
        _required("week", "date", "Monday of the week, UTC"),
        _required("user_id", "string", "The user", personal=True),
        _required("items", "array<string>", "Items touched, one entry per interaction, oldest first", personal=True),
        _required("weights", "array<float>", "Weight of each, same order; 0 means only seen"),
        _required("at", "array<timestamp>", "Time of each, same order"),
        _required("event_ids", "array<string>", "Event id of each, same order"),
    ),
    key=("week", "user_id"),
    period="week",
    checks=(
        ("an_item_at_least", "cardinality(items) >= 1"),
        ("a_weight_per_item", "cardinality(items) = cardinality(weights)"),
        ("a_time_per_item", "cardinality(items) = cardinality(at)"),
        ("an_event_per_item", "cardinality(items) = cardinality(event_ids)"),
    ),
)

ITEM_DAYS = Table(
    "gold",
    "item_days",
    "Item performance: one row per day and item with any interaction on that day.",
    (
        _required("day", "date", "The day, UTC"),
        _required("item_id", "string", "The item"),
        _required("events", "bigint", "Interactions"),
        _required("users", "bigint", "Distinct users"),
        _required("weight", "double", "Sum of the interactions' weights"),
        _required("first_at", "timestamp", "First interaction"),
        _required("last_at", "timestamp", "Last interaction"),
    ),
    key=("day", "item_id"),
    period="day",
    checks=(
        ("somebody", "users >= 1"),
        ("no_more_users_than_events", "users <= events"),
        ("weight_not_negative", "weight >= 0"),
        ("first_before_last", "first_at <= last_at"),
    ),
)

ITEM_STATS = Table(
    "gold",
    "item_stats",
    "One row per night and item with any interaction up to that night.",
    (
        NIGHT,
        _required("item_id", "string", "The item"),
        _required("events_1d", "bigint", "Interactions on the night's date"),
        _required("events_7d", "bigint", "Interactions in the 7 days that end with it"),
        _required("events_28d", "bigint", "Interactions in the 28 days that end with it"),
        _required("events", "bigint", "Interactions ever"),
        _required("popularity", "double", "Sum of weights, each day's halved every slate.popular_half_life_days"),
        _required("first_at", "timestamp", "First interaction"),
        _required("last_at", "timestamp", "Last interaction"),
    ),
    key=("night", "item_id"),
    period="night",
    retention_days=90,
    checks=(
        ("windows_hold_each_other", "0 <= events_1d AND events_1d <= events_7d AND events_7d <= events_28d"),
        ("windows_within_all", "events_28d <= events AND events >= 1"),
        ("popularity_not_negative", "popularity >= 0"),
        ("first_before_last", "first_at <= last_at"),
    ),
)

RECOMMENDATIONS = Table(
    "gold",
    "recommendations",
    "One row per night and user: the list to publish, best first. In its files a night has rows just of users whose "
    "list is not that of `full_night`; SQL by this name gives all of them.",
    (
        NIGHT,
        _required("user_id", "string", "The user", personal=True),
        _required("items", "array<string>", "Items, best first; none seen before, all available", personal=True),
        _required("scores", "array<float>", "Score of each, same order; comparable within one list only"),
        _required("model_version", "string", "Version of the registered model that scored it"),
        _required("generated_at", "timestamp", "When it was scored: earlier where nothing has changed for the user"),
        _required("full_night", "date", "The night, this or an earlier one, in which everybody was scored last"),
    ),
    key=("night", "user_id"),
    period="night",
    retention_days=30,
    checks=(*_given("user_id", "model_version"), SCORED),
)

POPULAR = Table(
    "gold",
    "popular",
    "One row per night and segment: the list for whoever has none of their own. Segment `all` is everybody.",
    (
        NIGHT,
        _required("segment", "string", "`all`, or attribute=value of the users it is made from"),
        _required("items", "array<string>", "Items, best first; all available"),
        _required("scores", "array<float>", "Popularity of each, same order"),
    ),
    key=("night", "segment"),
    period="night",
    retention_days=90,
    checks=(*_given("segment"), SCORED),
)

SIMILAR_ITEMS = Table(
    "gold",
    "similar_items",
    "One row per night and item that the model knows: what goes beside it, best first.",
    (
        NIGHT,
        _required("item_id", "string", "The item"),
        _required("items", "array<string>", "Items whose scores it raises most, best first; all available"),
        _required("scores", "array<float>", "How much it raises each, same order; comparable within one list only"),
        _required("model_version", "string", "Version of the registered model that scored it"),
    ),
    key=("night", "item_id"),
    period="night",
    retention_days=30,
    checks=(*_given("item_id", "model_version"), SCORED),
)

DAY = _required("day", "date", "The day, UTC; the newest is as far as it has come in")

USER_DAYS = Table(
    "gold",
    "user_days",
    "User activity: one row per day and user with any interaction on that day.",
    (
        DAY,
        _required("user_id", "string", "The user", personal=True),
        _required("events", "bigint", "Interactions"),
        _required("weight", "double", "Sum of the interactions' weights"),
        _required("by_event", "map<string,bigint>", "Signal -> interactions"),
    ),
    key=("day", "user_id"),
    period="day",
    checks=(("came", "events >= 1"), ("weight_not_negative", "weight >= 0")),
)

DAILY_ACTIVITY = Table(
    "gold",
    "daily_activity",
    "Daily activity: one row per day with any interaction.",
    (
        DAY,
        _required("events", "bigint", "Interactions"),
        _required("users", "bigint", "Distinct users"),
        _required("new_users", "bigint", "Users whose first interaction ever is on this day"),
        _required("items", "bigint", "Distinct items"),
        _required("weight", "double", "Sum of the interactions' weights"),
        _required("by_event", "map<string,bigint>", "Signal -> interactions"),
    ),
    key=("day",),
    checks=(
        ("no_more_users_than_events", "1 <= users AND users <= events"),
        ("new_users_among_users", "0 <= new_users AND new_users <= users"),
        ("no_more_items_than_events", "0 <= items AND items <= events"),
        ("weight_not_negative", "weight >= 0"),
    ),
)

RETENTION = Table(
    "gold",
    "retention",
    "User retention: one row per cohort (week of a user's first interaction) and week since, up to the newest week.",
    (
        _required("cohort_week", "date", "Monday of the week of the users' first interaction"),
        _required("weeks_since", "bigint", "0 is that week itself"),
        _required("cohort_users", "bigint", "Users of the cohort"),
        _required("users", "bigint", "Of them, those with any interaction in this week"),
        _required("share", "double", "users / cohort_users"),
        _required("complete", "boolean", "False: the week is not over in the data"),
    ),
    key=("cohort_week", "weeks_since"),
    checks=(
        ("no_more_than_the_cohort", "0 <= users AND users <= cohort_users"),
        ("everybody_came_first", "weeks_since > 0 OR users = cohort_users"),
    ),
)

OUTCOMES = Table(
    "gold",
    "outcomes",
    "Recommendation outcomes: one row per day and segment, how the lists of the night before did on the day's likes.",
    (
        DAY,
        _required("segment", "string", "`all`, or attribute=value of the users, from 10 users who came"),
        _required("lists_night", "date", "Night of the lists: the day before"),
        _required("model_version", "string", "Version of the registered model that made the lists"),
        _required("k", "bigint", "slate.k: how far down a list a hit counts"),
        _required("lists", "bigint", "Users with a list"),
        _required("came", "bigint", "Of them, those who liked something on the day (weight > 0)"),
        _required("users_hit", "bigint", "Of them, those with a liked item in their first k"),
        _required("liked", "bigint", "Items that they liked, each once a user"),
        _required("hits", "bigint", "Of these, those in the first k"),
        _required("hits_stored", "bigint", "Of these, those anywhere in the stored list"),
        Column(
            "recall", "double", "Mean over who came of hits / liked; what was seen before is no hit: no list has it"
        ),
        Column("precision", "double", "Mean over who came of hits / k"),
        Column("ndcg", "double", "Mean over who came of the discounted gain of the first k over the best possible"),
    ),
    key=("day", "segment"),
    period="day",
    checks=(
        *_given("segment", "model_version"),
        ("some_of_the_lists", "users_hit <= came AND came <= lists"),
        ("some_of_the_likes", "users_hit <= hits AND hits <= hits_stored AND hits_stored <= liked"),
        ("means_are_shares", "coalesce(recall, 0) BETWEEN 0 AND 1 AND coalesce(ndcg, 0) BETWEEN 0 AND 1"),
    ),
)

COVERAGE = Table(
    "gold",
    "coverage",
    "Catalogue coverage: one row per night with lists.",
    (
        NIGHT,
        _required("k", "bigint", "slate.k: the first page"),
        _required("lists", "bigint", "Lists"),
        _required("slots", "bigint", "Places on all first pages"),
        _required("available", "bigint", "Items that may be listed: described and available, or listed"),
        _required("items_first", "bigint", "Items on anybody's first page"),
        _required("items_stored", "bigint", "Items in anybody's stored list"),
        _required("share_first", "double", "items_first / available"),
        _required("share_stored", "double", "items_stored / available"),
        _required("gini", "double", "Of first-page places over available items; 0: equal, near 1: few have all"),
        _required("top_percent_share", "double", "Share of first-page places of the 1% most placed available items"),
        Column("mean_popularity_rank", "double", "Mean rank in gold.item_stats of what is on a first page; 1 is top"),
    ),
    key=("night",),
    period="night",
    checks=(
        ("first_within_stored", "items_first <= items_stored AND items_stored <= available"),
        ("gini_is_a_share", "gini BETWEEN 0 AND 1 AND top_percent_share BETWEEN 0 AND 1"),
    ),
)

QUALITY_TREND = Table(
    "gold",
    "quality_trend",
    "Data quality trend: one row per night, what became of the event rows that came and what the gates said.",
    (
        NIGHT,
        _required("rows_in", "bigint", "Event rows that ingest took"),
        _required("good", "bigint", "Event rows that became interactions"),
        _required("quarantined", "bigint", "Event rows that went to quarantine"),
        _required("set_aside", "bigint", "The rest: came before, or skipped; below 0 where another night's were taken"),
        _required("by_reason", "map<string,bigint>", "Reason -> event rows in quarantine"),
        _required("late", "bigint", "Of the good, those of an earlier day than the night's; first of all the past"),
        _required("waiting", "bigint", "Of the quarantined, those that nobody has replayed or discarded yet"),
        _required("quarantined_others", "bigint", "Item and user rows that went to quarantine"),
        _required("checks_passed", "bigint", "Checks of all gates that held when last asked"),
        _required("checks_failed", "bigint", "Checks that did not and would stop the night"),
        _required("checks_warned", "bigint", "Checks that did not and only warn"),
    ),
    key=("night",),
    period="night",
    checks=(("waiting_among_quarantined", "0 <= waiting AND waiting <= quarantined"),),
)

REOPENINGS = Table(
    "ops",
    "reopenings",
    "One row per day, week or month of a gold table that was there already and was rebuilt, because rows came late.",
    (
        _required("run_id", "string", "As in ops.stages"),
        NIGHT,
        _required("table", "string", "The table rebuilt"),
        _required("period", "date", "The day, or the first day of the week or month"),
        _required("why", "string", "What changed below it, with the number of rows of each cause"),
        _required("rows", "bigint", "Rows of the table below that changed"),
        _required("reopened_at", "timestamp", "When, UTC"),
    ),
    key=("run_id", "table", "period"),
    retention_days=400,
    checks=(("something_changed", "rows >= 1"),),
)

STAGES = Table(
    "ops",
    "stages",
    "The run manifest: one row per run of a stage, written by the stage's frame and never by hand.",
    (
        _required("run_id", "string", "Airflow's run id, or hand-... when a person ran the stage"),
        NIGHT,
        _required("stage", "string", "Name of the stage, as in its command"),
        _required("status", "string", "ok, skipped (nothing to do), closed (a gate) or failed"),
        _required("started_at", "timestamp", "Start of the work, UTC"),
        _required("seconds", "double", "Wall-clock seconds of the work, interpreter start included"),
        _required("reads", "map<string,bigint>", "Table -> version read"),
        _required("writes", "map<string,bigint>", "Table -> version written"),
        _required("rows", "map<string,bigint>", "What was counted -> rows"),
        _required("facts", "map<string,string>", "What else is worth knowing: model version, push, digest"),
        _required("code", "string", "Code revision"),
        _required("config", "string", "Digest of nightloom.toml, places left out"),
        Column("error", "string", "Why it did not end well"),
    ),
    key=("run_id", "stage", "started_at"),
    retention_days=400,
    checks=(("known_status", "status IN ('ok', 'skipped', 'closed', 'failed')"),),
)

GATES = Table(
    "ops",
    "gates",
    "One row per check of a gate, each time the gate was asked.",
    (
        _required("run_id", "string", "As in ops.stages"),
        NIGHT,
        _required("gate", "string", "data, model, slate or marts"),
        _required("check", "string", "What was checked"),
        _required("passed", "boolean", "Whether it held"),
        _required("severity", "string", "stop: the gate closes; warn: it is said and the night goes on"),
        _required("observed", "string", "What was found"),
        _required("expected", "string", "What was expected"),
        _required("checked_at", "timestamp", "When, UTC"),
        Column("override", "string", "Who let the night pass all the same, and why"),
    ),
    key=("run_id", "gate", "check", "checked_at"),
    retention_days=400,
    checks=(("known_severity", "severity IN ('stop', 'warn')"),),
)

EXPECTATIONS = Table(
    "ops",
    "expectations",
    "One row per expectation of a table, each time a gate asked: passed or failed, what was found, and where.",
    (
        _required("run_id", "string", "As in ops.stages"),
        NIGHT,
        _required("table", "string", "The table looked at"),
        _required("expectation", "string", "What was expected of it: type, columns and limits; the same each night"),
        _required("severity", "string", "stop: the gate closes when it fails; warn: it is said and the night goes on"),
        _required("passed", "boolean", "Whether it held"),
        _required("observed", "string", "What was found, with examples", personal=True),
        Column("observed_value", "double", "What was found, where it is a number; of row rules, the share that failed"),
        Column("rows", "bigint", "Rows looked at, where it is about single rows"),
        Column("failed", "bigint", "Rows that broke it, where it is about single rows"),
        _required("samples", "array<string>", "Keys of some of these rows, and what is wrong with them", personal=True),
        _required("files", "array<string>", "Files that these came out of, where bronze still has them"),
        _required("checked_at", "timestamp", "When, UTC; one moment for all of a table's expectations"),
    ),
    key=("run_id", "table", "expectation", "checked_at"),
    retention_days=400,
    checks=(("known_severity", "severity IN ('stop', 'warn')"),),
)

MODEL_VERDICTS = Table(
    "ops",
    "model_verdicts",
    "One row per challenger, each time gate 2 was asked: how it did on the days that judge, and what became of it.",
    (
        _required("run_id", "string", "As in ops.stages"),
        NIGHT,
        _required("version", "string", "The challenger: version of the registered model"),
        _required("model", "string", "Which model it is, as in nightloom.toml"),
        Column("champion", "string", "Version that was champion then"),
        _required("outcome", "string", "promoted, refused, passed (it might, but another was better, or a dry run)"),
        _required("why", "string", "The checks that it failed, or what it gained"),
        _required("metric", "string", "What decides, e.g. ndcg@10"),
        _required("users", "bigint", "Users whose later likes judged"),
        Column("score", "double", "The metric's mean over these users"),
        Column("champion_score", "double", "The champion's, same users and days"),
        Column("popularity_score", "double", "That of the most popular items, same users and days"),
        Column("gain_low", "double", "Lower end of the paired interval of score - champion_score"),
        Column("gain_high", "double", "Upper end"),
        _required("segments", "map<string,double>", "Segment -> the metric's mean in it"),
        _required("judged_at", "timestamp", "When, UTC; one moment for all challengers"),
    ),
    key=("run_id", "version", "judged_at"),
    retention_days=400,
    checks=(("known_outcome", "outcome IN ('promoted', 'refused', 'passed')"),),
)

CHAMPIONS = Table(
    "ops",
    "champions",
    "One row per change of the champion, by gate 2 or by a person.",
    (
        _required("run_id", "string", "As in ops.stages"),
        _required("changed_at", "timestamp", "When, UTC"),
        _required("action", "string", "promoted, or demoted: back to the one before"),
        _required("version", "string", "Who is champion from then on: version of the registered model"),
        _required("model", "string", "Which model it is, as in nightloom.toml"),
        Column("before", "string", "Version that was champion until then"),
        _required("by", "string", "`gate 2`, or the person's name"),
        _required("why", "string", "The reason"),
    ),
    key=("changed_at", "version"),
    checks=(("known_action", "action IN ('promoted', 'demoted')"), *_given("by", "why")),
)

SLATE_RULES = Table(
    "ops",
    "slate_rules",
    "One row per slate rule, each time a night's lists were made: how often it fired, and what it cost.",
    (
        _required("run_id", "string", "As in ops.stages"),
        NIGHT,
        _required("place", "bigint", "The rules apply in this order, from 1"),
        _required("rule", "string", "Name of the rule"),
        _required("kind", "string", "filter, boost, cap, floor, promotion, exploration, pin or diversity"),
        _required("items", "bigint", "Items it speaks of; 0: no item meets its condition"),
        _required("users", "bigint", "Lists that were made"),
        _required("lists", "bigint", "Lists that it changed, next to those by the rules before it"),
        _required("entries", "bigint", "Items that it brought to a first page"),
        _required("score_lost", "double", "By how much it lowered the sum of the model's scores on first pages"),
        _required("relevance_lost", "double", "The same as a share: each user's best candidate counts 1, the last 0"),
        _required("counted_at", "timestamp", "When, UTC; one moment for all rules"),
    ),
    key=("run_id", "rule", "counted_at"),
    retention_days=400,
    checks=(("no_more_lists_than_users", "lists <= users"), *_given("rule")),
)

STORAGE = Table(
    "ops",
    "storage",
    "One row per table and run of the maintenance: what it holds and what was done to it.",
    (
        _required("run_id", "string", "As in ops.stages"),
        NIGHT,
        _required("table", "string", "The table"),
        _required("version", "bigint", "Newest version, after what was done"),
        _required("rows", "bigint", "Rows"),
        _required("files", "bigint", "Data files of the newest version"),
        _required("bytes", "bigint", "Their size"),
        _required("disk_bytes", "bigint", "Size of the table's folder: old versions, change feed and log too"),
        _required("log_files", "bigint", "Files in the Delta log"),
        _required("small_share", "double", "Share of the data files that are small"),
        _required("done", "string", "What was done, in words; `nothing` where nothing was worth it"),
        _required("measured_at", "timestamp", "When, UTC"),
    ),
    key=("run_id", "table", "measured_at"),
    retention_days=400,
)

TABLES: tuple[Table, ...] = (
    BRONZE_EVENTS, BRONZE_ITEMS, BRONZE_USERS, QUARANTINE_ROWS, INTERACTIONS, ITEMS, USERS,
    HISTORIES, ITEM_DAYS, ITEM_STATS, RECOMMENDATIONS, POPULAR, SIMILAR_ITEMS,
    USER_DAYS, DAILY_ACTIVITY, RETENTION, OUTCOMES, COVERAGE, QUALITY_TREND,
    STAGES, GATES, MODEL_VERDICTS, CHAMPIONS, EXPECTATIONS, SLATE_RULES, STORAGE, REOPENINGS,
)  # fmt: skip


def table(full_name: str) -> Table:
    """Contract by its SQL name. Raises KeyError."""
    return {each.full_name: each for each in TABLES}[full_name]
