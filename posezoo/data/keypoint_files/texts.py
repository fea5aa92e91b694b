"""Detected keypoints in JSON, one function per format.

| format | written by | `frame` |
|---|---|---|
| `openpose` | OpenPose, AlphaPose's `--format open` and `cmu` | a file |
| `coco_results` | COCO's tools, AlphaPose, `posezoo predict --json` | `image_id` |
| `coco_annotations` | annotation tools | `images`, in order |
| `mmpose` | mmpose's inferencer | `frame_id`, or a file |
| `by_image` | AlphaPose, as a dictionary | key |
| `mediapipe` | MediaPipe's landmarks, dumped | place in the list |
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posezoo.data.coco import keypoint_category
from posezoo.data.keypoint_files.frames import Frames, by_frame, name_of
from posezoo.foreign import printable
from posezoo.skeletons import get_skeleton

OPENPOSE = ("openpose18", "body25", "body25b")
OPENPOSE_KEYS = ("pose_keypoints_2d", "pose_keypoints", "body_parts", "joints")  # today's, 1.0's, older; AlphaPose's
OPENPOSE_COUNTS = (15, 16, 17, 18, 19, 25, 26, 133, 135, 136)  # of MPI, MPII, COCO, OpenPose, whole bodies, Halpe
EXPECTED = (
    "expected COCO results, a list of image_id and keypoints, or COCO annotations with images, or OpenPose's people, "
    "or mmpose's instance_info, or MediaPipe's pose_landmarks"
)
# MediaPipe's documentation of the pose landmarker, in our spelling
MEDIAPIPE = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "left_mouth", "right_mouth", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index",
    "left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    "left_heel", "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
LANDMARKS = ("pose_landmarks", "poseLandmarks", "landmarks", "landmark")


def read_json_frames(
    content: Any, path: Path, *, count: int | None = None, size: tuple[int, int] | None = None
) -> Frames:
    """Recognise the format of a JSON file and return the people of each frame.

    Args:
        content: of the file.
        path: for error messages.
        count: number of keypoints, if known; tells lists of x, y from lists of x, y, score.
        size: (H, W) of the images, for coordinates in fractions of them.

    Raises:
        ValueError: another format, or a wrong value.
    """
    first = content[0] if isinstance(content, list) and content else None
    try:
        if isinstance(content, dict):
            if "people" in content or "bodies" in content:
                return openpose([content], path, count)
            if "instance_info" in content:
                return mmpose(content["instance_info"], path, content.get("meta_info"))
            if "annotations" in content:
                return coco_annotations(content, path, count)
            if "frames" in content or any(key in content for key in LANDMARKS):
                return mediapipe(content, path, size)
            if content and all(isinstance(value, dict | list) for value in content.values()):
                return by_image(content, path, count)
        elif isinstance(first, dict) and "image_id" in first:
            return coco_results(content, path, count)
        elif isinstance(first, dict) and ("instances" in first or "keypoint_scores" in first):
            return mmpose(content if "instances" in first else [{"frame_id": 0, "instances": content}], path)
        elif content and isinstance(content, list) and _is_mediapipe(content):
            return mediapipe({"frames": content}, path, size)
        elif content == []:
            return Frames([])
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: {EXPECTED}; {type(error).__name__}: {printable(str(error))}") from None
    raise ValueError(f"{path}: {EXPECTED}")


def openpose(contents: Sequence[Any], path: Path, count: int | None = None) -> Frames:
    """Read OpenPose's frames: `people` with `pose_keypoints_2d`, or the key of OpenPose 1.0.

    People without a body, of whom only a face or hands were found, are left out.
    """
    frames, scored = [], []
    for content in contents:
        people = []
        for person in _people(content, path):
            values: Any = next((person[key] for key in OPENPOSE_KEYS if key in person), [])
            if len(values):
                keypoints, has_scores = _keypoints(values, path, count, OPENPOSE_COUNTS)
                people.append(keypoints)
                scored.append(has_scores)
        frames.append(people)
    found = {len(keypoints) for people in frames for keypoints in people}
    fitting = [name for name in OPENPOSE if found == {len(get_skeleton(name))}]
    if len(fitting) > 1 and count is None:
        raise ValueError(f"{path}: {found.pop()} keypoints of OpenPose are {' or '.join(fitting)}; say which")
    return Frames(frames, fitting[0] if len(fitting) == 1 else None, all(scored))


def _people(content: Any, path: Path) -> list[dict[str, Any]]:
    people = content.get("people", content.get("bodies")) if isinstance(content, dict) else None
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise ValueError(f"{path}: expected OpenPose's people with their pose_keypoints_2d")
    partial = ("face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d", "face_keypoints")
    if any(not any(key in person for key in (*OPENPOSE_KEYS, *partial)) for person in people):
        raise ValueError(f"{path}: expected OpenPose's people with their pose_keypoints_2d")
    return people


def by_image(content: Mapping[str, Any], path: Path, count: int | None = None) -> Frames:
    """Read AlphaPose's dictionary: OpenPose's or CMU's people, or COCO's results, by image."""
    if all(isinstance(value, dict) for value in content.values()):
        frames = openpose(list(content.values()), path, count)
    else:
        some = [[_keypoints(entry["keypoints"], path, count) for entry in value] for value in content.values()]
        scored = all(flag for people in some for _, flag in people)
        frames = Frames([[keypoints for keypoints, _ in people] for people in some], None, scored)
    return Frames(by_frame(list(content), frames.people, path), frames.skeleton, frames.scored)


def coco_results(content: Sequence[Any], path: Path, count: int | None = None) -> Frames:
    """Read COCO results, also AlphaPose's; each `image_id` is a frame."""
    people = [_keypoints(entry["keypoints"], path, count) for entry in content]
    frames = by_frame([entry["image_id"] for entry in content], [[keypoints] for keypoints, _ in people], path)
    return Frames(frames, None, all(scored for _, scored in people))


