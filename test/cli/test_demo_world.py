"""The demo's cloud and path of a run that is known."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("d4rt_ros.msg", reason="the interfaces are not built")
plt = pytest.importorskip("matplotlib.pyplot")

from wall import DISTANCE, UNIT, true_path, wall_recording  # noqa: E402

from d4rt_ros.cli import demo_world  # noqa: E402
from d4rt_ros.geometry import pose_matrix, transform  # noqa: E402


def test_with_a_truth_path_and_points_are_where_they_truly_are():
    world = demo_world.seen_world(wall_recording())
    np.testing.assert_allclose(world.poses, true_path(), atol=1e-9)
    np.testing.assert_allclose(world.xyz[:, 2], DISTANCE, atol=1e-3)
    assert len(world.xyz) > 500
    expected = 128 + 40 * world.xyz[:, :2]
    assert np.abs(world.rgb[:, :2] - expected).max() < 4, "colours stay with their points"
    assert demo_world.error_title(world).startswith("its error: 0.0 cm of ")
    assert world.depth == pytest.approx(DISTANCE, rel=0.1)


def test_without_a_truth_it_is_the_run_s_own_world_and_unit():
    recording = wall_recording(truth=False)
    world = demo_world.seen_world(recording)
    np.testing.assert_array_equal(world.poses, list(recording.poses.values()))
    assert world.true_poses is None and world.depth == pytest.approx(UNIT * DISTANCE, rel=0.1)
    # The same wall, seen in the same way.
    view, true_view = demo_world.view_of(world), demo_world.view_of(demo_world.seen_world(wall_recording()))
    places = transform(view, world.poses[:, :3, 3])
    np.testing.assert_allclose(
        places, UNIT * transform(true_view, np.array(true_path())[:, :3, 3]), atol=1e-6
    )


def test_an_error_of_the_path_is_said_in_full():
    recording = wall_recording()
    for k, stamp in enumerate(recording.poses):
        recording.poses[stamp] = recording.poses[stamp] @ pose_matrix(
            np.eye(3), [0, 0, 0.1 * UNIT * (-1) ** k]
        )
    world = demo_world.seen_world(recording)
    centimetres = float(demo_world.error_title(world).split()[2])
    assert centimetres == pytest.approx(10, rel=0.1)


def test_what_is_of_another_world_is_left_out():
    recording = wall_recording()
    stamps = sorted(recording.poses)
    recording.worlds = {stamps[0]: 0, stamps[8]: 1}
    for stamp in stamps[8:]:
        recording.poses[stamp] = pose_matrix(np.eye(3), [9, 9, 9])
    world = demo_world.seen_world(recording)
    np.testing.assert_allclose(world.poses, true_path()[:8], atol=1e-9)
    assert np.abs(world.xyz[:, 2] - DISTANCE).max() < 1e-3


@pytest.mark.parametrize("missing", ["poses", "clouds", "true_poses of the same images"])
def test_where_nothing_was_placed_there_is_no_world(missing):
    recording = wall_recording()
    if missing.startswith("true"):
        recording.true_poses = {stamp + 1: pose for stamp, pose in recording.true_poses.items()}
    else:
        getattr(recording, missing).clear()
    assert demo_world.seen_world(recording) is None


def drawn(draw):
    figure, axes = plt.subplots(figsize=(4, 3))
    draw(axes)
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return picture, axes


def test_the_cloud_fills_the_view_in_its_colours():
    world = demo_world.seen_world(wall_recording())
    picture, _ = drawn(lambda axes: demo_world.draw_cloud(axes, world))
    inner = picture[60:-60, 80:-80].reshape(-1, 3).astype(int)
    wall = inner[:, 2] < 20
    assert wall.mean() > 0.25, "a wall and no dust"
    assert np.ptp(inner[wall, 0]) > 80 and np.ptp(inner[wall, 1]) > 50


def test_a_path_is_not_drawn_across_a_pause():
    recording = wall_recording(every=0.25)
    late = sorted(recording.poses)[6:]
    for name in ("poses", "true_poses", "clouds"):
        kept = getattr(recording, name)
        setattr(recording, name, {s + (5 * 10**9 if s in late else 0): x for s, x in kept.items()})
    world = demo_world.seen_world(recording)
    _, axes = drawn(lambda axes: demo_world.draw_error(axes, world))
    assert [len(line.get_xdata()) for line in axes.lines] == [6, 6]
    _, axes = drawn(lambda axes: demo_world.draw_path(axes, world))
    assert len(axes.lines) == 4 and axes.get_xlabel() == "x, m"
