"""What of a result may be acted on: judged here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

NOT_ASKED = "the camera's pose was not asked for"


@dataclass(frozen=True)
class Trust:
    """Made in the pipeline alone, read by every output.

    scene: whether the images show anything to measure; where not, there are no points and nothing to ask either.
    pose: whether the camera's place in the world is known; never without the scene. reason: why not, in a sentence;
    "" where both are.
    """

    scene: bool = True
    pose: bool = True
    reason: str = ""


def trust_of(scene_problem: str, pose_problem: str, pose_asked: bool) -> Trust:
    """Trust from why the images, and the pose, cannot be relied on: sentences, or "" where they can."""
    reason = scene_problem or (pose_problem if pose_asked else NOT_ASKED)
    return Trust(scene=not scene_problem, pose=not reason, reason=reason)
