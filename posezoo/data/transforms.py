"""Training transforms: person crop with geometric augmentation, colour jitter, cutout.

`PersonCrop` transforms one sample, in the workers of the data loader; `jitter_colour` and `cutout`
transform a batch, on its device. Random numbers are from torch's generator or the one given, so
that a seed makes them reproducible.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from posezoo.arrays import check_number, check_size, explained
from posezoo.geometry import box_to_crop, crop_matrix, tight_box, transform_points
from posezoo.inputs import crop_filled
from posezoo.skeletons import Skeleton

REGIONS = ("person", "joints", "image")  # of a crop, as in `posezoo.contract`
LOWER_BODY = ("hip", "knee", "ankle", "pelvis", "foot", "toe", "heel")
HALF_BODY_PADDING = 1.5  # HRNet's crop around half a body
ROTATION_PROBABILITY = 0.6  # Simple Baselines and HRNet
MOST_HOLES = 1000  # rectangles of `cutout`
COLOUR_WEIGHTS = (0.299, 0.587, 0.114)  # luma of RGB, ITU-R BT.601


@dataclass(frozen=True, kw_only=True)
class PersonCrop:
    """Crop the person with the augmentations of Simple Baselines and HRNet, in one resampling.

    All augmentations are off by default; `PersonCrop(size=(256, 192))` is the crop of evaluation.

    Args:
        size: (H, W) of the crop.
        padding: factor on both sides of the box, for context.
        margin: pixels of the image added to each side of the box, before `padding`.
        region: "person", the sample's box; "joints", the tight box of the visible keypoints;
            "image", the whole image.
        fill: value in [0, 1] of pixels outside of the image.
        keep_aspect: False stretches the box to the crop (DeepPose, PoseRNN).
        skeleton: of the keypoints; required for `flip` and `half_body`.
        scale: the crop's extent is multiplied by N(1, scale), clipped to 1 - scale and 1 + scale;
            two numbers are the range of a uniform distribution instead.
        rotation: degrees; the angle is N(0, rotation), clipped to twice that; two numbers are the
            range of a uniform distribution instead.
        rotation_probability: probability of a rotation.
        flip: probability of a horizontal flip, with left and right keypoints exchanged.
        translation: the box moves uniformly by up to this fraction of its sides.
        half_body: probability of cropping around the upper (7 in 10) or lower body of a person with
            more than half the keypoints visible.
        truncation: probability that the image ends inside the person, as in half-length portraits:
            20 to 60 % of the box are blacked out at the bottom (7 in 10) or another side, with
            `visible` False for keypoints there.

    Returns, when called with a sample: `image` `(3, *size)` float in [0, 1], `keypoints` in pixels
    of the crop, `visible`, `matrix` `(2, 3)` from the image to the crop; `others` and `center`,
    where the sample has them, also in pixels of the crop; all other entries except `box` are kept.

    Raises:
        ValueError: an argument out of its range, or `skeleton` missing.

    Examples:
        >>> sample = {"image": torch.zeros(3, 100, 80, dtype=torch.uint8), "keypoints": torch.tensor([[40.0, 50.0]]),
        ...           "visible": torch.tensor([True]), "box": torch.tensor([20.0, 30.0, 60.0, 70.0])}
        >>> crop = PersonCrop(size=(50, 50))(sample)
        >>> crop["image"].shape, crop["keypoints"].tolist()
        (torch.Size([3, 50, 50]), [[25.0, 25.0]])
    """

    size: tuple[int, int]
    padding: float = 1.25
    margin: float = 0.0
    region: str = "person"
    fill: float = 0.0
    keep_aspect: bool = True
    skeleton: Skeleton | None = None
    scale: float | tuple[float, float] = 0.0
    rotation: float | tuple[float, float] = 0.0
    rotation_probability: float = ROTATION_PROBABILITY
    flip: float = 0.0
    translation: float = 0.0
    half_body: float = 0.0
    truncation: float = 0.0

    def __post_init__(self) -> None:
        check_size(self.size)
        check_number(self.padding, "padding", open=True)
        if (self.flip or self.half_body) and self.skeleton is None:
            raise ValueError("PersonCrop: flip and half_body need skeleton=, to tell left from right and up from down")
        if self.region not in REGIONS or not self.margin >= 0:
            raise ValueError(
                f"PersonCrop: expected a region among {', '.join(REGIONS)} and a margin of 0 or more pixels, got "
                f"{self.region!r} and {self.margin}"
            )
        for name in ("flip", "half_body", "truncation", "rotation_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"PersonCrop: {name} is a probability, expected 0 to 1, got {getattr(self, name)}")
        for name in ("scale", "rotation"):
            drawn = getattr(self, name)
            if isinstance(drawn, tuple | list) and not (len(drawn) == 2 and drawn[0] <= drawn[1]):
                raise ValueError(f"PersonCrop: {name}: expected one number, or (low, high), got {drawn}")
        if isinstance(self.scale, tuple | list):
            if not self.scale[0] > 0:
                raise ValueError(f"PersonCrop: scale multiplies the crop's extent, expected above 0, got {self.scale}")
        elif not 0 <= self.scale < 1:
            raise ValueError(f"PersonCrop: scale is a fraction of the crop, expected 0 to below 1, got {self.scale}")
        for name in ("rotation", "translation"):
            width = getattr(self, name)
            if not isinstance(width, tuple | list) and not width >= 0:
                raise ValueError(f"PersonCrop: {name} is a range, expected 0 or more, got {width}")

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        image, padding = sample["image"], self.padding
        keypoints, visible = sample["keypoints"], sample["visible"]
        box = self.box_of(sample)

        if chance(self.truncation):
            image, box, visible = truncate(image, box, keypoints, visible)
        if chance(self.half_body) and self.skeleton is not None:
            half = half_of_body(visible, self.skeleton)
            if half is not None:
                box, padding = tight_box(keypoints, half), HALF_BODY_PADDING
        if self.translation:
            # in shares of the box, so that the shift looks alike for people of all sizes
            box = box + ((2 * torch.rand(2) - 1) * self.translation * (box[2:] - box[:2])).repeat(2)

        center, extent = box_to_crop(box[None], self.size, padding=padding, keep_aspect=self.keep_aspect)
        if self.scale:
            extent = extent * draw(self.scale, middle=1.0, clip=1)
        rotation = (
            draw(self.rotation, middle=0.0, clip=2) if self.rotation and chance(self.rotation_probability) else 0.0
        )
        flip = chance(self.flip)
        matrix = crop_matrix(center, extent, self.size, rotation=rotation, flip=flip, keep_aspect=self.keep_aspect)

        if flip and self.skeleton is not None:  # the matrix mirrors positions; here left and right are exchanged
            order = list(self.skeleton.flip_index)
            keypoints, visible = keypoints[order], visible[order]
        moved = {key: value for key, value in sample.items() if key != "box"}
        if "others" in sample:  # `(P, K, 2)` and `(P, K)`, the other people of the image
            others, others_visible = sample["others"], sample["others_visible"]
            if flip and self.skeleton is not None:
                others, others_visible = others[:, order], others_visible[:, order]
            moved["others"] = torch.where(others_visible[..., None], transform_points(others, matrix[0]), 0.0)
            moved["others_visible"] = others_visible
        if "center" in sample:
            moved["center"] = transform_points(sample["center"][None], matrix[0])[0]
        return {
            **moved,
            "image": crop_filled(image.float() / 255, matrix, self.size, self.fill)[0],
            "keypoints": torch.where(visible[:, None], transform_points(keypoints, matrix[0]), 0.0),
            "visible": visible,
            "matrix": matrix[0],
        }

    def plain(self) -> "PersonCrop":
        """Return the same crop without augmentation, that of evaluation."""
        return PersonCrop(size=self.size, **self.settings())

    def settings(self) -> dict[str, Any]:
        """Return what a crop without augmentation depends on, but for its size."""
        return {name: getattr(self, name) for name in ("padding", "margin", "region", "fill", "keep_aspect")}

    def box_of(self, sample: dict[str, Any]) -> Tensor:
        """Return the box `(4,)` to crop, with its margin, before augmentation and padding."""
        box: Tensor = sample["box"]
        if self.region == "image":
            height, width = sample["image"].shape[-2:]
            box = box.new_tensor([0.0, 0.0, width, height])
        elif self.region == "joints" and bool(sample["visible"].any()):
            box = tight_box(sample["keypoints"], sample["visible"])
        return box + self.margin * box.new_tensor([-1.0, -1.0, 1.0, 1.0]) if self.margin else box


def chance(probability: float) -> bool:
    """Return True with `probability`.

    At 0 no random number is drawn, so that switching one augmentation off does not change the
    others.
    """
    return probability > 0 and bool(torch.rand(()) < probability)


def draw(spread: float | tuple[float, float], *, middle: float, clip: float) -> float:
    """Draw N(middle, spread), clipped to `clip` standard deviations; for two numbers, uniformly."""
    if isinstance(spread, tuple | list):
        return spread[0] + (spread[1] - spread[0]) * float(torch.rand(()))
    return middle + spread * float(torch.randn(()).clamp(-clip, clip))


def half_of_body(visible: Tensor, skeleton: Skeleton) -> Tensor | None:
    """Mask `(K,)` of the visible keypoints of a random half of the body; None if too few."""
    lower = torch.tensor([name.split("_")[-1] in LOWER_BODY for name in skeleton.keypoints])
    upper_half, lower_half = visible & ~lower, visible & lower
    if int(visible.sum()) <= len(skeleton) // 2:
        return None
    first, second = (upper_half, lower_half) if chance(0.7) else (lower_half, upper_half)
    return next((half for half in (first, second) if int(half.sum()) > 2), None)


def truncate(image: Tensor, box: Tensor, keypoints: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Black out the image beyond a line through the box.

    Returns the image, the remaining box and the mask of keypoints that are still visible. Nothing
    changes if fewer than three keypoints would remain.
    """
    lost = 0.2 + 0.4 * float(torch.rand(()))
    side = 3 if chance(0.7) else int(torch.randint(3, ()))  # x1, y1, x2 or y2 moves inwards
    axis, far = side % 2, side >= 2
    extent = float(box[axis + 2] - box[axis])
    edge = round(float(box[side]) + (-lost if far else lost) * extent)
    kept = visible & ((keypoints[:, axis] < edge) if far else (keypoints[:, axis] >= edge))
    shorter = box.clone()
    shorter[side] = edge
    if int(kept.sum()) < 3 or float(shorter[axis + 2] - shorter[axis]) < 1:
        return image, box, visible
    image = image.clone()
    beyond = slice(max(edge, 0), None) if far else slice(0, max(edge, 0))
    # 0 is what the crop has outside the photograph, so that the network cannot tell the two borders apart
    image[(..., beyond) if axis == 0 else (..., beyond, slice(None))] = 0
    return image, shorter, kept


