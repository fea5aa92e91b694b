"""Person detectors for `posezoo.predict(..., detector=...)`.

A `Detector` is any callable from a list of images to boxes and scores:

    def detector(images):
        return [(boxes, scores) for image in images]       # (N, 4) pixels (x1, y1, x2, y2), (N,)

`posezoo.predict` calls it with RGB tensors `(3, H, W)`, floats in [0, 1], a few at a time. Boxes
are in pixels of their image and measured at the edges of pixels, so that the box of a whole image
is (0, 0, W, H). N may be 0. Detection networks of torchvision take the same images:

    def detector(images):
        outputs = network(images)                    # boxes, labels and scores; label 1 is a person
        return [(o["boxes"][o["labels"] == 1], o["scores"][o["labels"] == 1]) for o in outputs]

`PersonDetector` is posezoo's own, small, with its weights in the package. `TransformersDetector`
and `OnnxDetector` wrap networks of other packages, `load_detector` creates one of them by name, and
`box_nms` is the non-maximum suppression for detectors without a built-in one.
"""

import itertools
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from posezoo.arrays import Array, ArrayT, as_floats, check_count, check_device, check_number, explained, same_kind
from posezoo.foreign import printable
from posezoo.geometry import box_iou, invert, letterbox, transform_points
from posezoo.images import load_image, load_image_uint8
from posezoo.person_detector import COARSEST, PersonNetwork, load_network

CONNECT_TIMEOUT = 1.5  # seconds
# under Apache-2.0; docs/detectors.md lists more
YOLOX_FILES = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
THRESHOLD = 0.5  # lowest box score
OVERLAP = 0.65  # intersection over union above which a box is suppressed; as in YOLOX's evaluation
NMS_BLOCK = 512  # boxes compared with all kept ones at once
GREY = 114 / 255  # padding of a letterboxed image, in all YOLOs
DEFAULT = "default"  # name of `PersonDetector`, whose settings follow
OWN_THRESHOLD, OWN_OVERLAP, OWN_SIDE = 0.35, 0.6, 416
GRIDS = ((8, 16, 32), (8, 16, 32, 64))  # strides of YOLOX, and of its variants for large images


class Detector(Protocol):
    """Callable from images to boxes and scores; see the documentation of this module.

    Examples:
        >>> def middle(images):                             # the same box for all images
        ...     corners = [torch.tensor([[0.25, 0.0, 0.75, 1.0]]) * torch.tensor([w, h, w, h])
        ...                for _, h, w in (image.shape for image in images)]
        ...     return [(box, torch.ones(1)) for box in corners]
        >>> detector: Detector = middle
        >>> detector([torch.zeros(3, 100, 200)])[0][0].tolist()
        [[50.0, 0.0, 150.0, 100.0]]
    """

    def __call__(self, images: Sequence[Any], /) -> Sequence[tuple[Any, Any]]:
        """Return boxes `(N, 4)` and scores `(N,)` of every image, as arrays, tensors or lists."""


def load_detector(name: str | Path, *, device: str | torch.device | None = None) -> Detector:
    """Load a detector by name.

    | name | detector |
    |---|---|
    | `default` | `PersonDetector`, which is part of the package |
    | `FILE.onnx` | `OnnxDetector` |
    | `hf-hub:org/name[@revision]` | `TransformersDetector`, from the Hugging Face Hub |
    | `local-dir:/path` | `TransformersDetector`, from a folder |

    Args:
        name: as above.
        device: device of the network. Defaults to the GPU if there is one.

    Raises:
        ValueError: a name of another form.
        ImportError: the package onnxruntime or transformers is missing.

    Examples:
        >>> load_detector("yolox.onnx")
        Traceback (most recent call last):
        ValueError: yolox.onnx: there is no such file; download one, for instance ...
    """
    if str(name) == DEFAULT:
        return PersonDetector(device=device)
    kind, colon, rest = str(name).partition(":")
    if colon and kind in ("hf-hub", "local-dir") and rest:
        if kind == "local-dir" and not Path(rest).is_dir():
            raise ValueError(f"{rest}: there is no such folder")
        return TransformersDetector(rest, device=device)
    if Path(name).suffix.lower() == ".onnx":
        return OnnxDetector(name, device=device)
    raise ValueError(
        f"detector {printable(repr(str(name)))}: expected default, FILE.onnx, hf-hub:org/name or local-dir:/path, "
        "or, in Python, a callable"
    )


