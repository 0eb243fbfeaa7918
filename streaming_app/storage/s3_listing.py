"""The objects of a ListObjectsV2 answer, taken out of its XML before botocore's parser sees them.

botocore walks its model for each element of each object: 0.1 ms an object, ten seconds of CPU for a listing of 100,000 (measured,
docs/benchmarks.md). All that it does beside that (retries, errors, pages, decoding of names) stays: it gets the rest of the
answer, and an answer that does not look as expected as a whole.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import datetime
from typing import Any, Final

EVENT: Final = "before-parse.s3.ListObjectsV2"
_OK: Final = 200
_CONTENTS: Final = "Contents"


def take_objects(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """A handler of botocore's event: puts `Contents` into the answer (names still as they were sent) and shortens the body."""
    if response_dict.get("status_code") != _OK:
        return
    try:
        root = ET.fromstring(response_dict["body"])  # noqa: S314 - S3's answer; botocore parses it the same way
        namespace = root.tag.rpartition("}")[0] + "}" if root.tag.startswith("{") else ""
        found = [_object(element, namespace) for element in root.iterfind(namespace + _CONTENTS)]
    except (ET.ParseError, TypeError, ValueError):
        return
    if found:
        root[:] = [element for element in root if element.tag != namespace + _CONTENTS]
        customized_response_dict[_CONTENTS] = found
        response_dict["body"] = ET.tostring(root)


def _object(element: Any, namespace: str) -> dict[str, Any]:
    """What storage/s3.py reads of an object. Raises TypeError or ValueError for one that lacks it."""
    text = {child.tag.removeprefix(namespace): child.text for child in element}
    return {
        "Key": text.get("Key") or _lacking("Key"),
        "LastModified": datetime.fromisoformat(text.get("LastModified") or _lacking("LastModified")),
        "ETag": text.get("ETag") or _lacking("ETag"),
        "Size": int(text.get("Size") or _lacking("Size")),
    }


def _lacking(name: str) -> Any:
    raise ValueError(name)
