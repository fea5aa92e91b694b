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
    "images", "inputs", "layers", "lifting", "losses", "metrics", "mirror", "models", "people",
    "person_detector", "poses3d", "prediction", "prepared", "progress", "refinement", "registry", "skeletons",
    "spatial_model", "tracking", "video", "viz", "weights", "writing",
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
    import posezoo.person_detector as person_detector
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
    from posezoo.inputs import create_transform as create_transform
    from posezoo.lifting import lift as lift
    from posezoo.people import People as People
    from posezoo.poses3d import Poses3D as Poses3D
    from posezoo.prediction import predict as predict
    from posezoo.registry import (
        create as create,
    )
    from posezoo.registry import (
        create_model as create_model,
    )
    from posezoo.registry import (
        from_pretrained as from_pretrained,
    )
    from posezoo.registry import (
        get_pretrained_cfg as get_pretrained_cfg,
    )
    from posezoo.registry import (
        get_pretrained_cfg_value as get_pretrained_cfg_value,
    )
    from posezoo.registry import (
        is_model as is_model,
    )
    from posezoo.registry import (
        is_model_pretrained as is_model_pretrained,
    )
    from posezoo.registry import (
        list_models as list_models,
    )
    from posezoo.registry import (
        list_modules as list_modules,
    )
    from posezoo.registry import (
        list_pretrained as list_pretrained,
    )
    from posezoo.registry import (
        load_checkpoint as load_checkpoint,
    )
    from posezoo.registry import (
        model_entrypoint as model_entrypoint,
    )
    from posezoo.registry import (
        register_model as register_model,
    )
    from posezoo.registry import (
        register_model_deprecations as register_model_deprecations,
    )
    from posezoo.skeletons import (
        Skeleton as Skeleton,
    )
    from posezoo.skeletons import (
        get_skeleton as get_skeleton,
    )
    from posezoo.skeletons import (
        list_skeletons as list_skeletons,
    )
    from posezoo.skeletons import (
        register_skeleton as register_skeleton,
    )
    from posezoo.weights import (
        Weights as Weights,
    )
    from posezoo.weights import (
        push_to_hub as push_to_hub,
    )
    from posezoo.weights import (
        save_pretrained as save_pretrained,
    )
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
