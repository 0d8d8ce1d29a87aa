"""Whether images show one place: false alarms and misses, on procedural scenes and on real recordings."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from d4rt_ros.scenes import render, sample_scenes  # noqa: E402
from d4rt_ros.stream.pixels import CONFIRMED, SAME_PLACE, confirmed, seen_again, small_grey, view  # noqa: E402

VIDEOS = Path(__file__).parents[3] / "shared" / "data" / "videos"
KITCHEN = Path(__file__).parents[3] / "shared" / "data" / "kitchen"


@pytest.fixture(scope="module")
def scenes():
    """Views of 8 frames of 12 scenes, at 15 Hz."""
    sampled, times = sample_scenes(12, seed=3), torch.arange(8, dtype=torch.float32) / 15
    shots = (render(sampled[k : k + 1], times[None], 96, 128, samples=1).rgb[0].numpy() for k in range(12))
    return [[view(image) for image in shot] for shot in shots]


@pytest.fixture(scope="module")
def recordings():
    """Views of four recordings, at one size."""
    import cv2

    if not VIDEOS.is_dir():
        pytest.skip("real images are not here: ../shared/data is absent")
    shots = [[cv2.imread(str(path)) for path in sorted(KITCHEN.glob("*.color.jpg"))]]
    for path in sorted(VIDEOS.glob("*.mp4")):
        capture, frames = cv2.VideoCapture(str(path)), []
        while (read := capture.read())[0]:
            frames.append(cv2.resize(read[1], (640, 480), interpolation=cv2.INTER_AREA))
        shots.append(frames)
    return [[view(image) for image in shot] for shot in shots]


def shares(shots, gap):
    return np.array([seen_again(a, b) for shot in shots for a, b in zip(shot, shot[gap:])])


def between(shots, count):
    rng = np.random.default_rng(0)
    pairs = (rng.choice(len(shots), 2, replace=False) for _ in range(count))
    return np.array([seen_again(*(shots[k][rng.integers(len(shots[k]))] for k in pair)) for pair in pairs])


def test_scenes(scenes):
    assert not any(v.problem for shot in scenes for v in shot)
    assert (shares(scenes, 1) > 2 * SAME_PLACE).all() and (shares(scenes, 2) > SAME_PLACE).all()
    assert np.mean(between(scenes, 200) > SAME_PLACE) <= 0.005


def test_recordings(recordings):
    assert not any(v.problem for shot in recordings for v in shot)
    assert (shares(recordings, 1) > 2 * SAME_PLACE).all() and (shares(recordings, 4) > SAME_PLACE).all()
    assert (between(recordings, 200) < SAME_PLACE).all()
    kitchen = recordings[0]
    # Other parts of one recording.
    assert max(seen_again(kitchen[i], kitchen[i + 45]) for i in range(0, 50, 5)) < SAME_PLACE


def test_frames_dropped_at_random_and_exposure(recordings):
    import cv2

    rng = np.random.default_rng(0)
    images = [cv2.imread(str(path)) for path in sorted(KITCHEN.glob("*.color.jpg"))]
    left = [view((i * rng.choice([0.5, 1.0])).astype(np.uint8)) for i in images if rng.random() > 0.4]
    assert min(seen_again(a, b) for a, b in zip(left, left[1:])) > SAME_PLACE


def dimmed(image, exposure, rng, electrons=1000.0, read=1.0):
    """As a sensor of so many electrons a pixel takes it in so much less light, with read noise in grey levels."""
    taken = rng.poisson(image * exposure / 255 * electrons) * 255 / electrons
    return np.clip(np.rint(taken + rng.normal(0, read, image.shape)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("exposure", [0.5, 0.2, 0.1, 0.05])
def test_a_dim_image_shows_what_a_bright_one_does(exposure):
    import cv2

    if not KITCHEN.is_dir():
        pytest.skip("real images are not here: ../shared/data is absent")
    rng, paths = np.random.default_rng(0), sorted(KITCHEN.glob("*.color.jpg"))[20:26]
    dim = [view(dimmed(cv2.imread(str(path)), exposure, rng)) for path in paths]
    assert not any(v.problem for v in dim)
    assert min(seen_again(a, b) for a, b in zip(dim, dim[1:])) > 3 * SAME_PLACE


def test_what_is_lost_in_rounding_and_noise_is_not_shown():
    import cv2

    if not KITCHEN.is_dir():
        pytest.skip("real images are not here: ../shared/data is absent")
    rng, paths = np.random.default_rng(0), sorted(KITCHEN.glob("*.color.jpg"))[::24]
    assert all(view(dimmed(cv2.imread(str(path)), 0.01, rng)).problem for path in paths)


def blots(rng, size, across, contrast):
    """(H, W, 3) uint8, soft blots, so many across, that vary by so many grey levels."""
    import cv2

    coarse = rng.normal(0, 1, (round(across * size[0] / size[1]), across)).astype(np.float32)
    soft = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.repeat(np.clip(80 + contrast * soft, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def test_soft_walls_without_much_contrast():
    rng = np.random.default_rng(0)
    walls = [view(blots(rng, (240, 320), 30, contrast)) for contrast in (5, 8, 12) for _ in range(4)]
    assert not any(wall.problem for wall in walls)
    assert max(seen_again(a, b) for a in walls for b in walls if a is not b) < SAME_PLACE
    assert all(view(blots(rng, (240, 320), across, 40)).problem for across in (3, 5))  # as blurred


def nothing(kind, size):
    y, x = np.mgrid[: size[0], : size[1]] / np.reshape(size, (2, 1, 1))
    finger = np.exp(-((x - 0.7) ** 2 + (y - 0.3) ** 2) / 0.15)
    return {
        "black": np.zeros((*size, 3)),
        "white": np.full((*size, 3), 255.0),
        "grey": np.full((*size, 3), 110.0),
        "gradient": np.stack([30 + 190 * x] * 3, axis=2),
        "corner to corner": np.stack([30 + 90 * x + 90 * y] * 3, axis=2),
        "a finger": np.stack([25 + 60 * finger, 5 + 8 * finger, 4 + 6 * x], axis=2),
    }[kind]


@pytest.mark.parametrize("size", [(480, 640), (240, 320)], ids=["640x480", "320x240"])
@pytest.mark.parametrize("kind", ["black", "white", "grey", "gradient", "corner to corner", "a finger"])
def test_nothing_is_shown_at_any_noise(kind, size):
    import cv2

    rng, light = np.random.default_rng(0), nothing(kind, size)
    for noise in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0):
        image = np.clip(np.rint(light + rng.normal(0, noise, light.shape)), 0, 255).astype(np.uint8)
        assert view(image).problem, f"noise of {noise} grey levels"
        packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
        assert view(cv2.imdecode(packed, cv2.IMREAD_COLOR)).problem, f"noise of {noise}, compressed"


def test_a_motion_is_confirmed_where_it_is_true():
    import cv2

    rng, big = np.random.default_rng(0), np.zeros((720, 960))
    for across in (6, 12, 24, 48):
        blots = rng.normal(0, 30, (across, across)).astype(np.float32)
        big += cv2.resize(blots, (960, 720), interpolation=cv2.INTER_CUBIC)
    big = np.repeat(np.clip(128 + big, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    a, b = view(big[:480, :640]), view(big[30:510, 80:720])
    pixels = (a.points + 0.5) / a.scale - 0.5
    assert confirmed(a, b, pixels - [80, 30]) > 0.9
    # The model's error of a pixel or two of its own small image.
    assert confirmed(a, b, pixels - [70, 25]) > 0.9
    assert confirmed(a, b, pixels) < CONFIRMED and confirmed(a, b, pixels - [160, 60]) < CONFIRMED
    assert confirmed(a, b, pixels + [1000, 0]) is None and confirmed(a, b, np.nan * pixels) is None


@pytest.mark.parametrize("size", [(2, 2), (6, 8), (24, 32), (481, 1), (90, 1600)])
def test_images_of_any_size_have_a_view(size):
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    seen = view(image)
    assert seen.problem and seen_again(seen, seen) == 0
    grey, scale = small_grey(image, 160)
    np.testing.assert_allclose(scale * size[::-1], grey.shape[::-1])
