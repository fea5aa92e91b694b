import dataclasses
import re
import sys

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import posezoo
from posezoo.skeletons import Skeleton, convert, get_skeleton, list_skeletons

# Orders as the data sets and papers number them, in their abbreviations; see `_spell` for the expansion.
ORDERS = {
    "coco17": "nose Leye Reye Lear Rear Lsho Rsho Lelb Relb Lwri Rwri Lhip Rhip Lkne Rkne Lank Rank",
    "mpii16": "Rank Rkne Rhip Lhip Lkne Lank pelvis thorax upper_neck head_top Rwri Relb Rsho Lsho Lelb Lwri",
    "mpii14": "Rank Rkne Rhip Lhip Lkne Lank upper_neck head_top Rwri Relb Rsho Lsho Lelb Lwri",
    "lsp14": "Rank Rkne Rhip Lhip Lkne Lank Rwri Relb Rsho Lsho Lelb Lwri neck head_top",
    "flic11": "Lsho Lelb Lwri Rsho Relb Rwri Lhip Rhip Leye Reye nose",
    "flic9": "Lsho Lelb Lwri Rsho Relb Rwri Lhip Rhip nose",
    "flic7": "Lwri Lelb Lsho face Rsho Relb Rwri",
    "jhmdb15": "neck belly face Rsho Lsho Rhip Lhip Relb Lelb Rkne Lkne Rwri Lwri Rank Lank",
    "aic14": "Rsho Relb Rwri Lsho Lelb Lwri Rhip Rkne Rank Lhip Lkne Lank head_top neck",
    "coco_aic19": "nose Leye Reye Lear Rear Lsho Rsho Lelb Relb Lwri Rwri Lhip Rhip Lkne Rkne Lank Rank head_top neck",
    "crowdpose14": "Lsho Rsho Lelb Relb Lwri Rwri Lhip Rhip Lkne Rkne Lank Rank head_top neck",
    "posetrack17": "nose upper_neck head_top Lear Rear Lsho Rsho Lelb Relb Lwri Rwri Lhip Rhip Lkne Rkne Lank Rank",
    "cpm14": "head_top neck Rsho Relb Rwri Lsho Lelb Lwri Rhip Rkne Rank Lhip Lkne Lank",
    "h36m17": "pelvis Rhip Rkne Rank Lhip Lkne Lank spine thorax neck_nose head Lsho Lelb Lwri Rsho Relb Rwri",
    "humaneva15": "pelvis thorax Lsho Lelb Lwri Rsho Relb Rwri Lhip Lkne Lank Rhip Rkne Rank head",
    "humaneva14": "thorax Lsho Lelb Lwri Rsho Relb Rwri Lhip Lkne Lank Rhip Rkne Rank head",
    "openpose18": "nose thorax Rsho Relb Rwri Lsho Lelb Lwri Rhip Rkne Rank Lhip Lkne Lank Reye Leye Rear Lear",
    "body25": "nose thorax Rsho Relb Rwri Lsho Lelb Lwri pelvis Rhip Rkne Rank Lhip Lkne Lank Reye Leye Rear Lear "
    "Lbig_toe Lsmall_toe Lheel Rbig_toe Rsmall_toe Rheel",
    "body25b": "nose Leye Reye Lear Rear Lsho Rsho Lelb Relb Lwri Rwri Lhip Rhip Lkne Rkne Lank Rank "
    "upper_neck head_top Lbig_toe Lsmall_toe Lheel Rbig_toe Rsmall_toe Rheel",
    "halpe26": "nose Leye Reye Lear Rear Lsho Rsho Lelb Relb Lwri Rwri Lhip Rhip Lkne Rkne Lank Rank "
    "head_top neck pelvis Lbig_toe Rbig_toe Lsmall_toe Rsmall_toe Lheel Rheel",
    "wholebody133": "nose Leye Reye Lear Rear Lsho Rsho Lelb Relb Lwri Rwri Lhip Rhip Lkne Rkne Lank Rank "
    "Lbig_toe Lsmall_toe Lheel Rbig_toe Rsmall_toe Rheel "
    + " ".join(f"face_{number}" for number in range(68))
    + " Lhand_root Lthumb_1 Lthumb_2 Lthumb_3 Lthumb_4 Lindex_1 Lindex_2 Lindex_3 Lindex_4 Lmiddle_1 Lmiddle_2 "
    "Lmiddle_3 Lmiddle_4 Lring_1 Lring_2 Lring_3 Lring_4 Lpinky_1 Lpinky_2 Lpinky_3 Lpinky_4 "
    "Rhand_root Rthumb_1 Rthumb_2 Rthumb_3 Rthumb_4 Rindex_1 Rindex_2 Rindex_3 Rindex_4 Rmiddle_1 Rmiddle_2 "
    "Rmiddle_3 Rmiddle_4 Rring_1 Rring_2 Rring_3 Rring_4 Rpinky_1 Rpinky_2 Rpinky_3 Rpinky_4",
    "hand21": "wrist thumb_1 thumb_2 thumb_3 thumb_4 index_1 index_2 index_3 index_4 middle_1 middle_2 middle_3 "
    "middle_4 ring_1 ring_2 ring_3 ring_4 pinky_1 pinky_2 pinky_3 pinky_4",
    "mediapipe33": "nose Leye_inner Leye Leye_outer Reye_inner Reye Reye_outer Lear Rear mouth_left mouth_right "
    "Lsho Rsho Lelb Relb Lwri Rwri Lpinky Rpinky Lindex Rindex Lthumb Rthumb Lhip Rhip Lkne Rkne Lank Rank Lheel Rheel "
    "Lfoot_index Rfoot_index",
    "smpl24": "smpl_pelvis Lhip Rhip spine1 Lkne Rkne spine2 Lank Rank spine3 Lfoot Rfoot smpl_neck Lcollar Rcollar "
    "smpl_head Lsho Rsho Lelb Relb Lwri Rwri Lhand Rhand",
    "h36m32": "pelvis Rhip Rkne Rank Rtoe_base Rtoe_end Lhip Lkne Lank Ltoe_base Ltoe_end spine_base spine thorax "
    "neck_nose head Lclavicle Lsho Lelb Lwri Lhand_thumb Lhand_thumb_end Lwrist_end Lhand_end "
    "Rclavicle Rsho Relb Rwri Rhand_thumb Rhand_thumb_end Rwrist_end Rhand_end",
}
# the faces' mirror points as COCO-WholeBody's numbers in mmpose's configuration give them
FACE_SWAPS = "0-16 1-15 2-14 3-13 4-12 5-11 6-10 7-9 17-26 18-25 19-24 20-23 21-22 31-35 32-34 36-45 37-44 38-43 39-42 "
FACE_SWAPS += "40-47 41-46 48-54 49-53 50-52 55-59 56-58 60-64 61-63 65-67"
FLIP_INDEX = {
    "coco17": [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15],
    "mpii16": [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10],
}
MIRROR_PAIRS = {
    "coco17": {(1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)},
    "mpii16": {(0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)},
    "mpii14": {(0, 5), (1, 4), (2, 3), (8, 13), (9, 12), (10, 11)},
    "lsp14": {(0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)},
    "flic11": {(0, 3), (1, 4), (2, 5), (6, 7), (8, 9)},
    "flic9": {(0, 3), (1, 4), (2, 5), (6, 7)},
    "flic7": {(0, 6), (1, 5), (2, 4)},
    "jhmdb15": {(3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14)},
    "aic14": {(0, 3), (1, 4), (2, 5), (6, 9), (7, 10), (8, 11)},
    "coco_aic19": {(1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)},
    "crowdpose14": {(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)},
    "posetrack17": {(3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)},
    "cpm14": {(2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13)},
    "h36m17": {(4, 1), (5, 2), (6, 3), (11, 14), (12, 15), (13, 16)},  # left = 4 5 6 11 12 13, right = 1 2 3 14 15 16
    "humaneva15": {(2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13)},
    "humaneva14": {(1, 4), (2, 5), (3, 6), (7, 10), (8, 11), (9, 12)},
    "openpose18": {(2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13), (14, 15), (16, 17)},
    "body25": {(2, 5), (3, 6), (4, 7), (9, 12), (10, 13), (11, 14), (15, 16), (17, 18), (19, 22), (20, 23), (21, 24)},
    "body25b": {(1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16), (19, 22), (20, 23), (21, 24)},
    # AlphaPose's joint_pairs of Halpe_26
    "halpe26": {
        *((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16), (20, 21), (22, 23), (24, 25)),
    },
    "wholebody133": {
        *((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16), (17, 20), (18, 21), (19, 22)),
        *(tuple(23 + int(number) for number in swap.split("-")) for swap in FACE_SWAPS.split()),
        *((left, left + 21) for left in range(91, 112)),
    },
    "hand21": set(),
    "mediapipe33": {
        *((1, 4), (2, 5), (3, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16), (17, 18), (19, 20), (21, 22)),
        *((23, 24), (25, 26), (27, 28), (29, 30), (31, 32)),
    },
    "smpl24": {(1, 2), (4, 5), (7, 8), (10, 11), (13, 14), (16, 17), (18, 19), (20, 21), (22, 23)},
    # joints_left and joints_right of VideoPose3D's Human3.6M skeleton
    "h36m32": set(zip((6, 7, 8, 9, 10, *range(16, 24)), (1, 2, 3, 4, 5, *range(24, 32)), strict=True)),
}
PARENTS = {
    "h36m17": [None, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15],
    "humaneva15": [None, 0, 1, 2, 3, 1, 5, 6, 0, 8, 9, 0, 11, 12, 1],
    "humaneva14": [None, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0],
    "smpl24": [None, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21],
    "h36m32": [
        *(None, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 13, 14, 12, 16, 17, 18, 19, 20, 19, 22),
        *(12, 24, 25, 26, 27, 28, 27, 30),
    ],
    "hand21": [None, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19],
}


