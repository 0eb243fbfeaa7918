"""The Dockerfile carried out without an engine: each of its steps in a folder, by chroot in namespaces of its own (needs root).

    base = python_base(Path("build/image"), "3.12's executable")   # what stands for PYTHON_IMAGE
    image = build(base, folder)                                     # FROM, COPY, RUN, ENV, WORKDIR, USER ...
    with image.start(["streaming_app", "run"], {"LAKE_BUCKET": "..."}) as service:
        image.run(image.health)

What is started has the image's user without any privilege, a root that is read-only, a /tmp in memory, its own process numbers
with the entry point as the first, a host name that /etc/hosts knows, and this machine's network. An instruction that is not known here is an error.

The base is not python:3.12-slim-bookworm, which no engine can fetch here: it is Debian bookworm by debootstrap, as that image is,
with a Python 3.12 of this machine copied to /usr/local.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeAlias

from tests.dockerfile import REPOSITORY, instructions

_PATH: Final = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
# What Python's own modules are linked with, and what the official image has beside them.
_PACKAGES: Final = "ca-certificates,libbz2-1.0,libexpat1,libffi8,liblzma5,libncursesw6,libreadline8,libsqlite3-0,libssl3,libuuid1,netbase,tzdata"
# How this machine reaches the registries; an engine would be given them as build arguments.
_REGISTRIES: Final = ("PIP_CERT", "PIP_INDEX_URL", "SSL_CERT_FILE", "MAVEN_REPOSITORY", "http_proxy", "https_proxy")
_CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"
_BUILD: Final = f"""
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount --bind /etc/resolv.conf "$1/etc/resolv.conf"
mount --bind {_CERTIFICATES} "$1{_CERTIFICATES}"
root="$1"; shift
exec chroot "$root" "$@"
"""
_START: Final = """
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount --bind "$1.hosts" "$1/etc/hosts"
hostname container
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
root="$1"; shift
exec chroot "$root" "$@"
"""
_BARE: Final = ("setpriv", "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")


def python_base(folder: Path, python: str) -> Path:
    """Debian bookworm with this Python at /usr/local; made once and kept. Raises CalledProcessError with debootstrap's words."""
    base = folder / "base"
    if base.exists():
        return base
    made = folder / "base.making"
    shutil.rmtree(made, ignore_errors=True)
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", made], check=True)
    asked = subprocess.check_output(
        [python, "-c", "import sys; print(sys.base_prefix, '%d.%d' % sys.version_info[:2])"]
    )
    prefix, version = asked.decode().split()
    assert prefix != "/usr", f"{python} is the system's own; name one with a prefix of its own (a pyenv's, for example)"
    local = made / "usr" / "local"
    library = local / "lib" / f"python{version}"
    shutil.copytree(
        Path(prefix, "lib", f"python{version}"),
        library,
        symlinks=True,
        ignore=shutil.ignore_patterns("site-packages", "test", "__pycache__"),
    )
    (library / "site-packages").mkdir()
    for file in Path(prefix, "lib").glob(f"libpython{version}.so*"):
        shutil.copy(file, local / "lib", follow_symlinks=False)
    shutil.copy(Path(prefix, "bin", f"python{version}"), local / "bin")
    for name in ("python", "python3"):
        (local / "bin" / name).symlink_to(f"python{version}")
    for command in (["ldconfig"], ["python", "-m", "ensurepip"]):
        subprocess.run(["chroot", made, *command], env={"PATH": _PATH}, check=True, stdout=subprocess.DEVNULL)
    return made.rename(base)


