"""Make the tests' own helper modules importable, and give the examples people to train on."""

import os
import sys
from pathlib import Path

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # a worker for each core: threads of several workers would wait for each other

sys.path.insert(0, str(Path(__file__).parent))
# as Python does for a script that is run: its own folder is searched first
sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ("examples", "tools"))


@pytest.fixture(autouse=True)
def forget_accelerates_state():
    """Accelerate keeps precision and device of its first training; the next test may want others."""
    yield
    if state := sys.modules.get("accelerate.state"):
        state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def lspet(tmp_path):
    """Twelve small images in the layout of LSPET."""
    from running_examples import write_lspet

    return write_lspet(tmp_path / "lspet")
