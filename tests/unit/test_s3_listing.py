"""Listings are taken apart by a handler of our own: what comes out is what botocore's parser gives, only sooner."""

from __future__ import annotations

import botocore.session
import pytest
from botocore.parsers import create_parser

from streaming_app.storage.s3_listing import take_objects

NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
OBJECT = (
    "<Contents><Key>{key}</Key><LastModified>2026-03-01T10:00:00.123Z</LastModified><ETag>&quot;e-1&quot;</ETag>"
    "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>{size}</Size>"
    "<Owner><ID>o</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>"
)
KEYS = ("a.csv", "b%2Fc+d%C3%A9.csv", "x &amp; y &lt;z&gt;.csv", "Caf\u00e9 \u6771.csv", "it&#39;s.csv", " blank ")


def body(contents: str, namespace: str = NAMESPACE) -> bytes:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    rest = "<Name>b</Name><IsTruncated>true</IsTruncated><NextContinuationToken>t/1=</NextContinuationToken>"
    return f"{head}<ListBucketResult{namespace}>{rest}{contents}<KeyCount>6</KeyCount></ListBucketResult>".encode()


def parsed(answer: dict) -> dict:
    shape = botocore.session.get_session().get_service_model("s3").operation_model("ListObjectsV2").output_shape
    return create_parser("rest-xml").parse({"headers": {}, **answer}, shape)


def both(content: bytes, status: int = 200) -> tuple[dict, dict]:
    """What botocore gives alone, and with the handler before it."""
    ours: dict = {"body": content, "status_code": status}
    taken: dict = {}
    take_objects(response_dict=ours, customized_response_dict=taken, operation_model=None)
    answer = parsed(ours)
    answer.update(taken)
    return parsed({"body": content, "status_code": status}), answer


def used(answer: dict) -> list[tuple]:
    return [(item["Key"], item["LastModified"], item["ETag"], item["Size"]) for item in answer.get("Contents", [])]


@pytest.mark.parametrize("namespace", [NAMESPACE, ""])
@pytest.mark.parametrize("between", ["", "\n  "])
def test_objects_are_those_of_botocores_parser(namespace, between):
    contents = between.join(OBJECT.format(key=key, size=5 << number * 8) for number, key in enumerate(KEYS))
    theirs, ours = both(body(contents, namespace))
    assert used(ours) == used(theirs)
    assert len(used(ours)) == len(KEYS)
    assert {key: ours[key] for key in theirs if key != "Contents"} == {
        key: theirs[key] for key in theirs if key != "Contents"
    }


def test_parser_has_nothing_left_to_do_for_the_objects():
    answer = {"body": body(OBJECT.format(key="a", size=1)), "status_code": 200}
    take_objects(response_dict=answer, customized_response_dict={})
    assert "Contents" not in parsed({**answer, "headers": {}})


def test_empty_listing_and_refusals_are_left_to_botocore():
    theirs, ours = both(body(""))
    assert ours == theirs
    error = b"<Error><Code>NoSuchBucket</Code><Message>m</Message></Error>"
    theirs, ours = both(error, 404)
    assert ours == theirs
    assert ours["Error"]["Code"] == "NoSuchBucket"


@pytest.mark.parametrize(
    "damage",
    [
        ("<Size>1</Size>", ""),
        ("<Size>1</Size>", "<Size>many</Size>"),
        ("2026-03-01T10:00:00.123Z", "Sun, 01 Mar 2026 10:00:00 GMT"),
    ],
)
def test_answer_that_is_not_as_expected_goes_to_botocore_whole(damage):
    content = body(OBJECT.format(key="a", size=1)).replace(*(text.encode() for text in damage))
    answer = {"body": content, "status_code": 200}
    taken: dict = {}
    take_objects(response_dict=answer, customized_response_dict=taken)
    assert (answer["body"], taken) == (content, {})


def test_broken_xml_goes_to_botocore():
    answer = {"body": b"<ListBucketResult><Contents>", "status_code": 200}
    take_objects(response_dict=answer, customized_response_dict={})
    assert answer["body"] == b"<ListBucketResult><Contents>"
