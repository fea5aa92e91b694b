"""Files for other runtimes. That every network of the zoo converts is in
tests/models/test_contract.py.
"""

import copy
import json
import sys

import fresh_process
import pytest
import torch
from torch.testing import assert_close

import posezoo
from posezoo.export import METADATA_FILE, to_onnx, to_pt2
from posezoo.weights import Weights


@pytest.fixture(scope="module")
def lifter():
    """The network that converts fastest, in metres."""
    torch.manual_seed(0)
    return posezoo.create("martinez", num_blocks=1, linear_size=16)


@pytest.fixture
def converts_at_once(lifter, runtime, monkeypatch, cache={}):  # noqa: B006  # kept between tests
    """The conversion of the lifter, which takes a second, is done only once."""
    convert = torch.onnx.export

    def export(*arguments, **options):
        if not cache:
            cache["lifter"] = convert(*arguments, **options)
        return cache["lifter"]

    monkeypatch.setattr(torch.onnx, "export", export)


@pytest.fixture
def heatmaps():
    torch.manual_seed(0)
    return posezoo.create("cpm_9x9_4s", width=4, num_stages=2, num_keypoints=9)


@pytest.fixture
def runtime():
    pytest.importorskip("onnxscript")
    return pytest.importorskip("onnxruntime")


def run(session, **inputs):
    return [torch.from_numpy(answer) for answer in session.run(None, {k: v.numpy() for k, v in inputs.items()})]


def metadata_of(path):
    extra = {METADATA_FILE: ""}
    torch.export.load(path, extra_files=extra)
    return json.loads(extra[METADATA_FILE])


# ---------------------------------------------------------------------------------------------------------------------
# ONNX


@pytest.mark.parametrize("decode", [False, True])
def test_onnx_takes_any_number_of_inputs(lifter, runtime, tmp_path, decode):
    file = to_onnx(lifter, tmp_path / "deep" / "lifter.onnx", decode=decode)
    assert file.path == tmp_path / "deep" / "lifter.onnx"
    assert 0 < file.difference < 1e-5
    session = runtime.InferenceSession(file.path)
    assert {entry.name: tuple(entry.shape) for entry in session.get_inputs()} == file.inputs
    assert {entry.name: tuple(entry.shape) for entry in session.get_outputs()} == file.outputs
    assert file.inputs == {"keypoints": ("batch", 1, 17, 2)}
    assert list(file.outputs) == (["pose3d", "scores"] if decode else ["pose3d"])
    network = copy.deepcopy(lifter).eval()
    for batch in (1, 2, 7):
        keypoints = network.example_input(batch)
        with torch.no_grad():
            expected = network.predict(keypoints) if decode else (network(keypoints),)
        for answer, theirs in zip(run(session, keypoints=keypoints), expected, strict=True):
            assert_close(answer, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


def test_onnx_of_fixed_frames_and_batch_has_metadata(runtime, tmp_path):
    torch.manual_seed(0)
    model = posezoo.create("martinez", num_blocks=1, linear_size=16)
    model.weights = Weights(license="CC-BY-4.0", data="somebody's", architecture="martinez")
    file = to_onnx(model, tmp_path / "lifter.onnx", batch=4, frames=3)
    assert file.inputs == {"keypoints": (4, 3, 17, 2)}
    assert file.outputs == {"pose3d": (4, 3, 17, 3)}
    session = runtime.InferenceSession(file.path)
    assert session.get_inputs()[0].shape == [4, 3, 17, 2]
    said = session.get_modelmeta()
    assert said.producer_name == "posezoo"
    said = said.custom_metadata_map
    assert said["architecture"] == "martinez"
    assert said["license"] == "CC-BY-4.0"
    assert json.loads(said["weights"])["data"] == "somebody's"
    assert json.loads(said["keypoints"]) == list(model.skeleton.keypoints)
    assert json.loads(said["inputs"])["keypoints"]["values"].startswith("(x, y) pixels")
    assert posezoo.__file__.encode() not in file.path.read_bytes()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda answer: answer * 1.01, r"differs from the model in \d\d % of pose3d"),
        (lambda answer: answer * float("nan"), "differs from the model in 100 %"),
        (lambda answer: answer[:1], r"outputs pose3d of shape \(1, 1, 17, 3\) for 3 inputs"),
    ],
    ids=["a percent", "not a number", "one answer for all"],
)
def test_a_file_with_other_outputs_is_not_written(
    lifter, runtime, converts_at_once, tmp_path, monkeypatch, wrong, error
):
    """The file that was there before stays, and nothing is left beside it."""

    class Session(runtime.InferenceSession):
        def run(self, *arguments):
            return [wrong(answer) for answer in super().run(*arguments)]

    monkeypatch.setattr(runtime, "InferenceSession", Session)
    path = tmp_path / "lifter.onnx"
    path.write_text("before")
    with pytest.raises(ValueError, match=error):
        to_onnx(lifter, path)
    assert [file.name for file in tmp_path.iterdir()] == ["lifter.onnx"]
    assert path.read_text() == "before"


