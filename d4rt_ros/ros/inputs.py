"""What the node subscribes to: with which quality of service, from whom, and what gets lost on the way."""

from __future__ import annotations

import difflib
import threading
import time
from collections import deque
from typing import Callable

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest

from d4rt_ros.ros import qos
from d4rt_ros.ros.diagnostics import WARN, Problem
from d4rt_ros.ros.messages import nanoseconds

RELIABILITIES = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}
REMEMBERED = 100  # images whose stamps tell what is lost
LEAST_KNOWN = 20  # of them, before anything is said
LOST_SHARE = 0.05  # of the images, from which on it is said
STOP = 2_000_000_000  # ns between two images that mean that the camera stopped, not that images were lost
TOGETHER = 2.0  # seconds within which two frame_ids are not one after the other
SIMILAR = 5  # names of topics that are offered where none come


class Inputs:
    """Subscriptions of an active node to images, their camera_info and the region of interest.

    compressed: CompressedImage on image/compressed instead of Image on image. reliability: the parameter's value.
    `refresh` follows what the publishers offer; call it every now and then. Raises ValueError with a sentence
    where the user's overrides are wrong.
    """

    def __init__(
        self,
        node,
        compressed: bool,
        reliability: str,
        on_image: Callable,
        on_info: Callable,
        on_region: Callable,
    ) -> None:
        group = MutuallyExclusiveCallbackGroup()
        self._node, self._lock = node, threading.Lock()
        self.arrivals = Arrivals()
        image = (CompressedImage, "image/compressed") if compressed else (Image, "image")

        def take_image(msg) -> None:
            stamp = nanoseconds(msg.header.stamp)
            # While one subscription takes over from another, both hear the same publisher.
            if not self._image.replaced or not self.arrivals.has(stamp):
                self.arrivals.image(stamp, msg.header.frame_id, time.monotonic())
                on_image(msg)

        def take_info(msg) -> None:
            self.arrivals.info(nanoseconds(msg.header.stamp))
            on_info(msg)

        fixed = RELIABILITIES.get(reliability)
        self._info = Input(node, CameraInfo, "camera_info", take_info, group)
        self._region = Input(node, RegionOfInterest, "roi", on_region, group)
        self._image = Input(node, *image, take_image, group, fixed, latched=False)
        try:
            self.refresh()
        except Exception:
            self.close()
            raise

    @property
    def name(self) -> str:
        """The image topic's, as in the README."""
        return self._image.name

    @property
    def image_topic(self) -> str:
        return self._image.topic

    @property
    def info_topic(self) -> str:
        return self._info.topic

    @property
    def image_qos(self) -> str:
        return qos.described(self._image.profile)

    def refresh(self) -> None:
        """Subscribe anew where the publishers offer something else than before."""
        with self._lock:
            self._info.refresh()
            self._region.refresh()
            self._image.refresh()

    def close(self) -> None:
        with self._lock:
            self._info.close()
            self._region.close()
            self._image.close()

    def problems(self, now: float) -> list[Problem]:
        """What is wrong with where images come from. now: seconds of a steady clock."""
        publishers = self._image.publishers()
        found = []
        if len(publishers) > 1:
            who = " and ".join(sorted({_node_name(p) for p in publishers}))
            found.append(
                Problem(
                    WARN,
                    "publishers",
                    f"{len(publishers)} publishers on {self.image_topic}, of {who}: their images are mixed up, give "
                    "each camera a topic",
                )
            )
        frames = self.arrivals.frames(now)
        if len(frames) > 1:
            named = " and ".join(f"'{frame}'" for frame in frames)
            found.append(
                Problem(
                    WARN,
                    "frame_ids",
                    f"images on {self.image_topic} come with the frame_ids {named}: of more than one camera?",
                )
            )
        lost, of = self.arrivals.lost()
        if of >= LEAST_KNOWN and lost > LOST_SHARE * of:
            found.append(
                Problem(
                    WARN,
                    "lost",
                    f"by their stamps {lost} of the last {of} images did not arrive; what to do is in the README under "
                    '"If fewer images arrive"',
                )
            )
        return found

    def silence(self) -> str:
        """Why no images may come, as far as the graph tells; a sentence's second half."""
        topic, kind = self.image_topic, self._image.type_name
        offers = self._node.get_publishers_info_by_topic(topic)
        ours = [p for p in offers if p.topic_type == kind]
        others = [p for p in offers if p.topic_type != kind]
        if ours:
            said = ", ".join(f"{_node_name(p)} ({qos.described(p.qos_profile)})" for p in ours)
            fits = any(qos.compatible(p.qos_profile, self._image.profile) for p in ours)
            ask = "is the camera running?" if fits else "the two do not fit, see image.reliability"
            return f"published by {said}, subscribed to {self.image_qos}; {ask}"
        if others:
            said = ", ".join(f"{_node_name(p)} as {p.topic_type}" for p in others)
            return f"published by {said}, but {kind} is expected: see the parameter image_transport"
        topics = self._image_topics()
        if topics:
            return f"nobody publishes there; images are on {', '.join(topics)}: remap image to the camera's"
        return (
            "nobody publishes there, nor images anywhere else; is the camera running, and in ROS_DOMAIN_ID?"
        )

    def _image_topics(self) -> list[str]:
        """Topics that somebody publishes images on, those with similar names first."""
        kinds = {_type_name(Image), _type_name(CompressedImage)}
        ours = self._node.get_fully_qualified_name() + "/"
        topics = [
            topic
            for topic, types in self._node.get_topic_names_and_types()
            if kinds & set(types) and not topic.startswith(ours) and self._node.count_publishers(topic)
        ]
        likeness = {t: difflib.SequenceMatcher(None, t, self.image_topic).ratio() for t in topics}
        return sorted(topics, key=lambda topic: -likeness[topic])[:SIMILAR]