def _spell(order: str) -> tuple[str, ...]:
    parts = {"sho": "shoulder", "elb": "elbow", "wri": "wrist", "kne": "knee", "ank": "ankle"}
    sides = {"L": "left_", "R": "right_"}
    return tuple(sides[word[0]] + parts.get(word[1:], word[1:]) if word[0] in sides else word for word in order.split())


def _poses(skeleton: str, *leading: int, dims: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 100, (*leading, len(get_skeleton(skeleton)), dims))


def test_all_are_registered_under_their_own_name():
    assert set(list_skeletons()) == set(ORDERS)
    assert all(get_skeleton(name).name == name for name in list_skeletons())


@pytest.mark.parametrize("name", list(ORDERS))
def test_order_is_the_data_sets(name):
    assert get_skeleton(name).keypoints == _spell(ORDERS[name])
    assert len(get_skeleton(name)) == len(ORDERS[name].split())


@pytest.mark.parametrize("name", list(ORDERS))
def test_mirror_pairs_are_the_data_sets(name):
    pairs = get_skeleton(name).mirror_pairs
    assert set(pairs) == {tuple(sorted(pair)) for pair in MIRROR_PAIRS[name]}
    assert len(pairs) == len(MIRROR_PAIRS[name])


@pytest.mark.parametrize("name", list(FLIP_INDEX))
def test_flip_index_is_the_data_sets(name):
    assert list(get_skeleton(name).flip_index) == FLIP_INDEX[name]


