"""One way to open whatever holds frames, with the camera that took them."""

import cv2
import numpy as np
import pytest

from d4rt_ros.io.calibration import CalibrationError
from d4rt_ros.io.opening import open_any
from d4rt_ros.io.sources import SourceError

HEIGHT, WIDTH = 24, 40
INFO = "30 31 20 12"


def picture(index):
    image = np.full((HEIGHT, WIDTH, 3), 10 * index, np.uint8)
    image[:, : WIDTH // 2, 0] = 200
    return image


def write_picture(path, index):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture(index)[..., ::-1])
    return path


def write_camera(folder, f):
    np.savetxt(folder / "camera-intrinsics.txt", [[f, 0, 20], [0, f, 12], [0, 0, 1]])


def film(path, count=5):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20.0, (WIDTH, HEIGHT))
    for k in range(count):
        writer.write(np.full((HEIGHT, WIDTH, 3), 20 * k, np.uint8))
    writer.release()
    return path


def matrices(frames):
    return [None if frame.camera is None else frame.camera.matrix for frame in frames]


def test_a_video(tmp_path):
    frames = open_any(film(tmp_path / "film.avi"))
    assert frames.size == (HEIGHT, WIDTH) and frames.count == 5 and matrices(frames) == [None] * 5


def test_a_calibration_that_is_given(tmp_path):
    path = film(tmp_path / "film.avi")
    for matrix in matrices(open_any(path, INFO)):
        np.testing.assert_allclose(matrix, [[30, 0, 20], [0, 31, 12], [0, 0, 1]])
    with pytest.raises(CalibrationError, match="three|four"):
        open_any(path, "30 31 20")


def test_raw_images_are_rectified(tmp_path):
    (tmp_path / "raw.yaml").write_text(
        f"image_width: {WIDTH}\nimage_height: {HEIGHT}\n"
        "camera_matrix: {rows: 3, cols: 3, data: [30, 0, 20, 0, 31, 12, 0, 0, 1]}\n"
        "distortion_model: plumb_bob\n"
        "distortion_coefficients: {rows: 1, cols: 5, data: [-0.2, 0.05, 0, 0, 0]}\n"
    )
    path = film(tmp_path / "film.avi")
    for raw, frame in zip(open_any(path), open_any(path, str(tmp_path / "raw.yaml"))):
        np.testing.assert_array_equal(frame.image, frame.lens.rectify(raw.image))
        assert frame.camera == frame.lens.camera and frame.stamp == raw.stamp


def focal_lengths(*arguments):
    return [matrix[0, 0] for matrix in matrices(open_any(*arguments))]


def test_a_folder_of_images(tmp_path):
    folder = tmp_path / "images"
    for i in range(3):
        write_picture(folder / f"{i}.png", i)
    assert matrices(open_any(folder)) == [None] * 3
    write_camera(tmp_path, 29)  # above it
    assert focal_lengths(folder) == [29] * 3
    write_camera(folder, 30)
    assert focal_lengths(folder) == [30] * 3 and focal_lengths(folder, "28 28 20 12") == [28] * 3
    assert [frame.stamp for frame in open_any(folder, rate=10.0)] == [0, 10**8, 2 * 10**8]


def test_a_folder_of_seven_scenes(tmp_path):
    for i in range(3):
        write_picture(tmp_path / f"frame-{i:06}.color.png", i)
        assert cv2.imwrite(
            str(tmp_path / f"frame-{i:06}.depth.png"), np.full((HEIGHT, WIDTH), 900, np.uint16)
        )
    write_camera(tmp_path, 30)
    frames = list(open_any(tmp_path))
    assert len(frames) == 3 and frames[0].camera.fx == 30
    np.testing.assert_array_equal(frames[2].image, picture(2))


def test_a_folder_of_tum_rgbd(tmp_path):
    """Its own stamps; depth and poses are not looked at."""
    stamps = [1305031102.175304, 1305031102.211214, 1305031102.243211]
    names = [write_picture(tmp_path / f"rgb/{stamp:.6f}.png", i).name for i, stamp in enumerate(stamps)]
    rows = [f"{stamp:.6f} rgb/{name}" for stamp, name in zip(stamps, names)]
    (tmp_path / "rgb.txt").write_text("# timestamp filename\n" + "\n".join(rows))
    frames = open_any(tmp_path)
    assert (
        frames.count == 3 and frames.rate == pytest.approx(29.4, abs=0.1) and matrices(frames) == [None] * 3
    )
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, picture(i))
        assert frame.stamp == pytest.approx(stamps[i] * 1e9, abs=1000)
    write_camera(tmp_path, 30)
    assert focal_lengths(tmp_path) == [30] * 3 and focal_lengths(tmp_path, "28 28 20 12") == [28] * 3
    write_picture(tmp_path / "rgb" / names[1], 1).write_bytes(b"no image")
    with pytest.raises(SourceError, match=names[1]):
        list(open_any(tmp_path))


def test_a_bag(tmp_path):
    pytest.importorskip("rosbags", reason="needs the extra [train]")
    from small_bags import K, messages, write

    path = write(tmp_path / "bag", messages())
    np.testing.assert_allclose(matrices(open_any(path))[0], K)
    np.testing.assert_allclose(matrices(open_any(path, "20 20 16 9", topic="/camera/image_raw"))[0][0, 0], 20)


def test_what_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="none.mp4' does not exist"):
        open_any(tmp_path / "none.mp4")
    with pytest.raises(ValueError, match="none.mcap"):
        open_any(tmp_path / "none.mcap")
