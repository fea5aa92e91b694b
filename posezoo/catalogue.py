"""Tables of the models and their weights, and the facts of one model, for the command line."""

import inspect
import json
import re
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from posezoo.arrays import explained
from posezoo.registry import create, get_pretrained_cfg, list_models, list_pretrained, model_entrypoint
from posezoo.weights import Weights

NARROWEST = 8  # characters of a column that is cut
MODEL_COLUMNS = ("model", "weights", "description")
WEIGHTS_COLUMNS = ("weights", "input", "skeleton", "codec", "metric", "licence", "verified by", "file")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Format a table with aligned columns.

    Args:
        header: titles of the columns.
        rows: their cells.
        width: characters of a line. The widest columns but the first are cut to fit. Defaults to no
            limit.

    Examples:
        >>> print(table(["name", "licence"], [["a", "for research only"], ["bcdef", "-"]], width=18))
        NAME   LICENCE
        a      for resear…
        bcdef  -
    """
    lines = [[title.upper() for title in header], *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    while width is not None and sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max(range(1, len(widths)), key=lambda column: widths[column])
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1

    def cut(cell: str, length: int) -> str:
        return cell.ljust(length) if len(cell) <= length else f"{cell[: length - 1]}…"

    shown = ["  ".join(map(cut, line, widths)).rstrip() for line in lines]
    return "\n".join(line if width is None else line[:width] for line in shown)


def model_row(name: str) -> tuple[str, ...]:
    """Describe an architecture: name, sets of weights, first line of its docstring.

    Examples:
        >>> model_row("martinez")[0]
        'martinez'
    """
    known = [full for full in list_models(name, include_tags=True) if full.startswith(f"{name}.")]
    ready = sum(full in list_pretrained(name) for full in known)
    weights = f"{ready}" + f" + {len(known) - ready} by hand" * (len(known) > ready) if known else "-"
    return name, weights, (model_entrypoint(name).__doc__ or "").strip().partition("\n")[0]


def weights_row(name: str) -> tuple[str, ...]:
    """Describe weights: name, input, skeleton, codec, first metric, licence, check, file.

    Examples:
        >>> weights_row("simple_baseline_lite.coco17_192x192")[-1]
        'shipped'
    """
    record = get_pretrained_cfg(name)
    assert record is not None, name
    score = next(
        (f"{data} {metric} {value:g}" for data, m in record.metrics.items() for metric, value in m.items()), ""
    )
    place = record.sources[0].partition(":")[0] if record.sources else ""
    fetched = {"package": "shipped", "": "by hand, see `posezoo info`"}.get(place, "to be downloaded")
    size = " x ".join(map(str, record.input_size or ()))
    return name, size, record.skeleton, record.codec, score, record.license, verified_by(record), fetched


def verified_by(record: Weights) -> str:
    """Return how a file is compared with its record before it is used.

    Examples:
        >>> verified_by(Weights(sha256="0" * 64)), verified_by(Weights(sha256="0" * 8)), verified_by(Weights())
        ('sha256', '8 digits of sha256', 'nothing')
    """
    digits = len(record.sha256)
    return (
        "sha256" if digits == 64 else f"{digits} digits of sha256" if digits else "size" if record.size else "nothing"
    )


@explained
def facts(name: str) -> dict[str, Any]:
    """Collect what is known of `arch` or `arch.tag`, as values for JSON.

    FLOPs are those of one input, a clip of the receptive field for videos, with two for a
    multiplication and an addition. The network is built without memory for its weights.

    Raises:
        ValueError: an unknown name.

    Examples:
        >>> facts("martinez")["input"]
        [1, 1, 17, 2]
    """
    arch = name.partition(".")[0]
    function, record = model_entrypoint(arch), get_pretrained_cfg(name)
    with torch.device("meta"):
        model = create(name).eval()
        example = model.example_input(1)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(example)
    tags = [full for full in list_models(arch, include_tags=True) if "." in full]
    ready = list_pretrained(arch)
    command = "predict photo.jpg" if getattr(model, "input_kind", "image") == "image" else "lift keypoints.json"
    chosen = (
        name if "." in name or not ready else f"{arch}.{(record.tag if record else '') or ready[0].partition('.')[2]}"
    )
    clip = example.ndim == 5  # networks of image sequences have no command
    return {
        "name": name,
        "description": (function.__doc__ or "").strip(),
        "paper": _paper(inspect.getmodule(function)) or (record.paper if record else ""),
        "input": list(example.shape),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "flops": counter.get_total_flops(),
        "keypoints": model.num_keypoints,
        "skeleton": model.skeleton.name if model.skeleton else None,
        "file": function.__module__,
        "weights": tags,
        "record": record.to_dict() if record else None,
        "example": f"posezoo {command} --model {chosen}" if ready and not clip else f'posezoo.create("{arch}")',
    }


def _paper(module: Any) -> str:
    """Return authors, venue and link from the first lines of a model's file."""
    head = " ".join((module.__doc__ or "").split("\n\n    In")[0].split())
    reference, link = re.search(r"\(([^()]*\d{4})[^()]*\)", head), re.search(r"arXiv (\d{4}\.\d{4,5})", head)
    text = reference[1].partition("; arXiv")[0] if reference else head.partition(".")[0]
    return f"{text}, https://arxiv.org/abs/{link[1]}" if link else text


@explained
def describe(name: str) -> str:
    """Format `facts` for reading."""
    known = facts(name)
    lines = [f"{name}: {known['description']}"]
    rows = {
        "paper": known["paper"],
        "input": " x ".join(map(str, known["input"][1:])),
        "parameters": f"{known['parameters']:,}",
        "FLOPs": f"{known['flops'] / 1e9:.3g} G",
        "keypoints": f"{known['keypoints']} ({known['skeleton'] or 'unnamed'})",
        "file": known["file"],
        "weights": f"\n{14 * ' '}".join(known["weights"]) or "none published",
        "example": known["example"],
    }
    lines += [f"  {title:11} {value}" for title, value in rows.items()]
    if known["record"] is not None:
        lines.append("  record")
        lines += [
            f"    {field:13} {value if isinstance(value, str) else json.dumps(value)}"
            for field, value in known["record"].items()
        ]
    return "\n".join(lines)


def terminal_width() -> int | None:
    """Return the width of the terminal in characters; None where the output is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
