"""Videos that are cut or of an odd kind, and streams, from a server on this machine."""

import http.server
import os
import re
import socket
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest

from d4rt_ros.io import video
from d4rt_ros.io.frames import SourceError, open_frames

HEIGHT, WIDTH, COUNT = 48, 80, 30


def picture(index):
    image = np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    image[: HEIGHT // 2] = 8 * index
    return image


def write_video(path, count=COUNT, codec=None):
    codec = codec or {".avi": "MJPG", ".webm": "VP80"}.get(path.suffix, "mp4v")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10.0, (WIDTH, HEIGHT))
    for index in range(count):
        writer.write(picture(index))
    writer.release()
    return path


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_a_video_that_was_cut_gives_what_is_there_and_says_so(tmp_path, suffix):
    path = write_video(tmp_path / f"clip{suffix}")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    frames = open_frames(path)
    assert frames.count == COUNT, "as the file claims"
    with pytest.warns(UserWarning, match=rf"clip{suffix}: ends after \d+ of {COUNT} frames; the file is cut"):
        read = list(frames)
    assert 5 < len(read) < COUNT


def test_a_whole_video_says_nothing(tmp_path, recwarn):
    for suffix in (".avi", ".mkv", ".mp4"):
        assert len(list(open_frames(write_video(tmp_path / f"clip{suffix}")))) == COUNT
    partly = iter(open_frames(tmp_path / "clip.mp4"))
    next(partly)
    partly.close()
    assert not recwarn.list


def test_an_mp4_without_its_end_names_the_cause(tmp_path):
    path = write_video(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(
        SourceError, match="clip.mp4 cannot be opened as a video: it is cut, the index of an MP4"
    ):
        open_frames(path)


def test_a_video_of_which_nothing_can_be_decoded_names_its_codec(tmp_path):
    path = write_video(tmp_path / "clip.mp4")
    data = path.read_bytes()
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    path.write_bytes(data[:start] + bytes(end - start) + data[end:])
    with pytest.raises(
        SourceError, match=r"opens, but no frame of it can be decoded \(codec '\w{4}'\).*ffmpeg -i"
    ):
        open_frames(path)


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS.*git lfs pull"),
        (b"\n <!DOCTYPE HTML><html>", "an HTML page"),
        (b'{"error": "not found"}', "JSON text"),
        (b"PK\x03\x04" + bytes(100), "a zip archive"),
        (bytes(9999), "zeros at its beginning"),
        (b"words " * 99, "not a video, damaged, or of an unknown format"),
    ],
)
def test_what_is_no_video_is_named(tmp_path, content, says):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=f"clip.mp4 cannot be opened as a video: .*{says}"):
        open_frames(path)


def test_sound_is_no_video_and_a_gif_is_one(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000))
    with pytest.raises(SourceError, match=r"a sound file \(WAV\)"):
        open_frames(tmp_path / "a.wav")
    image = pytest.importorskip("PIL.Image", reason="needs Pillow, which matplotlib brings")
    pictures = [image.fromarray(np.full((40, 60, 3), 20 * i, np.uint8)) for i in range(5)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    frames = open_frames(tmp_path / "a.gif")
    assert frames.size == (40, 60) and [f.stamp // 10**6 for f in frames] == [0, 100, 200, 300, 400]


def test_a_camera_that_is_not_there():
    with pytest.raises(
        SourceError, match="camera /dev/video93 cannot be opened: there is no /dev/video93; there are:"
    ):
        open_frames("/dev/video93")


class Handler(http.server.SimpleHTTPRequestHandler):
    """The files of a folder, and at /stream the first images of an MJPEG camera, after which it stalls or ends."""

    images, stall = 8, threading.Event()

    def do_GET(self):  # noqa: N802 (http.server's name)
        if self.path != "/stream":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(self.images):
            jpeg = cv2.imencode(".jpg", picture(index))[1].tobytes()
            part = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(part.encode() + jpeg + b"\r\n")
        self.wfile.flush()
        self.server.done.wait(30)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    def handler(*arguments):
        return Handler(*arguments, directory=str(tmp_path))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.done = threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.done.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(video, "OPEN_TIMEOUT", 1.0)
    monkeypatch.setattr(video, "READ_TIMEOUT", 1.0)


def test_a_video_at_an_address_is_read_like_a_file(tmp_path, server):
    write_video(tmp_path / "clip.mkv")
    frames = open_frames(f"http://127.0.0.1:{server.server_port}/clip.mkv")
    assert (frames.size, frames.rate, frames.count, frames.live) == ((HEIGHT, WIDTH), 10.0, COUNT, False)
    stamps = [f.stamp for f in frames]
    np.testing.assert_allclose(stamps, np.arange(COUNT) * 1e8, atol=2e6)
    assert [f.stamp for f in frames] == stamps, "a second iteration starts again"


def test_a_stream_is_live_and_one_that_stops_is_a_sentence(server, short):
    url = f"http://user:secret@127.0.0.1:{server.server_port}/stream"
    frames = open_frames(url)
    assert frames.live and frames.count is None and frames.size == (HEIGHT, WIDTH)
    assert "secret" not in frames.name and "127.0.0.1" in frames.name
    started, seen = time.monotonic(), []
    with pytest.raises(SourceError, match=r"http://127.0.0.1:\d+/stream stopped delivering images"):
        for frame in frames:
            seen.append(frame)
    assert 3 <= len(seen) <= 8 and time.monotonic() - started < 10
    assert (
        np.abs(seen[0].image[:5].astype(int) - 8).max() < 60 and (np.diff([f.stamp for f in seen]) > 0).all()
    )


def test_nobody_answers(short):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        for url in (
            f"http://127.0.0.1:{port}/a",
            f"rtsp://me:secret@127.0.0.1:{port}/a",
            "udp://127.0.0.1:41999",
        ):
            started = time.monotonic()
            with pytest.raises(SourceError, match=r"127.0.0.1:\d+(/a)? cannot be opened in 1 s") as error:
                open_frames(url)
            assert time.monotonic() - started < 10 and "secret" not in str(error.value)


QUIET = """
import sys
from d4rt_ros.io.frames import SourceError, open_frames
for source in sys.argv[1:]:
    try:
        print(len(list(open_frames(source))))
    except SourceError as error:
        print(str(error)[:60])
"""


def test_damaged_videos_print_nothing(tmp_path):
    draw = np.random.default_rng(0)
    sources = [str(tmp_path / "none.mp4"), "/dev/video93", "webcam:93", "http://127.0.0.1:9/x"]
    for suffix in (".mp4", ".mkv", ".avi", ".webm"):
        data = bytearray(write_video(tmp_path / f"clip{suffix}").read_bytes())
        for _ in range(60):
            data[draw.integers(200, int(0.9 * len(data)))] ^= 255
        for name, part in (("flipped", data), ("cut", data[: len(data) // 2])):
            (tmp_path / f"{name}{suffix}").write_bytes(part)
            sources.append(str(tmp_path / f"{name}{suffix}"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONWARNINGS": "ignore"}
    for name in ("OPENCV_LOG_LEVEL", "OPENCV_FFMPEG_LOGLEVEL"):
        environment.pop(name, None)
    command = [sys.executable, "-c", QUIET, *sources]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stderr == ""
    assert len(re.findall(r"^\d+$", done.stdout, re.MULTILINE)) >= 4
