import numpy as np
import pytest
from analytic_scene import AnalyticScene, wandering_camera

from d4rt_ros.tasks import Batch, adaptive_point_map, point_map, relative_pose, tracks_of_points
from d4rt_ros.tasks.adaptive_depth import depth_grid_task
from d4rt_ros.tasks.batch import answered, cropped
from d4rt_ros.tasks.depth import point_map_task
from d4rt_ros.tasks.questions import questions
from d4rt_ros.tasks.relative_pose import pose_task
from d4rt_ros.tasks.tracks import track_task


@pytest.fixture
def scene():
    return AnalyticScene(wandering_camera(4))


def test_tasks_share_one_call_and_get_their_own_answers(scene):
    batch = Batch(scene)
    depth = batch.add(point_map_task(scene, 2, (5, 7), 2))
    tracks = batch.add(track_task(scene, [10, 20, 30], 40, 3, 3))
    pose = batch.add(pose_task(scene, 0, 3, "pnp", (8, 8)))
    batch.ask()
    assert scene.calls == 1
    np.testing.assert_array_equal(depth().xyz, point_map(scene, 2, (5, 7)).xyz)
    np.testing.assert_array_equal(tracks().xyz, tracks_of_points(scene, [10, 20, 30], 40, 3, 3).xyz)
    np.testing.assert_array_equal(
        pose().pose(scene.camera).i_from_j, relative_pose(scene, 0, 3, scene.camera, grid=(8, 8)).i_from_j
    )


def test_who_goes_on_asking_shares_the_next_calls_too(scene):
    batch = Batch(scene)
    one = batch.add(depth_grid_task(scene, 0, (65, 97), 900))
    once = batch.add(point_map_task(scene, 1, (5, 7), 1))
    other = batch.add(depth_grid_task(scene, 3, (65, 97), 900))
    batch.ask()
    calls, scene.calls = scene.calls, 0
    for grid, t in ((one, 0), (other, 3)):
        np.testing.assert_array_equal(
            grid().point_map().xyz, adaptive_point_map(scene, t, (65, 97), queries=900).xyz
        )
    assert 1 < calls == scene.calls / 2 and once().xyz.shape == (5, 7, 3)


def test_a_task_may_ask_nothing(scene):
    def nothing():
        return 7
        yield

    def no_points():
        [answer] = yield [questions([], [], 0, 0, 0)]
        return len(answer)

    batch = Batch(scene)
    seven, none = batch.add(nothing()), batch.add(no_points())
    batch.ask()
    assert (seven(), none()) == (7, 0)
    Batch(scene).ask()
    assert answered(scene, nothing()) == 7 and scene.calls == 1


def test_a_task_of_a_part_of_the_image_asks_and_hears_in_the_parts_pixels(scene):
    def task():
        [one, none] = yield [questions([0, 3], [0, 4], 1, 1, 1), questions([], [], 0, 0, 0)]
        [again] = yield [questions(one.uv[:, 0], one.uv[:, 1], 1, 1, 1)]
        return one, none, again

    one, none, again = answered(scene, cropped(task(), 30, 20))
    np.testing.assert_allclose(one.uv, [[0, 0], [3, 4]], atol=1e-4)
    np.testing.assert_allclose(one.xyz, scene.query([30, 33], [20, 24], 1, 1, 1).xyz, rtol=1e-6)
    np.testing.assert_allclose(again.xyz, one.xyz, rtol=1e-5)
    assert len(none) == 0
