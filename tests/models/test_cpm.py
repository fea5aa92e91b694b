"""Convolutional Pose Machines against the authors' Caffe files, their data layer, and mmpose's
network.
"""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from filling import golden_forward
from torch.testing import assert_close

import posezoo
from posezoo import heatmaps
from posezoo.geometry import transform_points, zoom
from posezoo.layers import cpm_trunk
from posezoo.losses import belief_loss
from posezoo.models.cpm import CPM, CPM_SCALES, center_map, cpm_targets


def layer(key):
    """`conv1_stage1.weight`: the authors have no stages around their layers."""
    return ".".join(key.split(".")[-2:])


def meta(name, **kwargs):
    with torch.device("meta"):
        return posezoo.create(name, **kwargs)


def tiny(**kwargs):
    """A narrow network whose outputs are not all alike, which the paper's small first weights would
    make them.
    """
    torch.manual_seed(0)
    model = CPM(**{"width": 8, "num_stages": 2, "num_keypoints": 4, **kwargs}).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    return model


# ---------------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize(
    ("name", "keypoints", "parameters", "channels"),  # specs/models2d_a.md 3.1, 3.2, 3.7; channels with the background
    [
        ("cpm_9x9_6s", 14, 31_219_866, 15),
        ("cpm_9x9_4s", 9, 21_323_816, 10),
        ("cpm_vgg_6s", 14, 29_852_058, 15),
        ("cpm_person_4s", 1, 25_714_372, 1),
        ("cpm_bn_6s", 16, 31_225_568, 16),
        ("cpm_bn_6s", 17, 31_304_166, 17),
        ("cpm_bn_6s", 15, 31_146_970, 15),
    ],
)
def test_size_is_the_authors(name, keypoints, parameters, channels):
    model = meta(name, num_keypoints=keypoints)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    stages = model(torch.empty(2, 3, 368, 368, device="meta"), all_stages=True)
    assert len(stages) == int(name[-2])
    assert {tuple(stage.shape) for stage in stages} == {(2, channels, 46, 46)}
    assert model.forward_features(torch.empty(1, 3, 256, 192, device="meta")).shape == (1, 128, 32, 24)


def test_the_papers_parts_are_the_default():
    assert meta("cpm_9x9_6s").skeleton.name == meta("cpm_vgg_6s").skeleton.name == "cpm14"
    assert meta("cpm_9x9_4s").skeleton.name == "flic9"
    assert meta("cpm_person_4s").skeleton.keypoints == ("person",)
    assert meta("cpm_9x9_6s", num_keypoints=13).skeleton is None


def test_layers_are_called_as_in_the_authors_files():
    paper = {layer(key) for key in meta("cpm_9x9_6s").state_dict() if not key.startswith("normalize.")}
    first = [f"conv{i}_stage1" for i in range(1, 8)] + [f"conv{i}_stage2" for i in range(1, 5)]
    later = [f"Mconv{i}_stage{t}" for t in range(2, 7) for i in range(1, 6)]
    names = [*first, *(f"conv1_stage{t}" for t in range(3, 7)), *later]
    assert paper == {f"{name}.{leaf}" for name in names for leaf in ("weight", "bias")}

    vgg = [f"conv{i}_{j}" for i, count in enumerate((2, 2, 4, 2), start=1) for j in range(1, count + 1)]
    vgg += [f"conv4_{i}_CPM" for i in range(3, 8)] + ["conv5_1_CPM", "conv5_2_CPM"]
    vgg += [f"Mconv{i}_stage{t}" for t in range(2, 7) for i in range(1, 8)]
    keys = {layer(key) for key in meta("cpm_vgg_6s").state_dict() if not key.startswith("normalize.")}
    assert keys == {f"{name}.{leaf}" for name in vgg for leaf in ("weight", "bias")}
    assert len([key for key in meta("cpm_bn_6s").state_dict() if not key.startswith("normalize.")]) == 216  # mmpose's


