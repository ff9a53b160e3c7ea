"""gold.recommendations: the best that is left, for every user of the night."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from models.base import Examples, Histories, no_report, positions
from models.popularity import Popularity, PopularityParams
from nightloom.contracts import HISTORIES, USERS
from spark_jobs.gold_recommendations import recommendations, with_attributes
from spark_jobs.scoring import lists, score
from spark_jobs.sent_model import SentModel
from tests.spark_jobs.small_project import NOON, Row, frame

ITEMS = np.array(["a", "b", "c", "d"])


def model() -> Popularity:
    """Likes d 4 times, c 3 times, b twice, a once: the best is d."""
    likes = np.repeat(np.arange(4, dtype=np.int32), [1, 2, 3, 4])
    n = len(likes)
    histories = Histories.from_events(1, np.zeros(n, np.int64), likes, np.ones(n, np.float32), np.zeros(n, np.int64))
    return Popularity.fit(Examples(ITEMS, histories, cut=0, seed=0), PopularityParams(), no_report)


def batch(**touched: list[str]) -> pa.RecordBatch:
    rows = [
        {"user_id": user, "items": items, "weights": [0.0] * len(items), "seconds": [0] * len(items), "attributes": []}
        for user, items in touched.items()
    ]
    return pa.RecordBatch.from_pylist(
        rows,
        schema=pa.schema([
            ("user_id", pa.string()), ("items", pa.list_(pa.string())), ("weights", pa.list_(pa.float32())),
            ("seconds", pa.list_(pa.int64())), ("attributes", pa.list_(pa.string())),
        ]),
    )  # fmt: skip


def test_a_list_holds_the_best_that_the_user_has_not_touched_and_nobody_hid() -> None:
    rows, allowed_I = batch(new=[], seen=["d", "d", "unknown"], all=["a", "b", "d"]), np.array(ITEMS != "c")
    found = lists(model(), positions(ITEMS), rows, allowed_I, length=2)
    assert found["items"].to_pylist() == [["d", "b"], ["b", "a"], []]
    assert found["scores"].to_pylist() == [[4.0, 2.0], [2.0, 1.0], []]


def test_each_user_gets_the_same_list_alone_and_in_a_batch(tmp_path: Path) -> None:
    model().save(tmp_path)
    users = {"u1": ["d"], "u2": [], "u3": ["a", "c"]}
    alone = [
        row
        for user, items in users.items()
        for b in score(iter([batch(**{user: items})]), SentModel(str(tmp_path)), ["gone"], 3)
        for row in b.to_pylist()
    ]
    (together,) = score(iter([batch(), batch(**users)]), SentModel(str(tmp_path)), [], 3)
    assert together.to_pylist() == alone


def test_spark_scores_every_user_of_the_histories(spark: SparkSession, tmp_path: Path) -> None:
    model().save(tmp_path)
    users: list[Row] = [
        {"user_id": f"u{n}", "items": [item], "weights": [1.0], "at": [NOON], "event_ids": ["e"]}
        for n, item in enumerate("abcd")
    ]
    histories, sent = with_attributes(frame(spark, users, HISTORIES), None), SentModel(str(tmp_path))
    found = recommendations(histories, len(users), "7", sent, ["b"], 2).orderBy("user_id").collect()
    assert [row["items"] for row in found] == [["d", "c"], ["d", "c"], ["d", "a"], ["c", "a"]]
    assert {row["model_version"] for row in found} == {"7"}


def test_histories_get_the_attributes_of_their_users_or_none(spark: SparkSession) -> None:
    people = [{"user_id": user, "items": ["a"], "weights": [1.0], "at": [NOON], "event_ids": ["e"]} for user in "uvw"]
    described: list[Row] = [{"user_id": "u", "attributes": {"city": "Ulm", "age": "30"}}, {"user_id": "x"}]
    histories = frame(spark, people, HISTORIES)
    found = with_attributes(histories, frame(spark, described, USERS)).orderBy("user_id").collect()
    assert [(row["user_id"], sorted(row["attributes"])) for row in found] == [
        ("u", ["age=30", "city=Ulm"]),
        ("v", []),
        ("w", []),
    ]
    assert [row["attributes"] for row in with_attributes(histories, None).collect()] == [[]] * 3
