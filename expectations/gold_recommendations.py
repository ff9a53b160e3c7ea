"""gold.recommendations: lists are ranked, no item twice, at most as long as stored. Seen items: a check of gate 3.

Slate rules may put items in another order than their scores, and leave nothing of a list.
"""

import great_expectations as gx

from expectations import contract
from expectations.contract import LIST_COLUMNS, Frame, ranked
from nightloom.contracts import RECOMMENDATIONS
from nightloom.settings import Settings

FRAME = Frame(RECOMMENDATIONS, LIST_COLUMNS)


def suite(settings: Settings) -> gx.ExpectationSuite:
    slate = settings.slate
    return contract.suite(FRAME, ranked(settings, by_score=slate.by_score, least=0 if slate.rules else 1))
