"""Published layouts, made from our own networks by undoing the renaming, must load as what they are.

The layouts are those of specs: the authors' HRNet and PoseResNet, mmpose 0.x and 1.x, timm's and torchvision's
classifiers. Networks are narrow, or without memory, where only names and shapes matter.
"""

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from toy import randomize, same, snapshot

import posezoo
from posezoo.checkpoints import FLAVOURS, convert, detect, infer, load_checkpoint, unwrap
from posezoo.layers import IMAGENET_MEAN, IMAGENET_STD
from posezoo.models.hrnet import HRNet
from posezoo.models.martinez import Martinez
from posezoo.models.simple_baseline import SimpleBaseline
from posezoo.models.temporal_conv import TemporalConv

State = dict[str, Tensor]
MMPOSE_META = {"epoch": 210, "config": "model = dict()", "CLASSES": None, "hook_msgs": {"best": "x"}}


def trunk_and_head(model: torch.nn.Module) -> State:
    """Everything a published file could hold: ours without the normalisation."""
    return {key: value for key, value in model.state_dict().items() if not key.startswith("normalize.")}


def old(state: State) -> State:
    """As PyTorch before 0.4.1 wrote it: without batch counters."""
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def authors(model: torch.nn.Module) -> State:
    """The authors' names: the ResNet has no prefix."""
    return {key.removeprefix("backbone."): value for key, value in trunk_and_head(model).items()}


def mmpose(model: torch.nn.Module, head: str) -> State:
    """mmpose's names: everything under `backbone.` but the head, which is under `head.` or `keypoint_head.`"""
    return {
        (f"{head}.{key}" if key.startswith(("final_layer.", "deconv_layers.")) else f"backbone.{key}"): value
        for key, value in authors(model).items()
    }


def imagenet_hrnet(model: torch.nn.Module) -> State:
    """timm's and the authors' classifier: the trunk, its unused fusions, and a classifier with its own final_layer."""
    state = {key: value for key, value in trunk_and_head(model).items() if not key.startswith("final_layer.")}
    for target in (1, 2, 3):
        state |= {f"stage4.2.fuse_layers.{target}.0.0.0.weight": torch.zeros(2, 2, 3, 3)}
        state |= {f"stage4.2.fuse_layers.{target}.0.0.1.running_var": torch.ones(2)}
    state |= {"incre_modules.0.0.conv1.weight": torch.zeros(2, 2, 1, 1), "downsamp_modules.0.0.bias": torch.zeros(2)}
    state |= {"final_layer.0.weight": torch.zeros(4, 2, 1, 1), "final_layer.1.running_var": torch.ones(4)}
    return state | {"classifier.weight": torch.zeros(10, 4), "classifier.bias": torch.zeros(10)}


