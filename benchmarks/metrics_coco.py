"""Speed of COCO's keypoint AP as ratios against pycocotools and faster-coco-eval, all measured in
this run.

    python benchmarks/metrics_coco.py [--images 5000] [--people 11000] [--repeat 3]

All get the same annotations and results as Python dicts and return the ten numbers, which must agree. The time
includes indexing the dicts, which every evaluation needs; "evaluation alone" starts after it: for ours
with arrays, for the others with their own index. A ratio above 1 means that ours is faster.
"""

import argparse
import contextlib
import copy
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from posezoo.metrics import coco_ap, read_coco_ground_truth, read_coco_results


def dataset(images: int, people: int, per_person: float, seed: int = 0) -> tuple[dict, list[dict]]:
    """Annotations and detections with the habits of COCO: missing keypoints, crowds, images without
    people.
    """
    rng = np.random.default_rng(seed)
    image = rng.integers(0, images, people)
    height = np.exp(rng.normal(5, 0.7, people)).clip(20, 600)
    pose = rng.uniform(0, 400, (people, 1, 2)) + rng.normal(0, 0.25, (people, 17, 2)) * height[:, None, None]
    flags = rng.choice([0, 1, 2], (people, 17), p=[0.4, 0.1, 0.5])
    crowd = rng.random(people) < 0.02
    flags[crowd | (rng.random(people) < 0.3)] = 0
    truth = np.concatenate([pose.round() * (flags > 0)[..., None], flags[..., None]], axis=-1).astype(int)
    annotations = [
        {
            "id": number + 1,
            "image_id": int(image[number]),
            "category_id": 1,
            "keypoints": truth[number].ravel().tolist(),
            "num_keypoints": int((flags[number] > 0).sum()),
            "area": round(float(0.3 * height[number] ** 2), 4),
            "bbox": [*pose[number].min(axis=0).round(2).tolist(), *np.ptp(pose[number], axis=0).round(2).tolist()],
            "iscrowd": int(crowd[number]),
        }
        for number in range(people)
    ]
    chosen = rng.integers(0, people, round(people * per_person))
    spread = (rng.exponential(0.05, len(chosen)) * height[chosen])[:, None, None]
    detected = np.concatenate(
        [pose[chosen] + rng.normal(0, 1, (len(chosen), 17, 2)) * spread, rng.random((len(chosen), 17, 1))], axis=-1
    ).round(3)
    results = [
        {"image_id": int(image[source]), "category_id": 1, "keypoints": points.ravel().tolist(), "score": score}
        for source, points, score in zip(chosen, detected, rng.random(len(chosen)).round(4).tolist(), strict=True)
    ]
    content = {
        "info": {},
        "images": [{"id": number} for number in range(images)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }
    return content, results


def judged(coco: Any, judge: Any, truth: dict, results: list[dict], after_index: list[float]) -> list[float]:
    """The ten numbers of an implementation with pycocotools' interface."""
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = coco()
        annotations.dataset = truth
        annotations.createIndex()
        evaluation = judge(annotations, annotations.loadRes(results), "keypoints")
        after_index.append(time.perf_counter())
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return list(map(float, evaluation.stats[:10]))


def ours(truth: dict, results: list[dict], after_index: list[float]) -> list[float]:
    people, detections = read_coco_ground_truth(truth), read_coco_results(results)
    after_index.append(time.perf_counter())
    return list(coco_ap(people, detections).values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--people", type=int, default=11000)
    parser.add_argument("--per-person", type=float, default=1.5, help="detections per person")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    candidates: dict[str, Callable[..., list[float]]] = {
        "posezoo": ours,
        "pycocotools": lambda *data: judged(COCO, COCOeval, *data),
    }
    try:
        import faster_coco_eval
    except ImportError:
        print("faster-coco-eval is not installed: pip install faster-coco-eval")
    else:
        candidates["faster-coco-eval"] = lambda *data: judged(
            faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster, *data
        )

    truth, results = dataset(args.images, args.people, args.per_person)
    print(f"{args.images} images, {args.people} people, {len(results)} detections, median of {args.repeat} runs")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    numbers = {}
    for _ in range(args.repeat):  # in turns, so that the load of the machine affects all alike
        for name, run in candidates.items():
            data = copy.deepcopy((truth, results))  # the others write into the records
            after_index: list[float] = []
            start = time.perf_counter()
            numbers[name] = run(*data, after_index)
            end = time.perf_counter()
            times[name].append((end - start, end - after_index[0]))

    print(f"{'':18} {'from dicts s':>13} {'ratio':>7} {'evaluation alone s':>19} {'ratio':>7} {'AP':>9} {'differs':>8}")
    reference = [statistics.median(column) for column in zip(*times["posezoo"], strict=True)]
    for name, runs in times.items():
        total, alone = (statistics.median(column) for column in zip(*runs, strict=True))
        difference = np.abs(np.subtract(numbers[name], numbers["posezoo"])).max()
        print(
            f"{name:18} {total:13.3f} {total / reference[0]:7.1f} {alone:19.3f} {alone / reference[1]:7.1f} "
            f"{numbers[name][0]:9.6f} {difference:8.1e}"
        )


if __name__ == "__main__":
    main()
