"""A real Cassandra on free ports, for benchmarks and slow tests: one server, whose jars are in .venv/cassandra-jars.

`./run test slow` and `./run bench` put them there. It starts in about 15 s and takes 1 GB.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.servers import MissingProgramError, Server, free_port

SECONDS = 300.0
"""Until it must answer, on a busy machine."""
SETTINGS = """
cluster_name: nightloom
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
num_tokens: 1
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: {storage}
native_transport_port: {port}
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "127.0.0.1:{storage}"}}]
commitlog_sync: periodic
commitlog_sync_period: 1000ms
"""
LOGGING = """<configuration>
  <appender name="file" class="ch.qos.logback.core.FileAppender">
    <file>{file}</file><encoder><pattern>%-5level %date %logger{{0}} %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="file"/></root>
</configuration>
"""
EXPORTS = (
    "java.base/jdk.internal.misc", "java.base/jdk.internal.ref", "java.base/sun.nio.ch", "java.sql/java.sql",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi", "java.rmi/sun.rmi.registry", "java.rmi/sun.rmi.server",
)  # fmt: skip
OPENS = (
    "java.base/java.io", "java.base/java.lang", "java.base/java.lang.module", "java.base/java.lang.reflect",
    "java.base/java.net", "java.base/java.nio", "java.base/java.util", "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic", "java.base/jdk.internal.loader", "java.base/jdk.internal.math",
    "java.base/jdk.internal.misc", "java.base/jdk.internal.module", "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect", "java.base/jdk.internal.util.jar", "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
)  # fmt: skip
"""What Cassandra's own conf/jvm17-server.options opens."""
OPTIONS = {
    "cassandra.ring_delay_ms": "0",
    "cassandra.skip_wait_for_gossip_to_settle": "0",
    "cassandra.superuser_setup_delay_ms": "0",
    "jdk.attach.allowAttachSelf": "true",
}


@contextmanager
def cassandra_server(folder: Path, settings: str = "") -> Iterator[Server]:
    """A server with its data and its log in `folder`. `settings` are more of cassandra.yaml.

    Raises MissingProgramError.
    """
    jars, port = Path(sys.prefix) / "cassandra-jars", free_port()
    if not jars.is_dir():
        raise MissingProgramError(f"{jars} is not there: ./run test slow and ./run bench put Cassandra's jars there")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cassandra.yaml").write_text(SETTINGS.format(port=port, storage=free_port()) + settings)
    (folder / "logback.xml").write_text(LOGGING.format(file=folder / "cassandra.log"))
    options = OPTIONS | {
        "cassandra.config": f"file://{folder}/cassandra.yaml",
        "cassandra.storagedir": str(folder),
        "logback.configurationFile": str(folder / "logback.xml"),
        "java.io.tmpdir": str(folder),
    }
    command = [
        "java", "-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
        *(f"--add-exports={name}=ALL-UNNAMED" for name in EXPORTS),
        *(f"--add-opens={name}=ALL-UNNAMED" for name in OPENS),
        *(f"-D{name}={value}" for name, value in options.items()),
        "-cp", f"{jars}/*", "org.apache.cassandra.service.CassandraDaemon",
    ]  # fmt: skip
    server = Server(f"cassandra://127.0.0.1:{port}", command, seconds=SECONDS)
    server.start(lambda: answers(server.address))
    try:
        yield server
    finally:
        server.stop()


def answers(address: str) -> None:
    """Raises OSError while the server does not listen, which it does last."""
    socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=1).close()
