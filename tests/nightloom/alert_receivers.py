"""A mail server and a web server on 127.0.0.1 that keep what Airflow's notifiers send them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from nightloom.local.airflow_server import free_port

ALERTS = """
[[airflow.alerts]]
notifier = "smtp"
arguments = { to = "ops@example.org", from_email = "nightloom@example.org" }

[[airflow.alerts]]
notifier = "webhook"
arguments = { endpoint = "alerts" }

[[airflow.alerts]]
notifier = "slack"

[[airflow.alerts]]
notifier = "webhook"
on = ["deadline"]
arguments = { endpoint = "late" }
"""


@dataclass
class Receivers:
    """What came, and Airflow's connections to here."""

    connections: dict[str, str] = field(default_factory=dict)
    mails: list[EmailMessage] = field(default_factory=list)
    posts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Path and body."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@contextmanager
def receivers() -> Iterator[Receivers]:
    """Both servers, for as long as the block runs."""
    found = Receivers()

    class Web(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.posts.append((self.path, body))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    mail = Controller(found, hostname="127.0.0.1", port=free_port(0))
    Thread(target=web.serve_forever, daemon=True).start()
    mail.start()
    try:
        here = f"127.0.0.1:{web.server_address[1]}"
        slack = {"conn_type": "slackwebhook", "schema": "http", "host": f"{here}/services", "password": "T/B/X"}
        found.connections = {
            "AIRFLOW_CONN_SMTP_DEFAULT": f"smtp://127.0.0.1:{mail.port}/?disable_ssl=true&disable_tls=true",
            "AIRFLOW_CONN_HTTP_DEFAULT": f"http://{here}",
            "AIRFLOW_CONN_SLACK_DEFAULT": json.dumps(slack),
        }
        yield found
    finally:
        mail.stop()
        web.shutdown()
        web.server_close()
