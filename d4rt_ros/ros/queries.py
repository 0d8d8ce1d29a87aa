"""What the services ~/query and ~/track_points answer: always a status and a message, never an exception."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, Sequence

import numpy as np

from d4rt_ros.geometry import pose_matrix, transform
from d4rt_ros.io.transform_tree import NotHeardYet, frame_name
from d4rt_ros.model.query import Answer, Queries, QueryError, check_queries
from d4rt_ros.ros import messages
from d4rt_ros.ros.windows import INVALID, NOT_READY, OK, EncodedWindow, Refused, chosen, frames_of
from d4rt_ros.tasks import tracks_of_points

# Points decoded at one go, so that a large question lets others, and the stream, in between.
SLICE = 4096
MOST_STAMPS = 10_000
SAME_POINT = 1 / 320  # of the larger side of an image: a track that is so near is the asked point's


@dataclass(frozen=True)
class Context:
    """What answering needs of the node.

    windows: those that are kept, the newest first; while there are none `run` and `want_pose` are not needed.
    run(function) -> what function returns, from the thread that owns the model.
    lookup(target, source, stamp) -> target_from_source (4, 4), or raises LookupError with a sentence; without what the
    node broadcasts itself.
    want_pose(): have the camera's pose in the world computed from now on.
    world_frame, map_frame: ours, which TF does not know; "": there is no map.
    """

    windows: Sequence[EncodedWindow]
    run: Callable | None
    lookup: Callable
    want_pose: Callable[[], None] | None
    max_points: int
    world_frame: str = "world"
    map_frame: str = ""


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
    window, stamps = _window(request.stamps, response, context)
    times = [frames_of(name, t, stamps, window) for name, t in zip(names[2:], times)]
    asked, seen = _checked(window, u, v, *times)
    frame = frame_name(request.frame_id) or window.camera_frame
    from_camera, through_world = _from_camera(frame, np.unique(asked.t_cam), window, context)
    if through_world:  # by the newest camera, the one whose pose is known
        asked = replace(asked, t_cam=np.full_like(asked.t_cam, len(window.stamps) - 1))
    answer = _scaled(_asked_in_slices(asked, window.scene, context), seen, window.result.unit)
    answer = _in_frame(answer, asked.t_cam, from_camera)
    _fill_header(response, window, frame, _stamp(asked.t_cam, window))
    response.points = messages.flat(answer.xyz)
    response.pixels = messages.flat(_topic_pixels(answer.uv, asked.t_tgt, window))
    for name in ("visibility", "confidence", "normals", "displacements"):
        setattr(response, name, messages.flat(getattr(answer, name)))


def _scaled(answer: Answer, seen: np.ndarray, unit: float) -> Answer:
    """The answer in the result's unit; nothing of pixels that no frame of the window shows."""
    for lengths in (answer.xyz, answer.displacements):
        lengths *= np.float32(unit)
    for name in ("xyz", "uv", "normals", "displacements"):
        getattr(answer, name)[~seen] = np.nan
    answer.visibility[~seen] = answer.confidence[~seen] = 0.0
    return answer


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
    window, stamps = _window(request.stamps, response, context)
    count = window.scene.num_frames
    if max(len(u), len(v)) * count > context.max_points:
        raise Refused(
            INVALID,
            f"{max(len(u), len(v))} points over {count} frames are more than the "
            f"{context.max_points} that query.max_points allows; ask in parts",
        )
    t_src = frames_of("t_src", t_src, stamps, window)
    asked, seen = _checked(window, u, v, t_src, 0, 0)
    world_from_camera = _world_from_camera(window, context)

    def ask(part: slice):
        return tracks_of_points(window.scene, asked.u[part], asked.v[part], asked.t_src[part], t_cam=-1)

    answers = [context.run(lambda p=part: ask(p)) for part in _slices(len(asked), max(SLICE // count, 1))]
    xyz, uv = (_joined(answers, name, width) for name, width in (("xyz", 3), ("uv", 2)))
    visibility, confidence = (_joined(answers, name, 0) for name in ("visibility", "confidence"))
    positions = transform(world_from_camera, xyz * np.float32(window.result.unit))
    if answers:
        rows, tracks = _followed(window, asked), window.result.tracks
        same = rows >= 0
        if same.any():
            for ours, theirs in (
                (positions, tracks.positions), (uv, tracks.pixels), (visibility, tracks.visible),
                (confidence, tracks.confidence),
            ):  # fmt: skip
                ours[same] = theirs[rows[same]]
        for values, nothing in ((positions, np.nan), (uv, np.nan), (visibility, 0.0), (confidence, 0.0)):
            values[~seen] = nothing
        uv = _topic_pixels(uv, np.arange(count), window)
    _fill_header(response, window, context.world_frame, window.stamps[-1])
    response.positions = messages.flat(positions)
    response.pixels = messages.flat(uv)
    response.visibility, response.confidence = messages.flat(visibility), messages.flat(confidence)


def _followed(window: EncodedWindow, asked: Queries) -> np.ndarray:
    """Which of the window's tracks each of the asked points is on (N,), -1: none; so that it goes where they go."""
    tracks, found = window.result.tracks, np.full(len(asked), -1)
    if tracks is None or not len(tracks.ids):
        return found
    near = SAME_POINT * max(window.scene.size)
    pixels = np.stack([asked.u, asked.v], -1)
    for t in np.unique(asked.t_src):
        rows = np.flatnonzero(asked.t_src == t)
        where = np.where(tracks.visible[:, t, None], tracks.pixels[:, t], np.inf)
        away = np.linalg.norm(pixels[rows, None] - where[None], axis=-1)
        nearest = away.argmin(axis=1)
        found[rows] = np.where(away[np.arange(len(rows)), nearest] <= near, nearest, -1)
    return found


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


def _window(stamps, response, context: Context) -> tuple[EncodedWindow, np.ndarray]:
    """The window that answers, and the asked stamps (ns). Its trust goes into the response."""
    if len(stamps) > MOST_STAMPS:
        raise Refused(INVALID, f"{len(stamps)} stamps are too many; ask for the frames of one window")
    asked = np.array([messages.nanoseconds(s) for s in stamps], np.int64)
    window = chosen(context.windows, asked)
    result = window.result
    response.trusted, response.reason = result.trusted, result.reason
    if result.problem:
        raise Refused(NOT_READY, f"the images show nothing to measure: {result.problem}")
    return window, asked


def _checked(window: EncodedWindow, u, v, t_src, t_tgt, t_cam) -> tuple[Queries, np.ndarray]:
    """The questions in pixels of the scene, and which of them the scene shows: of a raw image's pixels some lie
    outside the rectified view. They are asked in the image's corner."""
    frames, size = window.scene.num_frames, window.scene.size
    try:
        asked = check_queries(u, v, t_src, t_tgt, t_cam, frames, size)
    except QueryError as error:
        raise Refused(INVALID, str(error)) from None
    if all(lens is None for lens in window.lenses):
        return asked, np.ones(len(asked), bool)
    topic = np.stack([asked.u, asked.v], -1)
    view = messages.through_lenses("to_view", topic, asked.t_src, window.lenses)
    seen = messages.inside(view, size[::-1])
    u, v = np.where(seen[:, None], view, 0.0).T
    return replace(asked, u=u, v=v), seen


def _topic_pixels(uv: np.ndarray, times: np.ndarray, window: EncodedWindow) -> np.ndarray:
    return messages.through_lenses("to_image", uv, times, window.lenses)


def _from_camera(
    frame: str, times: np.ndarray, window: EncodedWindow, context: Context
) -> tuple[dict[int, np.ndarray], bool]:
    """frame_from_camera (4, 4) by asked t_cam, empty where `frame` is the camera's own; and whether it goes through
    our world, by the newest camera.

    A frame that TF connects to the camera stands where TF has it at the time of t_cam; one that it connects to our
    world, or our map, at the time of the newest frame.
    """
    camera, world, newest = window.camera_frame, context.world_frame, len(window.stamps) - 1
    if frame == camera:
        return {}, False
    if frame == world:
        return {newest: _world_from_camera(window, context)}, True
    try:
        return {t: context.lookup(frame, camera, int(window.stamps[t])) for t in times}, False
    except LookupError as error:
        unconnected = error
    try:
        frame_from_world = context.lookup(frame, world, int(window.stamps[-1]))
    except LookupError as error:
        later = isinstance(unconnected, NotHeardYet) or isinstance(error, NotHeardYet)
        if frame == context.map_frame and not later:  # nor is it the robot's own map
            world_from_camera = _world_from_camera(window, context)
            return {newest: window.result.pose.map_from_world @ world_from_camera}, True
        raise Refused(
            NOT_READY if later else INVALID,
            f"frame_id '{frame}' is not the camera '{camera}' nor the world '{world}'{_named_map(context)}, and "
            f"{unconnected}",
        ) from None
    return {newest: frame_from_world @ _world_from_camera(window, context)}, True


def _named_map(context: Context) -> str:
    return f" nor the map '{context.map_frame}'" if context.map_frame else ""


def _world_from_camera(window: EncodedWindow, context: Context) -> np.ndarray:
    pose = window.result.pose
    if pose is None:
        context.want_pose()
        raise Refused(
            NOT_READY,
            "the camera's pose in the world was not computed, as nobody listened to it; it is now, ask again",
        )
    if not pose.trusted:
        raise Refused(NOT_READY, f"the camera's pose in the world is not known: {pose.reason}")
    if pose.world != next(w.result.pose.world for w in context.windows if w.result.pose):
        raise Refused(NOT_READY, "the camera's pose then is of a world that was lost; a new one has begun")
    return pose.world_from_camera


def _stamp(t_cam: np.ndarray, window: EncodedWindow) -> int:
    """The stamp of the one camera that was asked for, else the newest."""
    single = len(t_cam) > 0 and (t_cam == t_cam[0]).all()
    return window.stamps[t_cam[0]] if single else window.stamps[-1]


def _slices(count: int, size: int) -> list[slice]:
    return [slice(begin, begin + size) for begin in range(0, count, size)]


def _joined(answers: list, name: str, width: int) -> np.ndarray:
    """One field of all answers, (N[, ...]) float32; of none, an empty array of rows of `width`."""
    if not answers:
        return np.empty((0, width) if width else 0, np.float32)
    return np.concatenate([np.asarray(getattr(a, name), np.float32) for a in answers])


def _fill_header(response, window: EncodedWindow, frame: str, stamp: int) -> None:
    response.header = messages.header_message(int(stamp), frame)
    response.stamps = [messages.stamp_message(int(s)) for s in window.stamps]
    response.metric = window.result.scale.metric
