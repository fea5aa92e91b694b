"""COCO's people with keypoints (2017), and files of other keypoints in COCO's format.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.

Reads `person_keypoints_*.json` as distributed, without pycocotools, and selects people as Simple
Baselines and HRNet do: crowds, people without an annotated keypoint and people with an area of zero
are excluded; boxes are clipped to the image. For evaluation, boxes can be read from a file of
detections instead.

The keypoints are those of the file's category, so that the files of annotation tools are read too.
An annotation without `area`, as in CrowdPose, gets 0.53 times the area of its box, which is the
share of a person's segment in the evaluations of CrowdPose and AI Challenger.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from posezoo.arrays import explained, in_fractions
from posezoo.data.files import file_names, read_image
from posezoo.foreign import load_json, printable
from posezoo.skeletons import Skeleton, get_skeleton, list_skeletons

PERSON = 1  # the category's id in COCO's own files
AREA_OF_BOX = 0.53
MAX_SIDE = 1 << 20  # pixels; JPEG has 16 bits for a side


class COCO(Dataset[dict[str, Any]]):
    """COCO's annotated people, or the boxes of a person detector, one sample each.

    Args:
        images: folder of the images, for example `val2017/`.
        annotations: `person_keypoints_val2017.json` or the like; with `detections` also
            `image_info_test-dev2017.json`, of which only the images are used.
        detections: json list of `{"image_id": ..., "bbox": [x, y, w, h], "score": ...,
            "category_id": 1}`, as in the papers' `COCO_val2017_detections_AP_H_56_person.json`: one
            sample per box, in the order of the file, not clipped to the image. Defaults to the
            annotated boxes.
        min_score: minimum score of detections. Defaults to all, as in the papers.
        category: name or id of the category to read. Defaults to the only one with keypoints, or
            of several the one called person.
        skeleton: of the keypoints. Defaults to the names and bones of the file's category, or to
            COCO-17 for 17 keypoints without names.

    Yields samples as `posezoo.data` describes, in the category's order, image by image, with

        index            index of the sample
        image_id         the image's id
        annotation_id    the annotation's id
        area             () float32 square pixels of the person's segment, for OKS

    A detection has no keypoints: `visible` is False throughout, and `score` () float32 replaces
    `annotation_id` and `area`. Annotated keypoints are `visible` whether they are unoccluded (v =
    2) or occluded (v = 1) in the image.

    Annotated boxes are clipped as in Simple Baselines and HRNet, x2 = min(W - 1, max(x, 0) + w -
    1). All boxes are at least one pixel wide and high.

    Raises:
        ValueError: a file is missing or malformed; names the file, the record and the fix.

    Examples:
        >>> import json, tempfile, PIL.Image
        >>> root = Path(tempfile.mkdtemp())
        >>> person = {"id": 7, "image_id": 5, "category_id": 1, "iscrowd": 0, "area": 900.0, "bbox": [-5, 10, 46, 51],
        ...           "num_keypoints": 17, "keypoints": [20, 30, 2] * 17}
        >>> images = [{"id": 5, "file_name": "5.jpg", "width": 120, "height": 100}]
        >>> _ = (root / "people.json").write_text(json.dumps({"images": images, "annotations": [person]}))
        >>> PIL.Image.new("RGB", (120, 100)).save(root / "5.jpg")
        >>> sample = COCO(root, root / "people.json")[0]
        >>> sample["keypoints"].shape, sample["box"].tolist(), sample["annotation_id"]
        (torch.Size([17, 2]), [0.0, 10.0, 45.0, 60.0], 7)
    """

    skeleton = get_skeleton("coco17")  # of COCO's own files

    @explained
    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        *,
        detections: str | Path | None = None,
        min_score: float = 0.0,
        category: str | int | None = None,
        skeleton: str | Skeleton | Sequence[str] | None = None,
    ) -> None:
        self.images, path = Path(images), Path(annotations)
        file = load_json(path, "expected person_keypoints_*.json of COCO's annotations")
        try:
            listed = _read_images(path, file)
            record = keypoint_category(file, path, category)
            self.skeleton = get_skeleton(skeleton) if skeleton is not None else _skeleton(record, file, path)
            kind = PERSON if record is None else record["id"]
            if detections is None:
                people = _read_people(path, file, listed, kind, len(self.skeleton))
            else:
                people = _read_detections(Path(detections), path, listed, min_score, kind, len(self.skeleton))
        except (AttributeError, KeyError, OverflowError, TypeError) as error:
            raise ValueError(
                f"{path}: expected COCO's lists of images, annotations and categories ({printable(repr(error))})"
            ) from error
        if not people:
            raise ValueError(
                f"{detections or path}: expected people to crop, found none; is it a file of people's keypoints?"
            )

        self.image_ids, self.annotation_ids, boxes, keypoints, visible, areas, scores = map(
            list, zip(*people, strict=True)
        )
        self.names = [listed[image][0] for image in self.image_ids]
        self.sizes = [listed[image][1:] for image in self.image_ids]  # (width, height)
        missing = sorted(set(self.names) - _listing(self.images, self.names))
        if missing:
            raise ValueError(
                f"{self.images / missing[0]} is missing, like {len(missing)} of the {len(set(self.names))} images "
                f"of {path.name}; images must be the unpacked folder that belongs to it"
            )
        self.boxes = torch.tensor(np.array(boxes), dtype=torch.float32)
        self.keypoints = torch.tensor(np.array(keypoints), dtype=torch.float32)
        self.visible = torch.from_numpy(np.array(visible))
        self.areas = torch.tensor(areas, dtype=torch.float32)
        self.scores = None if detections is None else torch.tensor(scores, dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        visible = self.visible[index]
        image = read_image(self.images / self.names[index])
        if image.shape[:0:-1] != self.sizes[index]:
            raise ValueError(
                f"{self.images / self.names[index]} is {image.shape[2]} x {image.shape[1]} pixels when upright, its "
                f"annotations are for {self.sizes[index][0]} x {self.sizes[index][1]}; use the images that were "
                "annotated, neither resized nor rotated"
            )
        sample = {
            "image": image,
            "keypoints": torch.where(visible[:, None], self.keypoints[index], 0.0),
            "visible": visible,
            "box": self.boxes[index],
            "index": index,
            "image_id": self.image_ids[index],
        }
        if self.scores is not None:
            return sample | {"score": self.scores[index]}
        return sample | {"annotation_id": self.annotation_ids[index], "area": self.areas[index]}


def keypoint_category(file: Mapping[str, Any], path: Path, wanted: str | int | None = None) -> dict[str, Any] | None:
    """Return the category of a COCO file whose keypoints are to be read.

    Args:
        file: content of the file.
        path: for error messages.
        wanted: name or id. Defaults to the only category with keypoints, or of several the one
            called person.

    Returns:
        The category's record; None for files without categories.

    Raises:
        ValueError: malformed categories, none or more than one that fits.

    Examples:
        >>> file = {"categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "person"}]}
        >>> keypoint_category(file, Path("people.json"))["id"]
        2
    """
    listed = file.get("categories") or []
    try:
        named = {category["id"]: str(category.get("name", "")) for category in listed}
        annotated = [category for category in listed if category.get("keypoints")] or list(listed)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected categories with id, name and keypoints ({error!r})") from error
    if wanted is not None:
        chosen = [record for record in listed if wanted in (record["id"], record.get("name"))]
    elif len(annotated) > 1:
        chosen = [category for category in annotated if named[category["id"]].lower() == "person"]
    else:
        chosen = annotated
    if len(chosen) != 1 and (listed or wanted is not None):
        names = ", ".join(f"{printable(name, 40)} (id {identity})" for identity, name in list(named.items())[:20])
        raise ValueError(
            f"{path}: expected one category {'called person' if wanted is None else repr(wanted)}, got {len(chosen)}; "
            f"choose with category= among {names or 'none'}"
        )
    return chosen[0] if chosen else None


def _skeleton(category: dict[str, Any] | None, file: Mapping[str, Any], path: Path) -> Skeleton:
    """The skeleton with the names and bones of a category."""
    names = tuple((category or {}).get("keypoints") or ())
    known = next((name for name in list_skeletons() if get_skeleton(name).keypoints == names), None)
    if known:
        return get_skeleton(known)
    if names:
        bones = [bone for bone in (category or {}).get("skeleton") or [] if len(bone) == 2]
        try:
            pairs = tuple((int(start) - 1, int(end) - 1) for start, end in bones)  # COCO counts from 1
            return Skeleton(str((category or {}).get("name", "custom")), names, pairs)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: the category's keypoints and skeleton are malformed ({error}); give skeleton="
            ) from error
    annotated = (record["keypoints"] for record in file.get("annotations") or [] if _has_keypoints(record, category))
    numbers = len(next(annotated, [0] * 3 * len(COCO.skeleton)))
    if numbers % 3 == 0 and numbers != 3 * len(COCO.skeleton):
        raise ValueError(
            f"{path}: annotations have {numbers // 3} keypoints, which their category does not name; give skeleton=, a "
            "list of their names"
        )
    return COCO.skeleton


def _has_keypoints(record: Any, category: dict[str, Any] | None) -> bool:
    if not isinstance(record, dict) or not isinstance(record.get("keypoints"), list):
        return False
    return bool(record["keypoints"]) and (category is None or record.get("category_id") == category["id"])


def _listing(folder: Path, names: list[str]) -> set[str]:
    """Files in a folder and in the sub-folders that the names have."""
    found: set[str] = file_names(folder)
    for parent in {PurePosixPath(name).parent for name in names} - {PurePosixPath()}:
        if (folder / parent).is_dir():
            found |= {str(parent / name) for name in file_names(folder / parent)}
    return found


def _file_name(name: str) -> str:
    """A name with / between folders, as Windows has \\, and without ./ before it."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"file_name {name!r} is outside the folder of images")
    return str(path)


# image, annotation, box, keypoints, visible, area, score
_Person = tuple[int, int, np.ndarray, np.ndarray, np.ndarray, float, float]


def _read_images(path: Path, file: Any) -> dict[int, tuple[str, int, int]]:
    """Name, width and height of each image by its id, in the order of the file."""
    try:
        listed = {
            image["id"]: (_file_name(image["file_name"]), int(image["width"]), int(image["height"]))
            for image in file["images"]
        }
        wrong = [size for size in listed.values() if not (0 < size[1] < MAX_SIDE and 0 < size[2] < MAX_SIDE)]
        if wrong:
            raise ValueError(f"got a size of {wrong[0][1]} x {wrong[0][2]}")
        return listed
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected images with id, file_name, width and height ({error!r}); is it one of COCO's annotation "
            "files?"
        ) from error


