"""A ROS 2 bag (sqlite3 or mcap) with image, depth, camera_info and TF. Read by rosbags, so without ROS."""

from __future__ import annotations

import shutil
import struct
import tempfile
import threading
import warnings
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d4rt_ros.geometry import CameraError, View
from d4rt_ros.io.bag_storage import ZSTD, open_bag, zstd_unpacked
from d4rt_ros.io.calibration import camera_model, named_rectified
from d4rt_ros.io.frame import Frame
from d4rt_ros.io.image_messages import (
    BitDepth,
    ImageError,
    depth_from_compressed,
    depth_from_image,
    is_depth,
    rgb_from_compressed,
    rgb_from_image,
)
from d4rt_ros.io.recorded import RecordedError, RecordedSequence
from d4rt_ros.io.transform_tree import TransformError, TransformTree, recorded_transforms
from d4rt_ros.paths import expanded

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
TF_GAP = 500_000_000  # ns between two transforms that may be interpolated


@dataclass(frozen=True)
class BagNames:
    """Which topics and frames of a bag are meant; None: the only ones that fit.

    image: Image or CompressedImage. depth: 16UC1 or 32FC1, registered to the image. camera_info: by default
    the one beside the image. world: the frame that stands still, by default the root of the camera's TF tree.
    camera: the camera's optical frame, by default the frame_id of the images.
    """

    image: str | None = None
    depth: str | None = None
    camera_info: str | None = None
    world: str | None = None
    camera: str | None = None


def open_ros_bag(
    path: str | Path, names: BagNames = BagNames(), poses: bool = True, static: bool = True,
    tolerance: float = 0.02,
) -> RecordedSequence:  # fmt: skip
    """The images of a bag that have depth within `tolerance` seconds and, with `poses`, a place in TF.

    static: nothing but the robot moved. Raw images are rectified, with their depth. The whole bag is read once for the
    stamps; images are read when they are asked for.
    Raises RecordedError where the bag cannot be read, a topic is missing or not the only one of its kind, or
    TF does not say where the camera was.
    """
    path = expanded(path)
    bag = Bag(path)
    image = choose_image(bag, names.image)
    depth = _choose_depth(bag, names.depth, image)
    info = bag.first(choose_info(bag, names.camera_info, image))
    stamps = _pairs(bag, image, depth, tolerance)
    cameras = None
    if poses:
        camera = (names.camera or bag.first(image).header.frame_id).lstrip("/")
        cameras = _poses(bag, [stamp for stamp, _, _ in stamps], names.world, camera)
        stamps = [row for row, pose in zip(stamps, cameras) if pose is not None]
        cameras = [pose for pose in cameras if pose is not None]
    views, bits = Views(info, named_rectified(image), where=f"{path}"), BitDepth()

    def read(i: int) -> Frame:
        stamp, image_time, depth_time = stamps[i]
        rgb = decode(bag, image, image_time, rgb_from_image, rgb_from_compressed, bits)
        bits.warn(f"{path}, {image}")
        metres = decode(bag, depth, depth_time, depth_from_image, depth_from_compressed)
        return views.frame(rgb, stamp, metres, cameras[i] if cameras else None)

    return RecordedSequence(path.name, static, len(stamps), read)


