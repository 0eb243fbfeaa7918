"""What `make glue-wheels` packs: shown on small wheels made here, and on the list that the repository pins."""

from __future__ import annotations

import configparser
import re
import runpy
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
GLUE = REPOSITORY / "deploy" / "glue"
wheels = runpy.run_path(str(GLUE / "wheels.py"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "wheels").mkdir()
    return tmp_path / "wheels"


def make(folder: Path, name: str, *requires: str, tags: str = "py3-none-any") -> Path:
    distribution, version = name.split("==")
    file = folder / f"{distribution.replace('-', '_')}-{version}-{tags}.whl"
    lines = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{distribution}-{version}.dist-info/METADATA", "\n".join([*lines, "", ""]))
    return file


def ours(tmp_path: Path, *requires: str) -> Path:
    return make(tmp_path, "qsr-ingest==1.0", "pyspark==4.1.1", "pandas>=2.2", *requires)


def problems(folder: Path, own: Path) -> list[str]:
    return list(wheels["problems"](sorted(folder.iterdir()), wheels["read"](own)))


def test_zip_holds_the_wheels_and_their_versions_and_is_the_same_each_time(folder, tmp_path, capsys):
    make(folder, "msgspec==0.22.0", tags="cp313-cp313-manylinux2014_x86_64.manylinux_2_17_x86_64")
    make(folder, "rich==15.0.0", "pygments>=2.13", 'colorama; sys_platform == "win32"')
    own = ours(tmp_path, "msgspec<1", "rich", "moto; extra == 'demo'")
    assert wheels["main"](str(folder), str(own)) == 0
    target = tmp_path / "qsr_ingest-1.0.gluewheels.zip"
    first = target.read_bytes()
    with zipfile.ZipFile(target) as archive:
        assert archive.read("wheels/requirements.txt") == b"msgspec==0.22.0\nqsr-ingest==1.0\nrich==15.0.0\n"
        assert archive.read("wheels/qsr_ingest-1.0-py3-none-any.whl") == own.read_bytes()
        assert len(archive.namelist()) == 4
    assert wheels["main"](str(folder), str(own)) == 0
    assert target.read_bytes() == first


@pytest.mark.parametrize(
    ("name", "tags", "fits"),
    [
        ("a==1", "py3-none-any", True),
        ("a==1", "cp313-cp313-manylinux_2_34_x86_64", True),
        ("a==1", "cp39-abi3-manylinux_2_28_x86_64", True),
        ("a==1", "cp313-cp313-manylinux_2_39_x86_64", False),
        ("a==1", "cp313-cp313-manylinux_2_28_aarch64", False),
        ("a==1", "cp312-cp312-manylinux_2_28_x86_64", False),
        ("a==1", "cp313-cp313-musllinux_1_2_x86_64", False),
    ],
)
def test_wheel_of_another_python_platform_or_glibc_is_refused(folder, tmp_path, name, tags, fits):
    make(folder, name, tags=tags)
    found = problems(folder, ours(tmp_path))
    assert found == ([] if fits else [f"a-1-{tags}.whl does not fit Python 3.13 on x86_64 Linux with glibc 2.34"])


def test_source_distribution_is_refused(folder, tmp_path):
    (folder / "a-1.tar.gz").touch()
    assert problems(folder, ours(tmp_path)) == ["a-1.tar.gz is no wheel, and Glue compiles nothing"]


def test_what_glue_brings_is_never_replaced(folder, tmp_path, capsys):
    make(folder, "pandas==3.1.1")
    own = ours(tmp_path)
    assert wheels["main"](str(folder), str(own)) == 2
    assert "would take the place of Glue's own pandas 2.3.3" in capsys.readouterr().err
    assert not (tmp_path / "qsr_ingest-1.0.gluewheels.zip").exists()


def test_requirement_that_nothing_meets_is_named(folder, tmp_path):
    make(folder, "a==1", "b>=2", "numpy>=99")
    found = problems(folder, ours(tmp_path, "c"))
    assert found == [
        "a needs b>=2, and there is none",
        "a needs numpy>=99, and there is 2.4.4",
        "qsr-ingest needs c, and there is none",
    ]


def pinned(file: Path) -> set[str]:
    return {canonicalize_name(name) for name in re.findall(r"^([A-Za-z][\w.-]*)==", file.read_text(), re.MULTILINE)}


def test_every_package_that_a_job_needs_is_pinned_or_brought_by_glue():
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    lines = (line.partition("#")[0].strip() for line in setup["options"]["install_requires"].splitlines())
    needed = {canonicalize_name(Requirement(line).name) for line in lines if line}
    there = set(wheels["provided"]())
    added = pinned(GLUE / "requirements.txt")
    assert needed <= there | added
    assert not there & added
