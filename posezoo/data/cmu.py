"""The motion capture database of Carnegie Mellon University (mocap.cs.cmu.edu), and cameras to film it with.

Reads a folder or a zip file with any of

    NN/NN.asf, NN/NN_MM.amc    the database's own skeletons and motions (Acclaim), one .asf per subject
    NN_MM.bvh                  Bruce Hahne's conversion to BVH, in its MotionBuilder or 3ds Max naming
    name_M.npz                 prepared clips: `keypoints` (T, 17, 3) mm, y up, and `fps`

NN being the subject and MM the clip, which is how subjects can be held out. Everything becomes poses of Human3.6M's
17 keypoints in a world in millimetres with y up. One unit of the first two is 1/0.45 inch, 56.44 mm (`length` in the
.asf). The recordings have no cameras: `virtual_cameras` stands some around the person, `film` takes the pictures.

Keypoints of `h36m17` from the bones of the .asf (a bone starts where its parent ends; BVH has the same joints):

| keypoint | CMU |
|---|---|
| hip, knee, ankle | start of femur, tibia, foot |
| shoulder, elbow, wrist | start of humerus, radius, wrist |
| `pelvis` | middle of the hips. CMU's root lies some 10 cm above |
| `thorax` | middle of the shoulders, as `skeletons.convert` has it. The thorax bone ends some 7 cm below |
| `spine` | middle of the bone `upperback`, 53 % of the way from pelvis to thorax (48 % in Human3.6M) |
| `neck_nose` | start of the bone `head`, the base of the skull: 13 cm above the thorax (12 cm in Human3.6M) |
| `head` | end of the bone `head` |

Departures: two defects of the converted data are repaired.

- Hahne's BVH lacks the bone `thorax`: neck and collars start where `upperback` ends, so that the trunk is 12 cm too
  short. It gets the length of `upperback` again, from which it differs by less than 1 % in the .asf files;
  `restore_thorax=False` leaves the files as they are. The prepared clips come from such files: there everything from
  the shoulders up moves by that length, in the mean direction of `upperback` and neck: 11 mm from where it should
  be, on average, in clips that exist in both forms. (They also stay in place: the root does not travel.)
- Hahne put a T-pose before the first frame. It is dropped where it is found (whole degrees at every joint, and none
  in the frame after); in some copies of the files it is already gone.

Acknowledgement that the database asks for: "The data used in this project was obtained from mocap.cs.cmu.edu. The
database was created with funding from NSF EIA-0196217."
"""

import math
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from posezoo.geometry import Camera, look_at
from posezoo.skeletons import get_skeleton

UNIT = 25.4 / 0.45  # mm; the .asf files say `length 0.45`
FPS = 120.0  # of the .amc files, which do not say
DRAWS = 100  # of virtual cameras, before there is no hope
SAMPLE = Path(__file__).parent / "samples" / "uneven_ground.npz"  # ships with the package

# the bone or joint that starts at each keypoint, in the naming of .asf, of Hahne's 3ds Max and MotionBuilder files
NAMES: dict[str, tuple[str, str, str]] = {
    "right_hip": ("rfemur", "RightHip", "RightUpLeg"),
    "right_knee": ("rtibia", "RightKnee", "RightLeg"),
    "right_ankle": ("rfoot", "RightAnkle", "RightFoot"),
    "left_hip": ("lfemur", "LeftHip", "LeftUpLeg"),
    "left_knee": ("ltibia", "LeftKnee", "LeftLeg"),
    "left_ankle": ("lfoot", "LeftAnkle", "LeftFoot"),
    "upperback": ("upperback", "Chest", "Spine"),
    "chest": ("thorax", "Chest2", "Spine1"),
    "neck_nose": ("head", "Head", "Head"),
    "head": ("head_end", "Head_end", "Head_end"),
    "left_shoulder": ("lhumerus", "LeftShoulder", "LeftArm"),
    "left_elbow": ("lradius", "LeftElbow", "LeftForeArm"),
    "left_wrist": ("lwrist", "LeftWrist", "LeftHand"),
    "right_shoulder": ("rhumerus", "RightShoulder", "RightArm"),
    "right_elbow": ("rradius", "RightElbow", "RightForeArm"),
    "right_wrist": ("rwrist", "RightWrist", "RightHand"),
}


