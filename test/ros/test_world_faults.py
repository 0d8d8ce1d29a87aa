"""What goes wrong before a camera, and with what beside it tells the scale: through the node, with `refine: pixels`,
images of a room and a model that knows it.

Whatever happens, a pose that is published is right, or the node says that it is not known, and why.
"""

import threading
from functools import lru_cache

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.msg import Status, Tracks  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from room import CAMERA, Box, Moment, Room, RoomModel, standing, strolling  # noqa: E402
from ros_testing import Running, image, set_parameter, stamp  # noqa: E402
from sensor_msgs.msg import Image, RegionOfInterest  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from d4rt_ros.geometry import Pinhole, invert, pose_from_quaternion, rotation_angle  # noqa: E402
from d4rt_ros.ros import messages, qos  # noqa: E402
from d4rt_ros.ros.odometry import UNKNOWN_VARIANCE  # noqa: E402
from d4rt_ros.ros.transforms import broadcast  # noqa: E402

ODOMETRY, TRACKS, DEPTH, STATUS = "/d4rt/odometry", "/d4rt/tracks", "/d4rt/depth/image", "/d4rt/status"
RATE, WINDOW = 15, 6
ROOM, ELSEWHERE = Room(), Room(place=1)
JUMP, TURN = 0.02, 1.0  # metres and degrees beyond true motion, from one published pose to the next
BLACK = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)


@lru_cache(maxsize=None)
def shot(room: Room, k: float) -> np.ndarray:
    """What the strolling camera sees."""
    return room.seen(strolling(k))[0]


def noisy(rgb: np.ndarray, k: int) -> np.ndarray:
    """As a sensor shows it: no two images are the same bit by bit."""
    noise = np.random.default_rng(k).integers(-2, 3, rgb.shape, dtype=np.int16)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8)


class Observer:
    """A user's node that listens, beside a node that is shown the room.

    truth: where the camera was, (4, 4) in the room, by stamp in ns.
    """

    def __init__(self, running: Running, model: RoomModel, calibrated: bool = True) -> None:
        self.running, self.model, self.truth = running, model, {}
        running.active()
        running.user.listen(Status, STATUS, qos.LATCHED)
        for kind, topic in ((Odometry, ODOMETRY), (Tracks, TRACKS), (Image, DEPTH)):
            running.listen(kind, topic)
        running.user.listen(TFMessage, "/tf")
        if calibrated:
            running.send_info(messages.camera_info(image(0).header, CAMERA))

    def heard(self, topic):
        return self.running.user.heard[topic]

    def see(self, k, rgb=None, pose=None, room=ROOM, seconds=0.0, at=None, computed=True) -> np.ndarray:
        """Image k of the stream, of the strolling camera or from a pose; `rgb` instead of what that shows; stamped `at`
        seconds. What was sent."""
        if rgb is None:
            rgb = noisy(shot(room, k) if pose is None else room.seen(pose, seconds)[0], k)
        pose = strolling(k) if pose is None else pose
        self.model.tell(rgb, Moment(room, pose, seconds, CAMERA))
        self.send(k, rgb, pose, at, computed)
        return rgb

    def send(self, k, rgb, pose, at=None, computed=True) -> None:
        message = image(100 + k / RATE if at is None else at, rgb)
        self.truth[messages.nanoseconds(message.header.stamp)] = pose
        self.running.send("image", message, computed)

    def stroll(self, begin, end, change=lambda rgb: rgb, **kwargs) -> None:
        for k in range(begin, end):
            self.see(k, change(noisy(shot(kwargs.get("room", ROOM), k), k)), **kwargs)

    @property
    def statuses(self) -> list:
        return [s for s in self.heard(STATUS) if s.header.stamp.sec < 1000]

    def status(self, k: float):
        """Of the window that ends with image k."""
        now = stamp(100 + k / RATE)
        found = self.running.user.until(lambda: [s for s in self.statuses if s.header.stamp == now])
        assert found, [(s.header.stamp, s.reason) for s in self.statuses[-3:]]
        return found[-1]

    def poses(self) -> dict[int, np.ndarray]:
        """world_from_camera (4, 4) that are published as known, by stamp, once all of them have come."""
        self.settle()
        return self._known()

    def _known(self) -> dict[int, np.ndarray]:
        found = {}
        for m in self.heard(ODOMETRY):
            if m.pose.covariance[0] < UNKNOWN_VARIANCE:
                p, q = m.pose.pose.position, m.pose.pose.orientation
                pose = pose_from_quaternion([q.x, q.y, q.z, q.w], [p.x, p.y, p.z])
                found[messages.nanoseconds(m.header.stamp)] = pose
        return found

    def settle(self) -> None:
        """Wait until what was published before has come."""
        newest = self.truth and max(self.truth)
        self.running.user.until(lambda: newest in _stamps(self.heard(ODOMETRY)), 5.0)
        seen = len(self.heard("/diagnostics"))
        self.running.user.newest("/diagnostics", seen)

    def knows(self, *ranges: range) -> dict[int, np.ndarray]:
        """Wait until the poses that are published as known are those of these images, on /tf as in odometry."""
        expected = [time_of(k) for numbers in ranges for k in numbers]
        self.running.user.until(lambda: len(self._known()) >= len(expected) <= len(self.heard("/tf")))
        poses = self.poses()
        assert sorted(poses) == expected, [image_of(t) for t in sorted(poses)]
        assert _stamps(m.transforms[0] for m in self.heard("/tf")) == expected
        return poses

    def silent(self, topic: str, numbers: range) -> bool:
        """Whether nothing on a topic is of these images."""
        return not {time_of(k) for k in numbers} & set(_stamps(self.heard(topic)))

    def errors(
        self, poses: dict[int, np.ndarray], first: int | None = None
    ) -> dict[int, tuple[float, float]]:
        """(metres, degrees) by which each pose is off, where the first one, or that of stamp `first`, is right."""
        begin = min(poses) if first is None else first
        world_from_room = poses[begin] @ invert(self.truth[begin])
        return {t: _apart(world_from_room @ self.truth[t], pose) for t, pose in poses.items()}

    def jumps(self, poses: dict[int, np.ndarray]) -> tuple[float, float]:
        """(metres, degrees) of the largest step beyond true motion, from one pose to the next."""
        stamps = sorted(poses)
        steps = [
            _apart(invert(self.truth[a]) @ self.truth[b], invert(poses[a]) @ poses[b])
            for a, b in zip(stamps, stamps[1:])
        ]
        return tuple(np.max(steps, axis=0))


