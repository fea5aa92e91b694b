"""The lifters' examples: training, the table of held-out motions, and the real recording where it
is there.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from fresh_process import launch
from running_examples import load_example
from torch.testing import assert_close

import posezoo
from posezoo.metrics import bone_length_error, limb_angle_error

H36M = posezoo.get_skeleton("h36m17")
PELVIS, HEAD = H36M.index("pelvis"), H36M.index("head")
RECORDING = Path(__file__).parents[2] / "shared" / "data" / "pose2sim"
# a person who stands and looks along z, mm: middle and left, the right side is its mirror image
STANDING = {
    "pelvis": (0, 950, 0), "hip": (100, 950, 0), "knee": (110, 510, 20), "ankle": (110, 80, 0),
    "spine": (0, 1200, 0), "thorax": (0, 1450, 0), "neck_nose": (0, 1570, 20), "head": (0, 1730, 30),
    "shoulder": (170, 1450, 0), "elbow": (200, 1160, -20), "wrist": (210, 910, 40),
}  # fmt: skip


def person(frames, seed):
    """`(T, 17, 3)`: standing, walking along z at 1 m/s, limbs swinging by some 10 cm."""
    random = np.random.default_rng(seed)
    side = {"left": (1, 1, 1), "right": (-1, 1, 1)}
    points = np.stack(
        [
            np.multiply(STANDING[name.removeprefix("left_").removeprefix("right_")], side.get(name.split("_")[0], 1.0))
            for name in H36M.keypoints
        ]
    )
    time = np.arange(frames)[:, None, None] / 50
    swing = np.array([100.0 if "_" in n and "hip" not in n and "neck" not in n else 0.0 for n in H36M.keypoints])
    phase = random.uniform(0, 6.3, (1, 17, 3))
    return points + swing[None, :, None] * np.sin(6.3 * time + phase) + time * [0.0, 0.0, 1000.0]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cmu")
    for number, name in enumerate(("walking_1", "walking_2", "strolling_1", "strolling_2")):
        np.savez(folder / f"{name}.npz", keypoints=person(61 + number, number).astype(np.float32), fps=50)
    return folder


def options(clips, output, more):
    return ["--data", str(clips), "--held-out", "strolling", "--output", str(output), "--piece", "40", *more.split()]


@pytest.fixture
def walk():
    return torch.from_numpy(person(50, 0)).float()


# ------------------------------------------------------------------------------------------------------------ running


@pytest.mark.parametrize("name", ["martinez", "seq2seq3d", "temporal_conv_27"])
def test_trains_and_is_evaluated(clips, tmp_path, capsys, name):
    small = f"--model {name} --width 16 --batch-size 8 --dropout 0.1 --epochs 1 --mixed-precision bf16"
    report = load_example("train_lifter").main(options(clips, tmp_path, small))
    assert 0 < report["0 px"]["PA-MPJPE"] < report["0 px"]["MPJPE"]

    folder = f"local-dir:{tmp_path / 'model'}"
    model = posezoo.create(folder, pretrained=True)
    assert model.normalize.frame == "person"
    assert json.loads((tmp_path / "model" / "config.json").read_text())["weights"]["data"].endswith("strolling")
    rows = load_example("evaluate_lifters").main(
        ["--data", str(clips), "--held-out", "strolling", "--models", folder, "--noise", "0", "20", "--cameras", "1"]
    )
    filters = [" + mean filter", " + median filter"] if name == "martinez" else []
    assert list(rows)[2:] == [folder + change for change in ("", *filters)]
    assert rows[folder][0.0]["MPJPE"] == pytest.approx(report["0 px"]["MPJPE"], rel=0.02)  # saved in half precision
    assert rows[folder][20.0]["MPJVE"] > rows[folder][0.0]["MPJVE"]
    if filters:
        assert rows[folder + filters[0]][20.0]["MPJVE"] < 0.9 * rows[folder][20.0]["MPJVE"]
    assert "| MPJPE | clean | N(0, 20) |" in capsys.readouterr().out


@pytest.mark.slow
def test_accelerate_launches_training_of_a_lifter(clips, tmp_path):
    small = "--model martinez --width 16 --batch-size 8 --epochs 1"
    said = launch(Path(__file__).parents[1] / "examples" / "train_lifter.py", *options(clips, tmp_path, small))
    assert said.count("epoch 0: loss") == 1
    assert posezoo.create(f"local-dir:{tmp_path / 'model'}", pretrained=True).skeleton.name == "h36m17"


@pytest.mark.parametrize("name", ["martinez", "temporal_conv_27"])
def test_a_run_that_was_stopped_goes_on_as_if_it_were_not(clips, tmp_path, monkeypatch, capsys, name):
    example = load_example("train_lifter")
    small = f"--model {name} --width 16 --batch-size 8 --epochs 3 --eval-every 2"
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    example.main(options(clips, whole, small))

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(example, "report", stop)  # after the second epoch
        with pytest.raises(KeyboardInterrupt):
            example.main(options(clips, stopped, small))
    assert not (stopped / "model").exists()
    capsys.readouterr()
    example.main(options(clips, stopped, f"{small} --resume"))
    # the second epoch was not evaluated, so that it is not complete
    assert re.findall(r"^epoch (\d+):", capsys.readouterr().out, re.MULTILINE) == ["1", "2"]
    assert (stopped / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()


def test_training_helps(clips, tmp_path):
    train = load_example("train_lifter").main
    small = "--width 64 --batch-size 16 --dropout 0 --cameras 4 --lr 5e-3 --final 0.1 --noise 0 --definition 0"
    first = train(options(clips, tmp_path / "a", f"{small} --epochs 1"))
    last = train(options(clips, tmp_path / "b", f"{small} --epochs 20"))
    assert last["0 px"]["MPJPE"] < 0.7 * first["0 px"]["MPJPE"]


# section 3.2 of Martinez et al., section 4.1 of Hossain & Little, section 5.2 of Pavllo et al.
@pytest.mark.parametrize(
    ("name", "stated"),
    [("martinez", (1e-3, 64, 200)), ("seq2seq3d", (1e-5, 32, 100)), ("temporal_conv_27", (1e-3, 1024, 80))],
)
def test_without_options_training_is_the_papers(clips, tmp_path, monkeypatch, name, stated):
    """The arguments that the loop gets; an option replaces the paper's value of that option only."""
    example, called = load_example("train_lifter"), {}
    monkeypatch.setattr(example, "train_lifter", lambda args, model, *_: called.update(args=args, model=model))
    data = ["--data", str(clips), "--held-out", "strolling", "--model", name, "--output", str(tmp_path)]
    example.main(data)
    args = called["args"]
    assert (args.lr, args.batch_size, args.epochs) == stated
    assert repr(called["model"]) == repr(posezoo.create(name, num_keypoints=17, skeleton="h36m17"))  # widths, dropout
    example.main([*data, "--lr", "0.5", "--epochs", "3"])
    assert (called["args"].lr, called["args"].batch_size, called["args"].epochs) == (0.5, stated[1], 3)


