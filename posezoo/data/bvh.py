"""Write 3D poses as a BVH file, for Blender and other programs of animation.

A BVH file stores the rotations of a rest pose with bones of fixed length. Bone lengths are the
medians over the video. In the rest pose every bone has the direction that it has in the first
frame. The rotation of a joint is the one that turns its bones of the rest pose onto those of the
frame: for one bone the smallest rotation, for several the best one in the sense of least squares
(Kabsch's). `posezoo.data.mocap.read_bvh` reads the files.
"""

import numpy as np
import torch
from torch import Tensor

from posezoo.arrays import explained
from posezoo.skeletons import Skeleton

CENTIMETRES = 0.1  # per millimetre; BVH has no unit, and most programs assume centimetres
UP = (1.0, -1.0, -1.0)  # from the camera frame (x right, y down, z forward) to y up, z towards the camera
ORDER = "ZXY"  # of the rotation channels
TINY = 1e-9


@explained
def bvh_text(pose3d: Tensor | np.ndarray, skeleton: Skeleton, *, fps: float) -> str:
    """Convert the poses of one person to the text of a BVH file, in centimetres, y up.

    Args:
        pose3d: `(T, K, 3)` mm in the camera frame, x right, y down, z forward.
        skeleton: its bones have to connect all keypoints without a circle. The root is the pelvis,
            or else the first keypoint.
        fps: frames per second.

    Raises:
        ValueError: poses of another shape or not finite, or bones that are no tree.

    Examples:
        >>> arm = Skeleton("arm", ("shoulder", "elbow", "wrist"), bones=((0, 1), (1, 2)))
        >>> poses = torch.tensor([[[0.0, 0, 0], [300, 0, 0], [550, 0, 0]], [[0.0, 0, 0], [0, 300, 0], [250, 300, 0]]])
        >>> text = bvh_text(poses, arm, fps=25)
        >>> print(text.partition("MOTION")[2].strip())
        Frames: 2
        Frame Time: 0.04000000
        0.0000 0.0000 0.0000 0.0000 0.0000 0.0000 0.0000 0.0000 0.0000
        0.0000 0.0000 0.0000 -90.0000 0.0000 0.0000 90.0000 0.0000 0.0000
    """
    poses = torch.as_tensor(pose3d).detach().cpu().double()
    if poses.ndim != 3 or poses.shape[1:] != (len(skeleton), 3) or not len(poses):
        raise ValueError(f"pose3d: expected (T, {len(skeleton)}, 3) mm, got shape {tuple(poses.shape)}")
    if not poses.isfinite().all():
        raise ValueError("pose3d: expected finite numbers; BVH has no missing joints")
    if not 0 < fps < float("inf"):
        raise ValueError(f"fps: expected a positive number, got {fps}")
    order, parents = _tree(skeleton)
    children = {joint: [other for other in order if parents[other] == joint] for joint in order}
    poses = poses * torch.tensor(UP, dtype=poses.dtype) * CENTIMETRES

    bones = {joint: poses[:, joint] - poses[:, parents[joint]] for joint in order[1:]}  # (T, 3)
    lengths = {joint: bone.norm(dim=-1).median() for joint, bone in bones.items()}
    rest = {joint: lengths[joint] * _unit(bone[0]) for joint, bone in bones.items()}

    channels = [poses[:, order[0]]]
    turned: dict[int, Tensor] = {}  # global rotations of the joints that have bones
    for joint in order:
        if not children[joint]:
            continue
        start = torch.stack([rest[child] for child in children[joint]])  # (C, 3)
        stop = torch.stack([_unit(bones[child]) * lengths[child] for child in children[joint]], dim=1)  # (T, C, 3)
        before = turned.get(parents[joint], torch.eye(3, dtype=poses.dtype).expand(len(poses), 3, 3))
        # relative to the parent, so that a bone that does not move against it has no rotation
        turned[joint] = before @ (local := _rotation(start, stop @ before))
        channels.append(_angles(local))
    numbers = torch.cat(channels, dim=1)

    lines = ["HIERARCHY", *_block(order[0], children, rest, skeleton, 0)]
    lines += ["MOTION", f"Frames: {len(poses)}", f"Frame Time: {1 / fps:.8f}"]
    lines += [" ".join(f"{value:.4f}" for value in row) for row in (numbers + 0.0).tolist()]
    return "\n".join(line.replace("-0.0000", "0.0000") for line in lines) + "\n"


