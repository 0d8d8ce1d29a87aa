"""What moves in a synthetic world of exact depth and poses: a wall and a patch before it, on images not square."""

import cv2
import numpy as np
import pytest

from d4rt_ros.dynamics.motion import MotionFilter, Observation, points_moving
from d4rt_ros.geometry.camera import Pinhole

HEIGHT, WIDTH, RATE = 120, 200, 15
CAMERA = Pinhole.centred(180.0, 180.0, WIDTH, HEIGHT)
WALL, PATCH = 2.0, 1.6  # metres away


def texture(seed, height, width):
    grains = np.random.default_rng(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(grains, (0, 0), 2.5)
    return np.clip(128 + 6 * (smooth - smooth.mean()), 0, 255).astype(np.uint8)


LARGE, SMALL = texture(0, 3 * HEIGHT, 3 * WIDTH), texture(1, 3 * HEIGHT, 3 * WIDTH)
SMALL = (0.6 * SMALL + [80, 0, 0]).clip(0, 255).astype(np.uint8)  # of another colour


class World:
    """A wall at rest, seen from a camera that goes sideways, and a patch in front of it.

    patch: rows and columns of the image that it covers while it is at its place; None: there is none. path: its place,
    metres to the right, at a time in seconds. wall: the same of the wall.
    """

    def __init__(self, patch=None, path=lambda t: 0.0, wall=lambda t: 0.0, speed=0.15):
        self.patch, self.path, self.wall, self.speed = patch, path, wall, speed

    def frame(self, t):
        """(image, depth (H, W), pose, mask of the patch)."""
        x = self.speed * t
        image = self._layer(LARGE, (self.wall(t) - x) * CAMERA.fx / WALL)
        depth, covers = np.full((HEIGHT, WIDTH), WALL, np.float32), np.zeros((HEIGHT, WIDTH), bool)
        if self.patch is not None:
            shift = (self.path(t) - x) * CAMERA.fx / PATCH
            whole = np.zeros((HEIGHT, WIDTH), np.uint8)
            whole[self.patch] = 1
            covers = cv2.warpAffine(whole, np.float64([[1, 0, shift], [0, 1, 0]]), (WIDTH, HEIGHT)) > 0
            image = np.where(covers[..., None], self._layer(SMALL, shift), image)
            depth[covers] = PATCH
        pose = np.eye(4)
        pose[0, 3] = x
        return image, depth, pose, covers

    @staticmethod
    def _layer(picture, shift):
        matrix = np.float64([[1, 0, shift - WIDTH], [0, 1, -HEIGHT]])
        return cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)


def grid_of(depth, size=(18, 30)):
    u, v = (np.rint(np.linspace(0, n - 1, m)).astype(int) for n, m in zip(depth.shape[::-1], size[::-1]))
    return depth[v[:, None], u].copy()


def observation(frames, stamps, sigma=0.03):
    grid = grid_of(frames[-1][1])
    return Observation(
        [f[0] for f in frames],
        stamps,
        np.stack([f[2] for f in frames]),
        CAMERA,
        grid,
        np.full_like(grid, sigma),
    )


def run(world, seconds=1.2, start=0.0, frames=8, change=lambda seen: seen, motion=None):
    """[(time, Moving, mask of the patch)] of each window."""
    motion, seen, results = motion or MotionFilter(), [], []
    for k in range(round(seconds * RATE)):
        t = start + k / RATE
        seen = [*seen, (t, world.frame(t))][-frames:]
        if len(seen) == frames:
            stamps = np.array([round(s * 1e9) for s, _ in seen], np.int64)
            window = change(observation([f for _, f in seen], stamps))
            results.append((t, motion.update(window), seen[-1][1][3]))
    return results


