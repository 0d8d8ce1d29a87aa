"""Every encoding is checked against colours that were put into it by hand."""

from array import array

import cv2
import numpy as np
import pytest

sensor_msgs = pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2's sensor_msgs")

from d4rt_ros.io.image_messages import ENCODINGS, ImageError, rgb_from_compressed, rgb_from_image  # noqa: E402

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
