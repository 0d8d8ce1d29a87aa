"""Figures of whole runs: of outcomes that are made up, and of the system with a model that knows the truth."""

from dataclasses import replace

import numpy as np
import pytest

from d4rt_ros.evaluation.run_tracks import TrackRows, Whereabouts
from d4rt_ros.evaluation.run_truth import Run, RunTruth, procedural_run
from d4rt_ros.evaluation.stream import ERRORS, SHARES, SIGMAS, Alone, Outcome, run_doubts, run_records
from d4rt_ros.evaluation.stream_runs import (
    Shared,
    evaluate_run,
    evaluate_runs,
    run_figures,
    run_table,
    sigma_figures,
    sigma_table,
)
from d4rt_ros.geometry import pose_matrix
from d4rt_ros.scenes import Noise, OracleModel
from d4rt_ros.stream import PipelineConfig

COUNT, GRID, SIZE = 60, (3, 4), (30, 40)
STAMPS = np.round(np.arange(COUNT) * 1e9 / 15).astype(np.int64)
RANDOM = np.random.default_rng(0)
DEPTH = RANDOM.uniform(1, 4, (COUNT, *GRID))
NO_TRACKS = TrackRows(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)), np.zeros(0, bool))


def path():
    t = np.linspace(0, 3, COUNT)[:, None]
    return pose_matrix(translation=np.sin([1.0, 1.3, 0.8] * t))


TRUTH = RunTruth(STAMPS, DEPTH, path(), SIZE)


def outcome(depth=DEPTH, poses=None, trusted=None, sigma=0.1, tracks=NO_TRACKS, **more):
    trusted = np.ones(COUNT, bool) if trusted is None else trusted
    covariance = np.cumsum(np.tile(1e-6 * np.eye(6), (COUNT, 1, 1)), 0)
    poses = path() if poses is None else poses
    return Outcome(poses, trusted, covariance, depth, np.full(depth.shape, sigma), tracks, **more)


def alone(depth=DEPTH):
    none = np.zeros((0, 2)), np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2))
    return Alone(depth, *none)


def test_the_truth_has_no_errors_and_the_trivial_answers_have():
    records = run_records(outcome(3 * DEPTH), outcome(), alone(), TRUTH)
    for key in (
        "depth S",
        "depth one",
        "drift",
        "ate",
        "rpe translation",
        "rpe rotation",
        "jump translation",
    ):
        assert records[key][0] < 1e-5, key
    assert records["depth one"][2] > 0.2 and records["ate"][2] > 10 and records["rpe translation"][2] > 0.1
    assert records["trusted"] == (1, 1, 1) and not {"uv static", "survives", "stands", "scale"} & set(records)


def test_each_value_stands_in_its_column():
    noisy = DEPTH * np.exp(RANDOM.normal(0, 0.3, DEPTH.shape))
    drifting = path()
    drifting[:, 2, 3] += np.linspace(0, 0.5, COUNT) ** 2
    records = run_records(outcome(), outcome(DEPTH, drifting), alone(noisy), TRUTH)
    assert records["depth S"][0] < 1e-9 < 0.1 < records["depth S"][1]
    assert records["ate"][0] < 1e-6 < 0.5 < records["ate"][1] < records["ate"][2]


def test_what_is_not_trusted_is_counted_and_not_scored():
    poses, trusted = path(), np.ones(COUNT, bool)
    poses[20:35], trusted[20:35] = np.nan, False
    depth = DEPTH.copy()
    depth[20:35] = np.nan
    wrong = DEPTH.copy()
    wrong[20:35] *= RANDOM.uniform(0.1, 9, wrong[20:35].shape)
    records = run_records(outcome(depth, poses, trusted), outcome(), alone(wrong), TRUTH)
    assert records["trusted"] == (0.75, 1, 1) and records["ate"][0] < 1e-6
    # The model is judged over the same pixels.
    assert records["depth one"][:2] == pytest.approx((0, 0), abs=1e-9)
    nothing = outcome(np.full_like(DEPTH, np.nan), np.full_like(poses, np.nan), np.zeros(COUNT, bool))
    records = run_records(nothing, outcome(), alone(), TRUTH)
    assert records["trusted"] == (0, 1, 1) and set(records) == {"trusted"}


def test_frames_before_the_first_window_are_nobodys_fault():
    trusted = np.arange(COUNT) >= 7
    late = DEPTH.copy()
    late[:7] = np.nan
    records = run_records(outcome(late, trusted=trusted), outcome(trusted=trusted), alone(late), TRUTH)
    assert records["trusted"] == (1, 1, 1)


