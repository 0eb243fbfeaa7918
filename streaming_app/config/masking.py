"""Keeps secrets out of what people and logs see: by the name of the key, and by what a value looks like.

A value is hidden when its key says that it is a secret (`fs.s3a.secret.key`, `api_token`), and inside any text:
credentials in a URL, AWS access keys, private keys, and assignments such as `-Dpassword=...`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

MASK: Final = "***"
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")
_SECRET_WORDS: Final = frozenset(
    [
        "password",
        "passwords",
        "passwd",
        "pwd",
        "pass",
        "passphrase",
        "secret",
        "secrets",
        "token",
        "tokens",
        "credential",
        "credentials",
        "authorization",
        "apikey",
        "accesskey",
        "secretkey",
        "privatekey",
        "signature",
        "sastoken",
        "webhook",
    ]
)
# What such a key may end with and still hold nothing secret: spark.hadoop.fs.s3a.aws.credentials.provider.
_HARMLESS_ENDS: Final = frozenset(
    ["provider", "providers", "enabled", "class", "type", "ttl", "timeout", "interval", "duration", "renewal"]
)
_SHORT: Final = 4  # characters: a shorter "secret" would blank out every other word of a message

_URL_USER: Final = re.compile(r"(?<=://)(?:[^/\s@]*|[^/\s@?#]*:[^\s]*)@(?=\S)")
_ACCESS_KEY: Final = re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b")
_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_ASSIGNED: Final = re.compile(
    r"(?i)([\w.-]*(?:passw(?:or)?d|passphrase|secret|token|api[._-]?key|access[._-]?key|signature)[\w.-]*\s*[=:]\s*)"
    r"(\"[^\"]*\"|'[^']*'|[^\s&;,]+)"
)


def is_secret_name(key: str) -> bool:
    """Whether a key's or a variable's name says that its value is a secret."""
    words = [word.lower() for word in _WORDS.findall(key)]
    if not words or words[-1] in _HARMLESS_ENDS:
        return False
    return words[-1] in {"key", "keys"} or not _SECRET_WORDS.isdisjoint(words)


def mask_text(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without the given secrets and without anything that looks like one."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORT:
            text = text.replace(secret, MASK)
    text = _PRIVATE_KEY.sub(MASK, text)
    text = _URL_USER.sub(f"{MASK}@", text)
    text = _ACCESS_KEY.sub(MASK, text)
    return _ASSIGNED.sub(rf"\g<1>{MASK}", text)


def mask(value: Any, secrets: Iterable[str] = (), key: str = "") -> Any:
    """A document with every secret replaced by `MASK`; empty values stay, they show that nothing is set."""
    if isinstance(value, dict):
        return {name: mask(child, secrets, _child_key(key, name)) for name, child in value.items()}
    if isinstance(value, list):
        return [mask(child, secrets, key) for child in value]
    if is_secret_name(key) and value != "" and value is not None and not isinstance(value, bool):
        return MASK
    return mask_text(value, secrets) if isinstance(value, str) else value


def _child_key(key: str, name: str) -> str:
    """What decides on a child: headers of requests are secrets whatever they are called (`x-scope-orgid`, `x-honeycomb-team`)."""
    return "secret" if key == "headers" else name


def secret_values(value: Any, key: str = "") -> Iterator[str]:
    """Every text or number that stands under a secret-like key."""
    if isinstance(value, dict):
        for name, child in value.items():
            yield from secret_values(child, _child_key(key, name))
    elif isinstance(value, list):
        for child in value:
            yield from secret_values(child, key)
    elif is_secret_name(key) and value is not None and not isinstance(value, bool):
        yield str(value)
