"""Skeletons: names, bones and OKS sigmas of the keypoints of each data set, and their conversion.

A `Skeleton` is names and bones; the mirror permutation follows from the `left_`/`right_` prefixes,
so that it cannot disagree with the names. `convert` converts poses between skeletons, with a mask
of the keypoints that the source has.

A name means the same body point in every registered skeleton (comments give the data set's own word
where it differs), so that `convert` can match by name. Two neighbours are distinct on purpose:
`thorax` is the point between the shoulders; `neck` (LSP, CPM) and `upper_neck` (MPII) lie about
0.15 torso lengths above it.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

Points = TypeVar("Points", np.ndarray, torch.Tensor)


@dataclass(frozen=True)
class Skeleton:
    """Names, bones and sizes of the keypoints of a pose, in the order of the array's K axis.

    Args:
        name: name for messages; registered skeletons are looked up by it with `get_skeleton`.
        keypoints: one unique name per keypoint; `left_x` and `right_x` are each other's mirror
            image.
        bones: pairs of indices, joined when drawing and used as limbs by metrics.
        sigmas: per-keypoint constants of OKS, as fractions of the square root of the person's area.

    Raises:
        ValueError: for no names or repeated ones, bones that leave `0..K-1`, or sigmas that are not
            K positive numbers.

    Example:
        >>> skeleton = Skeleton("face", ("nose", "left_eye", "right_eye"), bones=((0, 1), (0, 2)))
        >>> len(skeleton), skeleton.flip_index, skeleton.index("left_eye")
        (3, (0, 2, 1), 1)
    """

    name: str
    keypoints: tuple[str, ...]
    bones: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.keypoints, str):
            raise ValueError(f"{self.name}: keypoints must be a sequence of names, got the string {self.keypoints!r}")
        # lists are welcome (JSON has no tuples); stored as tuples so that a skeleton stays hashable
        keypoints = tuple(self.keypoints)
        bones = tuple(tuple(bone) if isinstance(bone, Sequence) else (bone,) for bone in self.bones)
        object.__setattr__(self, "keypoints", keypoints)
        object.__setattr__(self, "bones", bones)

        if not keypoints or not all(isinstance(keypoint, str) and keypoint for keypoint in keypoints):
            raise ValueError(f"{self.name}: keypoints must be one or more non-empty names, got {keypoints!r}")
        repeated = sorted({keypoint for keypoint in keypoints if keypoints.count(keypoint) > 1})
        if repeated:
            raise ValueError(f"{self.name}: keypoint names must be unique, these repeat: {', '.join(repeated)}")
        for bone in bones:
            if len(bone) != 2 or bone[0] == bone[1] or not all(_is_index(end, len(keypoints)) for end in bone):
                raise ValueError(
                    f"{self.name}: a bone joins two different indices in 0..{len(keypoints) - 1}, got {bone!r}"
                )
        if self.sigmas is not None:
            sigmas = tuple(float(sigma) for sigma in self.sigmas)
            object.__setattr__(self, "sigmas", sigmas)
            if len(sigmas) != len(keypoints) or not all(0 < sigma < float("inf") for sigma in sigmas):
                raise ValueError(
                    f"{self.name}: sigmas must be {len(keypoints)} positive numbers, one per keypoint, got {sigmas!r}"
                )

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def flip_index(self) -> tuple[int, ...]:
        """Permutation that restores the order of mirrored keypoints, `flipped[..., flip_index, :]`.

        Raises:
            ValueError: when a `left_` keypoint lacks its `right_` one, or the other way round.
        """
        return tuple(self._mirror(index) for index in range(len(self.keypoints)))

    @property
    def mirror_pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of indices that are exchanged when the image is mirrored, the lower index first.

        Raises:
            ValueError: when a `left_` keypoint lacks its `right_` one, or the other way round.
        """
        return tuple((index, mirror) for index, mirror in enumerate(self.flip_index) if index < mirror)

    def index(self, keypoint: str) -> int:
        """Return the position of a keypoint on the K axis.

        Raises:
            ValueError: for an unknown name, with the closest names there are.
        """
        if keypoint not in self.keypoints:
            raise ValueError(f"{self.name} has no keypoint {keypoint!r}. {_suggest(keypoint, self.keypoints)}")
        return self.keypoints.index(keypoint)

    def _mirror(self, index: int) -> int:
        keypoint = self.keypoints[index]
        for side, other in (("left_", "right_"), ("right_", "left_")):
            if keypoint.startswith(side):
                twin = other + keypoint.removeprefix(side)
                if twin not in self.keypoints:
                    raise ValueError(
                        f"{self.name}: {keypoint!r} has no mirror image; add {twin!r}, or drop the prefix {side!r} "
                        "if the point lies in the middle of the body"
                    )
                return self.keypoints.index(twin)
        return index


