"""`posezoo lift`: every kind of video, what it writes, and that it writes all of a file or nothing."""

import json
import warnings

import numpy as np
import pytest
import torch
from command_line import fails, run
from PIL import Image

import posezoo
from posezoo.data.cmu import SAMPLE
from posezoo.metrics import mpjpe


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The name of a small lifter on disk."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    posezoo.create("martinez", linear_size=16, frame="person").save_pretrained(folder)
    return f"local-dir:{folder}"


@pytest.fixture
def keypoints():
    return np.random.default_rng(0).uniform(10, 90, (5, 17, 2))


@pytest.fixture
def npz(tmp_path, keypoints):
    np.savez(tmp_path / "clip.npz", keypoints=keypoints)
    return tmp_path / "clip.npz"


def frames_of(gif):
    with Image.open(gif) as image:
        return image.n_frames, image.size


def test_arrays_to_json_and_drawings(capsys, tmp_path, npz, keypoints, model):
    out, table = tmp_path / "deep" / "out", tmp_path / "other" / "poses.json"
    code, said, err = run(
        capsys, "lift", npz, "--out", out, "--model", model, "--skeleton", "coco17", "--json", table, "--fps", 10
    )
    assert (code, err) == (0, "")
    assert said == f"{npz}: 5 frames, drawn in {out / 'clip.gif'}\n"
    content = json.loads(table.read_text())
    expected = posezoo.lift(keypoints, model, skeleton="coco17")
    np.testing.assert_allclose(content["pose3d"], expected.pose3d, atol=1e-3)
    assert content["skeleton"] == "h36m17"
    assert frames_of(out / "clip.gif") == (5, (768, 256))
    with Image.open(out / "clip.gif") as image:
        assert image.info["duration"] == 100
    assert Image.open(out / "clip.png").size == (2 * 3 * 192, 3 * 192)
    assert sorted(path.name for path in out.iterdir()) == ["clip.gif", "clip.png"]
    assert [path.name for path in table.parent.iterdir()] == ["poses.json"]


def test_flip_reaches_the_model(capsys, npz, keypoints, model):
    code, said, _ = run(capsys, "lift", npz, "--model", model, "--skeleton", "coco17", "--json", "-", "--flip")
    assert code == 0
    flipped = posezoo.lift(keypoints, model, skeleton="coco17", flip=True).pose3d
    np.testing.assert_allclose(json.loads(said)["pose3d"], flipped, atol=1e-3)
    assert np.abs(flipped - posezoo.lift(keypoints, model, skeleton="coco17").pose3d).max() > 1


def test_json_on_the_standard_output_is_alone_there(capsys, tmp_path, npz, model):
    before = sorted(tmp_path.rglob("*"))
    code, said, err = run(capsys, "lift", npz, "--model", model, "--skeleton", "coco17", "--json", "-")
    assert code == 0
    assert np.shape(json.loads(said)["pose3d"]) == (5, 17, 3)
    assert err == f"{npz}: 5 frames\n"
    assert sorted(tmp_path.rglob("*")) == before  # nothing is written unasked


def test_files_that_predict_wrote(capsys, tmp_path, model):
    """`posezoo predict --json`, then `posezoo lift`."""
    for number in (9, 10):
        pixels = np.random.default_rng(number).integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"frame{number}.png")
    photos = [tmp_path / f"frame{number}.png" for number in (9, 10)]
    people = tmp_path / "people.json"
    assert run(capsys, "predict", *photos, "--json", people)[0] == 0
    options = ["--skeleton", "coco17", "--min-score", "-1", "--json", "-", "--model", model]
    code, said, err = run(capsys, "lift", people, *options)
    assert (code, err) == (0, f"{people}: 2 frames\n")
    expected = posezoo.lift(posezoo.predict(photos), model, min_score=-1)
    np.testing.assert_allclose(json.loads(said)["pose3d"], expected.pose3d, atol=0.01)


