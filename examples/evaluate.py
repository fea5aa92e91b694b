"""Evaluate a pretrained model on the test people of a data set, by the measure of the papers.

    python examples/evaluate.py --data lspet:lspet
    python examples/evaluate.py --data mpii:mpii --model hourglass_8.mpii_256x256
    python examples/evaluate.py --data mpii:mpii --model local-dir:runs/cpm_mpii/model --scales cpm --no-flip
    python examples/evaluate.py --data buffy:buffy --model local-dir:runs/flic/stage3/model --detector faces.onnx \\
        --no-flip --thresholds 0.05 0.1 0.15 0.2
    python examples/evaluate.py --data coco:coco --model hrnet_w32.coco_256x192 \\
        --detections COCO_val2017_detections_AP_H_56_person.json

| data | measure |
|---|---|
| lsp, lspet, parse | PCK@0.2 of the torso diameter (left shoulder to right hip), and strict PCP@0.5 |
| mpii | PCKh@0.5, and PCK@0.2 |
| flic | PCK@0.2 of the torso diameter |
| buffy | PCK@0.2 of the length of the torso's segment |
| coco | AP by OKS on the annotated boxes, or on `--detections` |

AP follows Simple Baselines and HRNet: a detection's score is its box's times the mean of the
keypoints' scores above 0.2, and OKS-NMS at 0.9 removes duplicates. `--scales cpm` averages the
seven scales of Convolutional Pose Machines; on LSP their test is `--crop cpm-lsp --scales cpm`.
Joints without annotation are excluded, and so are people whose torso is not annotated.
`--thresholds` prints the PCK of every joint at several fractions of the torso, DeepPose's curves of
detection rates, and `--detector` crops the boxes of a detector of faces or people, as
`train_deeppose.py` does.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import posezoo
from posezoo.data import COCO, CROPS
from posezoo.detectors import load_detector
from posezoo.geometry import box_to_crop, tight_box
from posezoo.metrics import coco_ap, lsp_pcp, oks_nms, pck_curve
from posezoo.models.cpm import CPM_SCALES
from posezoo.prediction import predict_stream
from posezoo.progress import with_progress
from posezoo.skeletons import convert

from data_sources import NAMES, TESTS, People, detected_boxes, open_data, source, use_detected
from training import scores, torso_of

CONFIDENT = 0.2  # keypoints above count in the score of a person
FOUR_LIMBS = ("Upper arm", "Forearm", "Upper leg", "Lower leg")  # of DeepPose's Tables 1 and 2
DUPLICATE = 0.9  # OKS above which the lower of two poses is removed


def predict_people(model: Any, people: People, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Keypoints `(N, K, 2)` in the skeleton of the people, and a mask of those that the model has."""
    boxes = people.boxes
    if model.region == "joints":
        boxes = torch.stack([tight_box(*pose) for pose in zip(people.keypoints, people.visible, strict=True)])
    images = (people[row]["image"] for row in range(len(people)))
    stream = predict_stream(images, model, (box[None] for box in boxes), **options)
    found = list(with_progress(stream, len(people), None, "person"))
    pred = torch.cat([torch.from_numpy(one.keypoints) for one in found])
    return convert(pred, model.skeleton, people.skeleton)


def coco_results(model: Any, people: COCO, *, threshold: float = DUPLICATE, **options: Any) -> list[dict[str, Any]]:
    """COCO results on the boxes of `people`, rescored, without duplicates."""
    rows: dict[int, list[int]] = {}
    for row, image in enumerate(people.image_ids):
        rows.setdefault(image, []).append(row)
    images = [people.images / people.names[first] for first, *_ in rows.values()]
    stream = predict_stream(images, model, (people.boxes[own] for own in rows.values()), **options)
    together = zip(rows.items(), with_progress(stream, len(rows), None, "image"), strict=True)
    return [
        result for (image, own), found in together for result in of_image(model, people, image, own, found, threshold)
    ]


def of_image(
    model: Any, people: COCO, image: int, rows: list[int], found: Any, threshold: float
) -> Iterator[dict[str, Any]]:
    """Results of one image; `rows` are those of its boxes in `people`."""
    shown = found if found.skeleton == people.skeleton else found.to(people.skeleton)
    boxes = np.ones(len(rows)) if people.scores is None else people.scores[rows].numpy()
    sure = shown.scores > CONFIDENT
    ranking = boxes * np.where(sure, shown.scores, 0).sum(axis=1) / np.maximum(sure.sum(axis=1), 1)
    # the area of a crop, context included, as in the authors' code
    _, extent = box_to_crop(people.boxes[rows], model.input_size, padding=model.padding)
    kept = oks_nms(shown.keypoints, ranking, extent.prod(dim=1).numpy(), people.skeleton, threshold=threshold)
    for person in kept.tolist():
        triples = np.concatenate([np.nan_to_num(shown.keypoints[person]), shown.scores[person, :, None]], axis=1)
        yield {
            "image_id": image, "category_id": 1, "keypoints": triples.ravel().astype(float).tolist(),
            "score": float(ranking[person]),
        }  # fmt: skip


