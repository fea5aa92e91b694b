"""Human3.6M (Ionescu et al., TPAMI 2014), from its own files or from archives derived from them.

`root` is a folder with one of these, searched in this order, where S1 stands for each subject:

| files | what | needs |
|---|---|---|
| `data_3d_h36m.npz` | VideoPose3D's archive: world positions in metres, 32 joints | |
| `S1/MyPoseFeatures/D3_Positions/*.cdf` | the dataset's own files, unpacked: world positions, mm | cdflib |
| `S1/MyPoseFeatures/D3_Positions/*.cdf.mat` | the same, saved by MATLAB | SciPy |
| `S1/MyPoses/3D_positions/*.h5` | the archive of Martinez et al. (also below `h36m/`) | h5py |

and with the cameras: `metadata.xml` from the dataset's code release, or `cameras.h5` from the
archive of Martinez et al. VideoPose3D has them in its code only. 2D keypoints are the projected
joints, as in the papers, or detections in VideoPose3D's format, `data_2d_h36m_*.npz`. Only arrays
are loaded from an .npz; nothing in it is executed.

Known pitfalls that are handled: S1 has TakingPhoto and WalkingDog for the others' Photo and
WalkDog; Sitting and SittingDown, Walking and WalkDog are different actions; 17 of the 32 joints are
distinct; the tangential coefficients are in another order in VideoPose3D's code
(`geometry.Camera`).

Departures: RPSM goes from 50 to 2 frames per second in two steps, the second over the concatenated
frames of all videos, so that its phase differs between videos; `fps=2` takes the frames 0, 25, 50
... of each.
"""

import re
import xml.etree.ElementTree
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from posezoo.arrays import explained
from posezoo.data.clips import frames_of, read_mask_boxes, source_of_frames
from posezoo.data.files import load_arrays, load_mat
from posezoo.geometry import Camera
from posezoo.skeletons import Skeleton, get_skeleton

FPS = 50
TRAIN = ("S1", "S5", "S6", "S7", "S8")
TEST = ("S9", "S11")
ACTIONS = (
    *("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases"),
    *("Sitting", "SittingDown", "Smoking", "Waiting", "WalkDog", "Walking", "WalkTogether"),
)
SIZES = {"54138969": (1002, 1000), "55011271": (1000, 1000), "58860488": (1000, 1000), "60457274": (1002, 1000)}
CAMERAS = tuple(SIZES)
JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)  # of the 32, in the order of h36m17

# (subject, take, camera) of damaged videos. VideoPose3D leaves ("S11", "Directions") out for all cameras, RPSM also
# ("S11", "Directions 1", "54138969").
DAMAGED = (("S11", "Directions", "54138969"),)
# (subject, take) with shifted ground truth. The papers here use them; many later ones do not.
SHIFTED = (("S9", "Greeting"), ("S9", "SittingDown 1"), ("S9", "Waiting 1"))

_OTHER_NAMES = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog", "WalkingTogether": "WalkTogether"}

# Human3.6M's 17 joints without Neck/Nose: the 2D input of Martinez et al. and of Hossain & Little.
_WITHOUT_NOSE = [index for index, name in enumerate(get_skeleton("h36m17").keypoints) if name != "neck_nose"]
H36M16 = Skeleton(
    "h36m16",
    tuple(get_skeleton("h36m17").keypoints[index] for index in _WITHOUT_NOSE),
    bones=(
        *((0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9)),
        *((8, 10), (10, 11), (11, 12), (8, 13), (13, 14), (14, 15)),
    ),
)
# Detections of the stacked hourglass have 16 keypoints in MPII's order, and this is where each of `H36M16` is among
# them in the code of both papers. After fine-tuning on Human3.6M, 7 and 8 are its spine and thorax, where MPII has
# thorax and upper neck: a conversion by name would put the thorax 51 and the spine 30 pixels off.
HOURGLASS_ORDER = (6, 2, 1, 0, 3, 4, 5, 7, 8, 9, 13, 14, 15, 12, 11, 10)

_LAYOUTS: dict[frozenset[int], tuple[Skeleton, tuple[int, ...]]] = {  # left keypoints of a file -> skeleton, its order
    frozenset((4, 5, 6, 11, 12, 13)): (get_skeleton("h36m17"), tuple(range(17))),
    frozenset((1, 3, 5, 7, 9, 11, 13, 15)): (get_skeleton("coco17"), tuple(range(17))),
    frozenset((3, 4, 5, 13, 14, 15)): (H36M16, HOURGLASS_ORDER),
}


