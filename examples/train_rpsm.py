r"""Train RPSM in the paper's two steps, on LSPET and on rendered people in motions of CMU.

    python examples/train_rpsm.py --phase trunk --data lspet:lspet --body body --motions bvh.zip \
        --output runs/trunk
    python examples/train_rpsm.py --phase poses --trunk local-dir:runs/trunk/model --body body \
        --motions bvh.zip --output runs/rpsm

1. The trunk is trained by SGD to predict 2D heatmaps with a temporary head (section 4), on images
   of LSPET, where the paper has MPII, and on renders. The paper does not state rates, batch size
   and heatmaps; they are those of Convolutional Pose Machines, whose training the authors' trunk
   came from. `--head cpm` uses the head of that network. The saved trunk is scaled to features of
   unit size.
2. The trunk is frozen. The stages are trained on the poses of clips by Equation 2: Adam, rate 1e-3,
   weight decay 1e-4, 50 epochs, clips of 5 frames at 2 frames per second (sections 5.1, 5.3), one
   clip per batch (the authors' code). Videos are cut into clips. Each rendered video has a fixed
   scale of its crops, 0.9 to 1.1, the same in all epochs, where the paper draws one anew; with it
   go shifts, exposures, noise and occluders, which the paper does not have. `train_rpsm_video.py`
   has the paper's recipe for Human3.6M and HumanEva-I.

After the second step the script prints the errors on held-out subjects of: the mean training pose,
a baseline without an input; every stage; and the last stage with the LSTM state reset at other
intervals (`--test-lengths`). Table 4 is `--stages 1`, `2` or `3`, and `--clip-length 1` (without an
LSTM), `5` or `10`.

A small run without a GPU: `--size 96 96`, in the first step `--width 32 --adam --lr 1e-3`, in the
second `--hidden 256 --batch-size 8 --final-rate 0.02 --cache features`, which stores all features.
`--resume` continues both steps.

The default weights have the heatmaps of a trained 2D network as features, and no first step. To
the rendered clips `--without-images` adds clips of heatmaps that are drawn from keypoints; see
`heatmap_clips.py`. The card of the weights has both commands, for one stage and then three:

    python examples/train_rpsm.py --phase poses --trunk simple_baseline_lite.people_192x192 \
        --backbone tf_efficientnet_lite2 --size 192 192 --width 96 --hidden 512 --adapt code --body body \
        --motions asfamc.zip bvh.zip cmu_actions_bvh.zip --fps 10 2 25 --shares 54 26 20 \
        --backgrounds lspet/images --train-images 1 7000 7501 9500 --videos 6000 --augment \
        --cache features --without-images 80000 --epoch-size 21000 --mixed-precision bf16 --batch-size 16 \
        --weight-decay 0 --stages 1 --epochs 8 --final-rate 0.02 --output runs/rpsm
"""

import argparse
import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, RandomSampler, Subset

import posezoo
from posezoo import heatmaps
from posezoo.data import LSP, PersonCrop
from posezoo.losses import euclidean, pose_sequence_mse
from posezoo.metrics import mpjpe, pa_mpjpe
from posezoo.models.cpm import cpm_targets
from posezoo.models.rpsm import HEATMAPS_SCALE, RPSM, STRIDE
from posezoo.skeletons import Skeleton, convert

from cached_clips import PHOTOGRAPHED, VARIED, Recordings, augmented, cached, features_of, photographs, split
from data_sources import Cropped
from heatmap_clips import HeatmapClips, heatmap_clips
from recipes import RECIPES
from render_clips import Clips
from rendering import Body, Take
from train_cpm import MOMENTUM, WEIGHT_DECAY
from train_heatmap import keep_depthwise_in_float32
from training import Batch, Report, make_loaders, options, train

