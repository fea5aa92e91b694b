"""Train any heatmap network on LSP or LSPET, and report PCK@0.2 per joint on held-out images.

    python examples/train_heatmap.py --data lspet:lspet --model simple_baseline_lite --output runs/lite
    python examples/train_heatmap.py --data coco:coco --model simple_baseline_resnet50 --recipe paper --output runs/sb
    python examples/train_heatmap.py --data coco:coco --model hrnet_w32 --recipe paper --output runs/hrnet

Use `accelerate launch examples/train_heatmap.py …` for several processes or machines, and
`--resume` to continue a run. `--recipe paper` is that of Simple Baselines or HRNet: Adam, MSE on
Gaussian heatmaps, scale, rotation and flip, two drops of the rate. `--recipe fast` is for a small
data set and a short schedule: AdamW, truncation, colour jitter, cutout, weight averaging and a
cosine.
"""

import functools
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import posezoo
from posezoo.data import cutout, jitter_colour
from posezoo.losses import heatmap_mse

from recipes import parse
from teaching import add_options, taught_loaders
from training import make_loaders, options, skeleton_of, train

# of the loss: Adam is invariant to it but for its epsilon, and 1,000 keeps bf16 gradients away from underflow
FACTOR, PAPERS_FACTOR = 1000.0, 0.5


def batch_loss(
    model: torch.nn.Module,
    batch: dict[str, Any],
    *,
    network: posezoo.contract.PoseModel,
    sigma: float,
    factor: float = FACTOR,
) -> torch.Tensor:
    """Mean squared error of every supervised stage, with targets in the frame of `network`; `model`
    may wrap it.
    """
    stages = model(batch["image"], all_stages=True)
    targets = network.encode_targets(batch["keypoints"], batch["visible"], stages, sigma=sigma)
    pairs = zip(stages, targets, strict=True)
    return factor * sum(heatmap_mse(stage.float(), *target) for stage, target in pairs)


def warm_cosine(step: int, steps: int, *, warmup: float) -> float:
    """Learning rate factor: linear warm-up to 1, then half a cosine to 0."""
    rise = max(1, round(steps * warmup))
    return (step + 1) / rise if step < rise else 0.5 + 0.5 * math.cos(math.pi * (step - rise) / max(1, steps - rise))


def keep_depthwise_in_float32(model: torch.nn.Module) -> None:
    """Exclude depthwise convolutions from autocast; in bf16 they are slow on CPUs.

    Their gradients take 4 to 13 times as long.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d) and module.groups > 1:
            # a subclass, not a wrapped method, since copies of the model (the weight average) keep it
            module.__class__ = in_float32(type(module))


@functools.cache
def in_float32(convolution: type[torch.nn.Conv2d]) -> type[torch.nn.Conv2d]:
    def forward(self: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return convolution.forward(self, x.float())

    return type(f"{convolution.__name__}InFloat32", (convolution,), {"forward": forward})


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = options(
        __doc__,
        model="simple_baseline_lite",
    )
    parser.add_argument("--init", type=Path, help="checkpoint to start from, without its head if the keypoints differ")
    parser.add_argument("--trunk", type=Path, help="state dict of the timm backbone to start from")
    parser.add_argument("--width", type=int, help="channels of the network. Defaults to its own")
    parser.add_argument("--weight-decay", type=float)
    parser.add_argument("--optimizer", choices=("adam", "adamw"))
    parser.add_argument("--warmup", type=float, default=0.05, help="fraction of the steps, of --recipe fast")
    parser.add_argument("--ema", type=float, help="decay of the weight average that is evaluated")
    parser.add_argument("--sigma", type=float, help="of the target Gaussians, in heatmap cells")
    add_options(parser)
    args, recipe = parse(parser, "heatmap", arguments)
    fast = args.recipe == "fast"
    sigma = args.sigma or (3.0 if args.size[0] >= 384 else 2.0)  # as the authors' configurations

    torch.manual_seed(args.seed)
    width = {"width": args.width} if args.width else {}
    skeleton = skeleton_of(args, recipe.readers)
    model = posezoo.create(args.model, num_keypoints=len(skeleton), skeleton=skeleton.name, **width)
    if args.trunk:
        model.backbone.load_state_dict(posezoo.weights.read_state_dict(args.trunk))
    if args.init:
        posezoo.load_checkpoint(model, args.init)
    if not torch.cuda.is_available():
        keep_depthwise_in_float32(model)
    crop = recipe.person_crop(args.size, skeleton, args.crop)
    if isinstance(recipe.crop, dict) and not args.crop:
        crop = replace(crop, padding=model.padding, fill=model.fill)
    optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[args.optimizer]
    return train(
        args,
        model,
        optimizer(model.parameters(), lr=args.lr, weight_decay=args.weight_decay),
        partial(batch_loss, network=model, sigma=sigma, factor=FACTOR if fast else PAPERS_FACTOR),
        taught_loaders(args) if args.teacher else make_loaders(args, crop, recipe.readers),
        schedule=partial(warm_cosine, warmup=args.warmup) if fast else recipe.rate(args),
        augment=(lambda images: cutout(jitter_colour(images))) if fast else lambda images: images,
        ema=args.ema,
        flip=True,
    )


if __name__ == "__main__":
    main()
