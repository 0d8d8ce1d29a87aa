"""Quality of service of everything that the node subscribes and publishes.

Out: reliable with a small depth, since a best-effort publisher is invisible to a reliable subscriber. In:
best effort, since a late frame is worth nothing. Users override both by parameters, `qos_overrides.…`.
"""

from __future__ import annotations

from rclpy.node import PublisherEventCallbacks  # whose own module has another name in Humble
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

SENSOR = QoSProfile(depth=2, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
OUTPUT = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
TF = QoSProfile(depth=100, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
TF_STATIC = QoSProfile(
    depth=100,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

# Our own cameras publish reliably. Fast DDS cuts an image into 64 KiB pieces, of which its shared memory has
# room for eight: on a busy machine half of the images of 640x480 are lost to a best-effort subscription.
RELIABLE_IMAGES = {"qos_overrides./image.subscription.reliability": "reliable"}


def overridable() -> QoSOverridingOptions:
    return QoSOverridingOptions.with_default_policies()


def publisher(node, message_type, topic: str, profile: QoSProfile = OUTPUT):
    """A publisher whose QoS the user may override by parameters.

    Without handlers of events: rclpy's executor visits each of the two that a publisher has at every turn,
    which for ten publishers takes more time than the callbacks do. Who subscribes with a QoS that does not fit
    is warned on that side.
    """
    return node.create_publisher(
        message_type,
        topic,
        profile,
        qos_overriding_options=overridable(),
        event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
    )
