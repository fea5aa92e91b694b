"""Train any heatmap network of the zoo on LSP or LSPET, and report PCK@0.2 per joint on held-out images.

    python examples/train_heatmap.py --data lspet --model simple_baseline_lite --output runs/lite

One process as above; several, or several machines, through `accelerate launch examples/train_heatmap.py …`. A run that
was stopped goes on with `--resume`. The recipe is that of Simple Baselines (Adam, MSE on Gaussian heatmaps, scale,
rotation and flip), with what a small data set and a short schedule want on top: truncated people, colour, holes, weight
averaging and a cosine schedule.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

import posezoo
from posezoo.data import LSP, PersonCrop, cutout, jitter_colour
from posezoo.geometry import invert, transform_points
from posezoo.heatmaps import encode
from posezoo.losses import heatmap_mse
from posezoo.metrics import labelled_mean, pdj


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of LSP or LSPET, with joints.mat in it")
    parser.add_argument("--train-images", type=int, nargs=2, default=(1, 7000), metavar=("FIRST", "LAST"))
    parser.add_argument("--val-images", type=int, nargs=2, default=(7001, 7500), metavar=("FIRST", "LAST"))
    parser.add_argument("--model", default="simple_baseline_lite")
    parser.add_argument("--init", type=Path, help="checkpoint to start from; a head of other keypoints is left out")
    parser.add_argument("--trunk", type=Path, help="state dict of the timm backbone to start from")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --output")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 192), metavar=("H", "W"))
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=32, help="per process")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-2)
    parser.add_argument("--warmup", type=float, default=0.05, help="fraction of the steps")
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the weight average that is evaluated")
    parser.add_argument("--sigma", type=float, default=2.0, help="of the target Gaussians, in heatmap cells")
    parser.add_argument("--mixed-precision", choices=("no", "bf16", "fp16"), default="bf16")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--eval-every", type=int, default=5, help="epochs")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


# ---------------------------------------------------------------------------------------------------- data


class Cropped(Dataset[dict[str, Any]]):
    """A dataset seen through a `PersonCrop`, with the same keys for the default collate."""

    def __init__(self, people: Dataset[dict[str, Any]], crop: PersonCrop) -> None:
        self.people, self.crop = people, crop

    def __len__(self) -> int:
        return len(self.people)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.crop(self.people[index])


def make_loaders(args: argparse.Namespace) -> tuple[DataLoader, DataLoader]:
    size = tuple(args.size)
    train_crop = PersonCrop(
        size=size, skeleton=LSP.skeleton, scale=0.3, rotation=40, flip=0.5, translation=0.1, half_body=0.2,
        truncation=0.3,
    )  # fmt: skip
    train = Cropped(LSP(args.data, images=tuple(args.train_images)), train_crop)
    val = Cropped(LSP(args.data, images=tuple(args.val_images)), PersonCrop(size=size))
    options = {"batch_size": args.batch_size, "num_workers": args.workers, "persistent_workers": args.workers > 0}
    return (
        DataLoader(train, shuffle=True, drop_last=len(train) > args.batch_size, **options),
        DataLoader(val, **options),
    )


# ------------------------------------------------------------------------------------------------ training


def batch_loss(model: torch.nn.Module, batch: dict[str, Any], sigma: float) -> torch.Tensor:
    """Mean squared error of every supervised stage against Gaussians made here, on the batch's device."""
    stages = model(batch["image"], all_stages=True)
    h, w = stages[-1].shape[-2:]
    stride = batch["image"].shape[-2] / h
    target, weights = encode(batch["keypoints"], batch["visible"], size=(h, w), stride=stride, sigma=sigma)
    # 1,000: Adam does not care, and bf16 gradients stay away from their smallest numbers
    return 1000 * sum(heatmap_mse(heatmaps.float(), target, weights) for heatmaps in stages)


def warm_cosine(step: int, *, steps: int, warmup: float) -> float:
    """Learning rate factor: linear to 1 over the first `warmup` of the steps, then half a cosine to 0."""
    rise = max(1, round(steps * warmup))
    return (step + 1) / rise if step < rise else 0.5 + 0.5 * math.cos(math.pi * (step - rise) / max(1, steps - rise))


