"""Masks from outside: what of each image is not to be used, by the parameter mask.file and by the topic `mask`."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from sensor_msgs.msg import Image

from d4rt_ros.geometry import Lens
from d4rt_ros.io.image_messages import ImageError, mask_from_image
from d4rt_ros.io.masks import check_mask_size, mask_in_view
from d4rt_ros.io.transform_tree import frame_name
from d4rt_ros.ros.diagnostics import WARN, Problem
from d4rt_ros.ros.inputs import Input
from d4rt_ros.ros.messages import nanoseconds

KEPT = 20  # masks that wait for their image, and images that are remembered
WAIT = 0.1  # seconds that an image waits for its mask
PAUSE = 1.0  # seconds without waiting after one that was in vain
USUAL = 0.7  # of the last images that had a mask of their own, for the next to wait
OLDEST = 500_000_000  # ns between an image and a mask that stands in for its own
LATE = 3_000_000_000  # ns by which a stamp goes back where a recording begins again
SOME = 5  # images without a mask of their own, before it is said


@dataclass(frozen=True, eq=False)
class _Mask:
    """mask: (H, W) bool, or why there is none. frame: its frame_id."""

    stamp: int
    mask: np.ndarray | ImageError
    frame: str


class Masks:
    """What of the images is masked while the node is active; heard until `close`.

    file: (H, W) bool of mask.file, None for no file. share: of the last image, that is masked.
    Raises ValueError with a sentence where the user's overrides of quality of service are wrong.
    """

    def __init__(self, node, file: np.ndarray | None) -> None:
        self._file, self._of_file = file, (None, file)  # as the view of a lens
        self.share = 0.0
        self.topic = MaskTopic(node)

    def masked(
        self, stamp: int, size: tuple[int, int], frame_id: str, lens: Lens | None
    ) -> np.ndarray | None:
        """What is masked of the view of an image that came at a stamp (ns), (H, W) bool; None: nothing is.

        size: (height, width) of the image. Waits for its mask for WAIT seconds at most. Raises ImageError where the
        file is not for images of that size: then none of it may be used.
        """
        if self._file is not None:
            check_mask_size(self._file.shape, size, "mask.file")
            if self._of_file[0] is not lens:
                self._of_file = lens, mask_in_view(self._file, lens)
        mask, file = self.topic.mask(stamp, size, frame_id), self._of_file[1]
        mask = file if mask is None else mask_in_view(mask, lens)
        if mask is not file and file is not None:
            mask = mask | file
        self.share = 0.0 if mask is None else float(mask.mean())
        return mask

    def refresh(self) -> None:
        self.topic.refresh()

    def close(self) -> None:
        self.topic.close()


class MaskTopic:
    """The masks of the topic `mask`, by stamp.

    An image's own mask is stamped within half an image's period of it. Where most images have had one, an image waits
    for its own, for WAIT seconds at most. Where there is none, or it is of no use, the nearest within OLDEST that is
    one is taken, and `problems` says so; where there is none either, nothing is masked, and it says that.
    """

    def __init__(self, node) -> None:
        self._node, self._news = node, threading.Condition()
        self._kept: deque[_Mask] = deque(maxlen=KEPT)
        self._images: deque[int] = deque(maxlen=KEPT)
        # ns from each of the last images to its mask, inf: none.
        self._away: deque[float] = deque(maxlen=KEPT)
        self._unfit = ""  # why the last image's own mask, or that in its place, is of no use
        self._published = self._closed = False
        self._no_waiting = 0.0  # until this time of a steady clock
        self._input = Input(node, Image, "mask", self._take, MutuallyExclusiveCallbackGroup(), latched=False)
        self.refresh()

    def refresh(self) -> None:
        """Subscribe anew where the publishers offer something else than before."""
        self._input.refresh()
        self._published = bool(self._input.publishers())

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._input.close()

    def mask(self, stamp: int, size: tuple[int, int], frame_id: str) -> np.ndarray | None:
        """(H, W) bool of the image at a stamp (ns), of this size and frame_id; None where there is none."""
        with self._news:
            if self._images and stamp < self._images[-1] - LATE:  # a recording that began again
                self._images.clear()
            before = list(self._images)
            self._images.append(stamp)
            if not self._kept and not self._published:
                self._unfit = ""
                self._away.clear()
                return None
            within = float(np.median(np.diff(before))) / 2 if len(before) > 1 else 0.0
            if self._usual(before, within) and not self._settled(stamp, within):
                self._news.wait_for(lambda: self._settled(stamp, within) or self._closed, WAIT)
                if not self._settled(stamp, within):
                    self._no_waiting = time.monotonic() + PAUSE
            kept = sorted(self._kept, key=lambda mask: abs(mask.stamp - stamp))
        away = abs(kept[0].stamp - stamp) if kept else np.inf
        self._away.append(0.0 if away <= within else away)
        unfit = ""
        for mask in kept:
            if abs(mask.stamp - stamp) > max(within, OLDEST):
                break
            try:
                fitting = _fitting(mask, size, frame_id)
            except ImageError as error:
                unfit = unfit or str(error)
            else:
                self._unfit = unfit
                return fitting
        self._unfit = unfit
        return None

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with the masks: none, or one."""
        sentence = self._problem()
        return [Problem(WARN, "mask", sentence)] if sentence else []

    def _problem(self) -> str:
        topic = self._input.topic
        if self._unfit:
            return f"what comes on {topic} is no mask of these images: {self._unfit}"
        with self._news:
            away, kept, newest = (
                np.array(self._away),
                list(self._kept),
                self._images[-1] if self._images else 0,
            )
        if not kept:
            return self._nothing_came(topic) if len(self._images) >= SOME else ""
        alone, astray = int(np.count_nonzero(away > OLDEST)), int(np.count_nonzero(away))
        if alone and away[-1] > OLDEST:
            last = (newest - max(mask.stamp for mask in kept)) / 1e9
            nearest = min((newest - mask.stamp for mask in kept), key=abs) / 1e9
            what = f"the nearest is stamped {abs(nearest):.1f} s {'before' if nearest > 0 else 'after'} the image"
            if last > 0:
                what = f"none has come for {last:.1f} s of the images' stamps"
            return f"images are not masked: of the masks on {topic} {what}"
        if astray >= SOME:
            return (
                f"masks on {topic} are not there for every image in time: of the last {len(away)} images {astray} are "
                f"masked by the nearest, up to {away[np.isfinite(away)].max() / 1e6:.0f} ms away"
            )
        return ""

    def _nothing_came(self, topic: str) -> str:
        offers = self._node.get_publishers_info_by_topic(topic)
        others = sorted({offer.topic_type for offer in offers} - {self._input.type_name})
        if others:
            return f"{topic} is published as {', '.join(others)}, but {self._input.type_name} is expected"
        return f"images are not masked: somebody publishes on {topic}, but nothing has come" if offers else ""

    def _usual(self, images: list[int], within: float) -> bool:
        """Whether an image's own mask is worth waiting for: most of those before have had theirs."""
        if time.monotonic() < self._no_waiting:
            return False
        stamps = np.array([mask.stamp for mask in self._kept])
        if not images or not len(stamps):
            return True
        # Of images before the first mask nothing is known.
        images = np.array([image for image in images if image >= stamps.min() - within])
        if not len(images):
            return True
        own = np.abs(images[:, None] - stamps).min(axis=1) <= within
        return bool(own.mean() >= USUAL)

    def _settled(self, stamp: int, within: float) -> bool:
        """Whether an image's mask is there, or one of a later image, before which it would have come."""
        return any(mask.stamp >= stamp - within for mask in self._kept)

    def _take(self, msg) -> None:
        try:
            mask = mask_from_image(msg)
        except ImageError as error:
            mask = error
        except Exception as error:  # of whatever a message can be: the node goes on
            mask = ImageError(f"{type(error).__name__}: {error}")
        stamp = nanoseconds(msg.header.stamp)
        with self._news:
            if self._kept and stamp < self._kept[-1].stamp - LATE:  # a recording that began again
                self._kept.clear()
            self._kept.append(_Mask(stamp, mask, frame_name(msg.header.frame_id)))
            self._news.notify_all()


def _fitting(mask: _Mask, size: tuple[int, int], frame_id: str) -> np.ndarray:
    """The mask for an image of this size and frame_id. Raises ImageError where it is not for that."""
    if isinstance(mask.mask, ImageError):
        raise mask.mask
    check_mask_size(mask.mask.shape, size, "the mask")
    frame = frame_name(frame_id)
    if mask.frame and frame and mask.frame != frame:
        raise ImageError(f"it comes in the frame '{mask.frame}', the images in '{frame}': of another camera?")
    return mask.mask
