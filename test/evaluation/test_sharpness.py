"""How sharp depth is, with answers that are known."""

import numpy as np

from d4rt_ros.cli.main import main
from d4rt_ros.evaluation.boundaries import REACH
from d4rt_ros.evaluation.scenes import held_out
from d4rt_ros.evaluation.sharpness import CONFIGURATIONS, boundaries_table, enlarged, evaluate_boundaries
from d4rt_ros.scenes import OracleScene


def test_a_coarse_map_is_enlarged_to_the_same_corners():
    coarse = np.arange(12, dtype=np.float32).reshape(3, 4)
    fine = enlarged(coarse, (5, 7))
    np.testing.assert_allclose(fine[::2, ::2], coarse)
    np.testing.assert_allclose(fine[0], np.arange(7) / 2)


def test_every_configuration_is_evaluated_and_a_fine_grid_of_the_truth_is_exact():
    scenes, times = held_out()
    scenes, times, sources = scenes[:2], times[:2], []

    def encode(images, source):
        n = len(sources) // 3  # three encodings a scene
        sources.append(source)
        return OracleScene(scenes[n], times[n, [0, -1]], *images.shape[1:3], frames=images)

    figures = evaluate_boundaries(encode, scenes, times, 2, (24, 32))
    assert sources == ["none", "encoder", "frames"] * 2 and figures.count == 2
    one, two, three, four = figures.configurations.values()
    assert one == two and three == four
    assert four.accuracy < 0.05 and four.completeness < 0.05 and four.depth < 0.01
    assert two.depth > 5 * four.depth and two.completeness > 5 * four.completeness
    assert figures.trivial.depth > two.depth and figures.trivial.completeness == REACH
    assert len(figures.configurations) == len(CONFIGURATIONS) == 4
    table = boundaries_table(figures, "the truth")
    assert table.row_count == 5 and "the truth" in table.title


def test_the_command(capsys, tmp_path):
    assert main(["evaluate", "--clips", "1", "boundaries", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "1 held-out procedural scenes" in printed and "completeness" in printed
