"""Simple Baselines against the paper and the authors' code, by numbers obtained from running it."""

import fresh_process
import pytest
import torch
from filling import golden_forward

import posezoo
from posezoo.models.simple_baseline import SimpleBaseline

PARAMETERS = {
    18: (15_376_721, 15_376_464),
    34: (25_484_881, 25_484_624),
    50: (33_999_697, 33_999_440),
    101: (52_991_825, 52_991_568),
    152: (68_635_473, 68_635_216),
}
TENSORS = {50: 338, 101: 644, 152: 950}


@pytest.mark.parametrize("depth", PARAMETERS)
def test_size_is_the_authors(depth):
    for keypoints, parameters in zip((17, 16), PARAMETERS[depth], strict=True):
        with torch.device("meta"):
            model = posezoo.create(f"simple_baseline_resnet{depth}", num_keypoints=keypoints)
        assert sum(parameter.numel() for parameter in model.parameters()) == parameters
        if depth in TENSORS:
            assert len([key for key in model.state_dict() if not key.startswith("normalize.")]) == TENSORS[depth]


@pytest.mark.parametrize(("size", "shape"), [((256, 192), (64, 48)), ((384, 288), (96, 72)), ((64, 96), (16, 24))])
def test_heatmaps_are_a_quarter_of_the_input(size, shape):
    model = posezoo.create("simple_baseline_resnet18").eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, *size)).shape == (1, 17, *shape)


# The authors' code, filled by the rule in tests/filling.py, float64: mean, std, first and middle value, three argmaxes
GOLDEN = [
    ({"backbone": "resnet18"}, (256, 192), [-0.0731363335, 0.290875151, 0.0359690991, -0.286622861], [2160, 1643, 564]),
    ({"backbone": "resnet34"}, (256, 192), [-0.295753709, 1.24747008, -0.0639405605, -1.24584111], [747, 1945, 1113]),
    ({"backbone": "resnet50"}, (256, 192), [-0.169613684, 0.764931838, -0.0312549171, -1.71576134], [3016, 2073, 2771]),
    ({"backbone": "resnet101"}, (256, 192), [-1.38570927, 6.72764415, -1.22175358, -12.9472351], [2963, 2129, 1888]),
    ({"backbone": "resnet152"}, (256, 192), [-18.5583451, 94.9727603, -17.091622, -241.040127], [716, 1329, 1793]),
    (
        {"backbone": "resnet50", "num_keypoints": 16},
        (256, 256),
        [-0.140536304, 0.786982384, -0.0214614541, 1.01253217],
        [3828, 3817, 1032],
    ),
    (
        {"backbone": "resnet50", "caffe_style": True},
        (256, 192),
        [-0.167404931, 0.756094495, -0.0369069779, -1.72343392],
        [716, 2865, 737],
    ),
]


@pytest.mark.parametrize(("kwargs", "size", "numbers", "peaks"), GOLDEN)
def test_agrees_with_the_authors_code(kwargs, size, numbers, peaks):
    _, ours, our_peaks = golden_forward(SimpleBaseline(**kwargs), size, lambda key: key.removeprefix("backbone."))
    assert ours == pytest.approx(numbers, rel=1e-6)
    assert our_peaks == peaks


def test_initialisation_is_the_authors():
    torch.manual_seed(0)
    model = SimpleBaseline(backbone="resnet18")
    for layer in (model.deconv_layers[0], model.deconv_layers[6], model.final_layer):
        assert float(layer.weight.detach().std()) == pytest.approx(0.001, rel=0.1)
    assert not model.final_layer.bias.any()


@pytest.mark.parametrize(
    ("backbone", "num_deconvs"),
    [
        ("convnext_atto", 3),
        ("mobilenetv3_small_050", 3),
        ("swin_tiny_patch4_window7_224", 3),  # channels last
        ("regnetx_002", 3),
        ("vit_tiny_patch16_224", 2),  # stride 16
    ],
)
def test_any_timm_backbone(backbone, num_deconvs):
    size = (224, 224) if "224" in backbone else (64, 96)
    model = SimpleBaseline(backbone=backbone, num_deconvs=num_deconvs, deconv_width=16).eval()
    image = torch.rand(1, 3, *size)
    keypoints, _ = model.predict(image)
    assert model(image).shape == (1, 17, size[0] // 4, size[1] // 4)
    assert keypoints.shape == (1, 17, 2)


@pytest.mark.parametrize(("kernel", "num_deconvs", "stride"), [(2, 3, 4), (3, 3, 4), (4, 2, 8)])
def test_ablations_of_table_3(kernel, num_deconvs, stride):
    model = SimpleBaseline(backbone="resnet18", deconv_kernel=kernel, num_deconvs=num_deconvs).eval()
    assert model.stride == stride
    with torch.no_grad():
        assert model(torch.rand(1, 3, 64, 64)).shape[-1] == 64 // stride


def test_normalisation_is_the_backbones():
    assert posezoo.create("simple_baseline_resnet18").normalize.mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert SimpleBaseline(backbone="tf_efficientnet_lite0").normalize.std.tolist() == [0.5, 0.5, 0.5]


def test_an_unknown_backbone_gets_suggestions():
    with pytest.raises(ValueError, match="resnet50"):
        SimpleBaseline(backbone="resnett50")
    with pytest.raises(ValueError, match=r"\[2, 3, 4\]"):
        SimpleBaseline(deconv_kernel=5)


def test_without_timm_native_networks_work_and_others_raise_the_cause():
    """A torchvision built for another torch makes `import timm` raise RuntimeError; here it is made
    to.
    """
    program = """
    import sys, types, importlib.abc
    class Broken(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name.partition(".")[0] == "timm":
                raise RuntimeError("operator torchvision::nms does not exist")
    sys.meta_path.insert(0, Broken())
    import torch, posezoo
    posezoo.create("hrnet_w32", width=4).eval()(torch.rand(1, 3, 32, 32))
    try:
        posezoo.create("simple_baseline_resnet18")
    except ImportError as error:
        assert "torchvision::nms" in str(error) and "reinstall both together" in str(error), error
    else:
        raise AssertionError("no error")
    """
    fresh_process.run(program)


def test_imagenet_trunk_is_timms(tmp_path, monkeypatch):
    import timm
    from safetensors.torch import save_file

    theirs = timm.create_model("resnet18").eval()
    file = tmp_path / "model.safetensors"
    save_file(theirs.state_dict(), file)
    asked = []
    monkeypatch.setattr("posezoo.backbones.find", lambda record, *_: asked.append(record.sources[0]) or file)
    ours = posezoo.create("simple_baseline_resnet18", pretrained_backbone=True)
    assert asked == ["hf-hub:timm/resnet18.a1_in1k"]
    assert torch.equal(ours.backbone.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)


def test_imagenet_trunk_offline_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("simple_baseline_resnet18", "hrnet_w32"):
        with pytest.raises(ValueError, match="hf download timm/"):
            posezoo.create(name, pretrained_backbone=True)
