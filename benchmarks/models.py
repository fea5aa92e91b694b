"""Speed of the networks as ratios against a named reference, both measured in this run.

    python benchmarks/models.py [--size 256 192] [--repeat 10]

A ratio above 1 means that ours is faster. The reference of HRNet is timm's trunk of the same width, which goes the same
way up to the last fusion and computes three more outputs of it; that of Simple Baselines is timm's ResNet alone, so
that the ratio says what the heatmaps cost.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import timm
import torch

import posezoo

REFERENCES = {
    "hrnet_w32": "hrnet_w32",
    "hrnet_w48": "hrnet_w48",
    "simple_baseline_resnet18": "resnet18",
    "simple_baseline_resnet50": "resnet50",
    "simple_baseline_lite": "tf_efficientnet_lite2",
}


def seconds(run: Callable[[], object], repeat: int) -> float:
    run()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 192), metavar=("H", "W"))
    parser.add_argument("--repeat", type=int, default=10)
    args = parser.parse_args()

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, timm {timm.__version__}")
    print(f"{'model':28} {'batch':>5} {'ours ms':>9} {'reference':>24} {'ms':>9} {'ratio':>6}")
    for name, reference in REFERENCES.items():
        ours = posezoo.create(name).eval()
        theirs = timm.create_model(reference, features_only=True, out_indices=(1,) if "hrnet" in name else (-1,)).eval()
        for batch in (1, 8):
            image = torch.rand(batch, 3, *args.size)
            with torch.no_grad():
                our_time = seconds(lambda model=ours, image=image: model(image), args.repeat)
                their_time = seconds(lambda model=theirs, image=image: model(image), args.repeat)
            print(
                f"{name:28} {batch:5} {1e3 * our_time:9.1f} {'timm ' + reference:>24} {1e3 * their_time:9.1f} "
                f"{their_time / our_time:6.2f}"
            )


if __name__ == "__main__":
    main()