@explained
def box_nms(boxes: ArrayT, scores: Array, *, threshold: float = OVERLAP) -> ArrayT:
    """Non-maximum suppression of the boxes of one image.

    Greedy, from the highest score down: a box is suppressed if its intersection over union with a
    kept box is above (`>`) the threshold, as in torchvision.

    Args:
        boxes: `(N, 4)` as (x1, y1, x2, y2), array or tensor.
        scores: `(N,)`; of equal ones the first is kept.
        threshold: intersection over union; 1 keeps all boxes.

    Returns:
        Indices `(M,)` of the kept boxes, highest score first.

    Raises:
        ValueError: shapes that do not match, or a number that is not finite.

    Examples:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]])
        >>> box_nms(boxes, torch.tensor([0.6, 0.9, 0.7])).tolist()
        [1, 2]
    """
    check_number(threshold, "threshold")
    corners = as_floats(boxes, "boxes")
    heights = as_floats(scores, "scores", corners)
    if corners.ndim != 2 or corners.shape[1] != 4 or heights.shape != corners.shape[:1]:
        raise ValueError(f"expected boxes (N, 4) and scores (N,), got {tuple(boxes.shape)} and {tuple(scores.shape)}")
    if not (corners.isfinite().all() and heights.isfinite().all()):
        raise ValueError("boxes and scores: expected finite numbers; leave the others out")
    order = heights.argsort(descending=True, stable=True)
    kept = order[:0]
    for block in order.split(NMS_BLOCK):
        block = block[~(box_iou(corners[kept][:, None], corners[block]) > threshold).any(dim=0)]
        # [i, j]: box i suppresses the lower box j
        suppresses = (box_iou(corners[block][:, None], corners[block]) > threshold).triu(1)
        free, before = torch.ones_like(block, dtype=torch.bool), None
        # A suppressed box suppresses nothing, so boxes form chains. Each round is correct for one more link of every
        # chain, which takes far fewer rounds than there are boxes.
        while before is None or not torch.equal(before, free):
            before, free = free, ~(suppresses & free[:, None]).any(dim=0)
        kept = torch.cat([kept, block[free]])
    return same_kind(boxes, kept)


