"""Command line: `posezoo predict`, `lift`, `evaluate`, `list`, `info`, `convert`, `export`."""

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

2D metrics: coco-ap, pck, pckh, pdj, pcp, pcp-loose, rmse, mean-pixel-error. 3D metrics: mpjpe, pa-mpjpe,
pa-mpjpe-rigid, n-mpjpe, mpjve, acceleration-error, pck3d, auc3d.

coco-ap reads COCO json: annotations, and a list of results. The others read arrays, from .npz and .mat by name:
  keypoints   (N, K, 2) pixels or (N, K, 3) millimetres; a .npy file is this array alone. For mpjve and
              acceleration-error the first axis is the time of one video, or (videos, T, K, 3)
  visible     (N, K) mask of the annotated keypoints; defaults to all
  normalizer  (N,) pixels, for pck
  head_size   (N,) pixels, for pckh; or headboxes (N, 2, 2), the corners of MPII's boxes
and the files of MPII (pos_gt_src, pos_pred_src, jnt_missing, headboxes_src; preds), LSP, LSPET and FLIC (joints, pred)
as distributed. Predictions for the 1,000 test images of LSP are scored on the second half of its annotations. With
--skeleton, pckh on mpii16, pdj on lsp14 and pcp on lsp14 give the tables of those datasets.
"""


LIFT_HELP = """\
Lift the keypoints of a video to 3D, in millimetres from the pelvis; write JSON, an animation and a contact sheet.

The input is one of
  .json       COCO results, as `posezoo predict --json` writes them, or COCO annotations
  .npz, .npy  keypoints (T, K, 2) pixels; .npz may also have scores, visible, skeleton
  a folder of OpenPose's .json files, one per frame
  a folder of images, the frames, of one person, who fills most of them or of --box; see --image-model
Skeletons are those of posezoo.list_skeletons, for instance OpenPose's openpose18, body25 and body25b.
"""
CONVERT_HELP = """\
Convert a checkpoint of the authors, of mmpose, of timm or torchvision, or of posezoo to a folder for posezoo.create,
`posezoo predict` and the Hugging Face Hub. The format is recognised by the parameter names, the network by the shapes,
and a published file by its sha256, with its metrics and licence.

  .pth .pt .tar .bin   PyTorch; pickled code is not run
  .safetensors
  .t7                  Torch7
  .caffemodel          Caffe
  .index               TensorFlow, with the .data files beside it
