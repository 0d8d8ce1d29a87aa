from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from d4rt_ros.geometry import Pinhole, invert, is_rigid, pose_from_quaternion, rotation_angle, transform
from d4rt_ros.geometry.bundle import Bundle, BundleError, PosePrior, adjust, relative_covariance
from d4rt_ros.geometry.perturbation import perturbation, perturbed
from d4rt_ros.geometry.resection import GaussianPose

TRUE_CAMERA = Pinhole.centred(260.0, 250.0, 320, 240)
LEAST_SQUARES = (1e6, 1e6)


def world(rng, keyframes=6, landmarks=100, shift=0.15, turn=0.04):
    """A true bundle without noise: prior, pixels and poses agree. The first two poses are held."""
    start = pose_from_quaternion(rng.normal(size=4), rng.normal(size=3))
    steps = rng.normal(size=(keyframes, 6)) * np.repeat([shift, turn], 3)
    poses = perturbed(start, steps)
    anchors = rng.integers(0, keyframes, landmarks)
    anchor_pixels = rng.uniform(0, 1, (landmarks, 2)) * [319, 239]
    log_depth = np.log(rng.uniform(1.0, 5.0, landmarks))
    points = transform(poses[anchors], TRUE_CAMERA.backproject(anchor_pixels, np.exp(log_depth))[:, None])
    frames, rows = (x.ravel() for x in np.meshgrid(np.arange(keyframes), np.arange(landmarks)))
    pixels = TRUE_CAMERA.project(transform(invert(poses[frames]), points[rows])[:, 0])
    seen = ((pixels >= 0) & (pixels <= [319, 239])).all(axis=1)
    return Bundle(
        poses=poses,
        held=np.arange(keyframes) < 2,
        anchors=anchors,
        anchor_pixels=anchor_pixels,
        log_depth=log_depth,
        prior=log_depth,
        prior_sigma=np.full(landmarks, 0.3),
        frames=frames[seen],
        landmarks=rows[seen],
        pixels=pixels[seen],
        camera=TRUE_CAMERA,
    )


def measured(rng, truth, off=0.02, noise=1.0):
    """The same with noise on pixels and depth priors, from poses that are off; and its log focal length, if sought."""
    keyframes = len(truth.poses)
    prior = truth.prior + noise * truth.prior_sigma * rng.normal(size=len(truth.prior))
    moved = perturbed(truth.poses, off * rng.normal(size=(keyframes, 6)))
    focal = float(np.exp(noise * truth.focal_sigma * rng.normal()))
    drift = noise * truth.drift_sigma * rng.normal(size=(len(truth.prior), 2))
    return replace(
        truth,
        poses=np.where(truth.held[:, None, None], truth.poses, moved),
        prior=prior,
        log_depth=prior,
        pixels=truth.pixels
        + noise * truth.pixel_sigma * rng.normal(size=truth.pixels.shape)
        + drift[truth.landmarks],
        camera=zoomed(TRUE_CAMERA, focal),
    )


def zoomed(camera, factor):
    return replace(camera, fx=camera.fx * factor, fy=camera.fy * factor)


def pose_errors(adjusted, truth):
    """(K, 6): what is missing to the truth, as its covariance means it."""
    return np.array([perturbation(a, b)[0] for a, b in zip(truth.poses, adjusted.poses, strict=True)])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_it_finds_the_truth_from_perturbed_poses_and_depths(seed):
    rng = np.random.default_rng(seed)
    truth = world(rng)
    start = measured(rng, truth, noise=0.0)
    start = replace(start, log_depth=start.log_depth + 0.2 * rng.normal(size=len(start.prior)))
    found = adjust(start, iterations=15)
    np.testing.assert_allclose(found.poses, truth.poses, atol=1e-4)
    np.testing.assert_allclose(found.log_depth, truth.log_depth, atol=2e-3)
    np.testing.assert_array_equal(found.poses[:2], start.poses[:2])
    assert is_rigid(found.poses[-1]) and found.cost < 1e-2 and np.abs(found.residuals).max() < 0.1


