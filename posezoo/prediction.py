"""Predict 2D keypoints: crop every person, run the network, map the keypoints into the image.

`posezoo.predict` is the function of this name, `predict_stream` the same for images that come one
by one. Both take images and videos, and rely on the contract of `PoseModel` and on no particular
network.
"""

import collections
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch

from posezoo.arrays import check_count, check_device
from posezoo.crops import Crops, Found, Network, check_precision, detected_boxes, given_boxes, loaded
from posezoo.detectors import DEFAULT, Detector, load_detector
from posezoo.people import People
from posezoo.progress import with_progress
from posezoo.registry import create
from posezoo.tracking import smoothed, with_ids
from posezoo.video import Frame, VideoReader, is_video, read_video
from posezoo.weights.state_dict import check_memory

if TYPE_CHECKING:
    from posezoo.images import ImageLike

DEFAULT_MODEL = "simple_baseline_lite"
BATCH_SIZE = {"cpu": 16}  # crops; larger batches are no faster on a CPU and report progress more rarely
GPU_BATCH_SIZE = 64
HUMAN = {"left_shoulder", "right_shoulder", "left_hip", "right_hip"}  # keypoints of networks for people
AHEAD = 2  # images of a list that threads load while the network runs
IMAGES_TOGETHER = 2**29  # bytes of the images that wait for their second pass
SMOOTHING = ("one-euro",)
CONTRACT = ("input_size", "padding", "keep_aspect", "corner_aligned")  # attributes of a model that `predict` reads


@overload
def predict(
    images: "list[Any] | tuple[Any, ...] | VideoReader",
    model: Any = ...,
    boxes: Any = ...,
    *,
    detector: Detector | str | Path | None = ...,
    track: bool = ...,
    smooth: str | None = ...,
    second_pass: bool = ...,
    flip: bool = ...,
    scales: Sequence[float] | None = ...,
    batch_size: int | None = ...,
    precision: str = ...,
    prepare: bool = ...,
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
    track: bool = ...,
    smooth: str | None = ...,
    second_pass: bool = ...,
    flip: bool = ...,
    scales: Sequence[float] | None = ...,
    batch_size: int | None = ...,
    precision: str = ...,
    prepare: bool = ...,
    device: str | torch.device | None = ...,
    progress: bool | None = ...,
) -> People: ...


