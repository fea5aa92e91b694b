"""The CMU motion capture dataset: its repairs and selections, and properties of the real
recordings.
"""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mocap_files import BUILDER, MAX, amc, asf, bvh, by_hand, poses
from torch import Tensor
from torch.testing import assert_close

from posezoo.data import CMU, Windows, project_videos, virtual_cameras
from posezoo.data.cmu import NAMES, UNIT, drop_t_pose, read_motions, restore_thorax, subject_of, to_h36m17
from posezoo.data.mocap import Motion, read_bvh
from posezoo.skeletons import get_skeleton

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "cmu"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the CMU recordings are not there")
H36M = get_skeleton("h36m17")
PARENTS = [0, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15]


def read(text: str, name: str = "07_01") -> Motion:
    """As `CMU` reads a .bvh."""
    return restore_thorax(drop_t_pose(read_bvh(text, name, unit=UNIT)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Subject 02 as .asf and .amc, 07 and 35 as BVH, and a prepared clip."""
    root = tmp_path_factory.mktemp("cmu")
    (root / "02").mkdir()
    (root / "02" / "02.asf").write_text(asf())
    for number, count in (("02_01", 13), ("02_02", 1)):
        (root / "02" / f"{number}.amc").write_text(amc(poses(count)))
    (root / "07_01.bvh").write_text(bvh(poses(9)))
    (root / "35_10.bvh").write_text(bvh(poses(9), BUILDER))
    keypoints = np.random.default_rng(0).normal(0, 300, (11, 17, 3)).astype("f4")
    np.savez(root / "soccer_1.npz", keypoints=keypoints, fps=60)
    return root


# ------------------------------------------------------------------------------------------------------- the repairs


@pytest.mark.parametrize("naming", [MAX, BUILDER])
@pytest.mark.parametrize("lost", [True, False])
def test_bvh_against_the_recursion(naming, lost):
    """Also with the bone that Hahne's files lack: it comes back, and what has it is left alone."""
    frames = poses(5)
    motion = read(bvh(frames, naming, lost))
    expected = [by_hand(frame, axis=(0.0, 0.0, 0.0)) for frame in frames]  # BVH has no axes of its own
    pose3d = to_h36m17(motion)
    for t in range(5):
        places = {key: expected[t][names[0]] for key, names in NAMES.items()}
        for key in places:
            if key in H36M.keypoints:
                assert_close(pose3d[t, H36M.index(key)].numpy(), places[key], rtol=0, atol=2e-3)  # 6 digits in the file
        middle = (places["left_shoulder"] + places["right_shoulder"]) / 2
        assert_close(pose3d[t, H36M.index("thorax")].numpy(), middle, rtol=0, atol=2e-3)
        assert_close(
            pose3d[t, H36M.index("spine")].numpy(), (places["upperback"] + places["chest"]) / 2, rtol=0, atol=2e-3
        )
    raw = to_h36m17(read_bvh(bvh(frames, naming, lost), unit=UNIT))
    moved = (raw - pose3d).norm(dim=-1)
    above = ("thorax", "neck_nose", "head", "shoulder", "elbow", "wrist")
    upper = torch.tensor([name.removeprefix("left_").removeprefix("right_") in above for name in H36M.keypoints])
    assert moved[:, ~upper].abs().max() < 1e-6
    assert_close(moved[:, upper], torch.full_like(moved[:, upper], 2 * UNIT if lost else 0.0))


def test_the_t_pose_before_the_first_frame_goes():
    frames = poses(4)
    rest = {"root": [1.5, 2.5, 3.5, 0, 0, 0], "lfemur": [0, 0, -21], "lhumerus": [11.0, 0, 0]}
    for part in ("positions", "rotations", "angles"):
        assert_close(getattr(read(bvh([rest, *frames])), part), getattr(read(bvh(frames)), part))
    assert len(read_bvh(bvh([rest, *frames]), unit=UNIT).positions) == 5  # the general reader keeps it
    assert len(read(bvh([rest])).positions) == 1  # the only frame is not dropped
    assert len(read(bvh([rest, rest])).positions) == 2  # nor one that is like the others


def test_a_restored_motion_is_restored_once():
    motion = read(bvh(poses(3)))
    assert restore_thorax(motion) is motion
    there = motion.positions[:, list(motion.parents)] + torch.einsum(
        "tjab,jb->tja", motion.rotations[:, list(motion.parents)], motion.offsets
    )
    assert_close(there[:, 1:], motion.positions[:, 1:])  # offsets, rotations and positions still belong together


# ------------------------------------------------------------------------------------------------------- the dataset


def test_all_forms_in_one_folder(folder):
    clips = CMU(folder, fps=None)
    assert [clip["name"] for clip in clips] == ["02_01", "02_02", "07_01", "35_10", "soccer_1"]
    assert [clip["subject"] for clip in clips] == ["02", "02", "07", "35", None]
    assert [clip["fps"] for clip in clips] == [120, 120, 120, 120, 60]
    assert [tuple(clip["pose3d"].shape) for clip in clips] == [(n, 17, 3) for n in (13, 1, 9, 9, 11)]
    assert all(clip["pose3d"].dtype == torch.float32 for clip in clips)
    assert clips.subjects == ["02", "07", "35"]
    assert_close(clips[2]["pose3d"], to_h36m17(next(read_motions(folder, ["07_01"]))).float())
    assert_close(clips[2]["pose3d"], clips[3]["pose3d"])


def test_a_zip_file_is_its_folder(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, f"bvh/{path.relative_to(folder)}")
        archive.writestr("__MACOSX/bvh/._02_01.amc", b"\x00rubbish")
    for packed, plain in zip(CMU(tmp_path / "all.zip"), CMU(folder), strict=True):
        assert packed["name"] == plain["name"]
        assert_close(packed["pose3d"], plain["pose3d"])


def test_subjects_are_held_out(folder):
    def names(**options) -> list[str]:
        return [clip["name"] for clip in CMU(folder, **options)]

    assert names(subjects=["02"]) == names(subjects=[2]) == ["02_01", "02_02"]
    assert names(skip=["02", "07"]) == ["35_10", "soccer_1"]
    assert names(skip=["02_01", 35]) == ["02_02", "07_01", "soccer_1"]
    assert set(names(subjects=["02", "35"])) | set(names(subjects=["07"])) == set(names()) - {"soccer_1"}
    with pytest.raises(ValueError, match="has nothing of 08; its subjects are 02, 07, 35"):
        names(subjects=["07", 8])
    with pytest.raises(ValueError, match="has nothing of 02_03"):
        names(skip=["02_03"])
    with pytest.raises(ValueError, match="no clip is left of the 5"):
        names(subjects=["02"], skip=["02"])
    assert [subject_of(name) for name in ("144_33", "1_1", "soccer_1", "02")] == ["144", "1", None, None]


@pytest.mark.parametrize(("fps", "count"), [(120, 13), (60, 7), (50, 6), (30, 4), (240, 25)])
def test_frame_rates(folder, fps, count):
    full, clip = (CMU(folder, subjects=["02"], fps=rate)[0] for rate in (None, fps))
    assert clip["fps"] == fps
    assert len(clip["pose3d"]) == count
    times = torch.arange(count) * 120 / fps
    before, after = times.floor().long(), times.ceil().long()
    share = (times - before)[:, None, None]
    expected = full["pose3d"][before] * (1 - share) + full["pose3d"][after] * share
    assert_close(clip["pose3d"], expected, rtol=0, atol=1e-3)


def test_prepared_clips_keep_their_limbs(folder):
    stored = torch.from_numpy(np.load(folder / "soccer_1.npz")["keypoints"])
    raw = CMU(folder, fps=None, skip=["02", "07", "35"], restore_thorax=False)[0]["pose3d"]
    same = [i for i, name in enumerate(H36M.keypoints) if name not in ("pelvis", "spine", "thorax", "neck_nose")]
    assert_close(raw[:, same], stored[:, same])
    assert_close(raw[:, 0], (stored[:, 1] + stored[:, 4]) / 2)
    assert_close(raw[:, H36M.index("neck_nose")], (stored[:, 9] + stored[:, 10]) / 2)
    mended = CMU(folder, fps=None, skip=["02", "07", "35"])[0]["pose3d"]
    shift = (mended - raw)[:, 10:]
    length = (stored[:, 8] - stored[:, 7]).norm(dim=-1)
    assert_close(shift, shift[:, :1].expand_as(shift), rtol=0, atol=1e-3)
    assert_close(shift[:, 0].norm(dim=-1), length, rtol=1e-4, atol=1e-2)
    assert_close(mended[:, :8], raw[:, :8])


def test_project_videos_and_windows(folder):
    video = CMU(folder)[0]
    cameras = virtual_cameras(video["pose3d"], 3, distance=(5000, 7000), generator=torch.Generator().manual_seed(0))
    videos = project_videos(video, cameras)
    assert [v["name"] for v in videos] == ["02_01.0", "02_01.1", "02_01.2"]
    for i, v in enumerate(videos):
        assert (v["view"], v["subject"], v["fps"]) == (i, "02", 50)
        assert_close(v["camera"].camera_to_world(v["pose3d"]), video["pose3d"], rtol=0, atol=1e-2)
        assert_close(v["camera"].project(v["pose3d"]), v["keypoints"], rtol=0, atol=1e-2)
    assert len(Windows(videos, length=3)) == 3 * (len(video["pose3d"]) - 2)
    towards = project_videos({"name": "x", "pose3d": torch.zeros(1, 17, 3)}, virtual_cameras(torch.zeros(1, 17, 3), 1))
    assert towards[0]["keypoints"].shape == (1, 17, 2)
    behind = {"name": "far", "pose3d": video["pose3d"] + 10 * (cameras.translation[0] - video["pose3d"].mean((0, 1)))}
    with pytest.raises(ValueError, match="in far the person goes behind camera 0"):
        project_videos(behind, cameras)


# ----------------------------------------------------------------------------------------------------------- errors


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match="is neither a folder nor a zip file"):
        CMU(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"holds no .amc, .bvh or .npz"):
        CMU(tmp_path)
    (tmp_path / "09_01.amc").write_text(amc(poses(2)))
    with pytest.raises(ValueError, match=r"09_01.amc needs the skeleton 09.asf, which is not there"):
        CMU(tmp_path)
    (tmp_path / "09_01.amc").unlink()
    np.savez(tmp_path / "odd_1.npz", keypoints=np.zeros((4, 16, 3)), fps=60)
    with pytest.raises(ValueError, match=r"odd_1.npz: expected keypoints \(T, 17, 3\).*got \(4, 16, 3\)"):
        CMU(tmp_path)
    np.savez(tmp_path / "odd_1.npz", keypoints=np.full((4, 17, 3), np.nan), fps=60)
    with pytest.raises(ValueError, match=r"odd_1.npz: frame 0 is not finite"):
        CMU(tmp_path)
    np.savez(tmp_path / "odd_1.npz", poses=np.zeros((4, 17, 3)))
    with pytest.raises(ValueError, match=r"odd_1.npz: expected the arrays keypoints and fps"):
        CMU(tmp_path)
    with pytest.raises(ValueError, match="has no motion '99_01'"):
        next(read_motions(folder, ["99_01"]))


# ------------------------------------------------------------------------------------------------ the real recordings


def facing(pose3d: Tensor) -> Tensor:
    """The way a person faces: forward is left x up, in a right-handed world with y up."""
    left = pose3d[:, H36M.index("left_hip")] - pose3d[:, H36M.index("right_hip")]
    forward = torch.linalg.cross(left, torch.tensor([0.0, 1.0, 0.0]).expand_as(left), dim=-1)
    return forward / forward.norm(dim=-1, keepdim=True)


def lengths(pose3d: Tensor) -> Tensor:
    return (pose3d - pose3d[:, PARENTS]).norm(dim=-1)[:, 1:]


@pytest.fixture(scope="module")
def walks() -> CMU:
    return CMU(DATA / "bvh.zip", subjects=["02", "06", "10", "12", "38", "43", "113"])


@needs_data
@pytest.mark.slow
def test_all_walks_do():
    everything = CMU(DATA / "bvh.zip")
    assert len(everything) == 65
    assert len(everything.subjects) == 22
    assert everything.subjects == sorted({clip["name"].split("_")[0] for clip in everything})
    test_people_walk_forward_on_the_floor_and_are_of_human_size(everything)
    test_cameras_can_be_stood_around_every_recording(everything)


@needs_data
def test_people_walk_forward_on_the_floor_and_are_of_human_size(walks):
    for clip in walks:
        pose3d = clip["pose3d"]
        steps = torch.diff(pose3d[:, 0], dim=0) * torch.tensor([1.0, 0, 1.0])
        forward = (steps * facing(pose3d)[:-1]).sum() / steps.norm(dim=-1).sum()
        assert forward > 0.75, clip["name"]  # 0.98 in most; a swap of left and right would give -0.98
        shoulders = pose3d[:, H36M.index("left_shoulder")] - pose3d[:, H36M.index("right_shoulder")]
        hips = pose3d[:, H36M.index("left_hip")] - pose3d[:, H36M.index("right_hip")]
        assert torch.cosine_similarity(shoulders, hips, dim=-1).mean() > 0.9, clip["name"]
        lowest = pose3d[..., 1].amin(dim=1)
        assert 40 < float(lowest.median()) < 130, clip["name"]  # the lowest keypoint is an ankle, 5 to 12 cm up
        assert float(lowest.min()) > 0, clip["name"]
        stature = float(pose3d[:, H36M.index("head"), 1].max())
        assert 1400 < stature < 1750, clip["name"]
        assert float((pose3d[:, H36M.index("head"), 1] - pose3d[:, 0, 1]).min()) > 400, clip["name"]  # upright


@needs_data
def test_bones_of_the_rig_keep_their_length():
    limbs = [i - 1 for i, name in enumerate(H36M.keypoints) if name.endswith(("knee", "ankle", "elbow", "wrist"))]
    for motion in read_motions(DATA / "bvh.zip", ("02_01", "35_01", "12_03")):
        assert float(lengths(to_h36m17(motion))[:, limbs].std(dim=0).max()) < 1e-6, motion.name
        bones = motion.positions - motion.positions[:, list(motion.parents)]
        assert_close(bones.norm(dim=-1)[:, 1:], motion.offsets.norm(dim=-1)[1:].expand(len(bones), -1))


@needs_data
@pytest.mark.parametrize("name", ["02_01", "02_02"])
def test_both_forms_of_a_recording_agree(name):
    """The two readers, over two file formats, rigs and conventions of angles, on the two clips that
    exist in both.
    """
    original = to_h36m17(next(read_motions(DATA / "asfamc.zip", [name])))
    converted = to_h36m17(next(read_motions(DATA / "bvh.zip", [name])))
    assert_close(converted, original, rtol=0, atol=0.6)  # 0.5 mm is the bone that the BVH lacks, taken from another
    assert_close(converted[:, :7], original[:, :7], rtol=0, atol=0.05)  # four decimals in the file
    raw = to_h36m17(next(read_motions(DATA / "bvh.zip", [name], restore_thorax=False)))
    assert_close((raw - original)[:, 8:].norm(dim=-1).mean(), torch.tensor(116.7).double(), rtol=0, atol=0.5)


@needs_data
def test_all_three_sources_have_a_persons_proportions(walks):
    """Mean lengths, mm, of thigh, shin, upper arm, forearm and trunk; Human3.6M's are 443, 454,
    279, 252 and 490.
    """
    sources = {"bvh": walks, "clips": CMU(DATA / "clips"), "amc": CMU(DATA / "asfamc.zip", subjects=["02"])}
    for name, clips in sources.items():
        mean = torch.stack([lengths(clip["pose3d"]).mean(dim=0) for clip in clips]).mean(dim=0)
        thigh, shin, upper, lower = (float(mean[i - 1]) for i in (5, 6, 12, 13))
        pose3d = torch.cat([clip["pose3d"] for clip in clips])
        trunk = float((pose3d[:, H36M.index("thorax")] - pose3d[:, 0]).norm(dim=-1).mean())
        assert 360 < thigh < 450, name
        assert 390 < shin < 460, name
        assert 255 < upper < 300, name
        assert 170 < lower < 210, name
        assert 460 < trunk < 540, name


@needs_data
def test_the_repair_of_the_prepared_clips_is_about_right(tmp_path):
    """Clips made from the BVH files, as the prepared ones are, come back close to the BVH files
    repaired.
    """
    for name in ("02_01", "38_01", "12_01"):
        raw = next(read_motions(DATA / "bvh.zip", [name], restore_thorax=False))
        place = {joint: raw.positions[:, i] for i, joint in enumerate(raw.joints)}
        plain = to_h36m17(raw)
        for index, joint in ((0, "Hips"), (7, "Chest"), (8, "Chest2"), (9, "Neck")):
            plain[:, index] = place[joint]
        np.savez(tmp_path / f"x_{name.replace('_', '')}.npz", keypoints=plain.float().numpy(), fps=120)
    true = [to_h36m17(m) for m in read_motions(DATA / "bvh.zip", ("02_01", "12_01", "38_01"))]
    for clip, pose3d in zip(CMU(tmp_path, fps=None), true, strict=True):
        error = (clip["pose3d"] - pose3d).norm(dim=-1).mean(dim=0)
        assert error[:7].max() < 0.1
        assert error.max() < 30  # of 117 mm


@needs_data
def test_cameras_can_be_stood_around_every_recording(walks):
    generator = torch.Generator().manual_seed(0)
    for clip in walks:
        videos = project_videos(clip, virtual_cameras(clip["pose3d"], 4, generator=generator))
        for video in videos:
            assert float(video["pose3d"][..., 2].min()) >= 999
            head, pelvis = (video["keypoints"][:, H36M.index(name), 1] for name in ("head", "pelvis"))
            assert (head < pelvis).all()  # upright in the image
