"""Folders of posed RGB-D frames, written as 7-Scenes and TUM RGB-D write them."""

import cv2
import numpy as np
import pytest

from d4rt_ros.geometry.transforms import pose_matrix, rotation_angle
from d4rt_ros.io.recorded import RecordedError, part
from d4rt_ros.io.rgbd_folder import open_rgbd_folder

HEIGHT, WIDTH = 24, 40
K = np.array([[30.0, 0, 20], [0, 31, 12], [0, 0, 1]])


def picture(index):
    image = np.full((HEIGHT, WIDTH, 3), 10 * index, np.uint8)
    image[:, : WIDTH // 2, 0] = 200
    return image


def write_png(path, image):
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


def depth_picture(index, steps_a_metre=1000):
    depth = np.full((HEIGHT, WIDTH), (1 + index / 10) * steps_a_metre, np.uint16)
    depth[0], depth[1] = 0, 65535
    return depth


def write_seven_scenes(folder, count=4):
    np.savetxt(folder / "camera-intrinsics.txt", K)
    for i in range(count):
        write_png(folder / f"frame-{i:06d}.color.png", picture(i))
        write_png(folder / f"frame-{i:06d}.depth.png", depth_picture(i))
        np.savetxt(folder / f"frame-{i:06d}.pose.txt", pose_matrix(translation=(i, 0, 0)))


def write_tum(folder, count=4):
    rgb, depth, poses = [], [], ["# timestamp tx ty tz qx qy qz qw"]
    for i in range(count):
        rgb.append(f"{10 + i / 30:.4f} rgb/{i}.png")
        depth.append(f"{10.005 + i / 30:.4f} depth/{i}.png")
        write_png(folder / "rgb" / f"{i}.png", picture(i))
        write_png(folder / "depth" / f"{i}.png", depth_picture(i, 5000))
    for stamp in np.arange(9.995, 10 + count / 30, 0.01):
        poses.append(
            f"{stamp:.4f} {stamp - 10:.4f} 0 0 0 0 {np.sin(stamp - 10):.6f} {np.cos(stamp - 10):.6f}"
        )
    for name, lines in (("rgb", rgb), ("depth", depth), ("groundtruth", poses)):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def test_seven_scenes(tmp_path):
    write_seven_scenes(tmp_path)
    sequence = open_rgbd_folder(tmp_path)
    assert len(sequence) == 4 and sequence.static and sequence.tracks([0, 1]) is None
    frame = sequence.frame(3)
    np.testing.assert_array_equal(frame.image, picture(3))
    assert np.isnan(frame.depth[:2]).all() and frame.depth[5, 5] == pytest.approx(1.3)
    np.testing.assert_allclose(frame.camera.matrix, K)
    np.testing.assert_allclose(frame.world_from_camera[:3, 3], (3, 0, 0))
    with pytest.raises(IndexError):
        sequence.frame(4)


def test_a_part_of_a_sequence_begins_where_it_says(tmp_path):
    write_seven_scenes(tmp_path)
    half = part(open_rgbd_folder(tmp_path), 2, 4)
    assert len(half) == 2
    np.testing.assert_array_equal(half.frame(1).image, picture(3))
    with pytest.raises(IndexError):
        half.frame(2)


def test_seven_scenes_own_camera_where_none_is_written(tmp_path):
    write_seven_scenes(tmp_path, 1)
    (tmp_path / "camera-intrinsics.txt").unlink()
    with pytest.raises(RecordedError, match="images of 40x24: it is for 640x480 .*camera-intrinsics.txt"):
        open_rgbd_folder(tmp_path).frame(0)
    write_png(tmp_path / "frame-000000.color.png", np.zeros((480, 640, 3), np.uint8))
    write_png(tmp_path / "frame-000000.depth.png", np.full((480, 640), 1000, np.uint16))
    assert open_rgbd_folder(tmp_path).frame(0).camera.matrix[0, 0] == 585
    write_png(tmp_path / "frame-000000.color.png", np.zeros((240, 320, 3), np.uint8))
    write_png(tmp_path / "frame-000000.depth.png", np.full((240, 320), 1000, np.uint16))
    # Resized by areas: a pixel's edges are halved.
    np.testing.assert_allclose(open_rgbd_folder(tmp_path).frame(0).camera.matrix[0], [292.5, 0, 159.75])


def test_intrinsics_of_other_images_are_refused(tmp_path):
    write_seven_scenes(tmp_path, 1)
    for matrix, says in (
        (4 * K + np.diag([0, 0, -3]), "outside the 40x24 images"),
        (np.diag([1.0, 1, 1]), "focal length"),
        (np.zeros((3, 3)), "all zero"),
    ):
        np.savetxt(tmp_path / "camera-intrinsics.txt", matrix)
        with pytest.raises(RecordedError, match=says):
            open_rgbd_folder(tmp_path).frame(0)


def test_tum_rgbd_has_stamps_and_poses_between_the_measured(tmp_path):
    folder = tmp_path / "rgbd_dataset_freiburg1_desk"
    folder.mkdir()
    write_tum(folder)
    np.savetxt(folder / "camera-intrinsics.txt", K)
    sequence = open_rgbd_folder(folder)
    assert len(sequence) == 4
    frame = sequence.frame(2)
    np.testing.assert_array_equal(frame.image, picture(2))
    seconds = frame.stamp / 1e9
    assert seconds == pytest.approx(10 + 2 / 30, abs=1e-4)
    assert frame.depth[5, 5] == pytest.approx(1.2)
    np.testing.assert_allclose(frame.world_from_camera[:3, 3], (seconds - 10, 0, 0), atol=1e-4)
    turned = rotation_angle(frame.world_from_camera)
    assert turned == pytest.approx(2 * (seconds - 10), abs=1e-4)


def test_images_of_tum_without_depth_or_pose_are_left_out(tmp_path):
    write_tum(tmp_path)
    np.savetxt(tmp_path / "camera-intrinsics.txt", K)
    lines = (tmp_path / "depth.txt").read_text().splitlines()
    (tmp_path / "depth.txt").write_text("\n".join(lines[:2] + lines[3:]))
    assert [round((s.stamp / 1e9 - 10) * 30) for s in map(open_rgbd_folder(tmp_path).frame, range(3))] == [
        0,
        1,
        3,
    ]
    (tmp_path / "groundtruth.txt").write_text("50.0 0 0 0 0 0 0 1\n")
    with pytest.raises(RecordedError, match="none of 4 images has depth"):
        open_rgbd_folder(tmp_path)


def test_tum_cameras_are_known_by_the_folders_name(tmp_path):
    write_tum(tmp_path)
    with pytest.raises(RecordedError, match="camera is not known"):
        open_rgbd_folder(tmp_path)


def spoil_pose(folder):
    np.savetxt(folder / "frame-000001.pose.txt", np.full((4, 4), np.nan))


def spoil_rotation(folder):
    np.savetxt(folder / "frame-000001.pose.txt", np.diag([2.0, 1, 1, 1]))


def cut_pose(folder):
    (folder / "frame-000001.pose.txt").write_text("1 0 0")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda f: (f / "frame-000001.color.png").write_bytes(b"no"), "color.png: cannot be decoded"),
        (lambda f: (f / "frame-000001.depth.png").write_bytes(b"no"), "depth.png: cannot be decoded"),
        (lambda f: (f / "frame-000001.depth.png").unlink(), "depth.png: is missing"),
        (lambda f: (f / "frame-000001.pose.txt").unlink(), "pose.txt: is missing"),
        (
            lambda f: write_png(f / "frame-000001.depth.png", picture(1)),
            "expected depth as an image of one channel",
        ),
        (lambda f: write_png(f / "frame-000001.depth.png", np.ones((4, 5), np.uint16)), "is 5x4, the image"),
        (lambda f: np.savetxt(f / "camera-intrinsics.txt", -K), "intrinsics"),
        (spoil_pose, "pose.txt: the pose has numbers that are not finite"),
        (spoil_rotation, "no rigid"),
        (cut_pose, "pose.txt: cannot be read as 4x4 numbers"),
    ],
)
def test_a_bad_frame_names_its_file(tmp_path, spoil, message):
    write_seven_scenes(tmp_path)
    spoil(tmp_path)
    sequence = open_rgbd_folder(tmp_path)
    with pytest.raises(RecordedError, match=message):
        sequence.frame(1)