def _read_people(
    path: Path, file: Any, listed: dict[int, tuple[str, int, int]], category: Any, count: int
) -> list[_Person]:
    if "annotations" not in file:
        raise ValueError(f"{path} has no annotations; give detections= to work on a detector's boxes")
    order = {image: place for place, image in enumerate(listed)}
    people = []
    for number, record in enumerate(file["annotations"]):
        try:
            image, identity = record["image_id"], record["id"]
            if record.get("iscrowd") or record["category_id"] != category or record.get("keypoints", []) == []:
                continue
            triples = np.array(record["keypoints"], float).reshape(count, 3)
            corner = np.array(record["bbox"], float).reshape(4)
            area = float(record.get("area", AREA_OF_BOX * corner[2] * corner[3]))
            _, width, height = listed[image]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: annotation {number} (from 0) is malformed ({error!r}); expected id, image_id of one of the "
                f"images, category_id, bbox (4,) and keypoints ({3 * count},); download the file again"
            ) from error
        if not np.isfinite([*triples.ravel(), *corner, area]).all():
            raise ValueError(
                f"{path}: annotation {number} (from 0, id {identity}) has a number that is not finite; remove it"
            )
        visible = triples[:, 2] > 0
        if in_fractions(corner.reshape(2, 2)) or in_fractions(triples[visible, :2]):
            raise ValueError(
                f"{path}: annotation {number} (from 0, id {identity}) has its box or keypoints in fractions of the "
                "image, expected pixels; multiply them by its width and height"
            )
        low = np.maximum(corner[:2], 0)
        high = np.minimum((width - 1, height - 1), low + np.maximum(corner[2:] - 1, 0))
        if visible.any() and area > 0 and (high >= low).all():
            box = np.concatenate([low, np.maximum(high, low + 1)])
            people.append((image, identity, box, triples[:, :2], visible, area, np.nan))
    return sorted(people, key=lambda person: order[person[0]])


