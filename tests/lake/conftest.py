"""One AWS and one Trino for all tests of the lake: a Trino takes 10 seconds and half a gigabyte."""

from __future__ import annotations

import os

import pytest

from tests.fault.rig import STREAM
from tests.lake.trino_server import trino_server
from tests.moto_server import CREDENTIALS, moto_server
from tests.strict_kinesis import strict_kinesis


@pytest.fixture(scope="session")
def aws():
    with moto_server() as server:
        os.environ.update(CREDENTIALS)
        yield server


@pytest.fixture(scope="session")
def trino(aws, tmp_path_factory):
    with trino_server(tmp_path_factory.mktemp("trino"), aws.url) as server:
        yield server


@pytest.fixture(scope="module")
def kinesis():
    with strict_kinesis() as server:
        server.create(STREAM, shards=2)
        yield server