def _apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    between = invert(a) @ b
    return float(np.linalg.norm(between[:3, 3])), float(np.degrees(rotation_angle(between)))


def _stamps(messages_) -> list[int]:
    return [messages.nanoseconds(m.header.stamp) for m in messages_]


def time_of(k: float) -> int:
    """ns, of image k."""
    return messages.nanoseconds(stamp(100 + k / RATE))


def image_of(time: int) -> float:
    return round((time / 1e9 - 100) * RATE, 2)


def smooth(observer, poses, metres=JUMP, degrees=TURN) -> bool:
    """Whether no published pose jumps from the one before it, beyond true motion."""
    worst = observer.jumps(poses)
    assert worst[0] <= metres and worst[1] <= degrees, worst
    return True


def right(observer, poses, metres=0.03, degrees=1.0, first=None) -> bool:
    """Whether every pose is where the camera was in the world of the first one."""
    errors = observer.errors(poses, first)
    worst = max(errors, key=lambda t: errors[t][0] / metres + errors[t][1] / degrees)
    assert errors[worst][0] <= metres and errors[worst][1] <= degrees, (image_of(worst), errors[worst])
    return True


@pytest.fixture
def observer():
    model = RoomModel(WINDOW)
    with Running({"refine": "pixels", "depth.size": [15, 20]}, model) as running:
        yield Observer(running, model)


# Images


@pytest.mark.parametrize("covered", [BLACK, 255 - BLACK])
def test_black_or_white_for_two_seconds_and_back(observer, covered):
    observer.stroll(0, 16)
    for k in range(16, 46):
        observer.see(k, covered)
    encoded = observer.model.encoded
    observer.stroll(46, 60)
    poses = observer.knows(range(5, 16), range(51, 60))
    assert right(observer, poses) and smooth(observer, poses)
    for k in (16, 30, 45):
        now = observer.status(k)
        assert now.state == Status.BLIND and "is the lens covered" in now.reason
    assert observer.silent(TRACKS, range(16, 51)) and observer.silent(DEPTH, range(16, 51))
    assert observer.status(51).state == Status.TRACKING and observer.status(51).world == 0
    assert observer.model.encoded - encoded == 9  # nothing is asked of images that show nothing


