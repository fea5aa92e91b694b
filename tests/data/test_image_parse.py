"""Image Parse: a generated archive of the file names and layout of its author's, and archives that
are damaged.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from posezoo.data import ImageParse

scipy_io = pytest.importorskip("scipy.io")

COUNT = 103  # three images for test


def points() -> np.ndarray:
    """`ptsAll`, (14, 2, N), counted from 1."""
    return np.random.default_rng(0).uniform(1, 20, (14, 2, COUNT))


@pytest.fixture
def root(tmp_path) -> Path:
    scipy_io.savemat(tmp_path / "labels.mat", {"ptsAll": points()})
    for number in range(1, COUNT + 1):
        Image.new("RGB", (20 + number, 24), (2 * number, 10, 200)).save(tmp_path / f"im{number:04d}.jpg")
    (tmp_path / "README.txt").write_text("305 images")
    return tmp_path


@pytest.mark.parametrize(
    ("split", "numbers"), [("train", range(1, 101)), ("test", range(101, 104)), (None, range(1, 104))]
)
def test_the_first_hundred_images_are_for_training(root, split, numbers):
    people = ImageParse(root, split=split)
    assert len(people) == len(numbers)
    for i in (0, len(numbers) // 2, len(numbers) - 1):
        sample, number = people[i], numbers[i]
        assert sample["index"] == number
        assert sample["image"].shape == (3, 24, 20 + number)
        assert_close(sample["keypoints"], torch.from_numpy(points()[..., number - 1] - 1).float())
    with pytest.raises(IndexError):
        people[len(numbers)]


def test_a_sample_has_the_documented_fields(root):
    sample = ImageParse(root)[4]
    assert sorted(sample) == ["box", "image", "index", "keypoints", "visible"]
    assert {key: value.dtype for key, value in sample.items() if key != "index"} == {
        "image": torch.uint8, "keypoints": torch.float32, "visible": torch.bool, "box": torch.float32,
    }  # fmt: skip
    assert sample["visible"].all()
    low, high = sample["keypoints"].amin(0), sample["keypoints"].amax(0)
    assert_close(sample["box"], torch.cat([low, high]))
    assert (sample["image"][2].float().mean() - 200).abs() < 3  # blue: RGB, not BGR
    assert ImageParse.skeleton.name == "lsp14"


def test_a_file_of_one_record(tmp_path):
    scipy_io.savemat(tmp_path / "labels.mat", {"ptsAll": points()[..., 0]})
    Image.new("RGB", (30, 30)).save(tmp_path / "im0001.jpg")
    assert len(ImageParse(tmp_path)) == len(ImageParse(tmp_path, split="train")) == 1
    with pytest.raises(ValueError, match=r"labels.mat has 1 records, and the images for test begin with 101"):
        ImageParse(tmp_path, split="test")


def test_errors_name_the_file_and_the_fix(root):
    with pytest.raises(ValueError, match='split: expected "train", "test" or None, got \'val\''):
        ImageParse(root, split="val")
    (root / "im0102.jpg").unlink()
    message = r"im0102.jpg is missing, like 1 of 3 images .*unpack the whole archive"
    with pytest.raises(ValueError, match=message):
        ImageParse(root, split="test")
    assert len(ImageParse(root, split="train")) == 100
    (root / "im0003.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"im0003.jpg cannot be read as an image"):
        ImageParse(root, split="train")[2]
    (root / "labels.mat").write_bytes(b"no matrix")
    with pytest.raises(ValueError, match=r"labels.mat cannot be read as a MATLAB file .*download it again"):
        ImageParse(root)
    (root / "labels.mat").unlink()
    with pytest.raises(ValueError, match=rf"{re.escape(str(root / 'labels.mat'))} is missing; root must be the folder"):
        ImageParse(root)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"joints": points()}, "has no array 'ptsAll'; is it the labels.mat of Image Parse"),
        ({"ptsAll": points()[:13]}, r"expected ptsAll of numbers \(14, 2, N\), got \(13, 2, 103\)"),
        ({"ptsAll": points().transpose(2, 0, 1)}, r"got \(103, 14, 2\)"),
        ({"ptsAll": np.where(np.arange(COUNT) == 6, np.nan, points())}, "record 7 has a keypoint that is no number"),
    ],
)
def test_malformed_labels(root, arrays, message):
    scipy_io.savemat(root / "labels.mat", arrays)
    with pytest.raises(ValueError, match=message):
        ImageParse(root)
