"""OKS, its non-maximum suppression, and COCO's AP and AR in plain Python, from their definitions,
one loop at a time.

Shares nothing with the package. People and detections are dicts in COCO's json format.
"""

import math

AREAS = {"all": (0, 1e10), "medium": (32 * 32, 96 * 96), "large": (96 * 96, 1e10)}
THRESHOLDS = [0.5 + 0.05 * i for i in range(10)]


def oks(points, truth, flags, area, sigmas, box=None):
    """Similarity of one pose `[(x, y), ...]` with one person; `box` is (left, top, width, height)."""
    labelled = [k for k in range(len(truth)) if flags[k] > 0]
    terms = []
    for k in labelled or range(len(truth)):
        x, y = points[k]
        if not (math.isfinite(x) and math.isfinite(y)):
            terms.append(0.0)
            continue
        if labelled:
            dx, dy = x - truth[k][0], y - truth[k][1]
        elif box is None:
            return math.nan
        else:  # how far outside the box that is three times as wide and as high, with the same centre
            left, top, width, height = box
            dx = max(left - width - x, 0, x - (left + 2 * width))
            dy = max(top - height - y, 0, y - (top + 2 * height))
        spread = 2 * sigmas[k]
        terms.append(math.exp(-(dx * dx + dy * dy) / (2 * (area + 2.220446049250313e-16) * spread * spread)))
    return math.fsum(terms) / len(terms)


def nms(poses, scores, areas, sigmas, threshold):
    kept = []
    for i in sorted(range(len(poses)), key=lambda i: -scores[i]):  # sorted() keeps the order of equal ones
        flags = [1] * len(sigmas)
        alike = [oks(poses[i], poses[j], flags, (areas[i] + areas[j]) / 2, sigmas) for j in kept]
        if all(value <= threshold for value in alike):
            kept.append(i)
    return kept


def triples(record):
    values = record["keypoints"]
    return [tuple(values[i : i + 3]) for i in range(0, len(values), 3)]


def detection_area(detection):
    if "bbox" in detection:
        return detection["bbox"][2] * detection["bbox"][3]
    x, y = ([point[axis] for point in triples(detection)] for axis in (0, 1))
    return (max(x) - min(x)) * (max(y) - min(y))


def similarity(detection, person, sigmas):
    points = [point[:2] for point in triples(detection)]
    truth = [point[:2] for point in triples(person)]
    flags = [point[2] for point in triples(person)]
    return oks(points, truth, flags, person["area"], sigmas, person["bbox"])


def assign(detections, people, table, ignored, threshold):
    """Index of the person that each detection takes, or None. Detections come best first."""
    taken, assigned = set(), []
    for d in range(len(detections)):
        choice = None
        for want_ignored in (False, True):
            if choice is not None:
                break
            for p, person in enumerate(people):
                if ignored[p] != want_ignored or (p in taken and not person["iscrowd"]):
                    continue
                alike = table[d][p]
                if alike >= threshold and (choice is None or alike >= table[d][choice]):
                    choice = p
        assigned.append(choice)
        if choice is not None:
            taken.add(choice)
    return assigned


def curve(outcomes, total):
    """101 precisions and the final recall; `outcomes` are (score, is it a hit), in the order of the
    images.
    """
    outcomes = sorted(outcomes, key=lambda outcome: -outcome[0])
    hits, reached, precise = 0, [], []
    for number, (_, hit) in enumerate(outcomes, 1):
        hits += hit
        reached.append(hits / total)
        precise.append(hits / number)
    points = []
    for i in range(101):
        # compared as floats, like the official evaluation: 7 of 20 do not reach 35 * 0.01 = 0.35000000000000003
        at_least = [p for r, p in zip(reached, precise, strict=True) if r >= i * 0.01]
        points.append(max(at_least, default=0.0))
    return points, (reached[-1] if reached else 0.0)


def coco(ground_truth, detections, sigmas, limit=20, use_categories=True):
    """The ten numbers."""
    categories = sorted(category["id"] for category in ground_truth["categories"])
    images = sorted(image["id"] for image in ground_truth["images"])
    groups = [[category] for category in categories] if use_categories else [categories]
    precisions, recalls = {}, {}  # (area, threshold index) -> one entry per group in which somebody counts
    for group in groups:
        cells = []
        for image in images:
            people, found = (
                [r for c in group for r in records if r["image_id"] == image and r["category_id"] == c]
                for records in (ground_truth["annotations"], detections)
            )
            found = sorted(found, key=lambda detection: -detection["score"])[:limit]
            cells.append((people, found, [[similarity(d, p, sigmas) for p in people] for d in found]))
        for area, (low, high) in AREAS.items():
            for t, threshold in enumerate(THRESHOLDS):
                outcomes, total = [], 0
                for people, found, table in cells:
                    ignored = [
                        bool(p["iscrowd"]) or p["num_keypoints"] == 0 or not low <= p["area"] <= high for p in people
                    ]
                    total += ignored.count(False)
                    choices = assign(found, people, table, ignored, threshold)
                    for detection, choice in zip(found, choices, strict=True):
                        if choice is None and low <= detection_area(detection) <= high:
                            outcomes.append((detection["score"], False))
                        elif choice is not None and not ignored[choice]:
                            outcomes.append((detection["score"], True))
                if total:
                    points, recall = curve(outcomes, total)
                    precisions.setdefault((area, t), []).extend(points)
                    recalls.setdefault((area, t), []).append(recall)
    numbers = {}
    for name, table in (("AP", precisions), ("AR", recalls)):
        for suffix, area, at in (
            ("", "all", range(10)), ("50", "all", [0]), ("75", "all", [5]), ("M", "medium", range(10)),
            ("L", "large", range(10)),
        ):  # fmt: skip
            values = [value for t in at for value in table.get((area, t), [])]
            numbers[name + suffix] = math.fsum(values) / len(values) if values else -1.0
    return numbers
