"""The person detector's training: composed pictures, their labels, targets, and average precision."""

import json

import numpy as np
import pytest
import torch
from running_examples import load_example
from torch.testing import assert_close

import posezoo
from posezoo.person_detector import BINS, PersonNetwork, cells, load_network

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


@pytest.fixture
def people(tmp_path):
    """Labels of six photographs: somebody in each, and somebody who is doubtful."""
    numbers = np.arange(1, 7)
    boxes = np.tile(np.array([[0, 0, 12, 30], [14, 0, 20, 9]], np.float32), (6, 1))
    np.savez(tmp_path / "people.npz", number=numbers.repeat(2), box=boxes, score=np.tile([0.8, 0.3], 6), images=numbers)
    return tmp_path / "people.npz"


def composites(photographs, renders=None, labels=(), **options):
    from composites import Composites
    from data_sources import open_data, source

    people = open_data([source(photographs)], "train", images=(1, 12))
    return Composites(people, renders, labels, size=96, count=30, **options)


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
    monkeypatch.setattr(module, "COVERED", 0.0)
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


def test_hidden_people_have_no_box():
    from composites import FRONT, IGNORED, NOBODY, Canvas, add, labels

    canvas = Canvas(np.zeros((96, 96, 3), np.uint8), np.zeros((96, 96), np.uint8), np.full((96, 96), NOBODY, np.int16))
    whole = (0, 0, 96, 96)
    add(canvas, np.array([10.0, 10, 50, 90]), whole)
    add(canvas, np.array([60.0, 0, 100, 90]), whole)  # cut off at the right
    add(canvas, np.array([0.0, 70, 40, 95]), whole)
    canvas.owner[60:, :56] = FRONT  # a table: the third is behind it
    canvas.owner[60:62, :4] = NOBODY
    canvas.owner[72:76, 2:6] = NOBODY
    assert [box.tolist() for box in labels(canvas)] == [[10, 10, 50, 60], [60, 0, 96, 90]]
    rows, columns = np.nonzero(canvas.doubt == IGNORED)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (72, 75, 2, 5)  # what is seen of the third


def test_a_pattern_in_front_shortens_boxes(monkeypatch):
    from composites import NOBODY, Canvas, add, cover, labels

    shortened = 0
    for seed in range(20):
        canvas = Canvas(
            np.zeros((96, 96, 3), np.uint8), np.zeros((96, 96), np.uint8), np.full((96, 96), NOBODY, np.int16)
        )
        add(canvas, np.array([30.0, 10, 50, 90]), (0, 0, 96, 96))
        cover(canvas, np.random.default_rng(seed))
        for x1, y1, x2, y2 in labels(canvas):
            assert 30 <= x1 < x2 <= 50
            assert y1 == 10
            shortened += y2 < 90
    assert shortened > 3


def test_labels_of_everybody(photographs, renders, people):
    from composites import DOUBTFUL, read_labels, sorted_out

    labels = read_labels(people)
    assert sorted(labels) == [1, 2, 3, 4, 5, 6]
    assert labels[3][0].tolist() == [[0, 0, 12, 30], [14, 0, 20, 9]]
    pictures = composites(photographs, renders, [people], seed=2)
    assert {pictures._number(row) for row in pictures.rows} <= set(labels)
    doubts = torch.cat([pictures[index]["doubt"].flatten() for index in range(len(pictures))])
    assert (doubts != DOUBTFUL).all()
    assert (doubts != 0).any()
    # the detector's box of the labelled person is taken, a part of a person is not a second one
    own = np.array([10.0, 10, 30, 50])
    boxes = np.array([[8, 8, 32, 52], [60, 0, 80, 40], [12, 12, 20, 20], [90, 0, 99, 9], [70, 70, 80, 80]], np.float32)
    persons, doubtful = sorted_out(own, boxes, np.array([0.7, 0.6, 0.3, 0.3, 0.1]))
    assert persons.tolist() == [[8, 8, 32, 52], [60, 0, 80, 40]]
    assert doubtful.tolist() == [[90, 0, 99, 9]]
    persons, doubtful = sorted_out(own, boxes[:0], np.zeros(0))
    assert persons.tolist() == [own.tolist()]
    assert doubtful.shape == (0, 4)


