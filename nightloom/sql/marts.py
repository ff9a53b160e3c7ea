"""The marts: tables for analysts, each one SELECT over the lake's tables by their names. Ours, and the project's own.

Spark SQL. `:k` and `:stored` are slate.k and slate.stored, `:night` is the date of a mart that adds rows by night. Sums
of floats are rounded: their last digits differ with the order that Spark adds in.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from nightloom import contracts as T
from nightloom.contracts import TABLES, Column, Table
from nightloom.literals import spark_text
from nightloom.night import stages
from nightloom.settings import Mart as Declared
from nightloom.settings import Settings, line_of


@dataclass(frozen=True)
class Mart:
    """A table and the SELECT that builds it.

    table.period decides what is rebuilt. A mart of days, weeks or months is rebuilt for those whose interactions have
    changed, and its SELECT sees only these rows of silver.interactions. A mart of nights gets the night's rows. Any
    other mart is rebuilt completely.

    `follows` names further tables whose changed rows rebuild days: table -> SQL for the day that a row belongs to.
    `every_night` adds missing nights that ended before their marts, e.g. at a closed gate. `line` is the line of
    nightloom.toml on which the SELECT begins; None for ours.
    """

    table: Table
    sql: str
    follows: dict[Table, str] = field(default_factory=dict)
    every_night: bool = False
    in_process: bool = False
    """Whether DuckDB may make it in this process: sqlglot can translate it, and its rows are few, or those of few
    interactions."""
    line: int | None = None

    def location(self, line: int = 1) -> str:
        """The place of a line of its SQL, for error messages."""
        if self.line is None:
            return f"nightloom/sql/marts.py: mart {self.table.full_name}, line {line} of its SQL"
        return f"nightloom.toml, line {self.line + line - 1}: mart {self.table.full_name}"

    def parameters(self, settings: Settings) -> dict[str, str]:
        """The values of `:k` and `:stored` in the SQL."""
        return {"k": str(settings.slate.k), "stored": str(settings.slate.stored)}

    def recipe(self, settings: Settings) -> str:
        """Twelve hex digits that change with its SQL, its parameters or its contract."""
        columns = [(column.name, column.type, column.required) for column in self.table.columns]
        parts = (self.sql, self.parameters(settings), columns, self.table.key, self.table.period)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


USER_DAYS = """
WITH kinds AS (
    SELECT to_date(occurred_at) AS day, user_id, event, count(*) AS n, sum(weight) AS weight
    FROM silver.interactions GROUP BY 1, 2, 3)
SELECT day, user_id, sum(n) AS events, round(sum(weight), 9) AS weight,
       map_from_entries(array_sort(collect_list(struct(event, n)))) AS by_event
FROM kinds GROUP BY day, user_id
"""

# From user days and item days, which are small compared with the events. All days are counted again, since a late event
# may change which day was a user's first.
DAILY_ACTIVITY = """
WITH first AS (SELECT user_id, min(day) AS day FROM gold.user_days GROUP BY user_id),
newcomers AS (SELECT day, count(*) AS new_users FROM first GROUP BY day),
users AS (
    SELECT day, sum(events) AS events, count(*) AS users, round(sum(weight), 9) AS weight
    FROM gold.user_days GROUP BY day),
items AS (SELECT day, count(*) AS items FROM gold.item_days GROUP BY day),
kinds AS (
    SELECT day, map_from_entries(array_sort(collect_list(struct(event, n)))) AS by_event
    FROM (SELECT day, entry.key AS event, sum(entry.value) AS n
          FROM (SELECT day, explode(map_entries(by_event)) AS entry FROM gold.user_days) GROUP BY 1, 2)
    GROUP BY day)
SELECT day, events, users, coalesce(new_users, 0) AS new_users, coalesce(items, 0) AS items, weight, by_event
FROM users JOIN kinds USING (day) LEFT JOIN newcomers USING (day) LEFT JOIN items USING (day)
"""

RETENTION = """
WITH active AS (SELECT DISTINCT user_id, trunc(day, 'WEEK') AS week FROM gold.user_days),
first AS (SELECT user_id, min(week) AS cohort FROM active GROUP BY user_id),
cohorts AS (SELECT cohort, count(*) AS cohort_users FROM first GROUP BY cohort),
came AS (SELECT cohort, week, count(*) AS users FROM active JOIN first USING (user_id) GROUP BY cohort, week),
newest AS (SELECT max(day) AS day, trunc(max(day), 'WEEK') AS week FROM gold.user_days),
weeks AS (
    SELECT cohort, cohort_users, newest.day AS last_day, explode(sequence(cohort, newest.week, INTERVAL 7 DAYS)) AS week
    FROM cohorts CROSS JOIN newest)
