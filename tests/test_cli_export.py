"""`posezoo export`."""

import pytest
import torch
from command_line import fails, run

import posezoo


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A lifter and an image network on disk."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    posezoo.create("martinez", num_blocks=1, linear_size=16).save_pretrained(folder / "lifter")
    posezoo.create("cpm_9x9_4s", width=4, num_stages=2, num_keypoints=9).save_pretrained(folder / "cpm")
    return f"local-dir:{folder / 'lifter'}", f"local-dir:{folder / 'cpm'}"


def test_onnx(capsys, tmp_path, models):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = tmp_path / "out" / "lifter.onnx"
    code, out, _ = run(capsys, "export", models[0], "--out", path, "--decode", "--frames", "2")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith(f"{path}: 0.0 MB")
    assert [" ".join(line.split()) for line in lines[1:4]] == [
        "input keypoints (batch, 2, 17, 2)",
        "output pose3d (batch, 2, 17, 3)",
        "output scores (batch, 2, 17)",
    ]
    assert float(lines[4].split()[1]) < 1e-5
    keypoints = 1000 * torch.rand(3, 2, 17, 2)
    pose3d, _ = runtime.InferenceSession(path).run(None, {"keypoints": keypoints.numpy()})
    expected, _ = posezoo.create(models[0], pretrained=True).predict(keypoints)
    torch.testing.assert_close(torch.from_numpy(pose3d), expected, rtol=1e-4, atol=1e-4)


def test_program(capsys, tmp_path, models):
    path = tmp_path / "cpm.pt2"
    code, out, _ = run(capsys, "export", models[1], "--out", path, "--size", "64", "72", "--batch", "1")
    assert code == 0
    assert "image (1, 3, 64, 72)" in out
    assert "heatmaps (1, 10, 8, 9)" in out
    image = torch.rand(1, 3, 64, 72)
    with torch.no_grad():
        expected = posezoo.create(models[1], pretrained=True)(image)
        torch.testing.assert_close(torch.export.load(path).module()(image), expected)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--out", "model.tflite"), r"ends in .onnx or .pt2, got model.tflite"),
        (("--out", "model.pt2", "--size", "64", "60"), "multiples of 8"),
        (("--out", "model.pt2", "--frames", "3"), "single images"),
        (("--out", "model.pt2", "--batch", "0"), "1 or more"),
    ],
)
def test_errors(capsys, tmp_path, monkeypatch, models, arguments, error):
    monkeypatch.chdir(tmp_path)
    assert error in fails(capsys, "export", models[1], *arguments)
    assert not list(tmp_path.iterdir())


def test_random_weights_are_not_exported(capsys, tmp_path):
    path = tmp_path / "model.onnx"
    assert "nobody has published weights for tompson_flic" in fails(capsys, "export", "tompson_flic", "--out", path)
    assert not path.exists()
