"""Random materials: ordinary colours, most of them patterned, since what is plain hardly shows motion."""

from __future__ import annotations

import torch

from d4rt_ros.scenes.draw import Draw
from d4rt_ros.scenes.photographs import NAMES
from d4rt_ros.scenes.scene import ROOM_FACES, TEXTURE_COLUMNS, Shapes

COLUMN = {name: i for i, name in enumerate(TEXTURE_COLUMNS)}
STYLES = {"plain": 0.1, "cloudy": 0.35, "striped": 0.2, "checked": 0.2, "wooden": 0.15}  # shares
FLOOR, CEILING, WALL_X, WALL_Y = range(ROOM_FACES)


def sample_textures(
    draw: Draw, config, shapes: Shapes, outdoors: torch.Tensor, tables: torch.Tensor
) -> torch.Tensor:
    """(B, S, C) textures for scenes whose mean depth is 1; the first four are the room's faces.

    outdoors, tables: (B,) bool, the ceiling is a sky; boxes 2 to 5 are the legs of one table.
    """
    count = len(shapes) + ROOM_FACES - 1
    style = _styles(draw, count)
    values = _pattern(draw, style) | _directions(draw, style["wooden"]) | _colours(draw, count)
    values |= _prints(draw, config, count)
    table = torch.stack([values[name] for name in TEXTURE_COLUMNS], -1)
    _make_sky(draw, table, outdoors)
    _calm_room(draw, table)
    legs = slice(ROOM_FACES + 1, ROOM_FACES + 5)
    table[:, legs] = torch.where(tables[:, None, None], table[:, legs.start, None], table[:, legs])
    return table


def _styles(draw: Draw, count: int) -> dict[str, torch.Tensor]:
    """A mask (B, S) for each style, of which one holds."""
    pick, end, masks = draw.uniform(0, 1, count), 0.0, {}
    for name, share in STYLES.items():
        masks[name] = (pick >= end) & (pick < end + share)
        end += share
    return masks


