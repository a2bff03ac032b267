"""Durations as people write them (``250ms``, ``1h30m``), to nanoseconds and back."""

from __future__ import annotations

import re

UNITS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
LONGEST = 2**63 - 1  # nanoseconds, 292 years: what an int64 holds
_PART = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)\s*(ns|us|µs|ms|s|m|h|d|w)\s*", re.ASCII)
_NUMBER = re.compile(r"\d{1,19}(?:\.\d{1,9})?", re.ASCII)
_FORM = "write it like 250ms, 30s, 5m, 1h30m or 2d"


def parse_duration(text: str | int | float) -> int:
    """Nanoseconds in ``text``; a bare number is seconds. ValueError tells what is wrong."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError(f"{text!r} is not a duration: {_FORM}")
    if isinstance(text, str):
        return _in_range(_of_text(text.strip(), text), text)
    if text != text:  # only NaN; math.isnan fails on very large integers
        raise ValueError(f"{text!r} is not a duration: {_FORM}")
    return _in_range(round(max(-1, min(text, LONGEST)) * UNITS["s"]), text)


def _of_text(stripped: str, text: str) -> int:
    if _NUMBER.fullmatch(stripped):
        return _scaled(stripped, "s")
    total, at, last = 0, 0, LONGEST
    while at < len(stripped):
        part = _PART.match(stripped, at)
        if part is None:
            raise ValueError(f"{text!r} is not a duration: {_FORM}")
        unit = part[2].replace("µ", "u")
        if UNITS[unit] >= last:
            raise ValueError(f"{text!r} is not a duration: units go from large to small, each once")
        total, at, last = total + _scaled(part[1], unit), part.end(), UNITS[unit]
    if not stripped:
        raise ValueError(f"an empty text is not a duration: {_FORM}")
    return total


def _scaled(number: str, unit: str) -> int:
    """Exact where the number is whole; a fraction is rounded to the nanosecond."""
    return int(number) * UNITS[unit] if number.isdigit() else round(float(number) * UNITS[unit])


def _in_range(ns: int, text: object) -> int:
    if ns < 0:
        raise ValueError(f"{text!r} is not a duration: it must not be negative")
    if ns > LONGEST:
        raise ValueError(f"{text!r} is too long: at most 292 years")
    return ns


def format_duration(ns: int) -> str:
    """The shortest text that ``parse_duration`` reads back as ``ns``: ``1h30m``, ``250ms``, ``0s``."""
    if ns <= 0:
        return "0s" if ns == 0 else "-" + format_duration(-ns)
    parts, left = [], ns
    for unit in ("d", "h", "m", "s", "ms", "us", "ns"):
        count, left = divmod(left, UNITS[unit])
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts)
