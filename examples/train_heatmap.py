"""Train any heatmap network on LSP or LSPET, and report PCK@0.2 per joint on held-out images.

    python examples/train_heatmap.py --data lspet --model simple_baseline_lite --output runs/lite

Use `accelerate launch examples/train_heatmap.py …` for several processes or machines, and
`--resume` to continue a run. The recipe is that of Simple Baselines (Adam, MSE on Gaussian
heatmaps, scale, rotation and flip), with additions for a small dataset and a short schedule:
truncation, colour jitter, cutout, weight averaging and a cosine schedule.
"""

import functools
import math
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

import posezoo
from posezoo.data import LSP, PersonCrop, cutout, jitter_colour
from posezoo.losses import heatmap_mse

sys.path.insert(0, str(Path(__file__).parent))
from teaching import add_options, taught_loaders
from training import make_loaders, options, train


def batch_loss(
    model: torch.nn.Module, batch: dict[str, Any], *, network: posezoo.contract.PoseModel, sigma: float
) -> torch.Tensor:
    """Mean squared error of every supervised stage, with targets in the frame of `network`; `model`
    may wrap it.
    """
    stages = model(batch["image"], all_stages=True)
    targets = network.encode_targets(batch["keypoints"], batch["visible"], stages, sigma=sigma)
    pairs = zip(stages, targets, strict=True)
    # 1,000: Adam is invariant to it, and it keeps bf16 gradients away from underflow
    return 1000 * sum(heatmap_mse(stage.float(), *target) for stage, target in pairs)


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
        size=(192, 192),
        epochs=40,
        batch_size=32,
        lr=1e-3,
        mixed_precision="bf16",
    )
    parser.add_argument("--init", type=Path, help="checkpoint to start from, without its head if the keypoints differ")
    parser.add_argument("--trunk", type=Path, help="state dict of the timm backbone to start from")
    parser.add_argument("--width", type=int, help="channels of the network. Defaults to its own")
    parser.add_argument("--weight-decay", type=float, default=1e-2)
    parser.add_argument("--warmup", type=float, default=0.05, help="fraction of the steps")
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the weight average that is evaluated")
    parser.add_argument("--sigma", type=float, default=2.0, help="of the target Gaussians, in heatmap cells")
    add_options(parser)
    args = parser.parse_args(arguments)

    torch.manual_seed(args.seed)
    width = {"width": args.width} if args.width else {}
    model = posezoo.create(args.model, num_keypoints=len(LSP.skeleton), skeleton=LSP.skeleton.name, **width)
    if args.trunk:
        model.backbone.load_state_dict(posezoo.weights.read_state_dict(args.trunk))
    if args.init:
        posezoo.load_checkpoint(model, args.init)
    if not torch.cuda.is_available():
        keep_depthwise_in_float32(model)
    crop = PersonCrop(
        size=tuple(args.size), padding=model.padding, skeleton=LSP.skeleton, scale=0.3, rotation=40, flip=0.5,
        translation=0.1, half_body=0.2, truncation=0.3,
    )  # fmt: skip
    return train(
        args,
        model,
        torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay),
        partial(batch_loss, network=model, sigma=args.sigma),
        taught_loaders(args) if args.teacher else make_loaders(args, crop),
        schedule=partial(warm_cosine, warmup=args.warmup),
        augment=lambda images: cutout(jitter_colour(images)),
        ema=args.ema,
        flip=True,
    )


if __name__ == "__main__":
    main()