class Input:
    """One subscription, made again when the publishers offer another quality of service.

    reliability: fixed by the user, None: what is offered. latched: whether what was published before we came is
    wanted too, where it is offered.
    """

    def __init__(self, node, kind, topic: str, callback, group, reliability=None, latched=True) -> None:
        self._node, self._kind, self.name = node, kind, topic
        self._callback, self._group = callback, group
        self._reliability, self._latched = reliability, latched
        self._overrides = qos.overrides(node, topic, "subscription")
        self._subscription = self._before = None
        self.topic, self.type_name = node.resolve_topic_name(topic), _type_name(kind)
        self.profile: QoSProfile | None = None

    @property
    def replaced(self) -> bool:
        """Whether the subscription before is still there too."""
        return self._before is not None

    def publishers(self) -> list:
        return [
            p for p in self._node.get_publishers_info_by_topic(self.topic) if p.topic_type == self.type_name
        ]

    def refresh(self) -> None:
        if self._before is not None:
            self._node.destroy_subscription(self._before)
            self._before = None
        profile = self._wanted()
        if profile == self.profile:
            return
        # The old one goes a little later, so that nothing is missed in between.
        self._before, self.profile = self._subscription, profile
        self._subscription = self._node.create_subscription(
            self._kind,
            self.name,
            self._callback,
            profile,
            callback_group=self._group,
            # A parameter of what we choose ourselves would hold on to the first choice.
            qos_overriding_options=qos.declared({"history", "depth", *self._overrides}),
            event_callbacks=qos.no_subscription_events(),
        )

    def close(self) -> None:
        for subscription in (self._before, self._subscription):
            if subscription is not None:
                self._node.destroy_subscription(subscription)
        self._before = self._subscription = None

    def _wanted(self) -> QoSProfile:
        offered = qos.offered(self.publishers())
        now = self.profile
        # Nobody there yet: reliable, which misses nothing of a recording that waits for us. A publisher that offers
        # less is seen at the next refresh.
        reliability = self._reliability or offered.reliability
        reliability = reliability or (now.reliability if now else ReliabilityPolicy.RELIABLE)
        durability = offered.durability if self._latched else None
        durability = durability or (now.durability if now else DurabilityPolicy.VOLATILE)
        profile = QoSProfile(
            depth=qos.INPUT_DEPTH,
            history=HistoryPolicy.KEEP_LAST,
            reliability=reliability,
            durability=durability,
        )
        return qos.changed(profile, self._overrides)


class Arrivals:
    """What the stamps of images, and of the camera_infos that belong to them, tell of those that did not arrive.

    An image is 1,000 times as large as its camera_info, which therefore arrives where the image does not.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._images: deque[int] = deque(maxlen=REMEMBERED + 1)
        self._infos: deque[int] = deque(maxlen=20 * REMEMBERED)
        self._frames: dict[str, float] = {}

    def image(self, stamp: int, frame_id: str, now: float) -> None:
        with self._lock:
            if self._images and stamp < self._images[-1] - STOP:  # a recording that began again
                self._images.clear()
                self._infos.clear()
            self._images.append(stamp)
            self._frames[frame_id] = now
            if len(self._frames) > 10:
                del self._frames[min(self._frames, key=self._frames.get)]

    def info(self, stamp: int) -> None:
        with self._lock:
            self._infos.append(stamp)

    def has(self, stamp: int) -> bool:
        with self._lock:
            return stamp in self._images

    def frames(self, now: float) -> list[str]:
        """The frame_ids of images within the last TOGETHER seconds."""
        with self._lock:
            return sorted(frame for frame, last in self._frames.items() if now - last < TOGETHER)

    def lost(self) -> tuple[int, int]:
        """How many images are missing among the last, and of how many."""
        with self._lock:
            images, infos = np.unique(self._images), np.unique(self._infos)
        gaps = np.diff(images)
        if len(gaps) < 2:
            return 0, 0
        missing = self._missing(images, gaps, infos)
        missing[gaps > STOP] = 0
        few, many = np.percentile(missing, (20, 80))
        if few >= 1 and many - few <= 1:  # regularly one in so many: throttled, not lost
            return 0, len(gaps)
        lost = int(missing.sum())
        return lost, len(gaps) + lost

    @staticmethod
    def _missing(images: np.ndarray, gaps: np.ndarray, infos: np.ndarray) -> np.ndarray:
        """How many images are missing in each gap."""
        infos = infos[(infos > images[0]) & (infos < images[-1])]
        if len(infos) and np.isin(images[1:-1], infos).mean() > 0.8:  # each has its own
            alone = np.setdiff1d(infos, images)
            return np.bincount(np.searchsorted(images, alone) - 1, minlength=len(gaps))
        period = np.percentile(gaps, 20)
        return np.maximum(np.rint(gaps / period).astype(int) - 1, 0)


def _type_name(kind) -> str:
    return f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"


def _node_name(publisher) -> str:
    return f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
