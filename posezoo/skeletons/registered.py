"""The table of registered skeletons, and the functions that read and extend it."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from posezoo.skeletons.skeleton import Skeleton, suggest


def list_skeletons() -> list[str]:
    """Return the names of the registered skeletons.

    Examples:
        >>> list_skeletons()[:4]
        ['coco17', 'mpii16', 'mpii14', 'lsp14']
    """
    return list(_SKELETONS)


def register_skeleton(
    name: str,
    keypoints: Sequence[str],
    *,
    bones: Sequence[Sequence[int]] = (),
    sigmas: Sequence[float] | None = None,
    pairs: Sequence[Sequence[int | str]] | None = None,
) -> Skeleton:
    """Register a skeleton by name, for `get_skeleton` and every argument that takes a skeleton.

    Args:
        name: name to look it up by.
        keypoints: names, see `Skeleton`. Use the names of the registered skeletons for the same
            body points: `convert` matches by name.
        bones: pairs of indices. Defaults to none.
        sigmas: per-keypoint constants of OKS. Defaults to none.
        pairs: mirror pairs (left, right). Defaults to those that the names tell.

    Returns:
        the registered skeleton.

    Raises:
        ValueError: a name that is taken, or what `Skeleton` refuses; also names with a side that
            lacks its mirror image.

    Examples:
        >>> skeleton = register_skeleton("mouse4", ["nose", "earL", "earR", "tail_base"], bones=[(0, 1), (0, 2)])
        >>> get_skeleton("mouse4").flip_index
        (0, 2, 1, 3)
        >>> del _SKELETONS["mouse4"]
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"name: expected a non-empty text, got {name!r}")
    if name in _SKELETONS:
        raise ValueError(f"a skeleton {name!r} is registered already; choose another name")
    skeleton = Skeleton(name, keypoints, bones, sigmas, pairs)  # type: ignore[arg-type]  # lists become tuples there
    _ = skeleton.flip_index  # names without their mirror image are an error here, not in the first flip
    _SKELETONS[name] = skeleton
    return skeleton


def get_skeleton(skeleton: str | Skeleton | Sequence[str] | Mapping[str, Any]) -> Skeleton:
    """Return a skeleton by name, or a custom one for a list of keypoint names or its `to_json`.

    A `Skeleton` is returned unchanged.

    Raises:
        ValueError: for an unknown name, with the closest names and the whole list.

    Examples:
        >>> get_skeleton("coco17").keypoints[:3]
        ('nose', 'left_eye', 'right_eye')
        >>> get_skeleton(["tail", "left_paw", "right_paw"]).flip_index
        (0, 2, 1)
    """
    if isinstance(skeleton, Skeleton):
        return skeleton
    if isinstance(skeleton, str):
        if skeleton not in _SKELETONS:
            known = suggest(skeleton, tuple(_SKELETONS))
            raise ValueError(f"unknown skeleton {skeleton!r}. {known}; posezoo.register_skeleton adds one")
        return _SKELETONS[skeleton]
    if isinstance(skeleton, Mapping):
        try:
            return Skeleton(**{"name": "custom", **skeleton})
        except TypeError as error:
            raise ValueError(f"expected name, keypoints, bones, sigmas, pairs of a skeleton ({error})") from error
    if isinstance(skeleton, Sequence):
        return Skeleton(name="custom", keypoints=tuple(skeleton))
    raise ValueError(
        f"expected a skeleton's name, a Skeleton or a list of keypoint names, got {type(skeleton).__name__}"
    )


def is_ours(name: str) -> bool:
    """Whether a skeleton is registered in every program, by posezoo itself.

    Examples:
        >>> is_ours("coco17"), is_ours("mouse4")
        (True, False)
    """
    return name in _OURS


def portable(skeleton: Any) -> Any:
    """Return a skeleton for files that other programs read: names of `register_skeleton` in full.

    Examples:
        >>> _ = register_skeleton("pair", ["near", "off"], pairs=[(0, 1)])
        >>> portable("pair"), portable("coco17")
        ({'name': 'pair', 'keypoints': ['near', 'off'], 'pairs': [[0, 1]]}, 'coco17')
        >>> del _SKELETONS["pair"]
    """
    if not isinstance(skeleton, str) or is_ours(skeleton) or skeleton not in _SKELETONS:
        return skeleton
    fields = _SKELETONS[skeleton].to_json()
    return fields if isinstance(fields, dict) else {"name": skeleton, "keypoints": fields}


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

_FINGERS = tuple(
    f"{finger}_{joint}" for finger in ("thumb", "index", "middle", "ring", "pinky") for joint in range(1, 5)
)
# sigmas of COCO-WholeBody's evaluation, root of the hand and fingers
_HAND_SIGMAS = (
    *(0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024),
    *(0.022, 0.026, 0.017, 0.021, 0.021, 0.032, 0.02, 0.019, 0.022, 0.031),
)


