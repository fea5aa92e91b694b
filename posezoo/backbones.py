"""Backbones of timm, and weights files of the Hugging Face Hub."""

import difflib
from pathlib import Path
from typing import Any

from torch import Tensor

from posezoo.weights import Weights, find, read_state_dict


def import_timm(wanted: str) -> Any:
    """Import timm.

    Raises:
        ImportError: timm cannot be imported; the message names cause and fix.
    """
    try:
        import timm
    except Exception as error:  # a torchvision built for another torch raises RuntimeError while timm imports it
        raise ImportError(
            f"{wanted} comes from timm, and importing timm failed: {type(error).__name__}: {error}. This is usually "
            "a torchvision that was built for another torch: reinstall both together from one index (pip install "
            "--force-reinstall torch torchvision). Networks without a timm backbone, such as hrnet_w32, work without it"
        ) from error
    return timm


def timm_backbone(name: str, *, pretrained: bool = False) -> tuple[Any, tuple[float, ...], tuple[float, ...]]:
    """Create a timm backbone, and return it with the mean and std that its ImageNet weights expect.

    The backbone returns a list with one tensor, the last feature map.

    Raises:
        ValueError: an unknown network, one without feature maps, or weights that are not on the Hub.
        ImportError: timm cannot be imported.
    """
    timm = import_timm(f"the backbone {name!r}")
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else "."
        raise ValueError(f"backbone: timm {timm.__version__} has no network {name!r}{hint} See timm.list_models()")
    config = timm.get_pretrained_cfg(name)
    weights = {}
    if pretrained:
        if not config.hf_hub_id:
            raise ValueError(f"pretrained_backbone: timm has no ImageNet weights of {name!r} on the Hub")
        weights = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(hub_file(config.hf_hub_id))}}
    try:
        backbone = timm.create_model(name, features_only=True, out_indices=(-1,), **weights)
    except (AttributeError, NotImplementedError) as error:
        raise ValueError(f"backbone: timm's {name!r} yields no feature maps ({error}); choose another") from error
    return backbone, tuple(config.mean), tuple(config.std)


def hub_file(repository: str) -> Path:
    """Return the path of a Hub repository's weights file; offline this fails at once, with advice."""
    return find(Weights(sources=(f"hf-hub:{repository}",)))


def hub_state_dict(repository: str) -> dict[str, Tensor]:
    """Read the tensors of a Hub repository's weights file."""
    return read_state_dict(hub_file(repository))