def small(rng, drift_sigma):
    """A noisy bundle of few unknowns with every kind of term."""
    truth = replace(world(rng, keyframes=4, landmarks=12), focal_sigma=0.2, drift_sigma=drift_sigma)
    bundle = measured(rng, truth)
    root = rng.normal(size=(2, 6, 6)) * 20
    near = perturbed(truth.poses, 0.02 * rng.normal(size=(4, 6)))
    absolute = GaussianPose(near[3], root[0] @ root[0].T)
    relative = GaussianPose(invert(near[0]) @ near[2], root[1] @ root[1].T)
    between = GaussianPose(invert(near[3]) @ near[2], np.diag([1e3, 2e3, 3e3, 1e4, 2e4, 3e4]))
    priors = (PosePrior(3, absolute), PosePrior(2, relative, base=0), PosePrior(2, between, base=3))
    return replace(bundle, held=np.arange(4) < 1, pose_priors=priors, focal_prior=1.1 * bundle.camera.fx)


def residuals(bundle, poses, log_depth, drift, log_focal):
    """Everything that least squares makes small, one after the other."""
    camera, others = (
        zoomed(bundle.camera, np.exp(log_focal)),
        bundle.frames != bundle.anchors[bundle.landmarks],
    )
    local = camera.backproject(bundle.anchor_pixels, np.exp(log_depth))
    points = transform(poses[bundle.anchors], local[:, None])[:, 0]
    seen = camera.project(transform(invert(poses[bundle.frames]), points[bundle.landmarks][:, None])[:, 0])
    prior = np.log((bundle.focal_prior or bundle.camera.fx) / bundle.camera.fx)
    rows = [
        ((bundle.pixels - seen - drift[bundle.landmarks])[others] / bundle.pixel_sigma).ravel(),
        (log_depth - bundle.prior) / bundle.prior_sigma,
        [(log_focal - prior) / bundle.focal_sigma],
    ]
    if bundle.drift_sigma:
        rows.append(drift.ravel() / bundle.drift_sigma)
    for prior in bundle.pose_priors:
        pose = poses[prior.pose] if prior.base is None else invert(poses[prior.base]) @ poses[prior.pose]
        rows.append(np.linalg.cholesky(prior.known.information).T @ perturbation(pose, prior.known.mean)[0])
    return np.concatenate(rows)


@pytest.mark.parametrize("drift_sigma", [0.0, 0.7])
def test_it_is_what_scipys_least_squares_finds_and_its_covariances_the_inverse_information(drift_sigma):
    bundle = small(np.random.default_rng(0), drift_sigma)
    found = adjust(bundle, iterations=30, kernel=LEAST_SQUARES)

    def terms(x):
        """x: the perturbations of the three free poses, of the depths, of the focal length, and the drifts."""
        poses = np.concatenate([bundle.poses[:1], perturbed(bundle.poses[1:], x[:18].reshape(3, 6))])
        drift = x[31:].reshape(12, 2) if drift_sigma else np.zeros((12, 2))
        return residuals(bundle, poses, bundle.log_depth + x[18:30], drift, x[30])

    expected = least_squares(
        terms,
        np.zeros(55 if drift_sigma else 31),
        "3-point",
        x_scale="jac",
        xtol=1e-14,
        ftol=1e-14,
        gtol=1e-14,
    )
    assert found.cost == pytest.approx(2 * expected.cost, rel=1e-6)
    poses = perturbed(bundle.poses[1:], expected.x[:18].reshape(3, 6))
    np.testing.assert_allclose(found.poses[1:], poses, atol=1e-5)
    np.testing.assert_allclose(found.log_depth - bundle.log_depth, expected.x[18:30], atol=1e-4)
    assert np.log(found.camera.fx / bundle.camera.fx) == pytest.approx(expected.x[30], abs=1e-5)
    assert found.camera.fy / found.camera.fx == pytest.approx(bundle.camera.fy / bundle.camera.fx)

    # About the world's axes at the adjusted camera, which least squares' own turns are only at first.
    axes = np.eye(len(expected.x))
    for row, pose in enumerate(bundle.poses[1:]):
        part, h = slice(6 * row, 6 * row + 6), 1e-6
        ends = [perturbation(perturbed(poses[row], s * h * e), pose)[0] for s in (1, -1) for e in np.eye(6)]
        axes[part, part] = (np.array(ends[:6]) - np.array(ends[6:])).T / (2 * h)
    jacobian = expected.jac @ axes
    covariance = np.linalg.inv(jacobian.T @ jacobian)
    scale = np.sqrt(np.diag(covariance))
    ratio = (found.covariance[6:, 6:] - covariance[:18, :18]) / np.outer(scale[:18], scale[:18])
    assert np.abs(ratio).max() < 1e-3
    np.testing.assert_allclose(found.log_depth_variance, np.diag(covariance)[18:30], rtol=1e-3)
    assert found.focal_sigma == pytest.approx(scale[30], rel=1e-3)
    assert not found.covariance[:6].any() and not found.pose_covariance[0].any()
    np.testing.assert_array_equal(found.pose_covariance[2], found.covariance[12:18, 12:18])


