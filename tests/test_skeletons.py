import dataclasses

import numpy as np
import pytest
import torch
from torch.testing import assert_close

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
}
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
}
PARENTS = {
    "h36m17": [None, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15],
    "humaneva15": [None, 0, 1, 2, 3, 1, 5, 6, 0, 8, 9, 0, 11, 12, 1],
    "humaneva14": [None, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0],
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
    assert not np.array_equal(poses[flip_index], poses)


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
    given = ("coco17", "mpii16", "aic14", "coco_aic19", "crowdpose14", "posetrack17")
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
    """A person of whom nothing coincides: left shoulder (10, 20), right (30, 24), left hip (12, 60), right (28, 64)."""
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
