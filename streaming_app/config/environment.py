"""Environment variables inside text values: `${NAME}`, `${NAME:-default}`, and `$${` for a literal `${`.

As in a shell, the default stands in for a variable that is unset or empty. A default cannot contain `}` or `${`.
A value stays text, and the models turn it into a number or a boolean where they want one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streaming_app.config.documents import join_key
from streaming_app.config.masking import is_secret_name

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{(?P<body>[^}]*)(?P<end>\}?)")
_BODY: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


@dataclass
class Substitution:
    """What came of the variables: faults by dotted key, and the values of variables with secret-like names."""

    environ: Mapping[str, str]
    faults: list[tuple[str, str]] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)

    def apply(self, value: Any, key: str = "") -> Any:
        """`value` with every variable replaced; a reference that cannot be replaced stays and is a fault."""
        if isinstance(value, str):
            return _REFERENCE.sub(lambda match: self._replaced(match, key), value)
        if isinstance(value, dict):
            return {name: self.apply(child, join_key(key, name)) for name, child in value.items()}
        if isinstance(value, list):
            return [self.apply(child, join_key(key, index)) for index, child in enumerate(value)]
        return value

    def _replaced(self, match: re.Match[str], key: str) -> str:
        if match["body"] is None:
            return "${"
        body = _BODY.fullmatch(match["body"])
        if not match["end"] or not body or "${" in (body["default"] or ""):
            self.faults.append(
                (
                    key,
                    "a variable is written ${NAME} or ${NAME:-default}, without a further ${ inside; $${ is a plain ${",
                )
            )
            return match[0]
        return self._value(match[0], body["name"], body["default"], key)

    def _value(self, reference: str, name: str, default: str | None, key: str) -> str:
        value = self.environ.get(name)
        if value and is_secret_name(name):
            self.secrets.add(value)
        if value or (value is not None and default is None):
            return value
        if default is not None:
            return default
        self.faults.append((key, f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}"))
        return reference


def escape(value: Any) -> Any:
    """The inverse for output: a literal `${` written so that it is read as itself."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, dict):
        return {name: escape(child) for name, child in value.items()}
    if isinstance(value, list):
        return [escape(child) for child in value]
    return value
