"""From records to a table and a file."""

import json
import math

import pytest

from d4rt_ros.evaluation.figures import Figure, add_records, figures_of, figures_table, save_figures


def test_means_and_medians_in_the_order_of_the_table():
    records = {}
    add_records(records, {"cosine": (0.9, 0.0), "depth": (0.1, 0.4)})
    add_records(records, {"cosine": [(0.5, 0.0), (0.6, 0.0)], "depth": (0.3, 0.4)})
    depth, cosine = figures_of(records)
    assert (depth.value, depth.baseline, depth.count) == (pytest.approx(0.2), pytest.approx(0.4), 2)
    assert (cosine.value, cosine.baseline_name, cosine.count) == (0.6, "none", 3)


def test_the_table_and_the_file(tmp_path):
    figures = [Figure("error", 1.5, 3.0, "no motion", 7), Figure("cosine", math.nan, 0.0, "none", 7)]
    table = figures_table(figures, "some")
    assert table.row_count == 2 and list(table.columns[3].cells) == ["0.50", ""]
    save_figures(tmp_path / "f.json", figures, data="some")
    read = json.loads((tmp_path / "f.json").read_text())
    assert read["data"] == "some" and [f["value"] for f in read["figures"]] == [1.5, None]
