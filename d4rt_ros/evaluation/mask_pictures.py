"""Pictures of masks: over frames of a sequence, what methods take for moving beside what moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np

from d4rt_ros.evaluation.pictures import new_axes, save

FRAMES = 5  # of a sequence
COLOUR = np.array([255.0, 40.0, 40.0])
SHARE = 0.55  # of the colour where something moves


def mask_picture(
    file: Path,
    images: Sequence[np.ndarray],
    masks: Mapping[str, Sequence[np.ndarray | None]],
    truth: Sequence[np.ndarray],
    judged: range,
) -> None:
    """FRAMES of the judged images (H, W, 3) uint8 from left to right; below each image its masks (H, W) bool by the
    methods' names, None where nothing is said, and the true one. Methods that say nothing at all are left out."""
    shown = [judged[i] for i in np.unique(np.linspace(0, len(judged) - 1, FRAMES).round().astype(int))]
    said = {name: row for name, row in masks.items() if any(mask is not None for mask in row)}
    rows = {"image": [None] * len(images), **said, "truth": truth}
    height, width = images[0].shape[:2]
    figure, axes = new_axes(len(rows), len(shown), (2.4 * len(shown) + 0.6, 2.4 * len(rows) * height / width))
    for line, (name, row) in zip(axes, rows.items()):
        for ax, k in zip(line, shown):
            ax.imshow(masked_image(images[k], row[k]))
            ax.set(xticks=[], yticks=[])
        line[0].set_ylabel(fill(name, 20), fontsize=7)
    for ax, k in zip(axes[0], shown):
        ax.set_title(f"frame {k}", fontsize=8)
    save(figure, file)


def masked_image(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """An image (H, W, 3) uint8 with what moves in red."""
    if mask is None:
        return image
    image = image.copy()
    image[mask] = (SHARE * COLOUR + (1 - SHARE) * image[mask]).astype(np.uint8)
    return image
