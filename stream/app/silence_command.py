"""`heed silence add|list|expire`: silences of a running daemon, over its HTTP interface."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from connectors.heed_answers import answer, change
from stream.config_text import ConfigError
from stream.notify.matcher import MatcherError, from_row, shown
from stream.settings import load, split_address

_COLUMNS = ("ID", "STATE", "ENDS AT", "BY", "MATCHERS", "COMMENT")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the daemon is: its address, or the configuration that tells it."""

    url: str | None
    config: str | None

    def found(self) -> str:
        """The address. Raises ConfigError."""
        return self.url or self._configured()

    def _configured(self) -> str:
        listen = load(self.config, need_sources=False).server.listen
        if listen == "none":
            raise ConfigError.of("server.listen is none: nobody can ask this daemon anything")
        host, port = split_address(listen)
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def add(place: Place, body: Mapping[str, Any], output: str) -> None:
    """Print the id of the new silence. Raises SourceError, DeclinedError, ConfigError."""
    made = change(place.found(), "POST", "silences", body={k: v for k, v in body.items() if v is not None})
    typer.echo(json.dumps(made, indent=2) if output == "json" else made["id"])


def listed(place: Place, expired: bool, output: str) -> None:
    """Print the silences that hold or are to come, and those that are over where asked for."""
    known = answer(place.found(), "silences")["silences"]
    rows = [each for each in known if expired or each["status"]["state"] != "expired"]
    if output == "json":
        typer.echo(json.dumps(rows, indent=2))
        return
    for line in _aligned([_COLUMNS, *map(_row, rows)]):
        typer.echo(line)


def expire(place: Place, ids: Sequence[str]) -> None:
    """End silences now."""
    url = place.found()
    for key in ids:
        change(url, "DELETE", "silences", key)


def _row(silence: Mapping[str, Any]) -> tuple[str, ...]:
    found = (silence["id"], silence["status"]["state"], silence["endsAt"], silence["createdBy"],
             _matchers(silence["matchers"]), silence["comment"])  # fmt: skip
    return tuple("".join(char if char.isprintable() else "?" for char in str(text)) for text in found)


def _matchers(rows: Iterable[Any]) -> str:
    try:
        return shown([from_row(row) for row in rows])
    except MatcherError:  # a daemon of another version may know more
        return json.dumps(list(rows))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return ["  ".join([*(t.ljust(w) for t, w in zip(row, widths, strict=False)), row[-1]]) for row in rows]
