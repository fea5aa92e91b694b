"""Published layouts, made from our own networks by undoing the renaming, must load as what they
are.

The layouts are those of specs: the authors' HRNet and PoseResNet, mmpose 0.x and 1.x, timm's and
torchvision's classifiers. Networks are narrow, or without memory, where only names and shapes
matter.
"""

import logging
import re
import sys
from typing import Any

import pytest
import torch
from published_keys import (
    MMPOSE_META,
    State,
    authors,
    imagenet_hrnet,
    meta,
    mmpose,
    old,
    prefixed,
    settings,
    trunk_and_head,
    without_counters,
    write,
)
from toy import randomize, same, snapshot

import posezoo
from posezoo.checkpoints import FORMATS, convert, detect, infer, unwrap
from posezoo.layers import IMAGENET_MEAN, IMAGENET_STD
from posezoo.models.cpm import CPM
from posezoo.models.hrnet import HRNet
from posezoo.models.simple_baseline import SimpleBaseline
from posezoo.registry import load_checkpoint


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


def regression(model: torch.nn.Module, head: str) -> State:
    """mmpose's names of its DeepPose: the last layer is `head.fc` or `keypoint_head.fc`."""
    return {f"{head}.{key}" if key.startswith("fc.") else key: value for key, value in trunk_and_head(model).items()}


@pytest.mark.parametrize("head", ["keypoint_head", "head"])
def test_mmposes_regression(tmp_path, head):
    published = randomize(posezoo.create("deeppose_resnet50", backbone="resnet18", num_keypoints=16))
    preprocessor = {"data_preprocessor.mean": torch.ones(3, 1, 1)} if head == "head" else {}
    content = {"state_dict": old(regression(published, head)) | preprocessor, "meta": MMPOSE_META}
    path = write(tmp_path / "deeppose_res18.pth", content)
    model = load_checkpoint(None, path)
    assert settings(model) == ("deeppose_resnet50", 16, "mpii16")
    assert model.kwargs["backbone"] == "resnet18"
    assert same(without_counters(trunk_and_head(model)), without_counters(trunk_and_head(published)))
    torch.testing.assert_close(model.normalize.mean, torch.tensor(IMAGENET_MEAN))
    torch.testing.assert_close(model.normalize.std, torch.tensor(IMAGENET_STD))
    other = posezoo.create("deeppose_resnet50", backbone="resnet18", num_keypoints=5)
    head_before = other.fc.weight.clone()
    load_checkpoint(other, path)
    assert torch.equal(other.backbone.conv1.weight, published.backbone.conv1.weight)
    assert torch.equal(other.fc.weight, head_before)


