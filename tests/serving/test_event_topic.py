"""POST /v1/events for a source in Kafka, with a real broker: a 202 is a message; without a broker it is a 503."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Consumer

from benchmarks.fault_load import running_api
from tests.serving.event_senders import config_text, event
from tests.spark_jobs.kafka_broker import Broker, broker

SECONDS = 60


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with broker(tmp_path_factory.mktemp("kafka")) as started:
        yield started


def test_each_202_is_a_message_of_the_topic_and_a_broker_that_is_down_a_503(running: Broker, tmp_path: Path) -> None:
    running.topic("clicks", partitions=2)
    place = f'format = "kafka"\nservers = "{running.servers}"\ntopic = "clicks"\n'
    config = tmp_path / "nightloom.toml"
    config.write_text(config_text().replace('path = "landing"\nformat = "json"\n', place), encoding="utf8")
    with running_api(config, log=tmp_path / "api.log") as (port, _):
        url = f"http://127.0.0.1:{port}/v1/events"
        sent = [event(f"e{number}") for number in range(300)]
        for start in range(0, 300, 100):
            answer = httpx.post(url, json=[*sent[start : start + 100], event("bad", v="x")], timeout=SECONDS)
            assert (answer.status_code, answer.json()["accepted"]) == (202, 100)
        assert sorted(received(running, 300), key=by_number) == sent
        running.kill()
        answer = httpx.post(url, json=event("late"), timeout=SECONDS)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "events_unavailable")
        assert "topic clicks at 127.0.0.1:" in answer.json()["error"]["message"]


def by_number(event: dict[str, str]) -> int:
    return int(event["id"][1:])


def received(running: Broker, count: int) -> list[dict[str, str]]:
    """The topic's first messages."""
    consumer = Consumer({"bootstrap.servers": running.servers, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.subscribe(["clicks"])
    found = consumer.consume(count, SECONDS)
    consumer.close()
    return [json.loads(message.value() or b"") for message in found]
