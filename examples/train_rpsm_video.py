"""Train RPSM on Human3.6M or HumanEva-I with their videos, every row of Tables 1, 3 and 4.

    python examples/train_rpsm_video.py --phase trunk --data mpii:mpii --output runs/trunk
    python examples/train_rpsm_video.py --data h36m:h36m --frames h36m_videos --boxes masks \\
        --trunk local-dir:runs/trunk/model --output runs/rpsm
    python examples/train_rpsm_video.py --data humaneva:HumanEva --frames HumanEva \\
        --trunk local-dir:runs/trunk/model --output runs/rpsm_humaneva

The paper's recipe is the default. The trunk is trained by SGD on MPII under one extra layer
(section 4), with rates, batch size and heatmaps of Convolutional Pose Machines, since the paper
states none. Then it is frozen, and the stages are trained by Adam at 1e-3 with a decay of 1e-4 for
50 epochs (sections 5.1 and 5.3): clips of 5 frames from a random frame on, which end with their
video, one clip per step, scaled by 0.9 to 1.1, poses relative to the root. Human3.6M is reduced to
2 frames per second, HumanEva is not. The extremes and bone lengths of the pose scaling are those of
all training frames. The test has clips of as many frames as the training, and the protocol
`rpsm-h36m` or `rpsm-humaneva`.

| row of Table 4 | options |
|---|---|
| 1, 2 and 3 stages | `--stages 1`, `2`, `3` |
| seq_1 | `--clip-length 1`, without an LSTM |
| seq_5, seq_10 | `--clip-length 5`, `10` |
| sharing | `--sharing` |
| no_MPII | `--phase trunk --data h36m:h36m --frames h36m_videos`, then as above |

Departures: the authors' code draws a scale for each frame and has a rate of 1e-4 (`--lr 1e-4`).
HumanEva's boxes are those of its 2D keypoints, enlarged by `--padding`; with `--boxes masks` those
of Human3.6M are the data set's. Frames as images (`ffmpeg`) are read faster than videos.
"""

from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

import posezoo
from posezoo.data import ClipCrop, CroppedClips, Human36M, HumanEva, Windows
from posezoo.data.human36m import DAMAGED, TEST, TRAIN
from posezoo.losses import pose_sequence_mse
from posezoo.metrics import by_protocol
from posezoo.models.rpsm import RPSM
from posezoo.skeletons import convert, get_skeleton

from data_sources import Cropped, People, open_data
from recipes import RECIPES
from train_cpm import MOMENTUM, WEIGHT_DECAY
from train_rpsm import PoseHeatmaps, heatmap_loss
from training import Batch, Report, loaders_of, options, train

DEFAULTS = {
    "trunk": {"epochs": 100, "batch_size": 16, "lr": 8e-5},
    "poses": {"epochs": 50, "batch_size": 1, "lr": 1e-3},
}
DECAY = 1e-4  # of the stages' weights (section 5.1)
SCALE = (0.9, 1.1)  # of a clip (section 5.1)
SKIPPED = (*DAMAGED, ("S11", "Directions 1", "54138969"))
LSP14 = get_skeleton("lsp14")


def open_videos(args: Any, part: str) -> Any:
    """Training or test videos of Human3.6M or HumanEva-I, with frames."""
    (one,) = args.data
    more = {"actions": args.actions} if args.actions else {}
    if one.name == "h36m":
        subjects = args.subjects or (TRAIN if part == "train" else TEST)
        return Human36M(
            one.root, subjects=subjects, fps=2, frames=args.frames, boxes=args.boxes, skip=SKIPPED, **more
        )  # fmt: skip
    more |= {"subjects": args.subjects} if args.subjects else {}
    split = "Train" if part == "train" else "Validate"
    return HumanEva(one.root, split=split, joints=14, frames=args.frames, **more)


# ----------------------------------------------------------------------------------------------------- 1. the trunk


