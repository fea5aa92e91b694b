"""Published lifters, made from posezoo's by undoing the renaming, must load as what they are."""

import logging
from typing import Any

import pytest
import torch
from published_keys import MMPOSE_META, State, old, settings, trunk_and_head, write
from safetensors.torch import save_file
from torch import Tensor
from toy import same, snapshot

import posezoo
from posezoo.models.martinez import Martinez
from posezoo.models.temporal_conv import TemporalConv
from posezoo.registry import load_checkpoint


def mmpose_lifter(model: Any, head: str) -> State:
    """mmpose's names: convolutions over time, for Martinez' baseline over one frame and without
    bias.
    """
    stem, blocks = ("w1", "linear_stages") if isinstance(model, Martinez) else ("expand_conv", "layers_conv")
    last = model.w2 if isinstance(model, Martinez) else model.shrink
    pairs = [(getattr(model, stem), model.batch_norm1 if stem == "w1" else model.expand_bn)]
    for number, block in enumerate(getattr(model, blocks)):
        if stem == "w1":
            pairs += [(block.w1, block.batch_norm1), (block.w2, block.batch_norm2)]
        else:
            pairs += [(block, model.layers_bn[number])]
    places = ["expand_conv", *(f"tcn_blocks.{n // 2}.conv{n % 2 + 1}.0" for n in range(len(pairs) - 1))]
    state = {}
    for place, (layer, norm) in zip(places, pairs, strict=True):
        state[f"backbone.{place}.conv.weight"] = layer.weight if layer.weight.ndim == 3 else layer.weight[..., None]
        state |= {f"backbone.{place}.bn.{key}": value for key, value in norm.state_dict().items()}
    state[f"{head}.conv.weight"] = last.weight if last.weight.ndim == 3 else last.weight[..., None]
    return {key: value.detach() for key, value in {**state, f"{head}.conv.bias": last.bias}.items()}


def shaken(model: Any) -> Any:
    """Random running statistics and, as in mmpose, no bias in front of a batch normalisation."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    for name, parameter in model.named_parameters():
        if name.endswith(("w1.bias", "w2.bias")) and name != "w2.bias":
            torch.nn.init.zeros_(parameter)
    return model.eval()


def metres(model: Any, keypoints: Tensor) -> Tensor:
    """The network's output for inputs that need no normalisation."""
    model.normalize.disable()
    model.normalize.pose3d.reset()
    with torch.no_grad():
        return model(keypoints)


@pytest.mark.parametrize("head", ["keypoint_head", "head"])
def test_mmposes_martinez_has_its_configurations_statistics(tmp_path, head):
    published = shaken(Martinez(linear_size=12, neck=True, max_norm=False))
    content = {"state_dict": old(mmpose_lifter(published, head)), "meta": MMPOSE_META}
    model = load_checkpoint(None, write(tmp_path / "simple3Dbaseline_h36m.pth", content))
    assert settings(model) == ("martinez_mmpose", 17, "h36m17")
    assert (model.num_features, model.max_norm, len(model.used)) == (12, False, 17)
    keypoints, poses = model.normalize.keypoints, model.normalize.pose3d
    assert keypoints.mean[0].tolist() == pytest.approx([532.08351635, 419.74137558], abs=0.01)
    assert keypoints.std[16].tolist() == pytest.approx([131.79990652, 89.86721124], abs=0.01)
    assert poses.mean[3].tolist() == pytest.approx([-10.17, 691.15, 155.35], abs=0.06)  # the right ankle
    assert poses.std[16].tolist() == pytest.approx([244.007, 239.750, 255.206], abs=0.06)
    assert not poses.mean[0].any()
    # the average person stands upright, in a frame whose y points down
    pose3d, _ = model.decode(model.normalize.inverse(torch.zeros(1, 1, 17, 3)))
    height = dict(zip(model.skeleton.keypoints, pose3d[0, 0, :, 1].tolist(), strict=True))
    assert height["right_ankle"] > height["right_knee"] > 0 > height["thorax"] > height["head"]
    numbers = torch.randn(3, 2, 17, 2)
    torch.testing.assert_close(metres(model, numbers), metres(published, numbers))


