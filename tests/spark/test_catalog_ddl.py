"""The DDL is Hive's: a parser of that grammar, Spark's, takes it. Athena itself is not here to ask."""

from __future__ import annotations

import json

import pytest

from batch_app.cli import main
from tests.audit_lake import REPOSITORY, LakeBuilder

pytestmark = pytest.mark.spark


@pytest.mark.parametrize("mode", ["registered", "projection"])
def test_statements_keep_hives_grammar(mode, spark, orders, tmp_path, capsys):
    config = LakeBuilder(str(tmp_path / "lake"), orders).config_file(tmp_path)
    arguments = ["--database", "qsr", "--location", "s3://bucket/lake", "--queries", str(REPOSITORY / "conf/queries")]
    assert main(["catalog", "ddl", "--config", config, "--json", "--mode", mode, *arguments]) == 0
    parser = spark._jsparkSession.sessionState().sqlParser()
    for statement in json.loads(capsys.readouterr().out):
        plan = parser.parsePlan(statement).toString()
        assert "UnresolvedNamespace" in plan or "clean" in plan or "dead_letter" in plan or "CreateNamespace" in plan
