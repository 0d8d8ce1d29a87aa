"""Raw images through the real node: what comes out is of the rectified view, pixels are the topic's."""

import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("d4rt_ros.srv", reason="needs our built interfaces")
from d4rt_ros.msg import Tracks  # noqa: E402
from d4rt_ros.srv import Query  # noqa: E402
from ros_testing import FlatModel, Running, image, info  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2  # noqa: E402

from d4rt_ros.geometry import BODY_FROM_OPTICAL, Pinhole, invert, transform  # noqa: E402
from d4rt_ros.ros import messages  # noqa: E402
from d4rt_ros.ros.calibration import Calibration  # noqa: E402
from d4rt_ros.scenes import OracleModel, render, sample_scenes  # noqa: E402

HEIGHT, WIDTH, WINDOW = 72, 96, 3
TIMES = np.arange(WINDOW) * 0.1
DEPTH, INFO, POINTS = "/d4rt/depth/image", "/d4rt/depth/camera_info", "/d4rt/points"
PLUMB_BOB = ("plumb_bob", [-0.3, 0.1, 1e-3, -1e-3, 0.0])
FISHEYE = ("equidistant", [-0.03, 0.006, -0.002, 3e-4])


class Truth:
    """A procedural scene seen by a pinhole camera, and by one behind a lens."""

    def __init__(self):
        import torch

        self.scenes = sample_scenes(16, seed=5)[3]
        shown = render(self.scenes, torch.from_numpy(TIMES).float()[None], HEIGHT, WIDTH, samples=1)
        self.images, self.depth = shown.rgb[0].numpy(), shown.depth[0].numpy()
        self.camera = Pinhole.from_matrix(shown.intrinsics[0].numpy(), WIDTH, HEIGHT)

    def info(self, name, d, raw=None):
        """Of a raw image of matrix `raw`, whose rectified view is the pinhole camera's."""
        msg = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model=name, d=[float(x) for x in d])
        msg.k = (self.camera.matrix if raw is None else raw).ravel()
        msg.p = np.hstack([self.camera.matrix, np.zeros((3, 1))]).ravel()
        return msg


class Recognising(OracleModel):
    """An oracle that knows an image by what it shows, though it went through a lens and back."""

    def prepare(self, image):
        known = np.stack([np.frombuffer(b, np.uint8).reshape(image.shape) for b in self._times])
        inner = np.s_[:, 10:-10, 10:-10]
        error = np.abs(known.astype(float) - image)[inner].mean((1, 2, 3))
        assert error.min() < 8, error  # it is the view of one of them
        self.prepared = image
        return super().prepare(known[error.argmin()])


@pytest.fixture(scope="module")
def truth():
    return Truth()


@pytest.fixture
def running(truth):
    model = Recognising(truth.scenes, truth.images, TIMES, WINDOW)
    with Running({"depth.size": [HEIGHT, WIDTH]}, model) as running:
        running.active()
        for kind, topic in ((Image, DEPTH), (CameraInfo, INFO), (PointCloud2, POINTS)):
            running.listen(kind, topic)
        yield running


