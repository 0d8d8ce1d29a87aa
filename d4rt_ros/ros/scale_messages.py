"""What depth, scan, range and cloud messages say of the scale: depth in metres, and points in the sensor's frame."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from d4rt_ros.io.image_messages import depth_from_image
from d4rt_ros.io.transform_tree import frame_name

ROWS = 120  # of a depth image, that are kept at least
MOST_POINTS = 4000  # of a cloud
CONE = 9  # directions across a range finder's cone
FLOATS = {7: "f4", 8: "f8"}  # PointField's types


def small_depth(msg) -> tuple[str, np.ndarray]:
    """frame_id and depth (h, w) in metres of a depth image, of ROWS rows or a few more. Raises ImageError."""
    step = max(msg.height // ROWS, 1)
    middle = slice((step - 1) // 2, None, step)
    rows = msg
    if step > 1 and len(msg.data) >= msg.step * msg.height:
        # Before it is converted, which takes longer than all the rest.
        data = np.frombuffer(msg.data, np.uint8)[: msg.step * msg.height].reshape(msg.height, msg.step)
        data = data[: msg.height // step * step][middle]
        rows = SimpleNamespace(
            encoding=msg.encoding,
            height=len(data),
            width=msg.width,
            step=msg.step,
            is_bigendian=msg.is_bigendian,
            data=data.tobytes(),
        )
    depth = depth_from_image(rows)
    if rows is msg:
        return frame_name(msg.header.frame_id), depth
    return frame_name(msg.header.frame_id), depth[:, : msg.width // step * step][:, middle].copy()


def scan_points(msg) -> tuple[str, np.ndarray]:
    """frame_id and points (N, 3) of the rays that met something."""
    ranges = np.asarray(msg.ranges, float)
    angles = msg.angle_min + msg.angle_increment * np.arange(len(ranges))
    met = np.isfinite(ranges) & (ranges >= max(msg.range_min, 1e-3)) & (ranges <= msg.range_max)
    ranges, angles = ranges[met], angles[met]
    points = np.column_stack([ranges * np.cos(angles), ranges * np.sin(angles), np.zeros(len(ranges))])
    return frame_name(msg.header.frame_id), points


def cone_points(msg) -> tuple[str, np.ndarray]:
    """frame_id and points (N, 3) at the range, all over the cone, whose axis is x."""
    frame, distance = frame_name(msg.header.frame_id), float(msg.range)
    if not (math.isfinite(distance) and max(msg.min_range, 1e-3) <= distance <= msg.max_range):
        return frame, np.zeros((0, 3))
    half = min(max(float(msg.field_of_view), 0.0), math.pi / 2) / 2
    across = np.linspace(-half, half, CONE if half > 1e-3 else 1)
    y, z = (x.ravel() for x in np.meshgrid(across, across))
    angle = np.hypot(y, z)
    inside = angle <= half + 1e-9
    sides = np.sinc(angle / np.pi)[inside]  # sin(angle) / angle
    rays = np.column_stack([np.cos(angle[inside]), y[inside] * sides, z[inside] * sides])
    return frame, distance * rays


def cloud_points(msg) -> tuple[str, np.ndarray]:
    """frame_id and points (N, 3), at most MOST_POINTS of them. Raises ValueError for a cloud without x, y, z."""
    fields = {field.name: field for field in msg.fields}
    if any(name not in fields or fields[name].datatype not in FLOATS for name in "xyz"):
        raise ValueError(
            f"a cloud with the fields {', '.join(fields) or 'none'}; x, y, z as floats are wanted"
        )
    order = ">" if msg.is_bigendian else "<"
    layout = np.dtype(
        {
            "names": ["x", "y", "z"],
            "formats": [order + FLOATS[fields[name].datatype] for name in "xyz"],
            "offsets": [fields[name].offset for name in "xyz"],
            "itemsize": msg.point_step,
        }
    )
    data, row = np.frombuffer(msg.data, np.uint8), msg.width * msg.point_step
    if msg.row_step < row or len(data) < msg.row_step * msg.height:
        raise ValueError(
            f"a cloud of {msg.height} rows of {msg.row_step} bytes with {len(data)} bytes and {row} for a row of points"
        )
    rows = data[: msg.row_step * msg.height].reshape(msg.height, msg.row_step)[:, :row]
    points = np.ascontiguousarray(rows).reshape(-1).view(layout)
    points = points[:: -(-len(points) // MOST_POINTS) or 1]
    xyz = np.column_stack([points[name].astype(float) for name in "xyz"])
    return frame_name(msg.header.frame_id), xyz[np.isfinite(xyz).all(1)]
