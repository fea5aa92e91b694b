"""One evaluation command for every data set, and COCO's protocol on the boxes of a detector."""

import json

import numpy as np
import pytest
import torch
from people_files import write_buffy, write_coco, write_flic, write_image_parse, write_mpii
from running_examples import load_example

import posezoo
from posezoo.data import COCO
from posezoo.models.cpm import CPM, CPM_SCALES

from data_sources import open_data, source


@pytest.fixture(scope="module")
def example():
    return load_example("evaluate")


def saved(folder, name, **options):
    posezoo.create(name, **options).save_pretrained(folder / name)
    return f"local-dir:{folder / name}"


def test_coco_on_annotated_and_on_detected_boxes(example, tmp_path, capsys):
    root = write_coco(tmp_path / "coco")
    model = saved(tmp_path, "hrnet_w32", width=4)
    boxes = [
        {"image_id": image, "category_id": 1, "bbox": [15, 15, 90, 90], "score": score}
        for image, score in ((1, 0.9), (1, 0.8), (3, 0.5))
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    common = ["--data", f"coco:{root}", "--model", model]
    assert 0 <= example.main(common) <= 1
    assert "3 boxes, 3 people" in capsys.readouterr().out
    file = tmp_path / "results.json"
    example.main([*common, "--detections", str(tmp_path / "boxes.json"), "--results", str(file)])
    assert "3 boxes, 2 people" in capsys.readouterr().out  # two boxes in one place are one person
    assert [result["image_id"] for result in json.loads(file.read_text())] == [1, 3]


def test_scores_are_the_box_s_times_the_sure_keypoints(example, tmp_path):
    root = write_coco(tmp_path / "coco")
    (tmp_path / "boxes.json").write_text(json.dumps([
        {"image_id": 1, "category_id": 1, "bbox": [15, 15, 90, 90], "score": 0.5},
        {"image_id": 2, "category_id": 1, "bbox": [15, 15, 90, 90], "score": 0.5},
    ]))  # fmt: skip
    people = COCO(root / "val2017", root / "annotations" / "person_keypoints_val2017.json",
                  detections=tmp_path / "boxes.json")  # fmt: skip

    class Sure(posezoo.contract.PoseModel):
        input_size = (256, 192)

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.num_keypoints, self.skeleton = 17, posezoo.get_skeleton("coco17")

        def predict(self, image, *, flip=False):
            scores = torch.tensor([[0.8] * 8 + [0.4] * 2 + [0.1] * 7, [0.1] * 17])
            return torch.rand(2, 17, 2) * 100, scores[: len(image)]

    first, second = example.coco_results(Sure(), people)
    assert first["score"] == pytest.approx(0.5 * (8 * 0.8 + 2 * 0.4) / 10)
    assert second["score"] == 0
    assert np.array(first["keypoints"]).reshape(17, 3)[:, 2] == pytest.approx([0.8] * 8 + [0.4] * 2 + [0.1] * 7)


@pytest.mark.parametrize(
    ("name", "writer", "skeleton"), [("mpii", write_mpii, "mpii16"), ("flic", write_flic, "flic11")]
)
def test_other_data(example, tmp_path, capsys, name, writer, skeleton):
    root = writer(tmp_path / name)
    model = saved(tmp_path, "hrnet_w32", width=4, num_keypoints=len(posezoo.get_skeleton(skeleton)), skeleton=skeleton)
    assert 0 <= example.main(["--data", f"{name}:{root}", "--model", model, "--no-flip"]) <= 1
    assert "PCK@0.2" in capsys.readouterr().out


def test_detection_rates_on_buffy_with_a_detectors_boxes(example, tmp_path, capsys, monkeypatch):
    model = saved(tmp_path, "hrnet_w32", width=4, num_keypoints=9, skeleton="flic9")
    root, boxes = write_buffy(tmp_path / "buffy"), torch.tensor([[20.0, 10.0, 90.0, 110.0]])
    found = iter([(boxes, torch.ones(1))] * 2 + [(boxes[:0], torch.ones(0))])
    monkeypatch.setattr(example, "load_detector", lambda name: lambda images: [next(found)])
    more = ["--detector", "faces", "--no-flip", "--thresholds", "0.1", "9"]
    example.main(["--data", f"buffy:{root}", "--model", model, *more])
    said = capsys.readouterr().out
    assert "no box for 1 of 3 people" in said
    row = [line.split()[1:] for line in said.splitlines() if "left_wrist" in line][-1]
    assert 0 <= float(row[0]) <= float(row[1]) == 1  # within nine torsos


def test_image_parse_is_for_tests(example, tmp_path, capsys):
    model = saved(tmp_path, "hrnet_w32", width=4, num_keypoints=14, skeleton="lsp14")
    root = write_image_parse(tmp_path / "parse")
    example.main(["--data", f"parse:{root}", "--model", model, "--no-flip"])
    said = capsys.readouterr().out
    assert "2 people" in said
    assert "their mean" in said
    with pytest.raises(ValueError, match="parse: it is for tests only"):
        open_data([source(f"parse:{root}")], "train")


def test_seven_scales(example, tmp_path, capsys):
    root = write_mpii(tmp_path / "mpii", count=2)
    model = saved(tmp_path, "cpm_9x9_4s", width=4, num_keypoints=16, skeleton="mpii16")
    example.main(["--data", f"mpii:{root}", "--model", model, "--no-flip", "--scales", "cpm"])
    assert "2 people" in capsys.readouterr().out


# ------------------------------------------------------------------------------------- scales, cut from the photograph


def tiny():
    torch.manual_seed(0)
    model = CPM(width=4, num_stages=2).eval()
    model.apply_input_settings({"input_size": (64, 64), "padding": 1.0, "fill": model.fill})
    return model


def test_one_scale_is_the_crop_itself():
    model, photograph = tiny(), torch.rand(3, 90, 80)
    boxes = torch.tensor([[10.0, 10.0, 70.0, 80.0]])
    plain, again = (posezoo.predict(photograph, model, boxes=boxes, scales=scales) for scales in (None, (1.0,)))
    assert np.allclose(plain.keypoints, again.keypoints, atol=1e-3)


def test_smaller_scales_show_more_of_the_photograph(monkeypatch):
    model, photograph = tiny(), torch.rand(3, 400, 400)
    seen = []
    beliefs = model.beliefs
    monkeypatch.setattr(model, "beliefs", lambda image, *rest: seen.append(image) or beliefs(image, *rest))
    posezoo.predict(photograph, model, boxes=[[168, 168, 232, 232]], scales=CPM_SCALES)
    assert len(seen) == 7
    assert (seen[0] - model.fill).abs()[..., :4, :].mean() > 0.1  # at 0.7, no grey border
    middle = photograph[:, 168:232, 168:232]
    assert torch.allclose(seen[3][0], middle, atol=1e-4)  # at 1
    posezoo.predict(photograph[:, 168:232, 168:232], model, boxes=[[0, 0, 64, 64]], scales=(0.5,))
    assert torch.allclose(seen[7][0, :, :10], torch.tensor(model.fill), atol=1e-4)  # there is no more


def test_other_networks_have_one_scale():
    with pytest.raises(ValueError, match="hrnet_w32 predicts at one scale"):
        posezoo.predict(np.zeros((64, 64, 3), np.uint8), posezoo.create("hrnet_w32", width=4), scales=CPM_SCALES)
    with pytest.raises(ValueError, match="scales: expected positive numbers"):
        posezoo.predict(np.zeros((64, 64, 3), np.uint8), tiny(), scales=(0.0,))
