"""What the robot's topics and TF tell of the scale, over real ROS, of results that are known exactly."""

import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs.msg", reason="needs tf2_msgs, of the distribution or built by us")
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup  # noqa: E402
from rclpy.executors import MultiThreadedExecutor  # noqa: E402
from sensor_msgs.msg import Image, LaserScan, PointCloud2, PointField, Range  # noqa: E402

from d4rt_ros.geometry import BODY_FROM_OPTICAL, Pinhole, pose_matrix, transform  # noqa: E402
from d4rt_ros.ros import qos, scale_inputs  # noqa: E402
from d4rt_ros.ros.messages import header_message  # noqa: E402
from d4rt_ros.ros.scale_inputs import ScaleInputs, ScaleSettings  # noqa: E402
from d4rt_ros.ros.transforms import TransformListener, broadcast  # noqa: E402
from d4rt_ros.stream import only, results  # noqa: E402

PERIOD = 100_000_000
START = 100_000_000_000
METRES = 1.6  # in a unit
CAMERA = Pinhole.centred(100.0, 100.0, 128, 96)
GRID = CAMERA.grid(32, 24)
BASE_FROM_CAMERA = BODY_FROM_OPTICAL @ pose_matrix(translation=[0.0, -0.5, 0.1])


def walls():
    """Depth (24, 32) in the model's unit: a slanted wall with a box before it."""
    u, v = np.meshgrid(np.arange(32), np.arange(24))
    depth = (1.5 + 0.02 * u + 0.01 * v).astype(np.float32)
    depth[12:20, 6:14] = 0.8
    return depth


def result(i, depth=None, position=(0.0, 0.0, 0.0), world=0, trusted=True):
    """The result of a window of 4 frames, of which the last is the i-th."""
    depth = walls() if depth is None else depth
    stamps = START + PERIOD * np.arange(i - 3, i + 1)
    points = results.Points(
        GRID.backproject_map(depth),
        np.zeros((*depth.shape, 3), np.uint8),
        np.ones(depth.shape, np.float32),
        GRID,
        np.full(depth.shape, np.nan, np.float32),
    )
    pose = results.Pose(
        pose_matrix(translation=position), np.eye(6), trusted, "" if trusted else "it is dark", world
    )
    cameras = results.WindowCameras(stamps, np.full((4, 4, 4), np.nan))
    return results.Result(results.Camera(CAMERA, True, 0.0), cameras, pose=pose, points=points)


class Robot:
    """A node with the inputs, spun in a thread, and a robot that publishes. A context manager."""

    def __init__(self, **settings):
        self._settings = ScaleSettings(**settings)

    def __enter__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("d4rt", context=self.context)
        self.robot = rclpy.create_node("robot", context=self.context)
        self.transforms = TransformListener(self.node, MutuallyExclusiveCallbackGroup())
        self.inputs = ScaleInputs(self.node, self._settings, self.transforms)
        self._executor = MultiThreadedExecutor(2, context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        self._publishers = {}
        return self

    def __exit__(self, *_):
        self.inputs.close()
        self._executor.shutdown()
        self._thread.join(10)
        self.robot.destroy_node()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def publish(self, topic, msg):
        if topic not in self._publishers:
            profile = {"/tf": qos.TF, "/tf_static": qos.TF_STATIC}.get(topic, 10)
            publisher = self._publishers[topic] = self.robot.create_publisher(type(msg), topic, profile)
            until(lambda: publisher.get_subscription_count() > 0, f"nobody listens to {topic}")
        self._publishers[topic].publish(msg)

    def tf(self, i, parent, child, pose, static=False):
        topic = "/tf_static" if static else "/tf"
        self.publish(topic, broadcast(START + i * PERIOD, parent, child, pose))

    def measured(self, given, camera_frame="camera", lens=None):
        return self.inputs.measurements_for(given, camera_frame, lens)

    def scale(self, given, **kwargs):
        """What is measured of a result, as soon as what it needs has come."""
        found = until(lambda: self.measured(given, **kwargs), lambda: self.inputs.problem)
        return math.exp(found[0].log_metres)

    def says(self, given, words, **kwargs):
        """Wait until nothing is measured of a result because of this."""
        until(
            lambda: self.measured(given, **kwargs) == [] and words in self.inputs.problem,
            lambda: f"'{words}' is not in '{self.inputs.problem}'",
        )
        return True


def until(condition, otherwise, seconds=10.0):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, otherwise() if callable(otherwise) else otherwise
        time.sleep(0.01)
    return value


def metres(size=(96, 128), factor=METRES):
    """(H, W) metres, the walls as a depth camera of this size sees them."""
    import cv2

    return factor * cv2.resize(walls(), size[::-1], interpolation=cv2.INTER_NEAREST)


def depth_image(i, depth, encoding="32FC1", frame="camera", pad=0, big=0):
    kind = {"32FC1": "f4", "16UC1": "u2"}[encoding]
    values = np.nan_to_num(depth * 1000) if encoding == "16UC1" else depth
    rows = np.ascontiguousarray(values).astype((">" if big else "<") + kind).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, pad)))
    msg = Image(header=header_message(START + i * PERIOD, frame), encoding=encoding, is_bigendian=big)
    msg.height, msg.width, msg.step = depth.shape[0], depth.shape[1], rows.shape[1]
    msg.data.frombytes(rows.tobytes())
    return msg


