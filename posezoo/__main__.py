"""The command line: `posezoo predict`, `posezoo evaluate`, `posezoo list`, `posezoo info`."""

import argparse
import json
import math
import sys
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import posezoo

if TYPE_CHECKING:
    import numpy as np

METRICS_2D = ("pck", "pckh", "pdj", "pcp", "pcp-loose", "rmse", "mean-pixel-error")
METRICS_3D = (
    "mpjpe", "pa-mpjpe", "pa-mpjpe-rigid", "n-mpjpe", "mpjve", "acceleration-error", "pck3d", "auc3d",
)  # fmt: skip


EVALUATE_HELP = """\
Score predictions against annotations and print a table.

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
    evaluate.add_argument("--metric", required=True, help=", ".join(("coco-ap", *METRICS_2D, *METRICS_3D)))
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
    metric = options.metric
    known = ("coco-ap", *METRICS_2D, *METRICS_3D)
    if metric not in known:
        raise ValueError(f"unknown metric {metric!r}; expected one of {', '.join(known)}")
    for path in (options.predictions, options.gt):
        if not path.is_file():
            raise ValueError(f"{path}: there is no such file")
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", UserWarning)
        evaluate = _evaluate_coco if metric == "coco-ap" else _evaluate_arrays
        values, title, percent = evaluate(options)
    to_stdout = str(options.json) == "-"
    for text in dict.fromkeys(str(warning.message) for warning in noted):
        print(f"posezoo: warning: {text}", file=sys.stderr)
    # JSON has neither NaN nor infinity
    numbers = {name: value if math.isfinite(value) else None for name, value in values.items()}
    report = sys.stderr if to_stdout else sys.stdout
    width = max(map(len, values))
    print(title, file=report)
    for name, value in values.items():
        print(f"  {name:{width}} {100 * value if percent else value:9.{2 if percent else 4}f}", file=report)
    if to_stdout:
        print(json.dumps(numbers))
    elif options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def _evaluate_coco(options: argparse.Namespace) -> tuple[dict[str, float], str, bool]:
    from posezoo.metrics.oks import coco_ap

    for path in (options.gt, options.predictions):
        if path.suffix != ".json":
            raise ValueError(f"{path}: coco-ap reads COCO json; for arrays call posezoo.metrics.coco_ap")
    sigmas = options.sigmas or options.skeleton or "coco17"
    found = coco_ap(options.gt, options.predictions, sigmas=sigmas)
    keys = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
    return {key: float(found[key]) for key in keys}, "COCO keypoints, OKS", False


def _evaluate_arrays(options: argparse.Namespace) -> tuple[dict[str, float], str, bool]:
    import numpy as np

    from posezoo import metrics

    metric, gt = options.metric, options.gt
    truth, pred = _read_arrays(gt, truth=True), _read_arrays(options.predictions, truth=False)
    target, points = truth["keypoints"], pred["keypoints"]
    if truth.get("of") == "lsp" and len(target) == 2000 and len(points) == 1000:
        target = target[1000:]  # LSP's test images
    visible = truth.get("visible")
    sticks = points.ndim == 4 and points.shape[1:] == (10, 2, 2) and metric.startswith("pcp")
    if not sticks and points.shape != target.shape:
        raise ValueError(
            f"{options.predictions} holds keypoints of shape {points.shape}, {gt} of {target.shape}; expected the same"
        )
    dimensions = 3 if metric in METRICS_3D else 2
    if target.shape[-1] != dimensions:
        raise ValueError(f"{metric} is for keypoints in {dimensions}D; {gt} holds shape {target.shape}")
    skeleton = posezoo.get_skeleton(options.skeleton) if options.skeleton else None
    if skeleton is not None and target.shape[-2] != len(skeleton):
        raise ValueError(f"the skeleton {skeleton.name!r} has {len(skeleton)} keypoints, {gt} has {target.shape[-2]}")
    names = list(skeleton.keypoints) if skeleton else [f"keypoint {number}" for number in range(target.shape[-2])]
    threshold = {} if options.threshold is None else {"threshold": options.threshold}
    called = skeleton.name if skeleton else ""

    if metric in METRICS_3D:
        functions: dict[str, Callable[..., Any]] = {
            "mpjpe": metrics.mpjpe, "pa-mpjpe": metrics.pa_mpjpe, "n-mpjpe": metrics.n_mpjpe, "mpjve": metrics.mpjve,
            "acceleration-error": metrics.acceleration_error, "pck3d": metrics.pck3d, "auc3d": metrics.auc3d,
            "pa-mpjpe-rigid": lambda *poses, visible: metrics.pa_mpjpe(*poses, scale=False, visible=visible),
        }  # fmt: skip
        arguments = threshold if metric == "pck3d" else {}
        result = functions[metric](points, target, visible=visible, **arguments)
        percent = metric in ("pck3d", "auc3d")
        unit = "per cent" if percent else "in the units of the poses"
        title = f"{metric}, {unit}" + ("" if metric.startswith("pa-") else ", relative to joint 0")
        flat = result.reshape(-1, result.shape[-1])
        there = ~np.isnan(flat)
        means = np.where(there, flat, 0).sum(axis=0) / np.where(there.any(axis=0), there.sum(axis=0), np.nan)
        if percent and visible is not None:  # results are per joint; each weighs as often as it is annotated
            mean = metrics.labelled_mean(result, visible.reshape(-1, visible.shape[-1]))
        else:
            mean = float(flat[there].mean()) if there.any() else math.nan
        return {**dict(zip(names, means.tolist(), strict=True)), "mean": mean}, title, percent

    if metric in ("rmse", "mean-pixel-error"):
        function = metrics.rmse if metric == "rmse" else metrics.mean_pixel_error
        result = function(points, target, visible=visible)
        mean = float(np.nanmean(result)) if (~np.isnan(result)).any() else math.nan
        return {**dict(zip(names, result.tolist(), strict=True)), "mean": mean}, f"{metric}, pixels", False
    if metric in ("pcp", "pcp-loose"):
        loose = metric == "pcp-loose"
        title = f"PCP@{threshold.get('threshold', 0.5):g} {'loose' if loose else 'strict'}, per cent"
        if called == "lsp14":
            return metrics.lsp_pcp(points, target, visible=visible, loose=loose, **threshold), title, True
        if skeleton is None:
            raise ValueError(f"{metric} needs --skeleton, whose bones are the limbs (lsp14: the ten limbs of LSP)")
        result = metrics.pcp(points, target, skeleton, visible=visible, loose=loose, **threshold)
        limbs = [f"{skeleton.keypoints[first]} - {skeleton.keypoints[second]}" for first, second in skeleton.bones]
        return {**dict(zip(limbs, result.tolist(), strict=True)), "mean": float(np.nanmean(result))}, title, True
    if metric == "pckh":
        title = f"PCKh@{threshold.get('threshold', 0.5):g}, per cent of the annotated keypoints"
        head_size = truth.get("head_size")
        if head_size is None:
            raise ValueError(f"{gt}: pckh needs head_size (N,) or headboxes (N, 2, 2); found {truth['found']}")
        if called == "mpii16":
            table = metrics.mpii_pckh(
                points, target, head_size, visible=visible, convention=options.convention, **threshold
            )
            return table, f"{title}, {options.convention}", True
        result, length = metrics.pckh(points, target, head_size, visible=visible, **threshold), head_size
    elif metric == "pdj":
        title = f"PDJ@{threshold.get('threshold', 0.2):g}, per cent of the annotated keypoints"
        if skeleton is None:
            raise ValueError("pdj needs --skeleton, which says where the left shoulder and the right hip are")
        if called == "lsp14":
            return metrics.lsp_pck(points, target, visible=visible, **threshold), title, True
        result = metrics.pdj(points, target, skeleton, visible=visible, **threshold)
        length = metrics.torso_diameter(target, skeleton, visible=visible)
    else:
        title = f"PCK@{threshold.get('threshold', 0.2):g}, per cent of the annotated keypoints"
        length = truth.get("normalizer")
        if length is None:
            raise ValueError(
                f"{gt}: pck needs normalizer (N,), in pixels; found {truth['found']}. pdj and pckh have their own"
            )
        result = metrics.pck(points, target, length, visible=visible, **threshold)
    counted = np.ones(target.shape[:2], dtype=bool) if visible is None else visible
    pooled = metrics.labelled_mean(result, counted & np.isfinite(length)[:, None])
    mean = float(np.nanmean(result)) if (~np.isnan(result)).any() else math.nan
    return {**dict(zip(names, result.tolist(), strict=True)), "mean": mean, "labelled mean": pooled}, title, True


def _read_arrays(path: Path, *, truth: bool) -> dict[str, Any]:
    """keypoints, and what else of visible, normalizer, head_size there is; `of` is the data set, where it shows."""
    import numpy as np

    from posezoo.metrics import mpii_head_size

    if path.suffix == ".json":
        raise ValueError(f"{path}: JSON is for coco-ap; the other metrics read .npy, .npz and .mat")
    stored = _load(path)
    found: dict[str, Any] = {"found": ", ".join(sorted(stored)) or "nothing"}
    ours = "pos_gt_src" if truth else "pos_pred_src"
    if "keypoints" in stored or "preds" in stored:
        found["keypoints"] = stored["keypoints"] if "keypoints" in stored else stored["preds"]
    elif ours in stored:  # MPII: (16, 2, N)
        found["keypoints"] = np.moveaxis(stored[ours], -1, 0)
    elif "joints" in stored or "pred" in stored:
        found.update(_leeds_or_flic(stored["joints"] if "joints" in stored else stored["pred"], path))
    else:
        raise ValueError(f"{path}: expected an array called keypoints, found {found['found']}")
    if found["keypoints"].ndim < 3 or found["keypoints"].dtype.kind not in "fiu":
        raise ValueError(f"{path}: keypoints: expected numbers (N, K, 2) or (N, K, 3), got {found['keypoints'].shape}")
    if truth:
        if "visible" in stored:
            found["visible"] = stored["visible"] > 0
        elif "jnt_missing" in stored:
            found["visible"] = stored["jnt_missing"].T == 0
        if "headboxes_src" in stored:
            found["head_size"] = mpii_head_size(np.moveaxis(stored["headboxes_src"], -1, 0))
        elif "headboxes" in stored:
            found["head_size"] = mpii_head_size(stored["headboxes"])
        for name in ("head_size", "normalizer"):
            if name in stored:
                found[name] = stored[name].reshape(-1)  # MATLAB has no vectors
    return found


def _leeds_or_flic(array: "np.ndarray", path: Path) -> dict[str, Any]:
    """LSP (3, 14, N), whose third row means occluded; LSPET (14, 3, N), where it means visible; FLIC (2, 12, N)."""
    import numpy as np

    if array.ndim == 3 and array.shape[:2] == (14, 3):
        return {"keypoints": array[:, :2].transpose(2, 0, 1), "visible": array[:, 2].T > 0, "of": "lspet"}
    if array.ndim == 3 and array.shape[:2] == (3, 14):
        return {"keypoints": array[:2].transpose(2, 1, 0), "of": "lsp"}
    if array.ndim == 3 and array.shape[0] == 2:
        points = array.transpose(2, 1, 0)
        if array.shape[1] == 12:  # the last column is the torso box
            return {"keypoints": points[:, :11], "normalizer": np.linalg.norm(points[:, 11], axis=1), "of": "flic"}
        if array.shape[1] == 20:  # ten limbs by their ends
            return {"keypoints": points.reshape(-1, 10, 2, 2)}
        return {"keypoints": points}
    raise ValueError(
        f"{path}: expected joints or pred as LSP (3, 14, N), LSPET (14, 3, N) or FLIC (2, K, N) have them, got "
        f"{array.shape}; call an array (N, K, 2) keypoints"
    )


def _load(path: Path) -> dict[str, Any]:
    import numpy as np

    try:
        if path.suffix == ".npy":
            return {"keypoints": np.load(path, allow_pickle=False)}
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return dict(archive)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: is damaged, or holds objects instead of numbers: {error}") from None
    if path.suffix == ".mat":
        try:
            import scipy.io
        except ImportError:
            raise ImportError(f"{path}: MATLAB files need scipy: pip install scipy") from None
        try:
            return {name: array for name, array in scipy.io.loadmat(path).items() if not name.startswith("__")}
        except (ValueError, TypeError, NotImplementedError) as error:  # 7.3 files are HDF5, which scipy does not read
            raise ValueError(f"{path}: cannot be read as a MATLAB file up to version 7: {error}") from None
    raise ValueError(f"{path}: expected .json, .npy, .npz or .mat")


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