def predict(
    images: Any,
    model: Any = DEFAULT_MODEL,
    boxes: Any = None,
    *,
    detector: Detector | str | Path | None = DEFAULT,
    track: bool = False,
    smooth: str | None = None,
    second_pass: bool = True,
    flip: bool = False,
    scales: Sequence[float] | None = None,
    batch_size: int | None = None,
    precision: str = "fp32",
    prepare: bool = True,
    device: str | torch.device | None = None,
    progress: bool | None = None,
) -> People | list[People]:
    """Predict the keypoints of the people in one image, in several, or in the frames of a video.

    People are found by a small detector, the most prominent one first. An image in which it finds
    nobody has one person, who is found in two passes, and so has every image without a detector.
    The first pass crops the whole image. The second crops the bounding box of the keypoints whose
    score is at least 0.3 of the highest. Its prediction is returned, unless its mean score is less
    than half of that of the first. On LSPET images 7001 to 7500 PCK@0.2 of the first person is
    0.437 in one pass, 0.622 in two, and 0.626 with the detector.

    Args:
        images: an image, or a list or tuple of them. An image is a path; a PIL image; an array
            `(H, W, 3)`, RGB, uint8 or float in [0, 1]; or a tensor `(3, H, W)` of the same types.
            Grey images are repeated to RGB, CMYK is converted, 16-bit values are scaled down, alpha
            is blended over white, and the EXIF orientation of files and PIL images is applied. Or
            one video: its path, recognised by the suffix, or a `posezoo.video.read_video`. Its
            frames are decoded as they are needed.
        model: a name, created with `pretrained=True`, or a model of the zoo that takes images.
        boxes: `(N, 4)` as (x1, y1, x2, y2) pixels, the people of the image. For several images a
            list of such arrays, with None for an image of one person. Defaults to those that the
            detector finds. Boxes may reach out of the image but not lie outside of it. For a video
            an iterable with the boxes of each frame.
        detector: a callable as in `posezoo.detectors`, or a name for `detectors.load_detector`,
            which finds the boxes; None for one person per image. `People` is empty for images
            without detections. "default" is `detectors.PersonDetector` of the package; it leaves
            images in which it finds nobody to the two passes, and is not used without a second
            pass, for networks that take the whole image, or for those of other keypoints than
            people's.
        track: give each person of a video, or of images that are its frames, an id in `People.ids`;
            see `posezoo.tracking.Tracker`. `People` is empty where the default detector finds
            nobody.
        smooth: "one-euro" filters the keypoints of each person along time with
            `posezoo.data.OneEuroStream`, which needs ids: `track` is implied. Defaults to none.
        second_pass: whether images without boxes get a second pass. Doubles the cost at most.
            False crops the whole image once, without the default detector.
        flip: average with the predictions for the mirrored crops. Doubles the cost, slightly more
            accurate.
        scales: factors at which each person is cropped again, whose heatmaps are averaged, such as
            `posezoo.models.cpm.CPM_SCALES`; for models with `predict_at_scales`. Defaults to one
            crop.
        batch_size: crops per forward pass; crops of several images share a batch. Defaults to 64 on
            a GPU and to 16 on a CPU.
        precision: "fp32", or "bf16" for automatic mixed precision.
        prepare: use a copy of the network for inference after a few runs, see `posezoo.prepared`.
            False: the network as it is, for results equal to the last bit.
        device: device of the model. Defaults to the device the model is on; for a name to the GPU
            if there is one.
        progress: show a progress bar, which counts the images that have been through the network.
            Defaults to True on a terminal for 32 images or more.

    Returns:
        `People`; for a list or tuple a list of `People` in its order, empty for an empty one; for a
        video a list with the `People` of each frame, whose `time` is set.

    Raises:
        ValueError: an image that is missing, damaged, empty, of the wrong type, or not finite;
            boxes, given or detected, that are malformed or outside the image; boxes together with a
            detector; a model that is not one for images; a video that cannot be read; what
            `posezoo.create` raises.

    Examples:
        >>> import numpy as np, posezoo
        >>> people = posezoo.predict(np.zeros((120, 90, 3), np.uint8), boxes=[[10, 10, 80, 110]])
        >>> people.keypoints.shape, people.skeleton.name
        ((1, 17, 2), 'coco17')
    """
    video = as_video(images)
    if video is not None and isinstance(video.source, int):
        raise ValueError("images: a webcam has no last frame; loop over posezoo.prediction.predict_stream(video)")
    several = isinstance(images, list | tuple)
    items: Any = video or (list(images) if several else [images])
    if video is None and boxes is not None:
        boxes = _boxes_per_image(boxes, len(items), several)
    stream = predict_stream(
        items,
        model,
        boxes,
        detector=detector,
        track=track,
        smooth=smooth,
        second_pass=second_pass,
        flip=flip,
        scales=scales,
        batch_size=batch_size,
        precision=precision,
        prepare=prepare,
        device=device,
    )
    if video is not None:
        return list(with_progress(stream, video.num_frames, progress, "frame"))
    results = with_progress(stream, len(items), progress, "image")
    # the caller holds the images anyway, so People may remember them
    everyone = [replace(people, image=item) for people, item in zip(results, items, strict=True)]
    return everyone if several else everyone[0]


@overload
def predict_stream(
    images: "Iterable[Any] | str | Path",
    model: Any = ...,
    boxes: Iterable[Any] | None = ...,
    *,
    damaged: Literal["raise"] = ...,
    detector: Detector | str | Path | None = ...,
    track: bool = ...,
    smooth: str | None = ...,
    second_pass: bool = ...,
    flip: bool = ...,
    scales: Sequence[float] | None = ...,
    batch_size: int | None = ...,
    precision: str = ...,
    prepare: bool = ...,
    device: str | torch.device | None = ...,
) -> Iterator[People]: ...


@overload
def predict_stream(
    images: "Iterable[Any] | str | Path",
    model: Any = ...,
    boxes: Iterable[Any] | None = ...,
    *,
    damaged: Literal["yield"],
    detector: Detector | str | Path | None = ...,
    track: bool = ...,
    smooth: str | None = ...,
    second_pass: bool = ...,
    flip: bool = ...,
    scales: Sequence[float] | None = ...,
    batch_size: int | None = ...,
    precision: str = ...,
    prepare: bool = ...,
    device: str | torch.device | None = ...,
) -> Iterator[People | ValueError]: ...


