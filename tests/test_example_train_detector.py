"""The person detector's training: composed pictures, their labels, targets, and average precision."""

import json

import numpy as np
import pytest
import torch
from running_examples import load_example
from torch.testing import assert_close

from posezoo.person_detector import PersonNetwork, boxes_of

SIDE = 48  # pixels of a render


@pytest.fixture(scope="module")
def example():
    return load_example("train_detector")


@pytest.fixture(scope="module")
def renders(tmp_path_factory):
    """Red people of 30 x 40 pixels, on blue."""
    folder = tmp_path_factory.mktemp("renders")
    masks = np.zeros((3, SIDE, SIDE), np.uint8)
    masks[:, 4:44, 9:39] = 1
    images = np.zeros((3, 3, SIDE, SIDE), np.uint8)
    images[:, 0], images[:, 2] = 255 * masks, 255 * (1 - masks)
    np.save(folder / "images.npy", images)
    np.save(folder / "masks.npy", np.packbits(masks, axis=2))
    return folder


def composites(photographs, renders=None, **options):
    from composites import Composites
    from data_sources import open_data, source

    return Composites(open_data([source(photographs)], "train", images=(1, 12)), renders, size=96, count=30, **options)


def test_composed_pictures_repeat_with_a_seed_and_have_labels_inside(photographs, renders, monkeypatch):
    monkeypatch.setattr("composites.FEWEST", 12)
    pictures = composites(photographs, renders, seed=1)
    assert len(pictures.rows) == 11  # one of the twelve lacks too many joints
    people = 0
    for index in range(len(pictures)):
        sample = pictures[index]
        boxes = sample["boxes"][sample["boxes"].isfinite().all(dim=1)]
        assert sample["image"].shape == (3, 96, 96)
        assert sample["doubt"].shape == (12, 12)
        assert ((boxes >= 0) & (boxes <= 96)).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        people += len(boxes)
    assert people > len(pictures)
    assert_close(pictures[3]["image"], pictures[3]["image"])
    newly = composites(photographs, renders)
    assert not torch.equal(newly[3]["image"], newly[3]["image"])


def test_pasted_people_are_where_their_boxes_are(photographs, renders, monkeypatch):
    import composites as module

    monkeypatch.setattr(module, "PATTERN", 1.0)  # no photographs
    monkeypatch.setattr(module, "PASTED", 1.0)
    monkeypatch.setattr(module, "MOST_PASTED", 1)
    found = 0
    pictures = composites(photographs, renders, seed=5)
    for index in range(20):
        sample = pictures[index]
        assert (sample["doubt"] != module.DOUBTFUL).all()  # nobody else can be in a drawn pattern
        for x1, y1, x2, y2 in sample["boxes"][sample["boxes"].isfinite().all(dim=1)].long().tolist():
            inside = sample["image"][:, y1 + 1 : y2 - 1, x1 + 1 : x2 - 1]
            red = (inside[0] > 0.5) & (inside[2] < 0.2)
            found += bool(red.float().mean() > 0.9)
    assert found >= 8  # the others are grey pictures


def test_hidden_people_have_no_box(photographs):
    from composites import IGNORED, Canvas, add, labels

    canvas = Canvas(np.zeros((96, 96, 3), np.uint8), np.zeros((96, 96), np.uint8), np.full((96, 96), -1, np.int16))
    whole = (0, 0, 96, 96)
    add(canvas, np.array([10.0, 10, 50, 90]), whole)
    add(canvas, np.array([5.0, 5, 60, 70]), whole)  # in front of three quarters of the first
    add(canvas, np.array([80.0, 10, 120, 90]), whole)  # cut off at the right
    boxes = labels(canvas)
    assert [box.tolist() for box in boxes] == [[5, 5, 60, 70], [80, 10, 96, 90]]
    assert (canvas.doubt == IGNORED).sum() == 40 * 20  # what is seen of the first


