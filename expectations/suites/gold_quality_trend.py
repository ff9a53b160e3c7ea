"""gold.quality_trend: every row that was ingested is accounted for."""

CONDITIONS = {"all_accounted_for": "rows_in = good + quarantined + set_aside"}
