"""Compare networks of posezoo with MediaPipe Pose in one table, on people not trained on.

    OMP_NUM_THREADS=1 python examples/compare.py --lspet lspet --photos photos --mediapipe mediapipe/bin/python

| data | people | a keypoint is correct |
|---|---|---|
| `--lspet`: `joints.mat`, `images/` | of images 7001 to 7500 | within 0.2 of the torso (PCK@0.2, as `evaluate.py`) |
| `--photos`: `images/`, COCO's `person_keypoints.json` | all | within 0.2 of the root of the segment's area |

The table has the share of the annotated keypoints that are correct. Every method gets the true box
of each person, and then the photograph alone. The keypoints of people whom it does not find are
wrong; each person whom it finds in a photograph is compared with one annotated person, so that the
most keypoints are correct. Networks of posezoo average with the mirror image where they have boxes.
MediaPipe gets the crop of the box times 1.5; its own detector of people works in that, too, from a
confidence of 0.1 instead of 0.5.

Methods without LSP's neck and top of the head get them from shoulders, hips, ears and nose, by
three coefficients that are fitted to LSPET's images 1 to 200. The table has the 12 joints of arms
and legs apart, which need no such fit.

`--mediapipe` is the Python with mediapipe, see `compare_mediapipe.py`; models that it does not have
are left out. Images per second are those of one core, from the file to the keypoints, in the
processor's time.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import posezoo
from posezoo.data import COCO, LSP
from posezoo.metrics import torso_diameter
from posezoo.skeletons import Skeleton, convert, get_skeleton

from data_sources import People
from train_default import AGREEMENT, agreement

NETWORK = "simple_baseline_lite.people_192x192"  # the default network, with COCO's keypoints and LSP's
BODY = LSP.skeleton.keypoints[:12]
HEAD = ("neck", "head_top")
THRESHOLD = 0.2
FITTED, HELD_OUT = (1, 200), (7001, 7500)  # images of LSPET
CONFIDENCE = {True: 0.1, False: 0.5}  # of MediaPipe's detector, with a box and without
WORKER = Path(__file__).with_name("compare_mediapipe.py")

Job = tuple[str, list[float] | None]  # a photograph, and a person's box in it


class Truth(NamedTuple):
    """Annotated people, the photograph of each, and the pixels `(N,)` that errors are divided by."""

    people: People
    paths: list[str]
    lengths: Tensor


class Method(NamedTuple):
    """`run` returns the keypoints `(n, K, 2)` of every job's people, and the processor's seconds."""

    name: str
    skeleton: Skeleton
    run: Callable[[Sequence[Job]], tuple[list[Tensor], float]]


def lspet(root: Path, images: tuple[int, int]) -> Truth:
    people = People([LSP(root, images=images)])
    paths = [str(root / "images" / f"im{number:05d}.jpg") for number in range(images[0], images[1] + 1)]
    return Truth(people, paths, torso_diameter(people.keypoints, people.skeleton, visible=people.visible))


def photographs(root: Path) -> Truth:
    coco = COCO(root / "images", root / "person_keypoints.json")
    return Truth(People([coco]), [str(coco.images / name) for name in coco.names], coco.areas.sqrt())


def network(name: str) -> Method:
    """A network of posezoo."""
    model = posezoo.create(name, pretrained=True)

    def run(jobs: Sequence[Job]) -> tuple[list[Tensor], float]:
        paths, boxes = zip(*jobs, strict=True)
        boxed = boxes[0] is not None
        start = time.process_time()
        found = posezoo.predict(list(paths), model, [[box] for box in boxes] if boxed else None, flip=boxed)
        seconds = time.process_time() - start
        return [torch.from_numpy(people.keypoints) for people in found], seconds

    return Method(f"`{name}`", model.skeleton, run)


def mediapipe(python: str, name: str) -> Method:
    """MediaPipe's network, in a Python of its own."""

    def run(jobs: Sequence[Job]) -> tuple[list[Tensor], float]:
        with tempfile.TemporaryDirectory() as folder:
            given, result = Path(folder, "jobs.json"), Path(folder, "result.npz")
            given.write_text(json.dumps(jobs))
            options = ["--model", name, "--confidence", str(CONFIDENCE[jobs[0][1] is not None])]
            command = [python, str(WORKER), str(given), str(result), *options]
            subprocess.run(command, check=True, capture_output=True, text=True)
            with np.load(result) as file:
                points, seconds = torch.from_numpy(file["keypoints"]).float(), float(file["seconds"])
        return [one[None][one.isfinite().all()[None]] for one in points], seconds

    return Method(f"MediaPipe Pose, {name}", get_skeleton("mediapipe33"), run)


