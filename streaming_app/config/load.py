"""One configuration file, its dataset and its suite: read once, checked whole, every problem reported together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from streaming_app.config.checking import check
from streaming_app.config.documents import Refused, parse_document, read_document
from streaming_app.config.environment import Substitution, escape
from streaming_app.config.masking import mask, mask_text, secret_values
from streaming_app.config.models import Config, S3Config
from streaming_app.config.overrides import ORIGIN, apply_overrides
from streaming_app.config.positions import StartPositions
from streaming_app.errors import ConfigError, IngestError, Problem
from streaming_app.schema import PII_KEY, PII_KEY_LENGTH, Dataset, Pii
from streaming_app.storage import StorageOptions, beside, is_s3, open_storage

SuiteCheck = Callable[[Any, str, Dataset], Sequence[Problem]]

# Let the contradictions among the other settings be found while these required ones are missing.
_STAND_INS: Final[dict[str, Any]] = {
    "dataset": "?",
    "suite": "?",
    "lake": {"root": "?"},
    "lake.root": "?",
    "sources": {"csv": {"enabled": True}},
}


@dataclass(frozen=True)
class Loaded:
    """A configuration that can be used. `suite_document` is what the suite's file says; `quality` parses it.

    `start_positions` is what the file of `sources.kinesis.start_positions` says, as JSON text; empty without one.
    `secrets` are the values that must never be shown: those of secret-like keys and variables.
    """

    config: Config = field(repr=False)
    dataset: Dataset
    dataset_file: str
    suite_file: str
    suite_document: Any = field(repr=False)
    path: str
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    start_positions: str = ""


def load(
    path: str,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    suite_check: SuiteCheck | None = None,
) -> Loaded:
    """Load the configuration file at `path`, with `--set` overrides such as `service.trigger=5s` put on top.

    `path` is a local file, or `s3://bucket/key`, read with boto3's own settings. `environ` is the process's environment unless given. `suite_check(document, file, dataset)` says what is wrong in
    the suite, so that its problems are reported together with all others; it is called when file and dataset are
    readable. Raises ConfigError with every problem; no problem repeats a secret.
    """
    return _Load(path, os.environ if environ is None else environ).run(overrides, suite_check)


def read_suite(loaded: Loaded) -> Any:
    """What the suite's file holds now, a local file or an S3 object. Raises ConfigError when it cannot be read."""
    try:
        return _read_file(loaded.suite_file, loaded.config.lake.s3.storage_options())
    except Refused as refused:
        raise ConfigError(refused.problems) from None


def _read_file(file: str, options: StorageOptions) -> Any:
    """Plain values of a document; None when it is empty. Raises Refused."""
    if not is_s3(file):
        return read_document(file)
    folder, _, name = file.rpartition("/")
    try:
        data = open_storage(folder, options).get(name)
    except IngestError as error:
        raise Refused([Problem(file, "", f"cannot be read: {error}")]) from None
    if data is None:
        raise Refused([Problem(file, "", "cannot be read: there is no such object")])
    return parse_document(data, file)


def effective_yaml(loaded: Loaded) -> str:
    """The configuration in force, defaults and all, as YAML that `load` reads again; secrets are masked."""
    document = mask(escape(loaded.config.model_dump(mode="json")), loaded.secrets)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _s3_options(document: Mapping[str, Any]) -> StorageOptions:
    """How the lake's S3 is reached; the defaults where that section has problems, which are reported anyway."""
    lake = document.get("lake")
    checked = check(S3Config, lake.get("s3") or {}) if isinstance(lake, dict) else None
    return checked.value.storage_options() if checked and checked.value else StorageOptions()


