"""ROS messages from numpy arrays.

Large fields are filled with `frombytes`, a plain copy of memory: rclpy looks at every element of anything
else.
"""

from __future__ import annotations

from array import array

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, Transform, TransformStamped, Twist
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

from d4rt_ros.geometry import Pinhole, pose_from_quaternion, quaternion_from_pose
from d4rt_ros.stream import Result

FLOAT_FIELDS = ("x", "y", "z", "rgb", "confidence")  # of a cloud, one after another; `dynamic` follows
POINT_STEP = 24  # bytes: five floats and one, of which three pad
AT_REST, MOVES, NOT_DETERMINED = 0, 1, 255  # of a cloud's field `dynamic`; the first two are False and True


def nanoseconds(stamp: Time) -> int:
    """A message's stamp as an integer."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def stamp_message(stamp: int) -> Time:
    return Time(sec=stamp // 1_000_000_000, nanosec=stamp % 1_000_000_000)


def header_message(stamp: int, frame_id: str) -> Header:
    return Header(stamp=stamp_message(stamp), frame_id=frame_id)


def flat(values, typecode: str = "f") -> array:
    """Any array as the flat array.array of a message's field, row by row."""
    out = array(typecode)
    out.frombytes(_bytes(np.asarray(values, out.typecode)))
    return out


def point_cloud(header: Header, xyz, rgb, confidence, dynamic=None) -> PointCloud2:
    """An organised cloud of xyz (h, w, 3), rgb (h, w, 3) uint8 and confidence (h, w): h rows, w columns.

    dynamic: (h, w) bool, which of them move; None: that is not determined. Points that are not finite or not in front
    of the camera become NaN, as REP 117 wants unknown ones.
    """
    height, width = np.shape(xyz)[:2]
    rows = np.empty((height, width, POINT_STEP // 4), "<f4")
    rows[..., :3] = xyz
    x, y, depth = np.moveaxis(rows[..., :3], -1, 0)
    rows[~(np.isfinite(x + y + depth) & (depth > 0)), :3] = np.nan
    words, octets = rows.view("<u4"), rows.view(np.uint8)
    # One float whose bytes are b, g, r, 0: the convention of PCL and RViz.
    words[..., 3] = 0
    for channel in range(3):
        octets[..., 14 - channel] = np.asarray(rgb)[..., channel]
    rows[..., 4] = confidence
    # A byte, and three that pad.
    words[..., 5] = NOT_DETERMINED if dynamic is None else dynamic
    msg = PointCloud2(header=header, height=height, width=width, is_bigendian=False, is_dense=False)
    msg.fields = [
        *(
            PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
            for i, name in enumerate(FLOAT_FIELDS)
        ),
        PointField(name="dynamic", offset=4 * len(FLOAT_FIELDS), datatype=PointField.UINT8, count=1),
    ]
    msg.point_step = POINT_STEP
    msg.row_step = msg.point_step * width
    msg.data.frombytes(_bytes(rows))
    return msg


def depth_image(header: Header, depth) -> Image:
    """A 32FC1 image of depth (h, w) in metres; what is not finite and positive is NaN (REP 118)."""
    depth = np.asarray(depth, "<f4")
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.nan))
    height, width = depth.shape
    msg = Image(header=header, height=height, width=width, encoding="32FC1", is_bigendian=0, step=4 * width)
    msg.data.frombytes(_bytes(depth))
    return msg


def mask_image(header: Header, mask) -> Image:
    """A mono8 image of a mask (H, W) bool: 255 where it is set, else 0."""
    height, width = np.shape(mask)
    msg = Image(header=header, height=height, width=width, encoding="mono8", is_bigendian=0, step=width)
    msg.data.frombytes(_bytes(np.where(mask, np.uint8(255), np.uint8(0))))
    return msg


def camera_info(header: Header, camera: Pinhole) -> CameraInfo:
    """The CameraInfo of an image without distortion."""
    msg = CameraInfo(header=header, height=camera.height, width=camera.width, distortion_model="plumb_bob")
    msg.d = [0.0] * 5
    msg.k = camera.matrix.ravel()
    msg.r = np.eye(3).ravel()
    msg.p = np.hstack([camera.matrix, np.zeros((3, 1))]).ravel()
    return msg


def restamped(info: CameraInfo, header: Header) -> CameraInfo:
    """What a camera_info says, of another image."""
    fields = {name: getattr(info, name) for name in info.get_fields_and_field_types() if name != "header"}
    return CameraInfo(header=header, **fields)


def pose_message(pose) -> Pose:
    """a_from_b (4, 4) as the pose of b in a."""
    msg = Pose()
    msg.position.x, msg.position.y, msg.position.z = (float(x) for x in pose[:3, 3])
    q = msg.orientation
    q.x, q.y, q.z, q.w = (float(x) for x in quaternion_from_pose(pose))
    return msg


