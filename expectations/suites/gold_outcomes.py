"""gold.outcomes: a mean exists where it has users, and lists are of the night before the day."""

CONDITIONS = {
    "mean_exists_with_users": "(recall IS NULL) = (active_users = 0)",
    "lists_of_previous_night": "lists_night = day - INTERVAL '1 day'",
}
