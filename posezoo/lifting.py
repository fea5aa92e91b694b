"""Lift 2D keypoints or a video to 3D: convert the skeleton, fill gaps, run the network.

`posezoo.lift` is the function of this name. It relies on the contract of `PoseModel` and on no
particular network. `predict_single_person` predicts the 2D keypoints from frames;
`posezoo.data.detections` reads those of other detectors.
"""

import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posezoo.arrays import check_count, check_number
from posezoo.contract import require_flip_index
from posezoo.crops import IMAGE_PADDING, better_pass, keypoint_box
from posezoo.data.filters import median_filter, one_euro_filter
from posezoo.data.single_person import track_person
from posezoo.detectors import DEFAULT
from posezoo.features import eval_mode
from posezoo.geometry import box_to_crop, crop, crop_matrix
from posezoo.images import load_image
from posezoo.people import People
from posezoo.poses3d import FPS, Poses3D, numbered
from posezoo.prediction import SMOOTHING as FILTERS, as_video, model_name, predict, resolve_model
from posezoo.progress import with_progress
from posezoo.skeletons import Skeleton, convert, get_skeleton, list_skeletons
from posezoo.video import Frame, VideoReader, read_video

DEFAULT_MODEL = "martinez"
BATCH_SIZE = 4096  # frames
IMAGE_MODEL = "simple_baseline_lite.people_192x192"  # with the head top and the nose, which lifters need
OFTEN = 0.5  # share of the frames in which a keypoint is visible, from which on it needs no substitute
SMOOTHING = 9  # frames of the median filter over the boxes of `predict_single_person`
FRACTIONS = 2.0  # pixels; the extent of a person in OpenPose's scale of -1 to 1
BETA = 0.002  # Hz per millimetre per second: the 1 euro filter's default for poses, see `OneEuroStream`

# Substitutes for keypoints that `skeletons.convert` does not provide or that are rarely visible, best first: the mean
# of the keypoints of one entry. The table in `lift` gives the reasons.
SUBSTITUTES: dict[str, tuple[tuple[str, ...], ...]] = {
    "head": (("left_ear", "right_ear"), ("left_eye", "right_eye"), ("left_ear",), ("right_ear",), ("nose",)),
    "neck_nose": (("thorax", "head"),),
}