SELECT cohort AS cohort_week, CAST(datediff(week, cohort) / 7 AS BIGINT) AS weeks_since, cohort_users,
       coalesce(users, 0) AS users, round(coalesce(users, 0) / cohort_users, 9) AS share,
       date_add(week, 6) <= last_day AS complete
FROM weeks LEFT JOIN came USING (cohort, week)
"""

# Only days that somebody liked something on: the lists of the newest night have none yet. A day whose lists are past
# their retention stays as it was counted.
OUTCOMES = """
WITH days AS (SELECT to_date(occurred_at) AS day, max(weight) AS liked FROM silver.interactions GROUP BY 1),
nights AS (SELECT date_sub(day, 1) AS night FROM days WHERE liked > 0),
liked AS (
    SELECT DISTINCT to_date(occurred_at) AS day, user_id, item_id FROM silver.interactions WHERE weight > 0),
lists AS (
    SELECT /*+ BROADCAST(nights) */ date_add(night, 1) AS day, user_id, items, model_version
    FROM gold.recommendations JOIN nights USING (night)),
placed AS (
    SELECT day, user_id, coalesce(CAST(array_position(items, item_id) AS INT), 0) AS place
    FROM lists JOIN liked USING (day, user_id)),
liking_users AS (
    SELECT day, user_id, count(*) AS liked, count_if(place BETWEEN 1 AND :k) AS hits,
           count_if(place > 0) AS hits_stored,
           sum(CASE WHEN place BETWEEN 1 AND :k THEN 1 / log2(place + 1) ELSE 0 END)
           / aggregate(sequence(1, least(:k, count(*))), 0D, (sum, n) -> sum + 1 / log2(n + 1)) AS ndcg
    FROM placed GROUP BY day, user_id),
groups AS (
    SELECT user_id, transform(filter(map_entries(attributes), each -> each.value IS NOT NULL),
                              each -> concat(each.key, '=', each.value)) AS segments FROM silver.users),
parts AS (
    SELECT * FROM lists LEFT JOIN liking_users USING (day, user_id) LEFT JOIN groups USING (user_id)
    LATERAL VIEW explode(concat(array('all'), coalesce(segments, array()))) AS segment)
SELECT day, segment, date_sub(day, 1) AS lists_night, max(model_version) AS model_version, CAST(:k AS BIGINT) AS k,
       count(*) AS lists, count(liked) AS active_users, count_if(hits > 0) AS users_hit,
       coalesce(sum(liked), 0) AS liked, coalesce(sum(hits), 0) AS hits, coalesce(sum(hits_stored), 0) AS hits_stored,
       round(avg(hits / liked), 9) AS recall, round(avg(hits / :k), 9) AS precision, round(avg(ndcg), 9) AS ndcg
FROM parts GROUP BY day, segment HAVING segment = 'all' OR count(liked) >= 10
UNION ALL
SELECT * FROM gold.outcomes WHERE day IN (SELECT day FROM days)
    AND lists_night NOT IN (SELECT night FROM gold.recommendations)
"""

# `spread` has a row per number of places that an item can have, not per item: the ranks within are sums.
COVERAGE = """
WITH lists AS (SELECT items FROM gold.recommendations WHERE night = :night),
entries AS (
    SELECT explode(slice(items, 1, :k)) AS item_id, 1 AS first FROM lists
    UNION ALL SELECT explode(items), 0 FROM lists),
listed AS (SELECT item_id, sum(first) AS times FROM entries GROUP BY item_id),
known AS (
    SELECT coalesce(times, 0) AS times, times IS NOT NULL AS stored
    FROM (SELECT item_id, available FROM silver.items) FULL JOIN listed USING (item_id)
    WHERE coalesce(available, true)),
spread AS (SELECT times, count(*) AS n, count_if(stored) AS stored FROM known GROUP BY times),
ranked AS (
    SELECT s.times, s.n, s.stored, coalesce(sum(o.n) FILTER (WHERE o.times < s.times), 0) AS below,
           coalesce(sum(o.n) FILTER (WHERE o.times > s.times), 0) AS above, sum(o.n) AS items,
           sum(o.times * o.n) AS slots
    FROM spread s CROSS JOIN spread o GROUP BY s.times, s.n, s.stored),
popularity AS (
    SELECT item_id, row_number() OVER (PARTITION BY night ORDER BY popularity DESC, events DESC, item_id) AS rank
    FROM gold.item_stats WHERE night = :night),
placed AS (
    SELECT sum(times * coalesce(rank, (SELECT count(*) + 1 FROM popularity))) / sum(times) AS mean_rank
    FROM listed LEFT JOIN popularity USING (item_id))
