"""How well points of videos are followed in 3D: TAPVid-3D in the camera of each frame, WorldTrack in one world.

A clip of the model's length is a video of its own. What is measured so are tracks over one clip; the benchmarks'
own numbers, over whole videos, are had with a model whose clip is as long as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
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
    records: Records = {}
    for n, (file, start) in enumerate(_clips(model, files, most, None)):
        stop = start + model.num_frames
        images = file.images(start, stop)
        camera = file.camera(images.shape[2], images.shape[1])
        points, visible = file.points[:, start:stop], file.visible[:, start:stop]
        frame, pixels = _queries(file, points, visible, start, camera)
        asked = _inside(pixels, camera) & visible.any(1)
        if not asked.any():
            continue
        points, visible, frame, pixels = (x[asked] for x in (points, visible, frame, pixels))
        ours = tracks_of_points(model.encode(images), *pixels.T, frame)
        still = np.broadcast_to(camera.backproject(pixels, np.ones(len(pixels)))[:, None], points.shape)
        scale = TAPVID_SIDE / min(images.shape[1:3])

        def measure(tracks, hidden) -> dict[str, float]:
            determined = (visible & ~hidden).any()  # not where a model says that it sees none of the points
            scaling = "median" if determined else "none"
            return tapvid3d(points, ~visible, tracks, hidden, scale * file.intrinsics, scaling)

        guess, trivial = (
            measure(ours.xyz, ours.visibility <= 0.5),
            measure(still, np.zeros(visible.shape, bool)),
        )
        names = ("average_jaccard", "average_pts_within_thresh", "occlusion_accuracy")
        add_records(records, {name: (guess[name], trivial[name]) for name in names})
        if pictures is not None and n < PICTURES:
            track_picture(pictures / f"{file.name}_{start:04}.png", images, camera.project(points), ours.uv)
    return _some(records)


def evaluate_worldtrack(
    model, files: Iterable[Path], most: int | None = None, pictures: Path | None = None
) -> list[Figure]:
    """APD and EPE with one median scale, in the frame of each clip's first camera; means over clips of the first 64
    frames. Asked for are the points that a clip's first frame sees. Arguments and errors: see `evaluate_tapvid3d`.
    """
    records: Records = {}
    for n, (file, start) in enumerate(_clips(model, files, most, WORLDTRACK_FRAMES)):
        stop = start + model.num_frames
        images = file.images(start, stop)
        camera = file.camera(images.shape[2], images.shape[1])
        points = file.points[:, start:stop]
        pixels = camera.project(points[:, 0])
        asked = file.visible[:, start] & _inside(pixels, camera)
        if not asked.any():
            continue
        points, pixels = points[asked], pixels[asked]
        truth = _in_first_camera(file, points, start)
        ours = tracks_of_points(model.encode(images), *pixels.T, 0, t_cam=0)
        still = np.broadcast_to(camera.backproject(pixels, np.ones(len(pixels)))[:, None], points.shape)
        (apd, epe), (still_apd, still_epe) = (world_track_errors(x, truth) for x in (ours.xyz, still))
        add_records(records, {"world apd": (apd, still_apd), "world epe": (epe, still_epe)})
        if pictures is not None and n < PICTURES:
            track_picture(pictures / f"{file.name}_{start:04}.png", images, camera.project(points), ours.uv)
    return _some(records)


def _clips(model, files: Iterable[Path], most: int | None, frames: int | None):
    """(file, first frame) of every clip, of up to so many frames of each file; a file is read when its turn comes."""
    count = 0
    for path in track(list(files), description="evaluating"):
        file = read_track_file(path)
        length = len(file.jpegs) if frames is None else min(frames, len(file.jpegs))
        if length < model.num_frames:
            raise RecordedError(f"{path}: has {length} frames; a clip of this model needs {model.num_frames}")
        for start in range(0, length - model.num_frames + 1, model.num_frames):
            if most is not None and count == most:
                return
            count += 1
            yield file, start


def _queries(file: TrackFile, points, visible, start: int, camera: Pinhole) -> tuple[np.ndarray, np.ndarray]:
    """The frame in the clip (N,) and pixel (N, 2) that each point is asked for from."""
    frame = visible.argmax(1)
    pixels = camera.project(points[np.arange(len(points)), frame])
    if file.queries is not None:
        asked = np.rint(file.queries[:, 0]).astype(np.intp) - start
        here = (asked >= 0) & (asked < points.shape[1])
        frame = np.where(here, asked, frame)
        pixels = np.where(here[:, None], file.queries[:, :0:-1], pixels)
    return frame, pixels


def _inside(pixels: np.ndarray, camera: Pinhole) -> np.ndarray:
    """(N,) bool; NaN, of points behind the camera, is not inside."""
    size = np.array([camera.width, camera.height])
    return ((pixels >= -0.5) & (pixels <= size - 0.5)).all(1)


def _in_first_camera(file: TrackFile, points: np.ndarray, start: int) -> np.ndarray:
    """Points (N, T, 3), each in the camera of its frame, in the camera of the clip's first frame."""
    if file.camera_from_world is None:
        return points
    camera_from_world = file.camera_from_world[start : start + points.shape[1]].astype(np.float64)
    first_from_camera = camera_from_world[0] @ invert(camera_from_world)
    return transform(first_from_camera, points.swapaxes(0, 1)).swapaxes(0, 1)


def _some(records: Records) -> list[Figure]:
    if not records:
        raise RecordedError(
            "none of the files has a clip with a point that is seen; expected tracks to follow"
        )
    return figures_of(records)
