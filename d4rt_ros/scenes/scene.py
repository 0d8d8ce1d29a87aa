"""A batch of procedural scenes as plain parameters; what moves is a function of time in seconds."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace

import torch
from safetensors import safe_open
from safetensors.torch import save_file

# One column each of Scenes.texture; see texture.py for their meaning.
TEXTURE_COLUMNS = (
    "frequency_x frequency_y frequency_z offset_x offset_y offset_z "
    "stripe_x stripe_y stripe_z cross_x cross_y cross_z warp sharpness noise stripes checks grain "
    "red0 green0 blue0 red1 green1 blue1 specular emission print_scale print_u print_v glyphs photo"
).split()
VERSION = "3"  # of files of scenes
ROOM_FACES = 4  # texture slots of the room: floor, ceiling, walls across x, walls across y


@dataclass(frozen=True)
class Shapes:
    """What the slots hold: slot 0 the room (a box seen from inside), then boxes, ellipsoids, cylinders.

    A cylinder may narrow towards its top, down to a cone.
    """

    boxes: int = 14
    ellipsoids: int = 5
    cylinders: int = 6

    @property
    def first_ellipsoid(self) -> int:
        return 1 + self.boxes

    @property
    def first_cylinder(self) -> int:
        return 1 + self.boxes + self.ellipsoids

    def groups(self) -> tuple[tuple[str, slice], ...]:
        """(kind, slots) of each kind that there is."""
        ends = (0, 1, self.first_ellipsoid, self.first_cylinder, len(self))
        kinds = ("room", "box", "ellipsoid", "cylinder")
        return tuple((k, slice(a, b)) for k, a, b in zip(kinds, ends, ends[1:]) if b > a)

    def __len__(self) -> int:
        return 1 + self.boxes + self.ellipsoids + self.cylinders


@dataclass(frozen=True)
class Scenes:
    """B scenes of P primitives, K waves of the camera, J waves of each primitive, S = P + 3 textures.

    A primitive belongs to a body, which moves; within the body it hangs on up to two hinges, the outer one
    first (a shoulder and an elbow); and its half size may change, while its lower end stays where it is.

    World: metres, z up, the floor at z = 0. All float32 unless said otherwise.
    Every motion is a sum of waves, amplitude * sin(frequency * t + phase), so it is bounded and, where all
    frequencies are multiples of 2 pi / period, it closes after `period` seconds.
    """

    focal: torch.Tensor  # (B, 2) focal lengths in image widths and heights: fx / (W - 1), fy / (H - 1)
    principal: torch.Tensor  # (B, 2) principal point, normalised like uv
    aspect: torch.Tensor  # (B,) width / height of the image with square pixels
    camera_position: torch.Tensor  # (B, 3) middle of the camera's path
    camera_target: torch.Tensor  # (B, 3) middle of the path of the point that it looks at
    camera_frequency: torch.Tensor  # (B, K) rad/s
    camera_phase: torch.Tensor  # (B, K)
    position_amplitude: torch.Tensor  # (B, K, 3) amplitudes of the position
    target_amplitude: torch.Tensor  # (B, K, 3) amplitudes of the target
    roll_amplitude: torch.Tensor  # (B, K) amplitudes of the roll, rad
    half_size: torch.Tensor  # (B, P, 3) half extents, semi-axes, or (radius, radius, half height)
    center: torch.Tensor  # (B, P, 3) middle of the path of the body that the primitive belongs to
    offset: torch.Tensor  # (B, P, 3) of the primitive from its body's centre, turning with it
    rotation: torch.Tensor  # (B, P, 4) quaternion xyzw of the primitive in its body
    frequency: torch.Tensor  # (B, P, J) rad/s
    phase: torch.Tensor  # (B, P, J)
    amplitude: torch.Tensor  # (B, P, J, 3) amplitudes of the body's translation
    spin_axis: torch.Tensor  # (B, P, 3) unit axis of the body's rotation
    spin_rate: torch.Tensor  # (B, P) rad/s
    spin_amplitude: torch.Tensor  # (B, P, J) amplitudes of the angle, rad
    pivot: torch.Tensor  # (B, P, 2, 3) of the two hinges, in the body's frame while every hinge is at zero
    hinge_axis: torch.Tensor  # (B, P, 2, 3) unit
    hinge: torch.Tensor  # (B, P, 2, 4) mean angle, its amplitude (rad), frequency (rad/s), phase
    stretch: torch.Tensor  # (B, P, 3) how far the half size swings, as a share of it, in -0.9..0.9
    stretch_frequency: torch.Tensor  # (B, P) rad/s
    stretch_phase: torch.Tensor  # (B, P)
    # (B, P) of cylinders: how much narrower the top is than the base; 0 = not, 1 = a cone
    taper: torch.Tensor
    moving: torch.Tensor  # (B, P) bool
    texture: torch.Tensor  # (B, S, len(TEXTURE_COLUMNS))
    light_direction: torch.Tensor  # (B, 3) unit, towards the light
    light: torch.Tensor  # (B, 3) linear RGB of the directional light
    ambient: torch.Tensor  # (B, 3) linear RGB
    shadow: torch.Tensor  # (B,) 0 = the light casts no shadow, 1 = a full one
    sky: torch.Tensor  # (B,) bool, the room's walls and ceiling are a sky: infinitely far, without depth
    sensor: torch.Tensor  # (B, len(SENSOR_COLUMNS)), see sensor.py
    exposure: torch.Tensor  # (B,) seconds during which a frame is exposed, its time in the middle
    shapes: Shapes = Shapes()

    def __len__(self) -> int:
        return len(self.aspect)

    @property
    def device(self) -> torch.device:
        return self.aspect.device

    def tensors(self) -> dict[str, torch.Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "shapes"}

    def __getitem__(self, index) -> "Scenes":
        """The scenes of a slice, a list or an index tensor; an int gives a batch of one."""
        if isinstance(index, int):
            index = [index]
        return replace(self, **{name: value[index] for name, value in self.tensors().items()})

    def to(self, device) -> "Scenes":
        return replace(self, **{name: value.to(device) for name, value in self.tensors().items()})


def concatenate(batches: list[Scenes]) -> Scenes:
    """One batch of several with the same shapes. Raises ValueError where they differ."""
    if len({b.shapes for b in batches}) != 1:
        raise ValueError(f"scenes of different shapes cannot be joined: {[b.shapes for b in batches]}")
    names = batches[0].tensors()
    return replace(batches[0], **{n: torch.cat([getattr(b, n) for b in batches]) for n in names})


def save_scenes(scenes: Scenes, path) -> None:
    """Write to a .safetensors file."""
    tensors = {n: t.detach().cpu().contiguous() for n, t in scenes.tensors().items()}
    save_file(
        tensors, str(path), metadata={"d4rt_scenes": VERSION, "shapes": json.dumps(vars(scenes.shapes))}
    )


def load_scenes(path, device="cpu") -> Scenes:
    """Read what `save_scenes` wrote. Raises ValueError for any other file or another version."""
    with safe_open(str(path), "pt", device=str(device)) as file:
        metadata = file.metadata() or {}
        names = {f.name for f in fields(Scenes)} - {"shapes"}
        if metadata.get("d4rt_scenes", VERSION) != VERSION:
            raise ValueError(
                f"{path} has scenes of version {metadata['d4rt_scenes']}, this program reads version {VERSION}; "
                "draw and save them again"
            )
        if "d4rt_scenes" not in metadata or set(file.keys()) != names:
            raise ValueError(f"{path} is not a file of scenes; write one with d4rt_ros.scenes.save_scenes")
        return Scenes(
            **{n: file.get_tensor(n) for n in names}, shapes=Shapes(**json.loads(metadata["shapes"]))
        )


def crop_camera(scenes: Scenes, window: torch.Tensor) -> Scenes:
    """The same scenes seen through a part of the image, exactly: what renders it, renders the crop.

    window: (B, 4) u0, v0, u1, v1, normalised like uv; it may reach beyond 0..1. A uv of the whole image is
    (uv - (u0, v0)) / (u1 - u0, v1 - v0) in the crop. Raises ValueError where a window has no area.
    """
    first, size = window[:, :2], window[:, 2:] - window[:, :2]
    # One look at the values, where that does not make the host wait for a GPU.
    if window.device.type == "cpu" and not (size > 0).all():
        raise ValueError("a window of crop_camera is empty; u0 < u1 and v0 < v1 are needed")
    return replace(
        scenes,
        focal=scenes.focal / size,
        principal=(scenes.principal - first) / size,
        aspect=scenes.aspect * size[:, 0] / size[:, 1],
    )


def intrinsics(scenes: Scenes, height: int, width: int) -> torch.Tensor:
    """(B, 3, 3) camera matrix in the pixels of an image of that size."""
    scale = torch.tensor([width - 1.0, height - 1.0], device=scenes.device)
    matrix = torch.zeros(len(scenes), 3, 3, device=scenes.device)
    matrix[:, [0, 1], [0, 1]] = scenes.focal * scale
    matrix[:, :2, 2] = scenes.principal * scale
    matrix[:, 2, 2] = 1.0
    return matrix
