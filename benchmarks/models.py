"""Speed of the networks as ratios against a named reference, both measured in this run.

    python benchmarks/models.py [NAME …] [--repeat 10] [--peers DIR]

A ratio above 1 means that ours is faster. Runs of ours and of the reference alternate, and the medians are divided.

    hrnet            timm's trunk of the same width: the same way up to the last fusion, of which it computes three more
    simple_baseline  timm's ResNet alone, so that the ratio says what the heatmaps cost
    deeppose         its layers in an nn.Sequential with torch's local response normalisation, and for the later stages
                     crops by torch's grid_sample, around given keypoints
    deeppose_resnet  timm's ResNet with as many outputs
    ief              GoogLeNet with torch's local response normalisation, four passes over 20 channels
    posernn_cnn      timm's VGG16 with batch norm and as many outputs; the recurrent ones: its convolutions alone
    tompson          its own convolutions as plain torch modules, fed with scaled images and cut-out windows: the ratio
                     says what local contrast normalisation, scaling, cutting and pasting cost
    hourglass, cpm   implementations by others, which are not ours to ship: --peers names a folder with checkouts of
                     anibali/pytorch-stacked-hourglass and namedBen/Convolutional-Pose-Machines-Pytorch
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import posezoo
from posezoo.models import deeppose, ief

Run = Callable[[Tensor], Any]
TIMM = {
    "hrnet_w32": "hrnet_w32",
    "hrnet_w48": "hrnet_w48",
    "simple_baseline_resnet18": "resnet18",
    "simple_baseline_resnet50": "resnet50",
    "simple_baseline_lite": "tf_efficientnet_lite2",
}
PEERS = {  # name -> file in --peers, and what it is called here
    "hourglass_2_bearpaw": ("pytorch-stacked-hourglass/src/stacked_hourglass/model.py", "anibali's hg2"),
    "cpm_9x9_6s": ("Convolutional-Pose-Machines-Pytorch/train_val/cpm_model.py", "namedBen's CPM"),
}
TIMM_OUTPUTS = {"deeppose_resnet50": "resnet50", "posernn_cnn": "vgg16_bn"}  # the same to the last layer
TIMM_FEATURES = {"posernn_lstm": "vgg16_bn", "posernn_attention": "vgg16_bn"}
PLAIN = ("deeppose", "ief", "tompson_mpii", "tompson_flic")
NAMES = (*TIMM, *TIMM_OUTPUTS, *TIMM_FEATURES, *PLAIN, *PEERS)


class TompsonConvolutions(nn.Module):
    """The convolutions of Tompson et al.'s coarse and fine model, and nothing else."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        mpii = layout == "mpii"
        self.num_keypoints = 14 if mpii else 7
        self.banks = nn.ModuleList(self.bank(mpii) for _ in range(3))
        hidden = [*conv_relu(128, 512, 9), *conv_relu(512, 256, 1)] if mpii else conv_relu(512, 256, 1)
        more = [] if mpii else conv_relu(256, 256, 1)
        self.coarse = nn.Sequential(*hidden, *more, nn.Conv2d(256, self.num_keypoints, 1))
        self.fine = nn.ModuleList(nn.Sequential(*conv_relu(128, 128, 5), *conv_relu(128, 128, 5)) for _ in range(4))
        self.fuse = nn.Sequential(*conv_relu(128, 128, 1))
        self.last = nn.Conv2d(self.num_keypoints * 128, self.num_keypoints, 1, groups=self.num_keypoints)

    @staticmethod
    def bank(mpii: bool) -> nn.Sequential:
        layers = [*conv_relu(3, 128, 5), nn.MaxPool2d(2), *conv_relu(128, 128, 5), nn.MaxPool2d(2)]
        layers += [*conv_relu(128, 128, 5), *(conv_relu(128, 128, 5) if mpii else [])]
        return nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True), *([] if mpii else conv_relu(128, 512, 9)))

    def forward(self, scaled: list[Tensor], windows: list[Tensor]) -> tuple[Tensor, Tensor]:
        x, *coarser = (bank(image) for bank, image in zip(self.banks, scaled, strict=True))
        for factor, y in zip((2.0, 4.0), coarser, strict=True):
            x = x + F.interpolate(y, scale_factor=factor)[..., : x.shape[-2], : x.shape[-1]]
        fine = sum(F.interpolate(layer(w), size=36) for layer, w in zip(self.fine, windows, strict=True))
        return self.coarse(x), self.last(self.fuse(fine).view(-1, self.num_keypoints * 128, 36, 36))


