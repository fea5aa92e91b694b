"""`posezoo evaluate`, called as a function: every kind of file, every metric, and every mistake."""

import json
import math
import sys
from pathlib import Path

import command_line
import numpy as np
import pytest

from posezoo import metrics
from posezoo.__main__ import EVALUATE_HELP, main
from posezoo.evaluate import METRICS, METRICS_2D, METRICS_3D

DATA = Path(__file__).parents[2] / "shared" / "data"
PUBLISHED = DATA / "published_predictions"
published = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="the published predictions may not be redistributed; expected in " + str(PUBLISHED)
)


def run(capsys, *arguments):
    return command_line.run(capsys, "evaluate", *arguments)


def fails(capsys, *arguments):
    return command_line.fails(capsys, "evaluate", *arguments)


def numbers(capsys, *arguments):
    code, out, err = run(capsys, *arguments, "--json", "-")
    assert code == 0, err
    return json.loads(out)


def people(dimensions=2, keypoints=14):
    rng = np.random.default_rng(0)
    target = rng.uniform(0, 200, (20, keypoints, dimensions))
    return target + rng.normal(0, 12, target.shape), target, rng.random((20, keypoints)) < 0.8, rng.uniform(20, 60, 20)


@pytest.fixture
def files(tmp_path):
    pred, target, visible, length = people()
    np.savez(tmp_path / "gt.npz", keypoints=target, visible=visible, normalizer=length, head_size=length / 2)
    np.save(tmp_path / "pred.npy", pred)
    return tmp_path / "pred.npy", "--gt", tmp_path / "gt.npz"


# ---------------------------------------------------------------------------------------------------------------------
# numbers


def test_table_and_json(capsys, tmp_path, files):
    code, out, err = run(capsys, *files, "--metric", "pck", "--json", tmp_path / "deep" / "numbers.json")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "PCK@0.2, per cent of the annotated keypoints"
    assert len(lines) == 1 + 14 + 2
    pred, target, visible, length = people()
    expected = metrics.pck(pred, target, length, visible=visible)
    assert lines[3].split() == ["keypoint", "2", f"{100 * expected[2]:.2f}"]
    found = json.loads((tmp_path / "deep" / "numbers.json").read_text())
    assert list(found.values())[:14] == expected.tolist()
    assert found["mean"] == pytest.approx(expected.mean())
    assert found["labelled mean"] == pytest.approx(metrics.labelled_mean(expected, visible))
    code, out, err = run(capsys, *files, "--metric", "pck", "--json", "-", "--skeleton", "lsp14")
    assert err.startswith("PCK@0.2")  # the table gives way
    assert json.loads(out)["right_ankle"] == expected[0]


@pytest.mark.parametrize("metric", METRICS_2D)
def test_every_2d_metric(capsys, files, metric):
    pred, target, visible, length = people()
    expected = {
        "pck": lambda: metrics.pck(pred, target, length, visible=visible),
        "pckh": lambda: metrics.pckh(pred, target, length / 2, visible=visible),
        "pdj": lambda: list(metrics.lsp_pck(pred, target, visible=visible).values()),
        "pcp": lambda: list(metrics.lsp_pcp(pred, target, visible=visible).values()),
        "pcp-loose": lambda: list(metrics.lsp_pcp(pred, target, visible=visible, loose=True).values()),
        "rmse": lambda: metrics.rmse(pred, target, visible=visible),
        "mean-pixel-error": lambda: metrics.mean_pixel_error(pred, target, visible=visible),
    }[metric]()
    found = numbers(capsys, *files, "--metric", metric, "--skeleton", "lsp14")
    means = {}
    if metric in ("pck", "pckh"):  # the tables of LSP have a total among their rows
        means = {"mean": np.mean(expected), "labelled mean": metrics.labelled_mean(expected, visible)}
    distance = np.linalg.norm(pred - target, axis=-1)[visible]  # pooled over people and keypoints
    if metric == "rmse":
        means["total"] = np.sqrt(np.mean(distance**2))
    if metric == "mean-pixel-error":
        means["mean"] = distance.mean()
    assert list(found.values()) == pytest.approx([*expected, *means.values()])
    assert list(found)[len(expected) :] == list(means)


def test_the_total_of_rmse_is_pooled(capsys, tmp_path):
    # joints that err by 0 and by 10 pixels: the papers' RMSE is sqrt(50), not the mean of 0 and 10
    np.save(tmp_path / "pred.npy", np.array([[[0.0, 0.0], [6.0, 8.0]]]))
    np.save(tmp_path / "gt.npy", np.zeros((1, 2, 2)))
    found = numbers(capsys, tmp_path / "pred.npy", "--gt", tmp_path / "gt.npy", "--metric", "rmse")
    assert found["total"] == pytest.approx(50**0.5)