def lift(
    keypoints: Any,
    model: Any = DEFAULT_MODEL,
    *,
    skeleton: str | Skeleton | Sequence[str] | None = None,
    scores: Any = None,
    min_score: float = 0.3,
    image_model: Any = IMAGE_MODEL,
    box: Sequence[float] | None = None,
    detector: Any = DEFAULT,
    smooth: str | None = None,
    fps: float | None = None,
    flip: bool = False,
    batch_size: int | None = None,
    precision: str = "fp32",
    device: str | torch.device | None = None,
    progress: bool | None = None,
) -> Poses3D:
    """Lift one person to 3D, in a video of any length or by the 2D keypoints in it.

    For a video `predict_single_person` predicts the 2D keypoints first. A lifter takes them. A
    model that takes clips, as RPSM, takes crops around the person, frame by frame
    (`model.stream()`): the boxes of the confident keypoints, median-filtered along time and
    interpolated where the person is not found, with the model's `padding`. Frames are decoded as
    they are needed, several times; a variable frame rate becomes a constant one.

    Keypoints are converted from their skeleton to the network's, mostly by
    `posezoo.skeletons.convert`. Networks need every keypoint in every frame. Missing ones are
    interpolated linearly along time and held constant at the ends, with a warning that counts them.
    A keypoint that is missing in all frames is an error, unless it has a substitute: the first in
    this table that is visible in half of the frames.

    | keypoint | substitute | reason |
    |---|---|---|
    | `head` | mean of the ears | the joint lies inside the head at the height of the eyes: 0.07 torso lengths off |
    | | mean of the eyes | 0.11 torso lengths off; used by mmpose and MotionBERT |
    | | one ear; the nose | 0.14 and 0.2 torso lengths off; the only ones visible from the side and from behind |
    | `neck_nose` | mean of `thorax` and `head` | 121 and 115 mm from them in Human3.6M |

    The distances are measured in four views of one person, from OpenPose's keypoints to the
    position of `head` in CMU's motion capture, 0.45 torso lengths above the middle of the
    shoulders.

    Args:
        keypoints: `(T, K, 2)` pixels, array or tensor; values that are not finite, and (0, 0), are
            missing. Or a list of `People`, one per frame, as of `posezoo.predict` for frames: one
            person each, or none, who is missing. Or a video: its path, a
            `posezoo.video.read_video`, or a list of the paths of its frames.
        model: a name, created with `pretrained=True`, or a model of the zoo that takes keypoints,
            or for a video clips. A model whose normalisation is "pixels" expects the camera of its
            training data.
        skeleton: of the keypoints: a name, a `Skeleton` or the K names. `People` bring their own.
        scores: `(T, K)` scores, a mask, or COCO's visibility flags. `People` bring their own.
        min_score: keypoints with a lower score, or a NaN one, are missing.
        image_model: for a video, the network for its 2D keypoints, as in `posezoo.predict`.
        box: for a video, as in `predict_single_person`.
        detector: for a video, as in `predict_single_person`.
        smooth: "one-euro" filters the poses along time with `posezoo.data.one_euro_filter`.
            Defaults to none.
        fps: frames per second of keypoints or frames. Defaults to 25. A video is resampled to it,
            by default to its own average.
        flip: average with the prediction for the mirrored pose. Doubles the cost, slightly more
            accurate.
        batch_size: frames per forward pass, without the context that the receptive field adds on
            both sides. Defaults to 4096, and for the network for images to that of
            `posezoo.predict`.
        precision: of the network for images, as in `posezoo.predict`.
        device: device of the models. Defaults to the device the model is on; for a name to the GPU
            if there is one.
        progress: show a progress bar, which counts the lifted frames. Defaults to True on a
            terminal for 32 frames or more.

    Returns:
        `Poses3D` of the T frames.

    Raises:
        ValueError: no frames, mismatched shapes, a keypoint that the skeleton lacks or that is
            missing in all frames; a model that takes neither keypoints nor clips, or clips
            without a video; a video that cannot be read; what `posezoo.create` raises.

    Examples:
        >>> import posezoo
        >>> model = posezoo.create("martinez", linear_size=64).eval()
        >>> video = np.random.default_rng(0).uniform(0, 1000, (30, 17, 2))
        >>> poses = posezoo.lift(video, model, skeleton="coco17")
        >>> poses.pose3d.shape, poses.skeleton.name, poses.interpolated.any()
        ((30, 17, 3), 'h36m17', np.False_)
    """
    if batch_size is not None:
        check_count(batch_size, "batch_size")
    check_number(min_score, "min_score", low=-np.inf)
    if smooth is not None and smooth not in FILTERS:
        raise ValueError(f"smooth: expected {', '.join(FILTERS)} or None, got {smooth!r}")
    if fps is not None and not 0 < fps < float("inf"):
        raise ValueError(f"fps: expected a positive number of frames per second, got {fps}")
    frames = _video(keypoints, fps)
    model = resolve_model(model, device, takes=("keypoints", "clip"), needs=["receptive_field"])
    if model.input_kind == "clip" and frames is None:
        raise ValueError(
            f"keypoints: {model_name(model)} takes videos, not keypoints; pass the path of a video, a "
            "posezoo.video.read_video, or a list of the paths of its frames"
        )
    if frames is None and not (box is None and (detector is None or _is_default(detector))):
        raise ValueError("box and detector: expected a video; keypoints have been found already")
    rate = frames.fps if isinstance(frames, VideoReader) else fps or FPS
    if frames is not None:
        if scores is not None or skeleton is not None:
            raise ValueError("scores and skeleton: the keypoints of a video are predicted, with their own")
        options = {"flip": flip, "batch_size": batch_size, "precision": precision, "progress": progress}
        keypoints = predict_single_person(frames, image_model, box, detector=detector, device=device, **options)
        if not keypoints:
            raise ValueError("keypoints: expected at least one frame, got an empty list")
    if model.input_kind == "clip":
        poses = _lift_clip(frames, keypoints, model, flip, progress)
    else:
        poses = _lift_keypoints(
            keypoints, model, skeleton=skeleton, scores=scores, min_score=min_score, flip=flip,
            batch_size=batch_size or BATCH_SIZE, progress=progress,
        )  # fmt: skip
    pose3d = one_euro_filter(poses.pose3d, rate, beta=BETA) if smooth else poses.pose3d
    return replace(poses, pose3d=pose3d, fps=rate)


