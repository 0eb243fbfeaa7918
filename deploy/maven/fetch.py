"""Download files from Maven Central: `python deploy/maven/fetch.py LIST FOLDER`.

LIST has lines as sha256sum writes them, with the file's path below the repository. A file that is there already with the right
sum stays; one with a wrong sum is never left behind. MAVEN_REPOSITORY names another repository, a mirror for example.
"""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.request
from pathlib import Path
from typing import Final

_REPOSITORY: Final = os.environ.get("MAVEN_REPOSITORY", "https://repo1.maven.org/maven2").rstrip("/")
_BLOCK: Final = 1 << 20
_TIMEOUT: Final = 60  # seconds without a byte


def main(listing: str, folder: str) -> None:
    """Fetch every file of the list that is not there."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for line in Path(listing).read_text().splitlines():
        digest, path = line.split()
        file = target / path.rsplit("/", 1)[-1]
        if not file.exists() or _sha256(file) != digest:
            _fetch(f"{_REPOSITORY}/{path}", file, digest)


def _fetch(url: str, file: Path, digest: str) -> None:
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, part.open("wb") as out:  # noqa: S310 - https
            while block := answer.read(_BLOCK):
                out.write(block)
        if _sha256(part) != digest:
            sys.exit(f"{url}: the sha256 is not {digest}; nothing of it was kept")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


if __name__ == "__main__":
    main(*sys.argv[1:])
