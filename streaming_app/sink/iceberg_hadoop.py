"""An Iceberg catalog that is nothing but folders, as Spark's catalogs of type `hadoop` read it: for a laptop, without a server.

    {warehouse}/{namespace}/{table}/metadata/v{n}.metadata.json    version n of a table; version-hint.text names the newest one

Guarantee: a version is written if absent, so of two writers from the same version one loses and begins anew. Spark itself writes
such tables by renaming, which S3 does not do at once: let it read them, and write only where a rename is one step.

Needs pyiceberg, so import it only where it is used.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.typedef import EMPTY_DICT, Identifier, Properties

if TYPE_CHECKING:
    from pyiceberg.table.update import TableRequirement, TableUpdate

    from streaming_app.storage import Storage

_HINT: Final = "version-hint.text"
_VERSION: Final = re.compile(r"v(\d+)\.metadata\.json")


class HadoopCatalog(MetastoreCatalog, NoopCatalog):
    """What the sink needs of a catalog. `warehouse` is the folder's address as readers write it, `storage` the same folder."""

    def __init__(self, name: str, warehouse: str, storage: Storage, **properties: str) -> None:
        super().__init__(name, **properties, warehouse=warehouse)
        self._warehouse, self._storage = warehouse, storage

    def create_namespace(self, namespace: str | Identifier, properties: Properties = EMPTY_DICT) -> None:
        """A namespace is a folder, and there with its first table."""

    def load_namespace_properties(self, namespace: str | Identifier) -> Properties:
        """It has none."""
        del namespace
        return {}

    def load_table(self, identifier: str | Identifier) -> Table:
        """The newest version. Raises NoSuchTableError."""
        path = self.identifier_to_tuple(identifier)
        folder = "/".join(path)
        version = self._newest(f"{folder}/metadata")
        if not version:
            raise NoSuchTableError(f"there is no Iceberg table in {self._warehouse}/{folder}")
        location = f"{self._warehouse}/{folder}/metadata/v{version}.metadata.json"
        io = self._load_file_io(location=location)
        metadata = FromInputFile.table_metadata(io.new_input(location))
        io = self._load_file_io(metadata.properties, location)
        return Table(path, metadata, location, io, self)

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Write the next version. Raises CommitFailedException, with nothing changed, when another one has."""
        path, current = table.name(), None
        with suppress(NoSuchTableError):
            current = self.load_table(path)
        made = self._update_and_stage_table(current, path, requirements, updates)
        if current and made.metadata == current.metadata:
            return CommitTableResponse(metadata=current.metadata, metadata_location=current.metadata_location)
        folder = f"{'/'.join(path)}/metadata"
        version = (_version_of(current.metadata_location) if current else 0) + 1
        key, data = f"{folder}/v{version}.metadata.json", made.metadata.model_dump_json().encode()
        # Not absent may be our own, whose answer got lost; to say that it failed would have pyiceberg remove its manifests.
        if not self._storage.put_if_absent(key, data) and self._storage.get(key) != data:
            raise CommitFailedException(f"another writer has made version {version} of {'.'.join(path)}")
        self._storage.put(f"{folder}/{_HINT}", str(version).encode())
        if current:
            self._delete_old_metadata(made.io, current.metadata, made.metadata)
        return CommitTableResponse(metadata=made.metadata, metadata_location=f"{self._warehouse}/{key}")

    def _newest(self, folder: str) -> int:
        """By the hint, which may be a few versions late; without a sound one by a listing. 0 is none."""
        found = self._storage.get(f"{folder}/{_HINT}")
        version = int(found) if found and found.strip().isdigit() else 0
        if not version or not self._has(folder, version):
            version = max((_version_of(info.key) for info in self._storage.list(folder)), default=0)
        while version and self._has(folder, version + 1):
            version += 1
        return version

    def _has(self, folder: str, version: int) -> bool:
        return self._storage.info(f"{folder}/v{version}.metadata.json") is not None

    def _get_default_warehouse_location(self, database_name: str, table_name: str) -> str:
        return f"{self._warehouse}/{database_name}/{table_name}"


def _version_of(location: Any) -> int:
    found = _VERSION.fullmatch(str(location).rsplit("/", 1)[-1])
    return int(found[1]) if found else 0