@dataclass(frozen=True, eq=False)
class Rig:
    """A skeleton at rest and what its channels of numbers mean.

    Args:
        joints: names, parents before children; where a chain ends there is one more, `<name>_end`.
        parents: index of each joint's parent, -1 for the root.
        offsets: `(J, 3)` mm, each joint from its parent, at rest.
        turns: per joint the rotations whose product, left to right, is its own: (axis 0 to 2, column of the motion).
        axes: `(J, 3, 3)`, the frames that the joint turns in (`axis` of .asf).
        shifts: the columns of the root's x, y and z.
        degrees: False: radians.
        unit: mm in the length unit of the shifts.
    """

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Tensor
    turns: tuple[tuple[tuple[int, int], ...], ...]
    axes: Tensor
    shifts: tuple[int, int, int]
    degrees: bool
    unit: float


@dataclass(frozen=True, eq=False)
class Motion:
    """A recorded motion of all the joints of a skeleton, in a world with y up.

    Args:
        name: of the file, as "02_01".
        fps: frames per second.
        joints: their names.
        parents: index of each joint's parent, -1 for the root.
        offsets: `(J, 3)` mm, each joint from its parent, at rest.
        positions: `(T, J, 3)` mm.
        rotations: `(T, J, 3, 3)` from the pose at rest to this one, of what hangs on the joint.
    """

    name: str
    fps: float
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Tensor
    positions: Tensor
    rotations: Tensor


class CMU(Dataset[dict[str, Any]]):
    """Videos of poses from the motion capture database, in the world.

    Args:
        root: folder (searched through) or zip file, see the module.
        subjects: keep these, as "02" or 2; None: all. Prepared clips have no subject and are left out by a list.
        skip: leave out these subjects or clips, as "02" or "02_01".
        fps: frames per second wanted (`resample`); None: as recorded.
        restore_thorax: repair the converted files, see the module.

    Yields videos as `posezoo.data` describes: `name`, `subject` (None for prepared clips), `fps`, and `pose3d`
    `(T, 17, 3)` mm in the world, y up. `film` adds the camera and the pixels.

    Raises:
        ValueError: a file is missing or malformed; names the file, the line or frame and the fix.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.savez(folder / "jumping_1.npz", keypoints=np.random.default_rng(0).normal(0, 300, (7, 17, 3)), fps=60)
        >>> clips = CMU(folder, fps=30)
        >>> clips[0]["name"], clips[0]["pose3d"].shape
        ('jumping_1', torch.Size([4, 17, 3]))
    """

    skeleton = get_skeleton("h36m17")

    def __init__(
        self,
        root: str | Path,
        *,
        subjects: Iterable[str | int] | None = None,
        skip: Iterable[str | int] = (),
        fps: float | None = 50,
        restore_thorax: bool = True,
    ) -> None:
        files = _Files(root)
        known = sorted({subject for subject in map(subject_of, files.clips) if subject is not None})
        kept, skipped = None if subjects is None else {_subject(s) for s in subjects}, {_subject(s) for s in skip}
        unknown = sorted((kept or set()) - set(known)) + sorted(skipped - set(known) - set(files.clips))
        if unknown:
            raise ValueError(
                f"{root} has nothing of {', '.join(unknown)}; its subjects are {', '.join(known) or 'not named'}, "
                f"its clips {', '.join(list(files.clips)[:5])} ..."
            )
        names = [
            name
            for name in files.clips
            if (kept is None or subject_of(name) in kept) and not skipped & {name, subject_of(name)}
        ]
        if not names:
            raise ValueError(f"no clip is left of the {len(files.clips)} in {root}; widen subjects= or skip=")
        self.videos = [_video(files, name, fps, restore_thorax) for name in names]

    @property
    def subjects(self) -> list[str]:
        """The subjects there are, in order."""
        return sorted({video["subject"] for video in self.videos if video["subject"] is not None})

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.videos[index]


def read_motions(
    root: str | Path, names: Iterable[str] | None = None, *, restore_thorax: bool = True
) -> Iterator[Motion]:
    """The motions in a folder or zip file, one after the other, with all their joints; prepared clips have none.

    Args:
        root: as for `CMU`.
        names: as "02_01"; None: all.
        restore_thorax: as for `CMU`.

    Raises:
        ValueError: as for `CMU`.
    """
    files = _Files(root)
    for name in files.motions if names is None else names:
        if name not in files.motions:
            raise ValueError(f"{root} has no motion {name!r}; it has {', '.join(list(files.motions)[:5])} ...")
        yield _read_motion(files, name, restore_thorax)


