"""The papers' trainings on videos: RPSM, seq2seq3d, martinez and the hourglass that detects for them."""

import numpy as np
import pytest
import torch
from people_files import write_h36m, write_humaneva, write_mpii
from running_examples import load_example

import posezoo
from posezoo.data import Human36M
from posezoo.losses import smooth_pose_mse

from recipes import LIFTERS


@pytest.fixture(scope="module")
def h36m(tmp_path_factory):
    return write_h36m(tmp_path_factory.mktemp("data") / "h36m")


@pytest.fixture(scope="module")
def humaneva(tmp_path_factory):
    return write_humaneva(tmp_path_factory.mktemp("data") / "humaneva", images=True)


ONE = ["--subjects", "S1", "--actions", "Walking"]


# ----------------------------------------------------------------------------------------------------------------- RPSM


@pytest.fixture
def rpsm(h36m, monkeypatch):
    example = load_example("train_rpsm_video")
    human36m = example.Human36M

    def one_camera(*arguments, **options):
        return human36m(*arguments, cameras=["54138969"], **options)

    monkeypatch.setattr(example, "Human36M", one_camera)
    monkeypatch.setattr(example, "TRAIN", ["S1"])
    monkeypatch.setattr(example, "TEST", ["S9"])
    small = ["--actions", "Walking", "--size", "32", "32", "--width", "4", "--hidden", "8", "--workers", "0"]
    return example, ["--data", f"h36m:{h36m}", "--frames", str(h36m / "images"), *small]


@pytest.mark.parametrize(
    ("more", "stages", "length", "temporal", "shared"),
    [
        ([], 3, 5, "lstm", False),
        (["--stages", "1", "--clip-length", "1"], 1, 1, "fc", False),
        (["--stages", "2", "--clip-length", "3", "--sharing"], 2, 3, "lstm", True),
    ],
)
def test_rows_of_table_4(rpsm, tmp_path, capsys, more, stages, length, temporal, shared):
    example, common = rpsm
    report = example.main([*common, *more, "--iterations", "1", "--output", str(tmp_path / "run")])
    assert set(report) == {"Walking", "Average"}
    assert np.isfinite(report["Average"])
    model = posezoo.create(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True)
    assert (model.num_stages, model.receptive_field, model.temporal) == (stages, length, temporal)
    assert len(model.specialised) == (1 if shared else stages)
    assert "Average" in capsys.readouterr().out


def test_the_pose_scaling_is_that_of_all_training_frames(rpsm, h36m, tmp_path):
    example, common = rpsm
    seen = []
    real = example.stages_on_trunk
    example.stages_on_trunk = lambda args, poses: seen.append(poses) or real(args, poses)
    example.main([*common, "--iterations", "1", "--output", str(tmp_path / "run")])
    assert seen[0].shape == (3, 17, 3)  # 60 frames at 2 of 50 per second
    assert torch.equal(seen[0][:, 0], torch.zeros(3, 3))


def test_trunks_on_mpii_and_without(rpsm, tmp_path):
    example, common = rpsm
    mpii = write_mpii(tmp_path / "mpii")
    for name, data in (("mpii", ["--data", f"mpii:{mpii}", *common[4:]]), ("none", common)):
        run = tmp_path / name
        example.main(["--phase", "trunk", *data, "--batch-size", "2", "--iterations", "1", "--output", str(run)])
        trunk = posezoo.create(f"local-dir:{run / 'model'}", pretrained=True)
        assert (trunk.architecture, trunk.num_features) == ("rpsm", 4)
        report = example.main([
            *common, "--trunk", f"local-dir:{run / 'model'}", "--iterations", "1", "--output", str(run / "poses"),
        ])  # fmt: skip
        assert np.isfinite(report["Average"])
        stages = posezoo.create(f"local-dir:{run / 'poses' / 'model'}", pretrained=True)
        assert torch.equal(stages.trunk.conv1_1.weight, trunk.trunk.conv1_1.weight)  # frozen


def test_rpsm_on_humaneva(humaneva, tmp_path):
    report = load_example("train_rpsm_video").main([
        "--data", f"humaneva:{humaneva}", "--frames", str(humaneva), *ONE, "--size", "32", "32", "--width", "4",
        "--hidden", "8", "--workers", "0", "--iterations", "1", "--output", str(tmp_path / "run"),
    ])  # fmt: skip
    assert set(report) == {"Walking S1", "Walking", "Average"}
    model = posezoo.create(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True)
    assert model.skeleton.name == "humaneva14"


# -------------------------------------------------------------------------------------------------------------- lifters


@pytest.mark.parametrize("model", LIFTERS)
def test_rates_decay_continuously(model):
    schedule = LIFTERS[model].schedule
    assert [schedule(step, 10**7, 1) for step in (0, 50_000, 100_000, 10**6)] == pytest.approx(
        [1, 0.96**0.5, 0.96, 0.96**10]
    )
    assert (LIFTERS["seq2seq3d"].settings["lr"], LIFTERS["martinez"].settings["lr"]) == (1e-5, 1e-3)


