"""Pinhole cameras with lens distortion: world, camera and image coordinates.

World coordinates are in millimetres. In a camera's frame x points right, y down, z forward; pixels
are (x, y), the centre of the top-left pixel is (0, 0).

Arrays may be NumPy or torch: points are returned as the kind that was given. A camera holds
tensors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from posezoo.arrays import Array, ArrayT, as_floats, explained, same_kind
from posezoo.geometry.affine import precise


@dataclass(frozen=True, eq=False, kw_only=True)
class Camera:
    """One camera or a batch of cameras: extrinsics, intrinsics and lens distortion.

    A world point X is at `rotation @ (X - translation)` in the camera's frame (x right, y down, z
    forward). There x / z and y / z are distorted by the lens, multiplied by `focal` and shifted by
    `center`. Let x and y stand for the two ratios and r2 = x^2 + y^2. With `radial` (k1, k2, k3)
    and `tangential` (p1, p2) they are distorted to

        x (1 + k1 r2 + k2 r2^2 + k3 r2^3 + t) + p2 r2        t = w (p1 y + p2 x)
        y (1 + k1 r2 + k2 r2^2 + k3 r2^3 + t) + p1 r2

    | `lens` | w | order of `tangential` | used by |
    |---|---|---|---|
    | `"opencv"` | 2 | (p1, p2) | OpenCV, MATLAB's toolboxes, HumanEva |
    | `"human36m"` | 1 | (p1, p2) | Human3.6M's metadata.xml and its toolbox, Martinez et al. |
    | `"videopose3d"` | 1 | (p2, p1) | the constants in VideoPose3D's code: the same map, coefficients swapped |

    Args:
        rotation: `(..., 3, 3)` world to camera; its rows are the camera's axes in the world.
        translation: `(..., 3)` position of the camera in the world, mm. With OpenCV's `t` it is
            `-rotation.T @ t`.
        focal: `(..., 2)` pixels.
        center: `(..., 2)` the principal point, pixels.
        radial: `(..., 3)`. Defaults to zeros.
        tangential: `(..., 2)`. Defaults to zeros.
        lens: the distortion model, from the table.
        size: (H, W) of the image; not used by the methods.

    Leading axes of the tensors broadcast to one batch of cameras. In the methods those axes are the
    leading ones of the points: cameras `(B,)` take points `(B, ..., 3)`, a single camera takes any
    `(..., 3)`. A batch supports `len` and indexing.

    Raises:
        ValueError: shapes that do not fit, or an unknown lens.

    Examples:
        >>> camera = Camera(rotation=torch.eye(3), translation=torch.tensor([0.0, 0.0, -4000.0]),
        ...                 focal=torch.tensor([1000.0, 1000.0]), center=torch.tensor([500.0, 500.0]))
        >>> camera.project(camera.world_to_camera(torch.tensor([[400.0, 0.0, 0.0]]))).tolist()
        [[600.0, 500.0]]
    """

    rotation: Tensor
    translation: Tensor
    focal: Tensor
    center: Tensor
    radial: Tensor | None = None
    tangential: Tensor | None = None
    lens: str = "opencv"
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.lens not in LENSES:
            raise ValueError(f"lens: expected one of {', '.join(map(repr, LENSES))}, got {self.lens!r}")
        for name in _CAMERA_SHAPES:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, as_floats(getattr(self, name), name))
        like = self.focal
        for name, length in (("radial", 3), ("tangential", 2)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, torch.zeros(length, dtype=like.dtype, device=like.device))
        parts = {name: getattr(self, name) for name in _CAMERA_SHAPES}
        for name, shape in _CAMERA_SHAPES.items():
            if parts[name].shape[-len(shape) :] != shape:
                raise ValueError(f"Camera: {name} is {tuple(parts[name].shape)}, expected {_dotted(shape)}")
        batches = [parts[name].shape[: -len(shape)] for name, shape in _CAMERA_SHAPES.items()]
        try:
            batch = torch.broadcast_shapes(*batches)
        except RuntimeError:
            shown = ", ".join(f"{name} {tuple(part.shape)}" for name, part in parts.items())
            raise ValueError(f"Camera: the leading axes must broadcast to one batch of cameras, got {shown}") from None
        for name, shape in _CAMERA_SHAPES.items():
            object.__setattr__(self, name, parts[name].expand(*batch, *shape))

    def __len__(self) -> int:
        if not self.rotation.ndim > 2:
            raise TypeError("this is a single camera, not a batch of them")
        return len(self.rotation)

    def __getitem__(self, index: "int | slice | Tensor") -> "Camera":
        len(self)
        return self._each(lambda part: part[index])

    def to(self, device: torch.device | str) -> "Camera":
        """Return the cameras on another device.

        The methods accept points on any device; moving the cameras once saves a copy per call.
        """
        return self._each(lambda part: part.to(device))

    def world_to_camera(self, points: ArrayT) -> ArrayT:
        """Convert world points, mm, to the camera's frame, mm: `(..., 3) -> (..., 3)`.

        Examples:
            >>> camera = look_at(torch.tensor([0.0, 1500.0, 4000.0]), torch.tensor([0.0, 1000.0, 0.0]),
            ...                  focal=1000.0, size=(1000, 1000))
            >>> camera.world_to_camera(torch.tensor([0.0, 1500.0, 4000.0])).tolist()
            [0.0, 0.0, 0.0]
        """
        given = as_floats(points, "points")
        rotation, translation = self._lead(given, "rotation", "translation")
        moved = (rotation @ (precise(given) - translation)[..., None])[..., 0]
        return same_kind(points, moved.to(given.dtype))

    def camera_to_world(self, points: ArrayT) -> ArrayT:
        """Convert points from the camera's frame to the world, the inverse of `world_to_camera`."""
        given = as_floats(points, "points")
        rotation, translation = self._lead(given, "rotation", "translation")
        moved = (rotation.mT @ precise(given)[..., None])[..., 0] + translation
        return same_kind(points, moved.to(given.dtype))

    def project(self, points: ArrayT) -> ArrayT:
        """Project points in the camera's frame, of any unit, to pixels: `(..., 3) -> (..., 2)`.

        A point in the camera's plane or behind it has no image and becomes NaN. The distortion
        polynomial is not valid far outside the image, where it was not calibrated (VideoPose3D
        clamps x / z and y / z to [-1, 1]).

        Examples:
            >>> lens = {"radial": torch.tensor([-0.2, 0.2, 0.0]), "tangential": torch.tensor([-0.001, 0.002])}
            >>> camera = Camera(rotation=torch.eye(3), translation=torch.zeros(3), focal=torch.tensor([1000.0, 1000.0]),
            ...                 center=torch.tensor([500.0, 500.0]), lens="human36m", **lens)
            >>> camera.project(torch.tensor([[1.0, 0.0, 2.0], [1.0, 0.0, -2.0]])).round(decimals=2).tolist()
            [[982.25, 499.75], [nan, nan]]
        """
        given = as_floats(points, "points")
        focal, center, radial, tangential = self._lead(given, "focal", "center", "radial", "tangential")
        exact = precise(given)
        depth = exact[..., 2:]
        in_front = depth > 0
        # points behind are divided by 1: an infinity, though masked later, would make NaN of all gradients
        flat = exact[..., :2] / torch.where(in_front, depth, 1.0)
        if self.lens == "videopose3d":  # its constants are (p2, p1)
            tangential = tangential.flip(-1)
        square = flat.square().sum(dim=-1, keepdim=True)
        stretch = 1 + square * (radial[..., :1] + square * (radial[..., 1:2] + square * radial[..., 2:]))
        stretch = stretch + LENSES[self.lens] * (tangential.flip(-1) * flat).sum(dim=-1, keepdim=True)
        pixels = focal * (flat * stretch + tangential.flip(-1) * square) + center
        return same_kind(points, torch.where(in_front, pixels, torch.nan).to(given.dtype))

    def _lead(self, points: Tensor, *names: str) -> list[Tensor]:
        """Parameters of the camera with the axes of the points `(..., 3)`, to broadcast."""
        batch = self.translation.shape[:-1]
        if points.shape[-1:] != (3,) or points.ndim - 1 < len(batch):
            raise ValueError(f"points: expected {_dotted((3,), batch)}, got {tuple(points.shape)}")
        if any(ours not in (1, theirs) and theirs != 1 for ours, theirs in zip(batch, points.shape, strict=False)):
            raise ValueError(
                f"points: {tuple(points.shape)} do not fit {tuple(batch)} cameras, whose axes come first; "
                "use `points[None]` to project the same points with each camera"
            )
        # the axes of the cameras come first; an axis of 1 for each further one of the points
        gap = (1,) * (points.ndim - 1 - len(batch))
        return [precise(getattr(self, n)).reshape(*batch, *gap, *_CAMERA_SHAPES[n]).to(points.device) for n in names]

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Camera":
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in _CAMERA_SHAPES}
        return replace(self, **changed)