def subject_of(name: str) -> str | None:
    """The subject of a clip, from its name; None for names that do not tell.

    Example:
        >>> subject_of("02_01"), subject_of("144_33"), subject_of("soccer_1")
        ('02', '144', None)
    """
    match = re.fullmatch(r"(\d+)_\d+", name)
    return match[1] if match else None


# ------------------------------------------------------------------------------------------------------- file formats


def read_asf(text: str, name: str = "the .asf") -> Rig:
    """A skeleton in Acclaim's format; what its .amc files say in each frame is then known.

    Args:
        text: contents of the file.
        name: what to call it in errors.

    Raises:
        ValueError: it is malformed.
    """
    sections = dict(re.findall(r"^:(\w+)(.*?)(?=^:|\Z)", _uncommented(text), flags=re.M | re.S))
    missing = [key for key in ("units", "root", "bonedata", "hierarchy") if key not in sections]
    if missing:
        raise ValueError(f"{name}: there is no section :{missing[0]}; is it the .asf of a CMU subject?")
    units = dict(re.findall(r"(\w+)\s+(\S+)", sections["units"]))
    try:
        unit = 25.4 / float(units.get("length", 1))
        root = {line.split()[0]: line.split()[1:] for line in sections["root"].splitlines() if line.split()}
        bones = {"root": {"axis": [*root["orientation"], root["axis"][0]], "dof": [v.lower() for v in root["order"]]}}
        for block in re.findall(r"begin(.*?)end\b", sections["bonedata"], flags=re.S):
            fields = {line.split()[0]: line.split()[1:] for line in block.splitlines() if line.split()}
            bones[fields["name"][0]] = fields
        parents = {"root": -1}
        joints, starts = ["root"], [[float(v) for v in root["position"]]]
        for line in sections["hierarchy"].split("begin")[1].split("end")[0].splitlines():
            parent, *children = line.split() or ["", *()]
            for child in children:
                parents[child] = joints.index(parent)
                joints.append(child)
                starts.append(_direction(bones, parent))
        for bone in [joint for i, joint in enumerate(joints) if i not in parents.values()]:
            parents[f"{bone}_end"] = joints.index(bone)
            joints.append(f"{bone}_end")
            starts.append(_direction(bones, bone))
        axes, turns, column = [], [], 0
        degrees = units.get("angle", "deg") == "deg"
        for joint in joints:
            *angles, order = bones[joint]["axis"] if joint in bones else ["0", "0", "0", "XYZ"]
            spin = torch.tensor([[float(v) for v in angles]], dtype=torch.float64)
            # X first, about fixed axes: the matrix of the last axis stands on the left
            sequence = ["xyz".index(letter) for letter in reversed(order.lower())]
            axes.append(_rotations(spin[:, None, sequence], [sequence], degrees)[0, 0])
            dof = bones.get(joint, {}).get("dof", [])
            columns = {kind: column + place for place, kind in enumerate(dof)}
            turns.append(tuple((axis, columns[f"r{'xyz'[axis]}"]) for axis in sequence if f"r{'xyz'[axis]}" in columns))
            if joint == "root":
                shifts = (columns["tx"], columns["ty"], columns["tz"])
            column += len(dof)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{name} is malformed ({type(error).__name__}: {error}); download it again") from error
    offsets = unit * torch.tensor(starts, dtype=torch.float64)
    return Rig(
        joints=tuple(joints), parents=tuple(parents.values()), offsets=offsets, turns=tuple(turns),
        axes=torch.stack(axes), shifts=shifts, degrees=degrees, unit=unit,
    )  # fmt: skip


