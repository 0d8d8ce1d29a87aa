"""Reading camera calibrations."""

import numpy as np
import pytest

from d4rt_ros.io.calibration import (
    CalibrationError,
    named_rectified,
    pinhole_of_view,
    read_calibration,
    uncalibrated,
)

YAML = """\
image_width: 640
image_height: 480
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [430.15433, 0.0, 311.71339, 0.0, 430.60920, 221.06824, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.337586, 0.111612, -0.000218, -0.000030, 0.0]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
projection_matrix:
  rows: 3
  cols: 4
  data: [345.65, 0.0, 309.76, 0.0, 0.0, 395.68, 222.67, 0.0, 0.0, 0.0, 1.0, 0.0]
"""


@pytest.mark.parametrize("text", ["500 510 320 240", "500, 510,320 , 240"])
def test_four_numbers(text):
    c = read_calibration(text, 640, 480)
    np.testing.assert_array_equal(c.matrix, [[500, 0, 320], [0, 510, 240], [0, 0, 1]])
    np.testing.assert_array_equal(c.projection, np.hstack([c.matrix, np.zeros((3, 1))]))
    assert (c.width, c.height, c.distortion_model, len(c.distortion)) == (640, 480, "plumb_bob", 5)


def test_the_yaml_of_camera_calibration(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(YAML)
    for text in (str(path), f"file://{path}"):
        c = read_calibration(text, 640, 480)
        assert c.matrix[0, 2] == 311.71339 and c.matrix[1, 1] == 430.60920
        assert c.distortion == (-0.337586, 0.111612, -0.000218, -0.000030, 0.0)
        assert c.projection.shape == (3, 4) and c.projection[1, 2] == 222.67
        assert (c.width, c.height, c.rectification[0, 0]) == (640, 480, 1)
    with pytest.raises(CalibrationError, match="is for 640x480 pixels, the image has 320x200, another shape"):
        read_calibration(str(path), 320, 200)


def test_a_yaml_file_of_images_that_were_resized(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(YAML)
    half = read_calibration(str(path), 320, 240)
    assert (half.width, half.height) == (320, 240)
    assert half.matrix[0, 0] == pytest.approx(430.15433 / 2)
    assert half.projection[1, 2] == pytest.approx(223.17 / 2 - 0.5)  # pixel edges are halved, not centres
    assert half.distortion == (-0.337586, 0.111612, -0.000218, -0.000030, 0.0)


@pytest.mark.parametrize(
    "content",
    [
        YAML.replace("image_width: 640\n", ""),
        YAML.replace("image_width: 640\nimage_height: 480\n", ""),
        YAML.replace("640", "'640'").replace("480", "480.0"),
        YAML.replace("-0.337586", "'-0.337586'").replace("-0.000218", "-2.18e-4"),
        YAML.replace("0.111612, -0.000218, -0.000030, 0.0", "0.111612, -218e-6, -0.000030"),
        YAML.replace("distortion_model: plumb_bob\n", ""),
        YAML.replace("[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]", "[0, 0, 0, 0, 0, 0, 0, 0, 0]"),
        YAML.partition("projection")[0],
        YAML.partition("projection")[0] + "projection_matrix:\n",
        YAML.replace("image_height", "vendor: [1, 2]\nimage_height"),
    ],
)
def test_yaml_files_that_mean_the_same(tmp_path, content):
    path = tmp_path / "camera.yml"
    path.write_text(content)
    c = read_calibration(str(path), 640, 480)
    np.testing.assert_allclose(c.matrix[0], [430.15433, 0, 311.71339])
    np.testing.assert_allclose(c.distortion[:4], [-0.337586, 0.111612, -0.000218, -0.000030])
    assert (c.width, c.height) == (640, 480) and c.projection[0, 0] in (345.65, 430.15433)
    assert c.view(640, 480).lens is not None


@pytest.mark.parametrize(
    "topic, says",
    [
        ("/camera/image_rect", True),
        ("/camera/image_rect_color", True),
        ("/camera/image_rect/compressed", True),
        ("/left/image_rect_raw/compressedDepth", True),
        ("/camera/image-rect", True),
        ("/IMAGE_RECT", True),
        ("/camera/image_rectified", True),
        ("image_rect", True),
        ("/camera/rect", True),
        ("/rect/image_raw", False),
        ("/camera_rect/image", False),
        ("/camera/image_correct", False),
        ("/camera/image_direct", False),
        ("/camera/rectangle", False),
        ("/camera/image_unrectified", False),
        ("/image_rect/left", False),
        ("/compressed", False),
        ("", False),
    ],
)
def test_a_topics_name_says_whether_it_is_rectified(topic, says):
    assert named_rectified(topic) == says


def test_a_matrix_in_a_text_file(tmp_path):
    path = tmp_path / "K.txt"
    np.savetxt(path, [[585, 0, 320], [0, 585, 240], [0, 0, 1]])
    assert read_calibration(str(path), 640, 480).matrix[0, 0] == 585
    with pytest.raises(CalibrationError, match="outside the 320x200 images"):
        read_calibration(str(path), 320, 200)
    for text in (str(path), "585 585 320 240"):  # of images of half the size
        with pytest.raises(CalibrationError, match="far from the middle of the 1280x960 images"):
            read_calibration(text, 1280, 960)


def test_what_is_no_calibration(tmp_path):
    for text, message in (
        ("500 510 320", "has 3 numbers; expected four"),
        ("-500 510 320 240", "positive focal lengths"),
        ("nan 510 320 240", "not all numbers are finite"),
        ("0 0 0 0", "focal"),
        ("1 1 320 240", "focal length is 1 pixels"),
        (str(tmp_path / "missing.yaml"), "cannot be read .*; give fx fy cx cy"),
    ):
        with pytest.raises(CalibrationError, match=message):
            read_calibration(text, 640, 480)
    for name, content, message in (
        ("words.txt", "hello", "nine numbers"),
        ("eight.txt", "1 2 3 4 5 6 7 8", "nine numbers"),
        ("broken.yaml", "a: [", "is not YAML"),
        ("other.yaml", "a: 1", "is not a calibration .*no camera_matrix"),
        ("list.yaml", "- 1", "is not a calibration"),
        ("short.yaml", YAML.replace("430.15433, ", ""), "is not a calibration"),
        ("zero.yaml", YAML.replace("430.15433", "0.0"), "positive focal lengths"),
        (
            "model.yaml",
            YAML.replace("-0.000218, -0.000030, 0.0]", "-0.000218]"),
            "plumb_bob has 4 or 5 .* found 3",
        ),
        ("nan.yaml", YAML.replace("-0.337586", ".nan"), "coefficients are finite"),
        ("fold.yaml", YAML.replace("-0.337586", "-3"), "fold"),
        (
            "rotation.yaml",
            YAML.replace("[1.0, 0.0, 0.0, 0.0, 1", "[2.0, 0.0, 0.0, 0.0, 1"),
            "expected a rotation",
        ),
        ("width.yaml", YAML.replace("640", "wide"), "is not a calibration"),
        ("empty.yaml", "", "is not a calibration"),
        ("tuple.yaml", YAML.replace("plumb_bob", "mei"), "'mei' is not known"),
        ("binary.txt", None, "not a text file"),
    ):
        path = tmp_path / name
        path.write_bytes(b"\xff\xfe\xfd") if content is None else path.write_text(content)
        with pytest.raises(CalibrationError, match=message):
            read_calibration(str(path), 640, 480)


def test_a_field_of_view_spans_the_image():
    c = pinhole_of_view(90, 640, 480)
    assert c.matrix[0, 0] == c.matrix[1, 1] == pytest.approx(320)
    assert (c.matrix[0, 2], c.matrix[1, 2]) == (319.5, 239.5)
    with pytest.raises(CalibrationError, match="between 0 and 180"):
        pinhole_of_view(180, 640, 480)


def test_uncalibrated_is_all_zero():
    c = uncalibrated(64, 48)
    assert not c.matrix.any() and not c.projection.any() and (c.width, c.height) == (64, 48)
