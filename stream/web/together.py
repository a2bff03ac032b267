"""The HTTP interface of several workers as one: what they say is joined, what is asked for goes to all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stream.telemetry import CONTENT_TYPE
from stream.web import joined
from stream.web.answers import ALERTS
from stream.web.every import guarded
from stream.web.query import asked, rows
from stream.web.reloading import refusal
from stream.web.routes import RULES, mistakes, page_parts
from stream.web.silencing import json_body, not_from_a_page
from stream.web.workers_page import workers_page

SUMS = ("readings", "streams", "late", "guarantee_violations")
WORST = ("starting", "draining", "catching_up", "warming", "ready")


class Workers(Protocol):
    """All workers (stream/app/siblings.py)."""

    @property
    def each(self) -> Sequence[Any]: ...

    def told(self, path: str) -> list[Any]: ...

    def not_ready(self) -> list[str]: ...

    def metrics(self) -> bytes: ...

    def reload(self) -> list[tuple[int, int, str]]: ...


class Silences(Protocol):
    """The silences of all workers (stream/app/shared_silences.py); answers are a status and JSON."""

    def listed(self) -> list[Mapping[str, Any]]: ...

    def add(self, body: object) -> tuple[int, Any]: ...

    def expire(self, key: str) -> tuple[int, Any]: ...


def together(workers: Workers, silences: Silences, reloads: bool = False) -> ASGIApp:
    """Everything that is served for all workers; each answers for itself at its own address.

    ``reloads``: whether ``/-/reload`` may be asked for.
    """

    def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy\n")

    def ready(_: Request) -> Response:
        reasons = workers.not_ready()
        return PlainTextResponse("".join(f"{why}\n" for why in reasons) or "ready\n", 503 if reasons else 200)

    def metrics(_: Request) -> Response:
        return Response(workers.metrics(), headers={"content-type": CONTENT_TYPE})

    def status(_: Request) -> Response:
        return JSONResponse(_status(workers))

    def alerts(request: Request) -> Response:
        how = {"limit": ALERTS} | asked(request.query_params.multi_items(), {"limit": rows})
        return _joined(workers, "alerts", how, lambda said: joined.alerts(said, how["limit"]))

    def rules(request: Request) -> Response:
        return _joined(workers, "rules", asked(request.query_params.multi_items(), RULES), joined.rules)

    def page(_: Request) -> Response:
        return HTMLResponse(workers_page(_status(workers)))

    routes = {
        "/": page, "/-/healthy": healthy, "/-/ready": ready, "/metrics": metrics,
        "/api/v1/status": status, "/api/v1/alerts": alerts, "/api/v1/rules": rules,
    }  # fmt: skip
    found = [Route(path, answer) for path, answer in routes.items()]
    found += [page_parts(), _reloading(workers, reloads), *_silencing(silences)]
    return guarded(Starlette(routes=found, exception_handlers=mistakes()))


def _joined(
    workers: Workers, name: str, how: Mapping[str, Any], join: Callable[[Sequence[Any]], Mapping[str, Any]]
) -> Response:
    """What those that answer say, as one; ``how``: parameters."""
    given = {key: str(value).lower() for key, value in how.items()}
    said = workers.told(f"api/v1/{name}?{urlencode(given)}")
    return JSONResponse({"status": "success", "data": join([each["data"] for each in said if each])})


def _reloading(workers: Workers, reloads: bool) -> Route:
    """A line for each worker; 200 where all took it in, else the worst that one of them says."""

    def reload(request: Request) -> Response:
        refused = refusal(request, reloads)
        if refused is not None:
            return refused
        said = workers.reload()
        text = "".join(f"worker {number}: {line}\n" for number, _, told in said for line in told.splitlines())
        return PlainTextResponse(text, max((code for _, code, _ in said), default=200))

    return Route("/-/reload", reload, methods=["POST", "PUT"])


def _silencing(silences: Silences) -> list[Route]:
    async def all_of_them(request: Request) -> Response:
        if request.method == "POST":
            code, said = await run_in_threadpool(silences.add, await json_body(request))
            return JSONResponse(said, code)
        asked(request.query_params.multi_items(), {})
        return JSONResponse({"status": "success", "data": {"silences": await run_in_threadpool(silences.listed)}})

    async def one(request: Request) -> Response:
        not_from_a_page(request)
        code, said = await run_in_threadpool(silences.expire, str(request.path_params["id"]))
        return JSONResponse(said, code)

    return [
        Route("/api/v1/silences", all_of_them, methods=["GET", "POST"]),
        Route("/api/v1/silences/{id}", one, methods=["DELETE"]),
    ]


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