def keep_depthwise_in_float32(model: torch.nn.Module) -> None:
    """Take depthwise convolutions out of autocast: on the CPU their bf16 gradients are 4 to 13 times slower."""

    def outside(forward: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
        def run(x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", enabled=False):
                return forward(x.float())

        return run

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d) and module.groups > 1:
            module.forward = outside(module.forward)  # type: ignore[method-assign]


@torch.no_grad()
def evaluate(accelerator: Accelerator, model: torch.nn.Module, loader: DataLoader) -> dict[str, Any]:
    """PCK@0.2 of the torso's diameter, in pixels of the original images, per joint and over all labelled joints."""
    model.eval()
    collected = []
    for batch in loader:
        with accelerator.autocast():
            keypoints, _ = model.predict(batch["image"], flip=True)
        to_image = invert(batch["matrix"])
        pair = [transform_points(points.float(), to_image) for points in (keypoints, batch["keypoints"])]
        collected.append(accelerator.gather_for_metrics((*pair, batch["visible"])))
    pred, target, visible = (torch.cat(parts).cpu() for parts in zip(*collected, strict=True))
    torso = posezoo.metrics.torso_diameter(target, LSP.skeleton, visible=visible)
    measured = visible & ~torso.isnan()[:, None]
    per_joint = pdj(pred, target, LSP.skeleton, visible=visible, threshold=0.2)
    return {
        "pck@0.2": labelled_mean(per_joint, measured),
        "per_joint": dict(zip(LSP.skeleton.keypoints, per_joint.tolist(), strict=True)),
        "people": len(pred),
        "people_without_torso": int(torso.isnan().sum()),
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    args = parse_arguments(arguments)
    accelerator = Accelerator(mixed_precision=args.mixed_precision)
    set_seed(args.seed, device_specific=True)
    train_loader, val_loader = make_loaders(args)

    model = posezoo.create(args.model, num_keypoints=len(LSP.skeleton), skeleton=LSP.skeleton.name)
    if args.trunk:
        model.backbone.load_state_dict(posezoo.weights.read_state_dict(args.trunk))
    if args.init:
        posezoo.load_checkpoint(model, args.init)
    model = model.to(accelerator.device, memory_format=torch.channels_last)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(args.ema), use_buffers=True)
    if accelerator.device.type == "cpu":
        keep_depthwise_in_float32(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
    model, optimizer, train_loader, val_loader = accelerator.prepare(model, optimizer, train_loader, val_loader)
    steps = args.epochs * len(train_loader)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warm_cosine(step, steps=steps, warmup=args.warmup)
    )
    accelerator.register_for_checkpointing(schedule, average)

    report: dict[str, Any] = {}
    first_epoch = 0
    checkpoint, progress = args.output / "checkpoint", args.output / "progress.json"
    if args.resume and progress.is_file():
        accelerator.load_state(str(checkpoint))
        first_epoch = json.loads(progress.read_text())["epochs_done"]

    for epoch in range(first_epoch, args.epochs):
        start, total = time.perf_counter(), 0.0
        model.train()
        for step, batch in enumerate(train_loader):
            batch["image"] = cutout(jitter_colour(batch["image"])).to(memory_format=torch.channels_last)
            with accelerator.autocast():
                loss = batch_loss(model, batch, args.sigma)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            average.update_parameters(accelerator.unwrap_model(model))
            total += loss.item()
            if step % 50 == 0:
                rate = (step + 1) * args.batch_size * accelerator.num_processes / (time.perf_counter() - start)
                accelerator.print(
                    f"epoch {epoch} step {step}/{len(train_loader)} loss {loss.item():.3f} {rate:.1f} img/s", flush=True
                )
        accelerator.print(
            f"epoch {epoch}: loss {total / len(train_loader):.4f}, {time.perf_counter() - start:.0f} s", flush=True
        )

        last = epoch + 1 == args.epochs
        if last or (epoch + 1) % args.eval_every == 0:
            report = evaluate(accelerator, average.module, val_loader)
            accelerator.print(table(report), flush=True)
        accelerator.save_state(str(checkpoint))
        if accelerator.is_main_process:
            progress.write_text(json.dumps({"epochs_done": epoch + 1, **report}, indent=1))

    if accelerator.is_main_process:
        final = posezoo.create(args.model, num_keypoints=len(LSP.skeleton), skeleton=LSP.skeleton.name)
        final.load_state_dict(average.module.state_dict())
        final.save_pretrained(args.output / "model")
    accelerator.wait_for_everyone()
    return report


def table(report: dict[str, Any]) -> str:
    lines = [f"{joint:>15} {value:6.3f}" for joint, value in report["per_joint"].items()]
    return "\n".join([*lines, f"{'PCK@0.2':>15} {report['pck@0.2']:6.3f}   ({report['people']} people)"])


if __name__ == "__main__":
    main()
