"""A stored file as text: counted and hashed as it is stored, unpacked when it is gzip, without its byte order mark."""

from __future__ import annotations

import hashlib
import zlib
from typing import BinaryIO, Final

_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS  # zlib: expect a gzip header and trailer
_PACKED_BYTES: Final = 256 << 10


class StoredBytes:
    """Reads a stored file once, in order, and knows at any time how much it has read and what its hash is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.count = 0

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end; an object store may answer with less than was asked for."""
        parts = []
        while size > 0 and (part := self._file.read(size)):
            self._hash.update(part)
            self.count += len(part)
            size -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def drain(self) -> None:
        """Read to the end, for the hash."""
        while self.read(1 << 20):
            pass

    @property
    def sha256(self) -> str:
        """Of everything read so far, as hexadecimal digits."""
        return self._hash.hexdigest()


class TextStream:
    """The text of a stored file. `broken` turns true at the place where a gzip file is cut off or damaged."""

    def __init__(self, stored: StoredBytes) -> None:
        self._stored = stored
        self._ahead = stored.read(len(_BOM))
        self.broken = False
        self._unpack = zlib.decompressobj(_GZIP_WINDOW) if self._ahead.startswith(_GZIP) else None
        if self._ahead == _BOM:
            self._ahead = b""
        self._at_start = self._unpack is not None

    def read(self, size: int) -> bytes:
        """`size` bytes of text, fewer only at the end; b"" at the end."""
        if self._unpack is None:
            ahead, self._ahead = self._ahead, b""
            return ahead + self._stored.read(size - len(ahead)) if ahead else self._stored.read(size)
        if not self._at_start:
            return self._unpacked(size)
        self._at_start = False
        return self._unpacked(max(size, len(_BOM))).removeprefix(_BOM) or self._unpacked(size)

    def _unpacked(self, size: int) -> bytes:
        parts = []
        while size > 0 and not self.broken:
            packed = self._ahead or self._stored.read(_PACKED_BYTES)
            text = self._step(packed, size)
            if not packed:
                break
            size -= len(text)
            parts.append(text)
        return b"".join(parts)

    def _step(self, packed: bytes, size: int) -> bytes:
        """Unpack at most `size` bytes; what is left of `packed` is kept for the next call."""
        unpack = self._unpack
        if unpack is None or not packed:
            self.broken = self.broken or not (unpack is None or unpack.eof)
            return b""
        if unpack.eof:
            return self._next_member(packed)
        before = unpack.copy()
        try:
            text = unpack.decompress(packed, size)
        except zlib.error:
            return self._until_damage(before, packed, size)
        self._ahead = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
        return text

    def _until_damage(self, unpack: zlib._Decompress, packed: bytes, size: int) -> bytes:
        """Zlib keeps what it had unpacked to itself when it fails, so go there once more, byte by byte."""
        parts: list[bytes] = []
        for place in range(len(packed)):
            if size <= 0:
                self._unpack, self._ahead = unpack, packed[place:]
                return b"".join(parts)
            try:
                parts.append(unpack.decompress(packed[place : place + 1]))
            except zlib.error:
                break
            size -= len(parts[-1])
        self.broken = True
        return b"".join(parts)

    def _next_member(self, packed: bytes) -> bytes:
        """A gzip file may hold several members, and zeros after the last one; anything else is damage."""
        packed = packed.lstrip(b"\0")
        self._ahead = packed
        if not packed:
            return b""
        if len(packed) < len(_GZIP):
            self._ahead = packed + self._stored.read(_PACKED_BYTES)
        if self._ahead.startswith(_GZIP):
            self._unpack = zlib.decompressobj(_GZIP_WINDOW)
        else:
            self.broken = True
        return b""