def _pattern(draw: Draw, style: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """How much there is of noise, stripes and checks, and how they look."""
    count = style["plain"].shape[1]
    slight = draw.uniform(0.0, 0.15, count) * draw.chance(0.4, count)
    stripes = (
        draw.uniform(0.5, 1.0, count) * style["striped"] + draw.uniform(0.2, 0.8, count) * style["wooden"]
    )
    return dict(
        warp=torch.where(style["wooden"], draw.uniform(0.4, 1.6, count), slight),
        sharpness=torch.where(style["wooden"], 1.0, draw.log_uniform(1.0, 25.0, count)),
        noise=torch.where(style["cloudy"], draw.uniform(0.7, 1.8, count), draw.uniform(0.2, 0.7, count)),
        stripes=stripes,
        checks=draw.uniform(0.6, 1.0, count) * style["checked"],
        grain=draw.uniform(0.0, 0.3, count) * ~(style["plain"] & draw.chance(0.5, count)),
        specular=draw.uniform(0.0, 0.5, count) * draw.chance(0.4, count),
        emission=0.7 * draw.chance(0.05, count),
    )


def _prints(draw: Draw, config, count: int) -> dict[str, torch.Tensor]:
    """Lines of letters, and photographs; few of either on floor, ceiling and walls."""
    room = torch.arange(count) < ROOM_FACES
    seldom = torch.where(room, draw.chance(0.25, count), True)
    lettered = draw.chance(config.lettered, count) & seldom
    pictured = draw.chance(config.photographs, count) & seldom & ~lettered
    number = draw.integers(0, len(NAMES), count).float()
    scale = torch.where(lettered, draw.log_uniform(5.0, 25.0, count), draw.log_uniform(0.8, 4.0, count))
    return dict(
        print_scale=scale, print_u=draw.uniform(-9, 9, count), print_v=draw.uniform(-9, 9, count),
        glyphs=draw.uniform(0.5, 1.0, count) * lettered, photo=torch.where(pictured, number, -1.0),
    )  # fmt: skip


def _directions(draw: Draw, wooden: torch.Tensor) -> dict[str, torch.Tensor]:
    """Scale and direction of noise and stripes. Wood is stretched along one axis, its rings run across it."""
    count = wooden.shape[1]

    def axis() -> torch.Tensor:
        return torch.nn.functional.one_hot(draw.integers(0, 3, count), 3).float()

    grain, skew = axis(), 0.5 * draw.normal(count, 3) * draw.chance(0.3, count)[..., None]
    frequency = draw.log_uniform(2.0, 14.0, count, 1).expand(-1, -1, 3)
    frequency = torch.where(wooden[..., None] & (grain > 0), 0.15 * frequency, frequency)
    along = axis() + skew
    rate = draw.log_uniform(2.5, 12.0, count, 1)
    stripe = rate * torch.where(wooden[..., None], grain.roll(1, -1), along)
    cross = rate * torch.where(wooden[..., None], grain.roll(2, -1), along.roll(1, -1))
    offset = draw.uniform(-50, 50, count, 3)
    vectors = dict(frequency=frequency, offset=offset, stripe=stripe, cross=cross)
    return {f"{name}_{a}": v[..., i] for name, v in vectors.items() for i, a in enumerate("xyz")}


def _colours(draw: Draw, count: int) -> dict[str, torch.Tensor]:
    """Two linear colours of each texture; the room's are calmer, and its walls mostly light and alike."""
    hue = torch.where(draw.chance(0.6, count), 0.08 + 0.05 * draw.normal(count), draw.uniform(0, 1, count))
    vivid, shift = draw.chance(0.2, count), draw.chance(0.3, count)
    vivid[:, :ROOM_FACES] &= draw.chance(0.2, ROOM_FACES)
    shift[:, :ROOM_FACES] &= draw.chance(0.2, ROOM_FACES)
    saturation = torch.where(vivid, draw.uniform(0.45, 0.9, count), draw.uniform(0.0, 0.4, count))
    hue[:, :ROOM_FACES] = torch.where(draw.chance(0.6, 1), 0.09 + 0.03 * draw.normal(1), hue[:, :ROOM_FACES])
    saturation[:, :ROOM_FACES] *= draw.uniform(0.2, 0.9, 1)
    value = draw.uniform(0.15, 0.95, count)
    bright = draw.chance(0.75, 3), draw.uniform(0.6, 0.97, 3)
    value[:, CEILING:ROOM_FACES] = torch.where(*bright, value[:, CEILING:ROOM_FACES])
    hue[:, WALL_Y] = hue[:, WALL_X]
    for channel in (saturation, value):
        channel[:, WALL_Y] = torch.where(draw.chance(0.7), channel[:, WALL_X], channel[:, WALL_Y])
    first = _from_hsv(hue, saturation, value)
    second = _from_hsv(
        torch.where(shift, draw.uniform(0, 1, count), hue + 0.03 * draw.normal(count)),
        (saturation * draw.uniform(0.5, 1.5, count)).clamp(0, 1),
        torch.where(shift, draw.uniform(0.1, 1, count), value * draw.uniform(0.35, 0.95, count)),
    )
    linear = {"0": first * first, "1": second * second}
    return {f"{n}{k}": c[..., i] for k, c in linear.items() for i, n in enumerate(("red", "green", "blue"))}


def _make_sky(draw: Draw, table: torch.Tensor, outdoors: torch.Tensor) -> None:
    """Outdoors the ceiling is a sky that shines by itself, from grey to blue, with clouds."""
    blue = draw.uniform(0.0, 1.0, 1)
    sky = torch.tensor([0.75, 0.8, 0.85]) * (1 - blue) + torch.tensor([0.25, 0.45, 0.8]) * blue
    ceiling = table[:, CEILING].clone()
    for i, name in enumerate(("red", "green", "blue")):
        ceiling[:, COLUMN[f"{name}0"]], ceiling[:, COLUMN[f"{name}1"]] = sky[:, i], 0.9
    for name, value in dict(
        emission=1.0, grain=0.0, stripes=0.0, checks=0.0, specular=0.0, glyphs=0.0, photo=-1.0
    ).items():
        ceiling[:, COLUMN[name]] = value
    for a in "xyz":
        ceiling[:, COLUMN[f"frequency_{a}"]] *= 0.3
    ceiling[:, COLUMN["noise"]] = draw.uniform(0.0, 1.0)
    table[:, CEILING] = torch.where(outdoors[:, None], ceiling, table[:, CEILING])


def _calm_room(draw: Draw, table: torch.Tensor) -> None:
    """Some ceilings and walls are nearly plain, floors seldom."""
    calm = draw.chance(0.45, ROOM_FACES)
    calm[:, CEILING] |= draw.chance(0.7)
    calm[:, FLOOR] &= draw.chance(0.4)
    for name, factor in dict(stripes=0.0, checks=0.0, noise=0.4, specular=0.0).items():
        table[:, :ROOM_FACES, COLUMN[name]] *= torch.where(calm, factor, 1.0)
    table[:, [FLOOR, WALL_X, WALL_Y], COLUMN["emission"]] = 0.0


def _from_hsv(h: torch.Tensor, s: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    k = torch.remainder(torch.tensor([5.0, 3.0, 1.0]) + 6.0 * h[..., None], 6.0)
    return v[..., None] * (1.0 - s[..., None] * torch.minimum(k, 4.0 - k).clamp(0.0, 1.0))
