"""VGGT's small golden checkpoint, whose weights are random, through the node: what it cannot tell is said to be so."""

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.srv import Query, TrackPoints  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from ros_testing import Running, image, info  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2  # noqa: E402

from d4rt_ros.ros.listening.reading import depth_pixels, organised_cloud  # noqa: E402
from d4rt_ros.ros.node import load_model  # noqa: E402

COUNT, RATE, WINDOW = 14, 15, 5
ROWS, COLUMNS = 70, 98
TOPICS = {
    "/d4rt/depth/image": Image, "/d4rt/points": PointCloud2, "/d4rt/odometry": Odometry,
    "/d4rt/dynamic_mask": Image, "/d4rt/dynamic_mask/camera_info": CameraInfo,
}  # fmt: skip


@pytest.fixture(scope="module")
def kitchen(shared):
    files = sorted((shared / "data/kitchen").glob("*.color.jpg"))[:COUNT]
    if not files:
        pytest.skip("no kitchen recording in the reference data")
    size = COLUMNS, ROWS
    return [cv2.resize(cv2.imread(str(f)), size, interpolation=cv2.INTER_AREA)[..., ::-1] for f in files]


def test_the_node_publishes_what_it_knows_and_refuses_what_it_does_not(shared, kitchen):
    checkpoint = shared / "golden/vggt/model.pt"
    if not checkpoint.is_file():
        pytest.skip(f"{checkpoint} is not there")
    parameters = {
        "model.checkpoint": str(checkpoint), "model.device": "cpu", "refine": "pixels",
        "window.frames": WINDOW, "dynamics.method": "attention",
    }  # fmt: skip
    with Running(parameters, load_model=load_model) as running:
        running.active().send_info(info(focal=90, height=ROWS, width=COLUMNS))
        for topic, kind in TOPICS.items():
            running.listen(kind, topic)
        for k, rgb in enumerate(kitchen):
            running.send("image", image(100 + k / RATE, rgb=rgb))
        heard, user = running.user.heard, running.user
        assert user.until(lambda: all(heard[topic] for topic in TOPICS)), {t: len(heard[t]) for t in TOPICS}
        one = {"u": [40.0], "v": [30.0], "t_src": [-1]}
        same = user.call(Query, "/d4rt/query", Query.Request(**one, t_tgt=[-1], t_cam=[0]))
        other = user.call(Query, "/d4rt/query", Query.Request(**one, t_tgt=[0], t_cam=[0]))
        tracks = user.call(TrackPoints, "/d4rt/track_points", TrackPoints.Request(**one))
        assert not running.node._figures.counts["failures"]
    assert same.status == Query.Response.OK and np.isfinite(same.points).all() and len(same.stamps) == WINDOW
    refusal = "this model cannot tell where a point goes; use a D4RT checkpoint"
    assert other.status == Query.Response.INVALID and refusal in other.message and not len(other.points)
    assert tracks.status in (TrackPoints.Response.INVALID, TrackPoints.Response.NOT_READY)
    assert tracks.status == TrackPoints.Response.NOT_READY or refusal in tracks.message
    depth = np.array([depth_pixels(m) for m in heard["/d4rt/depth/image"]])
    assert np.isfinite(depth).any() and (depth[np.isfinite(depth)] > 0).all()
    assert not np.isinf(organised_cloud(heard["/d4rt/points"][-1]).xyz).any()
    mask, told = heard["/d4rt/dynamic_mask"][-1], heard["/d4rt/dynamic_mask/camera_info"][-1]
    assert (mask.encoding, mask.height, mask.width) == ("mono8", ROWS, COLUMNS)
    assert set(np.unique(np.asarray(mask.data))) <= {0, 255}
    assert told.header.stamp == mask.header.stamp and (told.height, told.width) == (ROWS, COLUMNS)
