"""The space that a crossing body sweeps, and the static points in it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from d4rt_ros.evaluation import swept as module
from d4rt_ros.evaluation.mask_effects import NOTHING, TRUE
from d4rt_ros.evaluation.run_depth import on_grid
from d4rt_ros.evaluation.swept import crossings, evaluate_swept, static_points, swept_table
from d4rt_ros.geometry import transform
from d4rt_ros.scenes import primitive_half_sizes, primitive_poses

GRID = 24, 32


@pytest.fixture(scope="module")
def crossing():
    found = next(crossings(1))
    return replace(found, scene=replace(found.scene, size=(48, 64)))


def seen(crossing, numbers):
    """Of frames: world points (h, w, 3) of the true depth, and the true mask."""
    for k in numbers:
        frame, mask = crossing.scene.frame(k)
        points = frame.camera.backproject_map(frame.depth.astype(float))
        yield transform(frame.world_from_camera, points.reshape(-1, 3)).reshape(points.shape), mask


def test_the_body_comes_and_goes_and_what_moves_is_in_swept_space(crossing):
    shares = []
    for points, mask in seen(crossing, range(0, 150, 15)):
        shares.append(mask.mean())
        known = np.isfinite(points).all(-1)
        # Its surface is the border of that space: a little within, all of it lies in it; what rests never does.
        assert not crossing.swept(points[known & ~mask]).any()
        if (known & mask).sum() > 20:
            assert crossing.swept(points[known & mask], grown=1.02).mean() > 0.95
    assert shares[0] < 0.02 and max(shares) > 0.05


def test_swept_space_by_hand(crossing):
    """Along the straight path of the trunk's middle, and beside it by its radius."""
    scenes, (trunk, head) = crossing.scene.scenes, crossing.body
    times = torch.tensor([[0.0, 5.0, 9.0]])
    place = primitive_poses(scenes, times)[1][0].double().numpy()
    radius, _, height = primitive_half_sizes(scenes, times)[0, 0, trunk].double().numpy()
    way = place[2, trunk] - place[0, trunk]
    across = np.cross(way / np.linalg.norm(way), [0, 0, 1])
    middle, up = place[1, trunk], np.array([0, 0, 1.0])
    for off, inside in ((0.98, True), (1.02, False)):
        points = middle + off * np.stack([radius * across, -radius * across, -height * up])
        assert (crossing.swept(points) == inside).all()
    assert crossing.swept(np.stack([place[0, head], place[0, trunk] + 0.5 * way])).all()
    # Beyond where it turns back.
    assert not crossing.swept((place[0, trunk] - 1.2 * radius * way / np.linalg.norm(way))[None]).any()


def test_the_same_ones_every_time(crossing):
    again = next(crossings(2))
    assert again.scene.name == crossing.scene.name
    assert torch.equal(again.scene.scenes.center, crossing.scene.scenes.center)


def test_points_are_counted_by_variant(crossing, monkeypatch):
    """A run whose depth is right in another unit, and whose masks are none, half, or the true ones."""

    def run(model, frames, dynamics, outputs):
        assert outputs.points and outputs.pose and outputs.masks
        for k, (frame, mask) in enumerate(frames):
            camera = frame.camera.grid(*GRID[::-1])
            xyz = 3.0 * camera.backproject_map(on_grid(frame.depth, GRID))
            moves = on_grid(mask, GRID)
            half = moves & (np.arange(GRID[0])[:, None] % 2 == 0)
            said = {}
            for name, dynamic in ((NOTHING, None), ("motion", half), (TRUE, moves)):
                points = SimpleNamespace(xyz=xyz, depth=xyz[..., 2], dynamic=dynamic)
                result = SimpleNamespace(points=points, trusted=k > 0, scale=SimpleNamespace(metres=1.0))
                said[name] = None, result
            yield frame, said

    monkeypatch.setattr(module, "run_beside", run)
    few = SimpleNamespace(
        scene=SimpleNamespace(frames=lambda: map(crossing.scene.frame, range(50, 110, 10)), name="few"),
        swept=crossing.swept,
    )
    counted = static_points(None, few, "motion")
    inside = [counted[name][1] / counted[name][0] for name in (NOTHING, "motion", TRUE)]
    # Of the body's surface, half lies within by rounding.
    assert inside[0] > 1.5 * inside[1] > 0 and inside[2] < 0.002
    assert counted[NOTHING][0] > counted["motion"][0] > counted[TRUE][0] > 3000
    figures = evaluate_swept(None, [few], 1, "motion")
    assert [f.variant for f in figures] == [NOTHING, "motion", TRUE] and figures[0].share == pytest.approx(
        inside[0]
    )
    assert swept_table(figures, "swept").row_count == 3


def test_a_run_that_is_never_trusted_has_no_points(crossing, monkeypatch):
    monkeypatch.setattr(module, "run_beside", lambda *_: iter(()))
    figures = evaluate_swept(None, [crossing], 1, "motion")
    assert all(f.points == 0 and np.isnan(f.share) for f in figures)
    assert swept_table(figures, "swept").row_count == 3