def jobs_of(test: Truth, boxed: bool) -> list[Job]:
    """One for each person, or for each photograph."""
    if boxed:
        return list(zip(test.paths, test.people.boxes.tolist(), strict=True))
    return [(path, None) for path in dict.fromkeys(test.paths)]


def head_vectors(points: Tensor, skeleton: Skeleton) -> tuple[Tensor, ...]:
    """Middle of the shoulders, and the ways `(N, 2)` from hips to it, and from it to ears and nose."""
    pairs = ([skeleton.index(f"{side}_{part}") for side in ("left", "right")] for part in ("shoulder", "hip", "ear"))
    shoulders, hips, ears = (points[:, pair].mean(dim=1) for pair in pairs)
    return shoulders, shoulders - hips, ears - shoulders, points[:, skeleton.index("nose")] - shoulders


def fit_head(method: Method, test: Truth) -> Tensor:
    """Three coefficients of neck and top of the head, from people whose body is found correctly."""
    found, _ = method.run(jobs_of(test, boxed=True))
    points = torch.stack([one[0] if len(one) else torch.zeros(len(method.skeleton), 2) for one in found])
    body, _ = convert(points, method.skeleton, BODY)
    sure = (agreement(body, test.people) < AGREEMENT) & test.people.visible[:, -2:].all(dim=1)
    shoulders, up, ears, nose = head_vectors(points[sure], method.skeleton)
    neck, top = ((test.people.keypoints[sure, place] - shoulders).reshape(-1, 1) for place in (-2, -1))
    of_neck = torch.linalg.lstsq(up.reshape(-1, 1), neck).solution
    of_top = torch.linalg.lstsq(torch.stack([ears.flatten(), nose.flatten()], dim=1), top).solution
    return torch.cat([of_neck, of_top]).flatten()


def in_skeleton(points: Tensor, method: Method, target: Skeleton, head: Tensor | None) -> Tensor:
    """Keypoints `(n, K, 2)` of a method in the skeleton of a test, NaN where it has none."""
    new, has = convert(points, method.skeleton, target)
    new = new.masked_fill(~has[..., None], torch.nan)
    if head is not None and set(HEAD) <= set(target.keypoints):
        shoulders, up, ears, nose = head_vectors(points, method.skeleton)
        new[:, target.index("neck")] = shoulders + head[0] * up
        new[:, target.index("head_top")] = shoulders + head[1] * ears + head[2] * nose
    return new


def matched(found: Sequence[Tensor], test: Truth, jobs: Sequence[Job]) -> Tensor:
    """Keypoints `(N, K, 2)` of the annotated people among those found; NaN for people not found."""
    people = test.people
    pred = torch.full_like(people.keypoints, torch.nan)
    if jobs[0][1] is not None:
        rows_of = [[row] for row in range(len(jobs))]
    else:
        rows_of = [[row for row, path in enumerate(test.paths) if path == job] for job, _ in jobs]
    for points, rows in zip(found, rows_of, strict=True):
        distance = (points[None] - people.keypoints[rows][:, None]).norm(dim=-1)
        near = (distance <= THRESHOLD * test.lengths[rows][:, None, None]) & people.visible[rows][:, None]
        for row, one in zip(*linear_sum_assignment(near.sum(dim=-1), maximize=True), strict=True):
            pred[rows[row]] = points[one]
    return pred


