"""COCO's json files of keypoints in and out: annotations and results, as arrays.

`read_coco_ground_truth` and `read_coco_results` take files, their content or arrays, and return
checked arrays, one per field of COCO's records; an error names the file, the record and the field.

Annotations of boxes alone are people with no labelled keypoint, as in pycocotools. An annotation
without `area` gets 0.53 times the area of its box, as in the evaluations of CrowdPose and AI
Challenger.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from torch import Tensor

from posezoo.arrays import as_numpy
from posezoo.metrics.arrays import finite_points
from posezoo.skeletons import Skeleton, get_skeleton

Arrays = dict[str, np.ndarray]  # COCO's fields, one array each

AREA_OF_BOX = 0.53

TRUTH, RESULTS = "ground_truth", "predictions"  # as messages name them: the arguments of `coco_ap`


def read_coco_ground_truth(source: str | Path | Mapping[str, Any], *, num_keypoints: int | None = None) -> Arrays:
    """Read COCO keypoint annotations as arrays, one per field of COCO's records, and check them.

    Args:
        source: a json file, its content, or arrays (or tensors or lists) by COCO's names. Arrays
            need `image_id`, `keypoints` and `area` or `bbox`; the other fields below are optional.
            `keypoints` without flags are all labelled.
        num_keypoints: leave out categories whose list of keypoints is of another length. Defaults
            to an error for annotations of different lengths.

    Returns:
        images: `(M,)` ids of the images to evaluate, with and without people. Defaults, for arrays,
            to those of `image_id`. Annotations of images that are not listed are not evaluated.
        categories: `(C,)` ids. Defaults to those of `category_id`.
        id: `(N,)`, unique. Defaults to 1 to N.
        image_id: `(N,)` whole numbers or strings.
        category_id: `(N,)`. Defaults, for arrays, to 1.
        keypoints: `(N, K, 3)` pixels x, y, and COCO's flag: 0 not labelled, 1 occluded, 2 visible.
        area: `(N,)` square pixels; in COCO's files the area of the segment. Defaults to 0.53 times
            that of `bbox`.
        bbox: `(N, 4)` pixels in COCO's order: left, top, width, height. Defaults to the extent of
            the labelled keypoints.
        iscrowd: `(N,)` 0 or 1. Defaults to 0.
        num_keypoints: `(N,)`; an annotation with 0 is ignored. Defaults to the number of labelled
            keypoints.

    Raises:
        ValueError: for a missing or wrong field; names the file, the record and the field.

    Examples:
        >>> import numpy as np
        >>> arrays = {"images": [7, 8], "image_id": [7], "keypoints": np.ones((1, 17, 2)), "area": [100.0]}
        >>> truth = read_coco_ground_truth(arrays)
        >>> truth["num_keypoints"].tolist(), truth["bbox"].tolist()
        ([17], [[1.0, 1.0, 0.0, 0.0]])
    """
    content = load_coco(source, TRUTH)
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{TRUTH}: expected COCO's annotations, a dict with images, annotations and categories, or a dict of "
            f"arrays, got {type(content).__name__}"
        )
    if "annotations" in content:
        if "images" not in content:
            raise ValueError(f"{TRUTH}: has no `images`; expected a list of all images, with and without people")
        for name in ("images", "annotations", "categories"):
            if not isinstance(content.get(name, ()), list | tuple):
                raise ValueError(f"{TRUTH}: {name}: expected a list of COCO's records, got {content[name]!r:.80}")
        left_out = _other_categories(content, num_keypoints)
        records = _complete(content["annotations"], left_out, num_keypoints)
        data = _columns(records, TRUTH, ("image_id", "category_id"), "keypoints", ("area",))
        data |= _optional_columns(records, TRUTH)
        data["images"] = [_field(image, "id", f"{TRUTH}: images", at) for at, image in enumerate(content["images"])]
        if "categories" in content:
            listed = enumerate(content["categories"])
            found = [_field(category, "id", f"{TRUTH}: categories", at) for at, category in listed]
            data["categories"] = [identity for identity in found if identity not in left_out]
    else:
        data = _arrays(content, TRUTH, ("image_id", "keypoints", *(() if "bbox" in content else ("area",))))
        if "area" not in data:
            boxes = _numbers(data["bbox"], TRUTH, "bbox", (len(data["image_id"]), 4))
            data["area"] = AREA_OF_BOX * boxes[:, 2] * boxes[:, 3]

    truth = _shared_fields(data, TRUTH)
    count, keypoints = len(truth["image_id"]), truth["keypoints"]
    labelled = keypoints[..., 2] > 0
    truth["id"] = _ids(data.get("id", np.arange(1, count + 1)), TRUTH, "id", count)
    truth["images"] = np.unique(_ids(data.get("images", truth["image_id"]), TRUTH, "images"))
    truth["categories"] = np.unique(_ids(data.get("categories", truth["category_id"]), TRUTH, "categories"))
    truth["area"] = _numbers(data["area"], TRUTH, "area", (count,))
    truth["iscrowd"] = _numbers(data.get("iscrowd", np.zeros(count)), TRUTH, "iscrowd", (count,))
    number = _numbers(data.get("num_keypoints", np.full(count, np.nan)), TRUTH, "num_keypoints", (count,))
    truth["num_keypoints"] = np.where(np.isnan(number), labelled.sum(axis=1), number).astype(np.int64)
    bbox = _numbers(data.get("bbox", np.full((count, 4), np.nan)), TRUTH, "bbox", (count, 4))
    if np.isnan(bbox).any():
        bbox = np.where(np.isnan(bbox), _extent(keypoints, labelled), bbox)
    truth["bbox"] = bbox

    for field, bad, expected in (
        ("area", ~(truth["area"] >= 0) | np.isinf(truth["area"]), "square pixels, 0 or more"),
        ("keypoints", (labelled & ~finite_points(keypoints)).any(axis=1), "finite labelled keypoints"),
        ("bbox", np.isnan(truth["bbox"]).any(axis=1), "four numbers, as no keypoint is labelled"),
    ):
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"{_name(TRUTH, at, truth['id'][at].item())}: {field}: expected {expected}, got "
                f"{truth[field][at].tolist()}"
            )
    unique, first = np.unique(truth["id"], return_index=True)
    if len(unique) < count:
        at = int(np.setdiff1d(np.arange(count), first)[0])
        raise ValueError(f"{_name(TRUTH, at, truth['id'][at].item())}: another annotation has the same id")
    return truth


def read_coco_results(source: str | Path | Mapping[str, Any] | Sequence[Any]) -> Arrays:
    """Read COCO keypoint results as arrays, one per field of COCO's records, and check them.

    Args:
        source: a json file, its content, which is a list of records, or arrays (or tensors or
            lists) by COCO's names. Arrays need `image_id`, `keypoints` and `score`; the other
            fields below are optional.

    Returns:
        image_id: `(N,)` whole numbers or strings.
        category_id: `(N,)`. Defaults, for arrays, to 1.
        keypoints: `(N, K, 3)` pixels x, y, and the keypoint's score, which COCO's evaluation
            ignores and which defaults to 1. Keypoints that are not finite, or null in json, are
            accepted and count as misses.
        score: `(N,)` of the person.
        area: `(N,)` square pixels. Defaults, as in pycocotools, to the area of `bbox` (left, top,
            width, height) if the first record has one, else to the area of the extent of all
            keypoints.
        bbox: `(N, 4)`, only if the source has it.

    Raises:
        ValueError: for a missing or wrong field; names the file, the record and the field.

    Examples:
        >>> results = [{"image_id": 7, "category_id": 1, "keypoints": [0, 0, 1, 30, 20, 1], "score": 0.5}]
        >>> read_coco_results(results)["area"]
        array([600.])
    """
    content = load_coco(source, RESULTS)
    if isinstance(content, Mapping) and "annotations" not in content:
        data = _arrays(content, RESULTS, ("image_id", "keypoints", "score"))
    else:
        records = content["annotations"] if isinstance(content, Mapping) else content
        boxes = isinstance(records, Sequence) and records and isinstance(records[0], Mapping) and records[0].get("bbox")
        numbers = ("score", "bbox") if boxes else ("score",)
        data = _columns(records, RESULTS, ("image_id", "category_id"), "keypoints", numbers)
    found = _shared_fields(data, RESULTS)
    count = len(found["image_id"])
    found["score"] = _numbers(data["score"], RESULTS, "score", (count,))
    if np.isnan(found["score"]).any():
        at = int(np.flatnonzero(np.isnan(found["score"]))[0])
        raise ValueError(f"{_name(RESULTS, at)}: score: expected a number, got NaN; leave such detections out")
    if "bbox" in data:
        found["bbox"] = _numbers(data["bbox"], RESULTS, "bbox", (count, 4))
    if "area" in data:
        found["area"] = _numbers(data["area"], RESULTS, "area", (count,))
    elif "bbox" in data:
        found["area"] = found["bbox"][:, 2] * found["bbox"][:, 3]
    else:
        extent = _extent(found["keypoints"], finite_points(found["keypoints"]))
        found["area"] = np.nan_to_num(extent[:, 2] * extent[:, 3], nan=0.0)  # no finite keypoint: no area
    return found


def write_coco_results(
    path: str | Path, predictions: Mapping[str, Any] | Sequence[Any], *, decimals: int = 3
) -> None:  # fmt: skip
    """Write detections as a COCO results file, which `coco_ap`, pycocotools and COCO's server read.

    Args:
        path: of the json file.
        predictions: any source of `read_coco_results`, with finite keypoints. A `bbox` is written;
            an `area` is not, because readers compute it.
        decimals: of the keypoints and boxes, in pixels, and of the keypoints' scores; COCO asks for
            few, to keep files small. The scores of people are written in full, because rounding
            would make ties.

    Raises:
        ValueError: the errors of `read_coco_results`, and keypoints, scores or boxes that are not
            finite, which JSON cannot hold.

    Examples:
        >>> import numpy as np
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "results.json"
        >>> write_coco_results(file, {"image_id": [7], "keypoints": np.full((1, 17, 2), 1 / 3), "score": [0.9]})
        >>> json.loads(file.read_text())[0]["keypoints"][:3]
        [0.333, 0.333, 1.0]
    """
    found = read_coco_results(predictions)
    columns = {
        "image_id": found["image_id"].tolist(),
        "category_id": found["category_id"].tolist(),
        "keypoints": _rounded(found["keypoints"].reshape(len(found["score"]), -1), decimals, RESULTS, "keypoints"),
        "score": _rounded(found["score"], None, RESULTS, "score"),
    }
    if "bbox" in found:
        columns["bbox"] = _rounded(found["bbox"], decimals, RESULTS, "bbox")
    _write(path, _records(columns))


def write_coco_ground_truth(
    path: str | Path, ground_truth: Mapping[str, Any], *, skeleton: str | Skeleton = "coco17", decimals: int = 3
) -> None:
    """Write annotations as a COCO keypoint file, which `coco_ap` and pycocotools read.

    Args:
        path: of the json file.
        ground_truth: any source of `read_coco_ground_truth`. Points that are not labelled are
            written as 0, 0, 0.
        skeleton: names and bones of the keypoints, for the file's categories.
        decimals: of keypoints, boxes and areas.

    Raises:
        ValueError: the errors of `read_coco_ground_truth`, and another number of keypoints than the
            skeleton's.

    Examples:
        >>> import numpy as np
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "truth.json"
        >>> write_coco_ground_truth(file, {"image_id": [7], "keypoints": np.ones((1, 17, 2)), "area": [100]})
        >>> json.loads(file.read_text())["images"], read_coco_ground_truth(file)["num_keypoints"]
        ([{'id': 7}], array([17]))
    """
    truth, named = read_coco_ground_truth(ground_truth), get_skeleton(skeleton)
    keypoints = truth["keypoints"]
    if len(keypoints) and keypoints.shape[1] != len(named):
        raise ValueError(f"{TRUTH}: expected {len(named)} keypoints, those of {named.name!r}, got {keypoints.shape[1]}")
    keypoints = np.where(keypoints[..., 2:] > 0, keypoints, 0).reshape(len(keypoints), -1)
    columns = {
        "id": truth["id"].tolist(),
        "image_id": truth["image_id"].tolist(),
        "category_id": truth["category_id"].tolist(),
        "keypoints": _rounded(keypoints, decimals, TRUTH, "keypoints"),
        "num_keypoints": truth["num_keypoints"].tolist(),
        "area": _rounded(truth["area"], decimals, TRUTH, "area"),
        "bbox": _rounded(truth["bbox"], decimals, TRUTH, "bbox"),
        "iscrowd": truth["iscrowd"].astype(int).tolist(),
    }
    bones = [[start + 1, end + 1] for start, end in named.bones]  # COCO's skeletons count from 1
    kind = {"name": "person", "supercategory": "person", "keypoints": list(named.keypoints), "skeleton": bones}
    content = {
        "images": [{"id": image} for image in truth["images"].tolist()],
        "annotations": _records(columns),
        "categories": [{"id": category, **kind} for category in truth["categories"].tolist()],
    }
    _write(path, content)


def load_coco(source: Any, what: str) -> Any:
    """Load a COCO json file; other sources are returned unchanged.

    Args:
        source: file, content or arrays.
        what: `TRUTH` or `RESULTS`, for error messages.

    Raises:
        ValueError: the file is missing or damaged.

    Examples:
        >>> load_coco([], RESULTS)
        []
    """
    if not isinstance(source, str | Path):
        return source
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"{what}: no file {path}; expected a COCO json file")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what}: {path} is not JSON: {error}") from error
    if not isinstance(content, Mapping | list):  # a text would be taken for the name of another file
        raise ValueError(f"{what}: {path}: expected COCO's annotations or results, got {type(content).__name__}")
    return content


def match_file_names(results: Any, truth: Any) -> Any:
    """Give results the `image_id` that the ground truth has for their `file_name`.

    `posezoo predict --json` numbers images in the order of its arguments, annotation tools in that
    of the upload, so that equal numbers mean nothing. Folders before the name may be missing on one
    side.

    Args:
        results: content of a results file.
        truth: content of a COCO annotation file.

    Returns:
        Copies of the results; `results` itself if not all results, or not all images of the ground
        truth, have a `file_name`.

    Raises:
        ValueError: the ground truth has no such name, or has it in several folders.

    Examples:
        >>> truth = {"images": [{"id": 397133, "file_name": "val/b.jpg"}]}
        >>> match_file_names([{"image_id": 0, "file_name": "photos/val/b.jpg"}], truth)[0]["image_id"]
        397133
    """
    records: Any = results.get("annotations") if isinstance(results, Mapping) else results
    images: Any = truth.get("images") if isinstance(truth, Mapping) else None
    if not _all_named(records) or not _all_named(images):
        return results
    known: dict[str, list[tuple[tuple[str, ...], Any]]] = {}
    for image in images:
        parts = _parts(image["file_name"])
        known.setdefault(parts[-1], []).append((parts, image.get("id")))
    identities: dict[str, Any] = {}
    for at, record in enumerate(records):
        name = record["file_name"]
        if name not in identities:
            parts = _parts(name)
            near = [
                ((min(len(parts), len(other)), -len(other)), identity)
                for other, identity in known.get(parts[-1], ())
                if _same_end(parts, other)
            ]
            nearest = max((overlap for overlap, _ in near), default=None)
            fitting = [identity for overlap, identity in near if overlap == nearest]
            if len(fitting) != 1:
                raise ValueError(
                    f"{_name(RESULTS, at)}: the ground truth has {len(fitting) or 'no'} images with the file_name "
                    f"{name!r:.80}; predict the annotated images, with their folders, or remove file_name to match by "
                    "image_id"
                )
            identities[name] = fitting[0]
    return [{**record, "image_id": identities[record["file_name"]]} for record in records]


def _all_named(records: Any) -> bool:
    return (
        isinstance(records, Sequence)
        and bool(records)
        and all(isinstance(record, Mapping) and _is_name(record.get("file_name")) for record in records)
    )


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(_parts(name))


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts


def _same_end(first: Sequence[str], second: Sequence[str]) -> bool:
    length = min(len(first), len(second))
    return first[-length:] == second[-length:]


def _other_categories(content: Mapping[str, Any], num_keypoints: int | None) -> list[Any]:
    """Ids of the categories that have keypoints, but not so many."""
    listed = [category for category in content.get("categories") or () if isinstance(category, Mapping)]
    lengths = {category.get("id"): len(category["keypoints"]) for category in listed if category.get("keypoints")}
    return [identity for identity, length in lengths.items() if num_keypoints and length != num_keypoints]


def _complete(records: Any, left_out: Sequence[Any], num_keypoints: int | None) -> Any:
    """Annotations of the categories to read, with areas; keypoints of boxes are unlabelled."""
    if not isinstance(records, Sequence) or not all(isinstance(record, Mapping) for record in records):
        return records
    kept = [record for record in records if record.get("category_id") not in left_out]
    lengths = (len(record["keypoints"]) for record in kept if isinstance(record.get("keypoints"), list | tuple))
    width = next((length for length in lengths if length), 3 * (num_keypoints or 0))
    complete = []
    for record in kept:
        more: dict[str, Any] = {}
        if width and record.get("keypoints", ()) in ([], (), None):
            more |= {"keypoints": [0] * width, "num_keypoints": 0}
        if "area" not in record and "bbox" in record:
            _check_numbers(record["bbox"], "bbox", 4, f"{TRUTH}: annotation of the id {record.get('id')}")
            more["area"] = AREA_OF_BOX * record["bbox"][2] * record["bbox"][3]
        complete.append({**record, **more} if more else record)
    return complete


def _columns(
    records: Any, what: str, ids: Sequence[str], points: str, numbers: Sequence[str]
) -> dict[str, Any]:  # fmt: skip
    """Return the required fields of COCO's records, one column each."""
    if not isinstance(records, Sequence) or isinstance(records, str):
        raise ValueError(f"{what}: expected a list of COCO's records, got {type(records).__name__}")
    # all records at once, as this is most of the time of an evaluation; one by one only to find the malformed record
    try:
        data: dict[str, Any] = {field: [record[field] for record in records] for field in ids}
        for field in numbers:
            data[field] = _matrix([record[field] for record in records], 4 if field == "bbox" else None)
        rows = [record[points] for record in records]
        width = len(rows[0]) if rows else 0
        data[points] = _matrix(rows, width).reshape(len(rows), width // 3, 3)
        return data
    except (KeyError, TypeError, ValueError, IndexError):
        for at, record in enumerate(records):
            _check_record(
                record, what, at, [*ids], {field: 4 if field == "bbox" else None for field in numbers}, points
            )
        widths = [len(record[points]) for record in records]
        at = next(i for i, length in enumerate(widths) if length != widths[0])
        raise ValueError(
            f"{_name(what, at, records[at].get('id'))}: keypoints: {widths[at]} numbers, but {widths[0]} in the first "
            "record; expected the same keypoints everywhere"
        ) from None


def _optional_columns(records: Sequence[Any], what: str) -> dict[str, Any]:
    data: dict[str, Any] = {"id": [record.get("id", at) for at, record in enumerate(records, 1)]}
    for field, default in (("iscrowd", 0), ("num_keypoints", np.nan), ("bbox", (np.nan,) * 4)):
        width = 4 if field == "bbox" else None
        try:
            data[field] = _matrix([record.get(field, default) for record in records], width)
        except (TypeError, ValueError):
            for at, record in enumerate(records):
                _check_numbers(record.get(field, default), field, width, _name(what, at, record.get("id")))
            raise
    return data


def _matrix(rows: list[Any], width: int | None) -> np.ndarray:
    """Convert numbers, or rows of `width` numbers, to an array."""
    array = np.array(rows, dtype=float)
    shape = (len(rows),) if width is None else (len(rows), width)
    if rows and array.shape != shape:
        raise ValueError(f"expected {shape}, got {array.shape}")
    return array.reshape(shape)


def _check_record(record: Any, what: str, at: int, ids: list[str], numbers: dict[str, int | None], points: str) -> None:
    name = _name(what, at, record.get("id") if isinstance(record, Mapping) else None)
    if not isinstance(record, Mapping):
        raise ValueError(f"{name}: expected a dict, got {type(record).__name__}")
    for field in (*ids, *numbers, points):
        if field not in record:
            raise ValueError(f"{name}: has no {field!r}; it has {', '.join(map(str, record)) or 'nothing'}")
    for field, width in numbers.items():
        _check_numbers(record[field], field, width, name)
    keypoints = record[points]
    if not isinstance(keypoints, Sequence) or isinstance(keypoints, str) or not keypoints or len(keypoints) % 3:
        shown = f"{len(keypoints)} of them" if isinstance(keypoints, Sequence) else type(keypoints).__name__
        raise ValueError(f"{name}: keypoints: expected a flat list of numbers, x, y and flag in turn, got {shown}")
    _check_numbers(keypoints, points, len(keypoints), name)


def _check_numbers(value: Any, field: str, width: int | None, name: str) -> None:
    try:
        _matrix([value], width)
    except (TypeError, ValueError):
        expected = "a number" if width is None else f"{width} numbers"
        raise ValueError(f"{name}: {field}: expected {expected}, got {value!r:.80}") from None


def _field(record: Any, field: str, what: str, at: int) -> Any:
    if not isinstance(record, Mapping) or field not in record:
        raise ValueError(f"{what}[{at}]: expected a dict with {field!r}, got {record!r:.80}")
    return record[field]


def _name(what: str, at: int, identity: Any = None) -> str:
    return f"{what}[{at}]" if identity is None else f"{what}: annotations[{at}] (id {identity})"


def _arrays(content: Mapping[str, Any], what: str, required: Sequence[str]) -> dict[str, Any]:
    missing = [field for field in required if field not in content]
    if missing:
        raise ValueError(
            f"{what}: expected COCO's json or a dict of arrays with {', '.join(required)}; there is no "
            f"{', '.join(missing)} among {', '.join(map(str, content)) or 'nothing'}"
        )
    return dict(content)


def _shared_fields(data: Mapping[str, Any], what: str) -> Arrays:
    """Check `image_id`, `category_id`, `keypoints` `(N, K, 3)`; add flags or scores if missing."""
    image = _ids(data["image_id"], what, "image_id")
    keypoints = _numbers(data["keypoints"], what, "keypoints")
    if keypoints.size == 0 and keypoints.ndim < 3:
        keypoints = keypoints.reshape(0, 0, 3)
    if keypoints.ndim != 3 or keypoints.shape[-1] not in (2, 3) or len(keypoints) != len(image):
        raise ValueError(
            f"{what}: keypoints: expected (N, K, 3) or (N, K, 2) with N = {len(image)}, got {keypoints.shape}"
        )
    if keypoints.shape[-1] == 2:
        flag = 2.0 if what == TRUTH else 1.0
        keypoints = np.concatenate([keypoints, np.full((*keypoints.shape[:2], 1), flag)], axis=-1)
    category = _ids(data.get("category_id", np.ones(len(image), dtype=np.int64)), what, "category_id", len(image))
    return {"image_id": image, "category_id": category, "keypoints": keypoints}


def _ids(values: Any, what: str, field: str, count: int | None = None) -> np.ndarray:
    """Convert ids to whole numbers or strings; refuse a mixture, which NumPy would convert."""
    try:
        array = as_numpy(values)
    except ValueError:  # some hold sequences
        array = np.empty(len(values), dtype=object)
    if array.ndim != 1 or (count is not None and len(array) != count):
        expected = "(N,)" if count is None else f"({count},), one per person"
        raise ValueError(f"{what}: {field}: expected {expected}, got {array.shape}")
    if not array.size:
        return array.astype(np.int64)
    items = array.tolist() if isinstance(values, np.ndarray | Tensor) else list(values)
    if array.dtype.kind not in "iuU" or (array.dtype.kind == "U" and not all(isinstance(item, str) for item in items)):
        wanted = str if isinstance(items[0], str) else int
        at, wrong = next(((i, item) for i, item in enumerate(items) if type(item) is not wanted), (0, items[0]))
        raise ValueError(f"{what}: {field}[{at}]: expected a whole number, or strings throughout, got {wrong!r:.80}")
    return array if array.dtype.kind == "U" else array.astype(np.int64)


def _numbers(values: Any, what: str, field: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    try:
        array = as_numpy(values).astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: {field}: expected numbers; {error}") from error
    if shape is not None and array.shape != shape:
        if array.size or 0 not in shape:
            raise ValueError(f"{what}: {field}: expected {shape}, got {array.shape}")
        array = array.reshape(shape)
    return array


def _extent(keypoints: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Left, top, width, height of known points, `(N, K, 3), (N, K) -> (N, 4)`; NaN without any."""
    if not keypoints.size:
        return np.full((len(keypoints), 4), np.nan)
    # as (K, N), which reduces ten times faster
    axes = [np.where(known, keypoints[..., axis], np.nan).T.copy() for axis in (0, 1)]
    low = [np.fmin.reduce(axis) for axis in axes]
    return np.stack([*low, *(np.fmax.reduce(axis) - least for axis, least in zip(axes, low, strict=True))], axis=1)


def _rounded(values: np.ndarray, decimals: int | None, what: str, field: str) -> list[Any]:
    bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if bad.any():
        raise ValueError(f"{what}[{int(np.flatnonzero(bad)[0])}]: {field} is NaN or infinite, which JSON cannot hold")
    return (values if decimals is None else values.astype(float).round(decimals)).tolist()


def _records(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    rows: Iterator[tuple[Any, ...]] = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _write(path: str | Path, content: Any) -> None:
    Path(path).write_text(json.dumps(content) + "\n", encoding="utf-8")
