"""Train a 3D lifter on motion capture from CMU, projected by virtual cameras.

    python examples/train_lifter.py --data asfamc.zip bvh.zip clips --model martinez --output
    runs/martinez

`--model` is `martinez`, `seq2seq3d` or `temporal_conv_27`. Network, optimiser, batch size and
schedule default to the papers', the loss of seq2seq3d to the weights of the authors' code; all three
decay the learning rate exponentially. `train_lifter_video.py` has the papers' recipes on Human3.6M
and HumanEva-I. Here windows begin at every fifth frame, and the data are not the papers': in every
epoch the motions are cut into new pieces of one to two seconds, and each piece gets random bone
lengths, a random flip and random cameras. The inputs are relative to the person
(`frame="person"`), so that the networks work with any camera.

Two augmentations model the errors of 2D detectors:

- `--noise`: Gaussian keypoint noise (jitter), with a standard deviation per window between 0 and
  `--noise` pixels, of images of 1000 x 1000.
- `--definition`: random offsets between joint definitions, since a detector's hip or head is
  another point of the body than the motion capture's. Keypoints of a piece are displaced by
  `--definition` mm in each direction (standard deviation), symmetrically for left and right. In
  half of the pieces the nose replaces `neck_nose`; in 40 % the top of the head replaces `head`, in
  10 % the nose does.

`--noise 0 --definition 0` trains on exact keypoints. Two more make up for motions that are mostly
walks: `--mixed`, the probability that the limbs of a piece, relative to the trunk, are those of
another one, each with probability a half; and `--lean`, the standard deviation in degrees of an
inclination of all pieces.

 `--resume` continues after the last complete
epoch. The model cards in `posezoo/pretrained` have the commands that trained the weights that ship.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import posezoo
from posezoo.data import CMU, Windows, virtual_cameras
from posezoo.data.mocap import resample
from posezoo.losses import pose_distance, pose_mse, smooth_pose_mse

from evaluate_lifters import (
    HEIGHT,
    HELD_OUT,
    NAMES,
    PELVIS,
    Errors,
    Video,
    axes,
    evaluate,
    filmed,
    leaning,
    read,
    split,
)
from training import Batch, train

STRIDE = 5  # frames from one window to the next, since neighbouring windows are nearly the same
SEEDS = 1000  # between the seeds of the motions of two epochs
# offsets in mm to the left, up and to the front: of the nose from `neck_nose`, which is the base of the skull, and of
# the top of the head from `head`, which is inside the skull
NOSE, TOP = torch.tensor([0.0, 20.0, 110.0]), torch.tensor([0.0, 110.0, 0.0])

# keypoints of `h36m17`: their side (1 left, -1 right), and a kind that mirror images share
THORAX, NECK, HEAD, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = (
    NAMES.index(name)
    for name in ("thorax", "neck_nose", "head", "left_shoulder", "right_shoulder", "left_hip", "right_hip")
)
SIDE = torch.tensor([{"left": 1.0, "right": -1.0, "": 0.0}[side] for side in CMU.skeleton.sides])
FIRST = [min(keypoint, mirror) for keypoint, mirror in enumerate(CMU.skeleton.flip_index)]  # of two
KINDS = sorted(set(FIRST))
# bones of each limb, from the trunk outwards
LIMBS = [
    [(NAMES.index(f"{side}_{a}"), NAMES.index(f"{side}_{b}")) for a, b in bones]
    for bones in ([("shoulder", "elbow"), ("elbow", "wrist")], [("hip", "knee"), ("knee", "ankle")])
    for side in ("left", "right")
]
KIND = [KINDS.index(first) for first in FIRST]


@dataclass(frozen=True)
class Recipe:
    """The training recipe of a paper.

    Args:
        loss: function `(model, pose3d, target)` to a scalar.
        optimizer: function of parameters and `lr`.
        lr: initial learning rate.
        final: final learning rate, as a factor of the initial one.
        batch_size: windows per batch.
        epochs: over Human3.6M's 1.5 million frames; CMU's recordings here are a thirtieth of that.
        width: name of the network's argument for its width.
        momentum: initial and final momentum of batch normalisation, set before every epoch.
            Defaults to the network's, constant.
    """

    loss: Callable[[Any, Tensor, Tensor], Tensor]
    optimizer: Callable[..., torch.optim.Optimizer]
    lr: float
    final: float
    batch_size: int
    epochs: int
    width: str
    momentum: tuple[float, float] | None = None


RECIPES = {
    "martinez": Recipe(
        loss=lambda model, pose3d, target: pose_mse(pose3d, target, model.normalize.pose3d.std),
        optimizer=torch.optim.Adam,
        lr=1e-3,
        final=0.96**48.7,  # 0.96 for every 100,000 steps
        batch_size=64,
        epochs=200,
        width="linear_size",
    ),
    "seq2seq3d": Recipe(
        loss=lambda model, pose3d, target: smooth_pose_mse(pose3d[..., 1:, :], target[..., 1:, :]),  # without the root
        optimizer=torch.optim.Adam,
        lr=1e-5,
        final=0.96**48.7,
        batch_size=32,
        epochs=100,
        width="hidden_size",
    ),
    "temporal_conv_27": Recipe(
        loss=lambda model, pose3d, target: pose_distance(pose3d, target),
        optimizer=partial(torch.optim.Adam, amsgrad=True),
        lr=1e-3,
        final=0.95**80,  # 0.95 for every epoch
        batch_size=1024,
        epochs=80,
        width="channels",
        momentum=(0.1, 0.001),
    ),
}


# ------------------------------------------------------------------------------------------------------------- people


def shots(motions: Sequence[Tensor], args: argparse.Namespace) -> list[Video]:
    """The videos of an epoch: every piece of every motion, with a random body and cameras."""
    found = []
    for piece in mixed(list(pieces(motions, args.piece)), args.mixed):
        pose3d = leaning(another_body(piece), args.lean)
        if torch.rand(()) < 0.5:
            pose3d = mirrored(pose3d)
        views = virtual_cameras(pose3d, args.cameras, height=tuple(args.height))
        observed = as_detected(pose3d, args.definition) if args.definition else pose3d
        keypoints = views.project(views.world_to_camera(observed[None]))
        truth = views.world_to_camera(pose3d[None])
        truth = truth - truth[:, :, PELVIS, None]
        found += [{"keypoints": k, "pose3d": p} for k, p in zip(keypoints, truth, strict=True)]
    return found


def pieces(motions: Sequence[Tensor], length: int) -> Iterator[Tensor]:
    """Cut motions into pieces of `length` frames from a random frame on; keep shorter ones."""
    for pose3d in motions:
        spare = min(length, len(pose3d) - length + 1)
        first = int(torch.randint(0, spare, ())) if spare > 1 else 0
        yield from (piece for piece in pose3d[first:].split(length) if len(piece) in (length, len(pose3d)))


def mixed(pieces: Sequence[Tensor], probability: float) -> list[Tensor]:
    """Take limbs of some pieces, relative to the trunk, from another one; the bones keep their lengths."""
    order = torch.randperm(len(pieces)).tolist()
    return [
        mix(piece, pieces[other]) if float(torch.rand(())) < probability else piece
        for piece, other in zip(pieces, order, strict=True)
    ]


def mix(pose3d: Tensor, other: Tensor) -> Tensor:
    """Replace half of the limbs by those of the frames of `other`, repeated if there are fewer."""
    other = other[torch.arange(len(pose3d)) % len(other)]
    made = pose3d.clone()
    ours, theirs = trunk_axes(pose3d), trunk_axes(other)
    for limb in LIMBS:
        if torch.rand(()) < 0.5:
            continue
        for parent, child in limb:
            bone = theirs @ (other[:, child] - other[:, parent])[..., None]  # in the axes of the trunk
            length = (pose3d[:, child] - pose3d[:, parent]).norm(dim=-1, keepdim=True)
            turned = (ours.mT @ bone)[..., 0]
            made[:, child] = made[:, parent] + length * turned / turned.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return made


def another_body(pose3d: Tensor) -> Tensor:
    """Scale the body by up to 10 %, and each kind of bone by up to another 10 %."""
    factor = uniform(0.9, 1.1) * uniform(0.9, 1.1, len(KINDS))[KIND]
    joints = {PELVIS: factor[PELVIS] * pose3d[:, PELVIS]}
    for parent, child in CMU.skeleton.bones:
        joints[child] = joints[parent] + factor[child] * (pose3d[:, child] - pose3d[:, parent])
    return torch.stack([joints[joint] for joint in range(len(NAMES))], dim=1)


def mirrored(pose3d: Tensor) -> Tensor:
    """Mirror a motion."""
    return pose3d[:, list(CMU.skeleton.flip_index)] * pose3d.new_tensor([-1.0, 1.0, 1.0])


def as_detected(pose3d: Tensor, definition: float) -> Tensor:
    """Displace keypoints, as if by the joint definitions of another detector."""
    offsets = definition * torch.randn(len(KINDS), 3)[KIND] * torch.stack([SIDE, SIDE**0, SIDE**0], dim=1)
    trunk = trunk_axes(pose3d)
    observed = pose3d + torch.einsum("ka,tad->tkd", offsets, trunk)
    skull = axes(pose3d[:, LEFT_SHOULDER] - pose3d[:, RIGHT_SHOULDER], pose3d[:, HEAD] - pose3d[:, NECK])
    nose = pose3d[:, NECK] + NOSE @ skull
    for_neck, for_head = torch.rand(2)
    if for_neck < 0.5:
        observed[:, NECK] = nose
    if for_head < 0.4:
        observed[:, HEAD] += TOP @ skull
    elif for_head < 0.5:
        observed[:, HEAD] = nose
    return observed


def trunk_axes(pose3d: Tensor) -> Tensor:
    """Left, up and front of the trunk: the rows of `(T, 3, 3)`."""
    return axes(pose3d[:, LEFT_HIP] - pose3d[:, RIGHT_HIP], pose3d[:, THORAX] - pose3d[:, PELVIS])


def uniform(low: float, high: float, *size: int) -> Tensor:
    return low + (high - low) * torch.rand(size)


# ----------------------------------------------------------------------------------------------------------- training


class CutMotions(Dataset[Batch]):
    """Windows of motions, which are cut and filmed anew in every epoch.

    Args:
        motions: `(T, 17, 3)` mm each.
        frames: of a window.
        args: of the command line.

    Yields whole batches, in `__getitems__`; item by item would take longer than small networks do.
    """

    def __init__(self, motions: Sequence[Tensor], frames: int, args: argparse.Namespace) -> None:
        self.motions, self.frames, self.args = motions, frames, args
        self.renew(0)

    def renew(self, epoch: int) -> None:
        """Draw the pieces, bodies and cameras of an epoch, the same ones in every process."""
        args = self.args
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(args.seed + SEEDS * epoch)  # of the CPU only
            videos = shots(self.motions, args)
        self.windows = Windows(videos, length=self.frames, stride=STRIDE, skip_short=True)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return the windows of a batch, with noise on the 2D keypoints."""
        batch = self.windows[torch.as_tensor(indices)]
        return {"keypoints": noisy(batch["keypoints"], self.args.noise), "pose3d": batch["pose3d"]}