class PersonDetector:
    """The person detector of posezoo: a small network, with weights in the package.

    Finds people of any number, mostly those whose longer side is a quarter of the image's or more.
    `docs/detectors.md` has its scores and limits.

    Args:
        model: a network, or a folder with its weights. Defaults to the weights of the package.
        threshold: lowest box score.
        overlap: threshold of `box_nms`.
        side: pixels of the image's longer side in the network's input. Larger finds smaller people,
            and takes longer.
        device: device of the network. Defaults to the GPU if there is one.

    Raises:
        ValueError: a threshold that is not a number, a side that is not positive, or a folder
            without weights.

    Examples:
        >>> detector = PersonDetector(PersonNetwork(width=4, neck=8))     # not trained
        >>> [(boxes, scores)] = detector([torch.zeros(3, 60, 80)])
        >>> boxes.shape, scores.shape
        (torch.Size([0, 4]), torch.Size([0]))
    """

    def __init__(
        self,
        model: PersonNetwork | str | Path | None = None,
        *,
        threshold: float = OWN_THRESHOLD,
        overlap: float = OWN_OVERLAP,
        side: int = OWN_SIDE,
        device: str | torch.device | None = None,
    ) -> None:
        check_number(threshold, "threshold")
        check_count(side, "side")
        network = model if isinstance(model, PersonNetwork) else load_network(model)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.model = network.to(device).eval()
        self.threshold, self.overlap, self.side = threshold, overlap, side

    @torch.no_grad()
    def __call__(self, images: Sequence[Any], /) -> list[tuple[Tensor, Tensor]]:
        """Return boxes `(N, 4)` and scores `(N,)` of each of the images, most prominent first.

        Prominent is who has a high score, a large box, and is near the middle of the image.
        """
        return [self._detect(load_image(image)) for image in images]

    def _detect(self, image: Tensor) -> tuple[Tensor, Tensor]:
        height, width = image.shape[1:]
        scale = self.side / max(height, width)
        small = [max(1, round(length * scale)) for length in (height, width)]
        # one channel at a time, because large photographs are copied here where their channels are last in memory
        parts = [F.interpolate(channel[None, None], small, mode="bilinear", antialias=True) for channel in image]
        pixels = torch.cat(parts, dim=1).to(next(self.model.parameters()).device)
        bottom, right = (-length % COARSEST for length in small)
        pixels = F.pad(pixels, (0, right, 0, bottom), value=GREY)
        [(boxes, scores)] = self.model.decode(*self.model(pixels))
        chosen = scores >= self.threshold
        stretch = boxes.new_tensor([width / small[1], height / small[0]]).repeat(2)
        boxes, scores = _inside(boxes[chosen] * stretch, scores[chosen], height, width)
        kept = box_nms(boxes, scores, threshold=self.overlap)
        boxes, scores = boxes[kept], scores[kept]
        order = prominence(boxes, scores, height, width).argsort(descending=True)
        return boxes[order], scores[order]


