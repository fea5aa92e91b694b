"""Train Tompson et al.'s coarse-to-fine network in the paper's three phases.

    python examples/train_tompson.py --recipe paper --data mpii:mpii --phase coarse --output runs/coarse
    python examples/train_tompson.py --recipe paper --data mpii:mpii --phase fine --output runs/fine \\
        --init runs/coarse/model
    python examples/train_tompson.py --recipe paper --data mpii:mpii --phase joint --output runs/joint \\
        --init runs/fine/model

First the coarse model alone (loss E1), then the fine model on windows of the frozen coarse one
(E2), then both (E3 = E1 + 0.1 E2). From the paper: Gaussians of 1.5 cells at the unrounded joint,
rotation by up to 20 degrees, scale from 0.5 to 1.5, flip with probability 0.5, a crop of 256 pixels
for a person of 200, no flip averaging. The learning rate, momentum and weight decay of SGD are
those of a reimplementation. With `--recipe fast` the rate drops to a tenth in the last quarter of
each phase. The spatial model is trained by `train_spatial_model.py`, with `--joint` together with
the detector. `--width 16 --fc-width 64 --window 16 --size 128 128 --batch-size 8 --lr 5e-3` is a
small run for CPUs. `--adam --lr 1e-3` learns faster, and `--teacher` sets labels and crops
(`teaching.py`).
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch

import posezoo
from posezoo.heatmaps import encode
from posezoo.losses import coarse_to_fine_sse, heatmap_sse
from posezoo.skeletons import Skeleton

from recipes import parse
from teaching import add_options, taught_loaders
from training import make_loaders, options, skeleton_of, train

SIGMA = 1.5  # cells of the coarse heatmaps, pixels of the fine ones
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4


def batch_loss(model: torch.nn.Module, batch: dict[str, Any], phase: str) -> torch.Tensor:
    """E1, E2 or E3; missing joints are excluded."""
    pairs = []
    for stage in model(batch["image"], all_stages=True):
        size = (stage.shape[-2], stage.shape[-1])
        stride = batch["image"].shape[-1] / size[1]
        where: dict[str, Any] = {"size": size, "stride": stride, "offset": (stride - 1) / 2}
        target, _ = encode(batch["keypoints"], batch["visible"], **where, sigma=SIGMA, method="gaussian")
        pairs.append((stage.float(), target))
    weights = batch["visible"].float()
    if phase == "joint":
        return coarse_to_fine_sse(pairs[0], pairs[1], weights)
    return heatmap_sse(*pairs[-1], weights)


def build(args: Any, skeleton: Skeleton) -> Any:
    """Create the network of a phase from the weights of the one before; freeze untrained parts."""
    model = posezoo.create(
        args.model,
        width=args.width,
        fc_width=args.fc_width,
        crop=args.window,
        fine=args.phase != "coarse",
        dropout=0.0 if args.phase == "fine" else None,  # the frozen part runs as in testing
        num_keypoints=len(skeleton),
        skeleton=skeleton.name,
    )
    if args.init:
        before = posezoo.weights.read_state_dict(args.init / "model.safetensors")
        posezoo.weights.load_state_dict(model, {**model.state_dict(), **before})
    if args.phase == "fine":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith("fine."))
    return model


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = options(__doc__, model="tompson_mpii")
    parser.add_argument("--phase", choices=("coarse", "fine", "joint"), required=True)
    parser.add_argument("--init", type=Path, help="folder `model` of the phase before")
    parser.add_argument("--width", type=int, default=128, help="channels of the first layers; the paper: 128")
    parser.add_argument("--window", type=int, default=36, help="pixels on a side of the fine model's windows")
    parser.add_argument("--fc-width", type=int, default=512, help="channels of the 9x9 layer; the paper: 512")
    parser.add_argument("--adam", action="store_true", help="Adam in place of SGD")
    add_options(parser)
    args, recipe = parse(parser, "tompson", arguments)
    skeleton = skeleton_of(args, recipe.readers)
    if args.phase != "coarse" and not args.init:
        parser.error(f"--phase {args.phase} needs --init, the folder `model` of the phase before")

    torch.manual_seed(args.seed)
    model = build(args, skeleton)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer: torch.optim.Optimizer = torch.optim.Adam(trained, lr=args.lr)
    if not args.adam:
        optimizer = torch.optim.SGD(trained, lr=args.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    crop = recipe.person_crop(args.size, skeleton, args.crop)
    loaders = taught_loaders(args) if args.teacher else make_loaders(args, crop, recipe.readers)
    return train(args, model, optimizer, partial(batch_loss, phase=args.phase), loaders, schedule=recipe.rate(args))


if __name__ == "__main__":
    main()
