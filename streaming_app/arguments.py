"""Arguments that every command shares, and the configuration they name. Free of Spark, so that commands start at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from streaming_app.config import Loaded, load
from streaming_app.quality import Suite, rules_problems


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """`--config FILE` and `--set key.path=value`, the same for every command."""
    parser.add_argument("--config", required=True, metavar="FILE", help="for example conf/local.yaml")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one setting; repeatable",
    )


def load_all(path: str, overrides: Sequence[str]) -> tuple[Loaded, Suite]:
    """Configuration, dataset and suite, or one ConfigError with the problems of all three."""
    loaded = load(path, overrides, suite_check=rules_problems)
    return loaded, Suite.parse(loaded.suite_document, loaded.suite_file, loaded.dataset)
