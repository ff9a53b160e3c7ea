"""Fault x night: one container is killed in mid-night, in all of `./run up`; what the night, its tables and readers do.

Needs Docker with compose. A clone of this checkout's last commit starts under a project and ports of its own; of the
sample's events those of the last day come by Kafka. A first night publishes lists. Each further one begins with an
empty lake and no model, while readers have the lists of the night before it; the first of these has no fault, and the
others are compared with it. Prints a table; last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

from benchmarks.lake_content import Row, different_tables
from benchmarks.servers import free_port
from bootstrap.containers import PORTS
from nightloom.local.airflow_api import Api
from nightloom.night import stages
from nightloom.night.records import NIGHTLY

CHECKOUT = Path(__file__).parents[1]
PROJECT = "nightloom-faults"
DAY = "1998-04-21"
USERS = ("1", "13", "196", "405", "655")
READS_A_SECOND = 10
NIGHT_SECONDS = 3600
SECONDS_AROUND = 5
"""Readers read so long before a kill, and after the container is healthy."""
KAFKA_SOURCE = """
[[sources]]
name = "stream"
kind = "events"
format = "kafka"
servers = "kafka:9092"
topic = "ratings"
fields = { event_id = "string", user_id = "string", item_id = "string", event = "string", value = "double", at = "timestamp" }
columns = { event_id = "event_id", user_id = "user_id", item_id = "item_id", event = "event", value = "value", occurred_at = "at" }
"""  # noqa: E501  # TOML's inline tables stand on one line


@dataclass(frozen=True)
class Fault:
    """kill -9 of all processes of a container, some seconds after a task's log has a text."""

    what: str
    service: str
    stage: stages.Stage
    text: str
    """A regular expression."""
    seconds: float = 0.0


