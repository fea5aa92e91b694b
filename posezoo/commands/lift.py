"""`posezoo lift`: 3D poses of a video, of frames or of 2D keypoints."""

import argparse
import glob
import json
import math
import sys
from pathlib import Path
from typing import Any

from posezoo.commands.sources import (
    DETECTOR,
    IMAGE_FILES,
    check_options,
    detector_of,
    free_path,
    list_sources,
    warnings_as_lines,
)

FORMATS = ("gif", "png")  # of keypoints and frames
VIDEO_FORMATS = ("mp4", "png", "bvh", "json")
DRAWN = ("gif", "mp4", "png")


def run_lift(options: argparse.Namespace) -> None:
    """Run the command."""
    from posezoo.data.detections import read_keypoints
    from posezoo.lifting import DEFAULT_MODEL, IMAGE_MODEL, lift
    from posezoo.video import is_video, read_video
    from posezoo.writing import replacing

    frames: Any = options.input if is_video(options.input) else _frames(options.input)
    if options.fps is not None and not 0 < options.fps < math.inf:
        raise ValueError(f"--fps: expected a positive number, got {options.fps:g}")
    detector = options.detector if options.detector != DETECTOR else None
    of_video = {"--box": options.box, "--image-model": options.image_model, "--detector": detector}
    for name, value in of_video.items():
        if value and not frames:
            raise ValueError(f"{name}: for a video or a folder of images, {options.input} is none")
    if options.skeleton and frames:
        raise ValueError(f"--skeleton: for keypoints, {options.input} has none; the network's are known")
    if options.size and (frames or min(options.size) < 1):
        raise ValueError(f"--size: expected two positive numbers for a file of keypoints, got {options.size}")
    to_stdout = str(options.json) == "-"
    for target in (options.out, None if to_stdout else options.json):
        if target and not is_video(options.input) and options.input.resolve() in (
            target.resolve(), *target.resolve().parents
        ):  # fmt: skip
            raise ValueError(f"{target}: choose another place than the input, {options.input}")
    check_options(options)

    settings = {"flip": options.flip, "device": options.device, "precision": options.precision,
                "smooth": options.smooth, "batch_size": options.batch_size, "min_score": options.min_score,
                "progress": False if options.quiet else None, "fps": options.fps}  # fmt: skip
    with warnings_as_lines(options.quiet):
        if frames:
            image_model = options.image_model or IMAGE_MODEL
            found = {"image_model": image_model, "box": options.box, "detector": detector_of(options)}
            poses = lift(frames, options.model or DEFAULT_MODEL, **found, **settings)
        else:
            video = read_keypoints(options.input, options.skeleton, size=tuple(options.size) if options.size else None)
            poses = lift(**video, model=options.model or DEFAULT_MODEL, **settings)
        if is_video(options.input):
            frames = read_video(options.input, fps=poses.fps)
        written = _write(poses, frames or None, options)

    if to_stdout:
        print(json.dumps(poses.to_dict()))
    elif options.json:
        with replacing(options.json) as part:
            part.write_text(json.dumps(poses.to_dict()) + "\n", encoding="utf-8")
    line = f"{options.input}: {len(poses)} frame{'s' * (len(poses) != 1)}"
    if written:
        line += f", {'drawn in' if written[0].suffix[1:] in DRAWN else 'written to'} {written[0]}"
    if not options.quiet:
        print(line, file=sys.stderr if to_stdout else sys.stdout)


def _write(poses: Any, frames: Any, options: argparse.Namespace) -> list[Path]:
    """Write the files of --out."""
    from posezoo.video import is_video

    if not options.out:
        return []
    whole = options.input.resolve() if options.input.exists() else options.input.resolve().parent  # of a pattern
    name = whole.stem if whole.is_file() else whole.name
    formats = options.formats or (VIDEO_FORMATS if is_video(options.input) else FORMATS)
    written = []
    for kind in formats:
        target = free_path(options.out, name, f".{kind}", {whole})  # not the video itself
        written.append(poses.save(target, frames if kind in DRAWN else None, progress=False if options.quiet else None))
    return written


def _frames(folder: Path) -> list[Path]:
    """List the images of a folder or pattern; none for a file or a folder of OpenPose's json."""
    from posezoo.data.detections import in_order

    if not folder.is_dir():
        pattern = glob.has_magic(str(folder)) and not folder.exists()
        return [path for path in list_sources([str(folder)]) if isinstance(path, Path)] if pattern else []
    files = in_order(folder)
    frames = [file for file in files if file.suffix.lower() in IMAGE_FILES]
    tables = [file for file in files if file.suffix.lower() == ".json"]
    if bool(frames) == bool(tables):
        found = "both images and" if frames else "neither images nor OpenPose's"
        inside = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())[:5])
        raise ValueError(
            f"{folder}: there are {found} .json files in this folder; a video is a folder of one of them"
            + f". Lift its folders one by one: {inside}" * bool(inside)
        )
    return frames
