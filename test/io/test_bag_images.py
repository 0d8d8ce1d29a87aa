"""The images of a bag, with or without depth, calibration and TF beside them."""

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra [train]")

from small_bags import HEIGHT, WIDTH, K, compressed, image, info, messages, picture, without, write  # noqa: E402

from d4rt_ros.io.bag_images import is_bag, open_bag_images  # noqa: E402
from d4rt_ros.io.recorded import RecordedError  # noqa: E402
from d4rt_ros.io.sources import SourceError  # noqa: E402

IMAGE, INFO = "/camera/image_raw", "/camera/camera_info"


def pictures(count=5, topic=IMAGE, start=0, encoding="rgb8"):
    return [
        (topic, 100 + i / 10, image(100 + i / 10, picture(i), encoding)) for i in range(start, start + count)
    ]


def test_images_alone(tmp_path):
    """No depth, no CameraInfo, no TF: still a video."""
    path = write(tmp_path / "bag", pictures())
    with pytest.warns(UserWarning, match="CameraInfo, found none; the camera is estimated"):
        frames = open_bag_images(path)
    assert frames.size == (HEIGHT, WIDTH) and frames.count == 5 and frames.rate == pytest.approx(10)
    for _ in range(2):  # as often as is wanted
        read = list(frames)
        assert [frame.stamp for frame in read] == [100_000_000_000 + i * 100_000_000 for i in range(5)]
        for i, frame in enumerate(read):
            np.testing.assert_array_equal(frame.image, picture(i))
            assert frame.camera is None and frame.depth is None and frame.lens is None


def test_their_camera(tmp_path):
    path = write(tmp_path / "bag", messages())
    for frame in open_bag_images(path):
        np.testing.assert_allclose(frame.camera.matrix, K)
    assert all(frame.camera is None for frame in open_bag_images(path, calibrated=False))


def test_raw_images_are_rectified(tmp_path):
    out = [*pictures(), (INFO, 100.0, info(100.0, (-0.2, 0.05, 0.0, 0.0, 0.0)))]
    frame = next(iter(open_bag_images(write(tmp_path / "bag", out))))
    assert frame.lens is not None and frame.camera == frame.lens.camera
    np.testing.assert_array_equal(frame.image, frame.lens.rectify(picture(0)))


def test_compressed_images(tmp_path):
    out = [(f"{IMAGE}/compressed", 100 + i / 10, compressed(100 + i / 10, picture(i))) for i in range(3)]
    with pytest.warns(UserWarning, match="estimated"):
        read = list(open_bag_images(write(tmp_path / "bag", out)))
    np.testing.assert_array_equal(read[2].image, picture(2))


def test_which_images(tmp_path):
    path = write(tmp_path / "bag", [*messages(), *pictures(3, "/rear/image")])
    several = "found several: /camera/image_raw, /rear/image; choose one with --image"
    with pytest.raises(RecordedError, match=several):
        open_bag_images(path)
    assert open_bag_images(path, "/rear/image").count == 3
    with pytest.raises(RecordedError, match="has no messages of /front"):
        open_bag_images(path, "/front")
    none = write(tmp_path / "none", without(messages(), IMAGE))
    with pytest.raises(RecordedError, match="expected one topic of colour images, found none"):
        open_bag_images(none)


def test_what_is_damaged_or_twice_there_is_left_out(tmp_path):
    out = [*pictures(5), (IMAGE, 100.05, image(100.1, picture(9), "rgb8"))]
    broken = image(100.3, picture(3), "rgb8")
    broken.step = 7
    out = [(topic, time, broken if time == 100.3 else message) for topic, time, message in out]
    frames = open_bag_images(write(tmp_path / "bag", [*out, (INFO, 100, info(100))]))
    with pytest.warns(UserWarning, match="2 of 6 images are left out"):
        stamps = [frame.stamp for frame in frames]
    assert stamps == [100_000_000_000 + i * 100_000_000 for i in (0, 1, 2, 4)]


def test_a_calibration_of_no_use_is_not_used(tmp_path):
    wrong = info(100.0)
    wrong.k = np.diag([1e6, 1e6, 1.0]).ravel()
    wrong.p = np.hstack([wrong.k.reshape(3, 3), np.zeros((3, 1))]).ravel()
    path = write(tmp_path / "bag", [*pictures(), (INFO, 100.0, wrong)])
    with pytest.warns(UserWarning, match="camera_info is of no use.*; the camera is estimated"):
        frames = open_bag_images(path)
    assert all(frame.camera is None for frame in frames)
    with pytest.raises(RecordedError, match="of no use"):
        open_bag_images(path, camera_info=INFO)


def test_images_of_another_size(tmp_path):
    other = np.zeros((HEIGHT + 2, WIDTH, 3), np.uint8)
    out = [*pictures(2), (IMAGE, 100.2, image(100.2, other, "rgb8")), (INFO, 100, info(100))]
    with pytest.raises(SourceError, match="must be of one size"):
        list(open_bag_images(write(tmp_path / "bag", out)))


def test_what_a_bag_looks_like(tmp_path):
    path = write(tmp_path / "bag", pictures(1))
    assert is_bag(path) and all(map(is_bag, path.glob("*.db3"))) and not is_bag(path / "metadata.yaml")
    (path / "metadata.yaml").unlink()
    assert is_bag(path) and not is_bag(tmp_path) and not is_bag(tmp_path / "none.mcap")
