"""Draw the figure of a network from the network itself, as SVG.

The network runs once on its example input. Every call of a module that `SHOWN` names becomes a box:
its row is the resolution of its output, its column the number of boxes on the longest path from the
input, the number in it the channels. Lines are the tensors that boxes take from each other, whatever
is done to them between: additions, concatenations, resampling.
"""

import dataclasses
import re
import warnings
from html import escape
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import posezoo

# page -> name, arguments of the network, and the modules that become boxes
SHOWN: dict[str, tuple[str, dict[str, Any], str]] = {
    "cpm": ("cpm_9x9_6s", {}, r"trunk|stage1|stages\.\d+"),
    "deeppose": ("deeppose", {}, r"trunks\.\d+|heads\.\d+"),
    "deeppose_resnet": ("deeppose_resnet50", {}, r"backbone\.(conv1|layer\d)|fc"),
    "hourglass": (
        "hourglass_2",
        {},
        r"pre\.[0134]|hgs\.\d+(\.low2)*\.(up1|low1|low3|low2\.\d+)"
        r"|features\.\d+|outs\.\d+|merge_\w+\.\d+",
    ),
    "hourglass52": ("hourglass52", {}, r"stem\.\d+|hourglass(\.low2)*\.(up1|low1|low3|low2\.\d+)|out_conv|final_layer"),
    "hrnet": ("hrnet_w32", {}, r"conv\d|layer1|stage\d\.\d+\.branches\.\d+|final_layer"),
    "ief": ("ief", {}, r"conv1|conv2_reduce|conv2|inception\d|feedback\.\w+"),
    "martinez": ("martinez", {}, r"w1|linear_stages\.\d+|w2"),
    "posernn": ("posernn_attention", {"num_keypoints": 14}, r"features|lstm|attention|head\.\d+"),
    "rpsm": ("rpsm", {}, r"trunk|specialised\.\d+|adaption\.\d+|recurrent\.\d+"),
    "seq2seq3d": ("seq2seq3d", {}, r"encoder|decoder|output"),
    "simple_baseline": ("simple_baseline_resnet50", {}, r"backbone\.(conv1|layer\d)|deconv_layers\.[036]|final_layer"),
    "temporal_conv": ("temporal_conv_27", {}, r"expand_conv|layers_conv\.\d+|shrink"),
    "tompson": (
        "tompson_mpii",
        {},
        r"banks\.\d+|fc|hidden\.0|final_layer|fine\.branches\.\d+|fine\.fuse|fine\.final_layer",
    ),
}
# class -> kind of a box; the first match counts
KINDS = (
    ("lstm", r"LSTM|Cell|Recurrent|Attention", "#c2528b"),
    ("up", r"Transpose|Upsample", "#c9772b"),
    ("dense", r"Linear|Head|FeatureAdaption", "#7a5bb5"),
    ("blocks", r"Sequential|Block|Trunk|Stage|Inception|Residual|Specialised|Bank|Fine|Hourglass", "#2f7d6b"),
    ("conv", r"", "#3d6db5"),
)
LEGEND = {
    "conv": "convolution", "blocks": "several layers", "up": "upsampling convolution",
    "dense": "fully connected", "lstm": "recurrent or attention",
}  # fmt: skip
GREY = "#8a8f98"
STEP, ROW, WIDTH, HEIGHT, LEFT, TOP = 52, 46, 36, 24, 92, 22


@dataclasses.dataclass
class Box:
    name: str
    kind: str
    shape: tuple[int, ...]
    inputs: set[int]
    column: int = 0
    row: int = 0
    shift: int = 0


