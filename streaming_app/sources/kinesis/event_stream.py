"""The framing of SubscribeToShard's answer, `application/vnd.amazon.eventstream`: messages of headers and a payload. Pure.

    total length | headers length | CRC-32 of these 8 bytes | headers | payload | CRC-32 of all before

Numbers are 4 bytes, big-endian. A header is its name's length (1 byte), its name, a type (1 byte) and a value. Only
headers of texts (type 7) mean something here, the others are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple
from zlib import crc32

_PRELUDE: Final = struct.Struct(">III")
_CHECKSUM: Final = struct.Struct(">I")
_LEAST: Final = _PRELUDE.size + _CHECKSUM.size
_LONGEST: Final = 24 << 20  # botocore's own limit of a message: 16 MiB of payload and then some
_TEXT: Final = 7
_FIXED_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # bytes of a value, by type
_COUNTED: Final = frozenset({6, _TEXT})  # two bytes of length, then so many


class BrokenStreamError(ValueError):
    """Bytes that are no event stream, or were damaged on the way."""


class Message(NamedTuple):
    """One message; headers that are no texts are left out."""

    headers: dict[str, str]
    payload: bytes


def split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole messages out of pieces of any size; what is left at the end is dropped. Raises BrokenStreamError."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= _PRELUDE.size:
            total = _total_length(buffer)
            if len(buffer) < total:
                break
            yield bytes(buffer[:total])
            del buffer[:total]


def decode(message: bytes) -> Message:
    """One whole message. Raises BrokenStreamError."""
    total, headers_size, _ = _PRELUDE.unpack_from(message)
    end = total - _CHECKSUM.size
    begin = _PRELUDE.size + headers_size
    if total != len(message) or begin > end:
        raise BrokenStreamError("a message whose lengths do not agree")
    if crc32(message[:end]) != _CHECKSUM.unpack_from(message, end)[0]:
        raise BrokenStreamError("a message that was damaged on the way")
    try:
        return Message(dict(_headers(message[_PRELUDE.size : begin])), message[begin:end])
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise BrokenStreamError(f"headers that cannot be read: {error!r}") from error


def encode(message: Message) -> bytes:
    """The inverse of `decode`."""
    headers = b"".join(
        struct.pack(f">B{len(name)}sBH", len(name), name.encode(), _TEXT, len(value.encode())) + value.encode()
        for name, value in message.headers.items()
    )
    prelude = struct.pack(">II", _LEAST + len(headers) + len(message.payload), len(headers))
    whole = prelude + _CHECKSUM.pack(crc32(prelude)) + headers + message.payload
    return whole + _CHECKSUM.pack(crc32(whole))


def _total_length(buffer: bytearray) -> int:
    total, _, checksum = _PRELUDE.unpack_from(buffer)
    if crc32(buffer[:8]) != checksum or not _LEAST <= total <= _LONGEST:
        raise BrokenStreamError("no event stream, or one that was damaged on the way")
    return int(total)


def _headers(data: bytes) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(data):
        name_end = place + 1 + data[place]
        name, kind, place = data[place + 1 : name_end], data[name_end], name_end + 1
        if kind in _COUNTED:
            size, place = struct.unpack_from(">H", data, place)[0], place + 2
        else:
            size = _FIXED_SIZES[kind]
        if place + size > len(data):
            raise IndexError("a value beyond the headers' end")
        if kind == _TEXT:
            yield name.decode(), data[place : place + size].decode()
        place += size
