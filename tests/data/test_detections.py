"""What detectors wrote: every format, frames in order, the same person in each, and every mistake."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from posezoo.data.detections import in_order, read_keypoints

POSE2SIM = Path(__file__).parents[3] / "shared/data/pose2sim/S00_P00_SingleParticipant/S00_P00_T01_BalancingTrial/pose"


@pytest.fixture(autouse=True)
def no_warnings():
    """Warnings are errors, except where a test expects them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def person(frame=0.0, keypoints=17, x=100.0):
    """(K, 3) of somebody 40 pixels wide and 100 high, who goes right by 5 pixels a frame."""
    points = np.random.default_rng(0).uniform(0, 1, (keypoints, 3)) * (40, 100, 0.5) + (x + 5 * frame, 50, 0.5)
    points[0, :2], points[1, :2] = (x + 5 * frame, 50), (x + 5 * frame + 40, 150)
    return points.round(3)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def result(image, keypoints):
    return {"image_id": image, "category_id": 1, "keypoints": keypoints.ravel().tolist(), "score": 1.0}


def openpose(folder, frames, name="video_{:012}_keypoints.json"):
    for number, people in enumerate(frames):
        entries = [{"person_id": [-1], "pose_keypoints_2d": keypoints.ravel().tolist()} for keypoints in people]
        write(folder / name.format(number), {"version": 1.3, "people": entries})
    return folder


def check(video, expected):
    """`expected`: (K, 3) of each frame, or None."""
    gap = np.full((len(video["keypoints"][0]), 3), np.nan)
    stacked = np.stack([gap if frame is None else frame for frame in expected])
    np.testing.assert_array_equal(video["keypoints"], stacked[..., :2])
    np.testing.assert_array_equal(video["scores"], stacked[..., 2])


# ---------------------------------------------------------------------------------------------------------------------
# Formats


def test_coco_results(tmp_path):
    numbers = [3, 0, 1, 5]  # in any order; frames 2 and 4 have nobody
    file = write(tmp_path / "a.json", [result(number, person(number)) for number in numbers])
    video = read_keypoints(file, "coco17")
    check(video, [person(0), person(1), None, person(3), None, person(5)])
    assert video["skeleton"] == "coco17"
    assert read_keypoints(file)["skeleton"] is None


def test_coco_results_do_not_begin_at_zero(tmp_path):
    file = write(tmp_path / "a.json", [result(number, person(number)) for number in (1001, 1002)])
    check(read_keypoints(file), [person(1001), person(1002)])


def test_coco_results_of_named_images(tmp_path):
    names = ["f10.jpg", "f9.jpg", "f11.jpg"]
    file = write(tmp_path / "a.json", [result(name, person(int(name[1:-4]))) for name in names])
    check(read_keypoints(file), [person(9), person(10), person(11)])


def test_coco_annotations(tmp_path):
    flagged = person(1)
    flagged[:, 2] = np.arange(17) % 3  # COCO's flags
    images = [{"id": number} for number in (7, 900, 3)]  # in this order
    content = {"images": images, "annotations": [result(3, person(2)), result(7, flagged)]}
    check(read_keypoints(write(tmp_path / "a.json", content)), [flagged, None, person(2)])


@pytest.mark.parametrize(("count", "skeleton"), [(18, "openpose18"), (25, "body25"), (25, "body25b"), (31, "mine")])
def test_a_folder_of_openpose(tmp_path, count, skeleton):
    frames = [[person(0, count)], [], [person(2, count)]]
    folder = openpose(tmp_path / "json", frames)
    (folder / ".hidden.json").write_text("nothing")
    (folder / "notes.txt").write_text("nothing")
    video = read_keypoints(folder, skeleton)
    check(video, [person(0, count), None, person(2, count)])
    assert video["skeleton"] == skeleton
    if count == 25:
        with pytest.raises(ValueError, match="25 keypoints of OpenPose are body25 or body25b; say which"):
            read_keypoints(folder)
    else:
        assert read_keypoints(folder)["skeleton"] == ("openpose18" if count == 18 else None)