class Bag:
    """A bag that stays open, and its messages by topic and the time at which they were recorded (ns)."""

    def __init__(self, path: Path):
        try:
            import rosbags  # noqa: F401
        except ImportError:
            raise RecordedError(f"{path}: bags need `pip install rosbags`") from None
        self.path, self._lock = path, threading.Lock()
        scratch = Path(tempfile.mkdtemp(prefix="d4rt_bag_"))
        weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        self._reader = open_bag(path, scratch)
        weakref.finalize(self, self._reader.close)
        self.types = {c.topic: c.msgtype for c in self._reader.connections if c.msgcount}

    def of_type(self, *types: str) -> list[str]:
        return sorted(topic for topic, kind in self.types.items() if kind in types)

    def raw(self, topic: str, start: int | None = None, stop: int | None = None):
        """(time, bytes) of a topic's messages; where the bag is damaged they end, with a warning."""
        connections = [c for c in self._reader.connections if c.topic == topic]
        time = None
        try:
            for _, time, data in self._reader.messages(connections, start, stop):
                # Each message may have been compressed on its own, which only metadata.yaml says; CDR begins with 0.
                yield time, zstd_unpacked(data) if bytes(data[:4]) == ZSTD else data
        except Exception as error:  # rosbags', SQLite's, a decompressor's
            where = "its beginning" if time is None else f"{time * 1e-9:.3f} s"
            warnings.warn(
                f"{self.path}: {topic} cannot be read on after {where} ({error}); the rest is lost",
                stacklevel=3,
            )

    def messages(self, topic: str):
        return (self._message(topic, time, data) for time, data in self.raw(topic))

    def first(self, topic: str):
        return self._only(topic, self.raw(topic))

    def at(self, topic: str, time: int):
        with self._lock:  # one file is read from, whichever thread asks
            return self._only(topic, self.raw(topic, time, time + 1))

    def _only(self, topic: str, messages):
        time, data = next(messages, (None, b""))
        if time is None:
            raise RecordedError(f"{self.path}: no message of {topic} can be read; the bag is damaged there")
        return self._message(topic, time, data)

    def stamps(self, topic: str) -> list[tuple[int, int]]:
        """(header.stamp, time), both in ns, of every message, of which only the beginning is looked at.

        Where all stamps are 0 none was set, and the times stand for them; a first one of 0 is a simulator's.
        """
        found = []
        for time, data in self.raw(topic):
            if len(data) < 12:
                warnings.warn(
                    f"{self.path}: {topic} at {time * 1e-9:.3f} s has {len(data)} bytes; it is left out"
                )
                continue
            # CDR: four bytes that tell the order of bytes, then the header's stamp.
            seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
            found.append((seconds * 10**9 + nanoseconds, time))
        unset = len(found) > 1 and not any(stamp for stamp, _ in found)
        return sorted((time, time) for _, time in found) if unset else sorted(found)

    def _message(self, topic: str, time: int, data):
        try:
            return self._reader.deserialize(data, self.types[topic])
        except Exception as error:  # whatever a damaged message raises
            raise RecordedError(
                f"{self.path}, {topic} at {time * 1e-9:.9f} s: its {len(data)} bytes are no {self.types[topic]} "
                f"({error})"
            ) from None


def _only(bag: Bag, candidates: list[str], given: str | None, what: str, option: str) -> str:
    """The given topic if it is there, or the only candidate."""
    topics = [given] if given and given in bag.types else [] if given else candidates
    if len(topics) == 1:
        return topics[0]
    if given:
        raise RecordedError(f"{bag.path}: has no messages of {given}; it has {', '.join(sorted(bag.types))}")
    found = f"several: {', '.join(topics)}; choose one with {option}" if topics else "none"
    raise RecordedError(f"{bag.path}: expected one topic of {what}, found {found}")


def choose_image(bag: Bag, given: str | None) -> str:
    colours = [t for t in bag.of_type(IMAGE, COMPRESSED) if not is_depth(bag.first(t))]
    return _only(bag, _without_copies(colours), given, "colour images", "--image")


def _choose_depth(bag: Bag, given: str | None, image: str) -> str:
    depths = _without_copies([t for t in bag.of_type(IMAGE, COMPRESSED) if is_depth(bag.first(t))])
    frame = bag.first(image).header.frame_id
    registered = [t for t in depths if bag.first(t).header.frame_id == frame]
    if depths and not (registered or given):
        raise RecordedError(
            f"{bag.path}: the depth of {', '.join(depths)} is not in the image's frame {frame}; expected depth "
            "registered to the image (depth_image_proc register, or the driver's aligned depth), or say which "
            "with --depth"
        )
    return _only(bag, registered, given, "depth images (16UC1 or 32FC1)", "--depth")


def _without_copies(topics: list[str]) -> list[str]:
    """Without the compressed copies of topics that are there in full."""
    copies = {
        t for t in topics if t.endswith(("/compressed", "/compressedDepth")) and t.rsplit("/", 1)[0] in topics
    }
    return [t for t in topics if t not in copies]


def choose_info(bag: Bag, given: str | None, image: str) -> str:
    infos = bag.of_type("sensor_msgs/msg/CameraInfo")
    beside = image.removesuffix("/compressed").rsplit("/", 1)[0] + "/camera_info"
    return _only(bag, [beside] if beside in infos else infos, given, "CameraInfo", "--camera-info")