def measured(pred: Tensor, test: Truth) -> list[str]:
    """Correct keypoints, the same of arms and legs, and people not found, for the table."""
    people, counted = test.people, test.lengths.isfinite()
    visible = people.visible & counted[:, None]
    body = [people.skeleton.index(name) for name in BODY]
    correct = (pred - people.keypoints).norm(dim=-1) <= THRESHOLD * test.lengths[:, None]  # never where NaN
    lost = int((pred.isnan().all(dim=(1, 2)) & counted).sum())
    return [
        f"{float(correct[visible].float().mean()):.3f}",
        f"{float(correct[:, body][visible[:, body]].float().mean()):.3f}",
        f"{lost} of {int(counted.sum())}",
    ]


def rows(method: Method, tests: Sequence[Truth], fitted: Truth | None) -> Iterator[list[str]]:
    """Rows of the table: with the true boxes, and with the photographs alone."""
    lacking = not set(HEAD) <= set(method.skeleton.keypoints)
    head = fit_head(method, fitted) if lacking and fitted else None
    for boxed in (True, False):
        cells: list[str] = []
        speed = 0.0
        for test in tests:
            jobs = jobs_of(test, boxed)
            found, seconds = method.run(jobs)
            speed = speed or len(jobs) / seconds
            found = [in_skeleton(points, method, test.people.skeleton, head) for points in found]
            cells += measured(matched(found, test, jobs), test)
        yield [method.name, "true boxes" if boxed else "photograph alone", *cells, f"{speed:.1f}"]


def reason(error: subprocess.CalledProcessError | OSError) -> str:
    """Why a Python could not run its network."""
    lines = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
    return lines[-1] if lines else repr(error)


def main(arguments: list[str] | None = None) -> list[list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lspet", type=Path, help="folder of LSPET")
    parser.add_argument("--photos", type=Path, help="folder with person_keypoints.json and images/")
    parser.add_argument("--models", nargs="*", default=[NETWORK], help=f"of posezoo. Defaults to {NETWORK}")
    parser.add_argument("--mediapipe", metavar="PYTHON", help="Python with mediapipe. Defaults to none")
    parser.add_argument("--mediapipe-models", nargs="+", default=["full", "heavy"], help="of lite, full, heavy")
    parser.add_argument("--images", type=int, nargs=2, default=HELD_OUT, metavar=("FIRST", "LAST"), help="of LSPET")
    args = parser.parse_args(arguments)
    tests = [lspet(args.lspet, tuple(args.images))] if args.lspet else []
    tests += [photographs(args.photos)] if args.photos else []
    names = [name for name, given in (("LSPET", args.lspet), ("COCO", args.photos)) if given]
    if not tests:
        parser.error("expected --lspet, --photos or both")
    fitted = lspet(args.lspet, FITTED) if args.lspet else None

    methods = [network(name) for name in args.models]
    if args.mediapipe:
        methods += [mediapipe(args.mediapipe, name) for name in args.mediapipe_models]
    else:
        print("MediaPipe is left out: --mediapipe is the Python that has it, see compare_mediapipe.py")
    columns = ["correct", "arms and legs", "not found"]
    heads = [f"{name}: {column}" for name in names for column in columns]
    table = [["Method", "Given", *heads, "images/s"]]
    print(f"| {' | '.join(table[0])} |\n|---|---|{'---:|' * (len(heads) + 1)}")
    for method in methods:
        try:
            for row in rows(method, tests, fitted):
                print(f"| {' | '.join(row)} |", flush=True)
                table.append(row)
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"{method.name} is left out: {reason(error)}", flush=True)
    return table


if __name__ == "__main__":
    main()
