"""Networks of papers on a timm backbone: the contract, sharing the backbone, and training on its
features.
"""

import copy

import pytest
import torch
from torch.testing import assert_close

import posezoo
from posezoo.backbones import ExtendedConv, extend_first_conv, load_backbone, timm_backbone
from posezoo.models.rpsm import HEATMAPS_SCALE
from posezoo.refinement import whole_image

RESNET, MOBILE = "test_resnet.r160_in1k", "mobilenetv3_small_050"
NETWORKS = {
    "posernn_cnn": {"backbone": RESNET, "neck_width": 8, "fc_width": 16},
    "posernn_lstm": {"backbone": MOBILE, "neck_width": 8, "hidden": 8},
    "posernn_attention": {"backbone": RESNET, "neck_width": 8},
    "deeppose": {"backbone": RESNET, "neck_widths": [4, 16], "num_stages": 2},
    "deeppose shared": {"backbone": MOBILE, "neck_widths": [4, 16], "num_stages": 3, "share_backbone": True},
    "ief": {"backbone": RESNET, "neck_width": 4, "num_steps": 2},
    "ief average": {"backbone": MOBILE, "neck_width": 0, "num_steps": 2},
    "rpsm heatmaps": {"backbone": RESNET, "heatmaps": 3, "deconv_width": 8, "width": 8, "hidden": 16, "size": [64, 96]},
    "rpsm": {"backbone": RESNET, "width": 8, "hidden": 16, "size": [72, 96], "clip_length": 2},
}


def create(name, **kwargs):
    torch.manual_seed(0)
    return posezoo.create(name.partition(" ")[0], **NETWORKS[name], **kwargs)


def build(name, **kwargs):
    """Weights as training leaves them: no zeros that hide a part of the network."""
    model = create(name, **kwargs)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d) and module.affine:
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_mean.normal_(std=0.1)
        elif isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight)
    return model.eval()


@pytest.fixture(scope="module", params=list(NETWORKS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    return build(name)


def given(model, batch=2):
    torch.manual_seed(1)
    return model.example_input(batch)


def test_stages_decode_and_predict(model):
    x = given(model)
    with torch.no_grad():
        output, stages = model(x), model(x, all_stages=True)
        alone = torch.cat([model(one[None]) for one in x])
    assert_close(stages[-1], output, rtol=0, atol=0)
    assert_close(output, alone, rtol=1e-3, atol=1e-3 * float(output.abs().max()))
    for keypoints, scores in (model.decode(output), model.predict(x), model.predict(x, flip=True)):
        assert keypoints.shape == output.shape
        assert scores.shape == output.shape[:-1]
        assert keypoints.isfinite().all()
    assert model.predict(x[:0])[0].shape[0] == 0


def test_every_parameter_receives_a_gradient(model):
    trained = copy.deepcopy(model).train()
    torch.manual_seed(2)  # of dropout
    sum(stage.square().mean() for stage in trained(given(model, 3), all_stages=True)).backward()
    missing = [key for key, p in trained.named_parameters() if p.grad is None or not p.grad.any()]
    assert not missing


def test_saved_and_loaded_is_the_same_to_the_bit(name, tmp_path):
    model = build(name, num_keypoints=5)
    model.save_pretrained(tmp_path)
    loaded = posezoo.create(f"local-dir:{tmp_path}", pretrained=True)
    assert loaded.kwargs == model.kwargs
    assert loaded.state_dict().keys() == model.state_dict().keys()
    state = loaded.state_dict()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    other = posezoo.create(f"local-dir:{tmp_path}", pretrained=True, num_keypoints=6)
    assert other.num_keypoints == 6


def test_other_keypoints_change_the_head_only(name):
    model = build(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = given(model, 1)
    with torch.no_grad():
        features = model.forward_features(x)
    model.reset_head(5, ["left_a", "right_a", "left_b", "right_b", "c"])
    assert model.predict(x, flip=True)[0].shape[-2] == 5
    heads = tuple(f"{key}." for key in model.head_keys)
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items() if not key.startswith(heads))
    model.reset_head(0)
    with torch.no_grad():
        assert_close(model(x), features, rtol=0, atol=0)
        only = create(name, features_only=True).eval()
        axis = 2 if model.input_kind == "clip" else 1
        assert only(x).shape[axis] == only.num_features


def test_gradient_checkpointing_changes_nothing(name):
    plain = build(name).train()
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    x = given(plain)
    losses = []
    for network in (plain, saving):
        torch.manual_seed(2)  # of dropout
        losses.append(sum(stage.square().mean() for stage in network(x, all_stages=True)))
        losses[-1].backward()
    assert_close(losses[1], losses[0], rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in ("ief", "rpsm") else pytest.mark.slow) for name in NETWORKS],
    indirect=True,
)
def test_export_with_any_batch_agrees_with_eager(model):
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model, (given(model),), dynamic_shapes={model.input_kind: {0: batch}})
    for count in (1, 3):
        x = given(model, count)
        with torch.no_grad():
            expected = model(x)
            assert_close(exported.module()(x), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_groups_for_layer_wise_rates_cover_the_backbone(model):
    from timm.models import group_parameters

    groups = group_parameters(model, model.group_matcher(coarse=True))
    assert sum(len(names) for names in groups.values()) == len(list(model.named_parameters()))
    assert len(groups) > 2


def test_the_network_of_the_paper_has_none(name):
    with torch.device("meta"):
        plain = posezoo.create(name.partition(" ")[0])
    assert not any("backbone" in key or "neck" in key for key in plain.state_dict())


# one backbone for several networks --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source():
    model = posezoo.create("simple_baseline_lite", backbone=RESNET, deconv_width=8)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand_like(value))
    return model.eval()


