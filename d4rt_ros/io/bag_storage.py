"""The storage files of a ROS 2 bag, finished or not: recordings end with empty batteries and full disks."""

from __future__ import annotations

import shutil
import sqlite3
import warnings
from pathlib import Path

from d4rt_ros.file_kinds import file_kind
from d4rt_ros.io.image_files import natural_key
from d4rt_ros.io.recorded import RecordedError
from d4rt_ros.io.unfinished_mcap import UnfinishedMcap
from d4rt_ros.paths import undefined

STORAGE = (".db3", ".mcap", ".db3.zstd", ".mcap.zstd")
WANTED = "expected a folder with metadata.yaml and .db3 or .mcap files, or one of these files"
ZSTD = b"\x28\xb5\x2f\xfd"


def open_bag(path: Path, scratch: Path):
    """An open reader of rosbags for a bag's folder, or one of its files.

    A folder without a metadata.yaml that can be used is read from its files, each as far as it goes, with a warning.
    scratch: a folder for copies of files that have to be unpacked or repaired. Raises RecordedError that names the
    cause.
    """
    _check_kind(path)
    if path.is_file():
        return _reader(_readable([path], scratch), path)
    problem = "there is no metadata.yaml (the recording was not finished?)"
    if (path / "metadata.yaml").is_file():
        try:
            if not (stale := [f for f in _files(path) if _has_journal(f)]):
                reader = _opened([path])
                if any(c.msgcount for c in reader.connections):
                    return reader
                reader.close()
            problem = (
                f"{stale[0].name} has a journal beside it" if stale else "metadata.yaml knows of no messages"
            )
        except Exception as error:  # rosbags', YAML's, SQLite's: whatever a damaged bag raises
            problem = f"metadata.yaml and the files do not agree ({_line(error)})"
    files = _files(path)
    if not files:
        raise RecordedError(f"{path}: cannot be read as a ROS 2 bag: {problem}{_instead(path)}; {WANTED}")
    reader = _reader(_readable(files, scratch), path)
    count = sum(c.msgcount for c in reader.connections)
    warnings.warn(f"{path}: {problem}; the {count:,} messages that its files hold are read", stacklevel=4)
    return reader


def _opened(paths: list):
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    reader = AnyReader(paths, default_typestore=get_typestore(Stores.LATEST))
    reader.open()
    return reader


def _reader(files: list, path: Path):
    try:
        return _opened(files)
    except Exception as error:  # as above
        raise RecordedError(f"{path}: cannot be read as a ROS 2 bag ({_line(error)}); {WANTED}") from None


def _check_kind(path: Path) -> None:
    """Raise RecordedError for what is no ROS 2 bag whatever rosbags says."""
    convert = "is a ROS 1 bag; convert it with `rosbags-convert --src … --dst …`"
    if path.suffix == ".bag":
        raise RecordedError(f"{path}: {convert}")
    try:
        if not path.exists():
            raise RecordedError(f"{path}: no such file or folder{undefined(path)}; {WANTED}")
        if path.is_dir():
            any(path.iterdir())
            return
        kind = file_kind(path)
    except OSError as error:
        raise RecordedError(f"{path}: cannot be read ({error.strerror}); {WANTED}") from None
    if kind == "a ROS 1 bag":
        raise RecordedError(f"{path}: {convert}")
    if path.name == "metadata.yaml":
        raise RecordedError(f"{path}: is a part of a bag; give its folder {path.parent}")
    if not _is_storage(path):
        raise RecordedError(f"{path}: is no ROS 2 bag{f' but {kind}' if kind else ''}; {WANTED}")


def _is_storage(file: Path) -> bool:
    return file.name.lower().endswith(STORAGE) and not file.name.startswith(".")


def _files(folder: Path) -> list[Path]:
    return sorted(
        (f for f in folder.iterdir() if f.is_file() and _is_storage(f)), key=lambda f: natural_key(f.name)
    )


