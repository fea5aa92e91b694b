"""OKS and COCO's AP and AR: against loops over the definitions, against pycocotools, and on files
with known scores.
"""

import contextlib
import copy
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from reference import oks as reference

from posezoo.metrics import (
    CocoResult,
    coco_ap,
    oks,
    oks_matrix,
    oks_nms,
    read_coco_ground_truth,
    read_coco_results,
    write_coco_ground_truth,
    write_coco_results,
)
from posezoo.skeletons import get_skeleton

KEYS = ["AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL"]
SIGMAS = np.array(get_skeleton("coco17").sigmas)
EXAMPLES = Path(__file__).parents[2].parent / "shared" / "data" / "coco_examples"

examples = pytest.mark.skipif(
    not EXAMPLES.is_dir(), reason="the example files may not be redistributed; expected in " + str(EXAMPLES)
)


def dataset(
    seed: int,
    *,
    images: int = 6,
    keypoints: int = 17,
    categories: int = 1,
    unlisted: bool = False,
    boxes: bool = False,
    crowded: bool = False,
) -> tuple[dict, list[dict]]:
    """Annotations and detections with everything that is awkward, in small whole numbers so that
    ties are common.
    """
    rng = np.random.default_rng(seed)
    ids = rng.permutation(1000)[:images].tolist()
    names = (rng.permutation(9)[:categories] + 1).tolist()
    people, found = [], []
    for image in ids:
        for _ in range(rng.integers(0, 6)):
            pose = np.concatenate(
                [
                    rng.integers(0, 300, (1, 2)) + rng.integers(-60, 60, (keypoints, 2)),
                    rng.integers(0, 3, (keypoints, 1)),
                ],
                axis=1,
            )
            kind = rng.integers(0, 8)
            if kind < 2:
                pose[:, 2] = 0
            area = [0, 1024, 9216, 1023.5, 9216.5, *rng.integers(500, 20000, 5).tolist()][rng.integers(10)]
            copies = 1 + (rng.random() < 0.2)  # two annotations in the same place are equally similar to anything
            for copy_ in range(copies):
                people.append(
                    {
                        "image_id": image,
                        "category_id": int(rng.choice(names)),
                        "keypoints": pose.flatten().tolist(),
                        # neither follows from the flags, as far as pycocotools is concerned
                        "num_keypoints": int((pose[:, 2] > 0).sum()) if kind != 1 else 3,
                        "iscrowd": int(rng.random() < 0.2),
                        "area": area if not copy_ else area * 2,
                        "bbox": [*pose[:, :2].min(axis=0).tolist(), *np.ptp(pose[:, :2], axis=0).tolist()],
                    }
                )
            for _ in range(rng.integers(0, 12 if crowded else 4)):
                noise = rng.normal(0, [0, 1, 4, 10, 30][rng.integers(5)], (keypoints, 2)).round(rng.integers(0, 2))
                detected = pose + np.pad(noise, ((0, 0), (0, 1)))
                found.append(
                    {
                        "image_id": image,
                        "category_id": int(
                            rng.choice([*names, 55][: categories + unlisted] if rng.random() < 0.2 else names[:1])
                        ),
                        "keypoints": detected.flatten().tolist(),
                        "score": float(rng.choice([0.25, 0.5, 0.75, rng.random()])),
                    }
                )
                if boxes:
                    sides = [(32, 32), (96, 96), (31.9, 32), (300, 100), (0, 5)][rng.integers(5)]
                    found[-1]["bbox"] = [0.0, 0.0, *sides]
    people = [people[i] for i in rng.permutation(len(people))]
    found = [found[i] for i in rng.permutation(len(found))]
    for number, (person, identity) in enumerate(zip(people, rng.permutation(5000), strict=False)):
        person["id"] = int(identity) + 1 if number % 2 else 900_100_000_000 + number
    truth = {
        "images": [{"id": image} for image in ids],
        "annotations": people,
        "categories": [{"id": name, "name": str(name)} for name in names],
    }
    return truth, found


def sigmas_of(keypoints: int, seed: int = 0) -> np.ndarray:
    return SIGMAS if keypoints == 17 else np.random.default_rng(seed).uniform(0.02, 0.1, keypoints)