def train_lifter(
    args: argparse.Namespace, model: Any, motions: Sequence[Tensor], tests: Sequence[Video]
) -> dict[str, Errors]:
    """Train, save checkpoints and the final network, and return its errors."""
    recipe = RECIPES[args.model]
    frames = model.example_input().shape[1]
    windows = CutMotions(motions, frames, args)
    everything = windows.__getitems__(range(len(windows)))
    model.normalize.fit(everything["keypoints"], everything["pose3d"])
    loader = DataLoader(
        windows, args.batch_size, shuffle=True, drop_last=len(windows) > args.batch_size, collate_fn=lambda batch: batch
    )

    def before_epoch(epoch: int) -> None:
        windows.renew(epoch)
        if recipe.momentum:
            initial, final = recipe.momentum
            set_momentum(model, initial * (final / initial) ** (epoch / args.epochs))

    def loss(network: Any, batch: Batch) -> Tensor:
        pose3d = network(batch["keypoints"]).float()
        skipped = (frames - pose3d.shape[1]) // 2  # frames that a convolution needs before its first output
        return recipe.loss(model, pose3d, batch["pose3d"][:, skipped : skipped + pose3d.shape[1]])

    return train(
        args, model, recipe.optimizer(model.parameters(), lr=args.lr), loss, (loader, loader),
        schedule=lambda step, steps: args.final ** (step / steps), before_epoch=before_epoch,
        evaluation=lambda accelerator, network, _: report(network, tests, accelerator.print), save=partial(save, args),
    )  # fmt: skip


