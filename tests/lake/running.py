"""What the lake's tests have in common: a catalog's settings, and commands of the batch application as users start them."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal

from tests.fault.rig import REPOSITORY
from tests.moto_server import CREDENTIALS, REGION

S3A = REPOSITORY / "build/s3a"
SALES = (
    "SELECT input_source, COUNT(*) total_orders, SUM(amount) revenue, AVG(amount) avg_ticket_size FROM {}clean"
    " GROUP BY input_source ORDER BY input_source"
)
CENT = Decimal("0.01")


def catalog(aws, database: str, partitions: str) -> dict[str, str]:
    return {
        "catalog.type": "glue",
        "catalog.database": database,
        "catalog.endpoint_url": aws.url,
        "catalog.region": REGION,
        "catalog.partitions": partitions,
    }


def command(overrides: list[str], *arguments: str, **changes: str) -> str:
    """A command of the batch application on some lake."""
    more = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "batch_app", *arguments, "--config", "conf/local.yaml", *overrides, *more],
        cwd=REPOSITORY, env={**os.environ, **CREDENTIALS}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