class Frames(Dataset[Batch]):
    """Single frames of videos with the keypoints of LSP, in pixels of the crop."""

    def __init__(self, videos: Any, crop: ClipCrop) -> None:
        self.windows, self.crop, self.skeleton = Windows(videos, length=1), crop, videos.skeleton

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Batch:
        window = self.crop(self.windows[index])
        matrix = window["matrix"][0]
        points = window["keypoints"][0] @ matrix[:, :2].T + matrix[:, 2]
        keypoints, visible = convert(points, self.skeleton, LSP14)
        return {"image": window["clip"][0], "keypoints": keypoints, "visible": visible, "matrix": matrix}


def train_trunk(args: Any) -> Report:
    """Train the trunk on people of MPII, or on frames of Human3.6M."""
    size = tuple(args.size)
    network = PoseHeatmaps(
        cast(RPSM, posezoo.create(args.model, num_keypoints=0, size=size, width=args.width)), "paper"
    )
    optimizer = torch.optim.SGD(network.parameters(), args.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

    def loss(model: Any, batch: Batch) -> Tensor:
        return heatmap_loss(model, batch, background=False)

    if args.data[0].name == "h36m":
        frames = Frames(open_videos(args, "train"), ClipCrop(size=size[0], scale=SCALE, padding=args.padding))
        loader = DataLoader(frames, args.batch_size, shuffle=True, drop_last=True, num_workers=args.workers)
        return train(args, network, optimizer, loss, (loader, loader), evaluation=lambda *_: {})
    recipe = RECIPES["cpm"]["paper"][0]
    crop = recipe.person_crop(size, LSP14, "cpm")
    people = [People(open_data(args.data, part, images=images).parts, LSP14)
              for part, images in (("train", args.train_images), ("test", args.val_images))]  # fmt: skip
    loaders = loaders_of(args, Cropped(people[0], crop), Cropped(people[1], crop.plain()))
    return train(args, network, optimizer, loss, loaders)


# ---------------------------------------------------------------------------------------------------- 2. the stages


def stages_on_trunk(args: Any, poses: Tensor) -> RPSM:
    """Create the stages on a frozen trunk, with the pose scaling of `poses` `(N, K, 3)` mm."""
    skeleton = "h36m17" if args.data[0].name == "h36m" else "humaneva14"
    trunk = cast(RPSM, posezoo.create(args.trunk, pretrained=True)) if args.trunk else None
    model = cast(RPSM, posezoo.create(
        args.model, num_keypoints=poses.shape[1], skeleton=skeleton, size=tuple(args.size), hidden=args.hidden,
        width=trunk.num_features if trunk else args.width, num_stages=args.stages, clip_length=args.clip_length,
        temporal="fc" if args.clip_length == 1 else "lstm", share_specialised=args.sharing,
    ))  # fmt: skip
    if trunk:
        model.load_trunk(trunk)
    model.freeze_trunk()
    model.codec.fit(poses)
    return model


def batch_loss(model: Any, batch: Batch, *, network: RPSM) -> Tensor:
    """Equation 2, of one clip."""
    stages = model(batch["clip"], all_stages=True)
    target = network.codec.target(batch["pose3d"])
    return pose_sequence_mse([stage.float() for stage in stages], target, network.codec.scale)


def train_poses(args: Any) -> Report:
    """Train the stages, and report the protocol's rows."""
    name = args.data[0].name
    root = 0 if name == "h36m" else None
    known, unknown = open_videos(args, "train"), open_videos(args, "test")
    every = [known[index]["pose3d"] for index in range(len(known))]
    poses = torch.cat([pose - (pose[:, :1] if root == 0 else pose.mean(dim=1, keepdim=True)) for pose in every])
    model = stages_on_trunk(args, poses)
    padding = {"size": args.size[0], "padding": args.padding, "root": root}
    clips = CroppedClips(Windows(known, length=args.clip_length, tail="keep"), ClipCrop(scale=SCALE, **padding))
    # clips begin at any frame, and as many are drawn as the videos hold
    sampler = RandomSampler(clips, num_samples=max(1, len(poses) // args.clip_length))
    loader = DataLoader(clips, 1, sampler=sampler, num_workers=args.workers, persistent_workers=args.workers > 0)
    windows = Windows(unknown, length=args.clip_length, stride=args.clip_length, tail="keep")
    tests = DataLoader(CroppedClips(windows, ClipCrop(**padding)), 1, num_workers=args.workers)
    protocol = "rpsm-h36m" if name == "h36m" else "rpsm-humaneva"

    @torch.no_grad()
    def evaluation(accelerator: Accelerator, network: Any, loader: DataLoader) -> Report:
        network.eval()
        collected = []
        for batch in loader:
            pose3d, _ = network.predict(batch["clip"])
            whole = [padded(part[0], args.clip_length) for part in (pose3d.float(), batch["pose3d"])]
            parts = (whole[0][None], whole[1][None], batch["video"], torch.tensor([pose3d.shape[1]]).to(pose3d.device))
            collected.append(accelerator.gather_for_metrics(parts))
        pred, target, video, length = (torch.cat(part).cpu() for part in zip(*collected, strict=True))
        kept = torch.arange(args.clip_length) < length[:, None]
        rows = [windows.videos[number] for number, count in zip(video.tolist(), length.tolist(), strict=True)
                for _ in range(count)]  # fmt: skip
        actions, subjects = ([row[key] for row in rows] for key in ("action", "subject"))
        report = by_protocol(pred[kept], target[kept], protocol, actions=actions, subjects=subjects)
        accelerator.print("\n".join(f"{row:>15} {value:6.1f} mm" for row, value in report.items()), flush=True)
        return report

    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=args.lr, weight_decay=DECAY)
    args.batch_size = 1
    frozen: list[nn.Module] = [model.trunk]
    return train(args, model, optimizer, lambda network, batch: batch_loss(network, batch, network=model),
                 (loader, tests), evaluation=evaluation, frozen=frozen)  # fmt: skip


def padded(poses: Tensor, count: int) -> Tensor:
    """Append zeros to poses `(T, K, 3)` up to `count` frames."""
    return torch.cat([poses, poses.new_zeros(count - len(poses), *poses.shape[1:])])


# ----------------------------------------------------------------------------------------------------- command line


def main(arguments: list[str] | None = None) -> Report:
    parser = options(__doc__, model="rpsm", size=(368, 368))
    parser.add_argument("--phase", choices=tuple(DEFAULTS), default="poses")
    parser.add_argument("--frames", type=Path, help="folder of images or videos, see posezoo.data")
    parser.add_argument("--boxes", choices=("masks",), help="the data set's boxes, of h36m")
    parser.add_argument("--padding", type=float, help="on the boxes. Defaults to 1, without --boxes 1.25")
    parser.add_argument("--actions", nargs="+", help="defaults to all")
    parser.add_argument("--subjects", nargs="+", help="defaults to those of the paper")
    parser.add_argument(
        "--trunk", help="a trained network, as local-dir:runs/trunk/model. Defaults to an untrained one"
    )
    parser.add_argument("--width", type=int, default=128, help="channels of the features; the paper: 128")
    parser.add_argument("--hidden", type=int, default=1024, help="units of the stages; the paper: 1024")
    parser.add_argument("--stages", type=int, default=3)
    parser.add_argument("--clip-length", type=int, default=5)
    parser.add_argument("--sharing", action="store_true", help="share the stages' 2D convolutions")
    phase = parser.parse_known_args(arguments)[0].phase
    parser.set_defaults(**DEFAULTS[phase])
    args = parser.parse_args(arguments)
    of_video = [one.name in ("h36m", "humaneva") for one in args.data]
    if (phase == "poses" or any(of_video)) and (len(args.data) > 1 or not all(of_video) or not args.frames):
        parser.error("--data: expected one of h36m:FOLDER and humaneva:FOLDER with --frames; mpii is for --phase trunk")
    if args.size[0] != args.size[1]:
        parser.error(f"--size: expected a square, got {args.size[0]} x {args.size[1]}")
    args.padding = args.padding or (1.0 if args.boxes else 1.25)
    torch.manual_seed(args.seed)
    return train_trunk(args) if phase == "trunk" else train_poses(args)


if __name__ == "__main__":
    main()
