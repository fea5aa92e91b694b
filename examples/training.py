"""Shared by the training scripts: data loaders of LSP or LSPET, training loop and evaluation.

A script adds a network and its paper's loss, targets, augmentation and optimiser;
`train_heatmap.py` is the simplest. All of them run in one process, in several, or on several
machines (`accelerate launch examples/…`), write a checkpoint after every epoch, and continue from
it with `--resume`.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from posezoo.data import LSP, PersonCrop
from posezoo.geometry import box_to_crop, crop_matrix, invert, tight_box, transform_points
from posezoo.metrics import labelled_mean, pdj, torso_diameter
from posezoo.skeletons import convert

Batch = dict[str, Any]
Report = dict[str, Any]


def options(description: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """Command line of all training scripts; `defaults` override their defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required="data" not in defaults, help="folder of LSP or LSPET, with joints.mat in it"
    )
    parser.add_argument(
        "--train-images", type=int, nargs="+", default=(1, 7000), metavar="FIRST LAST", help="one range or several"
    )
    parser.add_argument("--val-images", type=int, nargs=2, default=(7001, 7500), metavar=("FIRST", "LAST"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in --output")
    parser.add_argument("--model")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int, help="per process")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--mixed-precision", choices=("no", "bf16", "fp16"), default="no")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--eval-every", type=int, default=5, help="epochs")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(**defaults)
    return parser


# ---------------------------------------------------------------------------------------------------- data


class People(Dataset[Batch]):
    """People of LSP or LSPET in several ranges of images.

    Args:
        root: of the dataset.
        images: first and last number of each range, one range after the other.

    Raises:
        ValueError: an odd number of numbers.
    """

    def __init__(self, root: Path, images: Sequence[int]) -> None:
        if not images or len(images) % 2:
            raise ValueError(f"--train-images: expected FIRST LAST of each range, got {' '.join(map(str, images))}")
        self.parts = [LSP(root, images=(first, last)) for first, last in zip(images[::2], images[1::2], strict=True)]
        self.keypoints = torch.cat([part.keypoints for part in self.parts])
        self.visible = torch.cat([part.visible for part in self.parts])

    def __len__(self) -> int:
        return len(self.keypoints)

    def __getitem__(self, index: int) -> Batch:
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)


class Cropped(Dataset[Batch]):
    """Apply a `PersonCrop` to a dataset."""

    def __init__(self, people: LSP | People, crop: PersonCrop) -> None:
        self.people, self.crop = people, crop

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, index: int) -> Batch:
        return self.crop(self.people[index])


def make_loaders(args: argparse.Namespace, crop: PersonCrop) -> tuple[DataLoader, DataLoader]:
    """Loaders of training people, augmented by `crop`, and of held-out people, not augmented."""
    plain = PersonCrop(size=crop.size, padding=crop.padding, keep_aspect=crop.keep_aspect)
    train = Cropped(People(args.data, args.train_images), crop)
    val = Cropped(LSP(args.data, images=tuple(args.val_images)), plain)
    loader: dict[str, Any] = {"batch_size": args.batch_size, "num_workers": args.workers}
    loader["persistent_workers"] = args.workers > 0
    return DataLoader(train, shuffle=True, drop_last=len(train) > args.batch_size, **loader), DataLoader(val, **loader)


def poses_in_crops(people: LSP | People, crop: PersonCrop) -> Tensor:
    """Keypoints in pixels of the crops without augmentation, NaN where missing: `(N, K, 2)`."""
    boxes = torch.stack([tight_box(*pose) for pose in zip(people.keypoints, people.visible, strict=True)])
    center, extent = box_to_crop(boxes, crop.size, padding=crop.padding, keep_aspect=crop.keep_aspect)
    poses = transform_points(people.keypoints, crop_matrix(center, extent, crop.size, keep_aspect=crop.keep_aspect))
    return poses.masked_fill(~people.visible[..., None], torch.nan)


# ------------------------------------------------------------------------------------------------ training