def test_a_folder_of_frames(capsys, tmp_path, model):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (2, 10, 1):
        pixels = np.random.default_rng(number).integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    options = ["--min-score", "-1", "--model", model, "--out", tmp_path / "out", "--box", 5, 5, 70, 55]
    code, said, _ = run(capsys, "lift", folder, *options)
    assert code == 0
    assert said == f"{folder}: 3 frames, drawn in {tmp_path / 'out' / 'frames.gif'}\n"
    assert frames_of(tmp_path / "out" / "frames.gif") == (3, (1024, 256))  # with the photographs


def test_a_folder_of_openpose(capsys, tmp_path, keypoints, model):
    folder = tmp_path / "json"
    folder.mkdir()
    for number, points in enumerate(keypoints):
        person = np.concatenate([points, np.full((17, 1), 0.8)], axis=1)
        person = np.concatenate([person, np.zeros((8, 3))]).ravel().tolist()
        (folder / f"{number}.json").write_text(json.dumps({"people": [{"pose_keypoints_2d": person}]}))
    # without the head's top its ears stand in, which makes it COCO's keypoints
    options = ["--skeleton", "body25b", "--json", "-", "--out", tmp_path / "out"]
    code, said, err = run(capsys, "lift", folder, "--model", model, *options)
    assert (code, err) == (0, f"{folder}: 5 frames, drawn in {tmp_path / 'out' / 'json.gif'}\n")
    assert frames_of(tmp_path / "out" / "json.gif") == (5, (768, 256))
    expected = posezoo.lift(keypoints, model, skeleton="coco17")
    np.testing.assert_allclose(json.loads(said)["pose3d"], expected.pose3d, atol=0.01)
    assert "coco17 has 17, got 25" in fails(capsys, "lift", folder, "--model", model, "--skeleton", "coco17")
    assert "body25 or body25b; say which" in fails(capsys, "lift", folder, "--model", model)


def test_gaps_are_warned_of(capsys, tmp_path, keypoints, model):
    scores = np.ones((5, 17))
    scores[2, 9] = 0.2
    np.savez(tmp_path / "gap.npz", keypoints=keypoints, scores=scores, skeleton="coco17")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code, _, err = run(capsys, "lift", tmp_path / "gap.npz", "--model", model)
        assert code == 0
        assert err.startswith("posezoo: warning: 1 of 85 keypoints are interpolated along time: left_wrist 1")
        assert err.count("\n") == 1
        assert run(capsys, "lift", tmp_path / "gap.npz", "--model", model, "--min-score", 0.2)[2] == ""


def test_one_frame(capsys, tmp_path, keypoints, model):
    np.savez(tmp_path / "one.npz", keypoints=keypoints[:1], skeleton="coco17")
    code, said, _ = run(capsys, "lift", tmp_path / "one.npz", "--model", model, "--out", tmp_path)
    assert code == 0
    assert "one.npz: 1 frame, drawn" in said
    assert frames_of(tmp_path / "one.gif")[0] == 1
    assert Image.open(tmp_path / "one.png").size == (2 * 3 * 192, 192)


