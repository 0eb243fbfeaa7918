"""What the messages of a queue say, whoever sent them; and the order of files that wait."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_app.sources.csv_files.files import PlannedFile
from streaming_app.sources.csv_files.notices import Notice, notices_of
from streaming_app.sources.csv_files.pending import Pending

TEST_EVENT = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-03-01T00:00:00.000Z", "Bucket": "lake"}


def record(key: str = "raw/a.csv", name: str = "ObjectCreated:Put", **more) -> dict:
    s3 = {"bucket": {"name": "lake"}, "object": {"key": key, "size": 1, "eTag": "e", "sequencer": "0"}}
    return {"eventVersion": "2.5", "eventSource": "aws:s3", "eventName": name, "s3": s3, **more}


def event_bridge(key: str) -> dict:
    detail = {"version": "0", "bucket": {"name": "lake"}, "object": {"key": key}, "reason": "PutObject"}
    return {"version": "0", "detail-type": "Object Created", "source": "aws.s3", "detail": detail}


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ({"Records": [record()]}, ["raw/a.csv"]),
        ({"Records": [record(), record("raw/b.csv", "ObjectRemoved:Delete")]}, ["raw/a.csv", "raw/b.csv"]),
        ({"Records": [record("raw/Caf%C3%A9+%2B+100%25.csv")]}, ["raw/Café + 100%.csv"]),
        ({"Records": []}, []),
        (TEST_EVENT, []),
        (
            {"Type": "Notification", "TopicArn": "arn:x", "Message": json.dumps({"Records": [record()]})},
            ["raw/a.csv"],
        ),
        ({"Type": "Notification", "TopicArn": "arn:x", "Message": json.dumps(TEST_EVENT)}, []),
        (event_bridge("raw/a.csv"), ["raw/a.csv"]),
        (event_bridge("raw/a+b.csv"), ["raw/a+b.csv", "raw/a b.csv"]),
    ],
)
def test_objects_are_named_whatever_the_envelope_and_the_encoding(content, keys):
    assert notices_of(json.dumps(content)) == tuple(Notice("lake", key) for key in keys)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        '"text"',
        "{",
        "{}",
        '{"Records": 3}',
        '{"Records": [3]}',
        json.dumps({"Records": [{**record(), "eventSource": "aws:ses"}]}),
        json.dumps({"Records": [{**record(), "s3": {}}]}),
        json.dumps({"Records": [record(""), record()]}),
        json.dumps({**event_bridge("a"), "source": "aws.ec2"}),
        json.dumps({"Type": "Notification", "TopicArn": "arn:x", "Message": "hello"}),
        json.dumps({"Type": "Notification", "TopicArn": "arn:x", "Message": 3}),
        "[" * 100_000,
    ],
)
def test_a_message_that_is_no_event_of_s3_is_told_from_one_that_names_nothing(body):
    assert notices_of(body) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["Records", "detail-type", "s3", "Type"]), inner),
)


@given(content=JSON, text=st.text())
def test_no_message_is_an_error(content, text):
    for body in (json.dumps(content), text):
        assert notices_of(body) is None or isinstance(notices_of(body), tuple)


def planned(key: str, second: int, size: int = 10) -> PlannedFile:
    return PlannedFile(key, size, f"2026-03-01T00:00:{second:02}+00:00", f"{key}-{second}")


def test_files_come_by_time_and_each_path_as_it_was_found_last():
    pending = Pending()
    pending.add([planned("b", 2), planned("a", 3), planned("c", 1)])
    pending.add([planned("c", 4, size=50), planned("b", 2)])
    assert len(pending) == 3
    assert pending.waiting() == {"files": 3, "bytes": 70, "oldest": 1772323202000000}
    assert [file.key for file in pending.take(2, 1000)] == ["b", "a"]
    assert pending.take(5, 1) == [planned("c", 4, size=50)]
    assert (len(pending), pending.take(5, 1000)) == (0, [])
    assert pending.waiting() == {"files": 0, "bytes": 0, "oldest": 0}


def test_a_batch_ends_before_it_has_too_many_bytes_but_has_a_file():
    pending = Pending()
    pending.add([planned("a", 1, 30), planned("b", 2, 5), planned("c", 3, 6)])
    assert [[file.key for file in pending.take(9, 11)] for _ in range(3)] == [["a"], ["b", "c"], []]
