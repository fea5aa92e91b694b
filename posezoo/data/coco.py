"""COCO's people with keypoints (2017).

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.

Reads `person_keypoints_*.json` as distributed, without pycocotools, and selects people as Simple
Baselines and HRNet do: crowds, people without an annotated keypoint and people with an area of zero
are excluded; boxes are clipped to the image. For evaluation, boxes can be read from a file of
detections instead.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from posezoo.data.files import file_names, load_json, read_image
from posezoo.skeletons import get_skeleton

NUM_KEYPOINTS = 17
PERSON = 1  # the category's id


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

    Yields samples as `posezoo.data` describes, in COCO-17 order, image by image, with

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

    Example:
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

    skeleton = get_skeleton("coco17")

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        *,
        detections: str | Path | None = None,
        min_score: float = 0.0,
    ) -> None:
        self.images, path = Path(images), Path(annotations)
        file = load_json(path, "expected person_keypoints_*.json of COCO's annotations")
        listed = _read_images(path, file)
        if detections is None:
            people = _read_people(path, file, listed)
        else:
            people = _read_detections(Path(detections), path, listed, min_score)
        if not people:
            raise ValueError(
                f"{detections or path}: expected people to crop, found none; is it a file of people's keypoints?"
            )

        self.image_ids, self.annotation_ids, boxes, keypoints, visible, areas, scores = map(
            list, zip(*people, strict=True)
        )
        self.names = [listed[image][0] for image in self.image_ids]
        missing = sorted(set(self.names) - file_names(self.images))
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
        sample = {
            "image": read_image(self.images / self.names[index]),
            "keypoints": torch.where(visible[:, None], self.keypoints[index], 0.0),
            "visible": visible,
            "box": self.boxes[index],
            "index": index,
            "image_id": self.image_ids[index],
        }
        if self.scores is not None:
            return sample | {"score": self.scores[index]}
        return sample | {"annotation_id": self.annotation_ids[index], "area": self.areas[index]}


# image, annotation, box, keypoints, visible, area, score
_Person = tuple[int, int, np.ndarray, np.ndarray, np.ndarray, float, float]


def _read_images(path: Path, file: Any) -> dict[int, tuple[str, int, int]]:
    """Name, width and height of each image by its id, in the order of the file."""
    try:
        return {
            image["id"]: (image["file_name"], int(image["width"]), int(image["height"])) for image in file["images"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected images with id, file_name, width and height ({error!r}); is it one of COCO's annotation "
            "files?"
        ) from error


def _read_people(path: Path, file: Any, listed: dict[int, tuple[str, int, int]]) -> list[_Person]:
    if "annotations" not in file:
        raise ValueError(f"{path} has no annotations; give detections= to work on a detector's boxes")
    order = {image: place for place, image in enumerate(listed)}
    people = []
    for number, record in enumerate(file["annotations"]):
        try:
            image, identity = record["image_id"], record["id"]
            if record.get("iscrowd") or record["category_id"] != PERSON:
                continue
            triples = np.array(record["keypoints"], float).reshape(NUM_KEYPOINTS, 3)
            corner, area = np.array(record["bbox"], float).reshape(4), float(record["area"])
            _, width, height = listed[image]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: annotation {number} (from 0) is malformed ({error!r}); expected id, image_id of one of the "
                f"images, category_id, area, bbox (4,) and keypoints ({3 * NUM_KEYPOINTS},); download the file again"
            ) from error
        if not np.isfinite([*triples.ravel(), *corner, area]).all():
            raise ValueError(
                f"{path}: annotation {number} (from 0, id {identity}) has a number that is not finite; remove it"
            )
        visible = triples[:, 2] > 0
        low = np.maximum(corner[:2], 0)
        high = np.minimum((width - 1, height - 1), low + np.maximum(corner[2:] - 1, 0))
        if visible.any() and area > 0 and (high >= low).all():
            box = np.concatenate([low, np.maximum(high, low + 1)])
            people.append((image, identity, box, triples[:, :2], visible, area, np.nan))
    return sorted(people, key=lambda person: order[person[0]])


def _read_detections(
    path: Path, annotations: Path, listed: dict[int, tuple[str, int, int]], min_score: float
) -> list[_Person]:
    records = load_json(path, "expected a json list of detections")
    if not isinstance(records, list):
        raise ValueError(f"{path}: expected a list of detections, got {type(records).__name__}")
    nothing = np.zeros((NUM_KEYPOINTS, 2)), np.zeros(NUM_KEYPOINTS, bool)
    people = []
    for number, record in enumerate(records):
        try:
            image, score = record["image_id"], float(record["score"])
            person = record.get("category_id", PERSON) == PERSON
            corner, size = np.array(record["bbox"], float).reshape(2, 2)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: detection {number} (from 0) is malformed ({error!r}); expected image_id, bbox (x, y, w, h) "
                "and score"
            ) from error
        if not person or score < min_score:
            continue
        if image not in listed:
            raise ValueError(
                f"{path}: detection {number} (from 0) is in image {image}, which {annotations.name} does not list; "
                "the two files must be of the same set of images"
            )
        if not (np.isfinite([*corner, *size, score]).all() and (size >= 0).all()):
            raise ValueError(
                f"{path}: detection {number} (from 0) has bbox {[*corner.tolist(), *size.tolist()]} and score {score}; "
                "expected finite (x, y, w, h) with w and h of 0 or more; remove it"
            )
        people.append((image, -1, np.concatenate([corner, corner + np.maximum(size, 1)]), *nothing, np.nan, score))
    return people
