"""Outputs are looked at before the work begins: in every command that writes."""

import stat
from pathlib import Path

import pytest

from d4rt_ros.cli.main import main
from d4rt_ros.cli.outputs import OutputError, path, writable_file, writable_folder


@pytest.fixture
def file(tmp_path) -> Path:
    """A file where a folder is wanted: nobody, root neither, can write below it."""
    (tmp_path / "file").write_text("kept")
    return tmp_path / "file"


def test_a_missing_folder_is_made(tmp_path):
    assert writable_folder(tmp_path / "a/b").is_dir()
    assert writable_file(tmp_path / "c/d/figures.json").parent.is_dir()
    assert not (tmp_path / "c/d/figures.json").exists()
    assert list((tmp_path / "a/b").iterdir()) == []


def test_a_file_that_is_there_is_kept(file):
    assert writable_file(file).read_text() == "kept"


def test_what_cannot_be_written(file, tmp_path):
    with pytest.raises(OutputError, match="file is a file, not a folder"):
        writable_folder(file)
    with pytest.raises(OutputError, match="file is a file, not a folder"):
        writable_folder(file / "a/b")
    with pytest.raises(OutputError, match="is a folder; name a file"):
        writable_file(tmp_path)


@pytest.mark.parametrize("folder", ["/proc", "/proc/no/such", "/sys/kernel"])
def test_a_folder_of_the_kernel(folder):
    with pytest.raises(OutputError, match=f"nothing can be written to {folder}"):
        writable_folder(Path(folder))


def test_a_folder_of_somebody_else(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        (tmp_path / "test").touch()
    except PermissionError:
        with pytest.raises(OutputError, match="Permission denied"):
            writable_folder(tmp_path)
    else:
        pytest.skip("root may write everywhere")
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_paths_as_people_type_them(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("RUNS", "/data")
    assert path("~/run") == Path("/home/me/run") and path("$RUNS/${RUNS}") == Path("/data//data")
    with pytest.raises(OutputError, match=r"\$UNKNOWN is not defined here"):
        writable_folder(path("/proc/$UNKNOWN"))


COMMANDS = {
    "evaluate --json": ["evaluate", "--json", "{}/x.json"],
    "evaluate --pictures": ["evaluate", "scenes", "--pictures", "{}"],
    "train": ["train", "--out", "{}/run"],
    "train --resume": ["train", "--out", "{}", "--resume"],
    "finetune": ["finetune", "no_recording", "--out={}"],
    "export": ["export", "--out", "{}"],
    "convert": ["convert", "no_checkpoint", "{}/x.safetensors"],
    "reconstruct": ["reconstruct", "no_video", "--out", "{}"],
    "reconstruct --json": ["reconstruct", "no_video", "--out", "{}/../out", "--json", "{}/x.json"],
    "demo": ["demo", "--output", "{}"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_looks_first(name, file, monkeypatch, capsys):
    """One sentence, at once: no model was loaded, no recording read, nothing trained or started."""
    pytest.importorskip("onnx", reason="needs onnx")
    work = ("runtime.load", "training.loop.train", "runtime.onnx_export.export_onnx", "cli.demo.show")
    for target in work:
        monkeypatch.setattr(f"d4rt_ros.{target}", lambda *_, **__: pytest.fail("it has begun to work"))
    assert main([word.format(file) for word in COMMANDS[name]]) == 1
    out, err = capsys.readouterr()
    said = " ".join((out + err).split())
    assert "file is a file, not a folder" in said.replace("- ", "-") and "Traceback" not in said
    assert file.read_text() == "kept"
