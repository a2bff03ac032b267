"""`heed model info|verify`: what a model says of itself, and whether that is still so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.artifact import BUILTIN, Card, read_card
from models.contract import ModelError
from models.scorer import OnnxScorer
from models.selftest import self_test


def info(path: str | None) -> str:
    """The card of a model's folder (the shipped one by default), or what an ONNX file takes and gives, for people.

    Raises ModelError where there is no model.
    """
    place = Path(path) if path else BUILTIN
    return "\n".join(_of_card(place, read_card(place)) if place.is_dir() else _of_file(place))


def verify(path: str | None) -> int:
    """Try a model and print what is wrong with it, or that nothing is; 1 where something is, else 0."""
    place = Path(path) if path else BUILTIN
    problems = self_test(place) if place.is_dir() else _file_problems(place)
    for line in problems or [f"{place}: OK"]:
        print(line)  # noqa: T201 - the answer goes to standard output
    return 1 if problems else 0


def _file_problems(path: Path) -> list[str]:
    try:
        OnnxScorer(path)
    except ModelError as error:
        return [str(error)]
    return []


def _of_file(path: Path) -> Iterator[str]:
    signature = OnnxScorer(path).signature
    yield f"{path.name}: an ONNX file without a card"
    yield from _rows({"inputs": ", ".join(signature.inputs), "outputs": ", ".join(signature.outputs)})


def _of_card(folder: Path, card: Card) -> Iterator[str]:
    yield f"{card.name} {card.version} in {folder}"
    fixed, each = card.seconds
    measured = card.cost.get("measured_on", "not measured")
    rows = {
        "window": f"{card.window} steps, {'normalised' if card.normalised else 'in own units'}",
        "cost": f"{fixed * 1e6:.0f} us a call + {each * 1e6:.2f} us a stream ({measured})",
        "created with": ", ".join(f"{name} {version}" for name, version in card.created_with.items()),
    }
    yield from _rows(rows)
    yield from _section(
        "files", {name: f"{said['bytes']:,} bytes, {said['sha256'][:12]}" for name, said in card.files.items()}
    )
    yield from _section("training", card.training)
    yield from _section("quality", card.quality)
    yield from _section("parity with torch", card.parity)


def _section(title: str, content: Mapping[str, Any]) -> Iterator[str]:
    if content:
        yield f"  {title}:"
        yield from ("  " + row for row in _rows({name: _plain(value) for name, value in content.items()}))


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rows(rows: Mapping[str, str]) -> Iterator[str]:
    return (f"  {name}: {text}" for name, text in rows.items())
