"""`./run images | up | down`: Nightloom in containers on this machine. Needs Docker with compose, and Python alone.

`up` builds the images, starts all services, loads the sample, runs its night by Airflow, and prints the addresses and a
line of JSON: seconds until all services are healthy, seconds of the night, most memory of all containers together, and
the images' sizes.
"""

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

from bootstrap import images
from bootstrap.shell import CHECKOUT, SetupError, say

COMPOSE = CHECKOUT / "docker/compose.yaml"
SECRETS = CHECKOUT / "docker/secrets.env"
PROJECT = os.environ.get("COMPOSE_PROJECT_NAME", "nightloom")
"""Compose's name for all of it: another one, with other ports, can run beside it on the same machine."""
PORTS = {"API_PORT": 8000, "AIRFLOW_PORT": 8080, "MLFLOW_PORT": 5000, "MINIO_PORT": 9001, "SPARK_PORT": 8081}
MONITORING_PORTS = {"PROMETHEUS_PORT": 9090, "GRAFANA_PORT": 3000}
"""Of the profile `monitoring`."""
PROFILES = ("large", "monitoring")
AFTER_A_NIGHT = ("serving-1", "serving-2")
"""Services that are healthy when something is published."""
READY_SECONDS = 1200
"""60 s as a rule; much more on a machine that is busy with other things."""
USER = "196"
SAMPLE_NIGHT = "1998-04-21"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="./run", description=__doc__)
    words = parser.add_subparsers(dest="word", required=True)
    words.add_parser("images", help="build the images; options go to `docker build`")
    up = words.add_parser("up", help="start all, load the sample, run its night")
    up.add_argument(
        "--profile", choices=PROFILES, action="append", default=[], dest="profiles",
        help="large: more workers, for machines with 8 cores and 32 GiB or more; monitoring: Prometheus and Grafana",
    )  # fmt: skip
    up.add_argument("--no-night", action="store_true", help="only start the services")
    down = words.add_parser("down", help="end all; the volumes stay")
    down.add_argument("--volumes", action="store_true", help="remove the volumes and the passwords, too")
    given, options = parser.parse_known_args(arguments)
    if options and given.word != "images":
        parser.error(f"found {' '.join(options)}")
    try:
        if given.word == "images":
            print(json.dumps({"images_mib": images.build_all(options)}))
        elif given.word == "up":
            start(given.profiles, night=not given.no_night)
        else:
            stop(volumes=given.volumes)
    except SetupError as error:
        say(f"{given.word}: {error}")
        return 1
    return 0


def start(profiles: Sequence[str], *, night: bool) -> None:
    """Start all services; print how long it took, and where they are."""
    write_secrets()
    images.build_all()
    began = time.monotonic()
    with peak_memory() as peak:
        compose("up", "--detach", "--remove-orphans", profiles=profiles)
        wait_until_healthy(profiles, without=AFTER_A_NIGHT)
        figures: dict[str, Any] = {"up_s": round(time.monotonic() - began)}
        if night:
            figures["night_s"] = run_night(SAMPLE_NIGHT)
            wait_until_healthy(profiles)
            show_list(USER)
    print_addresses(profiles)
    print(json.dumps(figures | {"peak_gib": round(peak[0] / 2**30, 1), "images_mib": images.sizes()}))


def stop(*, volumes: bool) -> None:
    """End all services."""
    if SECRETS.exists():
        compose("down", "--remove-orphans", *(["--volumes"] if volumes else []), profiles=PROFILES)
    if volumes:
        SECRETS.unlink(missing_ok=True)


