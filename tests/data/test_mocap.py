"""Readers of motion capture files and forward kinematics, against hand-made skeletons."""

import numpy as np
import pytest
import torch
from mocap_files import AXIS, amc, asf, bvh, by_hand, poses
from torch.testing import assert_close

from posezoo.data.cmu import UNIT, to_h36m17
from posezoo.data.mocap import read_amc, read_asf, read_bvh, resample


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


def test_rotations_turn_the_descendants_of_a_joint():
    motion = read_amc(amc(poses(4)), read_asf(asf()))
    for joint, parent in enumerate(motion.parents):
        if parent >= 0:
            there = motion.positions[:, parent] + motion.rotations[:, parent] @ motion.offsets[joint]
            assert_close(there, motion.positions[:, joint])


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


# -------------------------------------------------------------------------------------------------------------- errors


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
            read_bvh(broken, "07_01", unit=UNIT)
    with pytest.raises(ValueError, match=r"07_01: the joints Hips, .* are not named as in CMU's"):
        to_h36m17(read_bvh(body.replace("LeftKnee", "Genou"), "07_01", unit=UNIT))
