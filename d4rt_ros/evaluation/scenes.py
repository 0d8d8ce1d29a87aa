"""How good a model is on procedural scenes that it has not seen, each figure beside a trivial answer's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from d4rt_ros.evaluation.calibration import accuracy, average_precision, expected_calibration_error
from d4rt_ros.evaluation.clip import ClipTruth, evaluate_clip
from d4rt_ros.evaluation.figures import MIN_ROTATION, Figure, Records, add_records, figures_of
from d4rt_ros.evaluation.metrics import angle_between
from d4rt_ros.evaluation.pictures import PICTURES, clip_pictures, track_picture, tracks_across
from d4rt_ros.geometry import Pinhole, invert, rotation_angle
from d4rt_ros.scenes import OracleScene, Scenes, load_scenes, render
from d4rt_ros.tasks import IntrinsicsError, PoseError, intrinsics, relative_pose

HELD_OUT = Path(__file__).parent / "held_out_scenes.safetensors"
HELD_OUT_SEEDS = 778_899_001, 778_899_002  # that they and their times were drawn with
PIXELS = 60 * 80
ANY_SIZE = 240 * 320  # pixels of images for a model that takes images as they are


def evaluate_scenes(
    encode,
    scenes: Scenes,
    times: torch.Tensor,
    seed: int = 0,
    pixels: int = PIXELS,
    pictures: Path | None = None,
) -> list[Figure]:
    """Evaluate on clips of scenes; where a model cannot tell where points go, without the figures of that.

    encode: from images (T, H, W, 3) uint8 of the n-th clip, and n, to something with a Scene's interface.
    scenes: N of them; times: (N, T) seconds. pixels: of an image, about. pictures: a folder for pictures of the
    first clips.
    """
    records: Records = {}
    seen: list[np.ndarray] = []
    random = np.random.default_rng(seed)
    for n in track(range(len(scenes)), description="evaluating"):
        one, moments = scenes[n : n + 1], times[n : n + 1]
        height, width = image_size(one, pixels)
        rendering = render(one, moments, height, width)
        images = rendering.rgb[0].numpy()
        truth = OracleScene(one, moments[0], height, width, frames=images)
        scene = encode(images, n)
        clip = ClipTruth(
            rendering.depth[0].numpy(),
            Pinhole.from_matrix(rendering.intrinsics[0].double().numpy(), width, height),
            rendering.world_from_camera[0].double().numpy(),
        )
        result = evaluate_clip(scene, clip)
        add_records(records, result.records)
        if scene.tells_motion:
            moving = rendering.moving[0].numpy()
            add_records(records, _point_records(scene, truth, moving, clip, result.scale, random, seen))
        add_records(records, _pair_records(scene, clip.camera, clip.world_from_camera))
        add_records(records, {"focal": _focal_record(scene, clip.camera)})
        if pictures is not None and n < PICTURES:
            clip_pictures(pictures / f"scene_{n:03}", images, result)
            if scene.tells_motion:
                track_picture(pictures / f"scene_{n:03}_tracks.png", images, *tracks_across(truth, scene))
    return figures_of(records) + _visibility_figures(seen)


def held_out() -> tuple[Scenes, torch.Tensor]:
    """The stored scenes and frame times that no training run has seen.

    Drawn with HELD_OUT_SEEDS themselves; training's are hashes of its seed and the batch, and draw other numbers of
    scenes at once, so that they never come to these.
    """
    from safetensors.torch import load_file

    return load_scenes(HELD_OUT), load_file(HELD_OUT.with_name("held_out_times.safetensors"))["times"]


def image_size(scenes: Scenes, pixels: int = PIXELS) -> tuple[int, int]:
    """(height, width) with square pixels, about `pixels` of them, of the first scene's camera."""
    aspect = float(scenes.aspect[0])
    height = round((pixels / aspect) ** 0.5)
    return height, round(height * aspect)


