"""gold.coverage: the shares match the counts that they are made of."""

CONDITIONS = {"shares_fit": "abs(share_first * available - items_first) < 1e-4 AND share_first <= share_stored"}
