"""gold, the marts: tables that answer the usual questions about users, items, lists and data quality."""

from nightloom.contracts.table import NIGHT, Column, Table, non_empty, required

DAY = required("day", "date", "The day, UTC; the newest one may be incomplete")

USER_DAYS = Table(
    "gold",
    "user_days",
    "User activity: one row per day and user with any interaction on that day.",
    (
        DAY,
        required("user_id", "string", "The user", personal=True),
        required("events", "bigint", "Interactions"),
        required("weight", "double", "Sum of the interactions' weights"),
        required("by_event", "map<string,bigint>", "Signal -> interactions"),
    ),
    key=("day", "user_id"),
    period="day",
    checks=(("at_least_one_event", "events >= 1"), ("weight_not_negative", "weight >= 0")),
)

DAILY_ACTIVITY = Table(
    "gold",
    "daily_activity",
    "Daily activity: one row per day with any interaction.",
    (
        DAY,
        required("events", "bigint", "Interactions"),
        required("users", "bigint", "Distinct users"),
        required("new_users", "bigint", "Users whose first interaction ever is on this day"),
        required("items", "bigint", "Distinct items"),
        required("weight", "double", "Sum of the interactions' weights"),
        required("by_event", "map<string,bigint>", "Signal -> interactions"),
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
        required("cohort_week", "date", "Monday of the week of the users' first interaction"),
        required("weeks_since", "bigint", "0 is that week itself"),
        required("cohort_users", "bigint", "Users of the cohort"),
        required("users", "bigint", "Of them, those with any interaction in this week"),
        required("share", "double", "users / cohort_users"),
        required("complete", "boolean", "False: the week is not over in the data"),
    ),
    key=("cohort_week", "weeks_since"),
    checks=(
        ("users_within_cohort", "0 <= users AND users <= cohort_users"),
        ("first_week_has_all_users", "weeks_since > 0 OR users = cohort_users"),
    ),
)

OUTCOMES = Table(
    "gold",
    "outcomes",
    "Recommendation outcomes: one row per day and segment, how good the previous night's lists were for its likes.",
    (
        DAY,
        required("segment", "string", "`all`, or attribute=value of the users; only segments of 10 active users"),
        required("lists_night", "date", "Night of the lists: the day before"),
        required("model_version", "string", "Version of the registered model that made the lists"),
        required("k", "bigint", "slate.k: how far down a list a hit counts"),
        required("lists", "bigint", "Users with a list"),
        required("active_users", "bigint", "Of them, active users: those who liked an item on the day (weight > 0)"),
        required("users_hit", "bigint", "Of them, those with a liked item in their first k"),
        required("liked", "bigint", "Items that they liked, counted once per user"),
        required("hits", "bigint", "Of these, items in the first k"),
        required("hits_stored", "bigint", "Of these, items anywhere in the stored list"),
        Column(
            "recall", "double", "Mean over active users of hits / liked; no list has items that its user saw before"
        ),
        Column("precision", "double", "Mean over active users of hits / k"),
        Column("ndcg", "double", "Mean over active users of the discounted gain of the first k over the best possible"),
    ),
    key=("day", "segment"),
    period="day",
    checks=(
        *non_empty("segment", "model_version"),
        ("users_within_lists", "users_hit <= active_users AND active_users <= lists"),
        ("hits_within_likes", "users_hit <= hits AND hits <= hits_stored AND hits_stored <= liked"),
        ("means_are_shares", "coalesce(recall, 0) BETWEEN 0 AND 1 AND coalesce(ndcg, 0) BETWEEN 0 AND 1"),
    ),
)

COVERAGE = Table(
    "gold",
    "coverage",
    "Catalogue coverage: one row per night with lists.",
    (
        NIGHT,
        required("k", "bigint", "slate.k: the first page"),
        required("lists", "bigint", "Lists"),
        required("slots", "bigint", "Places on all first pages"),
        required("available", "bigint", "Items that may be listed: described and available, or listed"),
        required("items_first", "bigint", "Items on any first page"),
        required("items_stored", "bigint", "Items in any stored list"),
        required("share_first", "double", "items_first / available"),
        required("share_stored", "double", "items_stored / available"),
        required("gini", "double", "Gini of first-page places over available items; 0: equal, near 1: few have all"),
        required("top_percent_share", "double", "Share of first-page places of the 1% most placed available items"),
        Column("mean_popularity_rank", "double", "Mean rank of first-page items in gold.item_stats; 1: most popular"),
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
    "Data quality trend: one row per night, with the outcome of its ingested event rows and of the gates' checks.",
    (
        NIGHT,
        required("rows_in", "bigint", "Event rows that were ingested"),
        required("good", "bigint", "Event rows that became interactions"),
        required("quarantined", "bigint", "Event rows that went to quarantine"),
        required("set_aside", "bigint", "Event rows that were not used: duplicates, and those that a rule skipped"),
        required("by_reason", "map<string,bigint>", "Reason -> event rows in quarantine"),
        required("late", "bigint", "Of the good rows, those of an earlier day than the night's"),
        required("waiting", "bigint", "Of the quarantined rows, those not yet replayed or discarded"),
        required("quarantined_others", "bigint", "Item and user rows that went to quarantine"),
        required("checks_passed", "bigint", "Checks of all gates that passed in their last run"),
        required("checks_failed", "bigint", "Checks that failed and stop the night"),
        required("checks_warned", "bigint", "Checks that failed and only warn"),
    ),
    key=("night",),
    period="night",
    checks=(("waiting_among_quarantined", "0 <= waiting AND waiting <= quarantined"),),
)
