"""Command line: `posezoo predict`, `lift`, `evaluate`, `list`, `info`, `convert`, `export`, `completion`."""

import argparse
import contextlib
import glob
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import posezoo
from posezoo.foreign import printable

EXAMPLES = """\
examples:
  posezoo predict photo.jpg --out drawn            keypoints of a photograph, drawn into the folder drawn
  posezoo predict photos --json people.json        of a folder of photographs, as COCO results
  posezoo predict group.jpg --detector yolox_s.onnx --out drawn
  posezoo lift frames --out poses                  3D poses of the frames of a video
  posezoo list --pretrained                        all weights; posezoo info NAME tells more of one
"""
PREDICT_HELP = """\
Predict the keypoints of the people in images; draw them, or write them as COCO results.

IMG is an image file, a folder of images, a quoted pattern such as 'photos/**/*.jpg', or - for a list of paths on the
standard input. Without --box and --detector an image has one person, who is found in two passes: in the whole image,
then in the box of the keypoints of the first pass. Results are written as they come. An image that cannot be read is
named and left out.

exit status: 0, 1 if some of the images could not be read, 2 after any other error
"""
PREDICT_EXAMPLES = """\
examples:
  posezoo predict photo.jpg --out drawn --names --legend
  posezoo predict photos 'more/*.png' --json people.json --quiet
  find . -name '*.jpg' | posezoo predict - --json - > people.json
  posezoo predict group.jpg --box 10 20 200 400 --box 220 15 400 410 --out drawn --boxes
"""
LIFT_EXAMPLES = """\
examples:
  posezoo lift frames --out poses --json poses.json
  posezoo lift openpose_json --skeleton body25 --out poses
"""
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
  a folder of images, or a quoted pattern such as 'frames/*.jpg': the frames, of one person, who fills most of them or
  of --box; see --image-model
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
COMPLETION_HELP = """\
Print a script that completes commands, options, and the names of models and skeletons.

  bash   posezoo completion bash > ~/.local/share/bash-completion/completions/posezoo
  zsh    posezoo completion zsh > ~/.posezoo-completion, and `source ~/.posezoo-completion` in ~/.zshrc
  fish   posezoo completion fish > ~/.config/fish/completions/posezoo.fish
"""
FRAME_FILES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0; 1 if some images could not be read; 2 after an error."""
    parser = command_line()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        code = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # of `posezoo list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 141  # of a program that SIGPIPE ends
    except (ValueError, ImportError, OSError) as error:
        report = "\n".join(printable(line, 2000) for line in str(error).splitlines())  # files and servers are foreign
        print(f"posezoo: {report}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("posezoo: interrupted", file=sys.stderr)
        return 130
    return code or 0


def command_line() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="posezoo", description="A model zoo for human pose estimation.", epilog=EXAMPLES, formatter_class=raw
    )
    parser.add_argument("--version", action="version", version=f"posezoo {posezoo.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--flip", action="store_true", help="average with the predictions for the mirrored input")
    shared.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:1; defaults to the GPU if there is one")
    shared.add_argument("--precision", choices=("fp32", "bf16"), default="fp32",
                        help="of the network for images; bf16 is automatic mixed precision")  # fmt: skip
    shared.add_argument("--batch-size", type=int, metavar="N", help="people, or frames, per forward pass")
    shared.add_argument("--quiet", action="store_true", help="no report, no progress bar, no warnings; errors only")

    predict = commands.add_parser("predict", help="predict the keypoints of the people in images", parents=[shared],
                                  formatter_class=raw, description=PREDICT_HELP, epilog=PREDICT_EXAMPLES)  # fmt: skip
    predict.add_argument("images", nargs="+", metavar="IMG", help="files, folders, patterns, or -; see above")
    predict.add_argument("--out", type=Path, metavar="DIR", help="write drawings of the skeletons, one PNG per image")
    predict.add_argument("--json", type=Path, metavar="FILE", help="write COCO results; - for the standard output")
    predict.add_argument("--model", metavar="NAME", help="see `posezoo list --pretrained`")
    where = predict.add_mutually_exclusive_group()
    where.add_argument("--box", nargs=4, type=float, action="append", metavar=("X1", "Y1", "X2", "Y2"),
                       help="box of a person, in pixels; may be repeated; for one image")  # fmt: skip
    where.add_argument("--detector", metavar="NAME", help="person detector: FILE.onnx, hf-hub:org/name or "
                       "local-dir:/path; defaults to one person per image")  # fmt: skip
    predict.add_argument("--no-second-pass", dest="second_pass", action="store_false",
                       help="do not crop the person found in the whole image once more")  # fmt: skip
    predict.add_argument(
        "--threshold", type=float, default=0.3, help="lowest score of drawn keypoints, 0 to 1; defaults to 0.3"
    )
    predict.add_argument("--skeleton", metavar="NAME", help="skeleton of the results, for instance coco17")
    for name, what in (("names", "names of the keypoints"), ("legend", "meaning of the colours"), ("boxes", "boxes")):
        predict.add_argument(f"--{name}", action="store_true", help=f"draw the {what} too")
    predict.set_defaults(run=run_predict)

    lift = commands.add_parser("lift", help="lift the keypoints of a video to 3D", parents=[shared],
                               formatter_class=raw, description=LIFT_HELP, epilog=LIFT_EXAMPLES)  # fmt: skip
    lift.add_argument("input", type=Path, metavar="VIDEO", help="keypoints or frames, see above")
    lift.add_argument("--out", type=Path, metavar="DIR", help="write an animated GIF and a contact sheet, PNG")
    lift.add_argument("--json", type=Path, metavar="FILE", help="write the poses; - for the standard output")
    lift.add_argument("--model", metavar="NAME", help="a lifter; see `posezoo list --pretrained`")
    lift.add_argument("--skeleton", metavar="NAME", help="skeleton of the keypoints, for files without one")
    lift.add_argument("--min-score", type=float, default=0.3, metavar="S",
                      help="keypoints with a lower score are missing; defaults to 0.3")  # fmt: skip
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
    names.add_argument("filter", nargs="?", default="", metavar="FILTER", help="wildcards, for instance '*hourglass*'")
    names.add_argument(
        "--pretrained", action="store_true", help="list weights instead, with input size, skeleton, metrics and licence"
    )
    names.set_defaults(run=run_list)

    info = commands.add_parser("info", help="print paper, size and cost of a model, and the record of its weights")
    info.add_argument("name", metavar="NAME", help="arch or arch.tag")
    info.add_argument("--json", action="store_true", help="print JSON")
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

    completion = commands.add_parser("completion", help="print a script that completes commands, options and names",
                                     formatter_class=raw, description=COMPLETION_HELP)  # fmt: skip
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="your shell")
    completion.set_defaults(run=run_completion)
    return parser


def run_predict(options: argparse.Namespace) -> int:
    from posezoo.prediction import DEFAULT_MODEL, predict_stream
    from posezoo.progress import say, with_progress
    from posezoo.writing import save_image

    _check_options(options)
    if not 0 <= options.threshold <= 1:
        raise ValueError(f"--threshold: expected a number from 0 to 1, got {options.threshold:g}")
    paths = _images(options.images)
    if options.box and len(paths) > 1:
        raise ValueError("--box is for one image; call once per image")
    _check_not_inputs({"--json": options.json}, [*paths, Path(options.detector or "-")])
    targets = _drawing_paths(paths, options.out, options.json) if options.out else {}
    stream = predict_stream(
        paths,
        options.model or DEFAULT_MODEL,
        [options.box] if options.box else None,
        damaged="yield",
        detector=options.detector,
        second_pass=options.second_pass,
        flip=options.flip,
        batch_size=options.batch_size,
        precision=options.precision,
        device=options.device,
    )
    report = sys.stderr if str(options.json) == "-" else sys.stdout
    errors: list[ValueError] = []
    everyone = with_progress(stream, len(paths), False if options.quiet else None, "image")
    with _json_list(options.json) as write:
        for number, (path, people) in enumerate(zip(paths, everyone, strict=True)):
            if isinstance(people, ValueError):
                errors.append(people)
                say(f"posezoo: {people}", sys.stderr)
                continue
            confident = int((people.scores >= options.threshold).sum())
            line = (
                f"{path}: {len(people)} box{'es' * (len(people) != 1)}, {confident} of {people.scores.size} keypoints"
            )
            if path in targets:
                drawn = people.draw(
                    threshold=options.threshold, names=options.names, legend=options.legend, boxes=options.boxes
                )
                line += f", drawn in {save_image(targets[path], drawn)}"
            for person in people.to_coco(image_id=number, skeleton=options.skeleton):
                write({"file_name": str(path), **person})
            if not options.quiet:
                say(line, report)
    if len(paths) > 1 and errors:
        say(f"posezoo: {len(errors)} of {len(paths)} images could not be read", sys.stderr)
    return (1 if len(errors) < len(paths) else 2) if errors else 0


@contextlib.contextmanager
def _json_list(target: Path | None) -> Iterator[Callable[[Any], None]]:
    """Yield a function that appends to a JSON list, in a file that is renamed at the end, or on the standard output.

    After an error what was written stays in the unfinished file, as a complete list.
    """
    if target is None:
        yield lambda _: None
        return
    to_stdout = str(target) == "-"
    part = target.with_name(f"{target.stem}.{os.getpid()}.part{target.suffix}")
    with contextlib.nullcontext(sys.stdout) if to_stdout else part.open("w", encoding="utf-8") as file:
        count = 0

        def write(entry: Any) -> None:
            nonlocal count
            file.write((",\n" if count else "[\n") + json.dumps(entry))
            count += 1

        try:
            yield write
        except BaseException:
            if count and not to_stdout:
                print(f"posezoo: {part} holds the results up to here", file=sys.stderr)
            elif not to_stdout:
                part.unlink()
            raise
        finally:
            file.write("\n]\n" if count else "[]\n")
    if not to_stdout:
        part.replace(target)


def _images(arguments: Sequence[str]) -> list[Path]:
    """List the images of files, folders, patterns, and - for the paths on the standard input."""
    from posezoo.data.detections import in_order

    paths: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if argument == "-":
            found = [Path(line) for line in sys.stdin.read().splitlines() if line.strip()]
            problem = "-: there are no paths on the standard input, one a line"
        elif path.is_dir():
            found = [file for file in in_order(path) if file.suffix.lower() in FRAME_FILES]
            problem = f"{path}: there are no images in this folder, {' '.join(FRAME_FILES)}"
        elif glob.has_magic(argument) and not path.exists():
            found = [Path(file) for file in sorted(glob.glob(argument, recursive=True)) if Path(file).is_file()]
            problem = f"{argument}: no file has such a name"
        else:
            found, problem = [path], ""
        if not found:
            raise ValueError(problem)
        paths += found
    return paths


def _check_options(options: argparse.Namespace) -> None:
    """Check what `predict` and `lift` share, and make the folders of their files."""
    import torch

    if options.batch_size is not None and options.batch_size < 1:
        raise ValueError(f"--batch-size: expected 1 or more, got {options.batch_size}")
    if options.device is not None:
        try:
            torch.empty(0, device=options.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(f"--device: {options.device} is not available here; cpu always is ({reason})") from error
    if options.json and str(options.json) != "-" and options.json.is_dir():
        raise ValueError(f"--json: expected a file, {options.json} is a folder")
    folders = {"--out": options.out, "--json": options.json.parent if options.json else None}
    for name, folder in folders.items():
        if folder is not None:
            existing = next(path for path in (folder, *folder.parents) if path.exists())
            if not existing.is_dir():
                raise ValueError(f"{name}: expected a folder, {existing} is a file")
    for folder in folders.values():
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)  # first, because it may fail


def _check_not_inputs(outputs: dict[str, Path | None], inputs: Sequence[Path]) -> None:
    """Raise if an output of a command is one of its inputs, by whatever name."""
    for name, output in outputs.items():
        if output is not None and str(output) != "-" and output.exists():
            for path in inputs:
                if path.exists() and output.samefile(path):
                    raise ValueError(f"{name}: {output} is an input of this command; choose another name")


def run_completion(options: argparse.Namespace) -> None:
    from posezoo.completion import script

    models = posezoo.list_models()
    weights = posezoo.list_models(include_tags=True)
    names = {
        "--model": weights, "--image-model": weights, "name": weights, "filter": models,
        "--skeleton": posezoo.list_skeletons(), "--device": ["cpu", "cuda"],
    }  # fmt: skip
    print(script(options.shell, command_line(), names), end="")


def run_lift(options: argparse.Namespace) -> None:
    from posezoo.data.detections import read_keypoints
    from posezoo.lifting import DEFAULT_MODEL, IMAGE_MODEL, predict_single_person
    from posezoo.writing import replacing

    frames = _frames(options.input)
    for name, value in {"--box": options.box, "--image-model": options.image_model}.items():
        if value and not frames:
            raise ValueError(f"{name}: for a folder of images, {options.input} is none")
    if not 0 < options.fps < math.inf:
        raise ValueError(f"--fps: expected a positive number, got {options.fps:g}")
    to_stdout = str(options.json) == "-"
    for target in (options.out, None if to_stdout else options.json):
        if target and options.input.resolve() in (target.resolve(), *target.resolve().parents):
            raise ValueError(f"{target}: choose another place than the input, {options.input}")
    _check_options(options)

    progress = False if options.quiet else None
    run = {"flip": options.flip, "device": options.device, "progress": progress}
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", UserWarning)
        if frames:
            sizes = {"batch_size": options.batch_size, "precision": options.precision}
            people = predict_single_person(frames, options.image_model or IMAGE_MODEL, options.box, **run, **sizes)
            video: dict[str, Any] = {"keypoints": people, "skeleton": options.skeleton}
        else:
            video = read_keypoints(options.input, options.skeleton)
            run["batch_size"] = options.batch_size or 4096
        poses = posezoo.lift(**video, model=options.model or DEFAULT_MODEL, min_score=options.min_score, **run)
    for text in dict.fromkeys(str(warning.message) for warning in noted):
        if not options.quiet:
            print(f"posezoo: warning: {text}", file=sys.stderr)

    if to_stdout:
        print(json.dumps(poses.to_dict()))
    elif options.json:
        with replacing(options.json) as part:
            part.write_text(json.dumps(poses.to_dict()) + "\n", encoding="utf-8")
    line = f"{options.input}: {len(poses)} frame{'s' * (len(poses) != 1)}"
    if options.out:
        whole = options.input.resolve() if options.input.exists() else options.input.resolve().parent  # of a pattern
        name = whole.stem if whole.is_file() else whole.name
        line += f", drawn in {_draw_video(options.out / name, poses, frames, options.fps, progress)}"
    if not options.quiet:
        print(line, file=sys.stderr if to_stdout else sys.stdout)


def _frames(folder: Path) -> list[Path]:
    """List the images in a folder or of a pattern; empty for a file, and for a folder of OpenPose's json."""
    from posezoo.data.detections import in_order

    if not folder.is_dir():
        return _images([str(folder)]) if glob.has_magic(str(folder)) and not folder.exists() else []
    files = in_order(folder)
    frames = [file for file in files if file.suffix.lower() in FRAME_FILES]
    tables = [file for file in files if file.suffix.lower() == ".json"]
    if bool(frames) == bool(tables):
        found = "both images and" if frames else "neither images nor OpenPose's"
        raise ValueError(f"{folder}: there are {found} .json files in this folder; a video is a folder of one of them")
    return frames


