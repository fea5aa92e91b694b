"""What every registered model promises (docs/add_a_model.md). A new model gets all of it by
registering.
"""

import contextlib
import copy
import functools
import inspect
import json
import re
import shutil
import typing

import pytest
import torch
from torch.testing import assert_close

import posezoo
from posezoo.geometry import flip_keypoints


def model_class(name):
    return typing.get_type_hints(posezoo.model_entrypoint(name.removeprefix("small ")))["return"]


@functools.cache
def count_parameters(name):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in posezoo.create(name).parameters())


def family(name):
    """Return the class, and the name without its sizes: networks that differ in more than size."""
    return model_class(name), re.sub(r"_?w?\d+s?(?=_|$)", "", name)


def slow(names):
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


def smallest_of_each(kind):
    names = sorted(posezoo.list_models(), key=count_parameters)
    return list({kind(name): f"small {name}" for name in reversed(names)}.values())


# arguments that make a network quick without taking a layer of its class away; of VGG16's three the attention has it
SMALL = {
    "CornerNetHourglass": {"width": 32},
    "CPM": {"width": 16},
    "DeepPose": {"widths": [8, 16, 16, 16, 16, 32, 32]},
    "DeepPoseRegression": {"backbone": "resnet18"},
    "HRNet": {"width": 4},
    "IEF": {"num_steps": 2},
    "Martinez": {"linear_size": 64},
    "PoseCNN": {"backbone": "test_resnet.r160_in1k", "neck_width": 8, "fc_width": 32},
    "PoseLSTM": {"backbone": "test_resnet.r160_in1k", "neck_width": 8, "hidden": 16},
    "RPSM": {"size": [64, 64], "width": 16, "hidden": 32},
    "Seq2Seq3D": {"hidden_size": 64},
    "SimpleBaseline": {"deconv_width": 32},
    "StackedHourglass": {"width": 32},
    "TemporalConv": {"channels": 64},
    "Tompson": {"width": 16, "fc_width": 32},
}
NAMES = posezoo.list_models()
QUICK = smallest_of_each(model_class)
FAMILIES = [*dict.fromkeys([*QUICK, *smallest_of_each(family)])]
# what widths and depths may break runs with `-m slow` on all networks, as large as they are published
PUBLISHED = [*FAMILIES, *slow(NAMES)]
# what they cannot break, on one small network of each class, with `-m slow` of each family
CLASSES = [*QUICK, *slow(name for name in FAMILIES if name not in QUICK)]


# one class of each kind of computation; the others are several seconds each and run with `-m slow`
EXPORTED = (
    "CPM", "DeepPose", "DeepPoseRegression", "Martinez", "PoseAttentionLSTM", "PoseLSTM", "RPSM", "Seq2Seq3D",
    "StackedHourglass", "TemporalConv", "Tompson",
)  # fmt: skip
COMPILED = ("CPM", "DeepPose", "DeepPoseRegression", "PoseLSTM", "RPSM", "Seq2Seq3D", "TemporalConv", "Tompson")
CONVERTED = ("CPM", "Martinez", "TemporalConv", "Tompson")  # to ONNX, a second for every twenty layers


def only(classes):
    """One small network of each of these classes; with `-m slow` of each family."""
    names = [name for name in QUICK if model_class(name).__name__ in classes]
    return [*names, *slow(name for name in FAMILIES if name not in names)]


def of_kind(kind, names=NAMES):
    """Return the names, or parameters, of models whose input is an image, keypoints or a clip."""
    return [name for name in names if model_class(getattr(name, "values", [name])[0]).input_kind == kind]


# put above a test of the fixture `model`
AS_PUBLISHED = pytest.mark.parametrize("model", PUBLISHED, indirect=True)
FOR_IMAGES = pytest.mark.parametrize("model", of_kind("image", FAMILIES), indirect=True)
FOR_PUBLISHED_IMAGES = pytest.mark.parametrize("model", of_kind("image", PUBLISHED), indirect=True)
FOR_KEYPOINTS = pytest.mark.parametrize("model", of_kind("keypoints", CLASSES), indirect=True)
FOR_PUBLISHED_KEYPOINTS = pytest.mark.parametrize("model", of_kind("keypoints", PUBLISHED), indirect=True)


