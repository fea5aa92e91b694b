"""The command line: `posezoo predict`, `posezoo evaluate`, `posezoo list`, `posezoo info`."""

import argparse
import json
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import posezoo

EVALUATE_HELP = """\
Score predictions against annotations and print a table.

In the image: coco-ap, pck, pckh, pdj, pcp, pcp-loose, rmse, mean-pixel-error. In 3D: mpjpe, pa-mpjpe, pa-mpjpe-rigid,
n-mpjpe, mpjve, acceleration-error, pck3d, auc3d.

coco-ap reads COCO json: annotations, and a list of results. The others read arrays, from .npz and .mat by name:
  keypoints   (N, K, 2) pixels or (N, K, 3) millimetres; a .npy file is this array alone. For mpjve and
              acceleration-error the first axis is the time of one video, or (videos, T, K, 3)
  visible     (N, K) which keypoints are annotated; default: all
  normalizer  (N,) pixels, for pck
  head_size   (N,) pixels, for pckh; or headboxes (N, 2, 2), the corners of MPII's boxes
and the files of MPII (pos_gt_src, pos_pred_src, jnt_missing, headboxes_src; preds), LSP, LSPET and FLIC (joints, pred)
as they are distributed. Predictions for the 1,000 test images of LSP are scored on the second half of its annotations.
With --skeleton, pckh on mpii16, pdj on lsp14 and pcp on lsp14 give the tables of those data sets.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, or 2 after an error that is the user's to mend."""
    parser = argparse.ArgumentParser(prog="posezoo", description="Human pose estimation, one name away.")
    parser.add_argument("--version", action="version", version=f"posezoo {posezoo.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    predict = commands.add_parser("predict", help="keypoints of the people in photographs")
    predict.add_argument("images", nargs="+", type=Path, metavar="IMG", help="image files")
    predict.add_argument("--out", type=Path, metavar="DIR", help="draw the skeletons, one PNG per image")
    predict.add_argument("--json", type=Path, metavar="FILE", help="write COCO results; - is the standard output")
    predict.add_argument("--model", metavar="NAME", help="see `posezoo list --pretrained`")
    predict.add_argument("--box", nargs=4, type=float, action="append", metavar=("X1", "Y1", "X2", "Y2"),
                         help="a person, in pixels; may be given several times; for one image")  # fmt: skip
    predict.add_argument("--threshold", type=float, default=0.3, help="draw keypoints of at least this score")
    predict.add_argument("--flip", action="store_true", help="average with the mirror image")
    predict.set_defaults(run=run_predict)

    evaluate = commands.add_parser(
        "evaluate", help="score predictions against annotations", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=EVALUATE_HELP,
    )  # fmt: skip
    evaluate.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="COCO json, .npy, .npz or .mat")
    evaluate.add_argument("--gt", type=Path, required=True, metavar="GROUND_TRUTH", help="the annotations, likewise")
    evaluate.add_argument("--metric", required=True, help="coco-ap, or one of the others above")
    names_or_sigmas = evaluate.add_mutually_exclusive_group()
    names_or_sigmas.add_argument("--skeleton", metavar="NAME", help="names the keypoints; also says the OKS sigmas")
    names_or_sigmas.add_argument("--sigmas", type=float, nargs="+", metavar="S", help="of coco-ap, one per keypoint")
    evaluate.add_argument("--threshold", type=float, help="of pck, pckh, pdj, pcp and pck3d, instead of their own")
    evaluate.add_argument("--convention", default="weighted", help="of pckh on mpii16: weighted, unweighted or all16")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the numbers; - is the standard output")
    evaluate.set_defaults(run=run_evaluate)

    names = commands.add_parser("list", help="names of the models")
    names.add_argument("filter", nargs="?", default="", help="wildcards, for instance '*hourglass*'")
    names.add_argument("--pretrained", action="store_true", help="only those with weights, with their tags")
    names.set_defaults(run=run_list)

    info = commands.add_parser("info", help="what is known of a model and its weights")
    info.add_argument("name", help="arch or arch.tag")
    info.set_defaults(run=run_info)

    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, ImportError, OSError) as error:
        print(f"posezoo: {error}", file=sys.stderr)
        return 2
    return 0


