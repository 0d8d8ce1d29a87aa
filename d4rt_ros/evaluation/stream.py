"""How good the online system is over whole runs: beside the same without refinement, and beside trivial answers.

Every figure has three values for a run: with refinement by the pixels, without it (the model's own depth and its points
in the window, and the path of windows that are joined), and a trivial answer's. What is not trusted is never scored: it
is counted, in the figure "frames with a trusted pose", and figures of paths and depth are of the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from d4rt_ros.evaluation.metrics import MetricError
from d4rt_ros.evaluation.run_depth import constant_run_depth_errors, run_depth_errors, run_depth_scale
from d4rt_ros.evaluation.run_path import (
    RunPathErrors,
    motion_doubts,
    run_path_errors,
    still_run_path_errors,
)
from d4rt_ros.evaluation.run_tracks import (
    AGAIN,
    EVERY,
    TrackRows,
    lives,
    motion_errors,
    place_errors,
    returns,
    survivals,
)
from d4rt_ros.evaluation.run_truth import RunTruth

STANDING = 1.0  # seconds of no true motion from which on a camera counts as standing
# Key of a record -> what it is, and whose answer is the trivial one. Of errors less is better, of shares more.
ERRORS = {
    "depth S": ("depth AbsRel, a scale a block (S)", "constant depth"),
    "depth one": ("depth AbsRel, one scale for the run", "constant depth"),
    "drift": ("scale drift, sd of its log", "constant depth"),
    "ate": ("ATE, % of the path", "still camera"),
    "rpe translation": ("motion over 1 s, m", "still camera"),
    "rpe rotation": ("motion over 1 s, deg", "still camera"),
    "jump translation": ("longest jump beyond true steps, m", "still camera"),
    "jump rotation": ("largest jump beyond true turns, deg", "still camera"),
    "step translation": ("largest error of a step, m", "still camera"),
    "step rotation": ("largest error of a step, deg", "still camera"),
    "stands": ("motion while standing, % of depth", "still camera"),
    "breathes": ("change of scale while standing, %", "constant depth"),
    "uv static": ("2D error of static points, px of 64", "no motion"),
    "uv moving": ("2D error of moving points, px of 64", "no motion"),
    "scale": ("error of the metric scale, log", "the model's unit"),
}
SHARES = {
    "trusted": ("frames with a trusted pose", "all"),
    "lives": ("points that live to the next frame", "none"),
    "survives": ("static points with one id in 100 frames", "none"),
    "returns": ("points back after 0.5 s of occlusion", "none"),
}
SIGMAS = {
    "position sigma": "positions over 1 s",
    "rotation sigma": "rotations over 1 s",
    "depth sigma": "dense depth",
    "scale sigma": "metric scale",
}

Records = dict[str, tuple[float, float, float]]  # by key: with refinement, without, the trivial answer


@dataclass(frozen=True)
class Outcome:
    """What a system said of the N frames of a run.

    world_from_camera: (N, 4, 4). trusted: (N,) bool. pose_covariance: (N, 6, 6), x y z and turns about x y z, about
    the world's axes, since the world began. depth, depth_sigma: (N, h, w), the latter relative; NaN where none.
    tracks: the points that it followed. metric, scale_sigma: whether lengths are metres, and the relative doubt.
    """

    world_from_camera: np.ndarray
    trusted: np.ndarray
    pose_covariance: np.ndarray
    depth: np.ndarray
    depth_sigma: np.ndarray
    tracks: TrackRows
    metric: bool = False
    scale_sigma: float = float("nan")


def outcome_of(reconstruction) -> Outcome:
    """Of a Reconstruction: poses of other worlds than the one that most frames are in count as not trusted, since where
    they lie in it is not known."""
    tracks = reconstruction.tracks
    return Outcome(
        reconstruction.world_from_camera,
        reconstruction.trusted & (reconstruction.world == reconstruction.main_world),
        reconstruction.pose_covariance,
        reconstruction.depth,
        reconstruction.depth_sigma,
        TrackRows(tracks.track, tracks.frame, tracks.pixel, tracks.seen),
        reconstruction.metric,
        reconstruction.scale_sigma,
    )


@dataclass(frozen=True)
class Alone:
    """What the model by itself says of the N frames of a run, in the window that ends with each.

    depth: (N, h, w), NaN where no window ends. pixels: (n, 2) of points of the frames t_src (n,), and where it says
    that these are in the images of the frames t_tgt (n,), places (n, 2).
    """

    depth: np.ndarray
    pixels: np.ndarray
    t_src: np.ndarray
    t_tgt: np.ndarray
    places: np.ndarray


def run_records(refined: Outcome, plain: Outcome, alone: Alone, truth: RunTruth) -> Records:
    """The figures of a run; what nothing is known of, or nothing is left of, is missing."""
    records: Records = {}
    records |= _depth_records(refined, alone, truth)
    records |= _path_records(refined, plain, truth)
    records |= _standing_records(refined, plain, alone, truth)
    records |= _point_records(refined, plain, alone, truth)
    known = [np.mean(x.trusted[_first(alone) :]) for x in (refined, plain)]
    return records | {"trusted": (*map(float, known), 1.0)}


def run_doubts(outcome: Outcome, truth: RunTruth) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By key of SIGMAS: true errors and the sigmas that they should have had, each (n,)."""
    doubts = {}
    scale = run_depth_scale(outcome.depth, truth.depth)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.log(outcome.depth * scale / truth.depth)
    known = np.isfinite(error) & np.isfinite(outcome.depth_sigma)
    if known.any():
        doubts["depth sigma"] = error[known], outcome.depth_sigma[known]
    if outcome.metric and np.isfinite(scale):
        doubts["scale sigma"] = np.array([np.log(scale)]), np.array([outcome.scale_sigma])
    try:
        motion = motion_doubts(
            outcome.world_from_camera,
            outcome.pose_covariance,
            truth.world_from_camera,
            truth.stamps,
            outcome.trusted,
        )
    except MetricError:
        return doubts
    doubts["position sigma"] = motion.position.ravel(), motion.position_sigma.ravel()
    doubts["rotation sigma"] = motion.rotation.ravel(), motion.rotation_sigma.ravel()
    return doubts


