"""AP and AR of COCO's keypoint evaluation, equal to those of pycocotools to the last bit.

`coco_ap` matches detections to annotated people by OKS and gives the ten numbers of pycocotools'
keypoint evaluation, for any skeleton. It computes on the CPU, over all images at once: one flat
list of the pairs of a detection and a person of the same image, then greedy matching in lock-step,
first the best detection of every image, then the second best of every image, and so on, with the
ten thresholds and three ranges of area as the bits of one integer.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posezoo.arrays import Array, check_count, in_fractions
from posezoo.metrics.arrays import finite_points
from posezoo.metrics.coco_files import (
    RESULTS,
    TRUTH,
    Arrays,
    load_coco,
    match_file_names,
    read_coco_ground_truth,
    read_coco_results,
)
from posezoo.metrics.oks import EPS, oks_sigmas
from posezoo.skeletons import Skeleton

# pycocotools' Params, written as there: np.arange would give other last digits
OKS_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0, 1, 101)
AREA_RANGES = {"all": (0.0, 1e10), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}  # both ends belong to each

PAIRS_AT_ONCE = 1 << 13  # pairs per step of the similarity, few enough for the cache

# A setting is a pair of an area range and a threshold. Matching runs in all 30 at once: each detection and each person
# has one int64 whose bit 10 a + t belongs to area range a and threshold t, so that one `&` of two arrays combines
# two conditions for all people and settings.
#
#     bit  29 ............ 20  19 ............ 10  9 ............. 0
#          large: 0.95 ... 0.5  medium: 0.95 ... 0.5  all: 0.95 ... 0.5
#
# For example, a detection whose OKS with a person is 0.62 passes the thresholds 0.5, 0.55 and 0.6, which are
# t = 0, 1, 2, in each range of area: 0b0000000111_0000000111_0000000111.
NUM_SETTINGS = len(OKS_THRESHOLDS) * len(AREA_RANGES)
ALL_BITS = (1 << NUM_SETTINGS) - 1
THRESHOLD_BITS = (1 << len(OKS_THRESHOLDS)) - 1  # those of the first area range


class CocoResult(dict[str, float]):
    """The ten numbers of COCO's keypoint evaluation, with the curves they summarise.

    A dict with the keys AP, AP50, AP75, APM, APL, AR, AR50, AR75, ARM, ARL, in this order:
    fractions, or -1 where no person counts. M (medium) is for people with areas of 32² to 96²
    pixels, L (large) for larger ones.

    Attributes:
        precision: `(10, 101, C, 3)`: OKS threshold, recall (0, 0.01, ... 1), category, area range
            (all, medium, large); -1 where no person counts. `precision[0, :, 0, 0]` draws the curve
            of AP50.
        recall: `(10, C, 3)`, the highest recall reached.
        categories: the C category ids. Empty, with C = 1, if categories were not used.
    """

    def __init__(self, precision: np.ndarray, recall: np.ndarray, categories: Sequence[Any] = ()) -> None:
        super().__init__(_summary(precision, recall))
        self.precision, self.recall, self.categories = precision, recall, tuple(categories)

    def of_category(self, category: Any) -> dict[str, float]:
        """Return the ten numbers of one category.

        Raises:
            ValueError: for a category that is not in the ground truth, or if categories were not
                used.
        """
        if category not in self.categories:
            raise ValueError(f"no category {category!r}; there are {', '.join(map(repr, self.categories)) or 'none'}")
        at = self.categories.index(category)
        return _summary(self.precision[:, :, at : at + 1], self.recall[:, at : at + 1])


def coco_ap(
    ground_truth: str | Path | Mapping[str, Any], predictions: str | Path | Mapping[str, Any] | Sequence[Any], *,
    sigmas: str | Skeleton | Sequence[float] | Array = "coco17", max_detections: int = 20, use_categories: bool = True,
) -> CocoResult:  # fmt: skip
    """Average precision and recall of keypoints by COCO's definition, bit for bit as pycocotools.

    In each image and category at most `max_detections` detections count, in descending order of
    score. Each is matched to the annotation with the highest OKS among those at or above (`>=`) the
    threshold; of equal ones to the last. Each annotation is matched at most once, except crowds.
    Crowds, people without labelled keypoints and people outside the range of areas are ignored:
    they are matched after all others and count neither as found nor as missed. The detections that
    match them are ignored too, and so are unmatched detections whose own area is outside the range.
    Equal scores keep their order: images by id, then the order of the results. AP is the mean
    precision over 101 recalls, the ten OKS thresholds 0.5 to 0.95, and the categories in which a
    person counts.

    Args:
        ground_truth: a COCO annotation file, its content, or arrays; see `read_coco_ground_truth`.
        predictions: a COCO results file, its content, or arrays; see `read_coco_results`. Images
            are matched by `file_name` if both files have it, otherwise by `image_id`.
            Predictions of a category that the ground truth does not list are left out, as in
            pycocotools.
        sigmas: `(K,)`, or a skeleton that has them.
        max_detections: per image and category. Defaults to COCO's 20.
        use_categories: False allows matches across categories, as in pycocotools' evaluation of
            boxes with `useCats = 0`. (For keypoints, pycocotools 2.0 then matches nothing at all.)

    Returns:
        The ten numbers by name, with the curves they summarise.

    Warns:
        UserWarning: for predicted keypoints that are not finite; for predictions left out for their
            category; for an annotation with the id 0, because pycocotools counts the detection that
            matches it as false, and so does this function.

    Raises:
        ValueError: for records that miss a field or hold a wrong one (the message names the
            record), predictions in images that the ground truth does not list, another number of
            keypoints than of sigmas, or keypoints in fractions of the image instead of pixels.

    Examples:
        >>> import numpy as np
        >>> pose = np.random.default_rng(0).uniform(0, 100, (2, 17, 2))
        >>> truth = {"image_id": [7, 8], "keypoints": pose, "area": [5000, 5000]}
        >>> result = coco_ap(truth, {"image_id": [8, 7], "keypoints": pose[::-1], "score": [0.4, 0.9]})
        >>> result["AP"], result["AR50"], result["APL"]
        (1.0, 1.0, -1.0)
    """
    check_count(max_detections, "max_detections")
    spread = oks_sigmas(sigmas)
    annotations, results = load_coco(ground_truth, TRUTH), load_coco(predictions, RESULTS)
    truth = read_coco_ground_truth(annotations, num_keypoints=len(spread))
    found = read_coco_results(match_file_names(results, annotations))
    for name, keypoints in (("ground_truth", truth["keypoints"]), ("predictions", found["keypoints"])):
        if len(keypoints) and keypoints.shape[1] != len(spread):
            raise ValueError(
                f"{name}: expected {len(spread)} keypoints, one per sigma, got {keypoints.shape[1]}; pass the `sigmas` "
                "of your skeleton"
            )
    labelled = truth["keypoints"][truth["keypoints"][..., 2] > 0]
    for name, points in (("ground_truth", labelled), ("predictions", found["keypoints"])):
        if in_fractions(points[..., :2]):
            raise ValueError(f"{name}: keypoints are in fractions of the image, expected pixels; multiply by its size")
    if broken := int((~finite_points(found["keypoints"])).sum()):
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

    # the settings in which each person is to be found
    ranges = np.array(list(AREA_RANGES.values()))
    inside = (truth["area"][:, None] >= ranges[:, 0]) & (truth["area"][:, None] <= ranges[:, 1])
    crowd = truth["iscrowd"] != 0
    ignored = crowd | (truth["num_keypoints"] == 0)
    wanted = _area_bits(inside & ~ignored[:, None])

    # a detection counts unless it matched an ignored person, or matched no one and its own area is out of range
    matched, matched_ignored = _match(truth, found, rank, wanted, crowd, spread)
    outside = (found["area"][:, None] < ranges[:, 0]) | (found["area"][:, None] > ranges[:, 1])
    counted = ALL_BITS & ~(matched_ignored | (_area_bits(outside) & ~matched))

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
    """Match detections to people, greedily, in all 30 settings at once.

    Args:
        truth: people, sorted by cell (an image and category).
        found: detections, sorted by cell, and in it by descending score.
        rank: `(D,)` place of a detection in its cell, from 0.
        wanted: `(G,)` bits of the settings in which a person counts; in the others the person is
            ignored.
        crowd: `(G,)` people who may be matched more than once.
        sigmas: `(K,)`.

    Returns:
        Per detection `(D,)` the bits of the settings in which it has a match, and of those in which
        its match is ignored.
    """
    # all pairs of a detection and a person of its cell, as two flat lists of indices
    start, stop = (np.searchsorted(truth["cell"], found["cell"], side) for side in ("left", "right"))
    count = stop - start
    detection = np.repeat(np.arange(len(count)), count)
    person = np.arange(count.sum()) + np.repeat(start - (np.cumsum(count) - count), count)
    similarity = _pair_similarity(truth, found, detection, person, sigmas)

    # the choices of each detection: pairs above the lowest threshold, the highest similarity first, of equal ones the
    # last person
    thresholds = np.minimum(OKS_THRESHOLDS, 1 - 1e-10)
    near = np.flatnonzero(similarity >= thresholds[0])
    near = near[np.lexsort((-person[near], -similarity[near], detection[near]))]
    detection, person = detection[near], person[near]
    # searchsorted counts the thresholds that the similarity reaches; their bits, repeated for each range of area
    passed = (1 << np.searchsorted(thresholds, similarity[near], side="right").astype(np.int64)) - 1
    passed *= sum(1 << (area * len(OKS_THRESHOLDS)) for area in range(len(AREA_RANGES)))

    # In lock-step over cells: step (r, c) holds choice c of the detection of rank r of every cell. Its detections are
    # of different cells, and so are its people, so that one step is a few operations on whole arrays.
    choice = np.arange(len(near)) - np.searchsorted(detection, detection)
    order = np.lexsort((choice, rank[detection]))
    detection, person, passed = detection[order], person[order], passed[order]
    turn = np.stack([rank[detection], choice[order]])
    starts = np.flatnonzero(np.diff(turn, axis=1, prepend=-1).any(axis=0)).tolist()
    steps: dict[int, list[slice]] = {}
    for first, last in zip(starts, [*starts, len(order)][1:], strict=True):
        steps.setdefault(int(turn[0, first]), []).append(slice(first, last))

    free = np.full(len(truth["cell"]), ALL_BITS)  # settings in which a person is not matched yet
    taken_again = np.where(crowd, ALL_BITS, 0)
    counting = np.where(truth["id"] == 0, 0, ALL_BITS)  # pycocotools reads the id 0 as "no match"
    done, matched, matched_ignored = np.zeros((3, len(count)), dtype=np.int64)
    for choices in steps.values():
        for ignored in (False, True):  # people who count come before ignored ones, however similar
            for step in choices:
                who, whom = detection[step], person[step]
                eligible = wanted[whom] ^ ALL_BITS if ignored else wanted[whom]
                taken = passed[step] & eligible & free[whom] & ~done[who]
                done[who] |= taken
                matched[who] |= taken & counting[whom]
                free[whom] &= ~taken | taken_again[whom]
                if ignored:
                    matched_ignored[who] |= taken
    return matched, matched_ignored


@np.errstate(over="ignore", invalid="ignore")  # areas of 0, and coordinates that are not labelled
def _pair_similarity(
    truth: Arrays, found: Arrays, detection: np.ndarray, person: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """OKS of each pair, summed in the order of pycocotools, so that the last bit agrees."""
    finite = finite_points(found["keypoints"])
    x, y = (np.where(finite, found["keypoints"][..., axis], np.inf) for axis in (0, 1))
    goal_x, goal_y = (truth["keypoints"][..., axis].copy() for axis in (0, 1))
    labelled = truth["keypoints"][..., 2] > 0
    counts = labelled.sum(axis=1)[person]
    spread = (sigmas * 2) ** 2
    area = truth["area"] + EPS
    similarity = np.empty(len(person))
    for count in np.unique(counts).tolist():
        pairs = np.flatnonzero(counts == count)
        for part in (pairs[i : i + PAIRS_AT_ONCE] for i in range(0, len(pairs), PAIRS_AT_ONCE)):
            who, whom = detection[part], person[part]
            if count:
                dx, dy = x[who] - goal_x[whom], y[who] - goal_y[whom]
            else:  # distance to the box, enlarged by its own size on every side
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
    """Fill `precision` `(10, 101, 3)` and `recall` `(10, 3)` from detections, best score first."""
    for area, total in enumerate(people.tolist()):
        if not total:
            continue
        bits = np.arange(len(OKS_THRESHOLDS))[:, None] + area * len(OKS_THRESHOLDS)
        counts, matches = ((flags >> bits) & 1 for flags in (counted, matched))
        true = np.cumsum(counts & matches, axis=1, dtype=float)
        false = np.cumsum(counts & ~matches, axis=1, dtype=float)
        reached = true / total
        curve = true / (false + true + EPS)
        # the envelope: the highest precision at this recall or a higher one
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
    """Keep records of listed categories, number their cells (category and image), sort by them."""
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
    return _take(records, np.lexsort((category, image)))  # pycocotools joins the categories of an image in this order


def _take(records: Arrays, which: np.ndarray) -> Arrays:
    return {field: values if field in ("images", "categories") else values[which] for field, values in records.items()}


def _among(ids: np.ndarray, listed: np.ndarray) -> np.ndarray:
    if ids.dtype.kind != listed.dtype.kind:  # NumPy would take 7 for "7"
        return np.zeros(len(ids), dtype=bool)
    return np.isin(ids, listed)


def _area_bits(flags: np.ndarray) -> np.ndarray:
    """Bits of `(N, 3)` flags per area range, the same for all thresholds: `(N,)`."""
    shifts = np.arange(len(AREA_RANGES)) * len(OKS_THRESHOLDS)
    return (flags * (THRESHOLD_BITS << shifts)).sum(axis=1)
