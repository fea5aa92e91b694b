"""Shared by the training scripts of heatmap networks: learn from the predictions of another network.

    python examples/train_heatmap.py --data lspet --train-images 1 7000 7501 9500 \\
        --model hourglass_1 --width 128 --size 128 128 \\
        --teacher simple_baseline_lite.lsp14_192x192 --renders renders --output runs/hourglass_1

With `--teacher` a network predicts the keypoints of `--copies` augmented crops of every person,
once and at its own size. The crops are stored with its predictions, which take the place of the
annotations: a teacher is less noisy than they are, and labels every joint. Joints with low scores
count as not labelled. The crops of a run can be used by others (`--crops`), also by those with a
smaller `--size`. With `--renders` a fifth of them are images of `examples/render_people.py`.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

import posezoo
from posezoo.data import LSP, PersonCrop
from posezoo.skeletons import convert, get_skeleton

from frozen_backbone import CachedFeatures, cache_features, device_of_features
from training import make_loaders

AUGMENTATION = {"scale": 0.3, "rotation": 40, "flip": 0.5, "translation": 0.1, "half_body": 0.1, "truncation": 0.1}
CERTAIN = 0.2  # lowest score of a keypoint that is a label
PHOTOGRAPHS_PER_RENDER = 4


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add `--teacher` and the options that go with it."""
    parser.add_argument("--teacher", help="name of a network with weights, whose predictions are the labels")
    parser.add_argument("--renders", type=Path, help="folder of examples/render_people.py, for --teacher")
    parser.add_argument("--copies", type=int, default=1, help="crops of every person, for --teacher")
    parser.add_argument(
        "--crop-size", type=int, nargs=2, metavar=("H", "W"), help="of the stored crops. Defaults to --size"
    )
    parser.add_argument("--crops", type=Path, help="folder of the teacher's crops. Defaults to --output/crops")


class Pictures(Dataset[dict[str, Tensor]]):
    """The images of a dataset alone."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"image": self.dataset[index]["image"]}


class TaughtCrops(Dataset[dict[str, Tensor]]):
    """Rows of images and keypoints that `taught_loaders` stored, resized to `size`; `people` are
    the training people.
    """

    def __init__(self, rows: CachedFeatures, size: tuple[int, int]) -> None:
        self.rows, self.people, self.size = rows, rows.people, size

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = self.rows[index]
        image, keypoints = resized(row["image"][None].float() / 255, row["keypoints"], self.size)
        return {**row, "image": image[0], "keypoints": keypoints}


def resized(images: Tensor, keypoints: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Resize images `(B, 3, H, W)` and the keypoints in their pixels `(..., 2)`."""
    height, width = images.shape[-2:]
    if size == (height, width):
        return images, keypoints
    factor = keypoints.new_tensor([size[1] / width, size[0] / height])
    images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
    return images, (keypoints + 0.5) * factor - 0.5  # pixel centres are integers


@torch.no_grad()
def taught_loaders(args: argparse.Namespace) -> tuple[DataLoader, DataLoader]:
    """Loaders of training crops with the teacher's keypoints, and of held-out people with theirs."""
    device = device_of_features()
    teacher = posezoo.create(args.teacher, pretrained=True).to(device, memory_format=torch.channels_last)
    size, large = (args.size[0], args.size[1]), teacher.input_size
    stored = args.crop_size or args.size
    loader, _ = make_loaders(args, PersonCrop(size=large, skeleton=LSP.skeleton, **AUGMENTATION))
    _, val_loader = make_loaders(args, PersonCrop(size=size))
    people = loader.dataset.people  # type: ignore[attr-defined]
    pictures: Any = Pictures(loader.dataset)
    if args.renders:
        from train_default import BODY_AND_FACE, Renders  # here, because it imports a script that imports this module

        crop = PersonCrop(size=large, skeleton=get_skeleton(BODY_AND_FACE), **AUGMENTATION)
        renders = Renders(args.renders, crop)
        some = range(min(len(renders), len(people) // PHOTOGRAPHS_PER_RENDER))
        pictures = ConcatDataset([pictures, Pictures(Subset(renders, some))])

    def describe(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        image = batch["image"].to(device, memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16, enabled=args.mixed_precision == "bf16"):
            keypoints, scores = teacher.predict(image)
        keypoints, certain = convert(keypoints.float(), teacher.skeleton, LSP.skeleton, scores > CERTAIN)
        small, keypoints = resized(image.float(), keypoints, (stored[0], stored[1]))
        return {"image": (255 * small).round().byte(), "keypoints": keypoints, "visible": certain}

    named = ("teacher", "renders", "copies", "train_images", "seed")
    rows = cache_features(
        args.crops or args.output / "crops",
        people,
        DataLoader(pictures, 32, shuffle=True, num_workers=args.workers),
        describe,
        count=args.copies * len(pictures),
        settings={**{name: getattr(args, name) for name in named}, "size": stored},
    )
    crops = TaughtCrops(rows, size)
    settings: dict[str, Any] = {"num_workers": args.workers, "persistent_workers": args.workers > 0}
    full = len(crops) > args.batch_size
    return DataLoader(crops, args.batch_size, shuffle=True, drop_last=full, **settings), val_loader