def _draw_video(target: Path, poses: Any, frames: Sequence[Path], fps: float, progress: bool | None) -> Path:
    """Write an animation of all frames and a contact sheet of twelve."""
    from posezoo.progress import with_progress
    from posezoo.viz import contact_sheet, save_gif
    from posezoo.writing import save_image

    drawn = with_progress(poses.pictures(frames or None), len(poses), progress, "frame", "drawing")
    animation = save_gif(f"{target}.gif", drawn, fps=fps)
    some = sorted({round(number * (len(poses) - 1) / 11) for number in range(12)})
    pictures = poses.pictures(frames or None, index=some, size=192)
    labels = [f"\nframe {frame}" for frame in some]  # below the name of the view
    save_image(f"{target}.png", contact_sheet(pictures, labels, columns=2))
    return animation


def run_evaluate(options: argparse.Namespace) -> None:
    from posezoo.evaluate import evaluate_files
    from posezoo.writing import replacing

    _check_not_inputs({"--json": options.json}, [options.predictions, options.gt])
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
        with replacing(options.json) as part:
            part.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def run_list(options: argparse.Namespace) -> None:
    from posezoo.catalogue import MODEL_COLUMNS, WEIGHTS_COLUMNS, model_row, table, terminal_width, weights_row

    names = posezoo.list_models(options.filter, include_tags=options.pretrained)
    if options.pretrained:
        names = [name for name in names if "." in name]
    if not names:
        wanted = f" matches {options.filter!r}" if options.filter else ""
        raise ValueError(f"no model{' with weights' if options.pretrained else ''}{wanted}; `posezoo list` shows all")
    header = WEIGHTS_COLUMNS if options.pretrained else MODEL_COLUMNS
    rows = [weights_row(name) if options.pretrained else model_row(name) for name in names]
    print(table(header, rows, terminal_width()))


def run_convert(options: argparse.Namespace) -> None:
    from posezoo.convert import convert_file

    if not options.file.name or options.file.is_dir():
        raise ValueError(f"{options.file} is a folder; expected a file of weights")
    out = options.out or options.file.with_name(options.file.name.partition(".")[0] or "network")
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
    from posezoo.catalogue import describe, facts

    print(json.dumps(facts(options.name), indent=1) if options.json else describe(options.name))


def _drawing_paths(images: Sequence[Path], folder: Path, other: Path | None) -> dict[Path, Path]:
    """Choose one PNG per image in `folder`, with numbers where names repeat or are taken, as by `other`."""
    taken = {image.resolve() for image in (*images, *([other] if other else []))}
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
