"""Human3.6M from each of its distributions, generated with their names and layouts."""

import math
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from posezoo.data import Human36M
from posezoo.data.human36m import ACTIONS, CAMERAS, DAMAGED, H36M16, JOINTS, SHIFTED, read_cameras, read_prepared
from posezoo.geometry import look_at
from posezoo.skeletons import convert, get_skeleton

# spec 6.1: the 32-joint index of each of the 17
assert JOINTS == (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)

TAKES = {  # as the files are named; S1 has names of its own
    "S1": [
        "Directions",
        "Directions 1",
        "Sitting 1",
        "SittingDown",
        "TakingPhoto 1",
        "WalkingDog",
        "Walking",
        "WalkTogether",
    ],
    "S9": ["Directions", "Greeting", "Greeting 1", "Waiting 1", "Waiting", "SittingDown 1", "SittingDown"],
    "S11": ["Directions", "Directions 1", "Phoning 2", "Phoning 3", "Photo"],
}
CHOICE = ("Directions", "Sitting", "SittingDown", "Photo", "WalkDog", "Walking", "WalkTogether")
LENS = [1145.05, 1143.78, 512.54, 515.45, -0.2071, 0.2478, -0.0031, -0.00142, -0.00098]


def world(subject: str, take: str) -> np.ndarray:
    """World positions (T, 32, 3) mm, z up, of a length of its own."""
    rng = np.random.default_rng(sum(map(ord, subject + take)))
    return rng.normal(0, 300, (30 + len(take), 32, 3)) + np.array([0, 0, 1000])


def calibration(number: int, subject: int) -> tuple[list[float], list[float]]:
    """Three angles and a position of a camera in a corner of the room, directed at the middle, and
    the lens.
    """
    turn = math.pi / 4 + number * math.pi / 2 + 0.01 * subject
    position = torch.tensor([4500 * math.cos(turn), 4500 * math.sin(turn), 1500 + subject], dtype=torch.float64)
    target = torch.tensor([0.0, 0.0, 900.0], dtype=torch.float64)
    r = look_at(position, target, focal=1.0, size=(1, 1), up=(0, 0, 1)).rotation
    angles = [math.atan2(-r[1, 2], r[2, 2]), math.asin(r[0, 2]), math.atan2(-r[0, 1], r[0, 0])]  # of Rx Ry Rz
    return [*angles, *position.tolist()], [value + 0.001 * number * abs(value) for value in LENS]


def metadata(root: Path) -> Path:
    numbers = [v for camera in range(4) for subject in range(1, 12) for v in calibration(camera, subject)[0]]
    numbers += [v for camera in range(4) for v in calibration(camera, 1)[1]]
    text = " ".join(map(repr, numbers))
    (root / "metadata.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<a><mapping><tr><td>Action</td></tr></mapping><w0>[{text}]</w0></a>\n'
    )
    return root


def npz(root: Path) -> Path:
    positions = {
        subject: {
            take.replace("TakingPhoto", "Photo").replace("WalkingDog", "WalkDog"): world(subject, take).astype("f4")
            / 1000
            for take in takes
        }
        for subject, takes in TAKES.items()
    }
    np.savez_compressed(root / "data_3d_h36m.npz", positions_3d=positions)
    return metadata(root)


def files(root: Path, folder: str, suffix: str, write) -> Path:
    for subject, takes in TAKES.items():
        (root / subject / folder).mkdir(parents=True)
        for take in takes:
            write(root / subject / folder / f"{take}{suffix}", world(subject, take).astype("f4").reshape(-1, 96))
    return metadata(root)