@explained
def jitter_colour(images: Tensor, *, strength: float = 0.2, generator: torch.Generator | None = None) -> Tensor:
    """Multiply brightness, contrast, saturation and channel gains by U(1 - strength, 1 + strength).

    Args:
        images: `(B, 3, H, W)` in [0, 1]; the result is clamped to it.
        strength: maximum change of each factor.
        generator: random generator on the device of `images`. Defaults to torch's global one.

    Examples:
        >>> jitter_colour(torch.full((2, 3, 4, 4), 0.5), strength=0.0).unique().tolist()
        [0.5]
    """
    check_number(strength, "strength")
    factors = 1 + strength * (2 * torch.rand(6, len(images), 1, 1, 1, device=images.device, generator=generator) - 1)
    brightness, contrast, saturation = factors[:3]
    # one gain per channel: white balance differs between cameras
    gains = factors[3:].squeeze(-1).movedim(0, 1).reshape(-1, 3, 1, 1)
    luma = (images * images.new_tensor(COLOUR_WEIGHTS).view(3, 1, 1)).sum(dim=1, keepdim=True)
    images = luma + (images - luma) * saturation
    middle = luma.mean(dim=(-2, -1), keepdim=True)
    return (((images - middle) * contrast + middle) * brightness * gains).clamp(0, 1)


