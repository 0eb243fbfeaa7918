"""Starts and stops the demo's child processes: the embedded Kinesis and the service. Both end when this process does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from streaming_app.demo.plan import REGION, SHARDS, STREAM, Plan, children_environment
from streaming_app.errors import SourceError

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

_ANSWER_TIMEOUT: Final = 60.0  # seconds; the first answer comes when moto has imported itself
_LEASH: Final = (sys.executable, "-m", "streaming_app.demo.leash")


class EmbeddedKinesis:
    """moto's server in a child process. Its address is known at once; `create_stream` waits until it answers."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.endpoint_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            self._child = subprocess.Popen(  # noqa: S603 - our own command line
                [sys.executable, "-m", "streaming_app.demo.kinesis_child", str(listening.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=children_environment(os.environ),
                pass_fds=[listening.fileno()],
                start_new_session=True,  # Ctrl-C is for us, who stop things in order
            )
        self.client = _client(self.endpoint_url)

    def create_stream(self) -> None:
        """Create the demo's stream, ready to be written. Raises SourceError when the server does not answer."""
        try:
            self.client.create_stream(StreamName=STREAM, ShardCount=SHARDS)
            self.client.get_waiter("stream_exists").wait(StreamName=STREAM, WaiterConfig={"Delay": 1})
        except (BotoCoreError, ClientError) as error:
            raise SourceError(f"the embedded Kinesis does not answer: {error}") from error

    @property
    def is_running(self) -> bool:
        """Whether the server is still there."""
        return self._child.poll() is None

    def close(self) -> None:
        """End the server; what it held is gone."""
        self._child.kill()
        self._child.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _client(endpoint_url: str) -> KinesisClient:
    """A client that looks at no profile, credentials or proxy of this machine."""
    nowhere: dict[str, Any] = {
        name: (None, None, value, None)
        for name, value in (("profile", None), ("config_file", os.devnull), ("credentials_file", os.devnull))
    }
    session = boto3.Session(
        aws_access_key_id="demo",
        aws_secret_access_key="demo",  # noqa: S106 - any words will do for moto
        botocore_session=botocore.session.Session(session_vars=nowhere),
        region_name=REGION,
    )
    config = Config(connect_timeout=5, read_timeout=_ANSWER_TIMEOUT, retries={"total_max_attempts": 1}, proxies={})
    return session.client("kinesis", endpoint_url=endpoint_url, config=config)


class ServiceProcess:
    """`python -m streaming_app run` in a child process, with its log in the lake's folder."""

    def __init__(self, plan: Plan, endpoint_url: str) -> None:
        command = plan.command("streaming_app", "run", plan.settings(endpoint_url))
        with plan.log.open("wb") as log:
            self._child = subprocess.Popen(  # noqa: S603 - our own command line
                [*_LEASH, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=children_environment(os.environ) | {"PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 + the signal's number when a signal ended it."""
        code = self._child.poll()
        return code if code is None or code >= 0 else 128 - code

    def ask_to_stop(self) -> None:
        """SIGTERM, by way of the leash: the service ends between two micro-batches."""
        if self._child.stdin:
            with suppress(OSError):
                self._child.stdin.close()

    def stop(self, timeout: float, waiting: Callable[[], None] = lambda: None) -> int:
        """Stop gracefully, at once after `timeout` seconds; `waiting` is called a few times a second. The exit code."""
        self.ask_to_stop()
        for _ in range(max(1, int(timeout * 5))):
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(0.2)
                break
            waiting()
        self.kill()
        return self.exit_code or 0

    def kill(self) -> None:
        """End it and everything below it now; no effect on one that has ended."""
        if self._child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
