"""timm's conventions on posezoo's models: its own functions read them, and its networks are the reference."""

import pytest
import timm
import torch
from timm.data import create_transform as timm_transform, resolve_data_config
from torch.testing import assert_close

import posezoo
from posezoo.backbones import set_input_channels
from posezoo.layers import IMAGENET_MEAN, IMAGENET_STD
from posezoo.models.hrnet import HRNet
from posezoo.models.martinez import Martinez

SMALL = {"deeppose": {"widths": [8, 8, 8, 8, 8, 16, 16]}, "posernn_cnn": {"fc_width": 32}, "rpsm": {"size": [64, 64]}}
NAMES = ("hrnet_w18", "simple_baseline_resnet18", "deeppose_resnet50", "hourglass_1", "cpm_vgg_6s", "deeppose", "ief",
         "tompson_flic", "posernn_cnn", "hourglass52", "rpsm")  # fmt: skip


def on_meta(name, **kwargs):
    with torch.device("meta"):
        return posezoo.create(name, **SMALL.get(name, {}), **kwargs).eval()


def test_timm_resolves_size_mean_and_std():
    model = on_meta("hrnet_w32")
    config = resolve_data_config(model=model)
    assert config["input_size"] == (3, 256, 192)
    assert (config["mean"], config["std"]) == ((0.0,) * 3, (1.0,) * 3)  # the network normalises
    assert model.default_cfg == model.pretrained_cfg
    transform = timm_transform(**config)
    assert transform(picture()).shape == (3, 256, 192)
    bare = posezoo.create("simple_baseline_resnet18", normalize=False)
    config = resolve_data_config(model=bare)
    assert_close(torch.tensor(config["mean"]), torch.tensor(IMAGENET_MEAN))
    assert_close(torch.tensor(config["std"]), torch.tensor(IMAGENET_STD))


def picture():
    from PIL import Image

    return Image.new("RGB", (320, 200), (200, 100, 50))


@pytest.mark.parametrize("name", NAMES)
def test_feature_maps_have_the_strides_and_channels_that_are_listed(name):
    model = on_meta(name)
    info = model.feature_info
    reductions = [entry["reduction"] for entry in info]
    assert reductions == sorted(set(reductions))
    assert len(info) >= 3
    image = model.example_input().to("meta")
    features, maps = model.forward_intermediates(image)
    assert features.shape == model.forward_features(image).shape
    assert [m.shape[-3] for m in maps] == [entry["num_chs"] for entry in info]
    for entry, found in zip(info, maps, strict=True):
        assert image.shape[-2] / found.shape[-2] == pytest.approx(entry["reduction"], rel=0.1)
    assert not model.training
    assert len(model.forward_intermediates(image, 2, intermediates_only=True)) == 2
    with pytest.raises(ValueError, match=f"{len(info)} feature maps"):
        model.forward_intermediates(image, [len(info)])


def test_feature_maps_are_those_of_timm():
    theirs = timm.create_model("resnet18", features_only=True, out_indices=(1, 3)).eval()
    ours = posezoo.create("simple_baseline_resnet18", features_only=True, out_indices=(1, 3)).eval()
    ours.network.backbone.load_state_dict(theirs.state_dict(), strict=False)
    image = torch.rand(1, 3, 64, 64)
    assert ours.feature_info.channels() == theirs.feature_info.channels()
    assert ours.feature_info.reduction() == theirs.feature_info.reduction()
    with torch.no_grad():
        for own, other in zip(ours(image), theirs(ours.network.normalize(image)), strict=True):
            assert_close(own, other)
    with pytest.raises(ValueError, match="features_only=True"):
        posezoo.create("hrnet_w18", out_indices=(0,))


@pytest.mark.parametrize("name", ["hrnet_w18", "simple_baseline_resnet18", "hourglass52", "deeppose_resnet50",
                                  "posernn_cnn", "martinez", "temporal_conv_27", "rpsm"])  # fmt: skip
def test_the_head_of_the_features_is_the_output(name):
    torch.manual_seed(0)
    model = posezoo.create(name, **SMALL.get(name, {})).eval()
    given = model.example_input(1)
    if name in ("hrnet_w18", "simple_baseline_resnet18"):
        given = given[..., :64, :64]
    with torch.no_grad():
        assert_close(model.forward_head(model.forward_features(given)), model(given), rtol=0, atol=0)
    head = {id(parameter) for parameter in model.get_head().parameters()}
    assert head == {
        id(p) for key, p in model.named_parameters() if key.startswith(tuple(f"{k}." for k in model.head_keys))
    }


