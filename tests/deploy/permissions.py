"""What a call needs by IAM, and whether a policy grants it.

Actions are those of AWS's Service Authorization Reference: an S3 request needs up to two of them, everything else the one of its
name. Policies are judged as IAM does for allowing statements; ours deny nothing.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.deploy.recording import Call

ACCOUNT, REGION = "123456789012", "us-east-1"
NOT_FOUND = 404
ANY = "?"  # the request does not say of what it is: a token or an iterator stands for it


@dataclass(frozen=True)
class Need:
    """One permission that a call takes. `resources`: one of them, each of which has to be allowed."""

    action: str
    resources: tuple[str, ...]
    context: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)


@dataclass(frozen=True)
class Grant:
    """One action on one pattern of resources, as a role's policy has it."""

    sid: str
    action: str
    resource: str
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False, compare=False)

    @property
    def name(self) -> str:
        """Statement, action and, for objects, where: `Read s3:GetObject lake/raw/*`."""
        _, _, place = self.resource.partition(":s3:::")
        return f"{self.sid} {self.action} {place.partition('/')[2]}".strip()

    def allows(self, need: Need, resource: str) -> bool:
        """Whether this grant covers the need on one of its resources."""
        return (
            fnmatch.fnmatchcase(need.action.lower(), self.action.lower())
            and (resource == ANY or _like(self.resource, resource))
            and all(_holds(kind, keys, need.context) for kind, keys in self.conditions.items())
        )


def grants(policy: str | Mapping[str, Any]) -> list[Grant]:
    """All grants of a policy document."""
    document = json.loads(policy) if isinstance(policy, str) else policy
    found = []
    for statement in _list(document["Statement"]):
        assert statement["Effect"] == "Allow", "roles here only allow"
        found += [
            Grant(statement.get("Sid", ""), action, resource, statement.get("Condition", {}))
            for action in _list(statement["Action"])
            for resource in _list(statement["Resource"])
        ]
    return found


def missing(needs: Iterable[Need], granted: Iterable[Grant]) -> list[str]:
    """Needs that no grant covers, as text."""
    have = list(granted)
    return sorted(
        {
            f"{need.action} on {resource} {dict(need.context) or ''}".strip()
            for need in needs
            for resource in need.resources
            if not any(grant.allows(need, resource) for grant in have)
        }
    )


def unused(needs: Iterable[Need], granted: Iterable[Grant]) -> list[Grant]:
    """Grants that none of the needs takes."""
    taken = list(needs)
    return [
        grant
        for grant in granted
        if not any(grant.allows(need, resource) for need in taken for resource in need.resources)
    ]


def needs_of(calls: Iterable[Call]) -> list[Need]:
    """What the calls take. Raises ValueError for a call that is not understood, so that none goes by unseen."""
    return [need for call in calls for need in _needs(call)]


def _needs(call: Call) -> Iterator[Need]:
    if call.service == "s3":
        yield from _s3(call)
    elif call.target:
        yield _json(call)
    elif "Action=" in call.body:
        yield _query(call)
    else:
        raise ValueError(f"which permission does {call} take?")


def _s3(call: Call) -> Iterator[Need]:
    bucket, _, key = call.path.lstrip("/").partition("/")
    query = parse_qs(call.query, keep_blank_values=True)
    resource = f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"
    if not key:
        yield from _bucket(call, query, resource)
        return
    yield Need(_object_action(call.method, query), (resource,))
    if call.status == NOT_FOUND and call.method in {"GET", "HEAD"}:
        # Who may not list is told 403 instead; S3 takes the key for the prefix of that listing (so does Ceph: ceph/ceph#68577).
        yield Need("s3:ListBucket", (f"arn:aws:s3:::{bucket}",), {"s3:prefix": key})
    if call.copy_source:
        yield Need("s3:GetObject", (f"arn:aws:s3:::{call.copy_source.lstrip('/')}",))


def _object_action(method: str, query: Mapping[str, Any]) -> str:
    if "tagging" in query:
        return "s3:PutObjectTagging" if method == "PUT" else "s3:GetObjectTagging"
    upload = "uploadId" in query
    actions = {
        "GET": "s3:ListMultipartUploadParts" if upload else "s3:GetObject",
        "HEAD": "s3:GetObject",
        "PUT": "s3:PutObject",
        "POST": "s3:PutObject",
        "DELETE": "s3:AbortMultipartUpload" if upload else "s3:DeleteObject",
    }
    return actions[method]