def write(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def settings(model: Any) -> tuple[str, int, str | None]:
    return model.architecture, model.num_keypoints, model.skeleton.name if model.skeleton else None


def meta(name: str, **kwargs: Any) -> Any:
    with torch.device("meta"):
        return posezoo.create(name, **kwargs)


def without_counters(state: State) -> State:
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


@pytest.fixture(scope="module")
def hrnet():
    return randomize(posezoo.create("hrnet_w32", width=4, num_keypoints=16, skeleton="mpii16"))


@pytest.fixture(scope="module")
def resnet18():
    """Values for which the output is neither 0 nor huge."""
    torch.manual_seed(0)
    model = posezoo.create("simple_baseline_resnet18")
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.startswith("normalize.") or not value.is_floating_point():
                continue
            if value.ndim > 1:
                value.normal_(std=value[0].numel() ** -0.5)
            else:
                value.uniform_(0.5, 1.5)
    return model.eval()


# ---------------------------------------------------------------------------------------------------------------------
# The layouts


@pytest.mark.parametrize(
    "layout",
    [
        lambda m: authors(m),
        lambda m: {"state_dict": authors(m), "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda m: prefixed(authors(m), "module."),
        lambda m: {"state_dict": prefixed(authors(m), "model.module.")},
        lambda m: prefixed(prefixed(authors(m), "_orig_mod."), "module."),
        lambda m: old(authors(m)),
        lambda m: {"state_dict": mmpose(m, "keypoint_head"), "meta": MMPOSE_META},
        lambda m: {"state_dict": old(mmpose(m, "keypoint_head"))},
        lambda m: {
            "state_dict": mmpose(m, "head")
            | {"data_preprocessor.mean": torch.ones(3, 1, 1), "data_preprocessor.std": torch.ones(3, 1, 1)},
            "meta": MMPOSE_META,
        },
    ],
    ids=["plain", "state_dict", "module", "model.module", "compiled", "old", "mmpose-0", "mmpose-0-old", "mmpose-1"],
)
def test_hrnet(tmp_path, hrnet, layout):
    path = write(tmp_path / "pose.pth", layout(hrnet), _use_new_zipfile_serialization=False)
    model = load_checkpoint(None, path)
    assert settings(model) == ("hrnet_w32", 16, "mpii16")
    assert model.kwargs["width"] == 4
    assert not model.training
    assert same(without_counters(trunk_and_head(model)), without_counters(trunk_and_head(hrnet)))
    torch.testing.assert_close(model.normalize.mean, torch.tensor(IMAGENET_MEAN))
    torch.testing.assert_close(model.normalize.std, torch.tensor(IMAGENET_STD))


@pytest.mark.parametrize("layout", [authors, lambda m: old(authors(m)), lambda m: prefixed(authors(m), "module.")])
def test_bgr_of_pose_resnet_is_folded_into_rgb(tmp_path, resnet18, layout):
    model = load_checkpoint(None, write(tmp_path / "pose_resnet_18.pth.tar", layout(resnet18)))
    assert settings(model) == ("simple_baseline_resnet18", 17, "coco17")

    rgb = torch.rand(2, 3, 64, 64)
    # the authors: OpenCV's BGR image, the mean and std in RGB order, their weights as they are
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    raw = SimpleBaseline(backbone="resnet18").eval()
    raw.load_state_dict(resnet18.state_dict())
    raw.normalize.disable()
    with torch.no_grad():
        expected = raw((rgb.flip(1) - mean) / std)
        assert expected.std() > 0.1
        torch.testing.assert_close(model(rgb), expected, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(model(rgb.flip(1)), expected, atol=1e-2)


@pytest.mark.parametrize("head", ["keypoint_head", "head"])
def test_mmposes_resnet_is_rgb_already(tmp_path, resnet18, head):
    preprocessor = {"data_preprocessor.mean": torch.ones(3, 1, 1)} if head == "head" else {}
    content = {"state_dict": mmpose(resnet18, head) | preprocessor, "meta": MMPOSE_META}
    model = load_checkpoint(None, write(tmp_path / "res18.pth", content))
    assert settings(model) == ("simple_baseline_resnet18", 17, "coco17")
    assert same(model.state_dict(), resnet18.state_dict())


def test_a_file_of_bottlenecks(tmp_path):
    published = randomize(posezoo.create("simple_baseline_resnet50", num_keypoints=16))
    model = load_checkpoint(None, write(tmp_path / "pose_resnet_50.pth.tar", old(authors(published))))
    assert settings(model) == ("simple_baseline_resnet50", 16, "mpii16")
    ours, theirs = without_counters(trunk_and_head(model)), without_counters(trunk_and_head(published))
    torch.testing.assert_close(ours.pop("backbone.conv1.weight"), theirs.pop("backbone.conv1.weight")[:, [2, 1, 0]])
    assert same(ours, theirs)


def test_the_files_tensor_is_left_alone(resnet18):
    state = authors(resnet18)
    before = {key: value.clone() for key, value in state.items()}
    convert(state, "pose_resnet")
    assert same(state, before)


def test_safetensors(tmp_path, hrnet):
    from safetensors.torch import save_file

    save_file(authors(hrnet), tmp_path / "pose.safetensors")
    model = load_checkpoint(None, tmp_path / "pose.safetensors")
    assert same(trunk_and_head(model), trunk_and_head(hrnet))


def test_half_precision_files(tmp_path, hrnet):
    halved = {key: value.half() if value.is_floating_point() else value for key, value in authors(hrnet).items()}
    model = load_checkpoint(None, write(tmp_path / "fp16.pth", halved))
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model.final_layer.weight, hrnet.final_layer.weight, atol=1e-3, rtol=1e-3)


# ---------------------------------------------------------------------------------------------------------------------
# From 2D to 3D


def mmpose_lifter(model: Any, head: str) -> State:
    """mmpose's names: convolutions over time, for Martinez' baseline over one frame and without bias."""
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
    """The network's own answer to numbers that need no normalisation."""
    model.normalize.disable()
    model.normalize.pose3d.reset()
    with torch.no_grad():
        return model(keypoints)


@pytest.mark.parametrize("head", ["keypoint_head", "head"])
def test_mmposes_martinez_brings_its_configurations_statistics(tmp_path, head):
    published = shaken(Martinez(linear_size=12, neck=True, max_norm=False))
    content = {"state_dict": old(mmpose_lifter(published, head)), "meta": MMPOSE_META}
    model = load_checkpoint(None, write(tmp_path / "simple3Dbaseline_h36m.pth", content))
    assert settings(model) == ("martinez_mmpose", 17, "h36m17")
    assert (model.num_features, model.max_norm, len(model.seen)) == (12, False, 17)
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
def test_mmposes_videopose3d_sees_images_of_1000_pixels(tmp_path, name, frames):
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
    with pytest.raises(ValueError, match=r"17 keypoints.*sees 15 and answers with 15"):
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


def test_a_lifters_own_file_needs_its_config(tmp_path):
    model = posezoo.create("temporal_conv_27", channels=12, frame="person", causal=True)
    folder = model.save_pretrained(tmp_path / "folder")
    again = load_checkpoint(None, folder / "model.safetensors")
    assert (again.causal, again.normalize.frame) == (True, "person")
    moved = (folder / "model.safetensors").rename(tmp_path / "moved.safetensors")
    with pytest.raises(ValueError, match=r"in which frame a lifter sees keypoints; keep the config\.json"):
        load_checkpoint(None, moved)
    assert same(load_checkpoint(again, moved).state_dict(), model.state_dict())


# ---------------------------------------------------------------------------------------------------------------------
# Which network it is


@pytest.mark.parametrize(
    ("name", "num_keypoints", "skeleton", "tensors"),  # as many as the authors' files hold
    [
        ("simple_baseline_resnet18", 17, "coco17", 140),
        ("simple_baseline_resnet34", 14, None, 236),
        ("simple_baseline_resnet50", 17, "coco17", 338),
        ("simple_baseline_resnet101", 16, "mpii16", 644),
        ("simple_baseline_resnet152", 17, "coco17", 950),
        ("hrnet_w32", 16, "mpii16", 1754),
        ("hrnet_w48", 17, "coco17", 1754),
        ("hrnet_w48", 14, None, 1754),
    ],
)
def test_the_architecture_is_read_from_the_keys(name, num_keypoints, skeleton, tensors):
    model = meta(name, num_keypoints=num_keypoints)
    published = authors(model)
    assert len(published) == tensors
    layouts = {
        "hrnet" if "hrnet" in name else "pose_resnet": published,
        "mmpose": mmpose(model, "head"),
        "posezoo": model.state_dict(),
    }
    for flavour, state in layouts.items():
        assert detect(state) == flavour
        converted = convert(state, flavour)
        assert infer(converted) == (name, {"num_keypoints": num_keypoints, "skeleton": skeleton})
        assert {k: v.shape for k, v in converted.items()} == {k: v.shape for k, v in model.state_dict().items()}


def test_the_lite_network_is_recognised():
    model = meta("simple_baseline_lite", num_keypoints=14)
    assert infer(model.state_dict()) == ("simple_baseline_lite", {"num_keypoints": 14, "skeleton": None})


def test_our_own_files(tmp_path, hrnet):
    folder = hrnet.save_pretrained(tmp_path / "folder")
    assert same(load_checkpoint(None, folder / "model.safetensors").state_dict(), hrnet.state_dict())
    moved = (folder / "model.safetensors").rename(tmp_path / "moved.safetensors")
    model = load_checkpoint(None, moved)
    assert same(model.state_dict(), hrnet.state_dict())
    assert settings(model) == settings(hrnet)


def test_our_own_files_know_what_keys_do_not_tell(tmp_path):
    names = [f"marker_{number}" for number in range(17)]
    model = posezoo.create("hrnet_w32", width=2, num_keypoints=17, skeleton=names, decoding="dark", flip_shift=False)
    folder = model.save_pretrained(tmp_path)
    again = load_checkpoint(None, folder / "model.safetensors")
    assert again.skeleton.keypoints == tuple(names)
    assert (again.decoding, again.flip_shift) == ("dark", False)


def test_a_strangers_config_beside_a_published_file_is_not_ours(tmp_path, hrnet):
    from safetensors.torch import save_file

    save_file(authors(hrnet), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"architectures": ["VitPose"]}')
    assert settings(load_checkpoint(None, tmp_path / "model.safetensors")) == ("hrnet_w32", 16, "mpii16")


def test_keys_that_do_not_tell_the_architecture(tmp_path):
    model = posezoo.create("simple_baseline_resnet18", backbone="convnext_atto", deconv_width=8, num_keypoints=3)
    path = write(tmp_path / "mine.pth", model.state_dict())
    with pytest.raises(ValueError, match=r"mine\.pth.*do not tell the architecture; give the model"):
        load_checkpoint(None, path)
    other = posezoo.create("simple_baseline_resnet18", backbone="convnext_atto", deconv_width=8, num_keypoints=3)
    assert load_checkpoint(other, path) is other
    assert same(other.state_dict(), model.state_dict())


# ---------------------------------------------------------------------------------------------------------------------
# Into a model that is there


def test_a_head_for_other_keypoints_is_left_out(tmp_path, hrnet, caplog):
    model = posezoo.create("hrnet_w32", width=4, num_keypoints=5).train()
    before = snapshot(model)
    with caplog.at_level(logging.WARNING, "posezoo"):
        assert load_checkpoint(model, write(tmp_path / "pose.pth", authors(hrnet))) is model
    head = {key: value for key, value in before.items() if key.startswith(("final_layer.", "normalize."))}
    assert same(model.state_dict(), hrnet.state_dict() | head)
    assert model.training
    (record,) = caplog.records
    assert "final_layer.weight (16, 4, 1, 1)" in record.message
    assert "the model has 5" in record.message


def test_the_same_head_is_loaded_without_a_word(tmp_path, hrnet, caplog):
    model = posezoo.create("hrnet_w32", width=4, num_keypoints=16)
    with caplog.at_level(logging.DEBUG, "posezoo"):
        load_checkpoint(model, write(tmp_path / "pose.pth", authors(hrnet)))
    assert torch.equal(model.final_layer.weight, hrnet.final_layer.weight)
    assert not caplog.records


def test_create_takes_published_files(tmp_path, hrnet):
    path = write(tmp_path / "pose.pth", authors(hrnet))
    model = posezoo.create("hrnet_w32", width=4, num_keypoints=16, skeleton="mpii16", checkpoint_path=path)
    assert torch.equal(model.final_layer.weight, hrnet.final_layer.weight)


def test_an_imagenet_hrnet(tmp_path, hrnet, caplog):
    path = write(tmp_path / "hrnet_w32-36af842e.pth", old(imagenet_hrnet(hrnet)))
    model = randomize(HRNet(width=4, num_keypoints=5))
    before = snapshot(model)
    with caplog.at_level(logging.WARNING, "posezoo"):
        load_checkpoint(model, path)
    kept = {key: value for key, value in before.items() if key.startswith(("final_layer.", "normalize."))}
    assert same(without_counters(model.state_dict()), without_counters(hrnet.state_dict() | kept))
    assert "holds a trunk; these keep their values: normalize.mean" in caplog.text
    assert "final_layer.weight" in caplog.text
    with pytest.raises(ValueError, match=r"a trunk, without heatmaps; give the model that they belong in"):
        load_checkpoint(None, path)


@pytest.mark.parametrize("width", [32, 48])
def test_timms_hrnet_is_a_superset_of_ours(width):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        published = timm.create_model(f"hrnet_w{width}").state_dict()
    assert detect(published) == "imagenet_hrnet"
    ours = {key: value.shape for key, value in trunk_and_head(meta(f"hrnet_w{width}", num_keypoints=0)).items()}
    assert {key: value.shape for key, value in convert(published, "imagenet_hrnet").items()} == ours


def test_an_imagenet_resnet(tmp_path, resnet18, caplog):
    timm = pytest.importorskip("timm")
    published = timm.create_model("resnet18").eval()
    path = write(tmp_path / "resnet18.pth", published.state_dict())
    model = posezoo.create("simple_baseline_resnet18", num_keypoints=3).eval()
    before = snapshot(model)
    with caplog.at_level(logging.WARNING, "posezoo"):
        load_checkpoint(model, path)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        features = model.backbone(model.normalize(image))[-1]
        torch.testing.assert_close(features, published.forward_features(model.normalize(image)))
    rest = {key: value for key, value in before.items() if not key.startswith("backbone.")}
    assert same({key: value for key, value in model.state_dict().items() if key in rest}, rest)
    assert "deconv_layers.0.weight" in caplog.text


# ---------------------------------------------------------------------------------------------------------------------
# What does not load leaves the model as it was


class Asking:
    def __reduce__(self):
        return print, ("code was run",)


@pytest.fixture(scope="module")
def files(tmp_path_factory, hrnet):
    folder = tmp_path_factory.mktemp("files")
    whole = write(folder / "whole.pth", authors(hrnet)).read_bytes()
    (folder / "truncated.pth").write_bytes(whole[: len(whole) // 2])
    (folder / "text.pth").write_text("404: Not Found\n")
    (folder / "empty.pth").write_bytes(b"")
    (folder / "text.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    broken = authors(hrnet) | {"conv1.weight": torch.full_like(hrnet.conv1.weight, torch.nan)}
    return {
        "truncated": folder / "truncated.pth",
        "text": folder / "text.pth",
        "empty": folder / "empty.pth",
        "text.safetensors": folder / "text.safetensors",
        "folder": folder,
        "missing": folder / "missing.pth",
        "no tensors": write(folder / "numbers.pth", {"conv1.weight": 3}),
        "a list": write(folder / "list.pth", [torch.ones(2)]),
        "nothing": write(folder / "nothing.pth", {}),
        "code": write(folder / "code.pth", {"conv1.weight": Asking()}),
        "NaN": write(folder / "nan.pth", broken),
        "less": write(folder / "less.pth", {k: v for k, v in authors(hrnet).items() if k != "bn1.weight"}),
        "more": write(folder / "more.pth", authors(hrnet) | {"conv9.weight": torch.ones(2)}),
        "wider": write(folder / "wider.pth", authors(HRNet(width=6, num_keypoints=16))),
        "another network": write(folder / "other.pth", {"fc.weight": torch.ones(2, 2), "layer4.x": torch.ones(1)}),
    }


@pytest.fixture(scope="module")
def target():
    return posezoo.create("hrnet_w32", width=4, num_keypoints=16)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("truncated", "not a whole PyTorch checkpoint"),
        ("text", "not a whole PyTorch checkpoint, or no checkpoint at all"),
        ("empty", "not a whole PyTorch checkpoint, or no checkpoint at all"),
        ("text.safetensors", "not a whole safetensors file"),
        ("folder", "there is no file"),
        ("missing", "there is no file"),
        ("no tensors", "expected a dictionary of tensors.*conv1.weight"),
        ("a list", "expected a dictionary of tensors.*a list"),
        ("nothing", "expected a dictionary of tensors"),
        ("code", "nothing in it was run.*print"),
        ("NaN", "NaN or infinite values: conv1.weight"),
        ("less", r"missing: bn1.weight \(64,\)"),
        ("more", r"not in the model: conv9.weight \(2,\)"),
        ("wider", r"another shape: transition1.0.0.weight \(6, 256, 3, 3\) instead of \(4, 256, 3, 3\)"),
        ("another network", "unknown flavour of checkpoint.*nearest is 'imagenet_resnet', which would have conv1"),
    ],
)
def test_refused_files(files, target, kind, says, caplog):
    before = snapshot(target)
    with caplog.at_level(logging.WARNING, "posezoo"), pytest.raises(ValueError, match=says) as caught:
        load_checkpoint(target, files[kind])
    assert str(files[kind]) in str(caught.value)
    assert same(target.state_dict(), before)
    assert not caplog.records


def test_a_trunk_that_does_not_fit_says_only_that(tmp_path, caplog):
    path = write(tmp_path / "trunk.pth", imagenet_hrnet(HRNet(width=2)))
    with caplog.at_level(logging.WARNING, "posezoo"), pytest.raises(ValueError, match="do not fit a HRNet"):
        load_checkpoint(HRNet(width=4), path)
    assert not caplog.records


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["conv1.weight", "stage4.0.x", "final_layer.weight"], r"'hrnet', which would have transition1\.\* too"),
        (["conv1.weight", "layer4.0.x", "deconv_layers.0.weight"], r"'pose_resnet', which would have final_layer\.\*"),
        (["backbone.conv1.weight", "backbone.layer4.0.x", "head.fc.weight"],
         r"'mmpose', which would have keypoint_head\.final_layer\. or head\.final_layer\.\*"),
        (["a", "b", "c", "d"], r"first keys are a, b, c\. .*Known are posezoo, mmpose, pose_resnet, hrnet"),
    ],
)  # fmt: skip
def test_an_unknown_flavour_names_the_nearest(keys, says):
    with pytest.raises(ValueError, match=says):
        detect(dict.fromkeys(keys, torch.ones(1)))


def test_an_unknown_converter():
    with pytest.raises(ValueError, match=r"converter: expected one of posezoo, .*got 'caffe'"):
        convert({}, "caffe")


def test_prefixes_are_taken_off_only_when_all_have_them():
    assert list(unwrap({"module.a": 1, "module.b": 2})) == ["a", "b"]
    assert list(unwrap({"module.a": 1, "b": 2})) == ["module.a", "b"]
    assert unwrap({}) == {}


def test_every_flavour_has_a_description():
    for flavour in FLAVOURS:
        assert f"    {flavour} " in sys.modules["posezoo.checkpoints"].__doc__
