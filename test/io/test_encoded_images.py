"""Encoded images as cameras, drivers and disks really give them: taken whole, or refused with a sentence."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from d4rt_ros.io.encoded_images import ImageError, decoded

Image = pytest.importorskip("PIL.Image", reason="needs Pillow, which matplotlib brings")

HEIGHT, WIDTH = 48, 80
PICTURE = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8), (WIDTH, HEIGHT)
)  # BGR
GREY = PICTURE[..., 1]
IMAGE = Image.fromarray(PICTURE[..., ::-1])


def opencv(ending, pixels=PICTURE, *options):
    return cv2.imencode(ending, pixels, options)[1].tobytes()


def pillow(kind, image=IMAGE, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def with_thumbnail(jpeg):
    """With an EXIF segment, as cameras write it, that holds a whole small jpeg."""
    thumbnail = b"Exif\0\0" + pillow("JPEG", IMAGE.resize((16, 10)))
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail + jpeg[2:]


def without_tables(jpeg):
    """Without its Huffman tables, as the frames of MJPEG cameras are."""
    at = 2
    kept = jpeg[:2]
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + struct.unpack_from(">H", jpeg, at + 2)[0]
        kept += jpeg[at:end] if jpeg[at + 1] != 0xC4 else b""
        at = end
    return kept + jpeg[at:]


def with_chunk(png, name, content=b"anything", crc=None):
    """With another chunk behind the header."""
    crc = zlib.crc32(name + content) if crc is None else crc
    return png[:33] + struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc) + png[33:]


JPEG, PNG = opencv(".jpg"), opencv(".png")
IMAGES = {
    "jpeg": JPEG,
    "progressive": opencv(".jpg", PICTURE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restart markers": opencv(".jpg", PICTURE, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "thumbnail": with_thumbnail(JPEG),
    "mjpeg": without_tables(JPEG),
    "cmyk": pillow("JPEG", IMAGE.convert("CMYK")),
    "grey jpeg": opencv(".jpg", GREY),
    "png": PNG,
    "16 bits": opencv(".png", PICTURE.astype(np.uint16) * 256),
    "grey 16 bits": opencv(".png", GREY.astype(np.uint16) * 256),
    "alpha": pillow("PNG", Image.fromarray(np.dstack([PICTURE[..., ::-1], GREY]))),
    "colour profile": pillow("PNG", icc_profile=b"no profile"),
    "chunk with another CRC": with_chunk(PNG, b"teXt", crc=7),
    "interlaced": with_chunk(PNG, b"gAMA", struct.pack(">I", 1)),
    "webp": pillow("WEBP", lossless=True),
    "bmp": pillow("BMP"),
    "tiff": pillow("TIFF"),
    "ppm": pillow("PPM"),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize(
    "rest", [b"", bytes(100_000), b"\xff\xd9", JPEG + PNG], ids=["", "zeros", "marker", "images"]
)
def test_images_of_all_kinds_and_whatever_follows_them(name, rest):
    image = decoded(IMAGES[name] + rest)
    assert image.dtype == (np.uint16 if "16" in name else np.uint8)
    expected = GREY if "grey" in name else PICTURE
    values = image / 256 if "16" in name else image
    assert image.shape == expected.shape and np.abs(values - expected.astype(float)).mean() < 6


def test_palettes_become_colours():
    palette = IMAGE.convert("P", palette=Image.Palette.ADAPTIVE)
    for options in ({}, {"transparency": 3}):
        image = decoded(pillow("PNG", palette, **options))
        assert np.abs(image[..., ::-1] - np.asarray(palette.convert("RGB")).astype(float)).max() == 0


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.5, 0.9, 0.99, 1.0])
def test_cut_images_are_refused(name, share):
    data = IMAGES[name]
    with pytest.raises(ImageError, match="cut off|cannot be decoded|is empty|damaged"):
        decoded(data[: min(int(share * len(data)), len(data) - 1)])


@pytest.mark.parametrize("name", ["jpeg", "progressive", "restart markers", "png", "thumbnail"])
def test_a_cut_image_in_a_buffer_that_goes_on(name):
    """usb_cam and others send their whole buffer: behind half an image lie zeros, or the last frame's rest."""
    data = IMAGES[name]
    half = data[: len(data) // 2]
    for rest in (bytes(len(data)), JPEG[len(JPEG) // 4 :]):
        with pytest.raises(ImageError, match="cut off|damaged|cannot be decoded"):
            decoded(half + rest)


def test_what_cameras_leave_before_the_end_marker_is_no_damage():
    for extra in (b"\0", b"\x12\x34", bytes(5000), b"\xaa" * 64):
        np.testing.assert_array_equal(decoded(JPEG[:-2] + extra + JPEG[-2:]), decoded(JPEG))
    with pytest.raises(ImageError, match="damaged: .*extraneous bytes"):
        decoded(JPEG[:-2] + np.random.default_rng(0).integers(1, 200, 999, np.uint8).tobytes() + JPEG[-2:])


def test_a_photograph_is_turned_as_its_exif_says_and_a_cameras_image_is_not():
    exif = Image.Exif()
    exif[0x0112] = 6  # by 90 degrees
    data = pillow("JPEG", exif=exif)
    assert decoded(data).shape[:2] == (HEIGHT, WIDTH)
    assert decoded(data, upright=True).shape[:2] == (WIDTH, HEIGHT)


def test_a_header_that_asks_for_more_than_there_is_takes_no_memory():
    header = struct.pack(">II", 30_000, 30_000) + PNG[24:29]
    huge = PNG[:12] + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + PNG[33:]
    at = JPEG.index(b"\xff\xc0") + 5
    for data in (huge, JPEG[:at] + struct.pack(">HH", 30_000, 30_000) + JPEG[at + 4 :]):
        with pytest.raises(ImageError, match="says 30000 x 30000 pixels"):
            decoded(data)
    flat = np.zeros((3000, 4000), np.uint8)
    assert decoded(opencv(".jpg", flat)).shape == decoded(opencv(".png", flat)).shape == flat.shape
    smallest = pillow("JPEG", Image.fromarray(flat), quality=1, progressive=True, optimize=True)
    assert decoded(smallest).shape == flat.shape


@pytest.mark.parametrize(
    "data",
    [b"hello, I am no image", b"<!DOCTYPE html>", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"P6\n"],
)
def test_rubbish(data):
    with pytest.raises(ImageError, match="decoded|cut off"):
        decoded(data)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(IMAGES)), st.integers(0, 400), st.binary(max_size=40))
@example("jpeg", 2, b"\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01\xff\xd9")
def test_overwritten_bytes_give_an_image_or_a_sentence(name, at, written):
    data = bytearray(IMAGES[name])
    data[at : at + len(written)] = written
    try:
        image = decoded(bytes(data))
    except ImageError as error:
        assert str(error)
    else:
        assert image.ndim in (2, 3) and image.size


DAMAGE = """
import sys, threading
import cv2, numpy as np
from d4rt_ros.io.encoded_images import ImageError, decoded
draw = np.random.default_rng(0)
picture = cv2.resize(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8), (160, 120))
kinds = [cv2.imencode(".jpg", picture)[1], cv2.imencode(".png", picture)[1],
         cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 4])[1]]
def damage(seed):
    draw = np.random.default_rng(seed)
    data = kinds[seed % 3].tobytes()
    if seed % 2:
        return data[: draw.integers(2, len(data))]
    data = np.frombuffer(data, np.uint8).copy()
    for _ in range(draw.integers(1, 4)):
        data[draw.integers(3, len(data))] ^= 1 << draw.integers(0, 8)
    return data.tobytes()
refused = [0] * 4
def decode(worker):
    for seed in range(worker, 1000, 4):
        try:
            decoded(damage(seed))
        except ImageError:
            refused[worker] += 1
workers = [threading.Thread(target=decode, args=(i,)) for i in range(4)]
[w.start() for w in workers]
[w.join() for w in workers]
print(sum(refused))
"""


def run(code):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for name in ("OPENCV_LOG_LEVEL", "OPENCV_FFMPEG_LOGLEVEL"):
        environment.pop(name, None)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


def test_a_thousand_damaged_images_print_nothing():
    done = run(DAMAGE)
    assert done.returncode == 0 and done.stderr == ""
    assert 700 < int(done.stdout) <= 1000, (
        "all that were cut, all pngs, and the jpegs that libjpeg complained about"
    )


MEANWHILE = """
import ctypes, os, subprocess, sys, threading
import cv2, numpy as np
from d4rt_ros.io.encoded_images import ImageError, decoded
jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8))[1].tobytes()
libc = ctypes.CDLL(None)
done = threading.Event()
def decode():
    while not done.is_set():
        decoded(jpeg)
        try:
            decoded(jpeg[: len(jpeg) // 2] + jpeg[len(jpeg) // 3 :])
        except ImageError:
            pass
threads = [threading.Thread(target=decode) for _ in range(2)]
[t.start() for t in threads]
for i in range(200):
    line = b"C %d\\n" % i
    libc.write(2, line, len(line))  # a whole line at once, which fputs does not promise
    print("Python", i, file=sys.stderr)
for i in range(10):
    subprocess.run(["sh", "-c", f"echo program {i} >&2"])
done.set()
[t.join() for t in threads]
"""


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="C's stderr is watched on Linux")
def test_what_others_print_meanwhile_is_printed():
    lines = run(MEANWHILE).stderr.splitlines()
    expected = [f"{kind} {i}" for kind, n in (("C", 200), ("Python", 200), ("program", 10)) for i in range(n)]
    assert sorted(lines) == sorted(expected)


FORK = """
pid = os.fork()
if pid == 0:
    decoded(kinds[0].tobytes())
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
[w.join() for w in workers]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_is_forked_while_others_decode_does_so_too():
    code = "import os, warnings; warnings.simplefilter('ignore')" + DAMAGE
    done = run(code.replace("\n[w.join() for w in workers]", FORK))
    assert done.returncode == 0, done.stderr
