"""Loading a configuration: what is accepted, and that every problem is reported together, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from streaming_app.config import effective_yaml, load
from streaming_app.config.load import Loaded
from streaming_app.errors import ConfigError, Problem

CONF = Path(__file__).resolve().parents[2] / "conf"
MINIMAL = """
dataset: orders.yaml
suite: suite.yaml
lake: {root: lake}
sources: {csv: {enabled: true}}
"""


class Files:
    """A folder with a configuration, and what `load` makes of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("orders.yaml", (CONF / "datasets/orders.yaml").read_text())
        self.write("suite.yaml", "name: s\nexpectations: []\n")
        self.write("conf.yaml", MINIMAL)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_bytes(text.encode() if isinstance(text, str) else text)

    def load(self, *overrides: str, **environ: str) -> Loaded:
        return load(str(self.folder / "conf.yaml"), overrides, environ)

    def problems(self, *overrides: str, **environ: str) -> list[tuple[str, str, str]]:
        with pytest.raises(ConfigError) as caught:
            self.load(*overrides, **environ)
        return [(Path(p.file).name, p.key, p.message) for p in caught.value.problems]

    def keys(self, *overrides: str, **environ: str) -> list[str]:
        return [key for _, key, _ in self.problems(*overrides, **environ)]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_the_shipped_local_configuration_needs_no_environment() -> None:
    loaded = load(str(CONF / "local.yaml"), environ={})
    assert loaded.config.lake.root == "build/lake"
    assert loaded.config.sources.kinesis.enabled is True
    assert loaded.config.sources.kinesis.stream == "pos-orders"
    assert loaded.config.service.trigger == 1.0
    assert loaded.config.spark.master == "local[2,4]"
    assert loaded.config.spark.conf["spark.scheduler.mode"] == "FAIR"
    assert loaded.dataset.name == "orders"
    assert loaded.suite_document["name"] == "orders"


def test_the_shipped_production_configuration_needs_a_bucket_only() -> None:
    path = str(CONF / "production.yaml")
    loaded = load(path, environ={"LAKE_BUCKET": "our-lake"})
    assert loaded.config.lake.root == "s3://our-lake/lake"
    assert (loaded.config.service.trigger, loaded.config.spark.master, loaded.config.logging.format) == (
        30.0,
        "",
        "json",
    )
    with pytest.raises(ConfigError) as caught:
        load(path, environ={})
    (problem,) = caught.value.problems
    assert (problem.file, problem.key) == (path, "lake.root")
    assert "LAKE_BUCKET" in problem.message


def test_an_empty_bucket_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lake\.root: names no S3 bucket"):
        load(str(CONF / "production.yaml"), environ={"LAKE_BUCKET": ""})


def test_variables_keep_the_types_of_their_keys(files: Files) -> None:
    files.write(
        "conf.yaml",
        MINIMAL + "service: {trigger: '${T}', max_restarts: '${N:-7}'}\nlogging: {level: '${L:-DEBUG}'}\n"
        "sink: {target_file_bytes: '${B}'}\n",
    )
    config = files.load(T="500ms", B="64MiB").config
    assert (config.service.trigger, config.service.max_restarts) == (0.5, 7)
    assert (config.logging.level, config.sink.target_file_bytes) == ("DEBUG", 64 << 20)
    assert files.load(T="5", B="1000").config.service.trigger == 5.0


@pytest.mark.parametrize(
    ("written", "environ", "meant"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("pre-${A}-${B:-b}-post", {"A": "x"}, "pre-x-b-post"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A}", {"A": ""}, ""),
        ("${A:-}", {}, ""),
        ("${A:-a:-b}", {}, "a:-b"),
        ("$${A}", {"A": "x"}, "${A}"),
        ("$A $5 {A}", {"A": "x"}, "$A $5 {A}"),
        ("${A}", {"A": "${B}"}, "${B}"),
    ],
)
def test_a_variable_is_replaced_once_and_only_where_it_is_written_so(files: Files, written, environ, meant) -> None:
    files.write("conf.yaml", MINIMAL + f"spark: {{app_name: '{written}'}}\n")
    assert files.load(**environ).config.spark.app_name == meant


@pytest.mark.parametrize("written", ["${", "${A", "${1A}", "${A-b}", "${A:?message}", "${}", "${A:-${B}}"])
def test_a_malformed_variable_is_a_problem_with_its_key(files: Files, written: str) -> None:
    files.write("conf.yaml", MINIMAL + f"spark: {{app_name: '{written}'}}\n")
    assert files.keys(A="x", B="y") == ["spark.app_name"]


