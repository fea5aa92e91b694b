"""Lift 2D keypoints to 3D: convert their skeleton, fill gaps, run the network over the video.

`posezoo.lift` is the function of this name. It relies on the contract of `PoseModel` and on no
particular network. `predict_single_person` predicts the 2D keypoints from frames;
`posezoo.data.detections` reads those of other detectors.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posezoo.arrays import check_number
from posezoo.data.filters import median_filter
from posezoo.images import load_image
from posezoo.people import People
from posezoo.prediction import (
    better_pass,
    eval_mode,
    keypoint_box,
    model_name,
    predict,
    resolve_model,
)
from posezoo.progress import with_progress
from posezoo.skeletons import Skeleton, convert, get_skeleton, list_skeletons
from posezoo.viz import draw_keypoints, pose3d_bounds, pose3d_pictures

DEFAULT_MODEL = "martinez"
IMAGE_MODEL = "simple_baseline_lite.people_192x192"  # with the head top and the nose, which lifters need
OFTEN = 0.5  # share of the frames in which a keypoint is visible, from which on it needs no substitute
SMOOTHING = 9  # frames of the median filter over the boxes of `predict_single_person`
FRACTIONS = 2.0  # pixels; the extent of a person in OpenPose's scale of -1 to 1
MARGIN = 0.15  # around the person in a drawn image, in units of the person
LINE = 0.012  # line width, in units of the drawn image

# Substitutes for keypoints that `skeletons.convert` does not provide or that are rarely visible, best first: the mean
# of the keypoints of one entry. The table in `lift` gives the reasons.
SUBSTITUTES: dict[str, tuple[tuple[str, ...], ...]] = {
    "head": (("left_ear", "right_ear"), ("left_eye", "right_eye"), ("left_ear",), ("right_ear",), ("nose",)),
    "neck_nose": (("thorax", "head"),),
}


@dataclass(frozen=True, eq=False)  # arrays have no single result of ==
class Poses3D:
    """The poses of one person in the frames of a video.

    Attributes:
        pose3d: `(T, K, 3)` float32, mm in the camera frame (x right, y down, z forward), relative
            to the root of the skeleton, which is 0. The absolute position of the person is not
            estimated.
        skeleton: names and bones of the K keypoints, or None where the model's keypoints have no
            names.
        keypoints: `(T, J, 2)` float32, (x, y) pixels, the input of the network.
        interpolated: `(T, J)` bool, the input keypoints that depend on an interpolated one.
        input_skeleton: names and bones of the J keypoints, or None as above.
    """

    pose3d: np.ndarray
    skeleton: Skeleton | None
    keypoints: np.ndarray
    interpolated: np.ndarray
    input_skeleton: Skeleton | None

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.pose3d)

    def to_dict(self) -> dict[str, Any]:
        """Convert to lists for JSON, with unit, coordinate frame and names.

        Examples:
            >>> arm = Skeleton("arm", ("elbow", "wrist"), bones=((0, 1),))
            >>> keypoints, interpolated = np.ones((1, 2, 2)), np.zeros((1, 2), bool)
            >>> poses = Poses3D(np.ones((1, 2, 3)), arm, keypoints, interpolated, arm)
            >>> poses.to_dict()["pose3d"]
            [[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]]
        """
        return {
            "unit": "mm",
            "frame": "camera: x right, y down, z forward, relative to the root",
            "skeleton": self.skeleton.name if self.skeleton else None,
            "names": list(self.skeleton.keypoints) if self.skeleton else None,
            "bones": [list(bone) for bone in self.skeleton.bones] if self.skeleton else None,
            "pose3d": np.round(self.pose3d.astype(float), 3).tolist(),
            "keypoints": np.round(self.keypoints.astype(float), 3).tolist(),
            "keypoint_names": list(self.input_skeleton.keypoints) if self.input_skeleton else None,
            "interpolated": self.interpolated.tolist(),
        }

    def pictures(
        self, frames: Sequence[Any] | None = None, *, index: Sequence[int] | None = None, size: int = 256
    ) -> Iterator[np.ndarray]:
        """Draw the poses frame by frame, in front, side and top view.

        Args:
            frames: the T images of the video, as `posezoo.predict` takes them. They are shown
                beside the views, cropped to the region of the person over the whole video, with the
                input keypoints drawn in. Defaults to none.
            index: the frames to draw. Defaults to all.
            size: height of a drawing and width of a view, in pixels.

        Yields:
            uint8 `(size, 3 * size, 3)`, with `frames` `(size, 4 * size, 3)`.

        Raises:
            ValueError: another number of frames.
        """
        if frames is not None and len(frames) != len(self):
            raise ValueError(f"frames: expected {len(self)}, one per pose, got {len(frames)}")
        chosen = list(range(len(self)) if index is None else index)
        return pose3d_pictures(
            self.pose3d[chosen],
            self.skeleton or _numbered(self.pose3d),
            images=None if frames is None else (self._photograph(frames[number], number) for number in chosen),
            size=size,
            bounds=pose3d_bounds(self.pose3d),
        )

    def _photograph(self, image: Any, number: int) -> np.ndarray:
        """Crop an image to the region of the person in the video and draw keypoints of a frame."""
        photo = load_image(image)
        whole = np.array([photo.shape[2], photo.shape[1]])
        low, high = self.keypoints.min(axis=(0, 1)), self.keypoints.max(axis=(0, 1))
        margin = MARGIN * (high - low).max()
        start, stop = np.clip([low - margin, high + margin + 1], 0, whole).astype(int)
        if (stop <= start).any():  # the person is outside of the image
            start, stop = np.zeros(2, int), whole
        part = photo[:, start[1] : stop[1], start[0] : stop[0]]
        skeleton = self.input_skeleton or _numbered(self.keypoints)
        return draw_keypoints(part, self.keypoints[number] - start, skeleton, line_width=max(1, LINE * max(part.shape)))


def lift(
    keypoints: Any,
    model: Any = DEFAULT_MODEL,
    *,
    skeleton: str | Skeleton | Sequence[str] | None = None,
    scores: Any = None,
    min_score: float = 0.3,
    flip: bool = False,
    batch_size: int = 4096,
    device: str | torch.device | None = None,
    progress: bool | None = None,
) -> Poses3D:
    """Lift the 2D keypoints of one person in a video of any length to 3D.

    The keypoints are converted from their skeleton to the network's, mostly by
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
            missing. Or a list of `People`, one per frame, as `posezoo.predict` returns them for frames: one
            person each, or none, who is missing.
        model: a name, created with `pretrained=True`, or a model of the zoo that takes keypoints. A
            model whose normalisation is "pixels" expects the camera of its training data.
        skeleton: of the keypoints: a name, a `Skeleton` or the K names. `People` bring their own.
        scores: `(T, K)` scores, a mask, or COCO's visibility flags. `People` bring their own.
        min_score: keypoints with a lower score, or a NaN one, are missing.
        flip: average with the prediction for the mirrored pose. Doubles the cost, slightly more
            accurate.
        batch_size: frames per forward pass, without the context that the receptive field adds on
            both sides.
        device: device of the model. Defaults to the device the model is on; for a name to the GPU
            if there is one.
        progress: show a progress bar, which counts the lifted frames. Defaults to True on a
            terminal for 32 frames or more.

    Returns:
        `Poses3D` of the T frames.

    Raises:
        ValueError: no frames, mismatched shapes, a keypoint that the skeleton lacks or that is
            missing in all frames; a model that takes no keypoints; what `posezoo.create` raises.

    Examples:
        >>> import posezoo
        >>> model = posezoo.create("martinez", linear_size=64).eval()
        >>> video = np.random.default_rng(0).uniform(0, 1000, (30, 17, 2))
        >>> poses = posezoo.lift(video, model, skeleton="coco17")
        >>> poses.pose3d.shape, poses.skeleton.name, poses.interpolated.any()
        ((30, 17, 3), 'h36m17', np.False_)
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size: expected a whole number of 1 or more, got {batch_size!r}")
    check_number(min_score, "min_score", low=-np.inf)
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

    model = resolve_model(model, device, takes="keypoints", needs=["receptive_field"])
    source, target = _skeletons(points, skeleton, model)
    converted, complete = _match(points, visible, source, target, model)
    gaps = (~complete).sum(axis=0)
    if gaps.any():
        worst = [f"{target.keypoints[k]} {gaps[k]}" for k in np.argsort(-gaps, kind="stable") if gaps[k]]
        warnings.warn(
            f"{gaps.sum()} of {complete.size} keypoints are interpolated along time: {', '.join(worst)}", stacklevel=2
        )
    parts = _run(model, torch.from_numpy(converted), flip, batch_size)
    pose3d = torch.cat(list(with_progress(parts, len(converted), progress, "frame", "lifting", weigh=len)))
    return Poses3D(pose3d.numpy(), model.skeleton, converted, ~complete, getattr(model, "input_skeleton", None))


