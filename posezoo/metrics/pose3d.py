"""3D pose metrics: MPJPE and its alignments, 3DPCK, velocities, bones, averages of the data sets.

Distances are in the units of the poses, millimetres throughout the literature, per joint and pose,
`(..., K)`: reduce with `.mean()`, or with `nanmean` where joints are missing. All functions take
NumPy arrays or torch tensors on any device and return the same kind.

The meaning of "Protocol #1" and "#2" depends on the paper. Here an error is named by its
`alignment`, and a published evaluation protocol by the name of its `Protocol` (`PROTOCOLS`).

| alignment | removed before measuring | also called |
|---|---|---|
| `none` | nothing | |
| `root` | the position of the root joint | MPJPE; Martinez's and VideoPose3D's Protocol #1 |
| `centroid` | the mean position of the joints | up to translation, where there is no root |
| `rigid` | translation and rotation of each pose | PA-MPJPE without scale |
| `similarity` | translation, rotation and scale of each pose | PA-MPJPE, P-MPJPE, reconstruction error |

A joint that is not `visible` is NaN in the result and is not used in the alignment. The error of a
visible joint whose prediction is not finite is infinite, with a warning, because a mean over the
other joints would look better than it is. Where the alignment uses that joint (all joints, or for
`root` the root), the errors of the whole pose are infinite.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from posezoo.arrays import Array, ArrayT, as_tensor, check_number, explained, same_kind
from posezoo.geometry import aligned, precise
from posezoo.metrics.arrays import any_wrong, warn_not_finite
from posezoo.skeletons import Skeleton, get_skeleton

ALIGNMENTS = ("none", "root", "centroid", "rigid", "similarity")
AUC_THRESHOLDS = tuple(range(0, 151, 5))  # millimetres; 31 of them (MPI-INF-3DHP's evaluation)
BLOCK = 4096  # poses aligned at once on a CPU, so that intermediate results stay in its cache
AVERAGINGS = ("frame-weighted", "per-video")

HUMAN36M_ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases", "Sitting",
    "SittingDown", "Smoking", "Waiting", "WalkDog", "Walking", "WalkTogether",
)  # fmt: skip
_ACTION_ALIASES = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}  # names in the files of some subjects


@dataclass(frozen=True)
class Protocol:
    """Evaluation protocol of a line of papers, an argument of `by_protocol`.

    Args:
        name: name to print beside a number.
        train: training subjects.
        test: test subjects.
        stride: step between evaluated frames, of 50 per second on Human3.6M, of 60 on HumanEva.
        alignment: one of `ALIGNMENTS`, or "scale" (`n_mpjpe`).
        averaging: "frame-weighted" or "per-video", see `average_by_action`.
        source: the papers that use it.
        dataset: "Human3.6M" or "HumanEva".
        actions: test actions. Defaults to all.
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    stride: int
    alignment: str
    averaging: str
    source: str
    dataset: str = "Human3.6M"
    actions: tuple[str, ...] = ()


_FIVE, _SIX, _TWO = ("S1", "S5", "S6", "S7", "S8"), ("S1", "S5", "S6", "S7", "S8", "S9"), ("S9", "S11")
_THREE = ("S1", "S2", "S3")  # of HumanEva, whose test frames are those called Validate
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "martinez-1", _FIVE, _TWO, 1, "root", "frame-weighted",
            "Protocol #1 of Martinez et al. (ICCV 2017) and VideoPose3D (CVPR 2019): all frames and cameras",
        ),
        Protocol(
            "martinez-2", _FIVE, _TWO, 1, "similarity", "frame-weighted",
            "Protocol #2 of VideoPose3D, and of Martinez et al. as released today: texts say rigid, the codes scale",
        ),
        Protocol(
            "martinez-2-rigid", _FIVE, _TWO, 1, "rigid", "frame-weighted",
            "Protocol #2 of the first releases of Martinez et al. and Hossain & Little: no scale",
        ),
        Protocol(
            "videopose3d-3", _FIVE, _TWO, 1, "scale", "frame-weighted",
            "Protocol #3 of VideoPose3D: N-MPJPE",
        ),
        Protocol(
            "hossain-1", _FIVE, _TWO, 1, "root", "per-video",
            "Protocol #1 of Hossain & Little (ECCV 2018): the mean of an action runs over its videos",
        ),
        Protocol(
            "hossain-2", _FIVE, _TWO, 1, "similarity", "per-video",
            "Protocol #2 of Hossain & Little (ECCV 2018)",
        ),
        Protocol(
            "s11-rigid-64", _SIX, ("S11",), 64, "rigid", "frame-weighted",
            "called protocol 1 in another line of papers, which calls martinez-1 protocol 2: every 64th frame of S11",
        ),
        Protocol(
            "rpsm-h36m", _FIVE, _TWO, 25, "root", "frame-weighted",
            "RPSM (Lin et al., CVPR 2017): 2 frames per second, `Human36M(fps=2)`, without camera 54138969 of S11's "
            "Directions",
        ),
        Protocol(
            "rpsm-humaneva", _THREE, _THREE, 1, "centroid", "frame-weighted",
            "RPSM on HumanEva-I: error up to translation of 14 joints, which have no root; all frames of Validate",
            "HumanEva", ("Walking", "Jog", "Box"),
        ),
        Protocol(
            "hossain-humaneva", _THREE, _THREE, 1, "rigid", "frame-weighted",
            "Hossain & Little (ECCV 2018) on HumanEva-I: after rigid alignment, per subject and action",
            "HumanEva", ("Walking", "Jog"),
        ),
    )
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- distances


