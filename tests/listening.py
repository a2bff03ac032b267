"""Real servers on loopback that receivers are tried on: web, mail, Alertmanager."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

ALERTMANAGER = "prometheus-alertmanager"


def eventually(holds: Callable[[], Any], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return bool(holds())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Post:
    """One request that came: its path, headers (small letters), and the JSON in it."""

    path: str
    headers: dict[str, str]
    json: Any


@dataclass
class Answer:
    """What a web server says to one request."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    wait_s: float = 0.0


class WebServer:
    """Takes posts; answers from ``script`` as long as there is something in it, then 200. ``port`` 0 = a free one."""

    def __init__(self, script: Sequence[Answer] = (), port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.posts: list[Post] = []
        self.script = list(script)
        self.unwanted: Callable[[Any], bool] = lambda found: False  # what is answered with 400
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                found = json.loads(body) if body else None
                server.posts.append(Post(self.path, {k.lower(): v for k, v in self.headers.items()}, found))
                answer = server.script.pop(0) if server.script else Answer(400 if server.unwanted(found) else 200)
                time.sleep(answer.wait_s)
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *words: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *about: object) -> None:
                pass  # the other side has gone away, which some tests are about

        self._server = Server(("127.0.0.1", port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def told(self) -> list[Any]:
        return [post.json for post in self.posts]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class MailServer:
    """Takes mail; recipients that begin with ``nobody`` are refused, and those with ``later`` for now."""

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        user: str | None = None,
        password: str = "",
        at_once: ssl.SSLContext | None = None,
    ) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.answer = "250 OK"
        self.encrypted: list[bool] = []
        self._login = (user, password)
        auth: dict[str, Any] = {}
        if user is not None:
            auth = {"authenticator": self._check, "auth_required": True, "auth_require_tls": tls is not None}
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=free_port(),
            tls_context=tls,
            ssl_context=at_once,
            decode_data=False,
            **auth,
        )
        self._controller.start()
        self.port = self._controller.port

    def _check(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        given = (data.login.decode(), data.password.decode()) if isinstance(data, LoginPassword) else None
        return AuthResult(success=given == self._login, handled=False)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address.startswith("nobody"):
            return "550 no such user"
        if address.startswith("later"):
            return "450 mailbox busy"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        from email import message_from_bytes, policy

        if self.answer.startswith("250"):
            self.mails.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
            self.recipients.append(list(envelope.rcpt_tos))
            self.encrypted.append(session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None)
        return self.answer

    def close(self) -> None:
        self._controller.stop()


def require_alertmanager() -> str:
    found = shutil.which(ALERTMANAGER) or shutil.which("alertmanager")
    if found is None:
        reason = f"no {ALERTMANAGER} (the Debian package of that name)"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and in CI the tests on it have to run")
        pytest.skip(reason)
    return found


class AlertmanagerProcess:
    """A real Alertmanager that tells a webhook, alone, its data in ``folder``; can be stopped and started again."""

    def __init__(self, folder: Path, hook: str) -> None:
        self._program, self._folder, self.port = require_alertmanager(), folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "alertmanager.yml").write_text(
            "route: {receiver: hook, group_by: [alertname, group], group_wait: 200ms, group_interval: 500ms,"
            " repeat_interval: 1h}\n"
            f"receivers: [{{name: hook, webhook_configs: [{{url: '{hook}'}}]}}]\n"
        )

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._program,
                    f"--config.file={self._folder / 'alertmanager.yml'}",
                    f"--storage.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    "--cluster.listen-address=",
                ],
                stdout=log,
                stderr=log,
            )
        assert eventually(self._ready), (self._folder / "log").read_text()[-2000:]

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v2/{path}", timeout=5) as answer:
            return json.load(answer)

    def post(self, path: str, tree: Any) -> Any:
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v2/{path}", json.dumps(tree).encode(), head)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)
            self._process = None


def notification(i: int = 0, status: str = "firing", alerts: int = 1, group: str | None = None) -> dict[str, Any]:
    """A notification of an incident of its own, with so many alerts."""
    key = f"incident{i}" if group is None else group
    shared = {"alertname": f"Alert{i}", "group": key, "severity": "warning"}
    ends = "2026-03-01T12:05:00Z" if status == "resolved" else "0001-01-01T00:00:00Z"
    told = [
        {
            "status": status,
            "labels": {**shared, "stream": f"{key}/s{n}"},
            "annotations": {"summary": f"Alert{i} of s{n}", "description": "far too high"},
            "startsAt": "2026-03-01T12:00:00Z",
            "endsAt": ends,
            "generatorURL": "http://heed/",
            "fingerprint": f"{key}-{n}",
        }
        for n in range(alerts)
    ]
    return {
        "version": "4",
        "groupKey": f'{{}}:{{group="{key}"}}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "oncall",
        "groupLabels": {"alertname": f"Alert{i}", "group": key},
        "commonLabels": shared,
        "commonAnnotations": {},
        "externalURL": "http://heed/",
        "alerts": told,
        "reason": "new_group" if status == "firing" else "resolved",
    }