@pytest.mark.parametrize("name", list(ORDERS))
def test_flipping_twice_changes_nothing(name):
    flip_index = list(get_skeleton(name).flip_index)
    poses = _poses(name)
    np.testing.assert_array_equal(poses[flip_index][flip_index], poses)
    assert np.array_equal(poses[flip_index], poses) == (not MIRROR_PAIRS[name])


@pytest.mark.parametrize("name", list(ORDERS))
def test_bones_are_symmetric_and_reach_every_keypoint(name):
    skeleton = get_skeleton(name)
    bones = {frozenset(bone) for bone in skeleton.bones}
    assert len(bones) == len(skeleton.bones)
    assert {frozenset(skeleton.flip_index[end] for end in bone) for bone in bones} == bones
    assert set().union(*bones) == set(range(len(skeleton)))


@pytest.mark.parametrize("name", list(PARENTS))
def test_bones_of_3d_skeletons_go_from_parent_to_child(name):
    expected = {(parent, child) for child, parent in enumerate(PARENTS[name]) if parent is not None}
    assert set(get_skeleton(name).bones) == expected


def test_coco_and_mpii_bones_are_the_published_ones():
    coco = "15,13 13,11 16,14 14,12 11,12 5,11 6,12 5,6 5,7 6,8 7,9 8,10 1,2 0,1 0,2 1,3 2,4 3,5 4,6"
    mpii = "0,1 1,2 2,6 6,3 3,4 4,5 6,7 7,8 8,9 8,12 12,11 11,10 8,13 13,14 14,15"
    for name, bones in (("coco17", coco), ("mpii16", mpii)):
        assert get_skeleton(name).bones == tuple(tuple(map(int, bone.split(","))) for bone in bones.split())


def test_sigmas_are_the_published_ones():
    coco = ".026 .025 .025 .035 .035 .079 .079 .072 .072 .062 .062 .107 .107 .087 .087 .089 .089"
    mpii = ".089 .083 .107 .107 .083 .089 .026 .026 .026 .026 .062 .072 .179 .179 .072 .062"
    assert get_skeleton("coco17").sigmas == tuple(map(float, coco.split()))
    assert get_skeleton("mpii16").sigmas == tuple(map(float, mpii.split()))
    aic = ".01388152 .01515228 .01057665 .01417709 .01497891 .01402144 .03909642 "
    aic += ".03686941 .01981803 .03843971 .03412318 .02415081 .01291456 .01236173"
    assert get_skeleton("aic14").sigmas == tuple(map(float, aic.split()))
    assert get_skeleton("coco_aic19").sigmas == (*get_skeleton("coco17").sigmas, 0.026, 0.026)  # mmpose's
    assert get_skeleton("crowdpose14").sigmas == (*get_skeleton("coco17").sigmas[5:], 0.079, 0.079)
    assert get_skeleton("posetrack17").sigmas == get_skeleton("coco17").sigmas
    halpe = get_skeleton("halpe26").sigmas  # 26 of the 136 in halpecocotools, there times ten
    assert halpe == (*get_skeleton("coco17").sigmas, 0.08, 0.08, 0.08, *[0.089] * 6)
    whole = get_skeleton("wholebody133").sigmas  # evaluation/myeval_wholebody.py
    assert whole[:17] == get_skeleton("coco17").sigmas
    assert whole[17:23] == (0.068, 0.066, 0.066, 0.092, 0.094, 0.094)
    face = "42 43 44 43 40 35 31 25 20 23 29 32 37 38 43 41 45 13 12 11 11 12 12 11 11 13 15 9 7 7 7 12 9 8 16 10 17 11"
    face += " 9 11 9 7 13 8 11 12 10 34 8 8 9 8 8 7 10 8 9 9 9 7 7 8 11 8 8 8 10 8"
    assert [round(1000 * sigma) for sigma in whole[23:91]] == [int(number) for number in face.split()]
    hand = "29 22 35 37 47 26 25 24 35 18 24 22 26 17 21 21 32 20 19 22 31"
    assert [round(1000 * sigma) for sigma in whole[91:112]] == [int(number) for number in hand.split()]
    assert whole[112:] == whole[91:112] == get_skeleton("hand21").sigmas
    given = (
        "coco17",
        "mpii16",
        "aic14",
        "coco_aic19",
        "crowdpose14",
        "posetrack17",
        "halpe26",
        "wholebody133",
        "hand21",
    )
    assert all((get_skeleton(name).sigmas is not None) == (name in given) for name in ORDERS)


def test_get_skeleton_takes_names_instances_and_lists():
    coco = get_skeleton("coco17")
    assert get_skeleton(coco) is coco
    assert get_skeleton(["tail", "left_paw", "right_paw"]) == Skeleton("custom", ("tail", "left_paw", "right_paw"))


