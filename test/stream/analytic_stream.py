"""A stream of images of the analytic room, and a model that answers about them from its equations."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from analytic_scene import CAMERA, Altered, AnalyticScene, wandering_camera

from d4rt_ros.geometry import BODY_FROM_OPTICAL, invert, rotation_angle
from d4rt_ros.stream import Frame, Outputs, Pipeline, PipelineConfig, StampError, Stream

PERIOD = 33_333_333
COUNT = 40


BALL = np.array([-1.2, 0.3, 3.5]) + 0.05 * np.arange(COUNT)[:, None] * [1.0, -0.2, 0.1]


@lru_cache
def image(k, speed=0.4):
    """What the room's frame k looks like; its first pixel says its number."""
    painted = AnalyticScene(wandering_camera(COUNT, speed), BALL, camera=CAMERA).painted(k)
    painted[0, 0, 0] = k
    return painted


class AnalyticModel:
    """Knows a frame's number from its first pixel, and answers from the room's equations."""

    def __init__(self, num_frames=6, speed=0.4, change=None, **room):
        self.num_frames, self.change, self.room = num_frames, change, room
        self.between_chunks = self.queries_per_second = None
        self.speed, self.poses, self.ball = speed, wandering_camera(COUNT, speed), BALL
        self.prepared = self.seed = 0

    def prepare(self, image):
        self.prepared += 1
        return image

    def encode(self, frames):
        numbers = [int(image[0, 0, 0]) % COUNT for image in frames]
        scene = AnalyticScene(
            self.poses[numbers], self.ball[numbers], camera=CAMERA, seed=[self.seed, numbers[-1]], **self.room
        )
        scene.frames = frames
        return Altered(scene, self.change) if self.change else scene

    def world_from_camera(self, first, k):
        return BODY_FROM_OPTICAL @ invert(self.poses[first]) @ self.poses[k]


def frame(k, stamp=None, camera=CAMERA, speed=0.4):
    return Frame(image(k, speed), PERIOD * (k + 1) if stamp is None else stamp, camera)


def stream_of(model, config=PipelineConfig()):
    """A stream of what a model of the room sees, by whose speed `run` chooses the images."""
    # The room's images are small and painted; its answers are exact, so that they stand.
    stream = Stream(Pipeline(model, replace(config, refine="none")))
    stream.speed = model.speed
    return stream


def run(stream, numbers, outputs=Outputs(), **kwargs):
    """(number of the newest frame, result) of every window; frames that are refused are left out."""
    results = []
    for k in numbers:
        try:
            results.append((k, stream.add(frame(k, speed=stream.speed, **kwargs), outputs)))
        except StampError:
            pass
    return [(k, result) for k, result in results if result is not None]


def pose_error(result, truth):
    error = invert(truth) @ result.pose.world_from_camera
    return float(np.degrees(rotation_angle(error))), float(np.linalg.norm(error[:3, 3]))