def _video(source: Any, fps: float | None) -> "VideoReader | list[Any] | None":
    """Return a video at a constant frame rate, or its frames' paths; None for keypoints."""
    video = as_video(source)
    if video is not None:
        if isinstance(video.source, int):
            raise ValueError("keypoints: a webcam has no last frame; record a file, or lift frame by frame")
        return read_video(video.source, fps=fps or video.fps)
    paths = isinstance(source, list | tuple) and source and all(isinstance(item, str | Path) for item in source)
    return list(source) if paths else None


def _lift_keypoints(
    keypoints: Any,
    model: Any,
    *,
    skeleton: Any,
    scores: Any,
    min_score: float,
    flip: bool,
    batch_size: int,
    progress: bool | None,
) -> Poses3D:
    if isinstance(keypoints, People | list | tuple):
        if scores is not None:
            raise ValueError("scores: People have their own")
        keypoints, scores, skeleton = _join(keypoints, skeleton)
    points = _numbers("keypoints", keypoints)
    if points.ndim != 3 or points.shape[-1] != 2 or not points.size:
        raise ValueError(f"keypoints: expected (T, K, 2) pixels, got shape {points.shape}{_hint(points.shape)}")
    # (0, 0) stands for a missing keypoint in the files of COCO, OpenPose and others
    visible = np.isfinite(points).all(axis=-1) & (points != 0).any(axis=-1)
    if scores is not None:
        values = _numbers("scores", scores)
        if values.shape != visible.shape:
            raise ValueError(f"scores: expected {visible.shape}, one per keypoint, got {values.shape}")
        visible &= values >= min_score  # false for NaN
    _check_pixels(points, visible)

    source, target = _skeletons(points, skeleton, model)
    converted, complete = _match(points, visible, source, target, model)
    gaps = (~complete).sum(axis=0)
    if gaps.any():
        worst = [f"{target.keypoints[k]} {gaps[k]}" for k in np.argsort(-gaps, kind="stable") if gaps[k]]
        warnings.warn(
            f"{gaps.sum()} of {complete.size} keypoints are interpolated along time: {', '.join(worst)}", stacklevel=3
        )
    parts = _run(model, torch.from_numpy(converted), flip, batch_size)
    pose3d = torch.cat(list(with_progress(parts, len(converted), progress, "frame", "lifting", weigh=len)))
    return Poses3D(pose3d.numpy(), model.skeleton, converted, ~complete, getattr(model, "input_skeleton", None))


@torch.no_grad()
def _lift_clip(frames: Any, people: Sequence[People], model: Any, flip: bool, progress: bool | None) -> Poses3D:
    """Run a model that takes clips on crops around the person, frame by frame."""
    boxes, padding = _person_boxes(people), model.padding
    if boxes is None:  # nobody was found
        boxes, padding = np.array([[0, 0, *person.image_size[::-1]] for person in people], np.float32), IMAGE_PADDING
    target = next(model.parameters())
    size, keep = model.input_size, model.keep_aspect
    stream, mirrored, flip_index = model.stream(), model.stream(), list(require_flip_index(model) if flip else ())
    poses = []
    with eval_mode(model):
        images = with_progress(frames, len(people), progress, "frame", "lifting")
        for frame, box in zip(images, torch.from_numpy(boxes), strict=True):
            matrix = crop_matrix(
                *box_to_crop(box[None], size, padding=padding, keep_aspect=keep), size, keep_aspect=keep
            )
            image = load_image(frame.image if isinstance(frame, Frame) else frame)
            part = crop(image, matrix, size).clamp(0, 1).to(target.device, target.dtype)
            pose = stream(part)
            if flip:
                turned = mirrored(part.flip(-1))[:, flip_index]
                pose = (pose + turned * turned.new_tensor([-1.0, 1.0, 1.0])) / 2
            poses.append(pose.float().cpu())
    keypoints = np.concatenate([person.keypoints for person in people])
    interpolated = np.zeros(keypoints.shape[:2], bool)
    return Poses3D(torch.cat(poses).numpy(), model.skeleton, keypoints, interpolated, people[0].skeleton)


