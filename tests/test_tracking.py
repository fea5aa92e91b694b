"""Ids over time: who keeps one, who is given a new one, and the work per frame."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from posezoo import tracking
from posezoo.tracking import Tracker, track

FPS = 25
NUM_KEYPOINTS = 17
WIDTH, HEIGHT = 60.0, 150.0


def person(x, y=200.0, *, step=0, size=1.0, seed=0):
    """Keypoints and box of a person around (x, y); the limbs swing with the step."""
    spread = np.random.default_rng(seed).uniform(-0.5, 0.5, (NUM_KEYPOINTS, 2))
    swing = 0.15 * np.sin(step * 0.5 + np.arange(NUM_KEYPOINTS))
    points = (spread + np.stack([swing, 0 * swing], axis=1)) * [WIDTH, HEIGHT] * size + [x, y]
    reach = np.array([WIDTH, HEIGHT]) * size / 2
    return points, np.array([x - reach[0], y - reach[1], x + reach[0], y + reach[1]])


def frame(*people):
    """One result, as `posezoo.predict` returns it; of people as `person` makes them."""
    points = np.array([points for points, _ in people]).reshape(-1, NUM_KEYPOINTS, 2)
    boxes = np.array([box for _, box in people]).reshape(-1, 4)
    return SimpleNamespace(keypoints=points, scores=np.ones(points.shape[:2]), boxes=boxes)


def ids_of(frames, **options):
    return [ids.tolist() for ids in track(frames, tracker=Tracker(fps=FPS, **options))]


def jittered(frames, pixels, seed=0):
    """Detections that are not exact."""
    random = np.random.default_rng(seed)
    return [
        SimpleNamespace(
            keypoints=one.keypoints + random.normal(0, pixels, one.keypoints.shape),
            scores=one.scores,
            boxes=one.boxes + random.normal(0, pixels, one.boxes.shape),
        )
        for one in frames
    ]


# ----------------------------------------------------------------------------------------------------------- who is who


def test_people_keep_their_ids():
    frames = jittered([frame(person(100 + 4 * t, step=t), person(400, step=t)) for t in range(50)], 2)
    ids = track(frames, tracker=Tracker(fps=FPS))
    assert all(one.dtype == np.int64 for one in ids)
    assert [one.tolist() for one in ids] == [[0, 1]] * 50


def crossing(speed, hidden):
    """Two people who walk through each other; the one behind is not found for some frames."""
    middle = 25
    for t in range(2 * middle + 1):
        first = person(300 + speed * (t - middle), step=t)
        second = person(300 - speed * (t - middle), 204, step=t, seed=1)
        yield frame(first) if 2 * abs(t - middle) < hidden else frame(first, second)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("hidden", [0, 5, 15])
@pytest.mark.parametrize("speed", [2, 5, 12])  # pixels per frame; 5 is a walk, some 1.4 m/s
def test_people_who_cross_keep_their_ids(speed, hidden, seed):
    ids = ids_of(jittered(crossing(speed, hidden), 2, seed))
    assert all(one == [0, 1][: len(one)] or one == [1, 0][: len(one)] for one in ids)
    assert {tuple(one) for one in ids} == {tuple(ids[0]), tuple(ids[0][: len(ids[25])])}


@pytest.mark.parametrize("speed", [0, 5])  # waiting behind a pillar, and walking on behind it
@pytest.mark.parametrize(("missing", "kept"), [(1, True), (25, True), (26, False), (60, False)])
def test_a_lost_person_keeps_the_id_for_a_second(missing, kept, speed):
    frames = [
        frame(person(700)) if 20 <= t < 20 + missing else frame(person(100 + speed * t), person(700))
        for t in range(40 + missing)
    ]
    ids = ids_of(frames)
    assert ids[:20] == [[0, 1]] * 20
    assert ids[20 : 20 + missing] == [[1]] * missing
    assert ids[20 + missing :] == [[0 if kept else 2, 1]] * 20


def test_a_lost_person_may_turn_back():
    """Out of the image on the left, and in again there."""
    left = [frame(person(100 - 5 * t)) for t in range(20)]
    back = [frame(person(5 + 5 * t)) for t in range(20)]
    assert ids_of(left + [frame()] * 15 + back) == [[0]] * 20 + [[]] * 15 + [[0]] * 20


def test_the_gap_is_measured_in_seconds():
    tracker = Tracker(max_gap=2.0)
    poses = frame(person(100))
    for time, wanted in [(0, 0), (0.1, 0), (0.15, None), (2.1, 0), (2.11, None), (4.2, 1)]:
        one = frame() if wanted is None else poses
        ids = tracker.update(one.keypoints, one.scores, one.boxes, time=time)
        assert ids.tolist() == ([] if wanted is None else [wanted])


def test_without_a_gap_a_missing_frame_ends_an_id():
    poses = frame(person(100))
    assert ids_of([poses, poses, frame(), poses], max_gap=0) == [[0], [0], [], [1]]


def test_ids_are_never_used_again():
    seen = set()
    tracker = Tracker(fps=FPS, max_gap=0.1)
    for round_ in range(5):
        one = frame(*(person(150 * k + 20 * round_) for k in range(4)))
        new = set(tracker.update(one.keypoints, one.scores, one.boxes).tolist())
        assert len(new) == 4
        assert not new & seen
        seen |= new
        for _ in range(5):
            tracker.update(frame().keypoints, frame().scores, frame().boxes)
    assert seen == set(range(20))


def test_a_cut_gives_everybody_a_new_id():
    before = [frame(person(100), person(300, seed=1)) for _ in range(10)]
    after = [frame(person(205, 260, size=1.6, seed=2), person(480, 300, size=1.6, seed=3)) for _ in range(10)]
    assert ids_of(before + after) == [[0, 1]] * 10 + [[2, 3]] * 10


def test_new_people_are_numbered_from_left_to_right():
    assert ids_of([frame(person(500), person(100), person(300))]) == [[2, 0, 1]]


# ------------------------------------------------------------------------------------------------------ the same always


def crowd(length, seed=0):
    """People who walk about, come and go, and are missed now and then."""
    random = np.random.default_rng(seed)
    starts, speeds, begins = random.uniform(0, 800, 12), random.uniform(-6, 6, 12), random.uniform(0, length / 2, 12)
    for t in range(length):
        yield frame(*(
            person(starts[k] + speeds[k] * t, 200 + 15 * k, step=t, seed=k)
            for k in range(12)
            if begins[k] <= t < begins[k] + length / 2 and random.random() > 0.1
        ))  # fmt: skip


def test_the_order_of_detections_does_not_matter():
    frames = jittered(crowd(60), 3)
    expected = track(frames)
    random = np.random.default_rng(1)
    orders = [random.permutation(len(one.boxes)) for one in frames]
    shuffled = [
        SimpleNamespace(keypoints=one.keypoints[order], scores=one.scores[order], boxes=one.boxes[order])
        for one, order in zip(frames, orders, strict=True)
    ]
    for ids, order, found in zip(expected, orders, track(shuffled), strict=True):
        assert found.tolist() == ids[order].tolist()
        assert len(set(found.tolist())) == len(found)


def test_people_who_are_equally_similar_are_assigned_by_age():
    """Two people at the same distance from one detection: the one with the lower id is taken."""
    tracker = Tracker(fps=FPS)
    one = frame(person(300), person(320))
    assert tracker.update(one.keypoints, one.scores, one.boxes).tolist() == [0, 1]
    one = frame(person(310))
    assert tracker.update(one.keypoints, one.scores, one.boxes).tolist() == [0]


def test_tensors_and_arrays_give_the_same_ids():
    for one in crowd(3):
        expected = Tracker().update(one.keypoints, one.scores, one.boxes)
        tensors = (torch.from_numpy(values).float() for values in (one.keypoints, one.scores, one.boxes))
        np.testing.assert_array_equal(Tracker().update(*tensors), expected)


# ------------------------------------------------------------------------------------------------ few and bad keypoints


def test_one_keypoint_is_enough():
    frames = []
    for t in range(20):
        boxes = np.array([[10 + 3 * t, 0, 50 + 3 * t, 100], [200, 0, 240, 100]], dtype=float)
        frames.append(SimpleNamespace(keypoints=boxes[:, None, :2] + 20, scores=np.ones((2, 1)), boxes=boxes))
    assert ids_of(frames) == [[0, 1]] * 20


@pytest.mark.parametrize("bad", ["low", "nan"])
def test_keypoints_without_a_score_or_place_are_not_compared(bad):
    """Neither the wrong places of unsure keypoints count, nor missing ones; without any the boxes
    remain.
    """
    random = np.random.default_rng(0)
    for count in (8, NUM_KEYPOINTS):
        frames = []
        for t in range(20):
            one = frame(person(100 + 3 * t, step=t), person(400, step=t))
            if bad == "low":
                one.scores[:, :count] = 0.1
                one.keypoints[:, :count] = random.uniform(0, 500, (2, count, 2))
            else:
                one.scores[:, :count] = np.nan
                one.keypoints[:, :count] = np.nan
            frames.append(one)
        assert ids_of(frames) == [[0, 1]] * 20


def test_poses_distinguish_people_in_one_box():
    """Two people with the same box, such as the whole image: the OKS decides."""
    box = np.array([0.0, 0, 300, 300])
    people = [(person(100)[0], box), (person(200, seed=1)[0], box)]
    assert ids_of([frame(*people), frame(*people[::-1])]) in ([[0, 1], [1, 0]], [[1, 0], [0, 1]])


def test_frames_without_people():
    assert ids_of([frame()] * 3) == [[]] * 3
    assert track([]) == []
    assert ids_of([frame(), frame(person(100)), frame(), frame(person(101))]) == [[], [0], [], [0]]


# ----------------------------------------------------------------------------------------------------------------- work


def test_the_work_is_linear_in_the_frames(monkeypatch):
    """The pairs compared in 2,000 frames are five times those in 400, though many people have come and
    gone.
    """
    pairs = []
    real = tracking.oks
    monkeypatch.setattr(
        tracking, "oks", lambda pred, *args, **options: pairs.append(len(pred)) or real(pred, *args, **options)
    )

    def passers_by(length):
        """Always three people, each for 40 frames, the next ones elsewhere."""
        return [
            frame(*(person(300 * k + 37 * (t // 40 % 7), 200 + 400 * (t // 40 % 2)) for k in range(3)))
            for t in range(length)
        ]

    counts = []
    for length in (400, 2000):
        pairs.clear()
        ids = track(list(passers_by(length)))
        counts.append(sum(pairs))
        assert int(ids[-1].max()) + 1 >= length // 40
    assert counts[1] == pytest.approx(5 * counts[0], rel=0.05)
    assert counts[1] <= 2000 * 3 * (3 + 2 * 6)


# --------------------------------------------------------------------------------------------------------------- errors


def test_wrong_shapes_are_errors_and_change_nothing():
    one = frame(person(100), person(300))
    points, scores, boxes = one.keypoints, one.scores, one.boxes
    tracker = Tracker()
    tracker.update(points, scores, boxes, time=1.0)
    flat, broken = boxes.copy(), boxes.copy()
    flat[1, 2] = flat[1, 0]
    broken[0, 0] = np.nan
    for arguments, message in (
        ((points[0], scores, boxes), r"expected keypoints \(N, K, 2\).*got \(17, 2\), \(2, 17\) and \(2, 4\)"),
        ((points, scores[:1], boxes), "expected keypoints"),
        ((points, scores, boxes[:1]), "expected keypoints"),
        ((points, scores, boxes[:, :3]), "expected keypoints"),
        ((np.zeros((2, 17, 3)), scores, boxes), "expected keypoints"),
        (([], [], []), "expected keypoints"),
        ((points[:, :9], scores[:, :9], boxes), "expected 17 per person as in earlier frames, got 9"),
        ((points, scores, flat), r"box 1 is .*expected finite \(x1, y1, x2, y2\)"),
        ((points, scores, broken), "box 0 is .*expected finite"),
    ):
        with pytest.raises(ValueError, match=message):
            tracker.update(*arguments)
    for time in (1.0, 0.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"time: expected seconds after the previous frame's 1\.0"):
            tracker.update(points, scores, boxes, time=time)
    assert tracker.update(points, scores, boxes).tolist() == [0, 1]


def test_settings_are_checked():
    for options, message in (
        ({"fps": 0}, "fps: expected a positive"),
        ({"max_gap": -1}, "max_gap: expected 0 seconds or more"),
        ({"max_gap": float("nan")}, "max_gap: expected 0 seconds or more"),
        ({"min_similarity": 0}, "min_similarity: expected a number above 0"),
        ({"min_similarity": 1.5}, "min_similarity: expected a number above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Tracker(**options)
    with pytest.raises(ValueError, match="times: expected one per frame, 2, got 1"):
        track([frame(), frame()], times=[0.0])


def test_times_of_the_frames_are_used():
    poses = frame(person(100))
    frames = [poses, frame(), poses]
    assert [ids.tolist() for ids in track(frames, times=[0, 0.5, 1.0])] == [[0], [], [0]]
    assert [ids.tolist() for ids in track(frames, times=[0, 0.5, 3.0])] == [[0], [], [1]]
