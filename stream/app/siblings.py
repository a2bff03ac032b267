"""What the workers of one host say over HTTP, asked for by the process that supervises them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError

from connectors.heed_answers import opened
from stream.telemetry_together import Together

TIMEOUT_S = 2.0
ALL = 1_000_000  # groups


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
        except (OSError, ValueError):
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
    """All workers, asked side by side."""

    def __init__(self, each: Sequence[Sibling]) -> None:
        self.each = list(each)
        self.spread: list[str] = []  # groups whose streams were at more than one worker when compared last

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

    def compare(self) -> list[str]:
        """Groups that more than one worker has streams of: each looks at its own part as if it were all."""
        found: Counter[str] = Counter()
        for said in self.told(f"api/v1/coverage?limit={ALL}"):
            found.update({row["group"] for row in said["data"]["groups"]} if said else ())
        self.spread = sorted(group for group, workers in found.items() if workers > 1)
        return self.spread

    def metrics(self) -> bytes:
        """Every metric of every worker, and how the workers fare."""
        texts = {str(one.number): text or "" for one, text in zip(self.each, self.answers("metrics"), strict=True)}
        return Together(texts, {str(one.number): one.fate() for one in self.each}, len(self.spread)).text()