def test_the_same_files_every_time(capsys, tmp_path, npz, model):
    for name in ("a", "b"):
        options = ["--model", model, "--skeleton", "coco17", "--out", tmp_path / name, "--json", tmp_path / name / "j"]
        assert run(capsys, "lift", npz, *options)[0] == 0
    for file in ("clip.gif", "clip.png", "j"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_no_file_is_half_done(capsys, tmp_path, npz, model, monkeypatch):
    """A drawing that fails in its third frame, over files of an earlier call."""
    out = tmp_path / "out"
    arguments = ["lift", npz, "--model", model, "--skeleton", "coco17", "--out", out]
    assert run(capsys, *arguments)[0] == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    draw, calls = posezoo.viz.draw_pose3d, []

    def failing(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise OSError("no space left")
        return draw(*args, **options)

    monkeypatch.setattr(posezoo.viz, "draw_pose3d", failing)
    assert "no space left" in fails(capsys, *arguments)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_mistakes_are_one_line(capsys, tmp_path, npz, keypoints, model):
    lift = ["lift", npz, "--model", model]
    assert "there is no such file" in fails(capsys, "lift", tmp_path / "nowhere.json", "--model", model)
    assert "say which keypoints these are" in fails(capsys, *lift)
    assert "Did you mean 'coco17'" in fails(capsys, *lift, "--skeleton", "coco")
    assert "flic11 has 11, got 17" in fails(capsys, *lift, "--skeleton", "flic11")
    assert "Did you mean 'martinez'" in fails(capsys, "lift", npz, "--model", "martines", "--skeleton", "coco17")
    assert "expected a positive number, got 0" in fails(
        capsys, *lift, "--skeleton", "coco17", "--fps", 0, "--out", tmp_path
    )
    assert "--box: for a video or" in fails(capsys, *lift, "--skeleton", "coco17", "--box", 1, 2, 3, 4)
    assert "--image-model: for a video" in fails(capsys, *lift, "--image-model", "simple_baseline_lite")
    assert "choose another place" in fails(capsys, *lift, "--skeleton", "coco17", "--json", npz)
    (tmp_path / "text").write_text("hello")
    assert "text" in fails(capsys, *lift, "--skeleton", "coco17", "--out", tmp_path / "text")
    assert "text" in fails(capsys, *lift, "--skeleton", "coco17", "--json", tmp_path / "text" / "a.json")
    np.savez(tmp_path / "nan.npz", keypoints=np.full((4, 17, 2), np.nan), skeleton="coco17")
    assert "which none of the 4 frames shows" in fails(capsys, "lift", tmp_path / "nan.npz", "--model", model)
    np.savez(tmp_path / "empty.npz", keypoints=keypoints[:0], skeleton="coco17")
    assert "there has to be a frame" in fails(capsys, "lift", tmp_path / "empty.npz", "--model", model)
    assert "config.json" in fails(capsys, *lift[:3], f"local-dir:{tmp_path}", "--skeleton", "coco17")


def test_mistakes_with_folders(capsys, tmp_path, model):
    folder = tmp_path / "frames"
    folder.mkdir()
    assert "there are neither images nor OpenPose's .json files" in fails(capsys, "lift", folder, "--model", model)
    Image.new("RGB", (20, 30)).save(folder / "1.png")
    before = (folder / "1.png").read_bytes()
    assert "choose another place" in fails(capsys, "lift", folder, "--model", model, "--out", folder)
    assert "choose another place" in fails(capsys, "lift", folder, "--model", model, "--json", folder / "a.json")
    assert "lies outside" in fails(capsys, "lift", folder, "--model", model, "--box", 100, 0, 120, 9)
    (folder / "a.json").write_text("{}")
    assert "there are both images and .json files" in fails(capsys, "lift", folder, "--model", model)
    assert (folder / "1.png").read_bytes() == before
    (folder / "a.json").unlink()
    (folder / "1.png").write_text("hello")
    assert "is damaged" in fails(capsys, "lift", folder, "--model", model)


def test_the_command_of_the_readme(capsys):
    """The shipped weights on the shipped video, of a subject unknown to them: 53 mm from the motion
    capture.
    """
    if not posezoo.list_pretrained("martinez"):
        pytest.skip("martinez has no published weights")
    code, said, err = run(capsys, "lift", SAMPLE, "--json", "-")
    assert (code, err) == (0, f"{SAMPLE}: 76 frames\n")
    truth = posezoo.data.sample_video()["pose3d"]
    error = mpjpe(torch.tensor(json.loads(said)["pose3d"]), truth - truth[:, :1])
    assert error.mean() < 80


def test_landmarks_of_mediapipe_need_the_size(capsys, tmp_path, model):
    marks = np.random.default_rng(0).uniform(0.2, 0.8, (5, 33, 2)).tolist()
    file = tmp_path / "marks.json"
    file.write_text(json.dumps([[{"x": x, "y": y, "visibility": 0.9} for x, y in frame] for frame in marks]))
    assert "fractions of the image" in fails(capsys, "lift", file, "--model", model)
    code, said, _ = run(capsys, "lift", file, "--model", model, "--size", 480, 640)
    assert (code, said) == (0, f"{file}: 5 frames\n")
    assert "--size" in fails(capsys, "lift", file, "--model", model, "--size", 0, 640)
