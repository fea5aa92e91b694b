"""PCK of every stage of a cascade, of every stack, or after every correction, on held-out images.

    python examples/evaluate_stages.py --data lspet:lspet --model hourglass_2.lspet_128x128

The stages are those that are supervised, `model(image, all_stages=True)`. Predictions are not
averaged with the mirror image. Thresholds are fractions of the torso diameter, as in `evaluate.py`.
"""

import argparse
import inspect

import torch

import posezoo
from posezoo.geometry import invert, transform_points
from posezoo.metrics import labelled_mean, pdj, torso_diameter
from posezoo.skeletons import convert

from data_sources import NAMES, crop_of, open_data, source

THRESHOLDS = (0.05, 0.1, 0.2, 0.5)


@torch.no_grad()
def main(arguments: list[str] | None = None) -> list[list[float]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=source, required=True, metavar="NAME:FOLDER", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--images", type=int, nargs=2, metavar=("FIRST", "LAST"), help="of lsp or lspet")
    parser.add_argument("--model", required=True, help="name of a network with weights, or local-dir:FOLDER")
    parser.add_argument("--batch-size", type=int, default=20)
    args = parser.parse_args(arguments)

    model = posezoo.create(args.model, pretrained=True)
    by_stage = "stage" in inspect.signature(model.decode).parameters  # of heatmaps in different frames
    people = open_data([args.data], "test", images=args.images)
    crop = crop_of(model)
    found: list[torch.Tensor] = []
    for first in range(0, len(people), args.batch_size):
        samples = [crop(people[index]) for index in range(first, min(first + args.batch_size, len(people)))]
        stages = model(torch.stack([sample["image"] for sample in samples]), all_stages=True)
        options = [{"stage": index} if by_stage else {} for index in range(len(stages))]
        poses = torch.stack([model.decode(stage, **own)[0] for stage, own in zip(stages, options, strict=True)])
        poses, _ = convert(poses, model.skeleton, people.skeleton)
        found.append(transform_points(poses, invert(torch.stack([sample["matrix"] for sample in samples]))))

    target, visible = people.keypoints, people.visible
    counted = visible & ~torso_diameter(target, people.skeleton, visible=visible).isnan()[:, None]
    print(f"{'':10}" + "".join(f"  @{threshold:<5}" for threshold in THRESHOLDS))
    table = []
    for number, pred in enumerate(torch.cat(found, dim=1), start=1):
        row = [
            labelled_mean(pdj(pred, target, people.skeleton, visible=visible, threshold=threshold), counted)
            for threshold in THRESHOLDS
        ]
        print(f"{f'stage {number}':10}" + "".join(f"  {value:.3f} " for value in row))
        table.append(row)
    return table


if __name__ == "__main__":
    main()
