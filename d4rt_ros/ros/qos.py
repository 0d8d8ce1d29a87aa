"""Quality of service of everything that the node subscribes and publishes.

Out: reliable with a small depth, since a best-effort publisher is invisible to a reliable subscriber. In: as the
publishers offer it. Users override both by parameters, `qos_overrides.…`.
"""

from __future__ import annotations

from dataclasses import dataclass

# Their own module has another name in Humble.
from rclpy.node import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

# Of ten images the newest wins all the same: what waits is there for pieces that are sent again.
INPUT_DEPTH = 10
OUTPUT = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
TF = QoSProfile(depth=100, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
TF_STATIC = QoSProfile(
    depth=100,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# Of which who comes later wants the last: it holds until the next.
LATCHED = QoSProfile(
    depth=1,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

PREFIX = "qos_overrides."
_KINDS = {
    "history": (QoSPolicyKind.HISTORY, HistoryPolicy),
    "depth": (QoSPolicyKind.DEPTH, int),
    "reliability": (QoSPolicyKind.RELIABILITY, ReliabilityPolicy),
    "durability": (QoSPolicyKind.DURABILITY, DurabilityPolicy),
}


@dataclass(frozen=True)
class Wanted:
    """What publishers leave us to choose. None: nobody publishes, so nothing is known."""

    reliability: ReliabilityPolicy | None = None
    durability: DurabilityPolicy | None = None


def offered(publishers) -> Wanted:
    """The most that all of the publishers (rclpy's TopicEndpointInfo) offer, so that every one of them is heard."""
    if not publishers:
        return Wanted()
    profiles = [p.qos_profile for p in publishers]
    reliable = all(p.reliability == ReliabilityPolicy.RELIABLE for p in profiles)
    latched = reliable and all(p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in profiles)
    return Wanted(
        ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def overrides(node, topic: str, entity: str) -> dict[str, object]:
    """What the user's parameters say of a topic, by policy (history, depth, reliability, durability).

    rclpy reads them by the topic's resolved name alone (`qos_overrides./camera/image_raw.subscription.…`), so that
    those of `/image` are void once it is remapped. Here the name as the README has it, in a namespace or without,
    serves as well; the resolved one wins. entity: subscription or publisher. Raises ValueError with a sentence.
    """
    given = getattr(node, "_parameter_overrides", {})
    found = {}
    for name in names(node, topic):
        for policy, (_, values) in _KINDS.items():
            key = f"{PREFIX}{name}.{entity}.{policy}"
            if key in given:
                found[policy] = _value(key, given[key].value, values)
    return found


def names(node, topic: str) -> list[str]:
    """A topic's names in overrides, the one that rclpy reads last."""
    expanded = node.resolve_topic_name(topic, only_expand=True)
    as_written = [] if topic.startswith("~") else ["/" + topic.lstrip("/")]
    return list(dict.fromkeys([*as_written, expanded, node.resolve_topic_name(topic)]))


def unused(node, topics: dict[str, str]) -> list[str]:
    """Which of the overrides given at start nothing has read. topics: by name as written, subscription or
    publisher."""
    read = {f"{PREFIX}{name}.{entity}." for topic, entity in topics.items() for name in names(node, topic)}
    return [
        key
        for key in getattr(node, "_parameter_overrides", {})
        if key.startswith(PREFIX)
        and not node.has_parameter(key)
        and not (key.rpartition(".")[0] + "." in read and key.rpartition(".")[2] in _KINDS)
    ]


def publisher(node, message_type, topic: str, profile: QoSProfile = OUTPUT):
    """A publisher whose QoS the user may override by parameters. Raises ValueError with a sentence.

    Without handlers of events: rclpy's executor visits each of the two that a publisher has at every turn,
    which for ten publishers takes more time than the callbacks do. Who subscribes with a QoS that does not fit
    is warned on that side.
    """
    return node.create_publisher(
        message_type,
        topic,
        changed(profile, overrides(node, topic, "publisher")),
        qos_overriding_options=declared(_KINDS),
        event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
    )


def no_subscription_events() -> SubscriptionEventCallbacks:
    """As for publishers. What does not fit we look up ourselves, and say so where nothing comes."""
    return SubscriptionEventCallbacks(use_default_callbacks=False)


def compatible(offer: QoSProfile, request: QoSProfile) -> bool:
    """Whether a subscription hears a publisher."""
    unreliable = offer.reliability == ReliabilityPolicy.BEST_EFFORT
    forgetful = offer.durability == DurabilityPolicy.VOLATILE
    return not (unreliable and request.reliability == ReliabilityPolicy.RELIABLE) and not (
        forgetful and request.durability == DurabilityPolicy.TRANSIENT_LOCAL
    )


def changed(profile: QoSProfile, policies: dict[str, object]) -> QoSProfile:
    """The same profile with other policies."""
    policies = {policy: getattr(profile, policy) for policy in _KINDS} | policies
    return QoSProfile(**policies)


def declared(policies) -> QoSOverridingOptions:
    """Have these policies shown as parameters."""
    return QoSOverridingOptions([_KINDS[policy][0] for policy in policies])


def described(profile: QoSProfile) -> str:
    """For people, such as "reliable, volatile"."""
    return f"{_name(profile.reliability)}, {_name(profile.durability)}"


def _name(policy) -> str:
    return policy.name.lower().replace("_", " ")


def _value(name: str, value, values):
    if values is int:
        if type(value) is int and value > 0:
            return value
        raise ValueError(f"{name} is {value!r}; it must be a whole number of messages, 1 or more")
    choices = {policy.name.lower(): policy for policy in values if policy.name.lower() != "unknown"}
    if str(value).lower() in choices:
        return choices[str(value).lower()]
    raise ValueError(f"{name} is '{value}'; it must be one of {', '.join(choices)}")
