"""The model in numpy: pixels of the user's images in, answers out."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import PLAIN

from d4rt_ros.model import encoder
from d4rt_ros.model.attention import token_mask
from d4rt_ros.model.config import PRESETS
from d4rt_ros.model.network import D4RT
from d4rt_ros.model.query import QueryError
from d4rt_ros.runtime import Model, cuda_graph, load, torch_model
from d4rt_ros.runtime import scene as scenes
from d4rt_ros.runtime.patches import gather_pixels
from d4rt_ros.runtime.scene import FrameError, resize

SIZE = (90, 120)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Model(D4RT(PRESETS["tiny"]))


@pytest.fixture(scope="module")
def clip():
    return np.random.default_rng(0).integers(0, 256, (8, *SIZE, 3), np.uint8)


def same(a, b):
    for name in ("xyz", "uv", "visibility", "confidence", "normals", "displacements"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=2e-4, err_msg=name)


def test_answers_have_the_documented_shapes_and_ranges(model, clip):
    answer = model.encode(clip).query([3, 50, 119], [4, 80, 89], 0, -1, [1, 2, 3])
    assert answer.xyz.shape == answer.normals.shape == answer.displacements.shape == (3, 3)
    assert answer.uv.shape == (3, 2)
    np.testing.assert_allclose(np.linalg.norm(answer.normals, axis=1), 1, atol=1e-5)
    for p in (answer.visibility, answer.confidence):
        assert p.shape == (3,) and ((p >= 0) & (p <= 1)).all()


def test_prepared_frames_are_the_frames(model, clip):
    question = (np.arange(5.0), np.arange(5.0), -1, 0, 3)
    same(model.encode(clip).query(*question), model.encode([model.prepare(f) for f in clip]).query(*question))


def test_chunks_do_not_change_answers_and_let_others_in(model, clip):
    scene = model.encode(clip)
    u, v = np.linspace(0, 119, 300), np.linspace(0, 89, 300)
    whole, chunk, pauses = scene.query(u, v, 0, 1, 2), model.chunk, []
    model.chunk, model.between_chunks = 128, lambda: pauses.append(1)
    try:
        same(whole, scene.query(u, v, 0, 1, 2))
    finally:
        model.chunk, model.between_chunks = chunk, None
    assert len(pauses) == 3


def test_no_queries_no_answers(model, clip):
    assert len(model.encode(clip).query([], [], 0, 0, 0)) == 0


def test_pixels_survive_the_change_of_size():
    """A point keeps its place: the brightest column of an image is found where the map says."""
    model = Model(D4RT(PRESETS["tiny"]))
    for width in (96, 120, 640):
        image = np.zeros((48, width, 3), np.uint8)
        column = int(0.7 * width)
        image[:, column] = 255
        small = model.prepare(image).small[..., 0].mean(0)
        found = (small * np.arange(96)).sum() / small.sum()
        scale, shift = model.pixel_map(48, width)
        assert float(found) == pytest.approx((column * scale[0] + shift[0]) * 95, abs=0.5)


def test_pixel_map_is_the_identity_at_the_network_s_own_size(model):
    scale, shift = model.pixel_map(96, 96)
    np.testing.assert_allclose(scale, 1 / 95)
    np.testing.assert_allclose(shift, 0, atol=1e-12)


def test_resize_averages_areas():
    image = np.zeros((128, 256, 3), np.uint8)
    image[:, ::2] = 200
    assert (resize(image, 64, 64) == 100).all()


def test_answers_are_in_the_user_s_pixels(model):
    """uv of an untrained offset head at zero is the query itself, whatever the image's size."""
    network = D4RT(PRESETS["tiny"])
    torch.nn.init.zeros_(network.decoder.heads["uv"].weight)
    frames = np.zeros((8, 100, 333, 3), np.uint8)
    answer = Model(network).encode(frames).query([0, 100.5, 332], [0, 50.25, 99], 0, 3, 3)
    np.testing.assert_allclose(answer.uv, [[0, 0], [100.5, 50.25], [332, 99]], atol=1e-3)


