"""What every kind of test may use: the shipped dataset, and one Spark session for all tests that need one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml

from streaming_app.schema import Dataset
from tests.moto_server import CREDENTIALS

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser):
    parser.addoption("--drills", action="store_true", help="run the drills too: whole services over minutes")
    parser.addoption(
        "--deploy", action="store_true", help="run the tests of deployments; make test-glue and its like do"
    )
    parser.addoption(
        "--lake", action="store_true", help="run the lake's tests too, which need downloads: make test-lake"
    )
    parser.addoption("--long", action="store_true", help="run tests in their long form, and the slow ones")


def pytest_collection_modifyitems(config, items):
    for option, keyword in (("--drills", "drill"), ("--deploy", "deploy"), ("--lake", "lake")):
        if not config.getoption(option):
            # Marks, not keywords: those hold the names of folders, too, and a checkout may be in one called deploy.
            marked = [item for item in items if item.get_closest_marker(keyword)]
            config.hook.pytest_deselected(items=marked)
            items[:] = [item for item in items if item not in marked]
    if not config.getoption("--long"):
        slow = pytest.mark.skip(reason="the long form: run it with --long")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(slow)


@pytest.fixture(scope="session")
def long_form(request) -> bool:
    """Whether to take the hour that the long form takes."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def orders() -> Dataset:
    return Dataset.model_validate(yaml.safe_load((REPOSITORY / "conf/datasets/orders.yaml").read_text()))


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """A local session with the product's own settings."""
    from streaming_app.config.models import Config
    from streaming_app.runtime.session import build_session

    scratch = tmp_path_factory.mktemp("spark")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.update(CREDENTIALS)  # Spark's workers inherit them; no test reaches the real AWS
    config = Config.model_validate(
        {
            "dataset": "-",
            "suite": "-",
            "lake": {"root": str(scratch)},
            "sources": {"csv": {"enabled": True}},
            "spark": {
                "master": "local[2,4]",
                "app_name": "tests",
                "conf": {
                    "spark.local.dir": str(scratch / "local"),
                    "spark.sql.warehouse.dir": str(scratch / "warehouse"),
                    "spark.sql.shuffle.partitions": "2",
                },
            },
        }
    )
    session = build_session(config)
    yield session
    session.stop()