def predict_single_person(
    frames: "Sequence[Any] | VideoReader | str | Path",
    model: Any = IMAGE_MODEL,
    box: Sequence[float] | None = None,
    *,
    detector: Any = DEFAULT,
    **options: Any,
) -> list[People]:
    """Predict the 2D keypoints of one person in a video, as input of `lift`.

    There may be several people, whom the detector finds. The largest one, summed over the frames,
    is tracked by `posezoo.data.single_person.track_person`, and interpolated in frames without that
    person. With the default detector this is the first of two passes: the second crops the bounding
    box of the keypoints of the first, median-filtered along time. As in `posezoo.predict`, the
    second is returned unless its mean score is less than half of that of the first.

    With a box, or without a detector, the first pass crops `box` or the whole of every frame, a
    good part of which the person has to fill.

    Args:
        frames: images as `posezoo.predict` takes them, or a video or its path.
        model: a name, or a model of the zoo that takes images.
        box: (x1, y1, x2, y2) pixels, the region of the person in all frames. Defaults to the whole
            frame.
        detector: as in `posezoo.predict`.
        options: `flip`, `batch_size`, `precision`, `device` and `progress` of `posezoo.predict`.

    Returns:
        One `People` of one person per frame.

    Raises:
        ValueError: a box and a detector; what `posezoo.predict` raises.

    Examples:
        >>> people = predict_single_person([np.zeros((60, 40, 3), np.uint8)] * 3)
        >>> len(people), people[0].keypoints.shape
        (3, (1, 19, 2))
    """
    video: Any = as_video(frames) or list(frames)  # type: ignore[arg-type]
    if box is not None and _is_default(detector):
        detector = None
    if detector is not None and box is not None:
        raise ValueError("box and detector: expected one of them")
    if detector is not None and not _is_default(detector):
        return _largest_person(predict(video, model, detector=detector, **options))
    # the second pass of `predict` has a box of its own for each frame; those of a video are smoothed
    if box is None:
        region: Any = None
    else:
        region = itertools.repeat([box]) if isinstance(video, VideoReader) else [[box]] * len(video)
    if detector is None:
        first = predict(video, model, region, second_pass=False, **options)
    else:
        everyone = predict(video, model, detector=detector, **options)
        first = _largest_person(everyone) if everyone else []
    boxes = _person_boxes(first)
    if boxes is None:
        return first
    second = predict(video, model, list(boxes[:, None]), **options)
    return [better_pass(*passes) for passes in zip(first, second, strict=True)]


def _is_default(detector: Any) -> bool:
    return isinstance(detector, str) and detector == DEFAULT


def _person_boxes(people: Sequence[People]) -> np.ndarray | None:
    """Return median-filtered boxes `(T, 4)` around confident keypoints; None without any."""
    boxes = np.array([keypoint_box(person) for person in people]).reshape(-1, 1, 4)
    found = np.isfinite(boxes).all(axis=-1)
    if not found.any():
        return None
    return median_filter(torch.from_numpy(_fill(boxes, found)), SMOOTHING).numpy()[:, 0].astype(np.float32)