LENSES = {"opencv": 2, "human36m": 1, "videopose3d": 1}  # the factor w of the table in `Camera`
_CAMERA_SHAPES: dict[str, tuple[int, ...]] = {
    "rotation": (3, 3),
    "translation": (3,),
    "focal": (2,),
    "center": (2,),
    "radial": (3,),
    "tangential": (2,),
}


@explained
def look_at(
    position: Array,
    target: Array,
    *,
    focal: Array | float,
    size: tuple[int, int],
    up: Sequence[float] = (0.0, 1.0, 0.0),
) -> Camera:
    """Return a camera at `position`, directed at `target`, without roll and distortion.

    Args:
        position: `(..., 3)` in the world, mm.
        target: `(..., 3)` in the world, mm.
        focal: pixels, one number or `(...)`.
        size: (H, W) of the image.
        up: the world's vertical axis. Defaults to y, as in CMU; `(0, 0, 1)` for Human3.6M.

    Raises:
        ValueError: a camera is at its target, or directly above or below it.

    Examples:
        >>> camera = look_at(torch.tensor([0.0, 0.0, 4000.0]), torch.zeros(3), focal=1000.0, size=(1000, 800))
        >>> above_and_left = torch.tensor([-100.0, 100.0, 0.0])      # the optical axis is -z, right is +x
        >>> camera.project(camera.world_to_camera(above_and_left)).tolist()
        [374.5, 474.5]
    """
    position = precise(as_floats(position, "position"))
    target = precise(as_floats(target, "target", position))
    upward = torch.as_tensor(up, dtype=position.dtype, device=position.device)
    forward = target - position
    distance = forward.norm(dim=-1, keepdim=True)
    right = torch.linalg.cross(forward / distance, upward.expand(forward.shape), dim=-1)
    level = right.norm(dim=-1, keepdim=True)
    if not bool((distance > 0).all()) or not bool((level > 1e-6 * upward.norm()).all()):
        raise ValueError(
            "look_at: expected cameras beside their targets, got one that is at its target or looks straight "
            "up or down, so that its roll is undefined; move it sideways or give another `up`"
        )
    forward, right = forward / distance, right / level
    # rows are the camera's axes in the world: x to the right, y down, z forward
    rotation = torch.stack([right, torch.linalg.cross(forward, right, dim=-1), forward], dim=-2)
    focal = focal if isinstance(focal, float | int) else as_floats(focal, "focal")
    lengths = torch.as_tensor(focal, dtype=position.dtype, device=position.device)
    return Camera(
        rotation=rotation,
        translation=position,
        focal=torch.stack([lengths, lengths], dim=-1),
        center=position.new_tensor([(size[1] - 1) / 2, (size[0] - 1) / 2]),
        size=size,
    )


def _dotted(shape: tuple[int, ...], lead: Sequence[int] = ()) -> str:
    return f"({', '.join([*map(str, lead), '...', *map(str, shape)])})"
