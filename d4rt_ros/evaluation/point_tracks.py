"""How well points of videos are followed in 3D: TAPVid-3D in the camera of each frame, WorldTrack in one world.

A clip of the model's length is a video of its own. What is measured so are tracks over one clip; the benchmarks'
own numbers, over whole videos, are had with a model whose clip is as long as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from rich.progress import track

from d4rt_ros.evaluation.figures import Figure, Records, add_records, figures_of
from d4rt_ros.evaluation.pictures import PICTURES, track_picture
from d4rt_ros.evaluation.tapvid import tapvid3d
from d4rt_ros.evaluation.track_files import TrackFile, read_track_file
from d4rt_ros.evaluation.worldtrack import world_track_errors
from d4rt_ros.geometry import Pinhole, invert, transform
from d4rt_ros.io.recorded import RecordedError
from d4rt_ros.tasks import tracks_of_points

TAPVID_SIDE = 256  # pixels of the video's shorter side, of which TAPVid-3D's thresholds speak
WORLDTRACK_FRAMES = 64  # of a video, that WorldTrack's authors evaluate


def evaluate_tapvid3d(
    model, files: Iterable[Path], most: int | None = None, pictures: Path | None = None
) -> list[Figure]:
    """3D-AJ, APD and OA with median scaling, means over clips that follow each other.

    A point is asked for where the file's query is, if that is in the clip; else from the first frame of the clip
    that sees it. Points that no frame of a clip sees do not count in it.
    most: evaluate the first so many clips alone. pictures: a folder for pictures of the first clips.
    Raises RecordedError for files that cannot be used, or that hold no clip with a point that is seen.
    """
    return _evaluate(model, _clips(files, model.num_frames, None), _tapvid_clip, most, pictures)


def evaluate_worldtrack(
    model, files: Iterable[Path], most: int | None = None, pictures: Path | None = None
) -> list[Figure]:
    """APD and EPE with one median scale, in the frame of each clip's first camera; means over clips of the first 64
    frames. Asked for are the points that a clip's first frame sees. Arguments and errors: see `evaluate_tapvid3d`.
    """
    return _evaluate(model, _clips(files, model.num_frames, WORLDTRACK_FRAMES), _world_clip, most, pictures)


@dataclass(frozen=True)
class TrackClip:
    """T frames of a file: images (T, H, W, 3) uint8, their camera, N points (N, T, 3) each in its frame's camera,
    visible (N, T), and the number in the file of the first frame."""

    file: TrackFile
    start: int
    images: np.ndarray
    camera: Pinhole
    points: np.ndarray
    visible: np.ndarray


def _evaluate(model, clips: Iterable[TrackClip], evaluate_clip, most: int | None, pictures: Path | None):
    """evaluate_clip: from a model and a clip to records and which points (N,) it asked for, with pixels (n, T, 2)."""
    records: Records = {}
    for n, clip in enumerate(islice(clips, most)):
        more, asked, uv = evaluate_clip(model, clip)
        add_records(records, more)
        if pictures is not None and n < PICTURES and asked.any():
            true_uv = clip.camera.project(clip.points[asked])
            track_picture(pictures / f"{clip.file.name}_{clip.start:04}.png", clip.images, true_uv, uv)
    if not records:
        raise RecordedError(
            "none of the files has a clip with a point that is seen; expected tracks to follow"
        )
    return figures_of(records)


def _tapvid_clip(model, clip: TrackClip):
    frame, pixels = _queries(clip)
    asked = _inside(pixels, clip.camera) & clip.visible.any(1)
    if not asked.any():
        return {}, asked, None
    points, visible = clip.points[asked], clip.visible[asked]
    ours = tracks_of_points(model.encode(clip.images), *pixels[asked].T, frame[asked])
    intrinsics = clip.file.intrinsics * TAPVID_SIDE / min(clip.images.shape[1:3])

    def measured(tracks: np.ndarray, hidden: np.ndarray) -> dict[str, float]:
        determined = (visible & ~hidden).any()  # not where a model says that it sees none of the points
        return tapvid3d(points, ~visible, tracks, hidden, intrinsics, "median" if determined else "none")

    guess = measured(ours.xyz, ours.visibility <= 0.5)
    still = measured(_still(clip.camera, pixels[asked], points.shape), np.zeros(visible.shape, bool))
    names = ("average_jaccard", "average_pts_within_thresh", "occlusion_accuracy")
    return {name: (guess[name], still[name]) for name in names}, asked, ours.uv


def _world_clip(model, clip: TrackClip):
    pixels = clip.camera.project(clip.points[:, 0])
    asked = clip.visible[:, 0] & _inside(pixels, clip.camera)
    if not asked.any():
        return {}, asked, None
    truth = _in_first_camera(clip, clip.points[asked])
    ours = tracks_of_points(model.encode(clip.images), *pixels[asked].T, 0, t_cam=0)
    still = world_track_errors(_still(clip.camera, pixels[asked], truth.shape), truth)
    guess = world_track_errors(ours.xyz, truth)
    return {"world apd": (guess[0], still[0]), "world epe": (guess[1], still[1])}, asked, ours.uv


def _clips(files: Iterable[Path], length: int, frames: int | None) -> Iterator[TrackClip]:
    """Clips of `length` frames that follow each other, in up to so many frames of each file; one is read at a time."""
    for path in track(list(files), description="evaluating"):
        file = read_track_file(path)
        count = len(file.jpegs) if frames is None else min(frames, len(file.jpegs))
        if count < length:
            raise RecordedError(f"{path}: has {count} frames; a clip of this model needs {length}")
        for start in range(0, count - length + 1, length):
            part = slice(start, start + length)
            images = file.images(start, start + length)
            camera = file.camera(images.shape[2], images.shape[1])
            yield TrackClip(file, start, images, camera, file.points[:, part], file.visible[:, part])


def _queries(clip: TrackClip) -> tuple[np.ndarray, np.ndarray]:
    """The frame in the clip (N,) and pixel (N, 2) that each point is asked for from."""
    frame = clip.visible.argmax(1)
    pixels = clip.camera.project(clip.points[np.arange(len(frame)), frame])
    if clip.file.queries is not None:
        asked = np.rint(clip.file.queries[:, 0]).astype(np.intp) - clip.start
        here = (asked >= 0) & (asked < len(clip.images))
        frame = np.where(here, asked, frame)
        pixels = np.where(here[:, None], clip.file.queries[:, :0:-1], pixels)
    return frame, pixels


def _inside(pixels: np.ndarray, camera: Pinhole) -> np.ndarray:
    """(N,) bool; NaN, of points behind the camera, is not inside."""
    size = np.array([camera.width, camera.height])
    return ((pixels >= -0.5) & (pixels <= size - 0.5)).all(1)


def _still(camera: Pinhole, pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The trivial answer (N, T, 3): every point stays where its pixel is, all at one depth."""
    return np.broadcast_to(camera.backproject(pixels, np.ones(len(pixels)))[:, None], shape)


def _in_first_camera(clip: TrackClip, points: np.ndarray) -> np.ndarray:
    """Points (N, T, 3), each in the camera of its frame, in the camera of the clip's first frame."""
    if clip.file.camera_from_world is None:
        return points
    camera_from_world = clip.file.camera_from_world[clip.start : clip.start + len(clip.images)]
    first_from_camera = camera_from_world[0] @ invert(camera_from_world)
    return transform(first_from_camera, points.swapaxes(0, 1)).swapaxes(0, 1)
