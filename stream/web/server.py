"""The web server: one thread beside the loop, which reads snapshots and can't slow anything but itself."""

from __future__ import annotations

import logging
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from stream.notify.desk import Desk
from stream.web.routes import application
from stream.web.snapshot import Board

PATIENCE_S = 3.0  # for answers under way when it is stopped
MOST_CONNECTIONS = 200  # more are told to come back later


class WebError(Exception):
    """The web server can't start; the message names the address."""


class WebServer:
    """Serves what stands on ``board``, or another application, at ``host`` ("" = every interface) and ``port``.

    Port 0 = any that is free. Requests to silence alerts are left on ``desk``; without one they are refused.
    """

    def __init__(
        self, board: Board | ASGIApp, host: str = "127.0.0.1", port: int = 8321, desk: Desk | None = None
    ) -> None:
        self._host, self._port = host, port
        self._server = uvicorn.Server(_config(application(board, desk) if isinstance(board, Board) else board))
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        """Listen, and come back once requests are answered. Raises WebError where that can't be."""
        self._socket = self._listen()
        self._host, self._port = self._socket.getsockname()[:2]
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            self._thread.join(0.005)
        if not self._server.started:
            raise WebError(f"the web server at {self.address} ended as it began")

    def stop(self, patience_s: float = PATIENCE_S) -> None:
        """Answer what is under way, then close; at once if it never started, and any number of times."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(patience_s)
        if self._socket is not None:
            self._socket.close()

    @property
    def address(self) -> str:
        """Host and port; once started, those that it really has."""
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the page."""
        anywhere = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}
        return f"http://{anywhere[self._host]}:{self._port}/" if self._host in anywhere else f"http://{self.address}/"

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            return socket.create_server((self._host, self._port), family=family)
        except (OSError, UnicodeError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise WebError(f"can't listen on {self.address}: {why}; server.listen says where") from error

    def _run(self) -> None:
        assert self._socket is not None
        try:
            self._server.run(sockets=[self._socket])
        except (Exception, SystemExit):  # uvicorn leaves the process when it can't start
            logging.getLogger(__name__).exception("the web server at %s ended", self.address)


def _config(app: ASGIApp) -> uvicorn.Config:
    """No set-up of logging: uvicorn's warnings go where all lines go, and requests are not logged."""
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
