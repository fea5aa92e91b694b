"""Speed of prediction, targets, decoding and crops, as ratios against plain implementations, all measured in this run.

    python benchmarks/predict.py [ROW …] [--repeat 5] [--batches 1 8]

A ratio above 1 means that ours is faster. Runs of ours and of the reference alternate, and the medians are divided.
Times are the processor's, so that other work on the machine changes them little; only those of `loading`, which has its
own processes, are the wall clock's. Run with OMP_NUM_THREADS=1 for times per core.

    networks   `model.predict` in float32 and in bfloat16, against the network as its authors run it: eager.
               HRNet and the hourglass agree with the authors' code to the bit (docs/results.md). Also: the largest
               distance of the keypoints, of those with a score above 0.3 of the highest for bfloat16
    photos     `posezoo.predict` of photographs with four people each, against the loop of the authors' demos: decode,
               crop with Pillow, network and keypoints one person at a time
    targets    Gaussian heatmaps, 17 keypoints, 64 x 48, against HRNet's loop in NumPy, written from its description
    decoding   quarter offset and DARK of as many heatmaps, against a loop over people and keypoints in NumPy
    crops      256 people, 640 x 480 to 256 x 192, against OpenCV's warpAffine in a loop, where OpenCV is installed
    streaming  RPSM, a frame after 10,000 others against one after 10; below 1 means slower
    loading    images per second of the crops of training in two workers, against the network's training step
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import posezoo
from posezoo import heatmaps
from posezoo.geometry import box_to_crop, crop, crop_matrix
from posezoo.prepared import EAGER_CALLS

PHOTO = Path(__file__).parents[1] / "docs" / "images" / "street.jpg"
NETWORKS = ("hrnet_w32", "simple_baseline_resnet50", "hourglass_2")


def ratio(
    ours: Callable[[], Any],
    reference: Callable[[], Any],
    repeat: int,
    clock: Callable[[], float] = time.process_time,
) -> tuple[float, float, float]:
    """Return medians of ours and of the reference in milliseconds, and their ratio; runs alternate."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeat + 1):
        for run, taken in zip((ours, reference), times, strict=True):
            start = clock()
            run()
            if turn:  # the first one warms up
                taken.append(1e3 * (clock() - start))
    own, other = statistics.median(times[0]), statistics.median(times[1])
    return own, other, other / own


def networks(repeat: int, batches: Iterable[int]) -> None:
    for name in NETWORKS:
        torch.manual_seed(0)
        model = posezoo.create(name).eval()
        for batch in batches:
            image = model.example_input(batch)
            with torch.no_grad():
                expected, scores = model.decode(model(image))
            sure = scores > 0.3 * scores.max()

            def eager(model: Any = model, image: Tensor = image) -> Any:
                with torch.no_grad():
                    return model.decode(model(image))

            for precision in ("fp32", "bf16"):

                def ours(model: Any = model, image: Tensor = image, mixed: bool = precision == "bf16") -> Any:
                    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                        return model.predict(image)

                for _ in range(EAGER_CALLS + 1):
                    found, _ = ours()
                found, _ = ours()
                apart = (found - expected).norm(dim=-1)
                apart = apart if precision == "fp32" else apart[sure]
                report(
                    f"{name}, batch {batch}, {precision}", *ratio(ours, eager, repeat), f"{float(apart.max()):.3f} px"
                )


def photos(repeat: int, _: Iterable[int]) -> None:
    from PIL import Image

    model = posezoo.create("simple_baseline_lite", pretrained=True)
    boxes = [[40.0 * n, 20.0, 40.0 * n + 120, 220.0] for n in range(4)]
    height, width = model.input_size
    with tempfile.TemporaryDirectory() as folder:
        picture = Image.open(PHOTO).convert("RGB").resize((640, 480))
        paths = [Path(folder) / f"{n}.jpg" for n in range(12)]
        for path in paths:
            picture.save(path)

        def loop() -> None:
            for path in paths:
                for box in boxes:
                    image = Image.open(path).convert("RGB").crop(tuple(map(int, box))).resize((width, height))
                    pixels = torch.from_numpy(np.array(image)).movedim(-1, 0)[None].float() / 255
                    with torch.no_grad():
                        model.decode(model(pixels))

        def ours() -> None:
            posezoo.predict(paths, model, [boxes] * len(paths), progress=False)

        for precision in ("fp32", "bf16"):
            own = ours if precision == "fp32" else lambda: posezoo.predict(
                paths, model, [boxes] * len(paths), progress=False, precision="bf16")  # fmt: skip
            own()
            report(f"12 photos of 4 people, {precision}", *ratio(own, loop, repeat))