def test_all_problems_are_reported_together(files: Files) -> None:
    files.write(
        "conf.yaml",
        """
dataset: orders.yaml
suite: missing.yaml
lake: {root: '${ROOT}'}
sources:
  kinesis: {enabled: true, strem: orders, max_tasks: many}
  csv: {enabled: true, path: up, after_commit: archive, archive_path: up/done}
servce: {trigger: 1s}
service: {trigger: soon}
spark: {master: 'local[2]', conf: {spark.sql.session.timeZone: Asia/Jakarta}}
""",
    )
    files.write("orders.yaml", "name: orders\ntime_column: ts\ncolumns:\n  - {name: ts, type: datetime}\n")
    assert set(files.problems()) >= {
        ("conf.yaml", "lake.root", "the environment variable ROOT is not set; set it, or write ${ROOT:-default}"),
        ("conf.yaml", "sources.kinesis.strem", "unknown key; did you mean sources.kinesis.stream?"),
        ("conf.yaml", "servce", "unknown key; did you mean service?"),
        ("missing.yaml", "", "cannot be read: No such file or directory"),
    }
    assert set(files.keys()) == {
        "lake.root",
        "sources.kinesis.strem",
        "sources.kinesis.max_tasks",
        "servce",
        "service.trigger",
        "spark.master",
        "spark.conf.spark.sql.session.timeZone",
        "sources.csv.archive_path",
        "columns[0].type",
        "",
    }


def test_the_suite_s_problems_are_reported_with_all_others(files: Files) -> None:
    files.write("conf.yaml", MINIMAL + "extra: 1\n")
    with pytest.raises(ConfigError) as caught:
        load(
            str(files.folder / "conf.yaml"), environ={}, suite_check=lambda *found: [Problem(found[1], "rule", "wrong")]
        )
    assert [problem.key for problem in caught.value.problems] == ["extra", "rule"]


def test_a_missing_section_hides_no_other_problem(files: Files) -> None:
    files.write("conf.yaml", "dataset: orders.yaml\nsources: {csv: {enabled: true}}\nspark: {master: local}\n")
    assert set(files.keys()) == {"suite", "lake", "spark.master"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("- 1", "should be a section"),
        ("a: 1\na: 2", "stands twice: line 1 and line 2"),
        ("a: &x [1]\nb: *x", "anchors"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: [1", "line 1"),
        ("---\na: 1\n---\nb: 2", "line 3"),
        ("1: x", "put it in quotes"),
        ("a: .nan", "not a number"),
        ("[" * 5000, "nested deeper"),
        ("a: " + "[" * 100 + "]" * 100, "nested deeper"),
        ("#" * (1 << 20) + "\n", "is larger than"),
        (b"a: \xff", "is not UTF-8"),
        ("a: \x00", "is no YAML"),
        ("a: " + "9" * 5000, "is no YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_problem_and_no_traceback(files: Files, text, message: str) -> None:
    files.write("conf.yaml", text)
    assert any(message in found for _, _, found in files.problems())


def test_a_bomb_of_aliases_is_refused_at_once(files: Files) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    files.write("conf.yaml", "\n".join(lines))
    assert "anchors" in files.problems()[0][2]


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(str(tmp_path / "none.yaml"), environ={})


def test_overrides_replace_values_and_are_typed(files: Files) -> None:
    config = files.load(
        "service.trigger=5s",
        "spark.conf.spark.sql.shuffle.partitions=8",
        "spark.conf.spark.ui.enabled=false",
        "sources.csv.suffixes=[.txt]",
        "sources.kinesis.stream='0123'",
        "sources.kinesis.region=",
        "spark.app_name=a=b",
    ).config
    assert config.service.trigger == 5.0
    assert config.spark.conf == {"spark.sql.shuffle.partitions": "8", "spark.ui.enabled": "false"}
    assert config.sources.csv.suffixes == (".txt",)
    assert (config.sources.kinesis.stream, config.spark.app_name) == ("0123", "a=b")


def test_an_override_mends_what_the_file_has_wrong(files: Files) -> None:
    files.write("conf.yaml", MINIMAL.replace("root: lake", "root: '${UNSET}'"))
    assert files.load("lake.root=there").config.lake.root == "there"


@pytest.mark.parametrize(
    "override", ["service.triger=5s", "trigger=5s", "service.trigger", "=1", "service..trigger=1", "lake.root.x=1"]
)
def test_an_override_of_an_unknown_path_is_a_problem_of_set(files: Files, override: str) -> None:
    assert {file for file, _, _ in files.problems(override)} == {"--set"}


def test_a_key_without_a_value_is_as_good_as_absent(files: Files) -> None:
    files.write("conf.yaml", MINIMAL + "service:\nsink: {compression: }\n")
    assert files.load().config.sink.compression == "zstd"
    files.write("conf.yaml", MINIMAL + "servce:\n")
    assert files.keys() == ["servce"]


def test_the_environment_is_the_process_s_own_unless_given(files: Files, monkeypatch) -> None:
    files.write("conf.yaml", MINIMAL + "spark: {app_name: '${QSR_TEST_NAME}'}\n")
    monkeypatch.setenv("QSR_TEST_NAME", "from-here")
    assert load(str(files.folder / "conf.yaml")).config.spark.app_name == "from-here"


@pytest.mark.parametrize("environment", ["local.yaml", "production.yaml"])
def test_the_effective_configuration_loads_again_to_the_same(files: Files, environment: str) -> None:
    text = (CONF / environment).read_text().replace("datasets/", "").replace("expectations/orders", "suite")
    files.write("conf.yaml", text)
    loaded = files.load("spark.app_name='$${literal} ß'", LAKE_BUCKET="our-lake")
    files.write("conf.yaml", effective_yaml(loaded))
    assert files.load().config == loaded.config
    assert loaded.config.spark.app_name == "${literal} ß"
    assert list(yaml.safe_load(effective_yaml(loaded)))[:3] == ["dataset", "suite", "lake"]
