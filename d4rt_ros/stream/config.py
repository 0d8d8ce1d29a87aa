"""What the pipeline is to compute, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from d4rt_ros.geometry.region import Region
from d4rt_ros.tasks.adaptive_depth import MIN_QUERIES
from d4rt_ros.tasks.questions import check_grid
from d4rt_ros.tasks.relative_pose import METHODS, MIN_POINTS

SCALE_SOURCES = "none", "fixed", "depth", "tf", "height"
REFINEMENTS = "pixels", "none"
DYNAMICS = "motion", "attention", "both", "off"
ATTENTIVE = "attention", "both"  # those that listen to the model's attention
FRAMES = 8  # of a window, where the model takes any number
FEWEST_TRACKS = 50  # fewer do not place a camera
LEAST_DEPTH = 0.25  # of a depth grid's points; asked evenly, these are half its resolution


@dataclass(frozen=True)
class Outputs:
    """What to compute. All but points are of the world, and bring the pose with them.

    masks: which pixels and points move. objects: the bodies that do.
    """

    points: bool = True
    tracks: bool = True
    pose: bool = True
    masks: bool = True
    objects: bool = True

    def __or__(self, other: Outputs) -> Outputs:
        """What either asks for."""
        return Outputs(*(getattr(self, f.name) or getattr(other, f.name) for f in fields(self)))

    @property
    def world(self) -> bool:
        """Whether the camera's place in the world is needed."""
        return self.pose or self.tracks or self.masks or self.objects

    @property
    def movers(self) -> bool:
        """Whether it is needed what moves."""
        return self.masks or self.objects


def only(**wanted: bool) -> Outputs:
    """What is named, and nothing else."""
    return Outputs(**{f.name: False for f in fields(Outputs)} | wanted)


@dataclass(frozen=True)
class PipelineConfig:
    """What is computed of a stream, and how. Sizes are rows, columns of grids over the image.

    frames: of a window, None: as many as the model takes, FRAMES where it takes any number; every `stride`-th of the
        stream, a window every `hop` of these. max_gap: the longest pause within a window, in periods of the stream.
    depth_queries: the most queries for the depth grid, whose other points are interpolated; None: every point is asked.
    refine: "pixels": poses and depth are refined against the images, "none": they are the model's.
    tracks_max: points that are followed, at most. tracks_unseen_seconds: after which one that is not seen any more is
        forgotten.
    dynamics: what says what moves: "motion", the pixels that disagree with a rigid world; "attention", the model's
        (VGGT4D); "both"; "off": nothing. dynamics_release: seconds after which what has stopped is at rest again.
    tracks_size, pose_method, pose_grid, pose_min_inliers: for refine "none"; the last is the share of points that must
        agree with a pose for it to be trusted.
    recover_seconds: for how long since it was last known (by stamps) the camera is looked for in the old world once it
        is lost; then a new world begins.
    metres: in the model's unit of length; 0: not known. scale_source: what else says it: "none"; "fixed": metres alone;
        "depth": depth that was measured beside the frames; others measure outside (`Pipeline.scaled`).
    region: of the image, which points and tracks are limited to, not what places the camera; None: all of it.

    Raises ValueError for what cannot be.
    """

    frames: int | None = None
    stride: int = 1
    hop: int = 1
    max_gap: float = 10.0
    depth_size: tuple[int, int] = (36, 48)
    depth_queries: int | None = None
    tracks_size: tuple[int, int] = (9, 12)
    pose_method: str = "pnp"
    pose_grid: tuple[int, int] = (12, 12)
    pose_min_inliers: float = 0.5
    recover_seconds: float = 5.0
    metres: float = 0.0
    scale_source: str = "fixed"
    region: Region | None = None
    refine: str = "pixels"
    tracks_max: int = 300
    tracks_unseen_seconds: float = 2.0
    dynamics: str = "motion"
    dynamics_release: float = 1.0

    def __post_init__(self) -> None:
        for name in ("depth_size", "tracks_size", "pose_grid"):
            if len(getattr(self, name)) != 2 or min(getattr(self, name)) < 2:
                raise ValueError(
                    f"{name} = {getattr(self, name)}; it must be (rows, columns), each 2 or more"
                )
            check_grid(getattr(self, name))
        if self.depth_queries is not None and self.depth_queries < MIN_QUERIES:
            raise ValueError(f"depth_queries = {self.depth_queries}; it must be {MIN_QUERIES} or more")
        if self.pose_grid[0] * self.pose_grid[1] < MIN_POINTS:
            raise ValueError(f"pose_grid = {self.pose_grid}; a pose needs {MIN_POINTS} points or more")
        if self.pose_method not in METHODS:
            raise ValueError(f"pose_method = '{self.pose_method}'; it must be one of {', '.join(METHODS)}")
        if not 0.0 <= self.pose_min_inliers <= 1.0:
            raise ValueError(f"pose_min_inliers = {self.pose_min_inliers}; it must be a share in 0..1")
        if self.refine not in REFINEMENTS:
            raise ValueError(f"refine = {self.refine!r}; it must be one of {', '.join(REFINEMENTS)}")
        if self.dynamics not in DYNAMICS:
            raise ValueError(f"dynamics = {self.dynamics!r}; it must be one of {', '.join(DYNAMICS)}")
        if self.scale_source not in SCALE_SOURCES:
            raise ValueError(
                f"scale_source = {self.scale_source!r}; it must be one of {', '.join(SCALE_SOURCES)}"
            )
        if self.tracks_max < FEWEST_TRACKS:
            raise ValueError(f"tracks_max = {self.tracks_max}; it must be {FEWEST_TRACKS} or more")
        for name in ("recover_seconds", "metres", "tracks_unseen_seconds", "dynamics_release"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)}; it must be 0 or more")

    @property
    def measures_scale(self) -> bool:
        """Whether the scale is what measurements say."""
        return not self.metres and self.scale_source not in ("none", "fixed")

    @property
    def depth_points(self) -> int:
        """How many points the depth grid may ask; its own number is all that it can use."""
        every = self.depth_size[0] * self.depth_size[1]
        return every if self.depth_queries is None else min(self.depth_queries, every)


def fitting_depth_queries(
    config: PipelineConfig, budget: float, took: float, per_second: float
) -> int | None:
    """How many queries the depth grid may ask for a window to take `budget` seconds; None where all fit.

    took: seconds of a window that was computed with `config`; per_second: queries that the model answers. Goes
    half of the way, since both are noisy. Never fewer than LEAST_DEPTH of the grid, whatever the budget: what would
    be interpolated from fewer is no measurement any more.
    """
    every = config.depth_size[0] * config.depth_size[1]
    wanted = config.depth_points + 0.5 * (budget - took) * per_second
    fitting = max(MIN_QUERIES, int(LEAST_DEPTH * every), int(wanted))
    return None if fitting >= every else fitting
