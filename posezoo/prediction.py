"""Predict 2D keypoints: crop every person, run the network, map the keypoints into the image.

`posezoo.predict` is the function of this name, `predict_stream` the same for images that come one
by one. Both rely on the contract of `PoseModel` and on no particular network.
"""

import contextlib
import functools
import itertools
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from torch import Tensor, nn

from posezoo.detectors import Detector, load_detector
from posezoo.geometry import box_to_crop, crop, crop_matrix, invert, transform_points
from posezoo.images import load_image
from posezoo.people import People
from posezoo.progress import with_progress
from posezoo.registry import create
from posezoo.skeletons import Skeleton

if TYPE_CHECKING:
    from posezoo.images import ImageLike

DEFAULT_MODEL = "simple_baseline_lite"
IMAGE_PADDING = 1.0  # a whole image has no context to add around it
DETECT_TOGETHER = 8  # images in one call of a detector
BATCH_SIZE = {"cpu": 16}  # crops; larger batches are no faster on a CPU and report progress more rarely
GPU_BATCH_SIZE = 64
IMAGES_TOGETHER = 2**29  # bytes of the images that wait for their second pass
CONFIDENT = 0.3  # lowest score of the keypoints around which the second pass looks, in units of the highest
FRACTIONS = 2.0  # pixels; a box up to here in the corner of the image is one in fractions of the image
LOST = 0.5  # mean score of a second pass that lost the person, in units of that of the first
FEWEST = 4  # confident keypoints that make a box
PRECISIONS = ("fp32", "bf16")
CONTRACT = ("input_size", "padding", "keep_aspect", "corner_aligned")  # attributes of a model that `predict` reads


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
        image: `(3, H, W)`, where it is still needed: by such a model, or for a second pass.
        second_pass: whether a second pass is due.
        source: the path of the image, or None.
    """

    matrices: Tensor
    boxes: Tensor
    box_scores: np.ndarray | None
    image_size: tuple[int, int]
    pixels: Tensor | None = None
    image: Tensor | None = None
    second_pass: bool = False
    source: str | Path | None = None

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
    second_pass: bool = ...,
    flip: bool = ...,
    batch_size: int | None = ...,
    precision: str = ...,
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
    second_pass: bool = ...,
    flip: bool = ...,
    batch_size: int | None = ...,
    precision: str = ...,
    device: str | torch.device | None = ...,
    progress: bool | None = ...,
) -> People: ...


def predict(
    images: Any,
    model: Any = DEFAULT_MODEL,
    boxes: Any = None,
    *,
    detector: Detector | str | Path | None = None,
    second_pass: bool = True,
    flip: bool = False,
    batch_size: int | None = None,
    precision: str = "fp32",
    device: str | torch.device | None = None,
    progress: bool | None = None,
) -> People | list[People]:
    """Predict the keypoints of the people in one image or in several.

    Without boxes and a detector an image has one person, who is found in two passes. The first
    crops the whole image. The second crops the bounding box of the keypoints whose score is at
    least 0.3 of the highest. Its prediction is returned, unless its mean score is less than half of
    that of the first. On LSPET images 7001 to 7100 this raises PCK@0.2 from 0.418 to 0.582.

    Args:
        images: an image, or a list or tuple of them. An image is a path; a PIL image; an array
            `(H, W, 3)`, RGB, uint8 or float in [0, 1]; or a tensor `(3, H, W)` of the same types.
            Grey images are repeated to RGB, CMYK is converted, 16-bit values are scaled down, alpha
            is blended over white, and the EXIF orientation of files and PIL images is applied.
        model: a name, created with `pretrained=True`, or a model of the zoo that takes images.
        boxes: `(N, 4)` as (x1, y1, x2, y2) pixels, the people of the image. For several images a
            list of such arrays, with None for an image of one person. Defaults to one person per
            image. Boxes may reach out of the image but not lie outside of it.
        detector: a callable as in `posezoo.detectors`, or a name for `detectors.load_detector`,
            which finds the boxes. `People` is empty for images without detections.
        second_pass: whether images without boxes get a second pass. Doubles the cost at most.
        flip: average with the predictions for the mirrored crops. Doubles the cost, slightly more
            accurate.
        batch_size: crops per forward pass; crops of several images share a batch. Defaults to 64 on
            a GPU and to 16 on a CPU.
        precision: "fp32", or "bf16" for automatic mixed precision.
        device: device of the model. Defaults to the device the model is on; for a name to the GPU
            if there is one.
        progress: show a progress bar, which counts the images that have been through the network.
            Defaults to True on a terminal for 32 images or more.

    Returns:
        `People`; for a list or tuple a list of `People` in its order, empty for an empty one.

    Raises:
        ValueError: an image that is missing, damaged, empty, of the wrong type, or not finite;
            boxes, given or detected, that are malformed or outside the image; boxes together with a
            detector; a model that is not one for images; what `posezoo.create` raises.

    Examples:
        >>> import posezoo
        >>> people = posezoo.predict(np.zeros((120, 90, 3), np.uint8), boxes=[[10, 10, 80, 110]])
        >>> people.keypoints.shape, people.skeleton.name
        ((1, 17, 2), 'coco17')
    """
    several = isinstance(images, list | tuple)
    items = list(images) if several else [images]
    stream = predict_stream(
        items,
        model,
        None if boxes is None else _boxes_per_image(boxes, len(items), several),
        detector=detector,
        second_pass=second_pass,
        flip=flip,
        batch_size=batch_size,
        precision=precision,
        device=device,
    )
    results = with_progress(stream, len(items), progress, "image")
    # the caller holds the images anyway, so People may remember them
    everyone = [replace(people, image=item) for people, item in zip(results, items, strict=True)]
    return everyone if several else everyone[0]


@overload
def predict_stream(
    images: Iterable[Any],
    model: Any = ...,
    boxes: Iterable[Any] | None = ...,
    *,
    damaged: Literal["raise"] = ...,
    detector: Detector | str | Path | None = ...,
    second_pass: bool = ...,
    flip: bool = ...,
    batch_size: int | None = ...,
    precision: str = ...,
    device: str | torch.device | None = ...,
) -> Iterator[People]: ...


@overload
def predict_stream(
    images: Iterable[Any],
    model: Any = ...,
    boxes: Iterable[Any] | None = ...,
    *,
    damaged: Literal["yield"],
    detector: Detector | str | Path | None = ...,
    second_pass: bool = ...,
    flip: bool = ...,
    batch_size: int | None = ...,
    precision: str = ...,
    device: str | torch.device | None = ...,
) -> Iterator[People | ValueError]: ...


def predict_stream(
    images: Iterable[Any],
    model: Any = DEFAULT_MODEL,
    boxes: Iterable[Any] | None = None,
    *,
    damaged: str = "raise",
    detector: Detector | str | Path | None = None,
    second_pass: bool = True,
    flip: bool = False,
    batch_size: int | None = None,
    precision: str = "fp32",
    device: str | torch.device | None = None,
) -> Iterator[People | ValueError]:
    """Predict for images that come one by one, such as the frames of a video, as `predict` does.

    Images are loaded when they are needed and forgotten afterwards. Predictions come in the order
    of the images, at most one batch late; with a `batch_size` of 1 each comes at once.

    Args:
        images: an iterable of images as `predict` takes them.
        model: as in `predict`.
        boxes: an iterable of boxes `(N, 4)`, or None, one per image. Defaults to one person per
            image.
        damaged: "raise", or "yield" for an image that cannot be loaded to yield its error in the
            place of its people.
        detector: as in `predict`, like the other arguments.
        second_pass: as in `predict`.
        flip: as in `predict`.
        batch_size: as in `predict`.
        precision: as in `predict`.
        device: as in `predict`.

    Yields:
        `People` of each image, with `image` None unless it is a path.

    Raises:
        ValueError: as `predict`.

    Examples:
        >>> frames = (np.full((60, 40, 3), grey, np.uint8) for grey in range(5))
        >>> [people.keypoints.shape for people in predict_stream(frames, batch_size=2)][:2]
        [(1, 17, 2), (1, 17, 2)]
    """
    if damaged not in ("raise", "yield"):
        raise ValueError(f"damaged: expected 'raise' or 'yield', got {damaged!r}")
    if detector is not None and boxes is not None:
        raise ValueError("boxes and detector: expected one of them, as a detector provides the boxes")
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size: expected a whole number of 1 or more, got {batch_size!r}")
    if isinstance(detector, str | Path):
        detector = _detector_by_name(str(detector), None if device is None else str(device))
    if detector is not None and not callable(detector):
        raise ValueError(f"detector: expected a callable or a name, got {type(detector).__name__}")
    model = resolve_model(model, device, takes="image", needs=CONTRACT)
    kind = next(model.parameters()).device.type
    network = Network(
        model, flip, batch_size or BATCH_SIZE.get(kind, GPU_BATCH_SIZE), _check_precision(precision, kind)
    )
    if detector is None:
        found = _given(images, itertools.repeat(None) if boxes is None else boxes, model.padding, second_pass)
    else:
        found = _detected(images, detector, model.padding)
    return _predictions(network, found, damaged == "yield")


def _predictions(
    network: "Network", found: "Iterator[Found | ValueError]", go_on: bool
) -> Iterator[People | ValueError]:
    waiting: list[Crops | ValueError] = []
    crops = memory = 0
    for entry in found:
        if isinstance(entry, ValueError):
            if not go_on:
                raise entry
            waiting.append(entry)
        else:
            waiting.append(cut := network.crops(entry))
            crops += len(cut.boxes)
            # photographs of a whole batch may not fit into memory
            memory += cut.image.nbytes if cut.image is not None else 0
        if crops >= network.batch_size or memory >= IMAGES_TOGETHER:
            yield from network.run(waiting)
            waiting, crops, memory = [], 0, 0
    yield from network.run(waiting)


def keypoint_box(person: People) -> np.ndarray:
    """Return the bounding box `(4,)` of a person's confident keypoints, cut off at the image.

    Confident is a score of at least 0.3 of the highest. NaN if fewer than four are, or if the box
    is not larger than a pixel.

    Examples:
        >>> points = np.array([[[10, 20], [30, 20], [30, 60], [10, 60], [90, 90]]], np.float32)
        >>> scores = np.array([[0.9, 0.8, 0.7, 0.6, 0.1]], np.float32)
        >>> keypoint_box(People(points, scores, np.zeros((1, 4)), None, (100, 100))).tolist()
        [10.0, 20.0, 30.0, 60.0]
    """
    scores, points = person.scores[0], person.keypoints[0]
    sure = points[(scores > 0) & (scores >= CONFIDENT * scores.max())]
    if len(sure) < FEWEST:
        return np.full(4, np.nan)
    low, high = np.clip([sure.min(axis=0), sure.max(axis=0)], 0, person.image_size[::-1])
    return np.concatenate([low, high]) if (high > low + 1).all() else np.full(4, np.nan)


def better_pass(first: People, second: People) -> People:
    """Return the second pass, or the first if the mean score of the second is less than half of it.

    The second crop resembles those of the training more. The scores of both are not compared as
    they are, because a peak is higher where the person is small in the crop.

    Examples:
        >>> first, second, lost = (
        ...     People(np.zeros((1, 2, 2)), np.full((1, 2), score), np.zeros((1, 4)), None, (9, 9))
        ...     for score in (0.6, 0.5, 0.2)
        ... )
        >>> better_pass(first, second) is second, better_pass(first, lost) is first
        (True, True)
    """
    return first if second.scores.mean() < LOST * first.scores.mean() else second


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
    if device is not None:
        _check_device(device)
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
    if getattr(model, "num_keypoints", 1) == 0:
        raise ValueError(f"model: this {model_name(model)} has no head; model.reset_head(num_keypoints) makes one")
    lacks = [name for name in needs if not hasattr(model, name)]
    if lacks:
        raise ValueError(f"model: {model_name(model)} lacks {', '.join(lacks)}; see the attributes of PoseModel")
    return model


def _check_device(device: str | torch.device) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device: {device!r} is not available here; 'cpu' always is ({reason})") from error


def model_name(model: Any) -> str:
    """Return the registered name of a model, or that of its class."""
    return getattr(model, "architecture", "") or type(model).__name__


_EVAL_LOCK = threading.Lock()
# model -> the number of `with` blocks it is in, and the modules that were in training mode before the first
_EVAL_USERS: "weakref.WeakKeyDictionary[nn.Module, tuple[int, list[nn.Module]]]" = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def eval_mode(model: Any) -> Iterator[None]:
    """Switch to eval mode for a `with` block, then restore the mode of every module.

    Module by module, because parts of a model in training mode may be frozen in eval mode. Where
    several threads use the model, the last to leave its block restores the modes.
    """
    with _EVAL_LOCK:
        users, training = _EVAL_USERS.get(model) or (0, [module for module in model.modules() if module.training])
        _EVAL_USERS[model] = users + 1, training
        model.eval()
    try:
        yield
    finally:
        with _EVAL_LOCK:
            users, training = _EVAL_USERS.pop(model)
            if users > 1:
                _EVAL_USERS[model] = users - 1, training
            else:
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


@dataclass(frozen=True, eq=False)
class Found:
    """An image with the boxes of its people.

    Attributes:
        source: its path, or None.
        image: `(3, H, W)`.
        boxes: `(N, 4)`.
        padding: of the boxes.
        scores: of the boxes, or None.
        second_pass: whether the box is the whole image, and a second pass is due.
    """

    source: str | Path | None
    image: Tensor
    boxes: Tensor
    padding: float
    scores: np.ndarray | None = None
    second_pass: bool = False


def _load(item: Any) -> Tensor | ValueError:
    try:
        return load_image(item)
    except ValueError as error:
        return error


def _path(item: Any) -> str | Path | None:
    return item if isinstance(item, str | Path) else None


def _given(
    items: Iterable[Any], item_boxes: Iterable[Any], padding: float, second_pass: bool
) -> Iterator[Found | ValueError]:
    """Yield every image with the boxes that were given for it."""
    for item, given in zip(items, item_boxes, strict=False):  # the boxes may be endless
        image = _load(item)
        if isinstance(image, ValueError):
            yield image
            continue
        height, width = image.shape[-2:]
        if given is None:
            whole = torch.tensor([[0.0, 0.0, width, height]])
            yield Found(_path(item), image, whole, IMAGE_PADDING, second_pass=second_pass)
        else:
            yield Found(_path(item), image, _check_boxes(given, height, width), padding)


def _detected(items: Iterable[Any], detector: Detector, padding: float) -> Iterator[Found | ValueError]:
    """Yield every image with the boxes that a detector finds in it."""
    rest, number = iter(items), -1
    while group := list(itertools.islice(rest, DETECT_TOGETHER)):
        loaded = [_load(item) for item in group]
        images = [image for image in loaded if isinstance(image, Tensor)]
        found = detector(images) if images else []
        outputs = list(found) if isinstance(found, Iterable) else []
        if len(outputs) != len(images):
            raise ValueError(f"detector: expected (boxes, scores) for each of {len(images)} images, got {len(outputs)}")
        for item, image in zip(group, loaded, strict=True):
            number += 1
            if isinstance(image, ValueError):
                yield image
                continue
            height, width = image.shape[-2:]
            try:
                boxes, scores = outputs.pop(0)
                checked = _check_boxes(boxes, height, width)
                values = np.asarray(scores.detach().cpu() if isinstance(scores, Tensor) else scores, np.float32)
                if values.shape != (len(checked),) or not np.isfinite(values).all():
                    raise ValueError(f"scores: expected {len(checked)} finite numbers, one per box, got {scores}")
            except (TypeError, ValueError) as error:
                raise ValueError(f"detector: expected (boxes, scores) for image {number}: {error}") from error
            yield Found(_path(item), image, checked, padding, values)


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
    tiny = (checked[:, 2:] <= FRACTIONS).all(dim=1)
    if tiny.any() and min(height, width) > 4 * FRACTIONS:
        raise ValueError(
            f"boxes: box {int(tiny.nonzero()[0])}, {checked[tiny][0].tolist()}, is smaller than two pixels; boxes are "
            f"in pixels, not fractions: multiply by ({width}, {height}, {width}, {height})"
        )
    return checked


# -------------------------------------------------------------------------------------------------------------- network


@dataclass(frozen=True, eq=False)
class Network:
    """A model and how to run it.

    Attributes:
        model: a model of the zoo.
        flip: as in `predict`.
        batch_size: crops per forward pass.
        precision: as in `predict`.
    """

    model: Any
    flip: bool
    batch_size: int
    precision: str

    def crops(self, found: Found) -> Crops:
        """Crop the boxes of an image."""
        model, image = self.model, found.image
        size, keep_aspect, corner_aligned = model.input_size, model.keep_aspect, model.corner_aligned
        center, extent = box_to_crop(found.boxes, size, padding=found.padding, keep_aspect=keep_aspect)
        matrices = crop_matrix(center, extent, size, corner_aligned=corner_aligned, keep_aspect=keep_aspect)
        height, width = image.shape[-2:]
        itself = callable(getattr(model, "predict_from_image", None))
        return Crops(
            matrices,
            found.boxes,
            found.scores,
            (height, width),
            # float32 on the CPU; `run` moves a batch at a time
            pixels=None if itself else crop(image, matrices, size).clamp(0, 1),
            image=image if itself or found.second_pass else None,
            second_pass=found.second_pass,
            source=found.source,
        )

    def run(self, waiting: Sequence[Crops | ValueError]) -> Iterator[People | ValueError]:
        """Predict for the crops of several images, which share batches, in two passes where due."""
        crops = [entry for entry in waiting if isinstance(entry, Crops)]
        results = self._pass(crops)
        boxes = {n: keypoint_box(results[n]) for n, cut in enumerate(crops) if cut.second_pass}
        boxes = {n: box for n, box in boxes.items() if np.isfinite(box).all()}
        again = [self.crops(_around(crops[n], box, self.model.padding)) for n, box in boxes.items()]
        for n, second in zip(boxes, self._pass(again), strict=True):
            results[n] = better_pass(results[n], second)
        rest = iter(results)
        for entry in waiting:
            yield entry if isinstance(entry, ValueError) else next(rest)

    def _pass(self, crops: Sequence[Crops]) -> list[People]:
        if not crops:
            return []
        if crops[0].pixels is None:
            outputs = [self._run_on_image(cut) for cut in crops]
        else:
            pixels = torch.cat([cut.pixels for cut in crops if cut.pixels is not None])
            keypoints, scores = self._run(self.model.predict, pixels)
            counts = [len(cut.boxes) for cut in crops]
            outputs = list(zip(keypoints.split(counts), scores.split(counts), strict=True))
        return [
            replace(cut.people(*output, self.model.skeleton), image=cut.source)
            for cut, output in zip(crops, outputs, strict=True)
        ]

    def _run_on_image(self, cut: Crops) -> tuple[Tensor, Tensor]:
        """Predict for the people of one image with a model that crops it itself.

        The later stages of a cascade crop small parts of a person. They need the image at full
        resolution, which a crop of the whole person no longer has.
        """
        target = next(self.model.parameters())
        assert cut.image is not None
        image = cut.image.to(target.device, target.dtype)
        return self._run(functools.partial(self.model.predict_from_image, image), cut.matrices)

    @torch.no_grad()
    def _run(self, call: Any, people: Tensor) -> tuple[Tensor, Tensor]:
        """Call the model in eval mode on batches: keypoints `(N, K, 2)`, scores `(N, K)`; on the CPU."""
        model, target = self.model, next(self.model.parameters())
        if not len(people):
            return torch.zeros(0, model.num_keypoints, 2), torch.zeros(0, model.num_keypoints)
        dtype = target.dtype if call == model.predict else people.dtype  # matrices stay as they are
        bf16 = self.precision == "bf16"
        mixed = torch.autocast(target.device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()
        with eval_mode(model), mixed:
            parts = [call(batch.to(target.device, dtype), flip=self.flip) for batch in people.split(self.batch_size)]
        keypoints, scores = (torch.cat(part).float().cpu() for part in zip(*parts, strict=True))
        return keypoints, scores


def _around(cut: Crops, box: np.ndarray, padding: float) -> Found:
    """Return the image of a first pass with the box of the second."""
    assert cut.image is not None
    return Found(cut.source, cut.image, torch.from_numpy(box[None].astype(np.float32)), padding)


def _check_precision(precision: str, device: str) -> str:
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "bf16" and device == "cuda" and not torch.cuda.is_bf16_supported():
        raise ValueError("precision bf16: this GPU has no bfloat16; use fp32")
    return precision
