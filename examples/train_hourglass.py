"""Train a Stacked Hourglass with the authors' recipe, and report PCK@0.2, on MPII PCKh@0.5 too.

    python examples/train_hourglass.py --data mpii:mpii --recipe paper --output runs/hourglass_8
    python examples/train_hourglass.py --data lspet:lspet --output runs/hourglass

From the authors' first code: mean squared error summed over the stacks; empty target maps for
joints without annotation; RMSprop at 2.5e-4, a fifth of it at the end, batches of 6; rotation N(0,
30 degrees) with probability 0.4, flip with probability 0.5, each colour channel multiplied by 0.6
to 1.4; flip averaging at test time. From the paper and their second code: Gaussians of 1 cell
(`--sigma 1.75` for the first code's).

`--recipe paper` is 8 stacks and 880,000 batches of MPII (`recipes.py`). `--recipe fast` is 2 stacks
and 100 epochs, with a scale of N(1, 0.25) clipped to 0.75 and 1.25; on LSP and LSPET the person's
size is that of the joints' box. `--width 64 --size 128 128` is a small run. `train_heatmap.py`
trains mmpose's hourglass52.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

import posezoo
from posezoo.losses import heatmap_mse
from posezoo.models.hourglass import StackedHourglass

from recipes import parse
from training import make_loaders, options, skeleton_of, train

COLOUR = 0.4  # each channel's gain is 1 - COLOUR to 1 + COLOUR


def batch_loss(model: torch.nn.Module, batch: dict[str, Any], *, network: StackedHourglass, sigma: float) -> Tensor:
    stages = [stage.float() for stage in model(batch["image"], all_stages=True)]
    target, _ = network.encode_targets(batch["keypoints"], batch["visible"], stages, sigma=sigma)[-1]
    return torch.stack([heatmap_mse(stage, target) for stage in stages]).sum()


def gains(images: Tensor) -> Tensor:
    factors = 1 + COLOUR * (2 * torch.rand(len(images), 3, 1, 1, device=images.device) - 1)
    return (images * factors).clamp(0, 1)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = options(__doc__)
    parser.add_argument("--width", type=int, default=256, help="channels after the stem; the paper: 256")
    parser.add_argument("--sigma", type=float, help="of the target Gaussians, in heatmap cells")
    args, recipe = parse(parser, "hourglass", arguments)
    skeleton = skeleton_of(args, recipe.readers)

    torch.manual_seed(args.seed)
    model = posezoo.create(args.model, width=args.width, num_keypoints=len(skeleton), skeleton=skeleton.name)
    if not isinstance(model, StackedHourglass):
        parser.error(f"{args.model} has another recipe; this one is for hourglass_1 to hourglass_8")
    return train(
        args,
        model,
        torch.optim.RMSprop(model.parameters(), lr=args.lr, alpha=0.99, eps=1e-8),
        partial(batch_loss, network=model, sigma=args.sigma),
        make_loaders(args, recipe.person_crop(args.size, skeleton, args.crop), recipe.readers),
        schedule=recipe.rate(args),
        augment=gains,
        flip=True,
    )


if __name__ == "__main__":
    main()