@pytest.mark.parametrize("drift_sigma", [0.0, 0.7])
def test_errors_are_as_large_as_the_covariances_say(drift_sigma):
    """Of poses, motions between them, depths and focal length, over noise, with the kernel and 3 iterations."""
    rng = np.random.default_rng(1)
    truth = replace(world(rng, landmarks=80), focal_sigma=0.1, drift_sigma=drift_sigma)
    inside = {"pose": [], "motion": [], "depth": [], "focal": []}
    lengths = []
    for _ in range(100):
        found = adjust(measured(rng, truth))
        errors = pose_errors(found, truth)
        sigma = np.sqrt(np.diagonal(found.pose_covariance, axis1=1, axis2=2))
        inside["pose"].append((np.abs(errors) <= 2 * sigma)[2:])
        motion = [invert(x.poses[2]) @ x.poses[5] for x in (truth, found)]
        covariance = relative_covariance(found, 2, 5)
        error = perturbation(*motion)[0]
        lengths.append(error @ np.linalg.solve(covariance, error))
        inside["motion"].append(np.abs(error) <= 2 * np.sqrt(np.diag(covariance)))
        inside["depth"].append(
            np.abs(truth.log_depth - found.log_depth) <= 2 * np.sqrt(found.log_depth_variance)
        )
        inside["focal"].append([abs(np.log(found.camera.fx / TRUE_CAMERA.fx)) <= 2 * found.focal_sigma])
    shares = {name: np.mean(values) for name, values in inside.items()}
    assert 0.93 <= shares["pose"] <= 0.97 and 0.93 <= shares["depth"] <= 0.97, shares
    assert 0.91 <= shares["motion"] <= 0.98 and 0.9 <= shares["focal"], shares  # fewer, which hang together
    assert np.mean(lengths) == pytest.approx(6.0, abs=1.0)


def test_drift_that_nobody_asks_for_makes_errors_larger_than_is_said():
    rng, errors = np.random.default_rng(0), []
    truth = replace(world(rng), drift_sigma=1.0)
    for _ in range(10):
        bundle = measured(rng, truth)
        for known in (bundle, replace(bundle, drift_sigma=0.0)):
            found = adjust(known)
            depths = (truth.log_depth - found.log_depth) / np.sqrt(found.log_depth_variance)
            errors.append(np.median(np.abs(depths)) / 0.6745)
    assert np.mean(errors[::2]) < 1.15 < 1.5 < np.mean(errors[1::2])


def test_the_covariance_of_a_motion_is_that_of_its_two_poses():
    rng = np.random.default_rng(1)
    found = adjust(measured(rng, world(rng)))
    i, j, h = 3, 5, 1e-6
    motion = invert(found.poses[i]) @ found.poses[j]

    def moved(step):
        ends = perturbed(found.poses[[i, j]], step.reshape(2, 6))
        return perturbation(invert(ends[0]) @ ends[1], motion)[0]

    jacobian = np.array([(moved(h * e) - moved(-h * e)) / (2 * h) for e in np.eye(12)]).T
    rows = np.r_[6 * i : 6 * i + 6, 6 * j : 6 * j + 6]
    expected = jacobian @ found.covariance[np.ix_(rows, rows)] @ jacobian.T
    np.testing.assert_allclose(relative_covariance(found, i, j), expected, rtol=1e-3, atol=1e-12)
    assert np.abs(relative_covariance(found, i, i)).max() < 1e-15


