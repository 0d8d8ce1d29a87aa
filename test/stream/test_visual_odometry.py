"""Poses image by image, of a camera before a textured wall and a board, through the true tracker."""

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry import Pinhole, invert, pose_matrix
from d4rt_ros.geometry.region import area_of
from d4rt_ros.io.frame import Frame
from d4rt_ros.stream import followed
from d4rt_ros.stream.tracker import Tracker
from d4rt_ros.stream.visual_odometry import VisualOdometry
from d4rt_ros.stream.window import WindowFrame

CAMERA = Pinhole(150.0, 150.0, 103.5, 75.5, 208, 152)
FAR, NEAR = 3.0, 1.5
BOARD = (-0.4, 0.4)  # across, metres, of the near board
V, U = np.mgrid[0:152, 0:208].astype(np.float32)
FRAME = 66_666_667


@lru_cache
def texture(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return sum(
        cv2.resize(
            random.uniform(0, 255 / 3, (n, n)).astype(np.float32), (1024, 1024), interpolation=cv2.INTER_CUBIC
        )
        for n in (32, 64, 128)
    )


def seen(x: float, y: float = 0.0, place: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 3) uint8 from (x, y, 0), looking along z, in one of several places; and its depth (H, W)."""
    layers = []
    for z, seed in ((FAR, 0), (NEAR, 1)):
        wall_x, wall_y = x + (U - CAMERA.cx) / CAMERA.fx * z, y + (V - CAMERA.cy) / CAMERA.fy * z
        at = [(c * 130 + 512).astype(np.float32) for c in (wall_x, wall_y)]
        layers.append(
            (wall_x, cv2.remap(texture(seed + 10 * place), *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))
        )
    board = (layers[1][0] > BOARD[0]) & (layers[1][0] < BOARD[1])
    image = np.where(board, layers[1][1], layers[0][1])
    return np.repeat(np.clip(image, 0, 255).astype(np.uint8)[..., None], 3, 2), np.where(board, NEAR, FAR)


class Run:
    """Every image is followed and placed, with true depths times `scale`."""

    def __init__(self, recover: float = 1.0, most: int = 150) -> None:
        self.odometry, self.recover, self.number = VisualOdometry(Tracker(most)), recover, 0

    def step(self, image, depth, problem: str = "", scale: float = 1.0):
        self.number += 1
        frame = WindowFrame(Frame(image, self.number * FRAME, CAMERA))
        self.odometry.follow(frame)
        points = self.odometry.tracker.at(frame.stamp)
        x, y = np.rint(points.pixels).astype(int).clip(0, [207, 151]).T
        said = None if problem else np.log(depth[y, x] * scale)
        return self.odometry.place(frame, problem, said, CAMERA, np.eye(4), self.recover), frame

    def walk(self, xs, **options) -> list:
        return [self.step(*seen(x), **options)[0] for x in xs]


WAY = np.linspace(0, 0.4, 24)


@pytest.fixture(scope="module")
def walked() -> tuple[Run, list]:
    run = Run()
    return run, run.walk(WAY)


def test_path(walked):
    _, path = walked
    assert not any(f.reason for f in path)
    np.testing.assert_allclose([f.world_from_camera[0, 3] for f in path], WAY, atol=0.02)
    np.testing.assert_allclose([f.world_from_camera[1:3, 3] for f in path], 0.0, atol=0.02)


def test_world_is_continuous_and_was_not_taken_back(walked):
    run, path = walked
    steps = [invert(a.world_from_camera) @ b.world_from_camera for a, b in zip(path, path[1:])]
    assert max(np.linalg.norm(s[:3, 3]) for s in steps) < 0.04
    for before in path:
        np.testing.assert_array_equal(
            run.odometry.at(before.stamp).world_from_camera, before.world_from_camera
        )


def test_covariance_grows(walked):
    _, path = walked
    sizes = [np.trace(f.covariance[:3, :3]) for f in path]
    assert np.isfinite(sizes).all() and (np.diff(sizes) >= -1e-12).all() and sizes[-1] > sizes[0]
    for f in path:
        assert np.linalg.eigvalsh(f.covariance)[0] > 0


def test_errors_are_such_as_the_covariance_says(walked):
    _, path = walked
    a, b = path[5], path[20]
    off = b.world_from_camera[:3, 3] - a.world_from_camera[:3, 3] - [WAY[20] - WAY[5], 0, 0]
    assert (np.abs(off) < 4 * np.sqrt(np.diag(b.covariance)[:3])).all()


def test_frozen_images_stand_still():
    run = Run()
    last = run.walk(WAY[:8])[-1]
    for _ in range(5):
        stood, _ = run.step(*seen(WAY[7]))
        np.testing.assert_array_equal(stood.world_from_camera, last.world_from_camera)
        np.testing.assert_array_equal(stood.covariance, last.covariance)
        assert not stood.reason


def test_few_landmarks_that_are_wrong_together_do_not_turn_the_camera(monkeypatch):
    """A step that the other points contradict is not trusted, however well landmarks agree with it."""
    run = Run()
    run.walk(WAY[:12])
    resect, turn = run.odometry.map.resect, pose_matrix(Rotation.from_rotvec([0, 0, 0.08]).as_matrix())

    def wrong(*args):
        fit, shown = resect(*args)
        return replace(fit, world_from_camera=fit.world_from_camera @ turn), shown

    with monkeypatch.context() as patched:
        patched.setattr(run.odometry.map, "resect", wrong)
        image, _ = seen(WAY[12])
        lost = run.odometry.follow(WindowFrame(Frame(image, 13 * FRAME, CAMERA)))
    assert "went where the camera's motion takes them" in lost.reason and lost.covariance[0, 0] > 1e3
    run.number = 13
    assert not run.walk(WAY[13:15])[-1].reason


def test_dark_and_found_again():
    run = Run()
    run.walk(WAY[:12])
    dark = np.zeros_like(seen(0)[0])
    for _ in range(3):
        lost, _ = run.step(dark, seen(0)[1], problem="the image is dark")
        assert lost.reason and lost.covariance[0, 0] > 1e3
    found = run.walk(WAY[12:20])[-1]
    assert not found.reason and found.world == 0
    assert abs(found.world_from_camera[0, 3] - WAY[19]) < 0.04


def test_found_again_by_its_image_after_a_cut():
    run = Run(recover=60.0)
    run.walk(WAY[:12])
    for _ in range(4):
        lost, _ = run.step(*seen(0.0, place=1))
    assert lost.reason
    found = run.walk(WAY[11:5:-1])[-1]
    assert not found.reason and found.world == 0
    assert abs(found.world_from_camera[0, 3] - WAY[6]) < 0.06


def test_another_place_is_a_new_world_in_the_end():
    run = Run(recover=0.5)
    run.walk(WAY[:12])
    path = [run.step(*seen(x, place=1))[0] for x in WAY[:14]]
    assert path[1].reason and path[1].world == 0
    assert not path[-1].reason and path[-1].world == 1
    assert run.odometry.last_loss


def corrected_by(most: int):
    """Of a run of so many points the correction of a model that now has all depths 30 % too large."""
    run = Run(most=most)
    assert not any(f.reason for f in run.walk(WAY))
    _, frame = run.step(*seen(0.41), scale=1.3)
    depth = seen(0.41)[1]
    points = run.odometry.tracker.at(frame.stamp)
    x, y = np.rint(points.pixels).astype(int).clip(0, [207, 151]).T
    said = np.log(depth[y, x] * 1.3)
    return run.odometry.correct(frame, area_of(None, (152, 208), None), np.log(depth[::8, ::8] * 1.3), said)


def test_depth_is_corrected_towards_the_map_as_far_as_that_is_sure():
    many, few = corrected_by(150), corrected_by(25)
    assert abs(np.median(many.log) + np.log(1.3)) < 0.08
    # What few landmarks say all of them may have wrong: then the model stands, and is not surer than it is.
    assert abs(np.median(few.log)) < 0.6 * np.log(1.3)
    assert np.median(few.sigma) > 1.5 * np.median(many.sigma)


def test_reference_where_pixels_say_little():
    run, clip = Run(), []
    for x in WAY[:6]:
        clip.append(run.step(*seen(x))[1])
    assert run.odometry.reference(clip) is None
    _, dark = run.step(np.zeros_like(seen(0)[0]), seen(0)[1], problem="dark")
    assert run.odometry.reference([*clip, dark]) == 0


def test_the_world_comes_back_to_the_map(monkeypatch):
    """Whose past was corrected: the first depths are 30 % too large."""

    def off(share: float) -> float:
        monkeypatch.setattr(followed, "RETURN", share)
        run = Run()
        path = [
            run.step(*seen(x), scale=1.3 if i < 4 else 1.0)[0] for i, x in enumerate(np.linspace(0, 0.5, 30))
        ]
        assert not any(f.reason for f in path)
        last = run.odometry.at(path[-1].stamp)
        return float(np.linalg.norm(last.world_from_camera[:3, 3] - last.pose[:3, 3]))

    never, always = off(0.0), off(0.2)
    assert always < 0.3 * never
