"""Every encoding is checked against colours that were put into it by hand."""

from array import array

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sensor_msgs = pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2's sensor_msgs")

from d4rt_ros.io.image_messages import (  # noqa: E402
    ENCODINGS,
    SEMI_PLANAR,
    BitDepth,
    ImageError,
    rgb_from_compressed,
    rgb_from_image,
)

HEIGHT, WIDTH = 6, 10


def _rgb(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def _message(pixels, encoding, padding=0, bigendian=False):
    """`pixels` (H, W[, C]) as a message whose rows end in `padding` bytes of rubbish."""
    pixels = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder(">" if bigendian else "<")))
    rows = pixels.view(np.uint8).reshape(pixels.shape[0], -1)
    rows = np.hstack([rows, np.full((len(rows), padding), 99, np.uint8)])
    msg = sensor_msgs.Image(
        height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=rows.shape[1]
    )
    msg.is_bigendian = int(bigendian)
    msg.data = array("B", rows.tobytes())
    return msg


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize(
    "encoding, order",
    [
        ("rgb8", [0, 1, 2]),
        ("bgr8", [2, 1, 0]),
        ("8UC3", [2, 1, 0]),
        ("rgba8", [0, 1, 2, 0]),
        ("bgra8", [2, 1, 0, 0]),
        ("8UC4", [2, 1, 0, 0]),
    ],
)
def test_colours(encoding, order, padding):
    rgb = _rgb()
    np.testing.assert_array_equal(rgb_from_image(_message(rgb[..., order], encoding, padding)), rgb)


@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize(
    "encoding, order", [("rgb16", [0, 1, 2]), ("bgr16", [2, 1, 0]), ("rgba16", [0, 1, 2, 0])]
)
def test_sixteen_bit_colours_keep_the_upper_byte(encoding, order, bigendian):
    rgb = _rgb()
    wide = rgb[..., order].astype(np.uint16) * 256 + 77
    np.testing.assert_array_equal(rgb_from_image(_message(wide, encoding, 4, bigendian)), rgb)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
@pytest.mark.parametrize("padding", [0, 3])
def test_grey(encoding, padding):
    grey = _rgb()[..., 0]
    np.testing.assert_array_equal(
        rgb_from_image(_message(grey, encoding, padding)), np.repeat(grey[..., None], 3, 2)
    )