def predict_stream(
    images: "Iterable[Any] | str | Path",
    model: Any = DEFAULT_MODEL,
    boxes: Iterable[Any] | None = None,
    *,
    damaged: str = "raise",
    detector: Detector | str | Path | None = DEFAULT,
    track: bool = False,
    smooth: str | None = None,
    second_pass: bool = True,
    flip: bool = False,
    scales: Sequence[float] | None = None,
    batch_size: int | None = None,
    precision: str = "fp32",
    prepare: bool = True,
    device: str | torch.device | None = None,
) -> Iterator[People | ValueError]:
    """Predict for images that come one by one, such as the frames of a video, as `predict` does.

    Images are loaded when they are needed and forgotten afterwards. Predictions come in the order
    of the images, at most one batch late; with a `batch_size` of 1 each comes at once.

    Args:
        images: an iterable of images as `predict` takes them, or of the frames of a video, such as
            `posezoo.video.read_video("clip.mp4")`; or the path of a video.
        model: as in `predict`.
        boxes: an iterable of boxes `(N, 4)`, or None, one per image. Defaults to those that the
            detector finds.
        damaged: "raise", or "yield" for an image that cannot be loaded to yield its error in the
            place of its people.
        detector: as in `predict`, like the other arguments.
        track: as in `predict`.
        smooth: as in `predict`.
        second_pass: as in `predict`.
        flip: as in `predict`.
        scales: as in `predict`.
        batch_size: as in `predict`.
        precision: as in `predict`.
        prepare: as in `predict`.
        device: as in `predict`.

    Yields:
        `People` of each image, with `image` None unless it is a path, and `time` for frames of a
        video.

    Raises:
        ValueError: as `predict`.

    Examples:
        >>> import numpy as np
        >>> frames = (np.full((60, 40, 3), grey, np.uint8) for grey in range(5))
        >>> [people.keypoints.shape for people in predict_stream(frames, batch_size=2)][:2]
        [(1, 17, 2), (1, 17, 2)]
    """
    if damaged not in ("raise", "yield"):
        raise ValueError(f"damaged: expected 'raise' or 'yield', got {damaged!r}")
    by_default = isinstance(detector, str) and detector == DEFAULT
    if not by_default and detector is not None and boxes is not None:
        raise ValueError("boxes and detector: expected one of them, as a detector provides the boxes")
    if batch_size is not None:
        check_count(batch_size, "batch_size")
    finder: Any = None if by_default else detector
    if isinstance(finder, str | Path):
        finder = _detector_by_name(str(finder), None if device is None else str(device))
    if finder is not None and not callable(finder):
        raise ValueError(f"detector: expected a callable or a name, got {type(finder).__name__}")
    if smooth is not None and smooth not in SMOOTHING:
        raise ValueError(f"smooth: expected {', '.join(SMOOTHING)} or None, got {smooth!r}")
    if (track or smooth) and damaged == "yield":
        raise ValueError("damaged='yield': an image that cannot be loaded has no place in a video; leave out track")
    images = _frames(images)
    model = resolve_model(model, device, takes="image", needs=CONTRACT)
    place = next(model.parameters()).device
    kind = place.type
    size = batch_size or BATCH_SIZE.get(kind, GPU_BATCH_SIZE)
    network = Network(model, flip, size, check_precision(precision, kind), _from_image(model, scales), prepare)
    times: collections.deque[float | None] = collections.deque()
    # of a list only: an iterable may wait for what it yields next, such as the frames of a camera
    several = isinstance(images, list | tuple) and len(images) > 1
    items = loaded(_note_times(images, times), ahead=AHEAD if several else 0)
    again = second_pass and getattr(model, "region", "person") != "image"
    own = by_default and again and boxes is None and _is_of_people(model)
    if own:
        finder = _detector_by_name(DEFAULT, str(place))
    if finder is None:
        found = given_boxes(items, itertools.repeat(None) if boxes is None else boxes, model, again)
    else:
        found = detected_boxes(items, finder, model, size, own=own, or_whole=not (track or smooth))
    results: Any = _at_times(_predictions(network, found, damaged == "yield"), times)
    if track or smooth:
        results = with_ids(results)
    return smoothed(results) if smooth else results


def as_video(source: Any) -> VideoReader | None:
    """Open the path of a video or pass an open one on; None for everything else.

    Raises:
        ValueError: what `posezoo.video.read_video` raises.

    Examples:
        >>> as_video("photo.jpg") is None, as_video([1, 2]) is None
        (True, True)
    """
    if isinstance(source, VideoReader):
        return source
    return read_video(source) if is_video(source) else None


def _frames(images: Any) -> Iterable[Any]:
    video = as_video(images)
    if video is None and (isinstance(images, str | Path) or not isinstance(images, Iterable)):
        raise ValueError(f"images: expected an iterable of images or the path of a video, got {images!r:.200}")
    return images if video is None else video


def _note_times(images: Iterable[Any], times: "collections.deque[float | None]") -> Iterator[Any]:
    """Yield images, and append the time of each to `times`; None outside of videos."""
    for image in images:
        times.append(image.time if isinstance(image, Frame) else None)
        yield image.image if isinstance(image, Frame) else image


