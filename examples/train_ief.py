"""Train Iterative Error Feedback by fixed path consolidation; report PCK@0.2, on MPII PCKh@0.5 too.

    python examples/train_ief.py --data mpii:mpii --recipe paper --output runs/ief
    python examples/train_ief.py --data lspet:lspet --output runs/ief_lspet

The network is trained on single corrections. Its input poses are not its own predictions but lie on
the straight path from the median pose, of the visible joints, to the ground truth, 20 pixels apart.
Training starts with the first correction of all people; every few epochs the next one is added to
the training set. The optimiser is SGD with a tenth of the learning rate in the last three epochs, as in the authors'
trainer. Batch size, flip, and the range of scale and translation are not published.

On a backbone that was trained before, of which the filters of the rendered keypoints start at 0:

    python examples/train_ief.py --data lspet --train-images 1 7000 7501 9500 --output runs/ief \\
        --backbone tf_efficientnet_lite2 --start simple_baseline_lite --mixed-precision bf16 \\
        --optimizer adamw --lr 5e-4 --epochs-per-step 1 1 1 1

A shorter run: `--size 128 128 --epochs-per-step 0 0 0 2 --draws 1`, without the curriculum and with
one random correction of each person in an epoch. With AdamW and one step of the curriculum the
learning rate follows half a cosine. Steps and rendered keypoints are scaled to the size.

The rendered pose is an input of the first layer, so that features cannot be computed in advance;
`--freeze-backbone` trains the new filters, the neck and the head only.

Each step of the curriculum is a run of `training.train` that continues the one before; `--resume`
finds the step.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

import posezoo
from posezoo.losses import bounded_correction
from posezoo.models.ief import MAX_STEP, SIGMA, SIZE, fixed_path

from data_sources import Cropped
from frozen_backbone import add_options, check_options, start_backbones
from recipes import parse
from train_deeppose import cosine
from train_heatmap import keep_depthwise_in_float32
from training import collate, make_loaders, options, poses_in_crops, skeleton_of, train

SLOW_EPOCHS, SLOW = 3, 0.1  # number of last epochs, and their factor on the learning rate


class Pool(Dataset[dict[str, Any]]):
    """Samples of the first `steps` corrections of every person, or of `draws` of them at random;
    `start` is the pose to correct.
    """

    def __init__(
        self, cropped: Cropped, initial_pose: torch.Tensor, steps: int, max_step: float, draws: int | None = None
    ) -> None:
        self.cropped, self.people = cropped, cropped.people
        self.initial_pose, self.steps, self.max_step = initial_pose, steps, max_step
        self.draws = min(draws or steps, steps)

    def __len__(self) -> int:
        return self.draws * len(self.cropped)

    def __getitem__(self, index: int) -> dict[str, Any]:
        person, done = divmod(index, self.draws)
        if self.draws < self.steps:
            done = int(torch.randint(self.steps, ()))
        sample = self.cropped[person]
        path = fixed_path(
            self.initial_pose, sample["keypoints"], sample["visible"], num_steps=done, max_step=self.max_step
        )
        return {**sample, "start": path[done]}


def batch_loss(model: torch.nn.Module, batch: dict[str, Any], *, max_step: float) -> torch.Tensor:
    """Loss of one correction of each pose."""
    pred = model(batch["image"], keypoints=batch["start"])
    return bounded_correction(pred, batch["start"], batch["keypoints"], batch["visible"], max_step=max_step)


def curriculum(epochs_per_step: list[int]) -> Iterator[tuple[int, int, float]]:
    """Runs in order: number of corrections, epochs, and factor on the learning rate."""
    *first, last = epochs_per_step
    slow = min(SLOW_EPOCHS, last)
    runs = [(steps, epochs, 1.0) for steps, epochs in enumerate([*first, last - slow], start=1)]
    yield from (run for run in [*runs, (len(epochs_per_step), slow, SLOW)] if run[1])


def optimizer_of(args: Any, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    if args.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=args.lr, weight_decay=1e-2)
    return torch.optim.SGD(parameters, lr=args.lr, momentum=0.9, weight_decay=5e-4)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = options(__doc__, model="ief", epochs=0)
    parser.add_argument("--epochs-per-step", type=int, nargs="+", help="one number per correction")
    parser.add_argument("--draws", type=int, help="corrections of a person in an epoch. Defaults to all of them")
    parser.add_argument("--optimizer", choices=("sgd", "adamw"))
    parser.add_argument("--init", type=Path, help="checkpoint of the same network to start from")
    add_options(parser, cache=False)
    args, recipe = parse(parser, "ief", arguments)
    check_options(parser, args)
    pixels = {}  # steps and rendered keypoints keep their size relative to the image
    if args.backbone and args.size[0] != SIZE:
        factor = args.size[0] / SIZE
        pixels = {"size": args.size[0], "max_step": factor * MAX_STEP, "sigma": factor * SIGMA}
    if args.epochs or args.iterations:
        parser.error("--epochs and --iterations: use --epochs-per-step, one number per correction")
    skeleton = skeleton_of(args, recipe.readers)
    train_loader, val_loader = make_loaders(args, recipe.person_crop(args.size, skeleton, args.crop), recipe.readers)
    people = train_loader.dataset.people
    poses = poses_in_crops(people, val_loader.dataset.crop)

    report: dict[str, Any] = {}
    runs = list(curriculum(args.epochs_per_step))
    for steps, epochs, factor in runs:
        torch.manual_seed(args.seed)
        model = posezoo.create(
            args.model, num_keypoints=len(skeleton), skeleton=skeleton.name,
            num_steps=len(args.epochs_per_step), backbone=args.backbone, **pixels,
        )  # fmt: skip
        frozen = start_backbones(model, [model.backbone], args) if args.backbone else []
        if args.backbone:
            model.backbone.get_submodule(model.first_conv).more.requires_grad_(True)
            if not torch.cuda.is_available():
                keep_depthwise_in_float32(model.backbone)
        if args.init:
            posezoo.load_checkpoint(model, args.init)
        model.set_initial_pose(poses, people.visible)
        pool = Pool(train_loader.dataset, model.initial_pose, steps, model.max_step, args.draws)
        pool_loader = DataLoader(
            pool,
            args.batch_size,
            shuffle=True,
            drop_last=len(pool) > args.batch_size,
            num_workers=args.workers,
            persistent_workers=args.workers > 0,
            collate_fn=collate,
        )
        args.epochs += epochs
        report = train(
            args,
            model,
            optimizer_of(args, [p for p in model.parameters() if p.requires_grad]),
            partial(batch_loss, max_step=model.max_step),
            (pool_loader, val_loader),
            schedule=cosine if args.optimizer == "adamw" and len(runs) == 1 else lambda step, steps, rate=factor: rate,
            frozen=frozen,
        )
        args.resume = True
    return report


if __name__ == "__main__":
    main()
