"""Predict 2D keypoints: crop every person, run the network, map the keypoints into the image.

`posezoo.predict` is the function of this name. It relies on the contract of `PoseModel` and on no
particular network.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor

from posezoo.detectors import Detector, load_detector
from posezoo.geometry import box_to_crop, crop, crop_matrix, invert, transform_points
from posezoo.images import load_image
from posezoo.registry import create
from posezoo.skeletons import Skeleton

if TYPE_CHECKING:
    from posezoo.images import ImageLike

DEFAULT_MODEL = "simple_baseline_lite"
IMAGE_PADDING = 1.0  # a whole image has no context to add around it
PROGRESS_FROM = 32  # images
DETECT_TOGETHER = 8  # images in one call of a detector
CONTRACT = ("input_size", "padding", "keep_aspect", "corner_aligned")  # attributes of a model that `predict` reads


@dataclass(frozen=True, eq=False)  # arrays have no single result of ==
class People:
    """The people in one image.

    Attributes:
        keypoints: `(N, K, 2)` float32, (x, y) pixels of the image. The centre of its top-left pixel
            is (0, 0).
        scores: `(N, K)` float32. Heatmap networks give the height of the peak, about 1 for a
            confident prediction.
        boxes: `(N, 4)` float32, (x1, y1, x2, y2) pixels, the boxes that were cropped, without their
            padding.
        skeleton: names and bones of the keypoints, or None where the model's keypoints have no
            names.
        image_size: (H, W) of the image.
        box_scores: `(N,)` float32, the detector's scores, or None where the boxes were given.
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
        """Convert to COCO's results format, one dictionary per person.

        Keypoints are a flat list [x1, y1, score1, x2, …]. The score of a person is the mean of its
        keypoints' scores, times the box score of a detector. COCO's own tools expect COCO-17;
        `posezoo.skeletons.convert` converts other skeletons.

        Example:
            >>> keypoints, scores, boxes = np.ones((1, 2, 2)), np.ones((1, 2)), np.zeros((1, 4))
            >>> people = People(keypoints, scores, boxes, None, image_size=(10, 10))
            >>> people.to_coco(image_id=7)[0]["keypoints"]
            [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
        """
        box_scores = np.ones(len(self)) if self.box_scores is None else self.box_scores
        return [
            {
                "image_id": image_id,
                "category_id": category_id,
                "keypoints": np.concatenate([points, scores[:, None]], axis=1).ravel().astype(float).tolist(),
                "score": float(scores.mean() * score),
                "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
            }
            for points, scores, (x1, y1, x2, y2), score in zip(
                self.keypoints, self.scores, self.boxes, box_scores, strict=True
            )
        ]

    def to_supervision(self) -> Any:
        """Convert to `supervision.KeyPoints`, for the annotators and trackers of that package.

        Raises:
            ImportError: the package supervision is missing.
        """
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


@dataclass(frozen=True, eq=False)
class Crops:
    """The people of one image on their way through the network.

    Attributes:
        matrices: `(N, 2, 3)`, from pixels of the image to pixels of the network's input.
        boxes: `(N, 4)` pixels of the image.
        box_scores: `(N,)`, or None.
        image_size: (H, W).
        pixels: `(N, 3, h, w)`, the network's inputs, or None for a model that crops the image
            itself.
    """

    matrices: Tensor
    boxes: Tensor
    box_scores: np.ndarray | None
    image_size: tuple[int, int]
    pixels: Tensor | None = None

    def people(self, keypoints: Tensor, scores: Tensor, skeleton: Skeleton | None) -> People:
        """Map keypoints `(N, K, 2)` in pixels of the crops back into the image."""
        # in double precision: an offset of thousands of pixels costs digits that float32 does not have
        points = transform_points(keypoints.double(), invert(self.matrices.double())).float()
        return People(
            keypoints=points.numpy(),
            scores=scores.numpy(),
            boxes=self.boxes.numpy(),
            skeleton=skeleton,
            image_size=self.image_size,
            box_scores=self.box_scores,
        )


@overload
def predict(
    images: "list[Any] | tuple[Any, ...]",
    model: Any = ...,
    boxes: Any = ...,
    *,
    detector: Detector | str | Path | None = ...,
    flip: bool = ...,
    batch_size: int = ...,
    device: str | torch.device | None = ...,
    progress: bool | None = ...,
) -> list[People]: ...


@overload
def predict(
    images: "ImageLike",
    model: Any = ...,
    boxes: Any = ...,
    *,
    detector: Detector | str | Path | None = ...,
    flip: bool = ...,
    batch_size: int = ...,
    device: str | torch.device | None = ...,
    progress: bool | None = ...,
) -> People: ...


