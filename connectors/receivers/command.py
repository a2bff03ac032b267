"""Notifications to a program: the JSON on its standard input, its exit code says whether it was told."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO

from connectors.jsontext import written
from connectors.sink import SinkError

PASSED_ON = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
TRIES = 20  # about nine minutes, then the message is given up: a program that fails at it would block all others
TOLD = 300  # bytes of what it wrote to standard error that are shown


class CommandSink:
    """Starts ``command`` (never through a shell) once a message. Exit code 0 = told, anything else = to be tried again.

    It sees the variables of ``PASSED_ON``, those of ``env``, ``HEED_RECEIVER`` and ``HEED_STATUS``, and no others.
    After ``timeout_s`` it and all that it started are killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        name: str = "exec",
        timeout_s: float = 10.0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self._command, self._timeout_s, self._env = name, list(command), timeout_s, dict(env or {})

    def send(self, messages: Sequence[Mapping[str, object]]) -> None:
        for done, message in enumerate(messages):
            try:
                self._run(message)
            except SinkError as error:
                error.sent = done
                raise

    def _run(self, message: Mapping[str, object]) -> None:
        with TemporaryFile() as given, TemporaryFile() as said:
            given.write(written(message, self.name))
            given.seek(0)
            process = self._started(message, given, said)
            try:
                code = process.wait(self._timeout_s)
            except subprocess.TimeoutExpired as error:
                raise SinkError(
                    f"{self._command[0]}: not done after {self._timeout_s:g} s", "timeout", tries=TRIES
                ) from error
            finally:
                _end(process)
            if code:
                raise SinkError(f"{self._command[0]}: exit code {code}{_last_words(said)}", "failed", tries=TRIES)

    def _started(self, message: Mapping[str, object], given: IO[bytes], said: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._command,
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env=self._environment(message),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise SinkError(f"{self._command[0]}: can't be started: {error}", "unreachable", tries=TRIES) from error

    def _environment(self, message: Mapping[str, object]) -> dict[str, str]:
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        told = {"HEED_RECEIVER": str(message.get("receiver", "")), "HEED_STATUS": str(message.get("status", ""))}
        return {**passed, **told, **self._env}

    def close(self) -> None:
        pass


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it where it still runs; its whole group, so that what it started goes too."""
    if process.poll() is None:
        with suppress(ProcessLookupError):  # it ended just now
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_words(said: IO[bytes]) -> str:
    said.seek(max(0, said.seek(0, 2) - TOLD))
    words = " ".join(said.read().decode("utf-8", "replace").split())
    return f": {words}" if words else ""