@explained
def mpjpe(
    pred: ArrayT, target: Array, *, alignment: str = "root", root: int = 0, visible: Array | None = None
) -> ArrayT:  # fmt: skip
    """Per-joint position error, whose mean is MPJPE: `(..., K, 3) -> (..., K)`.

    By convention the mean is over all 17 joints of Human3.6M, including the root with its error of
    zero (Martinez, Hossain & Little, VideoPose3D, RPSM). Over the other 16 it is 17/16 as large.

    Args:
        pred: `(..., K, 3)`.
        target: `(..., K, 3)`.
        alignment: "none", "root", "centroid", "rigid" or "similarity"; the table above defines
            them.
        root: index of the root joint, for `alignment="root"`.
        visible: `(..., K)` bool mask of the annotated joints. Defaults to all.

    Returns:
        `(..., K)`; NaN where not visible. After "rigid" and "similarity" the root has an error,
        which counts. The alignment is that of least squares, so that a similarity may leave a
        larger *mean* distance than a rigid motion. Reflections are never used. For degenerate poses
        see `geometry.procrustes`. A pose with fewer than two visible joints is only translated, and
        its errors are zero after "centroid", "rigid" and "similarity".

    Raises:
        ValueError: shapes that do not match, an unknown alignment, a root out of range, a root that
            is not visible in a pose with visible joints, or an annotated joint that is not finite.

    Examples:
        >>> import numpy as np
        >>> target = np.random.default_rng(0).normal(0, 300, (2, 17, 3)); pred = target + np.array([30.0, 0, 40])
        >>> float(mpjpe(pred, target, alignment="none").mean().round(6)), float(mpjpe(pred, target).mean().round(6))
        (50.0, 0.0)
    """
    if alignment not in ALIGNMENTS:
        raise ValueError(f"unknown alignment {alignment!r}; expected one of {', '.join(ALIGNMENTS)}")
    poses, truth, mask, lost = _read(pred, target, visible)
    if alignment == "root":
        _check_root(root, truth, mask)
        poses, truth = poses - poses[..., root : root + 1, :], truth - truth[..., root : root + 1, :]
    elif alignment == "centroid":
        poses, truth = poses - _middle(poses, mask), truth - _middle(truth, mask)
    elif alignment in ("rigid", "similarity"):
        return same_kind(pred, _aligned_distances(poses, truth, mask, lost, alignment == "similarity"))
    return same_kind(pred, _finish(_norm(poses - truth), mask, lost))


@explained
def pa_mpjpe(pred: ArrayT, target: Array, *, scale: bool = True, visible: Array | None = None) -> ArrayT:
    """Per-joint error after Procrustes alignment; its mean is PA-MPJPE: `(..., K, 3) -> (..., K)`.

    The alignment includes the scale, as in all current code, although texts call it rigid.
    `scale=False` leaves it out, as the first releases of Martinez et al. and Hossain & Little did.
    Other arguments, result and errors as for `mpjpe`.

    Examples:
        >>> import numpy as np
        >>> target = np.random.default_rng(0).normal(0, 300, (2, 17, 3))
        >>> turned = 1.1 * target[..., [1, 2, 0]] + 500          # an even permutation of the axes is a rotation
        >>> float(pa_mpjpe(turned, target).max()) < 1e-9, float(pa_mpjpe(-target, target).max()) > 100
        (True, True)
    """
    return mpjpe(pred, target, alignment="similarity" if scale else "rigid", visible=visible)