def test_a_skeleton_is_frozen_hashable_and_made_from_json_lists():
    skeleton = Skeleton("face", ["nose", "left_eye", "right_eye"], bones=[[0, 1], [0, 2]], sigmas=[0.1, 0.2, 0.3])
    assert skeleton == Skeleton("face", ("nose", "left_eye", "right_eye"), ((0, 1), (0, 2)), (0.1, 0.2, 0.3))
    assert hash(skeleton) == hash(dataclasses.replace(skeleton))
    with pytest.raises(dataclasses.FrozenInstanceError):
        skeleton.name = "other"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keypoints": ()}, "one or more non-empty names"),
        ({"keypoints": ("a", "")}, "one or more non-empty names"),
        ({"keypoints": ("a", 3)}, "one or more non-empty names"),
        ({"keypoints": "nose"}, "got the string 'nose'"),
        ({"keypoints": ("a", "b", "a")}, "these repeat: a"),
        ({"keypoints": ("a", "b"), "bones": ((0, 2),)}, r"0\.\.1, got \(0, 2\)"),
        ({"keypoints": ("a", "b"), "bones": ((-1, 0),)}, r"0\.\.1, got \(-1, 0\)"),
        ({"keypoints": ("a", "b"), "bones": ((1, 1),)}, "two different indices"),
        ({"keypoints": ("a", "b"), "bones": ((0, 1, 0),)}, "two different indices"),
        ({"keypoints": ("a", "b"), "bones": (0, 1)}, "two different indices"),
        ({"keypoints": ("a", "b"), "sigmas": (0.1,)}, "2 positive numbers"),
        ({"keypoints": ("a", "b"), "sigmas": (0.1, 0.0)}, "2 positive numbers"),
        ({"keypoints": ("a", "b"), "sigmas": (0.1, float("nan"))}, "2 positive numbers"),
        ({"keypoints": ("a", "b"), "pairs": ((0, 2),)}, r"0\.\.1, left first, got \(0, 2\)"),
        ({"keypoints": ("a", "b"), "pairs": ((1, 1),)}, "two different names or indices"),
        ({"keypoints": ("a", "b"), "pairs": (0, 1)}, "two different names or indices"),
        ({"keypoints": ("a", "b"), "pairs": ("ab",)}, "two different names or indices"),
        ({"keypoints": ("a", "b"), "pairs": (("a", "c"),)}, "has no keypoint 'c'"),
        ({"keypoints": ("a", "b", "c"), "pairs": ((0, 1), (1, 2))}, "a keypoint is in two of the pairs"),
    ],
)
def test_a_malformed_skeleton_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Skeleton("mine", **fields)


def test_a_side_without_its_mirror_is_named_when_it_is_needed():
    skeleton = Skeleton("cyclops", ("nose", "left_eye"))
    assert skeleton.index("left_eye") == 1
    with pytest.raises(ValueError, match="'left_eye' has no mirror image; add 'right_eye'"):
        _ = skeleton.flip_index
    with pytest.raises(ValueError, match="'right_eye' has no mirror image; add 'left_eye'"):
        _ = Skeleton("cyclops", ("right_eye",)).mirror_pairs


# ------------------------------------------------------------------------------------------------------------- sides

# spellings of a keypoint's side, for the words of the keypoint and the side's name
SPELLINGS = {
    "left_eye": lambda side, words: "_".join([side, *words]),
    "eye_left": lambda side, words: "_".join([*words, side]),
    "LEFT_EYE": lambda side, words: "_".join([side, *words]).upper(),
    "leftEye": lambda side, words: side + "".join(word.capitalize() for word in words),
    "eyeLeft": lambda side, words: words[0] + "".join(word.capitalize() for word in [*words[1:], side]),
    "LeftEye": lambda side, words: "".join(word.capitalize() for word in [side, *words]),
    "Left Eye": lambda side, words: " ".join(word.capitalize() for word in [side, *words]),
    "left-eye": lambda side, words: "-".join([side, *words]),
    "eye (left)": lambda side, words: f"{' '.join(words)} ({side})",
    "lefteye": lambda side, words: side + "".join(words),
    "LEFTEYE": lambda side, words: (side + "".join(words)).upper(),
    "eyeleft": lambda side, words: "".join(words) + side,
    "L_Eye": lambda side, words: "_".join(word.capitalize() for word in [side[0], *words]),
    "l_eye": lambda side, words: "_".join([side[0], *words]),
    "eye.L": lambda side, words: "_".join(words) + "." + side[0].upper(),
    "LEye": lambda side, words: side[0].upper() + "".join(word.capitalize() for word in words),
    "lEye": lambda side, words: side[0] + "".join(word.capitalize() for word in words),
    "eyeL": lambda side, words: words[0] + "".join(word.capitalize() for word in words[1:]) + side[0].upper(),
    "Leye": lambda side, words: side[0].upper() + "".join(words),
    "leye": lambda side, words: side[0] + "".join(words),
    "eyel": lambda side, words: "".join(words) + side[0],
}
PARTS = ["eye", "hip", "big toe", "front paw", "paw", "wrist", "index 1", "foot index", "collar", "lip", "rib", "leg"]
MIDDLE = ["nose", "tail", "lip", "leg", "line", "rear", "Lower", "upper_lip", "spine1", "head_top", "root", "face_3"]
# a letter glued to a word in small letters is a side beside its partner alone
SURE = [spelling for spelling in SPELLINGS if spelling not in ("Leye", "leye", "eyel")]


