"""Examples loaded as a user runs them, and people for them to train on."""

import importlib.util
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


def load_example(name):
    """The module of a script of `examples/`, by its file."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_lspet(folder, count=12):
    """Images in the layout of LSPET: noise with a white dot at each joint; a few joints are
    missing.
    """
    random = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    joints = np.ones((14, 3, count))
    joints[:, :2] = random.uniform(20, 100, (14, 2, count))
    for number in range(count):
        pixels = random.integers(0, 128, (120, 110, 3), dtype=np.uint8)
        for x, y in joints[:, :2, number].round().astype(int):
            pixels[y - 2 : y + 1, x - 2 : x + 1] = 255
        Image.fromarray(pixels).save(folder / "images" / f"im{number + 1:05d}.jpg")
    joints[9, 2, :2] = joints[3, 2, 1:4] = 0  # two have no left shoulder, the second no left hip either
    joints[5, 2, 1] = joints[13, 2, 3] = 0
    scipy.io.savemat(folder / "joints.mat", {"joints": joints})
    return folder