@pytest.mark.parametrize("encoding", ["32FC1", "16UC1"])
@pytest.mark.parametrize("size", [(96, 128), (480, 640), (24, 32), (723, 964)])
def test_depth_images_of_any_size_and_unit(encoding, size):
    with Robot(source="depth") as robot:
        for i in range(4):
            robot.publish("depth", depth_image(i, metres(size), encoding, pad=8, big=i % 2))
        assert robot.scale(result(3)) == pytest.approx(METRES, rel=0.01)
        assert robot.inputs.problem == "" and robot.inputs.topics == ["depth"]
        # and not more often than it says something new
        assert robot.measured(result(3)) != [] and len(robot.measured(result(4))) <= 1


def test_depth_that_is_of_no_use_is_told_and_nothing_dies():
    with Robot(source="depth") as robot:
        assert robot.says(result(3), "nothing has come on /depth yet; nobody publishes sensor_msgs/msg/Image")
        bad = {
            "all of it is NaN": depth_image(3, np.full((96, 128), np.nan)),
            "is not depth": depth_image(5, metres()),
            "128x72, the image 128x96": depth_image(7, metres((72, 128))),
            "registered to the colour image": depth_image(9, metres(), frame="infrared"),
            "data has": depth_image(11, metres()),
            "millimetres": depth_image(13, 1000 * metres()),
        }
        bad["is not depth"].encoding = "rgb8"
        bad["data has"].data = bad["data has"].data[:1000]
        for i, (words, msg) in zip(range(3, 99, 2), bad.items()):
            robot.publish("depth", msg)
            assert robot.says(result(i), words)
        assert robot.says(result(14), "is stamped within 50 ms of the image; the nearest is 100 ms before")
        assert robot.says(result(40), "nothing has come on /depth for 2.7 s")
        robot.publish("depth", depth_image(41, metres()))
        assert robot.scale(result(41)) == pytest.approx(METRES, rel=0.01)
        assert robot.measured(SimpleNamespace(stamp=result(41).stamp, window=result(41).window, points=None,
                                              problem="the images are black", camera=None)) == []  # fmt: skip
        assert robot.inputs.problem == "the images are black"


