"""The default network's training: labels of a teacher, renders with faces, and its 19 keypoints."""

import numpy as np
import pytest
import scipy.io
import torch
from box_man import write_body, write_motions
from running_examples import load_example
from torch.testing import assert_close

import posezoo
from posezoo.skeletons import get_skeleton


@pytest.fixture(scope="module")
def example():
    return load_example("train_default")


@pytest.fixture(scope="module")
def landmarks(photographs, tmp_path_factory):
    """A teacher that has LSPET's joints by heart, and faces towards the camera but for the third
    person.
    """
    joints = scipy.io.loadmat(photographs / "joints.mat")["joints"].transpose(2, 0, 1)
    count = len(joints)
    points, world = np.full((count, 33, 2), 50.0, np.float32), np.zeros((count, 33, 3), np.float32)
    body = (28, 26, 24, 23, 25, 27, 16, 14, 12, 11, 13, 15)
    points[:, body] = joints[:, :12, :2] - 1
    points[:, [0, 2, 5, 7, 8]] = np.random.default_rng(0).uniform(20, 90, (count, 5, 2))
    world[:, 0] = (0, 0, -100)  # nose
    world[2, 0] = (0, 0, 100)
    world[:, 7], world[:, 8] = (80, 0, 0), (-80, 0, 0)  # left and right ear
    points[3, body] += 500  # a person that the teacher has wrong
    path = tmp_path_factory.mktemp("teacher") / "landmarks.npz"
    np.savez(path, landmarks=points, visibility=np.ones((count, 33), np.float32), world=world)
    return path


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    return write_body(tmp_path_factory.mktemp("people") / "body")


@pytest.fixture(scope="module")
def renders(body, tmp_path_factory):
    folder = tmp_path_factory.mktemp("renders")
    motions = write_motions(folder / "motions")
    load_example("render_people").main([
        "--body", str(body), "--motions", str(motions), "--output", str(folder / "out"), "--count", "6", "--size", "64",
        "--processes", "1",
    ])  # fmt: skip
    return folder / "out"


def test_rendered_people_have_bodies_and_faces(renders):
    images = np.load(renders / "images.npy", mmap_mode="r")
    labels = np.load(renders / "labels.npz")
    assert images.shape == (6, 3, 64, 64)
    assert images.std(axis=(1, 2, 3)).min() > 1
    assert labels["keypoints"].shape == (6, 22, 2)
    assert labels["pose3d"].shape == (6, 17, 3)
    assert labels["visible"][:, :17].all()
    names = (*get_skeleton("h36m17").keypoints, "nose", "left_eye", "right_eye", "left_ear", "right_ear")
    at = dict(zip(names, labels["keypoints"].transpose(1, 0, 2), strict=True))
    head = np.linalg.norm(at["head"] - at["neck_nose"], axis=-1)
    assert (np.linalg.norm(at["nose"] - at["head"], axis=-1) < 2 * head + 5).all()
    assert not labels["visible"][:, 17:].all()


def test_the_face_is_found_on_the_body_at_rest(body):
    tool = load_example("render_people")
    man = tool.Body(body)
    points, directions = tool.face_points(man, man.vertices)
    nose, left_eye, right_eye, left_ear, right_ear = points
    assert nose[2] == man.vertices[man.skin.argmax(dim=1) == man.bones.index("Head")][:, 2].max()
    assert left_eye[0] > 0 > right_eye[0]
    assert round(float(left_ear[0])) == 60
    assert round(float(right_ear[0])) == -60
    assert_close(directions.norm(dim=1), torch.ones(5))


def test_photographs_have_faces_where_the_teacher_agrees(example, photographs, landmarks):
    crop = posezoo.data.PersonCrop(size=(64, 64))
    people = example.Photographs(photographs, (1, 4, 7, 8), landmarks, crop, crop, 0.0)
    assert len(people) == 6
    for person in (0, 3):  # no torso to measure by; wrong: neither labelled nor absent
        assert not people.visible[person].any()
        assert not people.absent[person].any()
    assert people.visible[4].all()
    assert people.absent[2, :3].all()  # turned away: nose and eyes
    sample = people[4]
    assert sample["keypoints"].shape == (19, 2)
    assert sample["visible"][14:].all()
    assert len(sample["absent"]) == 19


def test_mirrored_crops_mirror_the_mask_of_absent_keypoints(example):
    skeleton = get_skeleton(example.BODY_AND_FACE)
    absent = torch.zeros(19, dtype=torch.bool)
    absent[skeleton.index("left_ear")] = True
    sample = {
        "image": torch.zeros(3, 64, 64, dtype=torch.uint8), "keypoints": 64 * torch.rand(19, 2),
        "visible": torch.ones(19, dtype=torch.bool), "box": torch.tensor([0.0, 0, 63, 63]),
    }  # fmt: skip
    for flip, side in ((1.0, "right_ear"), (0.0, "left_ear")):
        made = example.cropped(
            dict(sample), absent, posezoo.data.PersonCrop(size=(32, 32), skeleton=skeleton, flip=flip)
        )
        assert made["absent"].nonzero().flatten().tolist() == [skeleton.index(side)]


