"""Kubric's MOVi-E and MOVi-F (Greff et al. 2022), in the TFRecord files that are published (TFDS)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.transforms import invert, pose_from_quaternion, transform
from d4rt_ros.io.encoded_images import ImageError, decoded
from d4rt_ros.io.frame import Frame, even_stamp
from d4rt_ros.io.recorded import PointTracks, RecordedError, RecordedSequence
from d4rt_ros.paths import expanded

RATE = 12.0  # Hz
TRACKED = 32  # points along the longer side of each frame
OCCLUSION = 0.01  # relative: how much farther than what is seen there a point is hidden
# Blender's camera looks along -z, y up.
CAMERA_FROM_OPTICAL = np.diag([1.0, -1, -1, 1])


def open_kubric(file: str | Path) -> list[RecordedSequence]:
    """The videos of a TFRecord file such as movi_f-train.tfrecord-00000-of-01024.

    Depth, stored as distance along the ray, is given along z. What is tracked is a grid of points of every
    frame, exactly: things are rigid. Of two records, some tens of MB each, the encoded form is held in memory.
    """
    try:
        import tfrecord  # noqa: F401
    except ImportError:
        raise RecordedError(f"{file}: TFRecord files need `pip install tfrecord`") from None
    file = expanded(file)
    records = [_Record(file, offset) for offset in record_offsets(file)]
    count = len(records[0].bytes("video"))  # all videos of the data set are of one length
    return [_sequence(record, f"{file.name}#{i}", count) for i, record in enumerate(records)]


def _sequence(record: _Record, name: str, count: int) -> RecordedSequence:
    return RecordedSequence(
        name,
        static=False,
        count=count,
        read=lambda i: _frame(record, i),
        read_tracks=lambda frames: _tracks(record, frames),
    )


def record_offsets(file: Path) -> list[int]:
    """Where each record of a TFRecord file begins: 8 bytes of length, 4 of check, the record, 4 of check."""
    if not file.is_file():
        raise RecordedError(f"{file}: is missing; expected a TFRecord file of MOVi-E or MOVi-F")
    offsets, position, size = [], 0, file.stat().st_size
    with file.open("rb") as stream:
        while position < size:
            stream.seek(position)
            length = stream.read(8)
            offsets.append(position)
            position += 16 + (struct.unpack("<Q", length)[0] if len(length) == 8 else size)
    if not offsets or position != size:
        raise RecordedError(f"{file}: is empty, cut off, or no TFRecord file")
    return offsets


class _Record:
    """The features of one record, read from its file when they are first asked for."""

    def __init__(self, file: Path, offset: int):
        self.where, self._offset = file, offset

    def bytes(self, name: str) -> Sequence[bytes]:
        return self._feature(name).bytes_list.value

    def floats(self, name: str, *shape: int) -> np.ndarray:
        values = np.array(self._feature(name).float_list.value, np.float64)
        try:
            return values.reshape(shape)
        except ValueError:
            raise RecordedError(
                f"{self.where}: {name} has {len(values)} numbers; expected a shape of {shape}"
            ) from None

    def image(self, name: str, i: int) -> np.ndarray:
        encoded = self.bytes(name)[i : i + 1]
        try:
            image = decoded(encoded[0] if encoded else b"")
        except ImageError as error:
            raise RecordedError(f"{self.where}: image {i} of {name}: {error}") from None
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.ndim == 3 else image

    def _feature(self, name: str):
        features = _features(self.where, self._offset)
        if name not in features:
            raise RecordedError(f"{self.where}: a record has no {name}; expected MOVi-E or MOVi-F")
        return features[name]


@lru_cache(maxsize=2)
def _features(file: Path, offset: int):
    from google.protobuf.message import DecodeError
    from tfrecord import example_pb2

    with file.open("rb") as stream:
        stream.seek(offset)
        length, _ = struct.unpack("<QI", stream.read(12))
        try:
            return example_pb2.Example.FromString(stream.read(length)).features.feature
        except DecodeError:
            raise RecordedError(f"{file}: the record at byte {offset} is no tf.train.Example") from None


def _frame(record: _Record, i: int) -> Frame:
    rgb = record.image("video", i)
    camera = _camera(record, *rgb.shape[:2])
    return Frame(
        rgb,
        even_stamp(i, RATE),
        camera,
        depth=(_distance(record, i) * _cosine(camera)).astype(np.float32),
        world_from_camera=_pose(record, i),
    )


def _camera(record: _Record, height: int, width: int) -> Pinhole:
    """Blender's: the sensor's width spans the image's, and the axis goes through its middle."""
    focal = width * float(record.floats("camera/focal_length") / record.floats("camera/sensor_width"))
    return Pinhole.centred(focal, focal, width, height)


