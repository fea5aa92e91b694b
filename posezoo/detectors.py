"""Boxes around people, from anybody's detector, for `posezoo.predict(..., detector=...)`.

A `Detector` is any callable from a list of images to boxes and scores:

    def detector(images):
        return [(boxes, scores) for image in images]       # (N, 4) pixels (x1, y1, x2, y2), (N,)

`posezoo.predict` calls it with RGB tensors `(3, H, W)`, floats in [0, 1], a few at a time. Boxes are in pixels of the
image they belong to and measured at the edges of pixels, so that the box of a whole image is (0, 0, W, H); N may be 0.
The detection networks of torchvision take such images, too, which makes a detector of one of them

    def detector(images):
        found = network(images)                            # boxes, labels and scores; a person is 1
        return [(f["boxes"][f["labels"] == 1], f["scores"][f["labels"] == 1]) for f in found]

`TransformersDetector` and `OnnxDetector` are detectors made of other people's networks, `load_detector` makes one of a
name, and `box_nms` is for networks that say everything twice. None comes with weights.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from posezoo.geometry import invert, letterbox, transform_points
from posezoo.images import load_image

THRESHOLD = 0.5  # of a box's score
OVERLAP = 0.65  # intersection over union above which two boxes are of the same person; YOLOX's evaluation
GREY = 114 / 255  # beside a letterboxed image, in all YOLOs
GRIDS = ((8, 16, 32), (8, 16, 32, 64))  # strides of YOLOX, and of its variants for large images


class Detector(Protocol):
    """A callable from images to boxes and scores; see this module's documentation.

    Example:
        >>> def middle(images):                             # a detector that looks at nothing
        ...     corners = [torch.tensor([[0.25, 0.0, 0.75, 1.0]]) * torch.tensor([w, h, w, h])
        ...                for _, h, w in (image.shape for image in images)]
        ...     return [(box, torch.ones(1)) for box in corners]
        >>> detector: Detector = middle
        >>> detector([torch.zeros(3, 100, 200)])[0][0].tolist()
        [[50.0, 0.0, 150.0, 100.0]]
    """

    def __call__(self, images: Sequence[Any], /) -> Sequence[tuple[Any, Any]]:
        """Boxes `(N, 4)` and scores `(N,)` of every image, arrays, tensors or lists."""


def load_detector(name: str | Path, *, device: str | torch.device | None = None) -> Detector:
    """The detector behind a name.

    | name | detector |
    |---|---|
    | `FILE.onnx` | `OnnxDetector` |
    | `hf-hub:org/name[@revision]` | `TransformersDetector`, from the Hugging Face Hub |
    | `local-dir:/path` | `TransformersDetector`, from a folder |

    Args:
        name: as above.
        device: where to run; None: the GPU if there is one.

    Raises:
        ValueError: another name.
        ImportError: the package onnxruntime or transformers is missing.

    Example:
        >>> load_detector("yolox.onnx")
        Traceback (most recent call last):
        ValueError: yolox.onnx: there is no such file
    """
    kind, colon, rest = str(name).partition(":")
    if colon and kind in ("hf-hub", "local-dir") and rest:
        if kind == "local-dir" and not Path(rest).is_dir():
            raise ValueError(f"{rest}: there is no such folder")
        return TransformersDetector(rest, device=device)
    if Path(name).suffix.lower() == ".onnx":
        return OnnxDetector(name, device=device)
    raise ValueError(
        f"detector {str(name)!r}: expected FILE.onnx, hf-hub:org/name or local-dir:/path, or, in Python, a callable"
    )


def box_nms(boxes: Tensor, scores: Tensor, *, threshold: float = OVERLAP) -> Tensor:
    """Which boxes of one image remain when each suppresses those of lower score that overlap it.

    Greedy, from the highest score down; a box goes if its intersection over union with one that stayed is above (`>`)
    the threshold, as in torchvision.

    Args:
        boxes: `(N, 4)` as (x1, y1, x2, y2).
        scores: `(N,)`; of equal ones the first stays.
        threshold: 1 keeps all.

    Returns:
        Indices that remain, `(M,)`, highest score first.

    Raises:
        ValueError: shapes that do not match, or a number that is not finite.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]])
        >>> box_nms(boxes, torch.tensor([0.6, 0.9, 0.7])).tolist()
        [1, 2]
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(f"expected boxes (N, 4) and scores (N,), got {tuple(boxes.shape)} and {tuple(scores.shape)}")
    if not (boxes.isfinite().all() and scores.isfinite().all()):
        raise ValueError("boxes and scores: expected finite numbers; leave the others out")
    order = scores.argsort(descending=True, stable=True)
    suppresses = (_box_iou(boxes[order]) > threshold).triu(1)  # row by row, if the row's own box stays
    stays = torch.ones_like(order, dtype=torch.bool)
    while True:  # each round is right for one more link of every chain of suppressed suppressors
        before, stays = stays, ~(suppresses & stays[:, None]).any(dim=0)
        if torch.equal(before, stays):
            return order[stays]