def _largest_person(frames: Sequence[People]) -> list[People]:
    """Leave the largest tracked person in each frame; frames without it have scores of 0."""
    if not any(len(people) for people in frames):
        raise ValueError(f"detector: nobody was found in {len(frames)} frames; take a lower threshold, or another one")
    tables = [list(np.concatenate([people.keypoints, people.scores[..., None]], axis=2)) for people in frames]
    tracked = track_person(tables)
    missing = np.isnan(tracked[..., 0]).all(axis=1)
    persons = []
    for people, table, gone in zip(frames, tracked.astype(np.float32), missing, strict=True):
        if gone:
            shape = (1, *frames[0].keypoints.shape[1:])
            people = replace(
                people, keypoints=np.zeros(shape, np.float32), scores=np.zeros(shape[:2], np.float32),
                boxes=np.zeros((1, 4), np.float32), box_scores=None, ids=None,
            )  # fmt: skip
        else:
            distance = np.abs(np.nan_to_num(people.keypoints) - np.nan_to_num(table[None, :, :2])).sum(axis=(1, 2))
            people = people[int(distance.argmin())]
        persons.append(people)
    return persons


def _join(people: Any, skeleton: Any) -> tuple[np.ndarray, np.ndarray, Any]:
    """Stack the frames: keypoints `(T, K, 2)` and scores `(T, K)`, NaN if empty; skeleton."""
    if isinstance(people, People):
        raise ValueError("keypoints: expected a list of People, one frame each, got one; a single frame is [people]")
    if not people:
        raise ValueError("keypoints: expected at least one frame, got an empty list")
    first = people[0]
    for frame, entry in enumerate(people):
        if not isinstance(entry, People):
            raise ValueError(
                f"keypoints: expected (T, K, 2) or a list of People, got a list with a {type(entry).__name__}; "
                "np.stack makes an array of frames"
            )
        if len(entry) > 1:
            raise ValueError(f"keypoints: frame {frame} has {len(entry)} people; leave one in each frame")
        if entry.skeleton != first.skeleton or entry.keypoints.shape[1:] != first.keypoints.shape[1:]:
            raise ValueError(f"keypoints: frame {frame} has another skeleton than frame 0")
    own = first.skeleton
    if own and skeleton is not None and get_skeleton(skeleton).keypoints != own.keypoints:
        raise ValueError(f"skeleton: these people are {own.name}, not {get_skeleton(skeleton).name}; leave it out")
    points = np.full((len(people), *first.keypoints.shape[1:]), np.nan)
    scores = np.full(points.shape[:2], np.nan)
    for frame, entry in enumerate(people):
        if len(entry):
            points[frame], scores[frame] = entry.keypoints[0], entry.scores[0]
    return points, scores, own or skeleton


