"""Export networks to other runtimes: ONNX files, and programs of `torch.export`.

A file holds the network with its normalisation, in float32, on the CPU and in eval mode. Its input
is that of `model(...)`: RGB images in [0, 1], clips, or for lifters 2D keypoints in pixels. Its
output is that of `model(...)`, or with `decode=True` keypoints and scores. The batch size may be
dynamic; height, width and the number of frames are fixed. The network is `forward` alone: mirror
images, several scales, sliding windows and streams, which `predict` adds to
`decode(forward(...))`, remain with the caller.

Every file is run before it replaces another, on one input and on three, and its outputs are
compared with the model's.
"""

import copy
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posezoo.arrays import check_count
from posezoo.version import __version__
from posezoo.weights.state_dict import check_memory
from posezoo.writing import replacing

CHECKED = (1, 3)  # batches on which a file that takes any number is compared with the model
TOLERANCE = 1e-3  # of the largest number: outputs that differ by less are equal
DISAGREEING = 0.05  # share of numbers that may differ: between two equal peaks rounding decides
METADATA_FILE = "posezoo.json"  # in a .pt2 file


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        path: of the file.
        inputs: name and shape of the input; the batch axis is "batch" unless it is fixed.
        outputs: names and shapes of the outputs.
        difference: largest difference between an output of the file and the model's, as a share of
            the output's largest number; None: onnxruntime is not installed, nothing was compared.
    """

    path: Path
    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...]]
    difference: float | None


def to_onnx(
    model: nn.Module,
    path: str | Path,
    *,
    decode: bool = False,
    batch: int | None = None,
    size: Sequence[int] | None = None,
    frames: int | None = None,
) -> Exported:
    """Write an ONNX file and, where onnxruntime is installed, compare its outputs with the model's.

    The metadata of the file hold the architecture, the names and bones of the keypoints, the units
    of the input, and the record of the weights with their licence. The model is not changed.

    Args:
        model: made by `posezoo.create`.
        path: of the file; on any error nothing is written.
        decode: output keypoints `(B, K, 2)` in pixels of the input (lifters: poses `(B, T, K, 3)`
            in mm) and scores, by the model's `decode`. Defaults to the output of `model(...)`,
            heatmaps for most image networks.
        batch: a fixed batch size, for runtimes that need one. Defaults to a dynamic one.
        size: `(H, W)` of images. Defaults to that of the weights, else to the paper's.
        frames: of the clip or of the keypoints' video. Defaults to those of `model.example_input`.

    Raises:
        ImportError: onnx or onnxscript is missing.
        ValueError: not a model of the zoo, a shape that it does not take, or a file whose outputs
            are not the model's.

    Examples:
        >>> import posezoo, tempfile
        >>> model = posezoo.create("martinez", num_keypoints=17)
        >>> file = to_onnx(model, Path(tempfile.mkdtemp()) / "martinez.onnx")
        >>> file.inputs, file.outputs
        ({'keypoints': ('batch', 1, 17, 2)}, {'pose3d': ('batch', 1, 17, 3)})
    """
    try:
        import onnxscript  # noqa: F401  # torch's own error is less clear
    except ImportError as error:
        raise ImportError("ONNX needs the packages onnx and onnxscript: pip install 'posezoo[onnx]'") from error
    graph = _Graph(model, decode, batch, size, frames)
    dynamic = None if batch else ({0: "batch"},)
    converted = torch.onnx.export(
        graph.program,
        dynamo=True,
        verbose=False,
        input_names=list(graph.inputs),
        output_names=list(graph.outputs),
        dynamic_shapes=dynamic,
    )
    assert converted is not None
    for node in converted.model.graph.all_nodes():
        node.metadata_props.clear()  # many times the size of the graph, of no use to a runtime
    converted.model.producer_name, converted.model.producer_version = "posezoo", graph.metadata["posezoo_version"]
    converted.model.metadata_props.update(
        {key: value if isinstance(value, str) else json.dumps(value) for key, value in graph.metadata.items()}
    )

    def save(temporary: Path) -> float | None:
        converted.save(temporary)
        try:
            import onnxruntime
        except ImportError:
            return None
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])

        def run(example: Tensor) -> list[Tensor]:
            outputs = session.run(None, {name: example.numpy() for name in graph.inputs})
            return [torch.from_numpy(output) for output in outputs]

        return graph.compare(run, f"onnxruntime {onnxruntime.__version__}")

    return graph.write(Path(path), save)


def to_pt2(
    model: nn.Module,
    path: str | Path,
    *,
    decode: bool = False,
    batch: int | None = None,
    size: Sequence[int] | None = None,
    frames: int | None = None,
) -> Exported:
    """Write a program of `torch.export`, which runs wherever torch does; read it back and compare.

    `torch.export.load(path).module()` is the network. The arguments are those of `to_onnx`; the
    metadata are JSON in the extra file "posezoo.json".

    Examples:
        >>> import posezoo, tempfile
        >>> model = posezoo.create("martinez", num_keypoints=17)
        >>> file = to_pt2(model, Path(tempfile.mkdtemp()) / "martinez.pt2", decode=True)
        >>> pose3d, scores = torch.export.load(file.path).module()(model.example_input(5))
        >>> pose3d.shape, file.difference
        (torch.Size([5, 1, 17, 3]), 0.0)
    """
    graph = _Graph(model, decode, batch, size, frames)

    def save(temporary: Path) -> float:
        buffer = io.BytesIO()  # torch warns of a file whose name does not end in .pt2, as the temporary one's
        torch.export.save(graph.program, buffer, extra_files={METADATA_FILE: json.dumps(graph.metadata)})
        temporary.write_bytes(buffer.getbuffer())
        buffer.seek(0)
        loaded = torch.export.load(buffer).module()

        def run(example: Tensor) -> list[Tensor]:
            with torch.no_grad():
                return _as_list(loaded(example))

        return graph.compare(run, f"torch {torch.__version__}")

    return graph.write(Path(path), save)


class _Decoded(nn.Module):
    """A network that ends in keypoints and scores."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.decode(self.model(image))


