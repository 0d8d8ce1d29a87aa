"""Results out: a camera's path and a cloud of points as files that other tools read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from d4rt_ros.geometry.arguments import real_array
from d4rt_ros.geometry.transforms import quaternion_from_pose

_VERTEX = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")])
_PLY_TYPES = {"f4": "float", "u1": "uchar"}


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Where to write what becomes `file` once it is complete: nobody meets half a file, however writing ends."""
    partial = file.with_name(f"{file.name}.part")
    try:
        yield partial
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def write_trajectory(file: Path, stamps, world_from_camera) -> int:
    """Write a camera's path as TUM RGB-D has it: `stamp tx ty tz qx qy qz qw` a line, the stamp in seconds.

    stamps: (N,) int64 ns. world_from_camera: (N, 4, 4); poses that are not finite are left out. Returns how many
    there are in the file. Raises ValueError for arrays of other shapes.
    """
    poses = real_array(world_from_camera, "world_from_camera", (..., 4, 4))
    if poses.ndim != 3 or np.shape(stamps) != poses.shape[:1]:
        raise ValueError(
            f"stamps of shape {np.shape(stamps)} for poses of shape {poses.shape}; expected as many"
        )
    known = np.isfinite(poses).all(axis=(1, 2))
    rows = np.hstack([poses[known, :3, 3], quaternion_from_pose(poses[known]).reshape(-1, 4)])
    with whole(Path(file)) as partial, open(partial, "w", encoding="ascii") as out:
        out.write("# timestamp tx ty tz qx qy qz qw\n")
        for stamp, row in zip(np.asarray(stamps)[known].tolist(), rows):
            # Of nanoseconds since 1970 a float keeps hundreds at best.
            out.write(f"{stamp // 10**9}.{stamp % 10**9:09} {' '.join(f'{x:.9g}' for x in row)}\n")
    return len(rows)


def write_ply(file: Path, xyz, rgb) -> None:
    """Write points (N, 3) with colours (N, 3) uint8 as a binary PLY, which MeshLab, CloudCompare and Open3D read.

    Raises ValueError for arrays of other shapes.
    """
    xyz, rgb = real_array(xyz, "xyz", (..., 3), np.float32), real_array(rgb, "rgb", (..., 3), np.uint8)
    if xyz.ndim != 2 or xyz.shape != rgb.shape:
        raise ValueError(
            f"points of shape {xyz.shape} with colours of shape {rgb.shape}; expected (N, 3) both"
        )
    vertices = np.empty(len(xyz), _VERTEX)
    for i, name in enumerate(_VERTEX.names):
        vertices[name] = xyz[:, i] if i < 3 else rgb[:, i - 3]
    fields = (f"property {_PLY_TYPES[_VERTEX[name].str[1:]]} {name}" for name in _VERTEX.names)
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(xyz)}", *fields, "end_header"]
    with whole(Path(file)) as partial, open(partial, "wb") as out:
        out.write("".join(f"{line}\n" for line in header).encode("ascii"))
        vertices.tofile(out)


def write_arrays(file: Path, **arrays) -> None:
    """Write arrays by their names as a compressed .npz."""
    with whole(Path(file)) as partial, open(partial, "wb") as out:
        np.savez_compressed(out, **arrays)
