"""[gates.data], [gates.model], [gates.slate]: what stops a night."""

from typing import Literal

from pydantic import Field

from nightloom.section import MOST_DAYS, Section


class DataGate(Section):
    """Gate 1, on the night's ingested and cleaned data."""

    max_quarantined: float = Field(0.2, ge=0, le=1)
    """Largest share of the night's new event rows that may be in quarantine."""
    min_rows: int = Field(1, ge=0)
    """Least number of interactions up to the night."""
    past_nights: int = Field(28, ge=3, le=MOST_DAYS)
    """Number of earlier nights that a night is compared with. With fewer than 3 earlier nights, nothing is compared."""
    max_rows_change: float = Field(0.5, gt=0)
    """A source's rows may be this share more or fewer than the median of the same weekday, or of all these nights."""
    max_age_hours: float = Field(24.0, gt=0)
    """The newest event may be this much older than the end of the night's day."""
    max_undescribed: float = Field(0.05, ge=0, le=1)
    """Largest share of the night's interactions whose item, or user, no source has described."""
    max_drift: float = Field(0.25, gt=0)
    """Largest population stability index of event types, values, hours and categories against the nights before."""
    stop_on: tuple[Literal["rows", "age", "undescribed", "drift"], ...] = ()
    """Which of these comparisons close the gate; the others warn."""


class ModelGate(Section):
    """Gate 2, which compares challengers with the champion and with popularity on the same later days."""

    mode: Literal["disabled", "dry_run", "enabled"] = "enabled"
    """`enabled`: the best challenger that passes is promoted. `dry_run`: challengers are evaluated and recorded, but no
    alias moves. `disabled`: the newest challenger is promoted without an evaluation, and ops.gates records that."""
    metric: Literal["ndcg", "recall", "mrr", "hit_rate"] = "ndcg"
    """The metric that decides."""
    k: int = Field(10, ge=1)
    """Length of the list that the metric evaluates."""
    min_gain: float = 0.0
    """The lower end of the paired interval of challenger minus champion must be above this. It is a 95 % interval for
    all challengers of a night together: with n challengers, the interval of each is one of 100 - 5/n %."""
    segment_loss: float = Field(0.1, ge=0, le=1)
    """The non-inferiority margin: on every segment (new, warm and hot users, tail items) a challenger must show that it
    loses less than this share of the champion's metric there. With few users the margin is the smallest loss that they
    can show, and the check says so. Segments of fewer than 10 users are not compared."""
    segment_level: float = Field(0.95, gt=0.5, lt=1)
    """The level of that one-sided test, for all challengers of a night together: with n challengers, each is tested at
    1 - (1 - segment_level)/n. So more challengers never make it easier to pass."""


class SlateGate(Section):
    """Gate 3, on the lists that are to be published."""

    min_coverage: float = Field(0.99, ge=0, le=1)
    """Least share of known users with a list."""
    min_fill: float = Field(0.9, ge=0, le=1)
    """Least share of full lists."""
    min_catalogue: float = Field(0.01, ge=0, le=1)
    """Least share of available items that are in the first k of any list."""
    min_overlap: float = Field(0.0, ge=0, le=1)
    """Least mean overlap with the lists served now, first k, same model version; 0 switches the check off."""
    active_days: int = Field(28, ge=1, le=MOST_DAYS)
    """Users with an interaction in this many last days are active. `min_coverage` also applies to active users
    alone."""
    max_fallback: float = Field(1.0, ge=0, le=1)
    """Largest share of active users without a list of their own: none, or the popular list without items they have
    seen."""
    max_score_drift: float = Field(0.25, gt=0)
    """Largest population stability index of users' mean score against the lists served now, first k, same model
    version."""
    max_rows_loss: float = Field(0.5, ge=0, le=1)
    """The lists may be this share fewer than those served now."""
    max_empty: float = Field(0.05, ge=0, le=1)
    """Largest share of empty lists. The list of a user who has seen every item is empty, and the API answers with the
    popular list."""
    max_missed_places: float = Field(0.2, ge=0, le=1)
    """Largest share of first pages on which a floor, a promotion, a pin or the exploration lacks a place."""
    stop_on: tuple[Literal["fallback", "score_drift", "rows_loss", "places", "empty"], ...] = ("rows_loss",)
    """Which of these comparisons close the gate; the others warn. A filter or a cap that is broken always closes it."""


class Gates(Section):
    data: DataGate = DataGate()
    model: ModelGate = ModelGate()
    slate: SlateGate = SlateGate()