def read_amc(text: str, rig: Rig, name: str = "the .amc", *, fps: float = FPS) -> Motion:
    """A motion in Acclaim's format, of the skeleton that `read_asf` read.

    Args:
        text: contents of the file.
        rig: the subject's skeleton.
        name: of the motion.
        fps: frames per second; the file does not say.

    Raises:
        ValueError: it is malformed or of another skeleton.
    """
    lines = [line for line in text.splitlines() if line and line[0] not in "#:"]
    starts = [i for i, line in enumerate(lines[: len(rig.joints) + 2]) if _is_number(line)]
    if not starts or starts[0] != 0:
        raise ValueError(f"{name}: expected the number of the first frame after the header, got {lines[:1]}")
    width = starts[1] if len(starts) > 1 else len(lines)
    frames, rest = divmod(len(lines), width)
    parts = [line.partition(" ") for line in lines]
    labels, layout = [part[0] for part in parts], [part[0] for part in parts[1:width]]
    expected = {joint: len(turns) + 3 * (joint == "root") for joint, turns in zip(rig.joints, rig.turns, strict=True)}
    dofs = [len(part[2].split()) for part in parts[1:width]]
    wrong = [
        f"{label} with {count} numbers"
        for label, count in zip(layout, dofs, strict=True)
        if expected.get(label) != count
    ]
    absent = [joint for joint, count in expected.items() if count and joint not in layout]
    if wrong or absent:
        found = ", ".join([*wrong, *(f"no {joint}" for joint in absent)])
        raise ValueError(f"{name} is of another skeleton than its .asf: the first frame has {found}")
    numbers = _numbers(" ".join(part[2] for part in parts))
    regular = rest == 0 and all(labels[i::width] == [label] * frames for i, label in enumerate(layout, start=1))
    if not regular or len(numbers) != frames * sum(dofs) or labels[::width] != [str(i + 1) for i in range(frames)]:
        wanted = list(zip(layout, dofs, strict=True))
        lines_of = [
            [(part[0], len(part[2].split())) for part in parts[i : i + width]] for i in range(0, len(parts), width)
        ]
        bad = next((i for i, some in enumerate(lines_of, 1) if some != [(str(i), 0), *wanted]), 1)
        raise ValueError(
            f"{name}: frame {bad} is incomplete or out of order, expected the lines of frame 1; download it again"
        )
    # the columns of the file are in its own order of the bones, those of the rig in that of the hierarchy
    ends = np.cumsum(dofs)
    columns = {label: range(end - count, end) for label, end, count in zip(layout, ends, dofs, strict=True)}
    order = [column for joint in rig.joints for column in columns.get(joint, ())]
    return _move(rig, numbers.reshape(frames, -1)[:, order], name, fps)


def read_bvh(text: str, name: str = "the .bvh", *, unit: float = UNIT, restore_thorax: bool = True) -> Motion:
    """A motion in the BVH format.

    Args:
        text: contents of the file.
        name: of the motion.
        unit: mm in the file's unit of length, which it does not say.
        restore_thorax: repair Hahne's skeletons; others are left alone.

    Raises:
        ValueError: it is malformed.
    """
    head, found, body = text.partition("MOTION")
    match = re.match(r"\s*Frames:\s*(\d+)\s*Frame Time:\s*(\S+)[^\S\n]*\r?\n?", body)
    if not found or not match or "HIERARCHY" not in head:
        raise ValueError(f"{name}: expected HIERARCHY, MOTION, Frames: and Frame Time:; is it a BVH file?")
    joints: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    path: list[int] = []
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
        if any("position" in kind for some in channels[1:] for kind in some) or len(offsets) != len(joints):
            raise ValueError("only the root may move, and each joint needs an OFFSET")
        turns = tuple(
            tuple(
                ("xyz".index(kind[0]), int(start) + place)
                for place, kind in enumerate(some)
                if kind.endswith("rotation")
            )
            for start, some in zip(counts, channels, strict=False)
        )
    except (StopIteration, IndexError, ValueError) as error:
        raise ValueError(f"{name}: the hierarchy is malformed ({error}); download it again") from error
    frames, step = int(match[1]), float(match[2])
    numbers = _numbers(body[match.end() :])
    if not frames or len(numbers) != frames * counts[-1] or not step > 0:
        raise ValueError(
            f"{name}: expected {frames} frames of {counts[-1]} numbers, got {len(numbers)} numbers; download it again"
        )
    rows = numbers.reshape(frames, -1)
    angles = [column for some in turns for _, column in some]
    whole = (rows[:2, angles] == rows[:2, angles].round()).all(axis=1)
    if frames > 1 and whole[0] and not whole[1]:
        rows = rows[1:]
    offset = unit * torch.tensor(offsets, dtype=torch.float64)
    if restore_thorax:
        chest = next((joints.index(label) for label in NAMES["chest"][1:] if label in joints), None)
        above = [i for i, parent in enumerate(parents) if parent == chest]
        if above and not offset[above].any():  # otherwise this is not Hahne's, or has been repaired already
            offset[above, 1] = offset[chest].norm()
    rig = Rig(
        joints=tuple(joints), parents=tuple(parents), offsets=offset, turns=turns,
        axes=torch.eye(3, dtype=torch.float64).expand(len(joints), 3, 3), shifts=(x, y, z), degrees=True, unit=unit,
    )  # fmt: skip
    return _move(rig, rows, name, _whole(1 / step))