def list_skeletons() -> list[str]:
    """Return the names of the registered skeletons.

    Example:
        >>> list_skeletons()[:4]
        ['coco17', 'mpii16', 'mpii14', 'lsp14']
    """
    return list(_SKELETONS)


def get_skeleton(skeleton: str | Skeleton | Sequence[str]) -> Skeleton:
    """Return a skeleton by name, or a custom one for a list of keypoint names.

    A `Skeleton` is returned unchanged.

    Raises:
        ValueError: for an unknown name, with the closest names and the whole list.

    Example:
        >>> get_skeleton("coco17").keypoints[:3]
        ('nose', 'left_eye', 'right_eye')
        >>> get_skeleton(["tail", "left_paw", "right_paw"]).flip_index
        (0, 2, 1)
    """
    if isinstance(skeleton, Skeleton):
        return skeleton
    if isinstance(skeleton, str):
        if skeleton not in _SKELETONS:
            raise ValueError(f"unknown skeleton {skeleton!r}. {_suggest(skeleton, tuple(_SKELETONS))}")
        return _SKELETONS[skeleton]
    if isinstance(skeleton, Sequence):
        return Skeleton(name="custom", keypoints=tuple(skeleton))
    raise ValueError(
        f"expected a skeleton's name, a Skeleton or a list of keypoint names, got {type(skeleton).__name__}"
    )


def convert(
    keypoints: Points,
    source: str | Skeleton | Sequence[str],
    target: str | Skeleton | Sequence[str],
    visible: np.ndarray | torch.Tensor | None = None,
) -> tuple[Points, Points]:
    """Convert poses `(..., K_source, D)` between skeletons, `(..., K_target, D)` and a mask.

    A target keypoint is the source keypoint of the same name, or else the first of these
    derivations whose keypoints the source skeleton has:

    | target | from | reason |
    |---|---|---|
    | `pelvis` | mean of both hips | MPII's pelvis is that mean, to a pixel |
    | `thorax` | mean of both shoulders | MPII's thorax is that mean, to a pixel |
    | `spine` | mean of pelvis and thorax | Human3.6M's joint lies at 48 % of the way up |
    | `neck`, `upper_neck` | each other | LSP and MPII agree to 0.03 torso lengths; CPM trains on their union |
    | `head`, `head_top` | each other | both are the top of the skull |
    | `neck_nose` | `nose` | usual input of 2D-to-3D lifters trained on Human3.6M; the joint itself is inside the head |
    | `face` | mean of both eyes and nose | its definition in FLIC's 7-keypoint order |

    Derivations that would be guesses are left out: a neck from the shoulders (0.17 torso lengths
    off), the top of the head from eyes or nose, a nose from the head. Those targets are zero and
    not valid.

    The `thorax` of Human3.6M and HumanEva is the base of the neck, a few centimetres above MPII's;
    as elsewhere in the literature they are treated as one point. The means are taken in the image:
    with a strong perspective the middle of two projected points is not the projection of their
    middle.

    Args:
        keypoints: NumPy array or tensor `(..., K_source, D)`; keep scores and visibility flags out
            of D. Integers become float32. A keypoint that is not finite counts as not visible (FLIC
            marks absent points by NaN).
        source: skeleton of `keypoints`: a name, a `Skeleton` or a list of keypoint names.
        target: skeleton of the result.
        visible: mask, COCO flags (0, 1, 2) or scores `(..., K_source)`; above zero counts as
            visible. Defaults to all.

    Returns:
        converted: `(..., K_target, D)`, same type, device and dtype as `keypoints`, differentiable;
            exactly 0 where not valid.
        valid: bool `(..., K_target)`: the keypoint exists in the source, and every point it is
            derived from is visible.

    Raises:
        ValueError: for unknown skeletons, or shapes that do not match the source skeleton.

    Example:
        >>> pose = np.zeros((17, 2), dtype=np.float32)
        >>> pose[11], pose[12] = (40, 90), (60, 94)                       # the hips
        >>> converted, valid = convert(pose, "coco17", "mpii16")
        >>> mpii = get_skeleton("mpii16")
        >>> converted[mpii.index("pelvis")].tolist(), bool(valid[mpii.index("head_top")])
        ([50.0, 92.0], False)
    """
    source, target = get_skeleton(source), get_skeleton(target)
    if not isinstance(keypoints, np.ndarray | torch.Tensor):
        raise ValueError(
            f"keypoints must be a NumPy array or a torch tensor, got {type(keypoints).__name__}; np.asarray makes one"
        )
    points = _as_tensor(keypoints)
    if points.is_complex() or points.dtype == torch.bool:
        raise ValueError(f"keypoints must be real numbers, got {keypoints.dtype}")
    if not points.is_floating_point():
        points = points.float()
    if points.ndim < 2 or points.shape[-2] != len(source):
        raise ValueError(
            f"keypoints must be (..., {len(source)}, D) for the source skeleton {source.name!r}, "
            f"got {tuple(keypoints.shape)}"
        )

    mask = torch.isfinite(points).all(dim=-1)
    if visible is not None:
        flags = _as_tensor(visible)
        if flags.shape != mask.shape:
            raise ValueError(
                f"visible must be {tuple(mask.shape)}, one number per keypoint of {source.name!r}, "
                f"got {tuple(flags.shape)}"
            )
        mask = mask & (flags.to(points.device) > 0)

    # for each target keypoint the source indices it is the mean of; the loops are over K, never over people
    rows = [_contributors(keypoint, source) for keypoint in target.keypoints]
    valid = torch.stack([mask[..., row].all(dim=-1) & bool(row) for row in rows], dim=-1)
    mean = torch.stack([points[..., row, :].mean(dim=-2) for row in rows], dim=-2)
    converted = torch.where(valid[..., None], mean, torch.zeros_like(mean))
    if isinstance(keypoints, np.ndarray):
        return converted.numpy(), valid.numpy()
    return converted, valid