@explained
def n_mpjpe(pred: ArrayT, target: Array, *, root: int = 0, visible: Array | None = None) -> ArrayT:
    """Per-joint error after scaling of each pose, whose mean is N-MPJPE: `(..., K, 3) -> (..., K)`.

    The scale is that of least squares over all joints, about the root (Rhodin et al., CVPR 2018;
    Protocol #3 of VideoPose3D). A predicted pose whose joints coincide is not scaled. Other
    arguments, result and errors as for `mpjpe`.

    Examples:
        >>> import numpy as np
        >>> target = np.random.default_rng(0).normal(0, 300, (2, 17, 3))
        >>> float(n_mpjpe(1.3 * target, target).max()) < 1e-9
        True
    """
    poses, truth, mask, lost = _read(pred, target, visible)
    _check_root(root, truth, mask)
    poses, truth = poses - poses[..., root : root + 1, :], truth - truth[..., root : root + 1, :]
    counted = mask[..., None]
    size = torch.where(counted, poses * poses, 0.0).sum(dim=(-2, -1), keepdim=True)
    overlap = torch.where(counted, poses * truth, 0.0).sum(dim=(-2, -1), keepdim=True)
    factor = torch.where(size == 0, 1.0, overlap / size)
    return same_kind(pred, _finish(_norm(factor * poses - truth), mask, lost))


@explained
def mpjve(
    pred: ArrayT, target: Array, *, alignment: str = "root", root: int = 0, visible: Array | None = None
) -> ArrayT:  # fmt: skip
    """Per-joint velocity error, whose mean is MPJVE: `(..., T, K, 3) -> (..., T - 1, K)`.

    The distance of first differences, in units of the poses per frame, not per second. Call it once
    per video, or on a batch of equally long videos: a difference must not be taken across videos.
    VideoPose3D weighs a video's mean by its frames T, not by its T - 1 differences.

    Args:
        pred: `(..., T, K, 3)`, T of 2 or more, in order of time.
        target: `(..., T, K, 3)`.
        alignment: "root" (VideoPose3D's poses are root-relative) or "none".
        root: index of the root joint.
        visible: `(..., T, K)` bool; a joint counts where it is visible in both frames.

    Errors as for `mpjpe`.

    Examples:
        >>> import numpy as np
        >>> target = np.zeros((4, 17, 3)); pred = target + 2.0 * np.arange(4)[:, None, None]
        >>> float(mpjve(pred, target, alignment="none").mean().round(4)), float(mpjve(pred, target).mean())
        (3.4641, 0.0)
    """
    return _difference_error(pred, target, 1, alignment, root, visible)


@explained
def acceleration_error(
    pred: ArrayT, target: Array, *, alignment: str = "root", root: int = 0, visible: Array | None = None
) -> ArrayT:  # fmt: skip
    """Per-joint acceleration error: `(..., T, K, 3) -> (..., T - 2, K)`.

    The distance of second differences, in units of the poses per frame squared. HMMR and VIBE
    report its mean. A joint counts where it is visible in three consecutive frames. Other arguments
    and errors as for `mpjve`.

    Examples:
        >>> import numpy as np
        >>> target = np.zeros((4, 17, 3)); pred = target + np.arange(4)[:, None, None] ** 2 * np.array([1.0, 0, 0])
        >>> float(acceleration_error(pred, target, alignment="none").mean())
        2.0
    """
    return _difference_error(pred, target, 2, alignment, root, visible)


# ---------------------------------------------------------------------------------------------------------- fractions


