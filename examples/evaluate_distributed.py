"""Evaluate a model on several processes: gather the predictions, then compute the metric once.

    accelerate launch --num_processes 4 examples/evaluate_distributed.py --data lspet:lspet

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
from torch.utils.data import DataLoader

import posezoo
from posezoo.geometry import invert, transform_points
from posezoo.metrics import labelled_mean, pdj, torso_diameter
from posezoo.skeletons import Skeleton, convert

from data_sources import NAMES, Cropped, crop_of, open_data, source


class Numbered(Cropped):
    """Cropped people with their numbers; the entries that the default collate can stack."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = super().__getitem__(index)
        return {"index": index, **{key: sample[key] for key in ("image", "keypoints", "visible", "matrix")}}


def collect(accelerator: Accelerator, model: Any, loader: DataLoader, skeleton: Skeleton) -> list[torch.Tensor]:
    """Indices, predictions, annotations and visibility of all samples, in pixels of the images."""
    collected = []
    for batch in loader:
        with torch.no_grad():
            keypoints, _ = model.predict(batch["image"])
        keypoints, has = convert(keypoints, model.skeleton, skeleton)
        to_image, visible = invert(batch["matrix"]), batch["visible"] & has.to(batch["visible"].device)
        pred, target = (transform_points(points.float(), to_image) for points in (keypoints, batch["keypoints"]))
        collected.append(accelerator.gather_for_metrics((batch["index"], pred, target, visible)))
    return [torch.cat(parts).cpu() for parts in zip(*collected, strict=True)]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=source, required=True, metavar="NAME:FOLDER", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--images", type=int, nargs=2, metavar=("FIRST", "LAST"), help="of lsp or lspet")
    parser.add_argument("--model", default="simple_baseline_lite.lsp14_192x192")
    parser.add_argument("--batch-size", type=int, default=32, help="per process")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write the numbers as JSON")
    args = parser.parse_args(arguments)

    accelerator = Accelerator()
    model = posezoo.create(args.model, pretrained=True).eval().to(accelerator.device)  # no DDP: there are no gradients
    people = open_data([args.data], "test", images=args.images)
    loader = DataLoader(Numbered(people, crop_of(model)), batch_size=args.batch_size, num_workers=args.workers)

    index, pred, target, visible = collect(accelerator, model, accelerator.prepare(loader), people.skeleton)
    if sorted(index.tolist()) != list(range(len(people))):
        raise ValueError(f"expected each of {len(people)} samples once, gathered {len(index)}; is the loader prepared?")

    values = pdj(pred, target, people.skeleton, visible=visible)
    measured = visible & ~torso_diameter(target, people.skeleton, visible=visible).isnan()[:, None]
    report = {
        "people": len(pred),
        "processes": accelerator.num_processes,
        "pdj@0.2": labelled_mean(values, measured),
        "per_keypoint": dict(zip(people.skeleton.keypoints, values.tolist(), strict=True)),
    }
    if accelerator.is_main_process:
        print(f"PDJ@0.2 of {len(pred)} people: {100 * report['pdj@0.2']:.2f} %")
        if args.output:
            args.output.write_text(json.dumps(report) + "\n", encoding="utf-8")
    accelerator.end_training()
    return report


if __name__ == "__main__":
    main()
