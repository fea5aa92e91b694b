"""CMU motion capture: kinematics against hand-made skeletons, and what must hold of the real recordings."""

import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from posezoo.data import CMU, Windows, add_noise, film, virtual_cameras
from posezoo.data.cmu import NAMES, UNIT, read_amc, read_asf, read_bvh, read_motions, resample, subject_of, to_h36m17
from posezoo.skeletons import get_skeleton

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "cmu"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the CMU recordings are not there")
H36M = get_skeleton("h36m17")
PARENTS = [0, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15]

# A person of few bones in the three naming schemes. In .asf a bone has a direction and a length, its child starts at
# its end; in BVH a joint has an offset from its parent. (name in .asf, parent, start of the bone in units)
BONES = {
    "root": (None, (0, 0, 0)),
    **{
        f"{s}{bone}": (parent if parent == "root" else f"{s}{parent}", (sign * x, y, z))
        for s, sign in (("l", 1), ("r", -1))
        for bone, parent, (x, y, z) in (
            ("hipjoint", "root", (0, 0, 0)),
            ("femur", "hipjoint", (1.6, -1.8, 0.6)),
            ("tibia", "femur", (0, -7.5, 0)),
            ("foot", "tibia", (0, -7.2, 0)),
        )
    },
    "lowerback": ("root", (0, 0, 0)),
    "upperback": ("lowerback", (0, 2, 0)),
    "thorax": ("upperback", (0, 2, 0)),
    "lowerneck": ("thorax", (0, 2, 0)),
    "upperneck": ("lowerneck", (0, 1.6, 0)),
    "head": ("upperneck", (0, 1.6, 0)),
    **{
        f"{s}{bone}": (parent if parent == "thorax" else f"{s}{parent}", (sign * x, y, z))
        for s, sign in (("l", 1), ("r", -1))
        for bone, parent, (x, y, z) in (
            ("clavicle", "thorax", (0, 2, 0)),
            ("humerus", "clavicle", (3.4, 0.9, -0.2)),
            ("radius", "humerus", (5, 0, 0)),
            ("wrist", "radius", (3.4, 0, 0)),
        )
    },
}
ENDS = {"lfoot": (0, 0, 2.5), "rfoot": (0, 0, 2.5), "head": (0, 1.6, 0), "lwrist": (1.5, 0, 0), "rwrist": (-1.5, 0, 0)}
TURNED = ("lfemur", "ltibia", "lhumerus", "upperback", "head")  # the bones that have degrees of freedom
AXIS = (20.0, -30.0, 40.0)  # the frame that they turn in


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """About x, then y, then z, all fixed; degrees."""
    (cx, sx), (cy, sy), (cz, sz) = ((math.cos(math.radians(a)), math.sin(math.radians(a))) for a in (x, y, z))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def poses(count: int, seed: int = 0) -> list[dict[str, list[float]]]:
    """Numbers of each frame: the root's place (units) and turn (degrees), and the turns of some bones."""
    rng = np.random.default_rng(seed)
    return [
        {
            "root": [*rng.uniform(-20, 20, 3), *rng.uniform(-180, 180, 3)],
            **{b: [*rng.uniform(-80, 80, 3)] for b in TURNED},
        }
        for _ in range(count)
    ]


def by_hand(pose: dict[str, list[float]], axis: tuple[float, float, float] = AXIS) -> dict[str, np.ndarray]:
    """Where each bone starts, and each last one ends (`<bone>_end`), mm, recursively as Acclaim's documents say."""
    frame = rotation(*axis)
    turns, starts = {}, {}
    for bone, (parent, start) in BONES.items():
        own = frame @ rotation(*pose[bone]) @ frame.T if bone in TURNED else np.eye(3)
        if parent is None:
            turns[bone], starts[bone] = rotation(*pose[bone][3:]), np.array(pose[bone][:3])
        else:
            turns[bone] = turns[parent] @ own
            starts[bone] = starts[parent] + turns[parent] @ np.array(start, float)
    ends = {f"{bone}_end": starts[bone] + turns[bone] @ np.array(end, float) for bone, end in ENDS.items()}
    return {bone: place * 25.4 / 0.45 for bone, place in {**starts, **ends}.items()}


