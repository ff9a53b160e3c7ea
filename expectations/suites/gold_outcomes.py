"""gold.outcomes: a mean exists where it has users, and lists are of the night before the day."""

CONDITIONS = {
    "mean_where_somebody_came": "(recall IS NULL) = (came = 0)",
    "of_the_night_before": "lists_night = day - INTERVAL '1 day'",
}
