r"""Train a Convolutional Pose Machine with the authors' recipe; report PCK@0.2, on MPII PCKh@0.5 too.

    python examples/train_cpm.py --data mpii:mpii --recipe paper --output runs/cpm_mpii
    python examples/train_cpm.py --data flic:FLIC --recipe paper --output runs/cpm_flic
    python examples/train_cpm.py --data lspet:lspet --output runs/cpm

From the authors' training files: Caffe's Euclidean loss summed over the stages; belief maps of 7
pixels with a background map; empty target maps for missing joints; SGD with momentum 0.9, the rates
of stage 1 five times the others' (vgg: those of the later stages four times), of biases twice the
weights', no weight decay on biases; the rate multiplied by 0.333 after each 136,106 of 600,000
iterations, with `--recipe fast` after the same fraction of the run. The person is about 234 of 368 pixels high,
scaled by 0.7 to 1.3; rotation up to 40 degrees either way, flip with probability 0.5, no
translation.

The target of stage 1 has all people of the image, on MPII and FLIC with their other people; that of
later stages the central one. On LSP the paper's recipe has the authors' sizes of people, from the
lengths of their limbs (`data_sources.limb_boxes`), `--recipe fast` the boxes of their joints. The
evaluation during the training is at one scale; `examples/evaluate.py --scales cpm`, on LSP with
`--crop cpm-lsp`, is the paper's test.
`train_heatmap.py` trains mmpose's variant. The paper's 600,000 batches of 16 begin with a long
plateau where all maps are empty. A small run without a GPU, on the trunk of a text detector
(`craft.py`) and with the predictions of another network as labels (`teaching.py`), which also sets
the crops:

    python examples/train_cpm.py --data lspet:lspet --model cpm_vgg_6s --width 64 --stages 3 \
        --size 128 128 --adam --lr 1e-3 --craft craft_mlt_25k.pth \
        --teacher simple_baseline_lite.lsp14_192x192 --output runs/cpm
"""

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

import posezoo
from posezoo.losses import belief_loss
from posezoo.models.cpm import CPM, cpm_targets

from craft import start_from_craft
from recipes import parse
from teaching import add_options, taught_loaders
from train_heatmap import warm_cosine
from training import make_loaders, options, skeleton_of, train

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
CRAFT_RATE, CRAFT_IMAGES = 0.5, 64  # factor on the trunk's learning rate if it starts from CRAFT's; images for that
SMALL = 0.01  # He's initial weights of maps are multiplied by it


def parameter_groups(model: CPM, lr: float) -> list[dict[str, Any]]:
    """Parameter groups with Caffe's multipliers of learning rate and weight decay."""
    own_trunk = model.design.trunk is None
    rates = {"trunk": 1, "stage1": 5 if own_trunk else 1, "stages": 1 if own_trunk else 4}
    groups = []
    for part, rate in rates.items():
        for bias in (False, True):
            named = getattr(model, part).named_parameters()
            parameters = [parameter for name, parameter in named if name.endswith("bias") == bias]
            factor, decay = (2, 0.0) if bias else (1, WEIGHT_DECAY)
            groups.append({"params": parameters, "lr": lr * rate * factor, "weight_decay": decay})
    return groups


def batch_loss(model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
    stages = [stage.float() for stage in model(batch["image"], all_stages=True)]
    people, visible = batch["keypoints"][:, None], batch["visible"][:, None]
    if "others" in batch:  # on the targets of stage 1
        people, visible = torch.cat([people, batch["others"]], 1), torch.cat([visible, batch["others_visible"]], 1)
    return belief_loss(stages, *cpm_targets(people, visible, size=stages[-1].shape[-2:]))


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = options(__doc__)
    parser.add_argument("--width", type=int, default=128, help="channels of the features; the paper: 128")
    parser.add_argument(
        "--pretrained-backbone",
        action="store_true",
        help="ImageNet weights for the VGG-19 backbone of cpm_vgg_6s",
    )
    parser.add_argument(
        "--adam",
        action="store_true",
        help="Adam, a warm cosine and He's initial weights instead of the authors' SGD, steps and N(0, 0.01)",
    )
    parser.add_argument("--stages", type=int, help="number of stages. Defaults to the network's")
    parser.add_argument("--craft", type=Path, help="craft_mlt_25k.pth, for the trunk of cpm_vgg_*; needs --adam")
    add_options(parser)
    args, recipe = parse(parser, "cpm", arguments)
    if args.craft and not args.adam:
        parser.error("--craft: the layers are scaled for --adam")
    skeleton = skeleton_of(args, recipe.readers)

    torch.manual_seed(args.seed)
    model = posezoo.create(
        args.model,
        width=args.width,
        **({"num_stages": args.stages} if args.stages else {}),
        num_keypoints=len(skeleton),
        skeleton=skeleton.name,
        pretrained_backbone=args.pretrained_backbone or None,
    )
    if not model.design.background:
        parser.error(f"{args.model} has no background map; this recipe is for cpm_9x9_* and cpm_vgg_*")
    crop = recipe.person_crop(args.size, skeleton, args.crop)
    loaders = taught_loaders(args) if args.teacher else make_loaders(args, crop, recipe.readers)
    if args.adam:
        for part in (model.stages, model.stage1) if args.pretrained_backbone else (model,):
            for layer in part.modules():
                if isinstance(layer, torch.nn.Conv2d):
                    torch.nn.init.kaiming_normal_(layer.weight)
        with torch.no_grad():  # or the first steps would only make the maps small
            for part in (model.stage1, *(stage.beliefs for stage in model.stages)):
                part[-1].weight.mul_(SMALL)
        rate = 1.0
        if args.craft:
            images = torch.cat([batch["image"] for batch in islice(loaders[0], -(-CRAFT_IMAGES // args.batch_size))])
            model.normalize, rate = start_from_craft(model.trunk, args.craft, images), CRAFT_RATE
        own = [*model.stage1.parameters(), *model.stages.parameters()]
        groups = [{"params": model.trunk.parameters(), "lr": rate * args.lr}, {"params": own}]
        optimizer: torch.optim.Optimizer = torch.optim.Adam(groups, lr=args.lr)
    else:
        optimizer = torch.optim.SGD(parameter_groups(model, args.lr), momentum=MOMENTUM)
    rates = partial(warm_cosine, warmup=0.05) if args.adam else recipe.rate(args)
    return train(args, model, optimizer, batch_loss, loaders, schedule=rates)


if __name__ == "__main__":
    main()
