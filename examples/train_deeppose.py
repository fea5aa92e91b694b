"""Train DeepPose stage by stage, and evaluate each stage on held-out images.

    python examples/train_deeppose.py --data lsp:lsp lspet:lspet --recipe paper --output runs/deeppose
    python examples/train_deeppose.py --data flic:FLIC --recipe paper --detector faces.onnx --output runs/flic
    python examples/train_deeppose.py --data lspet:lspet --output runs/narrow \\
        --widths 24 48 64 64 48 512 512 --init he --lr 0.005 --dropout 0.3 --batch-size 32

The paper's recipe (sections 3 and 4.1): AdaGrad with a learning rate of 0.0005, batches of 128,
flipped and translated crops, three stages; on LSP of the whole image, on FLIC of the boxes of
`--detector`, a name or file for `posezoo.detectors.load_detector`, times a factor that is fitted to
the training people. `select_deeppose.py` chooses the number of stages and sigma.

Stage 1 regresses the pose from the whole crop. Stage 2 is trained on squares around keypoints that are
displaced by Gaussians with the mean and variance of stage 1's errors on the training people, and so
on. An epoch of a later stage has one simulated prediction per
keypoint, so that 40 epochs are the paper's 40. `--resume` skips finished stages.

On one frozen backbone for all stages, here the default network's, whose features are computed once
(`frozen_backbone.py`); every stage has a neck and a head of its own, and as many cached crops as
the first:

    python examples/train_deeppose.py --data lspet:lspet --train-images 1 7000 7501 9500 \\
        --output runs/deeppose --size 440 440 --stages 3 --backbone tf_efficientnet_lite2 \\
        --start simple_baseline_lite --freeze-backbone --cache 4 --measure 500 \\
        --mixed-precision bf16 --optimizer adamw --lr 1e-3 --dropout 0.3 --epochs 10

The authors trained the first stage for three days on a hundred machines, later stages for seven
days each. On CPUs use `--widths` of about a million parameters, as in the second command, and
`--init he`: with AlexNet's standard deviations activations vanish in narrow layers, and the network
predicts the mean pose for a long time.
"""

import argparse
import json
import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

import posezoo
from posezoo.data.detector_boxes import fit_padding
from posezoo.detectors import load_detector
from posezoo.geometry import invert, normalize_points, transform_points
from posezoo.losses import keypoint_mse
from posezoo.metrics import lsp_pcp
from posezoo.models.deeppose import DROPOUT, WIDTHS, DeepPose
from posezoo.refinement import whole_image

from data_sources import Cropped, detected_boxes, open_data, use_detected
from frozen_backbone import add_options, cached_loader, check_options, device_of_features, start_backbones
from recipes import Recipe, parse
from train_heatmap import keep_depthwise_in_float32
from training import Report, collate, loaders_of, options, poses_in_crops, scores, train

PREDICT_BATCH = 32  # people; a later stage has a crop for each of their keypoints


def first_stage_loss(model: torch.nn.Module, batch: dict[str, Any]) -> Tensor:
    """Squared distance in units of the whole crop (Equation 4)."""
    image = batch["image"]
    target = normalize_points(batch["keypoints"], whole_image(image))
    return keypoint_mse(model(image, stage=1).float(), target, batch["visible"])


def later_stage_loss(model: torch.nn.Module, batch: dict[str, Any], *, stage: int, network: DeepPose) -> Tensor:
    """Squared distance in units of the squares around simulated predictions (Equation 8).

    `model` is `network`, or a wrapper of it.
    """
    boxes, target, weights = network.simulate(stage, batch["keypoints"], batch["visible"], draws=1)
    pred = model(batch["image"], stage=stage, boxes=boxes).float()
    return keypoint_mse(pred.flatten(0, 1), target.flatten(0, 1), weights.flatten(0, 1))


def cached_loss(model: torch.nn.Module, batch: dict[str, Any], *, stage: int) -> Tensor:
    """The same on features: of the whole crop with every keypoint, or of a square with its own."""
    pred = model(None, stage=stage, features=batch["features"]).float()
    if stage > 1:
        pred = pred[torch.arange(len(pred), device=pred.device), batch["keypoint"]][:, None]
    return keypoint_mse(pred, batch["target"], batch["visible"])


