"""Videos through `posezoo.predict` and `posezoo.lift`, in Python and on the command line; ids and smoothing."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import fails, run
from PIL import Image

import posezoo
from posezoo.contract import PoseModel
from posezoo.crops import keypoint_box
from posezoo.data.filters import one_euro_filter
from posezoo.data.mocap import read_bvh
from posezoo.geometry import box_to_crop, crop, crop_matrix
from posezoo.lifting import predict_single_person
from posezoo.people import People
from posezoo.prediction import predict_stream
from posezoo.skeletons import get_skeleton
from posezoo.tracking import smoothed, with_ids
from posezoo.video import VideoWriter, read_video, write_video

av = pytest.importorskip("av", reason="videos need PyAV: pip install 'posezoo[video]'")

SIZE = (96, 128)
FPS = 10


def scene(t, people=1):
    """Bright blocks on grey that walk to the right, 40 pixels apart."""
    image = np.full((*SIZE, 3), 60, np.uint8)
    for n in range(people):
        left = 8 + 40 * n + 2 * t
        image[20:80, left : left + 24] = (220, 60 * n, 200)
    return image


def noise(t):
    return np.random.default_rng(t).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def blocks(images):
    """A detector of these blocks, from right to left."""
    results = []
    for image in images:
        columns = np.flatnonzero((image[0] > 0.6).any(dim=0).numpy())
        parts = np.split(columns, np.flatnonzero(np.diff(columns) > 8) + 1) if len(columns) else []
        boxes = [[part[0], 20.0, part[-1] + 1, 80.0] for part in parts][::-1]
        results.append((np.reshape(boxes, (-1, 4)), np.full(len(boxes), 0.9)))
    return results


class Finder(PoseModel):
    """Keypoints in a row along the diagonal of what is bright, with steps."""

    input_size = (64, 64)

    def __init__(self):
        super().__init__()
        self.set_keypoints(17, "h36m17")
        self.dummy = torch.nn.Parameter(torch.zeros(1))

    def predict(self, image, *, flip=False):
        keypoints = torch.zeros(len(image), 17, 2)
        along = torch.linspace(0, 1, 17)
        for n, bright in enumerate(image[:, 0] > 0.6):
            if bright.any():
                y, x = bright.nonzero().float().T
                keypoints[n, :, 0] = x.min() + along * (x.max() - x.min())
                keypoints[n, :, 1] = y.min() + (5 * along % 1) * (y.max() - y.min())
        return keypoints, torch.full((len(image), 17), 0.9)


@pytest.fixture(scope="module")
def model():
    return Finder()


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names of a small image network and of a small lifter on disk."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    posezoo.create("hrnet_w32", width=2, num_keypoints=17, skeleton="h36m17").save_pretrained(folder / "image")
    posezoo.create("martinez", linear_size=16, frame="person").save_pretrained(folder / "lifter")
    return f"local-dir:{folder / 'image'}", f"local-dir:{folder / 'lifter'}"


@pytest.fixture
def clip(tmp_path):
    write_video(tmp_path / "clip.mp4", map(scene, range(6)), fps=FPS)
    return tmp_path / "clip.mp4"


def images_of(path):
    return [image for image, _ in read_video(path)]


# --------------------------------------------------------------------------------------------------------- predict


def test_a_video_is_predicted_as_its_frames_are(clip, model):
    everyone = posezoo.predict(str(clip), model)
    assert [people.time for people in everyone] == pytest.approx([k / FPS for k in range(6)])
    assert all(people.image is None for people in everyone)
    for people, expected in zip(everyone, posezoo.predict(images_of(clip), model), strict=True):
        np.testing.assert_array_equal(people.keypoints, expected.keypoints)
    streamed = list(predict_stream(read_video(clip, fps=5), model, batch_size=2))
    assert [people.time for people in streamed] == pytest.approx([0, 0.2, 0.4])
    np.testing.assert_array_equal(streamed[1].keypoints, everyone[2].keypoints)


def test_frames_are_decoded_as_they_are_needed(clip, model, monkeypatch):
    taken = []
    frames = (taken.append(frame.time) or frame for frame in read_video(clip))
    stream = predict_stream(frames, model, batch_size=2, detector=blocks)
    next(stream)
    assert len(taken) == 2
    nobody = predict_stream((np.zeros((*SIZE, 3), np.uint8) for _ in range(9)), model, batch_size=2, detector=blocks)
    assert len(next(nobody)) == 0


def test_boxes_of_each_frame(clip, model):
    boxes = [[[8 + 2 * t, 20, 32 + 2 * t, 80]] for t in range(6)]
    given = posezoo.predict(clip, model, boxes)
    detected = posezoo.predict(clip, model, detector=blocks)
    for a, b in zip(given, detected, strict=True):
        np.testing.assert_allclose(a.boxes, b.boxes, atol=2)
    with pytest.raises(ValueError, match="got them for 3"):
        posezoo.predict(clip, model, boxes[:3])


def test_a_video_that_varies_or_is_rotated_or_broken(tmp_path, model):
    with VideoWriter(tmp_path / "uneven.mp4", 10) as writer:
        for t, time in enumerate((0, 0.1, 0.15, 0.5)):
            writer.write(scene(t), time)
    assert [people.time for people in posezoo.predict(tmp_path / "uneven.mp4", model)] == pytest.approx(
        [0, 0.1, 0.15, 0.5]
    )
    assert len(predict_single_person(tmp_path / "uneven.mp4", model)) == 4
    lifter = posezoo.create("martinez", linear_size=16, frame="person").eval()
    assert len(posezoo.lift(tmp_path / "uneven.mp4", lifter, image_model=model, fps=10, min_score=-1)) == 6  # constant
    (tmp_path / "empty.mp4").write_bytes(b"")
    for call in (posezoo.predict, posezoo.lift):
        with pytest.raises(ValueError, match=r"empty\.mp4"):
            call(tmp_path / "empty.mp4")
        with pytest.raises(ValueError, match=r"nowhere\.mp4: no such file"):
            call(tmp_path / "nowhere.mp4")


@pytest.mark.parametrize("second", [0.5, None])
def test_times_have_to_increase(tmp_path, second):
    def write():
        with VideoWriter(tmp_path / "a.mp4", 10) as writer:
            writer.write(scene(0), 0.5)
            writer.write(scene(1), second)

    with pytest.raises(ValueError, match="time: frame 1"):
        write()
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------------- ids, smoothing


def test_people_keep_their_ids(tmp_path, model):
    write_video(tmp_path / "two.mp4", (scene(t, people=1 if t == 3 else 2) for t in range(6)), fps=FPS)
    everyone = posezoo.predict(tmp_path / "two.mp4", model, detector=blocks, track=True)
    assert [len(people) for people in everyone] == [2, 2, 2, 1, 2, 2]
    for people in everyone:  # from right to left
        assert people.ids.tolist() == [1, 0][-len(people) :]
    assert everyone[0][1].ids.tolist() == [0]
    assert [person["id"] for person in everyone[0].to_dict()["people"]] == [1, 0]
    assert [person["track_id"] for person in everyone[0].to_coco()] == [1, 0]
    drawn = everyone[0].draw(scene(0, 2), threshold=0)
    assert (drawn != everyone[0].__class__(**{**vars(everyone[0]), "ids": None}).draw(scene(0, 2), threshold=0)).any()


def test_smoothing_is_the_filter_of_each_person(clip, model):
    rough = posezoo.predict(clip, model, detector=blocks)
    smooth = posezoo.predict(clip, model, detector=blocks, smooth="one-euro")
    points = np.stack([people.keypoints[0] for people in rough])
    height = rough[0].boxes[0, 3] - rough[0].boxes[0, 1]
    expected = one_euro_filter(points.astype(float), FPS, beta=0.01 * 300 / height)
    np.testing.assert_allclose(np.stack([people.keypoints[0] for people in smooth]), expected, atol=1e-3)
    assert smooth[0].ids.tolist() == [0]


def test_a_person_who_was_gone_begins_anew():
    def at(x, time):
        box = np.array([[x, 0.0, x + 40, 300]])
        return People(box.reshape(1, 2, 2), np.ones((1, 2)), box, None, (400, 400), ids=np.array([0]), time=time)

    frames = [at(10, 0.0), at(14, 0.1), at(90, 1.5)]
    assert [round(float(people.keypoints[0, 0, 0]), 1) for people in smoothed(frames)][::2] == [10.0, 90.0]
    with pytest.raises(ValueError, match="with_ids"):
        next(smoothed([People(np.zeros((1, 2, 2)), np.ones((1, 2)), np.ones((1, 4)), None, (9, 9))]))
    assert [people.ids.tolist() for people in with_ids(frames[:2])] == [[0], [0]]


def test_wrong_options(clip, model):
    with pytest.raises(ValueError, match="one-euro"):
        posezoo.predict(clip, model, smooth="kalman")
    with pytest.raises(ValueError, match="one-euro"):
        posezoo.lift(clip, smooth="kalman")
    with pytest.raises(ValueError, match="leave out track"):
        predict_stream([scene(0)], model, track=True, damaged="yield")
    with pytest.raises(ValueError, match=r"'photo\.jpg'"):
        predict_stream("photo.jpg", model)


# ------------------------------------------------------------------------------------------------------------- lift


def test_a_video_is_lifted_as_its_keypoints_are(clip, model):
    lifter = posezoo.create("martinez", linear_size=16, frame="person").eval()
    poses = posezoo.lift(clip, lifter, image_model=model, min_score=-1)
    people = predict_single_person(images_of(clip), model)
    expected = posezoo.lift(people, lifter, min_score=-1)
    np.testing.assert_array_equal(poses.pose3d, expected.pose3d)
    assert (poses.fps, expected.fps) == (FPS, 25.0)
    smooth = posezoo.lift(clip, lifter, image_model=model, min_score=-1, smooth="one-euro")
    np.testing.assert_allclose(smooth.pose3d, one_euro_filter(poses.pose3d, FPS, beta=0.002), rtol=1e-4, atol=0.01)
    with pytest.raises(ValueError, match="expected a video"):
        posezoo.lift(people, lifter, detector=blocks)


def test_the_largest_person_is_lifted(tmp_path, model):
    def two(t):
        image = scene(t, 0)
        image[20:80, 8 + 2 * t : 32 + 2 * t] = 220
        image[40:80, 90:100] = 220
        return image

    write_video(tmp_path / "two.mp4", [two(t) if t != 2 else scene(t, 0) for t in range(5)], fps=FPS)
    people = predict_single_person(tmp_path / "two.mp4", model, detector=blocks)
    assert [len(person) for person in people] == [1] * 5
    assert (people[2].scores == 0).all()
    detected = posezoo.predict(tmp_path / "two.mp4", model, detector=blocks)
    for n in (0, 1, 3, 4):
        assert any(np.array_equal(people[n].keypoints[0], keypoints) for keypoints in detected[n].keypoints)
    write_video(tmp_path / "none.mp4", [scene(0, 0)] * 3, fps=FPS)
    with pytest.raises(ValueError, match="nobody was found in 3 frames"):
        predict_single_person(tmp_path / "none.mp4", model, detector=blocks)


@pytest.mark.parametrize("flip", [False, True])
def test_rpsm_runs_frame_by_frame_as_on_the_whole_clip(clip, model, flip):
    torch.manual_seed(0)
    rpsm = posezoo.create("rpsm", size=(64, 64), width=16, hidden=32).eval()
    with torch.no_grad():
        for values in rpsm.adaption.parameters():
            values.mul_(10)  # so that the poses of the frames differ
    poses = posezoo.lift(clip, rpsm, image_model=model, flip=flip)
    assert poses.pose3d.shape == (6, 17, 3)
    assert (poses.skeleton.name, poses.input_skeleton.name, poses.fps) == ("h36m17", "h36m17", FPS)

    # the boxes of the keypoints, filtered over a window that is longer than the clip
    people = predict_single_person(clip, model, flip=flip)
    own = np.array([keypoint_box(person) for person in people])
    frames = torch.from_numpy(own)
    padded = torch.cat([frames[:1].expand(4, 4), frames, frames[-1:].expand(4, 4)])
    boxes = padded.unfold(0, 9, 1).median(dim=-1).values.float()
    crops = []
    for image, box in zip(images_of(clip), boxes, strict=True):
        center, extent = box_to_crop(box[None], (64, 64), padding=rpsm.padding)
        pixels = torch.from_numpy(image).movedim(-1, 0).float() / 255
        crops.append(crop(pixels, crop_matrix(center, extent, (64, 64)), (64, 64)).clamp(0, 1))
    expected, _ = rpsm.predict(torch.stack(crops, dim=1), flip=flip)
    np.testing.assert_allclose(poses.pose3d, expected[0], atol=1e-2)  # mm
    assert np.abs(poses.pose3d - poses.pose3d[:1]).max() > 1
    with pytest.raises(ValueError, match="takes videos, not keypoints"):
        posezoo.lift(np.zeros((5, 17, 2)), rpsm, skeleton="h36m17")


def test_bvh_has_the_poses(tmp_path):
    skeleton = get_skeleton("h36m17")
    random = np.random.default_rng(0)
    rest = random.normal(0, 200, (17, 3))
    rest -= rest[0]
    turns = np.linalg.qr(random.normal(size=(4, 3, 3)))[0]
    turns *= np.linalg.det(turns)[:, None, None]  # rotations
    rigid = np.einsum("tij,kj->tki", turns, rest)
    walk = posezoo.lift(**{k: v for k, v in posezoo.data.sample_video().items() if k == "keypoints"}, skeleton="h36m17")
    for pose3d, tolerance in ((rigid, 0.05), (walk.pose3d, 60)):
        poses = posezoo.Poses3D(
            pose3d, skeleton, np.zeros((len(pose3d), 17, 2)), np.zeros((len(pose3d), 17)), skeleton, 50
        )
        motion = read_bvh(poses.save(tmp_path / "a.bvh").read_text(), unit=10)
        assert motion.fps == 50
        names = [name.removesuffix("_end") for name in motion.joints if not name.endswith("_end")]
        expected = pose3d[:, [skeleton.keypoints.index(name) for name in names]] * [1, -1, -1]
        there = motion.positions[:, [motion.joints.index(name) for name in names]].numpy()
        assert np.linalg.norm(there - expected, axis=-1).mean() < tolerance
    circle = posezoo.Skeleton("circle", ("a", "b", "c"), bones=((0, 1), (1, 2), (2, 0)))
    with pytest.raises(ValueError, match="tree"):
        posezoo.Poses3D(np.ones((2, 3, 3)), circle, np.ones((2, 3, 2)), np.ones((2, 3)), circle).save(
            tmp_path / "b.bvh"
        )
    with pytest.raises(ValueError, match="leave out the frames"):
        poses.save(tmp_path / "a.bvh", [])
    with pytest.raises(ValueError, match="expected a name that ends in"):
        poses.save(tmp_path / "a.fbx")


# ----------------------------------------------------------------------------------------------------- command line


def test_predict_writes_a_video_and_json_of_each_frame(capsys, tmp_path, clip, names):
    out, results = tmp_path / "out", tmp_path / "coco.json"
    options = ["--model", names[0], "--detector", "none", "--track", "--threshold", 0, "--json", results]
    code, said, err = run(capsys, "predict", clip, "--out", out, *options)
    assert (code, err) == (0, "")
    assert said == f"{clip}: 6 frames, 1 people per frame, 1 id, drawn in {out / 'clip.mp4'}\n"
    drawn = read_video(out / "clip.mp4")
    assert (drawn.size, drawn.fps) == (SIZE, FPS)
    assert [time for _, time in drawn] == pytest.approx([k / FPS for k in range(6)])
    assert np.abs(images_of(out / "clip.mp4")[3].astype(int) - images_of(clip)[3]).max() > 60
    frames = json.loads((out / "clip.json").read_text())
    assert [(frame["frame"], frame["time"], frame["people"][0]["id"]) for frame in frames] == [
        (k, k / 10, 0) for k in range(6)
    ]
    expected = posezoo.predict(clip, names[0], detector=None)
    np.testing.assert_allclose(frames[4]["people"][0]["keypoints"], expected[4].keypoints[0], atol=1e-2)
    coco = json.loads(results.read_text())
    assert [(person["image_id"], person["frame"], person["track_id"]) for person in coco] == [
        (k, k, 0) for k in range(6)
    ]
    assert sorted(path.name for path in out.iterdir()) == ["clip.json", "clip.mp4"]


def test_photos_and_videos_together(capsys, tmp_path, clip, names):
    Image.fromarray(scene(0)).save(tmp_path / "photo.png")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    results = tmp_path / "coco.json"
    code, said, err = run(capsys, "predict", tmp_path / "photo.png", tmp_path / "broken.mp4", clip, "--out", tmp_path,
                          "--model", names[0], "--json", results)  # fmt: skip
    assert code == 1
    assert "broken.mp4 cannot be read as a video" in err
    assert "1 of 3 inputs could not be read" in err
    assert f"drawn in {tmp_path / 'clip-2.mp4'}" in said  # the video itself is left alone
    assert [person["image_id"] for person in json.loads(results.read_text())] == list(range(7))
    assert "for videos" in fails(capsys, "predict", tmp_path / "photo.png", "--track")


def test_a_webcam_that_is_not_there(capsys, tmp_path):
    assert "webcam 77" in fails(capsys, "predict", "77", "--out", tmp_path)


def test_a_broken_end_is_a_warning(capsys, tmp_path, names):
    path = tmp_path / "long.mkv"  # the index of an MP4 is at its end
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for t in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise(t), format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
    code, said, err = run(capsys, "predict", path, "--model", names[0], "--no-second-pass")
    assert code == 0
    assert err.startswith("posezoo: warning: ")
    assert "damaged or ends early" in err
    assert int(said.partition(": ")[2].partition(" ")[0]) < 40


def test_lift_goes_all_the_way(capsys, tmp_path, clip, names):
    image, lifter = names
    options = ["--model", lifter, "--image-model", image, "--min-score", -1, "--smooth", "one-euro"]
    code, said, err = run(capsys, "lift", clip, "--out", tmp_path / "out", *options)
    assert (code, err) == (0, "")
    assert said == f"{clip}: 6 frames, drawn in {tmp_path / 'out' / 'clip.mp4'}\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "clip.bvh",
        "clip.json",
        "clip.mp4",
        "clip.png",
    ]
    drawn = read_video(tmp_path / "out" / "clip.mp4")
    assert (drawn.size, drawn.fps, drawn.num_frames) == ((256, 1024), FPS, 6)
    poses = json.loads((tmp_path / "out" / "clip.json").read_text())
    expected = posezoo.lift(clip, lifter, image_model=image, min_score=-1, smooth="one-euro")
    np.testing.assert_allclose(poses["pose3d"], expected.pose3d, atol=1e-2)
    assert poses["fps"] == FPS
    assert len(read_bvh((tmp_path / "out" / "clip.bvh").read_text(), unit=10).positions) == 6
    code, said, _ = run(capsys, "lift", clip, "--out", clip.parent, *options, "--formats", "mp4", "gif", "--fps", 5)
    assert f"drawn in {clip.parent / 'clip-2.mp4'}" in said
    with Image.open(clip.parent / "clip.gif") as animation:
        assert (animation.n_frames, animation.info["duration"]) == (3, 200)
    assert "--skeleton" in fails(capsys, "lift", clip, "--skeleton", "coco17")


PEAK = """
import resource, sys, torch
from posezoo.contract import PoseModel
from posezoo.prediction import predict_stream
from posezoo.video import VideoWriter, read_video

class Centre(PoseModel):
    input_size = (16, 16)
    def __init__(self):
        super().__init__()
        self.set_keypoints(17, "coco17")
        self.dummy = torch.nn.Parameter(torch.zeros(1))
    def predict(self, image, *, flip=False):
        return torch.full((len(image), 17, 2), 8.0), torch.full((len(image), 17), 0.9)

stream = predict_stream(read_video(sys.argv[1]), Centre(), second_pass=False, track=True, smooth="one-euro")
print(sum(len(people) for people in stream), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow  # half a minute
def test_memory_does_not_grow_with_the_length(tmp_path):
    """Peak memory over 10,000 frames and over 500."""
    peaks = []
    for count in (500, 10_000):
        frames = (np.full((64, 48, 3), t % 250, np.uint8) for t in range(count))
        write_video(tmp_path / "clip.mp4", frames, fps=100)
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(tmp_path / "clip.mp4")], capture_output=True, text=True, check=True,
            cwd=Path(__file__).parents[1],
        )  # fmt: skip
        people, peak = done.stdout.split()
        assert int(people) == count
        peaks.append(float(peak))
    assert peaks[1] < peaks[0] + 20, peaks  # MB; the images alone are 92
