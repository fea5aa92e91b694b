"""The input of a network of images: crop, resize and normalise, as its weights expect."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from posezoo.arrays import explained
from posezoo.geometry import box_to_crop, crop, crop_matrix
from posezoo.images import load_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from posezoo.images import ImageLike


@dataclass(frozen=True)
class InputTransform:
    """Crop a person, or fit a whole image, to the input of a network.

    Attributes:
        size: (H, W) of the input.
        padding: side of the crop in units of the person's box.
        margin: pixels of the image added to each side of the box, before `padding`.
        region: "image" for the whole image whatever the box, else the person's box.
        fill: value of pixels outside of the image.
        keep_aspect: whether the crop keeps the image's aspect ratio.
        corner_aligned: whether the corners of the box are on the outer pixels' centres (UDP).
        mean: subtracted from the image in [0, 1], `(3,)`.
        std: the divisor after that, `(3,)`.
    """

    size: tuple[int, int]
    padding: float = 1.25
    margin: float = 0.0
    region: str = "person"
    fill: float = 0.0
    keep_aspect: bool = True
    corner_aligned: bool = False
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __call__(self, image: "ImageLike", box: "Sequence[float] | None" = None) -> Tensor:
        """Return the input `(3, H, W)` for an image, or a person's box (x1, y1, x2, y2)."""
        pixels = load_image(image)
        height, width = pixels.shape[-2:]
        cut = crop_filled(pixels, self.matrix((height, width), box)[None], self.size, self.fill)[0]
        return (cut - cut.new_tensor(self.mean)[:, None, None]) / cut.new_tensor(self.std)[:, None, None]

    def matrix(self, image_size: tuple[int, int], box: "Sequence[float] | None" = None) -> Tensor:
        """Return the matrix `(2, 3)` from an image of `image_size` (H, W) to the input."""
        whole = box is None and self.region != "image"  # without context around it
        corners = torch.tensor([[0.0, 0.0, 1.0, 1.0] if box is None else list(box)], dtype=torch.float32)
        return person_matrices(
            corners,
            image_size,
            self.size,
            padding=1.0 if whole else self.padding,
            margin=self.margin,
            region="image" if whole else self.region,
            keep_aspect=self.keep_aspect,
            corner_aligned=self.corner_aligned,
        )[0]


def person_matrices(
    boxes: Tensor,
    image_size: tuple[int, int],
    size: tuple[int, int],
    *,
    padding: float,
    margin: float = 0.0,
    region: str = "person",
    keep_aspect: bool = True,
    corner_aligned: bool = False,
) -> Tensor:
    """Return the matrices `(N, 2, 3)` from an image to the inputs of a network for people's boxes.

    Args:
        boxes: `(N, 4)` pixels of the image.
        image_size: (H, W) of the image.
        size: (H, W) of the inputs.
        padding: as in `InputTransform`, like the other arguments.
        margin: as in `InputTransform`; not for `region="image"`.
        region: as in `InputTransform`.
        keep_aspect: as in `InputTransform`.
        corner_aligned: as in `InputTransform`.

    Examples:
        >>> matrix = person_matrices(torch.tensor([[8.0, 8.0, 24.0, 24.0]]), (64, 64), (32, 32), padding=1.0)[0]
        >>> matrix[0, 0].item(), matrix[1, 1].item()
        (2.0, 2.0)
    """
    if region == "image":  # whichever the box
        boxes = boxes.new_tensor([0.0, 0.0, image_size[1], image_size[0]]).expand(len(boxes), 4)
    else:
        boxes = boxes + margin * boxes.new_tensor([-1.0, -1.0, 1.0, 1.0])
    center, extent = box_to_crop(boxes, size, padding=padding, keep_aspect=keep_aspect)
    return crop_matrix(center, extent, size, corner_aligned=corner_aligned, keep_aspect=keep_aspect)


def crop_filled(image: Tensor, matrices: Tensor, size: tuple[int, int], fill: float) -> Tensor:
    """Crop an image `(C, H, W)` in [0, 1] to `(N, C, h, w)`; the outside of it is `fill`.

    Examples:
        >>> outside = torch.tensor([[[1.0, 0.0, 9.0], [0.0, 1.0, 9.0]]])
        >>> crop_filled(torch.ones(1, 4, 4), outside, (2, 2), 0.5).unique().tolist()
        [0.5]
    """
    filled = image - fill if fill else image  # without a copy: photographs are large
    return (crop(filled, matrices, size) + fill).clamp(0, 1)


@explained
def create_transform(model: Any) -> InputTransform:
    """Make the transform from images to the input of a model, as `posezoo.predict` crops them.

    Args:
        model: a model of images. One created with `normalize=False` gets normalised images.

    Raises:
        ValueError: a model of keypoints, of other channels than RGB, or without `input_size`.

    Examples:
        >>> import numpy as np, posezoo
        >>> from posezoo.geometry import invert, transform_points
        >>> model = posezoo.create("simple_baseline_lite", pretrained=True)
        >>> transform = posezoo.create_transform(model)
        >>> photo = np.zeros((480, 640, 3), np.uint8)
        >>> keypoints, _ = model.predict(transform(photo)[None])
        >>> transform_points(keypoints[0], invert(transform.matrix((480, 640)))).shape   # in the photo
        torch.Size([17, 2])
    """
    kind, size, channels = (getattr(model, name, None) for name in ("input_kind", "input_size", "in_chans"))
    if kind not in ("image", "clip") or size is None or channels != 3:
        raise ValueError(
            f"model: expected one of RGB images with an input_size, got a {type(model).__name__} of "
            f"{kind or 'unknown'} inputs, {channels} channels and input_size {size}"
        )
    mean, std = getattr(model.normalize, "before", ((0.0,) * 3, (1.0,) * 3))
    names = ("padding", "margin", "region", "fill", "keep_aspect", "corner_aligned")
    return InputTransform(tuple(size), **{name: getattr(model, name) for name in names}, mean=mean, std=std)
