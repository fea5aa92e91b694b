"""Object keypoint similarity (OKS), its non-maximum suppression, and COCO's AP and AR, equal to pycocotools'.

OKS of a pose and an annotated person is the mean over the labelled keypoints of `exp(-d² / (2 s² k²))`: d the distance
in pixels, s² the person's area, k = 2 sigma the spread of that keypoint among annotators (COCO keypoint evaluation;
sigmas belong to a skeleton). It plays the part that IoU plays for boxes: `coco_ap` matches detections to people by it
and gives the ten numbers of pycocotools' keypoint evaluation, for any skeleton.

`oks`, `oks_matrix` and `oks_nms` take NumPy arrays or torch tensors on any device and return the same kind. `coco_ap`
computes on the CPU, over all images at once: one flat list of the pairs of a detection and a person of the same image,
then greedy matching in lock-step, the first detections of all images before the second ones, with the ten thresholds
and three ranges of area in the bits of one number.

A predicted keypoint that is not finite counts as infinitely far away, with one warning per call.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posezoo.geometry import precise as _precise
from posezoo.metrics.pck import _like, _tensor
from posezoo.skeletons import Skeleton, get_skeleton

Array = Any  # np.ndarray or torch.Tensor; a result is of the kind of its first argument
Arrays = dict[str, np.ndarray]  # COCO's fields, one array each

# pycocotools' Params, written as there: an np.arange would give other last digits
OKS_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0, 1, 101)
AREA_RANGES = {"all": (0.0, 1e10), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}  # both ends belong to each

_EPS = np.spacing(1)
_SETTINGS = len(OKS_THRESHOLDS) * len(AREA_RANGES)  # bit a * 10 + t stands for area range a and threshold t
_ALL_BITS = (1 << _SETTINGS) - 1
_THRESHOLD_BITS = (1 << len(OKS_THRESHOLDS)) - 1
_PAIRS_AT_ONCE = 1 << 13  # what one step works on stays in the cache
_TRUTH, _RESULTS = "ground_truth", "predictions"


def oks(
    pred: Array, target: Array, areas: Array, sigmas: str | Skeleton | Sequence[float] | Array, *,
    visible: Array | None = None, boxes: Array | None = None,
) -> Array:  # fmt: skip
    """Object keypoint similarity of N predicted poses, each with its own person; pycocotools' definition.

    Args:
        pred: `(N, K, 2)` pixels; a NaN or infinite keypoint has similarity 0, with a warning.
        target: `(N, K, 2)` pixels.
        areas: `(N,)` square pixels; COCO's are those of the segments, a little over half of the boxes'.
        sigmas: `(K,)`, or a skeleton that has them, "coco17".
        visible: `(N, K)` bool or COCO's flags, above 0: labelled, the keypoints that count; None: all.
        boxes: `(N, 4)` xyxy pixels. Where a person has no labelled keypoint, as in COCO's crowds, each predicted one is
            compared with this box, enlarged by its own width and height on every side; without boxes: NaN.

    Returns:
        `(N,)` in [0, 1].

    Raises:
        ValueError: shapes that do not match, a labelled keypoint or an area that is not finite, a negative area.

    Example:
        >>> target = np.zeros((1, 17, 2)); pred = target + [3.0, 4.0]
        >>> oks(pred, target, np.array([5000.0]), "coco17").round(4)
        array([0.7764])
    """
    points = _tensor(pred)
    truth = _tensor(target, points)
    if points.ndim != 3 or points.shape[-1] != 2 or points.shape != truth.shape:
        raise ValueError(
            f"expected pred and target of one shape (N, K, 2), got {tuple(points.shape)} and {tuple(truth.shape)}"
        )
    _warn_of_broken(points)
    return _like(pred, _similarity(points, *_people(points, truth, areas, sigmas, visible, boxes)))


def oks_matrix(
    pred: Array, target: Array, areas: Array, sigmas: str | Skeleton | Sequence[float] | Array, *,
    visible: Array | None = None, boxes: Array | None = None,
) -> Array:  # fmt: skip
    """`oks` of every prediction with every person: `(D, K, 2), (G, K, 2) -> (D, G)`.

    Args:
        areas: `(G,)` of the people; `visible` is `(G, K)` and `boxes` `(G, 4)`.

    Others, result and errors as for `oks`.

    Example:
        >>> people = np.random.default_rng(0).uniform(0, 200, (3, 17, 2))
        >>> oks_matrix(people[:2], people, np.full(3, 4000.0), "coco17").round(2)
        array([[1.  , 0.  , 0.05],
               [0.  , 1.  , 0.  ]])
    """
    points = _tensor(pred)
    truth = _tensor(target, points)
    if points.ndim != 3 or points.shape[-1] != 2 or truth.shape[1:] != points.shape[1:]:
        raise ValueError(
            f"expected pred (D, K, 2) and target (G, K, 2) with the same K, got {tuple(points.shape)} and "
            f"{tuple(truth.shape)}"
        )
    _warn_of_broken(points)
    return _like(pred, _similarity(points[:, None], *_people(points, truth, areas, sigmas, visible, boxes)))


def oks_nms(
    keypoints: Array, scores: Array, areas: Array, sigmas: str | Skeleton | Sequence[float] | Array, *,
    threshold: float = 0.9,
) -> Array:  # fmt: skip
    """Which of the poses of one image remain when each suppresses those of lower score that resemble it.

    The rule of Simple Baselines, HRNet and mmpose before they write COCO results: greedy, from the highest score down;
    a pose goes if its OKS with one that stayed is above (`>`) the threshold. Here the area is the mean of the two
    poses' and all keypoints count.

    Args:
        keypoints: `(N, K, 2)` pixels of one image; others must not compete. A NaN keypoint resembles nothing.
        scores: `(N,)`; of equal ones the first goes first. Those papers take the box's score times the mean of the
            keypoints' scores above 0.2.
        areas: `(N,)` square pixels; those papers' are of the boxes as they were cropped, padding included.
        sigmas: `(K,)`, or a skeleton that has them.

    Returns:
        Indices that remain, `(M,)`, highest score first.

    Raises:
        ValueError: shapes that do not match, a score that is NaN, an area that is negative or not finite.

    Example:
        >>> poses = np.random.default_rng(0).uniform(0, 200, (2, 17, 2))
        >>> oks_nms(np.stack([poses[0] + 1, poses[0], poses[1]]), np.array([0.3, 0.9, 0.5]), np.full(3, 4e3), "coco17")
        array([1, 2])
    """
    points = _tensor(keypoints)
    if points.ndim != 3 or points.shape[-1] != 2:
        raise ValueError(f"keypoints: expected (N, K, 2), got {tuple(points.shape)}")
    spread = _spread(sigmas, points)
    ranking, sizes = (_per_person(values, name, points) for values, name in ((scores, "scores"), (areas, "areas")))
    if ranking.isnan().any():
        raise ValueError(f"scores: the one of pose {int(ranking.isnan().nonzero()[0])} is NaN; leave such poses out")
    _check_areas(sizes)
    _warn_of_broken(points)
    exact = _precise(points)
    remaining = ranking.argsort(descending=True, stable=True)
    kept = []
    while len(remaining):  # over the poses that stay: whether one does depends on all that stayed before it
        best, others = remaining[0], remaining[1:]
        kept.append(best)
        alike = _similarity(exact[others], exact[best], (sizes[others] + sizes[best]) / 2, spread, None, None)
        remaining = others[~(alike > threshold)]
    return _like(keypoints, torch.stack(kept) if kept else remaining)


# --------------------------------------------------------------------------------------------------------- COCO AP / AR


class CocoResult(dict[str, float]):
    """The ten numbers of COCO's keypoint evaluation, and the curves that they summarise.

    A dict with the keys AP, AP50, AP75, APM, APL, AR, AR50, AR75, ARM, ARL, in this order: fractions, or -1 where no
    person counts. M and L are people with areas of 32² to 96² pixels, and above.

    Attributes:
        precision: `(10, 101, C, 3)`: OKS threshold, recall (0, 0.01, ... 1), category, area range (all, medium,
            large); -1 where no person counts. `precision[0, :, 0, 0]` draws the curve of AP50.
        recall: `(10, C, 3)`, the highest recall reached.
        categories: the C category ids; empty, with C = 1, where categories were not used.
    """

    def __init__(self, precision: np.ndarray, recall: np.ndarray, categories: Sequence[Any] = ()) -> None:
        super().__init__(_summary(precision, recall))
        self.precision, self.recall, self.categories = precision, recall, tuple(categories)

    def of_category(self, category: Any) -> dict[str, float]:
        """The ten numbers of one category.

        Raises:
            ValueError: for a category that is not in the ground truth, or where categories were not used.
        """
        if category not in self.categories:
            raise ValueError(f"no category {category!r}; there are {', '.join(map(repr, self.categories)) or 'none'}")
        at = self.categories.index(category)
        return _summary(self.precision[:, :, at : at + 1], self.recall[:, at : at + 1])


def coco_ap(
    ground_truth: str | Path | Mapping[str, Any], predictions: str | Path | Mapping[str, Any] | Sequence[Any], *,
    sigmas: str | Skeleton | Sequence[float] | Array = "coco17", max_detections: int = 20, use_categories: bool = True,
) -> CocoResult:  # fmt: skip
    """COCO's average precision and recall of keypoints: the ten numbers of pycocotools, to the last bit.

    In each image and category the detections, highest score first and the `max_detections` best at most, take the
    people most similar to them, if the OKS is at least (`>=`) the threshold; of equally similar people the last.
    Nobody is taken twice, except crowds. Crowds, people without labelled keypoints, and people outside the range of
    areas are ignored: they are matched after all others, and count neither as found nor as missed, like the
    detections that match them and unmatched detections whose own area is outside the range. Equal scores keep their
    order: images by id, then as they came. AP is the mean of the precision at 101 recalls, of the ten OKS thresholds
    0.5 to 0.95, and of the categories in which somebody counts.

    Args:
        ground_truth: a COCO annotation file or its content, or arrays; see `read_coco_ground_truth`.
        predictions: a COCO results file or its content, or arrays; see `read_coco_results`. What belongs to a category
            that the ground truth does not list is left out, as in pycocotools.
        sigmas: `(K,)`, or a skeleton that has them.
        max_detections: per image and category; COCO's is 20.
        use_categories: False lets a detection match people of any category, as in pycocotools' evaluation of boxes
            with `useCats = 0`. (For keypoints, pycocotools 2.0 then matches nothing at all.)

    Returns:
        The ten numbers by name, with the curves behind them.

    Warns:
        UserWarning: for predicted keypoints that are not finite; for predictions left out for their category; for an
            annotation with the id 0: pycocotools takes the detection that matches it for a false one, and so does this
            function, to stay comparable.

    Raises:
        ValueError: for records that miss a field or hold a wrong one (the message names the record), predictions in
            images that the ground truth does not list, or another number of keypoints than of sigmas.

    Example:
        >>> pose = np.random.default_rng(0).uniform(0, 100, (2, 17, 2))
        >>> truth = {"image_id": [7, 8], "keypoints": pose, "area": [5000, 5000]}
        >>> result = coco_ap(truth, {"image_id": [8, 7], "keypoints": pose[::-1], "score": [0.4, 0.9]})
        >>> result["AP"], result["AR50"], result["APL"]
        (1.0, 1.0, -1.0)
    """
    truth, found = read_coco_ground_truth(ground_truth), read_coco_results(predictions)
    if max_detections < 1:
        raise ValueError(f"max_detections: expected 1 or more, got {max_detections}")
    spread = _sigmas(sigmas)
    for name, keypoints in ((_TRUTH, truth["keypoints"]), (_RESULTS, found["keypoints"])):
        if len(keypoints) and keypoints.shape[1] != len(spread):
            raise ValueError(
                f"{name}: expected {len(spread)} keypoints, one per sigma, got {keypoints.shape[1]}; pass the `sigmas` "
                "of your skeleton"
            )
    if broken := int((~_finite(found["keypoints"])).sum()):
        warnings.warn(f"{broken} predicted keypoints are not finite and count as misses", stacklevel=2)
    if (truth["id"] == 0).any():
        warnings.warn(
            "ground_truth: an annotation has the id 0; whatever matches it counts as a false detection, as in "
            "pycocotools. Number annotations from 1",
            stacklevel=2,
        )

    known = _among(found["image_id"], truth["images"])
    if not known.all():
        at = int(np.flatnonzero(~known)[0])
        raise ValueError(
            f"predictions[{at}]: the ground truth has no image {found['image_id'][at].item()!r}; it lists "
            f"{len(truth['images'])} images, and images without people belong there, too"
        )
    if other := int((~_among(found["category_id"], truth["categories"])).sum()):
        warnings.warn(
            f"{other} of {len(known)} predictions are left out: the ground truth does not list their categories",
            stacklevel=2,
        )
    truth = _cells(_take(truth, _among(truth["image_id"], truth["images"])), truth, use_categories)
    found = _cells(found, truth, use_categories)

    # the best detections of each image, highest score first; lexsort is stable, so that ties stay in their order
    found = _take(found, np.lexsort((-found["score"], found["cell"])))
    rank = np.arange(len(found["cell"])) - np.searchsorted(found["cell"], found["cell"])
    found, rank = _take(found, rank < max_detections), rank[rank < max_detections]

    # a bit per area range and threshold: whom to find
    ranges = np.array(list(AREA_RANGES.values()))
    inside = (truth["area"][:, None] >= ranges[:, 0]) & (truth["area"][:, None] <= ranges[:, 1])
    crowd = truth["iscrowd"] != 0
    ignored = crowd | (truth["num_keypoints"] == 0)
    wanted = _area_bits(inside & ~ignored[:, None])

    matched, matched_ignored = _match(truth, found, rank, wanted, crowd, spread)
    outside = (found["area"][:, None] < ranges[:, 0]) | (found["area"][:, None] > ranges[:, 1])
    counted = _ALL_BITS & ~(matched_ignored | (_area_bits(outside) & ~matched))

    groups = len(truth["categories"]) if use_categories else 1
    precision = -np.ones((len(OKS_THRESHOLDS), len(RECALL_THRESHOLDS), groups, len(AREA_RANGES)))
    recall = -np.ones((len(OKS_THRESHOLDS), groups, len(AREA_RANGES)))
    people, detections = (
        np.searchsorted(cell["cell"], np.arange(groups + 1) * len(truth["images"])) for cell in (truth, found)
    )
    for group in range(groups):
        first, last = detections[group : group + 2]
        order = first + np.argsort(-found["score"][first:last], kind="stable")
        to_find = inside[people[group] : people[group + 1]] & ~ignored[people[group] : people[group + 1], None]
        _accumulate(counted[order], matched[order], to_find.sum(axis=0), precision[:, :, group], recall[:, group])
    return CocoResult(precision, recall, truth["categories"].tolist() if use_categories else ())


def _match(
    truth: Arrays, found: Arrays, rank: np.ndarray, wanted: np.ndarray, crowd: np.ndarray, sigmas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Per detection, the bits of the settings in which it has a match, and in which that person is ignored."""
    start, stop = (np.searchsorted(truth["cell"], found["cell"], side) for side in ("left", "right"))
    count = stop - start
    detection = np.repeat(np.arange(len(count)), count)
    person = np.arange(count.sum()) + np.repeat(start - (np.cumsum(count) - count), count)
    similarity = _pair_similarity(truth, found, detection, person, sigmas)

    # how each detection chooses: the highest similarity first, and of equal ones the last person
    thresholds = np.minimum(OKS_THRESHOLDS, 1 - 1e-10)
    near = np.flatnonzero(similarity >= thresholds[0])
    near = near[np.lexsort((-person[near], -similarity[near], detection[near]))]
    detection, person = detection[near], person[near]
    passed = (1 << np.searchsorted(thresholds, similarity[near], side="right").astype(np.int64)) - 1
    passed *= sum(1 << (area * len(OKS_THRESHOLDS)) for area in range(len(AREA_RANGES)))

    # in lock-step over images: a step holds at most one choice per detection, and one detection per image
    choice = np.arange(len(near)) - np.searchsorted(detection, detection)
    order = np.lexsort((choice, rank[detection]))
    detection, person, passed = detection[order], person[order], passed[order]
    turn = np.stack([rank[detection], choice[order]])
    starts = np.flatnonzero(np.diff(turn, axis=1, prepend=-1).any(axis=0)).tolist()
    steps: dict[int, list[slice]] = {}
    for first, last in zip(starts, [*starts, len(order)][1:], strict=True):
        steps.setdefault(int(turn[0, first]), []).append(slice(first, last))

    free = np.full(len(truth["cell"]), _ALL_BITS)
    taken_again = np.where(crowd, _ALL_BITS, 0)
    counting = np.where(truth["id"] == 0, 0, _ALL_BITS)  # pycocotools reads the id 0 as "no match"
    done, matched, matched_ignored = np.zeros((3, len(count)), dtype=np.int64)
    for choices in steps.values():
        for ignored in (False, True):  # somebody who counts comes before anybody ignored, however similar
            for step in choices:
                who, whom = detection[step], person[step]
                eligible = wanted[whom] ^ _ALL_BITS if ignored else wanted[whom]
                taken = passed[step] & eligible & free[whom] & ~done[who]
                done[who] |= taken
                matched[who] |= taken & counting[whom]
                free[whom] &= ~taken | taken_again[whom]
                if ignored:
                    matched_ignored[who] |= taken
    return matched, matched_ignored