def test_a_head_that_needs_more_than_the_features_is_an_error():
    with pytest.raises(ValueError, match=r"call model\(image\)"):
        on_meta("hourglass_2").forward_head(torch.zeros(1))


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_other_input_channels_are_adapted_as_timm_does(channels):
    theirs = timm.create_model("resnet18", in_chans=3, num_classes=0)
    from timm.models import adapt_input_conv

    ours = timm.create_model("resnet18", num_classes=0)
    ours.load_state_dict(theirs.state_dict())
    set_input_channels(ours, channels)
    assert_close(ours.conv1.weight, adapt_input_conv(channels, theirs.conv1.weight.detach()))


def test_a_grey_model_is_built_loaded_and_saved(tmp_path):
    colour = posezoo.create("simple_baseline_lite", pretrained=True)
    grey = posezoo.create("simple_baseline_lite", pretrained=True, in_chans=1)
    assert not grey.training
    assert grey.example_input().shape == (1, 1, *colour.input_size)
    assert resolve_data_config(model=grey, args={"in_chans": 1})["input_size"][0] == 1
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():  # the same network but for the three standard deviations, of which one is the mean
        assert_close(
            grey(image),
            colour(image.expand(-1, 3, -1, -1)),
            rtol=0,
            atol=0.1 * float(colour(image.expand(-1, 3, -1, -1)).abs().max()),
        )
    grey.save_pretrained(tmp_path)
    again = posezoo.create(f"local-dir:{tmp_path}", pretrained=True)
    assert again.in_chans == 1
    assert_close(again(image), grey(image))
    with pytest.raises(ValueError, match=r"expected \(B, 1, H, W\)"):
        grey(torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match="takes no images"):
        posezoo.create("martinez", in_chans=1)
    with pytest.raises(ValueError, match="positive whole number"):
        posezoo.create("hrnet_w18", in_chans=0)


@pytest.mark.parametrize("name", ["hourglass_1", "cpm_vgg_6s", "tompson_flic", "deeppose", "rpsm", "posernn_cnn"])
def test_other_networks_take_other_channels(name):
    model = on_meta(name, in_chans=4)
    assert model(model.example_input().to("meta")).shape[0] == 1


def test_from_pretrained_is_a_class_method():
    assert type(Martinez.from_pretrained("martinez")) is Martinez
    with pytest.raises(ValueError, match="is a Martinez"):
        HRNet.from_pretrained("martinez")


@pytest.mark.parametrize("name", ["hrnet_w18", "simple_baseline_resnet18"])
@pytest.mark.parametrize("head", ["simcc", "integral"])
def test_other_heads_encode_decode_learn_and_are_saved(name, head, tmp_path):
    torch.manual_seed(0)
    model = posezoo.create(name, head=head, size=[64, 96] if head == "simcc" else None)
    image, keypoints = torch.rand(2, 3, 64, 96), torch.tensor([96.0, 64.0]) * (0.1 + 0.8 * torch.rand(2, 17, 2))
    visible = torch.rand(2, 17) > 0.2
    (output,) = model(image, all_stages=True)
    ((target, weights),) = model.encode_targets(keypoints, visible, [output])
    assert torch.equal(weights, visible.float())
    if head == "simcc":
        columns = round(96 * model.split)
        assert output.shape == target.shape == (2, 17, 320)
        decoded, _ = model.decode(target.clamp(min=1e-9).log())  # the targets as logits
        assert (decoded - keypoints)[visible].abs().max() <= 0.25 + 1e-4
        loss = posezoo.losses.simcc_cross_entropy(output, target, weights, columns=columns)
        with pytest.raises(ValueError, match=r"size=\(H, W\)"):
            model(torch.rand(1, 3, 64, 64))
    else:
        assert_close(target[visible], (keypoints / torch.tensor([96.0, 64.0]) - 0.5)[visible])
        loss = posezoo.losses.keypoint_smooth_l1(model.expectation(output), target, weights)
        with pytest.raises(ValueError, match="only a SimCC head"):
            posezoo.create(name, head=head, size=[64, 64])
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.final_layer.parameters() if p.ndim > 1)
    model.eval()
    flipped, scores = model.predict(image, flip=True)
    mirrored, _ = model.predict(image.flip(-1), flip=True)
    assert flipped.shape == (2, 17, 2)
    assert_close(posezoo.geometry.flip_keypoints(mirrored, 96, model.skeleton.flip_index), flipped, rtol=0, atol=0.02)
    assert ((scores >= 0) & (scores <= 1)).all()
    model.save_pretrained(tmp_path)
    again = posezoo.create(f"local-dir:{tmp_path}", pretrained=True)
    assert again.head_kind == head
    with torch.no_grad():
        assert_close(again(image), model(image))


def test_an_unknown_head_names_the_known_ones():
    with pytest.raises(ValueError, match="heatmaps, integral, simcc"):
        posezoo.create("hrnet_w18", head="regression")
