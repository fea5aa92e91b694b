"""The command line `posezoo`: predict, lift, evaluate, list, info, convert, export, completion."""

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import posezoo
from posezoo.commands import DETECTOR, run_lift, run_predict
from posezoo.foreign import printable

EXAMPLES = """\
examples:
  posezoo predict photo.jpg --out drawn            keypoints of a photograph, drawn into the folder drawn
  posezoo predict photos --json people.json        of a folder of photographs, as COCO results
  posezoo predict clip.mp4 --track --out drawn     of a video, with ids, as a video
  posezoo lift clip.mp4 --out poses                3D poses of the person in a video
  posezoo list --pretrained                        all weights; posezoo info NAME tells more of one
"""
PREDICT_HELP = """\
Predict the keypoints of the people in images and videos; draw them, or write them as COCO results.

IMG is a file, a folder of images, a quoted pattern such as 'photos/**/*.jpg', - for a list of paths on the standard
input, or the index of a webcam, 0 for the first, until Ctrl-C. People are found by a small detector. An image in which
it finds nobody has one person, who is found in two passes: in the whole image, then in the box of the keypoints of the
first pass. Results are written as they come. An image or a video that cannot be read is named and left out.

--out DIR gets a PNG of each image, and of each video an MP4 with the drawings and a .json with one entry per frame.

exit status: 0, 1 if some of the images could not be read, 2 after any other error
"""
PREDICT_EXAMPLES = """\
examples:
  posezoo predict photo.jpg --out drawn --names --legend
  posezoo predict photos 'more/*.png' --json people.json --quiet
  find . -name '*.jpg' | posezoo predict - --json - > people.json
  posezoo predict group.jpg --box 10 20 200 400 --box 220 15 400 410 --out drawn --boxes
  posezoo predict clip.mp4 --detector yolox_s.onnx --track --smooth one-euro --out drawn
"""
LIFT_EXAMPLES = """\
examples:
  posezoo lift clip.mp4 --out poses --smooth one-euro
  posezoo lift frames --out poses --formats mp4 bvh --json poses.json
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
and the 2D metrics, of a video of one person, files of 2D keypoints: OpenPose's and mmpose's .json, AlphaPose's
results, MediaPipe's landmarks with `height` and `width`, VideoPose3D's .npz, DeepLabCut's .csv and .h5, SLEAP's .h5;
and the files of MPII (pos_gt_src, pos_pred_src, jnt_missing, headboxes_src; preds), LSP, LSPET and FLIC (joints, pred)
as distributed. Predictions for the 1,000 test images of LSP are scored on the second half of its annotations. With
--skeleton, pckh on mpii16, pdj on lsp14 and pcp on lsp14 give the tables of those datasets.

--protocol scores 3D poses by a published protocol of Human3.6M or HumanEva: martinez-1, martinez-2, hossain-1,
hossain-2, rpsm-h36m, rpsm-humaneva, hossain-humaneva and others. The annotations then also have actions (N,) and
subjects (N,), texts, and for the hossain ones videos (N,).
"""