def create(name, **kwargs):
    small = SMALL.get(model_class(name).__name__, {}) if name.startswith("small ") else {}
    return posezoo.create(name.removeprefix("small "), **small, **kwargs)


def build(name, **kwargs):
    """A model with weights as training leaves them: no zeros that hide a part of the network."""
    torch.manual_seed(0)
    model = create(name, **kwargs)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d) and module.affine:
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight)
    model.prepare = False  # compared in tests/test_prepared.py
    return model.eval()


def small_input(model, batch):
    """The model's example input, cut down where the model takes other sizes."""
    torch.manual_seed(1)
    example = model.example_input(batch)
    assert example.shape[0] == batch
    if model.input_kind != "image":
        return example
    side = smallest_side(model.architecture, json.dumps(model.kwargs))
    return example[..., :side, :side].contiguous()


@functools.cache
def smallest_side(name, kwargs):
    """Return the smaller of two sides of an image that the network takes, or None."""
    with torch.device("meta"):
        model = posezoo.create(name, **json.loads(kwargs)).eval()
    for side in (64, 128):
        with contextlib.suppress(ValueError), torch.no_grad():
            model(torch.rand(1, 3, side, side, device="meta"))
            return side
    return None


def predicted_shape(model, given):
    """Keypoints in the image, or one pose in space per frame."""
    if model.input_kind == "image":
        return (len(given), model.num_keypoints, 2)
    return (*given.shape[:2], model.num_keypoints, 3)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return build(request.param)


def loss_of(model, image):
    return sum(stage.square().mean() for stage in model(image, all_stages=True))


@pytest.mark.parametrize("name", NAMES)
def test_constructor_takes_keywords_that_fit_into_json(name):
    parameters = list(inspect.signature(model_class(name).__init__).parameters.values())[1:]
    assert parameters
    for parameter in parameters:
        assert parameter.kind is parameter.KEYWORD_ONLY, parameter
        json.dumps(parameter.default)


@pytest.mark.parametrize("name", NAMES)
def test_documents_itself(name):
    assert posezoo.model_entrypoint(name).__doc__
    cls = model_class(name)
    module = inspect.getmodule(cls)
    for part in ("In ", "Out ", "Departures"):
        assert part in module.__doc__, f"{module.__name__} lacks the part {part!r} of its docstring"
    for method in ("forward", "forward_features", "decode", "predict", "example_input", "reset_head"):
        assert getattr(cls, method).__doc__, f"{cls.__name__}.{method}"


@AS_PUBLISHED
def test_forward_is_one_tensor_and_all_stages_end_in_it(model):
    image = small_input(model, 2)
    with torch.no_grad():
        output = model(image)
        stages = model(image, all_stages=True)
    assert isinstance(output, torch.Tensor)
    assert output.shape[0] == 2
    assert torch.isfinite(output).all()
    assert isinstance(stages, tuple)
    assert all(stage.shape[:2] == output.shape[:2] and stage.ndim == output.ndim for stage in stages)
    assert_close(stages[-1], output, rtol=0, atol=0)


def test_forward_returns_the_same_type_in_training(model):
    image = small_input(model, 2)
    trained = copy.deepcopy(model).train()
    with torch.no_grad():
        assert isinstance(trained(image), torch.Tensor)
        assert len(trained(image, all_stages=True)) == len(model(image, all_stages=True))


