"""What moves in the analytic room, whose ball does; what is masked; a model that cannot tell where points go."""

from dataclasses import replace

import numpy as np
import pytest
from analytic_scene import CAMERA, AnalyticScene
from analytic_stream import BALL, PERIOD, AnalyticModel, frame, run, stream_of

from d4rt_ros.dynamics.motion import points_moving
from d4rt_ros.geometry import BODY_FROM_OPTICAL, invert, transform
from d4rt_ros.stream import Frame, Outputs, Pipeline, PipelineConfig, Stream, only
from d4rt_ros.stream.results import scaled
from d4rt_ros.stream.scale import Scale

GRID = (33, 49)  # every second pixel of the room's images


def ball(model, k):
    """(H, W) bool, the ball in image k."""
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width].reshape(2, -1)
    rays = CAMERA.backproject(np.stack([u, v], 1).astype(float), np.ones(len(u)))
    scene, eye = AnalyticScene(model.poses[: k + 1], BALL[: k + 1], camera=CAMERA), model.poses[k, :3, 3]
    turned = rays @ model.poses[k, :3, :3].T
    return scene._cast(np.tile(eye, (len(u), 1)), turned, np.tile(BALL[k], (len(u), 1)))[1].reshape(65, 97)


def watched(count=12, **config):
    model = AnalyticModel(speed=0.1)  # so that the ball stays in view
    return model, run(stream_of(model, PipelineConfig(depth_size=GRID, **config)), range(count))


def test_the_ball_moves_and_the_room_does_not():
    model, results = watched()
    k, result = results[-1]
    truth, mask = ball(model, k), result.moving.mask
    assert (mask & truth).sum() > 0.6 * (mask | truth).sum()
    np.testing.assert_array_equal(result.points.dynamic, result.moving.grid)
    # The grid is of the mask, but for the edges.
    assert (result.moving.grid != mask[::2, ::2]).mean() < 0.05
    static, moving = result.points.static, result.points.moving
    assert (
        np.isnan(static.xyz[result.points.dynamic]).all()
        and not static.confidence[result.points.dynamic].any()
    )
    assert np.isnan(moving.xyz[~result.points.dynamic]).all()
    np.testing.assert_array_equal(np.fmax(static.depth, moving.depth), result.points.depth)
    newest = result.tracks.pixels[:, -1]
    np.testing.assert_array_equal(result.tracks.dynamic, points_moving(result.moving, newest))
    assert result.tracks.dynamic.any() and not result.tracks.dynamic.all()


def test_a_body_is_where_the_ball_is_and_keeps_its_identity():
    model, results = watched()
    (k, first), (_, last) = results[-2:]
    world = BODY_FROM_OPTICAL @ invert(model.poses[5])
    assert first.objects.ids[0] == last.objects.ids[0]
    # Its visible side is nearer than its middle, and its edge may be taken for some wall.
    assert np.linalg.norm(first.objects.centroids[0] - transform(world, BALL[k])) < 0.9
    velocity = world[:3, :3] @ (BALL[1] - BALL[0]) / (PERIOD / 1e9)
    assert np.linalg.norm(first.objects.velocities[0] - velocity) < 0.4
    assert set(first.objects.tracks[0]) <= set(first.tracks.ids[first.tracks.dynamic])
    in_feet = scaled(first, Scale(3.0, 0.1, "fixed"))
    np.testing.assert_allclose(in_feet.objects.centroids, 3 * first.objects.centroids)


def test_a_room_at_rest_stays_at_rest():
    model = AnalyticModel()
    model.ball = np.full_like(BALL, 100.0)
    still = Stream(Pipeline(model, PipelineConfig(depth_size=GRID, refine="none")))
    results = []
    for k in range(14):
        scene = AnalyticScene(model.poses[: k + 1], model.ball[: k + 1], camera=CAMERA)
        painted = scene.painted(k)
        painted[0, 0, 0] = k
        results.append(still.add(Frame(painted, PERIOD * (k + 1), CAMERA)))
    assert max(result.moving.mask.mean() for result in results if result) < 0.01
    assert not len(results[-1].objects)


def test_nobody_who_asks_is_told_and_off_says_nothing():
    model, results = watched(dynamics="off")
    assert all(result.moving is None and result.objects is None for _, result in results)
    assert all(r.points.dynamic is None and r.tracks.dynamic is None for _, r in results)
    cloud = run(stream_of(model, PipelineConfig(depth_size=GRID)), range(7), only(points=True))[-1][1]
    assert cloud.points is not None and cloud.moving is None and cloud.points.dynamic is None
    masks = run(stream_of(model, PipelineConfig(depth_size=GRID)), range(7), only(masks=True))[-1][1]
    assert masks.points is None and masks.tracks is None and masks.moving is not None


@pytest.mark.parametrize("refine", ["pixels", "none"])
def test_masked_pixels_are_used_for_nothing(refine):
    masked = np.zeros((CAMERA.height, CAMERA.width), bool)
    masked[:, 50:] = True
    stream = Stream(Pipeline(AnalyticModel(), PipelineConfig(depth_size=GRID, refine=refine)))
    for k in range(8):
        result = stream.add(replace(frame(k), masked=masked))
    assert np.isnan(result.points.xyz[:, 25:]).all() and np.isfinite(result.points.xyz[:, :25]).all()
    assert not result.moving.mask[:, 50:].any()
    assert result.tracks is None or not (result.tracks.pixels[:, -1, 0] > 49.5).any()


def test_a_model_that_cannot_tell_where_points_go(tmp_path):
    torch = pytest.importorskip("torch")
    from small_vggt import random_vggt

    from d4rt_ros.runtime.vggt_model import VGGTModel

    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 255, (9, 56, 84, 3), np.uint8)
    for refine in ("pixels", "none"):
        config = PipelineConfig(frames=4, refine=refine, dynamics="attention", depth_size=(4, 6))
        stream = Stream(Pipeline(VGGTModel(random_vggt()), config))
        results = [stream.add(Frame(rgb, PERIOD * (k + 1)), Outputs()) for k, rgb in enumerate(images)]
        assert [r is not None for r in results] == [False] * 3 + [True] * 6
        assert all(np.isfinite(r.window.stamps).all() for r in results[3:])
    with pytest.raises(ValueError, match="a window of 5 frames; this model was started with 4"):
        stream.pipeline.change(replace(config, frames=5))
