"""The one part of the interface that changes something: silences are added and ended, by the loop's own hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stream.notify.desk import Busy, Desk
from stream.notify.silence import Silence, SilenceError, UnknownSilence, Wanted, given, wanted
from stream.web.query import asked
from stream.web.snapshot import Board

PATIENCE_S = 10.0  # for the loop to answer
MOST_BYTES = 64 << 10  # of a request
Say = Callable[[object, int], Response]


def silencing(board: Board, desk: Desk | None, say: Say) -> list[Route]:
    """The routes. ``desk``: where the loop takes requests; None = this run keeps no silences."""

    async def silences(request: Request) -> Response:
        if request.method == "POST":
            return say(_succeeded(await _told(desk, wanted(await json_body(request)))), 200)
        asked(request.query_params.multi_items(), {})
        return say(_succeeded({"silences": board.latest().silences}), 200)

    async def silence(request: Request) -> Response:
        key = str(request.path_params["id"])
        if request.method == "PUT":
            return say(_succeeded(await _told(desk, given(key, await json_body(request)))), 200)
        not_from_a_page(request)
        return say(_succeeded(await _told(desk, key)), 200)

    return [
        Route("/api/v1/silences", silences, methods=["GET", "POST"]),
        Route("/api/v1/silences/{id}", silence, methods=["DELETE", "PUT"]),
    ]


def _succeeded(data: object) -> Mapping[str, object]:
    return {"status": "success", "data": data}


def not_from_a_page(request: Request) -> None:
    """Browsers name the page that sends a request: no page of anyone may silence alerts behind its reader's back."""
    if "origin" in request.headers:
        raise HTTPException(403, "pages in a browser may not change silences; use heed silence")


async def json_body(request: Request) -> object:
    """The JSON of a request that no page in a browser sent. Raises HTTPException."""
    not_from_a_page(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "the body is JSON, and content-type: application/json says so")
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MOST_BYTES:
            raise HTTPException(413, f"the body has more than {MOST_BYTES} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is no JSON: {error}") from error


async def _told(desk: Desk | None, what: Wanted | Silence | str) -> dict[str, Any]:
    """What the loop answers, once it is on disk."""
    if desk is None:
        raise HTTPException(409, "this run keeps no state, and so no silences: start it with a configuration")
    try:
        return await asyncio.wait_for(asyncio.wrap_future(desk.ask(what)), PATIENCE_S)
    except UnknownSilence as error:
        raise HTTPException(404, str(error)) from error
    except SilenceError:
        raise
    except (Busy, TimeoutError) as error:
        raise HTTPException(503, str(error) or f"heed did not answer within {PATIENCE_S:g} s; try again") from error
