"""~ and environment variables in paths."""

import os
from pathlib import Path

import pytest

from d4rt_ros.paths import expanded, undefined


@pytest.mark.parametrize(
    "written, meant",
    [
        ("~/clip.mp4", "/home/robot/clip.mp4"),
        ("~", "/home/robot"),
        ("$DATA/clip.mp4", "/data/clip.mp4"),
        ("${DATA}s/clip.mp4", "/datas/clip.mp4"),
        (Path("$NESTED/a"), "/home/robot/x/a"),
        ("a~b/~", "a~b/~"),
        ("price$", "price$"),
        ("clip.mp4", "clip.mp4"),
    ],
)
def test_home_and_variables_are_replaced(monkeypatch, written, meant):
    monkeypatch.setenv("HOME", "/home/robot")
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.setenv("NESTED", "~/x")
    assert expanded(written) == Path(meant)
    assert undefined(written) == ""


@pytest.mark.parametrize(
    "written, named",
    [
        ("$NOWHERE/a", "$NOWHERE"),
        ("b/${NO WHERE}/a", "$NO WHERE"),
        ("~nobody_of_that_name/a", "~nobody_of_that_name"),
    ],
)
def test_what_has_no_value_stays_and_is_named(monkeypatch, written, named):
    monkeypatch.delenv("NOWHERE", raising=False)
    assert os.fspath(expanded(written)) == written
    assert f"({named} is not defined here)" in undefined(written)
