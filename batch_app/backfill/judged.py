"""`ingest` loads the bytes that the gate has judged, and no others.

Files are compared before anything is planned, by their tags and, where these differ, by their bytes; what is replaced between
that and its reading is found by the task that reads it (reading.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from batch_app.backfill.inputs import Found, Names, SourceFile, whole_address
from streaming_app.config import Config
from streaming_app.errors import ConfigError
from streaming_app.storage import StorageOptions, open_storage

if TYPE_CHECKING:
    from batch_app.gate.inputs import FileRead


def only_judged(found: Found, judged: Sequence[FileRead], config: Config) -> Found:
    """The files that the gate has read, with their hashes; others are counted. Raises ConfigError for one that changed since."""
    names, options = Names(config.lake.root), config.lake.s3.storage_options()
    reads = {names.identity(names.name(whole_address(read.uri))): read for read in judged}
    kept = Found(ignored=found.ignored)
    for source, files in found.files.items():
        for file in files:
            read = reads.get(names.identity(file.name))
            if read is None:
                kept.unjudged += 1
                continue
            if file.etag != read.etag and sha256_of(file, options) != read.sha256:
                raise ConfigError(
                    f"{file.name} was replaced after the gate had judged it: nothing was loaded; run it again"
                )
            kept.files.setdefault(source, []).append(replace(file, sha256=read.sha256))
    return kept


def sha256_of(file: SourceFile, options: StorageOptions) -> str:
    """Of the bytes that are there now."""
    digest = hashlib.sha256()
    with closing(open_storage(file.folder, options).open(file.key)) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
