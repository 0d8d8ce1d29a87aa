"""A body crosses the view: how many of the static points of 10 s lie in the space that it swept, which is empty.

A still room of the held-out seeds, seen by a moving camera; a trunk with a head hangs in front of all else and crosses
the view from one side to the other. It touches nothing, so that what lies in the space that it swept was taken for
static while it was there. Points are placed by the true cameras, and scaled by one factor for the run: what is counted
is what masks leave, not how far the path drifts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from rich.progress import Progress

from d4rt_ros.evaluation.mask_effects import NOTHING, TRUE, run_beside
from d4rt_ros.evaluation.mask_scenes import HEIGHT, KINDS, LEAST, RATE, WIDTH, MaskScene
from d4rt_ros.evaluation.run_depth import on_grid, run_depth_scale
from d4rt_ros.evaluation.run_truth import square_pixels
from d4rt_ros.geometry import transform
from d4rt_ros.scenes import (
    Scenes,
    camera_poses,
    has_clear_view,
    primitive_half_sizes,
    primitive_poses,
    sample_scenes,
)
from d4rt_ros.scenes.raycast import SKY, first_hit
from d4rt_ros.scenes.rendering import frame_tables, pixel_rays
from d4rt_ros.stream.config import only

SECONDS = 10.0
SEED, TUNING_SEED = 9_730_000_000, 9_840_000_000  # of the figures, and of what has to be tuned
POOL, MOST_POOLS = 16, 1000
NEARNESS = 0.5  # of the median depth: how far away the body is
BEYOND = 1.7  # half widths of the view, from the middle to where it turns back
TRUNK = 0.16, 0.16, 0.3  # half sizes, of its distance
HEAD = 0.09, 0.09, 0.11
STEPS = 300  # moments of the run between which the body hardly moves
LOOKS = 16  # moments at which a scene is looked at in a small image before it is taken
LOOK_SIZE = 24, 32
SEEN = 0.15  # of the time, in which the body must cover over LEAST of the image
AROUND = 1.3  # times as large as the body: so much space must be free


@dataclass(frozen=True)
class Crossing:
    """A sequence in which a body crosses the view. body: slots of its primitives."""

    scene: MaskScene
    body: tuple[int, ...]

    def swept(self, points: np.ndarray, grown: float = 1.0) -> np.ndarray:
        """(N,) bool: which points (N, 3) of the world are within the body, or one `grown` times as large, at some
        moment of the sequence."""
        scenes, times = self.scene.scenes, self.scene.times
        moments = torch.linspace(float(times[0]), float(times[-1]), STEPS)[None]
        rotation, place = (x[0].double().numpy() for x in primitive_poses(scenes, moments))
        half = grown * primitive_half_sizes(scenes, moments)[0].double().numpy()
        inside = np.zeros(len(points), bool)
        for p in self.body:
            reach = np.linalg.norm(half[:, p], axis=1).max()
            low, high = place[:, p].min(0) - reach, place[:, p].max(0) + reach
            near = np.flatnonzero(((points > low) & (points < high)).all(1))
            for k in range(STEPS):
                unit = (points[near] - place[k, p]) @ rotation[k, p] / half[k, p]
                inside[near] |= _within(scenes.shapes, p, unit)
        return inside


def _within(shapes, p: int, unit: np.ndarray) -> np.ndarray:
    """(N,) bool: points in the unit cylinder or ball that the primitive is in its own coordinates."""
    if p >= shapes.first_cylinder:
        return (np.hypot(unit[:, 0], unit[:, 1]) < 1) & (np.abs(unit[:, 2]) < 1)
    return (unit**2).sum(1) < 1


def crossings(count: int, seed: int = SEED) -> Iterator[Crossing]:
    """The first `count` of them, the same every time."""
    times = np.arange(round(SECONDS * RATE)) / RATE
    looks = torch.linspace(0.0, SECONDS, LOOKS)[None]
    taken = 0
    for pool in range(MOST_POOLS):
        scenes = square_pixels(sample_scenes(POOL, seed + pool, KINDS["static"]), WIDTH, HEIGHT)
        for n in torch.nonzero(has_clear_view(scenes, looks.expand(POOL, -1)))[:, 0].tolist():
            if taken == count:
                return
            made = with_body(scenes[n], looks)
            crossing = Crossing(MaskScene(f"crossing {seed + pool}/{n}", made, times), _slots(made))
            if _is_free(crossing, looks):
                taken += 1
                yield crossing


def _slots(scenes: Scenes) -> tuple[int, int]:
    """The body's trunk and head, in the place of what rested there."""
    return scenes.shapes.first_cylinder, scenes.shapes.first_ellipsoid


