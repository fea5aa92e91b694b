"""Crop the people of images, run a network on the crops, and map its keypoints into the images.

`Found` is an image with the boxes of its people, which are given or detected; `Crops` are their
inputs for a network; `Network` runs one. `posezoo.predict` is made of these three.
"""

import collections
import contextlib
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posezoo.detectors import Detector
from posezoo.features import eval_mode
from posezoo.geometry import invert, transform_points
from posezoo.images import load_image
from posezoo.inputs import crop_filled, person_matrices
from posezoo.people import People
from posezoo.prepared import unprepared
from posezoo.skeletons import Skeleton
from posezoo.video import is_video

# factor on a padding: boxes of the own detector have the whole outline, those of its networks' training the joints
OUTLINED = 0.82
IMAGE_PADDING = 1.0  # a whole image has no context to add around it
DETECT_TOGETHER = 8  # images in one call of a detector
CONFIDENT = 0.3  # lowest score of the keypoints around which the second pass looks, in units of the highest
FRACTIONS = 2.0  # pixels; a box up to here in the corner of the image is one in fractions of the image
FARTHEST = 100  # distance of a box, in units of the image's longer side
LOST = 0.5  # mean score of a second pass that lost the person, in units of that of the first
FEWEST = 4  # confident keypoints that make a box
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, eq=False)
class Crops:
    """The people of one image on their way through the network.

    Attributes:
        matrices: `(N, 2, 3)`, from pixels of the image to pixels of the network's input.
        boxes: `(N, 4)` pixels of the image.
        box_scores: `(N,)`, or None.
        image_size: (H, W).
        pixels: `(N, 3, h, w)`, the network's inputs, or None for a model that crops the image
            itself, and for a crowd of more than a batch, which is cropped batch by batch.
        image: `(3, H, W)`, where it is still needed: without `pixels`, or for a second pass.
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


@dataclass(frozen=True, eq=False)
class Found:
    """An image with the boxes of its people.

    Attributes:
        source: its path, or None.
        image: `(3, H, W)`.
        boxes: `(N, 4)`.
        padding: of the boxes.
        margin: of the boxes, pixels.
        scores: of the boxes, or None.
        second_pass: whether the box is the whole image, and a second pass is due.
    """

    source: str | Path | None
    image: Tensor
    boxes: Tensor
    padding: float
    scores: np.ndarray | None = None
    second_pass: bool = False
    margin: float = 0.0


def context_of(model: Any) -> dict[str, Any]:
    """Return padding and margin of a person's box; a model need not have a margin."""
    return {"padding": model.padding, "margin": getattr(model, "margin", 0.0)}


def _load(item: Any) -> Tensor | ValueError:
    if is_video(item):
        return ValueError(
            f"images: {item} is a video among images; pass each video alone, as posezoo.predict({str(item)!r})"
        )
    try:
        return load_image(item)
    except ValueError as error:
        return error


def loaded(items: Iterable[Any], ahead: int = 0) -> Iterator[tuple[Any, Tensor | ValueError]]:
    """Yield each item with its image, or with the error of loading it.

    Args:
        items: images as `load_image` takes them.
        ahead: images that threads load while the caller works. 0: each is loaded when it is needed.

    Examples:
        >>> [type(image).__name__ for _, image in loaded([np.zeros((2, 2, 3)), "missing.jpg"], ahead=1)]
        ['Tensor', 'ValueError']
    """
    if not ahead:
        yield from ((item, _load(item)) for item in items)
        return
    waiting: collections.deque[tuple[Any, Future[Tensor | ValueError]]] = collections.deque()
    with ThreadPoolExecutor(ahead) as readers:
        for item in items:
            waiting.append((item, readers.submit(_load, item)))
            if len(waiting) > ahead:
                first, image = waiting.popleft()
                yield first, image.result()
        for item, image in waiting:
            yield item, image.result()


def _path(item: Any) -> str | Path | None:
    return item if isinstance(item, str | Path) else None


def _whole(item: Any, image: Tensor, *, second_pass: bool) -> Found:
    """Return an image with one person, whose box is all of it."""
    height, width = image.shape[-2:]
    box = torch.tensor([[0.0, 0.0, width, height]])
    return Found(_path(item), image, box, IMAGE_PADDING, second_pass=second_pass)