@pytest.mark.parametrize(
    ("more", "changed"),
    [
        ([], {}),
        (["--window", "2", "--no-layer-norm"], {"window": 2, "layer_norm": False}),
        (["--no-residual", "--no-recurrent-dropout"], {"residual": False, "recurrent_dropout": 0.0, "dropout": 0.0}),
    ],
)
def test_rows_of_hossain_and_little(h36m, tmp_path, capsys, monkeypatch, more, changed):
    example = load_example("train_lifter_video")
    monkeypatch.setattr(example, "TRAIN", ["S1"])
    monkeypatch.setattr(example, "TEST", ["S9"])
    report = example.main([
        "--data", f"h36m:{h36m}", "--actions", "Walking", "--width", "8", "--iterations", "1", "--workers", "0",
        "--batch-size", "200", "--noise", "0", "5", "--output", str(tmp_path / "run"), *more,
    ])  # fmt: skip
    assert set(report) == {"hossain-1, 0 px", "hossain-2, 0 px", "hossain-1, 5 px", "hossain-2, 5 px"}
    assert report["hossain-2, 0 px"]["Average"] <= report["hossain-1, 0 px"]["Average"]
    model = posezoo.create(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True)
    kwargs = {"window": 5, "layer_norm": True, "residual": True, "recurrent_dropout": 0.5, "dropout": 0.5} | changed
    assert {name: model.kwargs[name] for name in kwargs} == kwargs
    assert model.normalize.keypoints.mean.abs().max() > 5  # pixels, and no units of the person
    assert "hossain-1, 5 px" in capsys.readouterr().out


def test_martinez_is_filtered_too(h36m, tmp_path, monkeypatch):
    example = load_example("train_lifter_video")
    monkeypatch.setattr(example, "TRAIN", ["S1"])
    monkeypatch.setattr(example, "TEST", ["S9"])
    report = example.main([
        "--data", f"h36m:{h36m}", "--actions", "Walking", "--model", "martinez", "--width", "8", "--iterations", "1",
        "--workers", "0", "--batch-size", "200", "--noise", "0", "--output", str(tmp_path / "run"),
    ])  # fmt: skip
    assert "hossain-1, 0 px + median filter" in report


def test_humaneva_is_aligned_rigidly_per_subject_and_action(humaneva, tmp_path):
    report = load_example("train_lifter_video").main([
        "--data", f"humaneva:{humaneva}", *ONE, "--width", "8", "--iterations", "1", "--workers", "0", "--noise", "0",
        "--batch-size", "8", "--output", str(tmp_path / "run"),
    ])  # fmt: skip
    assert set(report["hossain-humaneva, 0 px"]) == {"Walking S1", "Walking", "Average"}


def test_joint_weights_are_the_papers_or_the_codes():
    example = load_example("train_lifter_video")
    names = posezoo.get_skeleton("h36m17").keypoints[1:]
    pred, target = torch.randn(2, 4, 16, 3), torch.randn(2, 4, 16, 3)
    for kind in ("paper", "code", "uniform"):
        ours = smooth_pose_mse(pred, target, joint_weights=example.joint_weights(names, kind))
        assert ours == pytest.approx(float(smooth_pose_mse(pred, target, joint_weights=kind)), rel=1e-6)


# -------------------------------------------------------------------------------------------- the hourglass's keypoints


def test_detections_of_the_fine_tuned_hourglass_are_read_back(h36m, tmp_path):
    example = load_example("fine_tune_hourglass")
    common = ["--actions", "Walking", "--cameras", "54138969", "--subjects", "S9", "--training-subjects", "S1"]
    file = example.main([
        "--data", f"h36m:{h36m}", "--frames", str(h36m / "images"), *common, "--model", "hourglass_1", "--size", "64",
        "64", "--iterations", "2", "--batch-size", "3", "--workers", "0", "--output", str(tmp_path / "run"),
    ])  # fmt: skip
    videos = Human36M(h36m, subjects=["S9"], actions=["Walking"], cameras=["54138969"], keypoints=file)
    assert videos.keypoint_skeleton.name == "h36m16"
    assert videos[0]["keypoints"].shape == (60, 16, 2)


def test_a_square_of_440_pixels_and_the_order_of_the_papers(h36m):
    example = load_example("fine_tune_hourglass")
    videos = Human36M(h36m, subjects=["S9"], actions=["Walking"], cameras=["54138969"], frames=h36m / "images")
    sample = example.Frames(videos, 256)[3]
    assert float(sample["matrix"][0, 0]) == pytest.approx(256 / 440)
    names = posezoo.get_skeleton("h36m17").keypoints
    points = videos[0]["keypoints"][3] @ sample["matrix"][:, :2].T + sample["matrix"][:, 2]
    for place, name in (
        (6, "pelvis"),
        (7, "spine"),
        (8, "thorax"),
        (9, "head"),
        (10, "right_wrist"),
        (5, "left_ankle"),
    ):
        name = name if name in names else {"left_ankle": "left_foot"}.get(name, name)
        assert torch.allclose(sample["keypoints"][place], points[names.index(name)], atol=1e-2), name