class Human36M(Dataset[dict[str, Any]]):
    """Videos of Human3.6M: one item for each subject, take and camera.

    Args:
        root: folder with the files of the module's table.
        subjects: some of `TRAIN` and `TEST`. (Report the subjects with results: "protocol 1" means
            S9 and S11 without alignment in some papers, S11 with alignment in others.)
        actions: names from `ACTIONS`. Defaults to all.
        cameras: numbers from `CAMERAS`.
        calibration: metadata.xml or cameras.h5, or cameras by (subject, camera). Defaults to the
            file in `root`.
        keypoints: "projected", or a file `data_2d_h36m_*.npz`. Detections are truncated to the
            length of the poses; their skeleton is the attribute `keypoint_skeleton`.
        skip: (subject, take) or (subject, take, camera) to leave out, with takes such as
            "Directions 1".
        fps: 50 divided by a whole number; 2 in RPSM.
        frames: folder of the images, with `<subject>/<take>.<camera>/` and file names that end in
            the number of the frame, from 1, as `ffmpeg -i "Walking 1.54138969.mp4" "Walking
            1.54138969/%06d.jpg"` writes; or of the dataset's videos,
            `<subject>/Videos/<take>.<camera>.mp4`, which are slower.
        boxes: "masks" for `boxes` from the dataset's own, `<subject>/MySegmentsMat/ground_truth_bb`
            below `frames`. Defaults to none.

    Yields videos as `posezoo.data` describes: `name`, `subject`, `action`, `take`, `view` (the
    camera's number), `fps`, `camera`, `pose3d` `(T, 17, 3)` mm in the camera's frame, `keypoints`
    `(T, K, 2)` pixels, and, if asked for, `frames`, T paths or frames of a video file, and `boxes`
    `(T, 4)` pixels.

    Raises:
        ValueError: a file is missing or malformed; names the file, the record and the fix.
    """

    skeleton = get_skeleton("h36m17")

    @explained
    def __init__(
        self,
        root: str | Path,
        *,
        subjects: Sequence[str] = TRAIN,
        actions: Sequence[str] | None = None,
        cameras: Sequence[str] = CAMERAS,
        calibration: str | Path | Mapping[tuple[str, str], Camera] | None = None,
        keypoints: str | Path = "projected",
        skip: Iterable[tuple[str, ...]] = DAMAGED,
        fps: float = FPS,
        frames: str | Path | None = None,
        boxes: str | None = None,
    ) -> None:
        self.root = Path(root)
        wanted = ACTIONS if actions is None else tuple(_OTHER_NAMES.get(action, action) for action in actions)
        for what, given, known in (
            ("subjects", subjects, (*TRAIN, *TEST)),
            ("actions", wanted, ACTIONS),
            ("cameras", cameras, CAMERAS),
        ):
            if isinstance(given, str) or not given or not set(given) <= set(known):
                raise ValueError(f"{what}: expected some of {', '.join(known)}, got {given!r}")
        self.step = round(FPS / fps) if fps > 0 else 0
        if not self.step or abs(FPS / self.step - fps) > 1e-6:
            raise ValueError(f"fps: expected 50 divided by a whole number, as 50, 25, 10 or 2, got {fps}")
        left_out = {(subject, _take(take), *camera) for subject, take, *camera in skip}
        for subject, take, *camera in left_out:
            if subject not in (*TRAIN, *TEST) or _action(take) not in ACTIONS or not set(camera) <= set(CAMERAS):
                raise ValueError(
                    'skip: expected entries like ("S9", "Greeting") or ("S11", "Directions", "54138969"), got '
                    f"{(subject, take, *camera)}"
                )
        poses = _read_poses(self.root, subjects, wanted)
        calibrated = _calibration(self.root, calibration)
        self.keypoint_skeleton, detections = self.skeleton, None
        order: tuple[int, ...] = ()
        if str(keypoints) != "projected":
            self.keypoint_skeleton, order, detections = _read_detections(Path(keypoints))
        self.images = None if frames is None else Path(frames)
        if boxes not in (None, "masks") or (boxes and self.images is None):
            raise ValueError(f'boxes: expected "masks" together with frames=, or None, got {boxes!r}')
        self.masks = self._masks if boxes else None
        self.records: list[_Record] = []
        for (subject, take), pose in poses.items():
            for view in cameras:
                if (subject, take) in left_out or (subject, take, view) in left_out:
                    continue
                if (subject, view) not in calibrated:
                    raise ValueError(
                        f"calibration: there is no camera {view} of {subject}, but {sorted(calibrated)[:4]}"
                    )
                found = None
                if detections is not None:
                    whole = _detected(detections, Path(keypoints), subject, take, view, len(pose), len(order))
                    found = whole[:: self.step, list(order)]
                folder = self._folder(subject, take, view)
                kept = pose[:: self.step]
                self.records.append(_Record(subject, take, view, kept, found, calibrated[subject, view], folder))
        if not self.records:
            raise ValueError("skip= leaves no video of those chosen")

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.records[index]
        pose3d = record.camera.world_to_camera(record.world.double())
        video = {
            "name": f"{record.subject} {record.take}.{record.view}",
            "subject": record.subject,
            "action": _action(record.take),
            "take": record.take,
            "view": record.view,
            "fps": FPS / self.step,
            "camera": record.camera,
            "pose3d": pose3d.float(),
            "keypoints": record.camera.project(pose3d).float() if record.keypoints is None else record.keypoints,
        }
        if record.images is not None:
            video["frames"] = frames_of(record.images, range(0, self.step * len(record.world), self.step))
        if self.masks is not None:
            boxes = read_mask_boxes(self.masks(record))[:: self.step]
            if len(boxes) < len(record.world):
                raise ValueError(f"{self.masks(record)} has {len(boxes)} masks for {len(record.world)} poses")
            video["boxes"] = boxes[: len(record.world)]
        return video

    def _folder(self, subject: str, take: str, view: str) -> Path | None:
        if self.images is None:
            return None
        names = [take, *_old_names(take)]
        places = [self.images / subject / part / f"{name}.{view}" for name in names for part in ("", "Videos")]
        return source_of_frames(places)

    def _masks(self, record: "_Record") -> Path:
        """The file of a video's masks, by the name that its subject has for the take."""
        assert self.images is not None
        folder = self.images / record.subject / "MySegmentsMat" / "ground_truth_bb"
        files = [folder / f"{name}.{record.view}.mat" for name in (record.take, *_old_names(record.take))]
        return next((file for file in files if file.is_file()), files[0])