DEFAULTS = {
    "trunk": {"epochs": 100, "batch_size": 16, "lr": 8e-5},
    "poses": {"epochs": 50, "batch_size": 1, "lr": 1e-3},
}
HELD_OUT = ("03", "07", "29", "45", "114")  # as evaluate_lifters.py
DECAY = 1e-4  # of the stages' weights (section 5.1)
TRAINING, TEST, SINGLE_FRAMES = 0, 1, 2  # seeds of the renders
WITHOUT_IMAGES = 100  # seed of the clips of drawn heatmaps
CAMERAS, MIXED = 16, 0.4  # of these clips: cameras per motion, and share of mixed motions, see `Clips`
RATES = 3  # between the seeds of the training videos of two frame rates
FRAMES = 5  # of the clips whose frames train the trunk; several per random body are cheaper to render
KNOWN = 1000  # videos that the extremes of the pose scaling are computed from


# ----------------------------------------------------------------------------------------------------- 1. the trunk


class PoseHeatmaps(nn.Module):
    """A trunk with a head for heatmaps of LSP's keypoints, for pre-training.

    Args:
        model: network with the trunk; `save_pretrained` saves it without the head.
        design: of the head, see `PoseTrunk.heatmap_head`.
    """

    skeleton = LSP.skeleton

    def __init__(self, model: RPSM, design: str) -> None:
        super().__init__()
        self.background = design == "cpm"
        self.normalize, self.trunk = model.normalize, model.trunk
        self.head = model.trunk.heatmap_head(len(LSP.skeleton) + self.background, design=design)
        self.write, self.size = model.save_pretrained, 1.0
        self.apply_input_settings, self.skeleton = model.apply_input_settings, LSP.skeleton

    def forward(self, image: Tensor) -> Tensor:
        features = self.trunk(self.normalize(image))
        self.size = float(features.detach().float().square().mean().sqrt())
        return self.head(features)

    @torch.no_grad()
    def save_pretrained(self, folder: Path) -> None:
        """Scale the features to a root mean square of 1, and save.

        Xavier initialisation of the stages assumes inputs of about this size. Scaling the last
        layer scales the features, since its activation is a ReLU.
        """
        for parameter in self.trunk.conv4_7_CPM.parameters():
            parameter /= max(self.size, 1e-6)
        self.write(folder)

    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        maps = self(image)[:, : len(LSP.skeleton)]
        if flip:
            mirrored = self(image.flip(-1))[:, : len(LSP.skeleton)]
            maps = heatmaps.flip_average(maps, mirrored, LSP.skeleton.flip_index)
        return heatmaps.decode(maps.float(), stride=STRIDE, offset=(STRIDE - 1) / 2)


class ImagesAndRenders(Cropped):
    """LSPET's people and single frames of rendered clips, which are rendered once and cached."""

    def __init__(self, people: LSP, crop: PersonCrop, clips: Clips) -> None:
        super().__init__(people, crop)
        self.clips, self.clip = clips, functools.cache(clips.__getitem__)

    def __len__(self) -> int:
        return len(self.people) + len(self.clips) * self.clips.length

    def __getitem__(self, index: int) -> Batch:
        if index < len(self.people):
            sample = super().__getitem__(index)
            return {key: sample[key] for key in ("image", "keypoints", "visible", "matrix")}
        number, frame = divmod(index - len(self.people), self.clips.length)
        clip = self.clip(number)
        keypoints, visible = convert(clip["keypoints"][frame].float(), "h36m17", LSP.skeleton)
        inside = ((keypoints > -0.5) & (keypoints < self.clips.size - 0.5)).all(dim=-1)
        return {
            "image": clip["clip"][frame].float() / 255,
            "keypoints": keypoints,
            "visible": visible & inside,
            "matrix": torch.eye(2, 3),
        }


def heatmap_loss(network: Any, batch: Batch, *, background: bool) -> Tensor:
    """Caffe's Euclidean loss over annotated keypoints."""
    maps, visible = network(batch["image"]).float(), batch["visible"]
    people = batch["keypoints"][:, None], visible[:, None]  # one person per image
    target, _ = cpm_targets(*people, size=maps.shape[-2:], background=background)
    weights = torch.cat([visible, torch.ones_like(visible[:, :1])], dim=1) if background else visible
    return euclidean(maps, target, weights.to(maps))