@explained
def pck3d(
    pred: ArrayT, target: Array, *, threshold: float = 150.0, alignment: str = "root", root: int = 0,
    visible: Array | None = None,
) -> ArrayT:  # fmt: skip
    """3D PCK: fraction of poses with an error `< threshold`, per joint: `(..., K, 3) -> (K,)`.

    Mehta et al., "Monocular 3D Human Pose Estimation In The Wild", 3DV 2017, at 150 mm.
    MPI-INF-3DHP's evaluation uses 14 joints (head top, neck, shoulders, elbows, wrists, hips,
    knees, ankles) or all 17: select them in the arguments, which must include the root, or in the
    result.

    Other arguments and errors as for `mpjpe`. NaN for a joint that no pose has. A prediction that
    is not finite is a miss.

    Examples:
        >>> import numpy as np
        >>> target = np.zeros((1, 3, 3)); pred = np.array([[[0.0, 0, 0], [0, 0, 149], [0, 0, 150]]])
        >>> pck3d(pred, target).tolist()
        [1.0, 1.0, 0.0]
    """
    check_number(threshold, "threshold")
    error, mask = _by_joint(mpjpe(pred, target, alignment=alignment, root=root, visible=visible))
    return same_kind(pred, precise((error < threshold).sum(dim=0)) / mask.sum(dim=0))


@explained
def auc3d(
    pred: ArrayT, target: Array, *, alignment: str = "root", root: int = 0, visible: Array | None = None
) -> ArrayT:  # fmt: skip
    """AUC of MPI-INF-3DHP: mean of `pck3d` at 0, 5, ... 150 mm, per joint: `(..., K, 3) -> (K,)`.

    There are 31 thresholds. The first contributes 0, because no error is below 0. Other arguments
    and errors as for `pck3d`.

    Examples:
        >>> import numpy as np
        >>> auc3d(np.zeros((1, 2, 3)), np.zeros((1, 2, 3))).round(4).tolist()      # 30 of 31
        [0.9677, 0.9677]
    """
    error, mask = _by_joint(mpjpe(pred, target, alignment=alignment, root=root, visible=visible))
    hits = torch.stack([(error < threshold).sum(dim=0) for threshold in AUC_THRESHOLDS])
    return same_kind(pred, precise(hits).mean(dim=0) / mask.sum(dim=0))


# -------------------------------------------------------------------------------------------------------------- bones


@explained
def bone_length_error(
    pred: ArrayT, target: Array, bones: str | Skeleton | Sequence[tuple[int, int]] = "h36m17", *,
    visible: Array | None = None,
) -> ArrayT:  # fmt: skip
    """Absolute difference of bone lengths, `(..., K, 3) -> (..., L)`, in the poses' units.

    Args:
        bones: pairs of joints, or a skeleton with bones.

    Other arguments and errors as for `mpjpe`. NaN where an end of the bone is not visible.

    Examples:
        >>> import numpy as np
        >>> target = np.array([[0.0, 0, 0], [0, 0, 10]])
        >>> bone_length_error(target * 1.2, target, [(0, 1)]).round(6).tolist()
        [2.0]
    """
    ours, theirs, mask, lost = _bone_vectors(pred, target, bones, visible)
    return same_kind(pred, _finish((_norm(ours) - _norm(theirs)).abs(), mask, lost))


@explained
def limb_angle_error(
    pred: ArrayT, target: Array, bones: str | Skeleton | Sequence[tuple[int, int]] = "h36m17", *,
    visible: Array | None = None,
) -> ArrayT:  # fmt: skip
    """Angle between predicted and annotated bones in degrees, 0 to 180: `(..., K, 3) -> (..., L)`.

    Args:
        bones: pairs of joints, or a skeleton with bones.

    Other arguments and errors as for `mpjpe`. The error is NaN for an annotated bone of length 0,
    which has no direction, and for a bone that is not visible. It is 180 degrees, the maximum, for
    a predicted bone of length 0 or one that is not finite.

    Examples:
        >>> import numpy as np
        >>> target = np.array([[0.0, 0, 0], [0, 0, 10]]); pred = np.array([[5.0, 0, 0], [5, 3, 3]])
        >>> limb_angle_error(pred, target, [(0, 1)]).round(6).tolist()
        [45.0]
    """
    ours, theirs, mask, lost = _bone_vectors(pred, target, bones, visible)
    # atan2, because the cosine is flat near 0 and loses the digits of small angles
    angle = torch.rad2deg(torch.atan2(_norm(torch.linalg.cross(ours, theirs)), (ours * theirs).sum(dim=-1)))
    angle = torch.where(lost | (_norm(ours) == 0), 180.0, angle)
    return same_kind(pred, torch.where(mask & (_norm(theirs) > 0), angle, torch.nan))


# ----------------------------------------------------------------------------------------------------------- averages