@FOR_PUBLISHED_IMAGES
def test_decode_and_predict_stay_in_the_image(model):
    image = small_input(model, 2)
    height, width = image.shape[-2:]
    with torch.no_grad():
        output = model(image)
        decoded = model.decode(output)
    for keypoints, scores in (decoded, model.predict(image), model.predict(image, flip=True)):
        assert keypoints.shape == (2, model.num_keypoints, 2)
        assert scores.shape == (2, model.num_keypoints)
        assert torch.isfinite(keypoints).all()
        assert torch.isfinite(scores).all()
        if output.ndim == 4:  # heatmaps end where the image does, a regressed keypoint may lie outside
            assert (keypoints >= 0).all()
            assert (keypoints <= keypoints.new_tensor([width, height])).all()
    # a fine map without a positive value has no peak: Tompson's `predict` knows the window, `decode` only the map
    found = decoded[1] > 0 if hasattr(model, "masked_heatmaps") else torch.ones_like(decoded[1], dtype=torch.bool)
    for predicted, from_maps in zip(model.predict(image), decoded, strict=True):
        assert_close(predicted[found], from_maps[found])
    assert not model.predict(image)[0].requires_grad


@FOR_IMAGES
def test_flip_averaging_is_symmetric(model):
    """With flip averaging, keypoints of a mirrored image, mirrored back, are those of the image,
    within a cell.
    """
    image = small_input(model, 2)
    keypoints, scores = model.predict(image, flip=True)
    mirrored, mirrored_scores = model.predict(image.flip(-1), flip=True)
    flip_index = model.skeleton.flip_index
    back = flip_keypoints(mirrored, image.shape[-1], flip_index)
    found = scores > 0  # a map without a positive value has its keypoint at (0, 0)
    apart = (back - keypoints).abs().amax(dim=-1)[found]
    near = apart <= (2 if model.flip_shift else 1) * (model.stride or 0) + 1e-3 * float(keypoints.abs().max())
    # a pixel between the default centres of CPM, and a cell between shifted maps, decide where two cells are as high
    least = 0.6 if model.flip_shift or type(model).__name__ == "CPM" else 1
    assert near.numel() == 0 or near.float().mean() >= least
    swapped = mirrored_scores[:, list(flip_index)]
    assert_close(swapped, scores, rtol=0.2, atol=0.1 * float(scores.abs().max()))


@AS_PUBLISHED
def test_every_parameter_receives_a_gradient(model):
    trained = copy.deepcopy(model).train()
    torch.manual_seed(2)  # of dropout
    loss_of(trained, small_input(model, 2)).backward()
    missing = [name for name, p in trained.named_parameters() if p.grad is None or not p.grad.any()]
    assert not missing
    assert all(torch.isfinite(p.grad).all() for p in trained.parameters())


def test_predictions_do_not_depend_on_the_rest_of_the_batch(model):
    """In double precision: where a later stage takes an earlier one's output, rounding grows."""
    image = small_input(model, 3).double()
    network = copy.deepcopy(model).double()
    with torch.no_grad():
        together = network(image)
        alone = torch.cat([network(one[None]) for one in image])
    assert_close(together, alone, rtol=1e-7, atol=1e-7 * float(together.abs().max()))


@AS_PUBLISHED
def test_empty_batch(model):
    image = small_input(model, 1)[:0]
    keypoints, scores = model.predict(image)
    assert keypoints.shape == predicted_shape(model, image)
    assert scores.shape == keypoints.shape[:-1]


@pytest.mark.parametrize("name", PUBLISHED)
def test_saved_and_loaded_is_the_same_to_the_bit(name, tmp_path):
    model = build(name, num_keypoints=5)
    model.save_pretrained(tmp_path)
    loaded = posezoo.create(f"local-dir:{tmp_path}", pretrained=True)
    assert type(loaded) is type(model)
    assert not loaded.training
    assert loaded.architecture == name.removeprefix("small ")
    assert loaded.kwargs == model.kwargs
    state = loaded.state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(state[key], value), key


