"""Evaluate a model on several processes: gather the predictions, then compute the metric once.

    accelerate launch --num_processes 4 examples/evaluate_distributed.py --data lspet --images 7001
    7500

One process, without `accelerate launch`, gives the same numbers. The pattern is three lines of
`collect`: every process predicts its share, `gather_for_metrics` concatenates each batch and drops
the samples that were repeated to fill the last one, and the metric is computed on whole arrays. The
mean of per-process metrics would be wrong, since the shares differ in size and annotated keypoints.
The samples' indices are gathered too, to detect lost or repeated ones.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

import posezoo
from posezoo.data import LSP, PersonCrop
from posezoo.geometry import invert, transform_points
from posezoo.metrics import labelled_mean, pdj, torso_diameter


class Cropped(Dataset[dict[str, Any]]):
    """Apply a `PersonCrop` to a dataset; keep the entries that the default collate can stack."""

    def __init__(self, people: Dataset[dict[str, Any]], crop: PersonCrop) -> None:
        self.people, self.crop = people, crop

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, number: int) -> dict[str, Any]:
        sample = self.crop(self.people[number])
        return {key: sample[key] for key in ("index", "image", "keypoints", "visible", "matrix")}


def collect(accelerator: Accelerator, model: torch.nn.Module, loader: DataLoader) -> list[torch.Tensor]:
    """Indices, predictions, annotations and visibility of all samples, in pixels of the images."""
    collected = []
    for batch in loader:
        with torch.no_grad():
            keypoints, _ = model.predict(batch["image"])
        to_image = invert(batch["matrix"])
        pred, target = (transform_points(points.float(), to_image) for points in (keypoints, batch["keypoints"]))
        collected.append(accelerator.gather_for_metrics((batch["index"], pred, target, batch["visible"])))
    return [torch.cat(parts).cpu() for parts in zip(*collected, strict=True)]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of LSP or LSPET, with joints.mat in it")
    parser.add_argument("--images", type=int, nargs=2, default=(7001, 7500), metavar=("FIRST", "LAST"))
    parser.add_argument("--model", default="simple_baseline_lite.lsp14_192x192")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 192), metavar=("H", "W"))
    parser.add_argument("--batch-size", type=int, default=32, help="per process")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write the numbers as JSON")
    args = parser.parse_args(arguments)

    accelerator = Accelerator()
    people = Cropped(LSP(args.data, images=tuple(args.images)), PersonCrop(size=tuple(args.size)))
    loader = accelerator.prepare(DataLoader(people, batch_size=args.batch_size, num_workers=args.workers))
    model = posezoo.create(args.model, pretrained=True).eval().to(accelerator.device)  # no DDP: there are no gradients

    index, pred, target, visible = collect(accelerator, model, loader)
    expected = list(range(args.images[0], args.images[1] + 1))
    if sorted(index.tolist()) != expected:
        raise ValueError(
            f"expected each of {len(expected)} samples once, gathered {len(index)}; is the loader prepared?"
        )

    values = pdj(pred, target, LSP.skeleton, visible=visible)
    measured = visible & ~torso_diameter(target, LSP.skeleton, visible=visible).isnan()[:, None]
    report = {
        "people": len(pred),
        "processes": accelerator.num_processes,
        "pdj@0.2": labelled_mean(values, measured),
        "per_keypoint": dict(zip(LSP.skeleton.keypoints, values.tolist(), strict=True)),
    }
    if accelerator.is_main_process:
        print(f"PDJ@0.2 of {len(pred)} people: {100 * report['pdj@0.2']:.2f} %")
        if args.output:
            args.output.write_text(json.dumps(report) + "\n", encoding="utf-8")
    accelerator.end_training()
    return report


if __name__ == "__main__":
    main()
