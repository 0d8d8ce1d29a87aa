"""Random materials: mostly muted, ordinary colours with wood, cloth, stripes and checks among them."""

from __future__ import annotations

import torch

from .scene import ROOM_FACES, TEXTURE_COLUMNS, Shapes


def sample_textures(draw, shapes: Shapes, outdoors: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
    """(B, S, C) textures for scenes whose mean depth is 1; the first four are the room's faces.

    outdoors, tables: (B,) bool, the ceiling is a sky; boxes 2 to 5 are the legs of one table.
    """
    count = len(shapes) + ROOM_FACES - 1
    n = draw.batch
    base, second = _colours(draw, count, outdoors)
    style = torch.rand(n, count, generator=draw.generator)
    plain, cloudy = style < 0.3, (style >= 0.3) & (style < 0.55)
    striped, checked = (style >= 0.55) & (style < 0.7), (style >= 0.7) & (style < 0.83)
    wooden = style >= 0.83

    frequency = draw.log_uniform(2.0, 14.0, count, 1).expand(-1, -1, 3).clone()
    stretch = torch.nn.functional.one_hot(torch.randint(3, (n, count), generator=draw.generator), 3).bool()
    frequency = torch.where(wooden[..., None] & stretch, 0.15 * frequency, frequency)
    axis = torch.nn.functional.one_hot(torch.randint(3, (n, count), generator=draw.generator), 3).float()
    skew = torch.where(draw.chance(0.3, count)[..., None], 0.5 * draw.normal(count, 3), torch.zeros(n, count, 3))
    stripe_rate = draw.log_uniform(2.5, 12.0, count, 1)
    # Wood grows along the stretched axis, so its rings run across it.
    across = torch.where(wooden[..., None], stretch.roll(1, -1).float(), axis + skew)
    cross = torch.where(wooden[..., None], stretch.roll(2, -1).float(), (axis + skew).roll(1, -1))

    values = dict(zip(TEXTURE_COLUMNS, torch.zeros(len(TEXTURE_COLUMNS), n, count)))
    for i, a in enumerate("xyz"):
        values[f"frequency_{a}"] = frequency[..., i]
        values[f"offset_{a}"] = draw.uniform(-50, 50, count)
        values[f"stripe_{a}"] = stripe_rate[..., 0] * across[..., i]
        values[f"cross_{a}"] = stripe_rate[..., 0] * cross[..., i]
    values["warp"] = torch.where(wooden, draw.uniform(0.4, 1.6, count), draw.uniform(0.0, 0.15, count) * draw.chance(0.4, count))
    values["sharpness"] = torch.where(wooden, torch.ones(n, count), draw.log_uniform(1.0, 25.0, count))
    zero = torch.zeros(n, count)
    values["noise"] = torch.where(cloudy, draw.uniform(0.5, 1.6, count), draw.uniform(0.05, 0.35, count))
    values["stripes"] = torch.where(striped, draw.uniform(0.5, 1.0, count), torch.where(wooden, draw.uniform(0.2, 0.8, count), zero))
    values["checks"] = torch.where(checked, draw.uniform(0.6, 1.0, count), zero)
    values["grain"] = draw.uniform(0.0, 0.3, count) * ~(plain & draw.chance(0.5, count))
    for i, name in enumerate(("red", "green", "blue")):
        values[f"{name}0"], values[f"{name}1"] = base[..., i], second[..., i]
    values["specular"] = draw.uniform(0.0, 0.5, count) * draw.chance(0.4, count)
    values["emission"] = (draw.chance(0.05, count)).float() * 0.7
    table = torch.stack([values[name] for name in TEXTURE_COLUMNS], -1)
    _make_sky(draw, table, outdoors)
    _calm_room(draw, table)
    legs = slice(ROOM_FACES + 1, ROOM_FACES + 5)
    table[:, legs] = torch.where(tables[:, None, None], table[:, legs.start, None], table[:, legs])
    return table


def _colours(draw, count: int, outdoors) -> tuple[torch.Tensor, torch.Tensor]:
    """Two linear colours (B, S, 3) of each texture."""
    hue = torch.where(draw.chance(0.55, count), 0.08 + 0.05 * draw.normal(count), draw.uniform(0, 1, count))
    vivid = draw.chance(0.25, count)
    vivid[:, :ROOM_FACES] &= draw.chance(0.2, ROOM_FACES)
    saturation = torch.where(vivid, draw.uniform(0.45, 0.9, count), draw.uniform(0.0, 0.4, count))
    saturation[:, :ROOM_FACES] *= 0.7
    value = draw.uniform(0.15, 0.95, count)
    value[:, 1:ROOM_FACES] = torch.where(draw.chance(0.75, 3), draw.uniform(0.6, 0.97, 3), value[:, 1:ROOM_FACES])
    value[:, 3] = torch.where(draw.chance(0.7), value[:, 2], value[:, 3])
    hue[:, 3], saturation[:, 3] = hue[:, 2], torch.where(draw.chance(0.7), saturation[:, 2], saturation[:, 3])
    base = _from_hsv(hue, saturation, value)
    shift = draw.chance(0.3, count)
    shift[:, :ROOM_FACES] &= draw.chance(0.2, ROOM_FACES)
    second = _from_hsv(
        torch.where(shift, draw.uniform(0, 1, count), hue + 0.03 * draw.normal(count)),
        (saturation * draw.uniform(0.5, 1.5, count)).clamp(0, 1),
        torch.where(shift, draw.uniform(0.1, 1, count), value * draw.uniform(0.35, 0.95, count)),
    )
    return base * base, second * second


def _make_sky(draw, table: torch.Tensor, outdoors: torch.Tensor) -> None:
    """Outdoors the ceiling is a sky that shines by itself; the far walls fade towards it."""
    blue = draw.uniform(0.0, 1.0, 1)
    sky = torch.tensor([0.75, 0.8, 0.85]) * (1 - blue) + torch.tensor([0.25, 0.45, 0.8]) * blue
    column = {name: i for i, name in enumerate(TEXTURE_COLUMNS)}
    ceiling = table[:, 1].clone()
    for i, name in enumerate(("red", "green", "blue")):
        ceiling[:, column[f"{name}0"]], ceiling[:, column[f"{name}1"]] = sky[:, i], 0.9
    for name, value in dict(emission=1.0, grain=0.0, stripes=0.0, checks=0.0, specular=0.0).items():
        ceiling[:, column[name]] = value
    ceiling[:, :3] *= 0.3
    ceiling[:, column["noise"]] = draw.uniform(0.0, 1.0)
    table[:, 1] = torch.where(outdoors[:, None], ceiling, table[:, 1])


def _calm_room(draw, table: torch.Tensor) -> None:
    """Ceilings and most walls are nearly plain."""
    calm = draw.chance(0.65, ROOM_FACES)
    calm[:, 0] &= draw.chance(0.4)
    for name, factor in dict(stripes=0.0, checks=0.0, noise=0.4, specular=0.0).items():
        i = TEXTURE_COLUMNS.index(name)
        table[:, :ROOM_FACES, i] *= torch.where(calm, factor, 1.0)
    table[:, 2:4, TEXTURE_COLUMNS.index("emission")] = 0.0
    table[:, 0, TEXTURE_COLUMNS.index("emission")] = 0.0


def _from_hsv(h: torch.Tensor, s: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    k = torch.remainder(torch.tensor([5.0, 3.0, 1.0]) + 6.0 * h[..., None], 6.0)
    return v[..., None] * (1.0 - s[..., None] * torch.minimum(k, 4.0 - k).clamp(0.0, 1.0))
