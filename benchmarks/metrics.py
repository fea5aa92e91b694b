"""Speed of the metrics as ratios against plain implementations, all measured in this run.

    python benchmarks/metrics.py [--people 25000] [--poses 500000] [--repeat 3]

A ratio above 1 means that ours is faster. PCKh is compared with a loop over people and keypoints, and its curve over
MPII's 51 thresholds with mmpose's way, which measures the distances for each of them. PA-MPJPE is compared
with the usual NumPy implementation, written here from its description (one batch of singular value decompositions of
3 x 3 matrices, determinants to exclude reflections), the same algorithm as that of VideoPose3D. Both times are the
processor's, in this process, so that other work on the machine changes them little; the wall clock stands beside them.
COCO AP has its own program, metrics_coco.py.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from posezoo.metrics import pa_mpjpe, pck_curve, pckh

THRESHOLDS = np.linspace(0, 0.5, 51)  # of MPII


def seconds(run: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Medians of processor time and wall clock."""
    times = []
    for _ in range(repeat):
        start = time.process_time(), time.perf_counter()
        run()
        times.append((time.process_time() - start[0], time.perf_counter() - start[1]))
    processor, wall = zip(*times, strict=True)
    return statistics.median(processor), statistics.median(wall)


def pckh_by_loops(pred: np.ndarray, target: np.ndarray, head: np.ndarray, visible: np.ndarray) -> list[float]:
    hits, counts = [0] * pred.shape[1], [0] * pred.shape[1]
    for person in range(len(pred)):
        for keypoint in range(pred.shape[1]):
            if visible[person, keypoint]:
                counts[keypoint] += 1
                error = math.dist(pred[person, keypoint], target[person, keypoint])
                hits[keypoint] += error <= 0.5 * head[person]
    return [hit / count for hit, count in zip(hits, counts, strict=True)]


def pckh_by_thresholds(pred: np.ndarray, target: np.ndarray, head: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Run mmpose's way for each of 51 thresholds: distances, then the accuracy of each keypoint."""
    rows = []
    for threshold in THRESHOLDS:
        distances = np.full(pred.shape[:2], -1, np.float32)
        factor = np.stack([head, head], axis=1)
        distances[visible] = np.linalg.norm(((pred - target) / factor[:, None])[visible], axis=-1)
        valid = [column[column != -1] for column in distances.T]
        rows.append([(column <= threshold).sum() / len(column) for column in valid])
    return np.array(rows)


def pa_mpjpe_by_svd(pred: np.ndarray, target: np.ndarray) -> float:
    centre = target.mean(axis=1, keepdims=True)
    source, goal = pred - pred.mean(axis=1, keepdims=True), target - centre
    left, values, right = np.linalg.svd(source.transpose(0, 2, 1) @ goal)
    sign = np.sign(np.linalg.det(left @ right))
    left[:, :, 2] *= sign[:, None]
    values[:, 2] *= sign
    factor = values.sum(axis=1) / (source**2).sum(axis=(1, 2))
    moved = factor[:, None, None] * (source @ (left @ right)) + centre
    return float(np.linalg.norm(moved - target, axis=2).mean())


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=25_000)
    parser.add_argument("--poses", type=int, default=500_000)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args(arguments)
    random = np.random.default_rng(0)

    target = random.uniform(0, 500, (args.people, 16, 2))
    pred = target + random.normal(0, 20, target.shape)
    head, visible = random.uniform(20, 80, args.people), random.random((args.people, 16)) < 0.9
    joints = random.normal(0, 1, (args.poses, 17, 3)) * (150, 400, 100)
    guesses = 1.1 * joints + random.normal(0, 60, joints.shape)
    rows = {
        f"PCKh, {args.people:,} people": (
            lambda: pckh(pred, target, head, visible=visible),
            lambda: pckh_by_loops(pred, target, head, visible),
        ),
        f"PCKh, 51 thresholds, {args.people:,}": (
            lambda: pck_curve(pred, target, head, THRESHOLDS, visible=visible),
            lambda: pckh_by_thresholds(pred, target, head, visible),
        ),
        f"PA-MPJPE, {args.poses:,} poses": (
            lambda: float(pa_mpjpe(guesses, joints).mean()),
            lambda: pa_mpjpe_by_svd(guesses, joints),
        ),
    }
    print(f"torch {torch.__version__}, numpy {np.__version__}, {torch.get_num_threads()} threads")
    print(f"{'':28} {'ours s':>8} {'(wall)':>8} {'plain s':>8} {'(wall)':>8} {'ratio':>6} {'difference':>10}")
    ratios = {}
    for name, (ours, plain) in rows.items():
        difference = np.abs(np.subtract(ours(), plain())).max()
        (our_time, our_wall), (plain_time, plain_wall) = (seconds(run, args.repeat) for run in (ours, plain))
        ratios[name] = plain_time / our_time
        print(
            f"{name:28} {our_time:8.3f} {our_wall:8.3f} {plain_time:8.3f} {plain_wall:8.3f} {ratios[name]:6.1f} "
            f"{difference:10.1e}"
        )
    return ratios


if __name__ == "__main__":
    main()