def cached(args: argparse.Namespace, network: DeepPose, stage: int, loader: DataLoader) -> DataLoader:
    """Replace a loader of crops by one of features; of a later stage a row has one square and its
    keypoint.
    """
    device = device_of_features()
    network.to(device).eval()

    @torch.no_grad()
    def describe(batch: dict[str, Any]) -> dict[str, Any]:
        image, boxes = batch["image"].to(device, memory_format=torch.channels_last), None
        keypoints, visible = batch["keypoints"].to(device), batch["visible"].to(device)
        target = normalize_points(keypoints, whole_image(image))
        if stage > 1:
            boxes, target, visible = network.simulate(stage, keypoints, visible, draws=1)
        with torch.autocast(device, torch.bfloat16, enabled=args.mixed_precision == "bf16"):
            features = network.backbone_features(image, stage, boxes)
        rows = {"features": features, "target": target, "visible": visible}
        if stage == 1:
            return rows
        rows["keypoint"] = torch.arange(visible.shape[-1], device=device).expand_as(visible)
        known = visible.flatten()
        flat = {name: value.flatten(0, 2)[known] for name, value in rows.items()}
        return flat | {name: flat[name][:, None] for name in ("target", "visible")}

    named = ("backbone", "start", "size", "train_images", "sigma", "seed")
    settings = {name: getattr(args, name) for name in named} | {"stage": stage}
    return cached_loader(args, loader, describe, settings)


@torch.no_grad()
def predictions(model: DeepPose, loader: DataLoader) -> dict[str, Tensor]:
    """Predictions of every stage `(S, N, K, 2)` and annotations, in pixels of the crops."""
    device = next(model.parameters()).device
    parts: dict[str, list[Tensor]] = {name: [] for name in ("pred", "keypoints", "visible", "matrix")}
    model.eval()
    for batch in loader:
        parts["pred"].append(torch.stack(model(batch["image"].to(device), all_stages=True)).cpu())
        for name in ("keypoints", "visible", "matrix"):
            parts[name].append(batch[name].clone())  # tensors from workers keep a file open
    return {name: torch.cat(part, dim=1 if name == "pred" else 0) for name, part in parts.items()}


def stage_reports(model: DeepPose, loaders: tuple[DataLoader, DataLoader]) -> dict[str, Report]:
    """PCK@0.2 and strict PCP of the mean training pose and of each stage."""
    train_people, crop = loaders[0].dataset.people, loaders[1].dataset.crop  # type: ignore[attr-defined]
    skeleton = train_people.skeleton
    found = predictions(model, loaders[1])
    mean = poses_in_crops(train_people, crop).nanmean(dim=0).expand_as(found["keypoints"])
    to_image, visible = invert(found["matrix"]), found["visible"]
    target = transform_points(found["keypoints"], to_image)
    reports = {}
    for name, pose in [("mean pose", mean), *((f"stage {n}", pose) for n, pose in enumerate(found["pred"], start=1))]:
        pred = transform_points(pose, to_image)
        reports[name] = scores(pred, target, visible, skeleton=skeleton)
        if skeleton.name == "lsp14":
            reports[name]["pcp@0.5"] = lsp_pcp(pred, target, visible=visible)["Total"]
    return reports


