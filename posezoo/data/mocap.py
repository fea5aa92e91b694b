"""Motion capture files (Acclaim's ASF and AMC, BVH) and forward kinematics.

A file becomes a `Motion`: positions and rotations of all joints of a skeleton, in a world in
millimetres with y up. `posezoo.data.cmu` makes keypoints of them.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FPS = 120.0  # of CMU's recordings; .amc files do not state it
MAX_JOINTS = 1000  # a person with hands and face has some 150


@dataclass(frozen=True, eq=False)
class Rig:
    """A skeleton in its rest pose, and the meaning of the channels that animate it.

    Args:
        joints: names, parents before children; each chain ends in an end effector, `<name>_end`.
        parents: index of each joint's parent, -1 for the root.
        offsets: `(J, 3)` mm from the parent to the joint in the rest pose.
        rotation_channels: per joint (axis 0 to 2, channel) of elementary rotations; their product,
            left to right, is the joint's local rotation.
        axes: `(J, 3, 3)` local coordinate frames of the rotations (`axis` of .asf).
        position_channels: channels of the root's x, y and z.
        joint_channels: (joint, channels of x, y and z) of other joints whose position is recorded.
        degrees: unit of the rotation channels. False: radians.
        unit: mm in the unit of the position channels.
    """

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Tensor
    rotation_channels: tuple[tuple[tuple[int, int], ...], ...]
    axes: Tensor
    position_channels: tuple[int, int, int]
    degrees: bool
    unit: float
    joint_channels: tuple[tuple[int, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, eq=False)
class Motion:
    """A recorded motion of all joints of a skeleton, in a world with y up.

    Args:
        name: of the recording, as "02_01".
        fps: frames per second.
        joints: names.
        parents: index of each joint's parent, -1 for the root.
        offsets: `(J, 3)` mm from the parent to the joint in the rest pose.
        positions: `(T, J, 3)` mm.
        rotations: `(T, J, 3, 3)` global rotations from the rest pose, applied to the offsets of a
            joint's children.
        angles: `(T, C)` the rotation channels, in the unit of the file.
    """

    name: str
    fps: float
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Tensor
    positions: Tensor
    rotations: Tensor
    angles: Tensor


def read_asf(text: str, name: str = "the .asf") -> Rig:
    """Read a skeleton in Acclaim's ASF format; `read_amc` reads its motions.

    Args:
        text: contents of the file.
        name: of the file, for error messages.

    Raises:
        ValueError: the file is malformed.
    """
    sections = dict(re.findall(r"^:(\w+)(.*?)(?=^:|\Z)", _uncommented(text), flags=re.M | re.S))
    missing = [key for key in ("units", "root", "bonedata", "hierarchy") if key not in sections]
    if missing:
        raise ValueError(
            f"{name}: there is no section :{missing[0]}; expected an .asf file, with units, root, bonedata, hierarchy"
        )
    units = dict(re.findall(r"(\w+)\s+(\S+)", sections["units"].lower()))
    angle = units.get("angle", "deg")[:3]
    if angle not in ("deg", "rad"):
        raise ValueError(f"{name}: expected the unit angle to be degrees or radians, got {units['angle'][:40]!r}")
    _check_finite(text, name)
    try:
        # ASF gives lengths in inches, divided by the unit length
        unit = 25.4 / float(units.get("length", 1))
        root = {line.split()[0]: line.split()[1:] for line in sections["root"].splitlines() if line.split()}
        bones = {"root": {"axis": [*root["orientation"], root["axis"][0]], "dof": [v.lower() for v in root["order"]]}}
        for block in sections["bonedata"].split("begin")[1:]:
            words = [line.split() for line in block.splitlines() if line.split()]
            fields = {line[0]: line[1:] for line in words[: words.index(["end"])]}
            bones[fields["name"][0]] = fields
        # a bone of the file goes from a joint to the next: the joint of a bone is where the bone starts
        parents, numbers = {"root": -1}, {"root": 0}
        joints, starts = ["root"], [[float(v) for v in root["position"]]]
        for line in sections["hierarchy"].split("begin")[1].split("end")[0].splitlines():
            parent, *children = line.split() or ["", *()]
            for child in children:
                parents[child] = numbers[parent]
                numbers[child] = len(joints)
                joints.append(child)
                starts.append(_direction(bones, parent))
        if len(joints) > MAX_JOINTS:
            raise ValueError(f"it has more than {MAX_JOINTS} joints")
        inner = set(parents.values())
        for bone in [joint for i, joint in enumerate(joints) if i not in inner]:
            parents[f"{bone}_end"] = numbers[bone]
            joints.append(f"{bone}_end")
            starts.append(_direction(bones, bone))
        axes, turns, column = [], [], 0
        degrees = angle == "deg"
        for joint in joints:
            *angles, order = bones[joint]["axis"] if joint in bones else ["0", "0", "0", "XYZ"]
            spin = torch.tensor([[float(v) for v in angles]], dtype=torch.float64)
            # rotations about fixed axes, in the order given: the matrix of the last axis is the leftmost factor
            sequence = ["xyz".index(letter) for letter in reversed(order.lower())]
            axes.append(_rotations(spin[:, None, sequence], [sequence], degrees)[0, 0])
            dof = bones.get(joint, {}).get("dof", [])
            columns = {kind: column + place for place, kind in enumerate(dof)}
            turns.append(tuple((axis, columns[f"r{'xyz'[axis]}"]) for axis in sequence if f"r{'xyz'[axis]}" in columns))
            if joint == "root":
                position = (columns["tx"], columns["ty"], columns["tz"])
            column += len(dof)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{name} is malformed ({type(error).__name__}: {error}); download it again") from error
    offsets = unit * torch.tensor(starts, dtype=torch.float64)
    return Rig(
        joints=tuple(joints), parents=tuple(parents.values()), offsets=offsets, rotation_channels=tuple(turns),
        axes=torch.stack(axes), position_channels=position, degrees=degrees, unit=unit,
    )  # fmt: skip


def read_amc(text: str, rig: Rig, name: str = "the .amc", *, fps: float = FPS) -> Motion:
    """Read a motion in Acclaim's AMC format.

    Args:
        text: contents of the file.
        rig: the subject's skeleton, from `read_asf`.
        name: of the motion.
        fps: frames per second, which the file does not state. Defaults to that of CMU's recordings.

    Raises:
        ValueError: the file is malformed or belongs to another skeleton.
    """
    lines = [line for line in text.splitlines() if line and line[0] not in "#:"]
    # a frame is its number on a line, then a line for each bone with degrees of freedom
    starts = [i for i, line in enumerate(lines[: len(rig.joints) + 2]) if _is_number(line)]
    if not starts or starts[0] != 0:
        raise ValueError(f"{name}: expected the number of the first frame after the header, got {lines[:1]}")
    width = starts[1] if len(starts) > 1 else len(lines)
    frames, rest = divmod(len(lines), width)
    parts = [line.partition(" ") for line in lines]
    labels, bones = [part[0] for part in parts], [part[0] for part in parts[1:width]]
    expected = {
        joint: len(turns) + 3 * (joint == "root")
        for joint, turns in zip(rig.joints, rig.rotation_channels, strict=True)
    }
    dofs = [len(part[2].split()) for part in parts[1:width]]
    wrong = [
        f"{label} with {count} numbers"
        for label, count in zip(bones, dofs, strict=True)
        if expected.get(label) != count
    ]
    absent = [joint for joint, count in expected.items() if count and joint not in bones]
    if wrong or absent:
        found = ", ".join([*wrong, *(f"no {joint}" for joint in absent)])
        raise ValueError(f"{name} is of another skeleton than its .asf: the first frame has {found}")
    # all numbers at once, which is many times faster than line by line; only a malformed file is searched for the line
    numbers = _numbers(" ".join(part[2] for part in parts))
    begin = int(labels[0][:18])
    regular = rest == 0 and all(labels[i::width] == [label] * frames for i, label in enumerate(bones, start=1))
    if not regular or len(numbers) != frames * sum(dofs) or labels[::width] != [str(begin + i) for i in range(frames)]:
        wanted = list(zip(bones, dofs, strict=True))
        lines_of = [
            [(part[0], len(part[2].split())) for part in parts[i : i + width]] for i in range(0, len(parts), width)
        ]
        bad = next((i for i, some in enumerate(lines_of, begin) if some != [(str(i), 0), *wanted]), begin)
        raise ValueError(
            f"{name}: frame {bad} is incomplete or out of order, expected the lines of frame {begin}; download it again"
        )
    if not np.isfinite(numbers).all():
        _check_finite(text, name)
    # the bones are in the order of the file here, in that of the hierarchy in the rig
    ends = np.cumsum(dofs)
    columns = {label: range(end - count, end) for label, end, count in zip(bones, ends, dofs, strict=True)}
    order = [column for joint in rig.joints for column in columns.get(joint, ())]
    return forward_kinematics(rig, numbers.reshape(frames, -1)[:, order], name, fps)


def read_bvh(text: str, name: str = "the .bvh", *, unit: float) -> Motion:
    """Read a motion in the BVH format.

    Args:
        text: contents of the file.
        name: of the motion.
        unit: mm in the unit of length, which the file does not state: 10 for centimetres,
            `cmu.UNIT` for CMU.

    The position channels of a joint replace its OFFSET, as in Blender, unless all of them are 0.
    For the root they are added to it.

    Raises:
        ValueError: the file is malformed.

    Examples:
        >>> file = (
        ...     "HIERARCHY ROOT Hips { OFFSET 0 0 0"
        ...     " CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation"
        ...     " End Site { OFFSET 0 10 0 } } MOTION Frames: 1 Frame Time: 0.02 0 90 0 90 0 0"
        ... )
        >>> motion = read_bvh(file, unit=10)                # centimetres; a rotation by 90 degrees about z
        >>> motion.fps, motion.joints, motion.positions.round().tolist()
        (50.0, ('Hips', 'Hips_end'), [[[0.0, 900.0, 0.0], [-100.0, 900.0, 0.0]]])
    """
    head, found, body = text.partition("MOTION")
    match = re.match(r"\s*Frames:\s*(\d{1,9})\s*Frame Time:\s*(\S+)[^\S\n]*\r?\n?", body)
    if not found or not match or "HIERARCHY" not in head:
        raise ValueError(f"{name}: expected HIERARCHY, MOTION, Frames: and Frame Time:; is it a BVH file?")
    joints: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    path: list[int] = []  # from the root to the joint whose block is open
    words = iter(head.split())
    try:
        for word in words:
            if word in ("ROOT", "JOINT", "End"):
                parents.append(path[-1] if path else -1)
                path.append(len(joints))
                label = next(words)
                joints.append(f"{joints[parents[-1]]}_end" if word == "End" else label)
                channels.append([])
            elif word == "OFFSET":
                offsets.append([float(next(words)) for _ in range(3)])
            elif word == "CHANNELS":
                channels[path[-1]] = [next(words).lower() for _ in range(int(next(words)))]
            elif word == "}":
                path.pop()
        counts = np.cumsum([0, *map(len, channels)])
        x, y, z = (channels[0].index(f"{letter}position") for letter in "xyz")
        if len(offsets) != len(joints) or len(joints) > MAX_JOINTS:
            raise ValueError(f"expected at most {MAX_JOINTS} joints, each with an OFFSET")
        moving = [
            (joint, tuple(int(counts[joint]) + some.index(f"{letter}position") for letter in "xyz"))
            for joint, some in enumerate(channels)
            if joint and any(kind.endswith("position") for kind in some)
        ]
        turns = tuple(
            tuple(
                ("xyz".index(kind[0]), int(start) + place)
                for place, kind in enumerate(some)
                if kind.endswith("rotation")
            )
            for start, some in zip(counts, channels, strict=False)
        )
        frames, step = int(match[1]), float(match[2])
    except (StopIteration, IndexError, ValueError) as error:
        raise ValueError(f"{name}: the hierarchy is malformed ({error}); download it again") from error
    numbers = _numbers(body[match.end() :])
    if not frames or len(numbers) != frames * counts[-1] or not 0 < step < math.inf:
        raise ValueError(
            f"{name}: expected {frames} frames of {counts[-1]} numbers, got {len(numbers)} numbers; download it again"
        )
    if not np.isfinite(numbers).all() or not np.isfinite(offsets).all():
        _check_finite(text, name)
    numbers = numbers.reshape(frames, -1)
    moving = [(joint, columns) for joint, columns in moving if numbers[:, columns].any()]
    offset = unit * torch.tensor(offsets, dtype=torch.float64)
    rig = Rig(
        joints=tuple(joints), parents=tuple(parents), offsets=offset, rotation_channels=turns,
        axes=torch.eye(3, dtype=torch.float64).expand(len(joints), 3, 3), position_channels=(x, y, z), degrees=True,
        unit=unit, joint_channels=tuple(moving),
    )  # fmt: skip
    return forward_kinematics(rig, numbers, name, _whole(1 / step))


def forward_kinematics(rig: Rig, channels: np.ndarray, name: str, fps: float) -> Motion:
    """Compute global rotations and positions of all joints from the channels of a motion.

    Args:
        rig: the skeleton.
        channels: `(T, C)` values of the channels, in the units of `rig`.
        name: of the motion.
        fps: frames per second.
    """
    numbers = torch.from_numpy(np.ascontiguousarray(channels))
    angles = numbers[:, [channel for own in rig.rotation_channels for _, channel in own]]
    # every joint gets three rotations, so that all are one tensor; those it does not have are by the angle 0
    zero = numbers.shape[1]
    numbers = torch.cat([numbers, torch.zeros(len(numbers), 1, dtype=numbers.dtype)], dim=1)
    full = [[*own, *[(0, zero)] * (3 - len(own))] for own in rig.rotation_channels]
    padded = numbers[:, [channel for own in full for _, channel in own]].view(len(numbers), -1, 3)
    local = _rotations(padded, [[axis for axis, _ in own] for own in full], rig.degrees)
    # ASF's angles are about the axes of the bone, not of the world; BVH has the identity here
    local = rig.axes @ local @ rig.axes.mT

    rotations: list[Tensor] = []
    for joint, parent in enumerate(rig.parents):  # parents come first
        rotations.append(local[:, joint] if parent < 0 else rotations[parent] @ local[:, joint])
    turned = torch.stack(rotations, dim=1)
    root = rig.offsets[0] + rig.unit * numbers[:, list(rig.position_channels)]
    offsets = rig.offsets
    if rig.joint_channels:
        offsets = offsets.expand(len(numbers), -1, 3).clone()
        for joint, columns in rig.joint_channels:
            offsets[:, joint] = rig.unit * numbers[:, list(columns)]
    return Motion(
        name=name, fps=fps, joints=rig.joints, parents=rig.parents, offsets=rig.offsets,
        positions=joint_positions(rig.parents, offsets, turned, root), rotations=turned, angles=angles,
    )  # fmt: skip


def joint_positions(parents: Sequence[int], offsets: Tensor, rotations: Tensor, root: Tensor) -> Tensor:
    """Add up the rotated offsets along the skeleton.

    Args:
        parents: index of each joint's parent, which comes before the joint; -1 for the root.
        offsets: `(J, 3)` mm from the parent to the joint in the rest pose, or `(T, J, 3)`.
        rotations: `(T, J, 3, 3)` global rotations from the rest pose.
        root: `(T, 3)` mm position of the root.

    Returns:
        `(T, J, 3)` mm.

    Examples:
        >>> quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]).expand(1, 2, 3, 3)     # about z
        >>> joint_positions([-1, 0], torch.tensor([[0.0, 0, 0], [5, 0, 0]]), quarter, torch.zeros(1, 3)).tolist()
        [[[0.0, 0.0, 0.0], [0.0, 5.0, 0.0]]]
    """
    positions: list[Tensor] = []
    for joint, parent in enumerate(parents):
        offset = offsets[..., joint, :, None]
        positions.append(root if parent < 0 else positions[parent] + (rotations[:, parent] @ offset)[..., 0])
    return torch.stack(positions, dim=1)


def resample(pose3d: Tensor, fps: float, target: float) -> Tensor:
    """Resample a motion to another frame rate.

    Integer ratios keep every n-th frame; others interpolate linearly between frames.

    Args:
        pose3d: `(T, ..., D)`.
        fps: frames per second of `pose3d`.
        target: frames per second of the result.

    Raises:
        ValueError: a frame rate that is not positive, or no frame.

    Examples:
        >>> resample(torch.arange(9.0), 120, 50).tolist()           # at frames 0, 2.4, 4.8 and 7.2
        [0.0, 2.4000..., 4.8000..., 7.1999...]
    """
    if not (fps > 0 and target > 0):
        raise ValueError(f"resample: expected positive frame rates, got {fps} and {target}")
    if not len(pose3d):
        raise ValueError("resample: expected one or more frames, the motion has no frame")
    ratio = fps / target
    if abs(ratio - round(ratio)) < 1e-3 and ratio >= 0.999:
        return pose3d[:: round(ratio)]
    times = torch.arange(math.floor((len(pose3d) - 1) / ratio + 1e-6) + 1, dtype=torch.float64) * ratio
    before = times.long().clamp_max(max(len(pose3d) - 2, 0))
    after = (before + 1).clamp_max(len(pose3d) - 1)
    share = (times - before).view(-1, *[1] * (pose3d.ndim - 1)).to(pose3d)
    return torch.lerp(pose3d[before], pose3d[after], share)


# ---------------------------------------------------------------------------------------------------- parts


def _rotations(angles: Tensor, axes: Sequence[Sequence[int]], degrees: bool) -> Tensor:
    """Products of three rotations about coordinate axes: angles `(T, J, 3) -> (T, J, 3, 3)`.

    The first is the leftmost factor.
    """
    radians = torch.deg2rad(angles) if degrees else angles
    cos, sin = radians.cos(), radians.sin()
    identity = torch.eye(3, dtype=angles.dtype)
    # about axis a: cos on the diagonal of the other two axes, sin between them
    planes = torch.stack([identity - torch.outer(identity[a], identity[a]) for a in range(3)])
    cross = torch.stack([torch.linalg.cross(identity[a].expand(3, 3), identity, dim=-1).T for a in range(3)])
    index = torch.tensor(axes)
    single = (
        torch.einsum("tjs,jsab->sjtab", cos, planes[index])
        + torch.einsum("tjs,jsab->sjtab", sin, cross[index])
        + (identity - planes[index]).transpose(0, 1)[:, :, None]
    )
    return (single[0] @ single[1] @ single[2]).transpose(0, 1)


def _direction(bones: dict[str, dict[str, list[str]]], bone: str) -> list[float]:
    if bone == "root":
        return [0.0, 0.0, 0.0]
    return [float(value) * float(bones[bone]["length"][0]) for value in bones[bone]["direction"]]


def _numbers(text: str) -> np.ndarray:
    """All numbers of a text; none if a word is not a number, which the caller detects."""
    try:
        return np.array(text.split(), dtype=np.float64)
    except ValueError:
        return np.empty(0)


def _check_finite(text: str, name: str) -> None:
    """Refuse a text with a number that is NaN or infinite, as exporters write for lost markers."""
    for number, line in enumerate(text.splitlines(), start=1):
        for word in line.split():
            if word[-1] in "nNfFyY0123456789" and _not_finite(word):
                raise ValueError(f"{name}, line {number}: {word[:20]!r} is not finite; fill the gap or cut the frame")


def _not_finite(word: str) -> bool:
    try:
        return not math.isfinite(float(word))
    except ValueError:
        return False


def _is_number(line: str) -> bool:
    return line.strip().isdigit()


def _uncommented(text: str) -> str:
    return re.sub(r"#.*", "", text.replace("\r", ""))


def _whole(fps: float) -> float:
    """Round a frame rate computed from a rounded frame time: 1 / 0.0083333 becomes 120."""
    return float(round(fps)) if abs(fps - round(fps)) < 1e-3 * fps else fps