def prominence(boxes: Tensor, scores: Tensor, height: int, width: int) -> Tensor:
    """Return how likely each person is the subject of an image, `(N,)`, in arbitrary units.

    It is the product of the score, the root of the box's area, and the square of a factor that
    falls from 1 in the middle of the image to 0.5 at its edge. The square was chosen on LSPET 9301
    to 9500.

    Args:
        boxes: `(N, 4)` pixels.
        scores: `(N,)`.
        height: of the image, pixels.
        width: of the image, pixels.

    Examples:
        >>> boxes = torch.tensor([[0.0, 0, 20, 50], [40, 25, 60, 75]])
        >>> prominence(boxes, torch.ones(2), 100, 100).round().tolist()
        [11.0, 32.0]
    """
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    away = (middles / boxes.new_tensor([width, height]) - 0.5).abs().amax(dim=1)
    return scores * (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt() * (1 - away).square()


class TransformersDetector:
    """Person detector of the package transformers, for instance DETR, RT-DETR or YOLOS.

    Args:
        model: `org/name` or `org/name@revision` of the Hugging Face Hub, a folder, or a model.
        processor: the image processor of the model. Required if `model` is a model, otherwise
            loaded with it.
        label: name of the class in the model's configuration, in upper or lower case. Defaults to
            "person".
        threshold: lowest box score.
        device: device of the network. Defaults to that of a given model, otherwise to the GPU if
            there is one.

    Raises:
        ValueError: a model without its processor, or without the label; a name that is not in the
            cache while the Hub cannot be reached.
        ImportError: the package transformers is missing.

    Examples:
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
        check_device(device)
        if isinstance(model, str | Path):
            try:
                import transformers
            except ImportError as error:
                raise ImportError("TransformersDetector needs the package transformers: pip install posezoo[detect]") \
                    from error  # fmt: skip
            place, revision = _place(str(model))
            try:
                processor = processor or transformers.AutoImageProcessor.from_pretrained(place, revision=revision)
                model = transformers.AutoModelForObjectDetection.from_pretrained(place, revision=revision)
            except OSError as error:
                raise ValueError(f"detector {place}: {_first_sentence(error)}") from error
            device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        elif processor is None:
            raise ValueError(f"processor: expected the image processor that belongs to the {type(model).__name__}")
        names = {int(index): name for index, name in model.config.id2label.items()}
        self.labels = [index for index, name in names.items() if name.lower() == label.lower()]
        if not self.labels:
            known = ", ".join(list(names.values())[:10]) + ", ..." * (len(names) > 10)
            raise ValueError(f"label {label!r}: the model has no such class, but {known}")
        self.model, self.processor, self.threshold = model.to(device).eval(), processor, threshold

    @torch.no_grad()
    def __call__(self, images: Sequence[Any], /) -> list[tuple[Tensor, Tensor]]:
        """Return boxes `(N, 4)` and scores `(N,)` of each of the images."""
        results = []
        # only images of one size share a batch, because padding would change the detections in the smaller ones
        for (height, width), group in itertools.groupby(map(load_image_uint8, images), lambda image: image.shape[1:]):
            pixels = list(group)
            inputs = self.processor(images=pixels, return_tensors="pt", input_data_format="channels_first")
            outputs = self.model(**inputs.to(self.model.device, self.model.dtype))
            for found in self.processor.post_process_object_detection(
                outputs, threshold=self.threshold, target_sizes=[(height, width)] * len(pixels)
            ):
                chosen = torch.isin(found["labels"], torch.tensor(self.labels, device=found["labels"].device))
                results.append(_inside(found["boxes"][chosen], found["scores"][chosen], height, width))
        return results


def _place(name: str) -> tuple[str, str | None]:
    """Return a folder, or a name on the Hub and its revision.

    Offline, transformers repeats every request for half a minute before it looks into its cache, so
    the folder in the cache is passed to it.
    """
    if Path(name).is_dir():
        return name, None
    repo, _, revision = name.partition("@")
    offline = _offline()
    if not offline:
        return repo, revision or None
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(repo, "config.json", revision=revision or None)
    if isinstance(cached, str):
        return str(Path(cached).parent), None
    command = f"hf download {repo} --local-dir detector" + (f" --revision {revision}" if revision else "")
    raise ValueError(
        f"detector {repo}: it is not in the cache and {offline}; on a machine with network run `{command}`, copy the "
        "folder here and pass local-dir:detector"
    )


def _offline() -> str:
    """Return why the Hugging Face Hub cannot be reached, or ""; within two seconds."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    address = urllib.parse.urlsplit(constants.ENDPOINT)
    proxy = urllib.request.getproxies().get(address.scheme)
    if proxy and address.hostname and not urllib.request.proxy_bypass(address.hostname):
        address = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    host, port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
    reason = [f"{host}:{port} did not answer within {CONNECT_TIMEOUT:g} s"]

    def knock() -> None:
        try:
            socket.create_connection((host, port), timeout=CONNECT_TIMEOUT).close()
            reason[0] = ""
        except OSError as error:
            reason[0] = f"{host}:{port} cannot be reached ({error})"

    # a thread, because a name server may be silent for longer than the timeout of the connection
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(CONNECT_TIMEOUT)
    return reason[0]


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split()).partition(". ")[0]


