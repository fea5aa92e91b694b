"""Shared by the training scripts: data loaders, training loop and evaluation.

A script adds a network, its paper's loss and targets, and an optimiser; data come from
`data_sources.py`, and crops, augmentation and schedules from `recipes.py`. `train_heatmap.py` is the
simplest. All of them run in one process, in several, or on several
machines (`accelerate launch examples/…`), write a checkpoint after every epoch, and continue from
it with `--resume`.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, default_collate

from posezoo.data import LSP, PersonCrop, collate_others
from posezoo.geometry import box_to_crop, crop_matrix, invert, tight_box, transform_points
from posezoo.metrics import labelled_mean, mpii_pckh, pck, torso_diameter
from posezoo.skeletons import Skeleton, convert, get_skeleton

from data_sources import NAMES, SKELETONS, Cropped, People, open_data, source

Batch = dict[str, Any]
Report = dict[str, Any]


def options(description: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """Command line of all training scripts; `defaults` override their defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=source, nargs="+", required="data" not in defaults, metavar="NAME:FOLDER",
        help=f"one or several of {', '.join(NAMES)}, see examples/data_sources.py",
    )  # fmt: skip
    parser.add_argument(
        "--train-images", type=int, nargs="+", metavar="FIRST LAST", help="of lsp or lspet, one range or several"
    )
    parser.add_argument("--val-images", type=int, nargs=2, metavar=("FIRST", "LAST"), help="of lsp or lspet")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in --output")
    parser.add_argument("--model")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--iterations", type=int, help="in place of --epochs, rounded up to whole epochs")
    parser.add_argument("--batch-size", type=int, help="per process")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--mixed-precision", choices=("no", "bf16", "fp16"), default="no")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--eval-every", type=int, default=5, help="epochs")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(**defaults)
    return parser


# ---------------------------------------------------------------------------------------------------- data