def train_trunk(args: argparse.Namespace, takes: Sequence[Take], body: Body) -> Report:
    size = tuple(args.size)
    model = posezoo.create(args.model, num_keypoints=0, size=size, width=args.width)
    network = PoseHeatmaps(cast(RPSM, model), args.head)
    if args.adam:
        optimizer: torch.optim.Optimizer = torch.optim.Adam(network.parameters(), lr=args.lr)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
    else:
        optimizer = torch.optim.SGD(network.parameters(), args.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    crop = RECIPES["cpm"]["paper"][0].person_crop(size, LSP.skeleton)
    photos, held_out = make_loaders(args, crop)
    clips = Clips(takes, body, size=size[0], length=FRAMES, count=args.renders // FRAMES, seed=SINGLE_FRAMES)
    people = ImagesAndRenders(cast(Cropped, photos.dataset).people, crop, clips)
    loader = DataLoader(
        people, args.batch_size, shuffle=True, drop_last=len(people) > args.batch_size, num_workers=args.workers,
        persistent_workers=args.workers > 0,
    )  # fmt: skip
    loss = functools.partial(heatmap_loss, background=network.background)
    return train(args, network, optimizer, loss, (loader, held_out), schedule=decay(args))


def decay(args: argparse.Namespace) -> Any:
    """Exponential decay of the learning rate to `--final-rate` of it."""
    return lambda step, steps: args.final_rate ** (step / steps)


# ---------------------------------------------------------------------------------------------------- 2. the stages


def predict(model: RPSM, features: Tensor, clip_length: int) -> list[Tensor]:
    """Poses of every stage, mm, `(B, V, 17, 3)`; the state is reset every `clip_length` frames."""
    parts = [model.forward_head(part, all_stages=True) for part in features.split(clip_length, dim=1)]
    return [model.decode(torch.cat(stage, dim=1))[0] for stage in zip(*parts, strict=True)]


@torch.no_grad()
def evaluate(model: RPSM, videos: Iterable[Batch], mean_pose: Tensor, lengths: Sequence[int]) -> Report:
    """Errors in mm of the mean pose, each stage, and the last stage with other clip lengths."""
    model.eval()
    errors: dict[str, dict[str, list[Tensor]]] = {}
    for batch in videos:
        features, truth = features_of(model, batch), batch["pose3d"]
        stages = predict(model, features, model.receptive_field)
        rows = {"mean pose": mean_pose.expand_as(truth)}
        rows |= {f"stage {k}": pose3d for k, pose3d in enumerate(stages, start=1)}
        rows |= {f"clips of {length}": predict(model, features, length)[-1] for length in lengths}
        for name, pose3d in rows.items():
            for measure, function in {"MPJPE": mpjpe, "PA-MPJPE": pa_mpjpe}.items():
                error = function(pose3d.cpu().float(), truth.float())
                errors.setdefault(name, {}).setdefault(measure, []).append(error.flatten())
    return {name: {m: float(torch.cat(e).mean()) for m, e in row.items()} for name, row in errors.items()}


def stages_on_trunk(args: argparse.Namespace) -> tuple[RPSM, Any]:
    """Create new stages on a pre-trained, frozen trunk; return them and the network of the trunk."""
    pretrained: Any = posezoo.create(args.trunk, pretrained=True)
    kind: dict[str, Any] = {"width": pretrained.num_features}
    if args.backbone:  # the 2D network's heatmaps are the features
        kind = {"width": args.width, "backbone": args.backbone, "heatmaps": pretrained.num_keypoints}
        kind["deconv_width"] = pretrained.num_features
    temporal = args.temporal or ("fc" if args.clip_length == 1 else "lstm")
    model: Any = posezoo.create(
        args.model, size=tuple(args.size), hidden=args.hidden, temporal=temporal, num_stages=args.stages,
        clip_length=args.clip_length, adapt=args.adapt, **kind,
    )  # fmt: skip
    model.load_trunk(pretrained)
    if args.start:
        copy_stages(model, posezoo.from_pretrained(args.start))
    model.freeze_trunk()
    if not torch.cuda.is_available():
        keep_depthwise_in_float32(model)
        return model.to(memory_format=torch.channels_last), pretrained
    return model.to("cuda"), pretrained


@torch.no_grad()
def copy_stages(model: RPSM, source: Any) -> None:
    """Copy a network with as many stages or fewer; at first the new ones predict what its last stage does.

    Layers of another shape, of another adaption module, keep their initial values.
    """
    state = source.state_dict()
    for key, value in model.state_dict().items():
        known = key if key in state else re.sub(r"^specialised\.\d+", f"specialised.{source.num_stages - 1}", key)
        if value.shape == state[known].shape:
            value.copy_(state[known])
        if source.num_stages == 1 < model.num_stages and key.endswith("previous.weight"):
            value.zero_()  # not trained: inputs of its only stage were 0
        if source.num_stages == 1 < model.num_stages and re.match(r"specialised\.\d+\.conv1\.weight", key):
            value[:, model.num_features :].zero_()


def make_videos(
    args: argparse.Namespace, model: RPSM, recordings: Recordings, body: Body, keypoints: Skeleton
) -> tuple[Any, Any]:
    """Return the training videos of all frame rates, and the test videos of the first one; `keypoints` are the
    trunk's.
    """
    shape: dict[str, Any] = {"size": args.size[0], "length": args.video_length}
    if args.backgrounds:
        images = photographs(args.backgrounds, args.train_images)
        shape |= {**VARIED, "backgrounds": images, "photographed": PHOTOGRAPHED}
    sets: list[Any] = []
    for number, ((takes, held_out), share) in enumerate(zip(recordings, args.shares, strict=True)):
        if not number:  # all possible test videos are equally likely, as in the tables of docs/results.md
            sets.append(Clips(held_out, body, count=args.test_videos, seed=TEST, sampling="proportional", **shape))
        count = round(args.videos * share / sum(args.shares))
        sets.append(Clips(takes, body, count=count, seed=TRAINING + RATES * number, **shape))
    if args.cache:
        model.eval()
        more: dict[str, Any] = {"workers": args.workers, "bf16": args.mixed_precision == "bf16"}
        sets = [cached(model, clips, args.cache, **more) for clips in sets]
    if args.without_images:
        sets += without_images(args, recordings, body, keypoints)
    return ConcatDataset(sets[1:]), sets[0]


def without_images(
    args: argparse.Namespace, recordings: Recordings, body: Body, keypoints: Skeleton
) -> list[HeatmapClips]:
    """Clips of heatmaps that are drawn from keypoints, in the shares of the rendered ones."""
    shape: dict[str, Any] = {**VARIED, "size": args.size[0], "length": args.video_length, "mixed": MIXED}
    sets = []
    for number, ((takes, _), share) in enumerate(zip(recordings, args.shares, strict=True)):
        count = round(args.without_images / CAMERAS * share / sum(args.shares))
        clips = Clips(takes, body, count=count, seed=WITHOUT_IMAGES + RATES * number, **shape)
        cells = args.size[0] // STRIDE
        options: dict[str, Any] = {"cameras": CAMERAS, "cells": cells, "scale": HEATMAPS_SCALE}
        sets.append(heatmap_clips(clips, keypoints, folder=args.cache or args.output, **options))
    return sets


def fit_codec(model: RPSM, videos: Any, workers: int) -> Tensor:
    """Fit the pose scaling to some of the training videos, and return their mean pose."""
    some = Subset(videos, range(min(KNOWN, len(videos))))
    poses = torch.cat([batch["pose3d"] for batch in DataLoader(some, num_workers=workers)]).float()
    model.codec.fit(poses.to(model.codec.minimum.device))
    return poses.mean(dim=(0, 1))


def train_poses(args: argparse.Namespace, recordings: Recordings, body: Body) -> Report:
    model, pretrained = stages_on_trunk(args)
    known, unknown = make_videos(args, model, recordings, body, pretrained.skeleton)
    workers = 0 if args.cache else args.workers
    mean_pose = fit_codec(model, known, workers)
    order = RandomSampler(known, num_samples=args.epoch_size)  # None: every clip once
    loader = DataLoader(known, args.batch_size, sampler=order, drop_last=True, num_workers=workers)
    tests = DataLoader(unknown, args.batch_size, num_workers=workers)

    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=args.lr, weight_decay=args.weight_decay, fused=True)
    loss = functools.partial(stages_loss, args=args, model=model, keypoints=pretrained.skeleton)

    def evaluation(accelerator: Accelerator, *_: Any) -> Report:
        report = evaluate(model, tests, mean_pose, args.test_lengths)
        accelerator.print(table(report), flush=True)
        return report

    def save(_: Any, folder: Path, report: Report) -> None:
        without = ", ".join(args.held_out)
        name = f"renders of CMU's subjects {without}, clips of {args.clip_length} at {args.fps[0]:g} fps"
        data = f"LSPET; renders of a CC0 body in motions of the CMU motion capture database, without subjects {without}"
        metrics = {name: report[f"stage {args.stages}"]}
        model.cpu().save_pretrained(folder, dtype="float16", metrics=metrics, data=data)

    return train(
        args, Stages(model), optimizer, loss, (loader, tests), schedule=decay(args), evaluation=evaluation, save=save,
        frozen=model.trunk_modules(),
    )  # fmt: skip


class Stages(nn.Module):
    """The stages on features; with several processes only the call of a network is wrapped."""

    def __init__(self, model: RPSM) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        return self.model.forward_head(features, all_stages=True)


def stages_loss(stages: Any, batch: Batch, *, args: argparse.Namespace, model: RPSM, keypoints: Skeleton) -> Tensor:
    """Equation 2, of the clips that the batch's videos are cut into."""
    with torch.autocast(model.codec.minimum.device.type, enabled=False):
        features, pose3d = features_of(model, batch), batch["pose3d"].float()
        if args.augment:
            features, pose3d = augmented(features, pose3d, keypoints)
        target = model.codec.target(cut(pose3d, args.clip_length))
    poses = [pose.float() for pose in stages(cut(features, args.clip_length))]
    return pose_sequence_mse(poses, target, model.codec.scale)


def cut(videos: Tensor, clip_length: int) -> Tensor:
    """`(B, n T, ...)` to clips `(B n, T, ...)`."""
    return videos.unflatten(1, (-1, clip_length)).flatten(0, 1)


def table(report: Report) -> str:
    return "\n".join(
        f"{name:>15}  MPJPE {row['MPJPE']:6.1f}  PA-MPJPE {row['PA-MPJPE']:6.1f}" for name, row in report.items()
    )


# ----------------------------------------------------------------------------------------------------- command line


def main(arguments: list[str] | None = None) -> Report:
    parser = options(__doc__, data=None, model="rpsm", size=(368, 368))
    parser.add_argument("--phase", choices=DEFAULTS, required=True)
    parser.add_argument("--body", type=Path, required=True, help="folder of the base mesh, see render_clips.py")
    parser.add_argument("--motions", type=Path, nargs="+", required=True, help="folders or zip files of CMU's motions")
    parser.add_argument("--held-out", nargs="+", default=HELD_OUT, metavar="SUBJECT")
    parser.add_argument(
        "--fps", type=float, nargs="+", default=(2,), help="of training videos; the tests have the first"
    )
    parser.add_argument(
        "--final-rate", type=float, default=1.0, help="of the learning rate, as a factor of the initial one"
    )
    parser.add_argument("--width", type=int, default=128, help="channels of the 2D features; the paper: 128")
    trunk = parser.add_argument_group("trunk")
    trunk.add_argument("--head", choices=("paper", "cpm"), default="paper")
    trunk.add_argument("--renders", type=int, default=20000, help="frames, in addition to LSPET's images")
    trunk.add_argument("--adam", action="store_true", help="Adam and He's initial weights instead of SGD")
    poses = parser.add_argument_group("poses")
    poses.add_argument("--trunk", help="a pre-trained network, as local-dir:runs/trunk/model")
    poses.add_argument("--backbone", help="timm network of --trunk, a Simple Baselines network whose heatmaps are used")
    poses.add_argument("--start", help="folder of a network with fewer stages, which are trained further")
    poses.add_argument("--augment", action="store_true", help="mirror, shift and weight those heatmaps")
    poses.add_argument("--backgrounds", type=Path, help="photographs behind half of the people, see `VARIED`, too")
    poses.add_argument("--shares", type=float, nargs="+", help="of the videos, per rate of --fps. Defaults to equal")
    poses.add_argument("--hidden", type=int, default=1024, help="units of the stages; the paper: 1024")
    poses.add_argument("--stages", type=int, default=3)
    poses.add_argument("--adapt", choices=("paper", "code"), default="paper", help="adaption module")
    poses.add_argument("--clip-length", type=int, default=5)
    poses.add_argument("--temporal", choices=("lstm", "fc"), help="default: lstm; fc for clips of one frame")
    poses.add_argument("--video-length", type=int, default=5, help="frames per rendered video")
    poses.add_argument("--videos", type=int, default=10000, help="per epoch")
    poses.add_argument("--without-images", type=int, default=0, help="clips of heatmaps drawn from keypoints, too")
    poses.add_argument("--epoch-size", type=int, help="clips of an epoch, chosen at random. Defaults to all")
    poses.add_argument("--test-videos", type=int, default=500)
    poses.add_argument("--test-lengths", type=int, nargs="*", default=(1, 2, 5), metavar="FRAMES")
    poses.add_argument("--weight-decay", type=float, default=DECAY)
    poses.add_argument("--cache", type=Path, help="folder to store the trunk's features in, instead of rendering again")
    phase = parser.parse_known_args(arguments)[0].phase
    parser.set_defaults(**DEFAULTS[phase])
    args = parser.parse_args(arguments)
    if args.size[0] != args.size[1]:
        parser.error(f"--size: renders are square, got {args.size[0]} x {args.size[1]}")
    if phase == "poses" and args.mixed_precision == "fp16":
        parser.error("--mixed-precision: expected no or bf16 for --phase poses, got fp16")
    needed = {"trunk": "data", "poses": "trunk"}[phase]
    if getattr(args, needed) is None:
        parser.error(f"--phase {phase} needs --{needed}")
    if args.shares and len(args.shares) != len(args.fps):
        parser.error(f"--shares: expected one per rate of --fps, {len(args.fps)}, got {len(args.shares)}")
    args.shares = args.shares or [1] * len(args.fps)
    if args.augment and not args.backbone:
        parser.error("--augment: name the network of the heatmaps with --backbone")
    if args.without_images and not args.backbone:
        parser.error("--without-images: name the network of the heatmaps with --backbone")
    if args.video_length % args.clip_length:
        parser.error(f"--video-length: expected a multiple of {args.clip_length}, the clips' length")

    torch.manual_seed(args.seed)
    body = Body(args.body)
    recordings = [split(args.motions, fps, args.held_out) for fps in args.fps]
    if not all(counts := [len(part) for part in recordings[0]]):
        parser.error(f"--held-out: of {sum(counts)} motions {counts[0]} are for training, {counts[1]} for testing")
    if phase == "trunk":
        return train_trunk(args, recordings[0][0], body)
    return train_poses(args, recordings, body)


if __name__ == "__main__":
    main()