def _tree(skeleton: Skeleton) -> tuple[list[int], list[int]]:
    """Return the joints from the root on, depth first, and the parent of each, -1 for the root."""
    root = skeleton.keypoints.index("pelvis") if "pelvis" in skeleton.keypoints else 0
    parents, order = [-1] * len(skeleton), [root]

    def visit(joint: int) -> None:
        for start, stop in skeleton.bones:
            if joint in (start, stop) and (other := start + stop - joint) != parents[joint] and other not in order:
                parents[other] = joint
                order.append(other)
                visit(other)

    visit(root)
    if len(order) < len(skeleton) or len(skeleton.bones) != len(skeleton) - 1:
        raise ValueError(
            f"skeleton: the {len(skeleton.bones)} bones of {skeleton.name} do not connect its "
            f"{len(skeleton)} keypoints as a tree, which BVH needs"
        )
    return order, parents


def _block(
    joint: int, children: dict[int, list[int]], rest: dict[int, Tensor], skeleton: Skeleton, depth: int
) -> list[str]:
    """Write the lines of a joint and of those below it; channels are in the order of `_tree`."""
    name = skeleton.keypoints[joint].replace(" ", "_")
    offset = " ".join(f"{value:.4f}" for value in (rest[joint].tolist() if depth else (0.0, 0.0, 0.0)))
    rotations = " ".join(f"{letter}rotation" for letter in ORDER)
    if not children[joint]:  # a tip has no rotation of its own
        lines = ["End Site", "{", f"  OFFSET {offset}", "}"]
    else:
        positions = "" if depth else "Xposition Yposition Zposition "
        lines = [f"{'JOINT' if depth else 'ROOT'} {name}", "{", f"  OFFSET {offset}"]
        lines += [f"  CHANNELS {3 if depth else 6} {positions}{rotations}"]
        for child in children[joint]:
            lines += _block(child, children, rest, skeleton, depth + 1)
        lines += ["}"]
    return [f"{'  ' * min(depth, 1)}{line}" for line in lines]


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=TINY)


def _rotation(start: Tensor, stop: Tensor) -> Tensor:
    """Rotations `(T, 3, 3)` that turn vectors `(C, 3)` onto those of each frame, `(T, C, 3)`."""
    if len(start) == 1:
        return _smallest_rotation(_unit(start[0]), _unit(stop[:, 0]))
    u, _, vh = torch.linalg.svd(stop.mT @ start)
    sign = torch.ones(len(stop), 3, dtype=stop.dtype)
    sign[:, 2] = torch.linalg.det(u @ vh).sign()
    return (u * sign[:, None]) @ vh


def _smallest_rotation(start: Tensor, stop: Tensor) -> Tensor:
    """Rotations `(T, 3, 3)` from one unit vector `(3,)` to others `(T, 3)` (Rodrigues)."""
    axis, cosine = torch.linalg.cross(start.expand_as(stop), stop), stop @ start
    zero = torch.zeros_like(cosine)
    x, y, z = axis.unbind(dim=-1)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).view(-1, 3, 3)
    turn = torch.eye(3, dtype=stop.dtype) + cross + cross @ cross / (1 + cosine).clamp(min=TINY)[:, None, None]
    # opposite vectors: half a turn about any axis perpendicular to them
    other = torch.eye(3, dtype=stop.dtype)[start.abs().argmin()]
    about = _unit(torch.linalg.cross(start, other))
    half = 2 * torch.outer(about, about) - torch.eye(3, dtype=stop.dtype)
    return torch.where((cosine > -1 + 1e-7)[:, None, None], turn, half)


def _angles(rotations: Tensor) -> Tensor:
    """Angles `(T, 3)` in degrees about z, x and y of rotations; continuous along time."""
    z = torch.atan2(-rotations[:, 0, 1], rotations[:, 1, 1])
    x = torch.asin(rotations[:, 2, 1].clamp(-1, 1))
    y = torch.atan2(-rotations[:, 2, 0], rotations[:, 2, 2])
    return torch.from_numpy(np.rad2deg(np.unwrap(torch.stack([z, x, y], dim=1).numpy(), axis=0)))
