"""What an event of a source is, how much it says, and which rows of it say nothing: column `event`, signals, rules."""

from __future__ import annotations

import math

from nightloom.literals import spark_text
from spark_jobs.draft.columns import FEW, Column
from spark_jobs.draft.roles import Judged
from spark_jobs.draft.section import Question, Rule, SignalDraft, SourceDraft
from spark_jobs.draft.vocabulary import EVENT_WEIGHTS, PURCHASE, UNLIKED, behaviour_of, match_of, words_of

SCALES = ((1, 5), (0, 1), (0, 5), (1, 10), (0, 10), (-1, 1), (0, 100))
"""Scales of opinions; the first that holds every value of the sample is taken."""
LIKED = 0.7
"""From this part of a scale on, an opinion says that the user likes the item: 4 of 1 to 5."""
ODD_SHARE = 0.05, 0.95
"""A share of likes outside of these bounds is a question."""


def draft_event(draft: SourceDraft, judged: Judged) -> list[SignalDraft]:
    """The columns `event` and `value` of a source of events, its rules -> its signals."""
    value = judged.roles["value"].column if "value" in judged.roles else None
    if value:
        draft.columns["value"] = draft.use(value, "double")
        draft.reasons["value"] = judged.roles["value"].reasons
    _skip_missing(draft, judged)
    if "event" in judged.roles:
        return _named_events(draft, judged.roles["event"].column, judged.roles["event"].reasons)
    event, why = _constant_event(judged, value)
    draft.columns["event"], draft.reasons["event"] = spark_text(event), why
    if event == "rating":
        assert value is not None
        return [_opinion(draft, event, value)]
    if value and any(number <= 0 for number in value.numbers) and event == "purchase":
        lost = sum(number <= 0 for number in value.numbers)
        draft.rules.append(Rule("nothing_bought", f"{draft.use(value, 'double')} <= 0", f"{lost:,} rows of the sample"))
    return [SignalDraft(event, 1.0, "the only event of its source")]


def _skip_missing(draft: SourceDraft, judged: Judged) -> None:
    """Rules for rows without a user or an item: there is nothing to learn of them."""
    for name, rule in (("user_id", "no_user"), ("item_id", "no_item")):
        if name in judged.roles and (
            lost := len(judged.roles[name].column.texts) - len(judged.roles[name].column.filled)
        ):
            field = draft.use(judged.roles[name].column)
            draft.rules.append(Rule(rule, f"{field} IS NULL", f"{lost:,} rows of the sample"))


def _named_events(draft: SourceDraft, column: Column, why: str) -> list[SignalDraft]:
    """A signal for each event that the column names, and a rule for those that say nothing good."""
    draft.columns["event"], draft.reasons["event"] = draft.use(column), why
    unliked = sorted(value for value in column.counts if {*words_of(value), "".join(words_of(value))} & UNLIKED)
    if unliked:
        draft.rules.append(Rule("not_liked", _among(draft, column, unliked), f"events: {', '.join(unliked)}"))
    signals, unknown = [], []
    for event, times in column.counts.most_common():
        if event in unliked:
            continue
        kind = behaviour_of(event)
        weight = EVENT_WEIGHTS[kind][0] if kind else EVENT_WEIGHTS["views"][0]
        signals.append(SignalDraft(event, weight, f"{times:,} in the sample, {kind or 'of a kind that is not known'}"))
        unknown += [] if kind else [event]
    if unknown:
        text = f"what do these events say of an item: {', '.join(unknown)}? Their weight in [[signals]] is a guess."
        draft.questions.append(Question("event", text))
    return signals


def _among(draft: SourceDraft, column: Column, values: list[str]) -> str:
    return f"{draft.use(column)} IN ({', '.join(map(spark_text, values))})"


def _constant_event(judged: Judged, value: Column | None) -> tuple[str, str]:
    """(The one event of a source without a column of events, why)."""
    named = [column.name for column in judged.files.columns if {*words_of(column.name)} & PURCHASE]
    file = {*words_of(judged.files.name.replace("_", " "))} & PURCHASE
    if value and match_of(value.name, "value") == 1:
        return "rating", f"{value.name} is an opinion"
    if value and any(match_of(value.name, role) == 1 for role in ("amount", "money")):
        return "purchase", f"{value.name} is a number or a price of what was bought"
    if named or file:
        return "purchase", f"the name of {named[0] if named else 'the file'} says so"
    if value and not match_of(value.name, "uses"):
        return "rating", f"{value.name} has few different numbers"
    return "view", "no column says what people did"


def _opinion(draft: SourceDraft, event: str, value: Column) -> SignalDraft:
    """The signal of ratings: a like is one from the upper part of the scale."""
    low, high = scale_of(value)
    least = low + LIKED * (high - low)
    step = 1 if all(number.is_integer() for number in value.numbers) else 0.5
    min_value = math.ceil(round(least / step, 6)) * step
    share = sum(number >= min_value for number in value.numbers) / len(value.numbers)
    why = f"{share:.0%} of the sample have {min_value:g} or more"
    if len(value.numbers) >= FEW and not ODD_SHARE[0] <= share <= ODD_SHARE[1]:
        draft.questions.append(Question("value", f"from which {value.name} on does a user like the item? {why}."))
    return SignalDraft(event, 1.0, why, min_value, (low, high))


def scale_of(value: Column) -> tuple[float, float]:
    """Least and greatest opinion: those of a usual scale, else of the sample."""
    bounds = min(value.numbers), max(value.numbers)
    usual = (scale for scale in SCALES if scale[0] <= bounds[0] and bounds[1] <= scale[1])
    return next(usual, bounds)
