"""kinesis-local (npm), an emulator of Kinesis that is none of ours and has SubscribeToShard, in a child process."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from tests.remote_kinesis import RemoteKinesis

VARIABLE = "KINESIS_LOCAL"  # names the package's main.js; `make test-kinesis-local` sets it
_READY = 60.0  # seconds
_QUICK = "20ms"


@contextmanager
def kinesis_local(log: Path) -> Iterator[RemoteKinesis]:
    """An emulator of its own on free ports, gone at the end; what it says goes into `log`. Credentials: see `credentials`."""
    main = Path(os.environ[VARIABLE]).resolve()
    plain, tls = _free_ports(2)
    durations = {
        f"{name}_DURATION": _QUICK
        for name in ("CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS", "REGISTER_STREAM_CONSUMER")
    }
    settings = {
        "KINESIS_MOCK_PLAIN_PORT": str(plain),
        "KINESIS_MOCK_TLS_PORT": str(tls),
        "KINESIS_MOCK_CERT_PATH": str(main.parent / "server.json"),
        "LOG_LEVEL": "ERROR",
        **durations,
    }
    with log.open("wb") as output:
        child = subprocess.Popen(["node", str(main)], env={**os.environ, **settings}, stdout=output, stderr=output)
        try:
            yield _ready(f"http://127.0.0.1:{plain}", child, log)
        finally:
            child.kill()
            child.wait()


def _ready(url: str, child: subprocess.Popen[bytes], log: Path) -> RemoteKinesis:
    kinesis = RemoteKinesis(url)
    deadline = time.monotonic() + _READY
    while time.monotonic() < deadline and child.poll() is None:
        try:
            kinesis.reset()
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
        else:
            return kinesis
    raise RuntimeError(f"kinesis-local does not answer: {log.read_text(errors='replace')[-2000:]}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [made.getsockname()[1] for made in sockets]
    for made in sockets:
        made.close()
    return ports
