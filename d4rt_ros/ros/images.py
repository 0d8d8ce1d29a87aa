"""The node's images: what we know ourselves, and what cv_bridge may know besides."""

from __future__ import annotations

import numpy as np

from d4rt_ros.io.image_messages import BitDepth, ImageError, UnknownEncoding, rgb_from_image


def rgb_from_any_image(msg, bits: BitDepth | None = None) -> np.ndarray:
    """`rgb_from_image`, and cv_bridge for encodings that it does not know. Raises ImageError.

    Only for those: cv_bridge copies more than we do, is not on PyPI, and distributions built it for NumPy 1, where
    with NumPy 2 it does not raise but kills the process.
    """
    try:
        return rgb_from_image(msg, bits)
    except UnknownEncoding as error:
        if int(np.__version__.split(".")[0]) >= 2:
            raise
        unknown = error
    try:
        from cv_bridge import CvBridge
    except ImportError:
        raise unknown from None
    try:
        return np.array(CvBridge().imgmsg_to_cv2(msg, "rgb8"), np.uint8)
    except Exception as error:  # cv_bridge lets OpenCV's and its own errors through
        raise ImageError(f"{unknown}; cv_bridge says: {error}") from None