# Derivations of a target keypoint: {target: alternatives, each the names whose mean it is}. Only relations that hold to
# annotation accuracy or define the point; the docstring of `convert` gives the reason of each.
_HIPS, _SHOULDERS = ("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")
_DERIVED: dict[str, tuple[tuple[str, ...], ...]] = {
    # MPII validation set, 2,857 people: within 0.015 head sizes (rounding) of the mean for 90 % of them
    "pelvis": (_HIPS,),
    "thorax": (_SHOULDERS,),
    # Human3.6M's mean skeleton: pelvis to spine 238 mm, pelvis to thorax 493 mm with a straight back
    "spine": (("pelvis", "thorax"), (*_HIPS, *_SHOULDERS)),
    # median height above the shoulders in torso lengths: MPII 0.13, LSP 0.15
    "neck": (("upper_neck",),),
    "upper_neck": (("neck",),),
    # Human3.6M's and HumanEva's "head" is the end of the head segment, where MPII and LSP annotate the head top
    "head": (("head_top",),),
    "head_top": (("head",),),
    # the joint is named Neck/Nose; one way only, because as a nose it would be several centimetres too far back
    "neck_nose": (("nose",),),
    # by definition of the 7-keypoint order of FLIC
    "face": (("left_eye", "right_eye", "nose"),),
}


def _contributors(keypoint: str, source: Skeleton) -> list[int]:
    """Indices of the source keypoints whose mean is `keypoint`; empty if it cannot be derived."""
    for names in ((keypoint,), *_DERIVED.get(keypoint, ())):
        if all(name in source.keypoints for name in names):
            return [source.keypoints.index(name) for name in names]
    return []


def _as_tensor(array: Any) -> torch.Tensor:
    if isinstance(array, torch.Tensor):
        return array
    # a copy: torch cannot share memory with read-only or reversed arrays
    return torch.from_numpy(np.array(array))


def _is_index(value: Any, length: int) -> bool:
    return isinstance(value, int) and 0 <= value < length


def _suggest(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(str(name).lower(), known, n=3, cutoff=0.5)
    question = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{question}Known: {', '.join(known)}"


def _sides(*names: str) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for name in names for side in ("left", "right"))


