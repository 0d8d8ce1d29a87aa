"""What C libraries print on stderr, caught: libjpeg says there, and only there, that an image is damaged."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Lines of these are for us; whatever else is printed meanwhile, by other threads, goes where it was meant to.
_OURS = (
    b"Corrupt JPEG data",
    b"Premature end of JPEG",
    b"Invalid SOS",
    b"Inconsistent progression",
    b"Warning: unknown JFIF",
    b"Unsupported marker",
    b"Unknown Adobe color",
    b"libpng ",
)


class _Stream:
    """A stream in memory that C's `stderr` can be pointed at; glibc's alone, elsewhere `available` is False.

    Not file descriptor 2, which programs that another thread starts meanwhile would inherit.
    """

    def __init__(self):
        self.lock = threading.Lock()
        libc = ctypes.CDLL(None)
        self.available = sys.platform == "linux" and hasattr(libc, "gnu_get_libc_version")
        if not self.available:
            return
        libc.open_memstream.restype = ctypes.c_void_p
        libc.open_memstream.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        for function in (libc.fflush, libc.flockfile, libc.funlockfile):
            function.argtypes = [ctypes.c_void_p]
        libc.fseek.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_int]
        self._libc, self._text, self._size = libc, ctypes.c_void_p(), ctypes.c_size_t()
        self._stderr = ctypes.c_void_p.in_dll(libc, "stderr")
        self._file = libc.open_memstream(ctypes.byref(self._text), ctypes.byref(self._size))
        self._true = self._stderr.value
        self.available = bool(self._file)

    def catch(self) -> None:
        self._stderr.value = self._file

    def release(self) -> list[bytes]:
        """The lines since `catch`."""
        self._stderr.value = self._true
        # Another thread may just be printing to it: it is locked while it is read, and never closed.
        self._libc.flockfile(self._file)
        try:
            self._libc.fflush(self._file)
            if not self._size.value:
                return []
            text = ctypes.string_at(self._text, self._size.value)
            self._libc.fseek(self._file, 0, os.SEEK_SET)
            self._libc.fflush(self._file)
            return text.splitlines(keepends=True)
        finally:
            self._libc.funlockfile(self._file)

    def renew(self) -> None:
        """In a process that was forked, perhaps while another thread was decoding: lock and text are of the parent."""
        if self.available:
            self._stderr.value = self._true
        self.__init__()


_stream = _Stream()
os.register_at_fork(after_in_child=_stream.renew)


@contextmanager
def caught() -> Iterator[list[str]]:
    """Within it, what image libraries print through C's stderr is kept back; it is in the list afterwards.

    One thread at a time; what others print meanwhile is printed at the end.
    """
    said: list[str] = []
    with _stream.lock:
        if not _stream.available:
            yield said
            return
        _stream.catch()
        try:
            yield said
        finally:
            for line in _stream.release():
                if line.startswith(_OURS):
                    said.append(line.decode(errors="replace").strip())
                else:
                    os.write(2, line)


def quieten_opencv() -> None:
    """OpenCV and its FFmpeg say nothing of their own on stderr, unless the environment asks them to."""
    # Read by OpenCV when it opens its first video; -8 is FFmpeg's AV_LOG_QUIET.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if "OPENCV_LOG_LEVEL" in os.environ:
        return
    import cv2

    # Its place depends on the version; 0 is silent.
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_level(0)
