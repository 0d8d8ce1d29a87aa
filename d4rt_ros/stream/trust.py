"""What of a result may be acted on: judged here and nowhere else.

Two questions, each answered by a sentence that says why not, or "": whether the images show anything to measure
(`problem`), and whether the camera's place in the world is known (`reason`), which it never is without the first.
"""

from __future__ import annotations

NOT_ASKED = "the camera's pose was not asked for"


def reason_of(problem: str, lost: str | None) -> str:
    """Why the camera's place in the world is not to be relied on; "" where it is.

    problem: why the images show nothing to measure, or "". lost: why the pose is not known, or "" where it is; None
    where nobody asked for it.
    """
    return problem or (NOT_ASKED if lost is None else lost)