# float64, filled as in tests/filling.py by the Caffe layers' names: mean, std, first and middle value, three argmaxes
# of the last stage. The Caffe designs: the authors' deploy prototxts, run layer by layer (convolution, ReLU, ceil-mode
# pooling, concatenation) by an interpreter that agrees with OpenCV 4's Caffe importer to 7e-7; 9x9 also
# namedBen/Convolutional-Pose-Machines-Pytorch with unpadded ceil-mode pools, to 2e-15. bn: mmpose's backbones/cpm.py.
GOLDEN = [
    ("cpm_9x9_6s", (72, 104), [-0.06741296246, 0.1114739731, -0.1015381087, 0.04016921169], [12, 96, 110]),
    ("cpm_9x9_4s", (64, 64), [-0.04227140232, 0.0900412111518, 0.0652161710223, -0.160253756251], [10, 54, 3]),
    ("cpm_vgg_6s", (72, 104), [-0.0173150937839, 0.115833544862, -0.167422819205, -0.114135806150], [89, 83, 90]),
    ("cpm_person_4s", (64, 64), [0.0831696663016, 0.014507301129, 0.108816745418, 0.0775220981407], [40, 40, 40]),
    ("cpm_bn_6s", (64, 48), [0.00343475713706, 0.166646287203, -0.134991023967, 0.232054631523], [34, 41, 27]),
]


@pytest.mark.parametrize(("name", "size", "numbers", "peaks"), GOLDEN)
def test_agrees_with_the_authors_files(name, size, numbers, peaks):
    _, ours, our_peaks = golden_forward(posezoo.create(name), size, layer)
    assert ours == pytest.approx(numbers, rel=1e-6)
    assert our_peaks == peaks


def test_receptive_field():
    """One column of the image is NaN: the cells that see it are NaN, for NaN goes through ReLU and
    max pooling.
    """
    for design, pixels, middle in (("9x9", (167, 407), 7.0), ("vgg", None, 3.5)):
        model = tiny(design=design, width=4)
        image = torch.zeros(640, 3, 8, 640)
        image[torch.arange(640), :, :, torch.arange(640)] = torch.nan
        with torch.no_grad():
            stages = model(image, all_stages=True)
        seen = [stage[:, 0, 0, 40].isnan().nonzero().flatten() for stage in stages]  # columns that cell 40 depends on
        for columns in seen:
            assert torch.equal(columns, torch.arange(int(columns[0]), int(columns[-1]) + 1))
            # pooling 2 by 2 keeps the middle at 8 i + 3.5; 3 by 3 from the first pixel on moves it
            assert (columns[0] + columns[-1]) / 2 == 8 * 40 + middle
        if pixels:  # specs 3.1
            assert tuple(map(len, seen)) == pixels


