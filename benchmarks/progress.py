"""How far a long measurement is, on standard error, while somebody watches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


def watched(items: Sequence[Item], what: str) -> Iterable[Item]:
    """The items one by one, with a bar that says how many are done."""
    return track(items, f"measuring {what}", console=Console(stderr=True), transient=True)
