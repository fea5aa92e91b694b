"""posezoo: a model zoo of human pose estimation networks.

Names and submodules are imported on first use: `import posezoo` costs little more than
`import torch`. timm, huggingface_hub and PIL are only imported by the functions that need them.
"""

import importlib
from typing import TYPE_CHECKING

from posezoo.version import __version__

# public name -> the module that defines it
_EXPORTS = {
    "create": "registry",
    "create_model": "registry",
    "create_transform": "inputs",
    "register_model": "registry",
    "list_models": "registry",
    "list_pretrained": "registry",
    "list_modules": "registry",
    "is_model": "registry",
    "is_model_pretrained": "registry",
    "model_entrypoint": "registry",
    "get_pretrained_cfg": "registry",
    "get_pretrained_cfg_value": "registry",
    "register_model_deprecations": "registry",
    "Weights": "weights",
    "save_pretrained": "weights",
    "from_pretrained": "registry",
    "push_to_hub": "weights",
    "load_checkpoint": "registry",
    "Skeleton": "skeletons",
    "get_skeleton": "skeletons",
    "list_skeletons": "skeletons",
    "register_skeleton": "skeletons",
    "People": "people",
    "predict": "prediction",
    "Poses3D": "poses3d",
    "lift": "lifting",
}
_MODULES = (
    "arguments", "backbones", "catalogue", "checkpoints", "codecs", "commands", "completion", "contract",
    "convert", "crops", "data", "detectors", "evaluate", "export", "features", "geometry", "heads", "heatmaps",
    "images", "inputs", "layers", "lifting", "losses", "metrics", "mirror", "models", "people", "poses3d", "prediction",
    "prepared", "progress", "refinement", "registry", "skeletons", "spatial_model", "tracking", "video", "viz",
    "weights", "writing",
)  # fmt: skip

__all__ = ["__version__", *_EXPORTS, *_MODULES]

if TYPE_CHECKING:
    # the same names again, for type checkers and editors; tests/test_typing.py compares the two lists
    import posezoo.arguments as arguments
    import posezoo.backbones as backbones
    import posezoo.catalogue as catalogue
    import posezoo.checkpoints as checkpoints
    import posezoo.codecs as codecs
    import posezoo.commands as commands
    import posezoo.completion as completion
    import posezoo.contract as contract
    import posezoo.convert as convert
    import posezoo.crops as crops
    import posezoo.data as data
    import posezoo.detectors as detectors
    import posezoo.evaluate as evaluate
    import posezoo.export as export
    import posezoo.features as features
    import posezoo.geometry as geometry
    import posezoo.heads as heads
    import posezoo.heatmaps as heatmaps
    import posezoo.images as images
    import posezoo.inputs as inputs
    import posezoo.layers as layers
    import posezoo.lifting as lifting
    import posezoo.losses as losses
    import posezoo.metrics as metrics
    import posezoo.mirror as mirror
    import posezoo.models as models
    import posezoo.people as people
    import posezoo.poses3d as poses3d
    import posezoo.prediction as prediction
    import posezoo.prepared as prepared
    import posezoo.progress as progress
    import posezoo.refinement as refinement
    import posezoo.registry as registry
    import posezoo.skeletons as skeletons
    import posezoo.spatial_model as spatial_model
    import posezoo.tracking as tracking
    import posezoo.video as video
    import posezoo.viz as viz
    import posezoo.weights as weights
    import posezoo.writing as writing
    from posezoo.inputs import create_transform
    from posezoo.lifting import lift
    from posezoo.people import People
    from posezoo.poses3d import Poses3D
    from posezoo.prediction import predict
    from posezoo.registry import (
        create,
        create_model,
        from_pretrained,
        get_pretrained_cfg,
        get_pretrained_cfg_value,
        is_model,
        is_model_pretrained,
        list_models,
        list_modules,
        list_pretrained,
        load_checkpoint,
        model_entrypoint,
        register_model,
        register_model_deprecations,
    )
    from posezoo.skeletons import Skeleton, get_skeleton, list_skeletons, register_skeleton
    from posezoo.weights import Weights, push_to_hub, save_pretrained
else:
    # hidden from type checkers, for which a module with `__getattr__` has every name, misspelt ones too
    def __getattr__(name):
        if name in _EXPORTS:
            value = getattr(importlib.import_module(f"posezoo.{_EXPORTS[name]}"), name)
            globals()[name] = value
            return value
        if name in _MODULES:
            return importlib.import_module(f"posezoo.{name}")
        raise AttributeError(f"module 'posezoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