def test_the_nearest_depth_is_taken_and_a_recording_may_begin_again():
    with Robot(source="depth") as robot:
        for i in range(10, 152, 2):
            msg = depth_image(i, metres(factor=1.0 + i / 100))
            msg.header = header_message(START + i * PERIOD + PERIOD // 5, "camera")
            robot.publish("depth", msg)
            until(lambda: robot.measured(result(i)), lambda: robot.inputs.problem)
        assert robot.scale(result(150)) == pytest.approx(2.5, rel=0.01)
        robot.publish("depth", depth_image(0, metres(factor=3.0)))
        assert robot.scale(result(0)) == pytest.approx(3.0, rel=0.01)


def test_depth_of_a_camera_that_the_node_rectifies():
    """Pixels of the view are looked for where the raw image has them."""
    lens = SimpleNamespace(to_image=lambda pixels: pixels + [8.0, 0.0])
    shifted = np.roll(metres(), 8, axis=1)
    shifted[:, :8] = np.nan
    with Robot(source="depth") as robot:
        robot.publish("depth", depth_image(3, shifted))
        found = until(lambda: robot.measured(result(3), lens=lens), lambda: robot.inputs.problem)
        assert math.exp(found[0].log_metres) == pytest.approx(METRES, rel=0.01)


SCANNER = BODY_FROM_OPTICAL @ pose_matrix(translation=[0.1, 0.05, 0.0])  # body axes, beside the camera


def seen_from(scanner_from_camera, depth=None):
    """Points (N, 3) in metres of what the camera sees, in the scanner's frame."""
    points = GRID.backproject_map(METRES * (walls() if depth is None else depth)).reshape(-1, 3)
    return transform(scanner_from_camera, points)


def scan(i, flat=2.0):
    """Of a wall `flat` metres before the camera, which the scanner's plane meets."""
    msg = LaserScan(header=header_message(START + i * PERIOD, "laser"))
    msg.angle_min, msg.angle_increment, msg.range_min, msg.range_max = -1.0, 0.01, 0.1, 10.0
    angles = msg.angle_min + msg.angle_increment * np.arange(200)
    ranges = flat / np.cos(angles)
    ranges[::7], ranges[3], ranges[4] = np.inf, np.nan, 0.01
    msg.ranges = ranges.astype(np.float32)
    return msg


def test_a_laser_scanner_in_a_frame_of_its_own():
    wall = np.full((24, 32), 2.0 / METRES, np.float32)
    with Robot(source="depth", depth_from="scan") as robot:
        robot.publish("scan", scan(3))
        assert robot.says(result(3, wall), "TF does not connect 'laser' and 'camera'")
        robot.tf(0, "laser", "camera", BODY_FROM_OPTICAL, static=True)
        assert robot.scale(result(3, wall)) == pytest.approx(METRES, rel=0.01)
        empty = scan(5)
        empty.ranges = np.full(200, np.inf, np.float32)
        robot.publish("scan", empty)
        assert robot.says(result(5, wall), "holds no point within its range")


def test_a_range_finder():
    wall = np.full((24, 32), 2.0 / METRES, np.float32)
    with Robot(source="depth", depth_from="range") as robot:
        robot.tf(0, "sonar", "camera", BODY_FROM_OPTICAL, static=True)
        msg = Range(header=header_message(START + 3 * PERIOD, "sonar"), min_range=0.1, max_range=5.0)
        msg.field_of_view, msg.range = 0.4, 2.0
        robot.publish("range", msg)
        assert robot.scale(result(3, wall)) == pytest.approx(METRES, rel=0.02)
        for i, wrong in ((5, math.inf), (7, math.nan), (9, 0.0), (11, 6.0)):
            msg = Range(header=header_message(START + i * PERIOD, "sonar"), min_range=0.1, max_range=5.0)
            msg.field_of_view, msg.range = 0.4, wrong
            robot.publish("range", msg)
            assert robot.says(result(i, wall), "holds no point within its range")


def cloud(i, points, kind="f4", frame="laser", big=False, pad=0):
    order = ">" if big else "<"
    layout = np.dtype(
        [("intensity", order + "f4"), ("x", order + kind), ("y", order + kind), ("z", order + kind)]
    )
    rows = np.zeros(len(points), layout)
    for name, column in zip("xyz", points.T):
        rows[name] = column
    msg = PointCloud2(header=header_message(START + i * PERIOD, frame), is_bigendian=big, height=1)
    msg.width, msg.point_step, msg.row_step = (
        len(points),
        layout.itemsize,
        layout.itemsize * len(points) + pad,
    )
    code = {"f4": PointField.FLOAT32, "f8": PointField.FLOAT64}[kind]
    msg.fields = [PointField(name=n, offset=layout.fields[n][1], datatype=code, count=1) for n in "xyz"]
    msg.data.frombytes(rows.tobytes() + bytes(pad))
    return msg


@pytest.mark.parametrize(("kind", "big", "pad"), [("f4", False, 0), ("f8", False, 12), ("f4", True, 4)])
def test_a_cloud_of_any_layout(kind, big, pad):
    points = seen_from(SCANNER)
    points[::9] = np.nan
    with Robot(source="depth", depth_from="cloud") as robot:
        robot.tf(0, "laser", "camera", SCANNER, static=True)
        robot.publish("cloud", cloud(3, points, kind, big=big, pad=pad))
        assert robot.scale(result(3)) == pytest.approx(METRES, rel=0.01)


def test_clouds_that_are_of_no_use_are_told():
    with Robot(source="depth", depth_from="cloud") as robot:
        robot.tf(0, "laser", "camera", SCANNER, static=True)
        flat = cloud(3, seen_from(SCANNER))
        flat.fields = flat.fields[:2]
        cut = cloud(5, seen_from(SCANNER))
        cut.data = cut.data[:100]
        for i, msg, words in (
            (3, flat, "x, y, z as floats are wanted"),
            (5, cut, "with 100 bytes"),
            (7, cloud(7, np.zeros((0, 3))), "holds no point"),
            (9, cloud(9, seen_from(SCANNER) * [-1, 1, 1]), "within the image"),
            (11, cloud(11, seen_from(SCANNER), frame="elsewhere"), "TF does not connect 'elsewhere'"),
        ):
            robot.publish("cloud", msg)
            assert robot.says(result(i), words)
        robot.publish("cloud", cloud(13, seen_from(SCANNER)))
        assert robot.scale(result(13)) == pytest.approx(METRES, rel=0.01)


def way(i):
    """Where the base is after i tenths of a second, (4, 4) in odom: half a metre a second, with bends."""
    from scipy.spatial.transform import Rotation

    steps = 0.05 * np.arange(i + 1)
    heading = 0.8 * np.sin(steps)
    at = np.array([np.cos(heading).sum(), np.sin(heading).sum(), 0.0]) * 0.05
    return pose_matrix(Rotation.from_rotvec([0, 0, heading[-1]]).as_matrix(), at)


def placed(i, **kwargs):
    """The result at that time; the images' world is another than odom, in units."""
    world_from_odom = pose_matrix(
        np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0], [1.0, 2.0, 3.0]
    )
    if np.linalg.det(world_from_odom) < 0:
        world_from_odom[:3, 0] *= -1
    camera = world_from_odom @ way(i) @ BASE_FROM_CAMERA
    return result(i, position=camera[:3, 3] / METRES, **kwargs)


