"""Train one of PoseRNN's three networks, and report PCK@0.2 per joint, on MPII PCKh@0.5 too.

    python examples/train_posernn.py --data mpii:mpii --recipe paper --decoder lstm --output runs/posernn
    python examples/train_posernn.py --data lspet:lspet --decoder lstm --output runs/posernn_lstm

The paper's recipe: half the sum of squared pixel errors of the annotated joints, Adam at 1e-3,
halved every 1,000 iterations, batches of 25 people, 10,000 iterations, no augmentation, crops with
a margin of 20 pixels around the joints of MPII's people. `--recipe fast` has a padding of 1.25,
since LSPET's people are smaller, and 36 epochs. `--imagenet` starts from ImageNet's VGG16
without batch norm, as the `_pt` networks of the code.

On a frozen backbone, here the default network's, whose features are computed once
(`frozen_backbone.py`), from the mean pose:

    python examples/train_posernn.py --data lspet --train-images 1 7000 7501 9500 --output
        runs/posernn_attention \\ --decoder attention --backbone tf_efficientnet_lite2 --start
        simple_baseline_lite --freeze-backbone \\ --cache 8 --augment --mixed-precision bf16
        --epochs 12 --batch-size 100 --halve-every 2000
"""

from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader

import posezoo
from posezoo.losses import keypoint_l2
from posezoo.models.posernn import PoseCNN

from frozen_backbone import add_options, cached_loader, check_options, device_of_features, start_backbones
from recipes import parse
from train_heatmap import keep_depthwise_in_float32
from training import make_loaders, options, poses_in_crops, skeleton_of, train

# of --augment
AUGMENTATION: dict[str, Any] = {"scale": 0.25, "rotation": 30, "flip": 0.5, "translation": 0.1}
SPREAD = 50  # pixels, about the distance of joints from their mean


def batch_loss(model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
    """Half the sum of the squared pixel errors."""
    pred = model(None, features=batch["features"]) if "features" in batch else model(batch["image"])
    return keypoint_l2(pred.float(), batch["keypoints"], batch["visible"], half=True)


@torch.no_grad()
def start_at(model: Any, pose: torch.Tensor) -> None:
    """Set the biases of the last layers to a pose `(K, 2)`, and scale their weights by `SPREAD`.

    Zeros, and outputs of a pixel or less, are hundreds of iterations away.
    """
    layers = [layer for layer in model.head.modules() if isinstance(layer, torch.nn.Linear) and layer.out_features == 2]
    if isinstance(model, PoseCNN):
        layers, pose = [model.head[0]], pose.view(1, -1)
    for layer, bias in zip(layers, pose, strict=True):
        layer.bias.copy_(bias)
        layer.weight.mul_(SPREAD)


def cached(args: Any, model: Any, loader: DataLoader) -> DataLoader:
    """Replace a loader of crops by one of features of `args.cache` crops per person."""
    device = device_of_features()
    model.to(device).eval()

    @torch.no_grad()
    def describe(batch: dict[str, Any]) -> dict[str, Any]:
        with torch.autocast(device, torch.bfloat16, enabled=args.mixed_precision == "bf16"):
            features = model.backbone_features(batch["image"].to(device, memory_format=torch.channels_last))
        return {"features": features, "keypoints": batch["keypoints"], "visible": batch["visible"]}

    # every decoder can use them
    named = ("backbone", "start", "size", "train_images", "augment", "seed")
    settings = {name: getattr(args, name) for name in named}
    return cached_loader(args, loader, describe, settings)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = options(__doc__)
    parser.add_argument("--decoder", choices=("cnn", "lstm", "attention"), default="lstm")
    parser.add_argument("--imagenet", action="store_true", help="start from ImageNet weights, which are downloaded")
    parser.add_argument("--halve-every", type=int, help="iterations, of the learning rate")
    parser.add_argument("--augment", action="store_true", help="scale, turn, mirror and shift the crops")
    parser.add_argument("--neck-width", type=int, help="channels after --backbone; see the network")
    parser.add_argument("--fc-width", type=int, help="of the dense layers of --decoder cnn")
    add_options(parser, cache=True)
    args, recipe = parse(parser, "posernn", arguments)
    check_options(parser, args)

    torch.manual_seed(args.seed)
    trunk = {"batch_norm": False, "pretrained_backbone": True} if args.imagenet else {}
    trunk |= {"backbone": args.backbone, "neck_width": args.neck_width}
    skeleton = skeleton_of(args, recipe.readers)
    if args.decoder == "cnn":
        trunk["fc_width"] = args.fc_width
    model = posezoo.create(
        args.model or f"posernn_{args.decoder}", num_keypoints=len(skeleton), skeleton=skeleton.name, **trunk
    )
    frozen = start_backbones(model, [model.backbone], args) if args.backbone else []
    if args.backbone and not torch.cuda.is_available():
        keep_depthwise_in_float32(model.backbone)
    crop = recipe.person_crop(args.size, skeleton, args.crop)
    if args.augment:
        crop = replace(crop, **AUGMENTATION)
    loaders = make_loaders(args, crop, recipe.readers)
    if args.backbone:
        poses = poses_in_crops(loaders[0].dataset.people, loaders[1].dataset.crop)  # type: ignore[attr-defined]
        start_at(model, poses.nanmean(dim=0))
    if args.cache:
        loaders = cached(args, model, loaders[0]), loaders[1]
    return train(
        args,
        model,
        torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=args.lr),
        batch_loss,
        loaders,
        schedule=(lambda step, steps: 0.5 ** (step // args.halve_every)) if args.halve_every else recipe.rate(args),
        frozen=frozen,
    )


if __name__ == "__main__":
    main()