def save(args: argparse.Namespace, model: Any, folder: Path, errors: dict[str, Errors]) -> None:
    model.cpu().save_pretrained(
        folder,
        dtype="float16",
        metrics={
            f"CMU {' '.join(args.held_out)}, noise of {name}": {measure: round(mm, 1) for measure, mm in row.items()}
            for name, row in errors.items()
        },
        data=f"CMU motion capture without {' '.join(args.held_out)}",
        data_license="free for all uses, may be included in products but not resold as such; acknowledge "
        "mocap.cs.cmu.edu, NSF EIA-0196217",
    )


def set_momentum(model: torch.nn.Module, momentum: float) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.momentum = momentum


def report(model: Any, tests: Sequence[Video], say: Callable[..., Any] = print) -> dict[str, Errors]:
    """Errors on held-out videos with exact and with noisy keypoints."""
    errors = {f"{sigma} px": evaluate(model, tests, sigma)[""] for sigma in (0, 10)}
    say(f"  {json.dumps(errors)}", flush=True)
    return errors


def noisy(keypoints: Tensor, noise: float) -> Tensor:
    """Add Gaussian noise to windows `(B, T, K, 2)`, with a random sigma up to `noise` for each."""
    return keypoints + noise * torch.rand(len(keypoints), 1, 1, 1) * torch.randn_like(keypoints)