@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize("padding", [0, 3])
def test_sixteen_bit_grey(encoding, bigendian, padding):
    grey = _rgb()[..., 0]
    msg = _message(grey.astype(np.uint16) * 256 + 13, encoding, padding, bigendian)
    np.testing.assert_array_equal(rgb_from_image(msg), np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_bayer(pattern, bits):
    colour = {"r": 200, "g": 90, "b": 20}
    tile = np.array([[colour[c] for c in pattern[:2]], [colour[c] for c in pattern[2:]]])
    mosaic = np.tile(tile, (HEIGHT // 2, WIDTH // 2))
    mosaic = mosaic.astype(np.uint8) if bits == 8 else (mosaic * 256).astype(np.uint16)
    rgb = rgb_from_image(_message(mosaic, f"bayer_{pattern}{bits}"))
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(rgb, np.broadcast_to([200, 90, 20], rgb.shape))


@pytest.mark.parametrize(
    "encoding, order", [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")]
)
def test_yuv422(encoding, order):
    luma = np.linspace(30, 220, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)
    pixels = np.full((HEIGHT, WIDTH, 2), 0, np.uint8)
    pixels[..., order.index("y")] = luma
    chroma = 1 - order.index("y")
    pixels[:, 0::2, chroma], pixels[:, 1::2, chroma] = 90, 180  # U, V
    y, u, v = 1.164 * (luma.astype(float) - 16), 90 - 128.0, 180 - 128.0  # BT.601, limited range
    expected = np.stack([y + 1.596 * v, y - 0.392 * u - 0.813 * v, y + 2.017 * u], -1)
    assert np.abs(rgb_from_image(_message(pixels, encoding)) - np.clip(expected, 0, 255)).max() < 2.5


def test_rgb8_is_not_copied():
    msg = _message(_rgb(), "rgb8")
    assert np.shares_memory(rgb_from_image(msg), np.frombuffer(msg.data, np.uint8))


def test_every_encoding_gives_rgb_bytes():
    for name, encoding in ENCODINGS.items():
        pixels = np.zeros((HEIGHT, WIDTH, encoding.channels), np.uint8 if encoding.depth == 1 else np.uint16)
        rgb = rgb_from_image(_message(pixels, name))
        assert rgb.shape == (HEIGHT, WIDTH, 3) and rgb.dtype == np.uint8 and rgb.flags.c_contiguous, name


def _broken(**changes):
    msg = _message(_rgb(), "rgb8")
    for name, value in changes.items():
        setattr(msg, name, value)
    return msg


@pytest.mark.parametrize(
    "msg, says",
    [
        (_broken(encoding="32FC7"), "32FC7"),
        (_broken(encoding=""), "known are"),
        (_broken(data=array("B", bytes(17))), "17 bytes"),
        (_broken(data=array("B")), "0 bytes"),
        (_broken(step=WIDTH), f"step is {WIDTH}"),
        (_broken(step=0), "step is 0"),
        (_broken(step=3 * WIDTH + 1), "step 31"),
        (_broken(width=0), "the least"),
        (_broken(height=0), "the least"),
        (_broken(width=1), "1 x 6"),
        (_broken(height=2**31, step=2**31), "data has"),
        (_broken(encoding="rgb16"), "step is 30"),
        (_message(np.zeros((4, 5), np.uint8), "bayer_rggb8"), "pairs"),
        (_message(np.zeros((4, 5, 2), np.uint8), "yuv422"), "pairs"),
    ],
)
def test_broken_images_are_refused_with_a_sentence(msg, says):
    with pytest.raises(ImageError, match=says):
        rgb_from_image(msg)


def _compressed(rgb, ending, form):
    data = cv2.imencode(ending, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()
    return sensor_msgs.CompressedImage(format=form, data=array("B", data))


def test_png_is_exact():
    rgb = _rgb()
    np.testing.assert_array_equal(
        rgb_from_compressed(_compressed(rgb, ".png", "rgb8; png compressed bgr8")), rgb
    )


def test_jpeg_is_close():
    rgb = np.broadcast_to(np.uint8([200, 90, 20]), (32, 48, 3))
    assert np.abs(rgb_from_compressed(_compressed(rgb, ".jpg", "jpeg")).astype(int) - rgb).max() <= 4


@pytest.mark.parametrize("ending", [".jpg", ".png"])
@pytest.mark.parametrize("keep", [0, 20, 0.5, 0.98])
def test_cut_compressed_images_are_refused(ending, keep):
    msg = _compressed(
        np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8), ending, ending[1:]
    )
    msg.data = msg.data[: int(keep * len(msg.data)) if isinstance(keep, float) else keep]
    with pytest.raises(ImageError, match="cut off|decoded|empty"):
        rgb_from_compressed(msg)


def test_rubbish_and_depth_are_refused():
    with pytest.raises(ImageError, match="jpeg or png"):
        rgb_from_compressed(
            sensor_msgs.CompressedImage(format="jpeg", data=array("B", b"hello, I am no image"))
        )
    with pytest.raises(ImageError, match="depth"):
        rgb_from_compressed(_compressed(_rgb(), ".png", "16UC1; compressedDepth png"))


@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1", "bayer_rggb16", "rgb16"])
@pytest.mark.parametrize("used", [10, 12, 14, 16])
def test_sixteen_bits_of_which_fewer_are_used(used, encoding, bigendian):
    rgb = np.full((HEIGHT, WIDTH, 3), 200, np.uint8) if "bayer" in encoding else _rgb()
    rgb[0, 0] = 255
    values = rgb if encoding == "rgb16" else rgb[..., 0]
    msg = _message(values.astype(np.uint16) << (used - 8), encoding, 2, bigendian)
    bits = BitDepth()
    got = rgb_from_image(msg, bits)
    assert bits.bits == used
    assert (f"use {used} of 16 bits" in bits.take_note()) == (used < 16) and not bits.take_note()
    expected = rgb if encoding == "rgb16" else np.repeat(values[..., None], 3, 2)
    np.testing.assert_array_equal(got[2:, 2:], expected[2:, 2:])


def test_the_bits_that_are_used_grow_and_stay():
    bits, seen, notes = BitDepth(), [], []
    for brightest in (0, 900, 300, 3000, 300, 900):
        image = (
            np.full((HEIGHT, WIDTH), 300, np.uint16) if brightest else np.zeros((HEIGHT, WIDTH), np.uint16)
        )
        image[0, 0] = brightest
        seen.append(int(rgb_from_image(_message(image, "mono16"), bits)[3, 3, 0]))
        notes.append(bits.take_note())
    assert seen == [0, 300 >> 2, 300 >> 2, 300 >> 4, 300 >> 4, 300 >> 4]
    assert [bool(note) for note in notes] == [True, True, False, True, False, False]
    assert "12 of 16 bits" in notes[3]


def _planes(encoding, luma, u, v, padding=0):
    """nv12, nv21 or nv24 of one colour and a brightness that varies."""
    height, width = luma.shape
    shape = (height, width) if encoding == "nv24" else (height // 2, width // 2)
    colours = np.stack(
        np.broadcast_arrays(*((v, u) if encoding == "nv21" else (u, v)), np.empty(shape))[:2], -1
    )
    colours = colours.astype(np.uint8).reshape(-1, width)
    if encoding == "nv24":
        colours = colours.reshape(height, 2 * width)
        colours = np.hstack([colours, np.full((height, 2 * padding), 99, np.uint8)]).reshape(2 * height, -1)
    else:
        colours = np.hstack([colours, np.full((len(colours), padding), 99, np.uint8)])
    data = np.vstack([np.hstack([luma, np.full((height, padding), 99, np.uint8)]), colours])
    msg = sensor_msgs.Image(height=height, width=width, encoding=encoding, step=width + padding)
    msg.data = array("B", data.tobytes())
    return msg


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
def test_semi_planar(encoding, padding):
    luma = np.linspace(60, 190, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)
    msg = _planes(encoding, luma, 110, 150, padding)
    y, u, v = 1.164 * (luma.astype(float) - 16), 110 - 128.0, 150 - 128.0  # BT.601, limited range
    expected = np.stack([y + 1.596 * v, y - 0.392 * u - 0.813 * v, y + 2.017 * u], -1)
    rgb = rgb_from_image(msg)
    assert rgb.shape == (HEIGHT, WIDTH, 3) and rgb.flags.c_contiguous
    assert np.abs(rgb - np.clip(expected, 0, 255)).max() < 2.5
    if not padding:  # as publishers have it that go by sensor_msgs' two channels
        msg.step = 2 * WIDTH
        np.testing.assert_array_equal(rgb_from_image(msg), rgb)


def test_each_pixel_of_nv24_has_its_own_colour():
    luma = np.full((4, 5), 128, np.uint8)
    u = np.arange(100, 120).reshape(4, 5)
    rgb = rgb_from_image(_planes("nv24", luma, u, 128))
    assert len(np.unique(rgb[..., 2])) == 20, "an odd width too"


@pytest.mark.parametrize(
    "msg, says",
    [
        (_planes("nv12", np.zeros((4, 6), np.uint8), 1, 1), None),
        (
            sensor_msgs.Image(height=5, width=6, encoding="nv12", step=6, data=bytes(45)),
            "6 x 5 is wrong.*pairs",
        ),
        (sensor_msgs.Image(height=4, width=7, encoding="nv21", step=7, data=bytes(42)), "pairs"),
        (
            sensor_msgs.Image(height=4, width=6, encoding="nv12", step=6, data=bytes(24)),
            "24 bytes, but .* have 36",
        ),
        (sensor_msgs.Image(height=4, width=6, encoding="nv24", step=5, data=bytes(90)), "step is 5"),
        (_message(np.zeros((4, 5), np.float32), "32FC1"), "'32FC1' is depth, no picture"),
    ],
)
def test_semi_planar_and_depth_that_are_refused(msg, says):
    if says is None:
        rgb_from_image(msg)
        return
    with pytest.raises(ImageError, match=says) as raised:
        rgb_from_image(msg)
    assert type(raised.value) is ImageError, "cv_bridge is not asked"


@pytest.mark.parametrize(
    "rest, taken", [(bytes(100_000), True), (bytes(range(200)), True), (bytes(range(256)) * 20, False)]
)
def test_bytes_behind_the_last_row(rest, taken):
    """Drivers send their whole buffer; but an image of more rows than it says is not cut at the bottom."""
    rgb = _rgb()
    for encoding, msg in (("rgb8", _message(rgb, "rgb8")), ("nv12", _planes("nv12", rgb[..., 0], 128, 128))):
        expected = rgb_from_image(msg)
        msg.data = array("B", msg.data.tobytes() + rest)
        if taken:
            np.testing.assert_array_equal(rgb_from_image(msg), expected, encoding)
        else:
            with pytest.raises(ImageError, match="the message is cut or its size is wrong"):
                rgb_from_image(msg)


def _encoded(pixels, ending, form):
    data = cv2.imencode(ending, pixels)[1].tobytes()
    return sensor_msgs.CompressedImage(format=form, data=array("B", data))


RED = np.broadcast_to(np.uint8([200, 90, 20]), (32, 48, 3))


@pytest.mark.parametrize("ending", [".jpg", ".png"])
@pytest.mark.parametrize(
    "form, turned",
    [
        ("rgb8; {} compressed bgr8", False),
        ("bgr8; {} compressed bgr8", False),
        ("yuv422_yuy2; {} compressed bgr8", False),
        ("rgb8; {} compressed", False),
        ("rgb8; {} compressed ", False),
        ("{}", False),
        ("rgb8", False),
        ("", False),
        ("rgb8; {} compressed rgb8", True),
        ("bgr8; {} compressed rgb8", True),
    ],
)
def test_the_order_of_channels_is_what_the_format_says(ending, form, turned):
    """compressed_image_transport encodes BGR; where the target says rgb, RGB was encoded as if it were BGR."""
    pixels = RED if turned else RED[..., ::-1]
    msg = _encoded(pixels, ending, form.format(ending[1:].replace("jpg", "jpeg")))
    assert np.abs(rgb_from_compressed(msg).astype(int) - RED).max() <= 4


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize(
    "form, ending, bits",
    [
        ("bayer_{}8; jpeg compressed bayer_{}8", ".jpg", 8),
        ("bayer_{}8; jpeg compressed ", ".jpg", 8),
        ("bayer_{}8; png compressed ", ".png", 8),
        ("bayer_{}16; png compressed ", ".png", 16),
    ],
)
def test_a_mosaic_in_jpeg_and_png(pattern, form, ending, bits):
    colour = {"r": 200, "g": 90, "b": 20}
    tile = np.array([[colour[c] for c in pattern[:2]], [colour[c] for c in pattern[2:]]])
    mosaic = np.tile(tile, (16, 24)).astype(np.uint8)
    mosaic = mosaic if bits == 8 else mosaic.astype(np.uint16) << 8
    rgb = rgb_from_compressed(_encoded(mosaic, ending, form.format(pattern, pattern)))
    assert np.abs(rgb.astype(int) - RED).max() <= (12 if ending == ".jpg" else 0)


def test_a_mosaic_that_was_made_grey_before_is_grey():
    """As compressed_image_transport writes Bayer images as JPEG since Indigo."""
    grey = np.linspace(0, 255, 32 * 48).reshape(32, 48).astype(np.uint8)
    rgb = rgb_from_compressed(_encoded(grey, ".png", "bayer_rggb8; jpeg compressed mono8"))
    np.testing.assert_array_equal(rgb, np.repeat(grey[..., None], 3, 2))


def test_sixteen_bit_png():
    grey = np.linspace(0, 1023, 32 * 48).reshape(32, 48).astype(np.uint16)
    msg, bits = _encoded(grey, ".png", "mono16; png compressed "), BitDepth()
    np.testing.assert_array_equal(rgb_from_compressed(msg, bits)[..., 0], grey >> 2)
    assert "10 of 16 bits" in bits.take_note()
    np.testing.assert_array_equal(rgb_from_compressed(msg)[..., 0], grey >> 8)
    with pytest.raises(ImageError, match="float32"):
        rgb_from_compressed(_encoded(np.ones((4, 4), np.float32), ".tiff", "32FC1; tiff compressed "))


def test_what_follows_the_image_is_ignored():
    whole = _compressed(_rgb(), ".png", "png")
    whole.data = array("B", whole.data.tobytes() + bytes(10_000))
    np.testing.assert_array_equal(rgb_from_compressed(whole), _rgb())


sizes = st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(ENCODINGS | SEMI_PLANAR)),
    sizes,
    sizes,
    sizes,
    st.binary(max_size=300),
    st.booleans(),
)
def test_whatever_a_message_says_it_is_an_image_or_a_sentence(encoding, height, width, step, data, bigendian):
    msg = sensor_msgs.Image(height=height, width=width, encoding=encoding, step=step, data=data)
    msg.is_bigendian = int(bigendian)
    for bits in (None, BitDepth()):
        try:
            rgb = rgb_from_image(msg, bits)
        except ImageError as error:
            assert str(error)
        else:
            assert rgb.shape == (height, width, 3) and rgb.dtype == np.uint8


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.binary(max_size=60), st.booleans())
def test_whatever_a_compressed_message_says(form, data, begun):
    start = cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes()[:100] if begun else b""
    with pytest.raises(ImageError):
        rgb_from_compressed(sensor_msgs.CompressedImage(format=form, data=start + data))