@np.errstate(over="ignore", invalid="ignore")  # no area; what is not labelled
def _pair_similarity(
    truth: Arrays, found: Arrays, detection: np.ndarray, person: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """OKS of each pair. Sums run over the labelled keypoints alone, in pycocotools' order: the last bit is the same."""
    finite = _finite(found["keypoints"])
    x, y = (np.where(finite, found["keypoints"][..., axis], np.inf) for axis in (0, 1))
    goal_x, goal_y = (truth["keypoints"][..., axis].copy() for axis in (0, 1))
    labelled = truth["keypoints"][..., 2] > 0
    counts = labelled.sum(axis=1)[person]
    spread = (sigmas * 2) ** 2
    area = truth["area"] + _EPS
    similarity = np.empty(len(person))
    for count in np.unique(counts).tolist():
        pairs = np.flatnonzero(counts == count)
        for part in (pairs[i : i + _PAIRS_AT_ONCE] for i in range(0, len(pairs), _PAIRS_AT_ONCE)):
            who, whom = detection[part], person[part]
            if count:
                dx, dy = x[who] - goal_x[whom], y[who] - goal_y[whom]
            else:  # how far outside the box, enlarged by its own size on every side
                left, top, width, height = truth["bbox"][whom].T[..., None]
                dx = np.maximum(0, (left - width) - x[who]) + np.maximum(0, x[who] - (left + width * 2))
                dy = np.maximum(0, (top - height) - y[who]) + np.maximum(0, y[who] - (top + height * 2))
            exponent = (dx**2 + dy**2) / spread
            if 0 < count < len(sigmas):
                exponent = exponent[labelled[whom]].reshape(len(part), count)
            exponent = exponent / area[whom, None] / 2
            similarity[part] = np.exp(-exponent).sum(axis=1) / exponent.shape[1]
    return similarity


def _accumulate(
    counted: np.ndarray, matched: np.ndarray, people: np.ndarray, precision: np.ndarray, recall: np.ndarray
) -> None:
    """Fill `precision` `(10, 101, 3)` and `recall` `(10, 3)` from the bits of detections, best score first."""
    for area, total in enumerate(people.tolist()):
        if not total:
            continue
        bits = np.arange(len(OKS_THRESHOLDS))[:, None] + area * len(OKS_THRESHOLDS)
        counts, matches = ((flags >> bits) & 1 for flags in (counted, matched))
        true = np.cumsum(counts & matches, axis=1, dtype=float)
        false = np.cumsum(counts & ~matches, axis=1, dtype=float)
        reached = true / total
        curve = true / (false + true + _EPS)
        curve = np.maximum.accumulate(curve[:, ::-1], axis=1)[:, ::-1]
        recall[:, area] = reached[:, -1] if reached.shape[1] else 0
        for threshold in range(len(OKS_THRESHOLDS)):
            at = np.searchsorted(reached[threshold], RECALL_THRESHOLDS)
            precision[threshold, :, area] = 0
            precision[threshold, at < len(matched), area] = curve[threshold, at[at < len(matched)]]


def _summary(precision: np.ndarray, recall: np.ndarray) -> dict[str, float]:
    numbers = {}
    for name, values in (("AP", precision), ("AR", recall)):
        at_50, at_75 = 0, 5  # of OKS_THRESHOLDS
        parts = {"": values[..., 0], "50": values[at_50, ..., 0], "75": values[at_75, ..., 0]}
        for suffix, part in {**parts, "M": values[..., 1], "L": values[..., 2]}.items():
            known = part[part > -1]
            numbers[name + suffix] = float(known.mean()) if len(known) else -1.0
    return numbers


def _cells(records: Arrays, truth: Arrays, use_categories: bool) -> Arrays:
    """The records of listed categories with their `cell`, the number of their category and image, sorted by it."""
    categories, images = truth["categories"], truth["images"]
    records = {**records, "categories": categories, "images": images}
    records = _take(records, _among(records["category_id"], categories))
    category, image = (
        np.searchsorted(known, records[field]) for known, field in ((categories, "category_id"), (images, "image_id"))
    )
    if use_categories:
        records["cell"] = category * len(images) + image
        return _take(records, np.argsort(records["cell"], kind="stable"))
    records["cell"] = image
    return _take(records, np.lexsort((category, image)))  # pycocotools goes through the categories of an image


def _take(records: Arrays, which: np.ndarray) -> Arrays:
    return {field: values if field in ("images", "categories") else values[which] for field, values in records.items()}


def _among(ids: np.ndarray, listed: np.ndarray) -> np.ndarray:
    if ids.dtype.kind != listed.dtype.kind:  # NumPy would take 7 for "7"
        return np.zeros(len(ids), dtype=bool)
    return np.isin(ids, listed)


def _area_bits(flags: np.ndarray) -> np.ndarray:
    """`(N, 3)` flags per area range as bits, the same for all thresholds: `(N,)`."""
    shifts = np.arange(len(AREA_RANGES)) * len(OKS_THRESHOLDS)
    return (flags * (_THRESHOLD_BITS << shifts)).sum(axis=1)


# ----------------------------------------------------------------------------------------------------- reading, writing


def read_coco_ground_truth(source: str | Path | Mapping[str, Any]) -> Arrays:
    """COCO keypoint annotations as arrays, one per field of COCO's records, checked.

    Args:
        source: a json file, its content, or arrays by COCO's names; tensors and lists will do. Arrays need `image_id`,
            `keypoints` and `area`, and may leave out the others below; `keypoints` without flags are all labelled.

    Returns:
        images: `(M,)` ids of the images of the evaluation, with and without people. Left out of arrays: those of
            `image_id`. Annotations of images that are not listed are not evaluated.
        categories: `(C,)` ids. Left out: those of `category_id`.
        id: `(N,)`, unique. Left out: 1 to N.
        image_id: `(N,)` whole numbers or strings.
        category_id: `(N,)`. Left out of arrays: 1.
        keypoints: `(N, K, 3)` pixels x, y, and COCO's flag: 0 not labelled, 1 occluded, 2 visible.
        area: `(N,)` square pixels, of the segment in COCO's files.
        bbox: `(N, 4)` pixels, as COCO has it: left, top, width, height. Left out: the extent of the labelled keypoints.
        iscrowd: `(N,)` 0 or 1. Left out: 0.
        num_keypoints: `(N,)`; with 0 an annotation is ignored. Left out: as many as are labelled.

    Raises:
        ValueError: naming file, record and field, for what is missing or wrong.

    Example:
        >>> arrays = {"images": [7, 8], "image_id": [7], "keypoints": np.ones((1, 17, 2)), "area": [100.0]}
        >>> truth = read_coco_ground_truth(arrays)
        >>> truth["num_keypoints"].tolist(), truth["bbox"].tolist()
        ([17], [[1.0, 1.0, 0.0, 0.0]])
    """
    content = _load(source, _TRUTH)
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{_TRUTH}: expected COCO's annotations, a dict with images, annotations and categories, or a dict of "
            f"arrays, got {type(content).__name__}"
        )
    if "annotations" in content:
        if "images" not in content:
            raise ValueError(f"{_TRUTH}: expected a list `images`, of which those without people count, too; none came")
        data = _columns(content.get("annotations"), _TRUTH, ("image_id", "category_id"), "keypoints", ("area",))
        data |= _optional_columns(content["annotations"], _TRUTH)
        data["images"] = [_field(image, "id", f"{_TRUTH}: images", at) for at, image in enumerate(content["images"])]
        if "categories" in content:
            listed = enumerate(content["categories"])
            data["categories"] = [_field(category, "id", f"{_TRUTH}: categories", at) for at, category in listed]
    else:
        data = _arrays(content, _TRUTH, ("image_id", "keypoints", "area"))

    truth = _shared_fields(data, _TRUTH)
    count, keypoints = len(truth["image_id"]), truth["keypoints"]
    labelled = keypoints[..., 2] > 0
    truth["id"] = _ids(data.get("id", np.arange(1, count + 1)), _TRUTH, "id", count)
    truth["images"] = np.unique(_ids(data.get("images", truth["image_id"]), _TRUTH, "images"))
    truth["categories"] = np.unique(_ids(data.get("categories", truth["category_id"]), _TRUTH, "categories"))
    truth["area"] = _numbers(data["area"], _TRUTH, "area", (count,))
    truth["iscrowd"] = _numbers(data.get("iscrowd", np.zeros(count)), _TRUTH, "iscrowd", (count,))
    number = _numbers(data.get("num_keypoints", np.full(count, np.nan)), _TRUTH, "num_keypoints", (count,))
    truth["num_keypoints"] = np.where(np.isnan(number), labelled.sum(axis=1), number).astype(np.int64)
    bbox = _numbers(data.get("bbox", np.full((count, 4), np.nan)), _TRUTH, "bbox", (count, 4))
    if np.isnan(bbox).any():
        bbox = np.where(np.isnan(bbox), _extent(keypoints, labelled), bbox)
    truth["bbox"] = bbox

    for field, bad, expected in (
        ("area", ~(truth["area"] >= 0) | np.isinf(truth["area"]), "square pixels, 0 or more"),
        ("keypoints", (labelled & ~_finite(keypoints)).any(axis=1), "finite labelled keypoints"),
        ("bbox", np.isnan(truth["bbox"]).any(axis=1), "four numbers, as no keypoint is labelled"),
    ):
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"{_name(_TRUTH, at, truth['id'][at].item())}: {field}: expected {expected}, got "
                f"{truth[field][at].tolist()}"
            )
    unique, first = np.unique(truth["id"], return_index=True)
    if len(unique) < count:
        at = int(np.setdiff1d(np.arange(count), first)[0])
        raise ValueError(f"{_name(_TRUTH, at, truth['id'][at].item())}: another annotation has the same id")
    return truth