"""
EXPORT_HELP = """\
Export a pretrained network, normalisation included, to ONNX or torch.export. Inputs are crops of one person, RGB in
[0, 1], or for lifters 2D keypoints in pixels. The file is run with batches of one and three and compared with the
network before it is written to its final name. ONNX needs `pip install 'posezoo[onnx]'`.
"""
FRAME_FILES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 2 after an error of the user."""
    parser = argparse.ArgumentParser(prog="posezoo", description="A model zoo for human pose estimation.")
    parser.add_argument("--version", action="version", version=f"posezoo {posezoo.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    predict = commands.add_parser("predict", help="predict the keypoints of the people in images")
    predict.add_argument("images", nargs="+", type=Path, metavar="IMG", help="image files")
    predict.add_argument("--out", type=Path, metavar="DIR", help="write drawings of the skeletons, one PNG per image")
    predict.add_argument("--json", type=Path, metavar="FILE", help="write COCO results; - for the standard output")
    predict.add_argument("--model", metavar="NAME", help="see `posezoo list --pretrained`")
    where = predict.add_mutually_exclusive_group()
    where.add_argument("--box", nargs=4, type=float, action="append", metavar=("X1", "Y1", "X2", "Y2"),
                       help="box of a person, in pixels; may be repeated; for one image")  # fmt: skip
    where.add_argument("--detector", metavar="NAME", help="person detector: FILE.onnx, hf-hub:org/name or "
                       "local-dir:/path; defaults to the whole image as one person")  # fmt: skip
    predict.add_argument(
        "--threshold", type=float, default=0.3, help="lowest score of drawn keypoints; defaults to 0.3"
    )
    predict.add_argument("--flip", action="store_true", help="average with the predictions for the mirrored input")
    predict.set_defaults(run=run_predict)

    lift = commands.add_parser(
        "lift", help="lift the keypoints of a video to 3D", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=LIFT_HELP,
    )  # fmt: skip
    lift.add_argument("input", type=Path, metavar="VIDEO", help="keypoints or frames, see above")
    lift.add_argument("--out", type=Path, metavar="DIR", help="write an animated GIF and a contact sheet, PNG")
    lift.add_argument("--json", type=Path, metavar="FILE", help="write the poses; - for the standard output")
    lift.add_argument("--model", metavar="NAME", help="a lifter; see `posezoo list --pretrained`")
    lift.add_argument("--skeleton", metavar="NAME", help="skeleton of the keypoints, for files without one")
    lift.add_argument("--min-score", type=float, default=0.3, metavar="S",
                      help="keypoints with a lower score are missing; defaults to 0.3")  # fmt: skip
    lift.add_argument("--flip", action="store_true", help="average with the predictions for the mirrored input")
    lift.add_argument("--fps", type=float, default=25.0, help="frames per second of the animation; defaults to 25")
    lift.add_argument(
        "--image-model", metavar="NAME", help="network for the 2D keypoints of frames; see `posezoo list --pretrained`"
    )
    lift.add_argument("--box", nargs=4, type=float, metavar=("X1", "Y1", "X2", "Y2"),
                      help="region of the person in all frames, in pixels")  # fmt: skip
    lift.set_defaults(run=run_lift)

    evaluate = commands.add_parser(
        "evaluate", help="score predictions against annotations", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=EVALUATE_HELP,
    )  # fmt: skip
    evaluate.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="COCO json, .npy, .npz or .mat")
    evaluate.add_argument(
        "--gt", type=Path, required=True, metavar="GROUND_TRUTH", help="annotations, in the same formats"
    )
    evaluate.add_argument("--metric", required=True, help="one of the metrics above")
    names_or_sigmas = evaluate.add_mutually_exclusive_group()
    names_or_sigmas.add_argument(
        "--skeleton", metavar="NAME", help="skeleton of the keypoints; also determines the OKS sigmas"
    )
    names_or_sigmas.add_argument(
        "--sigmas", type=float, nargs="+", metavar="S", help="OKS sigmas of coco-ap, one per keypoint"
    )
    evaluate.add_argument(
        "--threshold", type=float, help="threshold of pck, pckh, pdj, pcp and pck3d; each has a default"
    )
    evaluate.add_argument(
        "--convention", default="weighted", help="convention of pckh on mpii16: weighted (default), unweighted or all16"
    )
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the values; - for the standard output")
    evaluate.set_defaults(run=run_evaluate)

    names = commands.add_parser("list", help="list the models")
    names.add_argument("filter", nargs="?", default="", help="wildcards, for instance '*hourglass*'")
    names.add_argument(
        "--pretrained", action="store_true", help="list weights instead, with input size, skeleton, metrics and licence"
    )
    names.set_defaults(run=run_list)

    info = commands.add_parser("info", help="print the record of a model and its weights")
    info.add_argument("name", help="arch or arch.tag")
    info.set_defaults(run=run_info)

    convert = commands.add_parser(
        "convert", help="convert a published checkpoint to safetensors, config and model card",
        formatter_class=argparse.RawDescriptionHelpFormatter, description=CONVERT_HELP,
    )  # fmt: skip
    convert.add_argument("file", type=Path, metavar="FILE", help="the checkpoint")
    convert.add_argument(
        "--out", type=Path, metavar="DIR", help="new or empty folder; defaults to FILE without its suffix"
    )
    convert.add_argument("--model", metavar="NAME", help="arch or arch.tag, for files whose network is not recognised")
    convert.set_defaults(run=run_convert)

    export = commands.add_parser(
        "export", help="export a network to ONNX or torch.export",
        formatter_class=argparse.RawDescriptionHelpFormatter, description=EXPORT_HELP,
    )  # fmt: skip
    export.add_argument(
        "name", metavar="NAME", help="a network with weights: arch, arch.tag, hf-hub:org/name, local-dir:/path"
    )
    export.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write, .onnx or .pt2")
    export.add_argument("--decode", action="store_true", help="output keypoints and scores instead of heatmaps")
    export.add_argument("--batch", type=int, metavar="N", help="fixed batch size; defaults to a dynamic one")
    export.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="size of images; defaults to that of the training"
    )
    export.add_argument("--frames", type=int, metavar="T", help="length of videos; defaults to the receptive field")
    export.set_defaults(run=run_export)

    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, ImportError, OSError) as error:
        print(f"posezoo: {error}", file=sys.stderr)
        return 2
    return 0