class Trace(TorchFunctionMode):
    """Record from which boxes the values of each tensor come."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes: list[Box] = []
        self.sources: dict[int, set[int]] = {}
        self.kept: list[Any] = []  # ids stay unique while their tensors live
        self.inside = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        found = self.origins((args, kwargs))
        for tensor in tensors(result):
            if id(tensor) not in self.sources or found:
                self.sources[id(tensor)] = self.sources.get(id(tensor), set()) | found
                self.kept.append(tensor)
        return result

    def origins(self, values: Any) -> set[int]:
        return set().union(*(self.sources.get(id(tensor), set()) for tensor in tensors(values)))

    def before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self.inside += 1
        if self.inside == 1:
            self.entered = self.origins((args, kwargs))

    def after(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self.inside -= 1
        if self.inside:
            return
        kind = next(kind for kind, pattern, _ in KINDS if re.search(pattern, type(module).__name__))
        found = tensors(output)
        self.boxes.append(Box(name, kind, tuple(found[0].shape), self.entered))
        for tensor in found:
            self.sources[id(tensor)] = {len(self.boxes) - 1}
            self.kept.append(tensor)


def tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = list(values.values())
    return [tensor for value in values for tensor in tensors(value)] if isinstance(values, (list, tuple)) else []


def trace(page: str) -> tuple[Any, Tensor, list[Box]]:
    """Run the network of a page; return it, its input and its boxes."""
    name, kwargs, shown = SHOWN[page]
    with torch.device("meta"):
        model: Any = posezoo.create(name, **kwargs).eval()
        image = model.example_input()
    recorder = Trace()
    for path, module in model.named_modules():
        if re.fullmatch(shown, path):
            module.register_forward_pre_hook(recorder.before, with_kwargs=True)
            module.register_forward_hook(
                lambda module, args, kwargs, output, path=path: recorder.after(path, module, args, kwargs, output),
                with_kwargs=True,
            )
    with warnings.catch_warnings(), torch.device("meta"), torch.no_grad(), recorder:
        warnings.simplefilter("ignore")
        model(image)
    return model, image, recorder.boxes


def place(model: Any, image: Tensor, boxes: list[Box]) -> list[str]:
    """Give each box its row and column; return the labels of the rows."""
    frames = model.input_kind == "keypoints"
    sizes = sorted({box.shape[-2:] for box in boxes if len(box.shape) >= 4 and not frames}, reverse=True)
    for index, box in enumerate(boxes):
        spatial = len(box.shape) >= 4 and not frames
        box.row = sizes.index(box.shape[-2:]) if spatial else len(sizes)
        box.column = 1 + max((boxes[source].column for source in box.inputs), default=-1)
        # of boxes at one place the later ones go below
        box.shift = sum((other.row, other.column) == (box.row, box.column) for other in boxes[:index])
    labels = [f"{h} × {w}" for h, w in sizes]
    return labels + (["frames" if frames else "vectors"] if any(box.row == len(sizes) for box in boxes) else [])


def channels(box: Box, frames: bool) -> int:
    return box.shape[-3] if len(box.shape) >= 4 and not frames else max(box.shape[1:])


def figure(page: str) -> str:
    """Return the SVG of a page's network."""
    model, image, boxes = trace(page)
    labels = place(model, image, boxes)
    frames = model.input_kind == "keypoints"
    depth = [1 + max((box.shift for box in boxes if box.row == row), default=0) for row in range(len(labels))]
    tops = [TOP + ROW * row + (HEIGHT + 4) * (sum(depth[:row]) - row) for row in range(len(labels))]
    bottom = tops[-1] + ROW + (HEIGHT + 4) * (depth[-1] - 1)
    columns = 1 + max(box.column for box in boxes)
    width, height = LEFT + STEP * columns + 10, bottom + 44

    def corner(box: Box) -> tuple[int, int]:
        return LEFT + STEP * box.column, tops[box.row] + (HEIGHT + 4) * box.shift

    shapes = " × ".join(map(str, image.shape[1:]))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="sans-serif" font-size="11">',
        f"<title>{escape(SHOWN[page][0])}: input {shapes}</title>",
    ]
    for row, label in enumerate(labels):
        y = tops[row] + HEIGHT // 2
        lines.append(
            f'<path d="M{LEFT - 6} {y}H{width - 6}" stroke="{GREY}" stroke-opacity=".25" stroke-dasharray="2 4"/>'
        )
        lines.append(f'<text x="{LEFT - 12}" y="{y + 4}" fill="{GREY}" text-anchor="end">{label}</text>')
    for box in boxes:
        x2, y2 = corner(box)[0], corner(box)[1] + HEIGHT // 2
        for source in sorted(box.inputs):
            x1, y1 = corner(boxes[source])[0] + WIDTH, corner(boxes[source])[1] + HEIGHT // 2
            middle = x1 + (STEP - WIDTH) // 2 if x2 - x1 > STEP else (x1 + x2) // 2
            curve = f"C{middle} {y1} {middle} {y2} {x2} {y2}" if y1 != y2 or x2 - x1 <= STEP else (
                f"C{x1 + 20} {y1 - HEIGHT} {x2 - 20} {y2 - HEIGHT} {x2} {y2}")  # fmt: skip
            lines.append(f'<path d="M{x1} {y1}{curve}" fill="none" stroke="{GREY}" stroke-width="1.2"/>')
    colours = {kind: colour for kind, _, colour in KINDS}
    for box in boxes:
        x, y = corner(box)
        lines.append(f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="3" fill="{colours[box.kind]}"/>')
        text = channels(box, frames)
        lines.append(f'<text x="{x + WIDTH // 2}" y="{y + 16}" fill="#fff" text-anchor="middle">{text}</text>')
    x = LEFT
    lines.append(f'<text x="{LEFT - 12}" y="{height - 11}" fill="{GREY}" text-anchor="end">channels in</text>')
    for kind in dict.fromkeys(box.kind for box in boxes):
        lines.append(f'<rect x="{x}" y="{height - 20}" width="11" height="11" rx="2" fill="{colours[kind]}"/>')
        lines.append(f'<text x="{x + 16}" y="{height - 11}" fill="{GREY}">{LEGEND[kind]}</text>')
        x += 30 + 6 * len(LEGEND[kind])
    lines[0] = lines[0].replace(f'viewBox="0 0 {width} ', f'viewBox="0 0 {max(width, x)} ').replace(
        f'width="{width}"', f'width="{max(width, x)}"')  # fmt: skip
    return "\n".join([*lines, "</svg>", ""])