def _read_detections(
    path: Path, annotations: Path, listed: dict[int, tuple[str, int, int]], min_score: float, category: Any, count: int
) -> list[_Person]:
    records = load_json(path, "expected a json list of detections")
    if not isinstance(records, list):
        raise ValueError(f"{path}: expected a list of detections, got {type(records).__name__}")
    nothing = np.zeros((count, 2)), np.zeros(count, bool)
    people = []
    for number, record in enumerate(records):
        try:
            image, score = record["image_id"], float(record["score"])
            person = record.get("category_id", category) == category
            corner, size = np.array(record["bbox"], float).reshape(2, 2)
            known = image in listed
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: detection {number} (from 0) is malformed ({error!r}); expected image_id, bbox (x, y, w, h) "
                "and score"
            ) from error
        if not person or score < min_score:
            continue
        if not known:
            raise ValueError(
                f"{path}: detection {number} (from 0) is in image {image}, which {annotations.name} does not list; "
                "the two files must be of the same set of images"
            )
        if not (np.isfinite([*corner, *size, score]).all() and (size >= 0).all()):
            raise ValueError(
                f"{path}: detection {number} (from 0) has bbox {[*corner.tolist(), *size.tolist()]} and score {score}; "
                "expected finite (x, y, w, h) with w and h of 0 or more; remove it"
            )
        if in_fractions(np.stack([corner, size])):
            raise ValueError(
                f"{path}: detection {number} (from 0) has its box in fractions of the image, expected pixels; multiply "
                "it by the image's width and height"
            )
        people.append((image, -1, np.concatenate([corner, corner + np.maximum(size, 1)]), *nothing, np.nan, score))
    return people