@dataclass(frozen=True)
class Image:
    """What an engine keeps of an image: its files, and how it is started."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": _PATH})
    workdir: str = "/"
    user: str = "0"
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    health: Sequence[str] = ()

    def run(
        self, command: Sequence[str], environment: Mapping[str, str], *, entrypoint: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Start the image with this command in place of its own, or without its entry point, and wait for the end."""
        whole = [*(self.entrypoint if entrypoint else ()), *command]
        return subprocess.run(
            self._isolated(whole), env={**self.environment, **environment}, capture_output=True, text=True, timeout=600, check=False
        )  # fmt: skip

    @contextmanager
    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[Container]:
        """The image with this command in place of its own, until the block ends; output goes to `log`."""
        with (
            log.open("wb") as output,
            subprocess.Popen(
                self._isolated([*self.entrypoint, *command]),
                env={**self.environment, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as outside,
        ):
            try:
                yield Container(outside)
            finally:
                outside.kill()  # and with it all that is inside (--kill-child)

    def _isolated(self, command: Sequence[str]) -> list[str]:
        group = next(
            line.split(":")[3]
            for line in (self.root / "etc/passwd").read_text().splitlines()
            if line.split(":")[2] == self.user
        )
        bare = [*_BARE, f"--reuid={self.user}", f"--regid={group}"]
        return _inside(_START, self.root, ["env", "-C", self.workdir, *bare, *command])


Stages: TypeAlias = Mapping[str, Image]


@dataclass(frozen=True)
class Container:
    """A started image, by the process that waits outside for it."""

    outside: subprocess.Popen[bytes]

    @property
    def first(self) -> int:
        """The number, as this machine counts, of the process that is the first inside."""
        children = Path(f"/proc/{self.outside.pid}/task/{self.outside.pid}/children")
        while not (found := children.read_text().split()):
            time.sleep(0.05)
        return int(found[0])

    def processes(self) -> list[int]:
        """Numbers of all processes inside, as this machine counts."""
        space = _space(Path(f"/proc/{self.first}"))
        return [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit() and _space(one) == space]


def build(base: Path, folder: Path) -> Image:
    """Carry out the Dockerfile in `folder`. Raises CalledProcessError for a RUN that fails, KeyError for what is not known."""
    stages: dict[str, Image] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            name = rest.split(" AS ")[1] if " AS " in rest else "last"
            stages[name] = Image(_copy(base, folder / name))
        elif word != "ARG":  # the base's name, which stands for nothing here
            stages[name] = _STEPS[word](stages[name], rest, stages)
    return stages[name]


def _workdir(image: Image, rest: str, _: Stages) -> Image:
    (image.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return replace(image, workdir=rest)


def _environment(image: Image, rest: str, _: Stages) -> Image:
    pairs = dict(part.split("=", 1) for part in shlex.split(rest))
    given = {name: value.replace("$PATH", image.environment["PATH"]) for name, value in pairs.items()}
    return replace(image, environment={**image.environment, **given})


def _run(image: Image, command: str, _: Stages) -> Image:
    registries = {name: os.environ[name] for name in _REGISTRIES if name in os.environ}
    subprocess.run(
        _inside(_BUILD, image.root, ["env", "-C", image.workdir, "sh", "-c", command]),
        env={**image.environment, **registries},
        check=True,
    )
    return image


def _copy_in(image: Image, rest: str, stages: Stages) -> Image:
    """A folder's contents, or files; from the repository or from a stage."""
    source_root, words = REPOSITORY, shlex.split(rest)
    left_out = ["__pycache__"]  # as .dockerignore says
    if words[0].startswith("--from="):
        source_root, words, left_out = stages[words[0].removeprefix("--from=")].root, words[1:], []
    *sources, target = words
    place = image.root / (target.lstrip("/") if target.startswith("/") else f"{image.workdir.lstrip('/')}/{target}")
    for source in (source_root / name.lstrip("/") for name in sources):
        if source.is_dir():
            shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*left_out))
            continue
        into = place / source.name if target.endswith("/") else place
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, into)
    return image


def _copy(base: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", "--reflink=auto", base, target], check=True)
    target.with_suffix(".hosts").write_text("127.0.0.1 localhost\n127.0.1.1 container\n")
    return target


def _inside(mounts: str, root: Path, command: Sequence[str]) -> list[str]:
    own = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
    return [*own, "sh", "-euc", mounts, "sh", str(root), *command]


def _space(process: Path) -> str:
    try:
        return str((process / "ns" / "pid").readlink())
    except OSError:  # it has ended
        return ""


# What each instruction does to an image; what says something to people or engines only does nothing.
_STEPS: Final[Mapping[str, Callable[[Image, str, Stages], Image]]] = {
    "COPY": _copy_in,
    "RUN": _run,
    "ENV": _environment,
    "WORKDIR": _workdir,
    "USER": lambda image, rest, _: replace(image, user=rest),
    "ENTRYPOINT": lambda image, rest, _: replace(image, entrypoint=json.loads(rest)),
    "CMD": lambda image, rest, _: replace(image, command=json.loads(rest)),
    "HEALTHCHECK": lambda image, rest, _: replace(image, health=json.loads(rest[rest.index("CMD ") + 4 :])),
    "EXPOSE": lambda image, *_: image,
    "STOPSIGNAL": lambda image, *_: image,
}
