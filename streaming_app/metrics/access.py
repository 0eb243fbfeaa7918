"""Who may ask: everybody on this machine, or whoever has the token. /healthz and /readyz are open to all.

The token comes as `Authorization: Bearer TOKEN` (Prometheus, scripts) or as the password of Basic authentication with any
user name, which browsers ask people for by themselves.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from http import HTTPStatus
from typing import Final

from streaming_app.config.contradictions import is_loopback
from streaming_app.metrics.answers import Answer, Request, text

OPEN: Final = frozenset({"/healthz", "/readyz"})
_ASK: Final = {"WWW-Authenticate": 'Basic realm="qsr-ingest", charset="UTF-8"'}


class Access:
    """Refuses what may not be seen.

    Without a token a page on this machine is for this machine: a name that a foreign web site points at 127.0.0.1 (DNS
    rebinding) is refused, since the browser would hand that site what it gets. Figures (`/metrics`) hold no row and are not.
    """

    def __init__(self, token: str = "", host: str = "127.0.0.1") -> None:
        self._token, self._local = token.encode(), is_loopback(host)

    def refused(self, request: Request) -> Answer | None:
        """The refusal, None for who may ask."""
        if request.path in OPEN:
            return None
        if self._token:
            return (
                None if self._knows(request.authorization) else text(HTTPStatus.UNAUTHORIZED, "a token is needed", _ASK)
            )
        if self._local and request.path != "/metrics" and not is_loopback(_name(request.host)):
            return text(HTTPStatus.MISDIRECTED_REQUEST, "ask for 127.0.0.1 or localhost")
        return None

    def _knows(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return hmac.compare_digest(given.strip().encode(errors="replace"), self._token)
        if scheme.lower() == "basic":
            return hmac.compare_digest(_password(given), self._token)
        return False


def _password(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""


def _name(host: str) -> str:
    """The Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