def test_the_cells_of_a_person_are_those_that_fit_best(example):
    middles, strides = cells(64, 64)
    truth = torch.full((1, 3, 4), torch.nan)
    truth[0, 0], truth[0, 1] = torch.tensor([4.0, 4, 44, 60]), torch.tensor([40.0, 8, 62, 50])
    boxes = torch.cat([middles - 6, middles + 6], dim=1)[None].clone()
    inside = (middles > truth[0, 0, :2]).all(dim=1) & (middles < truth[0, 0, 2:]).all(dim=1)
    best = int((inside & (strides == 16)).nonzero()[0, 0])
    boxes[0, best] = truth[0, 0]
    scores = torch.full((1, len(middles)), 0.1)
    person, quality = example.assign(scores, boxes, truth, middles)
    assert quality[0, best] == pytest.approx(1)
    assert person[0, best] == 0
    chosen = quality[0] > 0
    for number in (0, 1):
        mine = chosen & (person[0] == number)
        assert 0 < mine.sum() <= example.CHOSEN
        low, high = truth[0, number, :2], truth[0, number, 2:]
        assert ((middles[mine] > low) & (middles[mine] < high)).all()
    assert (example.assign(scores, boxes, truth[:, 2:], middles)[1] == 0).all()


def perfect(boxes, middles, sure):
    """Outputs of a network that is certain in cells `sure` of one person."""
    scores = torch.where(sure, 9.0, -9.0)[None]
    return scores, boxes[0, :1].expand(len(middles), 4)[None]


def test_the_loss_is_low_where_the_network_is_right(example):
    middles, _ = cells(64, 64)
    boxes = torch.full((1, 2, 4), torch.nan)
    boxes[0, 0] = torch.tensor([10.0, 6, 50, 60])
    sure = torch.zeros(len(middles), dtype=torch.bool)
    sure[middles.sub(torch.tensor([30.0, 33.0])).norm(dim=1).argsort()[: example.CHOSEN]] = True
    batch = {"image": torch.zeros(1, 3, 64, 64), "boxes": boxes, "doubt": torch.zeros(1, 8, 8, dtype=torch.uint8)}
    right = example.batch_loss(lambda image: perfect(boxes, middles, sure), batch)
    assert right < 1e-3
    away = (middles - torch.tensor([30.0, 33.0])).abs().amax(dim=1) > 28  # outside of the box
    assert example.batch_loss(lambda image: perfect(boxes, middles, sure | away), batch) > 1
    assert example.batch_loss(lambda image: perfect(boxes + 9, middles, sure), batch) > 0.3


def test_nobody_is_punished_for_people_without_labels(example):
    middles, _ = cells(32, 32)
    scores = torch.full((1, len(middles)), -9.0)
    scores[0, 5] = 3.0  # somebody is found there
    outputs = scores, torch.cat([middles, middles + 1], dim=1)[None]
    nobody = {"image": torch.zeros(1, 3, 32, 32), "boxes": torch.full((1, 2, 4), torch.nan)}
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


def test_train_detector_and_resume(example, photographs, renders, people, tmp_path, capsys):
    start = posezoo.save_pretrained(PersonNetwork(width=4, neck=8, rank=0.5), tmp_path / "start")
    arguments = ["--start", str(start), "--labels", str(people),
        "--data", f"lspet:{photographs}", "--train-images", "1", "4", "--val-images", "5", "6", "--pictures", "4",
        "--test-pictures", "2",
        "--renders", str(renders), "--output", str(tmp_path), "--batch-size", "2", "--size", "64", "64",
        "--lr", "0.03", "--ema", "0",
    ]  # fmt: skip
    example.main([*arguments, "--epochs", "1"])
    report = example.main([*arguments, "--epochs", "2", "--resume"])
    assert "epoch 1:" in capsys.readouterr().out
    assert json.loads((tmp_path / "progress.json").read_text())["epochs_done"] == 2
    assert 0 <= report["ap50"] <= 1
    before, after = load_network(start), load_network(tmp_path / "model")
    assert_close(after.stem[0].weight, before.stem[0].weight, atol=1e-3, rtol=0)  # as float16
    changed = after.heads[0][0][0].weight - before.heads[0][0][0].weight
    assert changed.abs().max() > 1e-3
    example.main([*arguments, "--epochs", "2", "--resume", "--share", "0"])  # nothing is left to train
    whole = load_network(tmp_path / "model").heads[0][0][0].weight - before.heads[0][0][0].weight
    assert_close(changed, whole / 2, atol=1e-3, rtol=0)
    evaluation = load_example("evaluate_detector")
    arguments = ["--detector", str(tmp_path / "model"), "--data", f"lspet:{photographs}", "--pictures", "2"]
    assert evaluation.main([*arguments, "--images", "11", "12"])["photographs"]["people"] == 2
    scored = evaluation.main([*arguments, "--images", "5", "6", "--labels", str(people)])
    assert set(scored) == {"photographs", "composed"}
    assert {f"recall@{level}" for level in evaluation.LEVELS} < set(scored["composed"])


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


