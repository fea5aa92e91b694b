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
    # the same names again, for type checkers and editors; tests/test_typing.py compares the two lists.
    # `as` exports a name from a package with `py.typed`
    from posezoo import (
        arguments as arguments,
        backbones as backbones,
        catalogue as catalogue,
        checkpoints as checkpoints,
        codecs as codecs,
        commands as commands,
        completion as completion,
        contract as contract,
        convert as convert,
        crops as crops,
        data as data,
        detectors as detectors,
        evaluate as evaluate,
        export as export,
        features as features,
        geometry as geometry,
        heads as heads,
        heatmaps as heatmaps,
        images as images,
        inputs as inputs,
        layers as layers,
        lifting as lifting,
        losses as losses,
        metrics as metrics,
        mirror as mirror,
        models as models,
        people as people,
        poses3d as poses3d,
        prediction as prediction,
        prepared as prepared,
        progress as progress,
        refinement as refinement,
        registry as registry,
        skeletons as skeletons,
        spatial_model as spatial_model,
        tracking as tracking,
        video as video,
        viz as viz,
        weights as weights,
        writing as writing,
    )
    from posezoo.create_by_name import create as create, create_model as create_model
    from posezoo.inputs import create_transform as create_transform
    from posezoo.lifting import lift as lift
    from posezoo.people import People as People
    from posezoo.poses3d import Poses3D as Poses3D
    from posezoo.prediction import predict as predict
    from posezoo.registry import (
        from_pretrained as from_pretrained,
        get_pretrained_cfg as get_pretrained_cfg,
        get_pretrained_cfg_value as get_pretrained_cfg_value,
        is_model as is_model,
        is_model_pretrained as is_model_pretrained,
        list_models as list_models,
        list_modules as list_modules,
        list_pretrained as list_pretrained,
        load_checkpoint as load_checkpoint,
        model_entrypoint as model_entrypoint,
        register_model as register_model,
        register_model_deprecations as register_model_deprecations,
    )
    from posezoo.skeletons import (
        Skeleton as Skeleton,
        get_skeleton as get_skeleton,
        list_skeletons as list_skeletons,
        register_skeleton as register_skeleton,
    )
    from posezoo.weights import (
        Weights as Weights,
        push_to_hub as push_to_hub,
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