@explained
def cutout(images: Tensor, *, count: int = 1, size: float = 0.25, generator: torch.Generator | None = None) -> Tensor:
    """Fill random rectangles with the image's mean colour.

    Args:
        images: `(B, 3, H, W)`.
        count: rectangles per image.
        size: maximum fraction of H and of W that one covers.
        generator: random generator on the device of `images`. Defaults to torch's global one.

    Examples:
        >>> holes = cutout(torch.eye(32).expand(1, 3, 32, 32), size=0.5)
        >>> holes.shape
        torch.Size([1, 3, 32, 32])
    """
    if not isinstance(count, int) or not 0 <= count <= MOST_HOLES or not 0 <= size <= 1:
        raise ValueError(f"count and size: expected 0 to {MOST_HOLES} and a fraction, got {count!r} and {size!r}")
    height, width = images.shape[-2:]
    fill = images.mean(dim=(-2, -1), keepdim=True)
    y = torch.arange(height, device=images.device).view(1, -1, 1)
    x = torch.arange(width, device=images.device).view(1, 1, -1)
    for _ in range(count):
        draw = torch.rand(4, len(images), 1, 1, device=images.device, generator=generator)
        half_y, half_x = draw[0] * size * height / 2, draw[1] * size * width / 2
        hole = ((y - draw[2] * height).abs() < half_y) & ((x - draw[3] * width).abs() < half_x)
        images = torch.where(hole[:, None], fill, images)
    return images
