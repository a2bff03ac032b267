"""Values as strict JSON: what is not a finite number becomes null, whatever text becomes ASCII."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def encode(value: object) -> bytes:
    """JSON, compact. Half a surrogate pair in a name stays what it is, as an escape."""
    try:
        return _dumps(value)
    except ValueError:  # rare: a number that JSON doesn't know
        return _dumps(_finite(value))


def _dumps(value: object) -> bytes:
    return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":")).encode("ascii")


def _plain(value: object) -> Any:
    """NumPy's numbers and arrays, and read-only mappings."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return dict(value) if isinstance(value, Mapping) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