def asf() -> str:
    """The skeleton, in the words of the database's files."""
    children: dict[str, list[str]] = {}
    for bone, (parent, _) in BONES.items():
        children.setdefault(parent, []).append(bone)
    lines = [
        "# AST/ASF file generated using VICON BodyLanguage", ":version 1.10", ":name VICON", ":units", "  mass 1.0",
        "  length 0.45", "  angle deg", ":documentation", "   of nobody", ":root", "   order TX TY TZ RX RY RZ",
        "   axis XYZ", "   position 0 0 0  ", "   orientation 0 0 0 ", ":bonedata",
    ]  # fmt: skip
    for number, bone in enumerate([b for b in BONES if b != "root"], start=1):
        end = ENDS.get(bone) or BONES[children[bone][0]][1]
        length = float(np.linalg.norm(end))
        direction = " ".join(repr(float(v) / length) for v in end) if length else "0 1 0"
        lines += ["  begin", f"     id {number} ", f"     name {bone}", f"     direction {direction}"]
        lines += [f"     length {length!r}  ", f"     axis {AXIS[0]} {AXIS[1]} {AXIS[2]}  XYZ"]
        if bone in TURNED:
            lines += [
                "    dof rx ry rz",
                "    limits (-160.0 20.0)",
                "           (-70.0 70.0)",
                "           (-60.0 70.0)",
            ]
        lines += ["  end"]
    lines += [":hierarchy", "  begin", *(f"    {p} {' '.join(c)}" for p, c in children.items() if p), "  end"]
    return "\r\n".join(lines) + "\r\n"


