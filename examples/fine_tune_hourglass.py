"""Fine-tune a stacked hourglass on Human3.6M and detect the 2D keypoints of Hossain & Little.

    python examples/fine_tune_hourglass.py --data h36m:h36m --frames h36m_videos --boxes masks \\
        --model local-dir:runs/hourglass_8/model --output runs/sh

Section 4 of Hossain & Little (ECCV 2018), after Martinez et al.: a network trained on MPII is
fine-tuned for 250 iterations of 3 images at a rate of 2.5e-4. Squares of 440 pixels around the
middle of the person's box become 256 pixels. Output 7 learns the spine and 8 the thorax of
Human3.6M, where MPII has thorax and neck (`posezoo.data.human36m.HOURGLASS_ORDER`). Then the
keypoints of all frames are written to `data_2d_h36m_sh.npz`, which `Human36M(keypoints=...)` and
`train_lifter_video.py --keypoints` read. Optimiser and sigma are those of the hourglass's paper.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from train_hourglass import batch_loss

import posezoo
from posezoo.data import ClipCrop, Human36M, Windows
from posezoo.data.human36m import CAMERAS, H36M16, HOURGLASS_ORDER, TEST, TRAIN
from posezoo.geometry import invert, tight_box, transform_points
from posezoo.skeletons import convert

from training import Batch, options, train

SIDE = 440  # pixels of the photograph
LEFT, RIGHT = (3, 4, 5, 13, 14, 15), (2, 1, 0, 12, 11, 10)  # of the hourglass, for the file's metadata


class Frames(Dataset[Batch]):
    """Frames of videos, cropped to squares, with keypoints in the hourglass's order."""

    def __init__(self, videos: Any, size: int) -> None:
        self.windows, self.crop, self.skeleton = (
            Windows(videos, length=1),
            ClipCrop(size=size, fill=0.0),
            videos.skeleton,
        )

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Batch:
        window = self.windows[index]
        points = window["keypoints"][0]
        seen = torch.ones(len(points), dtype=torch.bool)
        box = window["boxes"][0] if "boxes" in window else tight_box(points, seen)
        middle = box.view(2, 2).mean(dim=0)
        window["boxes"] = torch.cat([middle - SIDE / 2, middle + SIDE / 2])[None]
        cropped = self.crop(window)
        ours, _ = convert(transform_points(points, cropped["matrix"][0]), self.skeleton, H36M16)
        keypoints = torch.zeros_like(ours)
        keypoints[list(HOURGLASS_ORDER)] = ours
        visible = torch.ones(len(keypoints), dtype=torch.bool)
        return {"image": cropped["clip"][0], "keypoints": keypoints, "visible": visible, "matrix": cropped["matrix"][0],
                "video": window["video"]}  # fmt: skip


@torch.no_grad()
def detect(model: Any, frames: Frames, batch_size: int, workers: int) -> list[np.ndarray]:
    """Keypoints `(T, 16, 2)` of each video, in pixels of its images and in the hourglass's order."""
    model.eval()
    device = next(model.parameters()).device
    points: list[Tensor] = []
    owners: list[Tensor] = []
    for batch in DataLoader(frames, batch_size, num_workers=workers):
        found, _ = model.predict(batch["image"].to(device), flip=True)
        points.append(transform_points(found.float().cpu(), invert(batch["matrix"])))
        owners.append(batch["video"].clone())
    every, owner = torch.cat(points), torch.cat(owners)
    return [every[owner == number].numpy() for number in range(int(owner.max()) + 1)]


def write(path: Path, videos: Any, detections: list[np.ndarray]) -> None:
    """Write detections in the format of VideoPose3D."""
    found: dict[str, dict[str, list[Any]]] = {}
    for number, array in enumerate(detections):
        video = videos[number]
        views = found.setdefault(video["subject"], {}).setdefault(video["take"], [None] * len(CAMERAS))
        views[CAMERAS.index(video["view"])] = array
    metadata = {"layout_name": "h36m_sh", "num_joints": len(HOURGLASS_ORDER), "keypoints_symmetry": [LEFT, RIGHT]}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, positions_2d=np.array(found, dtype=object), metadata=np.array(metadata, dtype=object))


def main(arguments: list[str] | None = None) -> Path:
    parser = options(__doc__, model="hourglass_8", size=(256, 256), iterations=250, batch_size=3, lr=2.5e-4)
    parser.add_argument("--frames", type=Path, required=True, help="folder of images or videos, see posezoo.data")
    parser.add_argument("--boxes", choices=("masks",), help="the data set's boxes. Defaults to those of the joints")
    parser.add_argument("--actions", nargs="+", help="defaults to all")
    parser.add_argument("--subjects", nargs="+", help="to detect. Defaults to all of the papers")
    parser.add_argument("--training-subjects", nargs="+", default=TRAIN)
    parser.add_argument("--cameras", nargs="+", default=CAMERAS)
    args = parser.parse_args(arguments)
    torch.manual_seed(args.seed)
    more = {"frames": args.frames, "boxes": args.boxes, "actions": args.actions, "cameras": args.cameras}
    model = posezoo.create(args.model, pretrained=":" in args.model or "." in args.model)
    known = Frames(Human36M(args.data[0].root, subjects=args.training_subjects, **more), args.size[0])
    # as many images as the iterations take
    some = torch.utils.data.RandomSampler(known, num_samples=args.iterations * args.batch_size)
    loader = DataLoader(known, args.batch_size, sampler=some, num_workers=args.workers, drop_last=True)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=args.lr, alpha=0.99, eps=1e-8)

    def loss(wrapped: Any, batch: Batch) -> Tensor:
        return batch_loss(wrapped, batch, network=model, sigma=1.0)

    train(args, model, optimizer, loss, (loader, loader), evaluation=lambda *_: {})
    videos = Human36M(args.data[0].root, subjects=args.subjects or (*TRAIN, *TEST), **more)
    path = args.output / "data_2d_h36m_sh.npz"
    write(path, videos, detect(model, Frames(videos, args.size[0]), args.batch_size, args.workers))
    print(f"{path}: {len(videos)} videos", flush=True)
    return path


if __name__ == "__main__":
    main()