def _box_iou(boxes: Tensor) -> Tensor:
    """Intersection over union of each with each, `(N, N)`; NaN for two boxes without area."""
    x1, y1, x2, y2 = boxes.double().unbind(dim=1)
    areas = (x2 - x1) * (y2 - y1)
    widths = torch.minimum(x2[:, None], x2) - torch.maximum(x1[:, None], x1)
    heights = torch.minimum(y2[:, None], y2) - torch.maximum(y1[:, None], y1)
    common = widths.clamp(min=0) * heights.clamp(min=0)
    return common / (areas[:, None] + areas - common)


class TransformersDetector:
    """A detector of the package transformers: DETR, RT-DETR, YOLOS, and what else finds objects there.

    Args:
        model: `org/name` or `org/name@revision` of the Hugging Face Hub, a folder, or such a model itself.
        processor: its image processor; comes along unless `model` is a model itself.
        label: the class to look for, as the model's configuration names it; upper or lower case.
        threshold: scores from here on.
        device: where to run; None: where a given model is, otherwise the GPU if there is one.

    Raises:
        ValueError: a model without its processor, or without the label.
        ImportError: the package transformers is missing.

    Example:
        >>> detector = TransformersDetector("PekingU/rtdetr_r18vd")               # doctest: +SKIP
        >>> people = posezoo.predict("photo.jpg", detector=detector)              # doctest: +SKIP
    """

    def __init__(
        self,
        model: Any,
        processor: Any = None,
        *,
        label: str = "person",
        threshold: float = THRESHOLD,
        device: str | torch.device | None = None,
    ) -> None:
        if isinstance(model, str | Path):
            try:
                from transformers import AutoImageProcessor, AutoModelForObjectDetection
            except ImportError as error:
                raise ImportError("TransformersDetector needs the package transformers: pip install posezoo[detect]") \
                    from error  # fmt: skip
            place, _, revision = (str(model), "", "") if Path(model).is_dir() else str(model).partition("@")
            processor = processor or AutoImageProcessor.from_pretrained(place, revision=revision or None)
            model = AutoModelForObjectDetection.from_pretrained(place, revision=revision or None)
            device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        elif processor is None:
            raise ValueError(f"processor: expected the image processor that belongs to the {type(model).__name__}")
        names = {int(index): name for index, name in model.config.id2label.items()}
        self.labels = [index for index, name in names.items() if name.lower() == label.lower()]
        if not self.labels:
            known = ", ".join(list(names.values())[:10]) + ", ..." * (len(names) > 10)
            raise ValueError(f"label {label!r}: the model knows no such class; it has {known}")
        self.model, self.processor, self.threshold = model.to(device).eval(), processor, threshold

    @torch.no_grad()
    def __call__(self, images: Sequence[Any], /) -> list[tuple[Tensor, Tensor]]:
        """Boxes `(N, 4)` and scores `(N,)` of each image; images are all that `posezoo.predict` takes."""
        results = []
        # only images of one size go together: padding would change what is found in the smaller ones
        for (height, width), group in itertools.groupby(map(load_image, images), lambda image: image.shape[1:]):
            pixels = [(image * 255).round().to(torch.uint8) for image in group]
            inputs = self.processor(images=pixels, return_tensors="pt", input_data_format="channels_first")
            outputs = self.model(**inputs.to(self.model.device, self.model.dtype))
            for found in self.processor.post_process_object_detection(
                outputs, threshold=self.threshold, target_sizes=[(height, width)] * len(pixels)
            ):
                chosen = torch.isin(found["labels"], torch.tensor(self.labels, device=found["labels"].device))
                results.append(_inside(found["boxes"][chosen], found["scores"][chosen], height, width))
        return results


