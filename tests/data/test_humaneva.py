"""HumanEva-I in VideoPose3D's two forms, generated, and the data set's calibration files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from posezoo.data import HumanEva, Windows
from posezoo.data.humaneva import DAMAGED, RANGES, read_camera
from posezoo.geometry import Camera, look_at
from posezoo.skeletons import get_skeleton

VIEWS = ("C1", "C2", "C3")
# of the frames of a recording, these have no valid pose: 012XX567X9 is split into 012, 567 and 9
HOLES = (3, 4, 8)


def camera(view: str) -> Camera:
    position = {"C1": (4000.0, 700.0, 1500.0), "C2": (800.0, -3800.0, 1500.0), "C3": (-800.0, 3900.0, 1400.0)}[view]
    target = torch.tensor([0.0, 0.0, 900.0], dtype=torch.float64)
    seen = look_at(torch.tensor(position, dtype=torch.float64), target, focal=1.0, size=(480, 640), up=(0, 0, 1))
    lens = torch.tensor([700, 710, 320, 240, -0.2, 0.1, 0.01, 0.001, -0.002], dtype=torch.float64)
    focal, center, radial, tangential = lens.split([2, 2, 3, 2])
    return Camera(
        rotation=seen.rotation, translation=seen.translation, focal=focal, center=center,
        radial=radial, tangential=tangential, lens="opencv",
    )  # fmt: skip


def calibrate(root: Path) -> Path:
    """As the data set's toolbox writes them: one number in a line, K = (k1, k2, p1, p2, k3), R by
    rows, T.
    """
    for subject in ("S1", "S2", "S3"):
        folder = root / subject / "Calibration_Data"
        folder.mkdir(parents=True)
        for view in VIEWS:
            c = camera(view)
            assert c.radial is not None
            assert c.tangential is not None
            bends = [*c.radial[:2].tolist(), *c.tangential.tolist(), float(c.radial[2])]
            shift = (-c.rotation @ c.translation).tolist()
            numbers = [*c.focal.tolist(), *c.center.tolist(), 0.0, *bends, *c.rotation.flatten().tolist(), *shift]
            (folder / f"{view}.cal").write_text("".join(f"{number!r} \n" for number in numbers))
    return root


def recording(subject: str, action: str, split: str, count: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """World (T, 15, 3) mm and pixels (3, T, 15, 2), whole."""
    start, middle, end = RANGES[action, subject]
    length = middle - start if split == "Validate" else end - middle
    rng = np.random.default_rng(length)
    solid = rng.normal(0, 300, (length, count, 3)) + np.array([0, 0, 900])
    flat = [camera(view).project(camera(view).world_to_camera(torch.from_numpy(solid))).numpy() for view in VIEWS]
    return solid, np.stack(flat)


def exported(root: Path, **change) -> Path:
    scipy_io = pytest.importorskip("scipy.io", reason="needs the package SciPy")
    for split in ("Train", "Validate"):
        for subject in ("S1", "S2"):
            solid, flat = recording(subject, "Walking", split)
            solid[list(HOLES)], flat[:, list(HOLES)] = np.nan, np.nan
            (root / split / subject).mkdir(parents=True)
            scipy_io.savemat(root / split / subject / "Walking_1.mat", {"poses_3d": solid, "poses_2d": flat, **change})
    return calibrate(root)


def prepared(root: Path) -> Path:
    solids, flats = {}, {}
    for split in ("Train", "Validate"):
        for subject in ("S1", "S2"):
            solid, flat = recording(subject, "Walking", split)
            pieces = {0: slice(0, 3), 2: slice(5, 8), 4: slice(9, None)}  # numbered with the gaps in between
            names = {f"Walking 1 chunk{i}": piece for i, piece in pieces.items()}
            solids[f"{split}/{subject}"] = {n: solid[piece].astype("f4") / 1000 for n, piece in names.items()}
            flats[f"{split}/{subject}"] = {n: list(flat[:, piece].astype("f4")) for n, piece in names.items()}
    np.savez_compressed(root / "data_3d_humaneva15.npz", positions_3d=solids)
    metadata = {"layout_name": "humaneva15", "num_joints": 15}
    np.savez_compressed(root / "data_2d_humaneva15_gt.npz", positions_2d=flats, metadata=metadata)
    return calibrate(root)


WALKING = {"subjects": ["S1", "S2"], "actions": ["Walking"]}


@pytest.mark.parametrize("make", [exported, prepared])
@pytest.mark.parametrize("split", ["Train", "Validate"])
def test_both_forms_give_the_same_chunks(tmp_path, make, split):
    videos = HumanEva(make(tmp_path), split=split, **WALKING)
    assert len(videos) == 2 * 3 * 3  # subjects, chunks, cameras
    assert [videos[i]["view"] for i in range(4)] == ["C1", "C2", "C3", "C1"]
    start, middle, end = RANGES["Walking", "S1"]
    length, first = (middle - start, start) if split == "Validate" else (end - middle, middle)
    for number, piece in enumerate((slice(0, 3), slice(5, 8), slice(9, length))):
        solid, flat = recording("S1", "Walking", split)
        for i in range(3):
            video = videos[3 * number + i]
            assert video["subject"] == "S1"
            assert video["action"] == "Walking"
            assert video["fps"] == 60
            assert video["name"].startswith(f"{split}/S1 Walking 1 chunk")
            if make is exported:
                assert video["start"] == first + piece.start
            back = video["camera"].camera_to_world(video["pose3d"].double())
            assert_close(back, torch.from_numpy(solid[piece]), rtol=0, atol=2e-3)
            assert_close(video["keypoints"], torch.from_numpy(flat[i, piece]).float(), rtol=0, atol=1e-3)
            assert_close(video["camera"].project(video["pose3d"]), video["keypoints"], rtol=0, atol=1e-2)


def test_no_window_reaches_over_a_gap(tmp_path):
    videos = HumanEva(prepared(tmp_path), split="Validate", subjects=["S1"], actions=["Walking"], cameras=["C1"])
    windows = Windows(videos, length=3)
    count = 590 - 5 - 9
    assert len(windows) == 1 + 1 + count - 2
    assert windows.owners[:3].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"chunk0.C1. has 3 frames and the window 4"):
        Windows(videos, length=4)


def test_fourteen_joints_are_the_fifteen_without_pelvis(tmp_path):
    fifteen = HumanEva(prepared(tmp_path), **WALKING)
    fourteen = HumanEva(tmp_path, joints=14, **WALKING)
    assert fifteen.skeleton == get_skeleton("humaneva15")
    assert fourteen.skeleton == get_skeleton("humaneva14")
    assert_close(fourteen[5]["pose3d"], fifteen[5]["pose3d"][:, 1:])
    assert_close(fourteen[5]["keypoints"], fifteen[5]["keypoints"][:, 1:])


def test_ranges_are_the_protocols():  # spec 7.2
    assert len(RANGES) == 15
    assert RANGES["Walking", "S1"] == (5, 590, 1203)
    assert RANGES["Jog", "S2"] == (5, 398, 795)
    assert RANGES["Box", "S3"] == (5, 512, 1021)
    assert sum(end - middle for (action, _), (_, middle, end) in RANGES.items() if action == "Walking") == 1542
    assert all(start == 5 < middle < end for start, middle, end in RANGES.values())
    assert DAMAGED == (("S3", "ThrowCatch"),)


def test_detections_and_cameras_of_ones_own(tmp_path):
    prepared(tmp_path)
    shifted = dict(np.load(tmp_path / "data_2d_humaneva15_gt.npz", allow_pickle=True))
    for takes in shifted["positions_2d"].item().values():
        for views in takes.values():
            views[:] = [view + 1 for view in views]
    np.savez(tmp_path / "data_2d_humaneva15_mine.npz", **shifted)
    plain = HumanEva(tmp_path, **WALKING)
    mine = {(subject, view): camera(view) for subject in ("S1", "S2") for view in VIEWS}
    for folder in ("S1", "S2", "S3"):
        for view in VIEWS:
            (tmp_path / folder / "Calibration_Data" / f"{view}.cal").unlink()
    found = HumanEva(tmp_path, keypoints=tmp_path / "data_2d_humaneva15_mine.npz", calibration=mine, **WALKING)
    assert_close(found[4]["keypoints"], plain[4]["keypoints"] + 1)
    assert_close(found[4]["pose3d"], plain[4]["pose3d"])
    with pytest.raises(ValueError, match=r"C1.cal is missing; .*or give calibration="):
        HumanEva(tmp_path, **WALKING)
    with pytest.raises(ValueError, match=r"calibration: there is no camera \('S2', 'C1'\)"):
        HumanEva(tmp_path, calibration={key: c for key, c in mine.items() if key[0] == "S1"}, **WALKING)


def test_options_and_files_that_do_not_exist(tmp_path):
    prepared(tmp_path)
    for options, message in (
        ({"split": "Test"}, "split: expected some of Train, Validate"),
        ({"subjects": ["S4"]}, "subjects: expected"),
        ({"actions": "Walking"}, "actions: expected"),
        ({"cameras": ["BW1"]}, "cameras: expected"),
        ({"joints": 20}, "joints: expected some of 15, 14, got"),
        ({"actions": ["Jog"]}, r"no chunk of Train/S1 Jog 1; leave it out"),
        ({"skip": [("S1", "Walking"), ("S2", "Walking")]}, "leaves no video"),
        ({"keypoints": tmp_path / "none.npz"}, r"none.npz is missing"),
    ):
        with pytest.raises(ValueError, match=message):
            HumanEva(tmp_path, **{**WALKING, **options})
    (tmp_path / "data_3d_humaneva15.npz").unlink()
    with pytest.raises(ValueError, match=r"neither data_3d_humaneva15.npz nor Train/S1/Walking_1.mat"):
        HumanEva(tmp_path, **WALKING)


def test_exports_that_do_not_fit_the_ranges_are_named(tmp_path):
    root = exported(tmp_path, poses_3d=np.zeros((10, 15, 3)))
    with pytest.raises(ValueError, match=r"Walking_1.mat: expected poses_3d \(613, 15, 3\).*frames 590 to 1203, got"):
        HumanEva(root, **WALKING)
    (root / "Train" / "S1" / "Walking_1.mat").write_text("nothing")
    with pytest.raises(ValueError, match=r"Walking_1.mat is not an export"):
        HumanEva(root, **WALKING)


def test_calibration_files(tmp_path):
    path = calibrate(tmp_path) / "S2" / "Calibration_Data" / "C3.cal"
    found, true = read_camera(path), camera("C3")
    for name in ("rotation", "translation", "focal", "center", "radial", "tangential"):
        assert_close(getattr(found, name), getattr(true, name), rtol=0, atol=1e-9)
    assert (found.lens, found.size) == ("opencv", (480, 640))
    words = path.read_text().split()
    path.write_text(" ".join(words[:21]))
    with pytest.raises(ValueError, match="expected 22 numbers"):
        read_camera(path)
    path.write_text(" ".join([*words[:4], "0.5", *words[5:]]))
    with pytest.raises(ValueError, match=r"a skew of 0.5"):
        read_camera(path)
