"""Shared by the fine-tuning scripts: a dataset of drawn arrows with four keypoints.

`fine_tune.py` is a plain loop; `fine_tune_accelerate.py`, `fine_tune_lightning.py` and
`fine_tune_trainer.py` do the same with other libraries. Each trains for 100 steps of 16 arrows and
evaluates on 64 new ones. Predicting the middle of the image for every keypoint has an error of 18
pixels.
"""

import argparse
import math

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from posezoo.heatmaps import encode
from posezoo.losses import heatmap_mse

KEYPOINTS = ["tip", "left_barb", "right_barb", "tail"]  # mirror pairs are recognised by left_ and right_
SIZE = 96
TEST_SEED = 10**6  # seed of the test arrows


class Arrows(Dataset[dict[str, Tensor]]):
    """Drawn arrows: `image` `(3, 96, 96)` in [0, 1] and `keypoints` `(4, 2)` in pixels.

    Arrow i is the same every time.
    """

    def __init__(self, count: int, seed: int = 0) -> None:
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        generator = torch.Generator().manual_seed(self.seed + index)
        x, y, turn, length = torch.rand(4, generator=generator).tolist()
        angle, length = 2 * math.pi * turn, 20 + 15 * length
        along = torch.tensor([math.cos(angle), math.sin(angle)])
        across = torch.tensor([-along[1], along[0]])
        tail = torch.tensor([30 + 36 * x, 30 + 36 * y]) - along * length / 2
        tip = tail + along * length
        keypoints = torch.stack([tip, tip - 9 * along - 9 * across, tip - 9 * along + 9 * across, tail])
        background, ink = torch.randint(0, 256, (2, 3), generator=generator).tolist()
        image = Image.new("RGB", (SIZE, SIZE), tuple(background))
        draw = ImageDraw.Draw(image)
        for point in keypoints[1:]:
            draw.line([*keypoints[0].tolist(), *point.tolist()], fill=tuple(ink), width=3)
        return {"image": torch.from_numpy(np.array(image)).movedim(-1, 0) / 255, "keypoints": keypoints}


def heatmap_loss(heatmaps: Tensor, keypoints: Tensor) -> Tensor:
    """Mean squared error of heatmaps against Gaussian targets: a scalar."""
    target, weights = encode(keypoints, size=heatmaps.shape[-2:], stride=SIZE / heatmaps.shape[-1])
    return 1000 * heatmap_mse(heatmaps, target, weights)


def mean_error(model: nn.Module) -> float:
    """Evaluate on 64 new arrows: mean distance of predicted and true keypoints, pixels."""
    (batch,) = DataLoader(Arrows(64, seed=TEST_SEED), batch_size=64)
    device = next(model.parameters()).device
    predicted, _ = model.eval().predict(batch["image"].to(device))
    error = float((predicted.cpu() - batch["keypoints"]).norm(dim=-1).mean())
    print(f"mean error on 64 new arrows: {error:.2f} px")
    return error


def options(description: str | None, arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line of the scripts."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="simple_baseline_lite")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    return parser.parse_args(arguments)
