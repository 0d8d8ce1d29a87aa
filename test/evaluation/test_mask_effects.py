"""What masks are worth to the camera's path: made-up runs, and the pipeline with a model that knows the truth."""

from types import SimpleNamespace

import numpy as np
import pytest

from d4rt_ros.evaluation import mask_effects
from d4rt_ros.evaluation.mask_effects import NOTHING, TRUE, evaluate_paths, path_table, run_beside
from d4rt_ros.evaluation.mask_scenes import mask_scenes
from d4rt_ros.geometry import pose_matrix
from d4rt_ros.io.frame import Frame, even_stamp
from d4rt_ros.stream import Pose
from d4rt_ros.stream.config import only

COUNT = 30


def frames(count=COUNT):
    t = np.linspace(0, 3, count)
    path = pose_matrix(translation=np.sin(np.outer(t, [1.0, 1.3, 0.8])))
    for k in range(count):
        mask = np.zeros((6, 8), bool)
        mask[0, 0] = True
        depth = np.ones((6, 8), np.float32)
        yield (
            Frame(np.full((6, 8, 3), k, np.uint8), even_stamp(k, 15), depth=depth, world_from_camera=path[k]),
            mask,
        )


class MadeUp:
    """A stream whose path is right in twice the scale with true masks, off by more without any; it loses its world in
    the first ten frames of the one without."""

    def __init__(self, config):
        self.config, self.pose, self.number = config, None, 0
        self.truth = [frame.world_from_camera for frame, _ in frames()]

    def add(self, frame, outputs):
        assert frame.depth is None and frame.world_from_camera is None
        k, self.number = self.number, self.number + 1
        pose = self.truth[k].copy()
        pose[:3, 3] *= 2
        error = {"motion": 0.1}.get(self.config.dynamics, 0.0 if frame.masked is not None else 0.5)
        pose[2, 3] += error * np.sin(5.0 * k)
        lost = self.config.dynamics == "off" and frame.masked is None and k < 10
        self.pose = Pose(pose, np.eye(6), not lost, "", world=0)


@pytest.fixture
def made_up(monkeypatch):
    monkeypatch.setattr(mask_effects, "Stream", MadeUp)
    monkeypatch.setattr(mask_effects, "Pipeline", lambda model, config: config)


def test_all_are_judged_over_the_frames_that_all_trust(made_up):
    scene = SimpleNamespace(name="one", frames=frames)
    nothing, motion, true, still = evaluate_paths(SimpleNamespace(num_frames=4), [scene], 1, "motion")
    assert [f.variant for f in (nothing, motion, true, still)] == [NOTHING, "motion", TRUE, "still camera"]
    assert true.mean < 1e-6 < 0.5 < motion.mean < nothing.mean / 3 and nothing.mean < still.mean
    assert (nothing.trusted, motion.trusted) == (pytest.approx(2 / 3), 1)
    assert motion.better == motion.count == 1 and nothing.better == 0
    assert path_table([nothing, motion, true, still], "paths").row_count == 4


def test_a_run_of_which_too_little_is_known_is_not_compared(made_up):
    short = SimpleNamespace(name="short", frames=lambda: frames(15))
    figures = evaluate_paths(SimpleNamespace(num_frames=4), [short], 1, "motion")
    assert all(f.count == 0 and np.isnan(f.mean) for f in figures)
    assert path_table(figures, "paths").row_count == 4


def test_worlds_that_are_not_the_main_one_are_not_trusted():
    worlds = [None, 0, 1, 1, 2, None]
    path = [w if w is None else Pose(np.eye(4), np.eye(6), True, "", world=w) for w in worlds]
    assert mask_effects._in_main_world(path).tolist() == [False, False, True, True, False, False]
    assert not mask_effects._in_main_world([None, None]).any()


class Oracle:
    """Encodes frames of a scene by their images' bytes, and counts."""

    def __init__(self, scene, count):
        from d4rt_ros.scenes import OracleModel

        images = np.stack([frame.image for frame, _ in map(scene.frame, range(count))])
        self.model, self.encoded = OracleModel(scene.scenes, images, scene.times[:count], 4), 0
        self.num_frames = 4

    def encode(self, frames):
        self.encoded += 1
        return self.model.encode(frames)

    def __getattr__(self, name):
        return getattr(self.model, name)


def test_the_pipeline_runs_beside_itself_and_windows_are_encoded_once():
    from dataclasses import replace

    scene = replace(next(mask_scenes("moving", 1)), size=(48, 64))
    model = Oracle(scene, 6)
    run = list(run_beside(model, map(scene.frame, range(6)), "motion", only(pose=True, masks=True)))
    assert len(run) == 6 and set(run[0][2]) == {NOTHING, "motion", TRUE}
    assert model.encoded == 3
    assert run[-1][2]["motion"][1].moving is not None and run[-1][2][NOTHING][1].moving is None
