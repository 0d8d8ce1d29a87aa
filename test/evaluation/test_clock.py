"""What is timed, where, and that nothing of it stays."""

import pytest

from d4rt_ros.evaluation.clock import Clock
from d4rt_ros.geometry import camera, transforms
from d4rt_ros.stream import world  # has imported `adjoint` by its name


def test_functions_are_timed_wherever_they_are_used_and_put_back():
    clock, plain, method = Clock(), transforms.adjoint, camera.Pinhole.project
    with clock.watching(
        {"geometry.transforms:adjoint": "turns", "geometry.camera:Pinhole.project": "pixels"}
    ):
        world.adjoint([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        assert camera.Pinhole.centred(1, 1, 2, 2).project([[0, 0, 1.0]]).shape == (1, 2)
    taken = clock.lap()
    assert set(taken) == {"turns", "pixels"} and all(0 < seconds < 1 for seconds in taken.values())
    assert world.adjoint is plain is transforms.adjoint and camera.Pinhole.project is method


def test_what_fails_is_timed_and_put_back_too():
    clock, plain = Clock(), world.adjoint
    with pytest.raises(ValueError), clock.watching({"geometry.transforms:adjoint": "turns"}):
        world.adjoint("no pose")
    assert "turns" in clock.lap() and world.adjoint is plain


def test_what_is_not_there_leaves_nothing_changed():
    clock, plain = Clock(), world.adjoint
    names = {"geometry.transforms:adjoint": "turns", "geometry.transforms:nothing": "x"}
    with pytest.raises(AttributeError), clock.watching(names):
        pass
    assert world.adjoint is plain
