"""A Kafka topic as a source, with a real broker: the same tables, once each, and clear errors within a deadline."""

import argparse
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from pyspark.sql import SparkSession

from nightloom.contracts import BRONZE_EVENTS, INTERACTIONS, QUARANTINE_ROWS
from nightloom.errors import DataError
from nightloom.lake import Lake
from spark_jobs import bronze, kafka, silver_interactions
from tests.spark_jobs.kafka_broker import Broker, broker
from tests.spark_jobs.small_project import NEXT, TOML, D, Project, event, project
from tests.spark_jobs.stage_process import finish, kill, kill_until_done, run_undisturbed, start

BRONZE = "spark_jobs.bronze"
SECONDS = 120


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with broker(tmp_path_factory.mktemp("kafka")) as started:
        yield started


def toml(servers: str, topic: str) -> str:
    """The small project with a topic as a second source of events, and no items and users."""
    head, ratings, _, rest = TOML.split("[[sources]]")
    signals = rest[rest.index("[[signals]]") :]
    place = f'format = "kafka"\nservers = "{servers}"\ntopic = "{topic}"\n'
    clicks = ratings.replace('"ratings"', '"clicks"').replace('path = "landing/events"\n', "")
    clicks = clicks.replace('format = "json"\nsettle_seconds = 0\n', place)
    return "[[sources]]".join([head, ratings, clicks]) + signals


def listening(folder: Path, spark: SparkSession, servers: str, topic: str) -> Project:
    (folder / "landing/events").mkdir(parents=True, exist_ok=True)
    (folder / "nightloom.toml").write_text(toml(servers, topic))
    return project(folder, spark, toml(servers, topic))


def test_messages_land_as_the_records_of_a_file_do_and_none_is_lost(
    spark: SparkSession, running: Broker, tmp_path: Path
) -> None:
    running.topic("mixed", partitions=2)
    at = listening(tmp_path, spark, running.servers, "mixed")
    assert at.run(bronze.main)["clicks"] == 0
    sent = [json.dumps(event(1)), json.dumps(event(2, value="many")), "junk", None, b"\xff\xfe"]
    running.send("mixed", sent)
    assert at.run(bronze.main, silver_interactions.main, day=NEXT)["clicks"] == 5
    rows = at.rows(BRONZE_EVENTS)
    assert {row["raw"] for row in rows} == {
        *(text for text in sent if isinstance(text, str)),
        "(message without a value)",
        "(message that is no UTF-8, in base64: //4=)",
    }
    assert {row["file"].rpartition("/")[0] for row in rows} <= {"kafka:mixed/0", "kafka:mixed/1"}
    assert all(abs(row["file_modified_at"].timestamp() - time.time()) < SECONDS for row in rows)
    assert [row["event_id"] for row in at.rows(INTERACTIONS)] == ["e1"]
    assert Counter(row["reason"] for row in at.rows(QUARANTINE_ROWS)) == {"unreadable": 3, "type": 1}
    assert at.run(bronze.main, day=NEXT)["clicks"] == 0


def test_an_event_that_comes_in_files_on_two_days_and_by_kafka_counts_once(
    spark: SparkSession, running: Broker, tmp_path: Path
) -> None:
    running.topic("again")
    at = listening(tmp_path, spark, running.servers, "again")
    at.land("events/a.jsonl", [event(1), event(1), event(2)])
    at.land("events/b.jsonl", [event(2), event(3)])
    running.send("again", [json.dumps(event(n)) for n in (3, 4, 4, 1)])
    at.run(bronze.main, silver_interactions.main)
    at.land("events/c.jsonl", [event(4), event(5), event(1)])
    running.send("again", [json.dumps(event(n)) for n in (5, 6, 2)])
    counts = at.run(bronze.main, silver_interactions.main, day=NEXT)
    assert [row["event_id"] for row in at.rows(INTERACTIONS, "event_id")] == [f"e{n}" for n in range(1, 7)]
    assert (counts["read"], counts["inserted"], counts["duplicates"]) == (6, 2, 4)
    assert len(at.rows(BRONZE_EVENTS)) == 3 + 2 + 4 + 3 + 3


