"""A real Kafka broker for a test: one node, broker and controller (KRaft), on free ports, in its own process group.

Its jars are in .venv/kafka-jars, where `./run test` puts them; Scala's library is Spark's.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from nightloom.local.airflow_server import free_port

CLUSTER = "bmlnaHRsb29tLXRlc3RzIQ"  # any 16 bytes in base64
SECONDS = 60  # 3-5 s on an idle machine
SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/log
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.retention.check.interval.ms=500
"""


@dataclass(frozen=True)
class Broker:
    """A broker that runs."""

    process: subprocess.Popen[bytes]
    servers: str

    @property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.servers})

    def topic(self, name: str, partitions: int = 1, **config: str) -> None:
        """Make a topic; `config` by Kafka's names, with _ for a dot."""
        options = {key.replace("_", "."): value for key, value in config.items()}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=options)
        admin = self.admin  # kept in a name: it ends with its last reference, and what it was asked with it
        for made in admin.create_topics([topic]).values():
            made.result(SECONDS)

    def send(self, topic: str, messages: Iterable[str | bytes | None]) -> None:
        """Send messages, all of them: returns when the broker has them."""
        producer = Producer({"bootstrap.servers": self.servers, "linger.ms": 5})
        for message in messages:
            producer.produce(topic, message)
            producer.poll(0)
        left = producer.flush(SECONDS)
        assert left == 0, f"{left} messages were not sent"

    def messages(self, topic: str) -> list[str]:
        """The readable messages under bronze's names, sorted: kafka:TOPIC/PARTITION/OFFSET."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "tests"})
        named = []
        for number in consumer.list_topics(topic, SECONDS).topics[topic].partitions:
            first, end = consumer.get_watermark_offsets(TopicPartition(topic, number), SECONDS)
            named += [f"kafka:{topic}/{number}/{offset}" for offset in range(first, end)]
        consumer.close()
        return sorted(named)

    def kill(self) -> None:
        """SIGKILL to the process group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def broker(folder: Path) -> Iterator[Broker]:
    """A broker whose data is in `folder`, for as long as the block lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port(0)
    settings = folder / "server.properties"
    settings.write_text(SETTINGS.format(port=port, controller=free_port(0), folder=folder))
    format = _java("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(settings))
    done = subprocess.run(format, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with (folder / "broker.log").open("wb") as log:
        process = subprocess.Popen(_java("kafka.Kafka", str(settings)), stdout=log, stderr=log, start_new_session=True)
    running = Broker(process, f"127.0.0.1:{port}")
    try:
        _wait(running, port, folder / "broker.log")
        yield running
    finally:
        if process.poll() is None:
            running.kill()


def _java(main: str, *words: str) -> list[str]:
    jars = Path(sys.prefix) / "kafka-jars"
    assert jars.is_dir(), f"no {jars}; `./run test` puts a broker there"
    spark = find_spec("pyspark")
    assert spark is not None
    assert spark.origin is not None
    (scala,) = (Path(spark.origin).parent / "jars").glob("scala-library-2.13.*.jar")
    path = f"{jars}/*:{scala}"
    return ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", path, main, *words]


def _wait(running: Broker, port: int, log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert running.process.poll() is None, log.read_text()[-4_000:]
        assert time.monotonic() < deadline, f"no broker after {SECONDS} s: {log.read_text()[-4_000:]}"
        time.sleep(0.1)
    running.admin.list_topics(timeout=SECONDS)