def to_h36m17(motion: Motion) -> Tensor:
    """The 17 keypoints of Human3.6M, in the module's definition: `(T, 17, 3)` mm in the world.

    Raises:
        ValueError: the joints are not named as in CMU's files.
    """
    for naming in range(3):
        if all(names[naming] in motion.joints for names in NAMES.values()):
            points = {key: motion.positions[:, motion.joints.index(names[naming])] for key, names in NAMES.items()}
            return _assemble(points)
    raise ValueError(
        f"{motion.name}: the joints {', '.join(motion.joints[:6])} ... are not named as in CMU's .asf or Hahne's .bvh; "
        f"expected among others {', '.join(NAMES['left_hip'])}"
    )


# ------------------------------------------------------------------------------------------------- videos and cameras


def resample(pose3d: Tensor, fps: float, target: float) -> Tensor:
    """A motion at another frame rate: every n-th frame where that does it, else linear interpolation between frames.

    Args:
        pose3d: `(T, ..., D)`.
        fps: its frames per second.
        target: wanted frames per second.

    Example:
        >>> resample(torch.arange(9.0), 120, 50).tolist()           # at frames 0, 2.4, 4.8 and 7.2
        [0.0, 2.4000..., 4.8000..., 7.1999...]
    """
    if not (fps > 0 and target > 0):
        raise ValueError(f"resample: expected positive frame rates, got {fps} and {target}")
    if not len(pose3d):
        raise ValueError("resample: the motion has no frame")
    ratio = fps / target
    if abs(ratio - round(ratio)) < 1e-3 and ratio >= 0.999:
        return pose3d[:: round(ratio)]
    times = torch.arange(math.floor((len(pose3d) - 1) / ratio + 1e-6) + 1, dtype=torch.float64) * ratio
    before = times.long().clamp_max(max(len(pose3d) - 2, 0))
    after = (before + 1).clamp_max(len(pose3d) - 1)
    share = (times - before).view(-1, *[1] * (pose3d.ndim - 1)).to(pose3d)
    return torch.lerp(pose3d[before], pose3d[after], share)