def given_boxes(
    items: Iterable[tuple[Any, Tensor | ValueError]], item_boxes: Iterable[Any], model: Any, second_pass: bool
) -> Iterator[Found | ValueError]:
    """Yield every image of `loaded` with the boxes that were given for it."""
    rest = iter(item_boxes)  # may be endless
    for number, (item, image) in enumerate(items):
        given = next(rest, rest)
        if given is rest:
            raise ValueError(f"boxes: expected some for each image, got them for {number}; None is for one person")
        if isinstance(image, ValueError):
            yield image
            continue
        height, width = image.shape[-2:]
        if given is None:
            yield _whole(item, image, second_pass=second_pass)
        else:
            yield Found(_path(item), image, check_boxes(given, height, width), **context_of(model))


def detected_boxes(
    items: Iterable[tuple[Any, Tensor | ValueError]],
    detector: Detector,
    model: Any,
    batch_size: int,
    *,
    own: bool = False,
    or_whole: bool = True,
) -> Iterator[Found | ValueError]:
    """Yield every image of `loaded` with the boxes that a detector finds in it.

    With `own` it is the package's: crops are tighter, and with `or_whole` an image in which it
    finds nobody has one person, who is found in two passes.
    """
    context = context_of(model)
    if own:
        context["padding"] *= OUTLINED
    rest, number = iter(items), -1
    together = 1 if own else min(DETECT_TOGETHER, batch_size)  # the own detector takes one by one anyway
    while group := list(itertools.islice(rest, together)):
        images = [image for _, image in group if isinstance(image, Tensor)]
        checked_after = [] if own else images  # the own detector does not write
        before = [image.sum(dtype=torch.float64) for image in checked_after]
        found = detector(images) if images else []
        if any(image.sum(dtype=torch.float64) != total for image, total in zip(checked_after, before, strict=True)):
            raise ValueError("detector: it wrote into an image that it was given; let it work on image.clone()")
        outputs = list(found) if isinstance(found, Iterable) else []
        if len(outputs) != len(images):
            raise ValueError(f"detector: expected (boxes, scores) for each of {len(images)} images, got {len(outputs)}")
        for item, image in group:
            number += 1
            if isinstance(image, ValueError):
                yield image
                continue
            height, width = image.shape[-2:]
            try:
                boxes, scores = outputs.pop(0)
                checked = check_boxes(boxes, height, width, pixels=own)
                values = np.asarray(scores.detach().cpu() if isinstance(scores, Tensor) else scores, np.float32)
                if values.shape != (len(checked),) or not np.isfinite(values).all():
                    raise ValueError(f"scores: expected {len(checked)} finite numbers, one per box, got {scores}")
            except (TypeError, ValueError) as error:
                raise ValueError(f"detector: expected (boxes, scores) for image {number}: {error}") from error
            if own and or_whole and not len(checked):
                yield _whole(item, image, second_pass=True)
            else:
                yield Found(_path(item), image, checked, scores=values, **context)


def check_boxes(boxes: Any, height: int, width: int, *, pixels: bool = False) -> Tensor:
    """Return the boxes of an image of `height` x `width` as a tensor `(N, 4)`, or raise.

    With `pixels` they are known not to be fractions, so that small ones in the corner are right.
    """
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
    outside |= (checked.isfinite() & (checked.abs() > FARTHEST * max(height, width))).any(dim=1)
    if outside.any():
        index = int(outside.nonzero()[0])
        raise ValueError(
            f"boxes: box {index}, {checked[index].tolist()}, lies outside its image of {width} x {height} pixels; "
            "boxes are (x1, y1, x2, y2) in pixels, not fractions"
        )
    tiny = (checked[:, 2:] <= FRACTIONS).all(dim=1)
    if not pixels and tiny.any() and min(height, width) > 4 * FRACTIONS:
        raise ValueError(
            f"boxes: box {int(tiny.nonzero()[0])}, {checked[tiny][0].tolist()}, is smaller than two pixels; boxes are "
            f"in pixels, not fractions: multiply by ({width}, {height}, {width}, {height})"
        )
    return checked


