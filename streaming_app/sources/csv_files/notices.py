"""What a message of S3's event notifications says: which objects changed. Pure; nothing in it is believed but the names.

Four forms are understood: S3's own (to SQS directly, or by SNS with raw delivery), the same inside an SNS envelope, EventBridge's,
and the test event that S3 sends when notifications are set up. Kinds of events do not matter: whether an object is there
and new is looked up anyway.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_plus

_TEST: Final = "s3:TestEvent"


@dataclass(frozen=True)
class Notice:
    """An object that somebody changed: its bucket and its whole key."""

    bucket: str
    key: str


def notices_of(body: str) -> tuple[Notice, ...] | None:
    """The objects that a message names; none for a test event, None for a message that is not understood."""
    try:
        return tuple(_notices(json.loads(body)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _notices(content: Any) -> Iterator[Notice]:
    if content.get("Type") == "Notification" and "TopicArn" in content:
        yield from _notices(json.loads(content["Message"]))
    elif content.get("Event") == _TEST:
        return
    elif "detail-type" in content:
        yield from _from_event_bridge(content)
    else:
        for record in content["Records"]:
            yield _from_record(record)


def _from_record(record: Any) -> Notice:
    """S3 encodes keys as forms do: a blank is a plus, all that is not ASCII is UTF-8 in percent signs."""
    if record["eventSource"] != "aws:s3":
        raise ValueError(record["eventSource"])
    return Notice(_text(record["s3"]["bucket"]["name"]), unquote_plus(_text(record["s3"]["object"]["key"])))


def _from_event_bridge(content: Any) -> Iterator[Notice]:
    """AWS documents no encoding of keys here, and says elsewhere that S3's events have one: both readings are worth a look."""
    if content["source"] != "aws.s3":
        raise ValueError(content["source"])
    bucket, key = _text(content["detail"]["bucket"]["name"]), _text(content["detail"]["object"]["key"])
    yield Notice(bucket, key)
    if unquote_plus(key) != key:
        yield Notice(bucket, unquote_plus(key))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{value!r} is no name")
    return value
