"""Scale from the robot's own motion: the camera's positions in metres beside the estimated ones."""

from __future__ import annotations

import math

import numpy as np

from d4rt_ros.stream.scale import NoScale, ScaleMeasurement

SOURCE = "tf"
SPAN = 10.0  # seconds over which the two are compared
LAGS = (2.0, 1.0, 0.5)  # seconds between two positions whose displacements are compared
LAGS_IN_SPAN = 4  # of them must fit into what was seen
LEAST_MOTION = 0.2  # metres within the span
LEAST_PAIRS = 5
LEAST_BLOCK = 0.5  # seconds, of which each tells the scale by itself
# What the images show of a second's motion errs by this where they say no better; it counts as so many seconds.
USUAL_SPREAD, USUAL_PARTS = 0.08, 2.0
LEAST_CORRELATION = 0.8
AGREES = 0.25  # weight of a displacement, which is that of three sd
LEAST_AGREEING = 0.5  # of the displacements
# Relative sd where no displacement agrees: whether the wheels slip or the images err is not known.
DISAGREEING = 0.15
MOST_TREMBLE = 0.5  # of the displacements' square sum
RESOLUTION = 0.001  # metres: no residual is taken to be smaller
MOST_SIGMA = 0.3  # of a measurement that is one
FLOOR = 0.01  # relative sd of one measurement: wheels and arms are calibrated no better
# A step is a jump where it is longer than this beside so many times what the images show.
JUMP, JUMP_TIMES = 0.1, 3.0


def motion_scale(stamps, estimated, measured) -> ScaleMeasurement:
    """Scale from positions (N, 3) of the camera in a world of its own, in the model's unit, and (N, 3) measured in
    metres in a fixed frame of the robot, at stamps (N,) ns that increase. Rows that are not finite do not count.

    Displacements over LAGS are compared, so that neither's drift counts; the rotation between the frames is found with
    the scale (Kabsch), robustly (Geman-McClure), so that what the wheels slip does not count. The scale is the ratio of
    their sizes, each without what it trembles by. The sd is the jackknife's over parts of the span, and what is left of
    the two that they do not have in common. Raises NoScale with a sentence.
    """
    seconds, p, q = _checked(stamps, estimated, measured)
    q, jumped = _without_jumps(p, q)
    moved, over = _extent(q), seconds[-1] - seconds[0]
    if moved < LEAST_MOTION:
        raise NoScale(
            f"the robot has moved {moved:.2f} m in the last {over:.0f} s; {LEAST_MOTION:g} m are needed"
        )
    first, last = _pairs(seconds, jumped)
    d, e = p[last] - p[first], q[last] - q[first]  # estimated, measured
    rotation, weights = _aligned(d, e)
    a, b, c = weights * (d @ rotation.T * e).sum(1), weights * (d * d).sum(1), weights * (e * e).sum(1)
    correlation = a.sum() / math.sqrt(max(b.sum() * c.sum(), 1e-300))
    agreeing = float((weights > AGREES).mean())
    if not correlation >= LEAST_CORRELATION or agreeing < LEAST_AGREEING:
        raise NoScale(
            f"the robot's {moved:.2f} m in the last {over:.0f} s are not the way that the images show (correlation "
            f"{max(correlation, 0):.2f}, {agreeing:.0%} of it agrees): the wheels slip, or the frame is not fixed"
        )
    trembled_b, trembled_c = (6 * weights.sum() * _tremble(x) / y.sum() for x, y in ((p, b), (q, c)))
    if max(trembled_b, trembled_c) > MOST_TREMBLE:
        raise NoScale(
            f"the camera's place trembles as much as it moves, {moved:.2f} m in the last {over:.0f} s"
        )
    lag = float(np.median(seconds[last] - seconds[first]))
    blocks = (seconds[first] / max(over / 10, 0.75 * lag, LEAST_BLOCK)).astype(np.intp)
    correction = 0.5 * math.log((1 - trembled_c) / (1 - trembled_b))
    # The rest of what is not in common may be either's: the scale lies between the two regressions.
    common = min(correlation / math.sqrt((1 - trembled_b) * (1 - trembled_c)), 1.0)
    doubt = math.hypot(-2 * math.log(common) / math.sqrt(12), 0.5 * (trembled_b + trembled_c) / 2)
    sigma = math.hypot(_jackknife(b, c, blocks), doubt, DISAGREEING * (1 - agreeing), FLOOR)
    if sigma > MOST_SIGMA:
        raise NoScale(
            f"the robot's {moved:.2f} m in the last {over:.0f} s tell the scale to {sigma:.0%} only"
        )
    log_metres = 0.5 * math.log(c.sum() / b.sum()) + correction
    return ScaleMeasurement(log_metres, sigma, int(np.asarray(stamps)[-1]), SOURCE, float(over))


def jump(stamps, estimated, measured) -> str:
    """The newest step of the measured positions that the images refute, in a sentence, or "". As `motion_scale`."""
    try:
        seconds, p, q = _checked(stamps, estimated, measured)
    except NoScale:
        return ""
    steps = np.flatnonzero(_without_jumps(p, q)[1])
    if not len(steps):
        return ""
    step = steps[-1]
    return (
        f"the robot's position jumped by {np.linalg.norm(q[step + 1] - q[step]):.2f} m "
        f"{seconds[-1] - seconds[step + 1]:.1f} s ago, which the images do not show"
    )


