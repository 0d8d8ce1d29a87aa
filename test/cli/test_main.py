"""The dispatch of `d4rt`."""

import subprocess
import sys
import types

import pytest

import d4rt_ros
from d4rt_ros.cli import main as cli


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_help_names_every_command_and_imports_nothing_heavy():
    out = run(
        "import sys; from d4rt_ros.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as e: print('status', e.code)\n"
        "print([m for m in ('torch', 'cv2', 'rclpy', 'numpy', 'matplotlib') if m in sys.modules])"
    )
    assert all(name in out for name in cli.COMMANDS) and "status 0" in out and out.strip().endswith("[]")


def test_the_demos_help_is_light_too():
    out = run(
        "import sys; from d4rt_ros.cli.main import main\n"
        "try: main(['demo', '--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'cv2', 'rclpy', 'matplotlib') if m in sys.modules])"
    )
    assert "--video" in out and out.strip().endswith("[]")


def test_a_command_gets_its_arguments_and_gives_its_status(monkeypatch):
    seen = []
    module = types.SimpleNamespace(
        add_arguments=lambda parser: parser.add_argument("--steps", type=int, default=3),
        run=lambda args: seen.append(args.steps) or 4,
    )
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: {"d4rt_ros.cli.train": module}[name])
    assert cli.main(["train", "--steps", "5"]) == 4
    assert seen == [5]


def test_being_interrupted_is_not_a_traceback(monkeypatch):
    def run(args):
        raise KeyboardInterrupt

    module = types.SimpleNamespace(add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)
    assert cli.main(["demo"]) == 130


def test_without_a_command_it_helps(capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in cli.COMMANDS) and "Exit status" in out


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"d4rt_ros {d4rt_ros.__version__}\n"


def test_without_the_tools_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert cli.main(["convert", "a", "b"]) == 1
    assert "pip install rich matplotlib" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["fly"], ["train", "--unknown"]])
def test_what_is_no_command_is_refused(argv, monkeypatch, capsys):
    module = types.SimpleNamespace(add_arguments=lambda parser: None, run=lambda args: 0)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)
    with pytest.raises(SystemExit) as error:
        cli.main(argv)
    assert error.value.code == 2 and "usage: d4rt" in capsys.readouterr().err
