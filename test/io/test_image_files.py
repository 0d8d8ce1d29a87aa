"""Which files of a folder are its frames, and in which order."""

import os
import random
import uuid

import cv2
import numpy as np
import pytest

from d4rt_ros.io.frames import SourceError, open_frames
from d4rt_ros.io.image_files import depth_file, image_files, read_depth, read_mask, read_rgb
from d4rt_ros.io.image_messages import ImageError

PIXELS = np.full((6, 8, 3), 90, np.uint8)
PNG = cv2.imencode(".png", PIXELS)[1].tobytes()


def write(folder, *names):
    """Empty images, in an order that is none."""
    folder.mkdir(exist_ok=True, parents=True)
    for name in random.Random(0).sample(names, len(names)):
        (folder / name).write_bytes(PNG)
    return folder


def names(folder, pattern=None):
    return [file.name for file in image_files(folder, pattern)]


@pytest.mark.parametrize(
    "ordered",
    [
        ["frame1", "frame2", "frame9", "frame10"],
        ["Frame1", "frame2a", "frame2b", "frame10"],
        ["x", "x (1)", "x (2)", "x (10)"],
        ["clip_1", "clip_1 (1)", "clip_1 (2)", "clip_2"],
        ["1305031102.175304", "1305031102.211214", "1305031103.2", "1305031103.243211"],
        ["0.25", "0.5", "0.75", "1"],
        ["t=0.25", "t=0.5", "t=10.0", "t=10.125"],
        ["v1.8", "v1.9", "v1.10", "v1.11"],
        ["1.1", "1.2", "1.9", "1.10", "2.1"],
        ["0.10", "0.50", "0.90", "1.00"],
        ["2024.01.15.9", "2024.01.15.10", "2024.02.01.1"],
        ["-10", "-2", "0", "3"],
        ["pan_-10", "pan_-2", "pan_0", "pan_3"],
        ["-0.5", "-0.25", "0.5"],
        ["frame-1", "frame-2", "frame-10"],
        ["-1", "-2", "-10"],
        ["2024-01-15", "2024-01-16", "2024-11-02"],
        ["007", "8", "0010", "011"],
        ["08", "09", "0a", "0b", "0f", "10", "11"],
        ["frame_0098", "frame_0099", "frame_009a", "frame_00a0"][:3],
        ["a1", "a2", "a10", "b1"],
        ["1a", "1b", "2a", "2b", "10a"],
        ["cafe1", "cafe2", "cafe10"],
        ["frame.0001", "frame.0002", "frame.0010"],
        ["left_1", "left_2", "right_1"],
        ["²1", "²2", "²10"],
    ],
    ids=lambda stems: stems[-1],
)
def test_order(tmp_path, ordered, recwarn):
    suffixes = (".png", ".PNG", ".Png")
    files = [stem + suffixes[i % 3] for i, stem in enumerate(ordered)]
    assert names(write(tmp_path, *files)) == files
    assert not recwarn.list


@pytest.mark.parametrize(
    "make",
    [lambda draw: f"{draw.getrandbits(64):016x}", lambda draw: str(uuid.UUID(int=draw.getrandbits(128)))],
)
def test_names_that_are_random_are_ordered_by_time_and_that_is_said(tmp_path, make):
    draw = random.Random(1)
    files = [make(draw) + ".png" for _ in range(8)]
    write(tmp_path, *files)
    for i, name in enumerate(files):
        os.utime(tmp_path / name, (1000 + i, 1000 + i))
    with pytest.warns(UserWarning, match="tell no order; the images are in the order of their times"):
        assert names(tmp_path) == files


def test_what_is_no_frame(tmp_path):
    write(
        tmp_path,
        "1.png",
        "._1.png",
        ".hidden.png",
        "1.depth.png",
        "1_mask.png",
        "depth1.png",
        "1-disparity.png",
    )
    write(tmp_path, "2.png", "1_confidence.png", "1_DepthMap.png", "confidence_map_1.png", "masks-2.png")
    (tmp_path / "3.png").mkdir()
    (tmp_path / "notes.txt").touch()
    assert names(tmp_path) == ["1.png", "2.png"]
    assert names(tmp_path, "*.png").count("._1.png") == 0, "not for a pattern either"
    assert names(tmp_path, "*_mask.png") == ["1_mask.png"]


def test_one_name_with_rgb_hides_no_others(tmp_path, recwarn):
    assert len(names(write(tmp_path, "rgb.png", "1.png", "2.png", "3.png"))) == 4
    assert len(names(write(tmp_path / "two", "color1.png", "frame2.png"))) == 2
    assert len(names(write(tmp_path / "half", "rgb1.png", "rgb2.png", "a3.png", "a4.png"))) == 4
    assert not recwarn.list