def amc(frames: list[dict[str, list[float]]]) -> str:
    lines = ["#!OML:ASF H:\\somewhere.ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    for number, frame in enumerate(frames, start=1):
        lines += [str(number), *(f"{bone} {' '.join(map(repr, map(float, v)))}" for bone, v in frame.items())]
    return "\r\n".join(lines) + "\r\n"


MAX, BUILDER = 1, 2  # the two namings of Hahne's files, columns of NAMES
OTHERS = {"root": "Hips", "lhipjoint": "LHipJoint", "rhipjoint": "RHipJoint", "lowerback": "LowerBack"}


def bvh(frames: list[dict[str, list[float]]], naming: int = MAX, lost: bool = True) -> str:
    """The same skeleton as Hahne converts it, without the bone between chest and neck if it is `lost`; the axes of the
    bones are the world's, as there."""
    names = {keys[0]: keys[naming] for keys in NAMES.values()} | OTHERS
    lines = ["HIERARCHY"]

    def joint(bone: str, depth: int) -> None:
        parent, offset = BONES[bone]
        if lost and parent == "thorax":
            offset = (0, 0, 0)
        pad = "\t" * depth
        order = "Zrotation Yrotation Xrotation"
        channels = f"6 Xposition Yposition Zposition {order}" if parent is None else f"3 {order}"
        lines.extend([f"{pad}{'JOINT' if parent else 'ROOT'} {names.get(bone, bone)}", f"{pad}{{"])
        lines.extend([f"{pad}\tOFFSET {' '.join(map(str, offset))}", f"{pad}\tCHANNELS {channels} "])
        order_of.append(bone)
        for child, (above, _) in BONES.items():
            if above == bone:
                joint(child, depth + 1)
        if bone in ENDS:
            lines.extend(
                [f"{pad}\tEnd Site", f"{pad}\t{{", f"{pad}\t\tOFFSET {' '.join(map(str, ENDS[bone]))}", f"{pad}\t}}"]
            )
        lines.append(f"{pad}}}")

    order_of: list[str] = []
    joint("root", 0)
    lines += ["MOTION", f"Frames: {len(frames)}", "Frame Time: .0083333"]
    for frame in frames:
        turns = {bone: frame.get(bone, [0.0, 0.0, 0.0])[-3:][::-1] for bone in order_of}
        lines.append(" ".join(f"{v:.6f}" for v in [*frame["root"][:3], *(v for bone in order_of for v in turns[bone])]))
    return "\n".join(lines) + "\n"


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


# ------------------------------------------------------------------------------------------------------- kinematics


def test_asf_and_amc_against_a_recursion():
    frames = poses(6)
    motion = read_amc(amc(frames), read_asf(asf()), "02_01")
    assert motion.fps == 120
    for t, frame in enumerate(frames):
        expected = by_hand(frame)
        assert sorted(motion.joints) == sorted(expected)
        for joint, place in expected.items():
            assert_close(motion.positions[t, motion.joints.index(joint)].numpy(), place, rtol=0, atol=1e-8)
    assert_close(torch.linalg.det(motion.rotations), torch.ones(motion.rotations.shape[:2], dtype=torch.float64))


def test_rotations_turn_what_hangs_on_a_joint():
    motion = read_amc(amc(poses(4)), read_asf(asf()))
    for joint, parent in enumerate(motion.parents):
        if parent >= 0:
            there = motion.positions[:, parent] + motion.rotations[:, parent] @ motion.offsets[joint]
            assert_close(there, motion.positions[:, joint])


@pytest.mark.parametrize("naming", [MAX, BUILDER])
@pytest.mark.parametrize("lost", [True, False])
def test_bvh_against_the_recursion(naming, lost):
    """Also with the bone that Hahne's files lack: it comes back, and what has it is left alone."""
    frames = poses(5)
    motion = read_bvh(bvh(frames, naming, lost), "07_01")
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
    raw = to_h36m17(read_bvh(bvh(frames, naming, lost), restore_thorax=False))
    moved = (raw - pose3d).norm(dim=-1)
    above = ("thorax", "neck_nose", "head", "shoulder", "elbow", "wrist")
    upper = torch.tensor([name.removeprefix("left_").removeprefix("right_") in above for name in H36M.keypoints])
    assert moved[:, ~upper].abs().max() < 1e-6
    assert_close(moved[:, upper], torch.full_like(moved[:, upper], 2 * UNIT if lost else 0.0))


def test_the_t_pose_before_the_first_frame_goes():
    frames = poses(4)
    rest = {"root": [1.5, 2.5, 3.5, 0, 0, 0], "lfemur": [0, 0, -21], "lhumerus": [11.0, 0, 0]}
    assert_close(read_bvh(bvh([rest, *frames])).positions, read_bvh(bvh(frames)).positions)
    assert len(read_bvh(bvh([rest])).positions) == 1  # the only frame is not dropped
    assert len(read_bvh(bvh([rest, rest])).positions) == 2  # nor one that is like the others


def test_degrees_of_freedom_may_come_in_any_order_of_the_bones():
    frames = poses(3)
    turned = [{bone: frame[bone] for bone in reversed(frame)} for frame in frames]
    rig = read_asf(asf())
    assert_close(read_amc(amc(turned), rig).positions, read_amc(amc(frames), rig).positions)


def test_units_of_the_asf():
    inches, radians = asf().replace("length 0.45", "length 1.0"), asf().replace("angle deg", "angle rad")
    assert_close(read_asf(inches).offsets * (1 / 0.45), read_asf(asf()).offsets)
    assert pytest.approx(56.444, abs=1e-3) == UNIT
    frames = poses(2)
    small = [{b: [*v[:-3], *np.radians(v[-3:])] for b, v in f.items()} for f in frames]
    zero = "     axis 0 0 0  XYZ"
    plain, turned = (text.replace(f"     axis {AXIS[0]} {AXIS[1]} {AXIS[2]}  XYZ", zero) for text in (asf(), radians))
    assert_close(read_amc(amc(small), read_asf(turned)).positions, read_amc(amc(frames), read_asf(plain)).positions)


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


def test_resample_by_whole_steps_takes_the_frames_themselves():
    pose3d = torch.randn(13, 17, 3)
    assert torch.equal(resample(pose3d, 120, 60), pose3d[::2])
    assert torch.equal(resample(pose3d, 1 / 0.0083333, 30), pose3d[::4])
    assert torch.equal(resample(pose3d, 120, 120), pose3d)
    assert len(resample(pose3d[:1], 120, 50)) == 1
    with pytest.raises(ValueError, match="no frame"):
        resample(pose3d[:0], 120, 50)
    with pytest.raises(ValueError, match="positive frame rates"):
        resample(pose3d, 120, 0)


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


# ---------------------------------------------------------------------------------------------------------- cameras


def test_virtual_cameras_stand_where_they_should():
    pose3d = 300 * torch.randn(40, 17, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor(
        [3000.0, 900, -7000]
    )
    cameras = virtual_cameras(pose3d, 200, generator=torch.Generator().manual_seed(0), aim=0.0)
    floor, path = pose3d[..., 1].min(), pose3d.double().mean(dim=1)
    middle = (path.amin(dim=0) + path.amax(dim=0)) / 2
    away = cameras.translation - middle
    assert 2500 - 1 <= float(away.norm(dim=-1).min()) < 3000 < 6500 < float(away.norm(dim=-1).max()) <= 7000 + 1
    level = cameras.translation[:, 1] - floor
    assert 500 <= float(level.min()) < 700 < 2000 < float(level.max()) <= 2200
    assert 800 <= float(cameras.focal.min()) < 900 < 1700 < float(cameras.focal.max()) <= 1800
    azimuth = torch.atan2(away[:, 2], away[:, 0])
    assert (torch.histc(azimuth, 8, -math.pi, math.pi) > 8).all()  # all around
    assert_close(cameras.project(cameras.world_to_camera(middle.expand(200, 3))), torch.full((200, 2), 499.5).double())
    jittered = virtual_cameras(pose3d, 200, generator=torch.Generator().manual_seed(0))
    off = (jittered.project(jittered.world_to_camera(middle.expand(200, 3))) - 499.5).norm(dim=-1)
    assert 10 < float(off.median()) < 200


def test_virtual_cameras_keep_their_distance_and_repeat():
    walk = torch.linspace(-2500, 2500, 60)[:, None, None] * torch.tensor([1.0, 0, 0])
    pose3d = walk + 250 * torch.randn(60, 17, 3, generator=torch.Generator().manual_seed(0))

    def cameras(seed: int):
        return virtual_cameras(pose3d, 50, generator=torch.Generator().manual_seed(seed))

    depth = cameras(0).world_to_camera(pose3d[None])[..., 2]
    assert float(depth.min()) >= 1000
    assert_close(cameras(0).translation, cameras(0).translation)
    assert not torch.equal(cameras(0).translation, cameras(1).translation)
    with pytest.raises(ValueError, match="cut the video into shorter ones"):
        virtual_cameras(pose3d * 10, 4)
    with pytest.raises(ValueError, match="one or more frames"):
        virtual_cameras(pose3d[:0], 4)
    with pytest.raises(ValueError, match="finite"):
        virtual_cameras(torch.full((2, 17, 3), torch.nan), 4)


def test_film_and_windows(folder):
    video = CMU(folder)[0]
    cameras = virtual_cameras(video["pose3d"], 3, distance=(5000, 7000), generator=torch.Generator().manual_seed(0))
    videos = film(video, cameras)
    assert [v["name"] for v in videos] == ["02_01.0", "02_01.1", "02_01.2"]
    for i, v in enumerate(videos):
        assert (v["view"], v["subject"], v["fps"]) == (i, "02", 50)
        assert_close(v["camera"].camera_to_world(v["pose3d"]), video["pose3d"], rtol=0, atol=1e-2)
        assert_close(v["camera"].project(v["pose3d"]), v["keypoints"], rtol=0, atol=1e-2)
    assert len(Windows(videos, length=3)) == 3 * (len(video["pose3d"]) - 2)
    towards = film({"name": "x", "pose3d": torch.zeros(1, 17, 3)}, virtual_cameras(torch.zeros(1, 17, 3), 1))
    assert towards[0]["keypoints"].shape == (1, 17, 2)
    behind = {"name": "far", "pose3d": video["pose3d"] + 10 * (cameras.translation[0] - video["pose3d"].mean((0, 1)))}
    with pytest.raises(ValueError, match="in far the person goes behind camera 0"):
        film(behind, cameras)


def test_noise():
    keypoints = torch.full((300, 17, 2), 7.0)
    noisy = add_noise(keypoints, 15.0, generator=torch.Generator().manual_seed(0))
    assert float(noisy.mean()) == pytest.approx(7, abs=0.5)
    assert float((noisy - 7).std()) == pytest.approx(15, rel=0.02)
    assert_close(noisy, add_noise(keypoints, 15.0, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(add_noise(keypoints, 0.0), keypoints)


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(":bonedata", ":bones"), "no section :bonedata"),
        (lambda text: text.replace("name lfemur", "label lfemur"), "is malformed"),
        (lambda text: text.replace("length 7.2", "length x"), "is malformed"),
    ],
)
def test_broken_skeletons_are_named(change, message):
    with pytest.raises(ValueError, match=f"02.asf.*{message}"):
        read_asf(change(asf()), "02.asf")


def test_broken_motions_are_named():
    rig, text = read_asf(asf()), amc(poses(3))
    without = "\r\n".join(line for i, line in enumerate(text.split("\r\n")) if i != text.split("\r\n").index("3") + 2)
    with pytest.raises(ValueError, match="02_01: frame 3 is incomplete"):
        read_amc(without, rig, "02_01")
    with pytest.raises(ValueError, match="02_01: frame 2 is incomplete or out of order"):
        read_amc(text.replace("\r\n2\r\n", "\r\n7\r\n"), rig, "02_01")
    with pytest.raises(ValueError, match=r"another skeleton .* the first frame has femur with 3 numbers, no lfemur"):
        read_amc(text.replace("lfemur", "femur"), rig, "02_01")
    with pytest.raises(ValueError, match="expected the number of the first frame"):
        read_amc(":DEGREES\n", rig, "02_01")
    body = bvh(poses(3))
    for broken, message in (
        (body.replace("MOTION", "MOVES"), "is it a BVH file"),
        (body.replace("Frames: 3", "Frames: 4"), "expected 4 frames of 72 numbers, got 216 numbers"),
        (body.replace("Frames: 3", "Frames: 0"), "expected 0 frames"),
        (body.replace("\tOFFSET 0 -7.5 0", "\tOFFSET 0 -7.5 x"), "the hierarchy is malformed"),
        (body[: len(body) // 2] + " x " + body[len(body) // 2 :], "07_01"),
    ):
        with pytest.raises(ValueError, match=f"07_01.*{message}" if message != "07_01" else message):
            read_bvh(broken, "07_01")
    with pytest.raises(ValueError, match=r"07_01: the joints Hips, .* are not named as in CMU's"):
        to_h36m17(read_bvh(body.replace("LeftKnee", "Genou"), "07_01"))


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
    """The two readers, over two file formats, rigs and conventions of angles, on the two clips that exist in both."""
    original = to_h36m17(next(read_motions(DATA / "asfamc.zip", [name])))
    converted = to_h36m17(next(read_motions(DATA / "bvh.zip", [name])))
    assert_close(converted, original, rtol=0, atol=0.6)  # 0.5 mm is the bone that the BVH lacks, taken from another
    assert_close(converted[:, :7], original[:, :7], rtol=0, atol=0.05)  # four decimals in the file
    raw = to_h36m17(next(read_motions(DATA / "bvh.zip", [name], restore_thorax=False)))
    assert_close((raw - original)[:, 8:].norm(dim=-1).mean(), torch.tensor(116.7).double(), rtol=0, atol=0.5)


@needs_data
def test_all_three_sources_have_a_persons_proportions(walks):
    """Mean lengths, mm, of thigh, shin, upper arm, forearm and trunk; Human3.6M's are 443, 454, 279, 252 and 490."""
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
    """Clips made from the BVH files, as the prepared ones are, come back close to the BVH files repaired."""
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
        videos = film(clip, virtual_cameras(clip["pose3d"], 4, generator=generator))
        for video in videos:
            assert float(video["pose3d"][..., 2].min()) >= 999
            head, pelvis = (video["keypoints"][:, H36M.index(name), 1] for name in ("head", "pelvis"))
            assert (head < pelvis).all()  # upright in the image