def train(
    args: argparse.Namespace,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[nn.Module, Batch], Tensor],
    loaders: tuple[DataLoader, DataLoader],
    *,
    schedule: Callable[[int, int], float] = lambda step, steps: 1.0,
    augment: Callable[[Tensor], Tensor] = lambda images: images,
    ema: float = 0.0,
    flip: bool = False,
    frozen: Sequence[nn.Module] = (),
) -> Report:
    """Train, evaluate every few epochs, and save checkpoints and the final network.

    Args:
        args: from `options`.
        model: from `posezoo.create`.
        optimizer: of the parameters to train.
        loss: function `(model, batch)` to a scalar. Its model may be wrapped for several processes.
        loaders: from `make_loaders`.
        schedule: function `(step, steps)` to a factor on the learning rate. Defaults to a constant
            rate.
        augment: function applied to the batch's images, on the device.
        ema: decay of an exponential moving average of the weights, which is evaluated and saved.
            Defaults to none.
        flip: average with the mirrored image in the evaluation.
        frozen: parts of the model that are not trained, kept in eval mode.

    Returns:
        the report of the last evaluation.
    """
    # several processes without a GPU: Accelerate has to be told, or each would train by itself
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    # networks that are trained partly have parameters without a gradient
    accelerator = Accelerator(
        cpu=several and not torch.cuda.is_available(),
        mixed_precision=args.mixed_precision,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    set_seed(args.seed, device_specific=True)
    train_people, crop = loaders[0].dataset.people, loaders[1].dataset.crop  # type: ignore[attr-defined]
    # saved with the weights, so that predictions get the crops of the training
    model.apply_input_settings({"input_size": crop.size, "padding": crop.padding, "keep_aspect": crop.keep_aspect})
    model = model.to(accelerator.device, memory_format=torch.channels_last)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=True) if ema else None
    final = average.module if average else model
    model, optimizer, train_loader, val_loader = accelerator.prepare(model, optimizer, *loaders)
    steps = args.epochs * len(train_loader)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, steps))
    accelerator.register_for_checkpointing(rates, *([average] if average else []))

    report: Report = {}
    first_epoch = 0
    checkpoint, progress = args.output / "checkpoint", args.output / "progress.json"
    if args.resume and progress.is_file():
        accelerator.load_state(str(checkpoint))
        first_epoch = json.loads(progress.read_text())["epochs_done"]

    for epoch in range(first_epoch, args.epochs):
        start, total = time.perf_counter(), 0.0
        model.train()
        for part in frozen:
            part.eval()
        for step, batch in enumerate(train_loader):
            if "image" in batch:  # not with features that were computed before
                batch["image"] = augment(batch["image"]).to(memory_format=torch.channels_last)
            with accelerator.autocast():
                value = loss(model, batch)
            accelerator.backward(value)
            optimizer.step()
            optimizer.zero_grad()
            rates.step()
            if average:
                average.update_parameters(accelerator.unwrap_model(model))
            total += value.item()
            if step % 50 == 0:
                rate = (step + 1) * args.batch_size * accelerator.num_processes / (time.perf_counter() - start)
                accelerator.print(
                    f"epoch {epoch} step {step}/{len(train_loader)} loss {value.item():.3f} {rate:.1f} img/s",
                    flush=True,
                )
        accelerator.print(
            f"epoch {epoch}: loss {total / len(train_loader):.4f}, {time.perf_counter() - start:.0f} s", flush=True
        )

        last = epoch + 1 == args.epochs
        if last or (epoch + 1) % args.eval_every == 0:
            report = evaluate(accelerator, final, val_loader, flip=flip)
            report["mean_pose"] = evaluate_mean_pose(train_people, val_loader.dataset.people, crop)  # type: ignore[attr-defined]
            accelerator.print(table(report), flush=True)
        accelerator.save_state(str(checkpoint))
        if accelerator.is_main_process:
            progress.write_text(json.dumps({"epochs_done": epoch + 1, **report}, indent=1))

    if accelerator.is_main_process:
        (average.module if average else accelerator.unwrap_model(model)).save_pretrained(args.output / "model")
    accelerator.wait_for_everyone()
    return report


# ---------------------------------------------------------------------------------------------- evaluation


@torch.no_grad()
def evaluate(accelerator: Accelerator, model: Any, loader: DataLoader, *, flip: bool = False) -> Report:
    """Scores of `model.predict` on the people of `loader`, in pixels of the original images."""
    model.eval()
    collected = []
    for batch in loader:
        with accelerator.autocast():
            keypoints, _ = model.predict(batch["image"], flip=flip)
        keypoints, _ = convert(keypoints, model.skeleton, LSP.skeleton)
        to_image = invert(batch["matrix"])
        pair = [transform_points(points.float(), to_image) for points in (keypoints, batch["keypoints"])]
        collected.append(accelerator.gather_for_metrics((*pair, batch["visible"])))
    return scores(*(torch.cat(parts).cpu() for parts in zip(*collected, strict=True)))


def evaluate_mean_pose(train: LSP | People, val: LSP, crop: PersonCrop) -> Report:
    """Scores of a baseline: the mean training pose, relative to the crop, for every person."""
    mean = poses_in_crops(train, crop).nanmean(dim=0)
    boxes = torch.stack([tight_box(*pose) for pose in zip(val.keypoints, val.visible, strict=True)])
    center, extent = box_to_crop(boxes, crop.size, padding=crop.padding, keep_aspect=crop.keep_aspect)
    to_image = invert(crop_matrix(center, extent, crop.size, keep_aspect=crop.keep_aspect))
    return scores(transform_points(mean.expand(len(val), -1, -1), to_image), val.keypoints, val.visible)


def scores(pred: Tensor, target: Tensor, visible: Tensor) -> Report:
    """PCK@0.2 of the torso diameter, per joint and over all annotated joints, and the mean error.

    The error is the mean distance of the annotated joints, in per cent of the longer side of the
    person's tight box.
    """
    torso = torso_diameter(target, LSP.skeleton, visible=visible)
    per_joint = pdj(pred, target, LSP.skeleton, visible=visible, threshold=0.2)
    boxes = torch.stack([tight_box(*pose) for pose in zip(target, visible, strict=True)])
    distance = (pred - target).norm(dim=-1) / (boxes[:, 2:] - boxes[:, :2]).amax(dim=-1, keepdim=True)
    return {
        "pck@0.2": labelled_mean(per_joint, visible & ~torso.isnan()[:, None]),
        "error_percent": 100 * float(distance[visible].mean()),
        "per_joint": dict(zip(LSP.skeleton.keypoints, per_joint.tolist(), strict=True)),
        "people": len(pred),
        "people_without_torso": int(torso.isnan().sum()),
    }


def table(report: Report) -> str:
    lines = [f"{joint:>15} {value:6.3f}" for joint, value in report["per_joint"].items()]
    lines.append(f"{'PCK@0.2':>15} {report['pck@0.2']:6.3f}   ({report['people']} people)")
    mean_pose = report["mean_pose"]
    lines.append(
        f"{'error':>15} {report['error_percent']:6.2f} % of the body   (mean pose: {mean_pose['error_percent']:.2f} %, "
        f"PCK@0.2 {mean_pose['pck@0.2']:.3f})"
    )
    return "\n".join(lines)