@pytest.mark.parametrize("which", [name for name in NETWORKS if NETWORKS[name]["backbone"] == RESNET])
def test_a_backbone_of_simple_baselines_is_copied(source, which):
    model = create(which).eval()
    if which == "rpsm":
        model.load_trunk(source)
        assert torch.equal(model.normalize.mean, source.normalize.mean)
    elif which == "deeppose":
        for trunk in model.trunks:
            load_backbone(trunk.backbone, source)
    else:
        load_backbone(model.backbone, source.state_dict())
    backbone = model.trunks[1].backbone if which == "deeppose" else model.backbone
    x = torch.rand(1, 3, 64, 64)
    inputs = torch.cat([x, torch.rand(1, model.num_keypoints, 64, 64)], dim=1) if which == "ief" else x
    with torch.no_grad():  # the filters of rendered keypoints start at 0
        assert_close(backbone(inputs)[-1], source.backbone(x)[-1])
    if which == "ief":
        other = create(which, num_keypoints=3)
        load_backbone(other.backbone, model)  # from another network of the kind
        assert torch.equal(other.backbone.state_dict()["conv1.0.image.weight"], source.backbone.conv1[0].weight)


def test_another_backbone_is_refused(source):
    other, _, _ = timm_backbone(MOBILE)
    before = copy.deepcopy(other.state_dict())
    for wrong in (source, {"trunk.weight": torch.zeros(1)}):
        with pytest.raises(ValueError, match="same backbone"):
            load_backbone(other, wrong)
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())
    with pytest.raises(ValueError, match="same backbone"):
        create("rpsm").load_trunk(posezoo.create("rpsm", size=(64, 64), width=8, hidden=16))


def test_rpsm_copies_the_neck_too_and_freezes_both():
    first, second = build("rpsm"), create("rpsm")
    second.load_trunk(first)
    clip = given(first, 1)
    with torch.no_grad():
        assert_close(second.eval().forward_features(clip), first.forward_features(clip))
    second.freeze_trunk()
    trained = [key for key, p in second.named_parameters() if p.requires_grad]
    assert trained
    assert not [key for key in trained if key.startswith(("backbone", "neck"))]
    assert second.neck.heatmap_head(14)(first.forward_features(clip)[0]).shape == (2, 14, 9, 12)


