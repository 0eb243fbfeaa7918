"""Named queries: one .sql file each, in SQL that DuckDB and Athena both understand. They are the gold views, too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from streaming_app.errors import ConfigError

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,127}")  # of a view, in DuckDB and in Athena


@dataclass(frozen=True)
class NamedQuery:
    """One file: `description` is its first comment, `sql` one SELECT without a semicolon."""

    name: str
    description: str
    sql: str


def read_named(folder: str) -> dict[str, NamedQuery]:
    """Every query of a folder by name; none where there is no such folder. Raises ConfigError for a name that is none."""
    found = {}
    for file in sorted(Path(folder).glob("*.sql")):
        if not _NAME.fullmatch(file.stem):
            raise ConfigError(f"{file}: name it in lower-case letters, digits and _; a view is called so")
        text = file.read_text(encoding="utf-8").strip().rstrip(";").rstrip()
        first = text.partition("\n")[0]
        found[file.stem] = NamedQuery(
            file.stem, first.removeprefix("--").strip() if first.startswith("--") else "", text
        )
    return found


def named(queries: dict[str, NamedQuery], name: str, folder: str) -> NamedQuery:
    """One query. Raises ConfigError that lists those there are."""
    if name not in queries:
        near = get_close_matches(name, queries, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(queries) or 'none'}"
        raise ConfigError(f"{folder} has no query {name}.sql; {hint}")
    return queries[name]