def targets(repeat: int, _: Iterable[int]) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 190, (256, 17, 2)).astype(np.float32)
    tensor = torch.from_numpy(points)

    def loop() -> np.ndarray:
        maps = np.zeros((len(points), 17, 64, 48), np.float32)
        for person, pose in enumerate(points):
            for keypoint, (x, y) in enumerate(pose):
                column, row = int(x / 4 + 0.5) - 6, int(y / 4 + 0.5) - 6
                left, top, right, bottom = max(column, 0), max(row, 0), min(column + 13, 48), min(row + 13, 64)
                if right > left and bottom > top:
                    at = np.arange(13, dtype=np.float32)  # for every keypoint, as HRNet's code has it
                    patch = np.exp(-((at - 6) ** 2 + (at[:, None] - 6) ** 2) / 8)
                    part = patch[top - row : bottom - row, left - column : right - column]
                    maps[person, keypoint, top:bottom, left:right] = part
        return maps

    report("targets, 256 x 17 x 64 x 48", *ratio(lambda: heatmaps.encode(tensor, size=(64, 48)), loop, repeat))


def decoding(repeat: int, _: Iterable[int]) -> None:
    torch.manual_seed(0)
    maps, _ = heatmaps.encode(188 * torch.rand(256, 17, 2), size=(64, 48), method="gaussian")
    array = maps.numpy()

    def quarter() -> np.ndarray:
        found = np.zeros((*array.shape[:2], 2), np.float32)
        for person, poses in enumerate(array):
            for keypoint, heat in enumerate(poses):
                y, x = np.unravel_index(heat.argmax(), heat.shape)
                point = np.array([x, y], np.float32)
                if 1 < x < 47 and 1 < y < 63:
                    point += 0.25 * np.sign([heat[y, x + 1] - heat[y, x - 1], heat[y + 1, x] - heat[y - 1, x]])
                found[person, keypoint] = 4 * point
        return found

    report("quarter-offset decoding", *ratio(lambda: heatmaps.decode(maps, method="quarter"), quarter, repeat))


def crops(repeat: int, _: Iterable[int]) -> None:
    try:
        import cv2
    except ImportError:
        print("crops: OpenCV is not installed")
        return
    photo = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    image = torch.from_numpy(photo).movedim(-1, 0).float() / 255
    boxes = torch.tensor([[100.0, 50.0, 300.0, 400.0]]).repeat(256, 1) + torch.rand(256, 4)
    center, extent = box_to_crop(boxes, (256, 192), padding=1.25)
    matrices = crop_matrix(center, extent, (256, 192))

    def loop() -> list[np.ndarray]:
        return [cv2.warpAffine(photo, matrix.numpy(), (192, 256), flags=cv2.INTER_LINEAR) for matrix in matrices]

    report("crops of 256 people", *ratio(lambda: crop(image, matrices, (256, 192)), loop, repeat))


def streaming(repeat: int, _: Iterable[int]) -> None:
    model = posezoo.create("rpsm", size=[64, 64], width=16, hidden=64).eval()
    frame = torch.rand(1, 3, 64, 64)
    early, late = model.stream(), model.stream()
    for _ in range(10):
        early(frame)
    for _ in range(10_000):
        late(frame)
    report("RPSM, frame 10,000 over frame 10", *ratio(lambda: late(frame), lambda: early(frame), 20 * repeat))


def loading(repeat: int, _: Iterable[int]) -> None:
    from posezoo.data import PersonCrop

    model = posezoo.create("simple_baseline_resnet50")
    photo = torch.randint(0, 255, (3, 480, 640), dtype=torch.uint8)
    sample = {"image": photo, "keypoints": 400 * torch.rand(17, 2), "visible": torch.ones(17, dtype=torch.bool),
              "box": torch.tensor([100.0, 50.0, 300.0, 400.0])}  # fmt: skip
    transform = PersonCrop(size=(256, 192), skeleton=model.skeleton, scale=0.35, rotation=45.0, flip=0.5)
    samples = [sample] * 64

    class Crops(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(samples)

        def __getitem__(self, index: int) -> Tensor:
            return transform(samples[index])["image"]

    loader = torch.utils.data.DataLoader(Crops(), batch_size=8, num_workers=2)
    image = torch.rand(64, 3, 256, 192)

    def train() -> None:
        for part in image.split(8):
            model(part).square().mean().backward()

    report("crops of 2 workers against training", *ratio(lambda: list(loader), train, repeat, time.perf_counter))


def report(row: str, own: float, reference: float, times: float, note: str = "") -> None:
    print(f"{row:42} {own:10.1f} ms {reference:10.1f} ms {times:7.2f}  {note}", flush=True)


ROWS = {function.__name__: function for function in (networks, photos, targets, decoding, crops, streaming, loading)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; defaults to all")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=(1, 8))
    args = parser.parse_args()
    unknown = set(args.rows) - set(ROWS)
    if unknown:
        parser.error(f"unknown rows {', '.join(sorted(unknown))}; known are {', '.join(ROWS)}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'row':42} {'ours':>13} {'reference':>13} {'ratio':>7}")
    for row in args.rows or ROWS:
        ROWS[row](args.repeat, args.batches)


if __name__ == "__main__":
    main()