def run_predict(options: argparse.Namespace) -> None:
    from posezoo.predict import DEFAULT_MODEL, load_image
    from posezoo.viz import draw_keypoints

    if options.box and len(options.images) > 1:
        raise ValueError("--box is for one image; call once per image")
    targets = _drawing_paths(options.images, options.out) if options.out else {}
    to_stdout = str(options.json) == "-"
    if options.json and not to_stdout:
        options.json.parent.mkdir(parents=True, exist_ok=True)  # before the work, in case it cannot be
    boxes = [options.box] if options.box else None
    everyone = posezoo.predict(options.images, options.model or DEFAULT_MODEL, boxes, flip=options.flip)

    report = sys.stderr if to_stdout else sys.stdout
    results: list[dict[str, Any]] = []
    for number, (path, people) in enumerate(zip(options.images, everyone, strict=True)):
        seen = int((people.scores >= options.threshold).sum())
        line = f"{path}: {len(people)} box{'es' * (len(people) != 1)}, {seen} of {people.scores.size} keypoints"
        if path in targets:
            from PIL import Image

            names = people.skeleton or [str(keypoint) for keypoint in range(people.scores.shape[1])]
            drawn = draw_keypoints(
                load_image(path), people.keypoints, names, scores=people.scores, threshold=options.threshold
            )
            Image.fromarray(drawn).save(targets[path])
            line += f", drawn in {targets[path]}"
        print(line, file=report)
        results += [{"file_name": str(path), **person} for person in people.to_coco(image_id=number)]
    if to_stdout:
        print(json.dumps(results))
    elif options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def run_evaluate(options: argparse.Namespace) -> None:
    from posezoo.evaluate import evaluate_files

    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", UserWarning)
        score = evaluate_files(
            options.predictions,
            options.gt,
            options.metric,
            skeleton=options.skeleton,
            sigmas=options.sigmas,
            threshold=options.threshold,
            convention=options.convention,
        )
    to_stdout = str(options.json) == "-"
    for text in dict.fromkeys(str(warning.message) for warning in noted):
        print(f"posezoo: warning: {text}", file=sys.stderr)
    # JSON has neither NaN nor infinity
    numbers = {name: value if math.isfinite(value) else None for name, value in score.values.items()}
    report = sys.stderr if to_stdout else sys.stdout
    width, factor, digits = max(map(len, score.values)), *((100, 2) if score.percent else (1, 4))
    print(score.title, file=report)
    for name, value in score.values.items():
        print(f"  {name:{width}} {factor * value:9.{digits}f}", file=report)
    if to_stdout:
        print(json.dumps(numbers))
    elif options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def run_list(options: argparse.Namespace) -> None:
    names = posezoo.list_models(options.filter, pretrained=options.pretrained)
    if not names:
        wanted = f" matches {options.filter!r}" if options.filter else ""
        raise ValueError(f"no model{' with weights' if options.pretrained else ''}{wanted}; `posezoo list` shows all")
    print("\n".join(names))


def run_info(options: argparse.Namespace) -> None:
    import torch

    arch = options.name.partition(".")[0]
    function = posezoo.model_entrypoint(arch)
    record = posezoo.get_pretrained_cfg(options.name)
    with torch.device("meta"):
        model = posezoo.create(options.name)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    skeleton = model.skeleton.name if model.skeleton else "unnamed"
    print(f"{options.name}: {(function.__doc__ or '').strip()}")
    print(f"  parameters  {parameters:,}")
    print(f"  keypoints   {model.num_keypoints} ({skeleton})")
    print(f"  file        {function.__module__}")
    print(f"  weights     {', '.join(n for n in posezoo.list_pretrained(arch)) or 'none published'}")
    if record is not None:
        print("  record")
        for field, value in record.to_dict().items():
            print(f"    {field:13} {value if isinstance(value, str) else json.dumps(value)}")


def _drawing_paths(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """One PNG per image in `folder`; images of the same name get a number, and no image is drawn over."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = {image.resolve() for image in images}
    targets = {}
    for image in dict.fromkeys(images):
        target, number = folder / f"{image.stem}.png", 1
        while target.resolve() in taken:
            number += 1
            target = folder / f"{image.stem}-{number}.png"
        taken.add(target.resolve())
        targets[image] = target
    return targets


if __name__ == "__main__":
    sys.exit(main())