@explained
def average_by_action(
    errors: Array, actions: Sequence[str], *, averaging: str = "frame-weighted", videos: Iterable[Any] | None = None
) -> dict[str, float]:
    """Mean error of each action, and their plain mean "Average": a row of the tables on Human3.6M.

    There are two conventions for the mean of an action, which differ where its videos are of
    different length:

    - "frame-weighted": over all its frames, of all subjects, takes and cameras alike (Martinez,
    VideoPose3D, RPSM);
    - "per-video": over the means of its videos (Hossain & Little).

    Args:
        errors: `(N, K)` per joint, or `(N,)` per frame; NaN does not count.
        actions: N names, in either of the data set's two spellings, without the number of the take.
            Names are compared whole: "Sitting" is not "SittingDown".
        averaging: "frame-weighted" or "per-video".
        videos: N values, one per video (subject, action, take and camera), for "per-video".

    Returns:
        The actions that occur, in alphabetical order, then "Average". RPSM's tables have another
            order.

    Raises:
        ValueError: unknown actions or conventions, lengths that do not match, "per-video" without
            videos, or an action whose errors are all NaN.

    Examples:
        >>> import numpy as np
        >>> average_by_action(np.array([1.0, 1.0, 4.0, 10.0]), ["Eating", "Eating", "Eating", "Photo"])
        {'Eating': 2.0, 'Photo': 10.0, 'Average': 6.0}
        >>> average_by_action(np.array([1.0, 1.0, 4.0]), ["Eating"] * 3, averaging="per-video", videos=[1, 1, 2])
        {'Eating': 2.5, 'Average': 2.5}
    """
    names = [_ACTION_ALIASES.get(str(action), str(action)) for action in actions]
    if unknown := sorted(set(names) - set(HUMAN36M_ACTIONS)):
        raise ValueError(
            f"unknown actions {', '.join(map(repr, unknown))}; expected Human3.6M's {', '.join(HUMAN36M_ACTIONS)}, "
            "without the number of the take"
        )
    means = _means(errors, names, averaging, videos)
    table = {action: means[action] for action in HUMAN36M_ACTIONS if action in means}
    return {**table, "Average": sum(table.values()) / len(table)}


@explained
def human36m(
    pred: ArrayT, target: Array, protocol: str | Protocol, *, actions: Sequence[str], subjects: Sequence[str],
    videos: Iterable[Any] | None = None, visible: Array | None = None,
) -> dict[str, float]:  # fmt: skip
    """Errors on Human3.6M by a named protocol: millimetres per action, and their "Average".

    Pass exactly the frames the protocol tests on: all of them, or every `stride`-th of each video.
    The root is joint 0. The damaged ground truth of some takes of S9 is kept, as in the papers
    named here; leave out those frames before the call to follow other papers.

    Args:
        pred: `(N, 17, 3)` millimetres in the camera frame.
        target: `(N, 17, 3)`.
        protocol: a key of `PROTOCOLS`, or one of your own.
        actions: N names, see `average_by_action`.
        subjects: N names, such as "S9" and "S11"; an error if the protocol does not test on them.
        videos: N values, see `average_by_action`.
        visible: `(N, 17)` bool. Defaults to all.

    Raises:
        ValueError: an unknown protocol, subjects that it does not test on, and the errors of
            `mpjpe` and `average_by_action`.

    Examples:
        >>> import numpy as np
        >>> target = np.random.default_rng(0).normal(0, 300, (2, 17, 3)); kinds = ["Eating", "Photo"]
        >>> row = human36m(1.2 * target, target, "martinez-2", actions=kinds, subjects=["S9", "S11"])
        >>> round(row["Average"], 6)
        0.0
    """
    chosen = _chosen(protocol, subjects, actions, pred)
    if chosen.dataset != "Human3.6M":
        raise ValueError(f"{chosen.name} is a protocol of {chosen.dataset}; call by_protocol, or choose another")
    errors = _errors(chosen, pred, target, visible)
    return average_by_action(errors, actions, averaging=chosen.averaging, videos=videos)


