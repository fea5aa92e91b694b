"""2D keypoints to 3D: an oracle as the network, every skeleton, gaps, every invalid argument.

The output of the oracle is a function of its input, so that every frame and keypoint has to
arrive, and return, in its own place.
"""

import inspect
import json
import pickle
import warnings

import fresh_process
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy import scratch_registry

import posezoo
from posezoo.lifting import Poses3D, predict_single_person
from posezoo.prediction import People
from posezoo.skeletons import Skeleton, convert, get_skeleton, list_skeletons
from posezoo.weights import Weights

H36M = get_skeleton("h36m17")


class Oracle(nn.Module):
    """The part of a lifter's contract that `lift` needs: x and y relative to the root, and a depth.

    With `reach` the depth is a mean over as many frames before and after, constant at the ends of
    the input.
    """

    input_kind, num_inputs, num_keypoints = "keypoints", 17, 17
    input_skeleton: Skeleton | None = H36M
    skeleton = H36M

    def __init__(self, reach: int = 0) -> None:
        super().__init__()
        self.reach, self.receptive_field = reach, 2 * reach + 1
        self.dummy = nn.Parameter(torch.zeros(1))
        self.frozen = nn.BatchNorm2d(1)
        self.inputs: list[Tensor] = []
        self.modes: list[bool] = []
        self.flips: list[bool] = []

    def predict(self, keypoints: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        assert keypoints.dtype == torch.float32
        assert keypoints.isfinite().all()
        self.inputs.append(keypoints)
        self.modes.append(self.training or self.frozen.training)
        self.flips.append(flip)
        relative = keypoints - keypoints[..., :1, :] + self.dummy  # which needs gradients
        frames = keypoints.shape[1]
        around = torch.arange(-self.reach, self.reach + 1)[:, None] + torch.arange(frames)
        depth = (2 * relative[..., 0] - relative[..., 1])[:, around.clamp(0, frames - 1)].mean(dim=1)
        return torch.cat([relative, depth[..., None]], dim=-1), torch.full_like(depth, 0.5)


def truth(keypoints):
    """The output of the oracle for keypoints `(..., 17, 2)` of h36m17, without `reach`."""
    relative = keypoints - keypoints[..., :1, :]
    return np.concatenate([relative, 2 * relative[..., :1] - relative[..., 1:]], axis=-1)


def random_video(frames=7, keypoints=17, seed=0):
    return np.random.default_rng(seed).uniform(0, 1000, (frames, keypoints, 2)).astype(np.float32)


@pytest.fixture
def video():
    return random_video()


@pytest.fixture(autouse=True)
def no_warnings():
    """Warnings are errors, except where a test expects them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# ---------------------------------------------------------------------------------------------------------------------
# Frames, keypoints and people stay where they are


def test_one_video(video):
    poses = posezoo.lift(video, Oracle(), skeleton="h36m17")
    np.testing.assert_allclose(poses.pose3d, truth(video), atol=1e-3)
    np.testing.assert_array_equal(poses.keypoints, video)
    assert not poses.interpolated.any()
    assert poses.interpolated.shape == (7, 17)
    assert poses.pose3d.dtype == poses.keypoints.dtype == np.float32
    assert poses.interpolated.dtype == bool
    assert not poses.pose3d[:, 0].any()
    assert poses.skeleton is poses.input_skeleton is H36M
    assert len(poses) == 7


@pytest.mark.parametrize(
    "kind",
    [
        lambda video: video.astype(np.float64),
        lambda video: video.astype(">f4"),
        lambda video: np.asfortranarray(video),
        lambda video: torch.from_numpy(video),
        lambda video: torch.from_numpy(video).double().requires_grad_(),
        lambda video: torch.from_numpy(video).bfloat16().float(),
        lambda video: torch.from_numpy(video).bfloat16(),
        lambda video: video.astype(np.int32),
    ],
)
def test_kinds_of_numbers(video, kind):
    given = kind(video)
    poses = posezoo.lift(given, Oracle(), skeleton="h36m17")
    seen = given.detach().float().numpy() if isinstance(given, Tensor) else np.asarray(given, np.float32)
    np.testing.assert_array_equal(poses.keypoints, seen)


def people_of(video, scores=None, skeleton=H36M):
    scores = np.ones(video.shape[:2], np.float32) if scores is None else scores
    return [
        People(points[None], score[None], np.array([[0.0, 0, 9, 9]], np.float32), skeleton, (1000, 1000))
        for points, score in zip(video, scores, strict=True)
    ]


def nobody(skeleton=H36M):
    empty = np.zeros((0, len(skeleton), 2), np.float32)
    return People(empty, empty[..., 0], np.zeros((0, 4), np.float32), skeleton, (1000, 1000))


def test_people_of_frames(video):
    poses = posezoo.lift(people_of(video), Oracle())
    np.testing.assert_allclose(poses.pose3d, truth(video), atol=1e-3)
    np.testing.assert_array_equal(posezoo.lift(tuple(people_of(video)), Oracle()).pose3d, poses.pose3d)
    unnamed = people_of(video, skeleton=None)
    np.testing.assert_array_equal(posezoo.lift(unnamed, Oracle(), skeleton="h36m17").pose3d, poses.pose3d)


def test_a_frame_without_people_is_a_gap(video):
    people = people_of(video)
    people[0] = people[3] = nobody()
    with pytest.warns(UserWarning, match="34 of 119 keypoints are interpolated along time: pelvis 2, right_hip 2"):
        poses = posezoo.lift(people, Oracle())
    np.testing.assert_allclose(poses.keypoints[3], (video[2] + video[4]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(poses.keypoints[0], video[1])
    assert poses.interpolated.all(axis=1).tolist() == [True, False, False, True, False, False, False]


def test_one_frame():
    frame = random_video(1)
    np.testing.assert_allclose(posezoo.lift(frame, Oracle(), skeleton="h36m17").pose3d, truth(frame), atol=1e-3)
    assert posezoo.lift(people_of(frame), Oracle()).pose3d.shape == (1, 17, 3)


def test_the_same_twice_and_the_input_is_left_alone(video):
    video[2, 5] = np.nan
    before = video.copy()
    model = posezoo.create("seq2seq3d", hidden_size=16).eval()
    with pytest.warns(UserWarning, match="1 of 119"):
        first = posezoo.lift(video, model, skeleton="h36m17")
    with pytest.warns(UserWarning, match="1 of 119"):
        again = posezoo.lift(video, model, skeleton="h36m17")
    np.testing.assert_array_equal(first.pose3d, again.pose3d)
    np.testing.assert_array_equal(video, before)


# ---------------------------------------------------------------------------------------------------------------------
# Long videos, a few frames at a time


@pytest.mark.parametrize("batch_size", [1, 3, 10, 39, 40, 41])
def test_an_oracle_with_a_receptive_field(batch_size):
    video, oracle = random_video(40), Oracle(reach=4)
    whole = oracle.predict(torch.from_numpy(video)[None])[0][0].detach()
    oracle.inputs.clear()
    poses = posezoo.lift(video, oracle, skeleton="h36m17", batch_size=batch_size)
    np.testing.assert_allclose(poses.pose3d, whole, atol=1e-3)
    assert max(keypoints.shape[1] for keypoints in oracle.inputs) <= batch_size + 16  # the memory is bounded


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("martinez", {"linear_size": 32, "frame": "person"}),
        ("seq2seq3d", {"hidden_size": 16, "frame": "person", "window": 4}),
        ("temporal_conv_27", {"channels": 16, "frame": "person"}),
        ("temporal_conv_27", {"channels": 16, "frame": "person", "causal": True}),
    ],
)
def test_lifters_predict_the_same_in_parts_as_for_the_whole_video(name, options, flip):
    torch.manual_seed(0)
    model = posezoo.create(name, **options).eval()
    video = random_video(61)
    whole, _ = model.predict(torch.from_numpy(video)[None], flip=flip)
    for batch_size in (5, 30, 61, 4096):
        poses = posezoo.lift(video, model, skeleton="h36m17", batch_size=batch_size, flip=flip)
        np.testing.assert_allclose(poses.pose3d, whole[0], rtol=1e-4, atol=0.05)


# ---------------------------------------------------------------------------------------------------------------------
# Every skeleton


def a_body(frames=3):
    """Places of every name that a skeleton knows, `(frames, 2)` each."""
    names = {name for skeleton in list_skeletons() for name in get_skeleton(skeleton).keypoints}
    random = np.random.default_rng(1)
    body = {name: random.uniform(0, 500, (frames, 2)) for name in sorted(names)}
    body["pelvis"], body["thorax"] = mean(body, "left_hip", "right_hip"), mean(body, "left_shoulder", "right_shoulder")
    return body


def mean(body, *names):
    return np.mean([body[name] for name in names], axis=0)


def seen_by(skeleton, body):
    return np.stack([body[name] for name in get_skeleton(skeleton).keypoints], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("skeleton", "missing"),
    [
        ("flic11", ["right_knee", "right_ankle", "left_knee", "left_ankle"]),
        ("flic7", ["pelvis", "right_hip", "right_knee"]),
        ("jhmdb15", ["neck_nose", "head"]),
    ],
)
def test_skeletons_without_the_needed_keypoints(skeleton, missing):
    says = rf"Oracle needs {', '.join(missing)}.*, which {skeleton} does not give; take another 2D detector"
    with pytest.raises(ValueError, match=says):
        posezoo.lift(seen_by(skeleton, a_body()), Oracle(), skeleton=skeleton)


# the others lack the legs, the body, or every point of the face from which the head follows
WITHOUT_A_BODY = ("flic", "jhmdb", "hand", "smpl")


@pytest.mark.parametrize("name", [name for name in list_skeletons() if not name.startswith(WITHOUT_A_BODY)])
def test_every_skeleton(name):
    body, skeleton = a_body(), get_skeleton(name)
    video = seen_by(name, body)
    poses = posezoo.lift(video, Oracle(), skeleton=name)
    found = dict(zip(H36M.keypoints, poses.keypoints.swapaxes(0, 1), strict=True))
    converted, valid = convert(video, skeleton, "h36m17")
    for name, points, given in zip(H36M.keypoints, converted.swapaxes(0, 1), valid[0], strict=True):
        if given:  # `convert` is the authority
            np.testing.assert_allclose(found[name], points, rtol=1e-5)
    if "head_top" in skeleton.keypoints:
        np.testing.assert_allclose(found["head"], body["head_top"], rtol=1e-6)
    elif "left_ear" in skeleton.keypoints:
        np.testing.assert_allclose(found["head"], mean(body, "left_ear", "right_ear"), rtol=1e-6)
    else:
        np.testing.assert_allclose(found["head"], body["head"], rtol=1e-6)
    if "nose" in skeleton.keypoints:
        np.testing.assert_allclose(found["neck_nose"], body["nose"], rtol=1e-6)
    elif "neck_nose" not in skeleton.keypoints:
        np.testing.assert_allclose(found["neck_nose"], mean(found, "thorax", "head"), rtol=1e-6)
    if "thorax" not in skeleton.keypoints:
        np.testing.assert_allclose(found["thorax"], mean(body, "left_shoulder", "right_shoulder"), rtol=1e-6)
    if "spine" not in skeleton.keypoints:
        np.testing.assert_allclose(found["spine"], mean(found, "pelvis", "thorax"), rtol=1e-6)
    np.testing.assert_allclose(poses.pose3d, truth(poses.keypoints), atol=1e-3)


def test_a_skeleton_of_ones_own(video):
    shuffled = np.random.default_rng(0).permutation(17)
    names = [H36M.keypoints[k] for k in shuffled]
    for skeleton in (names, tuple(names), Skeleton("mine", tuple(names))):
        poses = posezoo.lift(video[:, shuffled], Oracle(), skeleton=skeleton)
        np.testing.assert_array_equal(poses.keypoints, video)


def test_a_model_of_another_skeleton():
    body = a_body()
    model = posezoo.create("martinez", linear_size=16, input_keypoints="coco17", num_keypoints=14, skeleton="lsp14")
    poses = posezoo.lift(seen_by("body25", body), model.eval(), skeleton="body25")
    assert poses.pose3d.shape == (3, 14, 3)
    assert (poses.skeleton.name, poses.input_skeleton.name) == ("lsp14", "coco17")
    np.testing.assert_array_equal(poses.keypoints, seen_by("coco17", body))


def test_a_model_whose_keypoints_have_no_names(video):
    model = posezoo.create("martinez", linear_size=16, input_keypoints=17, num_keypoints=5, frame="person").eval()
    video[1, 3] = np.nan
    with pytest.warns(UserWarning, match="1 of 119 .*: keypoint 3 1"):
        poses = posezoo.lift(video, model)
    assert poses.skeleton is poses.input_skeleton is None
    assert poses.pose3d.shape == (7, 5, 3)
    np.testing.assert_array_equal(poses.keypoints[0], video[0])
    assert poses.to_dict()["names"] is None
    assert next(poses.pictures(size=32)).shape == (32, 96, 3)
    with pytest.raises(ValueError, match="martinez takes 17 without names, got 14"):
        posezoo.lift(video[:, :14], model)


# ---------------------------------------------------------------------------------------------------------------------
# What is missing

GAPS = {
    "at the start": ([0, 1], {0: 2, 1: 2}),
    "in the middle": ([3], {3: (2, 4)}),
    "several in a row": ([2, 3, 4], {3: (1, 5)}),
    "at the end": ([5, 6], {5: 4, 6: 4}),
    "all but the first": ([1, 2, 3, 4, 5, 6], {6: 0, 3: 0}),
    "all but one in the middle": ([0, 1, 2, 4, 5, 6], {0: 3, 6: 3}),
    "everywhere": ([0, 3, 6], {0: 1, 3: (2, 4), 6: 5}),
}


@pytest.mark.parametrize("how", ["NaN", "one NaN", "infinite", "score", "NaN score", "mask", "flags"])
@pytest.mark.parametrize("where", GAPS)
def test_gaps(video, where, how):
    frames, expected = GAPS[where]
    joint, given, options = H36M.index("left_wrist"), video.astype(np.float64), {}
    if how in ("NaN", "infinite"):
        given[frames, joint] = np.nan if how == "NaN" else np.inf
    elif how == "one NaN":
        given[frames, joint, 1] = np.nan
    elif how in ("score", "NaN score"):
        options["scores"] = np.full((7, 17), 0.3)
        options["scores"][frames, joint] = 0.29 if how == "score" else np.nan
        given[frames, joint] = 1e4  # which must not be looked at
    else:
        options["scores"] = np.full((7, 17), True if how == "mask" else 2)
        options["scores"][frames, joint] = 0
    with pytest.warns(UserWarning, match="interpolated") as caught:
        poses = posezoo.lift(given, Oracle(), skeleton="h36m17", **options)
    assert [str(warning.message) for warning in caught] == [
        f"{len(frames)} of 119 keypoints are interpolated along time: left_wrist {len(frames)}"
    ]
    assert caught[0].filename == __file__  # the line that called it
    mask = np.zeros((7, 17), bool)
    mask[frames, joint] = True
    np.testing.assert_array_equal(poses.interpolated, mask)
    np.testing.assert_array_equal(poses.keypoints[~mask], video[~mask])
    for frame, sources in expected.items():
        np.testing.assert_allclose(poses.keypoints[frame, joint], np.mean(video[[sources], joint].reshape(-1, 2), 0))
    if where == "several in a row":  # linear: a quarter of the way
        np.testing.assert_allclose(
            poses.keypoints[2, joint], 0.75 * video[1, joint] + 0.25 * video[5, joint], rtol=1e-6
        )


def test_keypoints_derived_from_missing_ones_are_masked():
    video = seen_by("coco17", a_body(5))
    video[2, 11] = np.nan  # the left hip
    with pytest.warns(UserWarning, match="3 of 85 keypoints .*: pelvis 1, left_hip 1, spine 1$"):
        poses = posezoo.lift(video, Oracle(), skeleton="coco17")
    marked = [H36M.keypoints[k] for k in np.flatnonzero(poses.interpolated[2])]
    assert marked == ["pelvis", "left_hip", "spine"]
    assert not poses.interpolated[[0, 1, 3, 4]].any()
    hip = (video[1, 11] + video[3, 11]) / 2  # the right one is seen, and used
    np.testing.assert_allclose(poses.keypoints[2, 0], (hip + video[2, 12]) / 2, rtol=1e-6)


def test_unused_keypoints_may_be_missing():
    video = random_video(5, 25)
    for name in ("left_heel", "right_small_toe"):
        video[:, get_skeleton("body25").index(name)] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        poses = posezoo.lift(video, Oracle(), skeleton="body25")
    assert not poses.interpolated.any()


@pytest.mark.parametrize(
    ("missing", "expected", "nose"),
    [
        ([], ["left_ear", "right_ear"], True),
        (["left_ear"], ["left_eye", "right_eye"], True),
        (["left_ear", "left_eye"], ["right_ear"], True),
        (["right_ear", "right_eye"], ["left_ear"], True),
        (["left_ear", "left_eye", "right_ear"], ["nose"], True),
        (["left_eye", "right_eye", "nose"], ["left_ear", "right_ear"], False),
        (["left_eye", "right_eye", "nose", "right_ear"], ["left_ear"], False),
    ],
)
@pytest.mark.parametrize("frames", [4, 3])  # of four, in which they are missing
def test_replacements_of_the_head(missing, expected, nose, frames):
    body = a_body(4)
    for name in missing:
        body[name][:frames] = np.nan
    video = seen_by("coco17", body)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        poses = posezoo.lift(video, Oracle(), skeleton="coco17")
    head, neck = H36M.index("head"), H36M.index("neck_nose")
    np.testing.assert_allclose(poses.keypoints[:, head], mean(body, *expected), rtol=1e-6)
    assert not poses.interpolated[:, [head, neck]].any()
    middle = (poses.keypoints[:, H36M.index("thorax")] + poses.keypoints[:, head]) / 2
    np.testing.assert_allclose(poses.keypoints[:, neck], body["nose"] if nose else middle, rtol=1e-6)


def test_a_rarely_visible_head_is_replaced_by_the_ears():
    body = a_body(4)
    body["head_top"][1:] = np.nan
    poses = posezoo.lift(seen_by("body25b", body), Oracle(), skeleton="body25b")
    np.testing.assert_allclose(poses.keypoints[:, H36M.index("head")], mean(body, "left_ear", "right_ear"), rtol=1e-6)
    for name in ("left_ear", "left_eye", "right_ear", "nose"):
        body[name][:] = np.nan  # but not to nothing
    with pytest.warns(UserWarning, match="6 of 68 .*: neck_nose 3, head 3"):
        poses = posezoo.lift(seen_by("body25b", body), Oracle(), skeleton="body25b")
    np.testing.assert_allclose(poses.keypoints[3, H36M.index("head")], body["head_top"][0], rtol=1e-6)


def test_ears_that_half_of_the_frames_show_are_better_than_eyes_that_all_show():
    body = a_body(4)
    body["left_ear"][2:] = np.nan
    with pytest.warns(UserWarning, match="2 of 68 .*: head 2"):
        poses = posezoo.lift(seen_by("coco17", body), Oracle(), skeleton="coco17")
    expected = (body["left_ear"][1] + body["right_ear"][3]) / 2
    np.testing.assert_allclose(poses.keypoints[3, H36M.index("head")], expected, rtol=1e-6)


def test_a_hip_that_is_never_visible():
    video, scores = random_video(6), np.ones((6, 17))
    scores[:, 13:15] = 0.2
    says = (
        "Oracle needs right_knee, left_knee, which coco17 does not give without left_knee, right_knee, which none of "
        "the 6 frames shows; take a lower min_score"
    )
    with pytest.raises(ValueError, match=says):
        posezoo.lift(video, Oracle(), skeleton="coco17", scores=scores)
    posezoo.lift(video, Oracle(), skeleton="coco17", scores=scores, min_score=0.2)
    video[:, 11] = np.nan
    with pytest.raises(ValueError, match=r"needs pelvis, left_hip, spine, which coco17 does not give without left_hip"):
        posezoo.lift(video, Oracle(), skeleton="coco17")


def test_a_face_that_is_never_visible():
    video = random_video(6)
    video[:, :5] = np.nan
    with pytest.raises(
        ValueError, match=r"needs neck_nose, head, .* without nose, left_eye, right_eye, left_ear, right"
    ):
        posezoo.lift(video, Oracle(), skeleton="coco17")


@pytest.mark.parametrize("frames", [1, 4])
def test_a_keypoint_that_is_never_visible(frames):
    with pytest.raises(ValueError, match=rf"needs pelvis.*which none of the {frames} frames shows"):
        posezoo.lift(np.full((frames, 17, 2), np.nan), Oracle(), skeleton="h36m17")
    with pytest.raises(ValueError, match=rf"which none of the {frames} frames shows"):
        posezoo.lift([nobody()] * frames, Oracle())


def test_a_person_of_one_point():
    model = posezoo.create("martinez", linear_size=16, frame="person").eval()
    with pytest.raises(ValueError, match="all keypoints of a frame are one point"):
        posezoo.lift(np.full((3, 17, 2), 7.0), model, skeleton="h36m17")


# ---------------------------------------------------------------------------------------------------------------------
# Every mistake


@pytest.mark.parametrize(
    ("keypoints", "says"),
    [
        (np.zeros((17, 2)), r"expected \(T, K, 2\) pixels, got shape \(17, 2\); one frame is keypoints\[None\]$"),
        (np.zeros((5, 17, 3)), r"got shape \(5, 17, 3\); scores go apart"),
        (np.zeros((5, 17, 4)), r"got shape \(5, 17, 4\)$"),
        (np.zeros((4, 5, 17, 2)), r"got shape \(4, 5, 17, 2\); lift one person at a time$"),
        (np.zeros((0, 17, 2)), r"got shape \(0, 17, 2\); there has to be a frame and a keypoint$"),
        (np.zeros((5, 0, 2)), r"got shape \(5, 0, 2\); there has to be a frame and a keypoint$"),
        (np.zeros((5, 16, 2)), r"h36m17 has 17, got 16; say their skeleton"),
        (np.full((5, 17, 2), "x"), "of numbers, got ndarray"),
        (None, r"got shape \(\)"),
        ({}, "of numbers, got dict"),
        ("video.json", "of numbers, got str"),
        ([], "at least one frame, got an empty list"),
        ((), "at least one frame, got an empty list"),
        ([np.zeros((17, 2))] * 3, "a list with a ndarray; np.stack makes an array"),
        ([[[0.0, 1.0]]], "a list with a list"),
        (nobody(), r"a list of People, one frame each, got one; a single frame is \[people\]"),
        ([nobody(), nobody(get_skeleton("lsp14"))], "frame 1 has another skeleton than frame 0"),
    ],
)
def test_wrong_keypoints(keypoints, says):
    with pytest.raises(ValueError, match=says):
        posezoo.lift(keypoints, Oracle(), skeleton="h36m17")


def test_fractions_of_the_image_are_no_keypoints(video):
    for keypoints in (video / 1000, video / 500 - 1):
        with pytest.raises(ValueError, match="keypoints are pixels, not fractions of the image"):
            posezoo.lift(keypoints, skeleton="h36m17")


def test_several_people_in_a_frame(video):
    crowd = People(video[:2], np.ones((2, 17), np.float32), np.zeros((2, 4), np.float32), H36M, (9, 9))
    with pytest.raises(ValueError, match="frame 1 has 2 people; leave one in each frame"):
        posezoo.lift([*people_of(video[:1]), crowd], Oracle())


def test_scores_that_do_not_fit(video):
    for scores in (np.ones((7, 16)), np.ones(7), np.ones((1, 7, 17))):
        with pytest.raises(ValueError, match=r"scores: expected \(7, 17\), one per keypoint, got"):
            posezoo.lift(video, Oracle(), skeleton="h36m17", scores=scores)
    with pytest.raises(ValueError, match="scores: People have their own"):
        posezoo.lift(people_of(video), Oracle(), scores=np.ones((7, 17)))


def test_the_skeleton_is_required(video):
    with pytest.raises(ValueError, match=r"say which keypoints these are.*coco17.*h36m17.*body25"):
        posezoo.lift(video, Oracle())  # coco17 and h36m17 have 17 both
    with pytest.raises(ValueError, match="say which keypoints these are"):
        posezoo.lift(people_of(video, skeleton=None), Oracle())
    with pytest.raises(ValueError, match="Did you mean 'coco17'"):
        posezoo.lift(video, Oracle(), skeleton="coco")
    with pytest.raises(ValueError, match="these people are h36m17, not coco17; leave it out"):
        posezoo.lift(people_of(video), Oracle(), skeleton="coco17")


def unpublished_lifter(**kwargs):
    """A name without weights."""
    return Oracle(**kwargs)


def test_models_that_do_not_lift(video):
    image_model = posezoo.create("hrnet_w32", width=2)
    with pytest.raises(ValueError, match=r"hrnet_w32 is 'image', not 'keypoints' or 'clip'; posezoo\.predict is"):
        posezoo.lift(video, image_model, skeleton="coco17")
    headless = posezoo.create("martinez", linear_size=16, num_keypoints=0)
    with pytest.raises(ValueError, match=r"this martinez has no head; model\.reset_head"):
        posezoo.lift(video, headless, skeleton="coco17")
    with pytest.raises(ValueError, match=r"the input of martinez is 'keypoints', not 'image'; .* posezoo\.lift for k"):
        posezoo.predict(np.zeros((9, 9, 3), np.uint8), headless)
    with pytest.raises(ValueError, match=r"unknown model 'martines'\. Did you mean 'martinez'"):
        posezoo.lift(video, "martines", skeleton="coco17")
    for model in (None, 3, nn.Linear(1, 1)):
        with pytest.raises(ValueError, match=r"expected a name or a model of posezoo\.create, got"):
            posezoo.lift(video, model, skeleton="coco17")
    with scratch_registry():
        posezoo.register_model(unpublished_lifter)
        with pytest.raises(ValueError, match="nobody has published weights for unpublished_lifter"):
            posezoo.lift(video, "unpublished_lifter", skeleton="coco17")


def test_batch_size_of_nothing(video):
    with pytest.raises(ValueError, match="batch_size: expected a whole number, 1 or more, got 0"):
        posezoo.lift(video, Oracle(), skeleton="h36m17", batch_size=0)


# ---------------------------------------------------------------------------------------------------------------------
# How the model is treated


def test_flip_reaches_the_model(video):
    oracle = Oracle()
    for flip in (False, True):
        posezoo.lift(video, oracle, skeleton="h36m17", flip=flip)
    assert oracle.flips == [False, True]


@pytest.mark.parametrize("fails", [False, True])
def test_modes_are_as_they_were(video, fails, monkeypatch):
    model = Oracle().train()
    model.frozen.eval()
    if fails:
        monkeypatch.setattr(model, "predict", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            posezoo.lift(video, model, skeleton="h36m17")
    else:
        posezoo.lift(video, model, skeleton="h36m17")
        assert model.modes == [False]
    assert model.training
    assert not model.frozen.training


def test_a_model_without_a_receptive_field(video):
    model = Oracle()
    del model.receptive_field
    with pytest.raises(ValueError, match="Oracle lacks receptive_field; see the attributes of PoseModel"):
        posezoo.lift(video, model, skeleton="h36m17")


def test_half_precision(video):
    torch.manual_seed(0)
    model = posezoo.create("martinez", linear_size=32, frame="person").eval()
    full = posezoo.lift(video, model, skeleton="h36m17").pose3d
    half = posezoo.lift(video, model.to(torch.bfloat16), skeleton="h36m17", device="cpu").pose3d
    assert half.dtype == np.float32
    assert np.abs(half - full).max() < 0.05 * np.abs(full).max()


def test_a_name_is_loaded_once_but_a_folder_each_time(tmp_path, video, monkeypatch):
    create, created = posezoo.prediction.create, []
    counting = lambda *args, **kwargs: created.append(args) or create(*args, **kwargs)  # noqa: E731
    monkeypatch.setattr(posezoo.prediction, "create", counting)

    def tiny_lifter(**kwargs):
        """A model with weights."""
        return posezoo.models.martinez.Martinez(linear_size=8, **kwargs)

    folder = tmp_path / "weights"
    with scratch_registry():
        posezoo.register_model(tiny_lifter)
        posezoo.create("tiny_lifter").save_pretrained(folder)
        posezoo.register_model(weights={"v1": Weights(sources=(f"local-dir:{folder}",))})(tiny_lifter)
        for _ in range(2):
            assert posezoo.lift(video, "tiny_lifter", skeleton="h36m17").pose3d.shape == (7, 17, 3)
        assert len(created) == 1
        for number in (16, 15):
            names = list(H36M.keypoints[:number])
            posezoo.create("tiny_lifter", num_keypoints=number, skeleton=names).save_pretrained(folder)
            assert posezoo.lift(video, f"local-dir:{folder}", skeleton="h36m17").pose3d.shape == (7, number, 3)


# ---------------------------------------------------------------------------------------------------------------------
# Poses3D


def test_to_dict_is_json(video):
    video[1, 4] = np.nan
    with pytest.warns(UserWarning, match="1 of 119"):
        poses = posezoo.lift(video, Oracle(), skeleton="h36m17")
    content = json.loads(json.dumps(poses.to_dict(), allow_nan=False))
    assert content["unit"] == "mm"
    assert content["skeleton"] == "h36m17"
    assert content["names"] == content["keypoint_names"] == list(H36M.keypoints)
    assert content["bones"] == [list(bone) for bone in H36M.bones]
    np.testing.assert_allclose(content["pose3d"], poses.pose3d, atol=1e-3)
    np.testing.assert_allclose(content["keypoints"], poses.keypoints, atol=1e-3)
    np.testing.assert_array_equal(content["interpolated"], poses.interpolated)


def test_poses_compare_by_identity(video):
    a, b = (posezoo.lift(video, Oracle(), skeleton="h36m17") for _ in range(2))
    assert a == a
    assert a != b
    assert isinstance(a, posezoo.Poses3D)
    assert posezoo.Poses3D is Poses3D


def test_pictures(video):
    poses = posezoo.lift(video, Oracle(), skeleton="h36m17")
    pictures = list(poses.pictures(size=64))
    assert [picture.shape for picture in pictures] == [(64, 192, 3)] * 7
    for number, picture in zip((5, 0), poses.pictures(index=[5, 0], size=64), strict=True):
        np.testing.assert_array_equal(picture, pictures[number])
    photos = [np.full((30, 40, 3), 20 * number, np.uint8) for number in range(7)]
    beside = list(poses.pictures(photos, index=[2, 6], size=64))
    for number, picture in zip((2, 6), beside, strict=True):
        assert picture.shape == (64, 256, 3)
        np.testing.assert_array_equal(picture[:, 64:], pictures[number])
        assert (picture[32, :64] == 20 * number).all(axis=-1).any()
    with pytest.raises(ValueError, match="frames: expected 7, one per pose, got 6"):
        poses.pictures(photos[:6])


def test_the_photograph_shows_the_person(video):
    """From 20, 30 to 60, 70 in an image of 200 x 100, and a seventh of that more."""
    video = 20 + video[:2] / 25 + np.array([0, 10], np.float32)
    video[0, 0], video[0, 1] = (20, 30), (60, 70)
    poses = posezoo.lift(video, Oracle(), skeleton="h36m17")
    across, down = np.meshgrid(np.arange(200), np.arange(100))
    photo = np.stack([across, down, np.zeros_like(down)], axis=-1).astype(np.uint8)
    _, picture = poses.pictures([photo, photo], size=53)  # no resampling: it is 53 x 53
    corner = picture[0, 0].astype(int)
    np.testing.assert_allclose(corner, [14, 24, 0], atol=1)
    for x, y in poses.keypoints[1].round().astype(int):
        assert picture[y - corner[1], x - corner[0]].sum() > x + y + 100  # a dot, brighter than the photograph
    far = posezoo.lift(video + 1000, Oracle(), skeleton="h36m17")  # somewhere else altogether: the whole image
    assert next(far.pictures([photo, photo], size=64)).shape == (64, 256, 3)


def test_the_keypoints_are_drawn_on_the_photograph(video):
    poses = posezoo.lift(video[:1] / 10, Oracle(), skeleton="h36m17")
    (picture,) = poses.pictures([np.zeros((100, 100, 3), np.uint8)], size=100)
    x, y = poses.keypoints[0, H36M.index("left_wrist")].round().astype(int)
    assert picture[y, x].sum() > 100


# ---------------------------------------------------------------------------------------------------------------------
# predict_single_person


class Watcher:
    """Replaces `posezoo.predict`: returns given keypoints and records the boxes."""

    def __init__(self, tracks, scores, size=(480, 640)):
        self.tracks, self.scores, self.size, self.boxes, self.options = tracks, scores, size, [], []

    def __call__(self, frames, model, boxes, **options):
        assert len(frames) == len(self.tracks) == (len(boxes) if boxes else 20)
        self.boxes.append(boxes)
        self.options.append(options)
        skeleton = get_skeleton([f"point {number}" for number in range(self.tracks.shape[1])])
        return [
            People(track[None], scores[None], np.zeros((1, 4), np.float32), skeleton, self.size)
            for track, scores in zip(self.tracks, self.scores, strict=True)
        ]


def walk(frames=20):
    """Five points that go right by 10 pixels a frame."""
    start = np.array([[100, 100], [120, 90], [140, 200], [110, 220], [130, 150]], np.float32)
    return start + 10 * np.arange(frames, dtype=np.float32)[:, None, None] * np.array([1, 0], np.float32)


def test_the_boxes_follow_the_person(monkeypatch):
    track = walk()
    watcher = Watcher(track, np.full((20, 5), 0.8, np.float32))
    monkeypatch.setattr(posezoo.lifting, "predict", watcher)
    people = predict_single_person(range(20), "a model", detector=None, flip=True)
    assert len(people) == 20
    assert watcher.options == [{"flip": True, "second_pass": False}, {"flip": True}]
    whole, boxes = watcher.boxes
    assert whole is None
    for frame in range(4, 16):  # a median of a straight line is its middle
        np.testing.assert_allclose(boxes[frame], [[100 + 10 * frame, 90, 140 + 10 * frame, 220]])
    assert np.shape(boxes) == (20, 1, 4)


def test_doubtful_points_and_frames_do_not_pull_the_box(monkeypatch):
    track, scores = walk(), np.full((20, 5), 0.8, np.float32)
    track[:, 4], scores[:, 4] = 400, 0.23  # much less sure than of the others
    track[7], scores[8] = 50, 0  # one point, nothing
    track[12] += 300  # a mistake in one frame
    watcher = Watcher(track, scores)
    monkeypatch.setattr(posezoo.lifting, "predict", watcher)
    predict_single_person(range(20), detector=None)
    boxes = np.array(watcher.boxes[1])[:, 0]
    expected = np.array([[100 + 10 * frame, 90, 140 + 10 * frame, 220] for frame in range(4, 16)])
    assert np.abs(boxes[4:16] - expected).max() <= 10


def test_a_given_box_comes_first(monkeypatch):
    watcher = Watcher(walk(), np.full((20, 5), 0.8, np.float32))
    monkeypatch.setattr(posezoo.lifting, "predict", watcher)
    predict_single_person(range(20), box=(1, 2, 300, 400))
    assert all(np.array_equal(box, [[1, 2, 300, 400]]) for box in watcher.boxes[0])


def test_boxes_stay_inside_the_image(monkeypatch):
    track = walk() - np.array([130, 100], np.float32)
    watcher = Watcher(track, np.full((20, 5), 0.8, np.float32), size=(100, 150))
    monkeypatch.setattr(posezoo.lifting, "predict", watcher)
    predict_single_person(range(20), detector=None)
    boxes = np.array(watcher.boxes[1])[:, 0]
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= 150).all()
    assert (boxes[:, 3] <= 100).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_no_person_is_found(monkeypatch):
    watcher = Watcher(walk(), np.zeros((20, 5), np.float32))
    monkeypatch.setattr(posezoo.lifting, "predict", watcher)
    assert len(predict_single_person(range(20), detector=None)) == 20
    assert len(watcher.boxes) == 1  # nowhere else to look


def test_from_frames_to_3d():
    photo = np.random.default_rng(0).integers(0, 255, (90, 60, 3), dtype=np.uint8)
    people = predict_single_person([photo] * 3)
    model = posezoo.create("martinez", linear_size=16, frame="person").eval()
    poses = posezoo.lift(people, model, min_score=-1)
    assert poses.pose3d.shape == (3, 17, 3)
    assert predict_single_person([]) == []


# ---------------------------------------------------------------------------------------------------------------------
# The function of the package


def test_lift_is_the_function_however_it_was_imported():
    script = """
import posezoo.lifting, sys
from posezoo import lift
from posezoo.lifting import Poses3D
assert posezoo.lift is lift is posezoo.lifting.lift
assert posezoo.Poses3D is Poses3D
assert "PIL" not in sys.modules
"""
    fresh_process.run(script)


def test_no_frames():
    with pytest.raises(ValueError, match="at least one frame, got an empty list"):
        posezoo.lift([])


def test_the_first_parameters_may_be_given_by_position():
    signature = inspect.signature(posezoo.lift)
    assert list(signature.parameters)[:3] == ["keypoints", "model", "skeleton"]
    assert signature.parameters["model"].default == "martinez"


def test_it_can_be_sent_to_other_processes():
    assert pickle.loads(pickle.dumps(posezoo.lift)) is posezoo.lift
