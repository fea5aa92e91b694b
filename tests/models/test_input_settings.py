"""What a network says about its input and output: size, padding, heatmap frame; saved, loaded and
used in training.
"""

import inspect
import json
import typing

import pytest
import torch
from running_examples import load_example
from torch.testing import assert_close

import posezoo
from posezoo.geometry import box_to_crop, crop, crop_matrix, transform_points
from posezoo.losses import heatmap_mse
from posezoo.models.deeppose import DeepPose

NARROW = (8, 8, 8, 8, 8, 16, 16)
IMAGES = [
    name
    for name in posezoo.list_models()
    if typing.get_type_hints(posezoo.model_entrypoint(name))["return"].input_kind == "image"
]


def on_meta(name, **kwargs):
    with torch.device("meta"):
        return posezoo.create(name, num_keypoints=14, skeleton="lsp14", **kwargs).eval()


def stage_shapes(model):
    with torch.device("meta"), torch.no_grad():
        return [stage.shape for stage in model(model.example_input(16), all_stages=True)]


HEATMAPS = [name for name in IMAGES if on_meta(name).stride is not None]


# ---------------------------------------------------------------------------------------- the frame of the heatmaps


@pytest.mark.parametrize(("name", "kwargs"), [*((name, {}) for name in HEATMAPS), ("hrnet_w32", {"decoding": "udp"})])
def test_decoding_encoded_targets_has_no_bias(name, kwargs):
    """Of every heatmap network, in every stage: targets have its shape and lie where `decode` looks
    for them.
    """
    model = on_meta(name, **kwargs)
    height, width = model.input_size
    torch.manual_seed(0)
    keypoints = 30 + torch.rand(16, 14, 2) * (torch.tensor([width, height]) - 60)
    shapes = stage_shapes(model)
    targets = model.encode_targets(keypoints, None, [torch.empty(shape) for shape in shapes])
    for index, (shape, (target, weights)) in enumerate(zip(shapes, targets, strict=True)):
        assert target.shape == shape
        assert weights.shape == shape[:2]
        stage = {"stage": index} if "stage" in inspect.signature(model.decode).parameters else {}
        found, _ = model.decode(target, **stage)
        assert (found - keypoints).mean(dim=(0, 1)).abs().max() < 1  # bicubic maps of CPM: half a pixel
        assert (found - keypoints).abs().max() <= model.heatmap_frame(index)[0] / 2 + 0.51


def test_the_script_for_any_heatmap_network_has_these_targets():
    """The loss of a network that predicts the targets is 0, with a background or two stages of
    different sizes too.
    """
    batch_loss = load_example("train_heatmap").batch_loss
    for name in ("hourglass_2", "cpm_9x9_4s", "cpm_person_4s", "tompson_mpii", "tompson_flic", "hrnet_w32"):
        network = on_meta(name)
        size = network.input_size
        keypoints, visible = 30 + torch.rand(2, 14, 2) * (min(size) - 60), torch.rand(2, 14) > 0.3
        stages = [torch.empty((2, *shape[1:])) for shape in stage_shapes(network)]
        perfect = [target for target, _ in network.encode_targets(keypoints, visible, stages)]
        batch = {"image": torch.rand(2, 3, *size), "keypoints": keypoints, "visible": visible}

        def loss(stages, network=network, batch=batch):
            return float(batch_loss(lambda image, all_stages: stages, batch, network=network, sigma=2.0))

        assert loss(perfect) == 0
        assert loss([stage + 0.1 for stage in perfect]) > 0
        if "cpm_9x9" in name:
            assert_close(perfect[0][:, -1], 1 - perfect[0][:, :-1].amax(dim=1))


