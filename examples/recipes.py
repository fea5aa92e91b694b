"""The training recipes of the papers, one table: `--recipe paper` in each training script.

A recipe is a set of values of the script's options, a crop, its augmentation, and a schedule of the
learning rate. Options on the command line replace single values; the script prints each that
differs. `--recipe fast` is the script's own, for small data sets and machines. What a paper leaves
open, and where its code was followed instead, stands in `notes`.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from posezoo.data import CROPS, PersonCrop
from posezoo.skeletons import Skeleton


@dataclass(frozen=True, kw_only=True)
class Drops:
    """A learning rate that is multiplied by `factor` at some points of the run.

    Args:
        factor: at each point.
        at: the points. Defaults to every `every`.
        every: distance of the points.
        unit: "epochs", "iterations", or "run", fractions of the whole run.
        warmup: iterations of a linear rise at the beginning.
        smooth: decay exponentially, by `factor` every `every`.
    """

    factor: float = 1.0
    at: tuple[float, ...] = ()
    every: float = 0.0
    unit: str = "epochs"
    warmup: int = 0
    smooth: bool = False

    def __call__(self, step: int, steps: int, epochs: int) -> float:
        """Return the factor on the initial learning rate before iteration `step`, from 0."""
        place = {"epochs": step * epochs / steps, "iterations": step, "run": step / steps}[self.unit]
        if self.smooth:
            return float(self.factor ** (place / self.every))
        passed = int(place / self.every) if self.every else sum(place >= point for point in self.at)
        return min(1.0, (step + 1) / self.warmup if self.warmup else 1.0) * self.factor**passed


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The training of a paper on a data set.

    Args:
        source: the paper, and what of it.
        data: names of the data sets that it is for.
        settings: values of the script's options.
        crop: a name in `posezoo.data.CROPS`, or arguments of `PersonCrop`.
        augmentation: arguments of `PersonCrop`.
        schedule: of the learning rate.
        readers: arguments of the data sets' readers by their names.
        models: starts of the names of the models that it is for. Defaults to all of the script.
        notes: what the paper leaves open, and departures.
    """

    source: str
    data: tuple[str, ...]
    settings: Mapping[str, Any]
    crop: str | Mapping[str, Any]
    augmentation: Mapping[str, Any] = field(default_factory=dict)
    schedule: Drops = Drops()
    readers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    models: tuple[str, ...] = ("",)
    notes: str = ""

    def size(self) -> tuple[int, int]:
        """Return (H, W) of the crop."""
        given = self.settings["size"] if "size" in self.settings else CROPS[str(self.crop)]["input_size"]
        return (int(given[0]), int(given[1]))

    def person_crop(self, size: Sequence[int], skeleton: Skeleton, crop: str | None = None) -> PersonCrop:
        """Return the augmented crop; `crop` names another of `CROPS`."""
        chosen = CROPS[crop] if crop else CROPS[self.crop] if isinstance(self.crop, str) else self.crop
        settings = {name: value for name, value in chosen.items() if name != "input_size"}
        return PersonCrop(size=(size[0], size[1]), skeleton=skeleton, **settings, **self.augmentation)

    def rate(self, args: argparse.Namespace) -> Callable[[int, int], float]:
        """Return the schedule as a function `(step, steps)`, for `training.train`."""
        return lambda step, steps: self.schedule(step, steps, args.epochs)


LSP_OR_LSPET = ("lspet", "lsp")
ANNOTATED, LOWERED = {"mpii": {"center": "annotated"}}, {"mpii": {"center": "lowered"}}
TOP_DOWN = {"epochs": 140, "batch_size": 128, "lr": 1e-3, "optimizer": "adam", "weight_decay": 0.0, "ema": 0.0,
            "sigma": None, "mixed_precision": "no"}  # fmt: skip
SIMPLE_BASELINES = "Xiao, Wu & Wei (ECCV 2018), section 3.1"
HRNET_PAPER = "Sun, Xiao, Liu & Wang (CVPR 2019), section 4.1"
TOP_DOWN_NOTES = (
    "sigma is 2 cells of a quarter of 256 pixels and 3 of 384, as in the authors' code; batch size of 4 GPUs together."
)

