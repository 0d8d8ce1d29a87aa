"""How good a model is on procedural scenes that it has not seen, each figure beside a trivial answer's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from rich.table import Table

from ..geometry import Pinhole, invert, rotation_angle
from ..scenes import OracleScene, Scenes, load_scenes, render
from ..tasks import depth_map, intrinsics, relative_pose
from ..tasks.relative_pose import PoseError
from .metrics import angle_between, constant_depth_errors, depth_errors

HELD_OUT = Path(__file__).parent / "held_out_scenes.safetensors"
TURN = 5.0  # degrees; pairs that turn less say little of a rotation's error


@dataclass(frozen=True)
class Figure:
    """A measured figure: the mean or median over `count` clips or pairs, and the trivial answer's."""

    name: str
    value: float
    baseline: float
    baseline_name: str
    count: int


def evaluate_scenes(model, scenes: Scenes, times: torch.Tensor, size=(96, 128), seed: int = 0) -> list[Figure]:
    """Evaluate a model (or anything with its interface) on clips of scenes.

    scenes: N of them; times: (N, T) seconds; size: (height, width) of the images given to the model, whose
    pixels are not square where the scene's aspect differs.
    """
    records: dict[str, list] = {}
    random = np.random.default_rng(seed)
    for n in track(range(len(scenes)), description="evaluating"):
        for name, value in _clip(model, scenes[n : n + 1], times[n : n + 1], size, random).items():
            records.setdefault(name, []).extend(value)
    return _figures(records)


def figures_table(figures: list[Figure], title: str) -> Table:
    table = Table("figure", "model", "trivial answer", "ratio", "n", title=title)
    for f in figures:
        ratio = f"{f.value / f.baseline:.2f}" if f.baseline else ""
        table.add_row(f.name, f"{f.value:.3f}", f"{f.baseline:.3f}  {f.baseline_name}", ratio, str(f.count))
    return table


def held_out() -> tuple[Scenes, torch.Tensor]:
    """The stored scenes and frame times that no training run has seen."""
    from safetensors.torch import load_file

    return load_scenes(HELD_OUT), load_file(HELD_OUT.with_name("held_out_times.safetensors"))["times"]


def _clip(model, scenes: Scenes, times: torch.Tensor, size: tuple[int, int], random) -> dict[str, list]:
    """Every record of one clip: lists of tuples (model, baseline)."""
    height, width = size
    rendering = render(scenes, times, height, width)
    images = rendering.rgb[0].numpy()
    scene = model.encode(images)
    truth = OracleScene(scenes, times[0], height, width)
    depth, poses = rendering.depth[0].numpy(), rendering.world_from_camera[0].double().numpy()
    camera = Pinhole.from_matrix(rendering.intrinsics[0].double().numpy(), width, height)
    records: dict[str, list] = {"depth": [], "delta": []}
    for t in range(scene.num_frames):
        (error, delta), (constant, constant_delta) = (
            depth_errors(depth_map(scene, t), depth[t]), constant_depth_errors(depth[t])
        )
        records["depth"].append((error, constant))
        records["delta"].append((delta, constant_delta))
    records["depth"], records["delta"] = ([tuple(np.mean(records[k], 0))] for k in ("depth", "delta"))
    records.update(_points(scene, truth, rendering.moving[0].numpy(), depth.mean(), random))
    records.update(_pairs(scene, camera, poses))
    guess = intrinsics(scene)
    records["focal"] = [(abs(guess.fx / camera.fx - 1), abs((width - 1) / camera.fx - 1))]
    return records


def _points(scene, truth, moving: np.ndarray, unit: float, random) -> dict[str, list]:
    """2D errors of visible points (pixels of a 64 pixel wide image) and 3D motion of moving ones."""
    height, width = truth.size
    records = {}
    for name, mask in (("static", ~moving), ("moving", moving)):
        t_src, v, u = np.nonzero(mask)
        if len(u) < 50:
            continue
        chosen = random.choice(len(u), 512)
        u, v, t_src = u[chosen], v[chosen], t_src[chosen]
        t_tgt = random.integers(0, truth.num_frames, 512)
        right, guess = (s.query(u, v, t_src, t_tgt, t_tgt) for s in (truth, scene))
        seen = (right.visibility > 0.5) & (t_src != t_tgt)
        if seen.sum() < 20:
            continue
        scale = np.array((64 / width, 64 / height))
        error = np.linalg.norm((guess.uv - right.uv) * scale, axis=1)[seen].mean()
        still = np.linalg.norm((np.stack((u, v), 1) - right.uv) * scale, axis=1)[seen].mean()
        records[f"uv {name}"] = [(error, still)]
        if name == "moving":
            good = seen & (np.linalg.norm(right.displacements, axis=1) > 0.02 * unit)
            if good.sum() >= 20:
                a, b = guess.displacements[good], right.displacements[good] / unit
                cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + 1e-9)
                records["displacement"] = [(np.linalg.norm(a - b, axis=1).mean(), np.linalg.norm(b, axis=1).mean())]
                records["cosine"] = [(np.median(cosine), 0.0)]
    return records


def _pairs(scene, camera: Pinhole, poses: np.ndarray) -> dict[str, list]:
    """Rotation and direction of translation between the oldest and the middle and newest frames."""
    records: dict[str, list] = {}
    last = scene.num_frames - 1
    for i, j in ((0, last), (0, last // 2), (last // 2, last)):
        truth = invert(poses[i]) @ poses[j]
        turned, moved = np.degrees(rotation_angle(truth[:3, :3])), np.linalg.norm(truth[:3, 3])
        for method in ("pnp", "rigid"):
            try:
                guess = relative_pose(scene, i, j, camera=camera, method=method).i_from_j
            except PoseError:
                guess = np.eye(4)
            if turned > TURN:
                error = np.degrees(rotation_angle(guess[:3, :3].T @ truth[:3, :3]))
                records.setdefault(f"rotation {method}", []).append((error, turned))
            if moved > 0.02:
                angle = angle_between(guess[:3, 3], truth[:3, 3])
                records.setdefault(f"translation {method}", []).append((angle, 90.0))
    return records


FIGURES = (
    ("depth", "depth AbsRel, median-scaled", "constant depth", np.mean),
    ("delta", "depth delta < 1.25 (higher is better)", "constant depth", np.mean),
    ("uv static", "2D error of static points, px of 64", "no motion", np.mean),
    ("uv moving", "2D error of moving points, px of 64", "no motion", np.mean),
    ("displacement", "3D displacement error of moving points / mean depth", "no motion", np.mean),
    ("cosine", "cosine of 3D displacement, median (higher is better)", "none", np.median),
    ("rotation pnp", f"rotation by PnP, pairs over {TURN:.0f} deg, deg", "identity", np.mean),
    ("rotation rigid", f"rotation by rigid alignment, pairs over {TURN:.0f} deg, deg", "identity", np.mean),
    ("translation pnp", "direction of translation by PnP, median, deg", "any", np.median),
    ("translation rigid", "direction of translation by rigid alignment, median, deg", "any", np.median),
    ("focal", "relative error of fx, median", "fx = width - 1", np.median),
)


def _figures(records: dict[str, list]) -> list[Figure]:
    figures = []
    for key, name, baseline, summary in FIGURES:
        if key in records:
            values = np.asarray(records[key], np.float64)
            figures.append(Figure(name, float(summary(values[:, 0])), float(summary(values[:, 1])), baseline, len(values)))
    return figures
