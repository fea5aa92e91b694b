"""One thread for each worker, and people for the examples to train on."""

import os
import sys

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # a worker for each core: threads of several workers would wait for each other


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


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """The same, once for all tests of a file; they only read it."""
    from running_examples import write_lspet

    return write_lspet(tmp_path_factory.mktemp("lspet") / "lspet")
