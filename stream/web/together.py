"""The HTTP interface of several workers as one: their metrics, readiness, alerts and status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stream.telemetry import CONTENT_TYPE
from stream.web.every import guarded

SUMS = ("readings", "streams", "late", "guarantee_violations")
WORST = ("starting", "draining", "catching_up", "warming", "ready")


class Workers(Protocol):
    """All workers (stream/app/siblings.py)."""

    @property
    def each(self) -> Sequence[Any]: ...

    def told(self, path: str) -> list[Any]: ...

    def not_ready(self) -> list[str]: ...

    def metrics(self) -> bytes: ...


def together(workers: Workers) -> ASGIApp:
    """Everything that is served for all workers; each answers for itself at its own address."""

    def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy\n")

    def ready(_: Request) -> Response:
        reasons = workers.not_ready()
        return PlainTextResponse("".join(f"{why}\n" for why in reasons) or "ready\n", 503 if reasons else 200)

    def metrics(_: Request) -> Response:
        return Response(workers.metrics(), headers={"content-type": CONTENT_TYPE})

    def status(_: Request) -> Response:
        return JSONResponse(_status(workers))

    def alerts(_: Request) -> Response:
        said = [each["data"] for each in workers.told("api/v1/alerts?limit=100000") if each]
        found = {key: [alert for each in said for alert in each[key]] for key in ("alerts", "recent")}
        total = sum(each["total"] for each in said)
        return JSONResponse({"status": "success", "data": {**found, "total": total}})

    def page(_: Request) -> Response:
        return HTMLResponse(_page(_status(workers)))

    routes = {
        "/": page, "/-/healthy": healthy, "/-/ready": ready, "/metrics": metrics,
        "/api/v1/status": status, "/api/v1/alerts": alerts,
    }  # fmt: skip
    return guarded(Starlette(routes=[Route(path, answer) for path, answer in routes.items()]))


def _status(workers: Workers) -> dict[str, Any]:
    """Sums over the workers, the state of the least ready one, and what each says."""
    said = workers.told("api/v1/status")
    rows = []
    for one, own in zip(workers.each, said, strict=True):
        up, restarts = one.fate()
        rows.append({"worker": one.number, "up": up, "restarts": restarts, "url": one.url, "status": own})
    known = [own for own in said if own]
    states = [own["state"] for own in known] + ["starting"] * (len(said) - len(known))
    return {
        **{name: sum(own[name] for own in known) for name in SUMS},
        "windows": _added([own["windows"] for own in known]),
        "state": min(states, key=WORST.index),
        "ready": len(known) == len(said) and all(own["ready"] for own in known),
        "workers": rows,
    }


def _added(windows: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: sum(each[name] for each in windows) for name in (windows[0] if windows else ())}


def _page(status: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><a href='{escape(row['url'])}'>worker {row['worker']}</a></td>"
        f"<td>{escape(row['status']['state'] if row['status'] else 'down')}</td><td>{row['restarts']}</td>"
        f"<td>{row['status']['streams'] if row['status'] else ''}</td></tr>"
        for row in status["workers"]
    )
    head = "<tr><th>worker</th><th>state</th><th>restarts</th><th>streams</th></tr>"
    return f"<!doctype html><title>heed: workers</title><h1>heed: workers</h1><table>{head}{rows}</table>"