def _pose(record: _Record, i: int) -> np.ndarray:
    """world_from_camera; the record's quaternions are w x y z."""
    quaternion = record.floats("camera/quaternions", -1, 4)[i][[1, 2, 3, 0]]
    position = record.floats("camera/positions", -1, 3)[i]
    if not np.isfinite([*quaternion, *position]).all():
        raise RecordedError(f"{record.where}: the camera's pose of frame {i} is not finite")
    return pose_from_quaternion(quaternion, position) @ CAMERA_FROM_OPTICAL


def _distance(record: _Record, i: int) -> np.ndarray:
    """(H, W) metres from the camera's centre."""
    nearest, farthest = record.floats("metadata/depth_range", 2)
    return record.image("depth", i) / 65535 * (farthest - nearest) + nearest


def _cosine(camera: Pinhole) -> np.ndarray:
    """z over distance of each pixel (H, W)."""
    return 1 / np.linalg.norm(camera.backproject_map(np.ones((camera.height, camera.width))), axis=-1)


def _tracks(record: _Record, frames: Sequence[int]) -> PointTracks:
    """Points of a grid of each of the frames: of things by their boxes, of the background standing still."""
    height, width = record.image("video", 0).shape[:2]
    camera, poses = _camera(record, height, width), [_pose(record, t) for t in frames]
    boxes = record.floats("instances/bboxes_3d", -1, len(record.bytes("video")), 8, 3)[:, list(frames)]
    corners = boxes[:, :, [0, 4, 2, 1]]  # (N, T, 4, 3): the origin, and the ends of x, y, z
    depths = [_distance(record, t) * _cosine(camera) for t in frames]
    things = [record.image("segmentations", t) for t in frames]
    step = max(height, width) // TRACKED or 1
    rows, columns = np.mgrid[step // 2 : height : step, step // 2 : width : step].reshape(2, -1)
    parts = []
    for t, frame in enumerate(frames):
        thing = things[t][rows, columns].astype(int)
        inside = record.image("object_coordinates", frame)[rows, columns] / 65535
        still = transform(
            poses[t], camera.backproject(np.stack((columns, rows), -1), depths[t][rows, columns])
        )
        own = corners[np.maximum(thing, 1) - 1] if len(corners) else np.zeros((len(thing), len(frames), 4, 3))
        sides = own[:, :, 1:] - own[:, :, :1]
        moved = own[:, :, 0] + np.einsum("na,ntac->ntc", inside, sides)
        parts.append((np.where((thing > 0)[:, None, None], moved, still[:, None]), thing))
    points = np.concatenate([p for p, _ in parts])
    thing = np.concatenate([thing for _, thing in parts])
    seen = [_seen(points[:, t], thing, camera, poses[t], depths[t], things[t]) for t in range(len(frames))]
    return PointTracks(points, np.stack(seen, 1))


def _seen(points, thing, camera: Pinhole, pose, depth, things) -> np.ndarray:
    """Which points (N, 3) are in view and hidden by nothing: the same thing is seen there, not nearer."""
    local = transform(invert(pose), points)
    pixels = camera.project(local)
    inside = np.isfinite(pixels).all(-1)
    u, v = np.where(inside[:, None], pixels, -1).round().astype(int).T
    inside &= (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    u, v = np.where(inside, u, 0), np.where(inside, v, 0)
    return inside & (things[v, u] == thing) & (local[:, 2] <= depth[v, u] * (1 + OCCLUSION))
