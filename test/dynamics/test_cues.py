"""VGGT4D's cues against the golden numbers, against the published way, and in clips that are too short for it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_models import PLAIN

from d4rt_ros.dynamics.attention import attention_masks, scene_masks
from d4rt_ros.dynamics.cues import CUES, CueError, CueMiner, coarse_masks, dynamic_maps, mined
from d4rt_ros.model.attention import layers_at, token_mask
from d4rt_ros.model.network import D4RT
from d4rt_ros.model.protocol import NoAttentionError
from d4rt_ros.runtime import Model, load
from d4rt_ros.scenes import OracleModel, sample_scenes

NAMES = {"mean1": "m_middle", "var1": "v_deep", "mean2": "m_deep", "var3": "v_shallow", "mean3": "m_shallow"}


@pytest.fixture
def golden(shared):
    return np.load(shared / "golden" / "vggt4d_cues.npz")


def queries_and_keys(frames=9, layers=24, heads=2, rows=3, columns=4, dim=5, seed=0):
    random = np.random.default_rng(seed)
    return random.standard_normal((2, frames, layers, heads, rows * columns, dim), np.float32)


def published(q, k, frame):
    """The five maps of a frame with every token-by-token product; 24 layers."""
    sources = [s for s in (frame + o for o in (-6, -4, -2, 2, 4, 6)) if 0 <= s < len(q)]

    def products(x, y, first, last):  # layers, heads, sources, i, j
        a, b = x[frame, first : last + 1], y[sources][:, first : last + 1]
        return np.einsum("lhid,slhjd->lhsij", a.astype(float), b.astype(float))

    maps = {
        "m_shallow": products(k, k, 0, 0).mean((0, 1, 2, 4)),
        "v_shallow": products(q, k, 0, 0).mean((0, 1, 2)).std(1, ddof=1),
        "m_middle": products(q, q, 3, 7).mean((0, 1, 2, 4)),
        "v_deep": products(q, q, 18, 19).mean((0, 1, 2)).std(1, ddof=1),
        "m_deep": products(q, q, 17, 21).mean((0, 1, 2, 4)),
    }
    return {name: (m - m.min()) / (m.max() - m.min() + 1e-6) for name, m in maps.items()}


def test_golden_maps(golden):
    rows, columns = golden["dyn_map"].shape[1:]
    maps = dynamic_maps(golden["q"], golden["k"], rows, columns)
    np.testing.assert_allclose(maps, golden["dyn_map"], atol=1e-5)
    cues = mined(golden["q"], golden["k"], rows, columns).cues
    for theirs, ours in NAMES.items():
        np.testing.assert_allclose(cues[ours][4], golden[f"frame4_{theirs}"], atol=1e-5, err_msg=ours)


def test_golden_clusters_threshold_and_mask(golden):
    found = coarse_masks(golden["dyn_map"], golden["features"], golden["mask"].shape[1:], golden["labels"])
    np.testing.assert_allclose(found.clusters, golden["cluster_map"], atol=1e-6)
    assert found.threshold == pytest.approx(float(golden["threshold"]), abs=1e-6)
    np.testing.assert_array_equal(found.masks, golden["mask"])


@pytest.mark.parametrize("own", [True, False])
def test_golden_masks_of_vggt(shared, own):
    golden = np.load(shared / "golden" / "vggt" / "vggt4d.npz")
    maps, labels = golden["dyn_map"], None if own else golden["cluster_labels"]
    tokens = np.load(shared / "golden" / "vggt" / "io.npz")["patch_tokens"].reshape(*maps.shape, -1)
    found = coarse_masks(maps, tokens, golden["mask"].shape[1:], labels)
    np.testing.assert_array_equal(found.labels, golden["cluster_labels"])
    np.testing.assert_allclose(found.clusters, golden["cluster_map"], atol=1e-6)
    assert found.threshold == pytest.approx(float(golden["threshold"]), abs=1e-6)
    np.testing.assert_array_equal(found.masks, golden["mask"])


@pytest.mark.parametrize("frames", [4, 9, 20])
def test_the_published_way_gives_the_same(frames):
    q, k = queries_and_keys(frames)
    cues = mined(q, k, 3, 4).cues
    for t in range(frames):
        for name, expected in published(q, k, t).items():
            np.testing.assert_allclose(cues[name][t].ravel(), expected, atol=1e-5, err_msg=f"{name} {t}")


def test_torch_and_halves_are_arrays_too():
    q, k = queries_and_keys()
    expected = dynamic_maps(q, k, 3, 4)
    np.testing.assert_allclose(dynamic_maps(torch.tensor(q), torch.tensor(k), 3, 4), expected, atol=1e-6)
    halves = dynamic_maps(q.astype(np.float16), k.astype(np.float16), 3, 4)
    assert halves.dtype == np.float32 and abs(halves - expected).max() < 0.02


@pytest.mark.parametrize("frames", [2, 3])
def test_fewer_frames_than_offsets_take_the_nearest(frames):
    q, k = queries_and_keys(frames)
    maps = dynamic_maps(q, k, 3, 4)
    assert np.isfinite(maps).all() and (maps.max((1, 2)) > 0.9).all()
    if frames == 2:  # as of four frames, of which each has a source two before or after it
        four = dynamic_maps(np.repeat(q, 2, 0)[[0, 1, 2, 3]], np.repeat(k, 2, 0), 3, 4)
        np.testing.assert_allclose(maps, four[::2], atol=1e-6)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda q, k: (q[:1], k[:1], 3, 4), "1 frame"),
        (lambda q, k: (q[:0], k[:0], 3, 4), "rows times columns"),
        (lambda q, k: (q, k, 4, 4), "rows times columns"),
        (lambda q, k: (q, k[1:], 3, 4), "both have to be"),
        (lambda q, k: (q[0], k[0], 3, 4), "both have to be"),
        (lambda q, k: (q[..., :1, :], k[..., :1, :], 1, 1), "two or more"),
        (lambda q, k: (q * np.nan, k, 3, 4), "not finite"),
    ],
)
def test_what_has_no_cues_is_a_sentence(change, sentence):
    with pytest.raises(CueError, match=sentence):
        dynamic_maps(*change(*queries_and_keys()))


def test_attention_that_says_nothing_moves_nothing():
    q, k = np.ones((2, 5, 24, 2, 12, 5), np.float32)
    maps = dynamic_maps(q, k, 3, 4)
    assert not maps.any()
    found = coarse_masks(maps, queries_and_keys(5, 1, 1)[0][:, 0, 0].reshape(5, 3, 4, 5), (30, 40))
    assert found.masks.shape == (5, 30, 40) and not found.masks.any()


@pytest.mark.parametrize("columns", [1, 4, 7])
def test_a_thing_is_found_whatever_part_of_the_view_it_covers(columns):
    moving = np.zeros((4, 6, 8), bool)
    moving[:, :, :columns] = True
    found = coarse_masks(0.1 + 0.6 * moving, moving[..., None] * [1.0, 2.0], (60, 80))
    assert len(np.unique(found.labels)) == 2
    assert (found.masks == np.repeat(np.repeat(moving, 10, 1), 10, 2)).mean() > 0.94


def test_flat_maps_of_one_frame_leave_the_others():
    maps = np.zeros((3, 4, 5), np.float32)
    maps[1, 2, 3] = 1.0
    found = coarse_masks(maps, np.arange(60.0).reshape(3, 4, 5, 1), (40, 50))
    assert found.masks[1].any() and not found.masks[[0, 2]].any()


def test_bad_maps_features_and_labels_are_sentences():
    maps, features = np.zeros((2, 3, 4)), np.zeros((2, 3, 4, 5))
    for arguments, sentence in (
        ((maps[0], features, (6, 8)), "finite maps"),
        ((maps * np.nan, features, (6, 8)), "finite maps"),
        ((maps, features[:1], (6, 8)), "finite ones of maps"),
        ((maps, features + np.inf, (6, 8)), "finite ones of maps"),
        ((maps, features, (6, 8), np.full((2, 3, 4), -1)), "cluster numbers"),
        ((maps, features, (6, 8), np.zeros((2, 3, 4))), "cluster numbers"),
    ):
        with pytest.raises(CueError, match=sentence):
            coarse_masks(*arguments)


def test_layers_by_depth():
    ranges = [(c.first, c.last) for c in CUES.values()]
    for first, last in [*ranges, (0, 4), (0, 23)]:
        assert layers_at(first, last, 24) == range(first, last + 1)
        assert layers_at(first, last, 48) == range(2 * first, 2 * last + 2)
        for layers in range(1, 60):
            found = layers_at(first, last, layers)
            assert 0 <= found.start < found.stop <= layers
    assert [[*layers_at(*r, 3)] for r in ranges] == [[0], [0], [0], [2], [2]]
    assert [[*layers_at(*r, 6)] for r in ranges] == [[0], [0], [1], [4], [4]]
    assert [len(layers_at(0, 4, n)) for n in (1, 3, 6, 12, 20, 40)] == [1, 1, 1, 2, 4, 8]


def test_a_miner_holds_nothing_of_what_it_does_not_use():
    q, k = (torch.tensor(x).transpose(0, 1).transpose(1, 2) for x in queries_and_keys(frames=3))
    miner = CueMiner()
    miner.begin(24, 3, 4)
    for layer in range(24):
        miner.attention(layer, q[layer], k[layer])
        held = sum(x.numel() for kept in miner._kept.values() for pair in kept for x in pair[:1])
        assert held == (q[0].numel() if layer == 18 else 0)
        assert all(total.shape == (3, 12) for total in miner._sums.values())


def test_a_miner_that_heard_nothing_says_so():
    for ask in (lambda: CueMiner().maps, lambda: CueMiner().patch_features):
        with pytest.raises(CueError):
            ask()


def test_masks_of_tokens():
    mask = np.zeros((4, 60, 80), bool)
    mask[1, 29, 41] = True
    found = token_mask(mask, (2, 6, 8))
    assert found.sum() == 1 and found[0, 2, 4]
    found = token_mask(mask, (4, 7, 8))  # rows 25.7 to 34.3
    assert found.sum() == 1 and found[1, 3, 4]
    assert token_mask(~np.zeros_like(mask), (2, 7, 9)).all() and not token_mask(mask & False, (2, 7, 9)).any()
    mask[:] = False
    mask[0, 17] = True  # of rows 0..17.14 and 17.14..34.3 of 3.5 tokens
    assert token_mask(mask, (4, 7, 1))[0, :, 0].tolist() == [False, True, True, False, False, False, False]


@pytest.fixture(scope="module")
def small_model():
    torch.manual_seed(0)
    return Model(D4RT(PLAIN))


def test_masks_of_a_clip_by_attention(small_model):
    frames = np.random.default_rng(0).integers(0, 256, (PLAIN.frames, 48, 64, 3), np.uint8)
    masks = attention_masks(small_model, frames)
    assert masks.shape == frames.shape[:3] and masks.dtype == bool
    patch = PLAIN.patch[0]
    assert (masks[::patch] == masks[patch - 1 :: patch]).all()


def test_a_model_without_attention_refuses():
    images = np.zeros((2, 8, 9, 3), np.uint8)
    oracle = OracleModel(sample_scenes(1, 3), images, [0.0, 1.0], 2)
    with pytest.raises(NoAttentionError, match="no attention"):
        attention_masks(oracle, images)


@pytest.mark.parametrize(
    "covered, rows, columns",
    [
        ((0, 0, 60, 80), slice(0, 80), slice(0, 60)),
        ((0, 10.2, 60, 59.8), slice(10, 70), slice(0, 60)),  # a crop of a frame that is high
        ((-10, 0, 80, 80), slice(0, 80), slice(0, 60)),  # a padding
    ],
)
def test_masks_lie_where_the_tokens_do(covered, rows, columns):
    """Of tokens whose right half moves, and a frame of 80x60 of which they see more or less."""
    moving = np.zeros((2, 12, 16), bool)
    moving[:, :, 8:] = True
    scene = SimpleNamespace(covered=covered, size=(80, 60), num_frames=4)
    miner = SimpleNamespace(maps=0.5 * moving, patch_features=moving[..., None] * 1.0)
    masks = scene_masks(miner, scene)
    expected = np.zeros((4, 80, 60), bool)
    expected[:, rows, columns] = (np.arange(60) >= covered[0] + covered[2] / 2)[columns]
    assert masks.shape == expected.shape and (masks == expected).mean() > 0.95


def test_a_clip_too_short_for_cues_is_encoded_all_the_same():
    torch.manual_seed(0)
    model = Model(D4RT(replace(PLAIN, frames=2)))  # one row of tokens in time
    frames, miner = np.zeros((2, 48, 64, 3), np.uint8), CueMiner()
    assert model.encode(frames, listener=miner).query(3, 4, 0, 1, 1).xyz.shape == (1, 3)
    with pytest.raises(CueError, match="1 frame"):
        _ = miner.maps


def test_golden_masks_of_vggt_from_its_images(shared):
    golden = np.load(shared / "golden" / "vggt" / "vggt4d.npz")
    model = load(shared / "golden" / "vggt" / "model.pt", device="cpu", precision="fp32")
    images, miner = np.load(shared / "golden" / "vggt" / "io.npz")["images"], CueMiner()
    scene = model.encode(images, listener=miner)
    np.testing.assert_allclose(miner.maps, golden["dyn_map"], atol=1e-4)
    masks = scene_masks(miner, scene)
    assert (masks == golden["mask"]).mean() > 0.999
    model.preprocessing = "crop"
    high = np.zeros((2, 150, 100, 3), np.uint8)  # of which the network sees 99 rows
    scene = model.encode(high, listener=miner)
    assert scene.covered == pytest.approx((0, 25.4, 100, 99.1), abs=0.1)
    assert scene_masks(miner, scene).shape == (2, 150, 100)