def test_targets_are_decoded_to_the_boxes(example):
    boxes = torch.full((2, 3, 4), torch.nan)
    boxes[0, 0], boxes[0, 1] = torch.tensor([10.0, 20, 110, 200]), torch.tensor([100.0, 20, 130, 60])
    boxes[1, 0] = torch.tensor([0.0, 0, 14, 20])
    target, nearest, weight = example.targets(boxes, 32, 32)
    assert (target == 1).sum(dim=(1, 2)).tolist() == [2, 1]
    assert_close(weight.sum(dim=(1, 2)), torch.tensor([2.0, 1.0]))
    wanted = boxes.nan_to_num().gather(1, nearest.flatten(1)[..., None].expand(-1, -1, 4)).view(2, 32, 32, 4)
    middles = boxes_of(torch.zeros(2, 4, 32, 32))[..., :2]
    sides = torch.cat([middles - wanted[..., :2], wanted[..., 2:] - middles], dim=-1).movedim(-1, 1)
    logits = torch.logit(target[:, None].clamp(1e-4, 1 - 1e-4))
    perfect = example.batch_loss(
        lambda image: (logits, sides), {"image": None, "boxes": boxes, "doubt": torch.zeros(2, 32, 32)}
    )
    assert perfect < 0.1
    network = PersonNetwork(width=8)
    for (found, scores), real in zip(network.decode(logits, sides), (boxes[0, :2], boxes[1, :1]), strict=True):
        assert_close(found[scores > 0.9], real)


def test_nobody_is_punished_for_people_without_labels(example):
    logits = torch.full((1, 1, 4, 4), -9.0)
    logits[0, 0, 1, 1] = 3.0  # somebody is found there
    nobody = {"image": None, "boxes": torch.full((1, 2, 4), torch.nan)}
    outputs = logits, torch.ones(1, 4, 4, 4)
    losses = [
        example.batch_loss(lambda image: outputs, {**nobody, "doubt": torch.full((1, 4, 4), doubt)})
        for doubt in (0, 1, 2)
    ]
    assert losses[0] > 1
    assert losses[1] < 1e-3
    assert losses[2] == 0


def test_average_precision_of_boxes(example):
    near, far = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]]), torch.tensor([[50.0, 50, 60, 60]])
    # right, false, right, and a person found twice
    found = (torch.cat([near[:1], far, near[1:], near[:1] + 1]), torch.tensor([0.9, 0.8, 0.45, 0.2]))
    report = example.box_ap([found, (far[:0], torch.zeros(0))], [near, far])
    assert report["ap50"] == pytest.approx((1 + 2 / 3) / 3)
    assert (report["recall@0.5"], report["precision@0.5"]) == (pytest.approx(1 / 3), 0.5)
    assert report["recall@0.4"] == pytest.approx(2 / 3)
    assert_close(example.generalised_iou(near, near), torch.ones(2))
    assert example.generalised_iou(near[:1], near[1:]) == pytest.approx(-1 / 3)  # a third of the hull is between


def test_train_detector_and_resume(example, photographs, renders, tmp_path, capsys):
    arguments = [
        "--data", f"lspet:{photographs}", "--train-images", "1", "8", "--val-images", "9", "12", "--pictures", "4",
        "--test-pictures", "2",
        "--renders", str(renders), "--output", str(tmp_path), "--batch-size", "2", "--size", "64", "64",
    ]  # fmt: skip
    example.main([*arguments, "--epochs", "1"])
    report = example.main([*arguments, "--epochs", "2", "--resume"])
    assert "epoch 1:" in capsys.readouterr().out
    assert json.loads((tmp_path / "progress.json").read_text())["epochs_done"] == 2
    assert 0 <= report["ap50"] <= 1
    evaluation = load_example("evaluate_detector")
    scored = evaluation.main(["--detector", str(tmp_path / "model"), "--data", f"lspet:{photographs}",
                              "--images", "11", "12", "--pictures", "2"])  # fmt: skip
    assert scored["photographs"]["people"] == 2
    assert set(scored["composed"]) == set(report)


def test_photographs_with_annotations(photographs, tmp_path):
    """A detector with everything right: one person, one who is too small, and two in a crowd."""
    evaluation = load_example("evaluate_detector")
    rows = [([10, 10, 30, 60], 9, 0), ([50, 10, 5, 9], 0, 0), ([60, 60, 50, 50], 0, 1)]
    content = {
        "images": [{"id": 1, "file_name": "im00001.jpg"}],
        "annotations": [
            {"image_id": 1, "bbox": box, "num_keypoints": count, "iscrowd": crowd} for box, count, crowd in rows
        ],
    }
    (tmp_path / "people.json").write_text(json.dumps(content))
    boxes = torch.tensor([[10.0, 10, 40, 70], [50, 10, 55, 19], [62, 62, 90, 100], [80, 70, 105, 108]])
    reports = evaluation.annotated(
        lambda images: [(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]))], tmp_path / "people.json", photographs / "images"
    )
    assert reports["annotated"]["ap50"] == 1
    assert reports["annotated"]["people"] == 2
    assert reports["with keypoints"]["recall@0.5"] == reports["with keypoints"]["people"] == 1