LIFT_HELP = """\
Lift the person in a video to 3D, in millimetres from the pelvis; write JSON, animations, a contact sheet, BVH.

The input is one of
  .mp4 .mov   and other videos: the largest person, or with --box the one in it
  .json       COCO results, as `posezoo predict --json` and AlphaPose write them, or COCO annotations; mmpose's
              instance_info; MediaPipe's landmarks, which need --size unless the file has height and width
  .npz, .npy  keypoints (T, K, 2) pixels; .npz may also have scores, visible, skeleton; VideoPose3D's .npz
  .csv, .h5   DeepLabCut's; SLEAP's analysis .h5
  a folder of OpenPose's or mmpose's .json files, one per frame
  a folder of images, or a quoted pattern such as 'frames/*.jpg': the frames of a video
--model rpsm takes videos and frames, lifters take everything.
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
FORMATS = ("json", "bvh", "gif", "mp4", "png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 if some images could not be read, or 2 after an error."""
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
    shared.add_argument("--smooth", choices=("one-euro",), help="filter along time")
    shared.add_argument("--quiet", action="store_true", help="no report, no progress bar, no warnings; errors only")

    predict = commands.add_parser("predict", help="predict the keypoints of people in images and videos",
                                  parents=[shared], formatter_class=raw, description=PREDICT_HELP,
                                  epilog=PREDICT_EXAMPLES)  # fmt: skip
    predict.add_argument("images", nargs="+", metavar="IMG", help="files, folders, patterns, webcams, or -; see above")
    predict.add_argument("--out", type=Path, metavar="DIR", help="write drawings of the skeletons")
    predict.add_argument("--json", type=Path, metavar="FILE", help="write COCO results; - for the standard output")
    predict.add_argument("--model", metavar="NAME", help="see `posezoo list --pretrained`")
    where = predict.add_mutually_exclusive_group()
    where.add_argument("--box", nargs=4, type=float, action="append", metavar=("X1", "Y1", "X2", "Y2"),
                       help="box of a person, in pixels; may be repeated; for one image or video")  # fmt: skip
    where.add_argument("--detector", metavar="NAME", default=DETECTOR,
                       help="person detector: default, the package's; FILE.onnx, hf-hub:org/name or local-dir:/path; "
                       "none, for one person per image")  # fmt: skip
    predict.add_argument("--track", action="store_true", help="give each person of a video an id; --smooth does so too")
    predict.add_argument("--no-second-pass", dest="second_pass", action="store_false",
                       help="crop the whole image once, without the default detector")  # fmt: skip
    predict.add_argument("--scales", type=float, nargs="+", metavar="S",
                         help="average at these scales; 0.7 0.8 ... 1.3 is the test of cpm_*")  # fmt: skip
    predict.add_argument(
        "--threshold", type=float, default=0.3, help="lowest score of drawn keypoints, 0 to 1; defaults to 0.3"
    )
    predict.add_argument("--skeleton", metavar="NAME", help="skeleton of the results, for instance coco17")
    for name, what in (("names", "names of the keypoints"), ("legend", "meaning of the colours"), ("boxes", "boxes")):
        predict.add_argument(f"--{name}", action="store_true", help=f"draw the {what} too")
    predict.set_defaults(run=run_predict)

    lift = commands.add_parser("lift", help="lift the person in a video to 3D", parents=[shared],
                               formatter_class=raw, description=LIFT_HELP, epilog=LIFT_EXAMPLES)  # fmt: skip
    lift.add_argument("input", type=Path, metavar="VIDEO", help="video, frames or keypoints, see above")
    lift.add_argument("--out", type=Path, metavar="DIR", help="write the files of --formats")
    lift.add_argument("--formats", nargs="+", choices=FORMATS, metavar="F",
                      help="of the files in --out: json; bvh, the skeleton; gif, mp4, animations; png, a sheet; "
                      "defaults to gif png, for a video mp4 png bvh json")  # fmt: skip
    lift.add_argument("--json", type=Path, metavar="FILE", help="write the poses; - for the standard output")
    lift.add_argument("--model", metavar="NAME", help="a lifter, or rpsm; see `posezoo list --pretrained`")
    lift.add_argument("--skeleton", metavar="NAME", help="skeleton of the keypoints, for files without one")
    lift.add_argument("--size", type=int, nargs=2, metavar=("H", "W"),
                      help="of the images, for MediaPipe's landmarks, which are fractions of it")  # fmt: skip
    lift.add_argument("--min-score", type=float, default=0.3, metavar="S",
                      help="keypoints with a lower score are missing; defaults to 0.3")  # fmt: skip
    lift.add_argument("--fps", type=float, help="frames per second; defaults to 25, for a video to its own")
    lift.add_argument(
        "--image-model", metavar="NAME", help="network for the 2D keypoints of frames; see `posezoo list --pretrained`"
    )
    where = lift.add_mutually_exclusive_group()
    where.add_argument("--box", nargs=4, type=float, metavar=("X1", "Y1", "X2", "Y2"),
                       help="region of the person in all frames, in pixels")  # fmt: skip
    where.add_argument("--detector", metavar="NAME", default=DETECTOR,
                       help="person detector, as of predict; the largest person is lifted")  # fmt: skip
    lift.set_defaults(run=run_lift)

    evaluate = commands.add_parser(
        "evaluate", help="score predictions against annotations", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=EVALUATE_HELP,
    )  # fmt: skip
    evaluate.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="COCO json, .npy, .npz or .mat")
    evaluate.add_argument(
        "--gt", type=Path, required=True, metavar="GROUND_TRUTH", help="annotations, in the same formats"
    )
    how = evaluate.add_mutually_exclusive_group(required=True)
    how.add_argument("--metric", help="one of the metrics above")
    how.add_argument("--protocol", metavar="NAME", help="a protocol, see above")
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

    download = commands.add_parser("download", help="download weights into the cache, for machines without network")
    download.add_argument("names", nargs="+", metavar="NAME", help="arch, arch.tag, or wildcards in quotes")
    download.add_argument("--cache-dir", type=Path, metavar="DIR", help="defaults to the caches that create reads")
    download.set_defaults(run=run_download)

    mirror = commands.add_parser("mirror", help="copy weights into a folder that local-dir: and POSEZOO_MIRROR read")
    mirror.add_argument("folder", type=Path, metavar="DIR", help="gets a folder in posezoo's format for each NAME")
    mirror.add_argument("names", nargs="*", metavar="NAME", help="as for download; defaults to all, many gigabytes")
    mirror.set_defaults(run=run_mirror)

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


def run_completion(options: argparse.Namespace) -> None:
    from posezoo.completion import script

    models = posezoo.list_models()
    weights = posezoo.list_models(include_tags=True)
    names = {
        "--model": weights, "--image-model": weights, "name": weights, "filter": models,
        "--skeleton": posezoo.list_skeletons(), "--device": ["cpu", "cuda"],
    }  # fmt: skip
    print(script(options.shell, command_line(), names), end="")


def run_evaluate(options: argparse.Namespace) -> None:
    from posezoo.commands.sources import check_not_inputs
    from posezoo.evaluate import evaluate_files, evaluate_protocol
    from posezoo.writing import replacing

    check_not_inputs({"--json": options.json}, [options.predictions, options.gt])
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", UserWarning)
        if options.protocol:
            if options.skeleton or options.sigmas or options.threshold is not None:
                raise ValueError("--skeleton, --sigmas and --threshold are for --metric; a protocol has its own")
            score = evaluate_protocol(options.predictions, options.gt, options.protocol)
        else:
            chosen = {name: getattr(options, name) for name in ("skeleton", "sigmas", "threshold", "convention")}
            score = evaluate_files(options.predictions, options.gt, options.metric, **chosen)
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


def run_download(options: argparse.Namespace) -> None:
    from posezoo.mirror import download, fetchable

    for name in fetchable(options.names):
        print(f"{name}  {download(name, options.cache_dir)}", flush=True)


def run_mirror(options: argparse.Namespace) -> None:
    from posezoo.mirror import fetchable, mirror

    for name in fetchable(options.names or ["*"]):
        print(f"{name}  {mirror(name, options.folder)}", flush=True)


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


if __name__ == "__main__":
    sys.exit(main())
