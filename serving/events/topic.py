"""Events -> a Kafka topic, with the acknowledgement of all in-sync replicas."""

from __future__ import annotations

import logging

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from nightloom.errors import printable
from nightloom.event_journal import Event
from nightloom.settings import Source
from serving.events.queue import IntakeError

log = logging.getLogger(__name__)
SECONDS = 10.0
"""For the brokers' acknowledgement."""


class TopicWriter:
    """Writes to the topic of one source. The client sends a message again by itself, and the broker stores it once."""

    def __init__(self, source: Source) -> None:
        self._topic = str(source.topic)
        self._where = f"topic {source.topic} at {source.servers}"
        options = {
            "bootstrap.servers": str(source.servers), "acks": "all", "enable.idempotence": True,
            "delivery.timeout.ms": int(SECONDS * 1000), "linger.ms": 5,
        }  # fmt: skip
        self._producer = Producer(options, logger=log)

    def write(self, events: list[Event]) -> None:
        """Return when the brokers have all events. Raises IntakeError."""
        failures = list[KafkaError]()

        def note(failure: KafkaError | None, message: Message) -> None:
            if failure is not None:
                failures.append(failure)

        try:
            for event in events:
                self._producer.produce(self._topic, event.record.encode(), on_delivery=note)
            waiting = self._producer.flush(SECONDS + 1)
        except (KafkaException, BufferError) as error:
            raise self._error(str(error)) from None
        if failures or waiting:
            raise self._error(str(failures[0].str()) if failures else "no acknowledgement")

    def _error(self, why: str) -> IntakeError:
        return IntakeError(f"{self._where} did not take events: {printable(why)}; send them again later")