def coco_annotations(content: Mapping[str, Any], path: Path, count: int | None = None) -> Frames:
    """Read COCO annotations of one category; annotations without keypoints are left out."""
    order = {image["id"]: number for number, image in enumerate(content["images"])}
    frames: list[list[np.ndarray]] = [[] for _ in order]
    category, scored = keypoint_category(content, path), []
    for entry in content["annotations"]:
        if entry.get("keypoints") in (None, []) or (category and entry.get("category_id") != category["id"]):
            continue
        if entry["image_id"] not in order:
            raise ValueError(f"{path}: image_id {printable(str(entry['image_id']))} is not one of its images")
        keypoints, has_scores = _keypoints(entry["keypoints"], path, count)
        frames[order[entry["image_id"]]].append(keypoints)
        scored.append(has_scores)
    names = (category or {}).get("keypoints")
    return Frames(frames, name_of(names) if names else None, all(scored))


def mmpose(content: Sequence[Any], path: Path, meta: Mapping[str, Any] | None = None) -> Frames:
    """Read the `instance_info` of mmpose's inferencer, with the names of its `meta_info`."""
    people = []
    for frame in content:
        some = []
        for instance in frame["instances"]:
            points = _floats(instance["keypoints"], path)
            scores = _floats(instance.get("keypoint_scores", np.ones(len(points))), path)
            if points.ndim != 2 or points.shape[1] < 2 or scores.shape != points.shape[:1]:
                raise ValueError(f"{path}: expected keypoints [[x, y], ...] with as many keypoint_scores")
            some.append(np.concatenate([points[:, :2], scores[:, None]], axis=1))
        people.append(some)
    names = (meta or {}).get("keypoint_id2name")
    listed = list(names.values() if isinstance(names, dict) else names or [])
    ids = [frame.get("frame_id", number) for number, frame in enumerate(content)]
    return Frames(by_frame(ids, people, path), name_of(listed) if listed else None)


def mediapipe(content: Mapping[str, Any], path: Path, size: tuple[int, int] | None = None) -> Frames:
    """Read MediaPipe's landmarks: x and y are fractions of the image, the score is `visibility`.

    `content` is the landmarks of one image, or `frames`, a list of them. The size of the images is
    its `height` and `width`, or `size`.
    """
    height, width = size or (content.get("height", content.get("image_height")), content.get("width"))
    width = content.get("image_width", width) if size is None else width
    if not height or not width:
        raise ValueError(f"{path}: MediaPipe's landmarks are fractions of the image; pass its size=(height, width)")
    frames = []
    for frame in content.get("frames", [content]):
        people = []
        for landmarks in _mediapipe_people(frame):
            numbers = [[mark["x"], mark["y"], mark.get("visibility", 1.0)] for mark in landmarks]
            person = _floats(numbers, path).reshape(-1, 3)
            # fractions count from the edge of the image, pixels from the centre of the first one
            person[:, :2] = person[:, :2] * (float(width), float(height)) - 0.5
            people.append(person)
        frames.append(people)
    counts = {len(person) for people in frames for person in people}
    return Frames(frames, list(MEDIAPIPE) if counts == {len(MEDIAPIPE)} else None)


def _mediapipe_people(frame: Any) -> list[Any]:
    """Lists of landmarks of the people of a frame."""
    while isinstance(frame, dict):
        frame = next((frame[key] for key in LANDMARKS if key in frame), None)
    if not frame:
        return []
    if isinstance(frame[0], dict) and "x" in frame[0]:
        return [frame]
    return [person["landmark"] if isinstance(person, dict) else person for person in frame]


def _is_mediapipe(content: Sequence[Any]) -> bool:
    def landmark(item: Any) -> bool:
        return isinstance(item, dict) and "x" in item and "y" in item

    return any(
        landmark(frame)
        or (isinstance(frame, dict) and any(key in frame for key in LANDMARKS))
        or (isinstance(frame, list) and frame and (landmark(frame[0]) or isinstance(frame[0], list)))
        for frame in content
    )


def _keypoints(values: Any, path: Path, count: int | None, usual: Sequence[int] = ()) -> tuple[np.ndarray, bool]:
    """x, y, score of one person, `(K, 3)`, and whether the scores are the file's."""
    numbers = _floats(values, path)
    if numbers.ndim == 2 and numbers.shape[1] in (2, 3):  # [[x, y, score], ...]
        width = numbers.shape[1]
    else:
        # 36 numbers are 18 pairs or 12 triples: the number of keypoints decides
        wanted = (count,) if count and numbers.size in (2 * count, 3 * count) else usual
        sizes = [width for width in (3, 2) if numbers.size % width == 0 and numbers.size // width in wanted]
        width = sizes[0] if sizes else 3
        if numbers.ndim != 1 or not numbers.size or numbers.size % width:
            raise ValueError(
                f"{path}: expected keypoints [x1, y1, score1, x2, ...], got {printable(str(values), 60)}; for x and y "
                "without confidence say which skeleton"
            )
    numbers = numbers.reshape(-1, width)
    if width == 3:
        return numbers, True
    known = np.isfinite(numbers).all(axis=1) & (numbers != 0).any(axis=1)  # (0, 0) stands for a missing keypoint
    return np.concatenate([numbers, known[:, None]], axis=1), False


def _floats(values: Any, path: Path) -> np.ndarray:
    try:
        return np.array(values, float)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"{path}: expected keypoints [x1, y1, score1, ...], got {printable(str(values), 60)}"
        ) from None