@pytest.mark.parametrize(
    "frames, words",
    [
        (np.zeros((7, 9, 12, 3), np.uint8), "7 frames given; this model takes clips of 8"),
        (np.zeros((1, 9, 12, 3), np.uint8), "1 frames given"),
        (np.zeros((9, 9, 12, 3), np.uint8), "9 frames given; .* drop the oldest"),
        (np.zeros((8, 9, 12, 3), np.float32), "uint8"),
        (np.zeros((8, 9, 12), np.uint8), "expected"),
        (np.zeros((8, 0, 12, 3), np.uint8), "expected"),
    ],
)
def test_bad_clips_are_refused(model, frames, words):
    with pytest.raises(FrameError, match=words):
        model.encode(frames)


def test_frames_of_two_sizes_are_refused(model):
    frames = [model.prepare(np.zeros((9 + t // 4, 12, 3), np.uint8)) for t in range(8)]
    with pytest.raises(FrameError, match="different sizes"):
        model.encode(frames)


def test_a_clip_larger_than_memory_is_refused_before_it_is_encoded(clip, monkeypatch):
    model = Model(D4RT(PRESETS["tiny"]))
    monkeypatch.setattr(model, "_encode", None)
    monkeypatch.setattr(model, "_free_bytes", lambda: 1_000_000)
    with pytest.raises(FrameError, match="8 frames of 120x90 needs about .* GB, and 0.001 GB"):
        model.encode(clip)


def test_scene_bytes_of_the_public_model():
    assert 0.4e9 < scenes.scene_bytes(PRESETS["giant"], 2) < 2e9


def test_more_queries_than_memory_holds_are_refused_before_they_are_copied(model, clip, monkeypatch):
    scene = model.encode(clip)
    many = np.broadcast_to(np.float64(1), (100_000_000,))
    monkeypatch.setattr(scenes, "available_bytes", lambda: 8_000_000_000)
    with pytest.raises(QueryError, match="100000000 queries at once need about 32 GB.*coarser grid"):
        scene.query(many, many, 0, 0, 0)


@pytest.mark.parametrize("size", [(40, 200), (200, 40), (2, 2)])
def test_clips_need_not_be_square(model, size):
    frames = np.random.default_rng(1).integers(0, 256, (8, *size, 3), np.uint8)
    answer = model.encode(frames).query([0, size[1] - 1], [0, size[0] - 1], 0, 3, 3)
    assert np.isfinite(answer.xyz).all()


def test_frames_at_the_encoder_s_size_are_patches_of_either_source(model):
    frames = np.random.default_rng(2).integers(0, 256, (8, 96, 96, 3), np.uint8)
    question = (np.linspace(0, 95, 40), np.linspace(0, 95, 40), np.arange(40) % 8, 3, 3)
    whole = model.encode(frames).query(*question)
    try:
        model.patch_source = "frames"
        same(whole, model.encode(frames).query(*question))
        model.patch_source = "none"
        assert np.abs(model.encode(frames).query(*question).xyz - whole.xyz).max() > 1e-4
        model.patch_source = "sky"
        with pytest.raises(ValueError, match="unknown patch_source 'sky'; use one of none, encoder, frames"):
            model.encode(frames)
    finally:
        model.patch_source = "encoder"


def test_patches_of_the_frames_are_around_the_very_pixel(model):
    """The patch's centre is the frame's pixel that was asked for, whatever the frame's size."""
    height, width = 90, 250
    u, v = np.array([0.0, 100, 249, 77.25]), np.array([0.0, 50, 89, 33.5])
    scale, shift = model.pixel_map(height, width)
    place = model.pixels((np.stack((u, v), -1) * scale + shift).astype(np.float32), height, width)
    np.testing.assert_allclose(place, np.stack((u, v), -1), atol=1e-4)
    ramp = np.broadcast_to(np.arange(width, dtype=np.uint8)[None, :, None], (height, width, 3))
    pixels, fraction = gather_pixels([ramp], place + 1e-4, np.zeros(4, int), 9)
    np.testing.assert_allclose(pixels[:, 4, 4, 0] + fraction[:, 0], u, atol=1e-3)


def test_frames_on_a_device_give_the_patches_of_frames_on_the_host(model):
    """What CUDA does with whole frames, done on the CPU."""
    frames = np.random.default_rng(3).integers(0, 256, (8, 90, 120, 3), np.uint8)
    uv = np.random.default_rng(4).random((30, 2), np.float32)
    times = np.random.default_rng(5).integers(0, 8, (30, 3))
    keys_values, _ = model._encode(np.stack([model.prepare(f).small for f in frames]), 1.3, list(frames))
    host = model.decode(keys_values, list(frames), uv, times)
    there = model.decode(keys_values, model._upload_each(list(frames)), uv, times)
    for name in host:
        np.testing.assert_allclose(host[name], there[name], atol=1e-4, err_msg=name)


def test_a_frame_is_uploaded_once_however_many_windows_it_is_in(model, monkeypatch):
    images = list(np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3), np.uint8))
    model._upload_each(images[:3])
    given, from_numpy = [], torch.from_numpy
    monkeypatch.setattr(torch, "from_numpy", lambda array: given.append(array) or from_numpy(array))
    for start in (1, 2):
        frames = model._upload_each(images[start : start + 3])
        np.testing.assert_array_equal(frames[0], np.stack(images[start : start + 3]))
    assert [x is y for x, y in zip(given, images[3:], strict=True)] == [True, True]


def test_the_rate_of_full_chunks_is_measured(model, clip):
    scene = Model(model.network).encode(clip)
    ticks = iter(range(100))
    scene._model.clock, scene._model.chunk = lambda: 0.5 * next(ticks), 100
    scene.query(np.full(20, 3.0), 3, 0, 0, 0)
    assert scene.queries_per_second is None  # too few to tell
    scene.query(np.full(200, 3.0), 3, 0, 0, 0)
    assert scene.queries_per_second == pytest.approx(200)
    scene._model.measured(100, 0.25)
    assert scene.queries_per_second == pytest.approx(240)


def test_bad_queries_are_refused(model, clip):
    with pytest.raises(QueryError):
        model.encode(clip).query(np.nan, 0, 0, 0, 0)


def test_bad_devices_and_precisions_are_refused():
    with pytest.raises(ValueError, match="unknown device"):
        load(device="toaster")
    with pytest.raises(ValueError, match="unknown precision"):
        load(device="cpu", precision="fp7")
    with pytest.raises(ValueError, match="unknown backend"):
        load(device="cpu", backend="abacus")
    with pytest.raises(ValueError, match="unknown patch_source"):
        load(device="cpu", patch_source="sky")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            load(device="cuda")


@pytest.mark.parametrize("capability, precision", [((9, 0), "bf16"), ((8, 7), "bf16"), ((7, 5), "fp16")])
def test_a_gpu_computes_in_what_it_does_well(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda place: capability)
    assert torch_model._best_precision(torch.device("cuda")) == precision


def test_heads_and_angles_stay_in_full_precision():
    network = D4RT(PRESETS["tiny"])
    exact = network.decoder.heads["xyz"].weight.detach().clone()
    half = Model(network, dtype=torch.bfloat16).network
    assert torch.equal(half.decoder.heads["xyz"].weight, exact)
    assert half.encoder.blocks[0].qkv.weight.dtype == torch.bfloat16
    assert half.decoder.rotary.rates.dtype == torch.float32


def test_half_precision_answers_like_full(model, clip):
    half = Model(D4RT(PRESETS["tiny"]), dtype=torch.bfloat16)
    half.network.load_state_dict(model.network.state_dict())
    question = (np.linspace(0, 119, 50), np.linspace(0, 89, 50), 0, 4, 4)
    full, rough = model.encode(clip).query(*question), half.encode(clip).query(*question)
    scale = np.abs(full.xyz).mean()
    assert np.abs(full.xyz - rough.xyz).mean() < 0.05 * scale
    assert np.abs(full.uv - rough.uv).mean() < 0.02 * SIZE[1]


def graphs_of_the_cpu(function):
    """What a CUDA graph does: the same kernels on the same places of memory."""
    outputs = function()

    def replay():
        for mine, new in zip(outputs, function()):
            mine.copy_(new)

    return replay, outputs


@pytest.mark.parametrize("patch_source", ["encoder", "frames", "none"])
def test_replayed_graphs_answer_like_the_network(model, clip, monkeypatch, patch_source):
    monkeypatch.setattr(cuda_graph, "record", graphs_of_the_cpu)
    replayed = Model(model.network, patch_source=patch_source)
    replayed._replay_graphs()
    eager = Model(model.network, patch_source=patch_source)
    ours, theirs = ([m.encode(x) for x in (clip, clip[::-1])] for m in (eager, replayed))
    for which, count in ((0, 3), (1, 70), (0, 64), (1, 2), (1, 1100), (0, 5)):
        u, v = np.linspace(0, 119, count), np.linspace(0, 89, count)
        same(*(scenes[which].query(u, v, np.arange(count) % 8, 1, 2) for scenes in (ours, theirs)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("patch_source", ["encoder", "frames", "none"])
def test_cuda_graphs_answer_like_the_cpu(model, clip, patch_source):
    there = Model(deepcopy(model.network), "cuda", patch_source=patch_source, cuda_graphs=True)
    here = Model(model.network, patch_source=patch_source)
    for images in (clip, clip[::-1]):
        a, b = here.encode(images), there.encode(images)
        for count in (1, 70, 3000):
            u, v = np.linspace(0, 119, count), np.linspace(0, 89, count)
            np.testing.assert_allclose(a.query(u, v, 0, 4, 4).xyz, b.query(u, v, 0, 4, 4).xyz, atol=1e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_answers_like_the_cpu(model, clip):
    there = Model(D4RT(PRESETS["tiny"]), "cuda")
    there.network.load_state_dict(model.network.state_dict())
    question = (np.linspace(0, 119, 50), np.linspace(0, 89, 50), 0, 4, 4)
    a, b = model.encode(clip).query(*question), there.encode(clip).query(*question)
    np.testing.assert_allclose(a.xyz, b.xyz, atol=1e-2)


@pytest.mark.parametrize("count", [1, 3, 64, 65, 200])
def test_any_number_of_queries_is_answered_like_each_alone(model, clip, count):
    scene = model.encode(clip)
    u, v = np.linspace(0, 119, count), np.linspace(0, 89, count)
    answer = scene.query(u, v, 0, 1, 2)
    assert len(answer.xyz) == count
    alone = scene.query(u[-1], v[-1], 0, 1, 2)
    np.testing.assert_allclose(answer.xyz[-1], alone.xyz[0], rtol=1e-4, atol=1e-5)


class Hearing:
    """Keeps all that it hears."""

    def begin(self, layers, rows, columns):
        self.grid, self.layers, self.told = (layers, rows, columns), {}, None

    def attention(self, layer, q, k):
        self.layers[layer] = q.clone(), k.clone()

    def features(self, tokens):
        self.told = tokens


CONFIGS = {
    "tiny": PRESETS["tiny"],
    "aspect token": PLAIN,
    "global": replace(PLAIN, attention="global", aspect_token=False),
    "pooled": replace(PLAIN, max_tokens=20, encoder_layers=3),
}


def network_of(config):
    torch.manual_seed(0)
    model = Model(D4RT(config))
    for weight in model.network.encoder.parameters():  # as sharp as trained attention is
        weight.mul_(2 if weight.dim() > 1 else 1)
    return model


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS)
def any_model(request):
    return network_of(request.param)


def images_of(model):
    shape = (model.num_frames, 50, 70, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def answers(scene):
    return scene.query(np.linspace(0, 69, 20), np.linspace(0, 49, 20), 0, -1, 1).xyz


def test_a_listener_hears_the_global_layers_and_changes_nothing(any_model):
    config, images, heard = any_model.config, images_of(any_model), Hearing()
    t, rows, columns = config.token_grid
    expected = answers(any_model.encode(images))
    np.testing.assert_array_equal(answers(any_model.encode(images, listener=heard)), expected)
    layers = config.encoder_layers // 2 if config.attention == "interleaved" else config.encoder_layers
    assert heard.grid == (layers, rows, columns) and list(heard.layers) == list(range(layers))
    dim = config.encoder_width // config.encoder_heads
    for pair in heard.layers.values():
        assert all(x.shape == (config.encoder_heads, t, rows * columns, dim) for x in pair)
    assert heard.told.shape == (t, rows * columns, config.encoder_width)


def test_what_is_heard_is_what_is_multiplied(monkeypatch):
    model, heard, seen = network_of(PRESETS["tiny"]), Hearing(), []
    attention = encoder.attention

    def spied(q, k, v, *rest):
        seen.append((q, k))
        return attention(q, k, v, *rest)

    monkeypatch.setattr(encoder, "attention", spied)
    model.encode(images_of(model), listener=heard)
    for i, pair in heard.layers.items():
        for told, used in zip(pair, seen[2 * i + 1]):
            assert torch.equal(told.flatten(1, 2), used[0, :, :-1])  # all but the aspect token


def test_a_mask_of_nothing_masks_nothing(any_model):
    images = images_of(any_model)
    masked = any_model.encode(images, mask=np.zeros(images.shape[:3], bool))
    np.testing.assert_allclose(answers(masked), answers(any_model.encode(images)), atol=1e-4)


def test_a_mask_takes_keys_out_of_the_early_blocks_alone(monkeypatch):
    model, seen = network_of(PRESETS["tiny"]), []
    attention = encoder.attention

    def spied(q, k, v, left=None):
        out = attention(q, k, v, left)
        if left is not None:  # the same by leaving keys and values out
            keep = left.expand(*q.shape[:-3], 1, 1, k.shape[-2])[..., 0, 0, :]
            for row in np.ndindex(keep.shape[:-1]):
                some = attention(q[row], k[row][:, keep[row]], v[row][:, keep[row]])
                torch.testing.assert_close(out[row], some, atol=1e-5, rtol=1e-4)
        seen.append(left)
        return out

    monkeypatch.setattr(encoder, "attention", spied)
    images = images_of(model)
    mask = np.zeros(images.shape[:3], bool)
    mask[2, 10, 10] = mask[5, 20:40, 30:60] = True
    scene = model.encode(images, mask=mask)
    assert [left is not None for left in seen[:6]] == [True, True, False, False, False, False]
    expected = ~torch.from_numpy(token_mask(mask, model.config.token_grid)).flatten(1)
    assert torch.equal(seen[0].reshape(4, -1), expected)
    assert torch.equal(seen[1].reshape(-1)[:-1], expected.flatten())
    assert seen[1].reshape(-1)[-1]  # the aspect token stays
    assert abs(answers(scene) - answers(model.encode(images))).max() > 1e-4


@pytest.mark.parametrize("frames", [slice(0, 1), slice(0, 2), slice(None)])
def test_frames_that_are_masked_whole_give_numbers(any_model, frames):
    images = images_of(any_model)
    mask = np.zeros(images.shape[:3], bool)
    mask[frames] = True
    masked = answers(any_model.encode(images, mask=mask))
    assert np.isfinite(masked).all()
    if mask.all() and not any_model.config.aspect_token:  # nothing would be left: as without a mask
        np.testing.assert_allclose(masked, answers(any_model.encode(images)), atol=1e-4)


def test_a_mask_and_a_listener_pass_recorded_graphs_by(model, monkeypatch):
    monkeypatch.setattr(cuda_graph, "record", graphs_of_the_cpu)
    replayed = Model(model.network)
    replayed._replay_graphs()
    images, heard = images_of(model), Hearing()
    mask = np.zeros(images.shape[:3], bool)
    mask[:, :30] = True
    plain = answers(replayed.encode(images))
    np.testing.assert_array_equal(answers(replayed.encode(images, mask)), answers(model.encode(images, mask)))
    replayed.encode(images, listener=heard)
    assert len(heard.layers) == 3
    np.testing.assert_array_equal(answers(replayed.encode(images)), plain)


@pytest.mark.parametrize(
    "mask", [np.zeros((8, 50, 71), bool), np.zeros((7, 50, 70), bool), np.zeros((8, 50, 70), np.uint8), True]
)
def test_a_mask_of_another_kind_is_a_sentence(model, mask):
    with pytest.raises(FrameError, match="of the frames' "):
        model.encode(images_of(model), mask=mask)