def virtual_cameras(
    pose3d: Tensor,
    count: int,
    *,
    distance: tuple[float, float] = (2500.0, 7000.0),
    height: tuple[float, float] = (500.0, 2200.0),
    focal: tuple[float, float] = (0.8, 1.8),
    size: tuple[int, int] = (1000, 1000),
    aim: float = 200.0,
    near: float = 1000.0,
    generator: torch.Generator | None = None,
) -> Camera:
    """Cameras that stand around a person and look near the middle of where the person goes.

    Everything is drawn uniformly, the direction from all around. The camera does not turn with the person, who may
    leave the image, but never comes nearer than `near`: such draws are repeated.

    Args:
        pose3d: `(T, K, 3)` mm in a world with y up; the floor is where its lowest point is.
        count: how many.
        distance: mm from the point it looks at.
        height: mm above the floor.
        focal: in units of the image's longer side (1.15 in Human3.6M).
        size: (H, W) of the image.
        aim: standard deviation, mm and each way, of the point looked at around the middle of the person's path.
        near: mm, least depth of any keypoint in any frame.
        generator: randomness; None: torch's.

    Returns:
        a batch of `count` cameras.

    Raises:
        ValueError: no such cameras exist, since the person goes too far.

    Example:
        >>> pose3d = torch.randn(20, 17, 3) * 300
        >>> cameras = virtual_cameras(pose3d, 4, generator=torch.Generator().manual_seed(0))
        >>> len(cameras), cameras.project(cameras.world_to_camera(pose3d[None])).shape
        (4, torch.Size([4, 20, 17, 2]))
    """
    points = pose3d.reshape(-1, 3).double()
    if not len(points) or not bool(torch.isfinite(points).all()):
        raise ValueError("virtual_cameras: expected one or more frames of finite keypoints (T, K, 3)")
    floor = float(points[:, 1].min())
    path = pose3d.double().mean(dim=1)
    middle = (path.amin(dim=0) + path.amax(dim=0)) / 2

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)

    found: list[tuple[Tensor, Tensor, Tensor]] = []  # positions, targets and focal lengths that do
    for _ in range(DRAWS):
        target = middle + aim * torch.randn(count, 3, generator=generator, dtype=torch.float64)
        azimuth, reach, level = uniform(0, 2 * math.pi), uniform(*distance), floor + uniform(*height)
        lengths = uniform(*focal) * max(size)
        rise = level - target[:, 1]
        aside = (reach.square() - rise.square()).clamp_min(1.0).sqrt()
        position = target + torch.stack([azimuth.cos() * aside, rise, azimuth.sin() * aside], dim=-1)
        forward = look_at(position, target, focal=lengths, size=size).rotation[:, 2]
        depth = forward @ points.T - (forward * position).sum(dim=1, keepdim=True)
        good = depth.amin(dim=1) >= near
        found.append((position[good], target[good], lengths[good]))
        if sum(len(positions) for positions, _, _ in found) >= count:
            break
    else:
        raise ValueError(
            f"virtual_cameras: {DRAWS * count} draws did not give {count} cameras {near:g} mm from the person or more; "
            f"the path is {[round(v) for v in (path.amax(dim=0) - path.amin(dim=0)).tolist()]} mm long: cut the video "
            "into shorter ones, or give a greater distance="
        )
    position, target, lengths = (torch.cat(parts)[:count] for parts in zip(*found, strict=True))
    return look_at(position, target, focal=lengths, size=size)


def film(video: dict[str, Any], cameras: Camera) -> list[dict[str, Any]]:
    """One video for each camera, of a video in the world.

    Args:
        video: with `name` and `pose3d` `(T, K, 3)` mm in the world.
        cameras: a batch.

    Returns:
        videos with all entries of `video`, but `pose3d` in the camera's frame, and further `keypoints` `(T, K, 2)`
        pixels, `camera` and `view`, its number; `name` ends in the number.

    Raises:
        ValueError: a keypoint is behind a camera.

    Example:
        >>> video = {"name": "02_01", "pose3d": torch.randn(20, 17, 3) * 300}
        >>> videos = film(video, virtual_cameras(video["pose3d"], 2))
        >>> videos[1]["name"], videos[1]["keypoints"].shape
        ('02_01.1', torch.Size([20, 17, 2]))
    """
    pose3d = cameras.world_to_camera(video["pose3d"][None])
    keypoints = cameras.project(pose3d)
    hidden = ~torch.isfinite(keypoints).flatten(1).all(dim=1)
    if hidden.any():
        raise ValueError(
            f"film: in {video['name']} the person goes behind camera {int(hidden.nonzero()[0])}; `virtual_cameras` "
            "finds cameras that see the whole video"
        )
    return [
        {**video, "name": f"{video['name']}.{i}", "view": i, "camera": cameras[i],
         "pose3d": pose3d[i], "keypoints": keypoints[i]}
        for i in range(len(cameras))
    ]  # fmt: skip


def sample_video() -> dict[str, Any]:
    """Three seconds of the database that ship with posezoo, to try networks on: a walk over uneven ground.

    Subject 03's clip 02 at 25 frames per second, as a virtual camera sees it. No weights that ship with posezoo were
    trained on this subject. The file is `SAMPLE`, which `posezoo lift` takes too.

    Returns:
        a video as `film` makes it: `name`, `subject`, `fps`, `skeleton`, `pose3d` `(76, 17, 3)` mm in the camera's
        frame, `keypoints` `(76, 17, 2)` pixels, and `camera`.

    Example:
        >>> import posezoo
        >>> video = sample_video()
        >>> poses = posezoo.lift(video["keypoints"], skeleton=video["skeleton"])
        >>> poses.pose3d.shape, video["pose3d"].shape
        ((76, 17, 3), torch.Size([76, 17, 3]))
    """
    with np.load(SAMPLE) as stored:
        content = {key: stored[key] for key in stored.files}
    view: dict[str, Any] = {
        key: torch.from_numpy(content[key]) for key in ("rotation", "translation", "focal", "center")
    }
    return {
        **{key: content[key].item() for key in ("name", "subject", "fps", "skeleton")},
        **{key: torch.from_numpy(content[key]) for key in ("pose3d", "keypoints")},
        "camera": Camera(**view, size=tuple(content["size"].tolist())),
    }