def _point_records(
    scene, truth, moving: np.ndarray, clip: ClipTruth, scale: float, random, seen: list
) -> dict:
    """2D errors of visible points (pixels of a 64x64 image) and 3D motion of moving ones, in units of mean depth.

    scale: metres in the model's unit. seen: takes arrays (2, n): probability that a point is visible, and whether
    it is.
    """
    height, width = truth.size
    known = np.isfinite(clip.depth)
    unit = clip.depth[known].mean()
    records = {}
    for name, mask in (("static", ~moving & known), ("moving", moving & known)):
        t_src, v, u = np.nonzero(mask)
        if len(u) < 50:
            continue
        chosen = random.choice(len(u), 512)
        u, v, t_src = u[chosen], v[chosen], t_src[chosen]
        t_tgt = random.integers(0, truth.num_frames, 512)
        right, guess = (s.query(u, v, t_src, t_tgt, t_tgt) for s in (truth, scene))
        other = t_src != t_tgt
        visible = (right.visibility > 0.5) & other
        seen.append(np.stack([guess.visibility[other], visible[other]]))
        if visible.sum() < 20:
            continue
        pixels = np.array((64 / width, 64 / height))
        error = np.linalg.norm((guess.uv - right.uv) * pixels, axis=1)[visible].mean()
        still = np.linalg.norm((np.stack((u, v), 1) - right.uv) * pixels, axis=1)[visible].mean()
        records[f"uv {name}"] = (error, still)
        if name == "moving":
            good = visible & (np.linalg.norm(right.displacements, axis=1) > 0.02 * unit)
            if good.sum() >= 20:
                a, b = guess.displacements[good] * scale / unit, right.displacements[good] / unit
                cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + 1e-9)
                error, still = np.linalg.norm(a - b, axis=1).mean(), np.linalg.norm(b, axis=1).mean()
                records |= {"displacement": (error, still), "cosine": (np.median(cosine), 0.0)}
    return records


def _visibility_figures(seen: list[np.ndarray]) -> list[Figure]:
    """Over the points of all clips together: bins and thresholds need many."""
    if not seen:
        return []
    probability, visible = np.concatenate(seen, axis=1)
    share = visible.mean()
    records = {
        "visible": [(accuracy(probability, visible), share)],
        "hidden": [(average_precision(1 - probability, 1 - visible), 1 - share)],
        "visibility calibration": [(expected_calibration_error(probability, visible), 1 - share)],
    }
    return [replace(figure, count=len(visible)) for figure in figures_of(records)]


def _pair_records(scene, camera: Pinhole, poses: np.ndarray) -> dict[str, list]:
    """Rotation and direction of translation between the oldest and the middle and newest frames."""
    records: dict[str, list] = {}
    last = scene.num_frames - 1
    for i, j in ((0, last), (0, last // 2), (last // 2, last)):
        truth = invert(poses[i]) @ poses[j]
        turned, moved = np.degrees(rotation_angle(truth[:3, :3])), np.linalg.norm(truth[:3, 3])
        for method in ("pnp", "rigid") if scene.tells_motion else ("rigid",):
            try:
                guess = relative_pose(scene, i, j, camera=camera, method=method).i_from_j
            except PoseError:
                guess = np.eye(4)
            if turned > MIN_ROTATION:
                error = np.degrees(rotation_angle(guess[:3, :3].T @ truth[:3, :3]))
                records.setdefault(f"rotation {method}", []).append((error, turned))
            if moved > 0.02:
                angle = angle_between(guess[:3, 3], truth[:3, 3])
                records.setdefault(f"translation {method}", []).append((angle, 90.0))
    return records


def _focal_record(scene, camera: Pinhole) -> tuple[float, float]:
    try:
        guess = intrinsics(scene).fx
    except IntrinsicsError:
        guess = camera.width - 1
    return abs(guess / camera.fx - 1), abs((camera.width - 1) / camera.fx - 1)
