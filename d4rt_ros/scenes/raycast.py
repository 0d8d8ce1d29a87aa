"""Rays against primitives, each in its own coordinates, where it is the unit cube, ball or cylinder.

The maps between frames are affine, so a ray's parameter is the same in all of them; with camera rays
(x, y, 1) it is the depth along z. Vectors are tuples of three tensors that broadcast. Images have the shape
(B, T, H, W) and rays against P primitives (B, T, P, H, W); single queries are frames of one pixel.
"""

from __future__ import annotations

import torch

from d4rt_ros.scenes.scene import Shapes

Vector = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
FAR = 1e6
SKY = -1  # where the slot of a primitive is told
FLOOR = -0.9999  # z of the room in unit coordinates, up to which it is the floor


def dot(a: Vector, b: Vector) -> torch.Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def vector(table: torch.Tensor) -> Vector:
    """(B, T, P, 3) as three (B, T, P, 1, 1)."""
    return tuple(table[..., i, None, None] for i in range(3))


def rotate(matrix: torch.Tensor, v: Vector) -> Vector:
    """matrix (B, T, P, 3, 3) times v of (B, T, 1, H, W): (B, T, P, H, W) each; or all without P."""
    m = matrix[..., None, None]
    return tuple(
        m[..., i, 0, :, :] * v[0] + m[..., i, 1, :, :] * v[1] + m[..., i, 2, :, :] * v[2] for i in range(3)
    )


