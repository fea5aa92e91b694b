"""Train Iterative Error Feedback on LSP or LSPET by fixed path consolidation, and report PCK@0.2 per joint.

    python examples/train_ief.py --data lspet --output runs/ief
    python examples/train_ief.py --data lspet --output runs/ief --epochs-per-step 3 3 3 3     # the paper's

The network learns to make one correction. The poses it is shown are not its own but lie on the
straight path from the median pose to the truth, 20 pixels apart. Training starts with the first
correction of everybody; every few epochs the next one joins, and all so far go on being trained.
Stochastic gradient descent, ten times slower in the last three epochs, as the authors' trainer.
Batch size, mirroring, and the jitter of scale and position are not published.

Each step of the curriculum is a run of `training.train` that goes on from the one before;
`--resume` finds its place."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

import posezoo
from posezoo.data import LSP, PersonCrop
from posezoo.losses import bounded_correction
from posezoo.models.ief import SIZE, fixed_path

sys.path.insert(0, str(Path(__file__).parent))
from training import Cropped, make_loaders, options, poses_in_crops, train

SLOW_EPOCHS, SLOW = 3, 0.1  # the last epochs, and their factor of the learning rate
SCALE_STEP = 2**0.25  # between the authors' crops of one person
SHIFT = 16 / 256  # of a crop of 256 pixels any 224 are used


class Pool(Dataset[dict[str, Any]]):
    """Every person once for each of the first `steps` corrections, with `start`, the pose to correct."""

    def __init__(self, cropped: Cropped, initial_pose: torch.Tensor, steps: int, max_step: float) -> None:
        self.cropped, self.people = cropped, cropped.people
        self.initial_pose, self.steps, self.max_step = initial_pose, steps, max_step

    def __len__(self) -> int:
        return self.steps * len(self.cropped)

    def __getitem__(self, index: int) -> dict[str, Any]:
        person, done = divmod(index, self.steps)
        sample = self.cropped[person]
        path = fixed_path(
            self.initial_pose, sample["keypoints"], sample["visible"], num_steps=done, max_step=self.max_step
        )
        return {**sample, "start": path[done]}


def batch_loss(model: torch.nn.Module, batch: dict[str, Any], *, max_step: float) -> torch.Tensor:
    """How far one correction of each pose is from the right one."""
    pred = model(batch["image"], keypoints=batch["start"])
    return bounded_correction(pred, batch["start"], batch["keypoints"], batch["visible"], max_step=max_step)


def curriculum(epochs_per_step: list[int]) -> Iterator[tuple[int, int, float]]:
    """Corrections that are trained, epochs, and factor of the learning rate, one run after the other."""
    *first, last = epochs_per_step
    slow = min(SLOW_EPOCHS, last)
    runs = [(steps, epochs, 1.0) for steps, epochs in enumerate([*first, last - slow], start=1)]
    yield from (run for run in [*runs, (len(epochs_per_step), slow, SLOW)] if run[1])


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = options(__doc__, model="ief", size=(SIZE, SIZE), epochs=0, batch_size=32, lr=2e-3)
    parser.add_argument(
        "--epochs-per-step", type=int, nargs="+", default=[6, 6, 6, 9], help="as many numbers as corrections"
    )
    args = parser.parse_args(arguments)
    if args.epochs:
        parser.error("--epochs: this paper's are given with --epochs-per-step")
    crop = PersonCrop(
        size=tuple(args.size), skeleton=LSP.skeleton, scale=(1 / SCALE_STEP, SCALE_STEP), translation=SHIFT, flip=0.5
    )
    train_loader, val_loader = make_loaders(args, crop)
    people = train_loader.dataset.people
    poses = poses_in_crops(people, val_loader.dataset.crop)

    report: dict[str, Any] = {}
    for steps, epochs, factor in curriculum(args.epochs_per_step):
        torch.manual_seed(args.seed)
        model = posezoo.create(
            args.model, num_keypoints=len(LSP.skeleton), skeleton=LSP.skeleton.name, num_steps=len(args.epochs_per_step)
        )
        model.set_initial_pose(poses, people.visible)
        pool = Pool(train_loader.dataset, model.initial_pose, steps, model.max_step)
        pool_loader = DataLoader(
            pool,
            args.batch_size,
            shuffle=True,
            drop_last=len(pool) > args.batch_size,
            num_workers=args.workers,
            persistent_workers=args.workers > 0,
        )
        args.epochs += epochs
        ran = train(
            args,
            model,
            torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=5e-4),
            partial(batch_loss, max_step=model.max_step),
            (pool_loader, val_loader),
            schedule=lambda step, steps, factor=factor: factor,
        )
        report = ran or report  # empty where a run had ended before --resume
        args.resume = True
    return report


if __name__ == "__main__":
    main()
