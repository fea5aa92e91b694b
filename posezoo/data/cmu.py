"""The motion capture database of Carnegie Mellon University (mocap.cs.cmu.edu).

Reads a folder or a zip file with any of

    NN/NN.asf, NN/NN_MM.amc    the database's own skeletons and motions (Acclaim), one .asf per subject
    NN_MM.bvh                  Bruce Hahne's conversion to BVH, in its MotionBuilder or 3ds Max naming
    name_M.npz                 prepared clips: `keypoints` (T, 17, 3) mm, y up, and `fps`

where NN is the subject, by which a test set can be held out, and MM the clip. The result are poses
of Human3.6M's 17 keypoints in a world in millimetres with y up. One unit of the first two formats
is 1/0.45 inch, 56.44 mm (`length` in the .asf). The recordings have no cameras: `virtual_cameras`
samples cameras around the subject, `project_videos` projects the poses to 2D keypoints.

Keypoints of `h36m17` from the bones of the .asf (a bone starts where its parent ends; BVH has the
same joints):

| keypoint | CMU |
|---|---|
| hip, knee, ankle | start of femur, tibia, foot |
| shoulder, elbow, wrist | start of humerus, radius, wrist |
| `pelvis` | mean of the hips. CMU's root is some 10 cm above |
| `thorax` | mean of the shoulders, as in `skeletons.convert`. The thorax bone ends some 7 cm below |
| `spine` | middle of the bone `upperback`, 53 % of the way from pelvis to thorax (48 % in Human3.6M) |
| `neck_nose` | start of the bone `head`, the base of the skull: 13 cm above the thorax (12 cm in Human3.6M) |
| `head` | end of the bone `head` |

Departures: two defects of the converted files are repaired.

- `restore_thorax`: Hahne's BVH lacks the bone `thorax`: neck and collars start where `upperback`
  ends, so that the trunk is 12 cm too short. The bone gets the length of `upperback`, from which it
  differs by less than 1 % in the .asf files. The prepared clips were made from such files: there
  all keypoints from the shoulders up move by that length, in the mean direction of `upperback` and
  neck. They are then 11 mm off on average, measured on clips that exist in both forms. (The root of
  the prepared clips does not travel, which is left as it is.)
- `drop_t_pose`: Hahne added a T-pose before the first frame. It is removed where it is found; in
  some copies of the files it is already gone.

Acknowledgement that the database asks for: "The data used in this project was obtained from
mocap.cs.cmu.edu. The database was created with funding from NSF EIA-0196217."
"""

import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from posezoo.arrays import explained
from posezoo.data.files import load_arrays
from posezoo.data.mocap import Motion, Rig, joint_positions, read_amc, read_asf, read_bvh, resample
from posezoo.geometry import Camera
from posezoo.skeletons import get_skeleton

MAX_BYTES = 1 << 30  # of a file in an archive; CMU's longest recording has 30 MB
UNIT = 25.4 / 0.45  # mm; `length 0.45` in the .asf files
SAMPLE = Path(__file__).parent / "samples" / "uneven_ground.npz"  # ships with the package

# the bone or joint that starts at each keypoint, in the names of .asf, of Hahne's 3ds Max and MotionBuilder files
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


class CMU(Dataset[dict[str, Any]]):
    """Videos of 3D poses from the motion capture database, in world coordinates.

    Args:
        root: folder (searched through) or zip file, see the module.
        subjects: subjects to keep, as "02" or 2. Defaults to all. Prepared clips have no subject
            and are left out by a list.
        skip: subjects or clips to leave out, as "02" or "02_01".
        fps: frames per second to resample to. None: as recorded.
        restore_thorax: repair the trunk of converted files, see the module.

    Yields videos as `posezoo.data` describes: `name`, `subject` (None for prepared clips), `fps`,
    and `pose3d` `(T, 17, 3)` mm in the world, y up. `project_videos` adds cameras and 2D keypoints.

    Raises:
        ValueError: a file is missing or malformed; names the file, the line or frame and the fix.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.savez(folder / "jumping_1.npz", keypoints=np.random.default_rng(0).normal(0, 300, (7, 17, 3)), fps=60)
        >>> clips = CMU(folder, fps=30)
        >>> clips[0]["name"], clips[0]["pose3d"].shape
        ('jumping_1', torch.Size([4, 17, 3]))
    """

    skeleton = get_skeleton("h36m17")

    @explained
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
        """Subjects of the videos, sorted."""
        return sorted({video["subject"] for video in self.videos if video["subject"] is not None})

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.videos[index]