def test_a_turn_on_the_spot_leaves_the_depths_to_the_prior():
    rng, before, after, inside = np.random.default_rng(2), [], [], []
    for _ in range(10):
        truth = world(rng, shift=0.0, turn=0.1)
        bundle = measured(rng, truth)
        found = adjust(bundle)
        before.append(bundle.prior - truth.log_depth)
        after.append(found.log_depth - truth.log_depth)
        inside.append(np.abs(after[-1]) <= 2 * np.sqrt(found.log_depth_variance))
        assert np.median(found.parallax) < 1.0
    # Half a pixel of noise lets a baseline be seen that is none; it may shuffle the depths, not spoil them.
    assert np.std(after) < 1.02 * np.std(before)
    assert 0.93 <= np.mean(inside) <= 0.97


def test_parallax_is_what_translation_moves():
    truth = world(np.random.default_rng(3))
    found = adjust(truth)
    points = transform(
        truth.poses[truth.anchors],
        truth.camera.backproject(truth.anchor_pixels, np.exp(truth.log_depth))[:, None],
    )[:, 0]
    for row in range(5):
        shifts = [0.0]
        for frame in truth.frames[(truth.landmarks == row) & (truth.frames != truth.anchors[row])]:
            turned = truth.poses[frame].copy()
            turned[:3, 3] = truth.poses[truth.anchors[row], :3, 3]
            ends = [
                truth.camera.project(transform(invert(pose), points[row]))
                for pose in (turned, truth.poses[frame])
            ]
            shifts.append(np.linalg.norm(ends[0] - ends[1]))
        assert found.parallax[row] == pytest.approx(max(shifts), rel=1e-3)


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_a_wrong_focal_length_is_found_where_the_camera_moves_and_unsure_where_it_hardly_does(factor):
    rng = np.random.default_rng(4)
    sigmas = {}
    for name, shift, turn in (("moves", 0.2, 0.08), ("pans a little", 0.0, 0.0005)):
        truth = replace(world(rng, keyframes=8, landmarks=200, shift=shift, turn=turn), focal_sigma=0.25)
        start = replace(
            measured(rng, replace(truth, focal_sigma=0.0)),
            camera=zoomed(TRUE_CAMERA, factor),
            focal_sigma=0.25,
        )
        found = adjust(start)
        error = np.log(found.camera.fx / TRUE_CAMERA.fx)
        sigmas[name] = found.focal_sigma
        assert abs(error) < 3 * found.focal_sigma
        if name == "moves":
            assert abs(error) < 0.03
    assert sigmas["moves"] < 0.01 and sigmas["pans a little"] > 0.1


def test_the_prior_of_the_focal_length_is_not_where_it_starts():
    truth = world(np.random.default_rng(5), shift=0.0, turn=0.0)
    start = replace(truth, camera=zoomed(TRUE_CAMERA, 1.1), focal_sigma=0.05, focal_prior=TRUE_CAMERA.fx)
    assert adjust(start, iterations=6).camera.fx == pytest.approx(TRUE_CAMERA.fx, rel=0.01)