def make_loaders(
    args: argparse.Namespace, crop: PersonCrop, readers: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[DataLoader, DataLoader]:
    """Loaders of training people, augmented by `crop`, and of test people, not augmented."""
    train = Cropped(open_data(args.data, "train", images=args.train_images, readers=readers), crop)
    test = Cropped(open_data(args.data, "test", images=args.val_images, readers=readers), crop.plain())
    return loaders_of(args, train, test)


def skeleton_of(args: argparse.Namespace, readers: Mapping[str, Mapping[str, Any]] | None = None) -> Skeleton:
    """Skeleton of the training people, that of the first data set."""
    name = args.data[0].name
    return get_skeleton((readers or {}).get(name, {}).get("skeleton", SKELETONS[name]))


def loaders_of(args: argparse.Namespace, train: Cropped, test: Cropped) -> tuple[DataLoader, DataLoader]:
    """Loaders of cropped people, with the batch size and the processes of the command line."""
    loader: dict[str, Any] = {"batch_size": args.batch_size, "num_workers": args.workers, "collate_fn": collate}
    loader["persistent_workers"] = args.workers > 0
    return DataLoader(train, shuffle=True, drop_last=len(train) > args.batch_size, **loader), DataLoader(test, **loader)


def collate(samples: list[Batch]) -> Batch:
    """Stack samples; entries that some lack are left out."""
    shared = set.intersection(*(set(sample) for sample in samples))
    kept = [{key: sample[key] for key in shared} for sample in samples]
    return collate_others(kept) if "others" in shared else default_collate(kept)


def poses_in_crops(people: People, crop: PersonCrop) -> Tensor:
    """Keypoints in pixels of the crops without augmentation, NaN where missing: `(N, K, 2)`."""
    matrices = torch.cat([matrix_of(people, row, crop) for row in range(len(people))])
    poses = transform_points(people.keypoints, matrices)
    return poses.masked_fill(~people.visible[..., None], torch.nan)


def matrix_of(people: People, row: int, crop: PersonCrop) -> Tensor:
    """Map `(1, 2, 3)` from an image to a person's crop without augmentation."""
    sample = {"box": people.boxes[row], "keypoints": people.keypoints[row], "visible": people.visible[row]}
    # an image is read for its size only where it is cropped as a whole
    box = crop.box_of(people[row] if crop.region == "image" else sample)
    center, extent = box_to_crop(box[None], crop.size, padding=crop.padding, keep_aspect=crop.keep_aspect)
    return crop_matrix(center, extent, crop.size, keep_aspect=crop.keep_aspect)


# ------------------------------------------------------------------------------------------------ training


def train(
    args: argparse.Namespace,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[nn.Module, Batch], Tensor],
    loaders: tuple[DataLoader, DataLoader],
    *,
    evaluation: Callable[[Accelerator, Any, DataLoader], Report] | None = None,
    save: Callable[[Any, Path, Report], Any] | None = None,
    before_epoch: Callable[[int], Any] = lambda epoch: None,
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
        evaluation: function of the accelerator, the network and the loader of test people to a
            report. Defaults to PCK@0.2 and the mean pose's, with the settings of the crop saved in
            the network.
        save: function of the trained network, a folder and the last report. Defaults to
            `save_pretrained`.
        before_epoch: called with the number of the epoch, from 0, for data that are new in each.
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
    if evaluation is None:
        # saved with the weights, so that predictions get the crops of the training
        crop = loaders[1].dataset.crop  # type: ignore[attr-defined]
        model.apply_input_settings({"input_size": crop.size, **crop.settings()})
        evaluation = partial(evaluate_people, train=loaders[0].dataset.people, flip=flip)  # type: ignore[attr-defined]
    model = model.to(accelerator.device, memory_format=torch.channels_last)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=True) if ema else None
    final = average.module if average else model
    model, optimizer, train_loader, val_loader = accelerator.prepare(model, optimizer, *loaders)
    if args.iterations:
        args.epochs = -(-args.iterations // len(train_loader))
    steps = args.epochs * len(train_loader)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, steps))
    accelerator.register_for_checkpointing(rates, *([average] if average else []))

    report: Report = {}
    first_epoch = 0
    checkpoint, progress = args.output / "checkpoint", args.output / "progress.json"
    unfinished = args.output / "checkpoint.new"
    if args.resume and progress.is_file():
        accelerator.load_state(str(checkpoint))
        report = json.loads(progress.read_text())
        first_epoch = report.pop("epochs_done")

    for epoch in range(first_epoch, args.epochs):
        start, total = time.perf_counter(), 0.0
        before_epoch(epoch)
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
                    f"epoch {epoch} step {step}/{len(train_loader)} loss {value.item():.3f} {rate:.1f} samples/s",
                    flush=True,
                )
        accelerator.print(
            f"epoch {epoch}: loss {total / len(train_loader):.4f}, {time.perf_counter() - start:.0f} s", flush=True
        )

        last = epoch + 1 == args.epochs
        if last or (epoch + 1) % args.eval_every == 0:
            report = evaluation(accelerator, final, val_loader)
        accelerator.save_state(str(unfinished))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:  # only now, so that an interrupted run leaves a complete checkpoint
            shutil.rmtree(checkpoint, ignore_errors=True)
            unfinished.rename(checkpoint)
            progress.write_text(json.dumps({"epochs_done": epoch + 1, **report}, indent=1))

    if accelerator.is_main_process:
        trained = average.module if average else accelerator.unwrap_model(model)
        if save:
            save(trained, args.output / "model", report)
        else:
            trained.save_pretrained(args.output / "model")
    accelerator.wait_for_everyone()
    return report


# ---------------------------------------------------------------------------------------------- evaluation


def evaluate_people(
    accelerator: Accelerator, model: Any, loader: DataLoader, *, train: People, flip: bool = False
) -> Report:
    """Evaluate, with the mean training pose's scores as `mean_pose`, and print a table."""
    report = evaluate(accelerator, model, loader, flip=flip)
    dataset: Any = loader.dataset
    report["mean_pose"] = evaluate_mean_pose(train, dataset.people, dataset.crop)
    accelerator.print(table(report), flush=True)
    return report