@pytest.mark.parametrize("spelling", list(SPELLINGS))
@pytest.mark.parametrize("seed", range(5))
def test_every_spelling_of_left_and_right_is_exchanged(spelling, seed):
    random = np.random.default_rng(seed)
    parts = [str(part) for part in random.choice(PARTS, 5, replace=False)]
    middle = [str(name) for name in random.choice(MIDDLE, 4, replace=False)]
    sided = [(part, side) for part in parts for side in ("left", "right")]
    names = [SPELLINGS[spelling](side, part.split()) for part, side in sided] + middle
    order = random.permutation(len(names))
    skeleton = get_skeleton([names[index] for index in order])
    where = {name: index for index, name in enumerate(skeleton.keypoints)}
    expected = list(range(len(names)))
    for number in range(0, len(sided), 2):
        left, right = where[names[number]], where[names[number + 1]]
        expected[left], expected[right] = right, left
        assert (skeleton.sides[left], skeleton.sides[right]) == ("left", "right")
    assert list(skeleton.flip_index) == expected
    assert all(skeleton.sides[where[name]] == "" for name in middle)


@pytest.mark.parametrize("spelling", SURE)
def test_a_side_without_its_partner_is_an_error_that_names_the_partner(spelling):
    for side, other in (("left", "right"), ("right", "left")):
        for part in PARTS:
            here, missing = (SPELLINGS[spelling](word, part.split()) for word in (side, other))
            with pytest.raises(ValueError, match=f"has no mirror image; add {re.escape(repr(missing))}"):
                _ = get_skeleton([here, *MIDDLE[:4]]).flip_index
            assert get_skeleton(["nose", here, missing]).flip_index == (0, 2, 1)


def test_names_that_only_resemble_a_side_stay_where_they_are():
    names = [*MIDDLE, "rump", "lumbar", "L5", "R2", "liver", "floor", "bottom", "ball", "Reach", "centre"]
    assert get_skeleton(names).mirror_pairs == ()


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        ("left_ear right_ear rear lear", {(0, 1), (2, 3)}),
        ("left_ear right_ear rear", {(0, 1)}),  # the rear of an animal
        ("nose Lear Rear", {(1, 2)}),
        ("LKnee Rknee", {(0, 1)}),  # as Halpe's documentation has it
        ("L_F_Paw R_F_Paw L_B_Paw R_B_Paw", {(0, 1), (2, 3)}),
        ("pawFL pawFR pawBL pawBR", {(0, 1), (2, 3)}),
        ("LFPaw RFPaw", {(0, 1)}),
        ("left1 right1 left2 right2 eyeL2 eyeR2 eyeleft3 eyeright3", {(0, 1), (2, 3), (4, 5), (6, 7)}),
        ("L1 L2 R1 R2", {(0, 2), (1, 3)}),
        ("left_eye_left_corner left_eye_right_corner right_eye_left_corner right_eye_right_corner", {(0, 3), (1, 2)}),
        ("left_1_11 left_11_1 right_1_11 right_11_1", {(0, 2), (1, 3)}),
        ("Left Right", {(0, 1)}),
        ("L R C", {(0, 1)}),
        ("auge_gauche auge_droite", set()),
    ],
)
def test_sides_in_company(names, pairs):
    assert set(get_skeleton(names.split()).mirror_pairs) == pairs


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("nose Left", "'Left' has no mirror image; add 'Right'"),
        ("nose right", "'right' has no mirror image; add 'left'"),
        ("left_eye REye", "'left_eye' has no mirror image; add 'right_eye'"),  # spelt in two ways: a mistake
        ("left_eye LEFT_EYE right_eye", "'right_eye' has more than one mirror image, 'left_eye' and 'LEFT_EYE'"),
        ("lear rear real", "'rear' has more than one mirror image"),
    ],
)
def test_doubtful_sides_are_errors(names, message):
    with pytest.raises(ValueError, match=message):
        _ = get_skeleton(names.split()).flip_index


def test_pairs_can_be_given():
    names = ("near_hoof", "off_hoof", "left_over", "withers")
    for pairs in ([("near_hoof", "off_hoof")], ((0, 1),), [[0, "off_hoof"]]):
        skeleton = Skeleton("horse", names, pairs=pairs)
        assert skeleton.pairs == ((0, 1),)
        assert skeleton.flip_index == (1, 0, 2, 3)
        assert skeleton.sides == ("left", "right", "", "")
        hash(skeleton)
    assert Skeleton("horse", names, pairs=[(1, 0)]).sides == ("right", "left", "", "")
    assert Skeleton("none", ("left_eye", "right_eye"), pairs=()).flip_index == (0, 1)
    with pytest.raises(ValueError, match="'left_over' has no mirror image"):
        _ = Skeleton("horse", names).flip_index


def test_the_sides_of_registered_skeletons():
    for name in ORDERS:
        skeleton = get_skeleton(name)
        for keypoint, side in zip(skeleton.keypoints, skeleton.sides, strict=True):
            if not keypoint.startswith("face_"):
                assert side == ("left" if "left" in keypoint else "right" if "right" in keypoint else "")
    sides = get_skeleton("wholebody133").sides[23:91]
    assert (sides[0], sides[16], sides[36], sides[45], sides[8]) == ("right", "left", "right", "left", "")


# ------------------------------------------------------------------------------------------------------ registration


