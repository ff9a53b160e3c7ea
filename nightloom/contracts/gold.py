"""gold: what models train on and what is published. People read the marts (marts.py)."""

from nightloom.contracts.table import NIGHT, Table, non_empty, required

# Spark and DataFusion (delta-rs, expectations) both read the SQL of checks: cardinality(), and not size() or len().
SCORED = ("one_score_per_item", "cardinality(items) = cardinality(scores)")

HISTORIES = Table(
    "gold",
    "histories",
    "One row per week and user with any interaction: the week's interactions, oldest first.",
    (
        required("week", "date", "Monday of the week, UTC"),
        required("user_id", "string", "The user", personal=True),
        required("items", "array<string>", "Item of each interaction, oldest first", personal=True),
        required("weights", "array<float>", "Weight of each, same order; 0 means only seen"),
        required("at", "array<timestamp>", "Time of each, same order"),
        required("event_ids", "array<string>", "Event id of each, same order"),
    ),
    key=("week", "user_id"),
    period="week",
    checks=(
        ("at_least_one_item", "cardinality(items) >= 1"),
        ("one_weight_per_item", "cardinality(items) = cardinality(weights)"),
        ("one_time_per_item", "cardinality(items) = cardinality(at)"),
        ("one_event_per_item", "cardinality(items) = cardinality(event_ids)"),
    ),
)

ITEM_DAYS = Table(
    "gold",
    "item_days",
    "Item performance: one row per day and item with any interaction on that day.",
    (
        required("day", "date", "The day, UTC"),
        required("item_id", "string", "The item"),
        required("events", "bigint", "Interactions"),
        required("users", "bigint", "Distinct users"),
        required("weight", "double", "Sum of the interactions' weights"),
        required("first_at", "timestamp", "First interaction"),
        required("last_at", "timestamp", "Last interaction"),
    ),
    key=("day", "item_id"),
    period="day",
    checks=(
        ("at_least_one_user", "users >= 1"),
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
        required("item_id", "string", "The item"),
        required("events_1d", "bigint", "Interactions on the night's date"),
        required("events_7d", "bigint", "Interactions in the 7 days that end with it"),
        required("events_28d", "bigint", "Interactions in the 28 days that end with it"),
        required("events", "bigint", "Interactions ever"),
        required("popularity", "double", "Sum of weights, each day's halved every slate.popular_half_life_days"),
        required("first_at", "timestamp", "First interaction"),
        required("last_at", "timestamp", "Last interaction"),
    ),
    key=("night", "item_id"),
    period="night",
    retention_days=90,
    checks=(
        ("windows_nested", "0 <= events_1d AND events_1d <= events_7d AND events_7d <= events_28d"),
        ("windows_within_total", "events_28d <= events AND events >= 1"),
        ("popularity_not_negative", "popularity >= 0"),
        ("first_before_last", "first_at <= last_at"),
    ),
)

RECOMMENDATIONS = Table(
    "gold",
    "recommendations",
    "One row per night and user: the list to publish, best first. A night stores only the lists that differ from "
    "those of its `full_night`; SQL by this name gives every user's list.",
    (
        NIGHT,
        required("user_id", "string", "The user", personal=True),
        required("items", "array<string>", "Items, best first; none seen before, all available", personal=True),
        required("scores", "array<float>", "Score of each, same order; comparable within one list only"),
        required("model_version", "string", "Version of the registered model that scored it"),
        required("generated_at", "timestamp", "When it was scored: on an earlier night for an unchanged user"),
        required("full_night", "date", "The newest night, this or an earlier one, in which everybody was scored"),
    ),
    key=("night", "user_id"),
    period="night",
    retention_days=30,
    checks=(*non_empty("user_id", "model_version"), SCORED),
)

POPULAR = Table(
    "gold",
    "popular",
    "One row per night and segment: the list for users without one of their own. Segment `all` is everybody.",
    (
        NIGHT,
        required("segment", "string", "`all`, or attribute=value of the users whose interactions count"),
        required("items", "array<string>", "Items, best first; all available"),
        required("scores", "array<float>", "Popularity of each, same order"),
    ),
    key=("night", "segment"),
    period="night",
    retention_days=90,
    checks=(*non_empty("segment"), SCORED),
)

SIMILAR_ITEMS = Table(
    "gold",
    "similar_items",
    "One row per night and item that the model knows: similar items, best first.",
    (
        NIGHT,
        required("item_id", "string", "The item"),
        required("items", "array<string>", "Items whose scores this item raises most, best first; all available"),
        required("scores", "array<float>", "How much it raises each, same order; comparable within one list only"),
        required("model_version", "string", "Version of the registered model that scored it"),
    ),
    key=("night", "item_id"),
    period="night",
    retention_days=30,
    checks=(*non_empty("item_id", "model_version"), SCORED),
)
