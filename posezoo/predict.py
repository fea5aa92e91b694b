"""Photographs to keypoints: load, crop every person, run the network once, and map the answer back.

`posezoo.predict` is this module's function; it knows the contract of a model, never a particular one.
"""

import contextlib
import functools
import importlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from posezoo.geometry import box_to_crop, crop, crop_matrix, invert, transform_points
from posezoo.registry import create
from posezoo.skeletons import Skeleton

if TYPE_CHECKING:
    from posezoo.detectors import Detector

DEFAULT_MODEL = "simple_baseline_lite"
BOX_PADDING = 1.25  # context around a person's box, as the networks were trained; a whole image has none to give
PROGRESS_FROM = 32  # images
DETECT_TOGETHER = 8  # images that a detector is given at once


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class People:
    """The people of one image.

    Attributes:
        keypoints: `(N, K, 2)` float32, (x, y) pixels of the image, the centre of its top-left pixel is (0, 0).
        scores: `(N, K)` float32; for heatmap networks the height of the peak, about 1 where the network is sure.
        boxes: `(N, 4)` float32, (x1, y1, x2, y2) pixels, the boxes that were looked into.
        skeleton: names and bones of the keypoints, or None where the model's keypoints have no names.
        image_size: (H, W) of the image.
        box_scores: `(N,)` float32, the detector's, or None where the boxes were given.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    skeleton: Skeleton | None
    image_size: tuple[int, int]
    box_scores: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.keypoints)

    def to_coco(self, image_id: int = 0, category_id: int = 1) -> list[dict[str, Any]]:
        """COCO's results format: one dictionary per person, keypoints as [x1, y1, score1, x2, …].

        A person's score is the mean of its keypoints' scores, times its box's where a detector found it. COCO's own
        tools expect COCO-17: `posezoo.skeletons.convert` gets there from other skeletons.

        Example:
            >>> people = People(np.ones((1, 2, 2)), np.ones((1, 2)), np.array([[0.0, 0, 9, 9]]), None, (10, 10))
            >>> people.to_coco(image_id=7)[0]["keypoints"]
            [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
        """
        found = np.ones(len(self)) if self.box_scores is None else self.box_scores
        return [
            {
                "image_id": image_id,
                "category_id": category_id,
                "keypoints": np.concatenate([points, scores[:, None]], axis=1).ravel().astype(float).tolist(),
                "score": float(scores.mean() * score),
                "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
            }
            for points, scores, (x1, y1, x2, y2), score in zip(
                self.keypoints, self.scores, self.boxes, found, strict=True
            )
        ]

    def to_supervision(self) -> Any:
        """A `supervision.KeyPoints`, for that package's annotators and trackers."""
        try:
            import supervision
        except ImportError as error:
            raise ImportError("to_supervision needs the package supervision: pip install supervision") from error
        if not len(self):
            return supervision.KeyPoints.empty()
        # by position, because the name of the scores changes between releases: points, classes, scores
        points = supervision.KeyPoints(
            self.keypoints.astype(np.float32), np.zeros(len(self), dtype=int), self.scores.astype(np.float32)
        )
        if self.box_scores is not None and hasattr(points, "detection_confidence"):  # older releases have none
            points.detection_confidence = self.box_scores.astype(np.float32)
        return points


def predict(
    images: Any,
    model: Any = DEFAULT_MODEL,
    boxes: Any = None,
    *,
    detector: "Detector | str | None" = None,
    flip: bool = False,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    progress: bool | None = None,
) -> Any:
    """Keypoints of the people in one image or in many.

    Args:
        images: an image, or a list or tuple of them. An image is a path; a PIL image; an array `(H, W, 3)`, RGB, uint8
            or float in [0, 1]; or a tensor `(3, H, W)` likewise. Grey images are repeated to RGB, CMYK is converted,
            16-bit values are scaled down, alpha is blended over white, and a file's EXIF orientation is applied (not
            that of a PIL image, whose pixels are taken as they lie).
        model: a name, created with `pretrained=True`, or a model of the zoo.
        boxes: `(N, 4)` as (x1, y1, x2, y2) pixels, the people of the image; for several images a list of such, with
            None for a whole image. Without boxes there is one person, and the whole image is the box. Boxes may reach
            out of the image, not lie outside of it.
        detector: what finds the boxes instead: a callable as in `posezoo.detectors`, or a name for
            `detectors.load_detector`. Where it finds nobody, `People` is empty.
        flip: average with the mirrored crops; twice the work, a little more accurate.
        batch_size: crops that go through the network together, whichever image they come from.
        device: where to run; None is where the model is, and for a name the GPU if there is one.
        progress: show a bar; None: on a terminal, for 32 images or more.

    Returns:
        `People`, or for a list or tuple a list of them in its order; an empty list for an empty one.

    Raises:
        ValueError: an image that is missing, damaged, empty, of the wrong kind, or not finite; boxes that do not fit,
            whoever found them; boxes and a detector; what `posezoo.create` raises.

    Example:
        >>> import posezoo
        >>> people = posezoo.predict(np.zeros((120, 90, 3), np.uint8), boxes=[[10, 10, 80, 110]])
        >>> people.keypoints.shape, people.skeleton.name
        ((1, 14, 2), 'lsp14')
    """
    several = isinstance(images, list | tuple)
    items = list(images) if several else [images]
    item_boxes = _boxes_per_image(boxes, len(items), several)
    if batch_size < 1:
        raise ValueError(f"batch_size: expected 1 or more, got {batch_size}")
    if detector is not None and boxes is not None:
        raise ValueError("boxes and detector: expected one of them, as a detector is what finds the boxes")
    if isinstance(detector, str | Path):
        find = _detector if str(detector).startswith("hf-hub:") else _detector.__wrapped__  # as for models, in `_ready`
        detector = find(str(detector), None if device is None else str(device))
    model = _ready(model, device, takes="image")
    size, aligned = _input_size(model), getattr(model.weights, "codec", "") == "udp"
    keep_aspect = getattr(model, "keep_aspect", True)
    target = next(model.parameters())

    results: list[People] = []
    # crops, their matrices, boxes, the boxes' scores, image size
    waiting: list[tuple[Tensor, Tensor, Tensor, np.ndarray | None, tuple[int, int]]] = []

    def flush() -> None:
        crops = torch.cat([entry[0] for entry in waiting])
        keypoints, scores = _run(model, crops, flip, batch_size)
        start = 0
        for image_crops, matrices, image_boxes, box_scores, image_size in waiting:
            stop = start + len(image_crops)
            points = transform_points(keypoints[start:stop].double(), invert(matrices.double())).float()
            results.append(
                People(
                    keypoints=points.numpy(),
                    scores=scores[start:stop].numpy(),
                    boxes=image_boxes.numpy(),
                    skeleton=model.skeleton,
                    image_size=image_size,
                    box_scores=box_scores,
                )
            )
            start = stop
        waiting.clear()

    found = _given(items, item_boxes) if detector is None else _detected(items, detector)
    for image, image_boxes, padding, box_scores in _with_progress(found, len(items), progress):
        height, width = image.shape[-2:]
        center, extent = box_to_crop(image_boxes, size, padding=padding, keep_aspect=keep_aspect)
        matrices = crop_matrix(center, extent, size, corner_aligned=aligned, keep_aspect=keep_aspect)
        crops = crop(image, matrices, size).clamp(0, 1).to(target.device, target.dtype)
        waiting.append((crops, matrices, image_boxes, box_scores, (height, width)))
        if sum(len(entry[0]) for entry in waiting) >= batch_size:
            flush()
    if waiting:
        flush()
    return results if several else results[0]


def load_image(image: Any) -> Tensor:
    """Any image `posezoo.predict` takes as a float tensor `(3, H, W)` in [0, 1].

    Example:
        >>> load_image(np.full((4, 5), 255, np.uint8)).shape
        torch.Size([3, 4, 5])
    """
    if isinstance(image, str | Path):
        return _from_file(Path(image))
    pil = sys.modules.get("PIL.Image")  # not imported yet, so no image of its kind
    if pil is not None and isinstance(image, pil.Image):
        return _from_pil(image, "image")
    if isinstance(image, Tensor):
        array, layout = image.detach().cpu(), "tensor (3, H, W)"
        if array.ndim == 2:
            array = array[None]
    elif isinstance(image, np.ndarray):
        kind = image.dtype.newbyteorder("=")
        if kind not in (np.uint8, np.uint16) and kind.kind != "f":
            raise ValueError(f"image: expected an array of uint8, or of floats in [0, 1], got {kind}; convert it")
        # torch takes no other byte order, no wider floats, and read-only arrays only with a warning
        pixels = np.require(image, np.float64 if kind.itemsize > 8 else kind, ["C", "W"])
        array, layout = torch.from_numpy(pixels), "array (H, W, 3)"
        array = array[None] if array.ndim == 2 else array.movedim(-1, 0)
    else:
        raise ValueError(
            f"image: expected a path, a PIL image, an array or a tensor, got {type(image).__name__}; several images go "
            "in a list"
        )
    if array.ndim != 3 or array.shape[0] not in (1, 3, 4):
        raise ValueError(
            f"image: expected an {layout}, grey, RGB or RGBA, got shape {tuple(image.shape)}. Arrays have their "
            "channels last, tensors first; several images go in a list"
        )
    if 0 in array.shape:
        raise ValueError(f"image: expected at least one pixel, got shape {tuple(image.shape)}")
    return _to_rgb(_to_unit(array))


def _to_unit(array: Tensor) -> Tensor:
    if array.dtype in (torch.uint8, torch.uint16):
        return array.float() / (255 if array.dtype == torch.uint8 else 65535)
    if not array.is_floating_point():
        raise ValueError(f"image: expected uint8, or floats in [0, 1], got {array.dtype}; convert it to uint8")
    if not torch.isfinite(array).all():
        raise ValueError("image: it has NaN or infinite pixels; replace them, for instance by 0")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise ValueError(
            f"image: floats must be in [0, 1], got {low:.4g} to {high:.4g}; divide 0 to 255 by 255, and leave "
            "normalisation to the model"
        )
    return array.float()


def _to_rgb(array: Tensor) -> Tensor:
    if array.shape[0] == 4:
        alpha = array[3:]
        return array[:3] * alpha + (1 - alpha)  # over white
    return array.expand(3, -1, -1)


def _from_file(path: Path) -> Tensor:
    from PIL import Image, ImageOps

    if path.is_dir():
        raise ValueError(f"{path} is a folder; list its images, for instance sorted(Path(...).glob('*.jpg'))")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such image")
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
    except Exception as error:  # each of Pillow's decoders has its own
        raise ValueError(f"{path} is damaged, or not an image that Pillow can read: {error}") from error
    return _from_pil(upright, str(path))


def _from_pil(image: Any, name: str) -> Tensor:
    if 0 in image.size:
        raise ValueError(f"{name}: expected at least one pixel, got size {image.size}")
    transparent = image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info
    try:
        if image.mode.startswith(("I", "F")):  # 16 bits, which convert("RGB") would clip, and floats
            pixels = np.array(image, np.float32)
        else:
            pixels = np.array(image.convert("RGBA" if transparent else "RGB"))
    except Exception as error:  # an image is only decoded here, unless it was before
        raise ValueError(f"{name} is damaged, or cannot be converted from {image.mode} to RGB: {error}") from error
    return load_image(pixels / np.float32(65535) if image.mode.startswith("I") else pixels)


def _boxes_per_image(boxes: Any, count: int, several: bool) -> list[Any]:
    if not several:
        return [boxes]
    if boxes is None:
        return [None] * count
    if not isinstance(boxes, list | tuple) or len(boxes) != count:
        got = f"{len(boxes)}" if isinstance(boxes, list | tuple) else f"a {type(boxes).__name__}"
        raise ValueError(f"boxes: expected a list with (N, 4) boxes or None for each of the {count} images, got {got}")
    return list(boxes)


_Found = tuple[Tensor, Tensor, float, np.ndarray | None]  # image, boxes, their padding and their scores


def _given(items: Sequence[Any], item_boxes: Sequence[Any]) -> Iterator[_Found]:
    """Every image with the boxes that came with it."""
    for item, given in zip(items, item_boxes, strict=True):
        image = load_image(item)
        height, width = image.shape[-2:]
        if given is None:
            yield image, torch.tensor([[0.0, 0.0, width, height]]), 1.0, None
        else:
            yield image, _check_boxes(given, height, width), BOX_PADDING, None


def _detected(items: Sequence[Any], detector: Any) -> Iterator[_Found]:
    """Every image with the boxes that a detector finds in it."""
    for start in range(0, len(items), DETECT_TOGETHER):
        images = [load_image(item) for item in items[start : start + DETECT_TOGETHER]]
        answers = list(detector(images))
        if len(answers) != len(images):
            raise ValueError(f"detector: expected (boxes, scores) for each of {len(images)} images, got {len(answers)}")
        for number, (image, answer) in enumerate(zip(images, answers, strict=True), start=start):
            height, width = image.shape[-2:]
            try:
                boxes, scores = answer
                checked = _check_boxes(boxes, height, width)
                values = np.asarray(scores.detach().cpu() if isinstance(scores, Tensor) else scores, np.float32)
                if values.shape != (len(checked),) or not np.isfinite(values).all():
                    raise ValueError(f"scores: expected {len(checked)} finite numbers, one per box, got {scores}")
            except (TypeError, ValueError) as error:
                raise ValueError(f"detector: expected (boxes, scores) for image {number}: {error}") from error
            yield image, checked, BOX_PADDING, values


def _check_boxes(boxes: Any, height: int, width: int) -> Tensor:
    try:
        numbers = np.asarray(boxes.detach().cpu() if isinstance(boxes, Tensor) else boxes)
    except (TypeError, ValueError) as error:
        raise ValueError(f"boxes: expected numbers (N, 4), got {boxes!r}") from error
    if numbers.dtype.kind not in "iuf":
        raise ValueError(f"boxes: expected numbers (N, 4), got {boxes!r}")
    checked = torch.from_numpy(numbers.astype(np.float32))
    if checked.numel() == 0:
        return checked.reshape(0, 4)
    if checked.ndim != 2 or checked.shape[1] != 4:
        raise ValueError(
            f"boxes: expected (N, 4) as (x1, y1, x2, y2) pixels, got shape {tuple(checked.shape)}; one box is [[x1, "
            "y1, x2, y2]]"
        )
    outside = (checked[:, 2] <= 0) | (checked[:, 3] <= 0) | (checked[:, 0] >= width) | (checked[:, 1] >= height)
    if outside.any():
        index = int(outside.nonzero()[0])
        raise ValueError(
            f"boxes: box {index}, {checked[index].tolist()}, lies outside its image of {width} x {height} pixels; "
            "boxes are (x1, y1, x2, y2) in pixels, not fractions"
        )
    return checked


def _input_size(model: Any) -> tuple[int, int]:
    record = model.weights
    if record is not None and record.input_size:
        return record.input_size
    height, width = model.example_input().shape[-2:]
    return height, width


@torch.no_grad()
def _run(model: Any, crops: Tensor, flip: bool, batch_size: int) -> tuple[Tensor, Tensor]:
    """`model.predict` on batches, in eval mode: keypoints `(N, K, 2)` and scores `(N, K)` on the CPU."""
    if not len(crops):
        return torch.zeros(0, model.num_keypoints, 2), torch.zeros(0, model.num_keypoints)
    with _eval_mode(model):
        parts = [model.predict(batch, flip=flip) for batch in crops.split(batch_size)]
    keypoints, scores = (torch.cat(part).float().cpu() for part in zip(*parts, strict=True))
    return keypoints, scores


def _ready(model: Any, device: str | torch.device | None, takes: str) -> Any:
    """The model, or the one behind a name, on its device."""
    if isinstance(model, str):
        # a folder may have been written anew since it was read
        load = _pretrained.__wrapped__ if model.startswith("local-dir:") else _pretrained
        model = load(model, str(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    elif not callable(getattr(model, "predict", None)):
        raise ValueError(f"model: expected a name or a model of posezoo.create, got {type(model).__name__}")
    elif device is not None:
        model = model.to(device)
    name, kind = _name(model), getattr(model, "input_kind", "image")
    if kind != takes:
        raise ValueError(
            f"model: the input of {name} is {kind!r}, not {takes!r}; posezoo.predict is for images, posezoo.lift for "
            "keypoints, model.predict for all"
        )
    return model


def _name(model: Any) -> str:
    return getattr(model, "architecture", "") or type(model).__name__


@functools.lru_cache(maxsize=4)
def _pretrained(name: str, device: str) -> Any:
    """The model behind a name; the last few are kept, so that a loop does not load one each time."""
    return create(name, pretrained=True).to(device)


@functools.lru_cache(maxsize=2)
def _detector(name: str, device: str | None) -> "Detector":
    """The detector behind a name, likewise."""
    from posezoo.detectors import load_detector

    return load_detector(name, device=device)


@contextlib.contextmanager
def _eval_mode(model: Any) -> Iterator[None]:
    """Afterwards all is as it was; parts of a model in training may be frozen in eval mode."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _with_progress(items: Iterator[_Found], count: int, progress: bool | None) -> Iterator[_Found]:
    if progress is False or (progress is None and count < PROGRESS_FROM):
        return items
    from huggingface_hub.utils import tqdm

    return iter(tqdm(items, total=count, unit="image", disable=None if progress is None else False))


def _make_callable(function: Callable[..., Any]) -> None:
    """Make the module of a function the function as well, as `posezoo.predict` is."""

    class CallableModule(types.ModuleType):
        __call__ = staticmethod(function)
        __signature__ = inspect.signature(function)

        def __reduce__(self) -> tuple[Any, ...]:
            return importlib.import_module, (self.__name__,)  # so that a pool of processes can be sent it

    sys.modules[function.__module__].__class__ = CallableModule


_make_callable(predict)
