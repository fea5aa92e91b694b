"""Train a Stacked Hourglass on LSP or LSPET with the authors' recipe, and report PCK@0.2.

    python examples/train_hourglass.py --data lspet --output runs/hourglass

From the authors' first code: mean squared error summed over the stacks; empty target maps for
joints without annotation; RMSprop at 2.5e-4, a fifth of it at the end, batches of 6; rotation N(0,
30 degrees) with probability 0.4, flip with probability 0.5, each colour channel multiplied by 0.6
to 1.4; flip averaging at test time. From the paper and their second code: Gaussians of 1 cell
(`--sigma 1.75` for the first code's).

Differences: the person's size is that of the joints' box; scale is N(1, 0.25) clipped to 0.75 and
1.25, the paper's range and bearpaw's distribution, where the first code has 2 to the power of N(0,
0.25). The authors train for 800,000 batches on MPII. `--width 64 --size 128 128` is a small run.
`train_heatmap.py` trains mmpose's hourglass52.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import posezoo
from posezoo.data import LSP, PersonCrop
from posezoo.losses import heatmap_mse
from posezoo.models.hourglass import StackedHourglass

sys.path.insert(0, str(Path(__file__).parent))
from training import make_loaders, options, train

ROTATION, ROTATION_PROBABILITY = 30, 0.4
SCALE = 0.25
COLOUR = 0.4  # each channel's gain is 1 - COLOUR to 1 + COLOUR
DROP_AFTER, DROP_TO = 0.9, 0.2  # "a few more" epochs at a fifth of the rate


def batch_loss(model: torch.nn.Module, batch: dict[str, Any], *, network: StackedHourglass, sigma: float) -> Tensor:
    stages = [stage.float() for stage in model(batch["image"], all_stages=True)]
    target, _ = network.encode_targets(batch["keypoints"], batch["visible"], stages, sigma=sigma)[-1]
    return torch.stack([heatmap_mse(stage, target) for stage in stages]).sum()


def gains(images: Tensor) -> Tensor:
    factors = 1 + COLOUR * (2 * torch.rand(len(images), 3, 1, 1, device=images.device) - 1)
    return (images * factors).clamp(0, 1)


def schedule(step: int, steps: int) -> float:
    return 1.0 if step < DROP_AFTER * steps else DROP_TO


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = options(__doc__, model="hourglass_2", size=(256, 256), epochs=100, batch_size=6, lr=2.5e-4)
    parser.add_argument("--width", type=int, default=256, help="channels after the stem; the paper: 256")
    parser.add_argument("--sigma", type=float, default=1.0, help="of the target Gaussians, in heatmap cells")
    args = parser.parse_args(arguments)

    torch.manual_seed(args.seed)
    model = posezoo.create(args.model, width=args.width, num_keypoints=len(LSP.skeleton), skeleton=LSP.skeleton.name)
    if not isinstance(model, StackedHourglass):
        parser.error(f"{args.model} has another recipe; this one is for hourglass_1 to hourglass_8")
    crop = PersonCrop(
        size=tuple(args.size),
        skeleton=LSP.skeleton,
        scale=SCALE,
        rotation=ROTATION,
        rotation_probability=ROTATION_PROBABILITY,
        flip=0.5,
    )
    return train(
        args,
        model,
        torch.optim.RMSprop(model.parameters(), lr=args.lr, alpha=0.99, eps=1e-8),
        partial(batch_loss, network=model, sigma=args.sigma),
        make_loaders(args, crop),
        schedule=schedule,
        augment=gains,
        flip=True,
    )


if __name__ == "__main__":
    main()
