"""HRNet against its paper (Table 1) and the authors' code, by numbers obtained from running it."""

import pytest
import torch
from filling import golden_forward

import posezoo
from posezoo.models.hrnet import HRNet


@pytest.mark.parametrize(
    ("name", "keypoints", "parameters"),
    [
        (
            "hrnet_w18",
            17,
            9_318_215,
        ),  # counted here, see the test against timm's
        ("hrnet_w32", 17, 28_536_113),
        ("hrnet_w32", 16, 28_536_080),
        ("hrnet_w48", 17, 63_595_745),
        ("hrnet_w48", 16, 63_595_696),
    ],
)
def test_size_is_the_authors(name, keypoints, parameters):
    with torch.device("meta"):
        model = posezoo.create(name, num_keypoints=keypoints)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_the_small_sibling_is_timms():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        ours, theirs = posezoo.create("hrnet_w18").state_dict(), timm.create_model("hrnet_w18").state_dict()
    shared = {key: value for key, value in ours.items() if not key.startswith(("normalize.", "final_layer."))}
    assert len(shared) == 1752
    assert all(theirs[key].shape == value.shape for key, value in shared.items())


def test_has_the_authors_tensors():
    with torch.device("meta"):
        model = posezoo.create("hrnet_w32")
    keys = [key for key in model.state_dict() if not key.startswith("normalize.")]
    assert len(keys) == 1754
    assert {
        "conv1.weight", "layer1.0.downsample.0.weight", "transition1.0.0.weight", "transition1.1.0.0.weight",
        "transition2.2.0.0.weight", "transition3.3.0.1.running_var", "stage2.0.branches.1.3.bn2.bias",
        "stage3.3.fuse_layers.0.2.0.weight", "stage4.1.fuse_layers.3.0.2.0.weight", "final_layer.bias",
    } <= set(keys)  # fmt: skip
    assert not any(key.startswith("stage4.2.fuse_layers.1") for key in keys)  # the last module fuses into branch 0 only


@pytest.mark.parametrize(("size", "shape"), [((256, 192), (64, 48)), ((384, 288), (96, 72)), ((64, 96), (16, 24))])
def test_heatmaps_are_a_quarter_of_the_input(size, shape):
    with torch.device("meta"):
        assert posezoo.create("hrnet_w48")(torch.empty(2, 3, *size)).shape == (2, 17, *shape)


# The authors' code, filled as in tests/filling.py, float64: mean, std, first and middle value, three argmaxes
GOLDEN = [
    (32, 17, (256, 192), [-2078.82974, 14715.0459, -1401.38913, 12567.2781], [2803, 3020, 2367]),
    (48, 17, (256, 192), [-52.194175, 13155.1345, -1804.26976, -2756.98224], [45, 2256, 2633]),
    (32, 16, (256, 256), [-2878.37079, 15521.3445, -1408.04272, 14661.0468], [3799, 4028, 725]),
]


@pytest.mark.parametrize(("width", "keypoints", "size", "numbers", "peaks"), GOLDEN)
def test_agrees_with_the_authors_code(width, keypoints, size, numbers, peaks):
    shape, ours, our_peaks = golden_forward(HRNet(width=width, num_keypoints=keypoints), size)
    assert shape == (1, keypoints, size[0] // 4, size[1] // 4)
    assert ours == pytest.approx(numbers, rel=1e-6)
    assert our_peaks == peaks


def test_new_branches_start_from_the_last_one():
    """Transition 2 feeds its new branch from the half-resolution branch, not from the first (a
    known trap).
    """
    model = HRNet(width=8)
    assert model.transition2[2][0][0].in_channels == 16
    assert model.transition3[3][0][0].in_channels == 32


def test_initialisation_is_the_authors():
    torch.manual_seed(0)
    model = HRNet(width=8)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d) and module.weight.numel() > 1000:
            assert float(module.weight.detach().std()) == pytest.approx(0.001, rel=0.15)
    assert not model.final_layer.bias.any()


def test_imagenet_trunk_is_timms(tmp_path, monkeypatch):
    """timm's network goes on after stage 4; what both share, the last module's first fusion
    included, is equal.
    """
    import timm
    from safetensors.torch import save_file

    theirs = timm.create_model("hrnet_w18").eval()
    file = tmp_path / "model.safetensors"
    save_file(theirs.state_dict(), file)
    asked = []
    monkeypatch.setattr("posezoo.backbones.find", lambda record, *_: asked.append(record.sources[0]) or file)
    ours = posezoo.create("hrnet_w32", width=18, pretrained_backbone=True, features_only=True).eval()
    assert asked == ["hf-hub:timm/hrnet_w18.ms_in1k"]
    assert "pretrained_backbone" not in ours.kwargs  # saved and loaded again, it asks for no download
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        x = theirs.act1(theirs.bn1(theirs.conv1(ours.normalize(image))))
        x = theirs.act2(theirs.bn2(theirs.conv2(x)))
        assert torch.equal(ours(image), theirs.stages(x)[0])
