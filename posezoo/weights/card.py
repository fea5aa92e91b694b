"""The model card of a folder: metadata that the Hub reads, and the text below it."""

import re
import sys
from typing import Any

from torch import nn

from posezoo.version import __version__
from posezoo.weights.record import Weights, split_source

TASK = "keypoint-detection"  # the Hub's name
HUB_LICENSES = {
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "gpl-3.0", "lgpl-3.0", "unlicense"),
}
DATASETS = {  # words in a record's `data` -> identifier of the data set
    r"\bcoco\b": "coco",
    r"ai challenger": "ai-challenger",
    r"crowdpose": "crowdpose",
    r"mpii": "mpii-human-pose",
    r"jhmdb": "sub-jhmdb",
    r"posetrack": "posetrack18",
    r"human3\.6m|h36m": "human3.6m",
    r"humaneva": "humaneva",
    r"leeds sports pose extended|lspet": "leeds-sports-pose-extended",
    r"leeds sports pose(?! extended)|\blsp\b": "leeds-sports-pose",
    r"\bflic\b": "flic",
    r"cmu motion capture|\bcmu\b": "cmu-motion-capture",
}
USES = {
    "image": "2D keypoints of people in images, one person per crop",
    "keypoints": "3D poses of one person from the 2D keypoints of a video",
    "clip": "3D poses of one person from the frames of a video",
}
INPUTS = {
    "image": "`(B, 3, H, W)`, RGB in [0, 1], not normalised",
    "keypoints": "`(B, T, K, 2)`, pixels",
    "clip": "`(B, T, 3, H, W)`, RGB in [0, 1], not normalised",
}
OUTPUTS = {
    "image": "keypoints `(B, K, 2)` in pixels of the input, scores `(B, K)`",
    "keypoints": "poses `(B, T, K, 3)` in millimetres, camera frame (x right, y down, z forward), from the root",
    "clip": "poses `(B, T, K, 3)` in millimetres, camera frame (x right, y down, z forward), from the root",
}
LIMITS = {
    "image": "Several people in one crop are not told apart.",
    "keypoints": "The absolute position of the person is not estimated, and wrong 2D keypoints are not detected.",
    "clip": "The absolute position of the person is not estimated. Crops have one person.",
}


def model_card(
    model: nn.Module, record: Weights, name: str, text: str | None = None, thumbnail: str | None = None
) -> str:
    """Compose a model card: YAML metadata and Markdown.

    Args:
        model: of the zoo; its keypoints, input and paper are described.
        record: of the weights that the card is for.
        name: under which `posezoo.create` finds them, `local-dir:...` or `hf-hub:...`.
        text: Markdown in place of the generated text. One with metadata of its own is the card.
        thumbnail: name of a picture beside the card.

    Examples:
        >>> import posezoo
        >>> network = posezoo.create("hrnet_w32", num_keypoints=2, skeleton=["tip", "tail"])
        >>> record = posezoo.Weights(architecture="hrnet_w32", data="COCO train2017", license="MIT")
        >>> card = model_card(network, record, "hf-hub:someone/arrows")
        >>> "license: mit" in card, "`tip`, `tail`" in card
        (True, True)
    """
    from huggingface_hub import EvalResult, ModelCardData

    if text is not None and text.lstrip().startswith("---"):
        return text
    known = record.license.lower() in HUB_LICENSES
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=next(iter(dataset_ids(dataset)), _slug(dataset)),
            dataset_name=dataset,
            metric_type=_slug(metric),
            metric_name=metric,
            metric_value=value,
        )
        for dataset, values in record.metrics.items()
        for metric, value in values.items()
    ]
    initial = getattr(model, "weights", None)
    sources = initial.sources if initial else ()
    hub = [source.removeprefix("hf-hub:").partition("@")[0] for source in sources if source.startswith("hf-hub:")]
    more: dict[str, Any] = {"thumbnail": thumbnail} if thumbnail else {}
    data = ModelCardData(
        library_name="posezoo",
        pipeline_tag=TASK,
        license=record.license.lower() if known else "other" if record.license else None,
        license_name=_slug(record.license) if record.license and not known else None,
        base_model=hub[0] if hub else None,
        tags=["posezoo", "pose-estimation", TASK, record.architecture],
        datasets=dataset_ids(record.data) or None,
        model_name=record.architecture if results else None,
        eval_results=results or None,
        **more,
    )
    body = text.strip() if text is not None else _text(model, record, name, initial, thumbnail)
    return f"---\n{data.to_yaml()}\n---\n\n{body}\n"