def run_predict(options: argparse.Namespace) -> None:
    from posezoo.images import load_image
    from posezoo.prediction import DEFAULT_MODEL
    from posezoo.viz import draw_keypoints

    if options.box and len(options.images) > 1:
        raise ValueError("--box is for one image; call once per image")
    targets = _drawing_paths(options.images, options.out) if options.out else {}
    to_stdout = str(options.json) == "-"
    if options.json and not to_stdout:
        options.json.parent.mkdir(parents=True, exist_ok=True)  # first, because it may fail
    boxes = [options.box] if options.box else None
    everyone = posezoo.predict(
        options.images, options.model or DEFAULT_MODEL, boxes, detector=options.detector, flip=options.flip
    )

    report = sys.stderr if to_stdout else sys.stdout
    results: list[dict[str, Any]] = []
    for number, (path, people) in enumerate(zip(options.images, everyone, strict=True)):
        confident = int((people.scores >= options.threshold).sum())
        line = f"{path}: {len(people)} box{'es' * (len(people) != 1)}, {confident} of {people.scores.size} keypoints"
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


def run_lift(options: argparse.Namespace) -> None:
    from posezoo.data.detections import read_keypoints
    from posezoo.lifting import DEFAULT_MODEL, IMAGE_MODEL, predict_single_person

    frames = _frames(options.input) if options.input.is_dir() else []
    for name, value in {"--box": options.box, "--image-model": options.image_model}.items():
        if value and not frames:
            raise ValueError(f"{name}: for a folder of images, {options.input} is none")
    to_stdout = str(options.json) == "-"
    for target in (options.out, None if to_stdout else options.json):
        if target and options.input.resolve() in (target.resolve(), *target.resolve().parents):
            raise ValueError(f"{target}: choose another place than the input, {options.input}")
    if options.json and not to_stdout:
        options.json.parent.mkdir(parents=True, exist_ok=True)  # first, because it may fail
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)

    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", UserWarning)
        if frames:
            people = predict_single_person(frames, options.image_model or IMAGE_MODEL, options.box, flip=options.flip)
            video: dict[str, Any] = {"keypoints": people, "skeleton": options.skeleton}
        else:
            video = read_keypoints(options.input, options.skeleton)
        model = options.model or DEFAULT_MODEL
        poses = posezoo.lift(**video, model=model, min_score=options.min_score, flip=options.flip)
    for text in dict.fromkeys(str(warning.message) for warning in noted):
        print(f"posezoo: warning: {text}", file=sys.stderr)

    if to_stdout:
        print(json.dumps(poses.to_dict()))
    elif options.json:
        options.json.write_text(json.dumps(poses.to_dict()) + "\n", encoding="utf-8")
    line = f"{options.input}: {len(poses)} frame{'s' * (len(poses) != 1)}"
    if options.out:
        name = options.input.stem if options.input.is_file() else options.input.resolve().name
        line += f", drawn in {_draw_video(options.out / name, poses, frames, options.fps)}"
    print(line, file=sys.stderr if to_stdout else sys.stdout)


def _frames(folder: Path) -> list[Path]:
    """List the images in a folder; empty for a folder of OpenPose's json."""
    from posezoo.data.detections import in_order

    files = in_order(folder)
    frames = [file for file in files if file.suffix.lower() in FRAME_FILES]
    tables = [file for file in files if file.suffix.lower() == ".json"]
    if bool(frames) == bool(tables):
        found = "both images and" if frames else "neither images nor OpenPose's"
        raise ValueError(f"{folder}: there are {found} .json files in this folder; a video is a folder of one of them")
    return frames