def test_one_file_of_openpose(tmp_path):
    folder = openpose(tmp_path, [[person(0, 18)]], "one.json")
    video = read_keypoints(folder / "one.json")
    check(video, [person(0, 18)])
    assert video["skeleton"] == "openpose18"


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    openpose(tmp_path, [[person(number, 18)] for number in range(12)], "video_{}.json")
    check(read_keypoints(tmp_path), [person(number, 18) for number in range(12)])
    assert [path.name for path in in_order(tmp_path)][8:] == [f"video_{n}.json" for n in (8, 9, 10, 11)]


def test_in_order_of_mixed_names(tmp_path):
    names = ["2.png", "10.png", "B1.png", "a2.png", "a10.png", "a10b.png", "A9.png", "a010.png"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    found = [path.name for path in in_order(tmp_path)]
    assert sorted(found) == sorted(names)
    assert found.index("2.png") < found.index("10.png")
    assert found.index("a2.png") < found.index("A9.png") < found.index("a10.png") < found.index("B1.png")


def test_arrays(tmp_path):
    keypoints = np.random.default_rng(0).uniform(0, 9, (6, 17, 2))
    np.save(tmp_path / "a.npy", keypoints)
    video = read_keypoints(tmp_path / "a.npy", "coco17")
    np.testing.assert_array_equal(video["keypoints"], keypoints)
    assert video.keys() == {"keypoints", "skeleton"}

    scores, visible = keypoints[..., 0], keypoints[..., 1] > 5
    np.savez(tmp_path / "a.npz", keypoints=keypoints, scores=scores, visible=visible, skeleton="lsp14", other=3)
    video = read_keypoints(tmp_path / "a.npz")
    np.testing.assert_array_equal(video["scores"], scores)
    np.testing.assert_array_equal(video["keypoints"], np.where(visible[..., None], keypoints, np.nan))
    assert video["skeleton"] == "lsp14"
    assert video.keys() == {"keypoints", "scores", "skeleton"}
    assert read_keypoints(tmp_path / "a.npz", "coco17")["skeleton"] == "coco17"  # what the caller says counts
    np.savez(tmp_path / "b.npz", keypoints=keypoints, skeleton=["a", "b"])
    assert read_keypoints(tmp_path / "b.npz")["skeleton"] == ["a", "b"]
    np.savez(tmp_path / "c.npz", keypoints=keypoints, visible=visible[:5])
    with pytest.raises(ValueError, match=r"c.npz: expected visible \(6, 17\), got \(5, 17\)"):
        read_keypoints(tmp_path / "c.npz")


# ---------------------------------------------------------------------------------------------------------------------
# Several people


def test_the_largest_person_is_followed_whatever_the_order(tmp_path):
    random = np.random.default_rng(3)
    frames, expected = [], []
    for number in range(8):
        small = person(0, 18, x=400) * np.array([0.5, 0.5, 1])
        people = [person(number, 18), small, small + np.array([90, 0, 0])]
        frames.append([people[k] for k in random.permutation(3)])
        expected.append(people[0])
    openpose(tmp_path, frames)
    with pytest.warns(
        UserWarning, match="up to 3 people in a frame; the largest one, summed over all frames, is tracked"
    ):
        check(read_keypoints(tmp_path), expected)


def test_another_person_does_not_continue_the_track(tmp_path):
    other = person(0, 18, x=900)
    openpose(tmp_path, [[person(0, 18)], [other], [other, person(2, 18)]])
    with pytest.warns(UserWarning, match="up to 2 people"):
        check(read_keypoints(tmp_path), [person(0, 18), None, person(2, 18)])


def test_people_without_keypoints_in_common(tmp_path):
    first, second = person(0, 18), person(1, 18)
    first[9:], second[:9] = 0, 0
    far = person(0, 18, x=600)
    far[:9] = 0
    openpose(tmp_path, [[first], [far, second]])
    with pytest.warns(UserWarning, match="up to 2 people"):
        check(read_keypoints(tmp_path), [first, second])


def test_a_person_without_visible_keypoints_is_left_out(tmp_path):
    openpose(tmp_path, [[person(0, 18)], [np.zeros((18, 3))], [person(2, 18)]])
    check(read_keypoints(tmp_path), [person(0, 18), None, person(2, 18)])


@pytest.mark.skipif(not POSE2SIM.exists(), reason="the recording of pose2sim is not here")
@pytest.mark.parametrize("camera", [1, 2, 3, 4])
def test_real_detections_of_openpose(camera):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        video = read_keypoints(POSE2SIM / f"cam0{camera}_json", "body25b")
    assert video["keypoints"].shape == (100, 25, 2)
    seen = video["scores"] > 0.3
    heads = video["keypoints"][seen[:, 18], 18]
    # one man, not the woman behind him: nothing jumps. His height is 700 pixels and more
    assert np.nanmax(np.linalg.norm(np.diff(heads, axis=0), axis=1)) < 100
    points = np.where(seen[..., None], video["keypoints"], np.nan)[seen.any(axis=1)]
    assert np.median(np.nanmax(points[..., 1], axis=1) - np.nanmin(points[..., 1], axis=1)) > 600


# ---------------------------------------------------------------------------------------------------------------------
# Every mistake


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], "there is nobody in it"),
        ({"images": [], "annotations": []}, "there is nobody in it"),
        ({}, "expected COCO results"),
        ({"annotations": [result(0, person())]}, "or COCO annotations with images"),
        ([1, 2], "expected COCO results"),
        ("text", "expected COCO results"),
        ([{"keypoints": [1, 2, 3]}], "expected COCO results"),
        ([{"image_id": 0, "bbox": [1, 2, 3, 4]}], "expected COCO results"),
        ([{"image_id": 0, "keypoints": [1, 2, 3, 4]}], r"expected keypoints \[x1, y1, score1.*got \[1, 2, 3, 4\]"),
        ([{"image_id": 0, "keypoints": []}], r"expected keypoints \[x1, y1, score1, x2, ...\], got \[\]"),
        ([{"image_id": 0, "keypoints": ["a", 2, 3]}], r"expected keypoints \[x1"),
        ([result(0, person()), result(1, person(0, 14))], r"equally many keypoints, got \[14, 17\]"),
        ([result(0, person()), result(400, person())], "only 2 of 401 numbers"),
        ({"images": [{"id": 1}], "annotations": [result(2, person())]}, "image_id 2 is not one of its images"),
        ({"people": [{"pose_keypoints_3d": []}]}, "expected OpenPose's people"),
        ({"people": []}, "there is nobody in it"),
        ({"people": 3}, "expected OpenPose's people"),
    ],
)
def test_wrong_json(tmp_path, content, says):
    file = write(tmp_path / "people.json", content)
    with pytest.raises(ValueError, match=says) as caught:
        read_keypoints(file)
    assert str(file) in str(caught.value)


