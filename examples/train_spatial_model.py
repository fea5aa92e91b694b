"""Train the spatial model of Tompson et al. (NIPS 2014) on a heatmap network, and compare.

    python examples/train_spatial_model.py --data lspet --torso --output runs/spatial \\
        --detector local-dir:runs/hourglass/model --size 128 128

As in the paper, kernels are initialised with histograms of the displacements between joints and
trained on the detector's heatmaps, here with a frozen detector. `--torso` appends a heatmap of the
annotated torso, which in the paper selects the person. The loss is the cross-entropy between the
softmax of the energies and the target Gaussians. The gain depends on the detector: one with a small
receptive field, as those of 2014, gains more than the shipped network.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import posezoo
from posezoo.data import LSP, PersonCrop
from posezoo.geometry import invert, transform_points
from posezoo.heatmaps import encode
from posezoo.losses import heatmap_cross_entropy
from posezoo.spatial_model import SpatialModel

sys.path.insert(0, str(Path(__file__).parent))
from training import make_loaders, options, poses_in_crops, scores

TORSO = [LSP.skeleton.keypoints.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("shoulder", "hip")]


def with_torso(keypoints: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Append the mean of shoulders and hips to keypoints `(B, K, 2)` and visibility `(B, K)`."""
    middle, known = keypoints[:, TORSO].mean(dim=1, keepdim=True), visible[:, TORSO].all(dim=1, keepdim=True)
    return torch.cat([keypoints, middle], dim=1), torch.cat([visible, known], dim=1)


class Composition(nn.Module):
    """Detector and spatial model; `frame` has size, stride and offset of the heatmaps."""

    def __init__(self, detector: Any, spatial: SpatialModel, frame: dict[str, Any]) -> None:
        super().__init__()
        self.detector, self.spatial, self.frame = detector, spatial, frame

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Heatmaps of the detector and energies of the spatial model, `(B, K, h, w)` each."""
        with torch.no_grad():
            found = self.detector(batch["image"])
        if self.spatial.num_maps == self.spatial.num_keypoints:
            return found, self.spatial(found)
        points, seen = with_torso(batch["keypoints"], batch["visible"])
        torso, _ = encode(points[:, -1:], seen[:, -1:], **self.frame)
        return found, self.spatial(found, torso)


def frame_of(detector: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Size, stride and offset of a network's heatmaps, for `heatmaps.encode`."""
    stride, offset = detector.heatmap_frame()
    return {"size": (round(size[0] / stride), round(size[1] / stride)), "stride": stride, "offset": offset}


@torch.no_grad()
def evaluate(model: Composition, loader: Any) -> list[dict[str, Any]]:
    """Scores of the detector alone and with the spatial model."""
    preds: list[list[Tensor]] = [[], []]
    truth: list[list[Tensor]] = [[], []]
    for batch in loader:
        to_image = invert(batch["matrix"])
        found, energies = model(batch)
        for maps, pred in zip((found, SpatialModel.softmax(energies)), preds, strict=True):
            pred.append(transform_points(model.detector.decode(maps)[0], to_image))
        truth[0].append(transform_points(batch["keypoints"], to_image))
        truth[1].append(batch["visible"])
    return [scores(torch.cat(pred), torch.cat(truth[0]), torch.cat(truth[1])) for pred in preds]


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    parser = options(__doc__, epochs=4, batch_size=16, lr=0.1, train_images=(1, 1000), size=(192, 192))
    parser.add_argument(
        "--detector", default="simple_baseline_lite.lsp14_192x192", help="a name with weights; local-dir:FOLDER"
    )
    parser.add_argument("--torso", action="store_true", help="condition on the annotated torso")
    args = parser.parse_args(arguments)
    torch.manual_seed(args.seed)

    detector = posezoo.create(args.detector, pretrained=True)
    crop = PersonCrop(size=tuple(args.size))
    frame = frame_of(detector, crop.size)
    train_loader, val_loader = make_loaders(args, crop)
    height, width = frame["size"]
    spatial = SpatialModel(num_keypoints=len(LSP.skeleton), radius=(height - 1, width - 1), context=int(args.torso))
    poses = poses_in_crops(train_loader.dataset.people, crop)
    points, seen = poses.nan_to_num(), ~poses.isnan().any(dim=-1)
    if args.torso:
        points, seen = with_torso(points, seen)
    spatial.init_from_displacements(points, seen, stride=frame["stride"])

    model = Composition(detector, spatial, frame)
    optimizer = torch.optim.Adam(spatial.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        total = 0.0
        for batch in train_loader:
            _, energies = model(batch)
            target, weights = encode(batch["keypoints"], batch["visible"], **frame)
            loss = heatmap_cross_entropy(energies, target, weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch}: cross-entropy {total / len(train_loader):.3f}", flush=True)

    args.output.mkdir(parents=True, exist_ok=True)
    torch.save(spatial.state_dict(), args.output / "spatial_model.pt")
    alone, together = evaluate(model, val_loader)
    for name, score in (("detector alone", alone), ("with the spatial model", together)):
        print(f"{name:>24}: PCK@0.2 {score['pck@0.2']:.3f}, error {score['error_percent']:.2f} % of the body")
    return [alone, together]


if __name__ == "__main__":
    main()
