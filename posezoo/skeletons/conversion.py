"""Conversion of poses between skeletons, by the names of the keypoints."""

from collections.abc import Sequence

import torch

from posezoo.arrays import Array, ArrayT, as_floats, as_tensor, same_kind
from posezoo.skeletons.registered import get_skeleton
from posezoo.skeletons.skeleton import Skeleton


def convert(
    keypoints: ArrayT,
    source: str | Skeleton | Sequence[str],
    target: str | Skeleton | Sequence[str],
    visible: Array | None = None,
) -> tuple[ArrayT, ArrayT]:
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

    Examples:
        >>> pose = torch.zeros(17, 2)
        >>> pose[11:13] = torch.tensor([[40.0, 90.0], [60.0, 94.0]])      # the hips
        >>> converted, valid = convert(pose, "coco17", "mpii16")
        >>> mpii = get_skeleton("mpii16")
        >>> converted[mpii.index("pelvis")].tolist(), bool(valid[mpii.index("head_top")])
        ([50.0, 92.0], False)
    """
    source, target = get_skeleton(source), get_skeleton(target)
    points = as_floats(keypoints, "keypoints")
    if points.ndim < 2 or points.shape[-2] != len(source):
        raise ValueError(
            f"keypoints must be (..., {len(source)}, D) for the source skeleton {source.name!r}, "
            f"got {tuple(keypoints.shape)}"
        )

    mask = torch.isfinite(points).all(dim=-1)
    if visible is not None:
        flags = as_tensor(visible, points)
        if flags.shape != mask.shape:
            raise ValueError(
                f"visible must be {tuple(mask.shape)}, one number per keypoint of {source.name!r}, "
                f"got {tuple(flags.shape)}"
            )
        mask = mask & (flags > 0)

    # for each target keypoint the source indices it is the mean of; the loops are over K, never over people
    rows = [_contributors(keypoint, source) for keypoint in target.keypoints]
    valid = torch.stack([mask[..., row].all(dim=-1) & bool(row) for row in rows], dim=-1)
    mean = torch.stack([points[..., row, :].mean(dim=-2) for row in rows], dim=-2)
    converted = torch.where(valid[..., None], mean, torch.zeros_like(mean))
    return same_kind(keypoints, converted), same_kind(keypoints, valid)


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
