"""`health.py URL | airflow PART | celery`: exit code 0 while the process of this container works.

A URL: it answers with 200. airflow: Airflow's API, at $AIRFLOW_API, has heard of its scheduler, dag_processor or
triggerer in time. celery: this container's worker answers by the broker. Imports little: it runs every some seconds.
"""

import json
import os
import socket
import sys
import urllib.request

SECONDS = 8


def answer(url: str) -> bytes:
    """What is at a URL. Raises OSError where it is not reached, or answers with an error."""
    with urllib.request.urlopen(url, timeout=SECONDS) as found:
        return bytes(found.read())


def airflow_hears_of(part: str) -> bool:
    health = json.loads(answer(os.environ["AIRFLOW_API"] + "/api/v2/monitor/health"))
    return str(health[part]["status"]) == "healthy"


def celery_answers() -> bool:
    from celery import Celery  # only the worker's image has it

    app = Celery(broker=os.environ["AIRFLOW__CELERY__BROKER_URL"])
    return bool(app.control.ping([f"celery@{socket.gethostname()}"], timeout=SECONDS))


def main(what: str, part: str = "") -> int:
    try:
        if what == "airflow":
            return int(not airflow_hears_of(part))
        if what == "celery":
            return int(not celery_answers())
        answer(what)
        return 0
    except OSError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
