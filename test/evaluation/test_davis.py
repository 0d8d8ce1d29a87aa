"""DAVIS's folders."""

import numpy as np
import pytest
from PIL import Image

from d4rt_ros.evaluation.davis import open_davis, read_mask
from d4rt_ros.io.encoded_images import ImageError
from d4rt_ros.io.recorded import RecordedError

SIZE = 854, 480


def write(folder, name="bear", count=4, level="480p", size=SIZE, mode="L"):
    """Images, and annotations of an object in the left half of each."""
    images, masks = (folder / part / level / name for part in ("JPEGImages", "Annotations"))
    for place in (images, masks):
        place.mkdir(parents=True)
    values = np.zeros(size[::-1], np.uint8)
    values[:, : size[0] // 2] = 1 if mode == "P" else 255
    for k in range(count):
        Image.fromarray(np.full((*size[::-1], 3), 40 * k, np.uint8)).save(images / f"{k:05}.jpg")
        mask = Image.fromarray(values)
        if mode == "P":
            mask = mask.convert("P")
            mask.putpalette([0, 0, 0, 128, 0, 0] + [0] * 762)
        mask.convert(mode).save(masks / f"{k:05}.png")
    return images, masks


@pytest.mark.parametrize("level", ["480p", "."])
def test_frames_are_those_that_vggt_takes_and_the_ends_do_not_count(tmp_path, level):
    write(tmp_path, "camel", level=level)
    write(tmp_path, "bear", 5, level=level)
    bear, camel = open_davis(tmp_path)
    assert (bear.name, camel.name) == ("bear", "camel") and list(bear.judged) == [1, 2, 3]
    frames = list(bear.frames())
    assert len(frames) == 5 and [frame.stamp for frame, _ in frames[:2]] == [0, 41_666_667]
    frame, mask = frames[2]
    # 480 · 518 / 854 = 291.1 is nearest to 21 patches of 14.
    assert frame.image.shape == (294, 518, 3) and mask.shape == (294, 518) and frame.camera is None
    assert mask[:, :259].all() and not mask[:, 259:].any() and abs(int(frame.image[5, 5, 0]) - 80) < 3


def test_of_what_is_higher_than_wide_the_middle_counts(tmp_path):
    write(tmp_path, size=(100, 300))
    frame, mask = next(open_davis(tmp_path)[0].frames())
    assert frame.image.shape == (518, 518, 3) and mask.shape == (518, 518)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "1"])
def test_any_object_counts_however_it_is_stored(tmp_path, mode):
    _, masks = write(tmp_path, count=3, size=(40, 30), mode=mode)
    mask = read_mask(masks / "00001.png")
    assert mask.shape == (30, 40) and mask[:, :20].all() and not mask[:, 20:].any()


def test_folders_that_are_none(tmp_path):
    with pytest.raises(RecordedError, match="JPEGImages: is no folder; expected DAVIS's layout"):
        open_davis(tmp_path / "nowhere")
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(RecordedError, match="Annotations: is no folder"):
        open_davis(tmp_path)
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(RecordedError, match="holds no sequences"):
        open_davis(tmp_path)


def test_sequences_that_cannot_be_used(tmp_path):
    images, masks = write(tmp_path, count=4, size=(40, 30))
    (masks / "00002.png").write_bytes(b"no image")
    with pytest.raises(RecordedError, match="00002.png: cannot be read"):
        list(open_davis(tmp_path)[0].frames())
    Image.fromarray(np.zeros((30, 41), np.uint8)).save(masks / "00002.png")
    with pytest.raises(RecordedError, match="00002.png: is 41x30, its image 40x30"):
        list(open_davis(tmp_path)[0].frames())
    (masks / "00002.png").unlink()
    with pytest.raises(RecordedError, match="00002.png: is missing, and 0 more"):
        open_davis(tmp_path)
    (masks / "00002.png").write_bytes(b"")
    (images / "00001.jpg").write_bytes(b"cut")
    with pytest.raises((RecordedError, ImageError), match="00001.jpg"):
        list(open_davis(tmp_path)[0].frames())
    for k in (1, 2, 3):
        (images / f"0000{k}.jpg").unlink()
    with pytest.raises(RecordedError, match="holds 1 .jpg files; expected three or more"):
        open_davis(tmp_path)
