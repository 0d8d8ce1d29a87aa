"""An MCAP file without an end, as a recording leaves it that was not finished, made readable as far as it goes."""

from __future__ import annotations

import io
import struct
from pathlib import Path

_MCAP = b"\x89MCAP0\r\n"
_CHUNK, _MESSAGE_INDEX, _CHUNK_INDEX, _STATISTICS, _FOOTER, _DATA_END = 0x06, 0x07, 0x08, 0x0B, 0x02, 0x0F


class UnfinishedMcap:
    """A path for rosbags to an MCAP file without an end: as far as its records are whole, with an end of our making.

    size: bytes of the file that are whole.
    """

    suffix = ".mcap"

    def __init__(self, file: Path):
        self.file = file
        self.size, index = _records(file)
        statistics = (
            _record(_STATISTICS, bytes(46)) if index else b""
        )  # rosbags counts what it has no names for
        start = self.size if index else 0
        self._end = index + statistics + _record(_FOOTER, struct.pack("<QQI", start, 0, 0)) + _MCAP

    def exists(self) -> bool:
        return self.file.exists()

    def is_dir(self) -> bool:
        return False

    def open(self, mode: str = "rb"):
        return io.BufferedReader(_Joined(open(self.file, mode), self.size, self._end))

    def __str__(self) -> str:
        return str(self.file)


class _Joined(io.RawIOBase):
    """The first `size` bytes of a file, then others."""

    def __init__(self, file, size: int, rest: bytes):
        self._file, self._size, self._rest, self._at = file, size, rest, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size + len(self._rest))[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer) -> int:
        if self._at < self._size:
            self._file.seek(self._at)
            data = self._file.read(min(len(buffer), self._size - self._at))
        else:
            data = self._rest[self._at - self._size :][: len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _record(code: int, content: bytes) -> bytes:
    return struct.pack("<BQ", code, len(content)) + content


def _records(file: Path) -> tuple[int, bytes]:
    """(where the last whole record ends, the index of the chunks before that).

    A chunk counts once the records that say what is in it are there too: they follow it.
    """
    size, index = file.stat().st_size, b""
    with open(file, "rb") as stream:
        if stream.read(len(_MCAP)) != _MCAP:
            raise ValueError("it does not begin as an MCAP file")
        at = whole = len(_MCAP)
        while at + 9 <= size:
            stream.seek(at)
            code, length = struct.unpack("<BQ", stream.read(9))
            end = at + 9 + length
            if code in (0, _FOOTER, _DATA_END) or end > size:
                break
            if code == _CHUNK:
                described, end = _chunk_index(stream, at, end, size)
                if not described:
                    break
                index += described
            at = whole = end
    return whole, index


def _chunk_index(stream, start: int, end: int, size: int) -> tuple[bytes, int]:
    """(the record that a summary has of the chunk at `start`, where its message indexes end); b"" where one is cut."""
    head = stream.read(32)
    first, last, unpacked, _, letters = struct.unpack("<QQQII", head)
    compression = stream.read(letters)
    packed = struct.unpack("<Q", stream.read(8))[0]
    offsets, at = b"", end
    while at + 11 <= size:
        stream.seek(at)
        code, length, channel = struct.unpack("<BQH", stream.read(11))
        if code != _MESSAGE_INDEX:
            break
        if at + 9 + length > size:
            return b"", end
        offsets += struct.pack("<HQ", channel, at)
        at += 9 + length
    else:
        if at != size:
            return b"", end
    if not offsets:
        return b"", end
    content = struct.pack("<QQQQI", first, last, start, end - start, len(offsets)) + offsets
    content += struct.pack("<QI", at - end, letters) + compression + struct.pack("<QQ", packed, unpacked)
    return _record(_CHUNK_INDEX, content), at
