"""Fine-tuning to keypoints of one's own, in a plain loop and in other people's code."""

import importlib.util
import math

import pytest
import torch
from running_examples import EXAMPLES, load_example

PACKAGES = {
    "fine_tune": "torch",
    "fine_tune_accelerate": "accelerate",
    "fine_tune_lightning": "lightning",
    "fine_tune_trainer": "transformers",
}
MOST_LINES = 60


@pytest.fixture(params=PACKAGES)
def example(request, tmp_path, monkeypatch):
    """`main` of the script, in an empty folder."""
    package = PACKAGES[request.param]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the package {package} is not installed; posezoo[examples] brings it")
    monkeypatch.chdir(tmp_path)
    return load_example(request.param).main


def test_a_few_steps(example, capsys):
    error = example(["--steps", "2", "--batch-size", "2"])
    assert math.isfinite(error)
    assert f"mean error on 64 new arrows: {error:.2f} px" in capsys.readouterr().out


@pytest.mark.slow
def test_the_promised_error_is_reached(example):
    """On one thread, as the scripts' docstrings promise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert example([]) < 3
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", PACKAGES)
def test_they_are_short(name):
    assert len((EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_arrows_are_where_their_keypoints_say():
    """Ink under every keypoint, and the barbs on the sides they are named for, seen along the
    arrow.
    """
    figures = load_example("figures")
    for sample in figures.Arrows(20):
        image, keypoints = sample["image"], sample["keypoints"]
        tip, left, right, tail = keypoints
        assert image.shape == (3, figures.SIZE, figures.SIZE)
        assert ((keypoints >= 0) & (keypoints < figures.SIZE)).all()
        background = image[:, 0, 0]
        for x, y in keypoints:
            patch = image[:, max(0, int(y) - 2) : int(y) + 3, max(0, int(x) - 2) : int(x) + 3]
            assert (patch - background[:, None, None]).abs().max() > 0
        (ahead_x, ahead_y), (side_x, side_y) = tip - tail, right - left
        assert ahead_x * side_y - ahead_y * side_x > 0  # y points down, so clockwise
    assert torch.equal(figures.Arrows(3)[2]["image"], figures.Arrows(9)[2]["image"])
    with pytest.raises(IndexError):
        figures.Arrows(3)[3]
