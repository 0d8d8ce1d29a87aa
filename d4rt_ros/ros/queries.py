"""What the services ~/query and ~/track_points answer: always a status and a message, never an exception.

Status numbers are the same in both services' responses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable

import numpy as np

from d4rt_ros.geometry import pose_matrix, transform
from d4rt_ros.model.query import Answer, Queries, QueryError, check_queries
from d4rt_ros.ros import messages
from d4rt_ros.tasks import tracks_of_points

OK, NOT_READY, OUT_OF_WINDOW, INVALID = range(4)

# Points decoded at one go, so that a large question lets others, and the stream, in between.
SLICE = 4096
# Stamps that went through float64 seconds come back up to 0.24 us off; a frame's neighbours, milliseconds.
STAMP_TOLERANCE = 1_000
MOST_STAMPS = 10_000


class Refused(Exception):
    """A request that is not answered: its status and the sentence that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class EncodedWindow:
    """The newest encoded window. stamps: (T,) int64 ns; world_from_camera: (4, 4) of the newest, or None."""

    scene: object
    stamps: np.ndarray
    camera_frame: str
    world_frame: str
    world_from_camera: np.ndarray | None


@dataclass(frozen=True)
class Context:
    """What answering needs of the node.

    encoded: the newest window, None while there is none; then `run` and `want_pose` are not needed.
    run(function) -> what function returns, from the thread that owns the model.
    lookup(target, source, stamp) -> target_from_source (4, 4), or raises LookupError with a sentence.
    want_pose(): have the camera's pose in the world computed from now on.
    """

    encoded: EncodedWindow | None
    run: Callable | None
    lookup: Callable
    want_pose: Callable[[], None] | None
    max_points: int


def answer_query(request, response, context: Context):
    """Fill a Query response."""
    return _answered(_query, request, response, context)


def answer_track_points(request, response, context: Context):
    """Fill a TrackPoints response."""
    return _answered(_track_points, request, response, context)


def _answered(answer: Callable, request, response, context: Context):
    try:
        answer(request, response, context)
        response.status, response.message = OK, ""
    except Refused as refused:
        response.status, response.message = refused.status, str(refused)
    except Exception as error:  # whatever it is, who asked must hear of it and the node must go on
        response.status, response.message = INVALID, f"answering failed: {type(error).__name__}: {error}"
    return response


def _query(request, response, context: Context) -> None:
    names = ("u", "v", "t_src", "t_tgt", "t_cam")
    u, v, *times = _fields(request, names, context.max_points)
    encoded = _ready(context)
    times = [_window_times(name, t, request.stamps, encoded.stamps) for name, t in zip(names[2:], times)]
    asked = _checked(encoded, u, v, *times)
    frame = request.frame_id or encoded.camera_frame
    from_camera = _from_camera(frame, np.unique(asked.t_cam), encoded, context)
    if frame == encoded.world_frame:  # through the newest camera, the one whose pose is known
        asked = replace(asked, t_cam=np.full_like(asked.t_cam, len(encoded.stamps) - 1))
    answer = _in_frame(_asked_in_slices(asked, encoded.scene, context), asked.t_cam, from_camera)
    _fill_header(response, encoded, frame, _stamp(asked.t_cam, encoded))
    response.points, response.pixels = messages.flat(answer.xyz), messages.flat(answer.uv)
    for name in ("visibility", "confidence", "normals", "displacements"):
        setattr(response, name, messages.flat(getattr(answer, name)))


def _asked_in_slices(asked: Queries, scene, context: Context) -> Answer:
    def ask(part: slice) -> Answer:
        return scene.query(*(getattr(asked, name)[part] for name in ("u", "v", "t_src", "t_tgt", "t_cam")))

    answers = [context.run(lambda p=part: ask(p)) for part in _slices(len(asked), SLICE)]
    widths = {"xyz": 3, "uv": 2, "visibility": 0, "confidence": 0, "normals": 3, "displacements": 3}
    return Answer(**{name: _joined(answers, name, width) for name, width in widths.items()})


def _in_frame(answer: Answer, t_cam: np.ndarray, from_camera: dict[int, np.ndarray]) -> Answer:
    """The answer with each row turned by the transform (4, 4) of its t_cam, where there is one."""
    for t, pose in from_camera.items():
        rows = t_cam == t
        rotation = pose_matrix(pose[:3, :3])
        answer.xyz[rows] = transform(pose, answer.xyz[rows])
        for directions in (answer.normals, answer.displacements):
            directions[rows] = transform(rotation, directions[rows])
    return answer