def add_noise(keypoints: Tensor, sigma: float, *, generator: torch.Generator | None = None) -> Tensor:
    """Keypoints with independent Gaussian noise of `sigma` pixels on x and on y, as in the papers' robustness tables.

    Example:
        >>> noisy = add_noise(torch.zeros(5000, 17, 2), 5.0, generator=torch.Generator().manual_seed(0))
        >>> round(float(noisy.std()), 1)
        5.0
    """
    noise = torch.randn(keypoints.shape, generator=generator, dtype=keypoints.dtype)
    return keypoints + sigma * noise.to(keypoints.device)


# ------------------------------------------------------------------------------------------------------------- parts


class _Files:
    """What a folder or a zip file holds: names of clips, and how to get at each file."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if self.root.is_dir():
            found = {str(path.relative_to(self.root)): path.read_bytes for path in sorted(self.root.rglob("*.*"))}
        elif zipfile.is_zipfile(self.root):
            archive = zipfile.ZipFile(self.root)
            found = {name: _member(archive, name) for name in sorted(archive.namelist())}
        else:
            raise ValueError(f"{root} is neither a folder nor a zip file; expected CMU's .asf and .amc, .bvh or .npz")
        self.read: dict[str, dict[str, Callable[[], bytes]]] = {".asf": {}, ".amc": {}, ".bvh": {}, ".npz": {}}
        for path, read in found.items():
            if not path.startswith("__MACOSX") and Path(path).suffix.lower() in self.read:
                self.read[Path(path).suffix.lower()][Path(path).stem] = read
        self.motions = dict.fromkeys([*self.read[".amc"], *self.read[".bvh"]])  # of a clip in both forms the .amc
        self.clips = dict.fromkeys([*self.motions, *self.read[".npz"]])
        self.rigs: dict[str, Rig] = {}
        if not self.clips:
            raise ValueError(f"{root} holds no .amc, .bvh or .npz; expected CMU motion capture, unpacked or zipped")

    def rig(self, name: str) -> Rig:
        subject = subject_of(name)
        if subject is None or subject not in self.read[".asf"]:
            raise ValueError(f"{self.root}: {name}.amc needs the skeleton {subject}.asf, which is not there; add it")
        if subject not in self.rigs:
            self.rigs[subject] = read_asf(_text(self.read[".asf"][subject]), f"{subject}.asf")
        return self.rigs[subject]


def _member(archive: zipfile.ZipFile, name: str) -> Callable[[], bytes]:
    return lambda: archive.read(name)


def _text(read: Callable[[], bytes]) -> str:
    return read().decode("latin-1")  # .asf files carry the odd Windows character in a comment


def _read_motion(files: _Files, name: str, restore_thorax: bool) -> Motion:
    if name in files.read[".amc"]:
        return read_amc(_text(files.read[".amc"][name]), files.rig(name), name)
    return read_bvh(_text(files.read[".bvh"][name]), name, restore_thorax=restore_thorax)


def _video(files: _Files, name: str, fps: float | None, restore_thorax: bool) -> dict[str, Any]:
    if name in files.motions:
        motion = _read_motion(files, name, restore_thorax)
        pose3d, rate = to_h36m17(motion), motion.fps
    else:
        pose3d, rate = _read_clip(files.read[".npz"][name](), name, restore_thorax)
    if fps is not None:
        pose3d, rate = resample(pose3d, rate, fps), fps
    return {"name": name, "subject": subject_of(name), "fps": float(rate), "pose3d": pose3d.float()}


def _read_clip(data: bytes, name: str, restore_thorax: bool) -> tuple[Tensor, float]:
    try:
        with np.load(BytesIO(data), allow_pickle=False) as arrays:
            keypoints, fps = torch.from_numpy(np.array(arrays["keypoints"], dtype=np.float64)), float(arrays["fps"])
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{name}.npz: expected the arrays keypoints and fps ({error})") from error
    if keypoints.ndim != 3 or keypoints.shape[1:] != (17, 3) or not len(keypoints) or not fps > 0:
        raise ValueError(f"{name}.npz: expected keypoints (T, 17, 3) and fps > 0, got {tuple(keypoints.shape)}, {fps}")
    if not bool(torch.isfinite(keypoints).all()):
        raise ValueError(f"{name}.npz: frame {int((~torch.isfinite(keypoints)).nonzero()[0, 0])} is not finite")
    points = dict(zip(CMU.skeleton.keypoints, keypoints.unbind(dim=1), strict=True))
    # as they come: pelvis is CMU's root, spine and thorax are the ends of upperback, neck_nose halves the neck
    points["upperback"], points["chest"] = points["spine"], points["thorax"]
    bone, neck = points["chest"] - points["upperback"], points["neck_nose"] - points["chest"]
    length = bone.norm(dim=-1, keepdim=True)
    upward = F.normalize(F.normalize(bone, dim=-1) + F.normalize(neck, dim=-1), dim=-1)
    if restore_thorax:
        for key in points:
            if key.endswith(("shoulder", "elbow", "wrist", "neck_nose", "head")):
                points[key] = points[key] + length * upward
    points["neck_nose"] = (points["neck_nose"] + points["head"]) / 2
    return _assemble(points), fps


def _assemble(points: dict[str, Tensor]) -> Tensor:
    made = {
        "pelvis": (points["left_hip"] + points["right_hip"]) / 2,
        "thorax": (points["left_shoulder"] + points["right_shoulder"]) / 2,
        "spine": (points["upperback"] + points["chest"]) / 2,
    }
    return torch.stack([made[key] if key in made else points[key] for key in CMU.skeleton.keypoints], dim=1)


def _move(rig: Rig, rows: np.ndarray, name: str, fps: float) -> Motion:
    """Forward kinematics: one step per joint, over all frames at once."""
    numbers = torch.from_numpy(np.ascontiguousarray(rows))
    numbers = torch.cat([numbers, torch.zeros(len(numbers), 1, dtype=numbers.dtype)], dim=1)  # what is not given is 0
    full = [[*turns, *[(0, numbers.shape[1] - 1)] * (3 - len(turns))] for turns in rig.turns]
    angles = numbers[:, [column for turns in full for _, column in turns]].view(len(numbers), -1, 3)
    own = _rotations(angles, [[axis for axis, _ in turns] for turns in full], rig.degrees)
    own = rig.axes @ own @ rig.axes.mT
    rotations: list[Tensor] = []
    positions: list[Tensor] = []
    for joint, parent in enumerate(rig.parents):
        if parent < 0:
            rotations.append(own[:, joint])
            positions.append(rig.offsets[joint] + rig.unit * numbers[:, list(rig.shifts)])
        else:
            rotations.append(rotations[parent] @ own[:, joint])
            positions.append(positions[parent] + rotations[parent] @ rig.offsets[joint])
    return Motion(
        name=name, fps=fps, joints=rig.joints, parents=rig.parents, offsets=rig.offsets,
        positions=torch.stack(positions, dim=1), rotations=torch.stack(rotations, dim=1),
    )  # fmt: skip


def _rotations(angles: Tensor, axes: Sequence[Sequence[int]], degrees: bool) -> Tensor:
    """Products, left to right, of three rotations about coordinate axes: `(T, J, 3)` angles -> `(T, J, 3, 3)`."""
    radians = torch.deg2rad(angles) if degrees else angles
    cos, sin = radians.cos(), radians.sin()
    identity = torch.eye(3, dtype=angles.dtype)
    # about axis a: cos on the other two, sin between them
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
    """All numbers of a text; stops short of the first thing that is none, which the caller notices by the count."""
    try:
        return np.array(text.split(), dtype=np.float64)
    except ValueError:
        return np.empty(0)


def _is_number(line: str) -> bool:
    return line.strip().isdigit()


def _uncommented(text: str) -> str:
    return re.sub(r"#.*", "", text.replace("\r", ""))


def _whole(fps: float) -> float:
    """120 of 1 / 0.0083333."""
    return float(round(fps)) if abs(fps - round(fps)) < 1e-3 * fps else fps


def _subject(subject: str | int) -> str:
    return f"{subject:02d}" if isinstance(subject, int) else subject
