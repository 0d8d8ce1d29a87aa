"""Bags whose recording was not finished, that were cut, compressed, or are something else."""

import os
import shutil
import sqlite3
import warnings

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra [train]")

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer  # noqa: E402
from rosbags.rosbag2.storage_mcap import McapReader, McapWriter  # noqa: E402
from small_bags import RATE, STORE, image, messages, picture, write  # noqa: E402

from d4rt_ros.io.recorded import RecordedError  # noqa: E402
from d4rt_ros.io.ros_bag import open_ros_bag  # noqa: E402

SQLITE3, MCAP = StoragePlugin.SQLITE3, StoragePlugin.MCAP
COUNT = 25


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """So that a small MCAP has several."""
    whole = McapWriter.write

    def write_message(self, *arguments):
        whole(self, *arguments)
        if self.chunk.bio.tell() > 8_000:
            self.close_chunk()

    monkeypatch.setattr(McapWriter, "write", write_message)


def storage(bag):
    (file,) = (f for f in bag.iterdir() if f.suffix in (".db3", ".mcap", ".zstd"))
    return file


def compressed(path, mode, plugin=SQLITE3):
    writer = Writer(path, version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic, time, message in sorted(messages(5), key=lambda row: row[1]):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], round((time + 0.05) * 1e9), STORE.serialize_cdr(message, kind))
    return path


