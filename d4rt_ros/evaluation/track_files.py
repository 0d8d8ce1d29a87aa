"""Videos with 3D tracks as .npz: TAPVid-3D's files, and WorldTrack's, which have the same fields."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d4rt_ros.geometry import Pinhole
from d4rt_ros.io.encoded_images import ImageError, decoded
from d4rt_ros.io.image_messages import rgb_from_decoded
from d4rt_ros.io.recorded import RecordedError
from d4rt_ros.paths import expanded

FIELDS = ("images_jpeg_bytes", "tracks_XYZ", "visibility", "fx_fy_cx_cy")


@dataclass(frozen=True)
class TrackFile:
    """A video of T frames with N points that were followed.

    jpegs: (T,) encoded images. points: (N, T, 3) metres, each in the camera of its own frame. visible: (N, T)
    bool. queries: (N, 3) as t, y, x, or None. intrinsics: fx, fy, cx, cy in pixels.
    camera_from_world: (T, 4, 4), or None where the camera stands still.
    """

    name: str
    jpegs: np.ndarray
    points: np.ndarray
    visible: np.ndarray
    queries: np.ndarray | None
    intrinsics: np.ndarray
    camera_from_world: np.ndarray | None

    def images(self, start: int, stop: int) -> np.ndarray:
        """Frames start … stop-1 as (n, H, W, 3) uint8 RGB. Raises RecordedError for one that is none."""
        return np.stack([self._image(i) for i in range(start, stop)])

    def camera(self, width: int, height: int) -> Pinhole:
        fx, fy, cx, cy = (float(x) for x in self.intrinsics)
        return Pinhole(fx, fy, cx, cy, width, height)

    def _image(self, i: int) -> np.ndarray:
        try:
            return rgb_from_decoded(decoded(self.jpegs[i]))
        except ImageError as error:
            raise RecordedError(f"{self.name}: frame {i}: {error}; expected a JPEG image") from None


def read_track_file(file: Path) -> TrackFile:
    """Read TAPVid-3D's or WorldTrack's .npz. Nothing in it is executed: pickled objects are refused.

    Fields: images_jpeg_bytes (T,), tracks_XYZ (T, N, 3), visibility (T, N), fx_fy_cx_cy (4,); where there are such,
    queries_xyt (N, 3) and extrinsics_w2c (T, 4, 4).
    Raises RecordedError for a file that is none, lacks a field, or whose fields do not fit together.
    """
    file = expanded(file)
    try:
        with np.load(file, allow_pickle=False) as data:
            missing = [name for name in FIELDS if name not in data.files]
            if missing:
                raise RecordedError(
                    f"{file}: has no {', '.join(missing)}; expected {', '.join(FIELDS)} (TAPVid-3D, WorldTrack)"
                )
            fields = {
                name: data[name] for name in (*FIELDS, "queries_xyt", "extrinsics_w2c") if name in data.files
            }
    except RecordedError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RecordedError(
            f"{file}: cannot be read as .npz of plain arrays ({error}); expected TAPVid-3D's or WorldTrack's format"
        ) from None
    return _checked(file, fields)


def _checked(file: Path, fields: dict[str, np.ndarray]) -> TrackFile:
    tracks, count = fields["tracks_XYZ"], len(fields["images_jpeg_bytes"])
    points = tracks.shape[1] if tracks.ndim == 3 else 0
    shapes = {
        "tracks_XYZ": (count, points, 3),
        "visibility": (count, points),
        "fx_fy_cx_cy": (4,),
        "queries_xyt": (points, 3),
        "extrinsics_w2c": (count, 4, 4),
    }
    for name, shape in shapes.items():
        if name in fields and fields[name].shape != shape:
            raise RecordedError(
                f"{file}: {name} has shape {fields[name].shape}; expected {shape} for {count} frames and {points} "
                "tracks"
            )
    if not points or not (np.isfinite(fields["fx_fy_cx_cy"]).all() and (fields["fx_fy_cx_cy"][:2] > 0).all()):
        raise RecordedError(
            f"{file}: has {points} tracks and intrinsics {fields['fx_fy_cx_cy'].tolist()}; expected tracks, and "
            "positive focal lengths"
        )
    queries = fields.get("queries_xyt")
    return TrackFile(
        file.stem,
        fields["images_jpeg_bytes"],
        np.moveaxis(tracks, 0, 1).astype(np.float64),
        fields["visibility"].T.astype(bool),
        None if queries is None else queries[:, ::-1].astype(np.float64),
        fields["fx_fy_cx_cy"].astype(np.float64),
        fields.get("extrinsics_w2c"),
    )