class _Graph:
    """A model as a program of `torch.export`, with the metadata of its file."""

    def __init__(
        self, model: Any, decode: bool, batch: int | None, size: Sequence[int] | None, frames: int | None
    ) -> None:
        if not isinstance(model, nn.Module) or not hasattr(model, "example_input"):
            raise ValueError(f"model: expected one made by posezoo.create, got {type(model).__name__}")
        if decode and not model.num_keypoints:
            raise ValueError("decode: this model has no head, so no keypoints; leave decode out, or reset_head() first")
        check_memory(model)
        if batch is not None:
            check_count(batch, "batch")
        checked = CHECKED if batch is None else (batch,)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.examples = [_example(model, number, size, frames) for number in checked]
            # with two, since torch.export takes an axis of length 1 for one that is always so
            traced = _example(model, 2 if batch is None else batch, size, frames)
        frozen = copy.deepcopy(model).to("cpu", torch.float32).eval()
        self.network = _Decoded(frozen) if decode else frozen
        with torch.no_grad():
            # before it is traced, so that a shape that does not fit is the model's error
            self.expected = [_as_list(self.network(example)) for example in self.examples]
            dynamic = None if batch else ({0: torch.export.Dim("batch")},)
            self.program = torch.export.export(self.network, (traced,), dynamic_shapes=dynamic, strict=False)
        for module in self.program.graph_module.modules():
            for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
                node.meta.pop("stack_trace", None)  # the names of this machine's folders

        free: tuple[int | str, ...] = (batch or "batch",)
        names = _output_names(model, self.expected[0][0], decode)
        self.inputs: dict[str, tuple[int | str, ...]] = {str(model.input_kind): (*free, *traced.shape[1:])}
        self.outputs = {name: (*free, *output.shape[1:]) for name, output in zip(names, self.expected[0], strict=True)}
        self.metadata = _metadata(model, self.inputs, self.outputs)

    def compare(self, run: Callable[[Tensor], list[Tensor]], runtime: str) -> float:
        """Return the largest relative difference between the outputs of `run` and of the model.

        Raises:
            ValueError: more than a few numbers differ.
        """
        largest = 0.0
        for example, expected in zip(self.examples, self.expected, strict=True):
            for name, ours, theirs in zip(self.outputs, expected, run(example), strict=True):
                if theirs.shape != ours.shape:
                    raise ValueError(
                        f"{runtime} outputs {name} of shape {tuple(theirs.shape)} for {len(example)} inputs, the model "
                        f"{tuple(ours.shape)}; nothing was written"
                    )
                difference = (theirs - ours).abs() / ours.abs().max().clamp(min=1e-12)
                wrong = (~(difference <= TOLERANCE)).float().mean()  # NaN is wrong
                if wrong > DISAGREEING:
                    raise ValueError(
                        f"{runtime} differs from the model in {100 * wrong:.0f} % of {name}, by up to "
                        f"{difference.max():.1e} of the largest; nothing was written. Other versions of torch, "
                        "onnxscript or onnxruntime may do better"
                    )
                largest = max(largest, float(difference.max()))
        return largest

    def write(self, path: Path, save: Callable[[Path], float | None]) -> Exported:
        """Write the file with `save`; on any error keep the file that was there before."""
        path = path.expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            difference = save(temporary)
        return Exported(path, self.inputs, self.outputs, difference)


