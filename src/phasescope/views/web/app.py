"""The web page's server: static files of this package, and the sessions' data, as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from phasescope.views.page.html_page import (
    SCRIPTS,
    asset,
    embedded_json,
    page,
    plotly_script,
)
from phasescope.views.page.page_data import facts
from phasescope.views.web.guard import Guard
from phasescope.views.web.hub import Hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from starlette.requests import Request

    from phasescope.views.catalogue import Catalogue, Entry

_PERIOD_S = 0.25
_QUIET_S = 10.0
_SNAPSHOT_S = 120.0
_LIST_S = 0.5
_JOB_S = 1.5
_ANSWER_S = 1.0
_PIECE_BYTES = 1 << 16
_ASSETS = {**dict.fromkeys(SCRIPTS, "text/javascript"), "page.css": "text/css"}


def make_app(
    catalogue: Catalogue,
    *,
    token: str | None,
    hosts: Iterable[str],
    chosen: str | None = None,
) -> Starlette:
    """Return the application. `chosen` is the session that a page shows first, by its key; None is the newest."""
    hub = Hub(catalogue)
    pages = _Pages(hub, chosen)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        hub.close()

    return Starlette(
        routes=[
            Route("/", pages.index),
            Route("/assets/plotly.min.js", pages.plotly),
            Route("/assets/{name}", pages.asset),
            Route("/api/sessions", pages.sessions),
            Route("/api/snapshot", pages.snapshot),
            Route("/api/events", pages.events),
            Route("/report", pages.report),
            Route("/favicon.ico", pages.no_icon),  # some browsers ask, whatever the page says
        ],
        middleware=[Middleware(Guard, token=token, hosts=frozenset(hosts))],
        lifespan=lifespan,
    )


class _Pages:
    def __init__(self, hub: Hub, chosen: str | None) -> None:
        self._hub = hub
        self._chosen = chosen
        self._plotly: bytes | None = None

    async def index(self, _: Request) -> Response:
        return Response(asset("index.html"), media_type="text/html")

    async def asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _ASSETS:
            return PlainTextResponse("there is no such file", 404)
        return Response(asset(name), media_type=_ASSETS[name])

    async def no_icon(self, _: Request) -> Response:
        return Response(status_code=204)

    async def plotly(self, _: Request) -> Response:
        if self._plotly is None:
            self._plotly = (await run_in_threadpool(plotly_script)).encode()
        script = self._plotly
        headers = {"cache-control": "private, max-age=86400", "content-length": str(len(script))}
        # In pieces: of one that nobody takes no more than that waits in memory.
        return StreamingResponse(_pieces(script), media_type="text/javascript", headers=headers)

    async def sessions(self, _: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._listed))

    async def snapshot(self, request: Request) -> Response:
        shown = await run_in_threadpool(self._hub.snapshot, await self._key(request) or "")
        if shown is None:
            return PlainTextResponse("there is no such session", 404)
        return Response(embedded_json(shown[0]), media_type="application/json")

    async def report(self, request: Request) -> Response:
        key = await self._key(request) or ""
        shown = await run_in_threadpool(self._hub.snapshot, key)
        if shown is None:
            return PlainTextResponse("there is no such session", 404)
        made = await run_in_threadpool(page, shown[0], await run_in_threadpool(self._hub.job, key))
        pid = shown[0]["session"]["pid"]
        # The page brings its own policy, by the hashes of its scripts.
        headers = {"content-disposition": f'attachment; filename="phasescope-{pid}.html"'}
        return Response(made, media_type="text/html", headers=headers)

    async def events(self, request: Request) -> Response:
        return StreamingResponse(self._stream(await self._key(request)), media_type="text/event-stream")

    async def _key(self, request: Request) -> str | None:
        asked = request.query_params.get("session")
        return asked or self._chosen or await run_in_threadpool(self._hub.newest)

    async def _stream(self, key: str | None) -> AsyncIterator[str]:
        """Yield the list of sessions and a snapshot, also after a lost connection; then everything new."""
        stream = _Stream(self._hub, key, self._listed)
        yield "retry: 500\n\n"
        while True:
            for name, text in await run_in_threadpool(stream.next):
                yield f"event: {name}\nid: {stream.number}\ndata: {text}\n\n"
            await asyncio.sleep(_PERIOD_S)

    def _listed(self) -> dict[str, Any]:
        jobs = self._hub.jobs()
        words = self._hub.words(entry for run in jobs for entry in run)
        listed = [[_listed(entry, words.get(entry.key)) for entry in run] for run in jobs]
        return {"jobs": listed, "chosen": self._chosen}


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), _PIECE_BYTES):
        yield data[start : start + _PIECE_BYTES]


class _Stream:
    """The events sent to one page, step by step."""

    def __init__(self, hub: Hub, key: str | None, listed: Any) -> None:
        self.number = 0
        self._hub = hub
        self._key = key
        self._listed = listed
        self._cursor: Any = None
        self._steps = 0
        self._last = {"sessions": "", "job": "", "state": "", "answer": "null"}
        self._quiet = 0

    def next(self) -> list[tuple[str, str]]:
        """Return the events that are due, as name and JSON."""
        due: list[tuple[str, str]] = []
        if self._steps % round(_LIST_S / _PERIOD_S) == 0:
            self._changed(due, "sessions", embedded_json(self._listed()))
        if self._key is None:
            self._key = self._hub.newest()
        if self._key is not None:
            self._session(due, self._key)
            if self._cursor is not None and self._steps % round(_ANSWER_S / _PERIOD_S) == 0:
                self._changed(due, "answer", embedded_json(self._hub.answer(self._key)))
            if self._steps % round(_JOB_S / _PERIOD_S) == 0:
                job = self._hub.job(self._key)
                if job is not None:
                    self._changed(due, "job", embedded_json(job))
        self._steps += 1
        self.number += len(due)
        self._quiet = 0 if due else self._quiet + 1
        if self._quiet * _PERIOD_S >= _QUIET_S:
            self._quiet = 0
            due.append(("quiet", "null"))  # so that a lost connection is noticed
        return due

    def _changed(self, due: list[tuple[str, str]], name: str, text: str) -> None:
        if text != self._last[name]:
            self._last[name] = text
            due.append((name, text))

    def _session(self, due: list[tuple[str, str]], key: str) -> None:
        if self._cursor is None:
            progress = self._hub.progress(key)
            if progress is not None:  # a long ring takes seconds at first; half of it would show a wrong present
                due.append(("reading", embedded_json(progress)))
                return
        if self._cursor is None or self._steps % round(_SNAPSHOT_S / _PERIOD_S) == 0:
            shown = self._hub.snapshot(key)
            if shown is not None:
                snapshot, self._cursor = shown
                due.append(("snapshot", embedded_json(snapshot)))
            elif self._cursor is None:
                self._changed(due, "state", embedded_json("gone"))
            return
        before = self._cursor.events
        delta = self._hub.delta(key, self._cursor)
        if delta is None:
            return
        # While nothing happens only the clock moves on; once a second is enough for that, and never after the end.
        state = (delta["ending"]["kind"], bool(delta["ending"]["silent_ns"]))
        is_new = self._cursor.events != before or state != self._cursor.state or "phases" in delta
        ticks = delta["ending"]["kind"] in ("running", "silent") and self._steps % 4 == 0
        self._cursor.state = state
        if is_new or ticks:
            due.append(("delta", embedded_json(delta)))


def _listed(entry: Entry, word: str | None) -> dict[str, Any]:
    known_facts = facts(entry.constants)
    kept = ("pid", "host", "rank", "world_size", "job_id", "started_ns", "command", "what")
    return {"key": entry.key, "state": entry.state, "word": word, **{key: known_facts[key] for key in kept}}
