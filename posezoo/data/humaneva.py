"""HumanEva-I (Sigal et al., IJCV 2010), as exported from its MATLAB toolbox.

The dataset itself has markers (.c3d), which only its MATLAB code converts to joints; `.c3d`, `.mp`,
`.ofs` and the videos are not read. This module reads the joints that VideoPose3D's scripts export,
in either of their two formats, and the dataset's own calibration:

| files in `root` | content |
|---|---|
| `data_3d_humaneva15.npz`, `data_2d_humaneva15_gt.npz` | VideoPose3D's archives: metres, in valid chunks |
| `Train/S1/Walking_1.mat`, `Validate/S1/Walking_1.mat` ... | output of its ConvertHumanEva.m: `poses_3d` (T, 15, 3), |
| (also below `converted_15j/`) | mm, `poses_2d` (3, T, 15, 2), NaN where there is no valid pose (needs SciPy) |
| `S1/Calibration_Data/C1.cal` ... | 22 numbers: focal, centre, skew, 5 of distortion, R, T (X_c = R X + T) |

The first part of every first trial is `Validate`, the rest `Train`, as in all the papers here: the
ground truth of the test set was never published. Frames without a valid pose are dropped. The
chunks between them are separate videos, so that no window contains a gap.

Known defects: the head marker of S3 Walking is wrong for most of the take, so that published errors
there are some 40 mm. The motion capture of S3 ThrowCatch is damaged; VideoPose3D leaves it out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from posezoo.arrays import explained
from posezoo.data.clips import FrameOfVideo, frames_of, source_of_frames
from posezoo.data.files import load_mat
from posezoo.data.human36m import read_prepared
from posezoo.data.windows import valid_chunks
from posezoo.geometry import Camera
from posezoo.skeletons import get_skeleton

FPS = 60
SUBJECTS = ("S1", "S2", "S3")
ACTIONS = ("Walking", "Jog", "ThrowCatch", "Gestures", "Box")
CAMERAS = ("C1", "C2", "C3")
SIZE = (480, 640)

# frames of trial 1 as (5, middle, end): Validate is [5, middle), Train [middle, end)
RANGES = {
    ("Walking", "S1"): (5, 590, 1203), ("Walking", "S2"): (5, 438, 876), ("Walking", "S3"): (5, 448, 939),
    ("Jog", "S1"): (5, 367, 740), ("Jog", "S2"): (5, 398, 795), ("Jog", "S3"): (5, 401, 842),
    ("Box", "S1"): (5, 385, 789), ("Box", "S2"): (5, 382, 734), ("Box", "S3"): (5, 512, 1021),
    ("Gestures", "S1"): (5, 395, 801), ("Gestures", "S2"): (5, 500, 901), ("Gestures", "S3"): (5, 533, 1102),
    ("ThrowCatch", "S1"): (5, 473, 945), ("ThrowCatch", "S2"): (5, 550, 1128), ("ThrowCatch", "S3"): (5, 493, 1027),
}  # fmt: skip
DAMAGED = (("S3", "ThrowCatch"),)  # (subject, action)


class HumanEva(Dataset[dict[str, Any]]):
    """Videos of HumanEva-I: one item for each camera and valid chunk of a subject's first trial.

    Args:
        root: folder with the files of the module's table.
        split: "Train" or "Validate".
        subjects: some of S1, S2, S3.
        actions: some of `ACTIONS`; Walking, Jog and Box in most papers.
        cameras: some of C1, C2, C3.
        calibration: cameras by (subject, camera), or the folder of the dataset itself. Defaults to
            `root`.
        keypoints: "gt", the projected joints, or a file `data_2d_humaneva15_*.npz` of detections.
        frames: folder of the images, `<subject>/<action>_1_(C1)/` with file names that end in the
            number of the frame, from 1, or of the dataset's videos,
            `<subject>/Image_Data/<action>_1_(C1).avi`. Frame numbers are those of the poses; the
            toolbox exports them in step with the cameras. Not with VideoPose3D's archive, which
            does not have them.
        joints: 15, as in VideoPose3D, or 14, without the pelvis, as in RPSM.
        skip: (subject, action) to leave out.

    Yields videos as `posezoo.data` describes: `name`, `subject`, `action`, `view`, `fps`, `camera`,
    `start` (the first frame of the chunk in the trial; None with VideoPose3D's archive, which does
    not have it), `pose3d` `(T, K, 3)` mm in the camera's frame, `keypoints` `(T, K, 2)` pixels, and
    with `frames` the entry `frames`, T paths or frames of a video file.

    Raises:
        ValueError: a file is missing or malformed; names the file, the record and the fix.
    """

    @explained
    def __init__(
        self,
        root: str | Path,
        *,
        split: str = "Train",
        subjects: Sequence[str] = SUBJECTS,
        actions: Sequence[str] = ("Walking", "Jog", "Box"),
        cameras: Sequence[str] = CAMERAS,
        calibration: str | Path | Mapping[tuple[str, str], Camera] | None = None,
        keypoints: str | Path = "gt",
        frames: str | Path | None = None,
        joints: int = 15,
        skip: Sequence[tuple[str, str]] = DAMAGED,
    ) -> None:
        for what, given, known in (
            ("split", (split,), ("Train", "Validate")),
            ("subjects", subjects, SUBJECTS),
            ("actions", actions, ACTIONS),
            ("cameras", cameras, CAMERAS),
            ("joints", (joints,), (15, 14)),
        ):
            if isinstance(given, str) or not given or not set(given) <= set(known):
                raise ValueError(f"{what}: expected some of {', '.join(map(str, known))}, got {given!r}")
        self.root = Path(root)
        self.skeleton = get_skeleton(f"humaneva{joints}")
        kept = [i for i, name in enumerate(get_skeleton("humaneva15").keypoints) if name in self.skeleton.keypoints]
        calibrated = {
            (subject, view): _camera(self.root if calibration is None else calibration, subject, view)
            for subject in subjects
            for view in cameras
        }
        self.videos: list[dict[str, Any]] = []
        for subject in subjects:
            for action in actions:
                if (subject, action) in skip:
                    continue
                for name, start, world, pixels in _chunks(self.root, split, subject, action, str(keypoints)):
                    for view in cameras:
                        camera = calibrated[subject, view]
                        self.videos.append(
                            {
                                "name": f"{split}/{subject} {name}.{view}",
                                "subject": subject,
                                "action": action,
                                "view": view,
                                "fps": float(FPS),
                                "start": start,
                                "camera": camera,
                                "pose3d": camera.world_to_camera(world.double()).float()[:, kept],
                                "keypoints": pixels[CAMERAS.index(view)][:, kept],
                            }
                        )
                        if frames is not None:
                            self.videos[-1]["frames"] = _frames(Path(frames), subject, action, view, start, len(world))
        if not self.videos:
            raise ValueError("skip= leaves no video of those chosen, or none has a valid frame")

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.videos[index]


def read_camera(path: str | Path) -> Camera:
    """Read a camera of HumanEva from its .cal file.

    Raises:
        ValueError: the file is missing or malformed.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "C1.cal"
        >>> _ = path.write_text("700 710 320 240 0  0 0 0 0 0  1 0 0 0 1 0 0 0 1  0 0 4000")
        >>> read_camera(path).translation.tolist()
        [0.0, 0.0, -4000.0]
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"{path} is missing; it is among the dataset's own files, or give calibration= as a dictionary of cameras"
        )
    try:
        numbers = torch.tensor([float(word) for word in path.read_text().split()], dtype=torch.float64)
        focal, center, skew, bends, rotation, shift = numbers.split([2, 2, 1, 5, 9, 3])
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: expected 22 numbers, as in HumanEva's .cal files ({error})") from error
    if float(skew) != 0:
        raise ValueError(f"{path}: a skew of {float(skew):g} is not supported, expected 0; use another calibration")
    rotation = rotation.view(3, 3)
    return Camera(
        rotation=rotation, translation=-rotation.T @ shift, focal=focal, center=center,
        radial=bends[[0, 1, 4]], tangential=bends[[2, 3]], lens="opencv", size=SIZE,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- parts


def _frames(
    folder: Path, subject: str, action: str, view: str, start: int | None, count: int
) -> list[Path | FrameOfVideo]:
    if start is None:
        raise ValueError("frames: VideoPose3D's archive does not say which frames its poses are of; export .mat files")
    name = f"{action}_1_({view})"
    source = source_of_frames([folder / subject / name, folder / subject / "Image_Data" / name])
    return frames_of(source, range(start, start + count))


_Chunk = tuple[str, int | None, Tensor, list[Tensor]]  # name, first frame, world (T, 15, 3) mm, pixels of each camera


def _camera(source: str | Path | Mapping[tuple[str, str], Camera], subject: str, view: str) -> Camera:
    if not isinstance(source, Mapping):
        return read_camera(Path(source) / subject / "Calibration_Data" / f"{view}.cal")
    if (subject, view) not in source:
        raise ValueError(f"calibration: there is no camera {(subject, view)}, but {sorted(source)[:4]}")
    return source[subject, view]


def _chunks(root: Path, split: str, subject: str, action: str, keypoints: str) -> list[_Chunk]:
    prepared = root / "data_3d_humaneva15.npz"
    if prepared.is_file():
        flat = root / "data_2d_humaneva15_gt.npz" if keypoints == "gt" else Path(keypoints)
        return _prepared_chunks(prepared, flat, f"{split}/{subject}", f"{action} 1")
    if keypoints != "gt":
        raise ValueError(f"keypoints: detections go with {prepared.name}, which is not in {root}")
    for folder in (root, root / "converted_15j"):
        file = folder / split / subject / f"{action}_1.mat"
        if file.is_file():
            start, middle, end = RANGES[action, subject]
            return _exported_chunks(file, *((start, middle) if split == "Validate" else (middle, end)))
    raise ValueError(
        f"{root} has neither {prepared.name} nor {split}/{subject}/{action}_1.mat; export them with VideoPose3D's "
        "ConvertHumanEva.m"
    )


def _prepared_chunks(path: Path, flat_path: Path, subject: str, trial: str) -> list[_Chunk]:
    solid, flat = (
        read_prepared(file, key).get(subject, {}) for file, key in ((path, "positions_3d"), (flat_path, "positions_2d"))
    )
    names = [name for name in solid if name.startswith(f"{trial} chunk")]
    names.sort(key=lambda name: int(name.split("chunk")[1]))
    if not names:
        raise ValueError(f"{path} has no chunk of {subject} {trial}; leave it out with actions= or skip=")
    chunks: list[_Chunk] = []
    for name in names:
        world = _joints(np.asarray(solid[name]) * 1000.0, 3, f"{path}: {subject} {name}")
        views = flat.get(name)
        if views is None or any(view is None or len(view) != len(world) for view in views):
            raise ValueError(f"{flat_path}: {subject} {name} does not have {len(world)} frames of three cameras")
        pixels = [_joints(np.asarray(view)[..., :2], 2, f"{flat_path}: {subject} {name}") for view in views]
        chunks.append((name, None, world, pixels))
    return chunks


def _exported_chunks(path: Path, start: int, end: int) -> list[_Chunk]:
    try:
        arrays = load_mat(path, "export it again", squeeze=False)
        solid, flat = np.asarray(arrays["poses_3d"], np.float64), np.asarray(arrays["poses_2d"], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not an export of ConvertHumanEva.m ({error})") from error
    length = end - start
    if solid.shape != (length, 15, 3) or flat.shape != (3, length, 15, 2):
        raise ValueError(
            f"{path}: expected poses_3d ({length}, 15, 3) and poses_2d (3, {length}, 15, 2) for the frames {start} to "
            f"{end}, got {solid.shape} and {flat.shape}"
        )
    world, pixels = torch.from_numpy(solid).float(), torch.from_numpy(flat).float()
    whole = torch.isfinite(world).flatten(1).all(dim=1) & torch.isfinite(pixels).transpose(0, 1).flatten(1).all(dim=1)
    return [
        (f"{path.stem.replace('_', ' ')} chunk{i}", start + low, world[low:high], list(pixels[:, low:high]))
        for i, (low, high) in enumerate(valid_chunks(whole))
    ]


def _joints(array: np.ndarray, dims: int, name: str) -> Tensor:
    if array.ndim != 3 or array.shape[1:] != (15, dims) or not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite (T, 15, {dims}), got {array.shape}")
    return torch.from_numpy(array.astype(np.float32))