def test_what_moves_together_does_not_spoil_it():
    moving, inside, lengths = np.arange(150) < 30, [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        truth = world(rng, keyframes=8, landmarks=150)
        start = measured(rng, truth)
        away = (start.frames - start.anchors[start.landmarks])[:, None] * np.array([6.0, 3.0])
        pixels = start.pixels + moving[start.landmarks, None] * away
        found = adjust(replace(start, pixels=pixels), iterations=5)
        errors = pose_errors(found, truth)[2:].ravel()
        lengths.append(errors @ np.linalg.solve(found.covariance[12:, 12:], errors) / len(errors))
        still = np.abs(truth.log_depth - found.log_depth)[~moving]
        inside.append(still <= 2 * np.sqrt(found.log_depth_variance[~moving]))
        other = truth.frames != truth.anchors[truth.landmarks]
        weights = [found.weights[other & (moving[truth.landmarks] == kind)].mean() for kind in (True, False)]
        assert weights[0] < 0.25 < 0.4 < weights[1]
    assert max(lengths) < 3.0 and np.mean(lengths) < 1.6
    assert np.mean(inside) > 0.92


def test_no_step_raises_the_cost_however_bad_the_start():
    """Without damping three of these do."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        bundle = measured(rng, world(rng, keyframes=4, landmarks=40), off=0.3)
        bundle = replace(bundle, log_depth=bundle.prior + 1.5 * rng.normal(size=40))
        costs = [adjust(bundle, iterations, kernel=LEAST_SQUARES).cost for iterations in (1, 2, 4, 8)]
        assert all(np.diff(costs) <= 1e-9 * costs[0]), (seed, costs)


def assert_numbers(adjusted):
    for name in (
        "poses",
        "log_depth",
        "weights",
        "residuals",
        "covariance",
        "log_depth_variance",
        "parallax",
        "cost",
    ):
        assert np.isfinite(getattr(adjusted, name)).all(), name


def test_what_cannot_be_used_counts_for_nothing():
    rng = np.random.default_rng(6)
    bundle = measured(rng, world(rng))
    own = bundle.frames == bundle.anchors[bundle.landmarks]
    lost = np.arange(len(own)) % 7 == 0
    pixels = np.where(lost[:, None], np.nan, np.where(own[:, None], -500.0, bundle.pixels))
    found = adjust(replace(bundle, pixels=pixels))
    assert_numbers(found)
    assert not found.weights[lost | own].any() and not found.residuals[lost | own].any()
    kept = ~(lost | own)
    without = adjust(
        replace(
            bundle, frames=bundle.frames[kept], landmarks=bundle.landmarks[kept], pixels=bundle.pixels[kept]
        )
    )
    np.testing.assert_allclose(found.poses, without.poses, atol=1e-12)
    np.testing.assert_allclose(found.log_depth_variance, without.log_depth_variance, rtol=1e-9)


def test_points_behind_a_camera_weigh_nothing():
    rng = np.random.default_rng(7)
    bundle = measured(rng, world(rng))
    behind = bundle.poses[-1].copy()
    behind[:3, :3] = behind[:3, :3] @ np.diag([-1.0, 1.0, -1.0])  # looks away from all that it is said to see
    poses, held = np.concatenate([bundle.poses, behind[None]]), np.append(bundle.held, True)
    seen = np.arange(20)
    found = adjust(
        replace(
            bundle,
            poses=poses,
            held=held,
            frames=np.append(bundle.frames, np.full(20, 6)),
            landmarks=np.append(bundle.landmarks, seen),
            pixels=np.concatenate([bundle.pixels, bundle.anchor_pixels[seen]]),
        )
    )
    assert_numbers(found)
    assert not found.weights[-20:].any() and not found.residuals[-20:].any()
    np.testing.assert_allclose(found.poses[:6], adjust(bundle).poses, atol=1e-12)


def test_where_nothing_is_seen_the_priors_are_the_answer():
    bundle = world(np.random.default_rng(8))
    none = {"frames": np.zeros(0, int), "landmarks": np.zeros(0, int), "pixels": np.zeros((0, 2))}
    no_landmarks = {"anchors": np.zeros(0, int), "anchor_pixels": np.zeros((0, 2))} | dict.fromkeys(
        ("log_depth", "prior", "prior_sigma"), np.zeros(0)
    )
    held = replace(bundle, held=np.ones(6, bool), log_depth=bundle.prior - 0.5)
    for nothing in (none, none | no_landmarks):
        found = adjust(replace(held, **nothing))
        assert_numbers(found)
        np.testing.assert_array_equal(found.poses, bundle.poses)
        if len(found.log_depth):
            np.testing.assert_allclose(found.log_depth, bundle.prior)
            np.testing.assert_allclose(found.log_depth_variance, bundle.prior_sigma**2)
        assert found.camera == bundle.camera and found.focal_sigma == 0.0 and not found.covariance.any()
        with pytest.raises(BundleError, match="not determined"):
            adjust(replace(bundle, **nothing))
        known = tuple(PosePrior(k, GaussianPose(bundle.poses[k], np.eye(6) * 1e4)) for k in range(2, 6))
        found = adjust(replace(bundle, **nothing, pose_priors=known, focal_sigma=0.2))
        np.testing.assert_allclose(
            found.pose_covariance[2:], np.tile(np.eye(6) * 1e-4, (4, 1, 1)), atol=1e-12
        )
        assert found.focal_sigma == pytest.approx(0.2)


def test_with_all_poses_held_only_depths_are_sought():
    rng = np.random.default_rng(9)
    truth = world(rng)
    bundle = replace(measured(rng, truth), poses=truth.poses, held=np.ones(6, bool))
    found = adjust(bundle)
    np.testing.assert_array_equal(found.poses, truth.poses)
    error = np.abs(found.log_depth - truth.log_depth)
    assert np.median(error) < 0.3 * np.median(np.abs(bundle.prior - truth.log_depth))
    assert np.mean(error <= 2 * np.sqrt(found.log_depth_variance)) > 0.9


def test_a_pose_that_shares_nothing_is_named_by_its_count():
    bundle = world(np.random.default_rng(13), keyframes=3, landmarks=50)
    alone = (bundle.frames == 2) | (bundle.anchors[bundle.landmarks] == 2)
    pixels = np.where(alone[:, None], np.nan, bundle.pixels)
    with pytest.raises(BundleError, match=r"not determined.* it is \d\d, \d\d, 0 observations"):
        adjust(replace(bundle, pixels=pixels))


def test_a_world_without_a_beginning_is_refused():
    rng = np.random.default_rng(10)
    bundle = replace(measured(rng, world(rng)), held=np.zeros(6, bool))
    with pytest.raises(BundleError, match="none is held"):
        adjust(bundle)
    first = PosePrior(0, GaussianPose(bundle.poses[0], np.eye(6) * 1e6))
    found = adjust(replace(bundle, pose_priors=(first,)))
    assert rotation_angle(found.poses[0, :3, :3].T @ bundle.poses[0, :3, :3]) < 1e-3


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"poses": np.full((6, 4, 4), np.nan)}, "rigid"),
        ({"poses": np.zeros((6, 3, 3))}, "poses has shape"),
        ({"held": np.ones(3, bool)}, "held"),
        ({"anchors": np.full(100, 6)}, "anchors points to"),
        ({"landmarks": np.zeros(3, int)}, "landmarks has shape"),
        ({"anchor_pixels": np.full((100, 2), np.nan)}, "anchor_pixels"),
        ({"log_depth": np.full(100, np.inf)}, "log_depth"),
        ({"prior": np.full(99, 0.0)}, "prior has shape"),
        ({"prior_sigma": np.zeros(100)}, "prior_sigma"),
        ({"focal_sigma": -1.0}, "focal_sigma"),
        ({"focal_prior": 0.0}, "focal_prior"),
        ({"pixel_sigma": np.nan}, "pixel_sigma"),
        ({"drift_sigma": -0.1}, "drift_sigma"),
        ({"pose_priors": (PosePrior(6, GaussianPose(np.eye(4), np.eye(6))),)}, "pose prior"),
    ],
)
def test_bundles_that_are_none(change, sentence):
    with pytest.raises(BundleError, match=sentence):
        adjust(replace(world(np.random.default_rng(11)), **change))


@pytest.mark.parametrize("settings", [{"iterations": 0}, {"kernel": (0.0, 1.0)}, {"kernel": (8.0, 2.0, 1.0)}])
def test_settings_that_are_none(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        adjust(world(np.random.default_rng(12)), **settings)