def test_features_of_rpsm_can_be_the_heatmaps_of_simple_baselines(source):
    more = {"backbone": RESNET, "deconv_width": 8, "size": (64, 96), "width": 6, "hidden": 16}
    model = posezoo.create("rpsm", heatmaps=17, **more).eval()
    before = copy.deepcopy(model.state_dict())
    for wrong in (posezoo.create("simple_baseline_lite", backbone=RESNET, deconv_width=8, num_keypoints=3), {}):
        with pytest.raises(ValueError, match=r"17 keypoints .* tensors do not fit"):
            model.load_trunk(wrong)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    model.load_trunk(source)
    clip = given(model, 1)
    with torch.no_grad():
        features, heatmaps = model.forward_features(clip), source(clip[0])
    assert (model.num_features, features.shape) == (17, (1, 5, 17, 8, 12))
    top_left = heatmaps[..., :2, :2].mean(dim=(-2, -1))
    assert_close(features[0, ..., 0, 0], HEATMAPS_SCALE * top_left)
    model.freeze_trunk()
    assert {key.split(".")[0] for key, p in model.named_parameters() if p.requires_grad} == {
        "specialised", "adaption", "recurrent",
    }  # fmt: skip
    for wrong in ({"backbone": None}, {"size": (64, 72)}):
        with pytest.raises(ValueError, match="heatmaps: expected a backbone such as"):
            posezoo.create("rpsm", heatmaps=17, **{**more, **wrong})


def test_rpsm_needs_maps_of_three_strides():
    with pytest.raises(ValueError, match=r"strides \(8, 16, 32\)"):
        posezoo.create("rpsm", size=(64, 64), backbone="test_vit")


def test_a_first_convolution_is_extended():
    backbone, _, _ = timm_backbone(RESNET)
    plain = copy.deepcopy(backbone)
    name, conv = extend_first_conv(backbone, 2)
    assert isinstance(backbone.get_submodule(name), ExtendedConv)
    x, more = torch.rand(1, 3, 64, 64), torch.rand(1, 2, 64, 64)
    with torch.no_grad():
        expected = plain.eval()(x)[-1]
        assert_close(backbone.eval()(torch.cat([x, more], dim=1))[-1], expected)
        conv.more.weight.add_(1)
        assert not torch.allclose(backbone(torch.cat([x, more], dim=1))[-1], expected)
        conv.set_channels(0)
        assert_close(backbone(x)[-1], expected)
    with pytest.raises(ValueError, match="three channels"):
        extend_first_conv(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3)), 2)


# training on features that were computed before -------------------------------------------------------------------


@pytest.mark.parametrize("which", ["posernn_cnn", "posernn_lstm", "posernn_attention"])
def test_posernn_takes_features_in_place_of_the_image(which):
    model = build(which)
    x = given(model)
    with torch.no_grad():
        assert_close(model(None, features=model.backbone_features(x)), model(x), rtol=0, atol=0)
    plain = posezoo.create("posernn_attention")
    with pytest.raises(ValueError, match="no timm backbone"):
        plain(None, features=x)


def test_deeppose_takes_features_in_place_of_squares():
    model = build("deeppose shared")
    image = torch.rand(2, 3, 220, 220)
    boxes = whole_image(image) + torch.rand(2, 3, 14, 4)
    with torch.no_grad():
        first = model(None, stage=1, features=model.backbone_features(image))
        assert_close(first, model(image, stage=1))
        features = model.backbone_features(image, 2, boxes)
        assert features.shape[:3] == (2, 3, 14)
        every = model(None, stage=2, features=features.flatten(0, 2)).view(2, 3, 14, 14, 2)
        assert_close(torch.einsum("bdkkc->bdkc", every), model(image, stage=2, boxes=boxes))
    with pytest.raises(ValueError, match="share_backbone=True"):
        build("deeppose").backbone_features(image)
    with pytest.raises(ValueError, match="backbone="):
        posezoo.create("deeppose", share_backbone=True)


def test_the_start_of_ief_does_not_depend_on_the_pose():
    """New filters are 0, and they learn."""
    model = create("ief").eval()
    image = given(model, 1)
    poses = [torch.full((1, 16, 2), value) for value in (60.0, 150.0)]
    moves = [model(image, keypoints=pose) - pose for pose in poses]
    assert_close(moves[0], moves[1], rtol=1e-4, atol=1e-4)
    moves[0].square().sum().backward()
    assert model.backbone.get_submodule(model.first_conv).more.weight.grad.any()
