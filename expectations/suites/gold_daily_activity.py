"""gold.daily_activity: the interactions of all signals add up to the interactions."""

CONDITIONS = {"signals_add_up": "array_sum(map_values(by_event)) = events"}
