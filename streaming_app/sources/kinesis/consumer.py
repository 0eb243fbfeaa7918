"""The registered consumer that enhanced fan-out reads as; the driver's business."""

from __future__ import annotations

import logging
from typing import Final

from streaming_app.errors import SourceError
from streaming_app.sources.kinesis.context import Context
from streaming_app.sources.kinesis.failures import InUseError, LimitError, NotFoundError
from streaming_app.sources.kinesis.retry import Calls
from streaming_app.sources.kinesis.stream import describe

_LOG: Final = logging.getLogger(__name__)
_LOOK_EVERY: Final = 0.5  # seconds; 20 DescribeStreamConsumer calls a second are allowed
_LIMIT_MAY_PASS: Final = 15.0  # seconds; 5 calls a second are allowed, and 5 consumers being registered at once
_LONGEST: Final = 120.0  # seconds; AWS takes some seconds


def ensure_consumer(context: Context) -> str:
    """ARN of the consumer, registered if there is none of its name, once it is ACTIVE. Raises SourceError."""
    stream, name = describe(context).arn, context.options.consumer_name
    deadline = context.clock.monotonic() + _LONGEST
    while context.clock.monotonic() < deadline:
        try:
            found = context.retry.call(lambda: context.api.consumer(stream, name), Calls())
        except NotFoundError:
            _register(context, stream, name)
            continue
        if found.status == "ACTIVE":
            return found.arn
        context.clock.sleep(_LOOK_EVERY)  # CREATING, or DELETING: then it is registered again
    raise SourceError(f"stream {stream}: consumer {name!r} did not become ACTIVE within {_LONGEST:.0f} s")


def _register(context: Context, stream: str, name: str) -> None:
    _LOG.info("registering consumer %s of %s; AWS charges for it until it is deregistered", name, stream)
    patience = context.clock.monotonic() + _LIMIT_MAY_PASS

    def attempt() -> None:
        try:
            context.api.register_consumer(stream, name)
        except LimitError as error:
            if context.clock.monotonic() < patience:
                raise
            raise SourceError(
                f"stream {stream}: consumer {name!r} cannot be registered. A stream can have 20 consumers: if it has them, remove"
                f" one that nobody needs (aws kinesis list-stream-consumers), or set consumer_type: polling. {error}"
            ) from error

    try:
        context.retry.call(attempt, Calls())
    except InUseError:
        context.clock.sleep(_LOOK_EVERY)  # somebody else registers it, or it is still being deleted


def remove_consumer(context: Context) -> None:
    """Deregister the consumer, if there is one. Never raises: this is done while stopping."""
    name = context.options.consumer_name
    try:
        context.api.deregister_consumer(context.api.describe().arn, name)
        _LOG.info("deregistered consumer %s", name)
    except NotFoundError:
        return
    except SourceError as error:
        _LOG.warning("consumer %s could not be deregistered, and AWS goes on charging for it: %s", name, error)