def drive(robot, begin, end, jump=0.0, **kwargs):
    """What was measured from the begin-th tenth of a second to the end-th."""
    until(lambda: robot.transforms.tree.parent("camera"), "no TF")
    found = []
    for i in range(begin, end):
        robot.tf(i, "odom", "base", pose_matrix(translation=[jump, 0, 0]) @ way(i))
        until(lambda: robot.transforms.tree.times().get("base", (0, 0))[1] >= START + i * PERIOD, "no TF")
        found += robot.measured(placed(i, **kwargs))
    return found


def test_the_robots_own_motion():
    with Robot(source="tf", tf_frame="odom") as robot:
        robot.tf(0, "base", "camera", BASE_FROM_CAMERA, static=True)
        found = drive(robot, 0, 60)
        assert found and math.exp(found[-1].log_metres) == pytest.approx(METRES, rel=0.01)
        assert (found[0].stamp - START) / 1e9 < 4.0 and robot.inputs.problem == ""


def test_transforms_that_come_late_are_waited_for():
    with Robot(source="tf", tf_frame="odom") as robot:
        robot.tf(0, "base", "camera", BASE_FROM_CAMERA, static=True)
        drive(robot, 0, 5)
        found = []
        for i in range(5, 50):
            found += robot.measured(placed(i))  # before TF knows it
            robot.tf(i, "odom", "base", way(i))
            until(lambda: robot.transforms.tree.times()["base"][1] >= START + i * PERIOD, "no TF")
        assert math.exp(found[-1].log_metres) == pytest.approx(METRES, rel=0.01)
        assert len(found) > 10


