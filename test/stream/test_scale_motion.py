"""Scale from the robot's own motion."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from d4rt_ros.stream.scale import NoScale
from d4rt_ros.stream.scale_motion import jump, motion_scale

RATE = 10.0


def way(seconds=10.0, rate=RATE, speed=0.3, flat=True, seed=0):
    """Seconds (N,) and metres (N, 3) of a way with bends, on the floor or in space."""
    rng, t = np.random.default_rng(seed), np.arange(0, seconds, 1 / rate)
    heading = rng.uniform(0, 6) + rng.uniform(-0.6, 0.6) * t + 0.5 * np.sin(t)
    rise = 0.0 * t if flat else 0.4 * np.cos(1.3 * t)
    steps = speed / rate * np.column_stack([np.cos(heading), np.sin(heading), rise])
    return t, np.cumsum(steps, axis=0)


def seen(metres, scale=1.0, seed=0, noise=0.0, drift=0.0):
    """The same way as the images have it: in a unit and a frame of its own, with errors in metres."""
    rng = np.random.default_rng(seed)
    wrong = rng.normal(0, noise, metres.shape) + np.cumsum(rng.normal(0, drift, metres.shape), axis=0)
    return (metres + wrong) @ Rotation.random(random_state=seed).as_matrix().T / scale + [3.0, -1.0, 2.0]


def stamps(t):
    return (1_000_000_000 + np.round(t * 1e9)).astype(np.int64)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.02, 50), st.booleans(), st.floats(0.05, 2.0), st.floats(2.5, 10))
def test_the_scale_of_a_way_that_is_known_exactly(seed, scale, flat, speed, seconds):
    t, metres = way(seconds, speed=max(speed, 0.6 / seconds), flat=flat, seed=seed)
    found = motion_scale(stamps(t), seen(metres, scale, seed), metres)
    assert found.log_metres == pytest.approx(math.log(scale), abs=1e-3)
    assert found.source == "tf" and found.stamp == stamps(t)[-1] and found.sigma <= 0.05


def test_a_straight_way_does():
    t = np.arange(0, 5, 0.1)
    metres = t[:, None] * [0.2, 0.0, 0.0]
    assert motion_scale(stamps(t), seen(metres, 3.0, 4), metres).log_metres == pytest.approx(
        math.log(3), abs=1e-3
    )


def test_who_moves_too_little_is_told_how_much_is_needed():
    t = np.arange(0, 10, 0.1)
    metres = 0.01 * np.column_stack([np.cos(t), np.sin(t), 0 * t])
    with pytest.raises(NoScale, match=r"has moved 0.03 m in the last 10 s; 0.2 m are needed"):
        motion_scale(stamps(t), seen(metres), metres)
    # Turning on the spot moves nothing, whatever the images make of it.
    with pytest.raises(NoScale, match="has moved 0.00 m"):
        motion_scale(stamps(t), seen(way()[1]), 0 * metres)


@pytest.mark.parametrize("noise", [0.002, 0.01, 0.03])
@pytest.mark.parametrize("seconds", [3.0, 4.0, 10.0])
def test_sigma_is_honest(noise, seconds):
    inside, errors = [], []
    for seed in range(80):
        t, metres = way(seconds, speed=0.25, seed=seed)
        try:
            found = motion_scale(stamps(t), seen(metres, 0.7, seed, noise, noise / 3), metres)
        except NoScale as error:
            assert any(word in str(error) for word in ("only", "correlation", "trembles"))
            continue
        errors.append(found.log_metres - math.log(0.7))
        inside.append(abs(errors[-1]) < 2 * found.sigma)
    assert len(inside) > 30 and np.mean(inside) >= 0.85
    assert np.median(np.abs(errors)) < 0.03 or noise > 0.02


def test_a_second_of_slip_counts_little():
    """The wheels turn for a second while the robot stands, then it goes on."""
    for seed in range(20):
        t, metres = way(seed=seed)
        true = metres.copy()
        true[45:55] = true[45]
        true[55:] -= metres[54] - metres[45]
        found = motion_scale(stamps(t), seen(true, 2.0, seed, 0.002), metres)
        assert abs(found.log_metres - math.log(2)) < min(0.05, 2 * found.sigma)


def test_a_jump_of_the_frame_is_named_and_left_out():
    t, metres = way()
    jumped = metres + np.where(t >= 6, 1.0, 0.0)[:, None] * [0.5, -0.2, 0]
    found = motion_scale(stamps(t), seen(metres, 2.0), jumped)
    assert found.log_metres == pytest.approx(math.log(2), abs=0.01)
    told = jump(stamps(t), seen(metres, 2.0), jumped)
    assert "jumped by 0.5" in told and "3.9 s ago" in told
    assert jump(stamps(t), seen(metres, 2.0), metres) == ""
    # of a robot that stands
    still = 0 * metres + np.where(t >= 6, 1.0, 0.0)[:, None] * [0.5, -0.2, 0]
    with pytest.raises(NoScale, match="has moved 0.00 m"):
        motion_scale(stamps(t), seen(0 * metres, 1.0, 0, 0.001), still)
    assert "jumped by 0.54 m" in jump(stamps(t), seen(0 * metres, 1.0, 0, 0.001), still)


def test_another_way_than_the_images_show_is_refused():
    t, metres = way()
    with pytest.raises(NoScale, match="not the way that the images show|nothing in common"):
        motion_scale(
            stamps(t),
            seen(way(seed=5)[1] * [1, 1, 0] + np.column_stack([0 * t, 0 * t, np.sin(5 * t)])),
            metres,
        )
    with pytest.raises(NoScale, match="stands still"):
        motion_scale(stamps(t), 0 * metres, metres)
    rng = np.random.default_rng(0)
    with pytest.raises(NoScale):
        motion_scale(stamps(t), rng.normal(0, 1, metres.shape), metres)


def test_rows_that_are_not_known_do_not_count():
    t, metres = way()
    estimated, measured = seen(metres, 2.0), metres.copy()
    estimated[10:20], measured[40] = np.nan, np.inf
    assert motion_scale(stamps(t), estimated, measured).log_metres == pytest.approx(math.log(2), abs=1e-3)
    for empty in (slice(0, 0), slice(0, 1), slice(0, 3)):
        with pytest.raises(NoScale, match="more are needed"):
            motion_scale(stamps(t)[empty], estimated[empty], measured[empty])
    with pytest.raises(NoScale, match="more are needed"):
        motion_scale(stamps(t), np.full_like(metres, np.nan), metres)
    with pytest.raises(NoScale, match="shapes"):
        motion_scale(stamps(t), estimated[:5], measured)


@pytest.mark.parametrize("rate", [1.0, 2.5, 30.0])
def test_any_rate_will_do(rate):
    t, metres = way(rate=rate)
    assert motion_scale(stamps(t), seen(metres, 2.0), metres).log_metres == pytest.approx(
        math.log(2), abs=1e-3
    )


def test_uneven_stamps_and_a_pause_will_do():
    rng = np.random.default_rng(1)
    t, metres = way(rate=30)
    kept = (rng.random(len(t)) < 0.5) & ~((t > 3) & (t < 5))
    found = motion_scale(stamps(t[kept]), seen(metres, 2.0)[kept], metres[kept])
    assert found.log_metres == pytest.approx(math.log(2), abs=1e-3)