@pytest.mark.parametrize(
    ("name", "num_keypoints", "skeleton", "tensors"),  # as many as mmpose's own networks hold, which were run
    [
        ("deeppose_resnet50", 17, "coco17", 320),
        ("deeppose_resnet101", 16, "mpii16", 626),
        ("deeppose_resnet152", 14, None, 932),
    ],
)
def test_the_architecture_of_a_regression_is_read_from_the_keys(name, num_keypoints, skeleton, tensors):
    model = meta(name, num_keypoints=num_keypoints)
    for head in ("keypoint_head", "head"):
        state = regression(model, head)
        assert len(state) == tensors
        assert detect(state) == "mmpose"
        converted = convert(state, "mmpose")
        assert infer(converted) == (name, {"num_keypoints": num_keypoints, "skeleton": skeleton})
        assert {k: v.shape for k, v in converted.items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert infer(model.state_dict()) == (name, {"num_keypoints": num_keypoints, "skeleton": skeleton})


def test_a_classifier_of_the_same_layout_is_no_regression():
    state = regression(meta("deeppose_resnet50", num_keypoints=500), "head")  # 1,000 classes
    with pytest.raises(ValueError, match="a head of 1000 outputs is a classifier's"):
        infer(convert(state, "mmpose"))
    with pytest.raises(ValueError, match="do not tell the backbone"):
        infer({"fc.weight": torch.ones(34, 8), "backbone.stem.weight": torch.ones(1)})


def test_a_file_of_bottlenecks(tmp_path):
    published = randomize(posezoo.create("simple_baseline_resnet50", num_keypoints=16))
    model = load_checkpoint(None, write(tmp_path / "pose_resnet_50.pth.tar", old(authors(published))))
    assert settings(model) == ("simple_baseline_resnet50", 16, "mpii16")
    ours, theirs = without_counters(trunk_and_head(model)), without_counters(trunk_and_head(published))
    torch.testing.assert_close(ours.pop("backbone.conv1.weight"), theirs.pop("backbone.conv1.weight")[:, [2, 1, 0]])
    assert same(ours, theirs)


def pytorchcv(model: torch.nn.Module, *, numbered: bool) -> State:
    """pytorchcv's names, in which PyTorch 2 gives numbers to the parts of a trunk that has lost its
    last part.
    """

    def stage(number: str) -> str:
        return (
            f"backbone.{number}" if numbered else f"backbone.stage{number}" if number != "0" else "backbone.init_block"
        )

    state = {}
    for key, value in trunk_and_head(model).items():
        key = re.sub(r"^backbone\.(conv|bn)1\.", lambda m: f"{stage('0')}.conv.{m[1]}.", key)
        key = re.sub(r"^backbone\.layer(\d)\.(\d+)", lambda m: f"{stage(m[1])}.unit{int(m[2]) + 1}", key)
        key = re.sub(r"\.(conv|bn)(\d)\.(?=\w+$)", r".body.conv\2.\1.", key)
        key = key.replace(".downsample.0.", ".identity_conv.conv.").replace(".downsample.1.", ".identity_conv.bn.")
        deconv = re.match(r"deconv_layers\.(\d)\.", key)
        if deconv:
            unit, part = divmod(int(deconv[1]), 3)
            key = f"decoder.unit{unit + 1}.{('conv', 'bn')[part]}.{key[deconv.end() :]}"
        state[key.replace("final_layer.", "decoder.final_block.")] = value
    return state


@pytest.mark.parametrize("numbered", [False, True])
def test_pytorchcv(tmp_path, resnet18, numbered):
    """Its own networks with these names gave the same heatmaps, to the bit."""
    state = pytorchcv(resnet18, numbered=numbered)
    assert ("backbone.1.unit1.body.conv1.conv.weight" if numbered else "backbone.init_block.conv.bn.bias") in state
    model = load_checkpoint(None, write(tmp_path / "simplepose_resnet18_coco.pth", old(state)))
    assert settings(model) == ("simple_baseline_resnet18", 17, "coco17")
    assert same(without_counters(model.state_dict()), without_counters(resnet18.state_dict()))


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


def caffe(model: torch.nn.Module) -> State:
    """Each tensor under its layer's name, without the stages around it."""
    return {".".join(key.split(".")[-2:]): value for key, value in trunk_and_head(model).items()}


def mmpose_cpm(model: Any) -> State:
    """mmpose's names, in the order in which its network has its layers."""
    stages = range(2, model.num_stages + 1)
    places = [(f"conv{i}_stage1", f"stem.{n}") for i, n in enumerate((0, 2, 4, 6, 7, 8, 9), start=1)]
    places += [(f"conv{i + 1}_stage2", f"middle.{2 * i}") for i in range(3)]
    places += [(f"conv{4 if t == 2 else 1}_stage{t}", f"middle_conv.{t - 2}.0") for t in stages]
    places += [(f"Mconv{i + 1}_stage{t}", f"cpm_stages.{t - 2}.model.{i}") for t in stages for i in range(3)]
    places += [(f"Mconv{i + 4}_stage{t}", f"out_convs.{t - 2}.{i}") for t in stages for i in range(2)]
    theirs = dict(places)
    state = {}
    for key, value in caffe(model).items():
        name, leaf = key.split(".")
        state[f"backbone.{theirs[name.replace('bn', 'conv')]}.{'bn' if 'bn' in name else 'conv'}.{leaf}"] = value
    return state


@pytest.mark.parametrize(
    "layout",
    [
        lambda m: {"state_dict": mmpose_cpm(m), "meta": MMPOSE_META},
        lambda m: {"state_dict": old(mmpose_cpm(m))},
        lambda m: {"state_dict": mmpose_cpm(m) | {"data_preprocessor.mean": torch.ones(3, 1, 1)}},
    ],
    ids=["mmpose-1", "old", "preprocessor"],
)
def test_mmposes_cpm(tmp_path, layout):
    published = randomize(CPM(design="bn", width=8, num_stages=4, num_keypoints=16))
    model = load_checkpoint(None, write(tmp_path / "cpm.pth", layout(published)))
    assert settings(model) == ("cpm_bn_6s", 16, "mpii16")
    assert (model.num_stages, model.num_features) == (4, 8)
    assert same(without_counters(trunk_and_head(model)), without_counters(trunk_and_head(published)))
    torch.testing.assert_close(model.normalize.mean, torch.tensor(IMAGENET_MEAN))


@pytest.mark.parametrize("design", ["9x9", "vgg", "person"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_caffe_cpm_is_fed_bgr(tmp_path, design, prefix):
    torch.manual_seed(0)
    raw = CPM(design=design, width=8, num_stages=3, num_keypoints=9 if design == "9x9" else 1).eval()
    for layer in raw.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    model = load_checkpoint(None, write(tmp_path / "pose_iter.pth", prefixed(caffe(raw), prefix)))
    assert model.architecture == {"9x9": "cpm_9x9_6s", "vgg": "cpm_vgg_6s", "person": "cpm_person_4s"}[design]
    assert (model.num_stages, model.num_features, model.num_keypoints) == (3, 8, raw.num_keypoints)
    rgb = torch.rand(2, 3, 64, 64)
    raw.normalize.disable()
    with torch.no_grad():  # the authors: OpenCV's BGR image, minus 128, divided by 256
        expected = raw((255 * rgb.flip(1) - 128) / 256)
        assert expected.std() > 0.05
        torch.testing.assert_close(model(rgb), expected, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(model(rgb.flip(1)), expected, atol=1e-2)


@pytest.mark.parametrize(
    ("name", "num_keypoints", "skeleton", "tensors"),
    [
        ("cpm_9x9_6s", 14, "cpm14", 80),
        ("cpm_9x9_4s", 9, "flic9", 56),
        ("cpm_vgg_6s", 14, "cpm14", 104),
        ("cpm_person_4s", 1, None, 74),
        ("cpm_bn_6s", 17, "coco17", 216),
        ("cpm_bn_6s", 15, None, 216),
    ],
)
def test_which_cpm_it_is_is_read_from_the_keys(name, num_keypoints, skeleton, tensors):
    model = meta(name, num_keypoints=num_keypoints)
    published, format = (mmpose_cpm(model), "mmpose_cpm") if "bn" in name else (caffe(model), "caffe_cpm")
    assert len(published) == tensors
    for kind, state in ((format, published), ("posezoo", model.state_dict())):
        assert detect(state) == kind
        converted = convert(state, kind)
        assert infer(converted) == (name, {"num_keypoints": num_keypoints, "skeleton": skeleton})
        assert {k: v.shape for k, v in converted.items()} == {k: v.shape for k, v in model.state_dict().items()}


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
    for format, state in layouts.items():
        assert detect(state) == format
        converted = convert(state, format)
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


def test_own_files_store_arguments_that_keys_do_not_show(tmp_path):
    names = [f"marker_{number}" for number in range(17)]
    model = posezoo.create("hrnet_w32", width=2, num_keypoints=17, skeleton=names, decoding="dark", flip_shift=False)
    folder = model.save_pretrained(tmp_path)
    again = load_checkpoint(None, folder / "model.safetensors")
    assert again.skeleton.keypoints == tuple(names)
    assert (again.decoding, again.flip_shift) == ("dark", False)


def test_a_foreign_config_beside_a_published_file_is_ignored(tmp_path, hrnet):
    from safetensors.torch import save_file

    save_file(authors(hrnet), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"architectures": ["VitPose"]}')
    assert settings(load_checkpoint(None, tmp_path / "model.safetensors")) == ("hrnet_w32", 16, "mpii16")


def test_keys_that_do_not_determine_the_architecture(tmp_path):
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


def test_the_same_head_is_loaded_without_a_warning(tmp_path, hrnet, caplog):
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
def test_timms_hrnet_has_more_tensors(width):
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
        ("empty", "is empty"),
        ("text.safetensors", "pointer of Git LFS"),
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
        ("another network", "unknown format of checkpoint.*nearest is 'imagenet_resnet', which would have conv1"),
    ],
)
def test_refused_files(files, target, kind, says, caplog):
    before = snapshot(target)
    with caplog.at_level(logging.WARNING, "posezoo"), pytest.raises(ValueError, match=says) as caught:
        load_checkpoint(target, files[kind])
    assert str(files[kind]) in str(caught.value)
    assert same(target.state_dict(), before)
    assert not caplog.records


def test_a_trunk_that_does_not_fit_raises_one_short_error(tmp_path, caplog):
    path = write(tmp_path / "trunk.pth", imagenet_hrnet(HRNet(width=2)))
    with caplog.at_level(logging.WARNING, "posezoo"), pytest.raises(ValueError, match="do not fit a HRNet"):
        load_checkpoint(HRNet(width=4), path)
    assert not caplog.records


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["conv1.weight", "stage4.0.x", "final_layer.weight"], r"'hrnet', which would have transition1\.\* too"),
        (["conv1.weight", "layer4.0.x", "deconv_layers.0.weight"], r"'pose_resnet', which would have final_layer\.\*"),
        (["backbone.conv1.weight", "backbone.layer4.0.x", "head.conv.weight"],
         r"'mmpose', which would have keypoint_head\.final_layer\. or head\.final_layer\. or keypoint_head\.fc\. or"),
        (["a", "b", "c", "d"], r"first keys are a, b, c\. .*Known are posezoo, mmpose, pose_resnet, hrnet"),
    ],
)  # fmt: skip
def test_an_unknown_format_names_the_nearest(keys, says):
    with pytest.raises(ValueError, match=says):
        detect(dict.fromkeys(keys, torch.ones(1)))


def test_an_unknown_format():
    with pytest.raises(ValueError, match=r"format: expected one of posezoo, .*got 'caffe'"):
        convert({}, "caffe")


def test_prefixes_are_taken_off_only_when_all_have_them():
    known = ["expand_conv.a", "layers_conv.b", "shrink.c"]
    for prefix in ("module.", "model.module.", "net._orig_mod."):
        assert list(unwrap({prefix + key: 1 for key in known})) == known
    assert list(unwrap({"module.expand_conv.a": 1, "b": 2})) == ["module.expand_conv.a", "b"]
    assert unwrap({}) == {}


def test_every_format_has_a_description():
    for format in FORMATS:
        assert f"    {format} " in sys.modules["posezoo.checkpoints.formats"].__doc__