def predict_single_person(
    frames: Sequence[Any], model: Any = IMAGE_MODEL, box: Sequence[float] | None = None, **options: Any
) -> list[People]:
    """Predict the 2D keypoints of the only person in a video, as input of `lift`.

    Works without a detector, in two passes: the first crops the whole of every frame, or `box`; the
    second crops the bounding box of the keypoints of the first, median-filtered along time. As in
    `posezoo.predict`, the second is returned unless its mean score is less than half of that of the
    first. The person has to fill a good part of the frame or of `box`. `posezoo.predict` with the
    boxes of a detector is more accurate.

    Args:
        frames: images as `posezoo.predict` takes them.
        model: a name, or a model of the zoo that takes images.
        box: (x1, y1, x2, y2) pixels, the region of the person in all frames. Defaults to the whole
            frame.
        options: `flip`, `batch_size`, `precision`, `device` and `progress` of `posezoo.predict`.

    Returns:
        One `People` of one person per frame.

    Raises:
        ValueError: what `posezoo.predict` raises.

    Examples:
        >>> people = predict_single_person([np.zeros((60, 40, 3), np.uint8)] * 3)
        >>> len(people), people[0].keypoints.shape
        (3, (1, 19, 2))
    """
    frames = list(frames)
    # the second pass of `predict` has a box of its own for each frame; those of a video are smoothed
    first = predict(frames, model, None if box is None else [[box]] * len(frames), second_pass=False, **options)
    boxes = np.array([keypoint_box(person) for person in first]).reshape(-1, 1, 4)
    found = np.isfinite(boxes).all(axis=-1)
    if not found.any():
        return first
    smooth = median_filter(torch.from_numpy(_fill(boxes, found)), SMOOTHING)
    second = predict(frames, model, list(smooth.numpy()), **options)
    return [better_pass(*passes) for passes in zip(first, second, strict=True)]


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


def _numbered(points: np.ndarray) -> list[str]:
    """Make names for keypoints `(T, K, D)` without names."""
    return [f"keypoint {number}" for number in range(points.shape[1])]


def _skeletons(points: np.ndarray, skeleton: Any, model: Any) -> tuple[Skeleton, Skeleton]:
    """Return the skeletons of the keypoints and of the network's input; equal if it has none."""
    target = getattr(model, "input_skeleton", None)
    if target and skeleton is None:
        raise ValueError(
            "skeleton: say which keypoints these are, by their names or one of " + ", ".join(list_skeletons())
        )
    source = get_skeleton(_numbered(points) if skeleton is None else skeleton)
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
