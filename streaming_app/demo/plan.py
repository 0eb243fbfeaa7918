"""What a run of the demo will do: its folder, the service's settings, and the command lines made from them."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import streaming_app
from streaming_app.errors import ConfigError

STREAM: Final = "pos-orders"
SHARDS: Final = 2
REGION: Final = "us-east-1"
MAX_RATE: Final = 1000.0  # moto's server takes a few thousand records a second, on a machine that does nothing else
_PLAIN: Final = re.compile(r"[\w.-]*/[\w./-]*", re.ASCII)  # YAML reads it as it is: a / is in no number or date
# Any words will do for moto, and they keep the children away from the real ones.
_CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "demo",
    "AWS_SECRET_ACCESS_KEY": "demo",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@dataclass(frozen=True)
class Plan:
    """One run: seconds of sending, orders a second, the lake's folder and the configuration file."""

    seconds: float
    rate: float
    lake: Path
    config: Path

    @property
    def log(self) -> Path:
        """The service's log."""
        return self.lake / "service.log"

    @property
    def uploads(self) -> Path:
        """Where the sample files are dropped."""
        return self.lake / "raw"

    def settings(self, endpoint_url: str) -> list[str]:
        """`--set` values that bring the shipped local configuration to this run's folder and Kinesis."""
        return [
            f"lake.root={_yaml(shown(self.lake))}",
            "sources.kinesis.enabled=true",
            f"sources.kinesis.stream={STREAM}",
            f"sources.kinesis.endpoint_url={endpoint_url}",
            f"sources.kinesis.region={REGION}",
            "sources.csv.enabled=true",
            "logging.format=json",
            "logging.level=INFO",
        ]

    def command(self, module: str, name: str, settings: Sequence[str]) -> list[str]:
        """A command of the product on this run's configuration."""
        sets = [part for setting in settings for part in ("--set", setting)]
        return [sys.executable, "-m", module, name, "--config", shown(self.config), *sets]


def make_plan(seconds: float, rate: float, lake: Path | None) -> Plan:
    """Check everything that can be checked before anything starts. Raises ConfigError."""
    missing = [name for name in ("moto", "duckdb", "rich") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"the demo needs {', '.join(missing)}; run `pip install 'qsr-ingest[demo]'`")
    if not 0 < seconds <= 86_400:  # noqa: PLR2004 - a day
        raise ConfigError(f"--seconds {seconds:g}: give a number above 0, a day (86400) at most")
    if not 0 < rate <= MAX_RATE:
        raise ConfigError(f"--rate {rate:g}: give orders a second above 0, {MAX_RATE:g} at most")
    return Plan(seconds, rate, _new_folder(lake), _config_file())


def _config_file() -> Path:
    candidates = [folder / "conf" / "local.yaml" for folder in (Path(streaming_app.__file__).parents[1], Path.cwd())]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ConfigError("conf/local.yaml was not found; start the demo in a clone of the repository")


def _new_folder(lake: Path | None) -> Path:
    folder = (lake or Path("build", "demo", time.strftime("%Y%m%d-%H%M%S"))).absolute()
    if str(lake).startswith(("s3:", "s3a:")):
        raise ConfigError("--lake: the demo writes to a folder of this machine, not to S3")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = any(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"--lake {folder}: {error.strerror or error}") from error
    if used:
        raise ConfigError(
            f"--lake {folder} is not empty; the demo's stream begins anew each time and needs a new folder"
        )
    return folder


def children_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without anything of AWS, with credentials for an emulator, and no proxy before this machine."""
    kept = {name: value for name, value in environ.items() if not name.startswith("AWS_")}
    return {**kept, **_CREDENTIALS, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


def shown(path: Path | str) -> str:
    """A path as people would write it here: relative where it lies below the current folder."""
    try:
        return str(Path(path).absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def shell(command: Sequence[str]) -> str:
    """A command line that can be copied into a shell."""
    return shlex.join([shown(command[0]), *command[1:]])


def _yaml(text: str) -> str:
    """Text for `--set`, which reads YAML and then replaces ${NAME}."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False).replace("${", "$${")