def conv_relu(channels: int, width: int, kernel: int, **options: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, kernel, **{"padding": kernel // 2, **options}), nn.ReLU()]


def seven_layers(outputs: int) -> nn.Sequential:
    """A stage of DeepPose (section 3.1)."""
    a, b, c, d, e, f, g = deeppose.WIDTHS
    k, alpha = deeppose.LRN["alexnet"]
    norm = nn.LocalResponseNorm(5, 5 * alpha, 0.75, k)  # torch divides alpha by the channels
    layers = [*conv_relu(3, a, 11, stride=4, padding=deeppose.PADDING), norm, nn.MaxPool2d(3, 2)]
    layers += [*conv_relu(a, b, 5), norm, nn.MaxPool2d(3, 2), *conv_relu(b, c, 3), *conv_relu(c, d, 3)]
    layers += [*conv_relu(d, e, 3), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(36 * e, f), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(f, g), nn.ReLU(), nn.Linear(g, outputs))


def googlenet(channels: int, outputs: int) -> nn.Sequential:
    """GoogLeNet without its auxiliary classifiers, from the blocks in `posezoo.models.ief`."""
    norm, shrink = nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2, ceil_mode=True)
    layers = [*conv_relu(channels, 64, 7, stride=2), shrink, norm, *conv_relu(64, 64, 1), *conv_relu(64, 192, 3), norm]
    for width, table in ((192, ief.INCEPTION_3), (480, ief.INCEPTION_4), (832, ief.INCEPTION_5)):
        layers += [shrink, *ief.inceptions(width, table)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, outputs))


def reference(name: str, image: Tensor, peers: Path | None) -> tuple[str, Run] | None:
    """What a network is compared with, on inputs like `image`; None where it is not there."""
    if name in TIMM:
        indices = (1,) if "hrnet" in name else (-1,)
        return f"timm {TIMM[name]}", timm.create_model(TIMM[name], features_only=True, out_indices=indices).eval()
    batch, _, height, width = image.shape
    if name in TIMM_OUTPUTS:
        whole = timm.create_model(TIMM_OUTPUTS[name], num_classes=2 * posezoo.create(name).num_keypoints).eval()
        return f"timm {TIMM_OUTPUTS[name]}", whole
    if name in TIMM_FEATURES:
        trunk = timm.create_model(TIMM_FEATURES[name], num_classes=0).features.eval()
        return f"timm {TIMM_FEATURES[name]} features", trunk
    if name == "deeppose":
        stages = [seven_layers(28).eval() for _ in range(deeppose.STAGES)]
        halves = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]).repeat(14 * batch, 1, 1)  # of the image's size

        def cascade(image: Tensor) -> list[Tensor]:
            outputs = [stages[0](image)]
            for stage in stages[1:]:
                grid = F.affine_grid(halves, [14 * batch, 3, height, width], align_corners=False)
                outputs.append(stage(F.grid_sample(image.repeat_interleave(14, dim=0), grid, align_corners=False)))
            return outputs

        return "its layers", cascade
    if name == "ief":
        corrections = googlenet(20, 32).eval()
        seen = torch.rand(batch, 20, height, width)
        return "GoogLeNet", lambda _: [corrections(seen) for _ in range(ief.NUM_STEPS)]
    if name.startswith("tompson"):
        network = TompsonConvolutions(name.removeprefix("tompson_")).eval()
        scaled = [torch.rand(batch, 3, height // factor, width // factor) for factor in (1, 2, 4)]
        windows = [torch.rand(batch * network.num_keypoints, 128, side, side) for side in (36, 18, 18, 9)]
        return "its convolutions", lambda _: network(scaled, windows)
    file, called = PEERS[name]
    if peers is None or not (peers / file).is_file():
        return None
    spec = importlib.util.spec_from_file_location("peer", peers / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if name.startswith("hourglass"):
        hourglass = module.hg2().eval()
        return called, lambda image: hourglass(image)[-1]
    machine, center = module.CPM(14).eval(), torch.rand(batch, 1, height, width)
    return called, lambda image: machine(image, center)


def seconds(ours: Run, theirs: Run, image: Tensor, repeat: int) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeat + 1):
        for run, taken in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            run(image)
            if turn:  # the first one warms up
                taken.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join(NAMES)}")
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--batches", type=int, nargs="+", default=(1, 8))
    parser.add_argument("--peers", type=Path, help="folder with checkouts of other implementations")
    args = parser.parse_args()
    unknown = set(args.names) - set(NAMES)
    if unknown:
        parser.error(f"no reference for {', '.join(sorted(unknown))}; known are {', '.join(NAMES)}")

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, timm {timm.__version__}")
    print(f"{'model':26} {'input':>9} {'batch':>5} {'ours ms':>9} {'reference':>24} {'ms':>9} {'ratio':>6}")
    for name in args.names or NAMES:
        ours = posezoo.create(name).eval()
        for batch in args.batches:
            image = ours.example_input(batch)
            found = reference(name, image, args.peers)
            if found is None:
                print(f"{name:26} needs --peers with {PEERS[name][0]}")
                break
            called, theirs = found
            with torch.no_grad():
                our_time, their_time = seconds(ours, theirs, image, args.repeat)
            size = "x".join(map(str, image.shape[-2:]))
            print(
                f"{name:26} {size:>9} {batch:5} {1e3 * our_time:9.1f} {called:>24} {1e3 * their_time:9.1f} "
                f"{their_time / our_time:6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
