"""The HTTP interface of several workers as one: what they say is joined, what is asked for goes to all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stream.telemetry import CONTENT_TYPE
from stream.web import answers, joined, joined_status, joined_streams
from stream.web.every import guarded
from stream.web.query import MOST, Read, asked
from stream.web.reloading import refusal
from stream.web.routes import ALERTS, COVERAGE, RULES, STREAMS, as_json, mistakes, packed, page_parts
from stream.web.silencing import json_body, not_from_a_page
from stream.web.workers_page import workers_page

Said = Sequence[Mapping[str, Any]]  # what workers answered


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

    def status(request: Request) -> Response:
        asked(request.query_params.multi_items(), {})
        return as_json(_status(workers))

    def page(_: Request) -> Response:
        return HTMLResponse(workers_page(_status(workers)))

    routes = {
        "/": page, "/-/healthy": healthy, "/-/ready": ready, "/metrics": metrics, "/api/v1/status": status
    }  # fmt: skip
    found = [Route(path, answer) for path, answer in routes.items()]
    found += [page_parts(), _reloading(workers, reloads), *_joined(workers), *_silencing(silences)]
    app = Starlette(routes=found, middleware=packed(), exception_handlers=mistakes())
    app.router.redirect_slashes = False
    return guarded(app)


def _joined(workers: Workers) -> list[Route]:
    """What those that answer say, as one."""
    return [
        _says(workers, "alerts", ALERTS, lambda said, limit=answers.ALERTS: joined.alerts(said, limit)),
        _says(workers, "rules", RULES, lambda said, **_: joined.rules(said)),
        _says(workers, "streams", STREAMS, _streams),
        _says(workers, "coverage", COVERAGE, _coverage, limit=MOST),  # of a group at several workers all is needed
        _says(workers, "history", {}, joined_streams.history),
    ]


def _streams(said: Said, sort: str = "score", limit: int = answers.ROWS, **_: str) -> Mapping[str, Any]:
    return joined_streams.streams(said, sort, limit)


def _coverage(said: Said, limit: int = answers.GROUPS, **_: str) -> Mapping[str, Any]:
    return joined_streams.coverage(said, limit)


def _says(
    workers: Workers, name: str, known: Mapping[str, Read], join: Callable[..., Mapping[str, Any]], **instead: int
) -> Route:
    """A route that takes the ``known`` parameters; workers are asked with the same ones, or with those ``instead``."""

    def answer(request: Request) -> Response:
        given = request.query_params.multi_items()
        how = asked(given, known)
        said = workers.told(f"api/v1/{name}?{urlencode(dict(given) | instead)}")
        return as_json({"status": "success", "data": join([each["data"] for each in said if each], **how)})

    return Route(f"/api/v1/{name}", answer)


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
            return as_json(said, code)
        asked(request.query_params.multi_items(), {})
        return as_json({"status": "success", "data": {"silences": await run_in_threadpool(silences.listed)}})

    async def one(request: Request) -> Response:
        not_from_a_page(request)
        code, said = await run_in_threadpool(silences.expire, str(request.path_params["id"]))
        return as_json(said, code)

    return [
        Route("/api/v1/silences", all_of_them, methods=["GET", "POST"]),
        Route("/api/v1/silences/{id}", one, methods=["DELETE"]),
    ]


def _status(workers: Workers) -> dict[str, Any]:
    rows = []
    for one, own in zip(workers.each, workers.told("api/v1/status"), strict=True):
        up, restarts = one.fate()
        rows.append({"worker": one.number, "up": up, "restarts": restarts, "url": one.url, "status": own})
    return joined_status.status(rows)
