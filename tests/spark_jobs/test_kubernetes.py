"""Spark asks a Kubernetes API for an executor: the API is a server of ours that records what it is asked."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from spark_jobs.configuration import configuration, environment
from spark_jobs.sizing import GIB, DataSize, cluster_settings

SECONDS = 300  # to the first pod; 20 s on an idle machine
IMAGE = "registry.example/nightloom-spark:1"
JOB = "from pyspark.sql import SparkSession; import json, sys\n" + (
    "b = SparkSession.builder.master(sys.argv[1])\n"
    "for k, v in json.loads(sys.argv[2]).items(): b = b.config(k, v)\n"
    "b.getOrCreate().range(10).count()"
)


class Api(BaseHTTPRequestHandler):
    """Accepts everything that is made, has nothing, and lets no watch see anything."""

    protocol_version = "HTTP/1.1"
    made: list[Any]
    over: Event

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        given.setdefault("metadata", {}).update(uid=str(len(self.made)), resourceVersion="1")
        self.made.append(given | {"path": self.path})
        self.answer(given, 201)

    def do_GET(self) -> None:
        if "watch=true" in self.path or "watch=1" in self.path:
            self.over.wait(60)
        kind = "ConfigMapList" if "configmaps" in self.path else "PodList"
        self.answer({"apiVersion": "v1", "kind": kind, "metadata": {"resourceVersion": "1"}, "items": []})

    def do_DELETE(self) -> None:
        self.answer({"apiVersion": "v1", "kind": "Status", "status": "Success"})

    def answer(self, content: Any, status: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def kubernetes() -> Iterator[tuple[str, list[Any]]]:
    """An API server -> its master URL, and what was made there."""
    handler = type("Api", (Api,), {"made": [], "over": Event()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"k8s://http://127.0.0.1:{server.server_port}", handler.made  # type: ignore[attr-defined]
        handler.over.set()  # type: ignore[attr-defined]
        server.shutdown()


@pytest.mark.slow  # 20 s; tests/spark_jobs/test_cluster.py has the settings themselves
def test_an_executors_pod_has_our_image_memory_and_the_drivers_address(tmp_path: Path) -> None:
    given = {"spark.kubernetes.container.image": IMAGE, "spark.kubernetes.namespace": "shop"}
    given |= {"spark.executor.cores": "2"}
    sized = cluster_settings(DataSize(GIB, 1_000), cores=2, ranks=2)
    with kubernetes() as (master, made), (tmp_path / "log").open("wb") as log:
        settings = configuration(tmp_path, master, given=given, sized=sized)
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, master, json.dumps(settings)],
            env=os.environ | environment(tmp_path, master), stdout=log, stderr=log,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + SECONDS
            while not (pods := [each for each in made if each["kind"] == "Pod"]):
                assert job.poll() is None, (tmp_path / "log").read_text()[-5000:]
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-5000:]
                time.sleep(0.2)
        finally:
            job.kill()
            job.wait()
    (container,) = pods[0]["spec"]["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert pods[0]["path"] == "/api/v1/namespaces/shop/pods"
    assert container["image"] == IMAGE
    assert "@127.0.0.1:" in variables["SPARK_DRIVER_URL"]
    assert variables["SPARK_EXECUTOR_CORES"] == "2"
    memory = sum(int(sized[f"spark.executor.{name}"].rstrip("m")) for name in ("memory", "memoryOverhead"))
    assert container["resources"]["limits"]["memory"] == f"{memory}Mi"