def test_the_loss_has_empty_maps_for_absent_keypoints(example):
    batch = {
        "image": torch.zeros(1, 3, 32, 32), "keypoints": torch.full((1, 2, 2), 16.0),
        "visible": torch.zeros(1, 2, dtype=torch.bool), "absent": torch.tensor([[True, False]]),
    }  # fmt: skip
    maps = torch.stack([torch.ones(8, 8), torch.full((8, 8), 7.0)])[None]
    assert_close(example.batch_loss(lambda image: maps, batch, sigma=2.0), torch.tensor(500 / 2.0))


def test_train_default_writes_three_networks(example, photographs, landmarks, renders, tmp_path):
    run = tmp_path / "run"
    common = ["--data", str(photographs), "--teacher", str(landmarks), "--renders", str(renders), "--size", "64", "64"]
    common += ["--train-images", "1", "4", "7", "8", "--val-images", "5", "6", "--workers", "0", "--batch-size", "4"]
    report = example.main([
        *common, "--output", str(run), "--init", "simple_baseline_lite.lsp14_192x192", "--epochs", "1",
        "--epoch-images", "8", "--share", "0.5",
    ])  # fmt: skip
    assert report["people"] == 2
    whole, lsp14, coco17 = (
        posezoo.create(f"local-dir:{run / name}", pretrained=True) for name in ("model", "lsp14", "coco17")
    )
    assert whole.skeleton.keypoints == example.BODY_AND_FACE
    assert (lsp14.skeleton.name, coco17.skeleton.name) == ("lsp14", "coco17")
    assert torch.equal(lsp14.final_layer.bias, whole.final_layer.bias[:14])
    rows = [whole.skeleton.index(name) for name in coco17.skeleton.keypoints]
    assert torch.equal(coco17.final_layer.weight, whole.final_layer.weight[rows])
    # the next size starts from all 19
    example.main([
        *common, "--output", str(tmp_path / "next"), "--init", f"local-dir:{run / 'model'}", "--epochs", "1",
        "--epoch-images", "4",
    ])  # fmt: skip


def test_the_teacher_predicts_upright_crops_in_pixels_of_the_photograph(photographs, tmp_path, monkeypatch):
    tool = load_example("../tools/label_with_teacher")

    class Landmark:
        def __init__(self, x, y, z=0.0):
            self.x, self.y, self.z, self.visibility = x, y, z, 0.5

    class Found:
        pose_landmarks = type("L", (), {"landmark": [Landmark(0.5, 0.5)] * 33})
        pose_world_landmarks = type("L", (), {"landmark": [Landmark(0.0, -0.5, 0.2)] * 33})

    class Teacher:
        def process(self, crop):
            assert crop.shape == (tool.SIDE, tool.SIDE, 3)
            return Found()

    monkeypatch.setattr(tool, "teacher", Teacher)
    output = tmp_path / "landmarks.npz"
    tool.main(["--data", str(photographs), "--images", "3", "4", "--output", str(output), "--processes", "1"])
    made = np.load(output)
    assert made["landmarks"].shape == (12, 33, 2)
    assert np.isfinite(made["landmarks"][2:4]).all()
    assert np.isnan(made["landmarks"][[0, 1, 4]]).all()
    joints = scipy.io.loadmat(photographs / "joints.mat")["joints"]
    for number in (2, 3):  # the middle of the crop is the middle of the turned joints
        known = joints[:, 2, number] > 0
        points = joints[known, :2, number] - 1
        assert (made["landmarks"][number, 0] > points.min(axis=0) - 1).all()
        assert (made["landmarks"][number, 0] < points.max(axis=0) + 1).all()
        assert_close(np.linalg.norm(made["world"][number, 0]), np.float32(np.hypot(500, 200)), rtol=1e-4, atol=0.0)


def test_upright_turns_the_torso_upwards():
    tool = load_example("../tools/label_with_teacher")
    keypoints = np.zeros((14, 2))
    keypoints[[2, 3]], keypoints[[8, 9]] = [[10, 40], [10, 60]], [[90, 40], [90, 60]]  # lying, head to the right
    matrix = tool.upright(keypoints, np.arange(14) > 1)
    moved = keypoints @ matrix[:, :2].T + matrix[:, 2]
    torso = moved[[8, 9]].mean(axis=0) - moved[[2, 3]].mean(axis=0)
    assert torso[1] < 0
    assert abs(torso[0]) < 1e-6 * abs(torso[1])