def cdf(root: Path) -> Path:
    cdfwrite = pytest.importorskip("cdflib.cdfwrite", reason="needs the package cdflib")

    def write(path, array):
        file = cdfwrite.CDF(str(path), delete=True)
        spec = {"Variable": "Pose", "Data_Type": 44, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": [*array.shape]}
        file.write_var(spec, var_data=array[None])
        file.close()

    return files(root, "MyPoseFeatures/D3_Positions", ".cdf", write)


def mat(root: Path) -> Path:
    scipy_io = pytest.importorskip("scipy.io", reason="needs the package SciPy")

    def write(path, array):
        cell = np.empty((1, 1), dtype=object)
        cell[0, 0] = array
        scipy_io.savemat(path, {"data": cell}, appendmat=False)

    return files(root, "MyPoseFeatures/D3_Positions", ".cdf.mat", write)


def h5(root: Path) -> Path:
    h5py = pytest.importorskip("h5py", reason="needs the package h5py")

    def write(path, array):
        with h5py.File(path, "w") as file:
            file["3D_positions"] = array.T

    return files(root, "MyPoses/3D_positions", ".h5", write)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    return npz(tmp_path_factory.mktemp("h36m"))


# ------------------------------------------------------------------------------------------------------ the formats


@pytest.mark.parametrize("make", [npz, cdf, mat, h5])
def test_every_distribution_gives_the_same_videos(tmp_path, make):
    videos = Human36M(make(tmp_path), subjects=["S1"], actions=CHOICE)
    assert len(videos) == 8 * 4
    takes = ["Directions", "Directions 1", "Photo 1", "Sitting 1", "SittingDown", "WalkDog", "WalkTogether", "Walking"]
    assert [videos[i]["take"] for i in range(0, 32, 4)] == takes
    assert [videos[i]["action"] for i in range(0, 32, 4)] == [take.removesuffix(" 1") for take in takes]
    assert [videos[i]["view"] for i in range(5)] == [*CAMERAS, CAMERAS[0]]
    for i, name in ((9, "TakingPhoto 1"), (30, "Walking"), (22, "WalkingDog"), (19, "SittingDown")):
        video, truth = videos[i], torch.from_numpy(world("S1", name)[:, JOINTS])
        back = video["camera"].camera_to_world(video["pose3d"].double())
        assert_close(back, truth, rtol=0, atol=2e-3)  # float32, metres in one of the formats
        assert video["pose3d"].dtype == video["keypoints"].dtype == torch.float32
        assert video["keypoints"].shape == (len(truth), 17, 2)


def test_a_video_has_the_documented_fields(archive):
    video = Human36M(archive, subjects=["S1"], actions=["Walking"], cameras=["60457274"])[0]
    assert sorted(video) == ["action", "camera", "fps", "keypoints", "name", "pose3d", "subject", "take", "view"]
    assert (video["name"], video["fps"], video["camera"].size) == ("S1 Walking.60457274", 50, (1002, 1000))
    assert_close(video["camera"].project(video["pose3d"]), video["keypoints"], rtol=0, atol=1e-3)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert (video["camera"].rotation @ up)[1] < -0.9  # the world's z is up: -y of the image
    assert video["pose3d"][..., 2].min() > 1000


def test_cameras_are_those_of_the_file(archive):
    cameras = read_cameras(archive / "metadata.xml")
    assert len(cameras) == 44
    for number, view in enumerate(CAMERAS):
        for subject in (1, 7, 11):
            camera, (outside, inside) = cameras[f"S{subject}", view], calibration(number, subject)
            assert_close(camera.translation.tolist(), outside[3:])
            parts = (camera.focal, camera.center, camera.radial, camera.tangential)
            assert_close(torch.cat(parts).tolist(), inside)
            assert camera.lens == "human36m"
            middle = camera.world_to_camera(torch.tensor([0.0, 0.0, 900.0], dtype=torch.float64))
            assert_close(
                middle[:2], torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-6
            )  # R = Rx Ry Rz, no other order
    assert CAMERAS == ("54138969", "55011271", "58860488", "60457274")
    assert [cameras["S1", view].size for view in CAMERAS] == [(1002, 1000), (1000, 1000), (1000, 1000), (1002, 1000)]


def test_cameras_of_the_other_file_are_the_same(tmp_path, archive):
    h5py = pytest.importorskip("h5py", reason="needs the package h5py")
    cameras = read_cameras(archive / "metadata.xml")
    with h5py.File(tmp_path / "cameras.h5", "w") as file:
        for subject in (1, 5, 6, 7, 8, 9, 11):
            for number, view in enumerate(CAMERAS):
                camera, group = cameras[f"S{subject}", view], f"subject{subject}/camera{number + 1}"
                file[f"{group}/R"] = camera.rotation.T.numpy()
                for key, value in (
                    ("T", "translation"),
                    ("f", "focal"),
                    ("c", "center"),
                    ("k", "radial"),
                    ("p", "tangential"),
                ):
                    file[f"{group}/{key}"] = getattr(camera, value).numpy()[:, None]
                file[f"{group}/Name"] = np.array([[ord(letter)] for letter in view], np.uint16)
    found = read_cameras(tmp_path / "cameras.h5")
    assert len(found) == 28
    for key, camera in found.items():
        assert_close(camera.rotation, cameras[key].rotation)
        assert_close(camera.tangential, cameras[key].tangential)


def test_ones_own_cameras_may_be_in_the_other_order(archive):
    """The constants in VideoPose3D's code have the tangential coefficients swapped."""
    theirs = {}
    for key, camera in read_cameras(archive / "metadata.xml").items():
        parts = {name: getattr(camera, name) for name in ("rotation", "translation", "focal", "center", "radial")}
        theirs[key] = type(camera)(**parts, tangential=camera.tangential.flip(0), lens="videopose3d")
    ours = Human36M(archive, subjects=["S1"], actions=["Walking"])
    swapped = Human36M(archive, subjects=["S1"], actions=["Walking"], calibration=theirs)
    assert_close(swapped[3]["keypoints"], ours[3]["keypoints"])


# ------------------------------------------------------------------------------------------------------- what to read


def test_actions_are_whole_names(archive):
    def takes(*actions: str) -> list[str]:
        return [v["take"] for v in Human36M(archive, subjects=["S1"], actions=actions, cameras=CAMERAS[:1])]

    assert takes("Sitting") == ["Sitting 1"]
    assert takes("SittingDown") == ["SittingDown"]
    assert takes("Walking") == ["Walking"]
    assert takes("Photo") == takes("TakingPhoto") == ["Photo 1"]
    assert takes("WalkDog", "WalkTogether") == ["WalkDog", "WalkTogether"]
    assert len(ACTIONS) == 15


def test_damaged_and_shifted_videos_can_be_left_out(archive):
    def names(skip: tuple, subject: str, *actions: str) -> list[str]:
        return [f"{v['take']}.{v['view']}" for v in Human36M(archive, subjects=[subject], actions=actions, skip=skip)]

    everything = [f"{take}.{view}" for take in ("Directions", "Directions 1") for view in CAMERAS]
    assert names((), "S11", "Directions") == everything
    assert names(DAMAGED, "S11", "Directions") == everything[1:]
    assert names((("S11", "Directions"),), "S11", "Directions") == everything[4:]  # VideoPose3D
    rpsm = (*DAMAGED, ("S11", "Directions 1", "54138969"))
    assert names(rpsm, "S11", "Directions") == everything[1:4] + everything[5:]
    left = {name.split(".")[0] for name in names(SHIFTED, "S9", "Greeting", "Waiting", "SittingDown")}
    assert left == {"Greeting 1", "Waiting", "SittingDown"}
    assert names((("S1", "TakingPhoto 1", "54138969"),), "S1", "Photo") == [f"Photo 1.{view}" for view in CAMERAS[1:]]
    with pytest.raises(ValueError, match="leaves no video"):
        names((("S1", "Walking"),), "S1", "Walking")
    with pytest.raises(ValueError, match="skip: expected entries like"):
        names((("S9", "Greetings"),), "S9", "Greeting")


@pytest.mark.parametrize(("fps", "step"), [(50, 1), (25, 2), (10, 5), (2, 25)])
def test_frame_rates(archive, fps, step):
    full = Human36M(archive, subjects=["S1"], actions=["Walking"])[1]
    video = Human36M(archive, subjects=["S1"], actions=["Walking"], fps=fps)[1]
    assert video["fps"] == fps
    assert_close(video["pose3d"], full["pose3d"][::step])
    assert_close(video["keypoints"], full["keypoints"][::step])


def detections(root: Path, symmetry: list, count: int, extra: int = 3) -> Path:
    rng = np.random.default_rng(0)
    found = {
        "S1": {
            name: [rng.uniform(0, 1000, (len(world("S1", old)) + extra, count, 2)).astype("f4") for _ in CAMERAS]
            for name, old in (("Walking", "Walking"), ("Photo 1", "TakingPhoto 1"))
        }
    }
    path = root / f"data_2d_h36m_{count}.npz"
    np.savez_compressed(path, positions_2d=found, metadata={"num_joints": count, "keypoints_symmetry": symmetry})
    return path


@pytest.mark.parametrize(
    ("symmetry", "count", "skeleton"),
    [
        ([[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]], 17, "h36m17"),
        ([[1, 3, 5, 7, 9, 11, 13, 15], [2, 4, 6, 8, 10, 12, 14, 16]], 17, "coco17"),
    ],
)
def test_detections(archive, tmp_path, symmetry, count, skeleton):
    path = detections(tmp_path, symmetry, count)
    videos = Human36M(archive, subjects=["S1"], actions=["Walking", "Photo"], keypoints=path, fps=25)
    assert videos.keypoint_skeleton == get_skeleton(skeleton)
    stored = read_prepared(path, "positions_2d")["S1"]
    for video in videos:
        whole = stored[video["take"]][CAMERAS.index(video["view"])]
        assert video["keypoints"].shape == (len(video["pose3d"]), count, 2)
        assert_close(video["keypoints"], torch.from_numpy(whole[::2][: len(video["pose3d"])]))


def test_detections_of_the_hourglass_are_reordered_as_in_the_papers(archive, tmp_path):
    """The permutation of Martinez et al. and Hossain & Little: thorax and spine are not where
    MPII's names say.
    """
    true = Human36M(archive, subjects=["S1"], actions=["Walking"])
    names = [name for name in true.skeleton.keypoints if name != "neck_nose"]
    in_file = [6, 2, 1, 0, 3, 4, 5, 7, 8, 9, 13, 14, 15, 12, 11, 10]
    found = []
    for video in true:  # what a perfect hourglass, fine-tuned on these 16 joints, would detect
        detected = np.empty((len(video["keypoints"]), 16, 2), dtype=np.float32)
        detected[:, in_file] = video["keypoints"][:, [true.skeleton.index(name) for name in names]]
        found.append(detected)
    path = tmp_path / "data_2d_h36m_sh_ft_h36m.npz"
    metadata = {"num_joints": 16, "keypoints_symmetry": [[3, 4, 5, 13, 14, 15], [0, 1, 2, 10, 11, 12]]}
    np.savez_compressed(path, positions_2d={"S1": {"Walking": found}}, metadata=metadata)

    videos = Human36M(archive, subjects=["S1"], actions=["Walking"], keypoints=path, fps=25)
    assert videos.keypoint_skeleton == H36M16
    assert list(H36M16.keypoints) == names
    assert H36M16.flip_index == (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 13, 14, 15, 10, 11, 12)
    whole_bones, bones = (
        {tuple(skeleton.keypoints[end] for end in bone) for bone in skeleton.bones}
        for skeleton in (true.skeleton, H36M16)
    )
    assert bones == {bone for bone in whole_bones if "neck_nose" not in bone} | {("thorax", "head")}
    for video, whole in zip(videos, true, strict=True):
        keypoints, visible = convert(video["keypoints"], H36M16, "h36m17")
        expected = whole["keypoints"][::2]
        joints = visible.all(dim=0)
        assert (~joints).nonzero().flatten().tolist() == [true.skeleton.index("neck_nose")]
        assert_close(keypoints[:, joints], expected[:, joints])
        by_name, _ = convert(torch.from_numpy(found[CAMERAS.index(video["view"])][::2]), "mpii16", "h36m17")
        off = (by_name - expected).norm(dim=-1).mean(dim=0)
        for name, at_fault in (("spine", True), ("thorax", True), ("head", False), ("left_wrist", False)):
            assert (off[true.skeleton.index(name)] > 1) == at_fault


def test_detections_of_another_number_of_keypoints(archive, tmp_path):
    path = detections(tmp_path, [[3, 4, 5, 13, 14, 15], [0, 1, 2, 10, 11, 12]], 17)
    with pytest.raises(ValueError, match=r"S1 Walking.54138969 has shape \(40, 17, 2\), expected \(T, 16, 2\)"):
        Human36M(archive, subjects=["S1"], actions=["Walking"], keypoints=path)


def test_detections_that_do_not_fit(archive, tmp_path):
    path = detections(tmp_path, [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]], 17, extra=-1)
    with pytest.raises(ValueError, match=r"S1 Walking.54138969 has 36 frames, the poses 37"):
        Human36M(archive, subjects=["S1"], actions=["Walking"], keypoints=path)
    with pytest.raises(ValueError, match=r"no detections of S1 WalkDog.54138969; leave the video out"):
        Human36M(archive, subjects=["S1"], actions=["WalkDog"], keypoints=path)
    odd = detections(tmp_path, [[0], [1]], 5)
    with pytest.raises(ValueError, match=r"left keypoints are \[0\]"):
        Human36M(archive, subjects=["S1"], actions=["Walking"], keypoints=odd)
    with pytest.raises(ValueError, match=r"nowhere.npz is missing"):
        Human36M(archive, subjects=["S1"], actions=["Walking"], keypoints=tmp_path / "nowhere.npz")


