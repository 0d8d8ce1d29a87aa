"""The evaluation itself is measured with answers that are known: the oracle's, and the trivial ones."""

import pytest
import torch

from d4rt_ros.evaluation import scenes as evaluation
from d4rt_ros.evaluation.figures import FIGURES, figures_table
from d4rt_ros.evaluation.scenes import evaluate_scenes, held_out, image_size
from d4rt_ros.scenes import OracleScene, render

CLIPS = slice(0, 6)


@pytest.fixture(scope="module")
def stored():
    scenes, times = held_out()
    return scenes[CLIPS], times[CLIPS]


def oracle(scenes, times, n, **size):
    return OracleScene(scenes[n : n + 1], times[n], *image_size(scenes[n : n + 1], **size))


# Of other data: tracks of videos.
ELSEWHERE = ("average_jaccard", "average_pts_within_thresh", "occlusion_accuracy", "world apd", "world epe")


def by_key(figures):
    named = {f.name: f for f in figures}
    return {key: named[name] for key, (name, *_) in FIGURES.items() if name in named}


def test_the_oracle_is_perfect(stored):
    pytest.importorskip("evo", reason="the errors of a path need evo: pip install evo")
    figures = by_key(evaluate_scenes(lambda _, n: oracle(*stored, n), *stored))
    assert set(figures) == set(FIGURES) - set(ELSEWHERE)
    value = {key: figure.value for key, figure in figures.items()}
    for key in ("depth", "depth S", "depth SS", "displacement", "visibility calibration"):
        assert value[key] < 1e-3, key
    for key in ("delta", "delta S", "delta SS", "cosine", "visible", "hidden"):
        assert value[key] > 0.999, key
    for key in ("uv static", "uv moving", "focal", "ate", "rpe translation", "cloud l1", "cloud accuracy"):
        assert value[key] < 1e-2, key
    for key in (
        "rotation pnp",
        "rotation rigid",
        "rpe rotation",
        "boundary accuracy",
        "boundary completeness",
    ):
        assert value[key] < 0.1, key
    assert value["translation pnp"] < 2 and value["translation rigid"] < 2


def test_the_trivial_answer_is_no_better_than_its_baseline(stored, still_scene):
    figures = by_key(evaluate_scenes(lambda images, _: still_scene(images), *stored))
    for key in (
        "depth",
        "depth S",
        "depth SS",
        "uv static",
        "uv moving",
        "displacement",
        "sparsification",
        "visible",
    ):
        assert figures[key].value == pytest.approx(
            figures[key].baseline, rel=0.15 if key == "sparsification" else 1e-3
        )
    rotation = figures["rotation pnp"]
    assert rotation.value == pytest.approx(rotation.baseline, rel=0.05)
    assert "depth AbsRel" in str(figures_table(list(figures.values()), "trivial").columns[0]._cells)


def test_the_held_out_set_is_stored_whole():
    scenes, times = held_out()
    assert len(scenes) == len(times) >= 64 and times.shape[1] == 8


def test_what_has_no_depth_does_not_count(stored, monkeypatch):
    """The sky, of which nobody says anything."""
    scenes, times = (x[:2] for x in stored)

    def under_a_sky(*arguments):
        rendering = render(*arguments)
        rendering.depth[:, :, :12] = torch.nan
        return rendering

    monkeypatch.setattr(evaluation, "render", under_a_sky)
    figures = by_key(evaluate_scenes(lambda _, n: oracle(scenes, times, n), scenes, times))
    assert (
        figures["depth SS"].value < 1e-3
        and figures["uv static"].value < 1e-2
        and figures["cloud l1"].value < 1e-2
    )
    assert figures["boundary accuracy"].value < 0.1 and figures["boundary completeness"].value < 0.1


def test_larger_images_are_judged_alike(stored):
    scenes, times = (x[:1] for x in stored)
    figures = by_key(
        evaluate_scenes(lambda _, n: oracle(scenes, times, n, pixels=9999), scenes, times, pixels=9999)
    )
    assert figures["depth"].value < 1e-3 and figures["boundary completeness"].value < 0.1
    small = by_key(evaluate_scenes(lambda _, n: oracle(scenes, times, n), scenes, times))
    for key in ("depth", "depth SS", "cloud l1", "uv static"):
        assert figures[key].baseline == pytest.approx(small[key].baseline, rel=0.1)


def test_a_model_that_tells_no_motion_has_the_other_figures(stored, motionless):
    pytest.importorskip("evo", reason="the errors of a path need evo: pip install evo")
    figures = by_key(evaluate_scenes(lambda _, n: motionless(oracle(*stored, n)), *stored))
    of_motion = {"uv static", "uv moving", "displacement", "cosine", "rotation pnp", "translation pnp"}
    of_motion |= {"visible", "hidden", "visibility calibration"}
    assert set(figures) == set(FIGURES) - set(ELSEWHERE) - of_motion
    for key in ("depth", "rotation rigid", "ate", "focal"):
        assert figures[key].value < 0.01 * figures[key].baseline, key