def test_every_epoch_has_new_people_and_its_momentum(clips, tmp_path, monkeypatch):
    example, called = load_example("train_lifter"), {}
    monkeypatch.setattr(example, "train", lambda *args, **more: called.update(more, args=args))
    example.main(options(clips, tmp_path, "--model temporal_conv_27 --width 16 --epochs 4 --noise 0"))
    (_, model, _, _, loaders), before_epoch = called["args"], called["before_epoch"]
    people = {}
    for epoch in (0, 2, 1, 2):
        before_epoch(epoch)
        people.setdefault(epoch, []).append(loaders[0].dataset[0]["pose3d"])
    assert_close(*people[2])
    assert (people[0][0] - people[1][0]).abs().max() > 50  # mm
    momenta = {layer.momentum for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm1d)}
    assert list(momenta) == [pytest.approx(0.01)]  # half of the epochs on the way from 0.1 to 0.001
    assert called["schedule"](2, 4) == pytest.approx(0.95**40)


def test_mean_pose_of_a_motionless_person_is_right(walk):
    example = load_example("evaluate_lifters")
    turn = torch.tensor([[0.6, 0, 0.8], [0, 1, 0], [-0.8, 0, 0.6]])  # about the vertical
    videos = [{"pose3d": walk[:1].expand(4, -1, -1) @ turn + 1000}]
    rows = example.evaluate_mean_pose([{"pose3d": walk[:1].expand(9, -1, -1)}], videos)
    line, turned = rows.values()
    assert max(turned.values()) < 0.1
    horizontal = (walk[0] - walk[0, :1])[:, [0, 2]].norm(dim=1).mean()  # what the line lacks
    assert line["MPJPE"] == pytest.approx(float(horizontal), rel=1e-4)


