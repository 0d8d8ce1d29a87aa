import pytest
import torch
from scenes.pixels import pixels_of

from d4rt_ros.scenes import (
    SceneConfig,
    boundary_mask,
    camera_poses,
    ground_truth,
    render,
    sample_scenes,
)

H, W, QUERIES = 42, 58, 600


@pytest.fixture(scope="module")
def rendering(scenes, times):
    return render(scenes, times, H, W, samples=4, normals=True)


@pytest.fixture(scope="module")
def asked(scenes, times):
    """Queries at pixel centres: b, x, y, uv and three times, all (B, Q)."""
    g = torch.Generator().manual_seed(4)
    shape = len(scenes), QUERIES
    x, y = torch.randint(W, shape, generator=g), torch.randint(H, shape, generator=g)
    uv = torch.stack([x / (W - 1), y / (H - 1)], -1)
    t = torch.randint(times.shape[1], (3, *shape), generator=g)
    return torch.arange(len(scenes))[:, None], x, y, uv, *t


def test_the_depth_query_is_the_rendered_depth(scenes, times, rendering, asked):
    b, x, y, uv, t, _, _ = asked
    truth = ground_truth(scenes, times, uv, t, t, t)
    assert torch.allclose(
        truth.xyz[..., 2], rendering.depth[b, t, y, x], rtol=1e-5, atol=1e-6, equal_nan=True
    )
    assert torch.allclose(truth.depth, rendering.depth[b, t, y, x], rtol=1e-5, atol=1e-6, equal_nan=True)
    seen = truth.primitive != -1
    assert 0.01 < (~seen).float().mean() < 0.3
    assert torch.allclose(truth.uv[seen], uv[seen], atol=1e-5)
    assert torch.equal(truth.primitive, rendering.primitive[b, t, y, x])
    assert torch.equal(truth.moving, rendering.moving[b, t, y, x])
    assert torch.allclose(truth.normal[seen], rendering.normals[b, t, y, x][seen], atol=1e-4)
    assert torch.equal(truth.visibility, seen) and torch.equal(truth.valid, seen)
    assert (truth.displacement[seen] == 0).all()


def test_xyz_projects_to_uv(scenes, times, asked):
    _, _, _, uv, src, tgt, _ = asked
    truth = ground_truth(scenes, times, uv, src, tgt, tgt)
    front = truth.xyz[..., 2] > 0.05
    projected = truth.xyz[..., :2] / truth.xyz[..., 2:] * scenes.focal[:, None] + scenes.principal[:, None]
    assert torch.allclose(projected[front], truth.uv[front], atol=1e-4)


def test_visible_points_lie_on_the_rendered_surface_and_hidden_ones_behind(scenes, times, rendering, asked):
    """Compared with the depth image of t_tgt, where that is smooth enough to be read between pixels."""
    b, _, _, uv, src, tgt, _ = asked
    truth = ground_truth(scenes, times, uv, src, tgt, tgt)
    inside = ((truth.uv > -1e-4) & (truth.uv < 1.0001)).all(-1) & (truth.xyz[..., 2] > 0)
    assert not (truth.visibility & ~inside).any()
    pixel = torch.nan_to_num(truth.uv).clamp(0, 1) * torch.tensor([W - 1, H - 1])
    corners = [
        rendering.depth[b, tgt, rows, columns]
        for rows in (pixel[..., 1].floor().long(), pixel[..., 1].ceil().long())
        for columns in (pixel[..., 0].floor().long(), pixel[..., 0].ceil().long())
    ]
    near, far = torch.stack(corners).amin(0), torch.stack(corners).amax(0)
    smooth = inside & (far / near < 1.02)
    z = truth.xyz[..., 2]
    seen, hidden = smooth & truth.visibility, smooth & ~truth.visibility
    assert seen.sum() > 1000 and hidden.sum() > 20
    assert ((z > 0.97 * near) & (z < 1.03 * far))[seen].all()
    assert (z > near)[hidden].float().mean() > 0.95


