"""Algorithm 1 keeps what it promises: every cell is passed, and what is said of the points is the truth."""

import numpy as np
import pytest
from analytic_scene import CAMERA, Altered, AnalyticScene, wandering_camera

from d4rt_ros.tasks import dense_tracks, tracking_cost, tracks_of_points
from d4rt_ros.tasks.dense_tracks import VISIBLE


class Resized:
    """A scene that says its images are larger than they are; nothing but their size is asked of it."""

    def __init__(self, num_frames, size):
        self.num_frames, self.size = num_frames, size


@pytest.fixture
def scene():
    return AnalyticScene(wandering_camera(5), camera=CAMERA.grid(31, 22))


def passed(result, size):
    """The cells that visible tracks pass or start from, worked out point by point."""
    grid = np.zeros_like(result.visited)
    for i in range(len(result.u)):
        grid[result.t_src[i], int(result.v[i] // result.stride), int(result.u[i] // result.stride)] = True
        for t in np.flatnonzero(result.tracks.visibility[i] > VISIBLE):
            u, v = result.tracks.uv[i, t]
            if t != result.t_src[i] and -0.5 <= u <= size[1] - 0.5 and -0.5 <= v <= size[0] - 0.5:
                cell = int((v + 0.5) // result.stride), int((u + 0.5) // result.stride)
                grid[t, min(cell[0], grid.shape[1] - 1), min(cell[1], grid.shape[2] - 1)] = True
    return grid


@pytest.mark.parametrize("stride", [1, 2, 3, 7, 100])
def test_every_cell_has_a_track(scene, stride):
    result = dense_tracks(scene, stride, batch=97)
    assert result.complete and result.visited.all() and result.stride == stride
    assert result.visited.shape == (5, -(-22 // stride), -(-31 // stride))
    assert passed(result, scene.size).all()
    # No track starts twice, and none from a cell that another one of an earlier frame has passed.
    starts = np.stack([result.t_src, result.v // stride, result.u // stride], 1)
    assert len(np.unique(starts, axis=0)) == len(starts)
    assert result.queries == 5 * len(result.u) == result.tracks.visibility.size
    assert result.saving == pytest.approx(result.visited.size / len(result.u))


def test_tracks_start_only_where_none_has_passed(scene):
    result = dense_tracks(scene)
    first = np.count_nonzero(result.t_src == 4)
    assert (result.t_src[:first] == 4).all() and first == 22 * 31  # all of the newest frame
    earlier = np.zeros((5, 22, 31), bool)
    for t in dict.fromkeys(result.t_src.tolist()):
        rows = result.t_src == t
        assert not earlier[t, result.v[rows].astype(int), result.u[rows].astype(int)].any()
        for k in range(5):
            seen = rows & (result.tracks.visibility[:, k] > VISIBLE)
            if k != t:
                u, v = np.floor(result.tracks.uv[seen, k] + 0.5).astype(int).T
                inside = (u >= 0) & (v >= 0) & (u < 31) & (v < 22)
                earlier[k, v[inside], u[inside]] = True
        earlier[t] = True
    assert result.saving > 1.5


@pytest.mark.parametrize("t_cam", [None, -1, 2])
def test_the_tracks_are_the_truth(scene, t_cam):
    result = dense_tracks(scene, stride=3, t_cam=t_cam)
    truth = tracks_of_points(scene, result.u, result.v, result.t_src, t_cam)
    for name in ("xyz", "uv", "visibility", "confidence"):
        np.testing.assert_array_equal(getattr(result.tracks, name), getattr(truth, name))


def test_batches_do_not_matter_and_it_is_deterministic(scene):
    one, other = dense_tracks(scene, 2), dense_tracks(scene, 2, batch=13)
    for name in ("u", "v", "t_src", "visited"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.tracks.xyz, other.tracks.xyz)


def test_what_never_moves_is_tracked_once():
    scene = AnalyticScene(wandering_camera(6, speed=0.0), ball=np.tile([0.0, 0.0, 3.0], (6, 1)))
    cost = tracking_cost(scene, stride=4)
    cells = 17 * 25
    assert cost == {
        "tracks": cells,
        "queries": 6 * cells,
        "every pixel": 6 * 6 * cells,
        "times fewer": pytest.approx(6),
    }


def test_the_cost_is_that_of_the_tracks(scene):
    cost, result = tracking_cost(scene, 2), dense_tracks(scene, 2)
    assert cost["tracks"] == len(result.u) and cost["queries"] == result.queries
    assert cost["times fewer"] == pytest.approx(result.saving)


@pytest.mark.parametrize("budget", [1, 50, 22 * 31 + 10])
def test_a_budget_stops_it_and_it_says_so(scene, budget):
    result = dense_tracks(scene, budget=budget, batch=16)
    assert len(result.u) == budget and not result.complete and not result.visited.all()
    np.testing.assert_array_equal(result.visited, passed(result, scene.size))
    # Spread over the newest frame.
    if budget == 50:
        assert (result.t_src == 4).all() and np.ptp(result.v) > 18 and np.ptp(result.u) > 25
    assert dense_tracks(scene, budget=10**9).complete


def test_answers_that_are_none_cover_nothing_but_their_own_pixel(scene):
    def spoil(answer):
        answer.uv[:], answer.visibility[:] = np.nan, 1.0

    result = dense_tracks(Altered(scene, spoil), stride=4)
    assert result.complete and len(result.u) == result.visited.size and result.saving == 1.0


def test_pixels_outside_the_image_are_not_marked(scene):
    def spoil(answer):
        answer.uv[:], answer.visibility[:] = [-0.6, 400.0], 1.0

    assert dense_tracks(Altered(scene, spoil), stride=4).saving == 1.0


def test_a_model_with_weights():
    pytest.importorskip("torch")
    import d4rt_ros

    model = d4rt_ros.load(device="cpu", precision="fp32")
    images = np.random.default_rng(0).integers(0, 255, (model.num_frames, 50, 70, 3), dtype=np.uint8)
    scene = model.encode(images)
    result = dense_tracks(scene, stride=10)
    assert result.complete and result.tracks.xyz.shape == (len(result.u), model.num_frames, 3)
    assert passed(result, scene.size).all()


@pytest.mark.parametrize("stride", [0, -2, 1.5])
def test_a_stride_that_is_none(scene, stride):
    with pytest.raises(ValueError, match=f"stride = {stride}; a whole number from 1 is expected"):
        dense_tracks(scene, stride)


@pytest.mark.parametrize("option", ["batch", "budget"])
def test_a_batch_or_budget_of_nothing(scene, option):
    with pytest.raises(ValueError, match=f"{option} = 0; a whole number from 1 is expected"):
        dense_tracks(scene, **{option: 0})


def test_a_grid_of_too_many_cells():
    with pytest.raises(ValueError, match="99,532,800; at most .* Use a stride above 1"):
        dense_tracks(Resized(48, (1080, 1920)))


@pytest.mark.parametrize("t_cam", [5, -6])
def test_a_camera_outside_the_window(scene, t_cam):
    with pytest.raises(ValueError, match=f"frame {t_cam} is outside the window of 5"):
        dense_tracks(scene, 4, t_cam)