def _pairs(bag: Bag, image: str, depth: str, tolerance: float) -> list[tuple[int, int, int]]:
    """(stamp of the image, its time, its depth's time), in ns, of the images that have depth."""
    depths = bag.stamps(depth)
    stamps = np.array([stamp for stamp, _ in depths])
    pairs = []
    for stamp, time in bag.stamps(image):
        nearest = int(np.abs(stamps - stamp).argmin())
        if abs(stamps[nearest] - stamp) <= tolerance * 1e9:
            pairs.append((stamp, time, depths[nearest][1]))
    if not pairs:
        raise RecordedError(
            f"{bag.path}: no image of {image} has depth of {depth} within {tolerance} s; are the stamps of one clock?"
        )
    return pairs


def _poses(bag: Bag, stamps: list[int], world: str | None, camera: str) -> list[np.ndarray | None]:
    transforms = recorded_transforms(
        (transform, topic.endswith("_static"))
        for topic in bag.of_type("tf2_msgs/msg/TFMessage")
        for message in bag.messages(topic)
        for transform in message.transforms
    )
    without = "; record /tf and /tf_static, or train without poses (--no-poses)"
    ancestors = transforms.ancestors(camera)
    world, camera = world.lstrip("/") if world else ancestors[-1], ancestors[0]
    if transforms.ancestors(world)[-1] != ancestors[-1] or world == camera:
        known = ", ".join(transforms.frames()) or "no frame"
        raise RecordedError(
            f"{bag.path}: TF does not connect the camera's frame {camera} to {world}; it knows {known}{without}"
        )
    if not transforms.moves(world, camera):
        raise RecordedError(
            f"{bag.path}: in TF nothing moves between {camera} and {world}; expected odometry or a map{without}"
        )
    poses = [_pose(transforms, world, camera, stamp) for stamp in stamps]
    if all(pose is None for pose in poses):
        raise RecordedError(
            f"{bag.path}: TF has no transform from {camera} to {world} at the images' times "
            f"{stamps[0] / 1e9:.2f} to {stamps[-1] / 1e9:.2f}{_times(transforms)}{without}"
        )
    return poses


def _pose(transforms: TransformTree, world: str, camera: str, stamp: int) -> np.ndarray | None:
    try:
        return transforms.lookup(world, camera, stamp, TF_GAP, TF_GAP)
    except TransformError:
        return None


def _times(transforms: TransformTree) -> str:
    spans = transforms.times().items()
    return "".join(f", {frame} has {start / 1e9:.2f} to {end / 1e9:.2f}" for frame, (start, end) in spans)


def decode(bag: Bag, topic: str, time: int, of_image, of_compressed, *options) -> np.ndarray:
    message = bag.at(topic, time)
    try:
        return (of_compressed if hasattr(message, "format") else of_image)(message, *options)
    except ImageError as error:
        stamp = message.header.stamp
        where = f"{bag.path}, {topic} at {stamp.sec}.{stamp.nanosec:09}"
        raise RecordedError(f"{where}: {error}") from None


class Views:
    """The bag's images as a pinhole camera sees them."""

    def __init__(self, info, rectified: bool, where: str):
        self._model, self._rectified, self._where = camera_model(info), rectified or None, where
        self._views: dict[tuple[int, int], View] = {}
        if not self._model.calibrated:
            raise RecordedError(f"{where}: camera_info is all zero; expected a calibrated camera")

    def frame(
        self, rgb: np.ndarray, stamp: int, depth: np.ndarray | None = None, pose: np.ndarray | None = None
    ) -> Frame:
        """Image and depth, rectified where the images are not, with their camera."""
        view = self._of(rgb.shape[1], rgb.shape[0])
        lens = view.lens
        if lens is not None and depth is None:
            rgb = lens.rectify(rgb)
        elif (
            lens is not None and depth.shape == rgb.shape[:2]
        ):  # else the sequence refuses it, with a sentence
            rgb, depth = lens.rectify(rgb), lens.rectify_depth(depth)
        return Frame(rgb, stamp, view.camera, lens, depth, pose)

    def _of(self, width: int, height: int) -> View:
        if (width, height) not in self._views:
            try:
                self._views[width, height] = self._model.view(width, height, self._rectified)
            except CameraError as error:
                raise RecordedError(f"{self._where}: camera_info is of no use: {error}") from None
        return self._views[width, height]
