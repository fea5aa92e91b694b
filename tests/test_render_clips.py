"""The rendered clips: the body has the actor's pose, and its limbs are rendered at the labels."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from box_man import ASF, bvh, write_body, write_motions
from PIL import Image
from torch.testing import assert_close
from torch.utils.data import DataLoader

from posezoo.data.cmu import UNIT, read_motions, to_h36m17
from posezoo.data.mocap import read_bvh
from posezoo.geometry import look_at
from posezoo.skeletons import get_skeleton

import render_clips
import rendering

ROOT = Path(__file__).parents[1]

KEYPOINTS = get_skeleton("h36m17").keypoints
LIMBS = (
    ("shoulder", "elbow", "Arm"),
    ("elbow", "wrist", "ForeArm"),
    ("hip", "knee", "UpLeg"),
    ("knee", "ankle", "Leg"),
)
DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "body").is_dir(), reason=f"MakeHuman's body is expected in {DATA / 'body'}")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("render")
    return write_body(folder / "body"), write_motions(folder / "motions")


@pytest.fixture(scope="module")
def body(folders):
    return rendering.Body(folders[0])


@pytest.fixture(scope="module")
def real_body():
    return rendering.Body(DATA / "body")


def directions(pose3d):
    at = KEYPOINTS.index
    return torch.stack([
        F.normalize(pose3d[:, at(f"{side}_{end}")] - pose3d[:, at(f"{side}_{start}")], dim=-1)
        for start, end, _ in LIMBS for side in ("left", "right")
    ])  # fmt: skip


# ------------------------------------------------------------------------------------------------- the pose


def test_limbs_point_as_the_actors_and_are_the_bodys(body):
    motion = read_bvh(bvh(), "01_01", unit=UNIT)
    moves, pose3d = rendering.pose_body(body, body.vertices, rendering.read_take(motion, 120), slice(0, 40))
    actor = to_h36m17(motion).float()
    assert_close(directions(pose3d), directions(actor), rtol=0, atol=1e-4)
    assert_close(pose3d[:, 0], actor[:, 0], rtol=0, atol=1e-2)
    at = KEYPOINTS.index
    hips = pose3d[:, at("left_hip")] - pose3d[:, at("right_hip")]
    across = F.normalize(actor[:, at("left_hip")] - actor[:, at("right_hip")], dim=-1)
    assert_close(hips, 200 * across, rtol=0, atol=0.01)  # two decimetres apart in box_man.BONES
    shin = (pose3d[:, at("left_knee")] - pose3d[:, at("left_ankle")]).norm(dim=-1)
    assert_close(shin, torch.full((40,), 100 * math.hypot(4, 0.1)), rtol=0, atol=0.01)
    # the labels are where the moves bring the ends of bones
    knee = body.joints(body.vertices)[0][body.bones.index("LeftLeg")]
    moved = moves[:, body.bones.index("LeftLeg")] @ torch.cat([knee, torch.ones(1)])
    assert_close(moved, pose3d[:, at("left_knee")], rtol=0, atol=1e-2)


def test_both_rests_of_cmu_give_the_same_pose(body):
    """The .asf rests with the arms stretched sideways, Hahne's .bvh with hanging ones: a quarter
    turn about z.
    """
    hanging = read_bvh(bvh(), "01_01", unit=UNIT)
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)  # -y to x
    turned = dict.fromkeys(("LeftShoulder", "LeftElbow", "LeftWrist", "lhand", "LFingers"), quarter)
    turned |= dict.fromkeys(("RightShoulder", "RightElbow", "RightWrist", "rhand", "RFingers"), quarter.T)
    offsets, rotations = hanging.offsets.clone(), hanging.rotations.clone()
    for joint, name in enumerate(hanging.joints):
        if name in turned:
            rotations[:, joint] = rotations[:, joint] @ turned[name].T
        parent = hanging.joints[hanging.parents[joint]]
        if parent in turned and joint:
            offsets[joint] = turned[parent] @ offsets[joint]
    joints = tuple(ASF.get(name, name) for name in hanging.joints)
    stretched = replace(hanging, joints=joints, offsets=offsets, rotations=rotations)
    moves = [
        rendering.pose_body(body, body.vertices, rendering.read_take(motion, 120), slice(0, 40))[0]
        for motion in (hanging, stretched)
    ]
    assert_close(moves[0], moves[1], rtol=0, atol=0.02)


def test_at_rest_nothing_is_twisted(body):
    """CMU's rest: the face, the knees and the toes look forward, the thumbs too, and the left is at
    +x.
    """
    motion = read_bvh(bvh(frames=2, swing=0.0), "01_01", unit=UNIT)
    moves, pose3d = rendering.pose_body(body, body.vertices, rendering.read_take(motion, 120), slice(0, 1))
    forward = torch.tensor([0.0, 0, 1])
    for bone in ("Head", "Hips", "LeftUpLeg", "RightLeg", "LeftFoot", "RightToeBase"):
        turned = moves[0, body.bones.index(bone), :, :3] @ forward
        assert turned @ forward > 0.98, bone
    heads, tails = body.joints(body.vertices)
    for side in ("Left", "Right"):
        hand, thumb = body.bones.index(f"{side}Hand"), body.bones.index(f"{side[0]}Thumb")
        points = moves[0, hand, :, :3] @ (tails[thumb] - heads[hand])
        assert points[2] > 0.5 * points.norm(), side
        # CMU's elbows bend forward and 30 degrees outward, which is upward of a stretched arm
        bend = moves[0, body.bones.index(f"{side}Arm"), :, :3] @ forward
        assert_close(bend, torch.tensor([0.5 if side == "Left" else -0.5, 0.0, 0.75**0.5]), rtol=0, atol=1e-3)
    x = dict(zip(KEYPOINTS, (pose3d[0, :, 0] - pose3d[0, 0, 0]).tolist(), strict=True))
    assert all((x[name] > 50) == name.startswith("left") for name in KEYPOINTS if name.startswith(("left", "right")))


def test_frame_rates(body):
    motion = read_bvh(bvh(), "01_01", unit=UNIT)
    full, some, between = (rendering.read_take(motion, fps) for fps in (120, 40, 50))
    assert_close(some.rotations, full.rotations[::3])
    assert len(between.pelvis) == 17  # frames 0, 2.4, ... 38.4
    assert_close(between.rotations @ between.rotations.mT, torch.eye(3).expand_as(between.rotations), rtol=0, atol=1e-5)


# -------------------------------------------------------------------------------------------------- drawing


def test_no_holes_and_nothing_shines_through():
    """A tilted wall before another one: its picture is filled, and only the far wall is beside it."""
    spacing, focal, size = 10.0, 400.0, 96
    steps = torch.arange(-400, 400, spacing)
    x, y = (grid.flatten() for grid in torch.meshgrid(steps, steps, indexing="ij"))
    near = torch.stack([x, y, 4000 + 0.3 * x])
    near[:2] = torch.tensor([[0.8, -0.6], [0.6, 0.8]]) @ near[:2]
    far = torch.stack([2 * x, 2 * y, torch.full_like(x, 4800)])
    points = torch.cat([near, far], dim=1)[:, None]
    fragments = rendering.rasterise(points, (focal, focal), (47.5, 47.5), size)
    owner = torch.full((size * size,), -1)
    owner[fragments.pixel] = (fragments.point >= len(x)).long()
    owner = owner.view(size, size)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    across = torch.tensor([[0.8, 0.6], [-0.6, 0.8]]) @ torch.stack([columns - 47.5, rows - 47.5]).flatten(1)
    inside = (across.abs() < 36).all(dim=0).view(size, size)  # 400 mm are some 40 pixels at 4 m
    assert (owner[inside] == 0).all()
    assert (owner[(across.abs() > 46).any(dim=0).view(size, size) & (rows - 47.5).abs().lt(40)] != 0).all()


def test_a_point_is_drawn_in_its_pixel():
    points = torch.tensor([[[100.0, -200.0]], [[40.0, 40.0]], [[1000.0, -1000.0]]])  # the second is behind the camera
    fragments = rendering.rasterise(points, (100.0, 100.0), (20.0, 20.0), 64)
    assert fragments.pixel.tolist() == [24 * 64 + 30]
    assert fragments.depth.tolist() == [1000.0]


def test_limbs_are_drawn_where_the_labels_say(body):
    """In the middle of each limb that nothing hides, the picture shows that limb, left and right
    told apart.
    """
    shown = scored(
        body, rendering.read_take(read_bvh(bvh(frames=40, swing=25.0), "01_01", unit=UNIT), 30), thickness=40
    )
    assert shown.count("right") > 40
    assert shown.count("wrong") == 0


def scored(body, take, thickness):
    """For each limb and each frame: "right", "hidden" by something that is nearer than `thickness`
    mm, or "wrong".
    """
    frames = slice(0, len(take.pelvis))
    moves, pose3d = rendering.pose_body(body, body.vertices, take, frames)
    middle = pose3d.mean(dim=(0, 1))
    random = np.random.default_rng(0)
    background = torch.zeros(3, 160, 160)
    look = render_clips.random_look(random) | {"long_hair": False, "skirted": False, "loose": (0.0, 0.0)}
    camera = look_at(middle + torch.tensor([1500.0, 300.0, 3500.0]), middle, focal=220.0, size=(160, 160))
    points = camera.world_to_camera(pose3d)
    _, surface, fragments = render_clips.draw(body, body.vertices, moves, camera, look, background)
    seen = torch.full((len(moves) * 160 * 160,), -1)
    seen[fragments.pixel] = torch.arange(len(fragments.pixel))
    seen = seen.view(len(moves), 160, 160)
    result = []
    for start, end, bone in LIMBS:
        for side in ("left", "right"):
            pair = [KEYPOINTS.index(f"{side}_{name}") for name in (start, end)]
            middles = points[:, pair].mean(dim=1)
            for frame, (x, y) in enumerate(camera.project(middles).round().long().tolist()):
                fragment = int(seen[frame, y, x])
                if fragment < 0:
                    result.append("wrong")
                elif fragments.depth[fragment] < middles[frame, 2] - thickness:
                    result.append("hidden")
                else:
                    owner = body.bones[int(surface.skin[fragments.point[fragment]].argmax())]
                    result.append("right" if owner == f"{side.title()}{bone}" else "wrong")
    return result


def test_keypoints_are_on_the_person(folders, body):
    clips = render_clips.Clips(render_clips.read_takes([folders[1]], 30), body, size=96, count=6, occluders=0)
    drawn = []

    def spy(*args):
        drawn.append(plain(*args))
        return drawn[-1]

    plain, render_clips.draw = render_clips.draw, spy
    try:
        made = [clips[index] for index in range(6)]
    finally:
        render_clips.draw = plain
    for clip, (_, _, fragments) in zip(made, drawn, strict=True):
        person = torch.zeros(5 * 96 * 96)
        person[fragments.pixel] = 1
        near = F.max_pool2d(person.view(5, 1, 96, 96), 3, stride=1, padding=1)[:, 0]  # head and wrists lie on the rim
        x, y = clip["keypoints"].round().long().unbind(dim=-1)
        assert ((x >= 0) & (x < 96) & (y >= 0) & (y < 96)).all()
        assert near[torch.arange(5)[:, None], y, x].all()


# ---------------------------------------------------------------------------------------------- the dataset


def test_clips_have_the_documented_contents_and_repeat(folders, body):
    takes = render_clips.read_takes([folders[1]], 30)
    clips, again, other = (render_clips.Clips(takes, body, size=64, length=4, count=3, seed=seed) for seed in (0, 0, 1))
    batch = next(iter(DataLoader(clips, batch_size=3)))
    assert batch["clip"].shape == (3, 4, 3, 64, 64)
    assert batch["clip"].dtype == torch.uint8
    assert batch["pose3d"].shape == (3, 4, 17, 3)
    assert batch["keypoints"].shape == (3, 4, 17, 2)
    assert batch["pose3d"].dtype == batch["keypoints"].dtype == torch.float32
    assert (batch["pose3d"][:, :, 0] == 0).all()
    assert set(batch["subject"]) <= {"01", "02"}
    for key in ("clip", "pose3d", "keypoints"):
        assert_close(batch[key][1], again[1][key], rtol=0, atol=0)
        assert (batch[key][1] != other[1][key]).any()
        assert (batch[key][1] != batch[key][2]).any()
    with pytest.raises(IndexError):
        clips[3]


def test_the_picture_is_a_perspective_of_the_pose(folders, body):
    """One focal length and one middle make the pixels of all frames of the camera-frame pose."""
    clip = render_clips.Clips(render_clips.read_takes([folders[1]], 30), body, size=64)[0]
    pose3d, pixels = clip["pose3d"].double().reshape(-1, 3), clip["keypoints"].double().reshape(-1, 2)
    # u (z + Z) = f x + f X + c (z + Z): linear in f, c and what the root adds
    frames = torch.eye(5, dtype=torch.float64).repeat_interleave(17, dim=0)
    columns = [
        torch.cat([pose3d[:, axis, None], pose3d[:, 2:], frames, -frames * pixels[:, axis, None]], dim=1)
        for axis in (0, 1)
    ]
    for axis in (0, 1):
        solution = torch.linalg.lstsq(columns[axis], (pixels[:, axis] * pose3d[:, 2])[:, None]).solution
        error = columns[axis] @ solution - (pixels[:, axis] * pose3d[:, 2])[:, None]
        assert solution[0] > 0  # x to the right, y down
        assert error.abs().max() < 0.01 * 3000  # of a pixel at 3 m


@pytest.fixture(scope="module")
def unequal(folders):
    """Recordings with 1, 4, 25 and 100 possible clips of five frames."""
    take = render_clips.read_takes([folders[1]], 120)[0]
    return [
        replace(take, name=f"09_{count:02}", pelvis=torch.zeros(count + 4, 3), rotations=take.rotations[:1])
        for count in (1, 4, 25, 100)
    ]


@pytest.mark.parametrize(("sampling", "shares"), [("sqrt", [1, 2, 5, 10]), ("proportional", [1, 4, 25, 100])])
def test_recordings_are_drawn_in_their_shares(unequal, body, sampling, shares):
    clips = render_clips.Clips(unequal, body, length=5, sampling=sampling)
    assert render_clips.Clips(unequal, body, length=5).sampling == "sqrt"
    drawn = np.array([clips.choose(np.random.default_rng([0, index])) for index in range(8000)])
    for number, (count, share) in enumerate(zip((1, 4, 25, 100), shares, strict=True)):
        firsts = drawn[drawn[:, 0] == number, 1]
        expected = share / sum(shares)
        assert abs(len(firsts) / 8000 - expected) < 4 * (expected * (1 - expected) / 8000) ** 0.5
        assert set(firsts) == set(range(count))  # up to the last possible clip
    assert np.bincount(drawn[drawn[:, 0] == 1, 1]).min() > 0.15 * (drawn[:, 0] == 1).sum()  # of four clips, alike
    with pytest.raises(ValueError, match="sampling: expected sqrt or proportional, got 'root'"):
        render_clips.Clips(unequal, body, length=5, sampling="root")


def test_mixed_limbs_are_of_either_recording_and_the_body_leans_as_a_whole(body):
    take = rendering.read_take(read_bvh(bvh(), "01_01", unit=UNIT), 120)
    first, second = (render_clips.part_of(take, start, 5) for start in (0, 20))
    names, random = list(rendering.TURNS), np.random.default_rng(0)
    seen, leans = set(), []
    for _ in range(20):
        mixed = render_clips.mix(first, second, random)
        lean = mixed.rotations[:, names.index("Hips")] @ first.rotations[:, names.index("Hips")].mT
        assert_close(lean, lean[:1].expand_as(lean), atol=1e-5, rtol=0)
        leans.append(float(torch.rad2deg(torch.arccos(lean[0, 1, 1].clamp(-1, 1)))))
        for bone, root in (("LeftForeArm", "Spine1"), ("RightLeg", "Hips")):
            one, two, made = (
                part.rotations[:, names.index(root)].mT @ part.rotations[:, names.index(bone)]
                for part in (first, second, mixed)
            )
            kept = torch.allclose(made, one, atol=1e-4)
            assert kept or torch.allclose(made, two, atol=1e-4)
            seen.add((bone, kept))
    assert len(seen) == 4
    assert 5 < np.median(leans) < 30
    _, pose3d = rendering.pose_body(body, body.vertices, first, slice(0, 5))
    _, other = rendering.pose_body(body, body.vertices, mixed, slice(0, 5))
    lengths = [
        (pose[:, KEYPOINTS.index("left_elbow")] - pose[:, KEYPOINTS.index("left_wrist")]).norm(dim=-1)
        for pose in (pose3d, other)
    ]
    assert_close(lengths[0], lengths[1], rtol=1e-3, atol=0)
    assert not torch.allclose(pose3d, other, atol=10)


def test_cameras_crops_and_mixtures_can_be_set(folders, body):
    takes = render_clips.read_takes([folders[1]], 10)
    plain = render_clips.Clips(takes, body, size=32, length=3, count=4)
    for change in ({"mixed": 1.0}, {"height": (4000.0, 4500.0)}, {"shift": 0.3}):
        changed = render_clips.Clips(takes, body, size=32, length=3, count=4, **change)
        assert not torch.allclose(changed[0]["keypoints"], plain[0]["keypoints"], atol=0.5)
        assert torch.allclose(changed[0]["pose3d"], plain[0]["pose3d"], atol=1) == ("shift" in change)


def test_a_recording_in_two_places_is_read_once(folders):
    once, twice = (render_clips.read_takes([folders[1]] * times, 30) for times in (1, 2))
    assert [take.name for take in twice] == [take.name for take in once]


def test_subjects_are_held_out(folders):
    assert {t.subject for t in render_clips.read_takes([folders[1]], 30, subjects=["02"])} == {"02"}
    assert {t.subject for t in render_clips.read_takes([folders[1]], 30, skip=["02"])} == {"01"}
    with pytest.raises(ValueError, match="the subjects are 01, 02"):
        render_clips.read_takes([folders[1]], 30, subjects=["03"])


def test_mismatches_are_reported(folders, body, tmp_path):
    takes = render_clips.read_takes([folders[1]], 30)
    with pytest.raises(ValueError, match="no motion has the 11 frames of a clip, the longest has 10"):
        render_clips.Clips(takes, body, length=11)
    with pytest.raises(ValueError, match=r"has no base\.obj"):
        rendering.Body(tmp_path)
    motion = read_bvh(bvh(), "01_01", unit=UNIT)
    with pytest.raises(ValueError, match="not all of CMU's skeleton"):
        rendering.read_take(replace(motion, joints=tuple(n.replace("Collar", "Clavicle") for n in motion.joints)), 30)


def test_backgrounds_are_the_pictures(folders, body, tmp_path):
    Image.fromarray(np.full((50, 80, 3), (250, 10, 10), np.uint8)).save(tmp_path / "red.png")
    takes = render_clips.read_takes([folders[1]], 30)
    clip = render_clips.Clips(takes, body, size=64, backgrounds=[tmp_path / "red.png"], occluders=0)[0]["clip"]
    corner = clip[:, :, :3, :3].float().mean(dim=(0, 2, 3))
    assert corner[0] > 150
    assert corner[1:].max() < 60


def test_command_line(folders, tmp_path, capsys):
    common = ["--body", str(folders[0]), "--motions", str(folders[1]), "--output", str(tmp_path / "out")]
    render_clips.main([*common, "--clips", "2", "--length", "3", "--size", "48", "--fps", "60", "--skip", "02"])
    assert "2 clips" in capsys.readouterr().out
    with np.load(tmp_path / "out" / "clip_00001.npz") as clip:
        assert clip["clip"].shape == (3, 3, 48, 48)
        assert clip["pose3d"].shape == (3, 17, 3)
        assert (str(clip["subject"]), float(clip["fps"])) == ("01", 60.0)
    with Image.open(tmp_path / "out" / "clips.png") as sheet:
        assert sheet.size == (3 * 48, 4 * 48)


# --------------------------------------------------------------------------------------------- the real body


@needs_data
def test_real_limbs_are_drawn_where_the_labels_say(real_body):
    """Swordplay, clothed and in MakeHuman's base shape."""
    take = rendering.read_take(next(read_motions(DATA / "cmu" / "asfamc.zip", ["02_07"])), 4)
    shown = scored(real_body, take, thickness=110)
    assert shown.count("right") > 0.7 * len(shown)  # 449 of 608, and 4 wrong: arms that touch the trunk
    assert shown.count("wrong") < 0.02 * len(shown)


