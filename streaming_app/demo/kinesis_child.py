"""moto's server as an embedded Kinesis: `python -m streaming_app.demo.kinesis_child FD` serves a listening socket.

The socket comes from the parent, so that others can already be told the address: whoever connects while this process
is still starting just waits. It ends when its standard input does, so not even a killed demo leaves one behind. Requests
are served one at a time: moto writes in several steps and loses records under concurrent PutRecords.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class OneAtATime:
    """A WSGI application that lets one request at a time through to another."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application, self._lock = application, threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with self._lock:
            return list(self._application(environ, start_response))


def serve(listening: int) -> None:
    """Serve the socket of this file descriptor until standard input ends."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    application = OneAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler, fd=listening)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