def through_lens(images, msg):
    """Raw images, by OpenCV, of what a pinhole camera of P sees."""
    k, p, d = np.reshape(msg.k, (3, 3)), np.reshape(msg.p, (3, 4))[:, :3], np.array(msg.d)
    pixels = (
        np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1).reshape(-1, 1, 2).astype(np.float64)
    )
    undistort = cv2.fisheye.undistortPoints if msg.distortion_model == "equidistant" else cv2.undistortPoints
    where = undistort(pixels, k, d, None, None, p).reshape(HEIGHT, WIDTH, 2).astype(np.float32)
    return [
        cv2.remap(i, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for i in images
    ]


def depth_of(msg):
    return np.frombuffer(msg.data, np.float32).reshape(msg.height, msg.width)


def wide(truth):
    """K of a raw image that sees a little more than the view, so that it fills it."""
    k = truth.camera.matrix.copy()
    k[[0, 1], [0, 1]] *= 0.9
    return k


@pytest.mark.parametrize("lens", [PLUMB_BOB, FISHEYE])
def test_a_raw_image_gives_the_depth_of_the_rectified(running, truth, lens):
    msg = truth.info(*lens, wide(truth))
    running.send_info(msg)
    for t, raw in zip(TIMES, through_lens(truth.images, msg)):
        assert np.abs(raw.astype(int) - truth.images[0]).mean() > 2  # it is bent
        running.send("image", image(100 + t, raw))
    depth = depth_of(running.user.newest(DEPTH))
    known = np.isfinite(depth)
    assert known.mean() > 0.95
    np.testing.assert_allclose(depth[known], truth.depth[-1][known], rtol=1e-3)
    shown = running.user.newest(INFO)
    np.testing.assert_allclose(shown.k, truth.camera.matrix.ravel())
    assert not any(shown.d) and (shown.width, shown.height) == (WIDTH, HEIGHT)
    assert running.node._calibration.problem == ""


def test_what_the_raw_image_does_not_show_is_no_geometry(running, truth):
    msg = truth.info("plumb_bob", [0.25, 0.0, 0.0, 0.0, 0.0])  # a pincushion: the view's corners stay black
    running.send_info(msg)
    for t, raw in zip(TIMES, through_lens(truth.images, msg)):
        running.send("image", image(100 + t, raw))
    depth, black = depth_of(running.user.newest(DEPTH)), ~running.model.prepared.any(-1)
    assert 0.03 < np.isnan(depth).mean() < 0.5 and np.isnan(depth[0, 0])
    assert np.isnan(depth[cv2.erode(black.astype(np.uint8), np.ones((3, 3))) > 0]).all()
    rows = np.frombuffer(running.user.newest(POINTS).data, np.uint8).reshape(HEIGHT, WIDTH, -1)
    confidence = rows[..., 16:].copy().view(np.float32)[..., 0]
    assert not confidence[np.isnan(depth)].any()


def test_frames_carry_the_lens_for_pixels_of_the_topic(running, truth):
    """Pixels that a user asks with are raw; the raw image's landmark is the view's."""
    msg = truth.info(*PLUMB_BOB, wide(truth))
    running.send_info(msg)
    running.send("image", image(100, through_lens(truth.images, msg)[0]))
    frame = running.node._streaming.window.clip()[-1].frame
    point = truth.camera.backproject([20.0, 50.0], 2.0)
    raw, _ = cv2.projectPoints(
        point.reshape(1, 1, 3), np.zeros(3), np.zeros(3), np.reshape(msg.k, (3, 3)), np.array(msg.d)
    )
    np.testing.assert_allclose(frame.lens.to_view(raw[0, 0]), [20, 50], atol=0.01)
    np.testing.assert_allclose(frame.lens.to_image([20, 50]), raw[0, 0], atol=0.01)
    assert frame.camera == truth.camera


@pytest.mark.parametrize("said", ["image_rect", "true", "no coefficients"])
def test_a_rectified_image_is_left_alone(truth, said):
    """The normal set-up of image_proc: image_rect with a camera_info that still carries D; nobody warns."""
    msg = truth.info(*PLUMB_BOB, wide(truth))
    if said == "no coefficients":
        msg.d = []
    parameters = {"image.rectified": said} if said == "true" else {}
    arguments = ["-r", "image:=/camera/image_rect_color"] if said == "image_rect" else []
    topic = "/camera/image_rect_color" if arguments else "image"
    model = OracleModel(truth.scenes, truth.images, TIMES, WINDOW)  # which knows images byte for byte
    with Running({"depth.size": [HEIGHT, WIDTH]} | parameters, model, arguments=arguments) as running:
        running.active().listen(Image, DEPTH)
        running.listen(CameraInfo, INFO)
        running.send_info(msg)
        for t, rgb in zip(TIMES, truth.images):
            running.send(topic, image(100 + t, rgb))
        np.testing.assert_allclose(depth_of(running.user.newest(DEPTH)), truth.depth[-1], rtol=1e-3)
        np.testing.assert_allclose(running.user.newest(INFO).k, truth.camera.matrix.ravel())
        assert running.node._calibration.problem == ""
        assert running.node._streaming.window.clip()[-1].frame.lens is None


def test_a_region_that_is_binned_and_a_half_image(running, truth):
    """The same view, said by a camera_info of a sensor of four times the pixels."""
    calibration = Calibration()
    matrix = truth.camera.matrix
    big = matrix.copy()
    big[:2] *= 2
    big[:2, 2] += 0.5 + np.array([40, 30])
    msg = truth.info(*PLUMB_BOB)
    msg.width, msg.height, msg.binning_x, msg.binning_y = 2 * WIDTH + 100, 2 * HEIGHT + 80, 2, 2
    msg.roi.x_offset, msg.roi.y_offset, msg.roi.width, msg.roi.height = 40, 30, 2 * WIDTH, 2 * HEIGHT
    msg.k, msg.p = big.ravel(), np.hstack([big, np.zeros((3, 1))]).ravel()
    blank = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for binning in (2, 1):  # 1: the driver does not say that the image was made half as large
        msg.binning_x = msg.binning_y = binning
        calibration.update(msg)
        _, camera, lens = calibration.view(blank, "/image", "auto")
        np.testing.assert_allclose(camera.matrix, matrix, atol=1e-9)
        np.testing.assert_allclose(lens.matrix, matrix, atol=1e-9)
    running.send_info(msg)
    for t, raw in zip(TIMES, through_lens(truth.images, truth.info(*PLUMB_BOB))):
        running.send("image", image(100 + t, raw))
    np.testing.assert_allclose(running.user.newest(INFO).k, matrix.ravel())


def change(msg, **fields):
    for name, value in fields.items():
        setattr(msg, name, value)
    return msg


IDENTITY = np.eye(3, 4).ravel()
K = np.array([[100.0, 0, 31.5], [0, 100, 23.5], [0, 0, 1]])


@pytest.mark.parametrize(
    "msg, says, calibrated",
    [
        (change(info(), p=IDENTITY), "", True),
        (change(info(), k=np.zeros(9)), "", True),
        (change(info(), k=(K + [[0, 0, 50], [0] * 3, [0] * 3]).ravel()), "outside the 64x48 images", False),
        (change(info(), k=np.diag([1.0, 1, 1]).ravel(), p=IDENTITY), "focal length", False),
        (change(info(), d=[0.1, 0.2]), "found 2", False),
        (change(info(), d=[float("nan")] * 5), "finite", False),
        (change(info(), d=[-4.0, 0.0, 0.0, 0.0, 0.0]), "fold", False),
        (change(info(), r=2 * np.eye(3).ravel()), "rotation", False),
        (change(info(), distortion_model="mei", d=[0.1] * 5), "'mei' is not known", False),
        (change(info(), p=np.full(12, np.nan)), "P is not used", True),
    ],
)
def test_an_implausible_camera_info_is_told_and_the_model_estimates(msg, says, calibrated):
    with Running() as running:
        running.active().listen(CameraInfo, INFO)
        running.send_info(msg)
        running.stream()
        shown = running.user.newest(INFO)
        assert shown.k[0] == pytest.approx(100 * 47 / 63, rel=1e-3)  # both ways: it is the flat scene's own
        assert running.user.until(lambda: running.user.figure("camera", "calibrated") == str(calibrated))
        if says:
            assert running.user.told("camera", says)
        else:
            assert running.node._calibration.problem == ""


def test_a_camera_info_that_comes_late_and_a_zoom_are_taken_at_once():
    with Running(model=FlatModel(2)) as running:
        running.active().listen(CameraInfo, INFO)
        window = running.node._streaming.window
        running.stream(0, 3)
        assert window.clip()[-1].frame.camera is None
        running.send_info(info(focal=60))
        running.stream(3, 1)
        assert [kept.frame.camera and kept.frame.camera.fx for kept in window.clip()] == [None, 60]
        running.user.publish("camera_info", info(focal=90))
        assert running.user.until(lambda: running.node._calibration._info.k[0] == 90)
        running.stream(4, 1)
        assert [kept.frame.camera.fx for kept in window.clip()] == [60, 90]
        zoomed = pytest.approx(90 * 47 / 63)
        assert running.user.until(
            lambda: running.user.heard[INFO] and running.user.heard[INFO][-1].k[0] == zoomed
        )


def bent(focal=500.0, width=640, height=480):
    msg = info(focal=focal, width=width, height=height)
    msg.distortion_model, msg.d = PLUMB_BOB
    return msg


def test_nothing_is_copied_where_nothing_is_to_do_and_maps_are_made_once():
    calibration, picture = Calibration(), np.zeros((480, 640, 3), np.uint8)
    assert calibration.view(picture, "/image", "auto") == (picture, None, None)
    calibration.update(bent())
    for rectified, topic in (("true", "/image"), (True, "/image"), ("auto", "/image_rect")):
        same, camera, lens = calibration.view(picture, topic, rectified)
        assert same is picture and lens is None and camera.fx == 500
    small, lenses = np.zeros((240, 320, 3), np.uint8), set()
    for _ in range(3):  # images of two sizes take turns, and the same camera_info comes with each
        for shown in (picture, small):
            calibration.update(bent())
            view, camera, lens = calibration.view(shown, "/image", "False")
            assert view.shape == shown.shape and camera.width == shown.shape[1]
            lenses.add(lens)
    assert len(lenses) == 2
    assert calibration.view(np.zeros((480, 480, 3), np.uint8), "/image", "auto")[1:] == (None, None)
    assert "another shape" in calibration.problem
    calibration.view(picture, "/image", "auto")
    assert calibration.problem == ""


def test_rectifying_is_a_look_at_maps_that_are_there():
    """1.5 ms for 640x480 on an idle machine; making the maps takes some 30."""
    calibration = Calibration()
    picture = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)

    def seconds(info_message=None):
        start = time.perf_counter()
        if info_message is not None:
            calibration.update(info_message)
        calibration.view(picture, "/image_raw", "auto")
        return time.perf_counter() - start

    anew = min(seconds(bent(focal)) for focal in range(500, 510))
    assert min(seconds(bent(509)) for _ in range(30)) < anew / 3