def test_folders_that_are_none(tmp_path):
    with pytest.raises(RecordedError, match="holds no images; expected .*; no file in the folder"):
        open_rgbd_folder(tmp_path)
    with pytest.raises(RecordedError, match="is no folder"):
        open_rgbd_folder(tmp_path / "nowhere")
    write_png(tmp_path / "frame-000000.color.png", picture(0))
    with pytest.raises(RecordedError, match="none of its 1 images has depth"):
        open_rgbd_folder(tmp_path)
    (tmp_path / "rgb.txt").write_text("# nothing\n")
    with pytest.raises(RecordedError, match="has no lines"):
        open_rgbd_folder(tmp_path)


def spoiled(folder, name, text, encoding="utf-8"):
    """A list of TUM's with other lines and another text's ways."""
    lines = (folder / name).read_text().splitlines()
    (folder / name).write_bytes(text(lines).encode(encoding))


@pytest.mark.parametrize("name", ["rgb.txt", "depth.txt", "groundtruth.txt"])
@pytest.mark.parametrize(
    "text, encoding",
    [
        (lambda lines: "\r\n".join(lines), "utf-8"),
        (lambda lines: "\n".join(line.replace(" ", ",") for line in lines), "utf-8"),
        (lambda lines: "\n\n".join(line.replace(" ", " ; ") for line in lines), "utf-8"),
        (lambda lines: "\n".join(lines), "utf-8-sig"),
        (lambda lines: "\r\n".join(lines), "utf-16"),
        (lambda lines: "\n".join(f"  {line}  # good" for line in lines), "utf-8"),
    ],
    ids=["CRLF", "commas", "semicolons", "BOM", "UTF-16", "comments"],
)
def test_lists_as_other_programs_write_them(tmp_path, name, text, encoding, recwarn):
    write_tum(tmp_path)
    np.savetxt(tmp_path / "camera-intrinsics.txt", K)
    spoiled(tmp_path, name, text, encoding)
    sequence = open_rgbd_folder(tmp_path)
    assert len(sequence) == 4 and not recwarn.list
    np.testing.assert_array_equal(sequence.frame(2).image, picture(2))