def test_images(archive, tmp_path):
    for take in ("TakingPhoto 1", "Walking"):
        folder = tmp_path / "S1" / f"{take}.54138969"
        folder.mkdir(parents=True)
        for number in range(1, len(world("S1", take)) + 3):  # videos are a little longer than the poses
            Image.new("RGB", (2, 2)).save(folder / f"{number:06d}.jpg")
    options = {"subjects": ["S1"], "cameras": CAMERAS[:1], "frames": tmp_path, "fps": 10}
    for video in Human36M(archive, actions=["Photo", "Walking"], **options):
        numbers = [int(path.stem) for path in video["frames"]]
        assert numbers == list(range(1, 1 + 5 * len(video["pose3d"]), 5))
        assert all(path.is_file() for path in video["frames"])
    (tmp_path / "S1" / "Walking.54138969" / "000011.jpg").unlink()
    with pytest.raises(ValueError, match="has no image of frame 11"):
        Human36M(archive, actions=["Walking"], **options)[0]
    with pytest.raises(ValueError, match=r"WalkDog.54138969 is missing"):
        Human36M(archive, actions=["WalkDog"], **options)


# ------------------------------------------------------------------------------------------------------------- errors


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_nothing_in_an_archive_is_executed(tmp_path):
    trap = tmp_path / "executed"
    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d={"S1": Touch(trap)})
    with pytest.raises(ValueError, match="only arrays are expected"):
        read_prepared(tmp_path / "data_3d_h36m.npz", "positions_3d")
    assert not trap.exists()
    pickle.loads(pickle.dumps(Touch(trap)))  # what it would have done
    assert trap.exists()