def check(bag, count):
    assert len(bag) == count
    for i in {0, count // 2, count - 1}:
        frame = bag.frame(i)
        np.testing.assert_array_equal(frame.image, picture(round((frame.stamp / 1e9 - 100) * RATE)))
        assert frame.world_from_camera is not None


@pytest.mark.parametrize("plugin", [SQLITE3, MCAP])
def test_a_bag_without_metadata(tmp_path, plugin):
    path = write(tmp_path / "bag", messages(5), plugin)
    (path / "metadata.yaml").unlink()
    with pytest.warns(
        UserWarning, match=r"bag: there is no metadata.yaml.*; the \d+ messages that its files hold"
    ):
        bag = open_ros_bag(path)
    check(bag, 5)


@pytest.mark.parametrize("plugin", [SQLITE3, MCAP])
def test_a_storage_file_as_the_path(tmp_path, plugin, recwarn, monkeypatch):
    file = storage(write(tmp_path / "bag", messages(5), plugin))
    check(open_ros_bag(file), 5)
    monkeypatch.setenv("HOME", str(tmp_path))
    check(open_ros_bag(f"~/bag/{file.name}"), 5)
    assert not [warning for warning in recwarn.list if warning.category is UserWarning]


@pytest.mark.parametrize("metadata", ["", "rosbag2_bagfile_information:\n", "{", "\0" * 50, None])
def test_metadata_that_cannot_be_used(tmp_path, metadata):
    path = write(tmp_path / "bag", messages(5))
    if metadata is None:  # as at the beginning of a recording
        text = (path / "metadata.yaml").read_text()
        metadata = "\n".join(
            line[: line.index(":") + 1] + " 0" if "message_count:" in line else line
            for line in text.splitlines()
        )
    (path / "metadata.yaml").write_text(metadata)
    with pytest.warns(
        UserWarning, match="metadata.yaml .* the [1-9][0-9]* messages that its files hold are read"
    ):
        check(open_ros_bag(path), 5)


@pytest.mark.parametrize("plugin", [SQLITE3, MCAP])
def test_several_files(tmp_path, plugin):
    """As rosbag2 splits a recording; here without its end, and with a part that holds nothing."""
    whole = messages(25)
    (tmp_path / "bag").mkdir()
    for part, (start, stop) in enumerate(((0, 101.25), (101.25, 999))):
        rows = [row for row in whole if start <= row[1] < stop]
        file = storage(write(tmp_path / f"part{part}", rows, plugin))
        shutil.copy(file, tmp_path / "bag" / f"bag_{part + 9}{file.suffix}")
    (tmp_path / "bag" / f"bag_11{file.suffix}").touch()
    with pytest.warns(UserWarning, match=r"bag_11\.\w+: nothing of it can be read \(it is an empty file"):
        bag = open_ros_bag(tmp_path / "bag")
    check(bag, 25)


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("with_metadata", [False, True])
def test_an_mcap_that_was_cut(tmp_path, share, with_metadata):
    path = write(tmp_path / "bag", messages(COUNT), MCAP)
    file = storage(path)
    with file.open("r+b") as stream:
        stream.truncate(int(share * file.stat().st_size))
    if not with_metadata:
        (path / "metadata.yaml").unlink()
    with pytest.warns(UserWarning, match=r"bag.mcap: is not finished: [\d,]+ of [\d,]+ bytes can be read"):
        bag = open_ros_bag(path)
    assert share * COUNT * 0.5 < len(bag) <= COUNT * min(1.0, share + 0.1)
    check(bag, len(bag))


def test_an_mcap_of_which_only_the_summary_is_missing_loses_nothing(tmp_path):
    file = storage(write(tmp_path / "bag", messages(COUNT), MCAP))
    reader = McapReader(file)
    reader.open()
    end = reader.data_end
    assert len(reader.chunks) > 3
    reader.close()
    with file.open("r+b") as stream:
        stream.truncate(end)
    with pytest.warns(UserWarning, match="is not finished"):
        check(open_ros_bag(file), COUNT)


def test_a_chunk_that_is_damaged_ends_the_bag_there(tmp_path):
    file = storage(write(tmp_path / "bag", messages(COUNT), MCAP))
    reader = McapReader(file)
    reader.open()
    start = reader.chunks[len(reader.chunks) // 2].chunk_start_offset
    reader.close()
    data = bytearray(file.read_bytes())
    data[start + 33 : start + 37] = b"\1\2\3\4"  # its checksum
    file.write_bytes(data)
    with pytest.warns(UserWarning, match="cannot be read on after 10.*mismatch.*; the rest is lost"):
        bag = open_ros_bag(tmp_path / "bag")
    assert 0.3 * COUNT < len(bag) < 0.8 * COUNT
    check(bag, len(bag))


def left_open(file, journal_mode, keep):
    """The database as a recorder leaves it that dies: its last rows in a journal."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode={journal_mode}")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA cache_size=1")
    rows = connection.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY timestamp").fetchall()
    connection.execute("BEGIN")
    for row in rows[keep:]:
        connection.execute("DELETE FROM messages WHERE topic_id = ? AND timestamp = ?", row[:2])
    connection.execute("COMMIT")
    if journal_mode == "WAL":
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("BEGIN")
    for row in rows[keep:]:
        connection.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", row)
    if journal_mode == "WAL":
        connection.execute("COMMIT")
    for name in (file.name, f"{file.name}-wal", f"{file.name}-journal"):
        if file.with_name(name).exists():
            shutil.copy(file.with_name(name), file.with_name("copy" + name))
    connection.close()
    for copy in list(file.parent.glob("copy*")):
        copy.rename(copy.with_name(copy.name.removeprefix("copy")))


@pytest.mark.parametrize("with_metadata", [False, True])
@pytest.mark.parametrize("journal_mode, whole", [("WAL", True), ("DELETE", False)])
def test_a_database_with_a_journal(tmp_path, journal_mode, whole, with_metadata):
    """What is in a write-ahead log is committed; what a rollback journal undoes is not."""
    path = write(tmp_path / "bag", messages(COUNT))
    file = storage(path)
    left_open(file, journal_mode, 50)
    ending = "-wal" if whole else "-journal"
    assert file.with_name(file.name + ending).stat().st_size > 1000
    before = {f.name: f.read_bytes() for f in path.iterdir()}
    if not with_metadata:
        (path / "metadata.yaml").unlink()
    with pytest.warns(UserWarning, match=r"bag.db3: was not closed: \d+ messages are read from a copy"):
        bag = open_ros_bag(path)
    check(bag, len(bag))
    assert len(bag) == COUNT if whole else 0.5 * COUNT < len(bag) < COUNT
    after = {f.name: f.read_bytes() for f in path.iterdir()}
    assert all(after[name] == before[name] for name in after), "a robot's recording is not touched"


def test_a_database_that_was_cut(tmp_path):
    file = storage(write(tmp_path / "bag", messages(COUNT)))
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)
    with pytest.warns(UserWarning, match=r"bag.db3: was not closed: \d+ messages are read from a copy"):
        bag = open_ros_bag(file)
    assert 0.2 * COUNT < len(bag) < 0.8 * COUNT
    check(bag, len(bag))


@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
@pytest.mark.parametrize("with_metadata", [True, False])
def test_compressed_bags(tmp_path, mode, with_metadata):
    path = compressed(tmp_path / "bag", mode)
    if with_metadata:
        check(open_ros_bag(path), 5)
        return
    (path / "metadata.yaml").unlink()
    with pytest.warns(UserWarning, match="no metadata.yaml"):
        check(open_ros_bag(path), 5)


def test_copies_are_removed_with_the_bag(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = compressed(tmp_path / "bag", CompressionMode.FILE)
    (path / "metadata.yaml").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bag = open_ros_bag(path)
        assert any(tmp_path.glob("d4rt_bag_*"))
        del bag
    assert not any(tmp_path.glob("d4rt_bag_*"))


def make(path, content):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "given, name, content, says",
    [
        ("nowhere", "x/y", b"", "nowhere: no such file or folder; expected a folder with metadata.yaml"),
        ("$UNDEFINED/bag", "x/y", b"", r"no such file or folder \(\$UNDEFINED is not defined here\)"),
        ("bag", "bag/.keep/x", b"", "bag: .*there is no metadata.yaml"),
        ("bag", "bag/notes.txt", b"hello", "there is no metadata.yaml"),
        ("bag", "bag/inner/inner_0.mcap", b"", "but its folders inner are bags: give one of these"),
        ("bag", "bag/old.bag", b"#ROSBAG V2.0\n", "a ROS 1 bag old.bag; convert it"),
        ("old.bag", "x/y", b"", "is a ROS 1 bag; convert it"),
        ("old", "old", b"#ROSBAG V2.0\n", "is a ROS 1 bag; convert it"),
        ("a.db3", "a.db3", b"", "nothing of it can be read .it is an empty file"),
        ("a.db3", "a.db3", b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
        ("a.mcap", "a.mcap", b"<!DOCTYPE html>", "it is an HTML page"),
        ("a.mcap", "a.mcap", b"\x89MCAP0\r\n", "a.mcap: nothing of it can be read"),
        ("a.mcap", "a.mcap", b"\x89MCAP0\r\n" + bytes(200), "a.mcap: nothing of it can be read"),
        ("a.db3", "a.db3", b"SQLite format 3\0" + bytes(5000), "a.db3: nothing of it can be read"),
        ("bag", "bag/bag_0.db3", b"SQLite format 3\0", "bag_0.db3: nothing of it can be read"),
        ("a.zip", "a.zip", b"PK\x03\x04", "is no ROS 2 bag but a zip archive"),
        ("a.mp4", "a.mp4", b"1234", "is no ROS 2 bag; expected"),
        ("bag/metadata.yaml", "bag/metadata.yaml", b"a: 1", "is a part of a bag; give its folder"),
    ],
)
def test_what_is_no_bag_is_named(tmp_path, given, name, content, says):
    make(tmp_path / name, content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RecordedError, match=says):
            open_ros_bag(given if given.startswith("$") else tmp_path / given)


def test_an_empty_folder(tmp_path):
    with pytest.raises(RecordedError, match="no metadata.yaml .*, the folder is empty; expected"):
        open_ros_bag(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_bag_that_may_not_be_read(tmp_path):
    path = write(tmp_path / "bag", messages(2))
    path.chmod(0)
    try:
        with pytest.raises(RecordedError, match="Permission denied"):
            open_ros_bag(path)
    finally:
        path.chmod(0o755)


def test_a_message_that_cannot_be_deserialised_is_named_with_topic_and_time(tmp_path):
    path = write(tmp_path / "bag", messages(5))
    connection = sqlite3.connect(storage(path))
    (topic,) = connection.execute("SELECT id FROM topics WHERE name = '/camera/image_raw'").fetchone()
    rows = connection.execute(
        "SELECT id, data FROM messages WHERE topic_id = ? ORDER BY timestamp", (topic,)
    ).fetchall()
    connection.execute("UPDATE messages SET data = ? WHERE id = ?", (rows[3][1][:60], rows[3][0]))
    connection.execute("UPDATE messages SET data = ? WHERE id = ?", (b"\0\1", rows[2][0]))
    connection.commit()
    connection.close()
    with pytest.warns(UserWarning, match=r"/camera/image_raw at 100.250 s has 2 bytes; it is left out"):
        bag = open_ros_bag(path)
    assert len(bag) == 4
    with pytest.raises(
        RecordedError, match=r"/camera/image_raw at 100.35\d+ s: its 60 bytes are no sensor_msgs"
    ):
        bag.frame(2)


def test_a_first_stamp_of_zero_is_a_frame_and_stamps_that_were_never_set_are_the_recordings(tmp_path):
    from_zero = [
        (topic, time - 100, message) for topic, time, message in messages(5) if not topic.startswith("/tf")
    ]
    for _, _, message in from_zero:
        message.header.stamp.sec -= 100
    stamps = [
        frame.stamp
        for frame in map(open_ros_bag(write(tmp_path / "zero", from_zero), poses=False).frame, range(5))
    ]
    np.testing.assert_allclose(stamps, np.arange(5) * 1e9 / RATE, atol=1e3)
    for _, _, message in from_zero:
        message.header.stamp.sec = message.header.stamp.nanosec = 0
    unset = open_ros_bag(write(tmp_path / "unset", from_zero), poses=False)
    np.testing.assert_allclose(
        [unset.frame(i).stamp for i in range(5)], 5e7 + np.arange(5) * 1e9 / RATE, atol=1e3
    )


def test_images_of_twelve_bits_are_scaled_and_that_is_said(tmp_path):
    rows = [row for row in messages(3) if row[0] != "/camera/image_raw"]
    for i in range(3):
        stamp = 100 + i / RATE
        values = np.full((18, 32), 4000 >> i, np.uint16)
        rows.append(("/camera/image_raw", stamp, image(stamp, values, "mono16", padding=4)))
    bag = open_ros_bag(write(tmp_path / "bag", rows))
    with pytest.warns(UserWarning, match="/camera/image_raw: the images' values use 12 of 16 bits") as told:
        assert [int(bag.frame(i).image[0, 0, 0]) for i in range(3)] == [250, 125, 62]
    assert len(told) == 1