def test_wrong_files(tmp_path):
    def fails(path, says):
        with pytest.raises(ValueError, match=says) as caught:
            read_keypoints(path)
        assert str(path) in str(caught.value)

    fails(tmp_path / "nowhere.json", "there is no such file or folder")
    fails(tmp_path, "expected OpenPose's .json files in this folder, one per frame; found none")
    (tmp_path / "text.json").write_text("[1, 2")
    fails(tmp_path / "text.json", "cannot be read as JSON")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    fails(tmp_path / "bytes.json", "cannot be read as JSON")
    (tmp_path / "video.mp4").touch()
    fails(tmp_path / "video.mp4", "expected .json, .npz, .npy, .csv, .h5, or a folder")
    for name in ("a.npz", "a.npy"):
        (tmp_path / name).write_bytes(b"nonsense")
        fails(tmp_path / name, "is damaged, or holds objects")
        (tmp_path / name).write_bytes(b"")
        fails(tmp_path / name, "is damaged, or holds objects")
    np.savez(tmp_path / "b.npz", points=np.zeros(3))
    fails(tmp_path / "b.npz", "expected an array called keypoints, found points")
    np.save(tmp_path / "c.npy", np.array([{}]), allow_pickle=True)
    fails(tmp_path / "c.npy", "is damaged, or holds objects")
    folder = openpose(tmp_path / "json", [[person(0, 18)], [person(1, 18)]])
    (folder / "video_2.json").write_text("{")
    with pytest.raises(ValueError, match=r"video_2\.json cannot be read"):
        read_keypoints(folder)