def _first(alone: Alone) -> int:
    """The first frame with which a window ends."""
    answered = np.flatnonzero(np.isfinite(alone.depth).any((1, 2)))
    return int(answered[0]) if len(answered) else 0


def _depth_records(refined: Outcome, alone: Alone, truth: RunTruth) -> Records:
    """All three over the same pixels."""
    both = np.isfinite(refined.depth) & np.isfinite(alone.depth)
    right = np.where(both, truth.depth, np.nan)
    try:
        parts = (
            run_depth_errors(refined.depth, right),
            run_depth_errors(alone.depth, right),
            constant_run_depth_errors(right),
        )
    except MetricError:
        return {}
    names = {"depth S": "block", "depth one": "one", "drift": "drift"}
    records = {key: tuple(getattr(part, name) for part in parts) for key, name in names.items()}
    if refined.metric:
        scales = (run_depth_scale(depth, right) for depth in (refined.depth, alone.depth))
        off = [abs(np.log(scale)) for scale in scales]
        records["scale"] = (*off, off[1])
    return records


def _path_records(refined: Outcome, plain: Outcome, truth: RunTruth) -> Records:
    parts, stamps, right = [], truth.stamps, truth.world_from_camera
    for outcome in (refined, plain):
        try:
            parts.append(run_path_errors(outcome.world_from_camera, right, stamps, outcome.trusted))
        except MetricError:
            parts.append(None)
    if parts[0] is None:
        return {}
    scored = refined.trusted & np.isfinite(refined.world_from_camera).all((1, 2))
    parts.append(still_run_path_errors(right, stamps, scored))
    names = [field.name for field in fields(RunPathErrors)]
    return {
        name.replace("_", " "): tuple(getattr(part, name, float("nan")) for part in parts) for name in names
    }


def _standing_records(refined: Outcome, plain: Outcome, alone: Alone, truth: RunTruth) -> Records:
    """Over the longest time in which the camera truly stands, among the frames that are trusted: how far it is from
    where it was at the first, at most, in units of the median depth; and how far the median depth is from what it was
    then, at most. Things may not move meanwhile, as they do not in the runs that are made for this."""
    part = _standing(truth)
    if part is None:
        return {}
    motion, scale = [], []
    for outcome, depth in ((refined, refined.depth), (plain, alone.depth)):
        places = outcome.world_from_camera[part][outcome.trusted[part]][:, :3, 3]
        level = np.array([np.median(d[np.isfinite(d)]) for d in depth[part] if np.isfinite(d).any()])
        if min(len(places), len(level)) < 2:  # too little is known
            motion.append(np.nan)
            scale.append(np.nan)
            continue
        steps = np.linalg.norm(places - places[0], axis=1) / np.median(level)
        motion.append(100 * float(steps.max()))
        scale.append(100 * float(np.abs(np.log(level / level[0])).max()))
    return {"stands": (*motion, 0.0), "breathes": (*scale, 0.0)}


def _standing(truth: RunTruth) -> slice | None:
    """The frames of the longest time without true motion; None where that is no second."""
    poses = truth.world_from_camera
    still = np.abs(np.diff(poses, axis=0)).max((1, 2)) < 1e-9  # of NaN, too, this is false
    edges = np.flatnonzero(np.diff(np.concatenate([[0], still, [0]])))
    if not len(edges):
        return None
    starts, stops = edges[::2], edges[1::2]
    longest = int(np.argmax(stops - starts))
    part = slice(int(starts[longest]), int(stops[longest]) + 1)
    seconds = (truth.stamps[part.stop - 1] - truth.stamps[part.start]) / 1e9
    return part if seconds >= STANDING else None


def _point_records(refined: Outcome, plain: Outcome, alone: Alone, truth: RunTruth) -> Records:
    if truth.whereabouts is None:
        return {}
    count, first = len(truth.stamps), _first(alone)
    judged = range(first + EVERY - 1, count, EVERY)
    records: Records = {}
    ours = motion_errors(refined.tracks, truth.whereabouts, judged, truth.size)
    model = place_errors(alone.pixels, alone.places, alone.t_src, alone.t_tgt, truth.whereabouts, truth.size)
    for kind in ("static", "moving"):
        values = ours[kind], model[kind], ours[f"no motion {kind}"]
        if len(ours[kind]):
            records[f"uv {kind}"] = tuple(float(x.mean()) if len(x) else float("nan") for x in values)
    starts = range(first, count, AGAIN)
    for key, judge in (
        ("lives", lambda rows: lives(rows, truth.whereabouts, judged, truth.size)),
        ("survives", lambda rows: survivals(rows, truth.whereabouts, starts, truth.size)),
        ("returns", lambda rows: returns(rows, truth.whereabouts, starts, truth.size, truth.stamps)),
    ):
        shares = [judge(outcome.tracks) for outcome in (refined, plain)]
        if len(shares[0]):
            records[key] = (*(float(x.mean()) if len(x) else 0.0 for x in shares), 0.0)
    return records
