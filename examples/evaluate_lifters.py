"""Compare 3D lifters on held-out people of the CMU motion capture database.

    python examples/evaluate_lifters.py --data asfamc.zip bvh.zip clips --models martinez seq2seq3d
    temporal_conv_27

The 2D keypoints are projections by virtual cameras with Gaussian noise of several sigmas, as in
Table 3 of Hossain & Little (ECCV 2018), in pixels of images of 1000 x 1000, in which a standing
person is about 400 high. Single-frame networks get two more rows, with their predictions filtered
over five frames, as in their Table 1. Two rows are baselines without a network, the mean pose of
the training videos. `--models` takes names and, as `local-dir:runs/lifter/model`, folders that
`train_lifter.py` wrote.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import posezoo
from posezoo.data import CMU, add_noise, mean_filter, median_filter, project_videos, virtual_cameras
from posezoo.metrics import mpjpe, mpjve, pa_mpjpe

# subjects, clips, or the first part of prepared clips' names: uneven ground and hops, walks, soccer, directing traffic.
# The performers of prepared clips are unknown, so that one of them may be in training clips too.
HELD_OUT = ("03", "07", "29", "45", "114", "soccer", "directing_traffic")
MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"MPJPE": mpjpe, "PA-MPJPE": pa_mpjpe, "MPJVE": mpjve}
FILTERS: dict[str, Callable[[Tensor], Tensor]] = {" + mean filter": mean_filter, " + median filter": median_filter}

HEIGHT = (500.0, 2200.0)  # mm above the ground, of the cameras

Video = dict[str, Any]
Errors = dict[str, float]

NAMES = CMU.skeleton.keypoints
PELVIS, LEFT_HIP, RIGHT_HIP = map(NAMES.index, ("pelvis", "left_hip", "right_hip"))


def read(sources: Iterable[Path], fps: float) -> list[Video]:
    """Videos of several folders and zip files; of two with the same name, the first."""
    return list({video["name"]: video for source in reversed(list(sources)) for video in CMU(source, fps=fps)}.values())


def split(videos: Sequence[Video], held_out: Iterable[str]) -> tuple[list[Video], list[Video]]:
    """Split videos into training and test videos."""
    wanted = set(held_out)
    labels = [{video["name"], video["subject"], video["name"].rpartition("_")[0]} for video in videos]
    unknown = sorted(wanted.difference(*labels))
    if unknown:
        raise ValueError(f"nothing is called {', '.join(unknown)}; videos are {', '.join(v['name'] for v in videos)}")
    tested = [bool(wanted & names) for names in labels]
    train, test = ([v for v, t in zip(videos, tested, strict=True) if t is side] for side in (False, True))
    if not train or not test:
        raise ValueError(f"of {len(videos)} videos {len(train)} are for training and {len(test)} for testing")
    return train, test


def filmed(
    videos: Iterable[Video], cameras: int, *, lean: float = 0.0, height: tuple[float, float] = HEIGHT
) -> list[Video]:
    """Project whole videos with fixed cameras, distant enough to mostly keep the person in view.

    Args:
        videos: of `read`.
        cameras: per video.
        lean: standard deviation in degrees of an inclination of each video.
        height: range of the cameras' heights, mm above the ground.
    """
    generator = torch.Generator().manual_seed(0)
    shots = []
    for video in videos:
        if lean:
            video = {**video, "pose3d": leaning(video["pose3d"], lean, generator)}
        views = virtual_cameras(video["pose3d"], cameras, distance=(4000.0, 7000.0), height=height, generator=generator)
        shots += project_videos(video, views)
    return shots


def leaning(pose3d: Tensor, degrees: float, generator: torch.Generator | None = None) -> Tensor:
    """Incline a motion about a random horizontal axis through the middle of the pelvis' path."""
    way = 2 * math.pi * torch.rand((), generator=generator)
    angle = math.radians(degrees) * torch.randn((), generator=generator)
    x, z = angle * way.cos(), angle * way.sin()
    zero = torch.zeros(())
    cross = torch.stack([torch.stack([zero, -z, zero]), torch.stack([z, zero, -x]), torch.stack([zero, x, zero])])
    middle = pose3d[:, PELVIS].mean(dim=0)
    return (pose3d - middle) @ torch.linalg.matrix_exp(cross).to(pose3d).mT + middle


@torch.no_grad()
def evaluate(model: Any, videos: Iterable[Video], sigma: float, *, flip: bool = False) -> dict[str, Errors]:
    """Mean errors in mm (velocity: mm per frame) by filter of the predictions; "" without one.

    Args:
        model: a lifter.
        videos: from `filmed`.
        sigma: standard deviation of the noise on 2D keypoints, pixels; the noise is the same for
            every model.
        flip: average with the prediction for mirrored keypoints.
    """
    model.eval()
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng(devices=[]):  # leave the random state of a training run unchanged
        single = model.example_input().shape[1] == 1
    filters: dict[str, Callable[[Tensor], Tensor]] = {"": lambda pose3d: pose3d, **(FILTERS if single else {})}
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in filters}
    for video in videos:
        keypoints = add_noise(video["keypoints"], sigma, generator=generator)
        pose3d = model.predict(keypoints[None].to(device), flip=flip)[0][0].cpu()
        for name, smooth in filters.items():
            pairs[name].append((smooth(pose3d), video["pose3d"]))
    return {name: mean_errors(some) for name, some in pairs.items()}


