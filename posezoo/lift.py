"""The keypoints of a video to 3D: make of them what the network looks at, fill the gaps, run it over all frames.

`posezoo.lift` is this module's function; it knows the contract of a model, never a particular one. `find_person` gets
the keypoints out of frames, `posezoo.data.detections` out of what other detectors wrote.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posezoo.data.filters import median_filter
from posezoo.predict import DEFAULT_MODEL as IMAGE_MODEL
from posezoo.predict import People, _eval_mode, _make_callable, _name, _ready, load_image, predict
from posezoo.skeletons import Skeleton, convert, get_skeleton, list_skeletons
from posezoo.viz import draw_keypoints, pose3d_bounds, pose3d_pictures

DEFAULT_MODEL = "martinez"
OFTEN = 0.5  # of the frames show a keypoint: no need to look for a better one
SMOOTHING = 9  # frames, whose boxes `find_person` takes the median of
MARGIN = 0.15  # around the person in a photograph, in units of the person
LINE = 0.012  # width of its lines, in units of the photograph

# Keypoints whose middle stands in for one that `skeletons.convert` does not give, or that is rarely seen, best first;
# the table in `lift` says why.
STAND_INS: dict[str, tuple[tuple[str, ...], ...]] = {
    "head": (("left_ear", "right_ear"), ("left_eye", "right_eye"), ("left_ear",), ("right_ear",), ("nose",)),
    "neck_nose": (("thorax", "head"),),
}


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class Poses3D:
    """The poses of one person in the frames of a video.

    Attributes:
        pose3d: `(T, K, 3)` float32, mm in the camera's frame (x right, y down, z forward), relative to the skeleton's
            root, which is 0. Where the person is in the room is not known.
        skeleton: names and bones of the K keypoints, or None where the model's keypoints have no names.
        keypoints: `(T, J, 2)` float32, (x, y) pixels: what the network saw.
        interpolated: `(T, J)` bool, which of those were made of a missing keypoint.
        input_skeleton: names and bones of the J keypoints, or None as above.
    """

    pose3d: np.ndarray
    skeleton: Skeleton | None
    keypoints: np.ndarray
    interpolated: np.ndarray
    input_skeleton: Skeleton | None

    def __len__(self) -> int:
        """How many frames."""
        return len(self.pose3d)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: lists, what they mean, and the names.

        Example:
            >>> arm = Skeleton("arm", ("elbow", "wrist"), bones=((0, 1),))
            >>> poses = Poses3D(np.ones((1, 2, 3)), arm, np.ones((1, 2, 2)), np.zeros((1, 2), bool), arm)
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
        """Drawings of the poses, frame by frame: from the front, the side and the top.

        Args:
            frames: the T images of the video, as `posezoo.predict` takes them, to be shown beside: the part where the
                person is at any time, with the keypoints that the network saw.
            index: the frames to draw; None: all.
            size: height of a picture, width of a view.

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
        """The part of a frame's image where the person is in any frame, with the keypoints of this one."""
        photo = load_image(image)
        whole = np.array([photo.shape[2], photo.shape[1]])
        low, high = self.keypoints.min(axis=(0, 1)), self.keypoints.max(axis=(0, 1))
        margin = MARGIN * (high - low).max()
        start, stop = np.clip([low - margin, high + margin + 1], 0, whole).astype(int)
        if (stop <= start).any():  # nobody is in the image
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
) -> Poses3D:
    """3D poses from the 2D keypoints of one person in a video of any length.

    Keypoints in any skeleton become those that the network looks at, mostly by `posezoo.skeletons.convert`. Networks
    need all of them, so what is missing in some frames is filled in along time: linearly between the frames before and
    after, and held at the ends, with a warning that counts. What no frame shows is an error, unless something stands in
    for it: the first of these that half of the frames show.

    | keypoint | stands in | because |
    |---|---|---|
    | `head` | middle of the ears | the joint ends inside the head, as high as the eyes: 0.07 torso lengths off |
    | | middle of the eyes | 0.11 torso lengths off; what mmpose and MotionBERT do |
    | | one ear; the nose | 0.14 and 0.2 torso lengths off; from the side and from behind nothing else is seen |
    | `neck_nose` | middle of `thorax` and `head` | 121 and 115 mm from them in Human3.6M |

    The distances are from OpenPose's keypoints in four views of one person to where the `head` of CMU's motion capture
    would be, 0.45 torso lengths above the middle of the shoulders.

    Args:
        keypoints: `(T, K, 2)` pixels, array or tensor; what is not finite is missing. Or a list of `People`, one frame
            each, as `posezoo.predict` returns them for frames: one person, or nobody, who is missing.
        model: a name, created with `pretrained=True`, or a model of the zoo that takes keypoints. Where its `frame` is
            "pixels" it wants the images of the camera that it was trained with.
        skeleton: of the keypoints: a name, a `Skeleton` or the K names. `People` know theirs.
        scores: `(T, K)`, or a mask, or COCO's flags; `People` have their own.
        min_score: a keypoint with a lower score, or a NaN one, is missing.
        flip: average with the mirrored pose; twice the work, a little more accurate.
        batch_size: frames that go through the network together, besides those at their borders that it looks at.
        device: where to run; None is where the model is, and for a name the GPU if there is one.

    Returns:
        `Poses3D` of the T frames.

    Raises:
        ValueError: no frames, shapes that do not fit, a keypoint that the skeleton lacks or that no frame shows; a
            model that takes no keypoints; what `posezoo.create` raises.

    Example:
        >>> import posezoo
        >>> model = posezoo.create("martinez", linear_size=64).eval()
        >>> video = np.random.default_rng(0).uniform(0, 1000, (30, 17, 2))
        >>> poses = posezoo.lift(video, model, skeleton="coco17")
        >>> poses.pose3d.shape, poses.skeleton.name, poses.interpolated.any()
        ((30, 17, 3), 'h36m17', np.False_)
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: expected 1 or more, got {batch_size}")
    if isinstance(keypoints, People | list | tuple):
        if scores is not None:
            raise ValueError("scores: People have their own")
        keypoints, scores, skeleton = _join(keypoints, skeleton)
    points = _numbers("keypoints", keypoints)
    if points.ndim != 3 or points.shape[-1] != 2 or not points.size:
        raise ValueError(f"keypoints: expected (T, K, 2) pixels, got shape {points.shape}{_hint(points.shape)}")
    seen = np.isfinite(points).all(axis=-1)
    if scores is not None:
        values = _numbers("scores", scores)
        if values.shape != seen.shape:
            raise ValueError(f"scores: expected {seen.shape}, one per keypoint, got {values.shape}")
        seen &= values >= min_score  # false for NaN

    model = _ready(model, device, takes="keypoints")
    if not model.num_keypoints:
        raise ValueError(f"model: this {_name(model)} has no head; model.reset_head(num_keypoints) makes one")
    source, target = _skeletons(points, skeleton, model)
    converted, complete = _match(points, seen, source, target, model)
    gaps = (~complete).sum(axis=0)
    if gaps.any():
        worst = [f"{target.keypoints[k]} {gaps[k]}" for k in np.argsort(-gaps, kind="stable") if gaps[k]]
        warnings.warn(
            f"{gaps.sum()} of {complete.size} keypoints are interpolated along time: {', '.join(worst)}", stacklevel=2
        )
    pose3d = _run(model, torch.from_numpy(converted), flip, batch_size)
    return Poses3D(pose3d.numpy(), model.skeleton, converted, ~complete, getattr(model, "input_skeleton", None))


def find_person(
    frames: Sequence[Any], model: Any = IMAGE_MODEL, box: Sequence[float] | None = None, **options: Any
) -> list[People]:
    """2D keypoints of the person in the frames of a video, for `lift`.

    There is no detector: the model looks at the whole of every frame, or at `box`, and then once more at the box around
    the keypoints that it found, smoothed along time. That is for one person, who fills a good part of the frame or of
    the box; with the boxes of a detector `posezoo.predict` gives better keypoints.

    Args:
        frames: images as `posezoo.predict` takes them.
        model: a name, or a model of the zoo that takes images.
        box: (x1, y1, x2, y2) pixels, where to look at first in all frames.
        options: `flip`, `batch_size`, `device` and `progress` of `posezoo.predict`.

    Returns:
        One `People` of one person per frame.

    Raises:
        ValueError: what `posezoo.predict` raises.

    Example:
        >>> people = find_person([np.zeros((60, 40, 3), np.uint8)] * 3)
        >>> len(people), people[0].keypoints.shape
        (3, (1, 14, 2))
    """
    frames = list(frames)
    people: list[People] = predict(frames, model, None if box is None else [[box]] * len(frames), **options)
    boxes = np.array([_box_of(person) for person in people]).reshape(-1, 1, 4)
    found = np.isfinite(boxes).all(axis=-1)
    if not found.any():
        return people
    smooth = median_filter(torch.from_numpy(_fill(boxes, found)), SMOOTHING)
    again: list[People] = predict(frames, model, list(smooth.numpy()), **options)
    return again


def _join(people: Any, skeleton: Any) -> tuple[np.ndarray, np.ndarray, Any]:
    """The frames of a video `(T, K, 2)`, their scores, and the skeleton."""
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


def _numbered(points: np.ndarray) -> list[str]:
    """Names for keypoints `(T, K, D)` that have none."""
    return [f"keypoint {number}" for number in range(points.shape[1])]


def _skeletons(points: np.ndarray, skeleton: Any, model: Any) -> tuple[Skeleton, Skeleton]:
    """That of the keypoints, and that which the network wants: the same where it does not care."""
    target = getattr(model, "input_skeleton", None)
    if target and skeleton is None:
        raise ValueError(
            "skeleton: say which keypoints these are, by their names or one of " + ", ".join(list_skeletons())
        )
    source = get_skeleton(_numbered(points) if skeleton is None else skeleton)
    if len(source) != points.shape[1]:
        raise ValueError(f"keypoints: {source.name} has {len(source)}, got {points.shape[1]}; say their skeleton")
    if not target and len(source) != model.num_inputs:
        raise ValueError(f"keypoints: {_name(model)} takes {model.num_inputs} without names, got {len(source)}")
    return source, target or source


def _match(
    points: np.ndarray, seen: np.ndarray, source: Skeleton, target: Skeleton, model: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The keypoints that the network looks at `(T, J, 2)`, and which are made of nothing that is missing `(T, J)`."""
    shown = seen.any(axis=0)  # what no frame shows does not exist
    found: dict[str, tuple[Any, Any]] = {}
    if shown.any():
        names = [source.keypoints[k] for k in np.flatnonzero(shown)]
        parts = [part for ways in STAND_INS.values() for way in ways for part in way]
        wanted = list(dict.fromkeys([*target.keypoints, *parts]))
        filled = _fill(points[:, shown], seen[:, shown])
        places, possible = convert(filled, names, wanted)
        _, complete = convert(filled, names, wanted, visible=seen[:, shown])
        found = {name: (places[:, k], complete[:, k]) for k, name in enumerate(wanted) if possible[0, k]}

    def middle(way: Sequence[str]) -> tuple[Any, Any]:
        points, complete = zip(*(found[part] for part in way), strict=True)
        return np.mean(points, axis=0), np.all(complete, axis=0)

    for name, ways in STAND_INS.items():
        options = [found[name]] if name in found else []
        options += [middle(way) for way in ways if found.keys() >= set(way)]
        if options:
            found[name] = max(options, key=lambda option: min(OFTEN, option[1].mean()))

    missing = [name for name in target.keypoints if name not in found]
    if missing:
        never = [source.keypoints[k] for k in np.flatnonzero(~shown)]
        unless = f" without {', '.join(never)}, which none of the {len(seen)} frames shows" if never else ""
        raise ValueError(
            f"keypoints: {_name(model)} needs {', '.join(missing)}, which {source.name} does not give{unless}; take "
            + ("a lower min_score, a part of the video with the whole person, or " if never else "")
            + "another 2D detector"
        )
    keypoints, whole = zip(*(found[name] for name in target.keypoints), strict=True)
    return np.stack(keypoints, axis=1), np.stack(whole, axis=1)


