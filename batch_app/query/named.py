"""Named queries: one .sql file each, in SQL that DuckDB and Athena both understand. They are the gold views, too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Final

from streaming_app.errors import ConfigError
from streaming_app.storage import Storage, is_s3, open_storage

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,127}")  # of a view, in DuckDB and in Athena


@dataclass(frozen=True)
class NamedQuery:
    """One file: `description` is its first comment, `sql` one SELECT without a semicolon."""

    name: str
    description: str
    sql: str


def read_named(folder: str) -> dict[str, NamedQuery]:
    """Every query of a folder or S3 prefix by name; none where there is no such folder.

    Raises ConfigError for a name that is none, SinkError when S3 does not answer.
    """
    storage = open_storage(folder)
    files = [PurePosixPath(info.key) for info in storage.list("") if info.key.endswith(".sql") and "/" not in info.key]
    for file in files:
        if not _NAME.fullmatch(file.stem):
            raise ConfigError(f"{folder}/{file}: name it in lower-case letters, digits and _; a view is called so")
    return {file.stem: _read(storage, file) for file in sorted(files)}


def has_folder(folder: str) -> bool:
    """Whether there is such a folder; on S3, where folders are names, whether anything lies below it."""
    return any(True for _ in open_storage(folder).list("")) if is_s3(folder) else Path(folder).is_dir()


def _read(storage: Storage, file: PurePosixPath) -> NamedQuery:
    text = (storage.get(str(file)) or b"").decode("utf-8").strip().rstrip(";").rstrip()
    first = text.partition("\n")[0]
    return NamedQuery(file.stem, first.removeprefix("--").strip() if first.startswith("--") else "", text)


def named(queries: dict[str, NamedQuery], name: str, folder: str) -> NamedQuery:
    """One query. Raises ConfigError that lists those there are."""
    if name not in queries:
        near = get_close_matches(name, queries, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(queries) or 'none'}"
        raise ConfigError(f"{folder} has no query {name}.sql; {hint}")
    return queries[name]
