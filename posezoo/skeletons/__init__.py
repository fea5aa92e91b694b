"""Skeletons: names, bones and OKS sigmas of the keypoints of each data set, and their conversion.

skeleton.py      `Skeleton`: keypoints, bones, sigmas, mirror pairs
sides.py         left and right in the names of keypoints
registered.py    the table of skeletons; `get_skeleton`, `register_skeleton`
conversion.py    `convert`, poses from one skeleton to another

A `Skeleton` is names and bones; the mirror permutation follows from left and right in the names, so
that it cannot disagree with them. `convert` converts poses between skeletons, with a mask of the
keypoints that the source has.

A name means the same body point in every registered skeleton (comments give the data set's own word
where it differs), so that `convert` can match by name. Two neighbours are distinct on purpose:
`thorax` is the point between the shoulders; `neck` (LSP, CPM) and `upper_neck` (MPII) lie about
0.15 torso lengths above it.
"""

from posezoo.skeletons.conversion import convert
from posezoo.skeletons.registered import get_skeleton, list_skeletons, register_skeleton
from posezoo.skeletons.skeleton import Skeleton

__all__ = ["Skeleton", "convert", "get_skeleton", "list_skeletons", "register_skeleton"]