def predict(
    images: Any,
    model: Any = DEFAULT_MODEL,
    boxes: Any = None,
    *,
    detector: Detector | str | Path | None = None,
    flip: bool = False,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    progress: bool | None = None,
) -> People | list[People]:
    """Predict the keypoints of the people in one image or in several.

    Args:
        images: an image, or a list or tuple of them. An image is a path; a PIL image; an array
            `(H, W, 3)`, RGB, uint8 or float in [0, 1]; or a tensor `(3, H, W)` of the same types.
            Grey images are repeated to RGB, CMYK is converted, 16-bit values are scaled down, alpha
            is blended over white, and the EXIF orientation of a file is applied (that of a PIL
            image is not).
        model: a name, created with `pretrained=True`, or a model of the zoo that takes images.
        boxes: `(N, 4)` as (x1, y1, x2, y2) pixels, the people of the image. For several images a
            list of such arrays, with None for a whole image. Defaults to one person per image, with
            the whole image as the box. Boxes may reach out of the image but not lie outside of it.
        detector: a callable as in `posezoo.detectors`, or a name for `detectors.load_detector`,
            which finds the boxes. `People` is empty for images without detections.
        flip: average with the predictions for the mirrored crops. Doubles the cost, slightly more
            accurate.
        batch_size: crops per forward pass; crops of several images share a batch.
        device: device of the model. Defaults to the device the model is on; for a name to the GPU
            if there is one.
        progress: show a progress bar. Defaults to True on a terminal for 32 images or more.

    Returns:
        `People`; for a list or tuple a list of `People` in its order, empty for an empty one.

    Raises:
        ValueError: an image that is missing, damaged, empty, of the wrong type, or not finite;
            boxes, given or detected, that are malformed or outside the image; boxes together with a
            detector; a model that is not one for images; what `posezoo.create` raises.

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
        raise ValueError("boxes and detector: expected one of them, as a detector provides the boxes")
    if isinstance(detector, str | Path):
        detector = _detector_by_name(str(detector), None if device is None else str(device))
    model = resolve_model(model, device, takes="image", needs=CONTRACT)
    crops_itself = callable(getattr(model, "predict_from_image", None))
    size, keep_aspect, corner_aligned = model.input_size, model.keep_aspect, model.corner_aligned
    target = next(model.parameters())

    results: list[People] = []
    waiting: list[Crops] = []
    found = _given(items, item_boxes, model.padding) if detector is None else _detected(items, detector, model.padding)
    for image, image_boxes, padding, box_scores in _with_progress(found, len(items), progress):
        height, width = image.shape[-2:]
        center, extent = box_to_crop(image_boxes, size, padding=padding, keep_aspect=keep_aspect)
        matrices = crop_matrix(center, extent, size, corner_aligned=corner_aligned, keep_aspect=keep_aspect)
        if crops_itself:
            crops = Crops(matrices, image_boxes, box_scores, (height, width))
            keypoints, scores = _run_on_image(
                model, image.to(target.device, target.dtype), matrices.to(target.device), flip, batch_size
            )
            results.append(crops.people(keypoints, scores, model.skeleton))
            continue
        # only the crops are kept: photographs of a whole batch may not fit into memory
        pixels = crop(image, matrices, size).clamp(0, 1).to(target.device, target.dtype)
        waiting.append(Crops(matrices, image_boxes, box_scores, (height, width), pixels))
        if sum(len(crops.boxes) for crops in waiting) >= batch_size:
            results += _run_together(model, waiting, flip, batch_size)
            waiting = []
    results += _run_together(model, waiting, flip, batch_size)
    return results if several else results[0]


def resolve_model(model: Any, device: str | torch.device | None, *, takes: str, needs: Sequence[str] = ()) -> Any:
    """Return a model of the zoo on its device, loaded with its weights if it is given by name.

    Args:
        model: a name or a model.
        device: as in `predict`.
        takes: the required `input_kind`, "image" or "keypoints".
        needs: names of the attributes of `PoseModel` that the caller reads.

    Raises:
        ValueError: no model, or one with another kind of input or without the attributes; what
            `posezoo.create` raises.
    """
    if isinstance(model, str):
        model = _model_by_name(model, str(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    elif not callable(getattr(model, "predict", None)):
        raise ValueError(f"model: expected a name or a model of posezoo.create, got {type(model).__name__}")
    elif device is not None:
        model = model.to(device)
    kind = getattr(model, "input_kind", "image")
    if kind != takes:
        raise ValueError(
            f"model: the input of {model_name(model)} is {kind!r}, not {takes!r}; posezoo.predict is for images, "
            "posezoo.lift for keypoints, model.predict for all"
        )
    lacks = [name for name in needs if not hasattr(model, name)]
    if lacks:
        raise ValueError(f"model: {model_name(model)} lacks {', '.join(lacks)}; see the attributes of PoseModel")
    return model


def model_name(model: Any) -> str:
    """Return the registered name of a model, or that of its class."""
    return getattr(model, "architecture", "") or type(model).__name__


@contextlib.contextmanager
def eval_mode(model: Any) -> Iterator[None]:
    """Switch to eval mode for a `with` block, then restore the mode of every module.

    Module by module, because parts of a model in training mode may be frozen in eval mode.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _model_by_name(name: str, device: str) -> Any:
    if name.startswith("local-dir:"):  # the folder may have been rewritten since it was last read
        return create(name, pretrained=True).to(device)
    return _cached_model(name, device)