@pytest.fixture
def registered(monkeypatch):
    """The table of skeletons, restored afterwards."""
    table = sys.modules["posezoo.skeletons.registered"]
    monkeypatch.setattr(table, "_SKELETONS", dict(table._SKELETONS))
    return table


def test_registered_skeletons_are_found_everywhere(registered):
    names = ["nose", "earL", "earR", "left_hip", "right_hip", "left_shoulder", "right_shoulder"]
    made = posezoo.register_skeleton("mouse7", names, bones=[[0, 1], [0, 2]], sigmas=[0.1] * 7)
    assert made is get_skeleton("mouse7") is posezoo.get_skeleton("mouse7")
    assert made == Skeleton("mouse7", tuple(names), ((0, 1), (0, 2)), (0.1,) * 7)
    assert list_skeletons()[-1] == "mouse7"
    assert made.flip_index == (0, 2, 1, 4, 3, 6, 5)
    converted, valid = convert(np.arange(14.0).reshape(7, 2), "mouse7", "mpii16")
    assert converted[6].tolist() == [7, 8]  # the pelvis, between the hips
    assert valid.sum() == 6
    paired = posezoo.register_skeleton("horse2", ("near", "off"), pairs=[("near", "off")])
    assert paired.flip_index == (1, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("coco17", ["nose"]), "'coco17' is registered already"),
        (("", ["nose"]), "name: expected a non-empty text"),
        ((None, ["nose"]), "name: expected a non-empty text, got None"),
        (("face", ["nose", "nose"]), "these repeat: nose"),
        (("face", ["nose", "left_eye"]), "'left_eye' has no mirror image; add 'right_eye'"),
    ],
)
def test_registration_refuses(registered, arguments, message):
    before = list_skeletons()
    with pytest.raises(ValueError, match=message):
        posezoo.register_skeleton(*arguments)
    assert list_skeletons() == before


def test_a_name_is_registered_once(registered):
    posezoo.register_skeleton("one", ["nose"])
    with pytest.raises(ValueError, match="'one' is registered already; choose another name"):
        posezoo.register_skeleton("one", ["nose"])


# -------------------------------------------------------------------------------------------------------- conversion


@pytest.mark.parametrize(
    ("source", "target", "missing"),
    [
        ("halpe26", "coco17", ""),
        ("wholebody133", "coco17", ""),
        ("wholebody133", "halpe26", "head_top neck"),
        ("mediapipe33", "coco17", ""),
        ("mediapipe33", "h36m17", "head"),
        ("halpe26", "mpii16", ""),
        ("h36m32", "h36m17", ""),
        ("smpl24", "h36m17", "neck_nose head"),
        ("smpl24", "body25", "nose Leye Reye Lear Rear Lbig_toe Lsmall_toe Lheel Rbig_toe Rsmall_toe Rheel"),
    ],
)
def test_conversions_of_the_larger_skeletons(source, target, missing):
    poses = _poses(source, 3, dims=3)
    converted, valid = convert(poses, source, target)
    absent = [get_skeleton(target).keypoints[index] for index in np.flatnonzero(~valid[0])]
    assert set(absent) == set(_spell(missing))
    theirs, ours = get_skeleton(source).keypoints, get_skeleton(target).keypoints
    for name in set(theirs) & set(ours):
        np.testing.assert_array_equal(converted[:, ours.index(name)], poses[:, theirs.index(name)])


def test_the_17_of_the_32_joints_are_those_of_martinez():
    poses = _poses("h36m32", 2, dims=3)
    converted, _ = convert(poses, "h36m32", "h36m17")
    np.testing.assert_array_equal(converted, poses[:, [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]])


def test_typos_get_suggestions():
    with pytest.raises(ValueError, match=r"coco17 has no keypoint 'left_sholder'\. Did you mean 'left_shoulder'"):
        get_skeleton("coco17").index("left_sholder")
    with pytest.raises(ValueError, match=r"unknown skeleton 'COCO'\. Did you mean 'coco17'.*Known: coco17, mpii16"):
        get_skeleton("COCO")
    with pytest.raises(ValueError, match=r"unknown skeleton 'zzz'\. Known: coco17"):
        get_skeleton("zzz")
    with pytest.raises(ValueError, match="got int"):
        get_skeleton(17)


@pytest.mark.parametrize("name", list(ORDERS))
def test_converting_to_itself_changes_nothing(name):
    poses = _poses(name, 3, 2)
    converted, valid = convert(poses, name, get_skeleton(name).keypoints)
    np.testing.assert_array_equal(converted, poses)
    assert valid.all()


@pytest.mark.parametrize(
    ("source", "target", "index"),
    [
        ("mpii16", "lsp14", [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 8, 9]),
        ("mpii16", "cpm14", [9, 8, 12, 11, 10, 13, 14, 15, 2, 1, 0, 3, 4, 5]),
        ("cpm14", "lsp14", [10, 9, 8, 11, 12, 13, 4, 3, 2, 5, 6, 7, 1, 0]),
        ("lsp14", "cpm14", [13, 12, 8, 7, 6, 9, 10, 11, 2, 1, 0, 3, 4, 5]),
        ("flic11", "flic9", [0, 1, 2, 3, 4, 5, 6, 7, 10]),
    ],
)
def test_conversions_that_only_reorder(source, target, index):
    poses = _poses(source, 4)
    converted, valid = convert(poses, source, target)
    np.testing.assert_array_equal(converted, poses[:, index])
    assert valid.all()


