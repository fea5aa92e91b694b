"""The MPJPE family pose by pose, from the definitions; shares nothing with the package.

The best rotation is Horn's ("Closed-form solution of absolute orientation using unit quaternions",
JOSA A 1987): the eigenvector of a 4 x 4 matrix with the largest eigenvalue, which can only ever be
a rotation. Poses are nested lists.
"""

import math

import numpy as np


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def mean_point(points):
    return [sum(point[axis] for point in points) / len(points) for axis in range(3)]


def minus(points, origin):
    return [[x - y for x, y in zip(point, origin, strict=True)] for point in points]


def rotation(source, target):
    """Horn's, of points around their means."""
    s = [[sum(a[i] * b[j] for a, b in zip(source, target, strict=True)) for j in range(3)] for i in range(3)]
    matrix = [
        [s[0][0] + s[1][1] + s[2][2], s[1][2] - s[2][1], s[2][0] - s[0][2], s[0][1] - s[1][0]],
        [s[1][2] - s[2][1], s[0][0] - s[1][1] - s[2][2], s[0][1] + s[1][0], s[2][0] + s[0][2]],
        [s[2][0] - s[0][2], s[0][1] + s[1][0], s[1][1] - s[0][0] - s[2][2], s[1][2] + s[2][1]],
        [s[0][1] - s[1][0], s[2][0] + s[0][2], s[1][2] + s[2][1], s[2][2] - s[0][0] - s[1][1]],
    ]
    w, x, y, z = np.linalg.eigh(matrix)[1][:, -1].tolist()
    return [
        [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
    ]


def aligned(pred, target, alignment, root, joints):
    """Both poses after the alignment, which is fitted to `joints` only."""
    if alignment == "none":
        return pred, target
    if alignment == "root":
        return minus(pred, pred[root]), minus(target, target[root])
    pred = minus(pred, mean_point([pred[joint] for joint in joints]))
    target = minus(target, mean_point([target[joint] for joint in joints]))
    if alignment == "centroid":
        return pred, target
    source, goal = [pred[joint] for joint in joints], [target[joint] for joint in joints]
    matrix = rotation(source, goal)
    turned = [[sum(row[i] * point[i] for i in range(3)) for row in matrix] for point in pred]
    if alignment == "similarity":
        overlap = sum(a * b for joint in joints for a, b in zip(turned[joint], target[joint], strict=True))
        factor = overlap / sum(a * a for joint in joints for a in turned[joint])
        turned = [[factor * value for value in point] for point in turned]
    return turned, target


def errors(pred, target, alignment, visible, root=0):
    """Distances per pose and joint, None where not visible."""
    result = []
    for found, true, seen in zip(pred, target, visible, strict=True):
        joints = [joint for joint in range(len(true)) if seen[joint]]
        found, true = aligned(found, true, alignment, root, joints)
        result.append([distance(found[joint], true[joint]) if seen[joint] else None for joint in range(len(true))])
    return result


def scaled_errors(pred, target, visible, root=0):
    """N-MPJPE: the best scale of the root-relative pose."""
    result = []
    for found, true, seen in zip(pred, target, visible, strict=True):
        found, true = minus(found, found[root]), minus(true, true[root])
        joints = [joint for joint in range(len(true)) if seen[joint]]
        overlap = sum(a * b for joint in joints for a, b in zip(found[joint], true[joint], strict=True))
        factor = overlap / sum(a * a for joint in joints for a in found[joint])
        found = [[factor * value for value in point] for point in found]
        result.append([distance(found[joint], true[joint]) if seen[joint] else None for joint in range(len(true))])
    return result


def velocity_errors(pred, target):
    """Of consecutive frames of one video."""
    return [
        [
            distance(minus([now], before)[0], minus([true_now], true_before)[0])
            for now, before, true_now, true_before in zip(*frames, strict=True)
        ]
        for frames in zip(pred[1:], pred[:-1], target[1:], target[:-1], strict=True)
    ]


def angle(a, b):
    """Between two vectors in degrees."""
    cosine = sum(x * y for x, y in zip(a, b, strict=True)) / (distance(a, [0, 0, 0]) * distance(b, [0, 0, 0]))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