def parser(description: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """Command line."""
    parser = options(description, **defaults)
    parser.add_argument("--stages", type=int)
    parser.add_argument("--detector", help="of faces or people, whose boxes are cropped")
    parser.add_argument("--sigma", type=float, help="side of a square, in diameters of the pose")
    parser.add_argument("--widths", type=int, nargs=7, default=WIDTHS, metavar="CHANNELS")
    parser.add_argument("--dropout", type=float, default=DROPOUT)
    parser.add_argument("--optimizer", choices=("adagrad", "adamw"))
    parser.add_argument("--measure", type=int, help="people on whom a stage's errors are measured. Defaults to all")
    add_options(parser, cache=True)
    parser.add_argument("--init", choices=("alexnet", "he"), default="alexnet", help="of the seven layers")
    return parser


def people_of(args: argparse.Namespace, recipe: Recipe) -> tuple[Cropped, Cropped]:
    """Cropped training and test people; with `--detector` in its boxes."""
    people = [
        open_data(args.data, part, images=images, readers=recipe.readers)
        for part, images in (("train", args.train_images), ("test", args.val_images))
    ]
    crop = recipe.person_crop(args.size, people[0].skeleton, args.crop)
    if args.detector:
        detector, boxes = load_detector(args.detector), []
        for part, group in zip(("train", "test"), people, strict=True):
            found, missing = detected_boxes(group, detector, args.output / f"boxes_{part}.pt")
            print(f"detector: no box for {missing} of {len(group)} people of {part}, whose annotated box is taken")
            boxes.append(found)
        crop = replace(crop, padding=fit_padding(boxes[0], people[0].keypoints, people[0].visible))
        print(f"detector: its boxes times {crop.padding:.2f} contain the training people's keypoints")
        for group, found in zip(people, boxes, strict=True):
            use_detected(group, found, crop.padding)
    return Cropped(people[0], crop), Cropped(people[1], crop.plain())


def main(arguments: list[str] | None = None) -> dict[str, Report]:
    command_line = parser(__doc__)
    args, recipe = parse(command_line, "deeppose", arguments)
    check_options(command_line, args)
    if args.crop == "deeppose-flic" or (recipe.crop == "deeppose-flic" and not args.crop and not args.detector):
        print("departs from the recipe: the annotated boxes are cropped, not those of a detector (--detector)")
    people = people_of(args, recipe)
    previous: DeepPose | None = None
    for stage in range(1, args.stages + 1):
        batch_size = args.batch_size if args.cache else people_together(args, stage, people)
        options_of_stage = {**vars(args), "output": args.output / f"stage{stage}", "batch_size": batch_size}
        if args.features:
            options_of_stage["features"] = args.features / f"stage{stage}"
        previous = train_stage(argparse.Namespace(**options_of_stage), stage, people, previous)
    assert previous is not None
    reports = stage_reports(previous, loaders_of(args, *people))
    for name, report in reports.items():
        pcp = f"PCP@0.5 {report['pcp@0.5']:.3f}  " if "pcp@0.5" in report else ""
        print(f"{name:>10}  PCK@0.2 {report['pck@0.2']:.3f}  {pcp}error {report['error_percent']:.2f} % of the body")
    (args.output / "stages.json").write_text(json.dumps(reports, indent=1))
    return reports


def people_together(args: argparse.Namespace, stage: int, people: tuple[Cropped, Cropped]) -> int:
    """People of a batch: a later stage has one sample per keypoint of each."""
    return args.batch_size if stage == 1 else max(1, args.batch_size // len(people[0].people.skeleton))


def train_stage(
    args: argparse.Namespace, stage: int, people: tuple[Cropped, Cropped], previous: DeepPose | None
) -> DeepPose:
    """Add a stage to the cascade and train it."""
    progress = args.output / "progress.json"
    if args.resume and progress.is_file() and json.loads(progress.read_text())["epochs_done"] >= args.epochs:
        return posezoo.create(f"local-dir:{args.output / 'model'}", pretrained=True)
    torch.manual_seed(args.seed + stage)
    model: DeepPose = posezoo.create(
        args.model, num_keypoints=len(people[0].people.skeleton), skeleton=people[0].people.skeleton.name,
        num_stages=stage, sigma=args.sigma, widths=tuple(args.widths), dropout=args.dropout,
        backbone=args.backbone, share_backbone=args.freeze_backbone,
    )  # fmt: skip
    backbones = []
    if args.backbone:
        backbones = [model.backbone] if args.freeze_backbone else [trunk.backbone for trunk in model.trunks]
    frozen = start_backbones(model, backbones, args)
    if not torch.cuda.is_available():
        for backbone in backbones:
            keep_depthwise_in_float32(backbone)
    if args.init == "he":
        for layer in model.trunks[stage - 1].children():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                torch.nn.init.kaiming_normal_(layer.weight)
    loaders = loaders_of(args, *people)
    loss: Any = first_stage_loss
    if args.cache:
        loss = partial(cached_loss, stage=stage)
    if previous is not None:
        model.load_state_dict({**model.state_dict(), **previous.state_dict()})
        device = "cuda" if torch.cuda.is_available() else "cpu"
        some = RandomSampler(loaders[0].dataset, num_samples=args.measure) if args.measure else None
        measured = DataLoader(
            loaders[0].dataset, PREDICT_BATCH, num_workers=args.workers, sampler=some, collate_fn=collate
        )
        found = predictions(previous.to(device), measured)
        model.measure(stage, *(found["pred"][-1], found["keypoints"], found["visible"]))
        if not args.cache:
            loss = partial(later_stage_loss, stage=stage, network=model)
    if args.cache:
        described = {**vars(args), "batch_size": people_together(args, stage, people)}
        loaders = cached(args, model, stage, loaders_of(argparse.Namespace(**described), *people)[0]), loaders[1]
    parameters = [*model.trunks[stage - 1].parameters(), *model.heads[stage - 1].parameters()]
    optimizer: torch.optim.Optimizer = torch.optim.Adagrad(parameters, lr=args.lr)
    schedule: Any = constant
    if args.optimizer == "adamw":
        optimizer, schedule = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=1e-2), cosine
    train(args, model, optimizer, loss, loaders, schedule=schedule, frozen=frozen)
    return model


def constant(step: int, steps: int) -> float:
    return 1.0


def cosine(step: int, steps: int) -> float:
    return 0.5 + 0.5 * math.cos(math.pi * step / steps)


if __name__ == "__main__":
    main()
