"""Programs that a command starts are ended with it."""

import time

import pytest

from d4rt_ros.cli.children import Children, quoted

SLEEPER = "import time\nprint('here', flush=True)\ntime.sleep(60)\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + SLEEPER


@pytest.fixture
def module(tmp_path, monkeypatch):
    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return name

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return write


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_they_end_with_the_block_even_when_it_raises(tmp_path, module):
    with pytest.raises(RuntimeError):
        with Children(tmp_path, {}) as children:
            children.start("one", module("sleeper", SLEEPER), [])
            wait_for(lambda: "here" in children.log("one").read_text())
            assert children.status("one") is None
            raise RuntimeError
    assert children.status("one") not in (None, 0)


def test_one_that_does_not_listen_is_killed(tmp_path, module, monkeypatch):
    monkeypatch.setattr("d4rt_ros.cli.children.PATIENCE", 0.5)
    with Children(tmp_path, {}) as children:
        children.start("one", module("stubborn", STUBBORN), [])
        wait_for(lambda: "here" in children.log("one").read_text())
    assert children.status("one") == -9


def test_what_they_print_is_kept_and_what_they_are_told_arrives(tmp_path, module):
    text = (
        "import os, sys\nprint(sys.argv[1], os.environ['COLOUR'])\nsys.stderr.write('bad\\n')\nsys.exit(3)\n"
    )
    with Children(tmp_path, {"COLOUR": "blue"}) as children:
        children.start("one", module("talker", text), ["hello"])
        wait_for(lambda: children.status("one") is not None)
        assert children.status("one") == 3
    assert children.last_words("one").splitlines() == ["hello blue", "bad"]
    assert children.last_words("one", 1) == "bad"


def test_one_can_be_ended_and_started_again(tmp_path, module):
    with Children(tmp_path, {}) as children:
        for _ in range(2):
            children.start("one", module("sleeper", SLEEPER), [])
            wait_for(lambda: children.says("one", "here"))
            held = children.resources("one")
            assert held.memory > 2**20 and held.files >= 3 and held.threads == 1
            children.end("one")
            assert children.status("one") is not None


def test_what_is_told_is_read(tmp_path, module):
    text = "for line in iter(input, 'end'): print('got', line, flush=True)\n"
    with Children(tmp_path, {}) as children:
        children.start("one", module("reader", text), [])
        children.tell("one", "black 2")
        wait_for(lambda: children.says("one", "got black 2"))
        children.tell("one", "end")
        wait_for(lambda: children.status("one") == 0)


def test_a_name_for_the_parameter_parser():
    import yaml

    for text in ("1.mp4", "*.jpg", "it's", "a: b", "/tmp/clip 2.mp4"):
        assert yaml.safe_load(quoted(text)) == text