def test_options_that_do_not_exist(archive):
    for options, message in (
        ({"subjects": ["S2"]}, "subjects: expected some of S1, S5"),
        ({"subjects": "S1"}, "subjects: expected"),
        ({"subjects": []}, "subjects: expected"),
        ({"actions": ["Sit"]}, "actions: expected"),
        ({"cameras": ["1"]}, "cameras: expected some of 54138969"),
        ({"fps": 30}, "50 divided by a whole number"),
        ({"fps": 0}, "50 divided by a whole number"),
    ):
        with pytest.raises(ValueError, match=message):
            Human36M(archive, **{"subjects": ["S1"], "actions": ["Walking"], **options})


def test_missing_parts_are_named(tmp_path, archive):
    with pytest.raises(ValueError, match=r"neither data_3d_h36m.npz nor the poses of S1"):
        Human36M(tmp_path, subjects=["S1"])
    with pytest.raises(ValueError, match="no take of Discussion, Eating"):
        Human36M(archive, subjects=["S1"])
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "data_3d_h36m.npz").write_bytes((archive / "data_3d_h36m.npz").read_bytes())
    with pytest.raises(ValueError, match=r"metadata.xml is missing; the cameras are in"):
        Human36M(bare, subjects=["S1"], actions=["Walking"])
    (bare / "metadata.xml").write_text("<a><w0>[1 2 3]</w0></a>")
    with pytest.raises(ValueError, match="expected 300 numbers in <w0>, got 3"):
        Human36M(bare, subjects=["S1"], actions=["Walking"])
    (bare / "metadata.xml").write_text("no xml")
    with pytest.raises(ValueError, match=r"metadata.xml is malformed"):
        Human36M(bare, subjects=["S1"], actions=["Walking"])
    with pytest.raises(ValueError, match="calibration: there is no camera 54138969 of S1"):
        Human36M(bare, subjects=["S1"], actions=["Walking"], calibration={})


