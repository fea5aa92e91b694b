"""The pages of the networks, and the tables of networks and weights on other pages."""

import functools
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import torch
from architectures import SHOWN

import posezoo

DOCS = Path(__file__).parent
PICTURES = DOCS / "images" / "networks"
STREET, PERSON = "docs/images/street.jpg", (276, 122, 414, 376)  # a photograph, the box of its person
# page -> title, in the order of the navigation
TITLES_2D = {
    "simple_baseline": "Simple Baselines",
    "hrnet": "HRNet",
    "hourglass": "Stacked Hourglass",
    "hourglass52": "hourglass52",
    "cpm": "Convolutional Pose Machines",
    "deeppose": "DeepPose",
    "deeppose_resnet": "DeepPose, ResNet",
    "tompson": "Tompson et al.",
    "ief": "Iterative Error Feedback",
    "posernn": "PoseRNN",
}
TITLES_3D = {
    "rpsm": "RPSM",
    "martinez": "Martinez et al.",
    "seq2seq3d": "Sequence to sequence",
    "temporal_conv": "VideoPose3D",
}
TITLES = {**TITLES_2D, **TITLES_3D}
BIBLIOGRAPHY = {"deeppose_resnet": "deeppose"}  # page -> entry of papers.bib, where they differ
STATEMENTS = {  # page -> section of papers.md
    "posernn": "posernn-chen-low-2016",
    "deeppose": "deeppose-toshev-szegedy-cvpr-2014",
    "rpsm": "rpsm-lin-et-al-cvpr-2017",
    "seq2seq3d": "hossain-little-eccv-2018",
}
LOWER = ("MPJPE", "MPJVE", "error")  # metrics of which lower is better
PERMISSIVE = ("apache", "mit", "bsd", "cc0", "cc-by-4.0")
TABLE_ROW = re.compile(r"^    (In|Out|   ?) +(\S+) +(\(B[^)]*\)) *(.*)$")
TASKS = {"image": "2D keypoints of images", "keypoints": "3D poses from 2D keypoints", "clip": "3D poses from clips"}
CAPTIONS = {
    "image": "The person of a photograph",
    "keypoints": "Three frames of the sample video, in front, side and top view",
    "clip": "Three of ten frames of a rendered clip, in front, side and top view",
}
LINES = {  # of a network with weights in the package
    "image": (
        f'photo, box = "{STREET}", {list(PERSON)}',
        "people = posezoo.predict(photo, model, boxes=[box])  # people.keypoints: (1, {k}, 2) pixels",
        'people.save("drawn.png")',
    ),
    "keypoints": (
        "video = posezoo.data.sample_video()",
        'poses = posezoo.lift(video["keypoints"], model, skeleton=video["skeleton"])',
        'poses.save("walk.gif")  # poses.pose3d: (76, 17, 3) mm from the pelvis',
    ),
    "clip": (),
}
RESULTS = {
    "image": "keypoints, scores = model.predict(inputs)  # ({b}, {k}, 2) pixels",
    "keypoints": "pose3d, scores = model.predict(inputs)  # ({b}, {t}, {k}, 3) mm from the pelvis",
    "clip": "pose3d, scores = model.predict(inputs)  # ({b}, {t}, {k}, 3) mm from the pelvis",
}


def module_of(name: str) -> Any:
    return sys.modules[posezoo.model_entrypoint(name).__module__]


def page_of(name: str) -> str:
    return str(module_of(name).__name__.rpartition(".")[2])


def by_page() -> dict[str, list[str]]:
    """Page -> names of its networks, pages in the order of the navigation."""
    names: dict[str, list[str]] = {page: [] for page in TITLES}
    for name in posezoo.list_models():
        names.setdefault(page_of(name), []).append(name)
    return {page: found for page, found in names.items() if found}


def title_of(page: str) -> str:
    return TITLES.get(page, page)


def meta_model(name: str, **kwargs: Any) -> Any:
    with torch.device("meta"):
        return posezoo.create(name, **kwargs)


@functools.cache
def parameters(name: str) -> int:
    return sum(parameter.numel() for parameter in meta_model(name).parameters())


def records(names: list[str]) -> list[posezoo.Weights]:
    tagged = [tag for name in names for tag in posezoo.list_models(name, include_tags=True) if "." in tag]
    return [posezoo.get_pretrained_cfg(known) for known in tagged]


