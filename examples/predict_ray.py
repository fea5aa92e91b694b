"""Predict the keypoints of any number of images with Ray Data, on all cores or on a cluster.

    python examples/predict_ray.py photos --out keypoints --workers 2
    python examples/predict_ray.py s3://bucket/photos --out /shared/keypoints --address auto --gpus 1

Every actor holds one copy of the network. Images are read in parts; the keypoints of a part are written as Parquet when
it is done, and a later call with the same `--out` continues behind the last whole part. At the end all parts are
written as COCO results, `people.json`, whose `image_id` is the number of the image in `images.json`. Needs `pip install
'posezoo[ray]'`. `--address auto` runs on the cluster that this machine belongs to; `--out` has to be a folder that this
machine and the workers see.
"""

import argparse
import io
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray

import posezoo

IMAGE_FILES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class Predictor:
    """An actor: one network, one process."""

    def __init__(self, model: str, gpus: float) -> None:
        import torch

        if not gpus:
            torch.set_num_threads(1)  # an actor per core; their threads would wait for each other
        self.device = "cuda" if gpus else "cpu"
        self.model = posezoo.create(model, pretrained=True).to(self.device)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        from posezoo.prediction import predict_stream

        start = time.process_time()
        rows: dict[str, list[Any]] = {"path": [], "keypoints": [], "scores": [], "box": [], "error": []}
        images = (decode(content) for content in batch["bytes"])
        found = predict_stream(images, self.model, damaged="yield", batch_size=16)
        for path, people in zip(batch["path"], found, strict=True):
            error = str(people) if isinstance(people, ValueError) else ""
            whole = (
                []
                if isinstance(people, ValueError)
                else zip(people.keypoints, people.scores, people.boxes, strict=True)
            )
            for keypoints, scores, box in whole:
                values = (str(path), keypoints.ravel().tolist(), scores.tolist(), box.tolist(), "")
                for column, value in zip(rows.values(), values, strict=True):
                    column.append(value)
            if error:
                for column, value in zip(rows.values(), (str(path), [], [], [], error), strict=True):
                    column.append(value)
        cost = (time.process_time() - start) / len(batch["path"])
        return {**rows, "cpu_seconds": [cost] * len(rows["path"])}


def decode(content: bytes) -> Any:
    """Decode a file's bytes to a PIL image; what is no image is an empty array, which `predict_stream` refuses."""
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(content))
        image.load()
        return image
    except OSError:
        return np.zeros((0, 0, 3), np.uint8)


def list_images(place: str) -> list[str]:
    """List the images of a folder, of a bucket, or of a text file with one path per line; sorted."""
    if place.endswith(".txt"):
        return [line for line in Path(place).read_text(encoding="utf-8").splitlines() if line]
    from pyarrow import fs

    system, root = fs.FileSystem.from_uri(place if "://" in place else Path(place).resolve().as_uri())
    found = system.get_file_info(fs.FileSelector(root, recursive=True))
    scheme = f"{place.partition('://')[0]}://" if "://" in place else ""
    return sorted(scheme + info.path for info in found if info.path.lower().endswith(IMAGE_FILES))


def results(folder: Path, images: list[str]) -> list[dict[str, Any]]:
    """Read all parts as COCO results."""
    import pyarrow.parquet as parquet

    number = {path: index for index, path in enumerate(images)}
    coco = []
    for part in sorted(folder.glob("part-*")):
        for row in parquet.read_table(part).to_pylist():
            if row["error"]:
                continue
            points = np.asarray(row["keypoints"]).reshape(-1, 2)
            triplets = np.column_stack([points, row["scores"]]).ravel().round(3).tolist()
            score = float(np.mean(row["scores"]))
            coco.append({"image_id": number[row["path"]], "category_id": 1, "keypoints": triplets, "score": score})
    return coco


def cpu_seconds(folder: Path) -> float:
    """Return the mean time that a worker computed for an image, without waiting for others."""
    import pyarrow.parquet as parquet

    tables = [parquet.read_table(part, columns=["path", "cpu_seconds"]) for part in folder.glob("part-*")]
    costs = {row["path"]: row["cpu_seconds"] for table in tables for row in table.to_pylist()}  # people share an image
    return float(np.mean(list(costs.values()))) if costs else 0.0


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="folder, bucket (s3://, gs://), or a .txt with one path per line")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="simple_baseline_lite")
    parser.add_argument("--workers", type=int, default=2, help="actors")
    parser.add_argument("--gpus", type=float, default=0.0, help="GPUs per actor")
    parser.add_argument("--part", type=int, default=10_000, help="images per part")
    parser.add_argument("--address", help="of a Ray cluster, such as auto; defaults to this machine")
    args = parser.parse_args(arguments)

    local: dict[str, Any] = {} if args.address else {"num_cpus": args.workers + 1, "include_dashboard": False}
    ray.init(address=args.address, log_to_driver=False, **local)
    images = list_images(args.images)
    args.out.mkdir(parents=True, exist_ok=True)
    listing = args.out / "images.json"
    if listing.is_file() and json.loads(listing.read_text()) != images:
        raise SystemExit(f"{listing} lists other images: use another --out, or delete {args.out}")
    listing.write_text(json.dumps(images))
    start, done = time.perf_counter(), 0
    for first in range(0, len(images), args.part):
        part = args.out / f"part-{first:09d}"
        if part.is_dir():
            continue
        some = images[first : first + args.part]
        data = ray.data.read_binary_files(some, include_paths=True)
        data = data.map_batches(
            Predictor,
            fn_constructor_args=(args.model, args.gpus),
            batch_size=32,
            compute=ray.data.ActorPoolStrategy(size=args.workers),
            num_gpus=args.gpus or None,
        )
        unfinished = part.with_name(f"unfinished-{part.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        data.write_parquet(str(unfinished.resolve()))
        unfinished.rename(part)
        done += len(some)
        print(
            f"{first + len(some)} of {len(images)} images, {done / (time.perf_counter() - start):.1f}/s",
            flush=True,
        )
    people = results(args.out, images)
    (args.out / "people.json").write_text(json.dumps(people))
    print(f"{len(people)} people in {len(images)} images: {args.out / 'people.json'}")
    print(f"{cpu_seconds(args.out):.3f} s of a core per image")


if __name__ == "__main__":
    main()
