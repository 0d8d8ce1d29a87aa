"""TAPVid-3D's and WorldTrack's files, as the test writes them."""

import numpy as np
import pytest

from d4rt_ros.evaluation.track_files import read_track_file
from d4rt_ros.io.recorded import RecordedError


def test_a_file_is_read_and_decoded_when_asked_for(track_file, video):
    file = read_track_file(track_file())
    assert file.name == "clip" and len(file.jpegs) == len(video.frames)
    assert file.points.shape == (48, 8, 3) and file.visible.shape == (48, 8) and file.visible[:, 0].all()
    assert (
        file.queries.shape == (48, 3)
        and set(file.queries[:, 0]) <= {0, 5}
        and (file.queries[:, 0] == 5).any()
    )
    images = file.images(2, 4)
    assert images.shape == (2, 36, 48, 3) and np.abs(images[0].astype(int) - video.frames[2]).mean() < 12
    projected = file.camera(48, 36).project(file.points[:, 0])
    np.testing.assert_allclose(projected[0], (3, 3), atol=1e-3)


def test_what_need_not_be_there(track_file):
    file = read_track_file(track_file(queries_xyt=None, extrinsics_w2c=None))
    assert file.queries is None and file.camera_from_world is None


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"tracks_XYZ": None}, "has no tracks_XYZ; expected images_jpeg_bytes, tracks_XYZ"),
        ({"visibility": np.ones((8, 3), bool)}, r"visibility has shape \(8, 3\); expected \(8, 48\)"),
        ({"tracks_XYZ": np.zeros((7, 48, 3))}, r"tracks_XYZ has shape \(7, 48, 3\)"),
        ({"queries_xyt": np.zeros((48, 2))}, "queries_xyt has shape"),
        ({"extrinsics_w2c": np.zeros((8, 3, 4))}, "extrinsics_w2c has shape"),
        ({"fx_fy_cx_cy": np.array([0, 1.0, 2, 3])}, "expected tracks, and positive focal lengths"),
        ({"tracks_XYZ": np.array([{}])}, "of plain arrays"),  # an object could be executed
    ],
)
def test_bad_fields(track_file, changed, message):
    with pytest.raises(RecordedError, match=message):
        read_track_file(track_file(**changed))


def test_bad_files(track_file, tmp_path):
    with pytest.raises(RecordedError, match="none.npz: cannot be read"):
        read_track_file(tmp_path / "none.npz")
    file = track_file()
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(RecordedError, match="clip.npz: cannot be read"):
        read_track_file(file)
    with pytest.raises(RecordedError, match="frame 1: cannot be decoded"):
        read_track_file(track_file(images_jpeg_bytes=[b"nonsense"] * 8)).images(1, 2)