def test_stage_one_is_trained_with_dropout_where_the_authors_have_it():
    counts = {
        name: sum(isinstance(m, torch.nn.Dropout) for m in meta(name).stage1) for name in posezoo.list_models("cpm*")
    }
    assert counts == {"cpm_9x9_6s": 2, "cpm_9x9_4s": 2, "cpm_vgg_6s": 0, "cpm_person_4s": 0, "cpm_bn_6s": 0}
    assert not any(isinstance(m, torch.nn.Dropout) for m in meta("cpm_9x9_6s").stages.modules())
    model, image = tiny().train(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(model(image), model(image))
        assert torch.equal(model.forward_features(image), model.forward_features(image))


@pytest.mark.parametrize(("design", "std"), [("9x9", 0.01), ("vgg", 0.01), ("bn", 0.001)])
def test_initialisation_is_the_authors(design, std):
    torch.manual_seed(0)
    model = CPM(design=design, width=32)
    model.reset_head(3)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            assert module.bias is None or not module.bias.any()
            if module.weight.numel() > 1000:
                assert float(module.weight.detach().std()) == pytest.approx(std, rel=0.15)


def test_images_are_normalised_as_the_authors():
    values = torch.tensor([0.0, 128, 255]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    assert_close(tiny().normalize(values / 255), (values - 128) / 256)


@pytest.mark.parametrize("size", [(8, 8), (8, 24), (40, 16)])
def test_small_images(size):
    for design in ("9x9", "vgg", "person", "bn"):
        model = tiny(design=design)
        assert model(torch.rand(2, 3, *size)).shape[-2:] == (size[0] // 8, size[1] // 8)


# ------------------------------------------------------------------------------------------- trunk and head


def test_the_trunk_has_rpsms_layers():
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in cpm_trunk().parameters()) == 9_110_720  # specs/models3d.md 1.1
    model, trunk = tiny(design="vgg"), cpm_trunk(8)
    trunk.load_state_dict(model.trunk.state_dict())
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(trunk(model.normalize(image)), model.forward_features(image))
        assert (trunk(image) >= 0).all()  # the last ReLU is its


@pytest.mark.parametrize("design", ["9x9", "vgg", "person", "bn"])
def test_other_parts_leave_the_rest_of_the_stages(design):
    model = tiny(design=design, num_stages=3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.reset_head(6)
    after = model.state_dict()
    heads = tuple(f"{key}." for key in model.head_keys)
    assert len(heads) == 5  # the last of each stage, the first of each later one
    assert before.keys() == after.keys()
    changed = {
        key for key in before if not (before[key].shape == after[key].shape and torch.equal(before[key], after[key]))
    }
    assert {key for key in changed if not key.endswith("bias")} == {
        key for key in after if key.startswith(heads) and not key.endswith("bias")
    }
    assert model(torch.rand(1, 3, 32, 32)).shape[1] == 6 + (design in ("9x9", "vgg"))


def test_without_parts_there_are_no_stages(tmp_path):
    model = posezoo.create("cpm_9x9_6s", width=4, num_stages=2, num_keypoints=0)
    assert all(key.startswith(("normalize.", "trunk.")) for key in model.state_dict())
    model.reset_head(2, ["left_x", "right_x"])
    assert model.predict(torch.rand(1, 3, 32, 32), flip=True)[0].shape == (1, 2, 2)
    model.save_pretrained(tmp_path)
    trunk = posezoo.create(f"local-dir:{tmp_path}", pretrained=True, num_keypoints=0)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in trunk.state_dict().items())


def test_the_vgg_trunk_starts_from_imagenet(tmp_path, monkeypatch):
    import timm
    from safetensors.torch import save_file

    with torch.device("meta"):
        shapes = {key: value.shape for key, value in timm.create_model("vgg19").features.state_dict().items()}
    torch.manual_seed(0)
    published = {f"features.{key}": torch.randn(shape) for key, shape in shapes.items()}
    file = tmp_path / "model.safetensors"
    save_file(published, file)
    asked = []
    monkeypatch.setattr("posezoo.backbones.find", lambda record, *_: asked.append(record.sources[0]) or file)
    names = [
        "conv1_1",
        "conv1_2",
        "conv2_1",
        "conv2_2",
        "conv3_1",
        "conv3_2",
        "conv3_3",
        "conv3_4",
        "conv4_1",
        "conv4_2",
    ]
    numbers = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28)  # between them are ReLUs and poolings
    for name, more in (("cpm_vgg_6s", []), ("cpm_person_4s", ["conv4_3", "conv4_4", "conv5_1"])):
        model = posezoo.create(name, pretrained_backbone=True, num_keypoints=0)
        assert "pretrained_backbone" not in model.kwargs
        assert_close(model.normalize.mean, torch.tensor([0.485, 0.456, 0.406]))  # RGB, as torchvision trained it
        for number, part in zip(numbers, [*names, *more], strict=False):
            for leaf in ("weight", "bias"):
                assert torch.equal(model.trunk.state_dict()[f"{part}.{leaf}"], published[f"features.{number}.{leaf}"])
    assert asked == ["hf-hub:timm/vgg19.tv_in1k"] * 2
    for arguments in ({"design": "9x9"}, {"design": "vgg", "width": 64}):
        with pytest.raises(ValueError, match=r"only the trunks of vgg and person, 128 wide"):
            CPM(**arguments, pretrained_backbone=True)


# ------------------------------------------------------------------------------------------------ centre map


def test_center_map_is_the_authors():  # specs 3.3
    model = tiny()
    middle = model.check_center(torch.zeros(2, 3, 368, 368), None)
    assert middle.tolist() == [[184, 184]] * 2
    pooled = center_map(middle.double(), (368, 368))
    assert pooled.shape == (2, 1, 46, 46)
    assert pooled[0].max().item() == pytest.approx(0.950460, abs=5e-7)
    assert pooled[0].sum().item() == pytest.approx(43.295074, abs=5e-7)
    assert_close(pooled[0, 0, 22:24, 22:24], pooled.max().expand(2, 2))  # pixel 184 is in the windows of four cells


def test_center_map_is_the_pooled_gaussian():
    centers, size = torch.tensor([[30.0, 50.5], [0.0, 0.0], [103.0, 71.0]], dtype=torch.float64), (72, 104)
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij")
    full = torch.exp(-((x - centers[:, 0, None, None]) ** 2 + (y - centers[:, 1, None, None]) ** 2) / (2 * 21**2))
    pooled = F.avg_pool2d(full[:, None], 9, 8, ceil_mode=True)  # the last windows are cut off, as in Caffe
    assert_close(center_map(centers, size), pooled, rtol=1e-12, atol=1e-15)


def test_a_centre_applies_to_its_own_image():
    model = tiny()
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        default = model(image)
        assert torch.equal(model(image, center=torch.tensor([[32, 32], [32, 32]])), default)
        moved = model(image, center=torch.tensor([[32.0, 32.0], [10.0, 50.0]]))
    assert torch.equal(moved[0], default[0])
    assert not torch.allclose(moved[1], default[1])
    center = torch.full((2, 2), 20.0, requires_grad=True)
    first, second = model(image, center=center, all_stages=True)
    assert second.requires_grad
    assert torch.autograd.grad(second.sum(), center, allow_unused=True) == (None,)
    with torch.no_grad():  # stage 1 does not look at it
        assert torch.equal(model(image, all_stages=True)[0], first)


@pytest.mark.parametrize(
    ("center", "says"),
    [
        (
            [[32.0, 32.0], [64.0, 3.0]],
            r"center: expected \(x, y\) in the image, 0 to 63 and 0 to 47.*\[64.0, 3.0\] for image 1",
        ),
        ([[32.0, -0.1], [3.0, 3.0]], r"for image 0; crop the image around the person"),
        ([[32.0, 47.5], [3.0, 3.0]], "for image 0"),
        ([[32.0, math.nan], [3.0, 3.0]], "for image 0"),
        ([[32.0, math.inf], [3.0, 3.0]], "for image 0"),
        ([32.0, 32.0], r"center: expected \(B, 2\) = \(2, 2\) pixels, got shape \(2,\)"),
        ([[32.0, 32.0]], r"got shape \(1, 2\)"),
    ],
)
def test_a_center_outside_the_image(center, says):
    model, image = tiny(), torch.rand(2, 3, 48, 64)
    for answer in (model, model.predict):
        with pytest.raises(ValueError, match=says):
            answer(image, center=torch.tensor(center))


@pytest.mark.parametrize("design", ["person", "bn"])
def test_designs_without_centre_map_take_no_center(design):
    model, image = tiny(design=design), torch.rand(1, 3, 32, 32)
    for answer in (model, model.predict):
        with pytest.raises(ValueError, match=r"this design has no centre map and takes no center; 9x9 and vgg do"):
            answer(image, center=torch.tensor([[16.0, 16.0]]))


def test_center_in_exported_and_compiled_graphs():
    model, image, center = tiny(), torch.rand(2, 3, 32, 32), torch.tensor([[5.0, 9.0], [20.0, 31.0]])
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(
        model, (image,), {"center": center}, dynamic_shapes={"image": {0: batch}, "center": {0: batch}}
    )
    three = torch.rand(3, 3, 32, 32), torch.tensor([[5.0, 9.0], [20.0, 31.0], [1.0, 1.0]])
    with torch.no_grad():
        assert_close(exported.module()(three[0], center=three[1]), model(three[0], center=three[1]))
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        assert_close(compiled(image, center=center), model(image, center=center))
    torch.compiler.reset()


@pytest.mark.slow
def test_center_selects_the_person():
    """One image, two dots: the first stage learns both, the last one that next to the centre,
    through `predict`.
    """
    model = tiny(width=16, num_keypoints=1)
    dots = torch.tensor([[[14.0, 14.0]], [[46.0, 50.0]]])
    drawn, _ = heatmaps.encode(dots, size=(64, 64), stride=1, sigma=4, method="gaussian")
    image = 0.1 + 0.8 * drawn.sum(dim=0, keepdim=True).expand(2, 3, -1, -1)
    center = dots[:, 0] + torch.tensor([2.0, 1.0])
    first, later = cpm_targets(torch.stack([dots, dots.flip(0)]), size=(8, 8))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.9, 0.99))
    for step in range(240):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, 2 - step / 120)
        loss = belief_loss(model(image, center=center, all_stages=True), first, later)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    keypoints, scores = model.predict(image, center=center)
    assert (keypoints - dots).norm(dim=-1).mean() < 1
    assert (scores > 0.5).all()
    several, _ = model.predict(image, center=center, scales=(0.9, 1.0, 1.1))
    assert (several - dots).norm(dim=-1).mean() < 1.5
    with torch.no_grad():
        both = model(image, center=center, all_stages=True)[0][0, 0]
    assert both[1, 1] > 0.5
    assert both[6, 5] > 0.3