@pytest.mark.parametrize(
    ("pose", "message"),
    [
        (np.zeros((5, 17, 3)), r"expected positions of 32 joints, .* got \(5, 17, 3\)"),
        (np.zeros((0, 32, 3)), r"expected positions .* got \(0, 32, 3\)"),
        (np.full((5, 32, 3), np.nan), "frame 0 is not finite"),
    ],
)
def test_malformed_poses_are_named(tmp_path, pose, message):
    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d={"S1": {"Walking": pose}})
    with pytest.raises(ValueError, match=f"S1: Walking: {message}"):
        Human36M(metadata(tmp_path), subjects=["S1"], actions=["Walking"])


def test_one_frame(tmp_path):
    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d={"S1": {"Walking": world("S1", "Walking")[:1] / 1000}})
    assert Human36M(metadata(tmp_path), subjects=["S1"], actions=["Walking"], fps=2)[0]["pose3d"].shape == (1, 17, 3)


@pytest.mark.parametrize(("suffix", "folder", "package"), [
    (".cdf", "MyPoseFeatures/D3_Positions", "cdflib"), (".h5", "MyPoses/3D_positions", "h5py"),
])  # fmt: skip
def test_packages_that_are_needed_are_named(tmp_path, monkeypatch, suffix, folder, package):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    files(tmp_path, folder, suffix, lambda path, array: path.touch())
    with pytest.raises(ImportError, match=rf"needs {package}: pip install 'posezoo\[data\]'"):
        Human36M(tmp_path, subjects=["S1"], actions=["Walking"])


def test_a_broken_file_is_named(tmp_path):
    pytest.importorskip("scipy.io")
    files(tmp_path, "MyPoseFeatures/D3_Positions", ".cdf.mat", lambda path, array: path.write_text("nothing"))
    with pytest.raises(ValueError, match=r"Walking.cdf.mat cannot be read .*download it again"):
        Human36M(tmp_path, subjects=["S1"], actions=["Walking"])