def _hand_bones(root: int) -> tuple[tuple[int, int], ...]:
    """Bones from the root of a hand, at this index, to the tips of its fingers."""
    fingers = [(root, *range(root + first, root + first + 4)) for first in (1, 5, 9, 13, 17)]
    return tuple(bone for finger in fingers for bone in pairwise(finger))


def _outline(first: int, last: int, *, closed: bool = False) -> tuple[tuple[int, int], ...]:
    """Bones along consecutive keypoints; closed, also from the last to the first."""
    return (*pairwise(range(first, last + 1)), *([(last, first)] if closed else []))


# Mirror pairs of the 68 points of a face (iBUG's markup): jaw, brows, nose, eyes, outer and inner lips. The person's
# left is the side of higher numbers in the jaw.
_FACE_PAIRS = (
    *((16 - i, i) for i in range(8)),
    *((26 - i, 17 + i) for i in range(5)),
    *((35, 31), (34, 32)),
    *((45, 36), (44, 37), (43, 38), (42, 39), (47, 40), (46, 41)),
    *((54, 48), (53, 49), (52, 50), (55, 59), (56, 58)),
    *((64, 60), (63, 61), (65, 67)),
)

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
        # Li et al., "PaStaNet" (CVPR 2020), the first 26 of the 136 keypoints of Halpe-FullBody: order of its README,
        # sigmas of its own evaluation (halpecocotools/cocoeval.py), bones as in mmpose's halpe26.py. Halpe says Head,
        # Neck and Hip; mmpose trains head and neck on the head top and neck of MPII, AI Challenger and CrowdPose.
        # (mmpose lists other sigmas for the last nine: .026 .026 .066, and .079 for the feet.)
        Skeleton(
            "halpe26",
            (
                *("nose", *_sides("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")),
                *("head_top", "neck", "pelvis", *_sides("big_toe", "small_toe", "heel")),
            ),
            bones=(
                *((15, 13), (13, 11), (11, 19), (16, 14), (14, 12), (12, 19), (17, 18), (18, 19), (18, 5), (5, 7)),
                *((7, 9), (18, 6), (6, 8), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
                *((15, 20), (15, 22), (15, 24), (16, 21), (16, 23), (16, 25)),
            ),
            sigmas=(
                *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107),
                *(0.087, 0.087, 0.089, 0.089, 0.08, 0.08, 0.08, 0.089, 0.089, 0.089, 0.089, 0.089, 0.089),
            ),
        ),
        # Jin et al., "Whole-Body Human Pose Estimation in the Wild" (COCO-WholeBody), ECCV 2020: body, feet, face, left
        # and right hand, in the order and with the sigmas of its evaluation (myeval_wholebody.py); the same in mmpose's
        # coco_wholebody.py. The face is iBUG's 68 points. The root of a hand is annotated apart from the body's wrist.
        Skeleton(
            "wholebody133",
            (
                *("nose", *_sides("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")),
                *(*_OPENPOSE_FEET, *(f"face_{point}" for point in range(68))),
                *(*_side("left", "hand_root", *_FINGERS), *_side("right", "hand_root", *_FINGERS)),
            ),
            bones=(
                *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8)),
                *((7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
                *((15, 17), (15, 18), (15, 19), (16, 20), (16, 21), (16, 22)),
                *(*_outline(23, 39), *_outline(40, 44), *_outline(45, 49), *_outline(50, 53), *_outline(54, 58)),
                *(*_outline(59, 64, closed=True), *_outline(65, 70, closed=True)),
                *(*_outline(71, 82, closed=True), *_outline(83, 90, closed=True)),
                *((9, 91), *_hand_bones(91), (10, 112), *_hand_bones(112)),
            ),
            sigmas=(
                *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107),
                *(0.087, 0.087, 0.089, 0.089, 0.068, 0.066, 0.066, 0.092, 0.094, 0.094),
                *(0.042, 0.043, 0.044, 0.043, 0.040, 0.035, 0.031, 0.025, 0.020, 0.023, 0.029, 0.032, 0.037, 0.038),
                *(0.043, 0.041, 0.045, 0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013, 0.015, 0.009),
                *(0.007, 0.007, 0.007, 0.012, 0.009, 0.008, 0.016, 0.010, 0.017, 0.011, 0.009, 0.011, 0.009, 0.007),
                *(0.013, 0.008, 0.011, 0.012, 0.010, 0.034, 0.008, 0.008, 0.009, 0.008, 0.008, 0.007, 0.010, 0.008),
                *(0.009, 0.009, 0.009, 0.007, 0.007, 0.008, 0.011, 0.008, 0.008, 0.008, 0.01, 0.008),
                *(*_HAND_SIGMAS, *_HAND_SIGMAS),
            ),
            pairs=(
                *((index, index + 1) for index in range(1, 17, 2)),
                *((index, index + 3) for index in range(17, 20)),
                *((23 + left, 23 + right) for left, right in _FACE_PAIRS),
                *((index, index + 21) for index in range(91, 112)),
            ),
        ),
        # One hand: OpenPose's order (Simon et al., CVPR 2017), which MediaPipe Hands, FreiHAND (Zimmermann et al., ICCV
        # 2019, as in mmpose's freihand2d.py) and COCO-WholeBody share. Joints count from the palm; 4 is the tip, 1 of
        # the thumb its carpometacarpal joint, 1 of a finger its knuckle. The mirror image of a left hand is a right
        # one: no keypoints are exchanged. Sigmas of COCO-WholeBody.
        Skeleton("hand21", ("wrist", *_FINGERS), bones=_hand_bones(0), sigmas=_HAND_SIGMAS),
        # Bazarevsky et al., "BlazePose", CVPR workshop 2020: the landmarks and connections of MediaPipe Pose
        # (PoseLandmark and POSE_CONNECTIONS in solutions/pose.py; the same list in ML Kit's documentation). pinky,
        # index and thumb are knuckles, foot_index is the tip of the foot.
        Skeleton(
            "mediapipe33",
            (
                *("nose", *_side("left", "eye_inner", "eye", "eye_outer")),
                *(*_side("right", "eye_inner", "eye", "eye_outer"), *_sides("ear"), "mouth_left", "mouth_right"),
                *_sides("shoulder", "elbow", "wrist", "pinky", "index", "thumb"),
                *_sides("hip", "knee", "ankle", "heel", "foot_index"),
            ),
            bones=(
                *((0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10), (11, 12), (11, 13)),
                *((13, 15), (15, 17), (15, 19), (15, 21), (17, 19), (12, 14), (14, 16), (16, 18), (16, 20)),
                *((16, 22), (18, 20), (11, 23), (12, 24), (23, 24), (23, 25), (24, 26), (25, 27), (26, 28)),
                *((27, 29), (28, 30), (29, 31), (30, 32), (27, 31), (28, 32)),
            ),
        ),
        # Loper et al., "SMPL", SIGGRAPH Asia 2015: the joints of the body model, in the order of smplx/joint_names.py
        # and of HumanML3D's code. Bones are (parent, child). Its pelvis lies 8 to 9 cm above the middle of the hips (in
        # the rest pose of the mean shape), its neck and head are the joints at both ends of the neck: other points than
        # those of the same names in images, and named apart.
        Skeleton(
            "smpl24",
            (
                *("smpl_pelvis", *_sides("hip"), "spine1", *_sides("knee"), "spine2", *_sides("ankle"), "spine3"),
                *(*_sides("foot"), "smpl_neck", *_sides("collar"), "smpl_head"),
                *_sides("shoulder", "elbow", "wrist", "hand"),
            ),
            bones=(
                *((0, 1), (0, 2), (0, 3), (1, 4), (2, 5), (3, 6), (4, 7), (5, 8), (6, 9), (7, 10), (8, 11), (9, 12)),
                *((9, 13), (9, 14), (12, 15), (13, 16), (14, 17), (16, 18), (17, 19), (18, 20), (19, 21)),
                *((20, 22), (21, 23)),
            ),
        ),
        # Ionescu et al., "Human3.6M", TPAMI 2014: all 32 joints of the files, of which h36m17 has 17. The files say
        # Hips, RightUpLeg, RightLeg, RightFoot, RightToeBase, Site, ..., Spine, Spine1, Neck, Head, Site, LeftShoulder,
        # LeftArm, LeftForeArm, LeftHand, LeftHandThumb, Site, L_Wrist_End, Site, ...; numbers as in the H36M_NAMES of
        # Martinez et al. and parents as in VideoPose3D's h36m_dataset.py. Bones are (parent, child). Some joints
        # coincide: spine_base with the pelvis, the clavicles with the thorax, hand_thumb with the wrist.
        Skeleton(
            "h36m32",
            (
                *("pelvis", *_side("right", "hip", "knee", "ankle", "toe_base", "toe_end")),
                *_side("left", "hip", "knee", "ankle", "toe_base", "toe_end"),
                *("spine_base", "spine", "thorax", "neck_nose", "head"),
                *_side("left", "clavicle", "shoulder", "elbow", "wrist"),
                *_side("left", "hand_thumb", "hand_thumb_end", "wrist_end", "hand_end"),
                *_side("right", "clavicle", "shoulder", "elbow", "wrist"),
                *_side("right", "hand_thumb", "hand_thumb_end", "wrist_end", "hand_end"),
            ),
            bones=(
                *((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 6), (6, 7), (7, 8), (8, 9), (9, 10), (0, 11), (11, 12)),
                *((12, 13), (13, 14), (14, 15), (12, 16), (16, 17), (17, 18), (18, 19), (19, 20), (20, 21), (19, 22)),
                *((22, 23), (12, 24), (24, 25), (25, 26), (26, 27), (27, 28), (28, 29), (27, 30), (30, 31)),
            ),
        ),
    )
}
_OURS = frozenset(_SKELETONS)