def read_cameras(path: str | Path) -> dict[tuple[str, str], Camera]:
    """Read the cameras of Human3.6M, by subject and number.

    Args:
        path: metadata.xml, or the cameras.h5 of Martinez et al. metadata.xml has 300 numbers: for
            each camera and subject three angles, R = Rx Ry Rz, and a position, then for each camera
            the focal lengths, principal point, three radial and two tangential coefficients.

    Raises:
        ValueError: the file is missing or malformed.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"{path} is missing; the cameras are in metadata.xml of the data set's code release, or in the cameras.h5 "
            "of the archive of Martinez et al."
        )
    if path.suffix.lower() == ".h5":
        return _read_cameras_h5(path)
    try:
        text = xml.etree.ElementTree.parse(path).getroot().findtext("w0") or ""
        numbers = torch.tensor([float(word) for word in text.strip().strip("[]").split()], dtype=torch.float64)
    except (xml.etree.ElementTree.ParseError, ValueError) as error:
        raise ValueError(
            f"{path} is malformed ({error}); take metadata.xml from the data set's code release"
        ) from error
    if len(numbers) != 300 or not bool(numbers.isfinite().all()):
        raise ValueError(
            f"{path}: expected 300 numbers in <w0>, got {len(numbers)}, of them {int(numbers.isfinite().sum())} "
            "finite; is it Human3.6M's metadata.xml?"
        )
    outside, inside = numbers[:264].view(4, 11, 6), numbers[264:].view(4, 9)
    a, b, c = outside[..., :3].unbind(dim=-1)
    rotation = _turn(a, 0) @ _turn(b, 1) @ _turn(c, 2)
    return {
        (f"S{subject + 1}", view): _camera(rotation[i, subject], outside[i, subject, 3:], inside[i], view)
        for i, view in enumerate(CAMERAS)
        for subject in range(11)
    }


def read_prepared(path: Path, key: str) -> dict[str, Any]:
    """Read a dictionary of arrays that VideoPose3D's scripts have pickled into an .npz, safely.

    Args:
        path: the file.
        key: of the dictionary, such as "positions_3d", whose keys are subjects, then takes.

    Raises:
        ValueError: the file is missing or malformed, or has objects other than arrays, numbers and
            texts.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing; VideoPose3D's scripts write it")
    try:
        content = load_arrays(path, key=key, objects=True).get(key)
    except ValueError as error:
        raise ValueError(f"{path}: {key} cannot be read ({error}); expected the format of VideoPose3D") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected {key} to be a dictionary, as VideoPose3D writes it")
    return content


