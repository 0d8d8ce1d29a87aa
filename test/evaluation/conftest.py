"""Answers that are known, as scenes and models: the trivial one and the true one."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch

from d4rt_ros.evaluation.scenes import held_out
from d4rt_ros.model.query import Answer, QueryError
from d4rt_ros.scenes import OracleScene, Rendering, Scenes, render


class Still:
    """Says that nothing moves and that all is at one depth: the trivial answer."""

    tells_motion = True

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


@dataclass(frozen=True)
class Video:
    """Frames of a scene, and its truth. times: (T,) seconds."""

    scenes: Scenes
    times: torch.Tensor
    truth: OracleScene

    @property
    def size(self):
        return self.truth.size

    @property
    def frames(self):
        return self.truth.frames

    def part(self, frames) -> OracleScene:
        times = self.times[torch.as_tensor(list(frames))]
        return OracleScene(self.scenes, times, *self.size, frames=self.frames[list(frames)])

    def rendering(self) -> Rendering:
        return render(self.scenes, self.times[None], *self.size)


@pytest.fixture(scope="session")
def video():
    """Eight frames of 36x48 of a scene in which something moves."""
    scenes, times = held_out()
    n = int(torch.nonzero(scenes.moving.any(1))[0])
    scenes, times = scenes[n : n + 1], times[n]
    return Video(scenes, times, OracleScene(scenes, times, 36, 48))


@dataclass
class TrueModel:
    """Knows a video, and is asked for its clips in turn: the frames of each in `clips`."""

    video: Video
    clips: list
    num_frames: int = 4
    asked: int = 0

    def encode(self, images):
        self.asked += 1
        return self.video.part(self.clips[self.asked - 1])


@pytest.fixture
def true_model(video):
    return lambda clips, num_frames=4: TrueModel(video, clips, num_frames)


class Motionless:
    """A scene that knows all but where a point goes, as VGGT's."""

    tells_motion = False

    def __init__(self, scene):
        self._scene = scene

    def query(self, u, v, t_src, t_tgt, t_cam):
        source, target = (np.asarray(t) % self.num_frames for t in (t_src, t_tgt))
        if (source != target).any():
            raise QueryError("this model cannot tell where a point goes; use a D4RT checkpoint")
        return self._scene.query(u, v, t_src, t_tgt, t_cam)

    def __getattr__(self, name):
        return getattr(self._scene, name)


@pytest.fixture
def motionless():
    return Motionless


@pytest.fixture
def track_file(video, tmp_path):
    """Writes TAPVid-3D's and WorldTrack's format: points of frame 0's grid, asked for in frame 5 where it
    sees them."""

    def write(name="clip.npz", **changed):
        count, (height, width) = len(video.frames), video.size
        u, v = (x.ravel() for x in np.meshgrid(np.arange(3, width, 6), np.arange(3, height, 6)))
        n, times = len(u), np.arange(count)[:, None]
        answer = video.truth.query(u, v, 0, times, times)
        rendering = video.rendering()
        matrix = rendering.intrinsics[0].double().numpy()
        visible = answer.visibility.reshape(count, n) > 0.5
        frame = np.where(visible[5], 5, 0)
        queries = np.column_stack([answer.uv.reshape(count, n, 2)[frame, np.arange(n)], frame])
        fields = {
            "images_jpeg_bytes": [cv2.imencode(".jpg", i[..., ::-1])[1].tobytes() for i in video.frames],
            "tracks_XYZ": answer.xyz.reshape(count, n, 3),
            "visibility": visible,
            "fx_fy_cx_cy": matrix[[0, 1, 0, 1], [0, 1, 2, 2]],
            "queries_xyt": queries,
            "extrinsics_w2c": np.linalg.inv(rendering.world_from_camera[0].double().numpy()),
        } | changed
        np.savez(tmp_path / name, **{k: x for k, x in fields.items() if x is not None})
        return tmp_path / name

    return write