# ------------------------------------------------------------------------------------------------ predictions


def test_decoding_ignores_the_background_and_uses_cell_centres():
    keypoints = torch.tensor([[[83.5, 43.5], [11.5, 19.5], [60.0, 61.0], [30.2, 70.9]]])
    target, _ = cpm_targets(keypoints[:, None], size=(12, 12))
    model = tiny()
    found, scores = model.decode(target)
    assert (found - keypoints).norm(dim=-1).max() < 1.2
    assert scores[0, :2].tolist() == pytest.approx([1, 1], abs=0.01)
    assert_close(model.decode(target[:, :4])[0], found)
    dark, _ = tiny(decoding="dark").decode(target)
    assert (dark - keypoints).norm(dim=-1).max() < 0.1
    mmposes = tiny(design="bn", decoding="argmax")
    assert mmposes.decode(target[:, :4])[0][0, 0].tolist() == [80, 40]  # cell i lies at pixel 8 i


def test_mirrored_people_are_found_in_the_mirror():
    names = ["left_a", "right_a", "b", "c"]
    for design in ("9x9", "vgg", "person"):
        model = tiny(design=design, skeleton=names)
        image = torch.rand(3, 3, 64, 48)
        center = torch.tensor([[20.0, 30.0], [24.0, 32.0], [47.0, 0.0]])
        at, at_mirrored = {}, {}
        if design != "person":
            mirrored_center = torch.stack([47 - center[:, 0], center[:, 1]], dim=1)
            at, at_mirrored = {"center": center}, {"center": mirrored_center}
        keypoints, scores = model.predict(image, flip=True, **at)
        mirrored, mirrored_scores = model.predict(image.flip(-1), flip=True, **at_mirrored)
        assert_close(mirrored_scores[:, [1, 0, 2, 3]], scores)
        expected = torch.stack([47 - keypoints[..., 0], keypoints[..., 1]], dim=-1)
        sure = scores > 0  # a map that is nowhere positive has its keypoint at (0, 0)
        assert sure.any()
        assert_close(mirrored[:, [1, 0, 2, 3]][sure], expected[sure])