def test_skeletons_other_than_the_presets(capsys, tmp_path):
    pred, target, visible, _ = people(keypoints=17)
    np.savez(tmp_path / "gt.npz", keypoints=target, visible=visible)
    np.savez(tmp_path / "pred.npz", keypoints=pred)
    files = tmp_path / "pred.npz", "--gt", tmp_path / "gt.npz", "--skeleton", "coco17"
    assert numbers(capsys, *files, "--metric", "pdj")["nose"] == metrics.pdj(pred, target, "coco17", visible=visible)[0]
    found = numbers(capsys, *files, "--metric", "pcp", "--threshold", 0.3)
    expected = metrics.pcp(pred, target, "coco17", visible=visible, threshold=0.3)
    assert list(found.values())[:-1] == expected.tolist()
    assert "left_ankle - left_knee" in found


@pytest.mark.parametrize("metric", METRICS_3D)
def test_every_3d_metric(capsys, tmp_path, metric):
    pred, target, visible, _ = people(3, 17)
    visible[:, 0] = True
    np.savez(tmp_path / "gt.npz", keypoints=target, visible=visible)
    np.save(tmp_path / "pred.npy", pred)
    arguments = ("--threshold", 30) if metric == "pck3d" else ()
    found = numbers(capsys, tmp_path / "pred.npy", "--gt", tmp_path / "gt.npz", "--metric", metric, *arguments)
    result = {
        "mpjpe": lambda: metrics.mpjpe(pred, target, visible=visible),
        "pa-mpjpe": lambda: metrics.pa_mpjpe(pred, target, visible=visible),
        "pa-mpjpe-rigid": lambda: metrics.pa_mpjpe(pred, target, scale=False, visible=visible),
        "n-mpjpe": lambda: metrics.n_mpjpe(pred, target, visible=visible),
        "mpjve": lambda: metrics.mpjve(pred, target, visible=visible),
        "acceleration-error": lambda: metrics.acceleration_error(pred, target, visible=visible),
        "pck3d": lambda: metrics.pck3d(pred, target, threshold=30, visible=visible),
        "auc3d": lambda: metrics.auc3d(pred, target, visible=visible),
    }[metric]()
    mean = metrics.labelled_mean(result, visible) if result.ndim == 1 else np.nanmean(result)
    per_joint = result if result.ndim == 1 else np.nanmean(result, axis=0)
    assert found == pytest.approx({**{f"keypoint {k}": value for k, value in enumerate(per_joint)}, "mean": mean})


def test_coco_ap_has_the_ten_numbers(capsys, tmp_path):
    rng = np.random.default_rng(1)
    poses = rng.uniform(0, 100, (6, 17, 2))
    flat = np.concatenate([poses, np.full((6, 17, 1), 2)], axis=2).reshape(6, -1)
    truth = {
        "images": [{"id": number} for number in range(3)],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {"id": n + 1, "image_id": n // 2, "category_id": 1, "keypoints": row.tolist(), "num_keypoints": 17,
             "area": 5000, "bbox": [0, 0, 100, 100], "iscrowd": 0}
            for n, row in enumerate(flat)
        ],
    }  # fmt: skip
    flat[:, 0::3] += rng.normal(0, 4, (6, 17))
    results = [{"image_id": n // 2, "category_id": 1, "keypoints": row.tolist(), "score": 1 - n / 10}
               for n, row in enumerate(flat)]  # fmt: skip
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "pred.json").write_text(json.dumps(results))
    files = tmp_path / "pred.json", "--gt", tmp_path / "gt.json", "--metric", "coco-ap"
    found = numbers(capsys, *files)
    assert list(found) == ["AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL"]
    assert found == {key: metrics.coco_ap(truth, results)[key] for key in found}
    assert 0 < found["AP"] < 1
    assert numbers(capsys, *files, "--skeleton", "coco17") == found
    assert numbers(capsys, *files, "--sigmas", *[1] * 17)["AP"] == pytest.approx(1)
    assert "sigmas" in fails(capsys, *files, "--sigmas", 0.1, 0.2)
    assert "sigmas" in fails(capsys, *files, "--skeleton", "lsp14")


@pytest.mark.skipif(not (DATA / "coco_examples").is_dir(), reason=f"expected in {DATA / 'coco_examples'}")
def test_coco_ap_of_published_examples(capsys):
    folder = DATA / "coco_examples"
    found = numbers(capsys, folder / "example_coco_preds.json", "--gt", folder / "example_coco_val.json",
                    "--metric", "coco-ap")  # fmt: skip
    stats = [0.860890, 0.993145, 0.910891, 0.775578, 0.937252, 0.875, 1.0, 0.916667, 0.78, 0.942857]
    assert list(found.values()) == pytest.approx(stats, abs=5e-7)


