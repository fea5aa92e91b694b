"""PCK, PCKh, PDJ, PCP and their relatives in plain Python, from their definitions; shares nothing
with the package.

A keypoint of a person is a hit when its distance to the annotation is at most a fraction of a
length of the person. What is not annotated is left out, and so is a person whose length cannot be
measured. All arguments are nested lists.
"""

import math


def distance(a, b):
    return math.sqrt((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2)


def pck(pred, target, lengths, visible, fraction, strict=False):
    """Hits and annotated keypoints, two lists with a number per keypoint."""
    hits, annotated = [0] * len(target[0]), [0] * len(target[0])
    for person in range(len(target)):
        if lengths[person] is None:
            continue
        for keypoint in range(len(target[person])):
            if not visible[person][keypoint]:
                continue
            annotated[keypoint] += 1
            if not all(math.isfinite(value) for value in pred[person][keypoint]):
                continue
            error = distance(pred[person][keypoint], target[person][keypoint])
            limit = fraction * lengths[person]
            if error < limit or (error == limit and not strict):
                hits[keypoint] += 1
    return hits, annotated


def torso(target, visible, left_shoulder, right_hip):
    """Per person the distance from left shoulder to right hip; None where it is unknown or nothing."""
    lengths = []
    for keypoints, seen in zip(target, visible, strict=True):
        known = seen[left_shoulder] and seen[right_hip]
        lengths.append((distance(keypoints[left_shoulder], keypoints[right_hip]) if known else 0) or None)
    return lengths


def head_size(corner, opposite):
    """MPII: 0.6 times the diagonal of the head's box."""
    return 0.6 * distance(corner, opposite)


def pcp(pred, target, limbs, visible, fraction, loose=False):
    """Correct and counted limbs, two lists with a number per limb; an end of a limb is a list of
    keypoints to average.

    Strict: both ends are within a fraction of the annotated length. Loose: the mean of their errors
    is. A limb of length 0 is never correct: its error would be divided by 0.
    """
    hits, counted = [0] * len(limbs), [0] * len(limbs)
    for person in range(len(target)):
        for number, ends in enumerate(limbs):
            if not all(visible[person][keypoint] for end in ends for keypoint in end):
                continue
            counted[number] += 1
            true = [middle([target[person][keypoint] for keypoint in end]) for end in ends]
            found = [middle([pred[person][keypoint] for keypoint in end]) for end in ends]
            if not all(math.isfinite(value) for end in found for value in end):
                continue
            errors = [distance(a, b) for a, b in zip(found, true, strict=True)]
            limit = fraction * distance(*true)
            if limit > 0 and (sum(errors) / 2 if loose else max(errors)) <= limit:
                hits[number] += 1
    return hits, counted


def middle(points):
    return [sum(point[axis] for point in points) / len(points) for axis in (0, 1)]


def pixel_errors(pred, target, visible):
    """Per keypoint the mean distance and the root of the mean squared distance; None where nobody
    has it.
    """
    result = []
    for keypoint in range(len(target[0])):
        people = [person for person in range(len(target)) if visible[person][keypoint]]
        errors = [distance(pred[person][keypoint], target[person][keypoint]) for person in people]
        if not errors:
            result.append(None)
            continue
        squares = sum(error**2 for error in errors) / len(errors)
        result.append((sum(errors) / len(errors), math.sqrt(squares)))
    return result


def area(values, thresholds):
    """Under straight lines between the values, as a fraction of the range of thresholds."""
    total = 0
    for left in range(len(values) - 1):
        total += (values[left] + values[left + 1]) / 2 * (thresholds[left + 1] - thresholds[left])
    return total / (thresholds[-1] - thresholds[0])


def peak(heatmap):
    """The first highest pixel as (x, y); (0, 0) where nothing is positive."""
    best, where = 0, (0, 0)
    for y, row in enumerate(heatmap):
        for x, value in enumerate(row):
            if value > best:
                best, where = value, (x, y)
    return where


def heatmap_accuracy(pred, target, fraction):
    """Simple Baselines' accuracy: correct and counted maps per keypoint; x in tenths of the height,
    y of the width.
    """
    hits, counted = [0] * len(target[0]), [0] * len(target[0])
    height, width = len(target[0][0]), len(target[0][0][0])
    for person in range(len(target)):
        for keypoint in range(len(target[person])):
            x, y = peak(target[person][keypoint])
            if x <= 1 or y <= 1:
                continue
            counted[keypoint] += 1
            u, v = peak(pred[person][keypoint])
            if distance((u / (height / 10), v / (width / 10)), (x / (height / 10), y / (width / 10))) < fraction:
                hits[keypoint] += 1
    return hits, counted
