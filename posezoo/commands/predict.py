"""`posezoo predict`: keypoints of images, videos and webcams, drawn and as JSON."""

import argparse
import contextlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from posezoo.commands.sources import (
    check_not_inputs,
    check_options,
    detector_of,
    free_path,
    list_sources,
    warnings_as_lines,
)

Write = Callable[[Any], None]


def run_predict(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from posezoo.progress import say
    from posezoo.video import is_video

    check_options(options)
    if not 0 <= options.threshold <= 1:
        raise ValueError(f"--threshold: expected a number from 0 to 1, got {options.threshold:g}")
    sources = list_sources(options.images)
    if options.box and len(sources) > 1:
        raise ValueError("--box is for one image or one video; call once for each")
    moving = {source: isinstance(source, int) or is_video(source) for source in sources}
    if (options.track or options.smooth) and not all(moving.values()):
        still = next(source for source, video in moving.items() if not video)
        raise ValueError(f"--track and --smooth are for videos, {still} is none; leave them out")
    check_not_inputs({"--json": options.json}, [*sources, Path(options.detector)])
    targets = _targets(sources, moving, options.out, options.json) if options.out else {}
    errors, number = 0, 0  # of the next image or frame, its id in COCO's results
    with _json_list(options.json) as write, warnings_as_lines(options.quiet):
        for video, group in itertools.groupby(sources, moving.__getitem__):
            if not video:
                paths = list(group)
                errors += _predict_images(paths, options, targets, write, number)
                number += len(paths)
                continue
            for source in group:
                try:
                    number += _predict_video(source, options, targets.get(source), write, number)
                except (ValueError, ImportError) as error:
                    if len(sources) == 1 or isinstance(error, ImportError):
                        raise
                    errors += 1
                    say(f"posezoo: {error}", sys.stderr)
    if len(sources) > 1 and errors:
        kind = "inputs" if any(moving.values()) else "images"
        say(f"posezoo: {errors} of {len(sources)} {kind} could not be read", sys.stderr)
    return (1 if errors < len(sources) else 2) if errors else 0


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    from posezoo.prediction import DEFAULT_MODEL

    names = ("second_pass", "flip", "scales", "batch_size", "precision", "device")
    named = {"model": options.model or DEFAULT_MODEL, "detector": detector_of(options)}
    return {**named, **{name: getattr(options, name) for name in names}}


def _predict_images(
    paths: Sequence[Any], options: argparse.Namespace, targets: dict[Any, Path], write: Write, first: int
) -> int:
    """Predict for images and return how many could not be read."""
    from posezoo.prediction import predict_stream
    from posezoo.progress import say, with_progress
    from posezoo.writing import save_image

    boxes = [options.box] if options.box else None
    stream = predict_stream(paths, boxes=boxes, damaged="yield", **_settings(options))
    errors = 0
    everyone = with_progress(stream, len(paths), False if options.quiet else None, "image")
    for number, (path, people) in enumerate(zip(paths, everyone, strict=True), first):
        if isinstance(people, ValueError):
            errors += 1
            say(f"posezoo: {people}", sys.stderr)
            continue
        confident = int((people.scores >= options.threshold).sum())
        line = f"{path}: {len(people)} box{'es' * (len(people) != 1)}, {confident} of {people.scores.size} keypoints"
        if path in targets:
            line += f", drawn in {save_image(targets[path], _draw(people, None, options))}"
        for person in people.to_coco(image_id=number, skeleton=options.skeleton):
            write({"file_name": str(path), **person})
        _report(line, options)
    return errors


def _predict_video(
    source: Path | int, options: argparse.Namespace, target: Path | None, write: Write, first: int
) -> int:
    """Predict for the frames of a video or a webcam, and return their number."""
    from posezoo.prediction import predict_stream
    from posezoo.progress import with_progress
    from posezoo.video import VideoWriter, read_video

    video, webcam = read_video(source), isinstance(source, int)
    frames, again = itertools.tee(video)  # holds the frames of one batch
    settings = {**_settings(options), "track": options.track, "smooth": options.smooth}
    if webcam:
        settings["batch_size"] = options.batch_size or 1  # at once
    stream = predict_stream(frames, boxes=itertools.repeat(options.box) if options.box else None, **settings)
    everyone = with_progress(stream, video.num_frames, False if options.quiet else None, "frame", str(source))
    count = people_count = 0
    ids: set[int] = set()
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(VideoWriter(target, video.fps)) if target else None
        record = stack.enter_context(_json_list(target.with_suffix(".json"))) if target else None
        if webcam:
            stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        for people, frame in zip(everyone, again, strict=False):
            if writer and record:
                writer.write(_draw(people, frame.image, options), frame.time)
                shown = people.to(options.skeleton) if options.skeleton else people
                record({"frame": count, **shown.to_dict(), "file_name": str(source)})
            for person in people.to_coco(image_id=first + count, skeleton=options.skeleton):
                write({"file_name": str(source), "frame": count, "time": round(frame.time, 6), **person})
            count, people_count = count + 1, people_count + len(people)
            ids |= set() if people.ids is None else set(people.ids.tolist())
    line = f"{source}: {count} frame{'s' * (count != 1)}, {people_count / max(count, 1):.3g} people per frame"
    line += f", {len(ids)} id{'s' * (len(ids) != 1)}" * bool(options.track or options.smooth)
    _report(line + f", drawn in {target}" * bool(target), options)
    return count


def _draw(people: Any, image: Any, options: argparse.Namespace) -> Any:
    return people.draw(
        image, threshold=options.threshold, names=options.names, legend=options.legend, boxes=options.boxes
    )


def _report(line: str, options: argparse.Namespace) -> None:
    from posezoo.progress import say

    if not options.quiet:
        say(line, sys.stderr if str(options.json) == "-" else sys.stdout)


@contextlib.contextmanager
def _json_list(target: Path | None) -> Iterator[Write]:
    """Yield a function that appends to a JSON list, in a whole file or on the standard output.

    After an error what was written stays in the unfinished file, as a complete list.
    """
    from posezoo.progress import say
    from posezoo.writing import replacing

    if target is None:
        yield lambda _: None
    elif str(target) == "-":
        with _appending(sys.stdout) as write:
            yield write
    else:
        with replacing(target) as part:
            try:
                with part.open("w", encoding="utf-8") as file, _appending(file) as write:
                    yield write
            except BaseException:
                if part.stat().st_size > len("[]\n"):
                    kept = part.replace(target.with_name(f"{target.stem}.part{target.suffix}"))
                    say(f"posezoo: {kept} holds the results up to here", sys.stderr)
                raise


@contextlib.contextmanager
def _appending(file: TextIO) -> Iterator[Write]:
    """Yield a function that appends to the JSON list in a file, and close the list at the end."""
    count = 0

    def write(entry: Any) -> None:
        nonlocal count
        file.write((",\n" if count else "[\n") + json.dumps(entry))
        count += 1

    try:
        yield write
    finally:
        file.write("\n]\n" if count else "[]\n")


def _targets(sources: Sequence[Any], moving: dict[Any, bool], folder: Path, other: Path | None) -> dict[Any, Path]:
    """Choose a PNG per image and an MP4 per video; numbers distinguish equal names, and `other`."""
    taken = {source.resolve() for source in (*sources, other) if isinstance(source, Path)}
    targets = {}
    for source in dict.fromkeys(sources):
        stem = f"webcam{source}" if isinstance(source, int) else source.stem
        target = free_path(folder, stem, ".mp4" if moving[source] else ".png", taken)
        taken.add(target.resolve())
        targets[source] = target
    return targets