def _bucket(call: Call, query: Mapping[str, list[str]], resource: str) -> Iterator[Need]:
    if call.method == "POST" and "delete" in query:
        for key in re.findall(r"<Key>([^<]*)</Key>", call.body):
            yield Need("s3:DeleteObject", (f"{resource}/{key}",))
    elif "uploads" in query:
        yield Need("s3:ListBucketMultipartUploads", (resource,))
    elif "location" in query:
        yield Need("s3:GetBucketLocation", (resource,))
    elif call.method in {"GET", "HEAD"}:
        prefix = query.get("prefix", [""])[0]
        yield Need("s3:ListBucket", (resource,), {"s3:prefix": prefix})
    else:
        raise ValueError(f"which permission does {call} take?")


_SERVICES = {
    "Kinesis_20131202": "kinesis",
    "AWSGlue": "glue",
    "GraniteServiceVersion20100801": "cloudwatch",
    "AmazonAthena": "athena",
    "AmazonSimpleNotificationService": "sns",
}


def _json(call: Call) -> Need:
    service, _, action = call.target.partition(".")
    name = f"{_SERVICES[service]}:{action}"
    asked = json.loads(call.body or "{}")
    if name == "cloudwatch:PutMetricData":
        return Need(name, ("*",), {"cloudwatch:namespace": asked["Namespace"]})
    if name.startswith("glue:"):
        return Need(name, _glue(action, asked))
    return Need(name, _RESOURCES[_SERVICES[service]](asked))


def _kinesis(asked: Mapping[str, Any]) -> tuple[str, ...]:
    if asked.get("StreamName"):
        return (f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{asked['StreamName']}",)
    return (asked.get("ConsumerARN") or asked.get("StreamARN") or ANY,)


def _glue(action: str, asked: Mapping[str, Any]) -> tuple[str, ...]:
    """A job; a trigger; or the catalog, the database and the table: Glue asks for each."""
    place = f"arn:aws:glue:{REGION}:{ACCOUNT}"
    if "JobName" in asked:
        return (f"{place}:job/{asked['JobName']}",)
    if action.endswith("Trigger"):
        return (f"{place}:trigger/{asked['Name']}",)
    database, table = asked.get("DatabaseName"), asked.get("TableName")
    if not database:
        return (f"{place}:catalog", f"{place}:database/{asked['Name']}")
    name = table or asked.get("Name")
    return (f"{place}:catalog", f"{place}:database/{database}", f"{place}:table/{database}/{name}")


_RESOURCES = {
    "kinesis": _kinesis,
    "athena": lambda asked: (
        (f"arn:aws:athena:{REGION}:{ACCOUNT}:workgroup/{asked['WorkGroup']}",) if "WorkGroup" in asked else (ANY,)
    ),
    "cloudwatch": lambda _: ("*",),
    "sns": lambda asked: (asked.get("TopicArn") or asked["TargetArn"],),
}


def _query(call: Call) -> Need:
    asked = {name: values[0] for name, values in parse_qs(call.body).items()}
    if call.service == "sns":
        return Need(f"sns:{asked['Action']}", (asked.get("TopicArn") or asked.get("TargetArn", ANY),))
    if call.service == "monitoring":
        return Need(f"cloudwatch:{asked['Action']}", ("*",), {"cloudwatch:namespace": asked.get("Namespace", "")})
    raise ValueError(f"which permission does {call} take?")


def _holds(kind: str, keys: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    compare = {"StringLike": _like, "StringEquals": str.__eq__, "ArnEquals": str.__eq__}[kind]
    return all(
        name in context and any(compare(pattern, context[name]) for pattern in _list(patterns))
        for name, patterns in keys.items()
    )


def _like(pattern: str, text: str) -> bool:
    """IAM's wildcards: * and ?, brackets are plain."""
    parts = (".*" if part == "*" else "." if part == "?" else re.escape(part) for part in re.split(r"([*?])", pattern))
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
