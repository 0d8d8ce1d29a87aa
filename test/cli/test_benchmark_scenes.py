"""`d4rt benchmark scenes`, without what compiling takes."""

from d4rt_ros.cli import benchmark_scenes
from d4rt_ros.cli.main import main


def test_the_table_has_both_sizes(monkeypatch, capsys):
    monkeypatch.setattr(benchmark_scenes, "COMPILED", (False,))
    monkeypatch.setattr(benchmark_scenes, "CLIPS_CPU", 1)
    monkeypatch.setattr(benchmark_scenes, "DRAWN", 4)
    assert main(["benchmark", "scenes", "--seconds", "0.01", "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    assert "4 scenes at once" in text and "64x64" in text and "96x96" in text and "ms" in text


def test_a_device_that_is_not_there_is_told(capsys):
    assert main(["benchmark", "scenes", "--device", "cuda:77"]) == 1
    assert "cuda" in capsys.readouterr().err
