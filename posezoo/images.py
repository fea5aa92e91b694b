"""Load images: files, PIL images, arrays and tensors become RGB tensors `(3, H, W)`.

`posezoo.predict`, the detectors, the drawings and the dataset readers all load images here, so that
all of them work on the same pixels.

| input | conversion |
|---|---|
| file, PIL image | upright by its EXIF orientation |
| grey, one bit, palette | repeated or looked up to RGB |
| CMYK, YCbCr, LAB | converted by Pillow |
| 16 bits | divided by 65535 |
| alpha, transparency | blended over white |
"""

import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from posezoo.foreign import check_content, printable

if TYPE_CHECKING:
    from typing import TypeAlias

    from PIL.Image import Image

    ImageLike: TypeAlias = str | Path | Image | np.ndarray | Tensor

ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa")  # of Pillow


def load_image(image: "ImageLike") -> Tensor:
    """Load an image as a float tensor `(3, H, W)` in [0, 1], RGB.

    Args:
        image: a path; a PIL image; an array `(H, W, 3)`; or a tensor `(3, H, W)`. Arrays and
            tensors are uint8, uint16 or float in [0, 1], with one (grey), three or four (RGBA)
            channels; grey ones may lack the axis. The EXIF orientation of files and PIL images is
            applied.

    Raises:
        ValueError: a file that is missing or damaged, another type or shape, an empty image, values
            that are not finite or outside [0, 1].

    Examples:
        >>> load_image(np.full((4, 5), 255, np.uint8)).shape
        torch.Size([3, 4, 5])
    """
    return _rgb(_unit(_channels_first(image)))


def load_image_uint8(image: "ImageLike") -> Tensor:
    """Load an image as a uint8 RGB tensor `(3, H, W)`: `load_image`, times 255, rounded.

    Args:
        image: as in `load_image`.

    Raises:
        ValueError: as in `load_image`.

    Examples:
        >>> load_image_uint8(np.full((4, 5), 65535, np.uint16)).unique()
        tensor([255], dtype=torch.uint8)
    """
    pixels = _channels_first(image)
    if pixels.dtype == torch.uint8 and len(pixels) != 4:
        return _rgb(pixels)  # the same values without the way through floats, which dominates for large photographs
    return (_rgb(_unit(pixels)) * 255).round().to(torch.uint8)


def _channels_first(image: Any) -> Tensor:
    """The values as they are, `(1, 3 or 4, H, W)`: uint8, uint16 or float."""
    if isinstance(image, str | Path):
        return _read_file(Path(image))
    pil = sys.modules.get("PIL.Image")  # not imported yet, so this is no PIL image
    if pil is not None and isinstance(image, pil.Image):
        return _from_pil(image, "image")
    if isinstance(image, Tensor):
        pixels, expected = image.detach().cpu(), "tensor (3, H, W)"
        pixels = pixels[None] if pixels.ndim == 2 else pixels
    elif isinstance(image, np.ndarray):
        pixels, expected = _from_array(image), "array (H, W, 3)"
    else:
        raise ValueError(
            f"image: expected a path, a PIL image, an array or a tensor, got {type(image).__name__}; several images go "
            "in a list"
        )
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3, 4):
        raise ValueError(
            f"image: expected an {expected}, grey, RGB or RGBA, got shape {tuple(image.shape)}. Arrays have their "
            "channels last, tensors first; several images go in a list"
        )
    if 0 in pixels.shape:
        raise ValueError(f"image: expected at least one pixel, got shape {tuple(image.shape)}")
    return pixels


def _from_array(image: np.ndarray) -> Tensor:
    kind = image.dtype.newbyteorder("=")
    if kind not in (np.uint8, np.uint16) and kind.kind != "f":
        raise ValueError(f"image: expected an array of uint8, or of floats in [0, 1], got {kind}; convert it")
    # torch takes no other byte order, no wider floats, and read-only arrays only with a warning
    pixels = torch.from_numpy(np.require(image, np.float64 if kind.itemsize > 8 else kind, ["C", "W"]))
    return pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0)


def _read_file(path: Path) -> Tensor:
    from PIL import Image

    if path.is_dir():
        raise ValueError(f"{path} is a folder; list its images, for instance sorted(Path(...).glob('*.jpg'))")
    if re.match(r"\w+:/", str(path)):
        raise ValueError(f"{path}: addresses are not downloaded; save the image as a file and pass its path")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such image")
    check_content(path)
    try:
        with Image.open(path) as image:
            image.load()
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{path} has more pixels than Pillow's limit, which guards against small files that fill the memory "
            f"({error}); if you trust the file, set PIL.Image.MAX_IMAGE_PIXELS = None before"
        ) from error
    except Exception as error:  # each of Pillow's decoders has its own
        raise ValueError(f"{path} is damaged, or not an image that Pillow can read: {printable(str(error))}") from error
    return _from_pil(image, str(path))


def _from_pil(image: Any, name: str) -> Tensor:
    if 0 in image.size:
        raise ValueError(f"{name}: expected at least one pixel, got size {image.size}")
    from PIL import ImageOps

    transparent = image.mode in ALPHA_MODES or "transparency" in image.info
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith(("I", "F")):  # 16 bits, which convert("RGB") would clip, and floats
            pixels = np.array(image, np.float32)
        else:
            mode = "RGBA" if transparent else "RGB"
            pixels = np.array(image if image.mode == mode else image.convert(mode))
    except Exception as error:  # an image is only decoded here, unless it was before
        raise ValueError(f"{name} is damaged, or cannot be converted from {image.mode} to RGB: {error}") from error
    # Pillow widens some 16-bit files to 32-bit integers, so the mode "I" stands for 16 bits too
    low, high = float(np.nanmin(pixels)), float(np.nanmax(pixels))
    if image.mode.startswith("I") and not 0 <= low <= high <= 65535:
        raise ValueError(
            f"{name}: its 32-bit whole numbers, {low:.0f} to {high:.0f}, have no known white; expected 8 or 16 bits. "
            "Divide them by their white and pass the array of floats in [0, 1]"
        )
    if image.mode.startswith("F") and not 0 <= low <= high <= 1:
        raise ValueError(
            f"{name}: its 32-bit floats are {low:.4g} to {high:.4g}, expected 0 to 1; divide them by their white and "
            "pass the array"
        )
    return _channels_first(pixels / np.float32(65535) if image.mode.startswith("I") else pixels)


def _unit(pixels: Tensor) -> Tensor:
    """Float32 in [0, 1]."""
    if pixels.dtype in (torch.uint8, torch.uint16):
        return pixels.float().div_(255 if pixels.dtype == torch.uint8 else 65535)  # in place: photographs are large
    if not pixels.is_floating_point():
        raise ValueError(f"image: expected uint8, or floats in [0, 1], got {pixels.dtype}; convert it to uint8")
    # a mask of finite pixels would take more memory than they do, and so would all channels if they are last in memory
    extremes = [float(value) for channel in pixels for value in (channel.min(), channel.max())]
    low, high = min(extremes), max(extremes)
    if not all(map(math.isfinite, extremes)):
        raise ValueError("image: it has NaN or infinite pixels; replace them, for instance by 0")
    if low < 0 or high > 1:
        raise ValueError(
            f"image: floats must be in [0, 1], got {low:.4g} to {high:.4g}; divide 0 to 255 by 255, and leave "
            "normalisation to the model"
        )
    return pixels.float()


def _rgb(pixels: Tensor) -> Tensor:
    if pixels.shape[0] == 4:
        alpha = pixels[3:]
        return pixels[:3] * alpha + (1 - alpha)  # over white
    return pixels.expand(3, -1, -1)