@torch.no_grad()
def evaluate(accelerator: Accelerator, model: Any, loader: DataLoader, *, flip: bool = False) -> Report:
    """Scores of `model.predict` on the people of `loader`, in pixels of the original images."""
    model.eval()
    skeleton = loader.dataset.people.skeleton  # type: ignore[attr-defined]
    collected = []
    for batch in loader:
        with accelerator.autocast():
            keypoints, _ = model.predict(batch["image"], flip=flip)
        keypoints, has = convert(keypoints, model.skeleton, skeleton)
        to_image = invert(batch["matrix"])
        pair = [transform_points(points.float(), to_image) for points in (keypoints, batch["keypoints"])]
        visible = batch["visible"] & has.to(batch["visible"].device)
        unknown = torch.full_like(pair[0][:, 0, 0], torch.nan)
        lengths = (batch.get("head_size", unknown), batch.get("torso", unknown))
        collected.append(accelerator.gather_for_metrics((*pair, visible, *lengths)))
    *parts, heads, torso = (torch.cat(parts).cpu() for parts in zip(*collected, strict=True))
    return scores(*parts, skeleton=skeleton, head_size=heads, torso=torso)


def evaluate_mean_pose(train: People, test: People, crop: PersonCrop) -> Report:
    """Scores of a baseline: the mean training pose, relative to the crop, for every person."""
    mean = poses_in_crops(train, crop).nanmean(dim=0)
    to_image = invert(torch.cat([matrix_of(test, row, crop) for row in range(len(test))]))
    known = test.visible & ~mean.isnan().any(dim=-1)  # joined data may lack keypoints altogether
    pred = transform_points(mean.nan_to_num().expand(len(test), -1, -1), to_image)
    return scores(pred, test.keypoints, known, skeleton=test.skeleton, torso=test.torso)


def scores(
    pred: Tensor,
    target: Tensor,
    visible: Tensor,
    *,
    skeleton: Skeleton = LSP.skeleton,
    head_size: Tensor | None = None,
    torso: Tensor | None = None,
) -> Report:
    """PCK@0.2 of the torso diameter, per joint and over all annotated joints, and the mean error.

    The error is the mean distance of the annotated joints, in per cent of the longer side of the
    person's tight box. With head sizes, as on MPII, the report has PCKh@0.5 too. `torso` has the
    diameters of people whose skeleton lacks shoulders or hips.
    """
    torso = torso_of(target, visible, skeleton, torso)
    per_joint = pck(pred, target, torso, visible=visible, threshold=0.2)
    sides = torch.stack([(box := tight_box(*pose))[2:] - box[:2] for pose in zip(target, visible, strict=True)])
    distance = (pred - target).norm(dim=-1) / sides.amax(dim=-1, keepdim=True)
    report = {
        "pck@0.2": labelled_mean(per_joint, visible & ~torso.isnan()[:, None]),
        "error_percent": 100 * float(distance[visible].mean()),
        "per_joint": dict(zip(skeleton.keypoints, per_joint.tolist(), strict=True)),
        "people": len(pred),
        "people_without_torso": int(torso.isnan().sum()),
    }
    if head_size is not None and skeleton.name == "mpii16" and bool(head_size.isfinite().any()):
        known = head_size.isfinite()
        rows = mpii_pckh(pred[known], target[known], head_size[known], visible=visible[known])
        report["pckh@0.5"] = float(rows["Total"])
    return report


def torso_of(target: Tensor, visible: Tensor, skeleton: Skeleton, torso: Tensor | None = None) -> Tensor:
    """Torso diameters `(N,)`, or `torso` of people whose skeleton lacks shoulders or hips."""
    if {"left_shoulder", "right_hip"} <= set(skeleton.keypoints):
        return torso_diameter(target, skeleton, visible=visible)
    return torch.full((len(target),), torch.nan) if torso is None else torso


def table(report: Report) -> str:
    lines = [f"{joint:>15} {value:6.3f}" for joint, value in report["per_joint"].items()]
    lines.append(f"{'PCK@0.2':>15} {report['pck@0.2']:6.3f}   ({report['people']} people)")
    if "pckh@0.5" in report:
        lines.append(f"{'PCKh@0.5':>15} {report['pckh@0.5']:6.3f}")
    mean_pose = report["mean_pose"]
    lines.append(
        f"{'error':>15} {report['error_percent']:6.2f} % of the body   (mean pose: {mean_pose['error_percent']:.2f} %, "
        f"PCK@0.2 {mean_pose['pck@0.2']:.3f})"
    )
    return "\n".join(lines)