@pytest.mark.skipif(not hasattr(messages, "through_lenses"), reason="needs services that know of lenses")
@pytest.mark.parametrize("lens", [PLUMB_BOB, FISHEYE])
def test_pixels_that_are_asked_and_answered_are_the_topics(running, truth, lens):
    """What is answered for a raw pixel lies on the ray of that pixel, by OpenCV's projection; tracks too."""
    running.listen(Tracks, "/d4rt/tracks")
    msg = truth.info(*lens, wide(truth))
    running.send_info(msg)
    for t, raw in zip(TIMES, through_lens(truth.images, msg)):
        running.send("image", image(100 + t, raw))
    u, v = (x.ravel().astype(np.float32) for x in np.meshgrid(np.linspace(20, 76, 7), np.linspace(16, 56, 5)))
    newest = [WINDOW - 1]
    request = Query.Request(u=u.tolist(), v=v.tolist(), t_src=newest, t_tgt=newest, t_cam=newest)
    answer = running.user.call(Query, "/d4rt/query", request)
    assert answer.status == Query.Response.OK, answer.message
    points, asked = np.reshape(answer.points, (-1, 3)).astype(float), np.stack([u, v], -1)
    known = np.isfinite(points).all(1)
    assert known.mean() > 0.9
    np.testing.assert_allclose(projected(points[known], msg), asked[known], atol=0.05)
    np.testing.assert_allclose(np.reshape(answer.pixels, (-1, 2))[known], asked[known], atol=0.05)
    tracks = running.user.newest("/d4rt/tracks")
    positions = np.reshape(tracks.positions, (-1, WINDOW, 3))[:, -1].astype(float)
    pixels = np.reshape(tracks.pixels, (-1, WINDOW, 2))[:, -1]
    seen = np.reshape(tracks.visible, (-1, WINDOW))[:, -1]
    in_camera = transform(invert(BODY_FROM_OPTICAL), positions)  # the world begins at this camera
    assert seen.sum() > 50
    np.testing.assert_allclose(projected(in_camera[seen], msg), pixels[seen], atol=0.05)


def projected(points, msg):
    project = cv2.fisheye.projectPoints if msg.distortion_model == "equidistant" else cv2.projectPoints
    still, k = np.zeros(3), np.reshape(msg.k, (3, 3))
    return project(points[:, None], still, still, k, np.array(msg.d))[0][:, 0]