def is_shipped(record: posezoo.Weights) -> bool:
    return any(source.startswith("package:") for source in record.sources)


def paper(module: Any) -> str:
    """Authors and venue, as the first lines of the module's docstring have them, linked to arXiv."""
    head = " ".join(module.__doc__.split("\n\n    In")[0].split())
    reference, link = re.search(r"\(([^()]*\d{4})[^()]*\)", head), re.search(r"arXiv (\d{4}\.\d{4,5})", head)
    text = reference[1].partition("; arXiv")[0] if reference else head.partition(".")[0]
    return f"[{text}](https://arxiv.org/abs/{link[1]})" if link else text


def markdown(text: str) -> str:
    """A module's docstring without its title: indented blocks become tables, Departures a section."""
    text = re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)
    blocks = re.split(r"\n\s*\n", text.strip("\n"))
    lines: list[str] = []
    for block in blocks:
        heading, _, rest = block.partition("\n")
        if heading == "Departures":
            lines += ["## Departures", "", inspect.cleandoc(rest), ""]
        elif heading.startswith("    "):
            lines += [*indented(block.split("\n")), ""]
        elif "\n    " in block:  # a paragraph that ends in an indented block
            before, _, after = block.partition("\n    ")
            lines += [before, "", *indented(("    " + after).split("\n")), ""]
        else:
            lines += [block, ""]
    return "\n".join(lines)


def indented(rows: list[str]) -> list[str]:
    """Inputs and outputs as a table with their shapes, pairs as a table, else a block of text."""
    cells: list[list[str]] = []
    for row in rows:
        match, pair = TABLE_ROW.match(row), re.match(r"^    (\S.*?) {2,}(\S.*)$", row)
        if match:
            kind = {"In": "Input", "Out": "Output"}.get(match[1].strip(), "")
            cells.append([kind, f"`{match[2]}`", f"`{match[3]}`", match[4]])
        elif pair and not (cells and len(cells[-1]) == 4):
            cells.append([f"`{pair[1]}`", pair[2]])
        elif cells and row.startswith("     "):
            cells[-1][-1] = f"{cells[-1][-1]} {row.strip()}".strip()
        else:
            return ["```text", *(row.removeprefix("    ") for row in rows), "```"]
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    if len(cells[0]) == 4:
        return ["| | Name | Shape | |", "|---|---|---|---|", *(f"| {' | '.join(row)} |" for row in escaped)]
    return ["| | |", "|---|---|", *(f"| {' | '.join(row)} |" for row in escaped)]


def code(names: list[str], found: list[posezoo.Weights]) -> list[str]:
    """A few lines that run: create, predict for a file, predict for tensors."""
    ready = [record for record in found if record.sources]
    chosen = min(ready, key=lambda record: not is_shipped(record), default=None)
    name = chosen.architecture if chosen else names[0]
    plain = posezoo.get_pretrained_cfg(name) if chosen else None
    tagged = f"{name}.{chosen.tag}" if chosen and (plain is None or not plain.sources) else name
    # without values, but with the layers that the weights have
    model = meta_model(name, **{**(chosen.arguments if chosen else {})})
    if chosen and model.input_kind != "keypoints":
        model.apply_input_settings({"input_size": chosen.input_size})
    with torch.device("meta"):
        inputs = model.example_input(2)
    values = {"b": 2, "k": model.num_keypoints, "t": inputs.shape[1]}
    weights = ", pretrained=True" if chosen else ""
    ready_lines = LINES[model.input_kind] if chosen and is_shipped(chosen) else ()
    return [
        "```python",
        "import posezoo",
        "",
        f'model = posezoo.create("{tagged}"{weights}).eval()',
        *(line.format(**values) for line in ready_lines),
        f"inputs = model.example_input(batch=2)  # {tuple(inputs.shape)}",
        RESULTS[model.input_kind].format(**values),
        "```",
    ]


def is_lower_better(metric: str) -> bool:
    return any(word in metric for word in LOWER)


def shown_weights(found: list[posezoo.Weights] | None = None) -> list[posezoo.Weights]:
    """Of each network with weights in the package its first ones, of all networks or of some records."""
    shipped = filter(is_shipped, records(posezoo.list_models()) if found is None else found)
    first: dict[str, posezoo.Weights] = {}
    for record in shipped:
        first.setdefault(record.architecture, record)
    return list(first.values())