def oracle(image, center=None):
    """A network that is always right: a narrow Gaussian on the brightest pixel, and a background."""
    _, _, height, width = image.shape
    index = image[:, 0].flatten(1).argmax(dim=1)
    keypoints = torch.stack([index % width, index // width], dim=-1).to(image)
    return cpm_targets(keypoints[:, None, None], size=(height // 8, width // 8))[0]


@pytest.mark.parametrize("scales", [(1.0,), (0.7,), (1.3,), CPM_SCALES, (1.0, 1.15)])
def test_every_scale_finds_the_same_place(scales, monkeypatch):
    model = tiny(num_keypoints=1)
    monkeypatch.setattr(CPM, "forward", lambda self, image, *, center=None: oracle(image, center))
    dots = torch.tensor([[[60.0, 40.0]], [[30.0, 70.0]], [[48.0, 41.0]]])
    image, _ = heatmaps.encode(dots, size=(96, 104), stride=1, sigma=4, method="gaussian")
    for center in (None, torch.tensor([[62.0, 50.0], [20.0, 60.0], [30.5, 41.2]])):
        keypoints, scores = model.predict(image.expand(-1, 3, -1, -1), center=center, scales=scales)
        assert (keypoints - dots).norm(dim=-1).max() < 2
        assert (scores > 0.6).all()


def test_several_scales_are_averaged():
    model, image = tiny(), torch.rand(2, 3, 64, 64)
    single = [model.predict(image, scales=(scale, scale)) for scale in (0.8, 1.0, 1.2)]
    assert_close(single[1], model.predict(image))  # 1.0 is the plain prediction, to the bit of the resampling
    _, scores = model.predict(image, scales=(0.8, 1.0, 1.2))
    assert (
        scores <= torch.stack([score for _, score in single]).mean(dim=0) + 1e-5
    ).all()  # peaks in one place at best


def test_zoom_resizes_about_the_center_and_is_grey_around():
    dots, center = torch.tensor([[[40.0, 30.0]], [[55.0, 20.0]]]), torch.tensor([[32.0, 40.0], [50.0, 10.0]])
    image, _ = heatmaps.encode(dots, size=(64, 72), stride=1, sigma=3, method="gaussian")
    fill = torch.tensor([0.5, 0.25, 0.125])
    for scale in (0.7, 0.9, 1.0, 1.3):
        zoomed, matrix = zoom(image.expand(-1, 3, -1, -1), scale, center, fill=fill)
        assert zoomed.shape == (2, 3, 64, 72)
        assert (transform_points(center[:, None], matrix) - center[:, None]).abs().max() <= 0.5
        # the size is rounded to whole pixels
        assert matrix[0].diagonal().tolist() == pytest.approx([round(72 * scale) / 72, round(64 * scale) / 64])
        index = zoomed[:, 0].flatten(1).argmax(dim=1)
        found = torch.stack([index % 72, index // 72], dim=-1)
        assert (found - transform_points(dots, matrix)[:, 0]).abs().max() < 1
        if scale < 1:
            assert_close(zoomed[0, :, 0, 0], fill)
        if scale == 1:
            assert_close(zoomed, image.expand(-1, 3, -1, -1))


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -1.0), (math.nan,), (math.inf,)])
def test_scales_are_positive_numbers(scales):
    with pytest.raises(ValueError, match="scales: expected one or more positive numbers"):
        tiny().predict(torch.rand(1, 3, 32, 32), scales=scales)


def test_several_scales_require_maps_of_the_images_size():
    with pytest.raises(ValueError, match="with decoding=\"bicubic\", not 'quarter'"):
        tiny(design="bn").predict(torch.rand(1, 3, 32, 32), scales=(0.9, 1.1))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"design": "7x7"}, r"design: expected one of 9x9, vgg, person, bn, got '7x7'"),
        ({"decoding": "udp"}, r"decoding: expected one of \('bicubic', .*got 'udp'"),
        ({"design": "bn", "decoding": "bicubic"}, r"decoding: expected one of \('argmax', .*for the design 'bn'"),
        ({"num_stages": 1}, "num_stages: expected 2 or more, got 1"),
        ({"width": 6}, "width: expected a multiple of 4, got 6"),
    ],
)
def test_wrong_arguments(arguments, says):
    with pytest.raises(ValueError, match=says):
        CPM(**arguments)


