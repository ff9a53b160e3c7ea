"""bronze.events: every record comes from a declared source of events and keeps an id made from its content."""

import great_expectations as gx

from expectations.contract import Frame, bronze
from nightloom.contracts import BRONZE_EVENTS
from nightloom.settings import Settings

FRAME = Frame(BRONZE_EVENTS)


def suite(settings: Settings) -> gx.ExpectationSuite:
    return bronze(FRAME, "events", settings)