def input_picture(kind: str) -> str:
    return f"input_{kind}.jpg"


def output_picture(record: posezoo.Weights) -> str:
    return f"{record.architecture}.jpg"


def pictures(found: list[posezoo.Weights]) -> list[str]:
    """The input, and the output of each network of a page that has weights in the package."""
    shown = shown_weights(found)
    if not shown:
        return []
    kind = input_kind(shown[0].architecture)
    titles = [f"`{record.architecture}`" for record in shown]
    files = [input_picture(kind), *map(output_picture, shown)]
    cells = " | ".join(f"![{Path(file).stem}](../images/networks/{file})" for file in files)
    maps = " On the right the heatmaps." if meta_model(shown[0].architecture).stride is not None else ""
    caption = f"*{CAPTIONS[kind]}, drawn with the weights in the package.{maps}*"
    return [f"| Input | {' | '.join(titles)} |", "|---" * len(files) + "|", f"| {cells} |", "", caption, ""]


def number(value: float) -> str:
    return f"{value:g}"


def best(found: list[posezoo.Weights]) -> list[str]:
    """One row for each data set and metric: the best published or shipped score."""
    scores: dict[tuple[str, str], list[tuple[float, posezoo.Weights]]] = {}
    for record in found:
        for data, metrics in record.metrics.items():
            for metric, value in metrics.items():
                scores.setdefault((data, metric), []).append((value, record))
    rows = []
    for (data, metric), values in scores.items():
        value, record = (min if is_lower_better(metric) else max)(values, key=lambda pair: pair[0])
        rows.append(
            f"| {data} | {metric} | {number(value)} | `{record.architecture}.{record.tag}` | {record.metrics_by} |"
        )
    return ["| Data | Metric | Best | Weights | Measured by |", "|---|---|---:|---|---|", *rows] if rows else []


def weights_table(found: list[posezoo.Weights]) -> list[str]:
    lines = ["| Weights | Input | Score | Trained on | Licence |", "|---|---|---|---|---|"]
    for record in found:
        scores = "<br>".join(
            f"{data}: {', '.join(f'{metric} {number(value)}' for metric, value in metrics.items())}"
            for data, metrics in record.metrics.items()
        )
        size = "×".join(map(str, record.input_size or ()))
        how = "in the package" if is_shipped(record) else "" if record.sources else f"[by hand]({record.origin})"
        name = f"`{record.architecture}.`<br>`{record.tag}`" + (f"<br>{how}" if how else "")
        lines.append(f"| {name} | {size} | {scores} | {record.data} | {record.license} |")
    return lines


def bibtex(page: str) -> str:
    """The entry of papers.bib for a page, "" if there is none."""
    entries = (DOCS / "papers.bib").read_text(encoding="utf-8").split("\n\n")
    key = BIBLIOGRAPHY.get(page, page)
    return next((entry.strip() for entry in entries if re.match(rf"@\w+\{{{key},", entry)), "")


def page_text(page: str, names: list[str]) -> str:
    module, found = module_of(names[0]), records(names)
    heading, _, rest = (module.__doc__ or "").strip().partition("\n")
    lines = [f"# {title_of(page)}", "", "<!-- generated by docs/generate.py from the module's docstring -->", ""]
    whole = markdown(f"{heading.rstrip('.')}.\n{rest}").strip("\n")
    title, _, rest = whole.partition("\n")
    lines += [f"**{title}**", ""]
    text, departures, after = rest.partition("## Departures\n")
    if page in SHOWN:
        lines += [f"![The network, drawn from its modules](../images/networks/{page}.svg)", ""]
        lines += [f"*`{SHOWN[page][0]}` on its example input. Rows are resolutions, numbers are channels.*", ""]
    lines += [text.strip("\n"), "", "## Use", "", *code(names, found), ""]
    lines += pictures(found)
    lines += [f"Every class and function is in the [API reference](../api/models.{page}.md).", ""]
    lines += ["## Names", "", "| Name | Parameters | |", "|---|---:|---|"]
    for name in names:
        about = " ".join((inspect.getdoc(posezoo.model_entrypoint(name)) or "").split("\nArgs:")[0].split())
        lines.append(f"| `{name}` | {parameters(name) / 1e6:.1f} M | {about} |")
    lines += ["", "## How good is it", ""]
    table = best(found)
    if table:
        lines += [*table, "", "[Results](../results.md) has what was measured here, with the commands."]
    else:
        lines += [
            "There are no weights of this network with a published score. [Results](../results.md) has short training"
        ]
        lines += ["runs, [Inside your code](../inside_your_code.md) starts your own."]
    if page in STATEMENTS:
        lines += [
            "",
            f"[The paper's statements](../papers.md#{STATEMENTS[page]}) one by one, with their places.",
        ]
    if found:
        lines += ["", "## Weights", "", *weights_table(found)]
    if departures:
        lines += ["", "## Departures", "", "Where paper, authors' code and this code differ.", "", after.strip("\n")]
    if bibtex(page):
        lines += ["", "## Cite", "", "```bibtex", bibtex(page), "```"]
    return "\n".join([*lines, ""])