@pytest.mark.parametrize("source", ["lsp14", "mpii16", "humaneva15"])
def test_there_and_back_is_the_identity_where_both_have_the_points(source):
    poses = _poses(source, 2, dims=3)
    there, valid = convert(poses, source, "cpm14")
    back, valid_back = convert(there, "cpm14", source, visible=valid)
    shared = [not name.startswith(("pelvis", "thorax")) for name in get_skeleton(source).keypoints]
    if source == "humaneva15":  # its thorax is neither CPM's neck nor a source of it
        assert not valid[:, get_skeleton("cpm14").index("neck")].any()
    np.testing.assert_array_equal(back[:, shared], poses[:, shared])
    assert valid_back.all()


def _coco_pose() -> np.ndarray:
    """A person of whom nothing coincides: left shoulder (10, 20), right (30, 24), left hip (12,
    60), right (28, 64).
    """
    pose = _poses("coco17")
    pose[5], pose[6], pose[11], pose[12] = (10, 20), (30, 24), (12, 60), (28, 64)
    pose[0], pose[1], pose[2] = (20, 9), (16, 6), (27, 3)
    return pose


def test_coco_to_mpii():
    pose, mpii = _coco_pose(), get_skeleton("mpii16")
    converted, valid = convert(pose, "coco17", "mpii16")
    coco_index = {0: 16, 1: 14, 2: 12, 3: 11, 4: 13, 5: 15, 10: 10, 11: 8, 12: 6, 13: 5, 14: 7, 15: 9}
    for target, source in coco_index.items():
        np.testing.assert_array_equal(converted[target], pose[source])
    assert converted[mpii.index("pelvis")].tolist() == [20, 62]
    assert converted[mpii.index("thorax")].tolist() == [20, 22]
    # the shoulders do not tell where the neck is, nor the eyes where the skull ends
    missing = [mpii.index("upper_neck"), mpii.index("head_top")]
    assert np.flatnonzero(~valid).tolist() == missing
    assert (converted[missing] == 0).all()


def test_coco_to_h36m():
    pose, h36m = _coco_pose(), get_skeleton("h36m17")
    converted, valid = convert(pose, "coco17", "h36m17")
    coco_index = {1: 12, 2: 14, 3: 16, 4: 11, 5: 13, 6: 15, 9: 0, 11: 5, 12: 7, 13: 9, 14: 6, 15: 8, 16: 10}
    for target, source in coco_index.items():
        np.testing.assert_array_equal(converted[target], pose[source])
    assert converted[h36m.index("pelvis")].tolist() == [20, 62]
    assert converted[h36m.index("thorax")].tolist() == [20, 22]
    assert converted[h36m.index("spine")].tolist() == [20, 42]
    assert np.flatnonzero(~valid).tolist() == [h36m.index("head")]
    assert converted[h36m.index("head")].tolist() == [0, 0]


def test_mpii_to_h36m():
    pose = _poses("mpii16")
    converted, valid = convert(pose, "mpii16", "h36m17")
    h36m, mpii = get_skeleton("h36m17"), get_skeleton("mpii16")
    for target, source in (("pelvis", "pelvis"), ("thorax", "thorax"), ("head", "head_top")):
        np.testing.assert_array_equal(converted[h36m.index(target)], pose[mpii.index(source)])
    np.testing.assert_allclose(converted[h36m.index("spine")], (pose[6] + pose[7]) / 2)
    assert np.flatnonzero(~valid).tolist() == [h36m.index("neck_nose")]


def test_lsp_to_coco_has_no_face():
    pose = _poses("lsp14")
    converted, valid = convert(pose, "lsp14", "coco17")
    np.testing.assert_array_equal(converted[5:], pose[[9, 8, 10, 7, 11, 6, 3, 2, 4, 1, 5, 0]])
    assert valid.tolist() == [False] * 5 + [True] * 12
    assert (converted[:5] == 0).all()


def test_lsp_to_mpii_fills_pelvis_thorax_and_neck():
    pose = _poses("lsp14")
    converted, valid = convert(pose, "lsp14", "mpii16")
    np.testing.assert_allclose(converted[6], (pose[2] + pose[3]) / 2)
    np.testing.assert_allclose(converted[7], (pose[8] + pose[9]) / 2)
    np.testing.assert_array_equal(converted[[8, 9]], pose[[12, 13]])
    assert valid.all()


def test_the_face_of_flic_is_the_mean_of_eyes_and_nose():
    converted, valid = convert(_coco_pose(), "coco17", "flic7")
    np.testing.assert_allclose(converted[get_skeleton("flic7").index("face")], [21, 6])
    assert valid.all()
    _, valid = convert(_poses("flic7"), "flic7", "coco17")
    assert not valid[:5].any()


def test_nothing_in_common_is_all_invalid():
    converted, valid = convert(np.ones((2, 1, 2)), ["tail"], "coco17")
    assert converted.shape == (2, 17, 2)
    assert not converted.any()
    assert not valid.any()


def test_a_derived_point_needs_all_its_sources():
    mpii = get_skeleton("mpii16")
    visible = np.ones((2, 17), dtype=bool)
    visible[0, 11] = False  # the left hip of the first person
    converted, valid = convert(np.stack([_coco_pose()] * 2), "coco17", "mpii16", visible)
    assert valid[:, mpii.index("pelvis")].tolist() == [False, True]
    assert valid[:, mpii.index("left_hip")].tolist() == [False, True]
    assert valid[:, mpii.index("right_hip")].tolist() == [True, True]
    assert converted[:, mpii.index("pelvis")].tolist() == [[0, 0], [20, 62]]
    assert converted[:, mpii.index("left_hip")].tolist() == [[0, 0], [12, 60]]