@dataclass(frozen=True, eq=False)
class Network:
    """A model and how to run it.

    Attributes:
        model: a model of the zoo.
        flip: as in `predict`.
        batch_size: crops per forward pass.
        precision: as in `predict`.
        from_image: method of the model that crops the image itself, or None.
        prepare: as in `predict`.
    """

    model: Any
    flip: bool
    batch_size: int
    precision: str
    from_image: Any = None
    prepare: bool = True

    def crops(self, found: Found) -> Crops:
        """Crop the boxes of an image."""
        model, image = self.model, found.image
        height, width = image.shape[-2:]
        region = getattr(model, "region", "person")
        matrices = person_matrices(
            found.boxes,
            (height, width),
            model.input_size,
            padding=model.padding if region == "image" else found.padding,
            margin=found.margin,
            region=region,
            keep_aspect=model.keep_aspect,
            corner_aligned=model.corner_aligned,
        )
        later = self.from_image is not None or len(matrices) > self.batch_size
        return Crops(
            matrices,
            found.boxes,
            found.scores,
            (height, width),
            # float32 on the CPU; `run` moves a batch at a time
            pixels=None if later else self.cut(image, matrices),
            image=image if later or found.second_pass else None,
            second_pass=found.second_pass,
            source=found.source,
        )

    def cut(self, image: Tensor, matrices: Tensor) -> Tensor:
        """Crop an image; what lies outside of it has the model's `fill`."""
        return crop_filled(image, matrices, self.model.input_size, getattr(self.model, "fill", 0.0))

    def run(self, waiting: Sequence[Crops | ValueError]) -> Iterator[People | ValueError]:
        """Predict for the crops of several images, which share batches, in two passes where due."""
        crops = [entry for entry in waiting if isinstance(entry, Crops)]
        results = self._pass(crops)
        boxes = {n: keypoint_box(results[n]) for n, cut in enumerate(crops) if cut.second_pass}
        boxes = {n: box for n, box in boxes.items() if np.isfinite(box).all()}
        again = [self.crops(_around(crops[n], box, self.model)) for n, box in boxes.items()]
        for n, second in zip(boxes, self._pass(again), strict=True):
            results[n] = better_pass(results[n], second)
        rest = iter(results)
        for entry in waiting:
            yield entry if isinstance(entry, ValueError) else next(rest)

    def _pass(self, crops: Sequence[Crops]) -> list[People]:
        shared = [cut for cut in crops if cut.pixels is not None]
        pixels = [cut.pixels for cut in shared if cut.pixels is not None]
        keypoints, scores = self._run(self.model.predict, torch.cat(pixels).split(self.batch_size) if pixels else ())
        counts = [len(cut.boxes) for cut in shared]
        together = iter(zip(keypoints.split(counts), scores.split(counts), strict=True))
        outputs: list[tuple[Tensor, Tensor]]
        outputs = [self._run_on_image(cut) if cut.pixels is None else next(together) for cut in crops]
        return [
            replace(cut.people(*output, self.model.skeleton), image=cut.source)
            for cut, output in zip(crops, outputs, strict=True)
        ]

    def _run_on_image(self, cut: Crops) -> tuple[Tensor, Tensor]:
        """Predict for the people of one image, cropped batch by batch or by the model itself.

        The later stages of a cascade crop small parts of a person. They need the image at full
        resolution, which a crop of the whole person no longer has.
        """
        image, batches = cut.image, cut.matrices.split(self.batch_size)
        assert image is not None
        if self.from_image is None:
            return self._run(self.model.predict, (self.cut(image, matrices) for matrices in batches))
        target = next(self.model.parameters())
        return self._run(functools.partial(self.from_image, image.to(target.device, target.dtype)), batches)

    @torch.no_grad()
    def _run(self, call: Any, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Predict in eval mode, by batch: keypoints `(N, K, 2)` and scores `(N, K)`, on the CPU."""
        model, target, parts = self.model, next(self.model.parameters()), []
        bf16 = self.precision == "bf16"
        with eval_mode(model), contextlib.nullcontext() if self.prepare else unprepared():
            for batch in filter(len, batches):
                dtype = target.dtype if call == model.predict else batch.dtype  # matrices stay as they are
                # not around the crops, whose matrices need all digits
                with torch.autocast(target.device.type, torch.bfloat16) if bf16 else contextlib.nullcontext():
                    parts.append(call(batch.to(target.device, dtype), flip=self.flip))
        if not parts:
            return torch.zeros(0, model.num_keypoints, 2), torch.zeros(0, model.num_keypoints)
        keypoints, scores = (torch.cat(part).float().cpu() for part in zip(*parts, strict=True))
        return keypoints, scores


def _around(cut: Crops, box: np.ndarray, model: Any) -> Found:
    """Return the image of a first pass with the box of the second."""
    assert cut.image is not None
    return Found(cut.source, cut.image, torch.from_numpy(box[None].astype(np.float32)), **context_of(model))


def check_precision(precision: str, device: str) -> str:
    """Return the precision if it exists and the device has it; else a ValueError."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "bf16" and device == "cuda" and not torch.cuda.is_bf16_supported():
        raise ValueError("precision bf16: this GPU has no bfloat16; use fp32")
    return precision


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