def readme_table(to_root: str = "") -> str:
    rows = ["| Model | Parameters | Paper | Weights |", "|---|---:|---|---|"]
    for name in posezoo.list_models():
        page = f"{to_root}docs/models/{page_of(name)}.md"
        tags = [known.partition(".")[2] for known in posezoo.list_pretrained(name)]
        shown = ", ".join(f"`{tag}`" for tag in tags[:3]) or "–"
        shown += f" and [{len(tags) - 3} more]({page})" if tags[3:] else ""
        rows.append(f"| [`{name}`]({page}) | {parameters(name) / 1e6:.1f} M | {paper(module_of(name))} | {shown} |")
    return "\n".join(rows)


def families(folder: str = "models/") -> str:
    """One row per page: what it predicts, its sizes, its weights."""
    rows = ["| Network | Predicts | Parameters | Weights |", "|---|---|---:|---|"]
    for page, names in by_page().items():
        found, sizes = records(names), [parameters(name) / 1e6 for name in names]
        shipped, ready = sum(map(is_shipped, found)), sum(bool(record.sources) for record in found)
        parts = [f"{shipped} in the package"] * bool(shipped) + [f"{ready - shipped} to download"] * (ready > shipped)
        parts += [f"{len(found) - ready} by hand"] * (len(found) > ready)
        low, high = f"{min(sizes):.1f}", f"{max(sizes):.1f}"
        size = f"{low} M" if low == high else f"{low} to {high} M"
        task = TASKS[input_kind(names[0])]
        rows.append(f"| [{title_of(page)}]({folder}{page}.md) | {task} | {size} | {', '.join(parts) or '–'} |")
    return "\n".join(rows)


@functools.cache
def input_kind(name: str) -> str:
    return str(meta_model(name).input_kind)


def shipped_table() -> str:
    """One row for each set of weights in the package: what one can use today."""
    rows = ["| Weights | Predicts | Score | Size | Licence |", "|---|---|---|---:|---|"]
    for record in filter(is_shipped, records(posezoo.list_models())):
        data, metrics = next(iter(record.metrics.items()), ("", {}))
        score = (
            f"{data}: {', '.join(f'{metric} {number(value)}' for metric, value in metrics.items())}" if metrics else "–"
        )
        name = f"`{record.architecture}.{record.tag}`"
        size = f"{record.size / 1e6:.1f} MB" if record.size else ""
        link = f"[{name}](models/{page_of(record.architecture)}.md)"
        rows.append(f"| {link} | {TASKS[input_kind(record.architecture)]} | {score} | {size} | {record.license} |")
    return "\n".join(rows)


def licence_table() -> str:
    """Terms of weights -> how many, and which networks have them."""
    groups: dict[str, list[posezoo.Weights]] = {}
    for record in records(posezoo.list_models()):
        groups.setdefault(record.license or "not stated", []).append(record)
    rows = ["| Licence of the weights | Commercial use | Sets | Networks |", "|---|---|---:|---|"]
    for licence in sorted(groups, key=lambda text: (not is_permissive(text), text)):
        names = sorted({page_of(record.architecture) for record in groups[licence]})
        links = ", ".join(f"[{title_of(name)}](models/{name}.md)" for name in names)
        rows.append(
            f"| {licence} | {'allowed' if is_permissive(licence) else 'no'} | {len(groups[licence])} | {links} |"
        )
    return "\n".join(rows)


def is_permissive(licence: str) -> bool:
    return licence.lower().startswith(PERMISSIVE)
