"""The lifters that ship with the package, and the clip to try them on."""

import json

import pytest
import torch
from command_line import run
from torch.testing import assert_close

import posezoo
from posezoo.data import add_noise, sample_video
from posezoo.data.cmu import SAMPLE
from posezoo.metrics import mpjpe, pa_mpjpe

# mm on the clip, with true keypoints and with noise of 10 px, as measured when the weights were made
MEASURED = {
    "martinez": (50.6, 74.4),
    "seq2seq3d": (61.0, 62.9),
    "temporal_conv_27": (51.4, 57.6),
}


@pytest.fixture(scope="module")
def video():
    return sample_video()


def errors(model, keypoints, video):
    pose3d = torch.from_numpy(posezoo.lift(keypoints, model, skeleton=video["skeleton"]).pose3d)
    truth = video["pose3d"] - video["pose3d"][:, :1]
    return float(mpjpe(pose3d, truth).mean()), float(pa_mpjpe(pose3d, truth).mean())


def test_the_clip_is_the_cameras_projection(video):
    assert SAMPLE.stat().st_size < 100_000
    assert (video["name"], video["subject"], video["fps"]) == ("03_02", "03", 25)
    assert len(video["pose3d"]) / video["fps"] == pytest.approx(3, abs=0.1)
    assert_close(video["camera"].project(video["pose3d"]), video["keypoints"], atol=1e-3, rtol=0)
    height, width = video["camera"].size
    assert video["keypoints"].min() > 0
    assert (video["keypoints"] < torch.tensor([width, height])).all()
    ends = torch.tensor(posezoo.get_skeleton(video["skeleton"]).bones)
    bones = (video["pose3d"][:, ends[:, 0]] - video["pose3d"][:, ends[:, 1]]).norm(dim=-1)
    assert 50 < bones.min() < bones.max() < 600
    assert bones.std(dim=0).max() < 15


@pytest.mark.parametrize("name", MEASURED)
def test_weights_work_now(name, video):
    model = posezoo.create(name, pretrained=True)
    record = posezoo.get_pretrained_cfg(name)
    assert record.sources == (f"package:{name}.cmu",)
    assert record.size < 10_000_000
    clean, noisy = MEASURED[name]
    of_clean, aligned = errors(model, video["keypoints"], video)
    assert of_clean == pytest.approx(clean, abs=1)
    assert aligned < of_clean
    seen = add_noise(video["keypoints"], 10.0, generator=torch.Generator().manual_seed(0))
    assert errors(model, seen, video)[0] == pytest.approx(noisy, abs=2)


@pytest.mark.parametrize("name", MEASURED)
def test_any_camera_will_do(name, video):
    """Another image size, and another place in the image, make no difference."""
    model = posezoo.create(name, pretrained=True)
    there = model.predict(video["keypoints"][None])[0]
    elsewhere = model.predict(0.3 * video["keypoints"][None] + torch.tensor([700.0, -50.0]))[0]
    assert_close(elsewhere, there, atol=1, rtol=0)


@pytest.mark.parametrize("name", MEASURED)
def test_the_architecture_stays_the_papers(name):
    with torch.device("meta"):
        model, shipped = posezoo.create(name), posezoo.create(f"{name}.cmu")
    assert model.normalize.frame == "pixels"
    assert shipped.normalize.frame == "person"
    assert model.num_features == {"seq2seq3d": 2048}.get(name, 1024)


def test_lift_on_the_command_line(capsys, tmp_path):
    code, out, err = run(capsys, "lift", SAMPLE, "--json", tmp_path / "poses.json")
    assert (code, err) == (0, "")
    assert "76 frames" in out
    assert len(json.loads((tmp_path / "poses.json").read_text())["pose3d"]) == 76
