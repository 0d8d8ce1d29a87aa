"""What the images of a window show together: one place, several, always the same image, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from d4rt_ros.stream.pixels import SAME_PLACE, View, seen_again, view
from d4rt_ros.stream.window import WindowFrame


@dataclass(frozen=True)
class Look:
    """What a frame shows beside those before it.

    back: how many frames back is the one whose place it shows too; 0: neither of the last two, a cut.
    unchanged_since: stamp in ns since when every image is this one, bit by bit.
    """

    view: View
    back: int
    unchanged_since: int


@dataclass(frozen=True)
class Sight:
    """problem: why the window shows nothing that can be measured, in a sentence, or "". frozen_seconds: for how long
    the newest image has not changed."""

    problem: str
    frozen_seconds: float


def sight(clip: Sequence[WindowFrame], before: WindowFrame | None) -> Sight:
    """Look at the frames of a window, oldest first, each once however many windows it will be in.

    before: the newest frame of the last window, which tells how long the image has not changed.
    """
    for i, frame in enumerate(clip):
        if frame.look is None:
            frame.look = _look(frame, clip[max(0, i - 2) : i], before)
    newest = clip[-1]
    problem = newest.look.view.problem or _cut(clip)
    return Sight(problem, (newest.stamp - newest.look.unchanged_since) / 1e9)


def _look(frame: WindowFrame, last: Sequence[WindowFrame], before: WindowFrame | None) -> Look:
    previous = last[-1] if last else before
    if previous is not None and previous.stamp < frame.stamp and np.array_equal(previous.image, frame.image):
        return Look(previous.look.view, 1, previous.look.unchanged_since)
    seen = view(frame.image, frame.frame.valid)
    # A single image that is damaged or too bright is stepped over.
    alike = (back for back in range(1, len(last) + 1) if seen_again(last[-back].look.view, seen) > SAME_PLACE)
    return Look(seen, next(alike, 0), frame.stamp)


def _cut(clip: Sequence[WindowFrame]) -> str:
    """Where the window shows two places, or one after another, that in a sentence; else ""."""
    newest = first = len(clip) - 1
    while first > 0 and clip[first].look.back:
        first -= clip[first].look.back
    if first <= 0:
        return ""
    if first == newest:
        return "the newest image shows nothing of those before it: another place, a fast turn, or noise"
    ago = (clip[newest].stamp - clip[first].stamp) / 1e9
    return f"{ago:.2f} s ago the images changed to another view; the window fills with it"