# ------------------------------------------------------------------------------------------------------------- people


def test_held_out_videos_are_not_trained_on():
    split = load_example("evaluate_lifters").split
    videos = [
        {"name": name, "subject": subject}
        for name, subject in [("07_01", "07"), ("07_02", "07"), ("08_01", "08"), ("soccer_1", None), ("jump_2", None)]
    ]
    train, test = split(videos, ["07_02", "08", "soccer"])
    assert [video["name"] for video in train] == ["07_01", "jump_2"]
    assert [video["name"] for video in test] == ["07_02", "08_01", "soccer_1"]
    with pytest.raises(ValueError, match=r"nothing is called socer; videos are 07_01"):
        split(videos, ["socer"])
    with pytest.raises(ValueError, match="of 5 videos 0 are for training"):
        split(videos, ["07", "08", "soccer", "jump"])


def test_pieces_lie_within_a_motion():
    pieces = load_example("train_lifter").pieces
    torch.manual_seed(0)
    long, short = torch.arange(100.0)[:, None, None], 1000 + torch.arange(20.0)[:, None, None]
    firsts = set()
    for _ in range(50):
        *of_long, of_short = pieces([long, short], 30)
        assert_close(of_short, short)
        assert 2 <= len(of_long) <= 3
        for piece in of_long:
            assert_close(piece.flatten().diff(), torch.ones(29))
        firsts.add(int(of_long[0][0]))
    assert min(firsts) == 0
    assert max(firsts) == 29


def test_motion_is_retargeted_to_another_body(walk):
    torch.manual_seed(0)
    other = load_example("train_lifter").another_body(walk)
    assert limb_angle_error(other, walk).max() < 0.1  # degrees
    change = bone_length_error(other, walk).mean(dim=0)
    assert change.min() > 0.1
    left, right = (
        [i for i, (_, end) in enumerate(H36M.bones) if H36M.keypoints[end].startswith(side)]
        for side in ("left_", "right_")
    )
    ratio = [
        (other[:, b] - other[:, a]).norm(dim=-1).mean() / (walk[:, b] - walk[:, a]).norm(dim=-1).mean()
        for a, b in H36M.bones
    ]
    ends = [H36M.keypoints[b] for _, b in H36M.bones]
    for one in left:
        twin = right[[ends[r][6:] for r in right].index(ends[one][5:])]
        assert ratio[one] == pytest.approx(float(ratio[twin]), rel=1e-4)


def test_a_mirrored_person_turns_the_other_way(walk):
    mirrored = load_example("train_lifter").mirrored
    assert_close(mirrored(mirrored(walk)), walk)
    assert (mirrored(walk)[:, H36M.index("left_shoulder"), 0] > 0).all()  # still to the left of who looks along z
    assert_close(mirrored(walk)[:, H36M.index("left_wrist"), 1], walk[:, H36M.index("right_wrist"), 1])


def test_people_are_filmed_leaning_and_from_other_heights(walk):
    """Leaning bodies keep their bones, twice the same ones; without lean the motion stays."""
    filmed = load_example("evaluate_lifters").filmed
    video = {"name": "walk", "pose3d": walk, "fps": 50.0}
    (plain,), (leaning,), (again,), (above,) = (
        filmed([video], 1, **options) for options in ({}, {"lean": 30.0}, {"lean": 30.0}, {"height": (6000.0, 6001.0)})
    )
    assert torch.equal(video["pose3d"], walk)
    assert float(bone_length_error(leaning["pose3d"], plain["pose3d"]).max()) < 0.1
    assert torch.equal(leaning["pose3d"], again["pose3d"])
    upright = [float((v["pose3d"][:, HEAD] - v["pose3d"][:, PELVIS])[:, 1].mean()) for v in (plain, above)]
    assert abs(upright[1]) < 0.8 * abs(upright[0])  # seen from above
    tilted = load_example("evaluate_lifters").leaning(walk, 60.0, torch.Generator().manual_seed(0))
    up, was = ((pose[:, HEAD] - pose[:, PELVIS]).mean(dim=0) for pose in (tilted, walk))
    assert torch.cosine_similarity(up, was, dim=0) < 0.99