def transform_message(pose) -> Transform:
    """a_from_b (4, 4) as the transform of child b in parent a."""
    msg, pose_msg = Transform(), pose_message(pose)
    for axis in "xyz":
        setattr(msg.translation, axis, getattr(pose_msg.position, axis))
    msg.rotation = pose_msg.orientation
    return msg


def transform_stamped(stamp: int, parent: str, child: str, parent_from_child) -> TransformStamped:
    """One transform for /tf."""
    transform = TransformStamped(header=header_message(stamp, parent), child_frame_id=child)
    transform.transform = transform_message(parent_from_child)
    return transform


def pose_from_transform(msg: Transform) -> np.ndarray:
    """parent_from_child (4, 4). Raises ValueError where the quaternion has no direction."""
    q, t = msg.rotation, msg.translation
    return pose_from_quaternion([q.x, q.y, q.z, q.w], [t.x, t.y, t.z])


def odometry(header: Header, child_frame_id: str, pose, covariance, twist, twist_covariance) -> Odometry:
    """header.frame_id is the world, `pose` world_from_child (4, 4); `twist` (6,) is v, w in the child frame.

    Covariances (6, 6) are over x, y, z and the rotations about these axes.
    """
    msg = Odometry(header=header, child_frame_id=child_frame_id)
    msg.pose.pose, msg.pose.covariance = pose_message(pose), np.asarray(covariance, float).ravel()
    msg.twist.twist = Twist()
    for part, values in ((msg.twist.twist.linear, twist[:3]), (msg.twist.twist.angular, twist[3:])):
        part.x, part.y, part.z = (float(x) for x in values)
    msg.twist.covariance = np.asarray(twist_covariance, float).ravel()
    return msg


def tracks(header: Header, result: Result, lenses=()):
    """d4rt_ros/Tracks of a result that has some; positions are in header.frame_id, pixels those of the image topic.

    lenses: of the window's T frames (io.Frame); empty: there are none.
    """
    from d4rt_ros.msg import Tracks  # here, so that the rest serves where our interfaces are not built

    t, camera = result.tracks, result.camera.pinhole
    size = camera.width, camera.height
    pixels = through_lenses("to_image", t.pixels, np.arange(len(t.stamps)), lenses)
    seen = np.asarray(t.visible) > 0.5
    for uv in (t.pixels, pixels):
        seen = seen & inside(uv, size)
    msg = Tracks(header=header, stamps=[stamp_message(int(s)) for s in t.stamps], metric=result.scale.metric)
    msg.trusted, msg.reason = result.trusted, result.reason
    msg.ids = flat(t.ids, "Q")
    msg.positions, msg.confidence = flat(t.positions), flat(t.confidence)
    msg.pixels, msg.velocities = flat(pixels), flat(t.velocities)
    msg.visible = seen.ravel().tolist()
    msg.dynamic = [] if t.dynamic is None else np.asarray(t.dynamic).tolist()
    return msg


def objects(header: Header, result: Result):
    """d4rt_ros/Objects of a result that has some; header.frame_id is the world."""
    from d4rt_ros.msg import Objects

    bodies = result.objects
    msg = Objects(header=header, trusted=result.trusted, reason=result.reason, metric=result.scale.metric)
    msg.ids = flat(bodies.ids, "Q")
    msg.centroids, msg.extents = flat(bodies.centroids), flat(bodies.extents)
    msg.velocities, msg.covariances = flat(bodies.velocities), flat(bodies.covariances)
    msg.track_counts = flat([len(ids) for ids in bodies.tracks], "I")
    msg.track_ids = flat(np.concatenate([np.empty(0, np.uint64), *bodies.tracks]), "Q")
    return msg


def through_lenses(way: str, pixels, times, lenses) -> np.ndarray:
    """Pixels (..., 2) of the frames `times` (...) in those of the image topic (way "to_image"), or back ("to_view").

    lenses: of the window's frames (io.Frame). NaN stays NaN, and is where a lens has no such pixel.
    """
    pixels = np.asarray(pixels)
    if all(lens is None for lens in lenses):
        return pixels
    out, times = pixels.astype(np.float64), np.broadcast_to(times, pixels.shape[:-1])
    for t in np.unique(times):
        if lenses[t] is not None:
            rows = (times == t) & np.isfinite(pixels).all(-1)
            out[rows] = getattr(lenses[t], way)(out[rows])
    return out


def inside(pixels, size: tuple[int, int]) -> np.ndarray:
    """Whether pixels (..., 2) lie on an image of (width, height), whose outermost pixels reach half a pixel beyond
    their centres; NaN does not."""
    pixels = np.asarray(pixels)
    return ((pixels >= -0.5) & (pixels <= np.asarray(size) - 0.5)).all(-1)


def _bytes(values: np.ndarray) -> memoryview:
    return memoryview(np.ascontiguousarray(values)).cast("B") if values.size else memoryview(b"")