def test_a_frozen_image_with_running_stamps(observer):
    observer.stroll(0, 15)
    rgb = observer.see(15)
    for k in range(16, 56):
        observer.see(k, rgb, pose=strolling(15))
    assert observer.running.user.told("camera", "the image has not changed for")
    poses = observer.knows(range(5, 56))
    assert right(observer, poses) and smooth(observer, poses)
    last = [poses[time_of(k)] for k in range(15, 56)]
    np.testing.assert_allclose(last, [last[0]] * len(last), atol=1e-9)  # it stands still, exactly


def test_a_turn_on_the_spot(observer):
    """By 90 degrees, as fast as a robot turns: what was seen at first has gone at the end."""
    observer.stroll(0, 10)
    for i in range(1, 31):
        observer.see(9 + i, pose=strolling(9) @ standing(yaw=3 * i))
    for i in range(1, 7):
        observer.see(39 + i, pose=strolling(9) @ standing(yaw=90) @ standing(x=0.02 * i))
    poses = observer.knows(range(5, 46))
    assert right(observer, poses, 0.04, 2.0) and smooth(observer, poses)
    assert {s.world for s in observer.statuses} == {0}


def test_another_place_and_back(observer):
    observer.stroll(0, 16)
    observer.stroll(16, 40, room=ELSEWHERE)
    observer.stroll(40, 52)
    poses = observer.knows(range(5, 16), range(45, 52))
    assert right(observer, poses) and smooth(observer, poses)
    assert observer.status(16).state == Status.BLIND and "another place" in observer.status(16).reason
    lost = observer.status(30)
    assert lost.state == Status.LOST and "agree with one motion of the camera" in lost.reason
    assert observer.silent(TRACKS, range(16, 45)) and not observer.silent(DEPTH, range(21, 40))
    assert observer.status(45).state == Status.TRACKING and observer.status(45).world == 0


def test_another_place_for_good_is_a_new_world(observer, capfd):
    assert set_parameter(observer.running.user, "recover.seconds", 1.5).successful
    observer.stroll(0, 16)
    observer.stroll(16, 50, room=ELSEWHERE)
    poses = observer.poses()
    old, new = ({t: poses[t] for t in poses if (t < time_of(16)) == first} for first in (True, False))
    assert len(old) == 11 and [image_of(t) for t in new] == list(range(38, 50))
    for part in (old, new):
        assert right(observer, part) and smooth(observer, part)
    assert observer.status(37).world == 0 and observer.status(37).state == Status.LOST
    assert observer.status(38).world == 1 and observer.status(38).state == Status.TRACKING
    said = []
    words = "a new world begins, poses do not go on from before"
    assert observer.running.user.until(lambda: said.append(capfd.readouterr().err) or words in "".join(said))


def test_frames_that_are_dropped_at_random(observer):
    random = np.random.default_rng(3)
    sent = [k for k in range(60) if k < 3 or random.random() > 0.4]
    for k in sent:
        observer.see(k)
    poses = observer.knows(sent[WINDOW - 1 :])
    assert right(observer, poses) and smooth(observer, poses)


def test_stamps_that_jitter(observer):
    """By 20 ms, where images are 67 ms apart: velocities err, places do not."""
    random, at = np.random.default_rng(5), {}
    for k in range(40):
        at[k] = 100 + k / RATE + random.uniform(-0.02, 0.02)
        observer.see(k, at=at[k])
    poses = observer.poses()
    assert len(poses) == 35
    assert right(observer, poses) and smooth(observer, poses)
    assert observer.running.node._streaming.window.gaps == 0


