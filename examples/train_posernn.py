"""Train one of PoseRNN's three networks on LSP or LSPET, and report PCK@0.2 per joint.

    python examples/train_posernn.py --data lspet --decoder lstm --output runs/posernn_lstm

The paper's recipe: half the sum of squared pixel errors of the annotated joints, Adam at 1e-3,
halved every 1,000 iterations, batches of 25 people, 10,000 iterations (36 epochs of 7,000 people),
no augmentation. The paper's crops have a margin of 20 pixels around the joints of MPII's people;
LSPET's people are smaller and get a padding of 1.25. `--imagenet` starts from ImageNet's VGG16
without batch norm, as the `_pt` networks of the code.
"""

import sys
from pathlib import Path
from typing import Any

import torch

import posezoo
from posezoo.data import LSP, PersonCrop
from posezoo.losses import keypoint_l2

sys.path.insert(0, str(Path(__file__).parent))
from training import make_loaders, options, train

HALVED_EVERY = 1000  # iterations (section 4.4)


def batch_loss(model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
    """Half the sum of the squared pixel errors."""
    return keypoint_l2(model(batch["image"]).float(), batch["keypoints"], batch["visible"], half=True)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = options(__doc__, size=(224, 224), epochs=36, batch_size=25, lr=1e-3)
    parser.add_argument("--decoder", choices=("cnn", "lstm", "attention"), default="lstm")
    parser.add_argument("--imagenet", action="store_true", help="start from ImageNet weights, which are downloaded")
    args = parser.parse_args(arguments)

    torch.manual_seed(args.seed)
    trunk = {"batch_norm": False, "pretrained_backbone": True} if args.imagenet else {}
    model = posezoo.create(
        args.model or f"posernn_{args.decoder}", num_keypoints=len(LSP.skeleton), skeleton=LSP.skeleton.name, **trunk
    )
    return train(
        args,
        model,
        torch.optim.Adam(model.parameters(), lr=args.lr),
        batch_loss,
        make_loaders(args, PersonCrop(size=tuple(args.size), keep_aspect=model.keep_aspect)),
        schedule=lambda step, steps: 0.5 ** (step // HALVED_EVERY),
    )


if __name__ == "__main__":
    main()