def _fill(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """`(T, K, D)`, what is not seen interpolated along time, and held at the ends; each keypoint is seen somewhere."""
    filled, time = points.copy(), np.arange(len(points))
    for k, d in np.ndindex(points.shape[1:]):
        there = seen[:, k]
        filled[:, k, d] = np.interp(time, time[there], points[there, k, d])
    return filled


@torch.no_grad()
def _run(model: Any, keypoints: Tensor, flip: bool, batch_size: int) -> Tensor:
    """`model.predict` in eval mode, some frames at a time: poses `(T, K, 3)` on the CPU.

    The example of a model's input is as long as what it looks at for one answer, so that with as many frames more on
    both sides the answers are those for the whole video.
    """
    reach = model.example_input().shape[1] - 1
    device = next(model.parameters()).device
    parts = []
    with _eval_mode(model):
        for start in range(0, len(keypoints), batch_size):
            first, stop = max(0, start - reach), min(start + batch_size, len(keypoints))
            pose3d, _ = model.predict(keypoints[None, first : stop + reach].to(device), flip=flip)
            parts.append(pose3d[0, start - first : stop - first].float().cpu())
    return torch.cat(parts)


def _box_of(person: People) -> np.ndarray:
    """The box `(4,)` around the keypoints that a model is surest of, inside the image; NaN if there are too few."""
    scores, points = person.scores[0], person.keypoints[0]
    sure = points[(scores > 0) & (scores >= scores.max() / 2)]
    if len(sure) < 4:
        return np.full(4, np.nan)
    low, high = np.clip([sure.min(axis=0), sure.max(axis=0)], 0, person.image_size[::-1])
    return np.concatenate([low, high]) if (high > low + 1).all() else np.full(4, np.nan)


_make_callable(lift)
