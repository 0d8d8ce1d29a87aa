"""How many metres the model's unit of length is: believed from measurements, with an uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

METRIC = 0.1  # relative sd of the scale, up to which lengths are metres
# The visual world's own scale drifts: sd of its logarithm, per square root of a second (10 % in a minute).
DRIFT = 0.1 / math.sqrt(60)
# Whatever measures is calibrated no better than this, however often it does.
CALIBRATION = 0.01
# By how much the model's unit may be another in a new world, sd of the logarithm.
NEW_WORLD = 0.3
# What is applied changes by no more a second: while it is metric, and while nobody may act on it as metres.
RATE, FAST_RATE = 0.02, 0.1
TOLD = 0.05  # of a correction, from which on it is told
GATE = 3.0  # sd beyond which a measurement does not agree
# A scale is known from so many measurements over so many seconds on.
LEAST_COUNT, LEAST_SECONDS = 3, 1.0
# What contradicts the scale makes it doubtful after the first and replaces it after the second, in seconds.
DOUBTED, BELIEVED = 1.0, 3.0
SILENT = 5.0  # seconds of motion without a measurement, after which it is told
STILL = 0.02, math.radians(1)  # of the unit, and radians, within which a camera stands still


class NoScale(ValueError):
    """What was measured does not tell the scale; says why, in a sentence."""


@dataclass(frozen=True)
class Scale:
    """metres: of one of the model's units; the result's lengths have been multiplied by it. sigma: relative sd; NaN
    where nothing is known. source: what it was measured by: none, fixed, depth, tf, height."""

    metres: float = 1.0
    sigma: float = math.nan
    source: str = "none"

    @property
    def metric(self) -> bool:
        """Whether lengths are metres."""
        return bool(self.sigma <= METRIC)


@dataclass(frozen=True)
class ScaleMeasurement:
    """log_metres: of the metres in one of the model's units. sigma: sd of it, about the relative sd. stamp: ns.
    span: seconds over which its error stays the same, so that many within it say no more than one."""

    log_metres: float
    sigma: float
    stamp: int
    source: str
    span: float = 2.0


def fixed_scale(metres: float) -> Scale:
    """The scale that the user gives. Raises ValueError for what is none."""
    if not 0 < metres < math.inf:
        raise ValueError(f"scale.metres = {metres}; it must be more than 0")
    return Scale(metres, 0.0, "fixed")


@dataclass
class _Belief:
    """What measurements that agree say.

    mean, variance: of log metres now. stamp, first: of its newest and its first measurement (ns); count: of them.
    silence: seconds of motion since the newest. counted, newest: information (1 / variance) and value of the newest,
    which the next one brings again as far as its error is the same.
    """

    mean: float
    variance: float
    stamp: int
    first: int
    source: str
    span: float
    count: int = 1
    counted: float = 0.0
    newest: float = 0.0
    silence: float = 0.0

    @classmethod
    def of(cls, m: ScaleMeasurement) -> _Belief:
        variance = m.sigma**2
        return cls(m.log_metres, variance, m.stamp, m.stamp, m.source, m.span, 1, 1 / variance, m.log_metres)

    @property
    def seconds(self) -> float:
        """Over how many it has been measured."""
        return (self.stamp - self.first) / 1e9

    def drift(self, seconds: float) -> None:
        """So many seconds of motion have gone by."""
        self.variance += DRIFT**2 * seconds
        self.silence += seconds

    def agrees(self, m: ScaleMeasurement) -> bool:
        sigma = math.hypot(math.sqrt(self.variance), m.sigma, CALIBRATION)
        return abs(m.log_metres - self.mean) <= GATE * sigma

    def take(self, m: ScaleMeasurement) -> None:
        """A scalar Kalman filter's update in information form, where a measurement takes the place of what the one
        before said within its span."""
        known = 1 / self.variance
        since = max(m.stamp - self.stamp, 0) / 1e9
        again = min(self.counted * math.exp(-since / m.span), known)
        fresh = 1 / m.sigma**2
        total = known - again + fresh
        self.mean += (again * (self.mean - self.newest) + fresh * (m.log_metres - self.mean)) / total
        self.variance, self.counted, self.newest = 1 / total, fresh, m.log_metres
        self.stamp = max(m.stamp, self.stamp)
        self.source, self.span, self.count, self.silence = m.source, m.span, self.count + 1, 0.0


class ScaleFilter:
    """Believes measurements of the scale, and says what is applied.

    What is applied is 1 until the scale is known for the first time, then goes after the belief at RATE a second at
    most (FAST_RATE while it is not metric); how far it is behind is part of its sigma, as is the drift since the last
    measurement as long as the camera moves. Measurements that contradict the belief are not taken; where they agree
    with each other instead, the scale is doubtful after DOUBTED and theirs after BELIEVED seconds. A new world keeps
    what is applied, as a prior.

    note: what changed with the last update, in a sentence, or "". problem: why the scale is not known or may soon not
    be, or "".
    """

    def __init__(self) -> None:
        self.note = self.problem = ""
        self._belief: _Belief | None = None
        self._rival: _Belief | None = None
        self._against = 0  # measurements that agree with the belief since there is a rival
        self._applied, self._settled = 0.0, False  # log metres; whether it has been metric in this world
        self._correcting = False  # and that was told
        self._world: int | None = None
        self._stamp: int | None = None
        self._scale = Scale()
        self._anchor: np.ndarray | None = None  # where the camera was when it moved last

    @property
    def scale(self) -> Scale:
        """What was applied last."""
        return self._scale

    def update(
        self, stamp: int, world: int, measurements: Sequence[ScaleMeasurement], world_from_camera=None
    ) -> Scale:
        """What to apply at `stamp` (ns), in the world of this number.

        world_from_camera: (4, 4) in the model's unit, of a camera whose world's scale drifts only while it moves; None:
        not known.
        """
        self.note, before = "", self._scale
        seconds = 0.0 if self._stamp is None else max(stamp - self._stamp, 0) / 1e9
        if self._stamp is None or world != self._world or stamp < self._stamp:
            self._begin(stamp)
        if self._moves(world_from_camera):
            for belief in (self._belief, self._rival):
                if belief is not None:
                    belief.drift(seconds)
        self._stamp, self._world = stamp, world
        for measurement in measurements:
            if math.isfinite(measurement.log_metres) and 0 < measurement.sigma < math.inf:
                self._take(measurement)
        self._let_rival_win(stamp)
        if self._belief is not None:
            self._follow(seconds)
        self.problem = self._complaint()
        self._tell(before)
        return self._scale

    def _begin(self, stamp: int) -> None:
        """A new world, or a time that went back."""
        belief, self._rival, self._settled, self._correcting = self._belief, None, False, False
        self._anchor = None
        if belief is not None:
            variance = belief.variance + NEW_WORLD**2
            self._belief = replace(belief, variance=variance, stamp=stamp, first=stamp, count=0, counted=0.0)

    def _moves(self, pose) -> bool:
        """Whether the camera has left where it stood."""
        if pose is None or not np.isfinite(pose).all():
            return True
        pose, anchor = np.asarray(pose, float), self._anchor
        if anchor is not None:
            turned = (np.trace(anchor[:3, :3].T @ pose[:3, :3]) - 1) / 2
            if np.linalg.norm(pose[:3, 3] - anchor[:3, 3]) < STILL[0] and turned > math.cos(STILL[1]):
                return False
        self._anchor = pose.copy()
        return True

    def _take(self, m: ScaleMeasurement) -> None:
        belief, rival = self._belief, self._rival
        if belief is None:
            self._belief = _Belief.of(m)
        elif belief.agrees(m):
            if belief.count == 0:
                belief.first = m.stamp
            belief.take(m)
            self._against += 1
        elif rival is not None and rival.agrees(m):
            rival.take(m)
        else:
            self._rival, self._against = _Belief.of(m), 0

    def _let_rival_win(self, stamp: int) -> None:
        rival = self._rival
        if rival is None:
            return
        # A belief that is not known to anybody yet may be an outlier itself.
        needed = max(BELIEVED, rival.span) if self._known() else LEAST_SECONDS
        if self._against > rival.count or (stamp - rival.stamp) / 1e9 > needed:
            self._rival = None
        elif rival.count >= LEAST_COUNT and rival.seconds >= needed:
            factor = math.exp(rival.mean - self._belief.mean)
            self._belief, self._rival = rival, None
            if self._settled:
                self.note = (
                    f"{rival.source} has said for {rival.seconds:.0f} s that the scale is {factor:.2f} times what it "
                    "was; it is believed"
                )

    @property
    def _doubt(self) -> float:
        """By how much the belief is contradicted, in log metres."""
        rival = self._rival
        doubtful = rival is not None and rival.count >= LEAST_COUNT and rival.seconds >= DOUBTED
        return abs(rival.mean - self._belief.mean) if doubtful else 0.0

    def _follow(self, seconds: float) -> None:
        belief, known = self._belief, self._known()
        believed = math.hypot(math.sqrt(belief.variance), CALIBRATION, self._doubt)
        behind = belief.mean - self._applied
        if self._settled:
            most = seconds * (RATE if self._scale.metric else FAST_RATE)
            self._applied += min(max(behind, -most), most)
        elif known and believed <= METRIC:
            self._applied, self._settled = belief.mean, True
        behind = belief.mean - self._applied
        sigma = math.hypot(believed, behind)
        if not known:
            sigma = max(sigma, NEW_WORLD)
        if abs(behind) < TOLD / 5:
            self._correcting = False
        self._scale = Scale(math.exp(self._applied), sigma, belief.source)

    def _known(self) -> bool:
        return self._belief.count >= LEAST_COUNT and self._belief.seconds >= LEAST_SECONDS

    def _complaint(self) -> str:
        belief = self._belief
        if belief is None:
            return "the scale has not been measured yet"
        if self._doubt:
            factor = math.exp(self._rival.mean - belief.mean)
            return (
                f"{self._rival.source} has said for {self._rival.seconds:.1f} s that the scale is {factor:.2f} times "
                "what it was; it is not believed yet"
            )
        if belief.count == 0:
            return "the scale has not been measured in this world yet"
        if belief.silence > SILENT:
            return f"{belief.source} has not measured the scale for {belief.silence:.0f} s in which the camera moved"
        return ""

    def _tell(self, before: Scale) -> None:
        now, notes = self._scale, [self.note]
        if now.metric and not before.metric:
            notes.append(
                f"the scale is known: a unit is {now.metres:.3g} m ± {now.sigma:.1%} (by {now.source})"
            )
        elif before.metric and not now.metric:
            notes.append("the scale is not known any more" + (f": {self.problem}" if self.problem else ""))
        if self._settled and not self._correcting:
            behind = self._belief.mean - self._applied
            if abs(behind) > TOLD:
                self._correcting = True
                notes.append(
                    f"the scale is corrected by {math.expm1(behind):+.0%}, at {RATE:.0%} a second or, while it is not "
                    f"metric, {FAST_RATE:.0%}"
                )
        self.note = "; ".join(filter(None, notes))


def continued(offset, position, before: float, now: float) -> np.ndarray:
    """offset (3,) of metric = metres · position + offset, so that the camera at `position` (3,), in the model's unit,
    stays where it was published when the metres in a unit change from `before` to `now`."""
    return np.asarray(offset, float) + (before - now) * np.asarray(position, float)
