"""The online system over a whole video: one frame after another in, arrays out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from os import PathLike

import numpy as np

from d4rt_ros.geometry.arguments import real_array, rgb_image
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.io.frame import Frame, even_stamp
from d4rt_ros.io.masks import masked_frames, named_mask
from d4rt_ros.io.opening import open_any
from d4rt_ros.stream.config import PipelineConfig
from d4rt_ros.stream.reconstruction import Reconstruction
from d4rt_ros.stream.recorder import Recorder
from d4rt_ros.tasks.questions import check_grid

RATE = 15.0  # Hz, of frames without stamps
LOADING = ("checkpoint", "device", "precision")  # options of `load`
# Of a video all of the image is of interest.
CONFIGURING = tuple(f.name for f in fields(PipelineConfig) if f.name not in ("depth_size", "region"))


class OptionError(TypeError, ValueError):
    """An option that there is not, or that contradicts another."""


def reconstruct(
    frames: str | PathLike | Iterable[np.ndarray],
    stamps: Iterable[int] | None = None,
    intrinsics: np.ndarray | None = None,
    depth_size: tuple[int, int] = (36, 48),
    online: bool = False,
    mask: str | PathLike | np.ndarray | None = None,
    **options,
) -> Reconstruction:
    """Where the camera was in a video, what it saw and how that moved: the stream's pipeline over all its frames.

    frames: the path of a video, of a folder of images or of RGB-D frames, or of a bag (see `io.opening.open_any`); or
        an iterable of (H, W, 3) uint8 RGB, or of io.Frame, of which one after the other is taken, so that a generator
        of any length will do.
    stamps: (N,) integer ns that increase; None: those of the source, and 15 Hz of an iterable of images.
    intrinsics: (3, 3) of all images; None: those that come with the source, else they are estimated.
    depth_size: rows, columns of the depth's grid.
    online: True: each frame has what was known when it came, which is what the node publishes, and nothing before the
        first window is full. False: these frames have it from the first window that holds them.
    mask: (H, W) of the images as they come from the source, or an image file: what is not 0 (the robot's own body, a
        watermark) is never used.
    options: `model`, as `load` returns it, or `checkpoint`, `device` and `precision` of `load`; and the fields of
        PipelineConfig, such as `stride` and `metres`.
    Raises OptionError (a TypeError and a ValueError) for an option that there is not, and ValueErrors for no frames,
    images that are none or of another size than those before, stamps that do not increase or are of another number,
    and whatever else cannot be.
    """
    model, config = chosen(depth_size, options)
    recorder = Recorder(model, config, online)
    given = frames_of(frames, stamps, intrinsics)
    for frame in given if mask is None else masked_frames(given, *named_mask(mask)):
        recorder.add(frame)
    return recorder.reconstruction()


def chosen(depth_size: tuple[int, int], options: dict) -> tuple[object, PipelineConfig]:
    """The model and the configuration that the options of `reconstruct` mean."""
    known = ("model", *LOADING, *CONFIGURING)
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"is it {near[0]}?" if near else f"there are {', '.join(known)}"
            raise OptionError(f"reconstruct has no option {name}; {hint}")
    try:
        config = PipelineConfig(
            depth_size=check_grid(depth_size),
            **{name: options[name] for name in CONFIGURING if name in options},
        )
    except TypeError as error:  # text where a number is meant
        raise OptionError(f"an option is of another type than it must be: {error}") from None
    loading = {name: options[name] for name in LOADING if name in options}
    if options.get("model") is None:
        from d4rt_ros.runtime import load

        return load(**loading), config
    if loading:
        raise OptionError(f"a model and {' and '.join(loading)} are given; give the one or the other")
    return options["model"], config


def frames_of(frames, stamps, intrinsics) -> Iterator[Frame]:
    """The frames that the arguments of `reconstruct` mean, each checked when it is taken."""
    frames = open_any(frames) if isinstance(frames, (str, PathLike)) else frames
    stamps = None if stamps is None else _checked_stamps(stamps)
    matrix = None if intrinsics is None else real_array(intrinsics, "intrinsics", (3, 3))
    count = 0
    for count, frame in enumerate(_iterator(frames), start=1):
        if not isinstance(frame, Frame):
            frame = Frame(rgb_image(frame, f"frame {count - 1}"), even_stamp(count - 1, RATE))
        if stamps is not None and count > len(stamps):
            raise ValueError(f"there are {len(stamps)} stamps and more frames; give one stamp for each frame")
        if stamps is not None:
            frame = replace(frame, stamp=int(stamps[count - 1]))
        if matrix is not None:
            frame = replace(frame, camera=Pinhole.from_matrix(matrix, *frame.image.shape[1::-1]))
        yield frame
    if stamps is not None and count < len(stamps):
        raise ValueError(f"there are {len(stamps)} stamps and {count} frames; give one stamp for each frame")


def _iterator(frames) -> Iterator:
    try:
        return iter(frames)
    except TypeError:
        raise ValueError(
            f"frames of type {type(frames).__name__}; give a path, or an iterable of images (H, W, 3) uint8 RGB"
        ) from None


def _checked_stamps(stamps) -> np.ndarray:
    if hasattr(stamps, "__iter__") and not hasattr(stamps, "__len__"):
        stamps = list(stamps)
    stamps = real_array(stamps, "stamps", (None,), None)
    if stamps.dtype.kind not in "iu" and len(stamps):
        raise ValueError(f"stamps have type {stamps.dtype}; integer nanoseconds are expected, not seconds")
    stamps = stamps.astype(np.int64)
    late = np.flatnonzero(np.diff(stamps) <= 0)
    if len(late):
        i = int(late[0])
        raise ValueError(
            f"stamps must increase; stamp {i + 1} is {stamps[i + 1]} ns, the one before it {stamps[i]}"
        )
    if len(stamps) and stamps[0] < 0:
        raise ValueError(f"stamps must not be negative; the first is {stamps[0]} ns")
    return stamps
