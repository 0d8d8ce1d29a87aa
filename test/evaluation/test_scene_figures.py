"""The evaluation itself is measured with answers that are known: the oracle's, and the trivial ones."""

import pytest

from d4rt_ros.evaluation.scenes import FIGURES, evaluate_scenes, figures_table, held_out, image_size
from d4rt_ros.scenes import OracleScene

CLIPS = slice(0, 6)


@pytest.fixture(scope="module")
def stored():
    scenes, times = held_out()
    return scenes[CLIPS], times[CLIPS]


def oracle(scenes, times, n):
    return OracleScene(scenes[n : n + 1], times[n], *image_size(scenes[n : n + 1]))


def test_the_oracle_is_perfect(stored):
    figures = {f.name: f for f in evaluate_scenes(lambda _, n: oracle(*stored, n), *stored)}
    assert len(figures) == len(FIGURES)
    value = {name: figures[text].value for name, text, *_ in FIGURES}
    assert value["depth"] < 1e-3 and value["delta"] > 0.999
    assert value["uv static"] < 1e-2 and value["uv moving"] < 1e-2
    assert value["displacement"] < 1e-3 and value["cosine"] > 0.999
    assert value["rotation pnp"] < 0.1 and value["rotation rigid"] < 0.1
    assert value["translation pnp"] < 2 and value["translation rigid"] < 2
    assert value["focal"] < 1e-2


def test_the_trivial_answer_is_no_better_than_its_baseline(stored, still_scene):
    figures = {f.name: f for f in evaluate_scenes(lambda images, _: still_scene(images), *stored)}
    text = {name: t for name, t, *_ in FIGURES}
    for name in ("depth", "uv static", "uv moving", "displacement"):
        assert figures[text[name]].value == pytest.approx(figures[text[name]].baseline, rel=1e-3), name
    assert figures[text["rotation pnp"]].value == pytest.approx(
        figures[text["rotation pnp"]].baseline, rel=0.05
    )
    assert "depth AbsRel" in str(figures_table(list(figures.values()), "trivial").columns[0]._cells)


def test_the_held_out_set_is_stored_whole():
    scenes, times = held_out()
    assert len(scenes) == len(times) >= 64 and times.shape[1] == 8