def _side(side: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for name in names)


# In the order of OpenPose, which begins on the right and at the nose.
_OPENPOSE_ARMS = (
    "nose",
    "thorax",
    *_side("right", "shoulder", "elbow", "wrist"),
    *_side("left", "shoulder", "elbow", "wrist"),
)
_OPENPOSE_LEGS = (*_side("right", "hip", "knee", "ankle"), *_side("left", "hip", "knee", "ankle"))
_OPENPOSE_FACE = ("right_eye", "left_eye", "right_ear", "left_ear")
_OPENPOSE_FEET = (*_side("left", "big_toe", "small_toe", "heel"), *_side("right", "big_toe", "small_toe", "heel"))

_SKELETONS: dict[str, Skeleton] = {
    skeleton.name: skeleton
    for skeleton in (
        # Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and the keypoint annotations of 2017:
        # order and bones of its "person" category; sigmas of the official OKS evaluation.
        Skeleton(
            "coco17",
            ("nose", *_sides("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")),
            bones=(
                *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8)),
                *((7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
            ),
            sigmas=(
                *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
                *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
            ),
        ),
        # Andriluka et al., "2D Human Pose Estimation: New Benchmark and State of the Art Analysis", CVPR 2014: joint
        # ids 0-15. MPII is scored by PCKh and has no official sigmas: these are the substitutes mmpose defines.
        Skeleton(
            "mpii16",
            (
                *_side("right", "ankle", "knee", "hip"),
                *_side("left", "hip", "knee", "ankle"),
                *("pelvis", "thorax", "upper_neck", "head_top"),
                *_side("right", "wrist", "elbow", "shoulder"),
                *_side("left", "shoulder", "elbow", "wrist"),
            ),
            bones=(
                *((0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9)),
                *((8, 12), (12, 11), (11, 10), (8, 13), (13, 14), (14, 15)),
            ),
            sigmas=(
                *(0.089, 0.083, 0.107, 0.107, 0.083, 0.089, 0.026, 0.026),
                *(0.026, 0.026, 0.062, 0.072, 0.179, 0.179, 0.072, 0.062),
            ),
        ),
        # MPII without pelvis and thorax, the order of Tompson et al.'s predictions (CVPR 2015).
        Skeleton(
            "mpii14",
            (
                *_side("right", "ankle", "knee", "hip"),
                *_side("left", "hip", "knee", "ankle"),
                *("upper_neck", "head_top"),
                *_side("right", "wrist", "elbow", "shoulder"),
                *_side("left", "shoulder", "elbow", "wrist"),
            ),
            bones=(
                *((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (6, 7), (8, 9), (9, 10), (10, 6), (6, 11), (11, 12)),
                *((12, 13), (10, 2), (11, 3)),
            ),
        ),
        # Johnson & Everingham, "Clustered Pose and Nonlinear Appearance Models for Human Pose Estimation", BMVC 2010,
        # and its extension LSPET, CVPR 2011: person-centric order.
        Skeleton(
            "lsp14",
            (
                *_side("right", "ankle", "knee", "hip"),
                *_side("left", "hip", "knee", "ankle"),
                *_side("right", "wrist", "elbow", "shoulder"),
                *_side("left", "shoulder", "elbow", "wrist"),
                *("neck", "head_top"),
            ),
            bones=(
                *((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 12), (12, 9), (9, 10), (10, 11)),
                *((8, 2), (9, 3), (12, 13)),
            ),
        ),
        # Sapp & Taskar, "MODEC: Multimodal Decomposable Models for Human Pose Estimation", CVPR 2013: the points that
        # are annotated among the 29 columns of examples.mat (0-6, 9, 12, 13, 16), in that order.
        Skeleton(
            "flic11",
            (
                *_side("left", "shoulder", "elbow", "wrist"),
                *_side("right", "shoulder", "elbow", "wrist"),
                *("left_hip", "right_hip", "left_eye", "right_eye", "nose"),
            ),
            bones=(
                *((0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (0, 6), (3, 7), (6, 7)),
                *((0, 10), (3, 10), (8, 10), (9, 10)),
            ),
        ),
        # FLIC in the order of Convolutional Pose Machines (Wei et al., CVPR 2016), which calls the nose "head".
        Skeleton(
            "flic9",
            (
                *_side("left", "shoulder", "elbow", "wrist"),
                *_side("right", "shoulder", "elbow", "wrist"),
                *("left_hip", "right_hip", "nose"),
            ),
            bones=((0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (0, 6), (3, 7), (6, 7), (0, 8), (3, 8)),
        ),
        # FLIC in the order of mitmul's implementation of DeepPose (Toshev & Szegedy, CVPR 2014), which calls the mean
        # of both eyes and the nose "head"; Tompson et al. (CVPR 2015) call it "face".
        Skeleton(
            "flic7",
            (*_side("left", "wrist", "elbow", "shoulder"), "face", *_side("right", "shoulder", "elbow", "wrist")),
            bones=((0, 1), (1, 2), (2, 4), (4, 5), (5, 6), (2, 3), (3, 4)),
        ),
        # Jhuang et al., "Towards Understanding Action Recognition" (JHMDB), ICCV 2013.
        Skeleton(
            "jhmdb15",
            (
                *("neck", "belly", "face", "right_shoulder", "left_shoulder", "right_hip", "left_hip"),
                *("right_elbow", "left_elbow", "right_knee", "left_knee", "right_wrist", "left_wrist"),
                *("right_ankle", "left_ankle"),
            ),
            bones=(
                *((0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (1, 6), (3, 7), (4, 8), (5, 9), (6, 10)),
                *((7, 11), (8, 12), (9, 13), (10, 14)),
            ),
        ),
        # Wu et al., "AI Challenger: A Large-scale Dataset for Going Deeper in Image Understanding", 2017; sigmas of its
        # own evaluation.
        Skeleton(
            "aic14",
            (
                *_side("right", "shoulder", "elbow", "wrist"),
                *_side("left", "shoulder", "elbow", "wrist"),
                *_side("right", "hip", "knee", "ankle"),
                *_side("left", "hip", "knee", "ankle"),
                *("head_top", "neck"),
            ),
            bones=(
                *((2, 1), (1, 0), (0, 13), (13, 3), (3, 4), (4, 5), (8, 7), (7, 6), (6, 9), (9, 10), (10, 11)),
                *((12, 13), (0, 6), (3, 9)),
            ),
            sigmas=(
                *(0.01388152, 0.01515228, 0.01057665, 0.01417709, 0.01497891, 0.01402144, 0.03909642),
                *(0.03686941, 0.01981803, 0.03843971, 0.03412318, 0.02415081, 0.01291456, 0.01236173),
            ),
        ),
        # COCO's keypoints with the two of AI Challenger that COCO lacks: mmpose's skeleton for both data sets.
        Skeleton(
            "coco_aic19",
            (
                *("nose", *_sides("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")),
                *("head_top", "neck"),
            ),
            bones=(
                *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8)),
                *((7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (17, 18)),
            ),
            sigmas=(
                *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062),
                *(0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.026, 0.026),
            ),
        ),
        # Li et al., "CrowdPose: Efficient Crowded Scenes Pose Estimation and A New Benchmark", CVPR 2019.
        Skeleton(
            "crowdpose14",
            (*_sides("shoulder", "elbow", "wrist", "hip", "knee", "ankle"), "head_top", "neck"),
            bones=(
                *((10, 8), (8, 6), (11, 9), (9, 7), (6, 7), (0, 6), (1, 7), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5)),
                *((12, 13), (1, 13), (0, 13)),
            ),
            sigmas=(
                *(0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107),
                *(0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079),
            ),
        ),
        # Andriluka et al., "PoseTrack: A Benchmark for Human Pose Estimation and Tracking", CVPR 2018: COCO's order
        # with the upper neck ("head_bottom") and the head top in place of the eyes.
        Skeleton(
            "posetrack17",
            (
                *("nose", "upper_neck", "head_top"),
                *_sides("ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"),
            ),
            bones=(
                *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8)),
                *((7, 9), (8, 10), (0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (1, 6)),
            ),
            sigmas=(
                *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
                *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
            ),
        ),
        # The heatmap channels of Convolutional Pose Machines (Wei et al., CVPR 2016) without the background, which is
        # the 15th. From MPII ids 9 8 12 11 10 13 14 15 2 1 0 3 4 5; CPM calls the head top "head".
        Skeleton(
            "cpm14",
            (
                *("head_top", "neck"),
                *_side("right", "shoulder", "elbow", "wrist"),
                *_side("left", "shoulder", "elbow", "wrist"),
                *_side("right", "hip", "knee", "ankle"),
                *_side("left", "hip", "knee", "ankle"),
            ),
            bones=(
                *((0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7)),
                *((2, 8), (8, 9), (9, 10), (5, 11), (11, 12), (12, 13), (8, 11)),
            ),
        ),
        # Ionescu et al., "Human3.6M", TPAMI 2014: joints 0-3, 6-8, 12-15, 17-19, 25-27 of the 32, the 17 that Martinez
        # et al. (ICCV 2017) and VideoPose3D (CVPR 2019) use. Bones are (parent, child). The data set says Hip, Foot,
        # Neck/Nose for pelvis, ankle, neck_nose; head is the end of the head, its top.
        Skeleton(
            "h36m17",
            (
                "pelvis",
                *_side("right", "hip", "knee", "ankle"),
                *_side("left", "hip", "knee", "ankle"),
                *("spine", "thorax", "neck_nose", "head"),
                *_side("left", "shoulder", "elbow", "wrist"),
                *_side("right", "shoulder", "elbow", "wrist"),
            ),
            bones=(
                *((0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10)),
                *((8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16)),
            ),
        ),
        # Sigal et al., "HumanEva", IJCV 2010, reduced to 15 as in VideoPose3D. Bones are (parent, child). pelvis is
        # the data set's torsoDistal, thorax the mean of torsoProximal and headProximal, head is headDistal, the top.
        Skeleton(
            "humaneva15",
            (
                *("pelvis", "thorax"),
                *_side("left", "shoulder", "elbow", "wrist"),
                *_side("right", "shoulder", "elbow", "wrist"),
                *_side("left", "hip", "knee", "ankle"),
                *_side("right", "hip", "knee", "ankle"),
                "head",
            ),
            bones=(
                *((0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7)),
                *((0, 8), (8, 9), (9, 10), (0, 11), (11, 12), (12, 13), (1, 14)),
            ),
        ),
        # The 14 of RPSM (Lin et al., CVPR 2017) on HumanEva: shoulders to wrists, hips to ankles, neck and head top,
        # which are the 15 without pelvis. Bones are (parent, child), from the thorax.
        Skeleton(
            "humaneva14",
            (
                "thorax",
                *_side("left", "shoulder", "elbow", "wrist"),
                *_side("right", "shoulder", "elbow", "wrist"),
                *_side("left", "hip", "knee", "ankle"),
                *_side("right", "hip", "knee", "ankle"),
                "head",
            ),
            bones=(
                *((0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6)),
                *((0, 7), (7, 8), (8, 9), (0, 10), (10, 11), (11, 12), (0, 13)),
            ),
        ),
        # Cao et al., "OpenPose", TPAMI 2019: its models COCO, BODY_25 and BODY_25B, in the order of its documentation.
        # The neck and the middle of the hips of the first two are the means that are called thorax and pelvis here.
        Skeleton(
            "openpose18",
            (*_OPENPOSE_ARMS, *_OPENPOSE_LEGS, *_OPENPOSE_FACE),
            bones=(
                *((1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
                *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
            ),
        ),
        Skeleton(
            "body25",
            (*_OPENPOSE_ARMS, "pelvis", *_OPENPOSE_LEGS, *_OPENPOSE_FACE, *_OPENPOSE_FEET),
            bones=(
                *((1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (10, 11)),
                *((8, 12), (12, 13), (13, 14), (1, 0), (0, 15), (15, 17), (0, 16), (16, 18)),
                *((14, 19), (19, 20), (14, 21), (11, 22), (22, 23), (11, 24)),
            ),
        ),
        Skeleton(
            "body25b",
            (
                *("nose", *_sides("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")),
                *("upper_neck", "head_top", *_OPENPOSE_FEET),
            ),
            bones=(
                *((0, 1), (0, 2), (1, 3), (2, 4), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12)),
                *((11, 13), (13, 15), (12, 14), (14, 16), (5, 17), (6, 17), (17, 18)),
                *((15, 19), (19, 20), (15, 21), (16, 22), (22, 23), (16, 24)),
            ),
        ),
    )
}