def evaluate_coco(model: Any, root: Path, detections: Path | None, output: Path | None, **options: Any) -> float:
    """Print AP and AR on val2017, and return AP."""
    annotations = root / "annotations" / "person_keypoints_val2017.json"
    people = COCO(root / "val2017", annotations, detections=detections)
    results = coco_results(model, people, **options)
    if output:
        output.write_text(json.dumps(results), encoding="utf-8")
    table = coco_ap(annotations, results, sigmas=people.skeleton)
    for name, value in dict(table).items():
        print(f"{name:>15} {value:6.3f}")
    print(f"{len(people)} boxes, {len(results)} people")
    return float(dict(table)["AP"])


def evaluate(model: Any, people: People, name: str, thresholds: Sequence[float] = (), **options: Any) -> float:
    """Print the measure of a data set, and return it."""
    pred, has = predict_people(model, people, **options)
    visible = people.visible & has
    heads = [getattr(part, "head_sizes", None) for part in people.parts]
    head_size = torch.cat(heads) if all(part is not None for part in heads) else None
    of_people = {"skeleton": people.skeleton, "torso": people.torso}
    report = scores(pred, people.keypoints, visible, head_size=head_size, **of_people)
    for joint, value in report["per_joint"].items():
        print(f"{joint:>15} {value:6.3f}")
    if thresholds:
        torso = torso_of(people.keypoints, visible, **of_people)
        curve = pck_curve(pred, people.keypoints, torso, thresholds, visible=visible)
        print(f"{'fraction of the torso':>22}" + "".join(f" {threshold:6.2f}" for threshold in thresholds))
        for joint, row in zip(people.skeleton.keypoints, curve.T.tolist(), strict=True):
            print(f"{joint:>22}" + "".join(f" {value:6.3f}" for value in row))
    without = report["people_without_torso"]
    print(f"{'PCK@0.2':>15} {report['pck@0.2']:6.3f}   {len(people)} people, {without} of them without a torso")
    if people.skeleton.name == "lsp14":
        rows = lsp_pcp(pred, people.keypoints, visible=visible)
        limbs = sum(rows[limb] for limb in FOUR_LIMBS) / len(FOUR_LIMBS)
        print("  ".join(f"{limb} {rows[limb]:.3f}" for limb in FOUR_LIMBS) + f"  their mean {limbs:.3f}")
        print(f"{'PCP@0.5':>15} {rows['Total']:6.3f}")
    if "pckh@0.5" in report:
        print(f"{'PCKh@0.5':>15} {report['pckh@0.5']:6.3f}")
    return float(report["pckh@0.5" if name == "mpii" and "pckh@0.5" in report else "pck@0.2"])


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join((*NAMES, *TESTS))
    parser.add_argument("--data", type=source, required=True, metavar="NAME:FOLDER", help=f"one of {names}")
    parser.add_argument("--images", type=int, nargs=2, metavar=("FIRST", "LAST"), help="of lsp or lspet")
    parser.add_argument("--model", default="simple_baseline_lite.lsp14_192x192")
    parser.add_argument("--no-flip", action="store_true", help="do not average with the mirror image")
    parser.add_argument("--scales", nargs="+", metavar="S", help="factors, or cpm for 0.7 to 1.3")
    parser.add_argument("--crop", choices=tuple(CROPS), help="the crop of a paper. Defaults to the model's")
    parser.add_argument("--thresholds", type=float, nargs="+", default=(), metavar="T", help="of a curve per joint")
    parser.add_argument("--detector", help="of faces or people, whose boxes are cropped")
    parser.add_argument("--detections", type=Path, help="boxes of a person detector, json, for coco")
    parser.add_argument("--results", type=Path, help="write COCO results, for coco")
    args = parser.parse_args(arguments)
    name, root = args.data
    if name != "coco" and (args.detections or args.results):
        parser.error("--detections and --results: for coco")

    model = posezoo.create(args.model, pretrained=True)
    if args.crop:
        model.apply_input_settings(CROPS[args.crop])
    scales: Iterable[float] | None = args.scales and [float(one) for one in args.scales if one != "cpm"]
    if args.scales == ["cpm"]:
        scales = CPM_SCALES
    options: dict[str, Any] = {"flip": not args.no_flip, "scales": scales}
    if name == "coco":
        return evaluate_coco(model, root, args.detections, args.results, **options)
    lowered = model.padding == 1.25  # networks with the crop of the hourglass have its centre, too
    readers = {"mpii": {"center": "lowered" if lowered else "annotated"}, "flic": {"skeleton": "flic11"}}
    people = open_data([args.data], "test", images=args.images, readers=readers)
    if args.detector:
        boxes, missing = detected_boxes(people, load_detector(args.detector), None)
        print(f"detector: no box for {missing} of {len(people)} people, whose annotated box is taken")
        use_detected(people, boxes, model.padding)
    return evaluate(model, people, name, args.thresholds, **options)


if __name__ == "__main__":
    main()