def dataset_ids(text: str) -> list[str]:
    """Return the identifiers of the data sets that a text names.

    Examples:
        >>> dataset_ids("COCO train2017 and MPII, then 200 videos of our own")
        ['coco', 'mpii-human-pose']
    """
    return [name for words, name in DATASETS.items() if re.search(words, text.lower())]


def _text(model: nn.Module, record: Weights, name: str, initial: Weights | None, thumbnail: str | None) -> str:
    kind = getattr(model, "input_kind", "image")
    skeleton = getattr(model, "skeleton", None)
    names = ", ".join(f"`{keypoint}`" for keypoint in skeleton.keypoints) if skeleton else ""
    count = getattr(model, "num_keypoints", None)
    start = ".".join(filter(None, (initial.architecture, initial.tag))) if initial else ""
    place, folder = split_source(name)
    facts = {
        "Architecture": f"`{record.architecture}`",
        "Input": INPUTS[kind],
        "Size of the input (H, W)": " x ".join(map(str, record.input_size)) if record.input_size else "",
        "Output": OUTPUTS[kind],
        "Keypoints": f"{count}, in this order: {names}" if names else f"{count}, without names" if count else "",
        "Skeleton": f"`{record.skeleton}`" if record.skeleton else "",
        "Initial weights": f"`{start}`" if start else "",
        "Training data": record.data,
        "Licence of the data": record.data_license,
        "Licence of the weights": record.license,
        "First published at": record.origin,
        "Written by": f"posezoo {__version__}",
    }
    lines = [f"# {record.architecture}", ""]
    lines += [f"![Predictions]({thumbnail})", ""] if thumbnail else []
    lines += [f"Weights for human pose estimation with posezoo: {USES[kind]}.", ""]
    lines += [f"- {title}: {value or 'not stated'}" for title, value in facts.items() if value or "icence" in title]
    lines += ["", "## Use", "", "```python", "import posezoo", ""]
    if place == "local-dir":
        lines += [f"# from the folder that contains `{folder}`"]
    lines += [
        f'model = posezoo.create("{name}", pretrained=True)',
        f"{'keypoints' if kind == 'image' else 'pose3d'}, scores = model.predict(model.example_input())",
        "```",
    ]
    if kind == "image":
        lines += ["", "Or from the command line, on a photograph:", ""]
        lines += ["```bash", f"posezoo predict photo.jpg --model {name} --out poses", "```"]
    elif kind == "keypoints":
        lines += ["", "Or from the command line, on the keypoints of a video:", ""]
        lines += ["```bash", f"posezoo lift keypoints.json --model {name} --out poses", "```"]
    lines += ["", "## Intended use and limits", "", f"{USES[kind][0].upper()}{USES[kind][1:]}. {LIMITS[kind]}"]
    lines += ["Scores are heights of peaks, not probabilities."] if kind == "image" else []
    lines += ["People, clothes, views and actions that the training data lacks are predicted badly."]
    lines += ["Not for identification, surveillance or medical decisions."]
    if start:
        lines += ["", f"The terms of the initial weights, `{start}`, and of their data may bind these weights as well."]
    lines += ["", "## Metrics", ""]
    if record.metrics:
        lines += ["| Dataset | Metric | Value |", "|---|---|---:|"]
        rows = [(data, metric, value) for data, m in record.metrics.items() for metric, value in m.items()]
        lines += [f"| {data} | {metric} | {value} |" for data, metric, value in rows]
        lines += ["", f"Measured by: {record.metrics_by or 'not stated'}."]
        lines += [f"Protocol: {record.protocol}."] if record.protocol else []
    else:
        lines += ["Not measured yet. `save_pretrained(..., metrics={dataset: {metric: value}})` writes them here."]
    lines += ["", "## Citation", "", *_citation(model, record)]
    return "\n".join(lines)


def _citation(model: nn.Module, record: Weights) -> list[str]:
    """The paper, as the first line of the network's module names it."""
    source = (sys.modules[type(model).__module__].__doc__ or "").strip().partition("\n")[0].rstrip(".")
    paper = source if re.search(r"\b(19|20)\d\d\b", source) else ""
    cited = " ".join(filter(None, [f"{paper}." if paper else "", record.paper]))
    return ["Please cite the paper of the network:", "", cited] if cited else ["Not stated."]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