def test_exposure_that_jumps(observer):
    """By half, then to a quarter of it, then beyond what the sensor can show."""
    for begin, factor in ((0, 1.0), (12, 0.5), (20, 0.12), (28, 1.0), (36, 1.6)):
        observer.stroll(
            begin,
            begin + 12 if not begin else begin + 8,
            lambda rgb: np.clip(rgb * factor, 0, 255).astype(np.uint8),
        )
    poses = observer.knows(range(5, 44))
    assert right(observer, poses) and smooth(observer, poses)


# Things that move


def passing(observer, begin, end, mover, pose) -> list[float]:
    """Show a thing that moves before the camera; which share of the view it fills, image by image."""
    room, filled = Room(mover=mover), []
    for k in range(begin, end):
        seconds = (k - begin) / RATE
        rgb, depth = room.seen(pose(k), seconds)
        filled.append(float((depth < 1.2).mean()))
        observer.see(k, noisy(rgb, k), pose(k), room, seconds)
    return filled


def test_a_thing_that_fills_half_of_the_view_and_moves(observer):
    """Before a camera that stands still, there when the world begins and until more than half is filled."""
    mover = Box((-0.5, -0.9, 0.85), (0.05, 1.05, 0.95), 777, (0.2, 0.0, 0.0))
    filled = passing(observer, 0, 36, mover, lambda k: standing())
    assert min(filled) > 0.5
    poses = observer.knows(range(5, 36))
    assert right(observer, poses) and smooth(observer, poses)


def test_a_thing_that_comes_along_while_the_camera_moves(observer):
    observer.stroll(0, 10)
    mover = Box((-1.0, -0.9, 0.85), (-0.5, 1.05, 0.95), 777, (0.45, 0.0, 0.0))
    filled = passing(observer, 10, 55, mover, strolling)
    assert max(filled) > 0.45
    poses = observer.knows(range(5, 55))
    assert right(observer, poses) and smooth(observer, poses)


# The camera's calibration


def zoomed(observer, k, focal):
    """Image k through a lens of another focal length, after its camera_info."""
    camera = Pinhole(focal, focal, CAMERA.cx, CAMERA.cy, CAMERA.width, CAMERA.height)
    calibrate(observer, camera)
    rgb = noisy(ROOM.seen(strolling(k), camera=camera)[0], k)
    observer.model.tell(rgb, Moment(ROOM, strolling(k), 0.0, camera))
    observer.send(k, rgb, strolling(k))


def calibrate(observer, camera):
    observer.running.user.publish("camera_info", messages.camera_info(image(0).header, camera))
    calibration = observer.running.node._calibration
    assert observer.running.user.until(lambda: calibration._info and calibration._info.k[0] == camera.fx)


def test_a_lens_that_zooms_at_once_and_slowly(observer):
    observer.stroll(0, 14)
    for k in range(14, 24):
        zoomed(observer, k, 210.0)
    for k in range(24, 34):
        zoomed(observer, k, 210.0 + 2.0 * (k - 23))
    poses = observer.knows(range(5, 34))
    assert right(observer, poses) and smooth(observer, poses)
    assert observer.running.node._streaming.result.camera.pinhole.fx == 230.0


def test_a_camera_info_that_comes_late():
    model = RoomModel(WINDOW)
    with Running({"refine": "pixels"}, model) as running:
        observer = Observer(running, model, calibrated=False)
        observer.stroll(0, 22)
        estimated = running.node._streaming.result.camera
        assert not estimated.calibrated and 0 < estimated.focal_sigma < 0.2
        assert abs(estimated.pinhole.fx / CAMERA.fx - 1) < 2 * estimated.focal_sigma
        calibrate(observer, CAMERA)
        observer.stroll(22, 40)
        poses = observer.knows(range(5, 40))
        assert smooth(observer, poses) and right(observer, poses, 0.06, 2.0)
        camera = running.node._streaming.result.camera
        assert camera.calibrated and camera.pinhole == CAMERA


# What tells the scale


UNIT = 1.6  # metres in the model's unit


class Measured:
    """An observer of a node that measures the scale."""

    def __init__(self, **parameters):
        self.model = RoomModel(WINDOW, UNIT)
        self.running = Running(
            {"refine": "pixels", "tf.publish": "none", "depth.size": [15, 20]} | parameters, self.model
        )

    def __enter__(self):
        self.running.__enter__()
        return Observer(self.running, self.model)

    def __exit__(self, *error):
        self.running.__exit__(*error)