def pycocotools(truth: dict, found: list[dict], sigmas: np.ndarray):
    """pycocotools' own evaluation."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = coco.COCO()
        annotations.dataset = {"info": {}, **copy.deepcopy(truth)}
        annotations.createIndex()
        judge = evaluation.COCOeval(annotations, annotations.loadRes(copy.deepcopy(found)), "keypoints")
        judge.params.kpt_oks_sigmas = sigmas
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


def as_arrays(truth: dict, found: list[dict]) -> tuple[dict, dict]:
    people, detections = (
        {field: np.array([record[field] for record in records]) for field in records[0]}
        for records in (truth["annotations"], found)
    )
    for table in (people, detections):
        table["keypoints"] = table["keypoints"].reshape(len(table["keypoints"]), -1, 3)
    people["images"] = np.array([image["id"] for image in truth["images"]])
    people["categories"] = np.array([category["id"] for category in truth["categories"]])
    return people, detections


VARIANTS = [
    {},
    {"keypoints": 5},
    {"keypoints": 1, "images": 3},
    {"categories": 3},
    {"categories": 2, "unlisted": True},
    {"boxes": True},
    {"boxes": True, "categories": 2, "keypoints": 4},
    {"crowded": True, "images": 4},
    {"images": 1},
    {"images": 1, "crowded": True, "keypoints": 3, "categories": 2},
]


# --------------------------------------------------------------------------------------------------------------- AP, AR


@pytest.mark.filterwarnings("ignore:.*does not list their categories")
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_ap_against_loops(variant):
    for seed in range(3):
        truth, found = dataset(seed, **variant)
        sigmas = sigmas_of(variant.get("keypoints", 17))
        for use_categories in (True, False):
            result = coco_ap(truth, found, sigmas=sigmas, use_categories=use_categories)
            expected = reference.coco(truth, found, sigmas.tolist(), use_categories=use_categories)
            assert list(result) == KEYS
            assert result == pytest.approx(expected, abs=1e-12), (seed, use_categories)


@pytest.mark.parametrize("limit", [1, 3])
def test_fewer_detections_against_loops(limit):
    truth, found = dataset(3, crowded=True)
    expected = reference.coco(truth, found, SIGMAS.tolist(), limit)
    assert coco_ap(truth, found, max_detections=limit) == pytest.approx(expected, abs=1e-12)
    assert expected != pytest.approx(reference.coco(truth, found, SIGMAS.tolist()))


@pytest.mark.filterwarnings("ignore:.*does not list their categories")
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_ap_is_pycocotools_to_the_last_bit(variant):
    for seed in range(100, 115):
        truth, found = dataset(seed, **variant)
        if not found:
            continue  # pycocotools cannot load them
        sigmas = sigmas_of(variant.get("keypoints", 17), seed)
        judge, result = pycocotools(truth, found, sigmas), coco_ap(truth, found, sigmas=sigmas)
        assert list(result.values()) == judge.stats.tolist(), seed
        assert_array_equal(result.precision, judge.eval["precision"][..., 0])
        assert_array_equal(result.recall, judge.eval["recall"][..., 0])


def test_a_larger_set_is_pycocotools_to_the_last_bit():
    truth, found = dataset(0, images=200, categories=2, crowded=True)
    judge, result = pycocotools(truth, found, SIGMAS), coco_ap(truth, found)
    assert list(result.values()) == judge.stats.tolist()
    assert min(result.values()) > 0.02
    assert np.bincount([record["image_id"] for record in found]).max() > 40


@pytest.mark.parametrize("seed", range(8))
def test_without_categories_it_is_pycocotools_with_one(seed):
    truth, found = dataset(seed, categories=3, crowded=bool(seed % 2))
    known = {category["id"] for category in truth["categories"]}
    single, alike = copy.deepcopy(truth), [copy.deepcopy(record) for record in found if record["category_id"] in known]
    single["annotations"].sort(key=lambda record: record["category_id"])
    alike.sort(key=lambda record: record["category_id"])
    for record in (*single["annotations"], *alike):
        record["category_id"] = 1
    single["categories"] = [{"id": 1}]
    result = coco_ap(truth, found, use_categories=False)
    assert list(result.values()) == pycocotools(single, alike, SIGMAS).stats.tolist()
    assert result != coco_ap(truth, found)


def test_the_id_zero_is_read_as_pycocotools_reads_it():
    truth, found = dataset(7, images=3)
    matched = next(p for p in truth["annotations"] if p["num_keypoints"] and not p["iscrowd"] and p["area"] > 1024)
    matched["id"] = 0
    found.append({**{k: matched[k] for k in ("image_id", "category_id", "keypoints")}, "score": 2.0})
    judge = pycocotools(truth, found, SIGMAS)
    with pytest.warns(UserWarning, match="an annotation has the id 0"):
        result = coco_ap(truth, found)
    assert list(result.values()) == judge.stats.tolist()
    matched["id"] = 1_000_000
    assert coco_ap(truth, found)["AR"] > result["AR"]


@examples
@pytest.mark.parametrize(
    ("truth", "found", "numbers"),
    [
        (
            "example_coco_val.json", "example_coco_preds.json",
            [0.860890, 0.993145, 0.910891, 0.775578, 0.937252, 0.875, 1.0, 0.916667, 0.78, 0.942857],
        ),
        (
            "fce_gt_dataset.json", "fce_dt_dataset.json",
            [0.504884, 0.722772, 0.633663, 0.466337, 0.750495, 0.518182, 0.727273, 0.636364, 0.466667, 0.75],
        ),
    ],
)  # fmt: skip
def test_example_files_have_their_scores(truth, found, numbers):
    result = coco_ap(EXAMPLES / truth, str(EXAMPLES / found))
    assert list(result.values()) == pytest.approx(numbers, abs=6e-7)
    loaded = [json.loads((EXAMPLES / name).read_text()) for name in (truth, found)]
    assert coco_ap(*loaded) == result
    assert list(result.values()) == pycocotools(*loaded, SIGMAS).stats.tolist()


# ----------------------------------------------------------------------------------------------------------- properties


def untied(seed: int) -> tuple[dict, list[dict]]:
    truth, found = dataset(seed)
    for record, score in zip(found, np.random.default_rng(seed).permutation(len(found)), strict=True):
        record["score"] = float(score)
    return truth, found


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_the_records_does_not_matter_without_ties(seed):
    truth, found = untied(seed)
    rng = np.random.default_rng(seed)
    # annotations in the same place remain tied, and of those the last is taken; their order stays
    shuffled = {**truth, "images": [truth["images"][i] for i in rng.permutation(len(truth["images"]))]}
    assert coco_ap(shuffled, [found[i] for i in rng.permutation(len(found))]) == coco_ap(truth, found)


@pytest.mark.parametrize("seed", range(4))
def test_renumbering_images_does_not_matter_without_ties(seed):
    truth, found = untied(seed)
    expected = coco_ap(truth, found)
    for record in (*truth["annotations"], *found):
        record["image_id"] = f"image {5000 - record['image_id']}"
    truth["images"] = [{"id": f"image {5000 - image['id']}"} for image in truth["images"]]
    assert coco_ap(truth, found) == expected


@pytest.mark.parametrize("seed", range(4))
def test_bounds_and_monotony(seed):
    truth, found = dataset(seed, images=20, crowded=True)
    result = coco_ap(truth, found)
    assert all(0 <= value <= 1 for value in result.values())
    assert result["AP50"] >= result["AP75"]
    assert result["AR50"] >= result["AR75"]
    assert (np.diff(result.precision[..., 0], axis=1) <= 0).all()  # an envelope falls with the recall
    assert (np.diff(result.recall, axis=0) <= 0).all()


def test_more_perfect_detections_never_lower_the_recall():
    truth, found = dataset(2, crowded=True)
    recall = coco_ap(truth, found, max_detections=1000)["AR"]
    for person in truth["annotations"]:
        fields = {field: person[field] for field in ("image_id", "category_id", "keypoints")}
        found.append({**fields, "score": -1.0})  # last, so that it disturbs no other
        recall, before = coco_ap(truth, found, max_detections=1000)["AR"], recall
        assert recall >= before
    assert recall > 0.8


def test_perfect_predictions():
    rng = np.random.default_rng(0)
    pose = rng.uniform(0, 500, (300, 17, 2))
    image = rng.integers(0, 100, 300)
    area = rng.uniform(1100, 20000, 300)
    found = {"image_id": image, "keypoints": pose, "score": rng.random(300), "area": area}
    result = coco_ap({"image_id": image, "keypoints": pose, "area": area}, found)
    assert result == dict.fromkeys(KEYS, 1.0)


def test_without_people_ap_is_minus_one():
    truth, found = dataset(0)
    assert coco_ap({**truth, "annotations": []}, found) == dict.fromkeys(KEYS, -1.0)
    for person in truth["annotations"]:
        person["iscrowd"] = 1
    assert list(coco_ap(truth, found).values()) == pycocotools(truth, found, SIGMAS).stats.tolist() == [-1] * 10
    empty = {"images": [], "annotations": [], "categories": []}
    assert coco_ap(empty, []) == dict.fromkeys(KEYS, -1.0)


def test_nobody_found_is_zero():
    truth, _ = dataset(0)
    assert coco_ap(truth, []) == dict.fromkeys(KEYS, 0.0)
    nothing = {"image_id": [], "keypoints": np.zeros((0, 17, 2)), "score": []}
    assert coco_ap(truth, nothing) == dict.fromkeys(KEYS, 0.0)


@pytest.mark.filterwarnings("ignore:.*does not list their categories")
def test_each_category_on_its_own():
    truth, found = dataset(4, categories=3, crowded=True)
    result = coco_ap(truth, found)
    assert result.precision.shape == (10, 101, 3, 3)
    for category in result.categories:
        chosen = {**truth, "categories": [{"id": category}]}
        assert result.of_category(category) == coco_ap(chosen, found)
    with pytest.raises(ValueError, match="no category 77"):
        result.of_category(77)
    assert json.loads(json.dumps(result)) == dict(result)


def test_keypoints_that_are_not_finite_are_misses():
    truth, found = untied(5)
    broken = copy.deepcopy(found)
    for record in broken[::2]:
        record["keypoints"][3] = [np.nan, np.inf][record["image_id"] % 2]
        record["bbox"] = None
    for records in (found, broken):  # give both the same areas
        for record, original in zip(records, found, strict=True):
            record["bbox"] = [0, 0, reference.detection_area({"keypoints": original["keypoints"]}), 1]
    with pytest.warns(UserWarning, match=f"{len(broken[::2])} predicted keypoints are not finite"):
        result = coco_ap(truth, broken)
    assert result == pytest.approx(reference.coco(truth, broken, SIGMAS.tolist()), abs=1e-12)
    assert result["AP"] < coco_ap(truth, found)["AP"]


# ----------------------------------------------------------------------------------------------------- arrays and files


@pytest.mark.parametrize("seed", range(3))
def test_arrays_are_as_good_as_records(seed):
    truth, found = dataset(seed, categories=2, boxes=bool(seed % 2))
    expected = coco_ap(truth, found)
    arrays = as_arrays(truth, found)
    assert coco_ap(*arrays) == expected
    tensors = [{field: torch.from_numpy(array) for field, array in table.items()} for table in arrays]
    assert coco_ap(*tensors) == expected
    assert coco_ap(read_coco_ground_truth(truth), read_coco_results(found)) == expected
    assert isinstance(expected, CocoResult)


def test_optional_fields_of_arrays():
    pose = np.array([[[0.0, 10.0], [20.0, 60.0]], [[5.0, 5.0], [6.0, 6.0]]])
    truth = read_coco_ground_truth({"image_id": ["b", "a"], "keypoints": pose, "area": [1, 2]})
    assert truth["images"].tolist() == ["a", "b"]
    assert truth["id"].tolist() == [1, 2]
    assert truth["bbox"].tolist() == [[0, 10, 20, 50], [5, 5, 1, 1]]
    assert truth["keypoints"][..., 2].tolist() == [[2, 2], [2, 2]]
    found = read_coco_results({"image_id": ["b"], "keypoints": pose[:1], "score": [1]})
    assert found["area"].tolist() == [1000]
    assert found["category_id"].tolist() == [1]


def test_written_results_are_read_by_both(tmp_path):
    truth, found = dataset(6, boxes=True)
    write_coco_results(tmp_path / "results.json", found, decimals=9)
    write_coco_ground_truth(tmp_path / "truth.json", truth, decimals=9)
    rewritten = [json.loads((tmp_path / name).read_text()) for name in ("truth.json", "results.json")]
    detections = as_arrays(truth, found)[1]
    write_coco_results(tmp_path / "arrays.json", detections, decimals=9)
    assert (tmp_path / "arrays.json").read_text() == (tmp_path / "results.json").read_text()
    expected = coco_ap(truth, found)
    assert coco_ap(tmp_path / "truth.json", tmp_path / "results.json") == expected
    assert list(expected.values()) == pycocotools(*rewritten, SIGMAS).stats.tolist()
    assert rewritten[0]["categories"][0]["keypoints"][0] == "nose"
    assert rewritten[0]["categories"][0]["skeleton"][0] == [16, 14]


def test_results_are_rounded_but_not_their_scores(tmp_path):
    score = 0.123456789
    found = {"image_id": [1], "keypoints": np.full((1, 17, 3), 1 / 3), "score": [score]}
    write_coco_results(tmp_path / "results.json", found, decimals=1)
    [record] = json.loads((tmp_path / "results.json").read_text())
    assert set(record["keypoints"]) == {0.3}
    assert record["score"] == score
    found["keypoints"][0, 3] = np.nan
    with pytest.raises(ValueError, match=r"predictions\[0\]: keypoints is NaN or infinite"):
        write_coco_results(tmp_path / "results.json", found)


def changed(table: list[dict], **fields) -> list[dict]:
    return [*table[:1], {**table[1], **fields}, *table[2:]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_id": 77777}, r"predictions\[1\]: the ground truth has no image 77777; it lists 6 images"),
        ({"image_id": "7"}, r"predictions: image_id\[1\]: expected a whole number, or strings throughout, got '7'"),
        ({"category_id": [1]}, r"predictions: category_id\[1\]: expected a whole number, .* got \[1\]"),
        ({"score": float("nan")}, r"predictions\[1\]: score: expected a number, got NaN"),
        ({"score": "high"}, r"predictions\[1\]: score: expected a number, got 'high'"),
        ({"score": None}, r"predictions\[1\]: score: expected a number, got NaN"),
        ({"keypoints": [1.0, 2.0, 3.0]}, r"predictions\[1\]: keypoints: 3 numbers, but 51 in the first record"),
        ({"keypoints": [1.0, 2.0]}, r"predictions\[1\]: keypoints: expected a flat list of numbers, .* got 2 of them"),
        ({"keypoints": ["x"] * 51}, r"predictions\[1\]: keypoints: expected 51 numbers, got \['x'"),
        ({"keypoints": 4}, r"predictions\[1\]: keypoints: .* got int"),
    ],
)
def test_errors_name_the_detection(fields, message):
    truth, found = dataset(0)
    with pytest.raises(ValueError, match=message):
        coco_ap(truth, changed(found, **fields))


@pytest.mark.parametrize("field", ["image_id", "category_id", "keypoints", "score"])
def test_missing_fields_of_detections(field):
    truth, found = dataset(0)
    del found[2][field]
    with pytest.raises(ValueError, match=rf"predictions\[2\]: has no '{field}'; it has "):
        coco_ap(truth, found)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"area": -1.0}, r"ground_truth: annotations\[1\] \(id 5\): area: expected square pixels, 0 or more, got -1.0"),
        ({"area": float("nan")}, r"annotations\[1\] \(id 5\): area: .* got nan"),
        ({"keypoints": [float("nan"), 1, 2] * 17}, r"annotations\[1\] \(id 5\): keypoints: expected finite labelled"),
        ({"keypoints": [3, 3, 0] * 17, "bbox": [float("nan")] * 4}, r"\(id 5\): bbox: expected four numbers, as no"),
        ({"bbox": [1, 2, 3]}, r"annotations\[1\] \(id 5\): bbox: expected 4 numbers, got \[1, 2, 3\]"),
        ({"num_keypoints": "all"}, r"annotations\[1\] \(id 5\): num_keypoints: expected a number, got 'all'"),
        ({"image_id": 1.5}, r"ground_truth: image_id\[1\]: expected a whole number, .* got 1.5"),
    ],
)
def test_errors_name_the_annotation(fields, message):
    truth, found = dataset(0)
    truth["annotations"] = changed(truth["annotations"], id=5, **fields)
    with pytest.raises(ValueError, match=message):
        coco_ap(truth, found)


def test_the_same_id_twice_is_an_error():
    truth, found = dataset(0)
    truth["annotations"][3]["id"] = truth["annotations"][0]["id"]
    with pytest.raises(ValueError, match=r"annotations\[3\] \(id \d+\): another annotation has the same id"):
        coco_ap(truth, found)


def test_other_errors(tmp_path):
    truth, found = dataset(0)
    with pytest.raises(ValueError, match=r"ground_truth: no file .*truth.json"):
        coco_ap(tmp_path / "truth.json", found)
    (tmp_path / "broken.json").write_text("[1,")
    with pytest.raises(ValueError, match=r"predictions: .*broken.json is not JSON"):
        coco_ap(truth, tmp_path / "broken.json")
    with pytest.raises(ValueError, match="ground_truth: expected 5 keypoints, one per sigma, got 17"):
        coco_ap(truth, found, sigmas=[0.1] * 5)
    with pytest.raises(ValueError, match="the skeleton 'lsp14' has none"):
        coco_ap(truth, found, sigmas="lsp14")
    with pytest.raises(ValueError, match="max_detections: expected a whole number, 1 or more, got 0"):
        coco_ap(truth, found, max_detections=0)
    with pytest.raises(ValueError, match="ground_truth: expected COCO's annotations, a dict"):
        coco_ap(truth["annotations"], found)
    with pytest.raises(ValueError, match="there is no area among"):
        coco_ap({"image_id": [1], "keypoints": np.zeros((1, 17, 3))}, found)
    with pytest.raises(ValueError, match=r"ground_truth: images\[0\]: expected a dict with 'id'"):
        coco_ap({**truth, "images": [{"name": "a"}]}, found)
    strings = {**truth, "images": [{"id": "1"}]}
    with pytest.raises(ValueError, match="the ground truth has no image"):
        coco_ap(strings, found)


# ------------------------------------------------------------------------------------------------------------------ OKS


def poses(seed: int, count: int, keypoints: int = 17) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    target = rng.uniform(0, 200, (count, keypoints, 2))
    pred = target + rng.normal(0, 1, target.shape) * rng.uniform(1, 20, (count, 1, 1))
    visible = rng.random((count, keypoints)) < 0.7
    visible[::4] = False
    boxes = np.concatenate([target.min(axis=1), target.min(axis=1) + rng.uniform(0, 60, (count, 2))], axis=1)
    return pred, target, rng.uniform(0, 9000, count), visible, boxes


def test_oks_is_the_papers():  # specs: two instances of areas 5000 and 6000, of which their NMS takes the mean
    random = np.random.RandomState(5)
    truth = random.uniform(0, 200, (17, 2))
    found = truth + random.standard_normal((17, 2)) * 8
    assert oks(found[None], truth[None], np.array([5500.0]), "coco17")[0] == pytest.approx(0.72632552, abs=5e-9)


@pytest.mark.parametrize("keypoints", [17, 4])
def test_oks_against_loops(keypoints):
    pred, target, areas, visible, boxes = poses(0, 12, keypoints)
    sigmas = sigmas_of(keypoints)
    pred[3, 1] = np.nan
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
    for rectangles in (None, xywh):
        expected = [
            [
                reference.oks(found, *person, sigmas, box)
                for *person, box in zip(target.tolist(), visible, areas, rectangles or [None] * 12, strict=True)
            ]
            for found in pred.tolist()
        ]
        given = {"visible": visible, "boxes": None if rectangles is None else boxes}
        with pytest.warns(UserWarning, match="1 of the predicted keypoints are not finite"):
            result = oks_matrix(pred[:7], target, areas, sigmas, **given)
        assert_allclose(result, expected[:7], rtol=1e-9, atol=1e-12)
        with pytest.warns(UserWarning, match="not finite"):
            assert_allclose(oks(pred, target, areas, sigmas, **given), np.diag(expected), rtol=1e-9, atol=1e-12)


def test_oks_is_a_similarity():
    pred, target, areas, visible, _ = poses(1, 20)
    visible[:, 0] = True
    areas = areas + 1
    values = oks(pred, target, areas, SIGMAS, visible=visible)
    assert ((values > 0) & (values < 1)).all()
    assert_allclose(oks(target, target, areas, SIGMAS, visible=visible), 1)
    assert_allclose(oks(target, pred, areas, SIGMAS, visible=visible), values)  # symmetric but for the area
    assert_allclose(oks(pred * 3 + 7, target * 3 + 7, areas * 9, SIGMAS, visible=visible), values)
    assert (oks(pred, target, areas * 2, SIGMAS, visible=visible) > values).all()
    flags = np.where(visible, np.random.default_rng(0).integers(1, 3, visible.shape), 0)
    assert_array_equal(oks(pred, target, areas, SIGMAS, visible=flags), values)
    target[~visible] = np.nan  # what is not labelled may hold anything
    assert_array_equal(oks(pred, target, areas, SIGMAS, visible=visible), values)


def test_torch_and_numpy_give_the_same():
    pred, target, areas, visible, boxes = poses(2, 9)
    tensors = [torch.from_numpy(array) for array in (pred, target, areas)]
    result = oks_matrix(*tensors, "coco17", visible=torch.from_numpy(visible), boxes=torch.from_numpy(boxes))
    assert isinstance(result, torch.Tensor)
    assert_array_equal(result, oks_matrix(pred, target, areas, "coco17", visible=visible, boxes=boxes))
    pairs = oks(*tensors, "coco17", visible=torch.from_numpy(visible), boxes=torch.from_numpy(boxes))
    assert_array_equal(pairs, oks(pred, target, areas, "coco17", visible=visible, boxes=boxes))
    scores, twice = np.linspace(0, 1, 9), pred.copy()
    twice[0] = twice[8]  # suppressed
    kept = oks_nms(torch.from_numpy(twice), torch.from_numpy(scores), tensors[2], "coco17")
    assert isinstance(kept, torch.Tensor)
    assert kept.tolist() == oks_nms(twice, scores, areas, "coco17").tolist() == list(range(8, 0, -1))


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
def test_nms_against_loops(threshold):
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 200, (6, 17, 2))
    crowd = (base[rng.integers(0, 6, 50)] + rng.normal(0, 1, (50, 17, 2)) * rng.uniform(0, 15, (50, 1, 1))).round()
    scores, areas = rng.choice([0.2, 0.4, 0.6, 0.8], 50), rng.uniform(2000, 9000, 50)
    expected = reference.nms(crowd.tolist(), scores.tolist(), areas.tolist(), SIGMAS.tolist(), threshold)
    assert oks_nms(crowd, scores, areas, "coco17", threshold=threshold).tolist() == expected
    assert 5 < len(expected) < 50
    assert oks_nms(crowd, scores, areas, "coco17", threshold=1).tolist() == np.argsort(-scores, kind="stable").tolist()
    assert oks_nms(crowd[:0], scores[:0], areas[:0], "coco17").tolist() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pred": np.zeros((2, 3, 2))}, r"one shape \(N, K, 2\), got \(2, 3, 2\) and \(2, 17, 2\)"),
        ({"areas": np.ones(3)}, r"areas: expected one per person, \(2,\), got \(3,\)"),
        ({"areas": np.array([3, -1.0])}, "areas: person 1 has -1.0; expected square pixels, 0 or more"),
        ({"areas": np.array([np.nan, 1.0])}, "areas: person 0 has nan"),
        ({"sigmas": [0.1] * 4}, "sigmas: expected 17, one per keypoint, got 4"),
        ({"sigmas": [0.0] * 17}, "sigmas: expected positive numbers"),
        ({"sigmas": "lsp14"}, "the skeleton 'lsp14' has none"),
        ({"visible": np.ones((2, 16), bool)}, r"visible: expected \(N, K\) = \(2, 17\), got \(2, 16\)"),
        ({"boxes": np.ones((1, 4))}, r"boxes: expected \(N, 4\) = \(2, 4\) xyxy, got \(1, 4\)"),
        ({"target": np.full((2, 17, 2), np.nan)}, "target: keypoint 0 of person 0 is NaN or infinite; mark missing"),
    ],
)
def test_errors_contain_the_shapes(arguments, message):
    given = {"pred": np.zeros((2, 17, 2)), "target": np.zeros((2, 17, 2)), "areas": np.ones(2), "sigmas": "coco17"}
    given |= arguments
    with pytest.raises(ValueError, match=message):
        oks(**given)
    if "pred" not in arguments:
        with pytest.raises(ValueError, match=message):
            oks_matrix(**given)
    with pytest.raises(ValueError, match="scores: the one of pose 1 is NaN"):
        oks_nms(np.zeros((2, 17, 2)), np.array([1, np.nan]), np.ones(2), "coco17")


def test_no_warning_without_a_reason():
    truth, found = dataset(9)
    found[0]["category_id"] = 55
    with pytest.warns(
        UserWarning, match=rf"1 of {len(found)} predictions are left out: the ground truth does not list"
    ):
        coco_ap(truth, found)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coco_ap(truth, found[1:])
