"""Train the spatial model of Tompson et al. (NIPS 2014) on a heatmap network, and compare.

    python examples/train_spatial_model.py --data flic:FLIC --torso --detector local-dir:runs/nips14/model \\
        --size 240 360 --output runs/spatial
    python examples/train_spatial_model.py --data flic:FLIC --torso --joint --detector local-dir:runs/nips14/model \\
        --init runs/spatial/spatial_model.pt --size 240 360 --lr 1e-3 --output runs/together

The paper trains in three phases: the detector (`train_heatmap.py --model tompson_nips14`), the
spatial model on the heatmaps of the frozen detector, and both (`--joint`), the detector at a tenth
of the rate. Kernels are initialised with histograms of the displacements between joints. `--torso`
appends a heatmap of the annotated torso, which in the paper selects the person. The loss is the
cross-entropy between the softmax of the energies and the target Gaussians. Optimiser, rates, batch
size and lengths are ours. The gain depends on the detector: one with a small receptive field, as
those of 2014, gains more than the shipped network. `--resume` continues after the last epoch.
"""

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

import posezoo
from posezoo.data import PersonCrop
from posezoo.geometry import invert, transform_points
from posezoo.heatmaps import encode
from posezoo.losses import heatmap_cross_entropy
from posezoo.skeletons import Skeleton
from posezoo.spatial_model import SpatialModel

from training import Report, make_loaders, options, poses_in_crops, scores, train

TORSO = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
DETECTOR_RATE = 0.1  # of the learning rate, in the training of both
READERS = {"mpii": {"center": "annotated"}, "flic": {"skeleton": "flic11", "back_facing": "hips"}}


def with_torso(keypoints: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Append the mean of shoulders and hips to keypoints `(B, K, 2)` and visibility `(B, K)`."""
    torso = [skeleton.index(name) for name in TORSO]
    middle, known = keypoints[:, torso].mean(dim=1, keepdim=True), visible[:, torso].all(dim=1, keepdim=True)
    return torch.cat([keypoints, middle], dim=1), torch.cat([visible, known], dim=1)


class Composition(nn.Module):
    """Detector and spatial model; `frame` has size, stride and offset of the heatmaps."""

    def __init__(
        self, detector: Any, spatial: SpatialModel, frame: dict[str, Any], skeleton: Skeleton, *, joint: bool
    ) -> None:
        super().__init__()
        self.detector, self.spatial, self.frame, self.skeleton, self.joint = detector, spatial, frame, skeleton, joint

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Heatmaps of the detector and energies of the spatial model, `(B, K, h, w)` each."""
        with torch.set_grad_enabled(self.joint and torch.is_grad_enabled()):
            found = self.detector(batch["image"])[:, : self.spatial.num_keypoints]
        if self.spatial.num_maps == self.spatial.num_keypoints:
            return found, self.spatial(found)
        points, seen = with_torso(batch["keypoints"], batch["visible"], self.skeleton)
        torso, _ = encode(points[:, -1:], seen[:, -1:], **self.frame)
        return found, self.spatial(found, torso)


def frame_of(detector: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Size, stride and offset of a network's heatmaps, for `heatmaps.encode`."""
    stride, offset = detector.heatmap_frame()
    return {"size": (round(size[0] / stride), round(size[1] / stride)), "stride": stride, "offset": offset}


def batch_loss(model: Any, batch: dict[str, Any], frame: dict[str, Any]) -> Tensor:
    """Cross-entropy of the energies."""
    _, energies = model(batch)
    return heatmap_cross_entropy(energies.float(), *encode(batch["keypoints"], batch["visible"], **frame))


@torch.no_grad()
def evaluate(accelerator: Accelerator, model: Any, loader: Any) -> Report:
    """Scores of the detector alone and with the spatial model."""
    model.eval()
    collected = []
    for batch in loader:
        to_image = invert(batch["matrix"])
        found, energies = model(batch)
        maps = (found, SpatialModel.softmax(energies))
        points = [model.detector.decode(one)[0] for one in maps]
        parts = [transform_points(one.float(), to_image) for one in (*points, batch["keypoints"])]
        collected.append(accelerator.gather_for_metrics((*parts, batch["visible"])))
    alone, together, target, visible = (torch.cat(parts).cpu() for parts in zip(*collected, strict=True))
    report = {
        name: scores(pred, target, visible, skeleton=model.skeleton)
        for name, pred in (("detector alone", alone), ("with the spatial model", together))
    }
    for name, score in report.items():
        accelerator.print(
            f"{name:>24}: PCK@0.2 {score['pck@0.2']:.3f}, error {score['error_percent']:.2f} % of the body", flush=True
        )
    return report


def save(model: Composition, folder: Path, _: Report) -> None:
    """Write the spatial model, and after a joint training the detector."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.spatial.state_dict(), folder.parent / "spatial_model.pt")
    if model.joint:
        model.detector.save_pretrained(folder.parent / "detector")


def main(arguments: list[str] | None = None) -> list[Report]:
    parser = options(__doc__, epochs=4, batch_size=16, lr=0.1, size=(192, 192))
    parser.add_argument(
        "--detector", default="simple_baseline_lite.lsp14_192x192", help="a name with weights; local-dir:FOLDER"
    )
    parser.add_argument("--torso", action="store_true", help="condition on the annotated torso")
    parser.add_argument("--joint", action="store_true", help="train the detector too")
    parser.add_argument("--init", type=Path, help="spatial_model.pt of the phase before")
    args = parser.parse_args(arguments)
    torch.manual_seed(args.seed)

    detector = posezoo.create(args.detector, pretrained=True)
    crop = PersonCrop(size=tuple(args.size), padding=detector.padding)
    frame = frame_of(detector, crop.size)
    loaders = make_loaders(args, crop, READERS)
    people = loaders[0].dataset.people  # type: ignore[attr-defined]
    if detector.skeleton != people.skeleton:
        parser.error(f"--detector: expected the keypoints of {people.skeleton.name}, got {detector.skeleton}")
    height, width = frame["size"]
    spatial = SpatialModel(num_keypoints=len(people.skeleton), radius=(height - 1, width - 1), context=int(args.torso))
    if args.init:
        spatial.load_state_dict(torch.load(args.init, weights_only=True))
    else:
        poses = poses_in_crops(people, crop)
        points, seen = poses.nan_to_num(), ~poses.isnan().any(dim=-1)
        if args.torso:
            points, seen = with_torso(points, seen, people.skeleton)
        spatial.init_from_displacements(points, seen, stride=frame["stride"])

    detector.requires_grad_(args.joint)
    groups: list[dict[str, Any]] = [{"params": spatial.parameters(), "lr": args.lr}]
    if args.joint:
        groups.append({"params": detector.parameters(), "lr": DETECTOR_RATE * args.lr})
    report = train(
        args,
        Composition(detector, spatial, frame, people.skeleton, joint=args.joint),
        torch.optim.Adam(groups),
        lambda model, batch: batch_loss(model, batch, frame),
        loaders,
        evaluation=evaluate,
        save=save,
        frozen=[] if args.joint else [detector],
    )
    return [report["detector alone"], report["with the spatial model"]]


if __name__ == "__main__":
    main()
