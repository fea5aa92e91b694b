"""RPSM's training in two steps: on a man of boxes it runs, stops, goes on and learns."""

import math

import pytest
import torch
import torch.nn.functional as F
from box_man import bvh, write_body, write_motions
from running_examples import load_example
from torch.testing import assert_close

import posezoo
from posezoo.data import LSP
from posezoo.heatmaps import encode
from posezoo.models.cpm import cpm_targets
from posezoo.models.rpsm import HEATMAPS_SCALE, RPSM

from render_clips import read_takes
from rendering import Body

STAGES = ["stage 1", "stage 2", "stage 3"]


@pytest.fixture(scope="module")
def example():
    return load_example("train_rpsm")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Arguments of both steps: somebody to render, how he moves, and small pictures."""
    folder = tmp_path_factory.mktemp("rpsm")
    body, motions = write_body(folder / "body"), write_motions(folder / "motions", frames=160)
    return [
        *("--body", str(body), "--motions", str(motions), "--held-out", "02", "--fps", "10"),
        *("--size", "32", "32", "--workers", "0", "--eval-every", "1"),
    ]


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    torch.manual_seed(0)
    model = posezoo.create("rpsm", num_keypoints=0, size=(32, 32), width=8)
    for layer in model.trunk:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    return f"local-dir:{model.save_pretrained(tmp_path_factory.mktemp('trunk') / 'model')}"


def poses(world, trunk, output, *more):
    small = ["--hidden", "16", "--batch-size", "2", "--videos", "4", "--test-videos", "3", "--video-length", "6"]
    small += ["--clip-length", "3", "--test-lengths", "1", "4"]
    return ["--phase", "poses", *world, "--trunk", trunk, "--output", str(output), *small, *more]


# ------------------------------------------------------------------------------------------------------------ running


@pytest.mark.parametrize(("head", "more"), [("paper", []), ("cpm", ["--adam", "--lr", "1e-3"])])
def test_the_trunk_learns_stops_and_resumes(example, world, lspet, tmp_path, capsys, head, more):
    arguments = ["--phase", "trunk", *world, "--data", str(lspet), "--output", str(tmp_path / "run"), "--width", "8"]
    arguments += ["--train-images", "1", "4", "--val-images", "5", "6", "--renders", "5", "--batch-size", "3"]
    arguments += ["--head", head, *more]
    example.main([*arguments, "--epochs", "1"])
    report = example.main([*arguments, "--epochs", "2", "--resume"])
    said = capsys.readouterr().out
    assert said.count("epoch 0:") == said.count("epoch 1:") == 1  # the first epoch was not run again
    assert "step 0/3" in said  # of 4 photographs and 5 renders
    assert report["people"] == 2
    assert report["error_percent"] > 0
    model = posezoo.create(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True)
    assert (model.num_features, model.num_keypoints) == (8, 0)
    assert not [key for key in model.state_dict() if "head" in key]
    images = torch.stack([LSP(lspet, images=(5, 6))[i]["image"][:, :96, :96] for i in range(2)]).float() / 255
    size = model.forward_features(F.interpolate(images, (32, 32))[:, None]).square().mean().sqrt()
    assert 0.5 < size < 2  # other crops of the pictures on which it is 1


def test_the_stages_learn_stop_and_resume(example, world, trunk, tmp_path, capsys):
    arguments = poses(world, trunk, tmp_path / "run", "--cache", str(tmp_path / "features"))
    example.main([*arguments, "--epochs", "1"])
    report = example.main([*arguments, "--epochs", "2", "--resume"])
    assert example.main([*arguments, "--epochs", "2", "--resume"]) == report  # nothing is left to do
    said = capsys.readouterr().out
    assert said.count("epoch 0:") == said.count("epoch 1:") == 1
    assert said.count("features of") == 2  # of training and of test videos; the later runs read them
    assert list(report) == ["mean pose", *STAGES, "clips of 1", "clips of 4"]
    assert all(0 < row["PA-MPJPE"] < row["MPJPE"] for row in report.values())
    assert report["clips of 1"] != report["stage 3"]

    model = posezoo.create(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True)
    assert (model.num_stages, model.receptive_field, model.temporal, model.hidden) == (3, 3, "lstm", 16)


def test_the_trunk_is_frozen_and_its_features_can_be_kept(example, world, trunk, tmp_path):
    one_frame = ["--clip-length", "1", "--stages", "1", "--epochs", "1"]
    kept = example.main(poses(world, trunk, tmp_path / "kept", *one_frame, "--cache", str(tmp_path / "features")))
    rendered = example.main(poses(world, trunk, tmp_path / "rendered", *one_frame))
    for name, row in rendered.items():
        assert row == pytest.approx(kept[name], rel=1e-2)
    assert rendered["clips of 4"] == pytest.approx(rendered["stage 1"])  # clips of one frame have no LSTM
    model, pretrained = (
        posezoo.create(name, pretrained=True) for name in (f"local-dir:{tmp_path / 'rendered' / 'model'}", trunk)
    )
    for name, value in pretrained.trunk.state_dict().items():
        assert_close(model.trunk.state_dict()[name], value, rtol=1e-3, atol=1e-6)  # frozen; saved in half precision
    assert len(list((tmp_path / "features").glob("*.pt"))) == 2
    example.main(
        poses(world, trunk, tmp_path / "more", *one_frame, "--videos", "3", "--cache", str(tmp_path / "features"))
    )
    assert len(list((tmp_path / "features").glob("*.pt"))) == 3  # other videos, another file


def test_stages_on_the_heatmaps_of_another_network(example, world, lspet, tmp_path):
    torch.manual_seed(0)
    network = {"backbone": "test_resnet", "num_keypoints": 4, "deconv_width": 8}
    network["skeleton"] = ["left_knee", "right_knee", "nose", "neck"]
    source = posezoo.create("simple_baseline_lite", **network)
    trunk = f"local-dir:{source.save_pretrained(tmp_path / 'trunk')}"
    more = ["--backbone", "test_resnet", "--width", "8", "--augment", "--fps", "10", "5", "--shares", "3", "1"]
    more += ["--backgrounds", str(lspet / "images"), "--train-images", "1", "4", "--mixed-precision", "bf16"]
    more += ["--cache", str(tmp_path / "features"), "--epochs", "1", "--without-images", "64"]
    report = example.main(poses(world, trunk, tmp_path / "run", *more))
    drawn = [torch.load(path)["keypoints"].shape for path in sorted((tmp_path / "features").glob("keypoints*.pt"))]
    assert sorted(drawn) == [(16, 6, 4, 2), (48, 6, 4, 2)]  # motions at 5 and at 10 fps, seen by 16 cameras
    assert list(report)[:4] == ["mean pose", *STAGES]
    counts = sorted(int(path.stem.rpartition("_")[2]) for path in (tmp_path / "features").glob("????????????_*.pt"))
    assert counts == [1, 3, 3]  # of 4 training videos 3 at 10 fps and 1 at 5 fps; 3 test videos
    model = posezoo.create(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True)
    assert (model.num_features, model.width) == (4, 8)
    clip = torch.rand(1, 2, 3, 32, 32)
    expected = F.avg_pool2d(source.eval()(clip[0]), 2)
    found = model.forward_features(clip)[0]
    assert_close(found, HEATMAPS_SCALE * expected, atol=0.02 * HEATMAPS_SCALE * expected.abs().max().item(), rtol=0)


def test_new_stages_start_as_copies(example, world, trunk, tmp_path):
    shared = ["--epochs", "1", "--cache", str(tmp_path / "features")]
    one = example.main(poses(world, trunk, tmp_path / "one", *shared, "--stages", "1"))
    more = ["--stages", "3", "--start", str(tmp_path / "one" / "model"), "--lr", "0"]
    three = example.main(poses(world, trunk, tmp_path / "three", *shared, *more))
    for stage in STAGES:
        assert three[stage] == pytest.approx(one["stage 1"], rel=1e-2)  # in half precision


@pytest.mark.slow
def test_training_helps(example, world, tmp_path, monkeypatch):
    """A perfect trunk, whose features are the heatmaps of a render's keypoints: poses of another
    body are learned.
    """
    model = posezoo.create("rpsm", num_keypoints=0, size=(64, 64), width=18)
    trunk = f"local-dir:{model.save_pretrained(tmp_path / 'trunk')}"

    def perfect(model, clips, folder, *, workers, bf16):
        videos = []
        for index in range(len(clips)):
            video = clips[index]
            maps, _ = encode(video["keypoints"].float(), size=(8, 8), stride=8, offset=3.5, sigma=1)
            videos.append({"features": F.pad(maps, (0, 0, 0, 0, 0, 1)), "pose3d": video["pose3d"].float()})
        return videos

    monkeypatch.setattr(example, "cached", perfect)
    (tmp_path / "motions").mkdir()
    for actor in ("01", "02"):  # they move alike
        (tmp_path / "motions" / f"{actor}_01.bvh").write_text(bvh(frames=160))
    more = ["--motions", str(tmp_path / "motions"), "--size", "64", "64", "--cache", "unused", "--videos", "200"]
    more += ["--hidden", "64", "--batch-size", "10", "--lr", "2e-3", "--final-rate", "0.1", "--epochs", "40"]
    more += ["--eval-every", "100"]
    report = example.main(poses(world, trunk, tmp_path / "run", *more))
    assert report["stage 3"]["MPJPE"] < 0.7 * report["mean pose"]["MPJPE"]
    assert report["stage 3"]["PA-MPJPE"] < 0.7 * report["mean pose"]["PA-MPJPE"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--phase", "trunk"], "--phase trunk needs --data"),
        (["--phase", "poses"], "--phase poses needs --trunk"),
        (["--phase", "poses", "--mixed-precision", "fp16"], "expected no or bf16"),
        (["--phase", "poses", "--trunk", "x", "--augment"], "--augment: name the network"),
        (["--phase", "poses", "--trunk", "x", "--without-images", "9"], "--without-images: name the network"),
        (["--phase", "poses", "--trunk", "x", "--shares", "1", "2"], "one per rate of --fps, 1, got 2"),
        (["--phase", "poses", "--size", "32", "64"], "renders are square, got 32 x 64"),
        (["--phase", "poses", "--trunk", "x", "--clip-length", "4"], "--video-length: expected a multiple of 4"),
        (["--phase", "poses", "--trunk", "x", "--held-out", "3"], "of 2 motions 2 are for training, 0 for testing"),
    ],
)
def test_arguments_that_do_not_fit(example, world, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit):
        example.main([*world, "--output", str(tmp_path), *arguments])
    assert message in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------------- parts


def test_augmented_heatmaps_are_those_of_augmented_poses(example):
    torch.manual_seed(0)
    keypoints, videos, frames = posezoo.get_skeleton("h36m17"), 20, 3
    cells = 7 + 10 * torch.rand(videos, frames, 17, 2)
    visible = torch.ones(videos * frames, 17, dtype=torch.bool)
    maps, _ = encode(cells.flatten(0, 1), visible, size=(24, 24), stride=1, sigma=1)
    pose3d = torch.cat([cells - 11.5, torch.ones(videos, frames, 17, 1)], dim=-1)  # parallel projection
    moved, turned = example.augmented(maps.unflatten(0, (videos, frames)), pose3d, keypoints)
    total = moved.sum(dim=(-2, -1), keepdim=True)
    share = moved / total.clamp_min(1e-6)
    grid = torch.arange(24.0)
    found = torch.stack([(share.sum(dim=-2) * grid).sum(dim=-1), (share.sum(dim=-1) * grid).sum(dim=-1)], dim=-1)
    kept = (total > 3).flatten(2)[..., None]  # not lost, and inside
    assert 0.9 < kept.float().mean() < 1
    ours, theirs = (
        torch.where(kept, x, torch.nan) - torch.where(kept, x, torch.nan).nanmean(dim=2, keepdim=True)
        for x in (turned[..., :2], found)
    )
    zoom = (ours * theirs).nansum(dim=(1, 2, 3)) / (ours * ours).nansum(dim=(1, 2, 3))
    assert 0.75 < zoom.min() < 0.9 < 1.1 < zoom.max() < 1.25
    assert (
        theirs - zoom[:, None, None, None] * ours
    ).nan_to_num().abs().mean() < 0.3  # cells; targets are rounded to cells
    assert_close(turned[..., 2], pose3d[..., 2])
    assert_close(turned.norm(dim=-1).sum(dim=-1), pose3d.norm(dim=-1).sum(dim=-1))


def test_drawn_heatmaps_are_those_of_the_poses(world, tmp_path, monkeypatch):
    example = load_example("heatmap_clips")
    for name, value in {"BIAS": 0, "JITTER": 0, "CONFUSED": 0, "PEAK": (0.5, 0.5)}.items():
        monkeypatch.setattr(example, name, value)
    options = dict(zip(world[::2], world[1::2], strict=False))
    takes, body = read_takes([options["--motions"]], 10), Body(options["--body"])
    clips = example.Clips(takes, body, size=64, length=3, count=2, padding=(1.5, 1.5), height=(1000.0, 1000.0))
    skeleton = posezoo.get_skeleton([*posezoo.get_skeleton("h36m17").keypoints, "nose"])
    videos = example.heatmap_clips(clips, skeleton, cameras=3, cells=32, scale=2.0, folder=tmp_path)
    again = example.heatmap_clips(clips, skeleton, cameras=3, cells=32, scale=2.0, folder=tmp_path)  # from the file
    assert len(videos) == len(again) == 6
    for index in range(len(videos)):
        maps, pose3d = videos[index]["features"], videos[index]["pose3d"]
        assert_close(again[index]["pose3d"], pose3d)
        assert maps.shape == (3, 18, 32, 32)
        assert 0.8 < maps[:, :17].amax() <= 1  # twice the height of a half, between the cells
        row, column = maps.flatten(2).argmax(dim=-1) // 32, maps.flatten(2).argmax(dim=-1) % 32
        cells = torch.stack([column, row], dim=-1)[:, :17].double()
        assert ((cells > 2) & (cells < 29)).all()  # inside the padding
        # the camera is far away: cells are nearly millimetres from the pelvis times a factor
        moved = cells - cells[:, :1]
        factor = (moved * pose3d[..., :2]).sum() / pose3d[..., :2].square().sum()
        assert (moved - factor * pose3d[..., :2]).abs().mean() < 0.8
    seen = torch.cat([videos[index]["features"][:, 17].flatten(1).amax(dim=1) > 0 for index in range(len(videos))])
    assert seen.any()
    assert not seen.all()  # noses that are turned away are not drawn


@pytest.mark.parametrize("background", [False, True])
def test_missing_keypoints_do_not_count(example, background):
    keypoints, visible = 60 * torch.rand(2, 14, 2), torch.rand(2, 14) > 0.3
    batch = {"image": torch.rand(2, 3, 64, 64), "keypoints": keypoints, "visible": visible}
    target, _ = cpm_targets(keypoints[:, None], visible[:, None], size=(8, 8), background=background)
    assert example.heatmap_loss(lambda image: target, batch, background=background) == 0
    count = float(visible.sum()) + 2 * background
    loss = example.heatmap_loss(lambda image: target + 1, batch, background=background)
    assert loss == pytest.approx(count * 64 / 2 / 2)  # half the squares, mean over two people


@pytest.mark.parametrize("design", ["paper", "cpm"])
def test_peaks_are_the_keypoints(example, design):
    network = example.PoseHeatmaps(RPSM(num_keypoints=0, size=(64, 64), width=8), design).eval()
    maps = torch.zeros(1, 14 + (design == "cpm"), 8, 8)
    maps[:, :14, 3, 5] = 1.0
    maps[:, 14:, 0, 0] = 9.0
    network.forward = lambda image: maps
    keypoints, _ = network.predict(torch.rand(1, 3, 64, 64))
    assert_close(keypoints, torch.tensor([5 * 8 + 3.5, 3 * 8 + 3.5]).expand(1, 14, 2))
    mirrored, _ = network.predict(torch.rand(1, 3, 64, 64), flip=True)  # equally high on both sides
    assert_close(mirrored[..., 1], keypoints[..., 1])


def test_photographs_and_renders_have_the_same_format(example, world, lspet):
    options = dict(zip(world[::2], world[1::2], strict=False))
    takes, _ = example.split([options["--motions"]], 10, ())
    clips = example.Clips(takes, example.Body(options["--body"]), size=64, length=3, count=2)
    crop = example.PersonCrop(size=(64, 64))
    people = example.ImagesAndRenders(LSP(lspet, images=(1, 3)), crop, clips)
    assert len(people) == 3 + 2 * 3
    assert {key: value.shape for key, value in people[0].items()} == {
        key: value.shape for key, value in people[3].items()
    }
    second = people[3 + 4]  # frame 1 of clip 1
    assert_close(second["image"], clips[1]["clip"][1].float() / 255)
    named = dict(zip(LSP.skeleton.keypoints, zip(second["keypoints"], second["visible"], strict=True), strict=True))
    assert not named["neck"][1]  # a render's skeleton has none
    place, visible = named["left_knee"]
    assert visible
    assert_close(place, clips[1]["keypoints"][1][posezoo.get_skeleton("h36m17").index("left_knee")].float())


def test_the_state_is_reset_between_clips(example):
    torch.manual_seed(0)
    model = RPSM(size=(32, 32), width=8, hidden=16, init="torch7").eval()
    clip = torch.rand(2, 5, 3, 32, 32)
    with torch.no_grad():
        features = example.features_of(model, {"clip": (255 * clip).round()})
        stages = example.predict(model, features, 2)
    assert len(stages) == 3
    assert_close(stages[-1], model.predict((255 * clip).round() / 255, clip_length=2)[0], atol=0.01, rtol=0)
    assert (stages[-1] - example.predict(model, features, 5)[-1]).abs().max() > 0.1


def test_the_rate_falls_exponentially(example):
    factor = example.decay(type("Args", (), {"final_rate": 0.01}))
    assert [factor(step, 100) for step in (0, 50, 100)] == pytest.approx([1, 0.1, 0.01])
    assert math.isclose(example.decay(type("Args", (), {"final_rate": 1.0}))(7, 100), 1)