def crossing(kind: str, o: Vector, d: Vector, taper: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Ray parameters where o + s d enters and leaves the unit primitive; entry > exit where it misses.

    taper: of cylinders, whose radius is 1 - taper (1 + z) / 2.
    """
    if kind in ("room", "box"):
        spans = [_slab(o[i], d[i]) for i in range(3)]
    elif kind == "cylinder":
        spans = [_cone(o, d, 0.5 * taper), _slab(o[2], d[2])]
    else:
        spans = [_round(dot(o, o), dot(o, d), dot(d, d))]
    entry, leave = spans[0]
    for near, far in spans[1:]:
        entry, leave = torch.maximum(entry, near), torch.minimum(leave, far)
    return entry, leave


def _slab(o: torch.Tensor, d: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    inverse = 1.0 / torch.where(d.abs() < 1e-9, 1e-9, d)
    middle, half = -o * inverse, inverse.abs()
    return middle - half, middle + half


def _round(oo: torch.Tensor, od: torch.Tensor, dd: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    inverse = 1.0 / dd.clamp_min(1e-12)
    middle = -od * inverse
    square = middle * middle - (oo - 1.0) * inverse
    half = torch.sqrt(square.clamp_min(0.0))
    return torch.where(square > 0, middle - half, FAR), torch.where(square > 0, middle + half, -FAR)


def _cone(o: Vector, d: Vector, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Within the part x² + y² < (1 - b - b z)² of a double cone that lies below its tip."""
    radius, slope = 1.0 - b - b * o[2], b * d[2]
    aa = d[0] * d[0] + d[1] * d[1] - slope * slope
    aa = torch.where(aa.abs() < 1e-9, 1e-9, aa)
    inverse = 1.0 / aa
    middle = -(o[0] * d[0] + o[1] * d[1] + radius * slope) * inverse
    square = middle * middle - (o[0] * o[0] + o[1] * o[1] - radius * radius) * inverse
    half = torch.sqrt(square.clamp_min(0.0))
    near, far = middle - half, middle + half
    # A ray steeper than the cone is inside at one end: at the one that goes away from the tip.
    steep, down = aa < 0, slope < 0
    entry = torch.where(steep, torch.where(down, far, -FAR), near)
    leave = torch.where(steep, torch.where(down, FAR, near), far)
    return torch.where(square > 0, entry, FAR), torch.where(square > 0, leave, -FAR)


def first_hit(tables: dict[str, torch.Tensor], shapes: Shapes, ray: Vector):
    """Nearest surface in front: (ray parameter (B, T, H, W), primitive (B, T, H, W) int32, SKY = the sky).

    In unit coordinates a ray starts at `camera_origin` (B, T, P, 3) of `tables` and goes along `camera_map`
    (B, T, P, 3, 3) times `ray` (three of (B, T, H, W)). The room is hit where the ray leaves it, everything
    else where it enters. The sky's ray parameter is that of the box behind which it lies.
    """
    origin, matrix, taper = tables["camera_origin"], tables["camera_map"], tables["taper"]
    ray = tuple(r.unsqueeze(2) for r in ray)
    best, index = None, None
    for kind, part in shapes.groups():
        o, d = vector(origin[:, :, part]), rotate(matrix[:, :, part], ray)
        entry, leave = crossing(kind, o, d, taper[:, None, part, None, None])
        if kind == "room":
            best = leave.squeeze(2)
            above = (o[2] + leave * d[2]).squeeze(2) > FLOOR
            index = torch.where(above & tables["sky"][:, None, None, None], SKY, 0).to(torch.int32)
            continue
        entry = torch.where((entry < leave) & (entry > 0), entry, FAR)
        # The compiler fuses two reductions but not this one; by themselves, one is faster than two.
        together = not torch.compiler.is_compiling()
        nearest, which = entry.min(2) if together else (entry.amin(2), entry.argmin(2))
        closer = nearest < best
        index = torch.where(closer, which.to(torch.int32) + part.start, index)
        best = torch.where(closer, nearest, best)
    return best, index


def any_hit(
    tables: dict[str, torch.Tensor], shapes: Shapes, point: Vector, direction: torch.Tensor
) -> torch.Tensor:
    """Whether anything but the room lies ahead of `point` (three of (B, T, H, W)) along `direction`: bool.

    `unit_map` (B, T, P, 3, 3) and `unit_origin` (B, T, P, 3) of `tables` take a world point to unit
    coordinates; direction (B, T, P, 3) is in unit coordinates already.
    """
    inside = None  # for how much of the ray; one primitive after the other, which the compiler fuses best
    for kind, part in shapes.groups():
        if kind == "room":
            continue
        for p in range(part.start, part.stop):
            shift, d = (
                [c[:, :, 0] for c in vector(v[:, :, p : p + 1])] for v in (tables["unit_origin"], direction)
            )
            o = tuple(a + b for a, b in zip(rotate(tables["unit_map"][:, :, p], point), shift))
            entry, leave = crossing(kind, o, d, tables["taper"][:, None, p, None, None])
            length = torch.where(entry > 0, leave - entry, -1.0)
            inside = length if inside is None else torch.maximum(inside, length)
    return inside > 0


def unit_normal(q: Vector, primitive: torch.Tensor, taper: torch.Tensor, shapes: Shapes) -> Vector:
    """Outward normal direction, in unit coordinates, of the surface of `primitive` at q (not normalised)."""
    size = tuple(c.abs() for c in q)
    along_x = (size[0] >= size[1]) & (size[0] >= size[2])
    along_y = (size[1] > size[0]) & (size[1] >= size[2])
    along = (along_x, along_y, ~along_x & ~along_y)
    b = 0.5 * taper
    radius = 1.0 - b - b * q[2]
    across = torch.sqrt(q[0] * q[0] + q[1] * q[1])
    cap = 1.0 - size[2] < (radius - across).abs()
    is_box = primitive < shapes.first_ellipsoid
    is_cylinder = primitive >= shapes.first_cylinder
    out = []
    for i, c in enumerate(q):
        side = torch.where(cap, 0.0, c) if i < 2 else torch.where(cap, torch.sign(c), b * across)
        face = torch.where(along[i], torch.sign(c), 0.0)
        out.append(torch.where(is_box, face, torch.where(is_cylinder, side, c)))
    return tuple(out)