def main(arguments: list[str] | None = None) -> dict[str, Errors]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders or zip files, see posezoo.data.cmu"
    )
    parser.add_argument("--held-out", nargs="+", default=HELD_OUT, metavar="NAME", help="subjects, or starts of names")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in --output")
    parser.add_argument("--model", choices=RECIPES, default="martinez")
    paper = parser.add_argument_group("default to the paper's")
    paper.add_argument("--width", type=int, help="units or channels")
    paper.add_argument("--dropout", type=float)
    paper.add_argument("--epochs", type=int)
    paper.add_argument("--batch-size", type=int)
    paper.add_argument("--lr", type=float, help="initial learning rate")
    paper.add_argument("--final", type=float, help="final learning rate, as a factor of the initial one")
    parser.add_argument("--noise", type=float, default=15, metavar="PX", help="maximum sigma of the noise")
    parser.add_argument("--definition", type=float, default=25, metavar="MM", help="sigma of the offsets")
    parser.add_argument("--mixed", type=float, default=0.0, help="probability of limbs of another piece")
    parser.add_argument("--lean", type=float, default=0.0, metavar="DEGREES", help="sigma of the inclination")
    parser.add_argument(
        "--height", type=float, nargs=2, default=HEIGHT, metavar=("LOW", "HIGH"), help="mm, of the cameras"
    )
    parser.add_argument("--fps", type=float, nargs="+", default=(50, 25), help="the motions at each of these rates")
    parser.add_argument("--piece", type=int, default=81, help="frames of a piece of a motion")
    parser.add_argument("--cameras", type=int, default=2, help="for each piece")
    parser.add_argument("--mixed-precision", choices=("no", "bf16"), default="no")
    parser.add_argument("--eval-every", type=int, default=10, help="epochs")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(iterations=None)
    args = parser.parse_args(arguments)

    recipe = RECIPES[args.model]
    for name in ("epochs", "batch_size", "lr", "final"):
        if getattr(args, name) is None:
            setattr(args, name, getattr(recipe, name))
    torch.manual_seed(args.seed)
    widths = {"dropout": args.dropout, recipe.width: args.width}
    if args.model == "seq2seq3d":
        widths["recurrent_dropout"] = args.dropout
    kwargs = {name: value for name, value in widths.items() if value is not None}
    model = posezoo.create(args.model, frame="person", num_keypoints=17, skeleton="h36m17", **kwargs)
    fps = max(args.fps)
    known, unknown = split(read(args.data, fps), args.held_out)
    motions = [resample(video["pose3d"], fps, rate) for rate in args.fps for video in known]
    print(f"{len(known)} motions to train on, {len(unknown)} to test on", flush=True)
    return train_lifter(args, model, motions, filmed(unknown, cameras=1))


if __name__ == "__main__":
    main()