@pytest.mark.parametrize("name", PUBLISHED)
def test_reset_head_changes_the_head_and_nothing_else(name):
    model = build(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    image = small_input(model, 1)
    with torch.no_grad():
        features = model.forward_features(image)
    model.reset_head(5, ["left_a", "right_a", "left_b", "right_b", "c"])
    assert model.num_keypoints == 5
    assert model.kwargs["num_keypoints"] == 5
    assert model.predict(image, flip=True)[0].shape == predicted_shape(model, image)
    heads = tuple(f"{key}." for key in model.head_keys)
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items() if not key.startswith(heads))
    model.reset_head(7)
    assert model.skeleton is None
    with pytest.raises(ValueError, match="flip=False"):
        model.predict(image, flip=True)
    model.reset_head(0)
    with torch.no_grad():
        assert_close(model(image), features, rtol=0, atol=0)
    with pytest.raises(ValueError, match="num_keypoints"):
        model.reset_head(-1)


@pytest.mark.parametrize("name", CLASSES)
def test_features_only_is_the_trunk(name):
    model = create(name, features_only=True).eval()
    image = small_input(model, 1)
    with torch.no_grad():
        assert_close(model(image), model.forward_features(image))
        axis = {"image": 1, "clip": 2, "keypoints": -1}[model.input_kind]
        assert model(image).shape[axis] == model.num_features


@pytest.mark.parametrize("name", CLASSES)
def test_keypoints_and_skeleton_are_arguments(name):
    assert create(name, num_keypoints=16, skeleton="mpii16").skeleton.name == "mpii16"
    assert create(name, num_keypoints=21).skeleton is None
    with pytest.raises(ValueError, match="num_keypoints=16"):
        create(name, num_keypoints=21, skeleton="mpii16")


@pytest.mark.parametrize("name", CLASSES)
def test_gradient_checkpointing_changes_nothing(name):
    plain = build(name).train()
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    image = small_input(plain, 2)
    losses = []
    for network in (plain, saving):
        torch.manual_seed(2)  # of dropout
        losses.append(loss_of(network, image))
    assert_close(losses[1], losses[0], rtol=0, atol=0)
    for loss in losses:
        loss.backward()
    for (key, ours), theirs in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert_close(theirs.grad, ours.grad, rtol=1e-4, atol=1e-5 * float(ours.grad.abs().max()), msg=key)


