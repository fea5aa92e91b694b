"""posezoo: every landmark human pose network, one name away.

`import posezoo` is lazy: it costs little more than `import torch`, and timm, huggingface_hub and PIL are only
imported by the functions that need them.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> the module that defines it; a name is imported when it is first used
_EXPORTS = {
    "create": "registry",
    "create_model": "registry",
    "register_model": "registry",
    "list_models": "registry",
    "list_pretrained": "registry",
    "is_model": "registry",
    "model_entrypoint": "registry",
    "get_pretrained_cfg": "registry",
    "Weights": "weights",
    "save_pretrained": "weights",
    "from_pretrained": "weights",
    "push_to_hub": "weights",
    "load_checkpoint": "checkpoints",
    "Skeleton": "skeletons",
    "get_skeleton": "skeletons",
    "list_skeletons": "skeletons",
    "People": "predict",
    "Poses3D": "lift",
}
_MODULES = (
    "backbones", "checkpoints", "contract", "data", "detectors", "evaluate", "export", "geometry", "heatmaps", "layers",
    "lift", "losses", "metrics", "models", "predict", "registry", "skeletons", "spatial_model", "viz", "weights",
)  # fmt: skip

__all__ = ["__version__", *_EXPORTS, *_MODULES]

if TYPE_CHECKING:
    import posezoo.backbones as backbones
    import posezoo.checkpoints as checkpoints
    import posezoo.contract as contract
    import posezoo.data as data
    import posezoo.detectors as detectors
    import posezoo.evaluate as evaluate
    import posezoo.export as export
    import posezoo.geometry as geometry
    import posezoo.heatmaps as heatmaps
    import posezoo.layers as layers
    import posezoo.losses as losses
    import posezoo.metrics as metrics
    import posezoo.models as models
    import posezoo.registry as registry
    import posezoo.skeletons as skeletons
    import posezoo.spatial_model as spatial_model
    import posezoo.viz as viz
    import posezoo.weights as weights
    from posezoo.checkpoints import load_checkpoint
    from posezoo.lift import Poses3D, lift
    from posezoo.predict import People, predict
    from posezoo.registry import (
        create,
        create_model,
        get_pretrained_cfg,
        is_model,
        list_models,
        list_pretrained,
        model_entrypoint,
        register_model,
    )
    from posezoo.skeletons import Skeleton, get_skeleton, list_skeletons
    from posezoo.weights import Weights, from_pretrained, push_to_hub, save_pretrained


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(f"posezoo.{_EXPORTS[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"posezoo.{name}")
    raise AttributeError(f"module 'posezoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