@functools.lru_cache(maxsize=4)  # so that a loop over images does not load the model each time
def _cached_model(name: str, device: str) -> Any:
    return create(name, pretrained=True).to(device)


def _detector_by_name(name: str, device: str | None) -> Detector:
    """Load a detector; only those of the Hub are cached, because files and folders may change."""
    return _cached_detector(name, device) if name.startswith("hf-hub:") else load_detector(name, device=device)


@functools.lru_cache(maxsize=2)
def _cached_detector(name: str, device: str | None) -> Detector:
    return load_detector(name, device=device)


# ---------------------------------------------------------------------------------------------------------------- boxes


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


def _given(items: Sequence[Any], item_boxes: Sequence[Any], padding: float) -> Iterator[_Found]:
    """Yield every image with the boxes that were given for it."""
    for item, given in zip(items, item_boxes, strict=True):
        image = load_image(item)
        height, width = image.shape[-2:]
        if given is None:
            yield image, torch.tensor([[0.0, 0.0, width, height]]), IMAGE_PADDING, None
        else:
            yield image, _check_boxes(given, height, width), padding, None


def _detected(items: Sequence[Any], detector: Detector, padding: float) -> Iterator[_Found]:
    """Yield every image with the boxes that a detector finds in it."""
    for start in range(0, len(items), DETECT_TOGETHER):
        images = [load_image(item) for item in items[start : start + DETECT_TOGETHER]]
        outputs = list(detector(images))
        if len(outputs) != len(images):
            raise ValueError(f"detector: expected (boxes, scores) for each of {len(images)} images, got {len(outputs)}")
        for number, (image, output) in enumerate(zip(images, outputs, strict=True), start=start):
            height, width = image.shape[-2:]
            try:
                boxes, scores = output
                checked = _check_boxes(boxes, height, width)
                values = np.asarray(scores.detach().cpu() if isinstance(scores, Tensor) else scores, np.float32)
                if values.shape != (len(checked),) or not np.isfinite(values).all():
                    raise ValueError(f"scores: expected {len(checked)} finite numbers, one per box, got {scores}")
            except (TypeError, ValueError) as error:
                raise ValueError(f"detector: expected (boxes, scores) for image {number}: {error}") from error
            yield image, checked, padding, values


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


# -------------------------------------------------------------------------------------------------------------- network


def _run_together(model: Any, waiting: Sequence[Crops], flip: bool, batch_size: int) -> list[People]:
    """Predict for the crops of several images, which share batches."""
    if not waiting:
        return []
    pixels = torch.cat([crops.pixels for crops in waiting if crops.pixels is not None])
    keypoints, scores = _run(model, lambda batch: model.predict(batch, flip=flip), pixels, batch_size)
    counts = [len(crops.boxes) for crops in waiting]
    parts = zip(waiting, keypoints.split(counts), scores.split(counts), strict=True)
    return [crops.people(points, values, model.skeleton) for crops, points, values in parts]


def _run_on_image(model: Any, image: Tensor, matrices: Tensor, flip: bool, batch_size: int) -> tuple[Tensor, Tensor]:
    """Predict for the people of one image with a model that crops it itself.

    The later stages of a cascade crop small parts of a person. They need the image at full
    resolution, which a crop of the whole person no longer has.
    """
    return _run(model, lambda batch: model.predict_from_image(image, batch, flip=flip), matrices, batch_size)


@torch.no_grad()
def _run(
    model: Any, call: Callable[[Tensor], tuple[Tensor, Tensor]], people: Tensor, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Call the model in eval mode on batches: keypoints `(N, K, 2)`, scores `(N, K)`; on the CPU."""
    if not len(people):
        return torch.zeros(0, model.num_keypoints, 2), torch.zeros(0, model.num_keypoints)
    with eval_mode(model):
        parts = [call(batch) for batch in people.split(batch_size)]
    keypoints, scores = (torch.cat(part).float().cpu() for part in zip(*parts, strict=True))
    return keypoints, scores


def _with_progress(items: Iterator[_Found], count: int, progress: bool | None) -> Iterator[_Found]:
    if progress is False or (progress is None and count < PROGRESS_FROM):
        return items
    from huggingface_hub.utils import tqdm

    return iter(tqdm(items, total=count, unit="image", disable=None if progress is None else False))