def read_coco_results(source: str | Path | Mapping[str, Any] | Sequence[Any]) -> Arrays:
    """COCO keypoint results as arrays, one per field of COCO's records, checked.

    Args:
        source: a json file, its content, which is a list of records, or arrays by COCO's names; tensors and lists will
            do. Arrays need `image_id`, `keypoints` and `score`, and may leave out the others below.

    Returns:
        image_id: `(N,)` whole numbers or strings.
        category_id: `(N,)`. Left out of arrays: 1.
        keypoints: `(N, K, 3)` pixels x, y, and the keypoint's score, which COCO's evaluation does not read. Left out:
            1. Keypoints that are not finite, or null in json, are accepted; they count as misses.
        score: `(N,)` of the person.
        area: `(N,)` square pixels. As pycocotools has it, of `bbox` (left, top, width, height) if the first record
            has one, else of the extent of all keypoints. Arrays may hold it.
        bbox: `(N, 4)` as it came, only where it came.

    Raises:
        ValueError: naming file, record and field, for what is missing or wrong.

    Example:
        >>> results = [{"image_id": 7, "category_id": 1, "keypoints": [0, 0, 1, 30, 20, 1], "score": 0.5}]
        >>> read_coco_results(results)["area"]
        array([600.])
    """
    content = _load(source, _RESULTS)
    if isinstance(content, Mapping) and "annotations" not in content:
        data = _arrays(content, _RESULTS, ("image_id", "keypoints", "score"))
    else:
        records = content["annotations"] if isinstance(content, Mapping) else content
        boxes = isinstance(records, Sequence) and records and isinstance(records[0], Mapping) and records[0].get("bbox")
        numbers = ("score", "bbox") if boxes else ("score",)
        data = _columns(records, _RESULTS, ("image_id", "category_id"), "keypoints", numbers)
    found = _shared_fields(data, _RESULTS)
    count = len(found["image_id"])
    found["score"] = _numbers(data["score"], _RESULTS, "score", (count,))
    if np.isnan(found["score"]).any():
        at = int(np.flatnonzero(np.isnan(found["score"]))[0])
        raise ValueError(f"{_name(_RESULTS, at)}: score: expected a number, got NaN; leave such detections out")
    if "bbox" in data:
        found["bbox"] = _numbers(data["bbox"], _RESULTS, "bbox", (count, 4))
    if "area" in data:
        found["area"] = _numbers(data["area"], _RESULTS, "area", (count,))
    elif "bbox" in data:
        found["area"] = found["bbox"][:, 2] * found["bbox"][:, 3]
    else:
        extent = _extent(found["keypoints"], _finite(found["keypoints"]))
        found["area"] = np.nan_to_num(extent[:, 2] * extent[:, 3], nan=0.0)  # no finite keypoint: no area
    return found


