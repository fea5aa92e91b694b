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

`--noise 0 --definition 0` trains on exact keypoints. `--resume` continues after the last complete
epoch. The model cards in `posezoo/pretrained` have the commands that trained the weights that ship.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import posezoo
from posezoo.data import CMU, Windows, virtual_cameras
from posezoo.data.mocap import resample
from posezoo.losses import pose_distance, pose_mse, smooth_pose_mse

from evaluate_lifters import HELD_OUT, NAMES, PELVIS, Errors, Video, axes, evaluate, filmed, read, split

STRIDE = 5  # frames from one window to the next, since neighbouring windows are nearly the same
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
        momentum: initial and final momentum of batch normalisation. Defaults to the network's,
            constant.
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


def shots(motions: Sequence[Tensor], *, length: int, cameras: int, definition: float) -> list[Video]:
    """The videos of an epoch: every piece of every motion, with a random body and cameras."""
    found = []
    for piece in pieces(motions, length):
        pose3d = another_body(piece)
        if torch.rand(()) < 0.5:
            pose3d = mirrored(pose3d)
        views = virtual_cameras(pose3d, cameras)
        observed = as_detected(pose3d, definition) if definition else pose3d
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
    trunk = axes(pose3d[:, LEFT_HIP] - pose3d[:, RIGHT_HIP], pose3d[:, THORAX] - pose3d[:, PELVIS])
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


def uniform(low: float, high: float, *size: int) -> Tensor:
    return low + (high - low) * torch.rand(size)


# ----------------------------------------------------------------------------------------------------------- training


def train(args: argparse.Namespace, model: Any, motions: Sequence[Tensor], tests: Sequence[Video]) -> dict[str, Errors]:
    """Train, save a checkpoint per epoch and the final network, and return its errors."""
    recipe = RECIPES[args.model]
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    frames = model.example_input().shape[1]
    optimizer = recipe.optimizer(model.parameters(), lr=args.lr)
    first, checkpoint = 0, args.output / "checkpoint.pt"
    if args.resume and checkpoint.is_file():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["random"].cpu())
        first = saved["epochs_done"]

    args.output.mkdir(parents=True, exist_ok=True)
    for epoch in range(first, args.epochs):
        start, total = time.perf_counter(), 0.0
        videos = shots(motions, length=args.piece, cameras=args.cameras, definition=args.definition)
        windows = Windows(videos, length=frames, stride=STRIDE, skip_short=True)
        if epoch == 0:
            everything = windows[torch.arange(len(windows))]
            model.normalize.fit(noisy(everything["keypoints"], args.noise), everything["pose3d"])
        batches = torch.randperm(len(windows)).split(args.batch_size)
        batches = batches[: max(1, len(windows) // args.batch_size)]  # drop the last one, which is smaller
        model.train()
        for step, chosen in enumerate(batches):
            progress = (epoch + step / len(batches)) / args.epochs
            for group in optimizer.param_groups:
                group["lr"] = args.lr * args.final**progress
            if recipe.momentum:
                set_momentum(model, recipe.momentum[0] ** (1 - progress) * recipe.momentum[1] ** progress)
            batch = windows[chosen]
            keypoints, target = noisy(batch["keypoints"], args.noise).to(device), batch["pose3d"].to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=args.mixed_precision == "bf16"):
                pose3d = model(keypoints).float()
            skipped = (frames - pose3d.shape[1]) // 2  # frames that a convolution needs before its first output
            loss = recipe.loss(model, pose3d, target[:, skipped : skipped + pose3d.shape[1]])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        seconds = time.perf_counter() - start
        print(f"epoch {epoch}: loss {total / len(batches):.4f}, {len(windows)} windows, {seconds:.0f} s", flush=True)

        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        state |= {"random": torch.get_rng_state(), "epochs_done": epoch + 1}
        torch.save(state, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").replace(checkpoint)  # atomic: an interrupted run leaves a complete checkpoint
        if (epoch + 1) % args.eval_every == 0 and epoch + 1 < args.epochs:
            report(model, tests)

    errors = report(model, tests)
    model.cpu().save_pretrained(
        args.output / "model",
        dtype="float16",
        metrics={
            f"CMU {' '.join(args.held_out)}, noise of {name}": {measure: round(mm, 1) for measure, mm in row.items()}
            for name, row in errors.items()
        },
        data=f"CMU motion capture without {' '.join(args.held_out)}",
        data_license="free for all uses, may be included in products but not resold as such; acknowledge "
        "mocap.cs.cmu.edu, NSF EIA-0196217",
    )
    return errors


def set_momentum(model: torch.nn.Module, momentum: float) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.momentum = momentum


def report(model: Any, tests: Sequence[Video]) -> dict[str, Errors]:
    """Errors on held-out videos with exact and with noisy keypoints."""
    errors = {f"{sigma} px": evaluate(model, tests, sigma)[""] for sigma in (0, 10)}
    print(f"  {json.dumps(errors)}", flush=True)
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
    parser.add_argument("--fps", type=float, nargs="+", default=(50, 25), help="the motions at each of these rates")
    parser.add_argument("--piece", type=int, default=81, help="frames of a piece of a motion")
    parser.add_argument("--cameras", type=int, default=2, help="for each piece")
    parser.add_argument("--mixed-precision", choices=("no", "bf16"), default="no")
    parser.add_argument("--eval-every", type=int, default=10, help="epochs")
    parser.add_argument("--seed", type=int, default=0)
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
    return train(args, model, motions, filmed(unknown, cameras=1))


if __name__ == "__main__":
    main()