@pytest.mark.parametrize("visible", [[0, 1, 2], [0.0, 0.1, 0.9], [-1.0, 0.1, 1.0], [float("nan"), 0.1, 1.0]])
def test_flags_and_scores_above_zero_are_visible(visible):
    _, valid = convert(np.ones((3, 2)), ["a", "b", "c"], ["c", "b", "a"], visible=np.array(visible))
    assert valid.tolist() == [True, True, False]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_keypoints_that_are_not_finite_are_not_visible(value):
    pose = _coco_pose()
    pose[5, 1] = value
    converted, valid = convert(pose, "coco17", "mpii16")
    assert np.isfinite(converted).all()
    assert np.flatnonzero(~valid).tolist() == [7, 8, 9, 13]  # thorax, upper neck, head top, left shoulder
    assert (converted[~valid] == 0).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (0,)])
def test_numpy_and_torch_agree(dtype, leading):
    poses = _poses("coco17", *leading, dims=3).astype(dtype)
    scores = np.random.default_rng(1).uniform(-1, 1, poses.shape[:-1])
    converted, valid = convert(poses, "coco17", "mpii16", scores)
    tensors = convert(torch.from_numpy(poses), "coco17", "mpii16", torch.from_numpy(scores))
    assert isinstance(converted, np.ndarray)
    assert isinstance(valid, np.ndarray)
    assert converted.shape == (*leading, 16, 3)
    assert converted.dtype == poses.dtype
    assert valid.shape == (*leading, 16)
    assert valid.dtype == bool
    assert_close(tensors[0], torch.from_numpy(converted), rtol=0, atol=0)
    assert tensors[1].dtype == torch.bool
    assert tensors[1].tolist() == valid.tolist()


def test_each_pose_of_a_batch_is_converted_on_its_own():
    poses, scores = _poses("lsp14", 2, 3), np.random.default_rng(1).uniform(-1, 1, (2, 3, 14))
    converted, valid = convert(poses, "lsp14", "h36m17", scores)
    for i in np.ndindex(2, 3):
        one, one_valid = convert(poses[i], "lsp14", "h36m17", scores[i])
        np.testing.assert_array_equal(converted[i], one)
        np.testing.assert_array_equal(valid[i], one_valid)


def test_input_is_not_changed_and_may_be_read_only_or_reversed():
    poses = _poses("lsp14", 2)[::-1]
    poses.setflags(write=False)
    before = poses.copy()
    converted, _ = convert(poses, "lsp14", "lsp14")
    converted += 1
    np.testing.assert_array_equal(poses, before)


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_integers_become_float32(make):
    converted, _ = convert(make([[1, 2], [4, 2]]), ["left_hip", "right_hip"], ["pelvis", "right_hip"])
    assert str(converted.dtype).endswith("float32")
    assert converted.tolist() == [[2.5, 2.0], [4.0, 2.0]]


def test_gradient_reaches_exactly_the_valid_sources():
    poses = torch.from_numpy(_coco_pose()).requires_grad_()
    visible = torch.ones(17)
    visible[5] = 0  # the left shoulder, and with it thorax and spine
    converted, valid = convert(poses, "coco17", "h36m17", visible)
    converted.sum().backward()
    expected = torch.ones(17)
    expected[1:6] = 0  # eyes, ears, left shoulder
    expected[[11, 12]] = 1.5  # each hip counts once itself and half in the pelvis
    assert_close(poses.grad, expected[:, None].expand(17, 2).double())
    assert valid.sum() == 13


def test_gradient_is_finite_beside_nan():
    poses = torch.from_numpy(_coco_pose())
    poses[5] = torch.nan
    poses.requires_grad_()
    convert(poses, "coco17", "mpii16")[0].sum().backward()
    assert torch.isfinite(poses.grad).all()


def test_result_stays_on_the_device():
    converted, valid = convert(torch.ones(2, 17, 2, device="meta"), "coco17", "mpii16")
    assert converted.device.type == valid.device.type == "meta"


@pytest.mark.parametrize(
    ("keypoints", "visible", "message"),
    [
        (np.ones((16, 2)), None, r"\(\.\.\., 17, D\) for the source skeleton 'coco17', got \(16, 2\)"),
        (np.ones(17), None, r"got \(17,\)"),
        ([[0, 0]] * 17, None, "NumPy array or a torch tensor, got list"),
        (np.ones((17, 2), dtype=complex), None, "real numbers"),
        (np.ones((17, 2), dtype=bool), None, "real numbers"),
        (np.ones((2, 17, 2)), np.ones(17), r"visible must be \(2, 17\).*got \(17,\)"),
        (np.ones((17, 2)), np.ones((17, 1)), r"visible must be \(17,\).*got \(17, 1\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(keypoints, visible, message):
    with pytest.raises(ValueError, match=message):
        convert(keypoints, "coco17", "mpii16", visible)


def test_unknown_skeletons_are_refused():
    with pytest.raises(ValueError, match="Did you mean 'mpii16'"):
        convert(np.ones((17, 2)), "coco17", "mpi16")
