"""A model on disk: its folder of ONNX files, the card that says what they are, and whether both still agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from models.contract import ModelError

MODEL, LITE, WEIGHT, CARD = "model.onnx", "lite.onnx", "weight.onnx", "card.json"
BUILTIN = Path(__file__).parent / "builtin"
FORMAT = 1  # of the card


@dataclass(frozen=True, slots=True)
class Card:
    """What a model says of itself.

    ``files``: per file its ``sha256`` and ``bytes``. ``shapes``: per file and input or output its dimensions, numbers
    or names. ``cost``: ``fixed_seconds`` a call, ``each_seconds`` an admitted stream, ``measured_on``. ``parity``: per
    file and output the largest absolute difference from the torch network. ``probe``: what the model answered to a
    made-up look when it was exported, for a self-test. ``normalised``: whether it wants values in units of the
    stream's own recent spread.
    """

    name: str
    version: str
    window: int = 128  # T, steps
    normalised: bool = True
    opset: int = 0
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    shapes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    parity: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    probe: Mapping[str, Any] = field(default_factory=dict)
    created_with: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def seconds(self) -> tuple[float, float]:
        """Seconds a call costs, and seconds each admitted stream adds; zeros where nobody measured."""
        return float(self.cost.get("fixed_seconds", 0.0)), float(self.cost.get("each_seconds", 0.0))


def write_card(folder: Path, card: Card) -> None:
    """Write the card into the artifact's folder."""
    text = json.dumps(asdict(card), indent=2, sort_keys=False, allow_nan=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def read_card(folder: Path) -> Card:
    """The card of the artifact in ``folder``; raises ModelError where it is missing or not a card."""
    path = folder / CARD
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no card; a folder without one is not a model") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not a readable card: {error}") from None
    return _card(path, raw)


def _card(path: Path, raw: object) -> Card:
    if not isinstance(raw, dict):
        raise ModelError(f"{path}: a card is a JSON object, this is a {type(raw).__name__}")
    if raw.get("format") != FORMAT:
        raise ModelError(f"{path}: card format {raw.get('format')!r} is not known, only {FORMAT}")
    known = {each.name for each in fields(Card)}
    wrong = [key for key in ("name", "version") if not isinstance(raw.get(key), str)]
    wrong += [key for key in _OBJECTS if not isinstance(raw.get(key, {}), dict)]
    wrong += [key for key in ("window", "opset") if type(raw.get(key, 0)) is not int]
    wrong = wrong or [f"files.{name}" for name, said in raw.get("files", {}).items() if not _is_stamp(said)]
    if wrong:
        raise ModelError(f"{path}: missing or of the wrong type: {', '.join(wrong)}")
    return Card(**{key: value for key, value in raw.items() if key in known})


def _is_stamp(said: object) -> bool:
    return isinstance(said, dict) and isinstance(said.get("sha256"), str) and type(said.get("bytes")) is int


_OBJECTS = ("files", "shapes", "training", "cost", "quality", "parity", "probe", "created_with")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; raises ModelError where it can't be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: can't be read: {error.strerror}") from None


def stamp(path: Path) -> dict[str, Any]:
    """What the card keeps of a file."""
    return {"sha256": digest(path), "bytes": path.stat().st_size}


def file_problem(folder: Path, name: str, card: Card) -> str | None:
    """What is wrong with one file of an artifact, or None."""
    path, said = folder / name, card.files.get(name)
    if said is None:
        return f"{path}: the card does not list it"
    if not path.is_file():
        return f"{path}: missing"
    size = path.stat().st_size
    if size < said["bytes"]:
        return f"{path}: truncated, {size} of {said['bytes']} bytes"
    if digest(path) != said["sha256"]:
        return f"{path}: changed since the card was written (SHA-256 differs)"
    return None


def verify(folder: Path) -> list[str]:
    """What is wrong with an artifact's files, by its card; empty = nothing. Runs no model: see scorer.self_test."""
    try:
        card = read_card(folder)
    except ModelError as error:
        return [str(error)]
    names = sorted({MODEL, *card.files})
    return [problem for name in names if (problem := file_problem(folder, name, card))]
