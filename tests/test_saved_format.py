"""What an earlier posezoo saved loads, bit by bit, in a process that has little more than torch.

`saved_format_1` was written by posezoo 0.1.0's `save_pretrained` (random weights) and is never
written anew: whoever changes the format raises `weights.FORMAT`, adds a folder beside this one, and
keeps both loading.
"""

import json
import shutil
from pathlib import Path

import fresh_process
import pytest
import torch

import posezoo

SAVED = Path(__file__).parent / "saved_format_1"
ANSWERS = {  # of posezoo 0.1.0 to `question`: the first two keypoints of the first pose
    "martinez": [[0.0, 0.0, 0.0], [-108.7075, -54.2069, -104.3732]],
    "deeppose": [[109.3190, 109.1319], [108.0539, 109.5702]],
}
# the ones that a process needs to load and run a network; the others cannot be imported
BARE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"timm", "torchvision", "huggingface_hub", "PIL", "scipy", "accelerate"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import posezoo
model = posezoo.create("local-dir:" + sys.argv[1], pretrained=True).eval()
print(len(model.predict(model.example_input(2))[0]))
"""


def question(model):
    shape = model.example_input(2).shape
    return torch.arange(shape.numel(), dtype=torch.float64).mul(0.7).sin().abs().float().reshape(shape)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_saved_network_predicts_the_frozen_values(name):
    model = posezoo.create(f"local-dir:{SAVED / name}", pretrained=True).eval()
    points, _ = model.predict(question(model))
    first = points.reshape(-1, points.shape[-1])[:2]
    torch.testing.assert_close(first, torch.tensor(ANSWERS[name]), atol=2e-3, rtol=0)
    assert model.weights.metrics == {"nothing": {"error": 1.0}}


@pytest.mark.parametrize("name", ANSWERS)
def test_saved_again_it_is_the_same(name, tmp_path):
    model = posezoo.create(f"local-dir:{SAVED / name}", pretrained=True)
    again = posezoo.create(f"local-dir:{model.save_pretrained(tmp_path)}", pretrained=True)
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


@pytest.mark.parametrize("name", ANSWERS)
def test_it_loads_with_torch_and_safetensors_alone(name):
    assert fresh_process.run(BARE, SAVED / name).strip() == "2"


def test_todays_format_is_a_frozen_one():
    """A newer format needs its own frozen sample, and this one stays."""
    saved = sorted(Path(__file__).parent.glob("saved_format_*"))
    assert [int(folder.name.rpartition("_")[2]) for folder in saved] == list(range(1, posezoo.weights.FORMAT + 1))


def test_a_newer_format_is_refused_with_advice(tmp_path):
    folder = shutil.copytree(SAVED / "martinez", tmp_path / "newer")
    config = json.loads((folder / "config.json").read_text())
    config |= {"format": posezoo.weights.FORMAT + 1, "posezoo_version": "99.0"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"99\.0.*(upgrade|update|newer|pip install)"):
        posezoo.create(f"local-dir:{folder}", pretrained=True)
