"""What a scene can be asked for: depth, point clouds, tracks, relative poses, intrinsics. One module each.

Every task is a few queries and what is made of the answers; several share one call as a `Batch` of their `…_task`.
The functions take any `model.protocol.Scene`. Arguments that cannot be are ValueErrors, with a sentence.
"""

from d4rt_ros.tasks.adaptive_depth import adaptive_depth_map, adaptive_point_map
from d4rt_ros.tasks.batch import Batch
from d4rt_ros.tasks.dense_tracks import DenseTracks, dense_tracks, tracking_cost
from d4rt_ros.tasks.depth import PointMap, depth_map, point_map
from d4rt_ros.tasks.intrinsics import IntrinsicsError, intrinsics
from d4rt_ros.tasks.point_cloud import PointCloud, point_cloud
from d4rt_ros.tasks.questions import pixel_grid
from d4rt_ros.tasks.relative_pose import PoseError, RelativePose, camera_poses, relative_pose
from d4rt_ros.tasks.tracks import PointTracks, tracks_of_points

__all__ = [
    "Batch",
    "DenseTracks",
    "IntrinsicsError",
    "PointCloud",
    "PointMap",
    "PointTracks",
    "PoseError",
    "RelativePose",
    "adaptive_depth_map",
    "adaptive_point_map",
    "camera_poses",
    "dense_tracks",
    "depth_map",
    "intrinsics",
    "pixel_grid",
    "point_cloud",
    "point_map",
    "relative_pose",
    "tracking_cost",
    "tracks_of_points",
]
