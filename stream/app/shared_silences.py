"""Silences of several workers as one: an id means the same at each of them, and the newest word on it holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stream.app.siblings import Sibling

PATH = "api/v1/silences"
_ORDER = ("active", "pending", "expired")
Row = Mapping[str, Any]  # a silence as the interface tells it
Answer = tuple[int, Any]  # status and JSON


class SharedSilences:
    """Keeps nothing itself: each worker has all silences in its own state, so that one who was down catches up.

    Like Alertmanagers of one cluster they agree in the end: what one has and another has not, or has in an older
    form, is handed on by ``spread``.
    """

    def __init__(self, each: Sequence[Sibling]) -> None:
        self._each = list(each)

    def listed(self) -> list[Row]:
        """All silences: those that hold first, then those to come, then by their end."""
        found = newest(row for rows in self._known() for row in rows or ())
        return sorted(found.values(), key=lambda row: (_ORDER.index(row["status"]["state"]), row["endsAt"], row["id"]))

    def add(self, body: object) -> Answer:
        """One worker makes it, and the others get it under the same id."""
        for one in self._each:
            said = one.send("POST", PATH, body)
            if said is not None and said[0] < 500:
                return self._passed_on(said, one)
        return _nobody()

    def expire(self, key: str) -> Answer:
        """The first worker for which it holds ends it, and the others hear of that."""
        refused: list[tuple[int, str]] = []
        for one in self._each:
            said = one.send("DELETE", f"{PATH}/{key}")
            if said is not None and said[0] == 200:
                return self._passed_on(said, one)
            refused += [said] if said is not None and said[0] < 500 else []
        if not refused:
            return _nobody()
        code, text = min(refused)  # that it is over (400) says more than that it is not known (404)
        return code, json.loads(text)

    def spread(self) -> None:
        """Hands on what one worker knows and another does not; what is over need not be known."""
        known = self._known()
        latest = newest(row for rows in known for row in rows or ())
        for one, rows in zip(self._each, known, strict=True):
            own = {row["id"]: row for row in rows or ()}
            for row in latest.values() if rows is not None else ():
                if _older(own[row["id"]], row) if row["id"] in own else row["status"]["state"] != "expired":
                    one.send("PUT", f"{PATH}/{row['id']}", row)

    def _known(self) -> list[list[Row] | None]:
        """What each says; None for those that say nothing."""
        with ThreadPoolExecutor(len(self._each)) as pool:
            said = list(pool.map(lambda one: one.ask(PATH), self._each))
        return [None if text is None else json.loads(text)["data"]["silences"] for text in said]

    def _passed_on(self, said: tuple[int, str], to_whom: Sibling) -> Answer:
        """What one answered, after the others heard of it; ``missing`` names those that will hear of it later."""
        code, answer = said[0], json.loads(said[1])
        if code != 200:
            return code, answer
        row, others = answer["data"], [one for one in self._each if one is not to_whom]
        with ThreadPoolExecutor(len(self._each)) as pool:
            took = list(pool.map(lambda one: one.send("PUT", f"{PATH}/{row['id']}", row), others))
        missing = [one.number for one, each in zip(others, took, strict=True) if each is None or each[0] != 200]
        return code, {**answer, "data": {**row, **({"missing": missing} if missing else {})}}


def newest(rows: Iterable[Row]) -> dict[str, Row]:
    """By id the row that was changed last."""
    found: dict[str, Row] = {}
    for row in rows:
        if row["id"] not in found or _older(found[row["id"]], row):
            found[row["id"]] = row
    return found


def _older(one: Row, other: Row) -> bool:
    """By when they were changed: RFC 3339 in UTC, with as many digits as it needs."""
    return bool(one["updatedAt"].rstrip("Z") < other["updatedAt"].rstrip("Z"))


def _nobody() -> Answer:
    return 503, {"status": "error", "errorType": "unavailable", "error": "no worker answers; try again"}