@pytest.mark.parametrize(
    "name, bad",
    [
        ("rgb.txt", "nan rgb/0.png"),
        ("rgb.txt", "10.2"),
        ("rgb.txt", "timestamp filename"),
        ("rgb.txt", "10.01 rgb/missing.png"),
        ("depth.txt", "inf depth/0.png"),
        ("depth.txt", "\ufffd\x00 depth/0.png"),
        ("groundtruth.txt", "10.02 nan 0 0 0 0 0 1"),
        ("groundtruth.txt", "10.02 0 0 0 0 0 0 0"),
        ("groundtruth.txt", "10.02 0 0 0 0 0"),
        ("groundtruth.txt", "10.02 0 0 0 0 0 0 1 9"),
        ("groundtruth.txt", "timestamp,x,y,z,qx,qy,qz,qw"),
    ],
)
def test_a_bad_row_is_lost_and_counted(tmp_path, name, bad):
    write_tum(tmp_path)
    np.savetxt(tmp_path / "camera-intrinsics.txt", K)
    spoiled(tmp_path, name, lambda lines: "\n".join([bad, *lines, bad]))
    with pytest.warns(UserWarning, match=rf"{name}: 2 of \d+ lines are left out, the first is '") as told:
        sequence = open_rgbd_folder(tmp_path)
    assert len(told) == 1 and len(sequence) == 4
    np.testing.assert_allclose(sequence.frame(2).world_from_camera[:3, 3], (2 / 30, 0, 0), atol=1e-3)


@pytest.mark.parametrize(
    "name, wanted", [("rgb.txt", "a stamp and the name"), ("groundtruth.txt", "t x y z qx")]
)
def test_a_list_of_bad_rows_alone(tmp_path, name, wanted):
    write_tum(tmp_path)
    np.savetxt(tmp_path / "camera-intrinsics.txt", K)
    (tmp_path / name).write_text("nan nan\n" * 3)
    with pytest.raises(RecordedError, match=f"{name}: has no lines of {wanted}"):
        open_rgbd_folder(tmp_path)


def test_a_name_with_blanks_in_a_list(tmp_path):
    write_tum(tmp_path)
    np.savetxt(tmp_path / "camera-intrinsics.txt", K)
    (tmp_path / "rgb" / "1.png").rename(tmp_path / "rgb" / "1 (copy).png")
    text = (tmp_path / "rgb.txt").read_text().replace("rgb/1.png", "rgb/1 (copy).png")
    (tmp_path / "rgb.txt").write_text(text.replace("rgb/2.png", "rgb/2.png 17 more"))
    assert len(open_rgbd_folder(tmp_path)) == 4


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff{}",
        "camera pose\n{}\n",
        "{}\r\n\r\n# end",
        "{}".replace(" ", ","),
    ],
)
def test_pose_files_with_other_things_around_the_numbers(tmp_path, text):
    write_seven_scenes(tmp_path)
    file = tmp_path / "frame-000002.pose.txt"
    file.write_text(text.format(file.read_text().replace(" ", "\t, ")))
    np.testing.assert_allclose(open_rgbd_folder(tmp_path).frame(2).world_from_camera[:3, 3], (2, 0, 0))


def test_home_and_variables_are_replaced(tmp_path, monkeypatch):
    write_seven_scenes(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    monkeypatch.setenv("SCENE", tmp_path.name)
    assert len(open_rgbd_folder("~/$SCENE")) == 4
    with pytest.raises(RecordedError, match=r"is no folder \(\$UNDEFINED is not defined here\)"):
        open_rgbd_folder("~/$UNDEFINED")


def test_values_of_ten_bits_are_scaled(tmp_path):
    write_seven_scenes(tmp_path, 2)
    for i in range(2):
        write_png(tmp_path / f"frame-{i:06d}.color.png", np.full((HEIGHT, WIDTH), 1000, np.uint16))
    sequence = open_rgbd_folder(tmp_path)
    with pytest.warns(UserWarning, match="use 10 of 16 bits"):
        assert (sequence.frame(1).image == 250).all()