def overlap(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


MIDDLE = np.s_[40:85, 75:125]


def test_a_patch_that_moves_is_seen_and_nothing_else():
    world = World(MIDDLE, lambda t: 0.25 * (t - 0.6))
    found = run(world)[-5:]
    assert np.mean([overlap(moving.mask, truth) for _, moving, truth in found]) > 0.7
    moving = found[-1][1]
    assert moving.mask.shape == (HEIGHT, WIDTH) and moving.mask.dtype == bool
    assert moving.grid.shape == moving.probability.shape == (18, 30)
    assert moving.probability.dtype == np.float32
    assert moving.probability[moving.grid].mean() > 0.5 > moving.probability[~moving.grid].mean()


def test_ground_that_a_patch_has_left_is_at_rest():
    found = run(World(MIDDLE, lambda t: 0.5 * (t - 0.8)), 1.3)
    left = [
        moving.mask[before & ~truth].mean()
        for (_, _, before), (_, moving, truth) in zip(found[6:], found[9:])
        if (before & ~truth).any()
    ]
    assert np.mean(left) < 0.6


@pytest.mark.parametrize("patch", [None, MIDDLE])
def test_nothing_moves(patch):
    assert max(moving.mask.mean() for _, moving, _ in run(World(patch))) < 0.005


def test_a_thing_over_half_of_the_view():
    world = World(np.s_[:, 60:165], lambda t: 0.2 * (t - 0.6))
    found = run(world)[-5:]
    assert 0.4 < found[-1][2].mean() < 0.6
    assert np.mean([overlap(moving.mask, truth) for _, moving, truth in found]) > 0.6


def test_where_everything_moves_as_one_the_camera_does():
    """Nothing tells the difference, and the whole world is never said to move."""
    world = World(None, wall=lambda t: 0.3 * t)
    assert max(moving.mask.mean() for _, moving, _ in run(world)) < 0.05


def test_two_frames():
    found = run(World(MIDDLE, lambda t: 0.3 * (t - 0.6)), frames=2)[-5:]
    assert np.mean([overlap(moving.mask, truth) for _, moving, truth in found]) > 0.5


def test_one_frame_says_nothing():
    [(_, moving, _)] = run(World(MIDDLE), seconds=1 / RATE, frames=1)
    assert not moving.mask.any() and not moving.grid.any()


def without_poses(seen):
    return replaced(seen, map_from_camera=np.full_like(seen.map_from_camera, np.nan))


def without_depth(seen):
    return replaced(seen, depth=np.full_like(seen.depth, np.nan))


def replaced(seen, **values):
    return Observation(**{**vars(seen), **values})


@pytest.mark.parametrize("change", [without_poses, without_depth])
def test_without_poses_or_depth_nothing_is_said(change):
    found = run(World(MIDDLE, lambda t: 0.25 * t), change=change)
    assert not any(moving.mask.any() for _, moving, _ in found)
    assert all((moving.probability == 0.5).all() for _, moving, _ in found)


def test_holes_in_depth_and_poses_leave_the_rest():
    def change(seen):
        depth, sigma, poses = seen.depth.copy(), seen.sigma.copy(), seen.map_from_camera.copy()
        depth[:, :5], sigma[:, :9], poses[::3] = np.nan, np.nan, np.nan
        poses[-1] = seen.map_from_camera[-1]
        return replaced(seen, depth=depth, sigma=sigma, map_from_camera=poses)

    found = run(World(MIDDLE, lambda t: 0.25 * (t - 0.6)), change=change)[-5:]
    assert np.mean([overlap(moving.mask, truth) for _, moving, truth in found]) > 0.6


def test_what_is_not_valid_never_moves():
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[:, WIDTH // 2 :] = False
    found = run(World(MIDDLE, lambda t: 0.25 * (t - 0.6)), change=lambda seen: replaced(seen, valid=valid))
    assert found[-1][1].mask[:, : WIDTH // 2].any() and not found[-1][1].mask[:, WIDTH // 2 :].any()


def test_what_starts_moves_within_half_a_second():
    world = World(MIDDLE, lambda t: 0.3 * max(t - 0.8, 0.0))
    for t, moving, truth in run(world, 1.5):
        if t < 0.8:
            assert not moving.mask.any()
        if t > 1.3:
            assert overlap(moving.mask, truth) > 0.5


@pytest.mark.parametrize("release", [0.8, 1.6])
def test_what_stops_is_at_rest_after_a_time_that_is_given(release):
    world = World(MIDDLE, lambda t: 0.25 * (min(t, 1.0) - 0.6), speed=0.05)
    found = run(world, 1.4 + release, motion=MotionFilter(release))
    for t, moving, truth in found:
        if 0.8 < t < 1.0 + 0.3 * release:
            assert overlap(moving.mask, truth) > 0.5, t
        if t > 1.0 + release:
            assert moving.mask.mean() < 0.01, t


def test_a_new_world_remembers_nothing():
    motion = MotionFilter()
    run(World(MIDDLE, lambda t: 0.25 * (t - 0.6)), motion=motion)
    motion.reset()
    found = run(World(), seconds=0.7, start=5.0, motion=motion)
    assert not any(moving.mask.any() for _, moving, _ in found)


def test_images_of_another_size_begin_anew():
    motion = MotionFilter()
    run(World(MIDDLE, lambda t: 0.25 * (t - 0.6)), motion=motion)
    image = np.zeros((90, 60, 3), np.uint8)
    seen = Observation(
        [image] * 2, np.array([3, 4]) * 10**9, np.stack([np.eye(4)] * 2), Pinhole.centred(60, 60, 60, 90),
        np.ones((9, 6), np.float32), np.full((9, 6), 0.1, np.float32),
    )  # fmt: skip
    moving = motion.update(seen)
    assert moving.mask.shape == (90, 60) and not moving.mask.any()


def test_points_on_what_moves():
    moving = run(World(MIDDLE, lambda t: 0.25 * (t - 0.6)))[-1][1]
    v, u = np.nonzero(moving.mask)
    inside = np.array([u.mean(), v.mean()])
    pixels = np.stack([inside, [1.0, 1.0], [np.nan, 5.0], [-40.0, 50.0]])
    np.testing.assert_array_equal(points_moving(moving, pixels), [True, False, False, False])
