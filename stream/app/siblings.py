"""What the workers of one host say over HTTP, asked for by the process that supervises them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

from connectors.heed_answers import opened
from stream.app.roster import Spread
from stream.telemetry_together import Together

TIMEOUT_S = 2.0
CHANGE_S, RELOAD_S = 15.0, 35.0  # for an answer to a change: longer than a worker itself waits for its loop


@dataclass(frozen=True, slots=True)
class Sibling:
    """One worker: its number, the port of its HTTP interface, and whether it is up and how often it was restarted."""

    number: int
    port: int
    fate: Callable[[], tuple[bool, int]]

    @property
    def url(self) -> str:
        """Where its own page is."""
        return f"http://127.0.0.1:{self.port}/"

    def ask(self, path: str) -> str | None:
        """What it answers; None where it is down, too slow or not ready to answer."""
        if not self.fate()[0]:
            return None
        try:
            with opened(self.url + path, TIMEOUT_S) as answer:
                text: str = answer.read().decode()
                return text
        except (OSError, ValueError, HTTPException):
            return None

    def send(self, method: str, path: str, body: object = None, patience_s: float = CHANGE_S) -> tuple[int, str] | None:
        """What it answers to a request that changes something: status and text; None where it does not answer."""
        if not self.fate()[0]:
            return None
        written = None if body is None else json.dumps(body).encode()
        asked = Request(self.url + path, written, {"content-type": "application/json"}, method=method)
        try:
            with opened(asked, patience_s) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except (OSError, ValueError, HTTPException):
            return None

    def ready(self) -> str:
        """Why it is not ready; "" when it is."""
        if not self.fate()[0]:
            return "is down"
        try:
            with opened(self.url + "-/ready", TIMEOUT_S):
                return ""
        except HTTPError as error:
            return error.read().decode().strip().replace("\n", "; ")
        except OSError as error:
            return f"does not answer: {error}"


class Siblings:
    """All workers, asked side by side; ``spread``: what is known of groups that came to several."""

    def __init__(self, each: Sequence[Sibling], spread: Spread | None = None) -> None:
        self.each, self.spread = list(each), spread or Spread()

    def answers(self, path: str) -> list[str | None]:
        """What each says."""
        with ThreadPoolExecutor(len(self.each)) as pool:
            return list(pool.map(lambda one: one.ask(path), self.each))

    def told(self, path: str) -> list[Any]:
        """The JSON that each says; None for those that say none."""
        return [None if text is None else json.loads(text) for text in self.answers(path)]

    def not_ready(self) -> list[str]:
        """A line for each worker that is not ready."""
        with ThreadPoolExecutor(len(self.each)) as pool:
            why = list(pool.map(Sibling.ready, self.each))
        return [f"worker {one.number}: {reason}" for one, reason in zip(self.each, why, strict=True) if reason]

    def reload(self) -> list[tuple[int, int, str]]:
        """All take in a changed configuration: number, status and text of what each answers."""
        with ThreadPoolExecutor(len(self.each)) as pool:
            said = list(pool.map(lambda one: one.send("POST", "-/reload", patience_s=RELOAD_S), self.each))
        told = [(503, "does not answer") if each is None else each for each in said]
        return [(one.number, code, text.strip()) for one, (code, text) in zip(self.each, told, strict=True)]

    def metrics(self) -> bytes:
        """Every metric of every worker, and how the workers fare."""
        texts = {str(one.number): text or "" for one, text in zip(self.each, self.answers("metrics"), strict=True)}
        return Together(texts, {str(one.number): one.fate() for one in self.each}, len(self.spread.groups)).text()