SELECT CAST(:k AS BIGINT) AS k, (SELECT count(*) FROM lists) AS lists, max(slots) AS slots, max(items) AS available,
       sum(n) FILTER (WHERE times > 0) AS items_first, sum(stored) AS items_stored,
       round(sum(n) FILTER (WHERE times > 0) / max(items), 9) AS share_first,
       round(sum(stored) / max(items), 9) AS share_stored,
       round(2 * sum(times * n * (below + (n + 1) / 2)) / (max(items) * max(slots)) - 1 - 1 / max(items), 9) AS gini,
       round(sum(times * least(n, greatest(0, ceil(items / 100) - above))) / max(slots), 9) AS top_percent_share,
       round((SELECT mean_rank FROM placed), 9) AS mean_popularity_rank
FROM ranked HAVING max(slots) > 0
"""

# From the tables and not from what stages counted: a stage that was killed after its commit has counted nothing.
QUALITY_TREND = f"""
WITH came AS (SELECT count(*) AS rows_in FROM bronze.events WHERE night = :night),
used AS (
    SELECT count(*) AS good, count_if(to_date(occurred_at) < night) AS late
    FROM silver.interactions WHERE night = :night),
unused AS (SELECT count(*) AS set_aside FROM silver.unused_rows WHERE night = :night AND kind = 'events'),
bad AS (SELECT kind, reason, count(*) AS n, count_if(state = 'waiting') AS waiting FROM quarantine.rows
        WHERE night = :night GROUP BY kind, reason),
faults AS (
    SELECT coalesce(sum(n) FILTER (WHERE kind = 'events'), 0) AS quarantined,
           coalesce(sum(waiting) FILTER (WHERE kind = 'events'), 0) AS waiting,
           coalesce(sum(n) FILTER (WHERE kind <> 'events'), 0) AS quarantined_others,
           map_from_entries(array_sort(coalesce(
               collect_list(struct(reason, n)) FILTER (WHERE kind = 'events'), array()))) AS by_reason
    FROM bad),
asked AS (
    SELECT *, rank() OVER (PARTITION BY gate ORDER BY checked_at DESC) AS attempt
    FROM ops.gates WHERE night = :night AND gate <> {spark_text(stages.MARTS_CHECK.gate)}),
messages AS (
    SELECT count_if(passed) AS checks_passed, count_if(NOT passed AND severity = 'stop') AS checks_failed,
           count_if(NOT passed AND severity = 'warn') AS checks_warned FROM asked WHERE attempt = 1)
SELECT rows_in, good, quarantined, set_aside, by_reason, late, waiting,
       quarantined_others, checks_passed, checks_failed, checks_warned
FROM came CROSS JOIN used CROSS JOIN unused CROSS JOIN faults CROSS JOIN messages
"""

MARTS = (
    Mart(T.USER_DAYS, USER_DAYS, in_process=True),
    Mart(T.DAILY_ACTIVITY, DAILY_ACTIVITY, in_process=True),
    Mart(T.RETENTION, RETENTION, in_process=True),
    Mart(T.OUTCOMES, OUTCOMES, {T.RECOMMENDATIONS: "date_add(night, 1)"}, in_process=True),
    Mart(T.COVERAGE, COVERAGE, in_process=True),
    Mart(T.QUALITY_TREND, QUALITY_TREND, every_night=True, in_process=True),
)


def all_marts(settings: Settings) -> tuple[Mart, ...]:
    """Ours, then the project's in the order of the file: a mart may read those before it."""
    return (*MARTS, *(_mart(settings, number, each) for number, each in enumerate(settings.marts)))


def all_tables(settings: Settings) -> tuple[Table, ...]:
    """Every table of the lake, the project's own among them."""
    return (*TABLES, *(_table(each) for each in settings.marts))


def _mart(settings: Settings, number: int, declared: Declared) -> Mart:
    key = line_of(settings, "marts", number, "sql")
    text = settings.file.read_text(encoding="utf8").splitlines()[key - 1]
    below = re.search(r"=\s*(\"{3}|'{3})\s*$", text)  # the SELECT begins on the line after its quotes
    return Mart(_table(declared), declared.sql, line=key + bool(below))


def _table(declared: Declared) -> Table:
    """The contract of a declared mart."""
    key = declared.key
    columns = [
        Column(
            name, column.type.replace(" ", ""), column.comment or name,
            required=name in key, personal=column.personal or name == "user_id",
        )
        for name, column in declared.columns.items()
    ]  # fmt: skip
    if declared.period == "night":
        key, columns = ("night", *key), [T.NIGHT, *columns]
    return Table("gold", declared.name, declared.grain, tuple(columns), key, period=declared.period)