class OnnxDetector:
    """Person detector in an ONNX file of one of these layouts.

    | layout | files of | outputs | input image |
    |---|---|---|---|
    | `yolox` | YOLOX's own export | one `(1, A, 5 + C)`, not decoded | at the top left, BGR, 0 to 255 |
    | `yolov8` | YOLOv8 and its successors | one `(1, 4 + C, A)` | centred, RGB, 0 to 1 |
    | `mmdeploy` | MMDeploy: YOLOX, RTMDet | `dets` `(1, N, 5)`, `labels` `(1, N)` | as `yolox` |
    | `boxes` | RT-DETR, D-FINE | `boxes` `(1, N, 4)`, `scores`, `labels` `(1, N)` | stretched, RGB, 0 to 1 |

    A is the number of anchors, C that of classes. Boxes are in pixels of the network's input:
    centre, width and height in the first two layouts, which are filtered by `box_nms`, and corners
    in the others. An input `orig_target_sizes` receives the size of the network's input. Images are
    padded with grey, 114.

    Args:
        model: a file, or an `onnxruntime.InferenceSession`, with an input `(1, 3, H, W)`.
        layout: a row of the table. Defaults to the layout that fits the names and shapes of the
            outputs.
        person: index of the class. Defaults to 0, as in COCO's eighty classes.
        threshold: lowest box score.
        overlap: threshold of `box_nms`.
        size: (H, W) of the network's input. Required if the file leaves it open.
        align: placement of the image in the input, as in `geometry.letterbox`. Defaults to that of
            the layout, like the next three.
        bgr: whether the channels are in the order BGR.
        mean: three numbers in the file's order of channels, subtracted from pixels in 0 to 255. For
            RTMDet (103.53, 116.28, 123.675).
        std: three numbers by which the result is divided. For RTMDet (57.375, 57.12, 58.395).
        device: "cpu" or "cuda". Defaults to the GPU if onnxruntime can use one.

    Raises:
        ValueError: a missing file, or one with other inputs and outputs.
        ImportError: the package onnxruntime is missing.

    Examples:
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
        """Return boxes `(N, 4)` and scores `(N,)` of each of the images."""
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
        confident = scores >= self.threshold
        boxes, scores = boxes[confident], scores[confident]
        if not boxes.isfinite().all():
            raise ValueError("the network's boxes are not finite; is it of another layout, or decoded already?")
        if self.layout.overlapping:
            chosen = box_nms(boxes, scores, threshold=self.overlap)
            boxes, scores = boxes[chosen], scores[chosen]
        # boxes are measured at the edges of pixels, the matrix maps their centres
        corners = transform_points(boxes.view(-1, 2, 2) - 0.5, invert(matrix)) + 0.5
        return _inside(corners.view(-1, 4), scores, *image.shape[1:])


def _inside(boxes: Tensor, scores: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Clip boxes to the image and drop those outside of it; on the CPU."""
    boxes, scores = boxes.float().cpu(), scores.float().cpu()
    clipped = boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
    there = (clipped[:, 2:] > clipped[:, :2]).all(dim=1)
    return clipped[there], scores[there]


# ------------------------------------------------------------------------------------------------------- ONNX files

_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
_Read = Callable[[dict[str, Tensor], tuple[int, int], int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class _Layout:
    """Row of the table in `OnnxDetector`.

    `read` maps outputs, input size and class to corners and scores.
    """

    read: _Read
    align: str
    bgr: bool
    std: float
    overlapping: bool  # whether the outputs contain duplicate boxes


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
        raise ValueError(
            f"{path}: there is no such file; download one, for instance YOLOX's {YOLOX_FILES}/yolox_s.onnx "
            "(Apache-2.0), and pass its path"
        )
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
    except Exception as error:  # onnxruntime raises types of its own
        raise ValueError(f"{path} is damaged, or not an ONNX file that onnxruntime can run: {error}") from error


def _layout(name: str | None, outputs: Sequence[Any]) -> _Layout:
    """Return the layout of that name, or the one that fits the outputs."""
    names = {output.name for output in outputs}
    shape = outputs[0].shape if len(outputs) == 1 and len(outputs[0].shape) == 3 else [None] * 3
    if name is None:
        name = next((layout for layout, expected in _NAMES.items() if expected <= names), None)
        if name is None and isinstance(shape[1], int) and isinstance(shape[2], int):
            name = "yolov8" if shape[2] > shape[1] else "yolox"  # there are more anchors than numbers per anchor
    fits = names >= _NAMES[name] if name in _NAMES else len(outputs) == 1 and name in _LAYOUTS
    if name is None or not fits:
        shown = ", ".join(f"{output.name} {tuple(output.shape)}" for output in outputs)
        problem = "not recognised from" if name is None else f"{name!r} does not fit"
        raise ValueError(f"layout: {problem} the outputs {shown}; expected one of {', '.join(_LAYOUTS)}")
    return _LAYOUTS[name]