def honest(observer) -> bool:
    """Whether the scale was never off by more than its sigma says, and never jumped while it was metric."""
    known = [s for s in observer.statuses if s.metric]
    for before, now in zip(known, known[1:]):
        seconds = (messages.nanoseconds(now.header.stamp) - messages.nanoseconds(before.header.stamp)) / 1e9
        assert abs(np.log(now.metres / before.metres)) <= 0.021 * seconds, (before, now)
    for s in known:
        assert abs(np.log(s.metres / UNIT)) <= 2 * s.scale_sigma <= 0.2, s
    assert all(s.metres == 1.0 for s in observer.statuses if not s.metric and np.isnan(s.scale_sigma))
    return True


def depth_of(k, size, encoding, factor=1.0, frame="cam"):
    """What a depth camera that is registered to the colour camera says with image k."""
    import cv2

    depth = factor * cv2.resize(ROOM.seen(strolling(k))[1], size[::-1], interpolation=cv2.INTER_NEAREST)
    kind, values = ("u2", 1000 * depth) if encoding == "16UC1" else ("f4", depth)
    values = np.nan_to_num(values).astype(kind) if kind == "u2" else values.astype(kind)
    msg = Image(height=size[0], width=size[1], encoding=encoding, step=size[1] * values.itemsize)
    msg.header.stamp, msg.header.frame_id = stamp(100 + k / RATE), frame
    msg.data.frombytes(values.tobytes())
    return msg


def test_depth_of_other_sizes_and_units_and_of_no_use():
    full, half, large = (160, 208), (80, 104), (320, 416)
    with Measured(**{"scale.source": "depth"}) as observer:
        user, inputs = observer.running.user, observer.running.node._streaming.scale_inputs

        def stream(begin, end, says="", *kind, **options):
            taken = inputs._source._messages
            for k in range(begin, end):
                if kind:
                    user.publish("depth", depth_of(k, *kind, **options))
                    assert user.until(lambda: taken._kept and taken._kept[-1][0] == time_of(k))
                observer.see(k)
            assert says in inputs.problem and bool(says) == bool(inputs.problem), inputs.problem

        stream(0, 8, "nothing has come on /depth yet")
        assert not observer.status(7).metric
        stream(8, 30, "", full, "32FC1")
        assert observer.status(29).metric and observer.status(29).metres == pytest.approx(UNIT, rel=0.03)
        stream(30, 37, "", half, "16UC1")
        stream(37, 44, "all of it is NaN", full, "32FC1", factor=np.nan)
        stream(44, 51, "millimetres", full, "32FC1", factor=1000.0)
        stream(51, 58, "comes in the frame 'infrared'", full, "32FC1", frame="infrared")
        stream(58, 65, "of another shape", (120, 208), "32FC1")
        stream(65, 72, "", large, "16UC1")
        assert honest(observer) and observer.status(71).metric
        assert observer.status(71).metres == pytest.approx(UNIT, rel=0.03)
        metric = {time_of(k): None for k in range(30, 72)}
        poses = {t: pose for t, pose in observer.poses().items() if t in metric}
        assert len(poses) == 42 and smooth(observer, poses) and right(observer, poses)


def say_tf(observer, k, jump=0.0):
    """Where the robot's odometry has the camera with image k."""
    pose = strolling(k)
    pose[0, 3] += jump
    observer.running.user.publish("/tf", broadcast(time_of(k), "odom", "cam", pose), qos.TF)
    tree = observer.running.node._transforms.tree
    assert observer.running.user.until(lambda: tree.times().get("cam", (0, 0))[1] >= time_of(k))


def test_tf_that_jumps_stops_and_comes_again():
    with Measured(**{"scale.source": "tf"}) as observer:
        inputs = observer.running.node._streaming.scale_inputs
        for k in range(0, 136, 2):
            if not 90 <= k < 112:
                say_tf(observer, k, jump=0.7 if k >= 76 else 0.0)
            observer.see(k)
            if k == 74:
                assert observer.status(74).metric and inputs.problem == ""
                assert observer.status(74).metres == pytest.approx(UNIT, rel=0.03)
            if k == 88:
                assert "jumped by 0.7" in inputs.problem
            if k == 110:
                assert "TF does not follow the camera in 'odom'" in inputs.problem
        assert honest(observer) and observer.status(134).metric
        assert "TF" not in inputs.problem
        poses = {t: pose for t, pose in observer.poses().items() if t >= time_of(60)}
        assert smooth(observer, poses)


