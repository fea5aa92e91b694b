"""PCK, PCKh and PDJ in plain Python, from their definitions; shares nothing with the package.

A keypoint of a person is a hit when its distance to the annotation is at most a fraction of a length of the person.
What is not annotated is left out, and so is a person whose length cannot be measured. All arguments are nested lists.
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
