"""A depth grid from fewer queries than it has points: coarse to fine, the finest first where depth jumps.

A lattice over the whole image is asked first. Then its step is halved, and again, down to the grid itself; each
time only those points are asked that lie where depth jumps or bends most on the lattice before, the rest is
interpolated; the last time, all that the budget is good for. Inverse depth and the rays are linear in the image
on every plane, so that planes are filled exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from time import perf_counter

import numpy as np

from d4rt_ros.geometry.arguments import real_array, whole_number
from d4rt_ros.model.query import Answer, Queries
from d4rt_ros.tasks.batch import Task, answered
from d4rt_ros.tasks.depth import PointMap, point_map_of, point_map_questions
from d4rt_ros.tasks.questions import check_grid, frame_index, pixel_grid, questions, usable_points

MIN_QUERIES = 4  # the image's corners
# Of the budget: what the first lattice may take.
COARSE_SHARE = 0.34
# Of a budget of time: what is for asking; choosing and interpolating take the rest.
TIME_SHARE = 0.9
# Queries that the first lattice is made for where nothing is known of the time that they take.
UNMEASURED = 1024
# Of a jump of inverse depth, as a share of itself: one that is asked into, and not interpolated across. Chosen
# on procedural scenes with and without noise; 0.15 to 0.3 do nearly as well.
JUMP = 0.2


def adaptive_depth_map(
    scene,
    t: int = -1,
    size: tuple[int, int] | None = None,
    queries: int | None = None,
    seconds: float | None = None,
) -> np.ndarray:
    """Depth along z (h, w) float32 of frame `t` within a budget; see `adaptive_point_map`."""
    points = adaptive_point_map(scene, t, size, queries, seconds)
    return np.ascontiguousarray(points.xyz[..., 2], np.float32)


def adaptive_point_map(
    scene,
    t: int = -1,
    size: tuple[int, int] | None = None,
    queries: int | None = None,
    seconds: float | None = None,
) -> PointMap:
    """The points of frame `t` in its own camera frame, within a budget of queries or of time, in a few calls.

    size: (rows, columns) of the grid; the image's own by default. queries: the most that are asked. seconds: as
    many are asked as `scene.queries_per_second` lets expect in this time; where that is not known yet, the first
    lattice is timed. Where the budget reaches the number of points this is `point_map`; else points in between
    are interpolated, with their confidence.
    Raises ValueError unless one of the two budgets is given, for fewer than 4 queries, no time, a grid that is
    none, and a frame outside the window.
    """
    begin = perf_counter()
    if (queries is None) == (seconds is None):
        raise ValueError("a depth grid needs a budget: give queries or seconds, one of the two")
    t, size = frame_index(scene, t), check_grid(scene.size if size is None else size)
    if seconds is None:
        return answered(scene, depth_grid_task(scene, t, size, whole_number(queries, "queries"))).point_map()
    seconds = float(real_array(seconds, "seconds", ()))
    if not 0 < seconds < np.inf:
        raise ValueError(f"{seconds} seconds for a depth grid; it needs more than 0 and an end")
    end, rate, points = begin + TIME_SHARE * seconds, scene.queries_per_second, size[0] * size[1]
    planned = UNMEASURED if rate is None else max(MIN_QUERIES, int(min(rate * TIME_SHARE * seconds, points)))

    def left(count: int) -> int:
        now = perf_counter()
        return int(np.clip((rate or count / max(now - begin, 1e-9)) * (end - now), 0, points))

    return answered(scene, depth_grid_task(scene, t, size, planned, left)).point_map()


@dataclass(frozen=True, eq=False)
class GridAnswers:
    """What was asked of a grid over a frame, in its own time and camera, and answered.

    size: (rows, columns) of the grid. image_size: (height, width). queries: what its first lattice was made for.
    """

    asked: Queries
    answer: Answer
    size: tuple[int, int]
    image_size: tuple[int, int]
    queries: int

    def point_map(self) -> PointMap:
        """The whole grid; what was not asked is interpolated."""
        step = _coarsest_step(self.size, self.queries)
        if step == 1:
            return point_map_of(self.answer, self.asked, self.size)
        values, known = _scattered(self.asked, self.answer, self.size, self.image_size)
        inverse, x, y, confidence = np.moveaxis(_filled(values, known, step, 1), 2, 0)
        xyz = np.stack([x / inverse, y / inverse, 1 / inverse], axis=2)
        # What was asked is not to be rounded on its way.
        rows, columns = _indices(self.asked, self.size, self.image_size)
        xyz[rows, columns], confidence[rows, columns] = usable_points(self.answer, in_front=True)
        return PointMap(xyz, confidence, *pixel_grid(self.size, self.image_size))


def depth_grid_task(
    scene, t: int, size: tuple[int, int], queries: int, left: Callable[[int], int] | None = None
) -> Task[GridAnswers]:
    """`adaptive_point_map`, with other tasks: the whole grid, row by row, where `queries` allow it, else a lattice over
    the image, and then what each finer level wants, until the budget is spent. t: 0..T-1.

    left: how many more may be asked after so many; by default what remains of `queries`.
    """
    left = left or (lambda count: queries - count)
    step = _coarsest_step(size, queries)
    if step == 1:
        asked = point_map_questions(scene, t, size, t)
    else:
        lattice = np.ix_(_lattice(size[0], step), _lattice(size[1], step))
        asked = _questions_at(lattice, t, size, scene.size)
    [answer] = yield [asked]
    while step > 1:
        step //= 2
        points = _most_wanted(asked, answer, size, scene.size, queries, left(len(asked)), step)
        if not len(points):
            continue
        more = _questions_at(tuple(points.T), t, size, scene.size)
        [answers] = yield [more]
        asked, answer = _joined(asked, more), _joined(answer, answers)
    return GridAnswers(asked, answer, size, scene.size, queries)


def _coarsest_step(size: tuple[int, int], queries: int) -> int:
    """The first lattice's step, a power of two; 1 is the whole grid. Depends on these alone."""
    check_grid(size)
    if queries < MIN_QUERIES:
        raise ValueError(f"{queries} queries for a depth grid; it needs {MIN_QUERIES} or more, its corners")
    if queries >= size[0] * size[1]:
        return 1
    step = 2
    while step < max(size) and _count(size, step) > COARSE_SHARE * queries:
        step *= 2
    return step