def write_coco_results(
    path: str | Path, predictions: Mapping[str, Any] | Sequence[Any], *, decimals: int = 3
) -> None:  # fmt: skip
    """Write detections as a COCO results file, which `coco_ap`, pycocotools and COCO's server read.

    Args:
        path: of the json file.
        predictions: as `read_coco_results` takes them, with finite keypoints. A `bbox` is written, an `area` is not:
            readers compute it.
        decimals: of the keypoints and boxes, in pixels, and of the keypoints' scores; COCO asks for few, to keep files
            small. The scores of people are written in full, because rounding would make ties.

    Raises:
        ValueError: as `read_coco_results`, and for keypoints, scores or boxes that are not finite, which JSON lacks.

    Example:
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
        "keypoints": _rounded(found["keypoints"].reshape(len(found["score"]), -1), decimals, _RESULTS, "keypoints"),
        "score": _rounded(found["score"], None, _RESULTS, "score"),
    }
    if "bbox" in found:
        columns["bbox"] = _rounded(found["bbox"], decimals, _RESULTS, "bbox")
    _write(path, _records(columns))


def write_coco_ground_truth(
    path: str | Path, ground_truth: Mapping[str, Any], *, skeleton: str | Skeleton = "coco17", decimals: int = 3
) -> None:
    """Write annotations as a COCO keypoint file, which `coco_ap` and pycocotools read.

    Args:
        path: of the json file.
        ground_truth: as `read_coco_ground_truth` takes it. Points that are not labelled are written as 0, 0, 0.
        skeleton: names and bones of the keypoints, for the file's categories.
        decimals: of keypoints, boxes and areas.

    Raises:
        ValueError: as `read_coco_ground_truth`, and for another number of keypoints than the skeleton's.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "truth.json"
        >>> write_coco_ground_truth(file, {"image_id": [7], "keypoints": np.ones((1, 17, 2)), "area": [100]})
        >>> json.loads(file.read_text())["images"], read_coco_ground_truth(file)["num_keypoints"]
        ([{'id': 7}], array([17]))
    """
    truth, named = read_coco_ground_truth(ground_truth), get_skeleton(skeleton)
    keypoints = truth["keypoints"]
    if len(keypoints) and keypoints.shape[1] != len(named):
        raise ValueError(
            f"{_TRUTH}: expected {len(named)} keypoints, those of {named.name!r}, got {keypoints.shape[1]}"
        )
    keypoints = np.where(keypoints[..., 2:] > 0, keypoints, 0).reshape(len(keypoints), -1)
    columns = {
        "id": truth["id"].tolist(),
        "image_id": truth["image_id"].tolist(),
        "category_id": truth["category_id"].tolist(),
        "keypoints": _rounded(keypoints, decimals, _TRUTH, "keypoints"),
        "num_keypoints": truth["num_keypoints"].tolist(),
        "area": _rounded(truth["area"], decimals, _TRUTH, "area"),
        "bbox": _rounded(truth["bbox"], decimals, _TRUTH, "bbox"),
        "iscrowd": truth["iscrowd"].astype(int).tolist(),
    }
    bones = [[start + 1, end + 1] for start, end in named.bones]  # COCO counts from 1 here
    kind = {"name": "person", "supercategory": "person", "keypoints": list(named.keypoints), "skeleton": bones}
    content = {
        "images": [{"id": image} for image in truth["images"].tolist()],
        "annotations": _records(columns),
        "categories": [{"id": category, **kind} for category in truth["categories"].tolist()],
    }
    _write(path, content)


# -------------------------------------------------------------------------------------------------------------- inside


def _people(
    points: Tensor, truth: Tensor, areas: Array, sigmas: Any, visible: Array | None, boxes: Array | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """What `_similarity` needs to know about people `(N, K, 2)`, checked and in double precision."""
    size = _per_person(areas, "areas", truth)
    _check_areas(size)
    seen = None
    if visible is not None:
        seen = _tensor(visible, points) > 0
        if seen.shape != truth.shape[:2]:
            raise ValueError(f"visible: expected (N, K) = {tuple(truth.shape[:2])}, got {tuple(seen.shape)}")
    unknown = ~torch.isfinite(truth).all(dim=-1)
    unknown = unknown if seen is None else unknown & seen
    if unknown.any():
        person, keypoint = unknown.nonzero()[0].tolist()
        raise ValueError(
            f"target: keypoint {keypoint} of person {person} is NaN or infinite; mark missing ones in `visible`"
        )
    around = None
    if boxes is not None:
        around = _precise(_tensor(boxes, points))
        if around.shape != (len(truth), 4):
            raise ValueError(f"boxes: expected (N, 4) = ({len(truth)}, 4) xyxy, got {tuple(around.shape)}")
    return _precise(truth), size, _spread(sigmas, truth), seen, around


def _similarity(
    points: Tensor, truth: Tensor, areas: Tensor, spread: Tensor, seen: Tensor | None, boxes: Tensor | None
) -> Tensor:
    """OKS of poses that broadcast: `(..., K, 2), (..., K, 2), (...), (K,), (..., K), (..., 4) -> (...)`."""
    points = _precise(points)
    points = torch.where(torch.isfinite(points).all(dim=-1, keepdim=True), points, torch.inf)
    scale = spread * (areas[..., None] + float(_EPS)) * 2
    alike = torch.exp(-(points - truth).square().sum(dim=-1) / scale)
    if seen is None:
        return alike.mean(dim=-1)
    labelled = seen.sum(dim=-1)
    result = torch.where(seen, alike, 0.0).sum(dim=-1) / labelled
    if boxes is None:
        return result
    low, high = boxes[..., None, :2], boxes[..., None, 2:]
    width = high - low
    beyond = (low - width - points).clamp(min=0) + (points - high - width).clamp(min=0)
    return torch.where(labelled > 0, result, torch.exp(-beyond.square().sum(dim=-1) / scale).mean(dim=-1))


def _sigmas(sigmas: Any) -> np.ndarray:
    if isinstance(sigmas, str | Skeleton):
        named = get_skeleton(sigmas)
        if named.sigmas is None:
            raise ValueError(f"sigmas: the skeleton {named.name!r} has none; pass one per keypoint")
        sigmas = named.sigmas
    values = _as_numpy(sigmas).astype(float)
    if values.ndim != 1 or not len(values) or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"sigmas: expected positive numbers, one per keypoint, got {values.tolist()}")
    return values


def _spread(sigmas: Any, points: Tensor) -> Tensor:
    values = _sigmas(sigmas)
    if len(values) != points.shape[-2]:
        raise ValueError(f"sigmas: expected {points.shape[-2]}, one per keypoint, got {len(values)}")
    return _precise(torch.from_numpy((values * 2) ** 2).to(points.device))


def _per_person(values: Array, name: str, people: Tensor) -> Tensor:
    found = _precise(_tensor(values, people))
    if found.shape != people.shape[:1]:
        raise ValueError(f"{name}: expected one per person, ({len(people)},), got {tuple(found.shape)}")
    return found


def _check_areas(areas: Tensor) -> None:
    wrong = ~((areas >= 0) & torch.isfinite(areas))
    if wrong.any():
        at = int(wrong.nonzero()[0])
        raise ValueError(f"areas: person {at} has {float(areas[at])}; expected square pixels, 0 or more")


def _warn_of_broken(points: Tensor) -> None:
    if count := int((~torch.isfinite(points).all(dim=-1)).sum()):
        warnings.warn(f"{count} of the predicted keypoints are not finite and count as misses", stacklevel=3)


def _load(source: Any, what: str) -> Any:
    if not isinstance(source, str | Path):
        return source
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"{what}: no file {path}; expected a COCO json file")
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{what}: {path} is not JSON: {error}") from error


def _columns(
    records: Any, what: str, ids: Sequence[str], points: str, numbers: Sequence[str]
) -> dict[str, Any]:  # fmt: skip
    """Required fields of COCO's records, one column each; on failure the record at fault is looked for."""
    if not isinstance(records, Sequence) or isinstance(records, str):
        raise ValueError(f"{what}: expected a list of COCO's records, got {type(records).__name__}")
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
    """Numbers, or rows of `width` of them, as an array."""
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
    """`image_id`, `category_id` and `keypoints` `(N, K, 3)`."""
    image = _ids(data["image_id"], what, "image_id")
    keypoints = _numbers(data["keypoints"], what, "keypoints")
    if keypoints.size == 0 and keypoints.ndim < 3:
        keypoints = keypoints.reshape(0, 0, 3)
    if keypoints.ndim != 3 or keypoints.shape[-1] not in (2, 3) or len(keypoints) != len(image):
        raise ValueError(
            f"{what}: keypoints: expected (N, K, 3) or (N, K, 2) with N = {len(image)}, got {keypoints.shape}"
        )
    if keypoints.shape[-1] == 2:
        flag = 2.0 if what == _TRUTH else 1.0
        keypoints = np.concatenate([keypoints, np.full((*keypoints.shape[:2], 1), flag)], axis=-1)
    category = _ids(data.get("category_id", np.ones(len(image), dtype=np.int64)), what, "category_id", len(image))
    return {"image_id": image, "category_id": category, "keypoints": keypoints}