def read_motions(
    root: str | Path, names: Iterable[str] | None = None, *, restore_thorax: bool = True
) -> Iterator[Motion]:
    """Read the motions in a folder or zip file one by one, with all their joints.

    Prepared clips have keypoints only and are left out.

    Args:
        root: as for `CMU`.
        names: recordings to read, as "02_01". Defaults to all.
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
    """Return the subject of a clip from its name; None for names without a subject.

    Examples:
        >>> subject_of("02_01"), subject_of("144_33"), subject_of("soccer_1")
        ('02', '144', None)
    """
    match = re.fullmatch(r"(\d+)_\d+", name)
    return match[1] if match else None


def drop_t_pose(motion: Motion) -> Motion:
    """Remove the T-pose that Hahne's conversion has before the first frame.

    It is recognised by whole degrees in all rotation channels, where the next frame has others.
    Motions without it are returned unchanged.
    """
    whole = (motion.angles[:2] == motion.angles[:2].round()).all(dim=1).tolist()
    if whole != [True, False]:
        return motion
    return replace(
        motion, positions=motion.positions[1:], rotations=motion.rotations[1:], angles=motion.angles[1:]
    )  # fmt: skip


def restore_thorax(motion: Motion) -> Motion:
    """Restore the bone `thorax`, which Hahne's conversion lacks, with the length of `upperback`.

    Everything above moves up by that length along the chest. Motions whose joints above the chest
    have offsets, which are of other skeletons or already repaired, are returned unchanged.
    """
    chest = next((motion.joints.index(label) for label in NAMES["chest"][1:] if label in motion.joints), None)
    above = [joint for joint, parent in enumerate(motion.parents) if parent == chest]
    if chest is None or not above or motion.offsets[above].any():
        return motion
    offsets = motion.offsets.clone()
    offsets[above, 1] = offsets[chest].norm()
    positions = joint_positions(motion.parents, offsets, motion.rotations, motion.positions[:, 0])
    return replace(motion, offsets=offsets, positions=positions)


def to_h36m17(motion: Motion) -> Tensor:
    """Return the 17 keypoints of Human3.6M in world coordinates: `(T, 17, 3)` mm.

    The module has their definitions.

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


def sample_video() -> dict[str, Any]:
    """Load three seconds of the database that ship with posezoo: a walk over uneven ground.

    Clip 02 of subject 03 at 25 frames per second, projected by a virtual camera. No weights that
    ship with posezoo were trained on this subject. The file is `SAMPLE`, which `posezoo lift` also
    accepts.

    Returns:
        a video as `project_videos` makes it: `name`, `subject`, `fps`, `skeleton`, `pose3d` `(76,
        17, 3)` mm in the camera's frame, `keypoints` `(76, 17, 2)` pixels, and `camera`.

    Examples:
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


# ------------------------------------------------------------------------------------------------------------- parts


class _Files:
    """Index of a folder or zip file: names of clips, and a function that reads each file."""

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
            raise ValueError(
                f"{root} holds no .amc, .bvh or .npz; expected CMU motion capture, unpacked or zipped. Marker files "
                "(.c3d) are not read, as they have no joints"
            )

    def rig(self, name: str) -> Rig:
        subject = subject_of(name)
        if subject is None or subject not in self.read[".asf"]:
            raise ValueError(f"{self.root}: {name}.amc needs the skeleton {subject}.asf, which is not there; add it")
        if subject not in self.rigs:
            self.rigs[subject] = read_asf(_text(self.read[".asf"][subject]), f"{subject}.asf")
        return self.rigs[subject]


def _member(archive: zipfile.ZipFile, name: str) -> Callable[[], bytes]:
    def read() -> bytes:
        if archive.getinfo(name).file_size > MAX_BYTES:
            raise ValueError(f"{archive.filename}: {name} has more than {MAX_BYTES} bytes; unpack the archive")
        try:
            return archive.read(name)
        except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{archive.filename}: {name} is damaged ({error}); download it again") from error

    return read


def _text(read: Callable[[], bytes]) -> str:
    return read().decode("latin-1")  # some .asf files have Windows characters in comments


def _read_motion(files: _Files, name: str, restore: bool) -> Motion:
    if name in files.read[".amc"]:
        return read_amc(_text(files.read[".amc"][name]), files.rig(name), name)
    motion = drop_t_pose(read_bvh(_text(files.read[".bvh"][name]), name, unit=UNIT))
    return restore_thorax(motion) if restore else motion


def _video(files: _Files, name: str, fps: float | None, restore: bool) -> dict[str, Any]:
    if name in files.motions:
        motion = _read_motion(files, name, restore)
        pose3d, rate = to_h36m17(motion), motion.fps
    else:
        pose3d, rate = _read_clip(files.read[".npz"][name](), name, restore)
    if fps is not None:
        pose3d, rate = resample(pose3d, rate, fps), fps
    return {"name": name, "subject": subject_of(name), "fps": float(rate), "pose3d": pose3d.float()}


def _read_clip(data: bytes, name: str, restore: bool) -> tuple[Tensor, float]:
    try:
        arrays = load_arrays(data, f"{name}.npz")
        keypoints, fps = torch.from_numpy(np.array(arrays["keypoints"], dtype=np.float64)), float(arrays["fps"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name}.npz: expected the arrays keypoints and fps ({error})") from error
    if keypoints.ndim != 3 or keypoints.shape[1:] != (17, 3) or not len(keypoints) or not fps > 0:
        raise ValueError(f"{name}.npz: expected keypoints (T, 17, 3) and fps > 0, got {tuple(keypoints.shape)}, {fps}")
    if not bool(torch.isfinite(keypoints).all()):
        raise ValueError(f"{name}.npz: frame {int((~torch.isfinite(keypoints)).nonzero()[0, 0])} is not finite")
    points = dict(zip(CMU.skeleton.keypoints, keypoints.unbind(dim=1), strict=True))
    # in the files, pelvis is CMU's root, spine and thorax are the ends of upperback, neck_nose is the neck's start
    points["upperback"], points["chest"] = points["spine"], points["thorax"]
    bone, neck = points["chest"] - points["upperback"], points["neck_nose"] - points["chest"]
    length = bone.norm(dim=-1, keepdim=True)
    upward = F.normalize(F.normalize(bone, dim=-1) + F.normalize(neck, dim=-1), dim=-1)
    if restore:
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


def _subject(subject: str | int) -> str:
    return f"{subject:02d}" if isinstance(subject, int) else subject