class OnnxDetector:
    """A detector in an ONNX file. What the file wants and answers is one of

    | layout | files of | outputs | image |
    |---|---|---|---|
    | `yolox` | YOLOX's own export | one `(1, A, 5 + C)`, not decoded | at the top left, BGR, 0 to 255 |
    | `yolov8` | YOLOv8 and its successors | one `(1, 4 + C, A)` | in the centre, RGB, 0 to 1 |
    | `mmdeploy` | MMDeploy: YOLOX, RTMDet | `dets` `(1, N, 5)`, `labels` `(1, N)` | as `yolox` |
    | `boxes` | RT-DETR, D-FINE | `boxes` `(1, N, 4)`, `scores`, `labels` `(1, N)` | stretched, RGB, 0 to 1 |

    with A anchors and C classes, and boxes in pixels of the network's input: (centre, width and height) in the first
    two, whose boxes are then thinned out by `box_nms`, and corners in the others. An input `orig_target_sizes` is fed
    the size of the network's input. What is left over beside an image is grey, 114.

    Args:
        model: a file, or an `onnxruntime.InferenceSession`. Its input is `(1, 3, H, W)`.
        layout: see above; None: by names and shapes of the outputs.
        person: number of the class to look for; 0 in COCO's eighty.
        threshold: scores from here on.
        overlap: of `box_nms`.
        size: (H, W) of the network's input, where the file leaves it open.
        align: how the image gets there, as in `geometry.letterbox`; None: as above, and so for the next three.
        bgr: the order of the channels.
        mean: taken from pixels in 0 to 255, three numbers in the file's order of channels. For RTMDet
            (103.53, 116.28, 123.675).
        std: what they are divided by then. For RTMDet (57.375, 57.12, 58.395).
        device: "cpu" or "cuda"; None: the GPU if onnxruntime can use one.

    Raises:
        ValueError: a file that is missing, or whose inputs and outputs are none of these.
        ImportError: the package onnxruntime is missing.

    Example:
        >>> detector = OnnxDetector("yolox_s.onnx", threshold=0.4)                # doctest: +SKIP
        >>> people = posezoo.predict("photo.jpg", detector=detector)              # doctest: +SKIP
    """

    def __init__(
        self,
        model: Any,
        *,
        layout: str | None = None,
        person: int = 0,
        threshold: float = THRESHOLD,
        overlap: float = OVERLAP,
        size: tuple[int, int] | None = None,
        align: str | None = None,
        bgr: bool | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        self.session = _session(Path(model), device) if isinstance(model, str | Path) else model
        image, *others = self.session.get_inputs()
        self.name, self.wants_size = image.name, [other.name for other in others] == ["orig_target_sizes"]
        batch, channels, *pixels = image.shape if len(image.shape) == 4 else (None,) * 4
        if channels != 3 or (isinstance(batch, int) and batch != 1) or (others and not self.wants_size):
            raise ValueError(
                "expected a file with one input (1, 3, H, W), and perhaps orig_target_sizes, got "
                + ", ".join(f"{given.name} {tuple(given.shape)}" for given in (image, *others))
            )
        if image.type not in _TYPES:
            raise ValueError(f"expected a file whose input has one of the types {', '.join(_TYPES)}, got {image.type}")
        self.dtype = _TYPES[image.type]
        fixed = tuple(pixels) if all(isinstance(length, int) for length in pixels) else None
        if fixed is None and size is None:
            raise ValueError(f"size: the file leaves its input's size open, {tuple(image.shape)}; expected (H, W)")
        if fixed and size and fixed != tuple(size):
            raise ValueError(f"size: got {tuple(size)}, but the file's input is {fixed}; leave it out")
        self.size: tuple[int, int] = fixed or tuple(size)  # type: ignore[arg-type]
        self.layout = _layout(layout, self.session.get_outputs())
        self.align = self.layout.align if align is None else align
        self.bgr = self.layout.bgr if bgr is None else bgr
        self.mean = torch.tensor(mean or (0.0,) * 3).view(3, 1, 1)
        self.std = torch.tensor(std or (self.layout.std,) * 3).view(3, 1, 1)
        self.person, self.threshold, self.overlap = person, threshold, overlap

    def __call__(self, images: Sequence[Any], /) -> list[tuple[Tensor, Tensor]]:
        """Boxes `(N, 4)` and scores `(N,)` of each image; images are all that `posezoo.predict` takes."""
        return [self._detect(load_image(image).cpu()) for image in images]

    def _detect(self, image: Tensor) -> tuple[Tensor, Tensor]:
        boxed, matrix = letterbox(image, self.size, align=self.align, fill=GREY)
        pixels = ((boxed.flip(0) if self.bgr else boxed) * 255 - self.mean) / self.std
        feed = {self.name: pixels[None].to(self.dtype).numpy()}
        if self.wants_size:
            feed["orig_target_sizes"] = torch.tensor([self.size[::-1]]).numpy()
        names = [output.name for output in self.session.get_outputs()]
        outputs = [torch.as_tensor(output)[0].float() for output in self.session.run(names, feed)]
        boxes, scores = self.layout.read(dict(zip(names, outputs, strict=True)), self.size, self.person)
        sure = scores >= self.threshold
        boxes, scores = boxes[sure], scores[sure]
        if not boxes.isfinite().all():
            raise ValueError("the network's boxes are not finite; is it of another layout, or decoded already?")
        if self.layout.overlapping:
            chosen = box_nms(boxes, scores, threshold=self.overlap)
            boxes, scores = boxes[chosen], scores[chosen]
        # boxes are measured at the edges of pixels, the matrix between their centres
        corners = transform_points(boxes.view(-1, 2, 2) - 0.5, invert(matrix)) + 0.5
        return _inside(corners.view(-1, 4), scores, *image.shape[1:])


def _inside(boxes: Tensor, scores: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The parts of boxes that lie in the image, where there are any; on the CPU."""
    boxes, scores = boxes.float().cpu(), scores.float().cpu()
    clipped = boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
    there = (clipped[:, 2:] > clipped[:, :2]).all(dim=1)
    return clipped[there], scores[there]


# ------------------------------------------------------------------------------------------------------- ONNX files

_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
_Read = Callable[[dict[str, Tensor], tuple[int, int], int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class _Layout:
    """A row of the table in `OnnxDetector`; `read` gets outputs, input size and class, and finds corners and scores."""

    read: _Read
    align: str
    bgr: bool
    std: float
    overlapping: bool  # whether several boxes are left for each person


def _read_yolox(outputs: dict[str, Tensor], size: tuple[int, int], person: int) -> tuple[Tensor, Tensor]:
    (output,) = outputs.values()
    counts = [sum((size[0] // stride) * (size[1] // stride) for stride in strides) for strides in GRIDS]
    if len(output) not in counts:
        raise ValueError(
            f"layout yolox: expected {counts[0]} anchors for an input of {size[0]} x {size[1]}, got an output of "
            f"{tuple(output.shape)}"
        )
    cells, lengths = [], []
    for stride in GRIDS[counts.index(len(output))]:
        rows, columns = torch.arange(size[0] // stride), torch.arange(size[1] // stride)
        cells.append(torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).view(-1, 2))
        lengths.append(torch.full((len(cells[-1]), 1), stride))
    length = torch.cat(lengths)
    middle, extent = (output[:, :2] + torch.cat(cells)) * length, output[:, 2:4].exp() * length
    return _corners(middle, extent), output[:, 4] * _of_class(output[:, 5:], person)


def _read_yolov8(outputs: dict[str, Tensor], size: tuple[int, int], person: int) -> tuple[Tensor, Tensor]:
    (output,) = outputs.values()
    return _corners(output[:2].T, output[2:4].T), _of_class(output[4:].T, person)


def _read_mmdeploy(outputs: dict[str, Tensor], size: tuple[int, int], person: int) -> tuple[Tensor, Tensor]:
    chosen = outputs["labels"] == person
    return outputs["dets"][chosen, :4], outputs["dets"][chosen, 4]


def _read_boxes(outputs: dict[str, Tensor], size: tuple[int, int], person: int) -> tuple[Tensor, Tensor]:
    chosen = outputs["labels"] == person
    return outputs["boxes"][chosen], outputs["scores"][chosen]


def _corners(middle: Tensor, extent: Tensor) -> Tensor:
    return torch.cat([middle - extent / 2, middle + extent / 2], dim=1)


def _of_class(scores: Tensor, person: int) -> Tensor:
    if not 0 <= person < scores.shape[1]:
        raise ValueError(f"person: expected a class from 0 to {scores.shape[1] - 1}, got {person}")
    return scores[:, person]


_LAYOUTS = {
    "yolox": _Layout(_read_yolox, align="corner", bgr=True, std=1.0, overlapping=True),
    "yolov8": _Layout(_read_yolov8, align="center", bgr=False, std=255.0, overlapping=True),
    "mmdeploy": _Layout(_read_mmdeploy, align="corner", bgr=True, std=1.0, overlapping=False),
    "boxes": _Layout(_read_boxes, align="stretch", bgr=False, std=255.0, overlapping=False),
}
_NAMES = {"mmdeploy": {"dets", "labels"}, "boxes": {"boxes", "scores", "labels"}}


def _session(path: Path, device: str | torch.device | None) -> Any:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("OnnxDetector needs the package onnxruntime: pip install posezoo[detect]") from error
    there = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    wanted = there if device is None else torch.device(device).type == "cuda"
    if wanted and not there:
        raise ValueError(f"device {device}: this onnxruntime has no GPU; install onnxruntime-gpu, or use the CPU")
    try:
        return onnxruntime.InferenceSession(
            str(path), providers=["CUDAExecutionProvider"] * wanted + ["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has many kinds of its own
        raise ValueError(f"{path} is damaged, or not an ONNX file that onnxruntime can run: {error}") from error


def _layout(name: str | None, outputs: Sequence[Any]) -> _Layout:
    """The row of that name, or the one that the outputs look like."""
    names = {output.name for output in outputs}
    shape = outputs[0].shape if len(outputs) == 1 and len(outputs[0].shape) == 3 else [None] * 3
    if name is None:
        name = next((layout for layout, expected in _NAMES.items() if expected <= names), None)
        if name is None and isinstance(shape[1], int) and isinstance(shape[2], int):
            name = "yolov8" if shape[2] > shape[1] else "yolox"  # more anchors than numbers for each
    fits = names >= _NAMES[name] if name in _NAMES else len(outputs) == 1 and name in _LAYOUTS
    if name is None or not fits:
        shown = ", ".join(f"{output.name} {tuple(output.shape)}" for output in outputs)
        said = "cannot tell it from" if name is None else f"{name!r} does not fit"
        raise ValueError(f"layout: {said} the outputs {shown}; expected one of {', '.join(_LAYOUTS)}")
    return _LAYOUTS[name]