class _Load:
    """The state of one load: what was found so far."""

    def __init__(self, path: str, environ: Mapping[str, str]) -> None:
        self._path = path
        self._substitution = Substitution(environ)
        self._problems: list[Problem] = []
        self._secrets: set[str] = set()

    def run(self, overrides: Sequence[str], suite_check: SuiteCheck | None) -> Loaded:
        document = self._read(self._path)
        if not isinstance(document, dict):
            raise self._error(document)
        overridden, faults = apply_overrides(document, overrides, Config)
        self._problems += faults
        document = self._substitution.apply(document)
        self._secrets |= self._substitution.secrets | set(secret_values(document))
        config = self._config(document, overridden)
        dataset_file, dataset = self._dataset(document)
        suite_file, suite = self._referenced(document, "suite")
        if suite_check and dataset and suite is not None:
            self._problems += suite_check(suite, suite_file, dataset)
        positions = self._positions(config.sources.kinesis.start_positions) if config else ""
        self._pii_key(dataset_file, dataset)
        self._iceberg_days(config, dataset_file, dataset)
        if self._problems or config is None or dataset is None:
            raise self._error()
        secrets = frozenset(self._secrets)
        return Loaded(config, dataset, dataset_file, suite_file, suite, self._path, secrets, positions)

    def _read(self, path: str, s3: StorageOptions | None = None) -> Any:
        try:
            return _read_file(path, s3 or StorageOptions())
        except Refused as refused:
            self._problems += refused.problems
            return None

    def _config(self, document: Mapping[str, Any], overridden: set[str]) -> Config | None:
        bad = [key for key, _ in self._substitution.faults]
        checked = check(Config, document, bad, _STAND_INS)
        for key, message in [*self._substitution.faults, *checked.faults]:
            self._problems.append(Problem(self._origin(key, overridden), key, message))
        return checked.value

    def _origin(self, key: str, overridden: set[str]) -> str:
        """The file, or `--set` where the key or its section was set there."""
        from_set = any(key == name or key.startswith((f"{name}.", f"{name}[")) for name in overridden)
        return ORIGIN if from_set else self._path

    def _referenced(self, document: Mapping[str, Any], key: str) -> tuple[str, Any]:
        """Name and content of a file that the configuration names, relative to itself."""
        name = document.get(key)
        if not isinstance(name, str) or not name or any(key == bad for bad, _ in self._substitution.faults):
            return "", None
        file = beside(self._path, name)
        content = self._read(file, _s3_options(document))
        if content is None and not any(problem.file == file for problem in self._problems):
            self._problems.append(Problem(file, "", "is empty"))
        return file, content

    def _dataset(self, document: Mapping[str, Any]) -> tuple[str, Dataset | None]:
        file, content = self._referenced(document, "dataset")
        if content is None:
            return file, None
        if not isinstance(content, dict):
            self._problems.append(Problem(file, "", "should be a section with keys of its own"))
            return file, None
        checked = check(Dataset, content)
        self._problems += [Problem(file, key, message) for key, message in checked.faults]
        return file, checked.value

    def _positions(self, name: str) -> str:
        """The start positions that a file holds, as text; empty when there is no such file, or nothing of use in it."""
        file = beside(self._path, name)
        content = self._read(file) if name else None
        if content is None:
            return ""
        try:
            return StartPositions.from_json(content).to_text()
        except ValueError as error:
            self._problems.append(Problem(file, "", str(error)))
            return ""

    def _iceberg_days(self, config: Config | None, file: str, dataset: Dataset | None) -> None:
        """Iceberg's hidden partitions are days in UTC, and a file's rows are all of one."""
        if config and dataset and config.sink.format == "iceberg" and dataset.time_zone != "UTC":
            what = "sink.format: iceberg needs UTC, as an Iceberg table is partitioned by days in UTC"
            self._problems.append(Problem(file, "time_zone", what))

    def _pii_key(self, file: str, dataset: Dataset | None) -> None:
        """The key of `pii: hash` is a secret, and has to be there."""
        key = self._substitution.environ.get(PII_KEY, "")
        if key:
            self._secrets.add(key)
        for at, column in enumerate(dataset.columns if dataset else ()):
            if column.treatment is Pii.HASH and len(key) < PII_KEY_LENGTH:
                what = f"set the environment variable {PII_KEY} to a secret of {PII_KEY_LENGTH} characters or more"
                self._problems.append(Problem(file, f"columns[{at}].pii", f"hash needs a key; {what}"))

    def _error(self, document: Any = None) -> ConfigError:
        if not self._problems:
            what = "is empty" if document is None else "should be a section with keys of its own"
            self._problems.append(Problem(self._path, "", what))
        return ConfigError(
            [Problem(item.file, item.key, mask_text(item.message, self._secrets)) for item in self._problems]
        )
