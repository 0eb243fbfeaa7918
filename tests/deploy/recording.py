"""moto's server that writes down every call: who made it, by which signature, what was asked.

    with recording_moto(tmp_path / "calls.jsonl") as aws:
        ...
    calls = read_calls(tmp_path / "calls.jsonl")

Who called is the access key of the request's signature, so that each role of a test has a key of its own.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.moto_server import CREDENTIALS, MotoServer

REPOSITORY = Path(__file__).resolve().parents[2]
_SIGNED = re.compile(r"Credential=([^/]+)/\d+/[^/]*/([^/]+)/aws4_request")
_MOST = 1 << 20  # bytes of a body that are kept; of S3's only lists of what to delete


@dataclass(frozen=True)
class Call:
    """One request; `service` as it was signed (s3, kinesis, monitoring ...), `target` is X-Amz-Target where there is one."""

    key: str
    service: str
    method: str
    path: str
    query: str
    target: str
    body: str
    copy_source: str
    status: int


@contextmanager
def recording_moto(calls: Path) -> Iterator[MotoServer]:
    """A server of its own on a free port, gone at the end; the calls stay in the file."""
    command = [sys.executable, "-m", "tests.deploy.recording", str(calls)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **CREDENTIALS, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"},  # the Airflow host's role has one
    ) as child:
        try:
            assert child.stdout is not None
            port = child.stdout.readline().strip()
            assert port, "moto's server did not start"
            yield MotoServer(f"http://127.0.0.1:{port}")
        finally:
            child.kill()


def read_calls(calls: Path) -> list[Call]:
    """All calls so far, in their order."""
    return [Call(**json.loads(line)) for line in calls.read_text().splitlines()]


class _Recorder:
    """The WSGI application around moto's."""

    def __init__(self, application: Any, file: Path) -> None:
        self._application, self._lock = application, threading.Lock()
        self._file = file.open("a", buffering=1)

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        key, service = self._signature(environ)
        body = self._body(environ) if service != "s3" or environ["QUERY_STRING"].startswith("delete") else ""
        status = []

        def started(line: str, headers: Any, *more: Any) -> Any:
            status.append(int(line.split(maxsplit=1)[0]))
            return start_response(line, headers, *more)

        with self._lock:  # moto checks a condition and writes in two steps
            answer = list(self._application(environ, started))
        if service:
            self._note(environ, key, service, body, status[0])
        return answer

    def _note(self, environ: Any, key: str, service: str, body: str, status: int) -> None:
        call = Call(
            key,
            service,
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            unquote(environ["QUERY_STRING"]),
            environ.get("HTTP_X_AMZ_TARGET", ""),
            body,
            unquote(environ.get("HTTP_X_AMZ_COPY_SOURCE", "")),
            status,
        )
        with self._lock:
            self._file.write(json.dumps(asdict(call)) + "\n")

    @staticmethod
    def _signature(environ: Any) -> tuple[str, str]:
        found = _SIGNED.search(environ.get("HTTP_AUTHORIZATION", ""))
        return (found[1], found[2]) if found else ("", "")

    @staticmethod
    def _body(environ: Any) -> str:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(body)
        if environ.get("HTTP_CONTENT_ENCODING") == "gzip":  # as botocore sends metrics
            body = gzip.decompress(body)
        return body[:_MOST].decode(errors="replace")


def _as_if_over_tls() -> None:
    """moto takes a Deny with a condition for a Deny without: the buckets' policy (TLS only) would shut everybody out."""
    from moto.iam.access_control import IAMPolicyStatement, PermissionResult

    judged = IAMPolicyStatement.is_action_permitted

    def is_action_permitted(self: Any, *arguments: Any, **named: Any) -> Any:
        if "aws:SecureTransport" in json.dumps(self._statement.get("Condition", {})):
            return PermissionResult.NEUTRAL
        return judged(self, *arguments, **named)

    IAMPolicyStatement.is_action_permitted = is_action_permitted


def _budgets_with_subscribers() -> None:
    """moto takes a budget's subscribers and cannot list them, which Terraform does after making one."""
    from moto.budgets.responses import BudgetsResponse

    BudgetsResponse.describe_subscribers_for_notification = lambda _: json.dumps({"Subscribers": []})
    BudgetsResponse.list_tags_for_resource = lambda _: json.dumps({"ResourceTags": []})


def _serve_until_parent_ends(calls: Path) -> None:
    import logging

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    _as_if_over_tls()
    _budgets_with_subscribers()
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    application = _Recorder(DomainDispatcherApplication(create_backend_app), calls)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    _serve_until_parent_ends(Path(sys.argv[1]))