def test_colour_images_beside_others_are_taken_alone_and_that_is_said(tmp_path):
    write(tmp_path, *(f"frame-{i}.{kind}.png" for i in range(3) for kind in ("color", "ir", "label")))
    with pytest.warns(
        UserWarning, match=r"6 images such as frame-0.ir.png are left out beside 3 that are named color"
    ):
        assert names(tmp_path) == [f"frame-{i}.color.png" for i in range(3)]
    write(tmp_path / "stray", *(f"rgb{i}.png" for i in range(9)), "calibration.png")
    with pytest.warns(UserWarning, match="1 images such as calibration.png"):
        assert len(names(tmp_path / "stray")) == 9


def test_a_folder_of_folders_says_which_to_give(tmp_path):
    write(tmp_path / "left", "1.png")
    write(tmp_path / "right", "1.png")
    write(tmp_path / ".thumbnails", "1.png")
    (tmp_path / "empty").mkdir()
    for opener in (image_files, open_frames):
        with pytest.raises(SourceError, match="images are in its folders left, right: give one of these"):
            opener(tmp_path)


def test_a_folder_with_a_dot_in_its_name_and_in_ones_home(tmp_path, monkeypatch):
    write(tmp_path / "run.mp4", "1.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_frames("~/run.mp4").count == 1
    assert open_frames(f"file://{tmp_path}/run.mp4").count == 1
    with pytest.raises(
        SourceError, match=r"'\$UNDEFINED/run' does not exist \(\$UNDEFINED is not defined here\)"
    ):
        open_frames("$UNDEFINED/run")


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "the image is empty|an empty file"),
        (PNG[:-30], "the png is cut off"),
        (cv2.imencode(".jpg", PIXELS)[1].tobytes()[:-20], "the jpeg is cut off"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "it is a pointer of Git LFS"),
        (b"<!DOCTYPE html>", "it is an HTML page"),
        (bytes(5000), "nothing but zeros"),
    ],
)
def test_a_file_that_is_no_image_is_named_in_every_reader(tmp_path, content, says):
    write(tmp_path, "1.png", "2.png")
    (tmp_path / "2.png").write_bytes(content)
    with pytest.raises(SourceError, match=f"2.png: .*({says})"):
        list(open_frames(tmp_path))
    for read in (read_rgb, read_depth, read_mask):
        with pytest.raises(ImageError, match=f"2.png: .*({says})"):
            read(tmp_path / "2.png")


def test_an_image_that_may_not_be_read_or_is_gone(tmp_path):
    write(tmp_path, "1.png", "2.png")
    frames = iter(open_frames(tmp_path))
    next(frames)
    (tmp_path / "2.png").unlink()
    with pytest.raises(SourceError, match="2.png: is missing; expected a colour image"):
        next(frames)


def test_frames_of_twelve_bits_are_scaled_alike_and_that_is_said(tmp_path):
    for i, value in enumerate((4000, 2000)):
        assert cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((6, 8), value, np.uint16))
    with pytest.warns(UserWarning, match="use 12 of 16 bits") as told:
        frames = open_frames(tmp_path)
        assert [int(f.image[0, 0, 0]) for f in frames] == [250, 125]
    assert len(told) == 1


def test_the_depth_beside_an_image(tmp_path):
    write(tmp_path, "1.color.png", "1.depth.png", "2.png", "2.depth.png", "3.png")
    assert [f and f.name for f in map(depth_file, image_files(tmp_path))] == [
        "1.depth.png",
        "2.depth.png",
        None,
    ]


def test_a_photograph_is_upright(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow, which matplotlib brings")
    exif = image.Exif()
    exif[0x0112] = 8
    image.fromarray(PIXELS).save(tmp_path / "1.jpg", exif=exif)
    assert open_frames(tmp_path).size == (8, 6)


# Masks


@pytest.mark.parametrize("colours", [0, 3, 4])
def test_a_mask_is_what_is_not_0_and_alpha_is_no_colour(tmp_path, colours):
    pixels = np.zeros((6, 8, *[colours] * bool(colours)), np.uint8)
    pixels[2, 3, ...] = pixels[4:, :2, ...] = 255
    pixels[5, 7, ...] = 1
    if colours == 4:
        pixels[..., 3] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), pixels)
    mask = read_mask(tmp_path / "mask.png")
    expected = np.zeros((6, 8), bool)
    expected[2, 3] = expected[4:, :2] = expected[5, 7] = True
    np.testing.assert_array_equal(mask, expected)


def test_a_mask_of_everything_or_of_nothing_known_is_refused(tmp_path, monkeypatch):
    (tmp_path / "mask.png").write_bytes(PNG)
    with pytest.raises(ImageError, match="mask.png: masks every pixel; .* inverted"):
        read_mask(tmp_path / "mask.png")
    with pytest.raises(ImageError, match="is missing ..NOWHERE is not defined here.; expected a mask"):
        read_mask("$NOWHERE/mask.png")
    monkeypatch.setenv("SOMEWHERE", str(tmp_path))
    with pytest.raises(ImageError, match="masks every pixel"):
        read_mask("$SOMEWHERE/mask.png")
