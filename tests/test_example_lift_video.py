"""The example that lifts a video: frames and keypoint files go in, poses and drawings come out."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import posezoo

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("lift_video", ROOT / "examples" / "lift_video.py")
lift_video = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lift_video)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    posezoo.create("martinez", linear_size=16, frame="person").save_pretrained(folder)
    return f"local-dir:{folder}"


def check(output, poses, width):
    frames = len(poses)
    with np.load(output / "poses.npz") as stored:
        np.testing.assert_array_equal(stored["pose3d"], poses.pose3d)
        assert stored["interpolated"].shape == (frames, 17)
    with Image.open(output / "poses.gif") as image:
        assert (image.n_frames, image.size) == (frames, (width, 256))
    assert Image.open(output / "poses.png").size[1] % 192 == 0


@pytest.mark.filterwarnings("ignore:.*interpolated along time")
def test_frames(tmp_path, capsys, model):
    photo = Image.open(ROOT / "docs" / "images" / "astronaut.jpg").resize((128, 128))
    (tmp_path / "frames").mkdir()
    for number in range(3):
        photo.rotate(4 * number).save(tmp_path / "frames" / f"{number}.jpg")
    # half of the body is outside, so a published model need not be sure of it
    arguments = [str(tmp_path / "frames"), "--model", model, "--output", str(tmp_path / "out"), "--min-score", "0"]
    poses = lift_video.main([*arguments, "--box", "10", "5", "120", "128"])
    check(tmp_path / "out", poses, width=1024)
    said = capsys.readouterr().out
    assert "3 frames, mean score" in said
    assert all(name in said for name in poses.skeleton.keypoints)


@pytest.mark.parametrize("kind", ["coco", "openpose"])
def test_keypoint_files(tmp_path, model, kind):
    keypoints = np.random.default_rng(0).uniform(1, 90, (4, 18, 3))
    if kind == "coco":
        people = [{"image_id": n, "keypoints": k[:17].ravel().tolist()} for n, k in enumerate(keypoints)]
        source, skeleton = tmp_path / "people.json", ["--skeleton", "coco17"]
        source.write_text(json.dumps(people))
    else:
        source, skeleton = tmp_path / "json", []
        source.mkdir()
        for number, points in enumerate(keypoints):
            frame = {"people": [{"pose_keypoints_2d": points.ravel().tolist()}]}
            (source / f"{number}.json").write_text(json.dumps(frame))
    poses = lift_video.main([str(source), "--model", model, "--output", str(tmp_path / "out"), *skeleton])
    assert len(poses) == 4
    check(tmp_path / "out", poses, width=768)