@pytest.mark.parametrize(
    ("name", "kwargs"), [("hourglass_1", {"width": 16, "decoding": "dark"}), ("cpm_person_4s", {"width": 8})]
)
@pytest.mark.slow
def test_a_network_trained_so_is_not_off(name, kwargs):
    torch.manual_seed(0)
    model = posezoo.create(name, num_keypoints=1, **kwargs).train()
    # of cells of 4 and of 8 pixels as often right and below of the middle as left and above
    dots = torch.tensor([[[40.0, 24.0]], [[79.0, 99.0]], [[21.0, 77.0]]])
    image, _ = posezoo.heatmaps.encode(dots, size=(128, 128), stride=1, sigma=4, method="gaussian")
    image = image.expand(-1, 3, -1, -1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    for _ in range(200):
        stages = model(image, all_stages=True)
        targets = model.encode_targets(dots, None, stages)
        loss = sum(heatmap_mse(stage, *target) for stage, target in zip(stages, targets, strict=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    keypoints, _ = model.predict(image)
    assert (keypoints - dots).mean(dim=(0, 1)).abs().max() < 1.3


def test_networks_without_heatmaps_have_no_targets():
    with pytest.raises(ValueError, match="deeppose regresses coordinates"):
        on_meta("deeppose").encode_targets(torch.zeros(1, 14, 2), None, [torch.zeros(1, 14, 8, 8)])


def test_udp_is_corner_aligned():
    assert posezoo.create("hrnet_w32", width=4, decoding="udp").corner_aligned
    assert not posezoo.create("hrnet_w32", width=4).corner_aligned


# ------------------------------------------------------------------------------------------------ the person's crop


@pytest.mark.parametrize(
    ("name", "high"),
    [
        ("cpm_9x9_6s", 200 * 41 / 35),  # of 368: the authors' 200 annotated pixels, 41/35 times as large
        ("cpm_vgg_6s", 234.29),
        ("cpm_bn_6s", 368 / 1.25),
        ("ief", 256),  # of which the middle 224 are shown
        ("tompson_mpii", 200),
        ("hourglass_2", 256 / 1.25),
        ("hrnet_w32", 256 / 1.25),
        ("deeppose", 220 / 1.5),
        ("posernn_cnn", 224 / 1.1),
    ],
)
def test_the_person_arrives_as_large_as_in_the_paper(name, high):
    model = on_meta(name)
    box = torch.tensor([[100.0, 50.0, 200.0, 450.0]])
    around = box + model.margin * torch.tensor([-1.0, -1.0, 1.0, 1.0])
    place = box_to_crop(around, model.input_size, padding=model.padding, keep_aspect=model.keep_aspect)
    matrix = crop_matrix(*place, model.input_size, keep_aspect=model.keep_aspect)
    corners = transform_points(box.view(1, 2, 2), matrix)
    assert float(corners[0, 1, 1] - corners[0, 0, 1]) == pytest.approx(high, abs=0.01)


@pytest.mark.parametrize("name", posezoo.list_models())
def test_settings_fit_into_json(name):
    with torch.device("meta"):
        model = posezoo.create(name)
        example = model.example_input(2)
    settings = json.loads(json.dumps(model.input_settings()))
    assert settings["receptive_field"] == model.receptive_field >= 1
    if model.input_kind == "keypoints":
        assert example.shape == (2, model.receptive_field, model.num_inputs, 2)
    else:
        assert tuple(settings["input_size"]) == example.shape[-2:]
        assert settings["padding"] > 0


# --------------------------------------------------------------------------------------------------- saved and loaded


def test_a_saved_network_keeps_the_size_and_padding_of_its_training(tmp_path):
    model = posezoo.create("hrnet_w32", width=4)
    model.input_size, model.padding, model.keep_aspect = (192, 160), 1.5, False
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["input"]["input_size"] == config["weights"]["input_size"] == [192, 160]
    assert config["input"] == model.input_settings()
    loaded = posezoo.create(f"local-dir:{tmp_path}", pretrained=True)
    assert (loaded.input_size, loaded.padding, loaded.keep_aspect) == ((192, 160), 1.5, False)
    assert loaded.example_input().shape == (1, 3, 192, 160)
    assert loaded.weights.input_size == (192, 160)
    overlaid = posezoo.create(f"local-dir:{tmp_path}", pretrained=True, pretrained_cfg_overlay={"input_size": [64, 64]})
    assert overlaid.input_size == (64, 64)


def test_a_folder_of_before_without_settings_loads(tmp_path):
    posezoo.create("hrnet_w32", width=4).save_pretrained(tmp_path, input_size=(64, 48))
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["input"]
    path.write_text(json.dumps(config))
    loaded = posezoo.create(f"local-dir:{tmp_path}", pretrained=True)
    assert (loaded.input_size, loaded.padding) == ((64, 48), 1.25)


def test_a_record_sets_the_input_size():
    record = posezoo.Weights(input_size=(384, 288), input={"padding": 1.4})
    model = posezoo.create("hrnet_w32", width=4, pretrained_cfg=record)
    assert (model.input_size, model.padding) == ((384, 288), 1.4)
    assert posezoo.create("hrnet_w32.coco_384x288", width=4).input_size == (384, 288)
    assert posezoo.create("hrnet_w32", width=4).input_size == (256, 192)


def test_sizes_that_the_constructor_fixes_stay(tmp_path):
    posezoo.create("rpsm", size=[64, 64], width=16, hidden=32).save_pretrained(tmp_path)
    assert posezoo.create(f"local-dir:{tmp_path}").input_size == (64, 64)


@pytest.mark.parametrize("settings", [{"input_size": [64]}, {"input_size": [0, 64]}, {"padding": 0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="expected"):
        on_meta("hrnet_w32").apply_input_settings(settings)


# ------------------------------------------------------------------------------------------- all stages by position


@pytest.mark.parametrize("name", posezoo.list_models())
def test_every_argument_of_forward_works_by_position(name):
    forward = typing.get_type_hints(posezoo.model_entrypoint(name))["return"].forward
    parameters = list(inspect.signature(forward).parameters.values())
    assert parameters[2].name == "all_stages"
    assert all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("hourglass_1", {"width": 8}),
        ("cpm_9x9_4s", {"width": 4, "num_stages": 2}),
        ("hrnet_w32", {"width": 4}),
        ("martinez", {"linear_size": 8}),
    ],
)
def test_the_exporter_of_traced_graphs_runs(name, kwargs, tmp_path):
    """It passes the defaults of all arguments by position."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model = posezoo.create(name, **kwargs).eval()
    given = model.example_input(1)[..., :64, :64].contiguous()
    path = str(tmp_path / "model.onnx")
    torch.onnx.export(model, (given,), path, dynamo=False)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: given.numpy()})
    with torch.no_grad():
        expected = model(given)
    assert_close(torch.from_numpy(output), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


# ------------------------------------------------------------------------------------- DeepPose's later stages


def cascade():
    """Three stages whose predictions vary with the image, and whose poses keep a size."""
    torch.manual_seed(0)
    model = DeepPose(num_stages=3, widths=NARROW, sigma=1.0).eval().double()
    for parameter in model.trunks.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
    with torch.no_grad():
        for number, head in enumerate(model.heads):
            head.fc.weight.normal_(std=0.002)
            head.fc.bias.copy_(0.3 * torch.randn(28) if number == 0 else 0.05 * torch.randn(28))
    return model


def test_a_photograph_of_the_inputs_size_is_cropped_as_by_forward():
    """Squares that magnify are bilinear in both, up to the border, beyond which the photograph
    ends.
    """
    model = cascade()
    image = torch.rand(3, 220, 220, dtype=torch.float64)
    whole = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]], dtype=torch.float64)
    for flip in (False, True):
        keypoints, scores = model.predict_from_image(image, whole, flip=flip)
        expected, _ = model.predict(image[None], flip=flip)
        assert_close(keypoints, expected, rtol=0, atol=0.3)
        assert scores.shape == (1, 14)


def test_later_stages_crop_at_full_resolution(monkeypatch):
    """Stripes four pixels wide: gone in a crop of 220 x 220, still there in the squares of the
    photograph.
    """
    model = cascade()
    contrast = []
    run = DeepPose.run
    monkeypatch.setattr(
        DeepPose,
        "run",
        lambda self, stage, crops: (contrast.append((stage, crops.std(dim=-1).mean())), run(self, stage, crops))[1],
    )
    monkeypatch.setattr("posezoo.models.deeppose.PEOPLE_TOGETHER", 2)
    image = torch.zeros(3, 1760, 1760, dtype=torch.float64)
    image[..., (torch.arange(1760) // 4) % 2 == 1] = 1
    box = torch.tensor([[0.0, 0, 1760, 1760]], dtype=torch.float64)
    matrices = crop_matrix(*box_to_crop(box, (220, 220), padding=1.0, keep_aspect=False), (220, 220), keep_aspect=False)
    matrices = matrices.expand(3, -1, -1)
    keypoints, _ = model.predict_from_image(image, matrices)
    assert keypoints.shape == (3, 14, 2)
    later = [float(value) for stage, value in contrast if stage > 1]
    assert len(later) == 4  # two stages, two people and then one
    reduced = crop(image, matrices[:1], (220, 220))
    assert reduced.std(dim=-1).mean() < 0.02
    contrast.clear()
    model.predict(reduced)
    assert min(later) > 3 * max(float(value) for stage, value in contrast if stage > 1)


def test_people_keep_their_places_in_the_photograph():
    """Two crops of one photograph are predicted as each alone; a mirrored photograph has mirrored
    keypoints.
    """
    model = cascade()
    image = torch.rand(3, 500, 700, dtype=torch.float64)
    boxes = torch.tensor([[50.0, 40, 350, 440], [300, 100, 650, 480]], dtype=torch.float64)
    matrices = crop_matrix(
        *box_to_crop(boxes, (220, 220), padding=1.5, keep_aspect=False), (220, 220), keep_aspect=False
    )
    together, _ = model.predict_from_image(image, matrices)
    for number in range(2):
        assert_close(model.predict_from_image(image, matrices[number : number + 1])[0][0], together[number])
    flat = torch.full((3, 50, 50), 0.5, dtype=torch.float64)
    assert model.predict_from_image(flat, matrices[:0])[0].shape == (0, 14, 2)