# ------------------------------------------------------------------------------------------------------------- parts


class _Record(NamedTuple):
    subject: str
    take: str
    view: str
    world: Tensor
    keypoints: Tensor | None
    camera: Camera
    images: Path | None


def _take(name: str) -> str:
    """ "TakingPhoto_1" -> "Photo 1"."""
    action, *number = name.replace("_", " ").split(" ")
    return " ".join([_OTHER_NAMES.get(action, action), *number])


def _old_names(take: str) -> list[str]:
    """ "Photo 1" -> ["TakingPhoto 1"]."""
    action = _action(take)
    return [take.replace(action, old) for old, new in _OTHER_NAMES.items() if new == action]


def _action(take: str) -> str:
    return re.sub(r" \d+$", "", take)


def _read_poses(root: Path, subjects: Sequence[str], actions: Sequence[str]) -> dict[tuple[str, str], Tensor]:
    """World positions `(T, 17, 3)` mm by subject and take."""
    prepared = root / "data_3d_h36m.npz"
    everything = read_prepared(prepared, "positions_3d") if prepared.is_file() else None
    poses = {}
    for subject in subjects:
        if everything is not None:
            source = f"{prepared}, {subject}"
            takes: dict[str, Any] = {_take(name): array for name, array in everything.get(subject, {}).items()}
        else:
            files = _pose_files(root, subject)
            source = str(files[0].parent)
            takes = {_take(file.name.split(".")[0]): file for file in files}
        absent = [action for action in actions if action not in map(_action, takes)]
        if absent:
            raise ValueError(
                f"{source}: there is no take of {', '.join(absent)}; unpack all of {subject}, or choose actions="
            )
        for take in sorted(takes):
            if _action(take) in actions:
                name, scale = f"{source}: {take}", 1.0
                array = takes[take]
                if isinstance(array, Path):
                    name, array = str(array), _read_file(array)
                else:
                    scale = 1000.0
                poses[subject, take] = _checked(np.asarray(array), name, scale)
    return poses


def _checked(array: np.ndarray, name: str, scale: float) -> Tensor:
    # CDF and MATLAB files have 96 columns, CDF with an axis for the record before
    if not array.size or (array.shape[-1] != 96 and array.shape[1:] != (32, 3)):
        raise ValueError(f"{name}: expected positions of 32 joints, (T, 32, 3) or (T, 96), got {array.shape}")
    pose = torch.from_numpy(array.reshape(-1, 32, 3)[:, JOINTS].astype(np.float64) * scale).float()
    bad = ~torch.isfinite(pose).flatten(1).all(dim=1)
    if bad.any():
        raise ValueError(f"{name}: frame {int(bad.nonzero()[0])} is not finite; download it again")
    return pose


def _pose_files(root: Path, subject: str) -> list[Path]:
    patterns = (
        f"{subject}/**/*D3_Positions/*.cdf",
        f"{subject}/**/*D3_Positions/*.cdf.mat",
        f"{subject}/MyPoses/3D_positions/*.h5",
        f"h36m/{subject}/MyPoses/3D_positions/*.h5",
    )
    for pattern in patterns:
        files = sorted(root.glob(pattern))
        if files:
            return files
    raise ValueError(
        f"{root} has neither data_3d_h36m.npz nor the poses of {subject}: expected "
        f"{root / subject / 'MyPoseFeatures' / 'D3_Positions'} with .cdf or .cdf.mat files, or "
        f"{root / subject / 'MyPoses' / '3D_positions'} with .h5 files"
    )