@needs_data
@pytest.mark.slow
def test_all_recordings_with_rotations_are_read_together():
    """Both forms of the database's recordings and the actions, whose names have no subject."""
    roots = [DATA / "cmu" / "asfamc.zip", DATA / "cmu" / "bvh.zip", DATA / "cmu_actions" / "cmu_actions_bvh.zip"]
    takes = render_clips.read_takes(roots, 10)
    names = [take.name for take in takes]
    assert len(set(names)) == len(names)
    actions = [take for take in takes if take.subject is None]
    assert len(actions) == 27
    assert sum(len(take.pelvis) for take in actions) == 2653
    for take in takes:
        eye = torch.eye(3).expand_as(take.rotations)
        assert_close(take.rotations @ take.rotations.mT, eye, rtol=0, atol=1e-4, msg=take.name)


@needs_data
def test_both_forms_of_a_recording_give_the_same_pose(real_body):
    """The conversion keeps all but the hands, whose channels it rewrote."""
    moves = [
        rendering.pose_body(
            real_body, real_body.vertices, rendering.read_take(next(read_motions(DATA / "cmu" / name, ["02_01"])), 30),
            slice(0, 60),
        )[1]
        for name in ("asfamc.zip", "bvh.zip")
    ]  # fmt: skip
    assert_close(moves[0], moves[1], rtol=0, atol=0.1)