def test_without_a_runtime_nothing_is_compared(lifter, converts_at_once, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    file = to_onnx(lifter, tmp_path / "lifter.onnx")
    assert file.difference is None
    assert file.path.is_file()


def test_missing_parts_are_named(lifter, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install 'posezoo\[onnx\]'"):
        to_onnx(lifter, tmp_path / "lifter.onnx")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------------------------
# torch.export


def test_a_program_runs_without_posezoo(heatmaps, tmp_path):
    file = to_pt2(heatmaps, tmp_path / "cpm.pt2", decode=True, size=(64, 72))
    assert file.inputs == {"image": ("batch", 3, 64, 72)}
    assert file.outputs == {"keypoints": ("batch", 9, 2), "scores": ("batch", 9)}
    assert file.difference == 0
    image = torch.rand(5, 3, 64, 72)
    torch.save([image, *heatmaps.eval().predict(image)], tmp_path / "expected.pt")
    program = f"""
import sys, torch
sys.modules["posezoo"] = None
image, *expected = torch.load({str(tmp_path / "expected.pt")!r})
answers = torch.export.load({str(file.path)!r}).module()(image)
for ours, theirs in zip(answers, expected, strict=True):
    torch.testing.assert_close(ours, theirs)
"""
    fresh_process.run(program)


def test_images_are_as_large_as_in_training(heatmaps, tmp_path):
    heatmaps.weights = Weights(input_size=(72, 64), license="MIT", architecture="cpm_9x9_4s")
    file = to_pt2(heatmaps, tmp_path / "cpm.pt2")
    assert file.inputs == {"image": ("batch", 3, 72, 64)}
    assert file.outputs == {"heatmaps": ("batch", 10, 9, 8)}
    said = metadata_of(file.path)
    assert said["license"] == "MIT"
    assert said["inputs"] == {"image": {"shape": ["batch", 3, 72, 64], "values": "RGB in [0, 1]"}}


def test_a_trunk_is_exported_with_features(tmp_path):
    model = posezoo.create("cpm_9x9_4s", width=4, features_only=True)
    file = to_pt2(model, tmp_path / "trunk.pt2", size=(64, 64))
    assert file.outputs == {"features": ("batch", 4, 8, 8)}
    assert metadata_of(file.path)["license"] == "not stated"


def test_export_does_not_change_the_model(heatmaps, tmp_path):
    """Whatever its mode, type and frozen parts; so does the stream of random numbers."""
    heatmaps.train().bfloat16().trunk.requires_grad_(False)
    before = {key: value.clone() for key, value in heatmaps.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    file = to_pt2(heatmaps, tmp_path / "cpm.pt2", size=(64, 64))
    assert torch.equal(torch.rand(3), expected)
    assert heatmaps.training
    assert [p.requires_grad for p in heatmaps.trunk.parameters()] == [False] * len(list(heatmaps.trunk.parameters()))
    after = heatmaps.state_dict()
    assert all(after[key].dtype == value.dtype and torch.equal(after[key], value) for key, value in before.items())
    program = torch.export.load(file.path).module()
    assert program(torch.rand(2, 3, 64, 64)).dtype == torch.float32


def test_a_compiled_model_is_exported_as_its_original(lifter, tmp_path):
    network = copy.deepcopy(lifter)
    expected = copy.deepcopy(lifter).eval()
    network.compile(backend="eager")
    keypoints = network.example_input(2)
    program = torch.export.load(to_pt2(network, tmp_path / "lifter.pt2").path).module()
    with torch.no_grad():
        assert_close(program(keypoints), expected(keypoints))


@pytest.mark.parametrize(
    ("name", "kwargs", "options", "error"),
    [
        ("cpm_9x9_4s", {"width": 4}, {"frames": 3}, "frames: cpm_9x9_4s takes single images"),
        ("cpm_9x9_4s", {"width": 4}, {"size": (64, 60)}, "multiples of 8"),
        ("cpm_9x9_4s", {"width": 4}, {"size": (64, 0)}, r"size: expected \(H, W\)"),
        ("cpm_9x9_4s", {"width": 4}, {"size": (64,)}, r"size: expected \(H, W\)"),
        ("cpm_9x9_4s", {"width": 4}, {"batch": 0}, "batch: expected a whole number, 1 or more"),
        ("cpm_9x9_4s", {"width": 4, "num_keypoints": 0}, {"decode": True}, "no head"),
        ("martinez", {"linear_size": 8}, {"size": (64, 64)}, "size: martinez takes keypoints"),
        ("martinez", {"linear_size": 8}, {"frames": 0}, "frames: expected a whole number, 1 or more"),
        ("temporal_conv_27", {"channels": 8}, {"frames": 26}, "at least 27 frames"),
    ],
)
def test_mismatches_are_refused(tmp_path, name, kwargs, options, error):
    model = posezoo.create(name, **kwargs)
    with pytest.raises(ValueError, match=error):
        to_pt2(model, tmp_path / "model.pt2", **options)
    assert not list(tmp_path.iterdir())


def test_only_models_of_the_zoo(tmp_path):
    with pytest.raises(ValueError, match=r"expected one made by posezoo\.create, got Linear"):
        to_pt2(torch.nn.Linear(2, 2), tmp_path / "model.pt2")
