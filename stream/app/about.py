"""What `heed version` says."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version

from stream import __version__

_LIBRARIES = ("numpy", "onnxruntime", "kafka-python", "pyarrow", "msgspec")


def versions() -> dict[str, str]:
    """heed, Python and the libraries whose versions matter to results."""
    found = {"heed": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def about() -> str:
    """As JSON."""
    return json.dumps(versions())


def lines() -> str:
    """For people."""
    found = versions()
    return f"heed {found.pop('heed')}\n" + "\n".join(f"  {name} {text}" for name, text in found.items())