@pytest.mark.parametrize("name", only(EXPORTED))
def test_export_with_any_batch_agrees_with_eager(name):
    model = build(name)
    batch = torch.export.Dim("batch", min=1, max=1024)
    exported = torch.export.export(model, (small_input(model, 2),), dynamic_shapes={model.input_kind: {0: batch}})
    for count in (1, 3):
        image = small_input(model, count)
        with torch.no_grad():
            expected = model(image)
            assert_close(exported.module()(image), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", only(CONVERTED))
def test_onnx_with_any_batch_agrees_with_eager(name, tmp_path):
    """Down to the keypoints; `to_onnx` itself compares one input and three."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = build(name)
    if model_class(name).__name__ == "DeepPose":  # untrained, a stage makes kilometres of the pixels before it
        with torch.no_grad():
            for parameter in model.heads.parameters():
                parameter *= 0.03
    image = small_input(model, 2)
    size = None if model.input_kind == "keypoints" else image.shape[-2:]
    file = posezoo.export.to_onnx(model, tmp_path / "model.onnx", decode=True, size=size)
    session = runtime.InferenceSession(file.path, providers=["CPUExecutionProvider"])
    answers = session.run(None, {model.input_kind: image.numpy()})
    with torch.no_grad():
        expected = model.decode(model(image))
    for ours, theirs in zip(expected, answers, strict=True):
        # where two cells are as high, rounding decides between them
        near = (ours - torch.from_numpy(theirs)).abs() <= 1e-3 * ours.abs().max()
        assert near.float().mean() > 0.95


@pytest.mark.parametrize("name", only(COMPILED))
def test_compile_agrees_with_eager(name):
    """Captured as one graph; the default backend, which needs a C++ compiler, is a slow test below."""
    model = build(name)
    image = small_input(model, 2)
    with torch.no_grad():
        expected = model(image)
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        assert_close(compiled(image), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    torch.compiler.reset()


def test_bfloat16_autocast_runs(model):
    image = small_input(model, 2)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(image)
        keypoints, _ = model.predict(image)
    assert torch.isfinite(output.float()).all()
    assert keypoints.dtype == torch.float32  # 256 and more pixels do not fit into bfloat16's 8 bits


def test_half_the_model_in_bfloat16_runs(model):
    network = copy.deepcopy(model).bfloat16()
    keypoints, _ = network.predict(small_input(model, 1).bfloat16())
    assert torch.isfinite(keypoints).all()


@pytest.mark.parametrize("model", of_kind("image", QUICK), indirect=True)
@pytest.mark.parametrize(
    ("spoil", "fix"),
    [
        (lambda image: image[0], r"image\[None\]"),
        (lambda image: image[:, :1], "repeat"),
        (lambda image: image.movedim(1, -1), "movedim"),
        (lambda image: (image * 255).to(torch.uint8), r"float\(\) / 255"),
        (lambda image: image[..., :-1], "resize or pad|sizes that work"),
        (lambda image: image[..., :0], "resize or pad|sizes that work"),
        (lambda image: image.numpy(), "posezoo.predict"),
    ],
    ids=["no batch", "grey", "channels last", "uint8", "odd width", "no width", "numpy"],
)
def test_errors_about_inputs_name_the_fix(model, spoil, fix):
    with pytest.raises(ValueError, match=fix):
        model(spoil(small_input(model, 1)))


@FOR_IMAGES
def test_normalisation_travels_and_can_be_switched_off(model):
    assert {"normalize.mean", "normalize.std"} <= set(model.state_dict())
    network = copy.deepcopy(model)
    image = small_input(model, 1)
    with torch.no_grad():
        expected = model(image)
        normalised = network.normalize(image)
        network.normalize.disable()
        assert_close(network(normalised), expected)


def test_timm_builds_layer_wise_learning_rates(model):
    from timm.optim import param_groups_layer_decay

    groups = param_groups_layer_decay(model, 0.05, model.no_weight_decay(), layer_decay=0.5)
    scales = {group["lr_scale"] for group in groups}
    assert len(scales) > 1
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    head = {id(p) for name, p in model.named_parameters() if name.startswith(model.head_keys)}
    assert all(group["lr_scale"] == 1 for group in groups if head & {id(p) for p in group["params"]})


class Adapter(torch.nn.Module):
    """What LoRA puts in place of a layer: the layer, and beside it a narrow path through the same
    places.
    """

    def __init__(self, layer):
        super().__init__()
        self.base_layer = layer
        if isinstance(layer, torch.nn.Linear):
            narrow, wide = torch.nn.Linear(layer.in_features, 2, bias=False), torch.nn.Linear(2, layer.out_features)
        else:
            places = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
            kind = torch.nn.Conv2d if isinstance(layer, torch.nn.Conv2d) else torch.nn.Conv1d
            # of the layer's own class, which may pad in its own way
            narrow, wide = type(layer)(layer.in_channels, 2, *places, bias=False), kind(2, layer.out_channels, 1)
        self.narrow, self.wide = narrow, wide

    weight = property(lambda self: self.base_layer.weight)  # as peft's have
    bias = property(lambda self: self.base_layer.bias)

    def forward(self, x):
        return self.base_layer(x) + self.wide(self.narrow(x))


@pytest.mark.parametrize("name", CLASSES)
def test_adapters_around_layers_are_used(name):
    """In eval mode too: nothing goes past a layer to its weights."""
    model = build(name).requires_grad_(False)
    kinds = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d)
    found = [(key, layer) for key, layer in model.named_modules() if isinstance(layer, kinds)]
    # grouped convolutions, and those that are told at each call how to step, take no adapter
    plain = [
        (key, layer)
        for key, layer in found
        if getattr(layer, "groups", 1) == 1
        and (len(inspect.signature(layer.forward).parameters) == 1 or layer.kernel_size == (1,))
    ]
    assert len(plain) > 2
    for key, layer in plain:
        parent, _, last = key.rpartition(".")
        setattr(model.get_submodule(parent), last, Adapter(layer))
    loss_of(model, small_input(model, 2)).backward()
    learning = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(learning) == 3 * len(plain)
    assert not [key for key, parameter in learning.items() if parameter.grad is None or not parameter.grad.any()]


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("name", QUICK)
def test_compile_with_the_default_backend_agrees_with_eager(name):
    model = build(name)
    image = small_input(model, 2)
    with torch.no_grad():
        expected = model(image)
        assert_close(torch.compile(model)(image), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    torch.compiler.reset()


def has_heatmaps(name):
    if model_class(name).input_kind != "image":
        return False
    with torch.device("meta"):
        model = create(name)
        return model.eval()(model.example_input()).ndim == 4


# regression, first steps that lead nowhere at this rate, answers to the whole cell: such a test is in their own files
OVERFITS_ELSEWHERE = ("CPM", "Tompson")
HEATMAPS = [name for name in QUICK if model_class(name).__name__ not in OVERFITS_ELSEWHERE and has_heatmaps(name)]


@pytest.mark.slow
@pytest.mark.parametrize("name", HEATMAPS)
def test_overfits_two_drawn_dots(name):
    """Two images with a dot each: a network that learns at all puts the keypoint on it, within a
    pixel.
    """
    from posezoo.heatmaps import encode
    from posezoo.losses import heatmap_mse

    torch.manual_seed(0)
    name = name.removeprefix("small ")
    narrow = {"width": 16} if "width" in inspect.signature(model_class(name).__init__).parameters else {}
    model = posezoo.create(name, num_keypoints=1, **narrow).train()
    dots = torch.tensor([[[40.0, 24.0]], [[80.0, 100.0]]])
    image, _ = encode(dots, size=(128, 128), stride=1, sigma=4, method="gaussian")
    image = image.expand(-1, 3, -1, -1)
    ((target, _),) = model.encode_targets(dots, None, model(image, all_stages=True)[-1:], method="gaussian")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(120):
        loss = sum(heatmap_mse(stage, target) for stage in model(image, all_stages=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    keypoints, _ = model.predict(image)  # in train mode: two images say little about running statistics
    assert (keypoints - dots).norm(dim=-1).max() < 1.5


# ---------------------------------------------------------------------------------------------------------------------
# Lifters: 2D keypoints of a video in, millimetres from the root out


@FOR_PUBLISHED_KEYPOINTS
def test_a_video_of_any_length_comes_out_in_3d(model):
    torch.manual_seed(3)
    window = model.example_input().shape[1]
    for frames in sorted({1, 4, window, window + 2}):
        keypoints = 1000 * torch.rand(1, frames, model.num_inputs, 2)
        with torch.no_grad():
            pose3d, scores = model.predict(keypoints)
        assert pose3d.shape == (1, frames, model.num_keypoints, 3)
        assert scores.shape == pose3d.shape[:-1]
        assert torch.isfinite(pose3d).all()
        assert (scores == 1).all()
        root = model.skeleton.index("pelvis")
        assert not pose3d[:, :, root].any()
        assert pose3d.std() > 1  # millimetres
    assert not model.predict(keypoints)[0].requires_grad


@FOR_PUBLISHED_KEYPOINTS
def test_forward_and_predict_agree(model):
    """They are equal where the network predicts every frame, elsewhere they share some poses."""
    keypoints = small_input(model, 2)
    pose3d, _ = model.predict(keypoints)
    with torch.no_grad():
        output = model(keypoints)
        decoded, _ = model.decode(output)
    assert output.shape[2:] == (model.num_keypoints, 3)
    common = [frame for frame in range(pose3d.shape[1]) if torch.allclose(pose3d[:, frame], decoded[:, -1], rtol=1e-4)]
    assert common


@FOR_KEYPOINTS
def test_flip_turns_the_pose_of_mirrored_keypoints(model):
    keypoints = small_input(model, 1)
    mirrored = model.normalize.mirror(keypoints, model.input_skeleton.flip_index)
    pose3d, _ = model.predict(keypoints, flip=True)
    turned, _ = model.predict(mirrored, flip=True)
    expected = pose3d[..., list(model.skeleton.flip_index), :] * torch.tensor([-1.0, 1.0, 1.0])
    assert_close(turned, expected, rtol=1e-4, atol=1e-4 * float(pose3d.abs().max()))
    assert not torch.allclose(pose3d, model.predict(keypoints)[0], rtol=1e-2)


@FOR_KEYPOINTS
def test_statistics_travel_and_can_be_switched_off(model, tmp_path):
    network = copy.deepcopy(model)
    torch.manual_seed(4)
    window = network.example_input().shape[1]
    keypoints = 500 + 100 * torch.randn(40, window, network.num_inputs, 2)
    pose3d = 300 * torch.randn(40, window, network.num_keypoints, 3)
    with pytest.raises(ValueError, match="take it off"):
        network.normalize.fit(keypoints, pose3d)
    root = network.skeleton.index("pelvis")
    network.normalize.fit(keypoints, pose3d - pose3d[:, :, [root]])
    expected, _ = network.predict(keypoints[:1])
    assert not torch.allclose(expected, model.predict(keypoints[:1])[0], rtol=0.1)
    network.save_pretrained(tmp_path)
    loaded = posezoo.create(f"local-dir:{tmp_path}", pretrained=True)
    assert_close(loaded.predict(keypoints[:1])[0], expected)
    with torch.no_grad():
        normalised = network.normalize(keypoints[:1])
        answer = network(keypoints[:1])
        network.normalize.disable()
        assert_close(network(normalised), answer)


@FOR_KEYPOINTS
@pytest.mark.parametrize(
    ("spoil", "fix"),
    [
        (lambda keypoints: keypoints[0], r"keypoints\[None\]"),
        (lambda keypoints: keypoints[:, 0], r"keypoints\[:, None\]"),
        (lambda keypoints: keypoints.repeat(1, 1, 1, 2)[..., :3], r"keypoints\[\.\.\., :2\]"),
        (lambda keypoints: keypoints[:, :, 1:], r"skeletons\.convert.*input_keypoints="),
        (lambda keypoints: keypoints.int(), r"keypoints\.float\(\)"),
        (lambda keypoints: keypoints[:, :0], "at least one frame"),
        (lambda keypoints: keypoints.numpy(), r"torch\.as_tensor"),
        (lambda keypoints: keypoints.where(keypoints > keypoints.min(), torch.nan), r"posezoo\.lift"),
    ],
    ids=["no batch", "no time", "scores", "16 keypoints", "int", "no frames", "numpy", "gap"],
)
@pytest.mark.parametrize("call", ["forward", "predict"])
def test_errors_about_keypoints_name_the_fix(model, spoil, fix, call):
    with pytest.raises(ValueError, match=fix):
        getattr(model, call)(spoil(small_input(model, 1)))


@pytest.mark.parametrize("name", of_kind("keypoints", QUICK))
def test_other_keypoints_in_and_out(name):
    """What goes in and what comes out are two arguments; unnamed keypoints have no root and cannot
    be mirrored.
    """
    model = create(name, num_keypoints=5, input_keypoints=9).eval()
    keypoints = model.example_input(1)
    assert keypoints.shape[2] == 9
    assert model.predict(keypoints)[0].shape[2:] == (5, 3)
    with pytest.raises(ValueError, match="flip=False"):
        model.predict(keypoints, flip=True)
    model.reset_head(4, ["left_a", "right_a", "b", "c"])
    with pytest.raises(ValueError, match=r"input_keypoints=.*flip=False"):
        model.predict(keypoints, flip=True)
    with pytest.raises(ValueError, match="input_keypoints: expected"):
        create(name, input_keypoints=0)
