"""A video of MOVi-F: a cube that moves before a wall, ray cast here and written as TFDS has it."""

import itertools

import cv2
import numpy as np
import pytest

tfrecord = pytest.importorskip("tfrecord", reason="needs the extra [train]")

from d4rt_ros.geometry.camera import Pinhole  # noqa: E402
from d4rt_ros.geometry.transforms import invert, transform  # noqa: E402
from d4rt_ros.io.recorded import RecordedError  # noqa: E402
from d4rt_ros.training.datasets.kubric import open_kubric, record_offsets  # noqa: E402

SIZE, FRAMES, WALL = 64, 3, 10.0
FOCAL, SENSOR = 35.0, 32.0
CAMERA = Pinhole.centred(SIZE * FOCAL / SENSOR, SIZE * FOCAL / SENSOR, SIZE, SIZE)


def corner(t):
    """The least x, y, z of a square plate of one metre that lies at z = -5 and moves to the right."""
    return np.array([-0.6 + 0.3 * t, -0.5, -5.0])


def png(image):
    return cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def video():
    """The camera at the origin looks along -z with y up (Blender's rest pose), at a wall behind the plate."""
    rays = CAMERA.backproject_map(np.ones((SIZE, SIZE))) * [1, -1, -1]  # in Blender's camera = the world
    pictures = {name: [] for name in ("video", "depth", "segmentations", "object_coordinates")}
    for t in range(FRAMES):
        plate = rays * 5
        inside = plate - corner(t)
        hit = ((inside[..., :2] >= 0) & (inside[..., :2] <= 1)).all(-1)
        points = np.where(hit[..., None], plate, rays * WALL)
        distance = np.linalg.norm(points, axis=-1)
        pictures["video"].append(png(np.where(hit[..., None], [200, 50, 0], [0, 0, 90]).astype(np.uint8)))
        pictures["depth"].append(png((distance / 20 * 65535).round().astype(np.uint16)))
        pictures["segmentations"].append(png(hit.astype(np.uint8)))
        coordinates = np.where(hit[..., None], np.clip(inside, 0, 1), 0)
        pictures["object_coordinates"].append(png((coordinates * 65535).round().astype(np.uint16)))
    return pictures


def record():
    boxes = [
        corner(t) + np.array(c) * [1, 1, 0.2]
        for t in range(FRAMES)
        for c in itertools.product((0, 1), repeat=3)
    ]
    numbers = {
        "camera/focal_length": [FOCAL],
        "camera/sensor_width": [SENSOR],
        "camera/positions": [0.0] * (3 * FRAMES),
        "camera/quaternions": [1.0, 0, 0, 0] * FRAMES,
        "metadata/depth_range": [0.0, 20.0],
        "instances/bboxes_3d": np.ravel(boxes).tolist(),
    }
    pictures = {name: (images, "byte") for name, images in video().items()}
    return pictures | {name: (values, "float") for name, values in numbers.items()}


def write(file, *records):
    writer = tfrecord.TFRecordWriter(str(file))
    for datum in records:
        writer.write(datum)
    writer.close()
    return file


@pytest.fixture
def movi(tmp_path):
    return write(tmp_path / "movi_f-train.tfrecord-00000-of-01024", record(), record())


def test_depth_is_along_z_and_not_along_the_ray(movi):
    sequence = open_kubric(movi)[1]
    assert len(sequence) == FRAMES and not sequence.static
    frame = sequence.frame(0)
    np.testing.assert_allclose(frame.camera.matrix, CAMERA.matrix)
    assert frame.depth[0, 0] == pytest.approx(WALL, rel=1e-3), "a wall has one depth, in the corners too"
    assert tuple(frame.image[SIZE // 2, SIZE // 2]) == (200, 50, 0)
    assert frame.depth[SIZE // 2, SIZE // 2] == pytest.approx(5, rel=1e-3)
    # The image's lower side is the world's -y.
    np.testing.assert_allclose(frame.world_from_camera, np.diag([1.0, -1, -1, 1]), atol=1e-9)


def test_tracks_move_with_their_thing(movi):
    sequence = open_kubric(movi)[0]
    tracks = sequence.tracks([0, 2])
    moved = np.linalg.norm(tracks.points[:, 1] - tracks.points[:, 0], axis=-1)
    plate = moved > 0.1
    assert plate.any() and not plate.all()
    np.testing.assert_allclose(
        tracks.points[plate, 1] - tracks.points[plate, 0], [[0.6, 0, 0]] * plate.sum(), atol=1e-3
    )
    np.testing.assert_allclose(moved[~plate], 0, atol=1e-9)
    np.testing.assert_allclose(tracks.points[~plate, :, 2], -WALL, atol=0.01)
    assert tracks.visible.any(1).all() and tracks.visible[plate].all()
    hidden = tracks.points[~tracks.visible[:, 1], 1]
    # What the plate hides of the wall in the last frame lies behind it.
    np.testing.assert_array_equal(np.abs(hidden[:, 0] / WALL * 5 - corner(2)[0] - 0.5) <= 0.55, True)


def test_what_is_visible_is_where_its_depth_says(movi):
    sequence = open_kubric(movi)[0]
    tracks = sequence.tracks([0, 1, 2])
    for t in range(3):
        frame = sequence.frame(t)
        local = transform(invert(frame.world_from_camera), tracks.points[tracks.visible[:, t], t])
        u, v = CAMERA.project(local).round().astype(int).T
        assert np.mean(np.abs(frame.depth[v, u] / local[:, 2] - 1) < 0.02) > 0.99


def test_bad_files(tmp_path, movi):
    assert [video.name for video in open_kubric(movi)] == [f"{movi.name}#0", f"{movi.name}#1"]
    with pytest.raises(RecordedError, match="is missing"):
        open_kubric(tmp_path / "nothing.tfrecord")
    (tmp_path / "cut").write_bytes(movi.read_bytes()[:-9])
    with pytest.raises(RecordedError, match="is empty, cut off, or no TFRecord"):
        record_offsets(tmp_path / "cut")
    without = {name: value for name, value in record().items() if name != "depth"}
    with pytest.raises(RecordedError, match="has no depth"):
        open_kubric(write(tmp_path / "without", without))[0].frame(0)
    with pytest.raises(RecordedError, match="image 1 of video: cannot be decoded"):
        open_kubric(write(tmp_path / "bad", record() | {"video": ([b"no"] * FRAMES, "byte")}))[0].frame(1)
    broken = record() | {"camera/quaternions": ([float("nan")] * 4 * FRAMES, "float")}
    with pytest.raises(RecordedError, match="pose"):
        open_kubric(write(tmp_path / "nan", broken))[0].frame(0)
