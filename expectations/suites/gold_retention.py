"""gold.retention: the share matches the counts that it is made of."""

CONDITIONS = {"share_is_of_the_cohort": "abs(share - CAST(users AS DOUBLE) / cohort_users) < 1e-8"}