def write_secrets() -> None:
    """Make up the passwords that are not there yet; those that are must fit the volumes."""
    known = read_secrets() if SECRETS.exists() else {}
    names = (
        "POSTGRES_PASSWORD", "REDIS_PASSWORD", "MINIO_PASSWORD", "AIRFLOW_ADMIN_PASSWORD", "AIRFLOW_SECRET_KEY",
        "GRAFANA_ADMIN_PASSWORD",
    )  # fmt: skip
    made = {name: secrets.token_hex(24) for name in names} | {
        "AIRFLOW_JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW_FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }
    if made.keys() <= known.keys():
        return
    unfinished = SECRETS.with_suffix(".unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text("".join(f"{name}={text}\n" for name, text in (made | known).items()))
    unfinished.rename(SECRETS)


def read_secrets() -> dict[str, str]:
    return dict(line.split("=", 1) for line in SECRETS.read_text().splitlines())


def compose(*arguments: str, profiles: Sequence[str] = (), capture: bool = False) -> str:
    """Run docker compose, or docker-compose -> what it prints, if captured. Raises SetupError."""
    command = [*compose_program(), "--project-name", PROJECT, "--file", str(COMPOSE), "--env-file", str(SECRETS)]
    command += [word for profile in profiles for word in ("--profile", profile)]
    done = subprocess.run([*command, *arguments], stdout=subprocess.PIPE if capture else None, text=True, check=False)
    if done.returncode:
        raise SetupError(f"{' '.join([*command, *arguments])} ended with {done.returncode}; its own message is above")
    return done.stdout or ""


def compose_program() -> list[str]:
    """Docker's compose: the plug-in of newer versions, or the program of older ones."""
    if not shutil.which("docker"):
        raise SetupError("found no `docker`; install Docker with compose, 20.10 or later")
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    if not plugin and not shutil.which("docker-compose"):
        raise SetupError("found docker without compose; install its compose plug-in, or docker-compose 1.29 or later")
    return ["docker", "compose"] if plugin else ["docker-compose"]


def containers(profiles: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Service -> what Docker knows of its container."""
    ids = compose("ps", "--all", "--quiet", profiles=profiles, capture=True).split()
    found = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=False)
    return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in json.loads(found.stdout or "[]")}


def wait_until_healthy(profiles: Sequence[str], without: Sequence[str] = ()) -> None:
    """Wait for every health check. Raises SetupError that names the services which are not healthy, with their logs."""
    deadline, before = time.monotonic() + READY_SECONDS, ""
    while True:
        waiting = {name: state_of(each) for name, each in containers(profiles).items() if name not in without}
        waiting = {name: state for name, state in waiting.items() if state not in ("healthy", "done")}
        if not waiting:
            return
        if ended := [name for name, state in waiting.items() if state == "failed"]:
            compose("logs", "--tail", "30", *ended)
            raise SetupError(f"{', '.join(ended)} ended; the last lines of their logs are above")
        if time.monotonic() > deadline:
            compose("logs", "--tail", "30", *waiting)
            raise SetupError(f"not healthy after {READY_SECONDS} s: {', '.join(waiting)}; their logs are above")
        if (now := ", ".join(waiting)) != before:
            say(f"  waiting for {now}")
            before = now
        time.sleep(2)


def state_of(container: dict[str, Any]) -> str:
    """healthy, starting, unhealthy; done or failed of one that ended."""
    state = container["State"]
    if state["Status"] == "exited" and not container["HostConfig"]["RestartPolicy"]["Name"].startswith("unless"):
        return "failed" if state["ExitCode"] else "done"
    return str(state.get("Health", {}).get("Status", state["Status"]))


@contextmanager
def peak_memory(seconds: float = 5) -> Iterator[list[int]]:
    """Look every so many seconds how many bytes all of our containers take -> one number, the most so far."""
    peak, over = [0], Event()

    def watch() -> None:
        while not over.wait(seconds):
            peak[0] = max(peak[0], memory())

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def memory() -> int:
    """Bytes of all containers, without the page cache that they can give back."""
    units = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    command = ["docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}"]
    total = 0
    for line in subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines():
        name, used = line.split()[:2]
        if name.startswith(PROJECT):
            number = used.rstrip("KMGiB")
            total += int(float(number) * units[used.removeprefix(number)])
    return total


def run_night(day: str) -> int:
    """Load the sample up to a day, and run that night by the Airflow in containers -> seconds of the night."""
    nightloom("sample", "ml-100k", "--until", day)
    began = time.monotonic()
    nightloom("night", "--date", day)
    return round(time.monotonic() - began)


def nightloom(*words: str) -> None:
    """Run `nightloom WORD ...` in the worker's container."""
    compose("exec", "-T", "worker-1", "nightloom", *words)


def show_list(user: str) -> None:
    """Print a user's published list, as the proxy gives it."""
    url = f"http://127.0.0.1:{port('API_PORT')}/v1/users/{user}/recommendations"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = json.load(answer)
    titles = ", ".join(item["title"] for item in found["items"][:3])
    say(f"  {url}: {found['source']}, {found['slate_version']}, {len(found['items'])} items: {titles}, ...")


def port(name: str) -> int:
    return int(os.environ.get(name, (PORTS | MONITORING_PORTS)[name]))


def print_addresses(profiles: Sequence[str]) -> None:
    password = f"as admin, with AIRFLOW_ADMIN_PASSWORD of {SECRETS.relative_to(CHECKOUT)}"
    addresses = {
        "API and console": ("API_PORT", ""),
        "Airflow": ("AIRFLOW_PORT", password),
        "MLflow": ("MLFLOW_PORT", ""),
        "MinIO": ("MINIO_PORT", f"as nightloom, with MINIO_PASSWORD of {SECRETS.relative_to(CHECKOUT)}"),
        "Spark": ("SPARK_PORT", ""),
    }
    if "monitoring" in profiles:
        addresses["Prometheus"] = ("PROMETHEUS_PORT", "")
        addresses["Grafana"] = (
            "GRAFANA_PORT", f"as admin, with GRAFANA_ADMIN_PASSWORD of {SECRETS.relative_to(CHECKOUT)}"
        )  # fmt: skip
    for what, (name, how) in addresses.items():
        print(f"{what:<17}http://127.0.0.1:{port(name)}  {how}".rstrip())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
