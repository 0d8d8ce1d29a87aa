"""`d4rt benchmark masking`, on windows that take little time."""

import pytest

from d4rt_ros.cli.main import main


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_poses_with_and_without(capsys):
    assert main(["benchmark", "masking", "--windows", "2", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "embedded weights, 2 windows" in printed
    rows = {
        cells[1].strip(): cells[2:] for cells in (x.split("│") for x in printed.splitlines()) if cells[4:]
    }
    assert list(rows) == ["nothing", "true masks", "attention's masks"]
    turns = [float(cells[0].strip().rstrip("°")) for cells in rows.values()]
    assert all(0 <= turn < 20 for turn in turns) and len(set(turns)) > 1


def test_no_windows_are_a_sentence(capsys):
    assert main(["benchmark", "masking", "--windows", "0"]) == 1
    assert "must be 1 or more" in capsys.readouterr().err