@published
@pytest.mark.parametrize(
    ("pred", "truth", "arguments", "key", "value"),
    [
        ("mpii/bearpaw-hg_s2_b1.mat", "mpii/detections_our_format.mat", "pckh --skeleton mpii16", "Total", 87.30),
        ("mpii/bearpaw-hg_s2_b1.mat", "mpii/detections_our_format.mat",
         "pckh --skeleton mpii16 --convention unweighted", "Total", 86.76),
        ("mpii/detections_our_format.mat", "mpii/detections_our_format.mat", "pckh --skeleton mpii16", "Wrist", 76.74),
        ("lsp/PishchulinCVPR16/pred_sticks_lsp_pc.mat", "lsp/LSP-joints-PC.mat", "pcp --skeleton lsp14", "Total", 84.3),
        ("lsp/YangCVPR16/pred_keypoints_lsp_pc.mat", "lsp/LSP-joints-PC.mat", "pcp --skeleton lsp14", "Total", 74.8),
        ("lsp/YangCVPR16/pred_keypoints_lsp_pc.mat", "lsp/LSP-joints-PC.mat", "pdj --skeleton lsp14", "Total", 73.6),
        ("flic/ChenYuilleNIPS14/pred_keypoints_flic_oc.mat", "flic/FLIC-joints-OC.mat", "pck", "keypoint 5", 86.7),
    ],
)  # fmt: skip
def test_files_of_the_data_sets_as_they_are(capsys, pred, truth, arguments, key, value):
    pytest.importorskip("scipy")
    found = numbers(capsys, PUBLISHED / pred, "--gt", PUBLISHED / truth, "--metric", *arguments.split())
    assert 100 * found[key] == pytest.approx(value, abs=0.0501 if value == round(value, 1) else 0.00501)