def _instead(folder: Path) -> str:
    """What else is in a folder that is no bag."""
    inner = [d.name for d in sorted(folder.iterdir()) if d.is_dir() and _files(d)]
    if inner:
        return f", but its folders {', '.join(inner[:5])} are bags: give one of these"
    if old := sorted(folder.glob("*.bag")):
        return f", but a ROS 1 bag {old[0].name}; convert it with `rosbags-convert --src … --dst …`"
    return "" if any(folder.iterdir()) else ", the folder is empty"


def _readable(files: list[Path], scratch: Path) -> list:
    """What rosbags can read of the files; those of which nothing can be are left out with a warning.

    Raises RecordedError where nothing is left.
    """
    readable, problems = [], []
    for number, file in enumerate(files):
        folder = scratch / str(number)
        folder.mkdir()
        try:
            readable.append(_whole(file, folder))
        except Exception as error:  # whatever a damaged file raises
            problems.append(f"{file}: nothing of it can be read ({_line(error)})")
    if not readable:
        raise RecordedError(f"{problems[0]}; {WANTED}")
    for problem in problems:
        warnings.warn(problem, stacklevel=5)
    return readable


def _whole(file: Path, scratch: Path):
    """A path that rosbags opens: the file's own, or that of what is left of it."""
    kind = file_kind(file)
    if file.suffix.lower() == ".zstd":
        return _whole(_unpacked(file, scratch), scratch)
    if kind and not kind.startswith(("a SQLite", "an MCAP")):
        raise ValueError(f"it is {kind}")
    problem = None
    if not _has_journal(file):
        try:
            _opened([file]).close()
            return file
        except Exception as error:  # whatever a damaged file raises
            problem = error
    if file.suffix.lower() == ".mcap":
        rest = UnfinishedMcap(file)
        _opened([rest]).close()
        said = f"is not finished: {rest.size:,} of {file.stat().st_size:,} bytes can be read"
    else:
        rest, rows = _rescued(file, scratch)
        if not rows:
            raise problem or ValueError("it has no messages")
        said = f"was not closed: {rows:,} messages are read from a copy"
    warnings.warn(f"{file}: {said}", stacklevel=6)
    return rest


def zstd_unpacked(data) -> bytes:
    return _zstd().decompress(data)


def _zstd():
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        from backports import zstd  # rosbags needs it too
    return zstd


def _unpacked(file: Path, scratch: Path) -> Path:
    target = scratch / file.stem
    with open(file, "rb") as packed, _zstd().open(packed, "rb") as source, open(target, "wb") as copy:
        try:
            shutil.copyfileobj(source, copy)
        except EOFError:
            warnings.warn(f"{file}: is cut off; what was unpacked of it is read", stacklevel=7)
    return target


# SQLite


def _has_journal(file: Path) -> bool:
    """Whether messages lie in a journal, which rosbags does not look at."""
    journals = (file.with_name(file.name + ending) for ending in ("-wal", "-journal"))
    return any(journal.is_file() and journal.stat().st_size for journal in journals)


def _rescued(file: Path, scratch: Path) -> tuple[Path, int]:
    """A database of the messages that can still be read, and how many; SQLite takes in the journal of a copy."""
    copy, rescued = scratch / "copy.db3", scratch / "rescued.db3"
    for ending in ("", "-wal", "-journal"):
        if (part := file.with_name(file.name + ending)).is_file():
            shutil.copyfile(part, copy.with_name(copy.name + ending))
    source, target = sqlite3.connect(copy), sqlite3.connect(rescued)
    rows = 0
    try:
        source.execute("PRAGMA writable_schema = ON")  # else SQLite reads nothing of a file that is too short
        tables = source.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
        # The messages last: they are what is cut.
        for name, sql in sorted(tables, key=lambda row: row[0] == "messages"):
            if name.startswith("sqlite_"):
                continue
            target.execute(sql)
            rows = 0
            try:
                for row in source.execute(f'SELECT * FROM "{name}"'):
                    target.execute(f'INSERT INTO "{name}" VALUES ({",".join("?" * len(row))})', row)
                    rows += 1
            except sqlite3.DatabaseError:
                pass  # here it was cut
        target.execute("CREATE INDEX timestamp_idx ON messages (timestamp ASC)")
        target.commit()
    finally:
        source.close()
        target.close()
    copy.unlink()
    return rescued, rows


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