def with_body(scenes: Scenes, looks: torch.Tensor) -> Scenes:
    """A scene, a batch of one, with a body that crosses what the camera sees in the middle of the time."""
    distance = NEARNESS * float(_surfaces(scenes, looks)[1].nanmedian())
    pose = camera_poses(scenes, torch.tensor([[SECONDS / 2]]))[0, 0]
    right = torch.nn.functional.normalize(pose[:3, 0] * torch.tensor([1.0, 1.0, 0.0]), dim=0)
    middle = pose[:3, 3] + distance * pose[:3, 2]
    reach = BEYOND * distance * 0.5 / float(scenes.focal[0, 0])
    changed = {name: value.clone() for name, value in scenes.tensors().items()}
    above = (0.0, (TRUNK[2] + HEAD[2]) * distance)
    for p, half, up in zip(_slots(scenes), (TRUNK, HEAD), above):
        for name in (
            "offset",
            "amplitude",
            "spin_rate",
            "spin_amplitude",
            "pivot",
            "hinge",
            "stretch",
            "taper",
        ):
            changed[name][0, p] = 0.0
        changed["half_size"][0, p] = distance * torch.tensor(half)
        changed["center"][0, p] = middle + torch.tensor([0.0, 0.0, up])
        changed["rotation"][0, p] = torch.tensor([0.0, 0.0, 0.0, 1.0])
        # From one side to the other, once in all the time.
        changed["frequency"][0, p, 0], changed["phase"][0, p, 0] = math.pi / SECONDS, -math.pi / 2
        changed["amplitude"][0, p, 0] = reach * right
        changed["moving"][0, p] = True
    return replace(scenes, **changed)


def _is_free(crossing: Crossing, looks: torch.Tensor) -> bool:
    """Whether the body is seen for a while, and nothing that rests, nor the camera, is where it or one a little larger
    comes."""
    scenes = crossing.scene.scenes
    points, _, primitive = _surfaces(scenes, looks)
    seen = torch.isin(primitive, torch.tensor(crossing.body, dtype=primitive.dtype))
    if (seen.float().mean((2, 3)) > LEAST).float().mean() < SEEN:
        return False
    camera = camera_poses(scenes, looks)[0, :, :3, 3]
    others = torch.cat([points[~seen], camera])
    return not crossing.swept(others[others.isfinite().all(-1)].double().numpy(), AROUND).any()


@torch.inference_mode()
def _surfaces(scenes: Scenes, looks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What small images show at `looks` (1, T): world points (1, T, h, w, 3), depth and primitives (1, T, h, w)."""
    x, y = pixel_rays(scenes, *LOOK_SIZE, 1)
    pose = camera_poses(scenes, looks)
    depth, primitive = first_hit(frame_tables(scenes, pose, looks), scenes.shapes, (x, y, torch.ones_like(x)))
    depth = torch.where(primitive == SKY, torch.nan, depth)
    seen = torch.stack([x * depth, y * depth, depth], -1)
    points = torch.einsum("btij,bthwj->bthwi", pose[..., :3, :3], seen) + pose[:, :, None, None, :3, 3]
    return points, depth, primitive


@dataclass(frozen=True)
class SweptFigure:
    """A variant's static points over `count` sequences: how many, and the share of them in swept space, of all and of
    the worst sequence. sequences: by name (points, of these in swept space)."""

    variant: str
    points: int
    share: float
    worst: float
    count: int
    sequences: dict[str, tuple[int, int]]


def evaluate_swept(model, scenes: Iterable[Crossing], count: int, dynamics: str) -> list[SweptFigure]:
    """Of `count` crossings; see `mask_effects.run_beside` for the variants."""
    found: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in (NOTHING, dynamics, TRUE)}
    with Progress() as bar:
        task = bar.add_task("crossings", total=count)
        for crossing in scenes:
            bar.update(task, description=crossing.scene.name)
            for name, counted in static_points(model, crossing, dynamics).items():
                found[name][crossing.scene.name] = counted
            bar.advance(task)
    return [_figure(name, sequences) for name, sequences in found.items()]


def static_points(model, crossing: Crossing, dynamics: str) -> dict[str, tuple[int, int]]:
    """By variant: how many points of the trusted frames count as static, and how many of these are in swept space."""
    clouds: dict[str, list] = {}
    run = run_beside(model, crossing.scene.frames(), dynamics, only(points=True, pose=True, masks=True))
    for frame, said in run:
        for name, (_, result) in said.items():
            if result is None or not result.trusted or result.points is None:
                continue
            points, right = result.points, on_grid(frame.depth, result.points.depth.shape)
            static = np.isfinite(points.depth)
            if points.dynamic is not None:
                static &= ~points.dynamic
            xyz = points.xyz[static] / result.scale.metres
            clouds.setdefault(name, []).append((xyz, right[static], frame.world_from_camera))
    return {name: _counted(crossing, cloud) for name, cloud in clouds.items()}


def _counted(crossing: Crossing, cloud: list) -> tuple[int, int]:
    guess, right = (np.concatenate(x) for x in zip(*((xyz[:, 2], depth) for xyz, depth, _ in cloud)))
    scale = run_depth_scale(guess, right)
    points = np.concatenate([transform(pose, scale * xyz) for xyz, _, pose in cloud])
    return len(points), int(np.count_nonzero(crossing.swept(points)))


def _figure(name: str, sequences: dict[str, tuple[int, int]]) -> SweptFigure:
    points, inside = (sum(x) for x in zip(*sequences.values())) if sequences else (0, 0)
    shares = [inside / points for points, inside in sequences.values() if points]
    return SweptFigure(
        name,
        points,
        inside / points if points else math.nan,
        max(shares, default=math.nan),
        len(shares),
        sequences,
    )


def swept_table(figures: list[SweptFigure], title: str):
    """A rich Table of the figures."""
    from rich.table import Table

    table = Table("", "static points", "in swept space", "worst sequence", "sequences", title=title)
    for f in figures:
        table.add_row(
            f.variant, f"{f.points:,}", f"{100 * f.share:.2f} %", f"{100 * f.worst:.2f} %", str(f.count)
        )
    return table
