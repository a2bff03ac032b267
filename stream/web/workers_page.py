"""The page at the shared address: each worker, how it stands, and the way to its own page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

HEAD = ("worker", "state", "streams", "lag p99", "coverage", "alerts firing", "restarts")
REFRESH = 5  # seconds


def workers_page(status: Mapping[str, Any]) -> str:
    """HTML of what /api/v1/status says of all of them; it comes anew by itself."""
    known = [row["status"] for row in status["workers"] if row["status"]]
    tiles = {
        "Workers": f"{len(known)} of {len(status['workers'])}",
        "Streams": f"{status['streams']:,}",
        "Lag (p99), the worst": _lag(max(_numbers(known, "lag"), default=None)),
        "Coverage, the least": _share(min(_numbers(known, "coverage"), default=None)),
        "Alerts firing": f"{sum(own['now']['alerts_firing'] for own in known):,}",
    }
    shown = "".join(f'<div class="tile"><h2>{name}</h2><p class="big">{said}</p></div>' for name, said in tiles.items())
    head = "".join(f"<th{_side(i)}>{name}</th>" for i, name in enumerate(HEAD))
    rows = "".join(_row(row) for row in status["workers"])
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="{REFRESH}">
<title>heed: workers</title>
<link rel="icon" href="page/icon.svg">
<link rel="stylesheet" href="page/heed.css">
</head>
<body>
<header>
  <h1><img src="page/icon.svg" alt="" width="28" height="28">heed</h1>
  <span class="badge {status["state"]}" role="status">{_words(status["state"])}</span>
</header>
<section class="tiles" aria-label="At a glance">{shown}</section>
<section class="panel">
  <div class="head"><h2>Workers</h2><p class="quiet">each shows its own streams and alerts</p></div>
  <table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>
</section>
</body>
</html>
"""


def _numbers(known: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [own["now"][name] for own in known if own["now"][name] is not None]


def _row(worker: Mapping[str, Any]) -> str:
    own, name = worker["status"], f"worker {worker['worker']}"
    link = f'<a href="{escape(worker["url"])}">{name}</a>' if own else name
    state = f'<span class="badge {own["state"] if own else "lost"}">{_words(own["state"] if own else "down")}</span>'
    if own:
        now = own["now"]
        said = [f"{own['streams']:,}", _lag(now["lag"]), _share(now["coverage"]), f"{now['alerts_firing']:,}"]
    else:
        said = ["–"] * 4
    cells = [link, state, *said, str(worker["restarts"])]
    labelled = enumerate(zip(HEAD, cells, strict=True))
    return (
        "<tr>" + "".join(f'<td{_side(i)} data-label="{label}">{cell}</td>' for i, (label, cell) in labelled) + "</tr>"
    )


def _side(column: int) -> str:
    return ' class="number"' if column >= HEAD.index("streams") else ""


def _words(state: str) -> str:
    return state.replace("_", " ")


def _lag(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _share(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"
