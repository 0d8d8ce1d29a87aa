"""What a file really is, by its first bytes: people give download pages and pointers for what they stand for."""

from __future__ import annotations

from pathlib import Path

_HEADS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself; `git lfs pull` fetches it"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"\xfd7zXZ\0", "an xz archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"GGUF", "a GGUF file"),
    (b"SQLite format 3\0", "a SQLite database, such as a ROS 2 bag's .db3"),
    (b"\x89MCAP0", "an MCAP file, a ROS bag"),
    (b"#ROSBAG V", "a ROS 1 bag"),
    (b"ID3", "a sound file (MP3)"),
    (b"fLaC", "a sound file (FLAC)"),
)  # fmt: skip


def file_kind(path: Path) -> str:
    """Words such as "an HTML page …" or "an empty file"; "" where the beginning tells nothing. Raises OSError."""
    with open(path, "rb") as file:
        start = file.read(512)
    if not start:
        return "an empty file"
    for head, words in _HEADS:
        if start.startswith(head):
            return words
    if start[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if start[:4] == b"RIFF" and start[8:12] == b"WAVE":
        return "a sound file (WAV)"
    if not start.strip(b"\0"):
        return "nothing but zeros at its beginning; the download was interrupted, or the disk is damaged"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page: a download page or an error message, not the file that it offers"
    if text.startswith((b"<?xml", b"<error", b"<!--")):
        return "an XML or HTML document, such as a server's error message"
    if text[:1] in (b"{", b"[") and text[1:].lstrip()[:1] in (b'"', b"{", b"[", b"}", b"]"):
        return "JSON text, such as a server's error message"
    return ""
