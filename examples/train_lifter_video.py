"""Train seq2seq3d or martinez on Human3.6M or HumanEva-I, every table of Hossain & Little (ECCV 2018).

    python examples/train_lifter_video.py --data h36m:h36m --output runs/seq2seq3d
    python examples/train_lifter_video.py --data h36m:h36m --keypoints runs/sh/data_2d_h36m_sh.npz --output runs/sh
    python examples/train_lifter_video.py --data humaneva:HumanEva --output runs/seq2seq3d_humaneva

The recipes (`recipes.py`) are the papers': windows of consecutive frames at every frame, z-scores
of pixels and of poses relative to the root in the camera's frame, one model for all actions; Adam
at 1e-5, decayed by 0.96 every 100,000 iterations, continuously, 32 windows, 100 epochs for
seq2seq3d; 1e-3, 64 frames, 200 epochs for martinez. The test runs over whole videos, past frames
only.

| table or figure | options |
|---|---|
| Tables 1 and 2 (protocols #1, #2) | none, and `--keypoints` of `fine_tune_hourglass.py`; both protocols are printed |
| Table 3 (noise on the test keypoints) | the rows of `--noise`, by default 0, 5, 10, 15, 20 pixels |
| Table 4 | `--no-joint-weights`, `--temporal-weight 0`, `--no-recurrent-dropout`, `--no-layer-norm`, `--no-residual` |
| Table 5 (HumanEva-I) | `--data humaneva:...`: after rigid alignment, per subject and action |
| Figure 3 (length of the windows) | `--window 2` to `10` |
| filters of martinez | `--model martinez`: mean and median of 5 frames are printed, too |

`--joint-weights code` has the weights of the authors' code in place of the paper's. The authors'
printed numbers come from an evaluation that scored a part of the frames; their corrected ones for
Tables 1 and 2 are 58.25 and 44.09 mm.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader

import posezoo
from posezoo.data import Human36M, HumanEva, Windows, add_noise, mean_filter, median_filter
from posezoo.data.human36m import TEST, TRAIN
from posezoo.losses import pose_mse, smooth_pose_mse
from posezoo.metrics import by_protocol

from recipes import LIFTERS
from training import Report, options, train

NOISE = (0.0, 5.0, 10.0, 15.0, 20.0)  # pixels (Table 3)
MIDDLE, TERMINAL = 2.5, 4.0  # weights of the changes of knees and elbows, ankles and wrists (section 3)
FILTERS: dict[str, Callable[[Tensor], Tensor]] = {" + mean filter": mean_filter, " + median filter": median_filter}


def open_videos(args: Any, part: str) -> Any:
    (one,) = args.data
    more = {name: value for name, value in (("actions", args.actions), ("subjects", args.subjects)) if value}
    if one.name == "h36m":
        return Human36M(one.root, **{"subjects": TRAIN if part == "train" else TEST, **more}, keypoints=args.keypoints)
    keypoints = "gt" if args.keypoints == "projected" else args.keypoints
    return HumanEva(one.root, split="Train" if part == "train" else "Validate", keypoints=keypoints, **more)


def relative(videos: Any) -> list[dict[str, Any]]:
    """Videos with poses relative to the pelvis, the first joint."""
    every = (videos[index] for index in range(len(videos)))
    return [{**video, "pose3d": video["pose3d"] - video["pose3d"][:, :1]} for video in every]


def joint_weights(names: Sequence[str], kind: str) -> list[float]:
    """Weights of the changes of joints: "paper" by the place in the limb, "code" by the limb."""
    if kind == "uniform":
        return [1.0] * len(names)
    paper = {"knee": MIDDLE, "elbow": MIDDLE, "ankle": TERMINAL, "wrist": TERMINAL}
    code = {"knee": MIDDLE, "elbow": TERMINAL, "ankle": MIDDLE, "wrist": TERMINAL}
    chosen = paper if kind == "paper" else code
    return [chosen.get(name.rpartition("_")[2], 1.0) for name in names]


def loss_of(args: Any, network: Any) -> Callable[[Any, dict[str, Any]], Tensor]:
    """Equation 3 in mm without the root, or the squared z-scores of martinez."""
    if args.model == "martinez":
        return lambda model, batch: pose_mse(model(batch["keypoints"]).float(), batch["pose3d"],
                                             network.normalize.pose3d.std)  # fmt: skip
    weights = joint_weights(network.skeleton.keypoints[1:], args.joint_weights)

    def loss(model: Any, batch: dict[str, Any]) -> Tensor:
        pred, target = model(batch["keypoints"]).float()[..., 1:, :], batch["pose3d"][..., 1:, :]
        return smooth_pose_mse(pred, target, joint_weights=weights, temporal_weight=args.temporal_weight)

    return loss


@torch.no_grad()
def evaluate(model: Any, videos: Sequence[dict[str, Any]], protocols: Sequence[str], sigmas: Sequence[float]) -> Report:
    """Rows of each protocol by noise, pixels, and filter."""
    model.eval()
    device = next(model.parameters()).device
    report: Report = {}
    for sigma in sigmas:
        generator = torch.Generator().manual_seed(0)
        found = [model.predict(add_noise(video["keypoints"], sigma, generator=generator)[None].to(device))[0][0].cpu()
                 for video in videos]  # fmt: skip
        target = torch.cat([video["pose3d"] for video in videos])
        named = {name: [video[name] for video in videos for _ in video["pose3d"]] for name in ("action", "subject")}
        groups = {"actions": named["action"], "subjects": named["subject"],
                  "videos": [number for number, video in enumerate(videos) for _ in video["pose3d"]]}  # fmt: skip
        single = model.receptive_field == 1
        for name, smooth in {"": lambda pose: pose, **(FILTERS if single else {})}.items():
            pred = torch.cat([smooth(pose) for pose in found])
            for protocol in protocols:
                report[f"{protocol}, {sigma:g} px{name}"] = by_protocol(pred, target, protocol, **groups)
    return report


def main(arguments: list[str] | None = None) -> Report:
    parser = options(__doc__, model="seq2seq3d")
    parser.add_argument("--keypoints", default="projected", help="or a file of detections, as VideoPose3D's")
    parser.add_argument("--actions", nargs="+", help="defaults to all, on HumanEva to Walking, Jog and Box")
    parser.add_argument("--subjects", nargs="+", help="defaults to those of the papers")
    parser.add_argument("--window", type=int, default=5, help="frames; Figure 3: 2 to 10")
    parser.add_argument("--width", type=int, default=1024, help="units; the papers: 1024")
    parser.add_argument("--joint-weights", choices=("paper", "code", "uniform"), default="paper")
    parser.add_argument("--no-joint-weights", dest="joint_weights", action="store_const", const="uniform")
    parser.add_argument("--temporal-weight", type=float, default=5.0, help="of the smoothness; 0: none")
    for part in ("recurrent-dropout", "layer-norm", "residual"):
        parser.add_argument(f"--no-{part}", action="store_true", help="a row of Table 4")
    parser.add_argument("--noise", type=float, nargs="+", default=NOISE, metavar="PX", help="on the test keypoints")
    asked = parser.parse_known_args(arguments)[0]
    if asked.model not in LIFTERS:
        parser.error(f"--model: expected one of {', '.join(LIFTERS)}, got {asked.model}")
    recipe = LIFTERS[asked.model]
    parser.set_defaults(**recipe.settings)
    args = parser.parse_args(arguments)
    torch.manual_seed(args.seed)

    known, unknown = open_videos(args, "train"), relative(open_videos(args, "test"))
    inputs = getattr(known, "keypoint_skeleton", known.skeleton)
    common = {"num_keypoints": len(known.skeleton), "skeleton": known.skeleton.name, "frame": "pixels",
              "input_keypoints": list(inputs.keypoints)}  # fmt: skip
    if args.model == "martinez":
        model, length = posezoo.create("martinez", linear_size=args.width, **common), 1
    else:
        length = args.window
        dropout = 0.0 if args.no_recurrent_dropout else 0.5  # both kinds, see the departures of the model
        model = posezoo.create(
            "seq2seq3d", window=length, hidden_size=args.width, layer_norm=not args.no_layer_norm,
            residual=not args.no_residual, dropout=dropout, recurrent_dropout=dropout, **common,
        )  # fmt: skip
    videos = relative(known)
    model.normalize.fit(torch.cat([video["keypoints"] for video in videos])[:, None],
                        torch.cat([video["pose3d"] for video in videos])[:, None])  # fmt: skip
    windows = Windows(videos, length=length, skip_short=True)
    loader = DataLoader(windows, args.batch_size, shuffle=True, drop_last=True, num_workers=args.workers)
    protocols = ("hossain-1", "hossain-2") if args.data[0].name == "h36m" else ("hossain-humaneva",)

    def evaluation(accelerator: Accelerator, network: Any, _: Any) -> Report:
        report = evaluate(network, unknown, protocols, args.noise)
        for name, rows in report.items():
            accelerator.print(f"{name:>40}  {rows['Average']:6.1f} mm", flush=True)
        return report

    parameters = torch.optim.Adam(model.parameters(), lr=args.lr)
    return train(args, model, parameters, loss_of(args, model), (loader, loader), schedule=recipe.rate(args),
                 evaluation=evaluation)  # fmt: skip


if __name__ == "__main__":
    main()