def evaluate_mean_pose(train: Iterable[Video], test: Iterable[Video]) -> dict[str, Errors]:
    """Mean errors of the mean training pose, without and with the person's true direction.

    Without the direction the mean is over all directions, so that left and right, front and back
    cancel out and a vertical line remains. The videos are those of `split`; the errors do not
    depend on the camera.
    """
    own = [torch.einsum("tkd,tad->tka", video["pose3d"] - pelvis(video), directions(video)) for video in train]
    mean = torch.cat(own).mean(dim=0)
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {"mean pose": [], "mean pose, in the true direction": []}
    for video in test:
        truth = video["pose3d"] - pelvis(video)
        line, turned = pairs.values()
        line.append(((mean * mean.new_tensor([0.0, 1.0, 0.0])).expand_as(truth), truth))
        turned.append((torch.einsum("ka,tad->tkd", mean, directions(video)), truth))
    return {name: mean_errors(some) for name, some in pairs.items()}


def pelvis(video: Video) -> Tensor:
    return video["pose3d"][:, PELVIS, None]


def directions(video: Video) -> Tensor:
    """Unit vectors to the person's left, up and to the front, horizontally: `(T, 3, 3)`."""
    hips = video["pose3d"][:, LEFT_HIP] - video["pose3d"][:, RIGHT_HIP]
    return axes(hips * hips.new_tensor([1.0, 0.0, 1.0]), hips.new_tensor([0.0, 1.0, 0.0]).expand_as(hips))


def axes(leftward: Tensor, upward: Tensor) -> Tensor:
    """Orthonormal left, up and front vectors `(T, 3, 3)`; the left one keeps its direction."""
    left, front = F.normalize(leftward, dim=-1), F.normalize(torch.linalg.cross(leftward, upward, dim=-1), dim=-1)
    return torch.stack([left, torch.linalg.cross(front, left, dim=-1), front], dim=1)


def mean_errors(pairs: Sequence[tuple[Tensor, Tensor]]) -> Errors:
    """Mean over all frames of all videos, from pairs of prediction and target."""
    return {
        measure: float(torch.cat([function(pred, target).flatten() for pred, target in pairs]).mean())
        for measure, function in MEASURES.items()
    }


def table(rows: dict[str, dict[float, Errors]], measure: str) -> Iterator[str]:
    """Lines of a Markdown table: a row per model, a column per noise level."""
    sigmas = list(next(iter(rows.values())))
    yield f"| {measure} | " + " | ".join(f"N(0, {sigma:g})" if sigma else "clean" for sigma in sigmas) + " |"
    yield "|---" + "|---:" * len(sigmas) + "|"
    for name, row in rows.items():
        yield f"| {name} | " + " | ".join(f"{row[sigma][measure]:.1f}" for sigma in sigmas) + " |"


def main(arguments: list[str] | None = None) -> dict[str, dict[float, Errors]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders or zip files, see posezoo.data.cmu"
    )
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--held-out", nargs="+", default=HELD_OUT, metavar="NAME", help="subjects, or starts of names")
    parser.add_argument("--cameras", type=int, default=2, help="per video")
    parser.add_argument("--lean", type=float, default=0.0, metavar="DEGREES", help="sigma of the people's inclination")
    parser.add_argument(
        "--height", type=float, nargs=2, default=HEIGHT, metavar=("LOW", "HIGH"), help="mm, of the cameras"
    )
    parser.add_argument("--noise", type=float, nargs="+", default=(0, 5, 10, 15, 20), metavar="PX")
    parser.add_argument("--fps", type=float, default=50)
    parser.add_argument("--flip", action="store_true", help="average with the prediction for mirrored keypoints")
    args = parser.parse_args(arguments)

    train, test = split(read(args.data, args.fps), args.held_out)
    videos = filmed(test, args.cameras, lean=args.lean, height=tuple(args.height))
    print(f"{len(test)} videos, {args.cameras} cameras, {sum(len(v['pose3d']) for v in videos)} poses", flush=True)
    means = evaluate_mean_pose(train, test)
    rows: dict[str, dict[float, Errors]] = {name: dict.fromkeys(args.noise, row) for name, row in means.items()}
    for name in args.models:
        model = posezoo.create(name, pretrained=True)
        for sigma in args.noise:
            for name_of_filter, errors in evaluate(model, videos, sigma, flip=args.flip).items():
                rows.setdefault(name + name_of_filter, {})[sigma] = errors
                print(f"{name}{name_of_filter}, {sigma:g} px: {errors}", flush=True)
    for measure in MEASURES:
        print("\n".join(["", *table(rows, measure)]))
    return rows


if __name__ == "__main__":
    main()
