"""How good a model is on procedural scenes that it has not seen, each figure beside a trivial answer's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from rich.table import Table

from d4rt_ros.evaluation.metrics import angle_between, constant_depth_errors, depth_errors
from d4rt_ros.geometry import Pinhole, invert, rotation_angle
from d4rt_ros.scenes import OracleScene, Scenes, load_scenes, render
from d4rt_ros.tasks import depth_map, intrinsics, relative_pose
from d4rt_ros.tasks.relative_pose import PoseError

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


def evaluate_scenes(encode, scenes: Scenes, times: torch.Tensor, seed: int = 0) -> list[Figure]:
    """Evaluate on clips of scenes.

    encode: from images (T, H, W, 3) uint8 of the n-th clip, and n, to something with a Scene's interface.
    scenes: N of them; times: (N, T) seconds.
    """
    records: dict[str, list] = {}
    random = np.random.default_rng(seed)
    for n in track(range(len(scenes)), description="evaluating"):
        for name, value in _clip(
            lambda images, n=n: encode(images, n), scenes[n : n + 1], times[n : n + 1], random
        ).items():
            records.setdefault(name, []).extend(value)
    return _figures(records)


def figures_table(figures: list[Figure], title: str) -> Table:
    table = Table("figure", "model", "trivial answer", "ratio", "n", title=title)
    for f in figures:
        ratio = f"{f.value / f.baseline:.2f}" if f.baseline else ""
        table.add_row(f.name, f"{f.value:.3f}", f"{f.baseline:.3f}  {f.baseline_name}", ratio, str(f.count))
    return table


def held_out() -> tuple[Scenes, torch.Tensor]:
    """The stored scenes and frame times that no training run has seen.

    Drawn with the seeds 778899001 and 778899002 themselves; training's are hashes of its seed and the batch,
    and draw other numbers of scenes at once, so that they never come to these.
    """
    from safetensors.torch import load_file

    return load_scenes(HELD_OUT), load_file(HELD_OUT.with_name("held_out_times.safetensors"))["times"]


def image_size(scenes: Scenes, pixels: int = 60 * 80) -> tuple[int, int]:
    """(height, width) with square pixels, about `pixels` of them, of the first scene's camera."""
    aspect = float(scenes.aspect[0])
    height = round((pixels / aspect) ** 0.5)
    return height, round(height * aspect)


def _clip(encode, scenes: Scenes, times: torch.Tensor, random) -> dict[str, list]:
    """Every record of one clip: lists of tuples (model, baseline)."""
    height, width = image_size(scenes)
    rendering = render(scenes, times, height, width)
    images = rendering.rgb[0].numpy()
    scene = encode(images)
    truth = OracleScene(scenes, times[0], height, width)
    depth, poses = rendering.depth[0].numpy(), rendering.world_from_camera[0].double().numpy()
    camera = Pinhole.from_matrix(rendering.intrinsics[0].double().numpy(), width, height)
    guess = np.stack([depth_map(scene, t) for t in range(scene.num_frames)])
    (error, delta), (constant, constant_delta) = (
        np.mean([depth_errors(p, t) for p, t in zip(guess, depth)], 0),
        np.mean([constant_depth_errors(t) for t in depth], 0),
    )
    records: dict[str, list] = {"depth": [(error, constant)], "delta": [(delta, constant_delta)]}
    scale = np.nanmedian(depth) / np.nanmedian(guess)
    records.update(_points(scene, truth, rendering.moving[0].numpy(), scale, np.nanmean(depth), random))
    records.update(_pairs(scene, camera, poses))
    focal = intrinsics(scene).fx
    records["focal"] = [(abs(focal / camera.fx - 1), abs((width - 1) / camera.fx - 1))]
    return records


def _points(scene, truth, moving: np.ndarray, scale: float, unit: float, random) -> dict[str, list]:
    """2D errors of visible points (pixels of a 64x64 image) and 3D motion of moving ones, in units of mean depth.

    scale: metres in the model's unit. unit: the mean depth in metres.
    """
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
        pixels = np.array((64 / width, 64 / height))
        error = np.linalg.norm((guess.uv - right.uv) * pixels, axis=1)[seen].mean()
        still = np.linalg.norm((np.stack((u, v), 1) - right.uv) * pixels, axis=1)[seen].mean()
        records[f"uv {name}"] = [(error, still)]
        if name == "moving":
            good = seen & (np.linalg.norm(right.displacements, axis=1) > 0.02 * unit)
            if good.sum() >= 20:
                a, b = guess.displacements[good] * scale / unit, right.displacements[good] / unit
                cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + 1e-9)
                records["displacement"] = [
                    (np.linalg.norm(a - b, axis=1).mean(), np.linalg.norm(b, axis=1).mean())
                ]
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
            figures.append(
                Figure(
                    name, float(summary(values[:, 0])), float(summary(values[:, 1])), baseline, len(values)
                )
            )
    return figures