def test_static_points_have_no_displacement_and_the_same_world_place(scenes, times, asked):
    b, _, _, uv, src, tgt, cam = asked
    truth = ground_truth(scenes, times, uv, src, tgt, cam)
    still = ~truth.moving & truth.valid
    assert (truth.displacement[still] == 0).all()
    assert (truth.displacement[truth.moving & (src != tgt)].norm(dim=-1) > 0).float().mean() > 0.95
    poses = camera_poses(scenes, times)
    world = [
        _world(poses[b, c], ground_truth(scenes, times, uv, src, t, c).xyz)
        for t, c in ((tgt, cam), (src, src))
    ]
    assert torch.allclose(world[0][still], world[1][still], atol=1e-4)


def test_displacement_is_the_difference_of_two_answers(scenes, times, asked):
    _, _, _, uv, src, tgt, cam = asked
    truth = ground_truth(scenes, times, uv, src, tgt, cam)
    before = ground_truth(scenes, times, uv, src, src, cam).xyz
    assert torch.allclose(truth.displacement, truth.xyz - before, atol=2e-5, equal_nan=True)


def test_there_and_back_again(scenes, times, asked):
    """A visible point, asked for from where it went, is where it came from."""
    _, _, _, uv, src, tgt, _ = asked
    there = ground_truth(scenes, times, uv, src, tgt, tgt)
    back = ground_truth(scenes, times, there.uv.nan_to_num(0.5), tgt, src, src)
    seen = there.visibility & (back.primitive == there.primitive)
    assert seen.sum() > 0.98 * there.visibility.sum()
    error = (back.uv - uv).norm(dim=-1)[seen]
    assert error.quantile(0.99) < 1e-3 and back.visibility[seen].float().mean() > 0.98


def test_moving_points_keep_their_colour(times):
    """In flat light, a warped image looks like the source: the truth moves with what is drawn."""
    scenes = sample_scenes(12, 21, SceneConfig(still_scenes=0.0))
    flat = {"light": torch.zeros_like(scenes.light), "ambient": torch.full_like(scenes.ambient, 0.8)}
    scenes = type(scenes)(**{**scenes.tensors(), **flat}, shapes=scenes.shapes)
    size = 80
    rendering = render(scenes, times[:12], size, size, samples=1)
    smooth = ~boundary_mask(rendering.depth, rendering.primitive)
    src, uv = pixels_of(rendering.moving & smooth, 400)
    tgt = (src + 2) % 6
    truth = ground_truth(scenes, times[:12], uv, src, tgt, tgt)
    b = torch.arange(12)[:, None]

    def colour(t, at):
        x, y = (at.nan_to_num(0).clamp(0, 1) * (size - 1)).round().long().unbind(-1)
        return rendering.rgb[b, t, y, x].float(), smooth[b, t, y, x]

    (first, _), (second, inner), (unmoved, _) = colour(src, uv), colour(tgt, truth.uv), colour(tgt, uv)
    good = truth.visibility & truth.moving & inner
    assert good.sum() > 300
    difference, naive = (first - second).abs().mean(-1)[good], (first - unmoved).abs().mean(-1)[good]
    # Ambient light still depends on the turning normal a little.
    assert difference.median() < 6 and difference.mean() < 0.6 * naive.mean()


def test_normals_turn_with_the_camera(scenes, times, asked):
    b, _, _, uv, src, tgt, cam = asked
    a, c = (ground_truth(scenes, times, uv, src, tgt, t).normal for t in (tgt, cam))
    known = a.isfinite().all(-1)
    assert torch.allclose(a[known].norm(dim=-1), torch.ones(known.sum()), atol=1e-4)
    poses = camera_poses(scenes, times)[..., :3, :3]
    turned = (poses[b, cam].transpose(-1, -2) @ poses[b, tgt] @ a[..., None])[..., 0]
    assert torch.allclose(turned, c, atol=1e-4, equal_nan=True)


def _world(pose, xyz):
    return (pose[..., :3, :3] @ xyz[..., None])[..., 0] + pose[..., :3, 3]
