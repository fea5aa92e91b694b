"""Every example runs, and training on two processes is training on one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fresh_process import launch, run_distributed
from PIL import Image
from running_examples import load_example
from torch.testing import assert_close

import posezoo

ROOT = Path(__file__).parents[1]


def test_train_heatmap_trains_stops_and_resumes(lspet, tmp_path, capsys):
    train = load_example("train_heatmap").main
    common = ["--data", str(lspet), "--train-images", "1", "8", "--val-images", "9", "12", "--size", "64", "64"]
    common += ["--batch-size", "4", "--workers", "0", "--output", str(tmp_path / "run"), "--eval-every", "1"]
    report = train([*common, "--epochs", "1"])
    assert set(report["per_joint"]) == set(posezoo.get_skeleton("lsp14").keypoints)
    assert 0 <= report["pck@0.2"] <= 1
    assert "PCK@0.2" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "progress.json").read_text())["epochs_done"] == 1

    train([*common, "--epochs", "2", "--resume"])
    said = capsys.readouterr().out
    assert "epoch 1" in said
    assert "epoch 0" not in said  # the first epoch was not run again
    model = posezoo.create(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True)
    assert model.skeleton.name == "lsp14"
    assert model.input_size == model.weights.input_size == (64, 64)  # the size of the training, not the paper's
    assert model.example_input().shape == (1, 3, 64, 64)
    assert (model.padding, model.keep_aspect) == (1.25, True)


def test_two_processes_have_the_gradients_of_one(tmp_path):
    found = []
    for processes in (1, 2):
        output = tmp_path / f"gradients_{processes}.pt"
        run_distributed(processes, ROOT / "tests" / "two_processes.py", output)
        found.append(torch.load(output))
    assert [result["processes"] for result in found] == [1, 2]
    one, two = (result["gradients"] for result in found)
    assert one.keys() == two.keys()
    assert any(gradient.any() for gradient in one.values())
    for name, gradient in one.items():
        assert_close(two[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow
def test_accelerate_launches_a_recipe_for_images(lspet, tmp_path):
    said = launch(
        ROOT / "examples" / "train_heatmap.py", "--data", lspet, "--train-images", 1, 8, "--val-images", 9, 12,
        "--size", 64, 64, "--batch-size", 2, "--workers", 0, "--output", tmp_path / "run", "--epochs", 1,
    )  # fmt: skip
    assert said.count("epoch 0: loss") == 1
    assert json.loads((tmp_path / "run" / "progress.json").read_text())["epochs_done"] == 1
    assert posezoo.create(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True).skeleton.name == "lsp14"


def test_predict_people_draws_two(tmp_path, capsys):
    output = tmp_path / "people.png"
    boxes = ["--box", "0", "0", "250", "500", "--box", "250", "0", "500", "500"]
    people = load_example("predict_people").main(
        [str(ROOT / "docs" / "images" / "astronaut.jpg"), *boxes, "--output", str(output)]
    )
    assert len(people) == 2
    with Image.open(output) as drawn, Image.open(ROOT / "docs" / "images" / "astronaut.jpg") as photo:
        changed = (np.array(drawn) != np.array(photo.convert("RGB"))).any(axis=-1)
    assert changed.shape == (512, 512)
    assert changed[:500, :250].any()
    assert changed[:500, 250:500].any()
    assert "right_ankle" in capsys.readouterr().out


def test_evaluate_prints_every_joint(lspet, capsys):
    total = load_example("evaluate").main(["--data", str(lspet), "--images", "1", "12"])
    said = capsys.readouterr().out
    assert 0 <= total <= 1
    assert all(joint in said for joint in posezoo.get_skeleton("lsp14").keypoints)
    assert "12 people" in said


def test_train_spatial_model_compares_with_the_detector_and_resumes(lspet, tmp_path, capsys):
    arguments = ["--data", str(lspet), "--train-images", "1", "8", "--val-images", "9", "12", "--size", "64", "64"]
    arguments += ["--batch-size", "4", "--workers", "0", "--epochs", "1", "--torso", "--output", str(tmp_path / "run")]
    alone, together = load_example("train_spatial_model").main(arguments)
    assert load_example("train_spatial_model").main([*arguments, "--resume"]) == [alone, together]
    assert capsys.readouterr().out.count("epoch 0: loss") == 1  # nothing was left to do
    load_example("train_spatial_model").main([*arguments, "--resume", "--epochs", "2", "--lr", "0"])
    assert alone["people"] == together["people"] == 4
    said = capsys.readouterr().out
    assert "epoch 1: loss" in said
    assert "epoch 0: loss" not in said
    assert "with the spatial model" in said
    # 15 maps of 16 x 16, the torso's among them, and displacements as large as the maps
    assert torch.load(tmp_path / "run" / "spatial_model.pt")["weight"].shape == (14, 15, 31, 31)
    together = ["--joint", "--init", str(tmp_path / "run" / "spatial_model.pt"), "--output", str(tmp_path / "joint")]
    load_example("train_spatial_model").main([*arguments, *together])
    trained = posezoo.create(f"local-dir:{tmp_path / 'joint' / 'detector'}", pretrained=True)
    detector = posezoo.create("simple_baseline_lite.lsp14_192x192", pretrained=True)
    assert not torch.equal(trained.final_layer.weight, detector.final_layer.weight)


def test_publish_checks_a_folder_before_it_uploads(tmp_path, capsys):
    main = load_example("publish").main
    network = posezoo.create("simple_baseline_lite", num_keypoints=2, skeleton=["tip", "tail"])
    folder = network.save_pretrained(tmp_path / "arrows")
    with pytest.raises(SystemExit):
        main([str(folder), "you/arrows", "--dry-run"])
    assert "does not state data, license, metrics" in capsys.readouterr().err
    network.save_pretrained(folder, data="Arrows", license="MIT", metrics={"Arrows": {"error, px": 2.0}})
    assert "license: mit" in main([str(folder), "you/arrows", "--dry-run"])


def test_the_readme_lists_every_script():
    readme = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in sorted((ROOT / "examples").glob("*.py")) if f"`{path.name}`" not in readme] == []


def test_no_script_changes_the_search_path():
    scripts = [path for folder in ("examples", "tools") for path in (ROOT / folder).glob("*.py")]
    assert [path.name for path in scripts if "sys.path" in path.read_text(encoding="utf-8")] == []
