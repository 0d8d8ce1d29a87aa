"""Several sources of training examples as one: the `data` of a configuration."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch

from d4rt_ros.io.recorded import RecordedError, RecordedSequence
from d4rt_ros.io.rgbd_folder import open_rgbd_folder
from d4rt_ros.io.ros_bag import open_ros_bag
from d4rt_ros.paths import expanded
from d4rt_ros.training.config import TrainConfig, TrainConfigError
from d4rt_ros.training.datasets.kubric import open_kubric
from d4rt_ros.training.datasets.pointodyssey import open_pointodyssey
from d4rt_ros.training.datasets.scannet import open_scannet
from d4rt_ros.training.datasets.tartanair import open_tartanair
from d4rt_ros.training.datasets.virtual_kitti import open_virtual_kitti
from d4rt_ros.training.draws import uniform
from d4rt_ros.training.examples import Examples, Source, join
from d4rt_ros.training.recorded_examples import RecordedSource
from d4rt_ros.training.scene_examples import SceneSource

# What `kind` of data is read by what, beside "scenes".
READERS: dict[str, Callable[[str], RecordedSequence | list[RecordedSequence]]] = {
    "rgbd": open_rgbd_folder,
    "bag": open_ros_bag,
    "kubric": open_kubric,
    "pointodyssey": open_pointodyssey,
    "scannet": open_scannet,
    "tartanair": open_tartanair,
    "virtual_kitti": open_virtual_kitti,
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mixture:
    """A `Source` that takes its clips from others, in proportion to their weights.

    Each step's batch is cut into one part for each source, so that each makes its clips together. Where weight times
    batch is not whole, a draw decides which side the clip at the cut belongs to.
    """

    sources: list[Source]
    weights: list[float]
    config: TrainConfig

    def __call__(self, step: int, clips: range) -> Examples:
        """See `examples.Source`."""
        cuts = self._cuts(step // self.config.reuse)
        parts = []
        for source, start, stop in zip(self.sources, cuts, cuts[1:]):
            own = range(max(start, clips.start), min(stop, clips.stop))
            if own:
                parts.append(source(step, own))
        return join(parts)

    @property
    def skipped(self) -> Counter[str]:
        """How often something of a source could not be used, by what was wrong."""
        return sum((getattr(source, "skipped", Counter()) for source in self.sources), Counter())

    def _cuts(self, batch_number: int) -> list[int]:
        """Where the sources' parts of the batch begin and end."""
        shift = float(uniform(self.config.seed, "mixture", batch_number, range(1), 1))
        ends = torch.tensor(self.weights, dtype=torch.float64).cumsum(0)
        inner = (ends[:-1] / ends[-1] * self.config.batch + shift).floor().int().tolist()
        return [0, *(min(cut, self.config.batch) for cut in inner), self.config.batch]


def make_source(config: TrainConfig, device: torch.device | str = "cpu", compile: bool = False) -> Source:
    """The source of a configuration's `data`.

    Raises TrainConfigError for data of an unknown kind, and RecordedError for data that cannot be read.
    """
    used = [data for data in config.data if data.weight > 0]
    sources: list[Source] = []
    for data in used:
        if data.kind == "scenes":
            sources.append(SceneSource(config, device, compile))
        else:
            sources.append(RecordedSource(open_sequences(data.kind, data.path), config, device))
    if len(sources) == 1:
        return sources[0]
    return Mixture(sources, [data.weight for data in used], config)


def open_sequences(kind: str, pattern: str) -> list[RecordedSequence]:
    """The sequences of a kind at the places that a pattern such as tartanair/*/Easy/P* matches.

    Of several those that cannot be opened are left out and named. Raises TrainConfigError for an unknown kind, and
    RecordedError where nothing matches or nothing can be opened.
    """
    if kind not in READERS:
        raise TrainConfigError(f"data: kind {kind!r} is not one of scenes, {', '.join(READERS)}")
    pattern = str(expanded(pattern))
    places = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern))
    if not places:
        raise RecordedError(f"{pattern}: is not there, or matches nothing; expected data of kind {kind}")
    sequences, errors = [], []
    for place in places:
        try:
            opened = READERS[kind](place)
            sequences += opened if isinstance(opened, list) else [opened]
        except RecordedError as error:
            errors.append(str(error))
    if not sequences:
        raise RecordedError(errors[0] + (f" (and {len(errors) - 1} more like it)" if errors[1:] else ""))
    for error in errors:
        log.warning("left out: %s", error)
    return sequences