@explained
def by_protocol(
    pred: ArrayT, target: Array, protocol: str | Protocol, *, actions: Sequence[str], subjects: Sequence[str],
    videos: Iterable[Any] | None = None, visible: Array | None = None,
) -> dict[str, float]:  # fmt: skip
    """Errors by any named protocol, on Human3.6M or HumanEva: millimetres, and their "Average".

    On Human3.6M the result of `human36m`. On HumanEva a mean per action and subject, "Walking S1",
    one per action over its subjects, "Walking", and as "Average" the mean over actions and
    subjects. Pass the frames of the validation set, called Validate.

    Args:
        pred: `(N, K, 3)` millimetres in the camera frame.
        target: `(N, K, 3)`.
        protocol: a key of `PROTOCOLS`, or one of your own.
        actions: N names; an error if the protocol does not test on them.
        subjects: N names; an error if the protocol does not test on them.
        videos: N values, see `average_by_action`.
        visible: `(N, K)` bool. Defaults to all.

    Raises:
        ValueError: an unknown protocol, subjects or actions that it does not test on, and the
            errors of `mpjpe` and `average_by_action`.

    Examples:
        >>> import numpy as np
        >>> target = np.random.default_rng(0).normal(0, 300, (3, 14, 3)); pred = target + 50
        >>> subjects, actions = ["S1", "S2", "S1"], ["Walking", "Walking", "Jog"]
        >>> row = by_protocol(pred, target, "rpsm-humaneva", subjects=subjects, actions=actions)
        >>> {name: round(value, 6) for name, value in row.items()}
        {'Walking S1': 0.0, 'Walking S2': 0.0, 'Walking': 0.0, 'Jog S1': 0.0, 'Jog': 0.0, 'Average': 0.0}
    """
    chosen = _chosen(protocol, subjects, actions, pred)
    if chosen.dataset == "Human3.6M":
        return human36m(pred, target, chosen, actions=actions, subjects=subjects, videos=videos, visible=visible)
    errors = _errors(chosen, pred, target, visible)
    cells = humaneva(errors, subjects, actions, averaging=chosen.averaging, videos=videos)
    average = cells.pop("Average")["all"]
    row: dict[str, float] = {}
    for action in chosen.actions or cells:
        of = cells.get(action, {})
        row |= {f"{action} {subject}": of[subject] for subject in chosen.test if subject in of}
        row |= {action: sum(of.values()) / len(of)} if of else {}
    return {**row, "Average": average}