def _as_list(output: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else list(output)


def _example(model: Any, batch: int, size: Sequence[int] | None, frames: int | None) -> Tensor:
    """Make a random input of the file's shape."""
    example: Tensor = model.example_input(batch).to("cpu", torch.float32)
    if model.input_kind == "keypoints" and size is not None:
        raise ValueError(f"size: {model.architecture or 'this model'} takes keypoints, which have no height and width")
    if model.input_kind == "image" and frames is not None:
        raise ValueError(f"frames: {model.architecture or 'this model'} takes single images; leave frames out")
    if frames is not None:
        check_count(frames, "frames")
        example = example[:, torch.arange(frames) % example.shape[1]]
    if size is None and model.input_kind != "keypoints" and model.weights is not None:
        size = model.weights.input_size
    if size is None:
        return example
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size: expected (H, W), pixels, got {tuple(size)}")
    return torch.rand(*example.shape[:-2], *size)


def _output_names(model: Any, output: Tensor, decode: bool) -> tuple[str, ...]:
    """Return the names of the outputs."""
    points = "keypoints" if model.input_kind == "image" else "pose3d"
    if decode:
        return points, "scores"
    if not model.num_keypoints:
        return ("features",)
    return ("heatmaps",) if model.input_kind == "image" and output.ndim == 4 else (points,)


def _metadata(model: Any, inputs: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    """Collect the facts that a user of the file needs."""
    units = {
        "image": "RGB in [0, 1]",
        "clip": "RGB in [0, 1]",
        "keypoints": "(x, y) pixels, the centre of the top-left one is (0, 0)",
    }
    values = {
        "keypoints": "(x, y) pixels of the input, the centre of the top-left one is (0, 0)",
        "pose3d": "millimetres in the camera's frame, relative to the root",
        "heatmaps": "as the paper has them; the model's decode makes keypoints of them",
        "features": "the input of a head",
        "scores": "the heights of the peaks, or 1 where the network gives none",
    }
    skeleton = model.skeleton
    record = model.weights
    return {
        "posezoo_version": __version__,
        "architecture": model.architecture,
        "kwargs": model.kwargs,
        "inputs": {name: {"shape": shape, "values": units[name]} for name, shape in inputs.items()},
        "outputs": {name: {"shape": shape, "values": values[name]} for name, shape in outputs.items()},
        "skeleton": skeleton.name if skeleton else "",
        "keypoints": list(skeleton.keypoints) if skeleton else model.num_keypoints,
        "bones": [list(bone) for bone in skeleton.bones] if skeleton else [],
        "weights": record.to_dict() if record is not None else {},
        "license": (record.license if record is not None else "") or "not stated",
    }