@pytest.mark.parametrize(("name", "frames"), [("temporal_conv_27", 27), ("temporal_conv_81", 81)])
def test_mmposes_videopose3d_normalises_by_1000_pixels(tmp_path, name, frames):
    published = shaken(posezoo.create(name, channels=12))
    path = write(tmp_path / "videopose.pth", {"state_dict": mmpose_lifter(published, "keypoint_head")})
    model = load_checkpoint(None, path)
    assert settings(model) == (name, 17, "h36m17")
    assert (model.num_features, model.receptive_field) == (12, frames)
    corners = torch.tensor([[0.0, 0.0], [1000.0, 500.0]]).repeat(9, 1)[:17].expand(1, 1, -1, -1)
    assert model.normalize(corners)[0, 0, :2].tolist() == [[-1, -1], [1, 0]]
    numbers = torch.randn(2, frames + 3, 17, 2)
    torch.testing.assert_close(metres(model, numbers), metres(published, numbers))


def test_mmposes_single_frame_videopose3d_is_no_martinez(tmp_path):
    published = shaken(TemporalConv(filter_widths=[1] * 5, channels=12))
    model = load_checkpoint(None, write(tmp_path / "videopose.pth", mmpose_lifter(published, "head")))
    assert settings(model) == ("temporal_conv_27", 17, "h36m17")
    assert (model.filter_widths, model.receptive_field) == ((1, 1, 1, 1, 1), 1)
    other = mmpose_lifter(TemporalConv(channels=12, num_keypoints=15, input_keypoints=15), "head")
    with pytest.raises(ValueError, match=r"17 keypoints.*takes 15 and predicts 15"):
        load_checkpoint(None, write(tmp_path / "other.pth", other))


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model_pos": s, "model_traj": None, "epoch": 80, "lr": 1e-3}])
def test_videopose3d(tmp_path, caplog, wrap):
    published = shaken(TemporalConv(filter_widths=(3, 3, 3, 3), channels=12, num_keypoints=15, skeleton="humaneva15"))
    path = write(tmp_path / "pretrained.bin", wrap(trunk_and_head(published)))
    with caplog.at_level(logging.WARNING, "posezoo"):
        model = load_checkpoint(None, path)
    assert settings(model) == ("temporal_conv_81", 15, "humaneva15")
    assert same(model.state_dict(), published.state_dict())
    assert "has no statistics" in caplog.text
    assert "normalize.fit_image" in caplog.text
    # into a model that has statistics, and another head: the first stay, the second is left out
    model = posezoo.create("temporal_conv_81", channels=12)
    model.normalize.fit_image((480, 640))
    before = snapshot(model)
    load_checkpoint(model, path)
    kept = ("normalize.", "shrink.")
    expected = published.state_dict() | {key: value for key, value in before.items() if key.startswith(kept)}
    assert same(model.state_dict(), expected)


def test_ports_of_martinez(tmp_path, caplog):
    published = shaken(Martinez(linear_size=12, max_norm=False, num_blocks=3))
    with caplog.at_level(logging.WARNING, "posezoo"):
        model = load_checkpoint(None, write(tmp_path / "ckpt_best.pth.tar", {"state_dict": trunk_and_head(published)}))
    assert settings(model) == ("martinez", 17, "h36m17")
    assert (model.max_norm, len(model.linear_stages), model.num_features) == (False, 3, 12)
    assert same(model.state_dict(), published.state_dict())
    assert "has no statistics" in caplog.text
    strange = trunk_and_head(Martinez(linear_size=12, num_keypoints=5))
    with pytest.raises(ValueError, match="16 keypoints in and 5 out are not those of the paper; give the model"):
        load_checkpoint(None, write(tmp_path / "strange.pth", strange))


def test_a_lifters_own_file_has_its_config(tmp_path):
    model = posezoo.create("temporal_conv_27", channels=12, frame="person", causal=True)
    folder = model.save_pretrained(tmp_path / "folder")
    again = load_checkpoint(None, folder / "model.safetensors")
    assert (again.causal, again.normalize.frame) == (True, "person")
    moved = (folder / "model.safetensors").rename(tmp_path / "moved.safetensors")
    alone = load_checkpoint(None, moved)
    assert (alone.causal, alone.normalize.frame) == (True, "person")
    save_file(model.state_dict(), moved)  # as of another program, without the config in the header
    with pytest.raises(ValueError, match=r"the frame of a lifter's keypoints; keep the config\.json"):
        load_checkpoint(None, moved)
    assert same(load_checkpoint(again, moved).state_dict(), model.state_dict())