@explained
def humaneva(
    errors: Array, subjects: Sequence[str], actions: Sequence[str], *, averaging: str = "frame-weighted",
    videos: Iterable[Any] | None = None,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Mean error per action and subject, the cells of tables on HumanEva, and their plain mean.

    The usual cells are Walking, Jog and Box of S1 to S3 on the frames called Validate, because the
    test annotations are withheld. Report the alignment of the errors with the numbers: published
    papers use none, the centroid or a rigid alignment.

    Args:
        errors: `(N, K)` per joint, or `(N,)` per frame; NaN does not count.
        subjects: N names.
        actions: N names.
        averaging: of a cell, "frame-weighted" or "per-video", see `average_by_action`.
        videos: N values, see `average_by_action`.

    Returns:
        `{action: {subject: mean}}` in order of appearance, and
            `{"Average": {"all": mean of the cells}}`.

    Examples:
        >>> import numpy as np
        >>> humaneva(np.array([30.0, 40.0, 20.0]), ["S1", "S2", "S1"], ["Walking", "Walking", "Jog"])
        {'Walking': {'S1': 30.0, 'S2': 40.0}, 'Jog': {'S1': 20.0}, 'Average': {'all': 30.0}}
    """
    if len(subjects) != len(actions):
        raise ValueError(f"subjects and actions: expected one each per pose, got {len(subjects)} and {len(actions)}")
    cells = _means(errors, [(str(a), str(s)) for a, s in zip(actions, subjects, strict=True)], averaging, videos)
    table: dict[str, dict[str, float]] = {}
    for (action, subject), value in cells.items():
        table.setdefault(action, {})[subject] = value
    return {**table, "Average": {"all": sum(cells.values()) / len(cells)}}


def _chosen(protocol: str | Protocol, subjects: Sequence[str], actions: Sequence[str], pred: Array) -> Protocol:
    """Return the protocol of that name; refuse subjects and actions it does not test on."""
    if isinstance(protocol, str) and protocol not in PROTOCOLS:
        raise ValueError(
            f"unknown protocol {protocol!r}; numbers alone are ambiguous. Expected one of {', '.join(PROTOCOLS)}"
        )
    chosen = protocol if isinstance(protocol, Protocol) else PROTOCOLS[protocol]
    for values, known in ((subjects, chosen.test), (actions, chosen.actions)):
        if known and (others := sorted({str(value) for value in values} - set(known))):
            raise ValueError(f"{chosen.name} tests on {', '.join(known)}; these are others: {', '.join(others)}")
    if len(subjects) != len(pred):
        raise ValueError(f"subjects: expected one per pose, {len(pred)}, got {len(subjects)}")
    return chosen


def _errors(protocol: Protocol, pred: ArrayT, target: Array, visible: Array | None) -> ArrayT:
    if protocol.alignment == "scale":
        return n_mpjpe(pred, target, visible=visible)
    return mpjpe(pred, target, alignment=protocol.alignment, visible=visible)


def _read(pred: Array, target: Array, visible: Array | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Check shapes and values, and warn about predictions that are not finite.

    Returns:
        poses and truth in double precision, and masks `(..., K)` of the joints that count and of
        those that count but have no finite prediction.
    """
    poses = as_tensor(pred)
    truth = as_tensor(target, poses)
    if poses.shape != truth.shape or poses.ndim < 2 or poses.shape[-1] != 3:
        raise ValueError(
            f"expected pred and target of one shape (..., K, 3), got {tuple(poses.shape)} and {tuple(truth.shape)}"
        )
    mask = torch.ones_like(poses[..., 0], dtype=torch.bool) if visible is None else as_tensor(visible, poses).bool()
    if mask.shape != poses.shape[:-1]:
        raise ValueError(f"visible: expected (..., K) = {tuple(poses.shape[:-1])}, got {tuple(mask.shape)}")
    exact, truth = precise(poses), precise(truth)
    lost = torch.zeros_like(mask)
    # a sum detects NaN and infinity many times faster than a test of each joint, which runs only if there are some
    if truth.is_cpu and not torch.isfinite(truth.sum()):
        unknown = ~torch.isfinite(truth).all(dim=-1) & mask
        if unknown.any():
            *pose, joint = unknown.nonzero()[0].tolist()
            raise ValueError(f"target: joint {joint} of pose {pose} is NaN or infinite; mark missing ones in `visible`")
    if not exact.is_cpu or not torch.isfinite(exact.sum()):
        lost = ~torch.isfinite(exact).all(dim=-1) & mask
        warn_not_finite(lost, "predicted joints")
    return exact, truth, mask, lost


def _check_root(root: int, truth: Tensor, mask: Tensor) -> None:
    if not 0 <= root < truth.shape[-2]:
        raise ValueError(f"root: expected a joint in 0..{truth.shape[-2] - 1}, got {root}")
    if any_wrong(mask.any(dim=-1) & ~mask[..., root]):
        raise ValueError(f'root: joint {root} is not visible in every pose; use alignment="centroid", or another root')


def _norm(vectors: Tensor) -> Tensor:
    x, y, z = vectors.unbind(dim=-1)  # several times faster than `norm` over an axis of three
    return (x * x + y * y + z * z).sqrt()


def _middle(poses: Tensor, mask: Tensor) -> Tensor:
    weights = precise(mask)[..., None]
    return torch.where(mask[..., None], poses, 0.0).sum(dim=-2, keepdim=True) / weights.sum(
        dim=-2, keepdim=True
    ).clamp_min(1)


def _finish(distances: Tensor, mask: Tensor, lost: Tensor) -> Tensor:
    """Set distances to NaN without annotation, to infinity where they are not finite or `lost`."""
    on_device = not distances.is_cpu  # there the sum, which saves work, would be waited for
    if on_device or not torch.isfinite(distances.sum()):
        distances = torch.where(lost | ~torch.isfinite(distances), torch.inf, distances)
    return distances if not on_device and mask.all() else torch.where(mask, distances, torch.nan)


def _aligned_distances(poses: Tensor, truth: Tensor, mask: Tensor, lost: Tensor, scale: bool) -> Tensor:
    """Distances after Procrustes alignment, in blocks on a CPU."""
    whole = mask.shape
    poses, truth, mask, lost = (
        poses.view(-1, *poses.shape[-2:]),
        truth.view(-1, *truth.shape[-2:]),
        *(part.view(-1, whole[-1]) for part in (mask, lost)),
    )
    size = BLOCK if poses.device.type == "cpu" else max(len(poses), 1)
    weights = None if bool(mask.all()) else mask
    distances = torch.empty_like(poses[..., 0])
    for start in range(0, len(poses), size):
        block = slice(start, start + size)
        some = None if weights is None else weights[block]
        moved, goals, _ = aligned(poses[block], truth[block], scale, some)
        x, y, z = moved.sub_(goals).unbind(dim=1)
        distances[block] = x.mul_(x).addcmul_(y, y).addcmul_(z, z).sqrt_().mT
    return _finish(distances, mask, lost).view(whole)


def _difference_error(
    pred: ArrayT, target: Array, order: int, alignment: str, root: int, visible: Array | None
) -> ArrayT:  # fmt: skip
    if alignment not in ("none", "root"):
        raise ValueError(f'alignment: differences in time are taken after "none" or "root", got {alignment!r}')
    poses, truth, mask, lost = _read(pred, target, visible)
    if poses.ndim < 3 or poses.shape[-3] <= order:
        raise ValueError(f"expected (..., T, K, 3) with T of {order + 1} or more, got {tuple(poses.shape)}")
    if alignment == "root":
        _check_root(root, truth, mask)
        poses, truth = poses - poses[..., root : root + 1, :], truth - truth[..., root : root + 1, :]
    for _ in range(order):
        poses, truth = poses.diff(dim=-3), truth.diff(dim=-3)
        mask, lost = mask[..., 1:, :] & mask[..., :-1, :], lost[..., 1:, :] | lost[..., :-1, :]
    return same_kind(pred, _finish(_norm(poses - truth), mask, lost))


def _by_joint(errors: Array) -> tuple[Tensor, Tensor]:
    """Errors `(N, K)`, and the mask of those that are not NaN."""
    flat = as_tensor(errors)
    flat = flat.reshape(-1, flat.shape[-1])
    return flat, ~flat.isnan()


def _bone_vectors(
    pred: Array, target: Array, bones: str | Skeleton | Sequence[tuple[int, int]], visible: Array | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    poses, truth, mask, lost = _read(pred, target, visible)
    pairs = get_skeleton(bones).bones if isinstance(bones, str | Skeleton) else bones
    count = poses.shape[-2]
    if not pairs or not all(len(pair) == 2 and all(0 <= end < count for end in pair) for pair in pairs):
        raise ValueError(f"bones: expected pairs of joints in 0..{count - 1}, got {list(pairs)}")
    start, end = ([pair[side] for pair in pairs] for side in (0, 1))
    vectors = (array[..., end, :] - array[..., start, :] for array in (poses, truth))
    return *vectors, mask[..., start] & mask[..., end], lost[..., start] | lost[..., end]  # type: ignore[return-value]


def _means(errors: Array, groups: Sequence[Any], averaging: str, videos: Iterable[Any] | None) -> dict[Any, float]:
    """Mean error of each group, in order of appearance."""
    if averaging not in AVERAGINGS:
        raise ValueError(f"unknown averaging {averaging!r}; expected one of {', '.join(AVERAGINGS)}")
    values = precise(as_tensor(errors)).cpu()
    values = values[:, None] if values.ndim == 1 else values.flatten(1)
    if len(groups) != len(values) or not len(values):
        raise ValueError(
            f"expected one action (and subject) per pose, {len(values)} of them and more than 0, got {len(groups)}"
        )
    there = ~values.isnan()
    total, count = torch.where(there, values, 0.0).sum(dim=1), precise(there).sum(dim=1)
    takes: list[Any] = [None] * len(values)
    if averaging == "per-video":
        if videos is None:
            raise ValueError('averaging="per-video" needs `videos`, a value per pose that tells the videos apart')
        takes = list(videos)
        if len(takes) != len(values):
            raise ValueError(f"videos: expected one per pose, {len(values)}, got {len(takes)}")
    keys = list(dict.fromkeys(zip(groups, takes, strict=True)))
    index = {key: number for number, key in enumerate(keys)}
    of = torch.tensor([index[key] for key in zip(groups, takes, strict=True)])
    sums, counts = (torch.zeros(len(keys), dtype=total.dtype).index_add_(0, of, part) for part in (total, count))
    means: dict[Any, list[float]] = {}
    for (group, _), each, much in zip(keys, sums.tolist(), counts.tolist(), strict=True):
        means.setdefault(group, [])
        if much:
            means[group].append(each / much)
    if empty := [group for group, each in means.items() if not each]:
        raise ValueError(f"{empty[0]}: no joint of it counts, so it has no mean; leave it out")
    return {group: sum(each) / len(each) for group, each in means.items()}