def _numbers(name: str, values: Any) -> np.ndarray:
    try:
        # a tensor becomes float32 before, because NumPy has no bfloat16
        return np.asarray(values.detach().cpu().float() if isinstance(values, Tensor) else values, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected an array or a tensor of numbers, got {type(values).__name__}") from error


def _hint(shape: tuple[int, ...]) -> str:
    if 0 in shape:
        return "; there has to be a frame and a keypoint"
    if len(shape) == 2:
        return "; one frame is keypoints[None]"
    if len(shape) == 3:
        return "; scores go apart, lift(keypoints[..., :2], scores=keypoints[..., 2])" if shape[-1] == 3 else ""
    return "; lift one person at a time" if len(shape) == 4 else ""


def _check_pixels(points: np.ndarray, visible: np.ndarray) -> None:
    """Raise if everybody is smaller than two pixels, as keypoints in fractions of the image are."""
    seen = np.where(visible[..., None], points, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of frames without a keypoint
        extent = np.nanmax(np.nanmax(seen, axis=1) - np.nanmin(seen, axis=1))
    if extent == 0:
        raise ValueError("keypoints: all keypoints of a frame are one point, in all frames; expected a person")
    if extent <= FRACTIONS:  # false for NaN
        raise ValueError(
            f"keypoints: the person is {extent:.3g} pixels large; keypoints are pixels, not fractions of the image: "
            "multiply x by its width and y by its height"
        )


def _skeletons(points: np.ndarray, skeleton: Any, model: Any) -> tuple[Skeleton, Skeleton]:
    """Return the skeletons of the keypoints and of the network's input; equal if it has none."""
    target = getattr(model, "input_skeleton", None)
    if target and skeleton is None:
        raise ValueError(
            "skeleton: say which keypoints these are, by their names or one of " + ", ".join(list_skeletons())
        )
    source = get_skeleton(numbered(points) if skeleton is None else skeleton)
    if len(source) != points.shape[1]:
        raise ValueError(f"keypoints: {source.name} has {len(source)}, got {points.shape[1]}; say their skeleton")
    if not target and len(source) != model.num_inputs:
        raise ValueError(f"keypoints: {model_name(model)} takes {model.num_inputs} without names, got {len(source)}")
    return source, target or source


def _match(
    points: np.ndarray, visible: np.ndarray, source: Skeleton, target: Skeleton, model: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Convert to the network's keypoints `(T, J, 2)`, with a mask `(T, J)` of complete ones."""
    # a keypoint that is missing in all frames cannot be interpolated, so it is treated as one that was never detected
    known = visible.any(axis=0)
    found: dict[str, tuple[Any, Any]] = {}  # name -> (T, 2) positions and (T,) mask
    if known.any():
        names = [source.keypoints[k] for k in np.flatnonzero(known)]
        parts = [part for choices in SUBSTITUTES.values() for choice in choices for part in choice]
        wanted = list(dict.fromkeys([*target.keypoints, *parts]))
        # positions are converted after interpolation, masks before it, so that the masks tell which frames are complete
        filled = _fill(points[:, known], visible[:, known])
        places, possible = convert(filled, names, wanted)
        _, complete = convert(filled, names, wanted, visible=visible[:, known])
        found = {name: (places[:, k], complete[:, k]) for k, name in enumerate(wanted) if possible[0, k]}

    def mean(choice: Sequence[str]) -> tuple[Any, Any]:
        points, complete = zip(*(found[part] for part in choice), strict=True)
        return np.mean(points, axis=0), np.all(complete, axis=0)

    for name, choices in SUBSTITUTES.items():
        options = [found[name]] if name in found else []
        options += [mean(choice) for choice in choices if found.keys() >= set(choice)]
        if options:
            # the first that is visible often enough, as `max` keeps the first of equals
            found[name] = max(options, key=lambda option: min(OFTEN, option[1].mean()))

    missing = [name for name in target.keypoints if name not in found]
    if missing:
        never = [source.keypoints[k] for k in np.flatnonzero(~known)]
        unless = f" without {', '.join(never)}, which none of the {len(visible)} frames shows" if never else ""
        raise ValueError(
            f"keypoints: {model_name(model)} needs {', '.join(missing)}, which {source.name} does not give{unless}; "
            + ("take a lower min_score, a part of the video with the whole person, or " if never else "take ")
            + "another 2D detector"
        )
    keypoints, whole = zip(*(found[name] for name in target.keypoints), strict=True)
    return np.stack(keypoints, axis=1), np.stack(whole, axis=1)


def _fill(points: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Interpolate `(T, K, D)` along time where not visible `(T, K)`, constant at the ends."""
    filled, time = points.copy(), np.arange(len(points))
    for k, d in np.ndindex(points.shape[1:]):
        there = visible[:, k]
        filled[:, k, d] = np.interp(time, time[there], points[there, k, d])
    return filled


@torch.no_grad()
def _run(model: Any, keypoints: Tensor, flip: bool, batch_size: int) -> Iterator[Tensor]:
    """Run the network in eval mode on overlapping parts: poses `(t, K, 3)` on the CPU, T in all."""
    # a receptive field lies anywhere between all before and all after its frame (causal networks), so each part gets
    # as many more frames on both sides; the predictions are then those for the whole video
    context = model.receptive_field - 1
    device = next(model.parameters()).device
    with eval_mode(model):
        for start in range(0, len(keypoints), batch_size):
            first, stop = max(0, start - context), min(start + batch_size, len(keypoints))
            pose3d, _ = model.predict(keypoints[None, first : stop + context].to(device), flip=flip)
            yield pose3d[0, start - first : stop - first].float().cpu()
