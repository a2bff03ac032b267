"""Which address answers what; all is read-only but silences, and /-/reload where it is allowed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stream.notify.desk import Desk
from stream.notify.silence import SilenceError
from stream.telemetry import CONTENT_TYPE, Telemetry
from stream.web import answers
from stream.web.body import encode
from stream.web.every import guarded
from stream.web.query import QueryError, Read, asked, one_of, rows, yes_or_no
from stream.web.ranking import SORTS
from stream.web.reloading import Reload, reloading
from stream.web.rule_answer import rules
from stream.web.silencing import silencing
from stream.web.snapshot import Board

PAGE = {"index.html": "text/html", "heed.css": "text/css", "heed.js": "text/javascript", "chart.js": "text/javascript",
        "format.js": "text/javascript", "icon.svg": "image/svg+xml"}  # fmt: skip
_KINDS = {400: "bad_data", 403: "forbidden", 404: "not_found", 405: "method_not_allowed", 409: "conflict",
          500: "internal", 503: "unavailable"}  # fmt: skip
# What may be asked for:
ALERTS: Mapping[str, Read] = {"limit": rows}
RULES: Mapping[str, Read] = {"type": one_of("alert", "record"), "exclude_alerts": yes_or_no}
STREAMS: Mapping[str, Read] = {"limit": rows, "sort": one_of(*SORTS), "group": str, "q": str, "stream": str}
COVERAGE: Mapping[str, Read] = {"limit": rows, "group": str}
Answer = Callable[[Request], Awaitable[Response]]


def application(board: Board, desk: Desk | None = None, reload: Reload | None = None) -> ASGIApp:
    """Everything that is served, over what stands on ``board``; requests go to ``desk`` (to silence) and ``reload``."""
    app = Starlette(
        routes=[*_page(), *_probes(board), reloading(reload), *_api(board), *silencing(board, desk, as_json)],
        middleware=packed(),
        exception_handlers=mistakes(),
    )
    app.router.redirect_slashes = False
    return guarded(app)


def packed() -> list[Middleware]:
    """Answers are compressed for those who take it so."""
    return [Middleware(GZipMiddleware, minimum_size=1024, compresslevel=4)]


def mistakes() -> dict[Any, Any]:
    """What is answered to requests that are wrong, and where heed fails."""
    return dict.fromkeys((QueryError, SilenceError), _not_understood) | {HTTPException: _refused, Exception: _failed}


def _page() -> list[Route]:
    index = _part("index.html")

    async def page(_: Request) -> Response:
        return Response(index, media_type=PAGE["index.html"])

    return [Route("/", page), page_parts()]


def _part(name: str) -> bytes:
    return (files("stream.web") / "page" / name).read_bytes()


def page_parts() -> Route:
    """What pages are made of: style, scripts, the icon."""
    found = {name: _part(name) for name in PAGE}

    async def part(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in found:
            raise HTTPException(404)
        return Response(found[name], media_type=PAGE[name])

    return Route("/page/{name}", part)


def _probes(board: Board) -> list[Route]:
    telemetry = Telemetry(lambda: board.latest().figures)

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy\n")

    async def ready(_: Request) -> Response:
        snapshot = board.latest()
        if snapshot.ready:
            return PlainTextResponse("ready\n")
        return PlainTextResponse("".join(f"{why}\n" for why in snapshot.reasons or (snapshot.state,)), 503)

    async def metrics(_: Request) -> Response:
        return Response(telemetry.text(), headers={"content-type": CONTENT_TYPE})

    return [Route("/-/healthy", healthy), Route("/-/ready", ready), Route("/metrics", metrics)]


def _api(board: Board) -> list[Route]:
    return [
        _says("status", lambda: answers.status(board.latest()), {}, bare=True),
        _says("history", lambda: answers.history(board.history()), {}),
        _says("alerts", lambda **how: answers.alerts(board.latest(), **how), ALERTS),
        _says("streams", lambda **how: answers.streams(board.latest(), **how), STREAMS),
        _says("rules", lambda **how: rules(board.latest(), **how), RULES),
        _says("coverage", lambda **how: answers.coverage(board.latest(), **how), COVERAGE),
    ]


def _says(name: str, say: Callable[..., Mapping[str, Any]], known: Mapping[str, Read], bare: bool = False) -> Route:
    """A route of the interface, which takes the ``known`` parameters; ``bare`` = without an envelope."""

    async def answer(request: Request) -> Response:
        said = say(**asked(request.query_params.multi_items(), known))
        return as_json(said if bare else {"status": "success", "data": said})

    return Route(f"/api/v1/{name}", answer)


def as_json(value: object, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(encode(value), code, headers, media_type="application/json")


def _problem(code: int, what: str, headers: Mapping[str, str] | None = None) -> Response:
    kind = _KINDS.get(code, "bad_data" if code < 500 else "internal")
    return as_json({"status": "error", "errorType": kind, "error": what}, code, headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    where = request.scope["path"]
    told = {"Not Found": f"nothing is at {where}", "Method Not Allowed": f"{where} does not take {request.method}"}
    return _problem(error.status_code, told.get(error.detail, error.detail), error.headers)


async def _not_understood(_: Request, error: Exception) -> Response:
    return _problem(400, str(error))


async def _failed(_: Request, error: Exception) -> Response:
    return _problem(500, f"heed failed to answer ({type(error).__name__}); its log says more")
