"""What happens to a robot in an hour, one after the other: the schedule of `d4rt benchmark soak`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

DEACTIVATE, ACTIVATE = 4, 3  # of lifecycle_msgs/Transition


@dataclass(frozen=True)
class Misfortune:
    """seconds: how long it lasts. calm: how long nothing happens after it, at least.

    fault: the camera's, or act(robot): what somebody else does, at once or in about `seconds`. lost: seconds after its
    beginning from which on, and until when, no pose may be given out, until None being its end; None where it may.
    """

    name: str
    seconds: float
    calm: float = 2.5
    fault: str = ""
    act: Callable | None = None
    lost: tuple[float, float | None] | None = None


def of_camera(name: str, fault: str, seconds: float, **kwargs) -> Misfortune:
    return Misfortune(name, seconds, fault=fault, **kwargs)


def schedule(window: float, camera_frame: str) -> list[Misfortune]:
    """window: seconds from the oldest to the newest image of a window.

    Within a window the node must say that black images and noise show nothing; of another scene at most half a
    window may be trusted, and a second later nothing can be known yet.
    """
    nothing_to_see = (window + 0.15, None)
    elsewhere = (0.5 * window + 0.1, max(1.0, 1.5 * window))
    return [
        of_camera("late images", "late", 3),
        of_camera("early stamps", "early", 3),
        of_camera("duplicate stamps", "duplicate", 3),
        Misfortune("a listener comes and goes", 1.5, act=lambda robot: robot.bring_listeners(1.5)),
        of_camera("a stop", "stop", 3, calm=3),
        of_camera("a cut to another scene", "cut", 0, calm=8, lost=elsewhere),
        of_camera("black images", "black", 2, calm=4, lost=nothing_to_see),
        Misfortune("invalid queries", 0.5, act=lambda robot: robot.ask_nonsense()),
        of_camera("frozen images", "frozen", 4),
        Misfortune("many queries", 1, act=many_queries),
        of_camera("exposure jumps", "exposure", 3),
        Misfortune("parameters are set", 1, act=set_parameters),
        of_camera("40 % of the images lost", "drop", 4),
        of_camera("noise", "noise", 2, calm=4, lost=nothing_to_see),
        Misfortune("nonsense on /tf", 0.5, act=lambda robot: robot.publish_nonsense_transforms(camera_frame)),
        of_camera("damaged messages", "damage", 3),
        Misfortune("a slow listener", 3, act=lambda robot: robot.bring_listeners(3, slow=True)),
        of_camera("a cut back", "cut", 0, calm=8, lost=elsewhere),
        of_camera("no camera_info", "info_gone", 3),
        of_camera("camera_info of another lens", "info_other", 2),
        of_camera("camera_info of NaN", "info_nan", 2),
        Misfortune("reset", 0.5, act=lambda robot: robot.reset(), calm=3),
        Misfortune("deactivated and activated", 1, act=deactivate_and_activate, calm=3),
    ]


def many_queries(robot) -> None:
    for ask in (robot.ask_much, robot.ask_in_the_world, robot.ask_of_the_past, robot.ask_for_tracks):
        ask()


def set_parameters(robot) -> None:
    """Other values and back, and some that must be refused."""
    for name, value in (
        ("depth.size", [24, 32]), ("depth.size", [36, 48]), ("tracks.rows", 6), ("tracks.rows", 9),
        ("window.stride", 3), ("window.stride", 2), ("depth.rate", 0.0), ("depth.rate", 10.0),
    ):  # fmt: skip
        robot.set_parameter(name, value)
    robot.set_parameter("depth.size", [1], accepted=False)
    robot.set_parameter("pose.method", "guess", accepted=False)


def deactivate_and_activate(robot) -> None:
    robot.change_state(DEACTIVATE)
    robot.ask_small()
    robot.change_state(ACTIVATE)