# What ranks inside Spark print comes when they have ended: a wait stands for `epoch 3`.
FAULTS = {
    "spark": Fault("Spark worker with its executor", "spark-worker-1", stages.TRAIN, "2 ranks", 45),
    "celery": Fault("Celery worker", "worker-1", stages.RECOMMENDATIONS, "shuffle partitions", 10),
    "serving": Fault("one serving container", "serving-1", stages.PUBLISH, "Running command"),
    "postgresql": Fault("PostgreSQL", "postgresql", stages.TRAIN, "2 ranks", 45),
    "minio": Fault("MinIO", "minio", stages.SILVER_INTERACTIONS, "shuffle partitions", 10),
    "kafka": Fault("Kafka broker", "kafka", stages.BRONZE, "shuffle partitions", 10),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", nargs="*", choices=FAULTS, default=list(FAULTS), help="default: all")
    parser.add_argument("--idle", action="store_true", help="kill while no night runs: what readers see, in minutes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder) / "code") as stack:
        load_sample(stack)
        print(f"first night: {run_night(stack)}", flush=True)
        if options.idle:
            print(json.dumps({name: kill_without_night(stack, FAULTS[name]) for name in options.faults}))
            return
        empty(stack)
        undisturbed = run_night(stack)
        print(f"undisturbed: {undisturbed}", flush=True)
        outcomes = {}
        for name in options.faults:
            empty(stack)
            outcomes[name] = run_night(stack, FAULTS[name])
            print(f"{name}: {outcomes[name]}; differ: {outcomes[name].different(undisturbed)}", flush=True)
    print(table(undisturbed, outcomes))
    print(json.dumps({name: each.figures(undisturbed) for name, each in outcomes.items()}))


@dataclass(frozen=True)
class Stack:
    """All services, in containers."""

    code: Path
    environment: dict[str, str]

    @property
    def api(self) -> Api:
        """Airflow's."""
        secrets = dict(line.split("=", 1) for line in (self.code / "docker/secrets.env").read_text().splitlines())
        login = {"username": "admin", "password": secrets["AIRFLOW_ADMIN_PASSWORD"]}
        return Api(f"http://127.0.0.1:{self.environment['AIRFLOW_PORT']}", lambda: login, tries=300)

    def run(self, *words: str) -> None:
        """./run WORD ... of the clone."""
        subprocess.run(["./run", *words], cwd=self.code, env=self.environment, check=True)

    def container(self, service: str) -> dict[str, Any]:
        """What Docker knows of a service's container."""
        labels = {"project": PROJECT, "service": service}
        filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        (found,) = json.loads(docker("inspect", docker("ps", "--all", "--quiet", *filters).strip()))
        return dict(found)

    def call(self, service: str, *command: str, given: str | None = None) -> str:
        """A command in a service's container -> its output."""
        return docker("exec", "--interactive", self.container(service)["Id"], *command, given=given)

    def script(self, name: str) -> str:
        """A script of benchmarks/ in the worker's container -> its output."""
        text = (CHECKOUT / "benchmarks" / f"{name}.py").read_text(encoding="utf8")
        return self.call("worker-1", "python", "-", given=text)

    def kill(self, service: str) -> None:
        """kill -9, as the kernel does it to a container without memory: Docker starts the container again."""
        process = self.container(service)["State"]["Pid"]
        # `docker kill` counts as a person's wish: nothing would start the container again.
        docker("run", "--rm", "--pid=host", "--user=0", "nightloom/redis", "sh", "-c", f"kill -9 {process}")

    def healthy_since(self, service: str, moment: datetime) -> bool:
        """Whether a container was started after a moment, and its health check is green."""
        state = self.container(service)["State"]
        started = datetime.fromisoformat(re.sub(r"\.\d+Z$", "+00:00", state["StartedAt"]))
        return started >= moment.replace(microsecond=0) and bool(state["Health"]["Status"] == "healthy")


def docker(*words: str, given: str | None = None) -> str:
    done = subprocess.run(["docker", *words], input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"docker {' '.join(words)} ended with {done.returncode}: {done.stderr[-3000:]}")
    return done.stdout


@contextmanager
def running_stack(code: Path) -> Iterator[Stack]:
    """A clone's `./run up`, without a night."""
    ports = {name: str(free_port()) for name in PORTS}
    stack = Stack(code, os.environ | ports | {"COMPOSE_PROJECT_NAME": PROJECT})
    subprocess.run(["git", "clone", "--quiet", CHECKOUT, code], check=True)
    with (code / "nightloom.toml").open("a", encoding="utf8") as config:
        config.write(KAFKA_SOURCE)
    try:
        stack.run("up", "--no-night")
        yield stack
    finally:
        stack.run("down", "--volumes")


def load_sample(stack: Stack) -> None:
    """MovieLens 100K up to a day: the last day's events as messages, all others as files."""
    stack.call("worker-1", "nightloom", "sample", "ml-100k", "--until", DAY)
    stack.script("events_to_kafka")


def empty(stack: Stack) -> None:
    """Remove the lake, training checkpoints, pages and models; the serving store stays."""
    # On MinIO's disk: remove_tree() leaves the markers of Hadoop's folders, and Spark takes a table's folder for it.
    folders = [f"/var/lib/nightloom/nightloom/{name}" for name in ("lake", "training", "reports", "data-docs")]
    stack.call("minio", "rm", "-rf", *folders)
    stack.script("empty_registry")


@dataclass
class Reads:
    """Reads through the proxy."""

    answers: int = 0
    errors: list[str] = field(default_factory=list, repr=False)
    fallbacks: int = 0
    """Answers that are not the user's own list: the store was slower than the API's deadline, or away."""
    slowest: float = 0.0

    def figures(self) -> dict[str, Any]:
        return {
            "reads": self.answers,
            "read_errors": len(self.errors),
            "fallbacks": self.fallbacks,
            "slowest_read_s": round(self.slowest, 1),
        }


@contextmanager
def readers(port: str) -> Iterator[Reads]:
    """Read personal lists at a fixed rate, for as long as the block lasts."""
    reads, over = Reads(), Event()

    def read() -> None:
        began = time.monotonic()
        while not over.wait(max(0.0, began + reads.answers / READS_A_SECOND - time.monotonic())):
            user = USERS[reads.answers % len(USERS)]
            asked = time.monotonic()
            try:
                url = f"http://127.0.0.1:{port}/v1/users/{user}/recommendations"
                with urllib.request.urlopen(url, timeout=60) as answer:
                    content = json.load(answer)
                if not content["items"]:
                    reads.errors.append(f"{user}: {content}")
                reads.fallbacks += content["source"] != "personal"
            except (OSError, ValueError) as error:
                reads.errors.append(f"{user}: {error}")
            reads.answers += 1
            reads.slowest = max(reads.slowest, time.monotonic() - asked)

    thread = Thread(target=read, daemon=True)
    thread.start()
    try:
        yield reads
    finally:
        over.set()
        thread.join()


@dataclass
class Outcome:
    """A night, and what was seen during it."""

    fault: Fault | None
    state: str
    night_s: float
    tries: dict[str, int]
    """Task -> its tries, where it had more than one."""
    reads: Reads
    content: dict[str, list[Row]] = field(repr=False)
    healthy_s: float = 0.0
    """From the kill until the killed container's health check is green."""

    def different(self, undisturbed: Outcome) -> list[str]:
        """Tables that are not as in another night."""
        return different_tables(self.content, undisturbed.content)

    def figures(self, undisturbed: Outcome) -> dict[str, Any]:
        return {
            "state": self.state,
            "healthy_s": round(self.healthy_s),
            "night_s": round(self.night_s),
            "longer_s": round(self.night_s - undisturbed.night_s),
            "tries": self.tries,
            **self.reads.figures(),
            "different_tables": self.different(undisturbed),
        }


def run_night(stack: Stack, fault: Fault | None = None) -> Outcome:
    """A night by the stack's Airflow, with a fault; readers read meanwhile, if there is something to read."""
    api, began, killed = stack.api, time.monotonic(), None
    run = api.trigger(NIGHTLY, {"date": DAY, "incomplete": False})
    with readers(stack.environment["API_PORT"]) as reads:
        healthy_s = 0.0
        while (state := api.state(NIGHTLY, run)) not in ("success", "failed"):
            if time.monotonic() - began > NIGHT_SECONDS:
                raise RuntimeError(f"{run} is {state} after {NIGHT_SECONDS} s: {api.states(NIGHTLY, run)}")
            if fault and killed is None and at_work(api, run, fault):
                time.sleep(fault.seconds)
                killed = datetime.now(UTC)
                stack.kill(fault.service)
            if fault and killed and not healthy_s and stack.healthy_since(fault.service, killed):
                healthy_s = (datetime.now(UTC) - killed).total_seconds()
            time.sleep(1)
        night_s = time.monotonic() - began
    if fault and killed is None:
        raise RuntimeError(f"{run} ended before {fault.stage.name} wrote {fault.text}")
    tries = {end.task: end.tries for end in api.ends(NIGHTLY, run) if end.tries > 1}
    return Outcome(fault, state, night_s, tries, reads, json.loads(stack.script("lake_content")), healthy_s)


def kill_without_night(stack: Stack, fault: Fault) -> dict[str, Any]:
    """Kill a container while no night runs -> seconds until its health check is green, and what readers saw."""
    with readers(stack.environment["API_PORT"]) as reads:
        time.sleep(SECONDS_AROUND)
        killed = datetime.now(UTC)
        stack.kill(fault.service)
        while not stack.healthy_since(fault.service, killed):
            if (datetime.now(UTC) - killed).total_seconds() > NIGHT_SECONDS:
                raise RuntimeError(f"{fault.service} is not healthy {NIGHT_SECONDS} s after it was killed")
            time.sleep(0.5)
        healthy_s = (datetime.now(UTC) - killed).total_seconds()
        time.sleep(SECONDS_AROUND)
    return {"healthy_s": round(healthy_s, 1)} | reads.figures()


def at_work(api: Api, run: str, fault: Fault) -> bool:
    """Whether a fault's task runs, and its log has the fault's text."""
    if api.states(NIGHTLY, run).get(fault.stage.name) != "running":
        return False
    return any(re.search(fault.text, str(event["event"])) for event in api.log(NIGHTLY, run, fault.stage.name, 1))


def table(undisturbed: Outcome, outcomes: dict[str, Outcome]) -> str:
    """Markdown."""
    lines = [
        "| killed | while | container healthy again | night | tried again | readers | tables and lists |",
        "|---|---|---|---|---|---|---|",
        f"| nothing | | | {undisturbed.state}, {undisturbed.night_s:.0f} s | | | |",
    ]
    for each in outcomes.values():
        assert each.fault is not None
        tried = ", ".join(f"{task} ({number - 1})" for task, number in each.tries.items()) or "nothing"
        different = ", ".join(each.different(undisturbed))
        reads = each.reads
        lines.append(
            f"| {each.fault.what} | `{each.fault.stage.name}` | {each.healthy_s:.0f} s | {each.state}, "
            f"{each.night_s:.0f} s | {tried} | {len(reads.errors)} errors and {reads.fallbacks} popular lists in "
            f"{reads.answers:,} reads, slowest {reads.slowest:.1f} s "
            f"| {'differ: ' + different if different else 'the same'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