def _draw_video(target: Path, poses: Any, frames: Sequence[Path], fps: float) -> Path:
    """Write an animation of all frames and a contact sheet of twelve."""
    from PIL import Image

    from posezoo.viz import contact_sheet, save_gif

    animation = save_gif(f"{target}.gif", poses.pictures(frames or None), fps=fps)
    some = sorted({round(number * (len(poses) - 1) / 11) for number in range(12)})
    pictures = poses.pictures(frames or None, index=some, size=192)
    labels = [f"\nframe {frame}" for frame in some]  # below the name of the view
    Image.fromarray(contact_sheet(pictures, labels, columns=2)).save(f"{target}.png")
    return animation


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
    names = posezoo.list_models(options.filter, include_tags=options.pretrained)
    if options.pretrained:
        names = [name for name in names if "." in name]
    if not names:
        wanted = f" matches {options.filter!r}" if options.filter else ""
        raise ValueError(f"no model{' with weights' if options.pretrained else ''}{wanted}; `posezoo list` shows all")
    rows = [_summary(name) if options.pretrained else (name,) for name in names]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _summary(name: str) -> tuple[str, ...]:
    """Format a record: name, input, skeleton, codec, first metric, licence, place of the file."""
    record = posezoo.get_pretrained_cfg(name)
    assert record is not None, name
    score = next(
        (f"{data} {metric} {value:g}" for data, m in record.metrics.items() for metric, value in m.items()), ""
    )
    place = record.sources[0].partition(":")[0] if record.sources else ""
    fetched = {"package": "shipped", "": "by hand, see `posezoo info`"}.get(place, "downloaded")
    size = " x ".join(map(str, record.input_size or ()))
    return name, size, record.skeleton, record.codec, score, record.license, fetched


def run_convert(options: argparse.Namespace) -> None:
    from posezoo.convert import convert_file

    out = options.out or options.file.with_name(options.file.name.partition(".")[0])
    model = posezoo.create(options.model).eval() if options.model else None
    claimed = posezoo.get_pretrained_cfg(options.model) if "." in (options.model or "") else None
    if model is not None and claimed and not claimed.sha256:
        model.weights = claimed  # to be downloaded by hand: whose it is comes along, what it scores does not
    done = convert_file(options.file, out, model)
    parameters = sum(parameter.numel() for parameter in done.model.parameters())
    skeleton = done.model.skeleton.name if done.model.skeleton else "unnamed"
    if done.record:
        identity = f"{done.record.architecture}.{done.record.tag}, by its sha256"
    elif done.model.weights:
        identity = f"{options.model}, as --model says; there is no sha256 to compare with"
    else:
        identity = "no published file with a known sha256; its licence and training data are not known"
    print(f"{options.file}")
    print(f"  format    {done.format}")
    print(f"  network   {done.model.architecture}, {parameters:,} parameters")
    print(f"  keypoints {done.model.num_keypoints} ({skeleton})")
    print(f"  known as  {identity}")
    for note in done.notes:
        print(f"  note      {note}")
    print(f"  written   {done.folder}; posezoo.create({f'local-dir:{done.folder}'!r}, pretrained=True)")


def run_export(options: argparse.Namespace) -> None:
    from posezoo.export import to_onnx, to_pt2

    write = {".onnx": to_onnx, ".pt2": to_pt2}.get(options.out.suffix)
    if write is None:
        raise ValueError(f"--out: expected a name that ends in .onnx or .pt2, got {options.out}")
    model = posezoo.create(options.name, pretrained=True)
    size = tuple(options.size) if options.size else None
    file = write(model, options.out, decode=options.decode, batch=options.batch, size=size, frames=options.frames)
    print(f"{file.path}: {file.path.stat().st_size / 1e6:.1f} MB")
    for title, shapes in (("input", file.inputs), ("output", file.outputs)):
        for name, shape in shapes.items():
            print(f"  {title:9} {name} ({', '.join(map(str, shape))})")
    difference = "not compared: onnxruntime is not installed"
    if file.difference is not None:
        difference = f"{file.difference:.1e} of the largest number, between the outputs of the file and of the network"
    print(f"  differs   {difference}")


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
    tags = [name for name in posezoo.list_models(arch, include_tags=True) if "." in name]
    print(f"  weights     {f'{chr(10)}{14 * chr(32)}'.join(tags) or 'none published'}")
    if record is not None:
        print("  record")
        for field, value in record.to_dict().items():
            print(f"    {field:13} {value if isinstance(value, str) else json.dumps(value)}")


def _drawing_paths(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Choose one PNG per image in `folder`, with numbers where names repeat or are taken."""
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