def _ids(values: Any, what: str, field: str, count: int | None = None) -> np.ndarray:
    """Whole numbers or strings; NumPy alone would turn 7 and "7" into the same."""
    try:
        array = _as_numpy(values)
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
        array = _as_numpy(values).astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: {field}: expected numbers; {error}") from error
    if shape is not None and array.shape != shape:
        if array.size or 0 not in shape:
            raise ValueError(f"{what}: {field}: expected {shape}, got {array.shape}")
        array = array.reshape(shape)
    return array


def _as_numpy(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _extent(keypoints: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Left, top, width, height of the known points, `(N, K, 3), (N, K) -> (N, 4)`; NaN where there is none."""
    if not keypoints.size:
        return np.full((len(keypoints), 4), np.nan)
    axes = [
        np.where(known, keypoints[..., axis], np.nan).T.copy() for axis in (0, 1)
    ]  # (K, N): reduces ten times faster
    low = [np.fmin.reduce(axis) for axis in axes]
    return np.stack([*low, *(np.fmax.reduce(axis) - least for axis, least in zip(axes, low, strict=True))], axis=1)


def _finite(keypoints: np.ndarray) -> np.ndarray:
    known: np.ndarray = np.isfinite(keypoints[..., 0])
    return known & np.isfinite(keypoints[..., 1])


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