def _track_points(request, response, context: Context) -> None:
    u, v, t_src = _fields(request, ("u", "v", "t_src"), context.max_points)
    encoded = _ready(context)
    frames = encoded.scene.num_frames
    if max(len(u), len(v)) * frames > context.max_points:
        raise Refused(
            INVALID,
            f"{max(len(u), len(v))} points over {frames} frames are more than the "
            f"{context.max_points} that query.max_points allows; ask in parts",
        )
    t_src = _window_times("t_src", t_src, [], encoded.stamps)
    asked = _checked(encoded, u, v, t_src, 0, 0)
    world_from_camera = _world_from_camera(encoded, context)

    def ask(part: slice):
        return tracks_of_points(encoded.scene, asked.u[part], asked.v[part], asked.t_src[part], t_cam=-1)

    answers = [context.run(lambda p=part: ask(p)) for part in _slices(len(asked), max(SLICE // frames, 1))]
    _fill_header(response, encoded, encoded.world_frame, encoded.stamps[-1])
    response.positions = messages.flat(transform(world_from_camera, _joined(answers, "xyz", 3)))
    response.pixels = messages.flat(_joined(answers, "uv", 2))
    response.visibility = messages.flat(_joined(answers, "visibility", 0))
    response.confidence = messages.flat(_joined(answers, "confidence", 0))


def _fields(request, names: tuple[str, ...], max_points: int) -> list[np.ndarray]:
    """The request's arrays, of lengths that go together; before anything is copied or computed."""
    fields = [np.asarray(getattr(request, name)) for name in names]
    lengths = [len(f) for f in fields]
    count = 0 if lengths[0] == lengths[1] == 0 else max(lengths)
    if any(length not in (count, 1) for length in lengths) and not (count == 0 and max(lengths) <= 1):
        listed = ", ".join(f"{n} {length}" for n, length in zip(names, lengths))
        raise Refused(
            INVALID, f"the arrays' lengths are {listed}; each must be {count or 'empty'}, or 1 to serve all"
        )
    if count > max_points:
        raise Refused(
            INVALID,
            f"{count} points are more than the {max_points} that query.max_points allows; ask in parts",
        )
    return [f if len(f) == count else np.resize(f, min(count, 1)) for f in fields]


def _ready(context: Context) -> EncodedWindow:
    if context.encoded is None:
        raise Refused(
            NOT_READY, "no window has been encoded yet; ask again when images arrive and the node is active"
        )
    return context.encoded


def _window_times(name: str, indices: np.ndarray, stamps, window: np.ndarray) -> np.ndarray:
    """Indices into the request's stamps, or where it has none into the window, as frames of the window."""
    frames = _frames_of_stamps(stamps, window) if len(stamps) else np.arange(len(window))
    bad = (indices < -len(frames)) | (indices >= len(frames))
    if bad.any():
        what = "given stamps" if len(stamps) else "frames of the window"
        raise Refused(
            OUT_OF_WINDOW,
            f"{name} {indices[bad][0]} is not one of the {len(frames)} {what}, "
            f"0 (oldest) to {len(frames) - 1}, or -1 (newest) to -{len(frames)}",
        )
    return frames[indices]


def _frames_of_stamps(stamps, window: np.ndarray) -> np.ndarray:
    """The frame of the window that each stamp names."""
    if len(stamps) > MOST_STAMPS:
        raise Refused(INVALID, f"{len(stamps)} stamps are too many; a window has {len(window)} frames")
    stamps = np.array([messages.nanoseconds(s) for s in stamps], np.int64)
    nearest = np.abs(window[None, :] - stamps[:, None]).argmin(1)
    off = np.abs(window[nearest] - stamps)
    if (off > STAMP_TOLERANCE).any():
        worst = int(off.argmax())
        raise Refused(
            OUT_OF_WINDOW,
            f"no frame of the window has the stamp {stamps[worst] / 1e9:.6f}; the nearest of its "
            f"{len(window)} is {off[worst] / 1e6:.3f} ms off, and it holds "
            f"{window[0] / 1e9:.6f} to {window[-1] / 1e9:.6f}",
        )
    return nearest


def _checked(encoded: EncodedWindow, u, v, t_src, t_tgt, t_cam):
    try:
        return check_queries(u, v, t_src, t_tgt, t_cam, encoded.scene.num_frames, encoded.scene.size)
    except QueryError as error:
        raise Refused(INVALID, str(error)) from None


def _from_camera(frame: str, times: np.ndarray, encoded: EncodedWindow, context: Context) -> dict[int, np.ndarray]:
    """frame_from_camera (4, 4) by asked t_cam; empty where `frame` is the camera's own.

    Any frame but the world stands where TF has it at the time of t_cam.
    """
    if frame == encoded.camera_frame:
        return {}
    if frame == encoded.world_frame:
        return {len(encoded.stamps) - 1: _world_from_camera(encoded, context)}
    try:
        return {t: context.lookup(frame, encoded.camera_frame, int(encoded.stamps[t])) for t in times}
    except LookupError as error:
        raise Refused(
            INVALID,
            f"frame_id '{frame}' is not the camera '{encoded.camera_frame}' nor the world "
            f"'{encoded.world_frame}', and {error}",
        ) from None


def _world_from_camera(encoded: EncodedWindow, context: Context) -> np.ndarray:
    if encoded.world_from_camera is None:
        context.want_pose()
        raise Refused(
            NOT_READY,
            "the camera's pose in the world was not computed, as nobody listened to it; it is now, ask again",
        )
    return encoded.world_from_camera


def _stamp(t_cam: np.ndarray, encoded: EncodedWindow) -> int:
    """The stamp of the one camera that was asked for, else the newest."""
    single = len(t_cam) > 0 and (t_cam == t_cam[0]).all()
    return encoded.stamps[t_cam[0]] if single else encoded.stamps[-1]


def _slices(count: int, size: int) -> list[slice]:
    return [slice(begin, begin + size) for begin in range(0, count, size)]


def _joined(answers: list, name: str, width: int) -> np.ndarray:
    """One field of all answers, (N[, ...]) float32; of none, an empty array of rows of `width`."""
    if not answers:
        return np.empty((0, width) if width else 0, np.float32)
    return np.concatenate([np.asarray(getattr(a, name), np.float32) for a in answers])


def _fill_header(response, encoded: EncodedWindow, frame: str, stamp: int) -> None:
    response.header = messages.header_message(int(stamp), frame)
    response.stamps = [messages.stamp_message(int(s)) for s in encoded.stamps]
    response.metric = False