CPM_AUGMENTATION = {  # of the person; the crop's extent is divided by the scale
    "scale": (1 / 1.3, 1 / 0.7), "rotation": (-40, 40), "rotation_probability": 1, "flip": 0.5,
}  # fmt: skip
TOMPSON_AUGMENTATION = {
    "scale": (1 / 1.5, 1 / 0.5), "rotation": (-20, 20), "rotation_probability": 1, "flip": 0.5,
}  # fmt: skip

RECIPES: dict[str, dict[str, tuple[Recipe, ...]]] = {
    "heatmap": {
        "paper": (
            Recipe(
                source=SIMPLE_BASELINES, data=("coco",), models=("simple_baseline",), settings=TOP_DOWN,
                crop="top-down", augmentation={"scale": 0.3, "rotation": 40, "flip": 0.5},
                schedule=Drops(factor=0.1, at=(90, 120)), notes=TOP_DOWN_NOTES,
            ),
            Recipe(
                source=SIMPLE_BASELINES + ", on MPII as in the authors' code", data=("mpii",),
                models=("simple_baseline",), settings=TOP_DOWN, crop="top-down-mpii",
                augmentation={"scale": 0.25, "rotation": 30, "flip": 0.5}, readers=LOWERED,
                schedule=Drops(factor=0.1, at=(90, 120)), notes=TOP_DOWN_NOTES,
            ),
            Recipe(
                source=HRNET_PAPER, data=("coco",), models=("hrnet",), settings={**TOP_DOWN, "epochs": 210},
                crop="top-down", augmentation={"scale": 0.35, "rotation": 45, "flip": 0.5, "half_body": 0.3},
                schedule=Drops(factor=0.1, at=(170, 200)),
                notes=TOP_DOWN_NOTES + " The paper's text says sigma 1.",
            ),
            Recipe(
                source=HRNET_PAPER + ", on MPII as in the authors' code", data=("mpii",), models=("hrnet",),
                settings={**TOP_DOWN, "epochs": 210}, crop="top-down-mpii",
                augmentation={"scale": 0.25, "rotation": 30, "flip": 0.5}, readers=LOWERED,
                schedule=Drops(factor=0.1, at=(170, 200)), notes=TOP_DOWN_NOTES,
            ),
        ),
        "fast": (
            Recipe(
                source="our own", data=(*LSP_OR_LSPET, "mpii", "flic", "coco"), readers=LOWERED,
                settings={"size": (192, 192), "epochs": 40, "batch_size": 32, "lr": 1e-3, "optimizer": "adamw",
                          "weight_decay": 1e-2, "ema": 0.998, "sigma": 2.0, "mixed_precision": "bf16"},
                crop={}, augmentation={"scale": 0.3, "rotation": 40, "flip": 0.5, "translation": 0.1,
                                       "half_body": 0.2, "truncation": 0.3},
                notes="AdamW, a cosine with warm-up, weight averaging, truncation, colour jitter, cutout.",
            ),
        ),
    },
    "hourglass": {
        "paper": (
            Recipe(
                source="Newell, Yang & Deng (ECCV 2016), section 4, and the authors' first code", data=("mpii", "flic"),
                settings={"model": "hourglass_8", "lr": 2.5e-4, "batch_size": 6, "iterations": 880_000, "sigma": 1.0},
                crop="hourglass", readers={**LOWERED, "flic": {}},
                augmentation={"scale": (0.75, 1.25), "rotation": 30, "rotation_probability": 0.4, "flip": 0.5},
                schedule=Drops(factor=0.2, at=(800_000,), unit="iterations"),
                notes="Scale is the paper's range; the code has 2 to the power of N(0, 0.25). 100 epochs of 8,000 "
                "batches, then \"a few more\" at a fifth of the rate, here 10. The code's sigma is 1.75.",
            ),
        ),
        "fast": (
            Recipe(
                source="our own", data=(*LSP_OR_LSPET, "mpii", "flic", "coco"), readers=LOWERED,
                settings={"model": "hourglass_2", "lr": 2.5e-4, "batch_size": 6, "epochs": 100, "sigma": 1.0},
                crop="hourglass",
                augmentation={"scale": 0.25, "rotation": 30, "rotation_probability": 0.4, "flip": 0.5},
                schedule=Drops(factor=0.2, at=(0.9,), unit="run"),
            ),
        ),
    },
    "cpm": {
        "paper": tuple(
            Recipe(
                source="Wei et al. (CVPR 2016), section 4, and the authors' training files", data=data,
                settings={"model": model, "lr": 8e-5, "batch_size": 16, "iterations": 600_000},
                crop="cpm",
                augmentation=CPM_AUGMENTATION,
                schedule=Drops(factor=0.333, every=136_106, unit="iterations"),
                readers={"mpii": {"training": "rest", "others": True}, "lsp": {"size": "limbs"},
                         "lspet": {"size": "limbs"},
                         "flic": {"skeleton": "flic9", "back_facing": "shoulders", "others": True}},
                notes=notes,
            )
            for model, data, notes in (
                ("cpm_9x9_6s", ("mpii", "lsp", "lspet"), "On LSP a person's size follows from the lengths of "
                 "limbs, as in the authors' code."),
                ("cpm_9x9_4s", ("flic",), ""),
            )
        ),
        "fast": (
            Recipe(
                source="our own", data=(*LSP_OR_LSPET, "mpii", "flic", "coco"),
                settings={"model": "cpm_9x9_6s", "lr": 8e-5, "batch_size": 16, "epochs": 100},
                crop="cpm",
                augmentation=CPM_AUGMENTATION,
                schedule=Drops(factor=0.333, every=136_106 / 600_000, unit="run"),
                notes="The drops of the rate are at the same fractions of a run of any length.",
            ),
        ),
    },
    "tompson": {
        name: (
            Recipe(
                source="Tompson et al. (CVPR 2015), section 3", data=data,
                settings={"lr": 1e-3, "epochs": 30, "batch_size": 16},
                crop="tompson",
                augmentation=TOMPSON_AUGMENTATION,
                schedule=schedule, readers={**ANNOTATED, "flic": {"skeleton": "flic7", "back_facing": "hips"}},
                notes="The paper states neither rate, batch size nor length; they are those of a reimplementation.",
            ),
        )
        for name, data, schedule in (
            ("paper", ("mpii", "flic"), Drops()),
            ("fast", (*LSP_OR_LSPET, "mpii", "flic"), Drops(factor=0.1, at=(0.75,), unit="run")),
        )
    },
    "deeppose": {
        "paper": tuple(
            Recipe(
                source="Toshev & Szegedy (CVPR 2014), sections 3 and 4.1", data=data,
                settings={"model": "deeppose", "size": size, "epochs": 40, "batch_size": 128, "lr": 5e-4, "stages": 3,
                          "sigma": sigma, "optimizer": "adagrad"},
                crop=crop, augmentation={"flip": 0.5, "translation": 0.1},
                readers={"flic": {"skeleton": "flic9"}},
                notes="How far crops are shifted is not stated: a tenth of the box. Images are larger than 220 pixels, "
                "so that later stages cut their squares from the full resolution. " + more,
            )
            for data, size, sigma, crop, more in (
                (("lsp", "lspet"), (440, 440), 2.0, "deeppose-lsp", "LSP and LSPET together: 11,000 images."),
                (("flic",), (660, 660), 1.0, "deeppose-flic", "`--detector` finds the boxes, whose factor is fitted. "
                 "Of FLIC's annotated points 9 are used, the paper counts 10."),
            )
        ),
        "fast": (
            Recipe(
                source="our own", data=(*LSP_OR_LSPET, "mpii", "flic"), readers={"flic": {"skeleton": "flic9"}},
                settings={"model": "deeppose", "size": (220, 220), "epochs": 40, "batch_size": 128, "lr": 5e-4,
                          "stages": 2, "sigma": 2.0, "optimizer": "adagrad"},
                crop={"keep_aspect": False},
                augmentation={"flip": 0.5, "translation": 0.1, "scale": (0.9, 1.3)},
                notes="Two stages; boxes of the joints; scaled crops.",
            ),
        ),
    },
    "ief": {
        "paper": (
            Recipe(
                source="Carreira et al. (CVPR 2016), section 4", data=("mpii",), readers=ANNOTATED,
                settings={"epochs_per_step": [3, 3, 3, 3], "batch_size": 32, "lr": 2e-3, "optimizer": "sgd"},
                crop="ief",
                augmentation={"scale": (2**-0.25, 2**0.25), "translation": 16 / 256, "flip": 0.5},
                notes="The optimiser is that of the authors' trainer, a tenth of the rate in the last three epochs. "
                "Batch size, flips and ranges are not published.",
            ),
        ),
        "fast": (
            Recipe(
                source="our own", data=(*LSP_OR_LSPET, "mpii"), readers=ANNOTATED,
                settings={"size": (224, 224), "epochs_per_step": [6, 6, 6, 9], "batch_size": 32, "lr": 2e-3,
                          "optimizer": "sgd"},
                crop={},
                augmentation={"scale": (2**-0.25, 2**0.25), "translation": 16 / 256, "flip": 0.5},
                notes="As long as the authors' released networks were trained.",
            ),
        ),
    },
    "posernn": {
        "paper": (
            Recipe(
                source="Chen & Low (2016), section 4.4", data=("mpii",), readers=ANNOTATED,
                settings={"batch_size": 25, "lr": 1e-3, "iterations": 10_000},
                crop="posernn", schedule=Drops(factor=0.5, every=1000, unit="iterations"),
            ),
        ),
        "fast": (
            Recipe(
                source="our own", data=(*LSP_OR_LSPET, "mpii"), readers=ANNOTATED,
                settings={"size": (224, 224), "batch_size": 25, "lr": 1e-3, "epochs": 36},
                crop={"keep_aspect": False}, schedule=Drops(factor=0.5, every=1000, unit="iterations"),
                notes="Crops with a factor of 1.25 around the joints; 10,000 iterations on 7,000 people.",
            ),
        ),
    },
}  # fmt: skip