@pytest.mark.parametrize("design", ["9x9", "bn"])
def test_a_batch_of_one_trains_and_an_empty_one_predicts(design):
    model = tiny(design=design).train()
    model(torch.rand(1, 3, 32, 32), all_stages=True)[-1].mean().backward()
    keypoints, scores = model.eval().predict(torch.rand(0, 3, 32, 32))
    assert (keypoints.shape, scores.shape) == ((0, 4, 2), (0, 4))
    if design == "9x9":
        several, _ = model.predict(torch.rand(0, 3, 32, 32), center=torch.rand(0, 2), scales=CPM_SCALES)
        assert several.shape == (0, 4, 2)


# ---------------------------------------------------------------------------------------------------- targets


def test_targets_are_the_authors():  # specs 3.3
    keypoints = torch.tensor([184.0, 184.0, 100.3, 50.7], dtype=torch.float64).view(1, 1, 2, 2)
    _, target = cpm_targets(keypoints, size=(46, 46))
    row = torch.tensor([0.012116, 0.179176, 0.717751, 0.778801, 0.228895, 0.018222], dtype=torch.float64)
    assert_close(target[0, 0, 23, 20:26], row, rtol=0, atol=5e-7)
    assert target[0, :2].amax(dim=(1, 2)).tolist() == pytest.approx([0.778801, 0.987024], abs=5e-7)
    assert target[0, :2].flatten(1).argmax(dim=1).tolist() == [23 * 46 + 23, 6 * 46 + 12]
    assert target[0, :2].sum(dim=(1, 2)).tolist() == pytest.approx([4.774512, 4.761261], abs=5e-7)
    assert (target[0, :2] > 0).sum(dim=(1, 2)).tolist() == [24, 21]
    assert_close(target[:, 2], 1 - target[:, :2].amax(dim=1))


