r"""Measure a person detector: AP50 and recall on photographs, and on pictures composed of them.

    python examples/evaluate_detector.py --data lspet:LSPET --images 7001 7500
    python examples/evaluate_detector.py --data lspet:LSPET --images 9301 9500 --labels everybody.npz
    python examples/evaluate_detector.py --annotations person_keypoints.json --photos images

The first command reports recall of the labelled person in each photograph, whose others have no
labels. The second also reports AP50 on composed pictures (`composites.py`), with labels of everybody
(`tools/label_people.py`). The third reports AP50 and recall on annotated photographs in COCO's
format; crowds are ignored. Recall and precision are those at the detector's threshold, and at 0.5.
`--detector` takes the names of `posezoo predict --detector`, or the folder of a trained one.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posezoo.detectors import OWN_THRESHOLD, PersonDetector, load_detector
from posezoo.geometry import box_iou
from posezoo.progress import with_progress

from composites import Composites, outline
from data_sources import open_data, source
from train_detector import box_ap

SIZE = 384  # pixels of a composed picture
INSIDE = 0.5  # part of a box in a crowd from which on it is ignored
LEVELS = (OWN_THRESHOLD, 0.5)  # scores
LABELLED = 5  # keypoints of a person who is large enough to be labelled, with face and body


def main(arguments: list[str] | None = None) -> dict[str, dict[str, float]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="default")
    parser.add_argument("--data", type=source, metavar="NAME:FOLDER", help="lspet or lsp")
    parser.add_argument("--images", type=int, nargs=2, default=(7001, 7500), metavar=("FIRST", "LAST"))
    parser.add_argument("--labels", type=Path, nargs="+", default=(), help="files of tools/label_people.py")
    parser.add_argument("--pictures", type=int, default=300, help="to compose")
    parser.add_argument("--annotations", type=Path, help="COCO's person_keypoints_*.json")
    parser.add_argument("--photos", type=Path, help="folder of their images")
    args = parser.parse_args(arguments)

    folder = Path(args.detector).is_dir()
    low = PersonDetector(args.detector if folder else None, threshold=0.05)
    detector: Any = low if folder or args.detector == "default" else load_detector(args.detector)
    reports = {}
    if args.data:
        people = open_data([args.data], "test", images=args.images)
        photos = Composites(people, None, args.labels, size=SIZE, count=args.pictures, seed=7)
        alone = [people[row] for row in photos.rows]
        truth = [
            torch.from_numpy(outline(one["box"].numpy(), one["image"].shape[:0:-1])).float()[None] for one in alone
        ]
        found = [detector([one["image"]])[0] for one in with_progress(alone, len(alone), None, "photograph")]
        reports["photographs"] = box_ap(found, truth, levels=LEVELS)
        if args.labels:
            samples = [photos[index] for index in range(args.pictures)]
            boxes = [sample["boxes"][sample["boxes"].isfinite().all(dim=1)] for sample in samples]
            reports["composed"] = box_ap([detector([sample["image"]])[0] for sample in samples], boxes, levels=LEVELS)
    if args.annotations:
        reports |= annotated(detector, args.annotations, args.photos)
    for name, report in reports.items():
        print(f"{name}: " + "  ".join(f"{key} {value:.3f}" for key, value in report.items()))
    return reports


def annotated(detector: Any, annotations: Path, photos: Path) -> dict[str, dict[str, float]]:
    """AP50 and recall on photographs in COCO's format, of everybody and of those with keypoints."""
    content = json.loads(annotations.read_text())
    found, everybody, labelled = [], [], []
    for image in content["images"]:
        rows = [row for row in content["annotations"] if row["image_id"] == image["id"]]
        boxes = np.array([row["bbox"] for row in rows], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        crowd = np.array([bool(row["iscrowd"]) for row in rows], bool)
        points = np.array([row["num_keypoints"] for row in rows])
        [(places, scores)] = detector([photos / image["file_name"]])
        real, many = (torch.from_numpy(boxes[chosen]) for chosen in (~crowd, crowd))
        kept = ~ignored(places, real, many)
        found.append((places[kept], scores[kept]))
        everybody.append(real)
        labelled.append(torch.from_numpy(boxes[~crowd & (points >= LABELLED)]))
    return {
        "annotated": box_ap(found, everybody, levels=LEVELS),
        "with keypoints": box_ap(found, labelled, levels=LEVELS),
    }


def ignored(places: Tensor, real: Tensor, crowds: Tensor) -> Tensor:
    """Mask `(N,)` of the boxes that lie in a crowd and are nobody's who is annotated alone."""
    if not len(crowds) or not len(places):
        return torch.zeros(len(places), dtype=torch.bool)
    low, high = torch.maximum(places[:, None, :2], crowds[:, :2]), torch.minimum(places[:, None, 2:], crowds[:, 2:])
    share = (high - low).clamp(min=0).prod(dim=-1) / (places[:, 2:] - places[:, :2]).prod(dim=-1)[:, None]
    alone = (box_iou(places[:, None], real) >= INSIDE).any(dim=1)
    return (share > INSIDE).any(dim=1) & ~alone


if __name__ == "__main__":
    main()
