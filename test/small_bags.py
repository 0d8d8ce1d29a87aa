"""ROS 2 bags, written by rosbags, of a robot that drives straight on with a camera mounted on it."""

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from d4rt_ros.geometry.transforms import BODY_FROM_OPTICAL, quaternion_from_pose

STORE = get_typestore(Stores.ROS2_HUMBLE)
T = STORE.types
HEIGHT, WIDTH, RATE = 18, 32, 10.0
K = np.array([[25.0, 0, 16], [0, 26, 9], [0, 0, 1]])
SPEED = 0.7  # metres a second, along the odometry's x


def header(stamp, frame):
    seconds = int(stamp)
    time = T["builtin_interfaces/msg/Time"](seconds, round((stamp - seconds) * 1e9))
    return T["std_msgs/msg/Header"](time, frame)


def image(stamp, pixels, encoding, frame="camera_optical", padding=5):
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.hstack([rows, np.full((len(rows), padding), 99, np.uint8)])
    return T["sensor_msgs/msg/Image"](
        header(stamp, frame), *pixels.shape[:2], encoding, 0, rows.shape[1], rows.ravel()
    )


def compressed(stamp, rgb):
    data = cv2.imencode(".png", rgb[..., ::-1])[1].ravel()
    return T["sensor_msgs/msg/CompressedImage"](header(stamp, "camera_optical"), "rgb8; png compressed", data)


def info(stamp, distortion=()):
    region = T["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    projection = np.hstack([K, np.zeros((3, 1))]).ravel()
    d = np.array(distortion, np.float64)
    return T["sensor_msgs/msg/CameraInfo"](
        header(stamp, "camera_optical"), HEIGHT, WIDTH, "plumb_bob", d, K.ravel(), np.eye(3).ravel(), projection,
        0, 0, region,
    )  # fmt: skip


def tf(stamp, parent, child, position, quaternion=(0.0, 0.0, 0.0, 1.0)):
    vector, turn = T["geometry_msgs/msg/Vector3"](*map(float, position)), T["geometry_msgs/msg/Quaternion"]
    transform = T["geometry_msgs/msg/Transform"](vector, turn(*map(float, quaternion)))
    stamped = T["geometry_msgs/msg/TransformStamped"](header(stamp, parent), child, transform)
    return T["tf2_msgs/msg/TFMessage"]([stamped])


def picture(index):
    rgb = np.full((HEIGHT, WIDTH, 3), 10 * index, np.uint8)
    rgb[:, : WIDTH // 2, 0] = 200
    return rgb


def depth_mm(index):
    depth = np.full((HEIGHT, WIDTH), 1500 + index, np.uint16)
    depth[0] = 0
    return depth


def messages(count=5):
    """(topic, time, message): images at 10 Hz, depth 4 ms later, odometry at 5 Hz, a mount that stays."""
    mount = quaternion_from_pose(BODY_FROM_OPTICAL)
    out = [("/tf_static", 0.0, tf(0, "base_link", "camera_optical", (0.1, 0, 0.5), mount))]
    for i in range(count):
        stamp = 100 + i / RATE
        out.append(("/camera/image_raw", stamp, image(stamp, picture(i), "rgb8")))
        out.append(("/camera/depth/image_raw", stamp + 0.004, image(stamp + 0.004, depth_mm(i), "16UC1")))
        out.append(("/camera/camera_info", stamp, info(stamp)))
    for stamp in np.arange(99.9, 100.2 + count / RATE, 0.2):
        out.append(("/tf", stamp, tf(stamp, "odom", "base_link", ((stamp - 100) * SPEED, 0, 0))))
    return out


def write(path, out, storage=StoragePlugin.SQLITE3):
    with Writer(path, version=9, storage_plugin=storage) as writer:
        connections = {}
        for topic, time, message in sorted(out, key=lambda row: row[1]):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], round((time + 0.05) * 1e9), STORE.serialize_cdr(message, kind))
    return path


def without(out, *topics):
    return [row for row in out if row[0] not in topics]
