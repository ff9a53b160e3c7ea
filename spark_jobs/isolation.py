"""Rows on which an expression of nightloom.toml fails -> quarantine, with expression and values; the others go on.

Spark ends a whole job at the first value on which an expression fails. So a stage evaluates its new rows as they are,
and only after a failure takes this way:

1. One pass finds the rows on which an expression raises an exception (parsing.failed_rows).
2. Errors that no expression can catch, such as a regular expression that overflows Java's stack: the rows are halved
   until those that fail are alone.

What is left is evaluated as always.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # it brings no types
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from nightloom.settings import Source
from spark_jobs.context import SparkNight, cached
from spark_jobs.expressions import Expression, column_expressions, rule_expressions
from spark_jobs.parsing import MAX_QUOTED, failed_rows, fault, faulty_rows, parse

Transform = Callable[[DataFrame], DataFrame]
Count = Callable[[DataFrame], dict[str, int]]
SPARK_ERRORS = (PySparkException, Py4JError)
GUARDED = {"spark.sql.subexpressionElimination.enabled": "false"}
MAX_ALONE = 100
"""Rows that are found by halving: each takes some twenty jobs. Where there are more, the stage ends with the error."""
JAVA_ERROR = re.compile(r"\b(?:[a-z]\w*\.)+(?!Spark|Py4J)(\w+(?:Error|Exception)(?:: [^\n]*)?)")


@dataclass(frozen=True)
class Evaluation:
    """How the rows of one kind get their verdicts: parse()'s arguments, and the checks of the table's own file."""

    sources: Sequence[Source]
    types: Mapping[str, str]
    undeclared: bool
    judge: Transform

    def parse(self, rows: DataFrame) -> DataFrame:
        return parse(rows, self.sources, self.types, self.undeclared)

    def judged(self, rows: DataFrame) -> DataFrame:
        """Bronze rows -> rows with verdicts."""
        return self.judge(self.parse(rows))

    def failed(self, rows: DataFrame) -> DataFrame:
        """Bronze rows -> those on which an expression fails, with their faults."""
        return failed_rows(rows, self.sources, self.types)


@contextmanager
def evaluated(
    night: SparkNight, rows: DataFrame, evaluation: Evaluation, use: Count
) -> Iterator[tuple[DataFrame, dict[str, int]]]:
    """Bronze rows -> (rows with verdicts, computed once for several uses; what their first use, `use`, gives).

    Raises Spark's error where it is about nightloom.toml or Spark itself, and not about some of the rows.
    """
    with ExitStack() as stack:
        try:
            found = _first_use(stack, evaluation.judged(rows), use)
        except AnalysisException:
            raise
        except SPARK_ERRORS as error:
            if not evaluation.sources:
                raise
            print(f"warning: {_reason(error)}: the rows on which Spark fails are set apart", file=sys.stderr)
            found = _evaluate_apart(stack, night, rows, evaluation, use)
        yield found


def _first_use(stack: ExitStack, rows: DataFrame, use: Count) -> tuple[DataFrame, dict[str, int]]:
    kept = stack.enter_context(cached(rows))
    return kept, use(kept)


def _materialized(stack: ExitStack, rows: DataFrame) -> DataFrame:
    kept = stack.enter_context(cached(rows))
    kept.count()
    return kept


def _evaluate_apart(
    stack: ExitStack, night: SparkNight, rows: DataFrame, evaluation: Evaluation, use: Count
) -> tuple[DataFrame, dict[str, int]]:
    """evaluated() of rows of which Spark cannot evaluate some."""
    alone: dict[str, str] = {}
    with night.configured(GUARDED):
        try:
            failed = _materialized(stack, evaluation.failed(rows))
        except SPARK_ERRORS:
            alone |= _find_alone(rows, "failed", evaluation)
            failed = _materialized(stack, evaluation.failed(_without(rows, alone)))
    rest = rows.join(failed.select("row_id").distinct(), "row_id", "left_anti").select(*rows.columns)

    def judged() -> DataFrame:
        parsed = evaluation.parse(_without(rest, alone)).unionByName(failed)
        return evaluation.judge(parsed.unionByName(_faulty(rows, alone, evaluation)) if alone else parsed)

    try:
        return _first_use(stack, judged(), use)
    except SPARK_ERRORS:
        alone |= _find_alone(_without(rest, alone), "judged", evaluation)
        return _first_use(stack, judged(), use)


def _find_alone(rows: DataFrame, evaluate: str, evaluation: Evaluation) -> dict[str, str]:
    """Row id -> detail of each row on which a method of the evaluation fails, found by halving the rows of a source.

    Raises the error where there are more than MAX_ALONE.
    """
    found: dict[str, str] = {}
    for source in evaluation.sources:
        own, one = rows.where(F.col("source") == source.name), replace(evaluation, sources=[source], undeclared=False)
        parts = [(0, 0)]
        while parts:
            bits, remainder = parts.pop()
            part = own.where(F.pmod(F.xxhash64("row_id"), F.lit(1 << bits)) == remainder)
            if not (error := _error_of(getattr(one, evaluate)(part))):
                continue
            ids = part.select("row_id").distinct().limit(2).collect()
            if len(ids) > 1:
                parts += [(bits + 1, remainder), (bits + 1, remainder + (1 << bits))]
            elif len(found) == MAX_ALONE:
                raise error
            else:
                found[ids[0].row_id] = _detail(part, error, one)
    return found


def _detail(row: DataFrame, error: Exception, evaluation: Evaluation) -> str:
    """The expression that fails on one row, with the values of the fields that it names."""
    record, (source,) = row.select("raw").first(), evaluation.sources
    assert record is not None
    for each in [*rule_expressions(source), *column_expressions(source, evaluation.types)]:
        if _error_of(parse(row, [_only(source, each)], evaluation.types, undeclared=False)):
            return f"{each.label}: Spark cannot compute {' '.join(each.sql.split())} ({_reason(error)})" + "".join(
                f", {name} is '{value[:MAX_QUOTED]}'" for name, value in _values(record.raw, each.fields(source))
            )
    return f"Spark fails on this record: {_reason(error)}"


def _only(source: Source, each: Expression) -> Source:
    """The source with one of its expressions."""
    section, name = each.key.split(".", 1)
    rules = tuple(rule for rule in source.rules if section == "rules" and rule.name == name)
    own = {part: {name: each.sql} if section == part else {} for part in ("columns", "attributes")}
    return source.model_copy(update=own | {"rules": rules})


def _values(raw: str, fields: Sequence[str]) -> list[tuple[str, str]]:
    try:
        record = json.loads(raw)
    except ValueError:
        return []
    return [(name, str(record.get(name))) for name in fields] if isinstance(record, dict) else []


def _without(rows: DataFrame, alone: Mapping[str, str]) -> DataFrame:
    return rows.where(~F.col("row_id").isin(list(alone))) if alone else rows


def _faulty(rows: DataFrame, alone: Mapping[str, str], evaluation: Evaluation) -> DataFrame:
    pairs = [F.lit(part) for pair in alone.items() for part in pair]
    own = rows.where(F.col("row_id").isin(list(alone)))
    return faulty_rows(own, evaluation.types, fault("impossible_value", F.create_map(*pairs)[F.col("row_id")]))


def _error_of(rows: DataFrame) -> Exception | None:
    """Spark's error when it computes the rows."""
    try:
        rows.write.format("noop").mode("overwrite").save()
    except SPARK_ERRORS as error:
        return error
    return None


def _reason(error: Exception) -> str:
    """Java's own words in Spark's error, in one line."""
    found = JAVA_ERROR.search(str(error))
    return (found[1] if found else str(error).split("\n")[0])[:MAX_QUOTED]
