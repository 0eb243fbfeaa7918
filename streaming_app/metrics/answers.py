"""What is asked over HTTP and what is answered, without the server: routes are plain functions from one to the other."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

TEXT: Final = "text/plain; charset=utf-8"


class Request(NamedTuple):
    """A GET or HEAD: path without its query, the query's last value by name, and the headers that matter here."""

    path: str
    query: Mapping[str, str] = {}
    accept: str = ""
    authorization: str = ""
    host: str = ""


class Answer(NamedTuple):
    """What a path answers."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: Mapping[str, str] = {}


def text(status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """One line of plain text."""
    return Answer(status, TEXT, f"{message}\n".encode(), headers or {})