def _read_file(path: Path) -> np.ndarray:
    try:
        if path.suffix == ".cdf":
            cdflib = _needed("cdflib", path)
            return np.asarray(cdflib.CDF(str(path))["Pose"])
        if path.suffix == ".h5":
            with _needed("h5py", path).File(path) as file:
                return np.asarray(file["3D_positions"]).reshape(96, -1).T
        return np.asarray(load_mat(path, "unpack it again", squeeze=False)["data"][0, 0])
    except ImportError:
        raise
    except Exception as error:  # the parsers raise various exceptions for damaged files
        raise ValueError(f"{path} cannot be read ({type(error).__name__}: {error}); download it again") from error


def _needed(module: str, path: Path) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise ImportError(f"reading {path.name} needs {package}: pip install 'posezoo[data]'") from error


def _calibration(
    root: Path, calibration: str | Path | Mapping[tuple[str, str], Camera] | None
) -> Mapping[tuple[str, str], Camera]:
    if isinstance(calibration, Mapping):
        return calibration
    if calibration is not None:
        return read_cameras(calibration)
    places = [root / "metadata.xml", root / "cameras.h5", root / "h36m" / "cameras.h5"]
    return read_cameras(next((place for place in places if place.is_file()), places[0]))


def _read_cameras_h5(path: Path) -> dict[tuple[str, str], Camera]:
    cameras = {}
    try:
        with _needed("h5py", path).File(path) as file:
            for subject in (*TRAIN, *TEST):
                for number in range(1, 5):
                    group = file[f"subject{subject[1:]}/camera{number}"]
                    part = {key: torch.from_numpy(np.asarray(group[key], dtype=np.float64)) for key in "RTfckp"}
                    view = "".join(chr(int(code)) for code in np.asarray(group["Name"]).ravel())
                    inside = torch.cat([part[key].flatten() for key in "fckp"])
                    cameras[subject, view] = _camera(part["R"].mT, part["T"].flatten(), inside, view)  # column-major
    except (KeyError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} is not the cameras.h5 of Martinez et al. ({error})") from error
    return cameras


def _camera(rotation: Tensor, translation: Tensor, inside: Tensor, view: str) -> Camera:
    focal, center, radial, tangential = inside.split([2, 2, 3, 2])
    return Camera(
        rotation=rotation, translation=translation, focal=focal, center=center,
        radial=radial, tangential=tangential, lens="human36m", size=SIZES.get(view),
    )  # fmt: skip


def _turn(angle: Tensor, axis: int) -> Tensor:
    """Rotations about a coordinate axis, `(...) -> (..., 3, 3)`."""
    matrix = torch.eye(3, dtype=angle.dtype).repeat(*angle.shape, 1, 1)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[..., i, i] = matrix[..., j, j] = angle.cos()
    matrix[..., i, j], matrix[..., j, i] = -angle.sin(), angle.sin()
    return matrix


def _read_detections(path: Path) -> tuple[Skeleton, tuple[int, ...], dict[str, dict[str, Any]]]:
    """Return skeleton, indices of its keypoints in the file, and arrays by subject and take."""
    found = read_prepared(path, "positions_2d")
    metadata = read_prepared(path, "metadata")
    left = frozenset(int(index) for index in next(iter(metadata.get("keypoints_symmetry", [[]])), []))
    if left not in _LAYOUTS:
        raise ValueError(f"{path}: its left keypoints are {sorted(left)}, expected those of Human3.6M, COCO or MPII")
    detections = {subject: {_take(name): views for name, views in takes.items()} for subject, takes in found.items()}
    return *_LAYOUTS[left], detections


def _detected(
    detections: dict[str, dict[str, Any]], path: Path, subject: str, take: str, view: str, length: int, count: int
) -> Tensor:
    views = detections.get(subject, {}).get(take)
    array = None if views is None else views[CAMERAS.index(view)]
    if array is None:
        raise ValueError(f"{path} has no detections of {subject} {take}.{view}; leave the video out with skip=")
    if len(array) < length:
        raise ValueError(f"{path}: {subject} {take}.{view} has {len(array)} frames, the poses {length}")
    if np.ndim(array) != 3 or np.shape(array)[1] != count:
        raise ValueError(
            f"{path}: {subject} {take}.{view} has shape {np.shape(array)}, expected (T, {count}, 2), as the left "
            "keypoints in its metadata say; take another file"
        )
    return torch.from_numpy(np.asarray(array)[:length, :, :2].astype(np.float32))