@pytest.fixture
def graph(tmp_path):
    """A graph for TensorFlow.js of a NanoDet-g of random weights, and its network."""
    torch.manual_seed(0)
    folder, network = tmp_path / "models", PersonNetwork().eval()
    folder.mkdir()
    nodes, weights, data = [], [], []
    for number, layer in enumerate(module for module in network.modules() if isinstance(module, torch.nn.Conv2d)):
        kernel, bias = layer.weight.detach().half().float(), layer.bias.detach().half().float()
        if kernel.shape[0] == 1 + 4 * BINS:  # 79 other classes
            kernel, bias = (
                torch.cat([x[:1], torch.rand_like(x[:1]).expand(79, *x.shape[1:]), x[1:]]) for x in (kernel, bias)
            )
        if kernel.shape[1] == 3:
            kernel = kernel.flip(1)
        name = "convolution" + f"_{number}" * bool(number)
        for part, value in ((f"{name}/kernel", kernel.permute(2, 3, 1, 0)), (f"{name}/bias", bias)):
            weights.append(
                {"name": part, "shape": list(value.shape), "dtype": "float32", "quantization": {"dtype": "float16"}}
            )
            data.append(value.numpy().astype(np.float16).tobytes())
        nodes.append({"name": name, "op": "Conv2D", "input": ["x", f"{name}/kernel"]})
        nodes.append({"name": f"Add_{number}", "op": "Add", "input": [name, f"{name}/bias"]})
    content = {"modelTopology": {"node": nodes[::-1]}, "weightsManifest": [{"weights": weights}]}
    (folder / "nanodet.json").write_text(json.dumps(content))
    (folder / "nanodet.bin").write_bytes(b"".join(data))
    return folder, network


def test_nanodet_is_converted_and_reduced(graph, photographs, tmp_path, capsys):
    folder, network = graph
    tool = load_example("../tools/convert_nanodet")
    tool.main(["--models", str(folder), "--output", str(tmp_path / "whole")])
    whole = load_network(tmp_path / "whole")
    image = torch.rand(1, 3, 64, 64)
    network.normalize = whole.normalize
    for found, wanted in zip(whole(image), network(image), strict=True):
        assert_close(found, wanted, atol=0.05, rtol=0)  # its weights are float16
    arguments = ["--models", str(folder), "--photos", str(photographs / "images"), "--count", "3"]
    tool.main([*arguments, "--output", str(tmp_path / "small"), "--rank", "0.5"])
    small = load_network(tmp_path / "small")
    assert small.kwargs["rank"] == 0.5
    assert sum(weight.numel() for weight in small.parameters()) < 0.8 * sum(
        weight.numel() for weight in whole.parameters()
    )
    tool.main([*arguments, "--output", str(tmp_path / "full"), "--rank", "1.0"])  # nothing is lost
    for found, wanted in zip(load_network(tmp_path / "full")(image), whole(image), strict=True):
        assert_close(found, wanted, atol=1e-3, rtol=1e-3)


def test_everybody_is_labelled(photographs, tmp_path, monkeypatch, capsys):
    tool = load_example("../tools/label_people")
    first = torch.tensor([[0.0, 0, 10, 20], [30, 0, 40, 20]]), torch.tensor([0.8, 0.6])
    second = torch.tensor([[1.0, 0, 11, 20], [60, 0, 70, 20]]), torch.tensor([0.4, 0.2])
    boxes, scores = tool.merged(first, second)
    assert_close(boxes, torch.tensor([[1 / 3, 0, 31 / 3, 20], [30, 0, 40, 20], [60, 0, 70, 20]]))
    assert_close(scores, torch.tensor([0.6, 0.3, 0.1]))
    nobody = torch.zeros(0, 4), torch.zeros(0)
    assert tool.merged(nobody, nobody)[0].shape == (0, 4)

    class Left:
        """Somebody at the left of what it sees."""

        def __init__(self, folder, *, threshold, side):
            pass

        def __call__(self, images):
            return [(torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([0.8])) for _ in images]

    monkeypatch.setattr(tool, "PersonDetector", Left)
    arguments = ["--data", str(photographs), "--detector", "folder", "--output", str(tmp_path / "people.npz")]
    tool.main([*arguments, "--images", "2", "3", "7", "8", "--count", "3"])
    tool.main([*arguments, "--images", "2", "3", "7", "8"])
    with np.load(tmp_path / "people.npz") as found:
        assert sorted(found["images"].tolist()) == [2, 3, 7, 8]
        assert len(found["number"]) == 8  # at the left, and mirrored at the right
        assert_close(found["score"], np.full(8, 0.4, np.float32))
        assert (found["box"][:, 2] > 20).sum() == 4