def _count(size: tuple[int, int], step: int) -> int:
    return len(_lattice(size[0], step)) * len(_lattice(size[1], step))


def _lattice(count: int, step: int) -> np.ndarray:
    """Every step-th index of an axis, and its last one. That of half the step has all of them, too."""
    return np.union1d(np.arange(0, count, step), count - 1)


def _questions_at(index, t: int, size: tuple[int, int], image_size: tuple[int, int]) -> Queries:
    u, v = pixel_grid(size, image_size)
    return questions(u[index].ravel(), v[index].ravel(), t, t, t)


def _indices(asked: Queries, size: tuple[int, int], image_size: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Rows and columns (N,) in the grid of the pixels that were asked."""
    pairs = zip((asked.v, asked.u), size, image_size)
    return tuple(np.rint(x * ((n - 1) / (count - 1))).astype(np.intp) for x, n, count in pairs)


def _joined(a, b):
    """Two of Queries, or two of Answers, as one."""
    return type(a)(**{f.name: np.concatenate([getattr(a, f.name), getattr(b, f.name)]) for f in fields(a)})


def _scattered(asked, answer, size, image_size) -> tuple[np.ndarray, np.ndarray]:
    """(h, w, 4) float32 of 1/z, x/z, y/z and confidence, NaN where no usable answer is; (h, w) bool: asked."""
    xyz, confidence = usable_points(answer, in_front=True)
    index = _indices(asked, size, image_size)
    values, known = np.full((*size, 4), np.nan, np.float32), np.zeros(size, bool)
    inverse = 1 / xyz[:, 2:]
    values[index] = np.concatenate([inverse, xyz[:, :2] * inverse, confidence[:, None]], axis=1)
    known[index] = True
    return values, known


def _filled(values: np.ndarray, known: np.ndarray, coarsest: int, finest: int) -> np.ndarray:
    """Values (h, w, k), inverse depth first, on the lattice of step `finest`: asked ones as they are, the others
    interpolated from level to level."""
    size, step = known.shape, coarsest
    rows, columns = (_lattice(n, step) for n in size)
    filled = values[np.ix_(rows, columns)]
    while step > finest:
        step //= 2
        finer_rows, finer_columns = (_lattice(n, step) for n in size)
        filled = _between(filled, rows, finer_rows)
        filled = _between(filled.swapaxes(0, 1), columns, finer_columns).swapaxes(0, 1)
        rows, columns = finer_rows, finer_columns
        here = np.ix_(rows, columns)
        filled = np.where(known[here][..., None], values[here], filled)
    return filled


def _between(values: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Values (len(old), n, k) at the indices `old` -> at `new`: linear, but the nearest across a jump."""
    lower = np.minimum(np.searchsorted(old, new, "right") - 1, len(old) - 2)
    weight = ((new - old[lower]) / (old[lower + 1] - old[lower])).astype(np.float32)[:, None]
    smooth = (_jumps(values[..., 0], old) < JUMP)[lower]
    a, b = values[lower], values[lower + 1]
    # Half way, the nearer surface: a robot would rather not hit it.
    take_b = (weight > 0.5) | ((weight == 0.5) & ~(a[..., 0] >= b[..., 0]))
    weight = np.where(smooth, weight, take_b)[..., None]
    return np.where(weight == 0, a, np.where(weight == 1, b, a + weight * (b - a)))


def _jumps(inverse: np.ndarray, index: np.ndarray) -> np.ndarray:
    """How far inverse depth (R, n) jumps or bends between neighbouring rows at `index`, (R-1, n), as a share.

    It is the change from one row to the next or, where this is less, what of it the slopes on either side do not
    foretell: nothing on a plane, however steep.
    """
    inverse = np.nan_to_num(inverse)
    step = np.diff(index)[:, None]
    change = np.diff(inverse, axis=0)
    jump = np.abs(change)
    if len(step) > 1:
        bend = np.abs(np.diff(change / step, axis=0))
        bend = np.maximum(np.pad(bend, ((1, 0), (0, 0))), np.pad(bend, ((0, 1), (0, 0)))) * step
        jump = np.minimum(jump, bend)
    return jump / np.maximum(np.maximum(inverse[1:], inverse[:-1]), 1e-9)


def _most_wanted(asked, answer, size, image_size, queries: int, left: int, step: int) -> np.ndarray:
    """Rows and columns (n, 2) of the points of the lattice of `step` where depth jumps most, `left` at most."""
    values, known = _scattered(asked, answer, size, image_size)
    coarse = _filled(values[..., :1], known, _coarsest_step(size, queries), 2 * step)[..., 0]
    old_rows, old_columns = (_lattice(n, 2 * step) for n in size)
    rows, columns = (_lattice(n, step) for n in size)
    along, across = _jumps(coarse, old_rows), _jumps(coarse.T, old_columns).T
    # A cell's largest jump along its four sides.
    cells = np.maximum(np.maximum(along[:, 1:], along[:, :-1]), np.maximum(across[1:], across[:-1]))
    score = _of_touched_cells(_of_touched_cells(cells, old_rows, rows).T, old_columns, columns).T
    score[known[np.ix_(rows, columns)]] = -1.0
    # Every jump, first on the coarse levels: there a query sets right the most pixels. Where there are few, what
    # changes most else: twice as much on every finer level, since boundaries are lines.
    count = min(
        left, max(np.count_nonzero(score >= JUMP), left // (2 * step - 1)), np.count_nonzero(score >= 0)
    )
    order = np.argsort(-score, axis=None, kind="stable")[:count]
    i, j = np.unravel_index(order, score.shape)
    return np.stack([rows[i], columns[j]], axis=1)


def _of_touched_cells(cells: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The larger value of the cells (len(old) - 1, n) that lie before and after each index of `new`."""
    before = np.clip(np.searchsorted(old, new, "left") - 1, 0, len(old) - 2)
    after = np.clip(np.searchsorted(old, new, "right") - 1, 0, len(old) - 2)
    return np.maximum(cells[before], cells[after])