def test_a_metric_scale_is_judged_and_only_that():
    off = run_records(outcome(1.1 * DEPTH, metric=True, scale_sigma=0.05), outcome(), alone(3 * DEPTH), TRUTH)
    assert off["scale"] == pytest.approx((np.log(1.1), np.log(3), np.log(3)))
    error, sigma = run_doubts(outcome(1.1 * DEPTH, metric=True, scale_sigma=0.05), TRUTH)["scale sigma"]
    assert abs(error[0]) == pytest.approx(np.log(1.1)) and sigma[0] == 0.05
    assert "scale sigma" not in run_doubts(outcome(1.1 * DEPTH), TRUTH)


def test_standing_still():
    poses = path()
    poses[20:50] = poses[20]
    truth = replace(TRUTH, world_from_camera=poses, depth=np.full_like(DEPTH, 2.0))
    ours, depth = poses.copy(), np.full_like(DEPTH, 2.0)
    ours[30, 0, 3] += 0.01
    depth[40] *= 1.02
    records = run_records(outcome(depth, ours), outcome(depth, poses), alone(np.full_like(DEPTH, 2.0)), truth)
    assert records["stands"] == pytest.approx((0.5, 0, 0), abs=1e-9)
    assert records["breathes"] == pytest.approx((100 * np.log(1.02), 0, 0), abs=1e-9)
    lost = np.arange(COUNT) < 40
    late = run_records(
        outcome(depth, ours, ~lost), outcome(depth, poses), alone(np.full_like(DEPTH, 2.0)), truth
    )
    assert late["stands"][:2] == pytest.approx((0, 0), abs=1e-9)
    nothing = np.full_like(DEPTH, np.nan)
    blind = run_records(outcome(nothing, ours, np.zeros(COUNT, bool)), outcome(), alone(nothing), truth)
    assert np.isnan(blind["stands"][0]) and np.isnan(blind["breathes"][:2]).all()
    poses[27] = path()[27]  # then it stands for less than a second, and for more than one
    poses[41] = path()[41]
    assert "stands" not in run_records(outcome(), outcome(), alone(), replace(truth, world_from_camera=poses))


def test_doubts_are_of_what_is_known():
    truth = replace(TRUTH, depth=np.where(np.arange(COUNT)[:, None, None] % 2, np.nan, DEPTH))
    doubts = run_doubts(outcome(5 * DEPTH, sigma=0.2), truth)
    assert set(doubts) == {"depth sigma", "position sigma", "rotation sigma"}
    error, sigma = doubts["depth sigma"]
    assert len(error) == DEPTH.size / 2 and np.abs(error).max() < 1e-9 and np.all(sigma == 0.2)
    assert set(run_doubts(outcome(trusted=np.zeros(COUNT, bool), sigma=np.nan), truth)) == set()


def test_points_are_judged_where_their_way_is_known():
    def standing(pixels, t_src, t_tgt):
        count = len(pixels)
        return Whereabouts(np.asarray(pixels, float), np.ones(count, bool), np.zeros(count, bool))

    truth = replace(TRUTH, whereabouts=standing)
    frame = np.tile(np.arange(COUNT), 2)
    rows = TrackRows(np.repeat([0, 1], COUNT), frame, np.full((2 * COUNT, 2), 9.0), np.ones(2 * COUNT, bool))
    said = Alone(DEPTH, np.full((5, 2), 9.0), np.full(5, 8), np.full(5, 3), np.full((5, 2), [9.0, 10.0]))
    records = run_records(outcome(tracks=rows), outcome(), said, truth)
    assert records["uv static"] == (0, pytest.approx(64 / 30), 0) and "uv moving" not in records
    assert records["lives"] == (1, 0, 0) and "survives" not in records  # a run of fewer than 100 frames


def test_figures_over_runs():
    runs = [("a", {"ate": (1.0, 2.0, 10.0), "trusted": (1.0, 0.5, 1.0)}), ("b", {"ate": (5.0, 4.0, 10.0)})]
    figures = run_figures([*runs, ("c", {"ate": (np.nan, 1.0, 1.0)})])
    ate = next(f for f in figures if f.name == ERRORS["ate"][0])
    assert (ate.mean, ate.median, ate.worst, ate.without, ate.trivial) == (3, 3, 5, 3, 10)
    assert (ate.better, ate.ratio, ate.count) == (1, 1.25, 2) and list(ate.runs) == ["a", "b", "c"]
    trusted = next(f for f in figures if f.name == SHARES["trusted"][0])
    assert (trusted.worst, trusted.better, trusted.ratio, trusted.count) == (1, 1, 2, 1)