def _checked(stamps, estimated, measured):
    """Seconds (N,) since the first and both positions (N, 3), of the rows that are finite."""
    stamps, p, q = np.asarray(stamps, np.int64), np.asarray(estimated, float), np.asarray(measured, float)
    if stamps.ndim != 1 or p.shape != (len(stamps), 3) or q.shape != p.shape:
        raise NoScale(
            f"positions of shapes {p.shape} and {q.shape} for {stamps.shape} stamps; give (N, 3) twice and (N,)"
        )
    usable = np.isfinite(p).all(1) & np.isfinite(q).all(1)
    stamps, p, q = stamps[usable], p[usable], q[usable]
    if len(stamps) < LEAST_PAIRS or (stamps[-1] - stamps[0]) / 1e9 < LAGS[-1]:
        raise NoScale(f"the camera's place is known at {len(stamps)} times so far; more are needed")
    return (stamps - stamps[0]) / 1e9, p, q


def _without_jumps(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measured positions with the jumps taken out, and which steps (N - 1,) they are."""
    steps = np.diff(q, axis=0)
    shown, length = np.linalg.norm(np.diff(p, axis=0), axis=1), np.linalg.norm(steps, axis=1)
    moving = (shown > 0) & (length > 0)
    # Of a robot that stands a jump is all that it moves, and no ratio.
    ratio = np.median(length[moving] / shown[moving]) if moving.sum() > 0.5 * len(steps) else 0.0
    jumps = length > JUMP + JUMP_TIMES * np.maximum(ratio * shown, np.median(length))
    steps[jumps] = 0.0
    return np.concatenate([q[:1], q[0] + np.cumsum(steps, axis=0)]), jumps


def _extent(q: np.ndarray) -> float:
    """The way across positions (N, 3), in metres."""
    return float(np.linalg.norm(np.ptp(q, axis=0)))


def _pairs(seconds: np.ndarray, jumped: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (M,) of positions a lag apart with no jump in between: the longest lag that fits."""
    before = np.concatenate([[0], np.cumsum(jumped)])
    for lag in LAGS:
        j = np.searchsorted(seconds, seconds + lag - 1e-6)
        i = np.flatnonzero(j < len(seconds))
        j = j[i]
        good = (seconds[j] - seconds[i] < 1.5 * lag) & (before[j] == before[i])
        if good.sum() >= LEAST_PAIRS and seconds[-1] >= LAGS_IN_SPAN * lag:
            return i[good], j[good]
    raise NoScale("too few positions so far, or too far apart in time, to see the robot move")


def _tremble(x: np.ndarray) -> float:
    """Variance of one coordinate's white noise in positions (N, 3), from their second differences, whose variance is
    six times as large; the median of the square of three normal errors is 2.37 variances. Acceleration counts little.
    """
    second = np.diff(x, n=2, axis=0)
    return float(np.median((second**2).sum(1))) / (6 * 2.37)


def _aligned(d: np.ndarray, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """rotation (3, 3) and weights (M,) of displacements (M, 3): e = scale · rotation · d."""
    lengths, long = np.linalg.norm(d, axis=1), np.linalg.norm(e, axis=1)
    moving = (lengths > 0) & (long >= np.median(long))
    if not moving.any():
        raise NoScale("the robot moves, but the images show a camera that stands still")
    logs = np.log(long[moving] / lengths[moving])
    away, weights = np.abs(logs - np.median(logs)), np.zeros(len(d))
    weights[moving] = away <= max(np.median(away), 0.05)
    rotation, scale = np.eye(3), 1.0
    for _ in range(20):
        u, _, vt = np.linalg.svd((weights[:, None] * e).T @ d)
        rotation = (u * [1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
        a, c = (weights[:, None] * (d @ rotation.T) * e).sum(), (weights[:, None] * e * e).sum()
        if not a > 0:
            raise NoScale("the robot's way and the one that the images show have nothing in common")
        before, scale = scale, c / a
        residual = np.linalg.norm(e - scale * (d @ rotation.T), axis=1)
        spread = np.hypot(max(np.median(residual), RESOLUTION), 0.02 * long)
        weights = 1 / (1 + (residual / (3 * spread)) ** 2) ** 2
        if abs(scale - before) < 1e-5 * scale:
            break
    return rotation, weights


def _jackknife(b: np.ndarray, c: np.ndarray, blocks: np.ndarray) -> float:
    """sd of log(Σc / Σb) / 2 by leaving out one block (N,) after the other (Efron 1982)."""
    rest_b, rest_c = b.sum() - np.bincount(blocks, b), c.sum() - np.bincount(blocks, c)
    present = np.bincount(blocks, c) > 0
    count = int(present.sum())
    rest_b, rest_c = rest_b[present], rest_c[present]
    if count < 3 or not (rest_b > 0).all():
        raise NoScale("the robot has been seen to move for too short a time yet")
    logs = 0.5 * np.log(rest_c / rest_b)
    variance = (count - 1) * ((logs - logs.mean()) ** 2).sum()  # of one part
    # As if some more parts of the usual spread had been seen: few do not tell how much they differ.
    return math.sqrt((count * variance + USUAL_PARTS * USUAL_SPREAD**2) / (count + USUAL_PARTS) / count)
