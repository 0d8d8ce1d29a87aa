"""A recording of a run before a wall of colours, which is known to the last digit."""

import numpy as np
from scipy.spatial.transform import Rotation

from d4rt_ros.geometry import Pinhole, pose_matrix
from d4rt_ros.ros.listening.listener import Recording
from d4rt_ros.ros.listening.reading import Cloud

DISTANCE = 3.0  # of the wall z = 3, which is red where x is large and green where y is
CAMERA = Pinhole(30, 30, 19.5, 11.5, 40, 24)
UNIT = 0.2  # of the run's own world, in metres
WORLD = pose_matrix(Rotation.from_euler("xyz", (40, -20, 100), degrees=True).as_matrix(), [3, 2, 1])


def true_path(count=12):
    """(count, 4, 4): sideways and back, with a little of the other motions."""
    turns = np.linspace(0, 2 * np.pi, count)
    return [
        pose_matrix(
            Rotation.from_euler("yx", (8 * np.sin(t), 3 * np.cos(t)), degrees=True).as_matrix(),
            [0.5 * np.cos(t), 0.2 * np.sin(t), 0.1 * np.sin(t)],
        )
        for t in turns
    ]


def wall_cloud(pose):
    """What a camera at a true pose sees, in the run's unit."""
    rays = CAMERA.backproject_map(np.ones((CAMERA.height, CAMERA.width)))
    depth = (DISTANCE - pose[2, 3]) / (rays @ pose[2, :3])
    xyz = rays * depth[..., None]
    at = xyz @ pose[:3, :3].T + pose[:3, 3]
    rgb = np.clip(np.stack([128 + 40 * at[..., 0], 128 + 40 * at[..., 1], 0 * depth], -1), 0, 255)
    return Cloud((UNIT * xyz).astype(np.float32), rgb.astype(np.uint8), np.ones(depth.shape, np.float32))


def wall_recording(truth=True, every=0.25):
    """Poses of all frames, `every` seconds apart, and the clouds of every second."""
    recording = Recording()
    for k, pose in enumerate(true_path()):
        stamp = 10**18 + round(k * every * 1e9)
        ours = WORLD @ pose
        ours[:3, 3] *= UNIT
        recording.poses[stamp] = ours
        if truth:
            recording.true_poses[stamp] = pose
        if k % 2 == 0:
            recording.clouds[stamp] = wall_cloud(pose)
    return recording