def test_tf_that_stops_jumps_or_has_the_wrong_frame_is_named():
    with Robot(source="tf", tf_frame="odom") as robot:
        robot.says(placed(3), "TF does not connect 'camera' and 'odom'")
        robot.tf(0, "base", "camera", BASE_FROM_CAMERA, static=True)
        assert drive(robot, 4, 60)
        found = drive(robot, 60, 80, jump=0.7)
        assert "jumped by" in robot.inputs.problem
        assert math.exp(found[-1].log_metres) == pytest.approx(METRES, rel=0.01)
        assert [robot.measured(placed(i)) for i in range(80, 95)][-1] == []
        assert "TF does not follow the camera in 'odom'" in robot.inputs.problem
        # of a robot that has been switched on again
        assert drive(robot, 95, 150)
    with Robot(source="tf", tf_frame="base") as robot:
        robot.tf(0, "base", "camera", BASE_FROM_CAMERA, static=True)
        until(lambda: robot.transforms.tree.frames(), "no TF")
        for i in range(20):
            robot.measured(placed(i))
        assert robot.says(
            placed(20), "nothing moves on TF; scale.tf_frame must be a frame that the robot moves in"
        )


def test_a_robot_that_stands_or_is_not_placed_says_so():
    with Robot(source="tf", tf_frame="odom") as robot:
        robot.tf(0, "base", "camera", BASE_FROM_CAMERA, static=True)
        for i in range(30):
            robot.tf(i, "odom", "base", np.eye(4))
        newest = START + 29 * PERIOD
        until(lambda: robot.transforms.tree.times().get("base", (0, 0))[1] == newest, "no TF")
        until(lambda: robot.transforms.tree.parent("camera"), "no TF")
        for i in range(29):
            robot.measured(placed(0) if i == 0 else result(i))
        assert robot.says(result(29), "has moved 0.00 m in the last")
        assert robot.says(placed(30, trusted=False), "the camera's place is not known: it is dark")


def test_poses_of_two_worlds_are_not_compared():
    with Robot(source="tf", tf_frame="odom") as robot:
        robot.tf(0, "base", "camera", BASE_FROM_CAMERA, static=True)
        assert drive(robot, 0, 50)
        assert drive(robot, 50, 53, world=1) == []
        assert "times so far" in robot.inputs.problem
        found = drive(robot, 53, 100, world=1)
        assert math.exp(found[-1].log_metres) == pytest.approx(METRES, rel=0.01)


def floor(height=0.9, pitch=0.4):
    """Depth (24, 32) in the model's unit above a floor `height` metres below, of a camera that looks down."""
    rays = GRID.backproject_map(np.ones((24, 32)))
    down = rays @ np.array([0.0, -math.cos(pitch), -math.sin(pitch)])
    with np.errstate(divide="ignore"):
        depth = np.where(down < 0, -height / down, np.inf)
    return (np.minimum(depth, 5.0) / METRES).astype(np.float32)


def mounted(height=0.9, pitch=0.4):
    """base_footprint_from_camera (4, 4)."""
    from scipy.spatial.transform import Rotation

    turned = BODY_FROM_OPTICAL[:3, :3] @ Rotation.from_rotvec([-pitch, 0, 0]).as_matrix()
    return pose_matrix(turned, [0.2, 0.0, height])


def test_the_height_that_is_given_or_that_tf_knows():
    with Robot(source="height", height=0.9) as robot:
        assert robot.scale(result(3, floor(pitch=0.2))) == pytest.approx(METRES, rel=0.02)
        assert robot.says(result(5, np.full((24, 32), 2.0, np.float32)), "level")
    with Robot(source="height") as robot:
        assert robot.says(result(3, floor()), "TF")
        robot.tf(0, "base_footprint", "camera", mounted(), static=True)
        assert robot.scale(result(3, floor())) == pytest.approx(METRES, rel=0.02)
    with Robot(source="height", ground_frame="hook") as robot:
        robot.tf(0, "hook", "camera", mounted(height=-0.9), static=True)
        assert robot.says(result(3, floor()), "0.90 m below 'hook'")


@pytest.mark.parametrize("source", ["none", "fixed"])
def test_what_needs_no_inputs_has_none(source):
    with Robot(source=source) as robot:
        assert robot.measured(result(3)) == [] and robot.inputs.topics == [] and robot.inputs.problem == ""
        assert robot.inputs.wanted == only()
        robot.inputs.refresh()


def test_memory_is_bounded():
    with Robot(source="tf", tf_frame="odom") as robot:
        robot.tf(0, "base", "camera", BASE_FROM_CAMERA, static=True)
        drive(robot, 0, 3)
        for i in range(3, 400):
            robot.measured(placed(i))
        source = robot.inputs._source
        assert len(source._waiting) <= scale_inputs.KEPT and len(source._known) <= 101