def _at_times(
    results: Iterator[People | ValueError], times: "collections.deque[float | None]"
) -> Iterator[People | ValueError]:
    for people in results:
        time = times.popleft()
        yield people if time is None or isinstance(people, ValueError) else replace(people, time=time)


def _predictions(network: Network, found: Iterator[Found | ValueError], go_on: bool) -> Iterator[People | ValueError]:
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
        # images without people wait for each other, too
        if max(crops, len(waiting)) >= network.batch_size or memory >= IMAGES_TOGETHER:
            yield from network.run(waiting)
            waiting, crops, memory = [], 0, 0
    yield from network.run(waiting)


def resolve_model(
    model: Any, device: str | torch.device | None, *, takes: str | Sequence[str], needs: Sequence[str] = ()
) -> Any:
    """Return a model of the zoo on its device, loaded with its weights if it is given by name.

    Args:
        model: a name or a model.
        device: as in `predict`.
        takes: the required `input_kind`, "image", "keypoints" or "clip", or several of them.
        needs: names of the attributes of `PoseModel` that the caller reads.

    Raises:
        ValueError: no model, or one with another kind of input or without the attributes; what
            `posezoo.create` raises.
    """
    check_device(device)
    if isinstance(model, str):
        model = _model_by_name(model, str(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    elif not callable(getattr(model, "predict", None)):
        raise ValueError(f"model: expected a name or a model of posezoo.create, got {type(model).__name__}")
    elif device is not None:
        model = model.to(device)
    kind = getattr(model, "input_kind", "image")
    kinds = (takes,) if isinstance(takes, str) else takes
    if kind not in kinds:
        raise ValueError(
            f"model: the input of {model_name(model)} is {kind!r}, not {' or '.join(map(repr, kinds))}; "
            "posezoo.predict is for images, posezoo.lift for keypoints and clips, model.predict for all"
        )
    if getattr(model, "num_keypoints", 1) == 0:
        raise ValueError(f"model: this {model_name(model)} has no head; model.reset_head(num_keypoints) makes one")
    check_memory(model)
    lacks = [name for name in needs if not hasattr(model, name)]
    if lacks:
        raise ValueError(f"model: {model_name(model)} lacks {', '.join(lacks)}; see the attributes of PoseModel")
    return model


def _is_of_people(model: Any) -> bool:
    return model.skeleton is None or set(model.skeleton.keypoints) >= HUMAN


def _from_image(model: Any, scales: Sequence[float] | None) -> Any:
    """Return the model's method that crops an image itself, at `scales` if there are any."""
    if scales is None:
        return getattr(model, "predict_from_image", None)
    if not scales or not all(0 < scale < float("inf") for scale in scales):
        raise ValueError(f"scales: expected positive numbers, got {list(scales)}")
    if not hasattr(model, "predict_at_scales"):
        raise ValueError(f"scales: {model_name(model)} predicts at one scale; Convolutional Pose Machines take several")
    return functools.partial(model.predict_at_scales, scales=tuple(scales))


def model_name(model: Any) -> str:
    """Return the registered name of a model, or that of its class."""
    return getattr(model, "architecture", "") or type(model).__name__


def _model_by_name(name: str, device: str) -> Any:
    if name.startswith("local-dir:"):  # the folder may have been rewritten since it was last read
        return create(name, pretrained=True).to(device)
    return _cached_model(name, device)


@functools.lru_cache(maxsize=4)  # so that a loop over images does not load the model each time
def _cached_model(name: str, device: str) -> Any:
    with torch.inference_mode(False):  # the model outlives the caller's block
        return create(name, pretrained=True).to(device)


def _detector_by_name(name: str, device: str | None) -> Detector:
    """Load a detector; those of files and folders are not cached, because these may change."""
    cached = name == DEFAULT or name.startswith("hf-hub:")
    return _cached_detector(name, device) if cached else load_detector(name, device=device)


@functools.lru_cache(maxsize=2)
def _cached_detector(name: str, device: str | None) -> Detector:
    return load_detector(name, device=device)


def _boxes_per_image(boxes: Any, count: int, several: bool) -> list[Any]:
    if not several:
        return [boxes]
    if boxes is None:
        return [None] * count
    if not isinstance(boxes, list | tuple) or len(boxes) != count:
        got = f"{len(boxes)}" if isinstance(boxes, list | tuple) else f"a {type(boxes).__name__}"
        raise ValueError(f"boxes: expected a list with (N, 4) boxes or None for each of the {count} images, got {got}")
    return list(boxes)
