"""Routes of the live page: the page, its assets out of this package, and its JSON. Everything is GET and changes nothing.

The page runs under a strict content security policy: nothing but these files, no inline script or style, no frame around it.
It needs no network but this server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import Final

from streaming_app.metrics.answers import Answer, Request
from streaming_app.metrics.live.board import Board

_ASSETS: Final[Mapping[str, tuple[str, str]]] = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/live/page.css": ("page.css", "text/css; charset=utf-8"),
    "/live/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/live/dom.js": ("dom.js", "text/javascript; charset=utf-8"),
    "/live/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "/live/panels.js": ("panels.js", "text/javascript; charset=utf-8"),
    "/live/good.svg": ("good.svg", "image/svg+xml"),
    "/live/bad.svg": ("bad.svg", "image/svg+xml"),
    "/live/uplot/uPlot.iife.min.js": ("uplot/uPlot.iife.min.js", "text/javascript; charset=utf-8"),
    "/live/uplot/uPlot.min.css": ("uplot/uPlot.min.css", "text/css; charset=utf-8"),
    "/live/uplot/LICENSE": ("uplot/LICENSE", "text/plain; charset=utf-8"),
}
API: Final = "/api/live"
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class LivePages:
    """Answers for its own paths, None for every other."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def answer(self, request: Request) -> Answer | None:
        """The page, an asset, or the state of now: `/api/live?span=300` in steps of a second, `span=3600` of ten."""
        if request.path == API:
            span = request.query.get("span", "")
            state = self._board.state(int(span) if span.isdecimal() and len(span) < 6 else 0)  # noqa: PLR2004 - an hour has 4
            return Answer(HTTPStatus.OK, "application/json", json.dumps(state, allow_nan=False).encode(), HEADERS)
        if request.path in _ASSETS:
            name, content_type = _ASSETS[request.path]
            return Answer(HTTPStatus.OK, content_type, _content(name), HEADERS)
        return None


@cache
def _content(name: str) -> bytes:
    return files(__package__).joinpath("static", *name.split("/")).read_bytes()