def test_matlab_files(capsys, tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    pred, target, visible, length = people()
    expected = metrics.pck(pred, target, length, visible=visible).tolist()
    scipy_io.savemat(tmp_path / "gt.mat", {"keypoints": target, "visible": visible, "normalizer": length})
    scipy_io.savemat(tmp_path / "pred.mat", {"preds": pred})
    found = numbers(capsys, tmp_path / "pred.mat", "--gt", tmp_path / "gt.mat", "--metric", "pck")
    assert list(found.values())[:14] == expected
    # LSPET's third column means visible
    joints = np.concatenate([target, visible[..., None]], axis=2).transpose(1, 2, 0)
    scipy_io.savemat(tmp_path / "joints.mat", {"joints": joints})
    found = numbers(capsys, tmp_path / "pred.mat", "--gt", tmp_path / "joints.mat", "--metric", "rmse")
    assert list(found.values())[:14] == pytest.approx(metrics.rmse(pred, target, visible=visible).tolist())
    # LSP's third row means occluded, and those count
    joints = np.concatenate([target, 1.0 - visible[..., None]], axis=2).transpose(2, 1, 0)
    scipy_io.savemat(tmp_path / "joints.mat", {"joints": joints})
    found = numbers(capsys, tmp_path / "pred.mat", "--gt", tmp_path / "joints.mat", "--metric", "rmse")
    assert list(found.values())[:14] == pytest.approx(metrics.rmse(pred, target).tolist())


def test_predictions_for_the_test_images_of_lsp(capsys, tmp_path):
    """Against all of joints.mat the rows 1001 to 2000 count; other numbers of people do not match."""
    scipy_io = pytest.importorskip("scipy.io")
    rng = np.random.default_rng(0)
    target = rng.uniform(0, 200, (2000, 14, 2))
    pred = target + rng.normal(0, 9, target.shape)
    joints = np.concatenate([target, np.ones((2000, 14, 1))], axis=2).transpose(2, 1, 0)
    scipy_io.savemat(tmp_path / "joints.mat", {"joints": joints})
    arguments = "--gt", tmp_path / "joints.mat", "--metric", "pdj", "--skeleton", "lsp14"
    for rows in (slice(1000, 2000), slice(0, 2000)):
        scipy_io.savemat(tmp_path / "pred.mat", {"pred": pred[rows].transpose(2, 1, 0)})
        assert numbers(capsys, tmp_path / "pred.mat", *arguments) == metrics.lsp_pck(pred[rows], target[rows])
    scipy_io.savemat(tmp_path / "pred.mat", {"pred": pred[:500].transpose(2, 1, 0)})
    assert "(500, 14, 2)" in fails(capsys, tmp_path / "pred.mat", *arguments)


def test_the_torso_box_of_flic_normalises(capsys, tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    pred, target, _, _ = people(keypoints=12)
    scipy_io.savemat(tmp_path / "joints.mat", {"joints": target.transpose(2, 1, 0)})
    scipy_io.savemat(tmp_path / "pred.mat", {"pred": pred[:, :11].transpose(2, 1, 0)})
    found = numbers(capsys, tmp_path / "pred.mat", "--gt", tmp_path / "joints.mat", "--metric", "pck")
    expected = metrics.pck(pred[:, :11], target[:, :11], np.linalg.norm(target[:, 11], axis=1))
    assert list(found.values())[:11] == expected.tolist()


def test_mpii_files_hold_annotations_and_predictions(capsys, tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    pred, target, visible, length = people(keypoints=16)
    corners = np.stack([np.zeros((20, 2)), np.stack([length, length], axis=1)], axis=1)
    columns = {"pos_gt_src": target, "pos_pred_src": pred, "headboxes_src": corners}
    stored = {name: np.moveaxis(array, 0, -1) for name, array in columns.items()} | {"jnt_missing": 1 - visible.T}
    scipy_io.savemat(tmp_path / "both.mat", stored)
    found = numbers(
        capsys, tmp_path / "both.mat", "--gt", tmp_path / "both.mat", "--metric", "pckh", "--skeleton", "mpii16"
    )
    assert found == metrics.mpii_pckh(pred, target, metrics.mpii_head_size(corners), visible=visible)


def test_head_boxes(capsys, tmp_path):
    pred, target, visible, length = people(keypoints=16)
    corners = np.stack([np.zeros((20, 2)), np.stack([length, length], axis=1)], axis=1)
    np.savez(tmp_path / "gt.npz", keypoints=target, visible=visible, headboxes=corners)
    np.save(tmp_path / "pred.npy", pred)
    found = numbers(
        capsys, tmp_path / "pred.npy", "--gt", tmp_path / "gt.npz", "--metric", "pckh", "--skeleton", "mpii16"
    )
    assert found == metrics.mpii_pckh(pred, target, metrics.mpii_head_size(corners), visible=visible)


# ---------------------------------------------------------------------------------------------------------------------
# mistakes


def test_lost_predictions_are_reported(capsys, tmp_path, files):
    pred, _, visible, _ = people()
    pred[visible[:, 3].argmax(), 3] = np.nan
    np.save(tmp_path / "pred.npy", pred)
    code, _, err = run(capsys, *files, "--metric", "pck")
    assert (code, err) == (0, "posezoo: warning: 1 of the predicted keypoints are not finite and count as misses\n")
    code, out, err = run(capsys, *files, "--metric", "rmse", "--json", "-")
    assert json.loads(out)["keypoint 3"] is None  # infinite, which JSON cannot say
    assert "inf" in err


def test_mistakes_are_one_line(capsys, tmp_path, files):
    _, target, visible, length = people()
    gt = tmp_path / "other.npz"

    def with_truth(metric="pck", *arguments, **arrays):
        np.savez(gt, **arrays)
        return fails(capsys, files[0], "--gt", gt, "--metric", metric, *arguments)

    assert "unknown metric 'pckhh'; expected one of coco-ap, pck" in fails(capsys, *files, "--metric", "pckhh")
    assert "nowhere.npz: there is no such file" in fails(
        capsys, files[0], "--gt", tmp_path / "nowhere.npz", "--metric", "pck"
    )
    assert "expected an array called keypoints, found points" in with_truth(points=target)
    assert "(20, 14, 2)" in (error := with_truth(keypoints=target[:19]))
    assert "(19, 14, 2)" in error
    assert "pck needs normalizer (N,), in pixels; found keypoints, visible" in with_truth(
        keypoints=target, visible=visible
    )
    assert "pckh needs head_size (N,) or headboxes" in with_truth("pckh", keypoints=target)
    assert "person 3 has length 0.0" in with_truth(keypoints=target, normalizer=np.where(np.arange(20) == 3, 0, length))
    assert "person 4 has length 0.0" in with_truth(
        "pckh", keypoints=target, head_size=np.arange(20) - 4.0 + 9 * (np.arange(20) < 4)
    )
    assert "has no extent" in with_truth("pckh", keypoints=target, headboxes=np.zeros((20, 2, 2)))
    assert "mark missing ones in `visible`" in with_truth(keypoints=target * math.nan, normalizer=length)
    assert "one length per person, (20,), got (19,)" in with_truth(keypoints=target, normalizer=length[:19])
    assert "visible: expected (N, K) = (20, 14)" in with_truth(
        keypoints=target, visible=visible[:, :9], normalizer=length
    )
    assert "mpjpe is for keypoints in 3D" in with_truth("mpjpe", keypoints=target)
    assert "pdj needs --skeleton" in with_truth("pdj", keypoints=target)
    assert "pcp needs --skeleton" in with_truth("pcp", keypoints=target)
    assert "'coco17' has 17 keypoints" in with_truth("pdj", "--skeleton", "coco17", keypoints=target)
    assert "unknown skeleton 'lsp'" in with_truth("pdj", "--skeleton", "lsp", keypoints=target)
    assert "expected numbers (N, K, 2)" in with_truth("rmse", keypoints=target[0])
    assert "unknown convention 'official'" in fails(
        capsys, *mpii_files(tmp_path), "--metric", "pckh", "--skeleton", "mpii16", "--convention", "official"
    )


def mpii_files(folder):
    pred, target, _, length = people(keypoints=16)
    np.savez(folder / "mpii.npz", keypoints=target, head_size=length)
    np.save(folder / "mpii.npy", pred)
    return folder / "mpii.npy", "--gt", folder / "mpii.npz"


def test_files_that_cannot_be_read(capsys, tmp_path, files, monkeypatch):
    for name, content in (("a.npy", b"hello"), ("a.npz", b"hello"), ("b.npy", b""), ("a.mat", b"hello" * 50)):
        (tmp_path / name).write_bytes(content)
        assert name in fails(capsys, tmp_path / name, *files[1:], "--metric", "pck")
    (tmp_path / "a.txt").write_text("1 2 3")
    assert "expected .json, .npy, .npz or .mat" in fails(capsys, tmp_path / "a.txt", *files[1:], "--metric", "pck")
    (tmp_path / "a.json").write_text("{")
    assert "is for coco-ap" in fails(capsys, tmp_path / "a.json", *files[1:], "--metric", "pck")
    assert "coco-ap reads COCO json" in fails(capsys, *files, "--metric", "coco-ap")
    assert "a.json" in fails(capsys, tmp_path / "a.json", "--gt", tmp_path / "a.json", "--metric", "coco-ap")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "objects" in fails(capsys, tmp_path / "objects.npy", *files[1:], "--metric", "pck")
    for name in ("scipy", "scipy.io"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "reading MATLAB files needs SciPy: pip install" in fails(
        capsys, tmp_path / "a.mat", *files[1:], "--metric", "pck"
    )


@pytest.mark.parametrize(
    "arguments",
    ["", "a.npy", "a.npy --gt b.npy", "a --gt b --metric c --skeleton d --sigmas 1"],
)
def test_usage(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *arguments.split()])
    assert caught.value.code == 2
    assert "usage: posezoo evaluate" in capsys.readouterr().err


def test_the_help_names_every_metric():
    named = set(EVALUATE_HELP.replace(".", ",").replace(":", ",").replace("\n", " ").replace(" ", "").split(","))
    assert set(METRICS) <= named


# ---------------------------------------------------------------------------------------------------------------------
# protocols


def test_protocols_give_a_row_of_their_paper(capsys, tmp_path):
    rng = np.random.default_rng(0)
    target = rng.normal(0, 300, (6, 17, 3))
    pred = target + rng.normal(0, 20, target.shape)
    groups = {
        "actions": ["Eating"] * 4 + ["Photo"] * 2, "subjects": ["S9", "S11"] * 3, "videos": list("aabbcc"),
    }  # fmt: skip
    np.savez(tmp_path / "gt.npz", keypoints=target, **groups)
    np.save(tmp_path / "pred.npy", pred)
    files = (tmp_path / "pred.npy", "--gt", tmp_path / "gt.npz")
    for protocol in ("martinez-1", "hossain-2", "rpsm-h36m"):
        assert numbers(capsys, *files, "--protocol", protocol) == pytest.approx(
            metrics.by_protocol(pred, target, protocol, **groups)
        )
    np.savez(tmp_path / "gt.npz", keypoints=target, actions=groups["actions"], subjects=groups["subjects"])
    assert "hossain-1 needs videos (6,), found actions, keypoints, subjects" in fails(
        capsys, *files, "--protocol", "hossain-1"
    )
    assert "unknown protocol 'one'" in fails(capsys, *files, "--protocol", "one")
    np.savez(tmp_path / "gt.npz", keypoints=target[..., :2])
    assert "expected (N, K, 3)" in fails(capsys, *files, "--protocol", "martinez-1")