@pytest.mark.parametrize(
    "frame, says",
    [
        ("nowhere", "TF does not connect 'cam' and 'nowhere'"),
        ("mast", "nothing moves on TF; scale.tf_frame must be"),
    ],
)
def test_a_frame_that_tells_no_motion(frame, says):
    with Measured(**{"scale.source": "tf", "scale.tf_frame": frame}) as observer:
        user = observer.running.user
        user.publish("/tf_static", broadcast(time_of(0), "mast", "cam", np.eye(4)), qos.TF_STATIC)
        assert user.until(lambda: observer.running.node._transforms.tree.parent("cam"))
        observer.stroll(0, 20)
        assert user.told("geometry", says)
        assert not any(s.metric for s in observer.statuses)
        assert right(observer, {t: _in_metres(pose) for t, pose in observer.poses().items()})


def _in_metres(pose):
    return np.vstack([np.column_stack([pose[:3, :3], UNIT * pose[:3, 3]]), pose[3:]])


# What a user does


def test_a_region_outside_the_image_and_one_within(observer):
    user, interest = observer.running.user, observer.running.node._streaming.interest
    observer.stroll(0, 10)
    user.publish("roi", RegionOfInterest(x_offset=150, y_offset=20, width=80, height=40))
    assert user.until(lambda: interest.problems) and interest.wanted is None
    observer.stroll(10, 14)
    assert user.told(
        "geometry", "a message on roi is refused: a region of 80x40 pixels at 150, 20 is not within"
    )
    user.publish("roi", RegionOfInterest(x_offset=100, y_offset=20, width=80, height=40))
    assert user.until(lambda: interest.wanted is not None)
    observer.stroll(14, 20)
    poses = observer.knows(range(5, 20))
    assert right(observer, poses) and smooth(observer, poses)
    tracks = {t: m for t, m in zip(_stamps(observer.heard(TRACKS)), observer.heard(TRACKS))}
    before, after = (_newest_pixels(tracks[time_of(k)]) for k in (13, 19))
    assert np.ptp(before[:, 0]) > 150 and len(after) > 5
    assert ((after >= [99.5, 19.5]) & (after <= [179.5, 59.5])).all()


def _newest_pixels(tracks):
    return np.reshape(tracks.pixels, (len(tracks.ids), -1, 2))[:, -1]


class Held(RoomModel):
    """Encodes while it is not held."""

    def __init__(self):
        super().__init__(WINDOW)
        self.free, self.encoding = threading.Event(), threading.Event()
        self.free.set()

    def encode(self, frames):
        self.encoding.set()
        while not self.free.wait(0.002):
            self.between_chunks()
        return super().encode(frames)


def test_reset_twice_while_a_window_is_computed():
    model = Held()
    with Running({"refine": "pixels"}, model) as running:
        observer = Observer(running, model)
        observer.stroll(0, 12)
        before = observer.knows(range(5, 12))
        model.free.clear()
        model.encoding.clear()
        observer.see(12, computed=False)
        assert model.encoding.wait(15)
        for anything in (True, False):
            assert running.user.call(Trigger, "/d4rt/reset", Trigger.Request()).success == anything
        assert running.user.until(lambda: observer.heard(STATUS)[-1].state == Status.STARTING)
        assert "everything begins anew" in observer.heard(STATUS)[-1].reason
        model.free.set()
        assert running.user.until(lambda: running.node._streaming.idle)
        observer.stroll(13, 24)
        poses = observer.poses()
        # Image 12 may have been followed before the reset came.
        assert set(before) <= set(poses) and {time_of(k) for k in range(18, 24)} <= set(poses)
        after = {t: pose for t, pose in poses.items() if t > time_of(12)}
        assert [image_of(t) for t in sorted(after)] == list(range(18, 24))
        assert right(observer, after) and smooth(observer, after)
        assert observer.status(18).world > observer.status(11).world
        assert observer.silent(TRACKS, range(12, 18))
