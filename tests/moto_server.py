"""moto's server, all AWS services at once, in a child process; it can be told to fail in the ways AWS does.

    with moto_server() as aws:
        s3 = aws.client("s3")
        aws.fail("POST", "uploadId=", status=503, code="SlowDown", times=2)

Requests are served one at a time: moto checks a condition and writes in two steps, and loses records under concurrent
PutRecords, where AWS does neither. Glue's UpdateTable with a version that is not the table's own is refused, as AWS does it. The child ends when its standard input closes, so not even a killed test leaves one.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

REGION = "us-east-1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass
class Fault:
    """How to answer the next `times` (-1: all) requests of a method whose path, query or X-Amz-Target contains `where`.

    `done` carries the request out first, so that only its answer is lost; `status` 0 drops the connection; `keep`
    sends so many bytes of the true answer's body before it drops the connection; `rate` hits only that share.
    """

    method: str
    where: str
    status: int = 0
    code: str = ""
    body: str = ""
    times: int = 1
    done: bool = False
    keep: int = -1
    rate: float = 1.0


@dataclass(frozen=True)
class MotoServer:
    """A running server."""

    url: str

    def client(self, service: str) -> Any:
        """A boto3 client of its own credentials, so that the environment does not matter."""
        import boto3
        from botocore.config import Config

        return boto3.session.Session(
            aws_access_key_id="testing",
            aws_secret_access_key="testing",  # noqa: S106
            region_name=REGION,
        ).client(service, endpoint_url=self.url, config=Config(s3={"addressing_style": "path"}))

    def fail(self, method: str, where: str, **how: Any) -> None:
        """Add a fault (see `Fault`)."""
        self._control(asdict(Fault(method, where, **how)))

    def heal(self) -> None:
        """Drop all faults that are left."""
        self._control(None)

    def seen(self) -> list[str]:
        """`METHOD path?query` (and who pays, where that is said) of every request since the last call of `seen`."""
        return self._control("seen")

    def _control(self, what: Any) -> Any:
        request = urllib.request.Request(f"{self.url}/_control", json.dumps(what).encode(), method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.load(answer)


@contextmanager
def moto_server() -> Iterator[MotoServer]:
    """A server of its own on a free port, gone at the end."""
    environment = {**os.environ, **CREDENTIALS}
    with subprocess.Popen(
        [sys.executable, Path(__file__)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        try:
            assert child.stdout is not None
            port = child.stdout.readline().strip()
            assert port, "moto's server did not start"
            yield MotoServer(f"http://127.0.0.1:{port}")
        finally:
            child.kill()


class _Controlled:
    """The WSGI application around moto's."""

    def __init__(self, application: Any) -> None:
        self._application, self._lock = application, threading.Lock()
        self._faults: list[Fault] = []
        self._requests: list[str] = []

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/_control":
            answer = self._change(json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))))
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(answer).encode()]
        fault = self._fault(environ)
        if fault is None:
            return self._serve(environ, start_response)
        return self._fail(fault, environ, start_response)

    def _change(self, what: Any) -> Any:
        if what == "seen":
            seen, self._requests = self._requests, []
            return seen
        self._faults = [] if what is None else [*self._faults, Fault(**what)]
        return None

    def _fault(self, environ: Any) -> Fault | None:
        text = f"{environ['PATH_INFO']}?{unquote(environ['QUERY_STRING'])}"
        payer = environ.get("HTTP_X_AMZ_REQUEST_PAYER", "")
        self._requests.append(f"{environ['REQUEST_METHOD']} {text} {payer}".rstrip())
        text += environ.get("HTTP_X_AMZ_TARGET", "")
        for fault in self._faults:
            hit = fault.times and fault.method == environ["REQUEST_METHOD"] and fault.where in text
            if hit and random.random() < fault.rate:
                fault.times -= 1
                return fault
        return None

    def _serve(self, environ: Any, start_response: Any) -> list[bytes]:
        if (
            environ.get("HTTP_X_AMZ_TARGET") == "AmazonSQS.ReceiveMessage"
        ):  # it waits for messages that others have to send
            return list(self._application(environ, start_response))
        with self._lock:
            if environ.get("HTTP_X_AMZ_TARGET") == "AWSGlue.UpdateTable" and self._is_old(environ):
                start_response("400 Bad Request", [("Content-Type", "application/x-amz-json-1.1")])
                return [json.dumps({"__type": "ConcurrentModificationException", "message": "version"}).encode()]
            return list(self._application(environ, start_response))

    def _is_old(self, environ: Any) -> bool:
        """Whether an UpdateTable names a version that another call has made an old one."""
        import io

        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        asked = json.loads(body)
        if "VersionId" not in asked:
            return False
        name = json.dumps({"DatabaseName": asked["DatabaseName"], "Name": asked["TableInput"]["Name"]}).encode()
        more = {
            "wsgi.input": io.BytesIO(name),
            "CONTENT_LENGTH": str(len(name)),
            "HTTP_X_AMZ_TARGET": "AWSGlue.GetTable",
        }
        answer = json.loads(b"".join(self._application({**environ, **more}, lambda *_: None)))
        return bool(answer["Table"].get("VersionId") != asked["VersionId"])

    def _fail(self, fault: Fault, environ: Any, start_response: Any) -> list[bytes]:
        body = b""
        if fault.done or fault.keep >= 0:
            body = b"".join(self._serve(environ, start_response if fault.keep >= 0 else lambda *_: None))
        else:
            self._skip_body(environ)
        if fault.status:
            content = _error(fault, environ)
            start_response(f"{fault.status} {fault.code}", [("Content-Length", str(len(content)))])
            return [content]
        return _drop(environ, body[: max(fault.keep, 0)], start_response)

    @staticmethod
    def _skip_body(environ: Any) -> None:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))


def _error(fault: Fault, environ: Any) -> bytes:
    if fault.body:
        return fault.body.encode()
    if "HTTP_X_AMZ_TARGET" in environ:
        return json.dumps({"__type": fault.code, "message": "injected"}).encode()
    return f"<Error><Code>{fault.code}</Code><Message>injected</Message></Error>".encode()


def _drop(environ: Any, body: bytes, start_response: Any) -> Any:
    """Send the beginning of an answer, then close the socket."""

    def parts() -> Iterator[bytes]:
        if body:
            yield body
        with suppress(OSError):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError

    if not body:
        start_response("200 OK", [])
    return parts()


def _serve_until_parent_ends() -> None:
    import logging

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    application = _Controlled(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    _serve_until_parent_ends()