def test_stage_one_is_trained_on_all_people():
    people = torch.tensor([[[[40.0, 40.0]], [[44.0, 40.0]], [[90.0, 20.0]]]], dtype=torch.float64)
    first, later = cpm_targets(people, size=(12, 12))
    each = [cpm_targets(people[:, i : i + 1], size=(12, 12))[0] for i in range(3)]
    assert_close(later, each[0])
    assert_close(first[:, :1], sum(one[:, :1] for one in each).clamp(max=1))
    assert first[0, 0].max() == 1  # two people next to each other
    assert_close(first[:, 1], 1 - first[:, 0])
    assert_close(first, cpm_targets(people[:, [0, 2, 1]], size=(12, 12))[0])
    alone, _ = cpm_targets(people, torch.tensor([[[1], [0], [0]]]), size=(12, 12))
    assert_close(alone, later)
    without, _ = cpm_targets(people, size=(12, 12), background=False)
    assert_close(without, first[:, :1])


def test_missing_keypoints_are_empty_maps():
    keypoints = torch.rand(2, 1, 5, 2) * 80
    for missing in itertools.chain.from_iterable(itertools.combinations(range(5), n) for n in (1, 4, 5)):
        visible = torch.ones(2, 1, 5)
        visible[1, 0, list(missing)] = 0
        spoiled = keypoints.masked_fill(visible[..., None] == 0, torch.nan)
        for target in cpm_targets(spoiled, visible, size=(12, 12)):
            assert torch.isfinite(target).all()
            assert not target[1, list(missing)].any()
            assert (target[0, :5].amax(dim=(1, 2)) > 0.7).all()
    assert (cpm_targets(keypoints, torch.zeros(2, 1, 5), size=(12, 12))[0][:, 5] == 1).all()


@pytest.mark.parametrize(
    ("keypoints", "visible", "says"),
    [
        (torch.zeros(2, 14, 2), None, r"expected \(B, P, K, 2\) with one person or more, got \(2, 14, 2\)"),
        (torch.zeros(2, 0, 14, 2), None, "one person or more"),
        (torch.zeros(2, 1, 14, 3), None, r"\(B, P, K, 2\)"),
        (torch.zeros(2, 1, 14, 2), torch.ones(2, 14), r"visible: expected \(2, 1, 14\) like keypoints, got \(2, 14\)"),
        (torch.full((2, 1, 14, 2), math.nan), None, "NaN or infinite"),
    ],
)
def test_targets_refuse_wrong_arguments(keypoints, visible, says):
    with pytest.raises(ValueError, match=says):
        cpm_targets(keypoints, visible, size=(8, 8))


# ---------------------------------------------------------------------------------------------------- weights


def test_published_weights_are_mmposes():
    names = [name for name in posezoo.list_pretrained("cpm*") if not name.startswith("cpm_vgg_6s.lspet")]
    tags = {name.partition(".")[2] for name in names}
    coco = {f"coco_{size}{version}" for size in ("256x192", "384x288") for version in ("", "_v0")}
    assert tags == {*coco, "mpii_368x368", *(f"jhmdb{split}_368x368" for split in (1, 2, 3))}
    for name in names:
        record = posezoo.get_pretrained_cfg(name)
        assert record.sha256 in record.sources[0]
        assert record.format == "mmpose_cpm"
        model = meta(name)
        assert model.num_keypoints == len(model.skeleton)
        assert len(model.skeleton.flip_index) == {"coco": 17, "mpii": 16, "jhmd": 15}[record.tag[:4]]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cpm_9x9_6s", "985000_addLEEDS"),
        ("cpm_9x9_4s", "40000"),
        ("cpm_vgg_6s.mpii_368x368", "320000"),
        ("cpm_person_4s", "70000"),
    ],
)
def test_the_authors_weights_are_linked_and_not_fetched(name, file):
    record = posezoo.get_pretrained_cfg(name)
    assert "non-commercial" in record.license
    assert not record.sources
    with pytest.raises(ValueError, match=rf"Download http://.*pose_iter_{file}\.caffemodel yourself"):
        posezoo.create(name, pretrained=True)