def test_sigmas_over_runs():
    sigma = np.array([0.1] * 50 + [1.0] * 50)
    error = np.where(sigma < 0.5, 0.5, 0.5)
    figure = sigma_figures({"depth sigma": [(error[:60], sigma[:60]), (error[60:], sigma[60:])]})[0]
    assert figure.name == SIGMAS["depth sigma"] and figure.share == 0.5 and figure.count == 100
    assert figure.fifths == (0, 0, 0.5, 1, 1)


# The system itself


class Knowing:
    """A short run of small images, and a model that knows its truth but for some noise."""

    def __init__(self):
        drawn = procedural_run("moving", 5, 20, width=48, height=36)
        self.frames = list(drawn.frames())
        self.run = Run(drawn.name, 20, lambda: iter(self.frames), drawn.whereabouts)
        truth = drawn.whereabouts.__self__
        images = [frame.image for frame in self.frames]
        self.model = OracleModel(truth.scenes, images, truth.times, 4, Noise(0.01, 0.1))


@pytest.fixture(scope="module")
def knowing():
    return Knowing()


def test_a_model_that_knows_the_truth(knowing):
    configs = PipelineConfig(depth_size=(6, 8)), PipelineConfig(depth_size=(6, 8))
    records, doubts = evaluate_run(knowing.model, knowing.run, configs)
    for column in (0, 1):
        assert records["depth one"][column] < 0.02 < records["depth one"][2]
        assert records["ate"][column] < 3 < records["ate"][2]
        assert records["rpe rotation"][column] < 1
    if "uv static" in records:  # where points were followed at all
        assert records["uv static"][1] < 0.3 < records["uv static"][2]
    assert records["trusted"] == (1, 1, 1) and {"position sigma", "rotation sigma"} <= set(doubts)


def test_both_systems_see_the_same_windows_encoded_once(knowing):
    encoded = []

    class Counting:
        num_frames = 4
        prepare = knowing.model.prepare

        def encode(self, frames):
            encoded.append(frames)
            return knowing.model.encode(frames)

        def __getattr__(self, name):
            return getattr(knowing.model, name)

    evaluate_run(Counting(), knowing.run, (PipelineConfig(depth_size=(3, 4)),) * 2)
    assert len(encoded) == 17


def test_an_unknown_camera_is_not_told(knowing):
    seen = []

    class Spy(OracleModel):
        def __init__(self):
            self.__dict__.update(knowing.model.__dict__)

        def encode(self, frames):
            seen.append(len(frames))
            return super().encode(frames)

    figures, sigmas = evaluate_runs(
        Spy(), [knowing.run], 1, (PipelineConfig(depth_size=(3, 4)),) * 2, calibrated=False
    )
    assert seen and any(f.name == ERRORS["ate"][0] for f in figures)
    from rich.console import Console

    console = Console(record=True, width=150)
    console.print(run_table(figures), sigma_table(sigmas))
    text = console.export_text()
    assert "ATE, % of the path" in text and "1 of 1" in text and "rotations over 1 s" in text


def test_shared_windows_are_told_apart():
    class Model:
        num_frames, name = 2, "m"

        def prepare(self, image):
            return [image]

        def encode(self, frames):
            return tuple(frames)

    shared, image = Shared(Model()), np.zeros(3)
    a, b, c = shared.prepare(image), shared.prepare(image), shared.prepare(image.copy())
    assert a is b and a is not c and shared.name == "m"
    scene = shared.encode([a, b])
    assert shared.encode([a, b]) is scene is shared.newest and shared.encode([b, c]) is not scene


def test_who_listens_or_masks_has_a_pass_of_its_own():
    class Model:
        num_frames = None

        def encode(self, frames, mask=None, listener=None):
            return [*frames, mask, listener]

    shared = Shared(Model())
    plain = shared.encode(["a", "b"])
    assert shared.encode(["a", "b"], listener="me")[2:] == [None, "me"]
    assert shared.encode(["a", "b"], mask="that")[2:] == ["that", None]
    assert shared.encode(["a", "b"]) is plain


def test_a_run_with_a_model_that_tells_no_motion(knowing, motionless):
    class Model:
        num_frames = None

        def encode(self, frames, mask=None, listener=None):
            return motionless(knowing.model.encode(frames))

        def __getattr__(self, name):
            return getattr(knowing.model, name)

    configs = tuple(
        PipelineConfig(depth_size=(3, 4), frames=4, refine=refine) for refine in ("pixels", "none")
    )
    records, _ = evaluate_run(Model(), knowing.run, configs)
    assert records["depth one"][1] < 0.2 * records["depth one"][2]
    assert records["trusted"][1] == 1 and records["ate"][1] < 0.2 * records["ate"][2]
