"""Answers that are known, as scenes and models: the trivial one and the true one."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
import torch

from d4rt_ros.evaluation.scenes import held_out
from d4rt_ros.model.query import Answer
from d4rt_ros.scenes import OracleScene


class Still:
    """Says that nothing moves and that all is at one depth: the trivial answer."""

    def __init__(self, images):
        self.num_frames, self.size = len(images), images[0].shape[:2]

    def query(self, u, v, t_src, t_tgt, t_cam):
        u, v, *_ = np.broadcast_arrays(u, v, t_src, t_tgt, t_cam)
        u, v = u.reshape(-1).astype(float), v.reshape(-1).astype(float)
        n, (height, width) = len(u), self.size
        rays = np.stack(((u - (width - 1) / 2) / width, (v - (height - 1) / 2) / width, np.ones(n)), 1)
        ones = np.ones(n, np.float32)
        return Answer(rays.astype(np.float32), np.stack((u, v), 1), ones, ones, -rays, np.zeros((n, 3)))


@pytest.fixture
def still_scene():
    return Still


@dataclass
class StillModel:
    num_frames: int = 2
    encode = staticmethod(Still)


@pytest.fixture
def still_model():
    return StillModel()


@dataclass
class TrueModel:
    """Knows a video of a scene, and is asked for its clips in turn: the frames of each in `clips`."""

    scene: OracleScene
    clips: list
    num_frames: int = 4
    asked: list = field(default_factory=list)

    def encode(self, images):
        frames = self.clips[len(self.asked)]
        self.asked.append(images)
        times = self.scene._times[torch.as_tensor(frames)]
        return OracleScene(self.scene._scenes, times, *self.scene.size, frames=images)


@pytest.fixture(scope="session")
def video():
    """Eight frames of 36x48 of a scene in which something moves."""
    scenes, times = held_out()
    n = int(torch.nonzero(scenes.moving.any(1))[0])
    return OracleScene(scenes[n : n + 1], times[n], 36, 48)


@pytest.fixture
def true_model(video):
    return lambda clips, num_frames=4: TrueModel(video, clips, num_frames)


@pytest.fixture
def track_file(video, tmp_path):
    """Writes TAPVid-3D's and WorldTrack's format: a video's points from a grid of frame 0, with queries in frame 5."""

    def write(name="clip.npz", **changed):
        count, (height, width) = video.num_frames, video.size
        u, v = (x.ravel() for x in np.meshgrid(np.arange(3, width, 6), np.arange(3, height, 6)))
        n, times = len(u), np.arange(count)[:, None]
        answer = video.query(u, v, 0, times, times)
        camera = truth_camera(video)
        visible = answer.visibility.reshape(count, n) > 0.5
        fields = {
            "images_jpeg_bytes": [cv2.imencode(".jpg", i[..., ::-1])[1].tobytes() for i in video.frames],
            "tracks_XYZ": answer.xyz.reshape(count, n, 3),
            "visibility": visible,
            "fx_fy_cx_cy": camera[[0, 1, 0, 1], [0, 1, 2, 2]],
            "queries_xyt": np.concatenate([answer.uv.reshape(count, n, 2)[5], np.full((n, 1), 5)], axis=1)[
                :, [0, 1, 2]
            ],
            "extrinsics_w2c": np.linalg.inv(truth_poses(video)),
        } | changed
        np.savez(tmp_path / name, **{k: x for k, x in fields.items() if x is not None})
        return tmp_path / name

    return write


def truth_camera(video) -> np.ndarray:
    from d4rt_ros.scenes import intrinsics

    return intrinsics(video._scenes, *video.size)[0].double().numpy()


def truth_poses(video) -> np.ndarray:
    from d4rt_ros.scenes import camera_poses

    return camera_poses(video._scenes, video._times[None])[0].double().numpy()