def test_limbs_are_those_of_another_person(walk):
    """The other walks the other way and lifts an arm: limbs keep their lengths, relative to the trunk
    they point like the other's.
    """
    example = load_example("train_lifter")
    torch.manual_seed(0)
    other = example.leaning(walk.flip(0)[: len(walk) // 2] * torch.tensor([-1.0, 1.0, -1.0]), 40.0)
    lengths = [float(bone_length_error(example.leaning(walk, 30.0), walk).max())]
    assert not torch.equal(example.leaning(walk, 30.0), walk)
    changed = set()
    for _ in range(8):
        made = example.mix(walk, other)
        lengths.append(float(bone_length_error(made, walk).max()))
        moved = (made - walk).abs().amax(dim=(0, 2)) > 1
        changed |= {H36M.keypoints[index] for index in moved.nonzero()[:, 0].tolist()}
        if moved[H36M.index("left_knee")]:
            hip, knee = H36M.index("left_hip"), H36M.index("left_knee")
            ours, theirs = (
                torch.nn.functional.normalize(
                    (example.trunk_axes(p) @ (p[:, knee] - p[:, hip])[..., None])[..., 0], dim=1
                )
                for p in (made, other[torch.arange(len(walk)) % len(other)])
            )
            assert_close(ours, theirs, atol=1e-3, rtol=0)
    assert max(lengths) < 0.1
    assert changed == {f"{side}_{joint}" for side in ("left", "right") for joint in ("knee", "ankle", "elbow", "wrist")}


def test_detectors_mean_other_points_of_the_same_body(walk):
    example = load_example("train_lifter")
    standing = walk[:1].expand(2, -1, -1)
    noses = tops = heads = 0
    for seed in range(40):
        torch.manual_seed(seed)
        shift = example.as_detected(standing, 10.0) - standing
        assert_close(shift[0], shift[1])
        for name in ("hip", "knee"):
            left, right = (shift[0, H36M.index(f"{side}_{name}")] for side in ("left", "right"))
            assert_close(left * torch.tensor([-1.0, 1, 1]), right, atol=0.05, rtol=0)
            assert 0 < left.norm() < 60
        noses += bool(shift[0, H36M.index("neck_nose"), 2] > 60)  # this person looks along z
        tops += bool(shift[0, H36M.index("head"), 1] > 60)
        heads += bool(shift[0, H36M.index("head"), 1] < -60)
    assert 12 < noses < 28
    assert 8 < tops < 24
    assert 1 < heads < 10


def test_noise_has_another_strength_in_each_window():
    torch.manual_seed(0)
    strength = load_example("train_lifter").noisy(torch.zeros(500, 5, 17, 2), 20.0).flatten(1).std(dim=1)
    assert_close(strength.quantile(torch.tensor([0.1, 0.5, 0.9])), torch.tensor([2.0, 10, 18]), atol=1.5, rtol=0)


# ------------------------------------------------------------------------------------------------- the real recording


@pytest.mark.skipif(not RECORDING.is_dir(), reason="the recording of Pose2Sim is not there")
def test_pose2sim_agrees_with_its_cameras(tmp_path, capsys):
    example = load_example("evaluate_pose2sim")
    posezoo.create("martinez", linear_size=16, frame="person").save_pretrained(tmp_path / "model")
    picture = tmp_path / "lifted.png"
    name = f"local-dir:{tmp_path / 'model'}"
    results = example.main(["--data", str(RECORDING), "--models", name, "--draw", str(picture)])
    assert len(results) == 2 * (4 + 1)  # four cameras and their mean, and the same of the mean pose
    assert results[name]["PA-MPJPE"] < results[name]["MPJPE"]
    assert picture.stat().st_size > 10_000
    # the README of the data: median reprojection distance 8 to 18 px; the third camera is the worst
    distances = [float(line.split()[-4]) for line in capsys.readouterr().out.splitlines() if "interpolated" in line]
    assert len(distances) == 4
    assert max(distances) < 30
