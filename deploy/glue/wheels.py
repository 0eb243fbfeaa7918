"""Our package and what it needs beside Glue 6.0's own, as the zip of wheels that `--additional-python-modules` takes.

    python deploy/glue/wheels.py build/glue/wheels dist/qsr_ingest-0.1.0-py3-none-any.whl

Writes beside our wheel NAME.gluewheels.zip: it, all wheels of the folder, and `requirements.txt` with their versions. Glue
has to install it by `--no-index --no-deps`: pip knows nothing of the pyspark in Spark's folder that our wheel asks for, and
what it would look after is checked here. Refuses, with every reason, what would not work
there: a source distribution, a wheel of another Python, platform or newer glibc, another version of something that
Glue brings, a requirement that nothing meets. Same input, same bytes.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

PROVIDED: Final = Path(__file__).with_name("provided-6.0.txt")
_PYTHON: Final = (3, 13)
_GLIBC: Final = range(34, 4, -1)  # manylinux_2_34 and older: Amazon Linux 2023, as AWS's guide on Python libraries says
_LEGACY: Final = ("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64")
_PLATFORMS: Final = [*(f"manylinux_2_{minor}_x86_64" for minor in _GLIBC), *_LEGACY]
_SPARK: Final = {"pyspark": Version("4.1.1"), "py4j": Version("0.10.9.9")}  # from Spark's own folder, not from pip
_MARKERS: Final = {
    "python_version": "3.13",
    "python_full_version": "3.13.0",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "os_name": "posix",
    "extra": "",
}
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can name


@dataclass(frozen=True)
class Wheel:
    """One wheel's file, name, version, and what it asks for on Glue."""

    file: Path
    name: str
    version: Version
    requires: tuple[Requirement, ...]


def supported_tags() -> frozenset[Tag]:
    """The tags of wheels that Glue 6.0 can install."""
    return frozenset(
        [*cpython_tags(_PYTHON, platforms=_PLATFORMS), *compatible_tags(_PYTHON, "cp313", platforms=_PLATFORMS)]
    )


def provided(file: Path = PROVIDED) -> dict[str, Version]:
    """What is there before any wheel of ours: Glue's own packages, and Spark's."""
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    pins = dict(line.split("==") for line in lines if line)
    return _SPARK | {canonicalize_name(name): Version(version) for name, version in pins.items()}


def read(file: Path) -> Wheel:
    """What a wheel says of itself. Raises ValueError when it is none."""
    name, version, _, _ = parse_wheel_filename(file.name)
    with zipfile.ZipFile(file) as archive:
        metadata = next(member for member in archive.namelist() if member.endswith(".dist-info/METADATA"))
        headers = HeaderParser().parsestr(archive.read(metadata).decode("utf-8"))
    asked = [Requirement(text) for text in headers.get_all("Requires-Dist", [])]
    needed = tuple(item for item in asked if item.marker is None or item.marker.evaluate(_MARKERS))
    return Wheel(file, name, version, needed)


def problems(files: list[Path], ours: Wheel) -> Iterator[str]:
    """Everything that would not work in a Glue 6.0 job."""
    there = provided()
    strangers = [file for file in files if file.suffix != ".whl"]
    yield from (f"{file.name} is no wheel, and Glue compiles nothing" for file in strangers)
    wheels = [read(file) for file in files if file.suffix == ".whl"]
    tags = supported_tags()
    for wheel in [*wheels, ours]:
        if not tags & parse_wheel_filename(wheel.file.name)[3]:
            yield f"{wheel.file.name} does not fit Python 3.13 on x86_64 Linux with glibc 2.34"
    for wheel in wheels:
        if wheel.name in there:
            yield f"{wheel.file.name} would take the place of Glue's own {wheel.name} {there[wheel.name]}"
    found = there | {wheel.name: wheel.version for wheel in wheels}
    for wheel in [*wheels, ours]:
        for requirement in wheel.requires:
            version = found.get(canonicalize_name(requirement.name))
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                yield f"{wheel.name} needs {requirement}, and there is {version or 'none'}"


def write_zip(wheels: list[Wheel], target: Path) -> None:
    """The layout of AWS's guide: `wheels/` with all wheels and a requirements.txt."""
    lines = "".join(f"{wheel.name}=={wheel.version}\n" for wheel in sorted(wheels, key=lambda wheel: wheel.name))
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(zipfile.ZipInfo("wheels/requirements.txt", _EPOCH), lines)
        for wheel in sorted(wheels, key=lambda wheel: wheel.file.name):
            archive.writestr(zipfile.ZipInfo(f"wheels/{wheel.file.name}", _EPOCH), wheel.file.read_bytes())


def main(folder: str, own: str) -> int:
    """Check, then write the zip beside our own wheel; 2 when something does not fit."""
    ours = read(Path(own))
    files = sorted(Path(folder).iterdir())
    found = list(problems(files, ours))
    if found:
        print("\n".join(f"error: {problem}" for problem in found), file=sys.stderr)  # noqa: T201 - a command's last word
        return 2
    target = ours.file.with_name(f"{ours.file.name.partition('-')[0]}-{ours.version}.gluewheels.zip")
    write_zip([ours, *(read(file) for file in files)], target)
    print(f"{target}: {len(files) + 1} wheels")  # noqa: T201 - the command's output
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