# of `train_lifter_video.py`
LIFTERS = {
    "seq2seq3d": Recipe(
        source="Hossain & Little (ECCV 2018), section 4.2", data=("h36m", "humaneva"), crop="",
        settings={"epochs": 100, "batch_size": 32, "lr": 1e-5},
        schedule=Drops(factor=0.96, every=100_000, unit="iterations", smooth=True),
        notes="The paper's exponential decay per iteration has the factor of the authors' code.",
    ),
    "martinez": Recipe(
        source="Martinez et al. (ICCV 2017), section 3.3", data=("h36m", "humaneva"), crop="",
        settings={"epochs": 200, "batch_size": 64, "lr": 1e-3},
        schedule=Drops(factor=0.96, every=100_000, unit="iterations", smooth=True),
    ),
}  # fmt: skip


def find(script: str, name: str, model: str | None, data: Sequence[str]) -> Recipe:
    """Find the recipe of a script for a model and data sets.

    Raises:
        ValueError: there is none for the model or the data sets.
    """
    known = RECIPES[script][name]
    fitting = [recipe for recipe in known if not model or model.startswith(recipe.models)]
    if not fitting:
        papers = ", ".join(dict.fromkeys(start for recipe in known for start in recipe.models))
        raise ValueError(f"--recipe {name}: expected a model that starts with {papers}, got {model}")
    for recipe in fitting:
        if set(data) <= set(recipe.data):
            return recipe
    there = "; ".join(", ".join(recipe.data) for recipe in fitting)
    raise ValueError(f"--recipe {name}: it is for the data sets {there}, got {', '.join(data)}; choose --recipe fast")


def parse(
    parser: argparse.ArgumentParser, script: str, arguments: Sequence[str] | None
) -> tuple[argparse.Namespace, Recipe]:
    """Parse a command line, with the recipe's values as defaults, and print what differs from it."""
    parser.add_argument("--recipe", choices=tuple(RECIPES[script]), default="fast", help="see examples/recipes.py")
    parser.add_argument("--crop", choices=tuple(CROPS), help="the crop of a paper. Defaults to the recipe's")
    asked = parser.parse_known_args(arguments)[0]
    try:
        recipe = find(script, asked.recipe, asked.model, [one.name for one in asked.data or ()])
    except ValueError as error:
        parser.error(str(error))
    size = CROPS[asked.crop]["input_size"] if asked.crop else recipe.size()
    parser.set_defaults(**{**recipe.settings, "size": size})
    args = parser.parse_args(arguments)
    for name, value in recipe.settings.items():
        given = getattr(args, name)
        if plain(given) != plain(value):
            print(f"departs from the recipe: {name} is {given}, not {value}", flush=True)
    return args, recipe


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