def test_messages_that_kafka_deleted_unread_end_the_run_until_somebody_accepts_it(
    spark: SparkSession, running: Broker, tmp_path: Path
) -> None:
    running.topic("short")
    at = listening(tmp_path, spark, running.servers, "short")
    running.send("short", [json.dumps(event(n)) for n in range(3)])
    at.run(bronze.main)
    running.send("short", [json.dumps(event(n)) for n in range(3, 9)])
    admin = running.admin
    for deleted in admin.delete_records([TopicPartition("short", 0, 5)]).values():
        deleted.result(SECONDS)
    at.land("events/a.jsonl", [event(20)])
    for _ in range(2):
        with pytest.raises(DataError, match=r"clicks.*deleted messages .*\(.*offset.*short-0.*--accept-loss clicks"):
            at.run(bronze.main)
    assert len(at.rows(BRONZE_EVENTS)) == 3 + 1, "the other source goes on"
    night = at.night()
    night.arguments = argparse.Namespace(accept_loss=["clicks"])
    bronze.main(night)
    assert night.counts["clicks"] == 4
    assert night.tags == {"accepted_loss": "clicks"}


def test_a_topic_that_is_not_there_and_a_broker_that_is_down_or_hangs_are_clear_errors_within_a_deadline(
    spark: SparkSession, running: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "TIMEOUT_MS", 3_000)
    absent = listening(tmp_path / "absent", spark, running.servers, "absent")
    with pytest.raises(kafka.KafkaError, match=r"clicks.*topic absent at .*there is no such topic; create it"):
        absent.run(bronze.main)
    down = listening(tmp_path / "down", spark, "127.0.0.1:9", "clicks")
    down.land("events/a.jsonl", [event(1)])
    began = time.monotonic()
    with pytest.raises(kafka.KafkaError, match=r"clicks.*127.0.0.1:9: no broker answers; start it"):
        down.run(bronze.main)
    with broker(tmp_path / "frozen-broker") as frozen:  # one of its own: it takes minutes to come to itself again
        hangs = listening(tmp_path / "hangs", spark, frozen.servers, "clicks")
        os.killpg(frozen.process.pid, signal.SIGSTOP)
        with pytest.raises(kafka.KafkaError, match=r"clicks.*no broker answers; start it"):
            hangs.run(bronze.main)
    assert time.monotonic() - began < SECONDS
    assert len(down.rows(BRONZE_EVENTS)) == 1, "the other source goes on"


def files(root: Path) -> list[str]:
    """The origin of each row of bronze, sorted: TOPIC/PARTITION/OFFSET shows duplicate and missing messages."""
    return sorted(Lake(root / "data/lake").rows(BRONZE_EVENTS, columns=["file"])["file"].to_pylist())


def killed_between_write_and_commit(root: Path) -> bool:
    """Run the stage and kill it in the instant in which the table has a new version and the checkpoint no commit."""
    log, commits = root / "data/lake/bronze/events/_delta_log", root / "data/lake/_checkpoints/clicks/stream/commits"
    written, committed = set(log.glob("*.json")), set(commits.glob("[0-9]*"))
    stage = start(root, BRONZE, D)
    while stage.poll() is None:
        if set(log.glob("*.json")) - written:
            kill(stage)
            return set(commits.glob("[0-9]*")) == committed
    finish(root, stage)
    raise AssertionError("the stage ended before a new version was seen")


def test_a_consumer_killed_between_write_and_commit_loses_and_doubles_nothing(
    spark: SparkSession, running: Broker, tmp_path: Path
) -> None:
    running.topic("between", partitions=2)
    at = listening(tmp_path, spark, running.servers, "between")
    running.send("between", [json.dumps(event(n)) for n in range(10)])
    at.run(bronze.main)
    for round in range(1, 6):
        running.send("between", [json.dumps(event(round * 100 + n)) for n in range(100)])
        if hit := killed_between_write_and_commit(tmp_path):
            break
    assert hit, "the window was never hit"
    at.run(bronze.main)
    assert files(tmp_path) == running.messages("between")


def random_kills(root: Path, running: Broker, topic: str, each: int, times: int) -> int:
    running.topic(topic, partitions=3)
    (root / "landing/events").mkdir(parents=True)
    (root / "nightloom.toml").write_text(toml(running.servers, topic))
    killed, life = 0, 0.0
    for round in range(-2, times):
        running.send(topic, [json.dumps(event(round * 5_000 + n)) for n in range(5_000)])
        if round < 0:  # the first makes the tables, the second is as those that will be killed
            life = run_undisturbed(root, BRONZE, D)
            continue
        killed += kill_until_done(root, BRONZE, D, each, seed=round, life=life)
        assert files(root) == running.messages(topic)
    return killed


@pytest.mark.slow
def test_a_consumer_killed_at_20_random_moments_loses_and_doubles_nothing(running: Broker, tmp_path: Path) -> None:
    assert random_kills(tmp_path, running, "often", each=5, times=6) >= 20
