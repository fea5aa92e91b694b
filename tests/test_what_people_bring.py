"""Files as other people's tools write them, and damaged or hostile ones: the right values, or a
clear error.
"""

import json
import pickle
import struct
import time
import warnings
import zipfile

import numpy as np
import pytest
import torch
from json_places import changed, places
from mocap_files import amc, asf, bvh, poses
from PIL import Image

from posezoo.data import COCO, filters
from posezoo.data.cmu import UNIT
from posezoo.data.detections import read_keypoints
from posezoo.data.files import load_arrays, load_mat
from posezoo.data.mocap import read_amc, read_asf, read_bvh
from posezoo.data.single_person import track_person
from posezoo.evaluate import evaluate_files
from posezoo.metrics import coco_ap

RNG = np.random.default_rng(0)
BODY = RNG.uniform((200, 100), (400, 600), (17, 2)).round(3)
COCO_NAMES = list(COCO.skeleton.keypoints)


def person(shift=0.0, size=1.0, body=BODY):
    return np.concatenate([body * size + [shift, 0.0], np.full((len(body), 1), 0.9)], axis=1)


def write(path, content, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding=encoding)
    return path


def results(frames, ids=None):
    ids = range(len(frames)) if ids is None else ids
    return [
        {"image_id": i, "category_id": 1, "keypoints": p.ravel().tolist(), "score": 0.9}
        for i, p in zip(ids, frames, strict=True)
    ]


# ------------------------------------------------------------------------------------------------------------ tracking


def test_one_keypoint_does_not_lose_the_person():
    lone = np.zeros((17, 3))
    lone[0] = person(20)[0]
    video = track_person([[lone if i == 5 else person(4.0 * i)] for i in range(20)])
    expected = np.stack([lone if i == 5 else person(4.0 * i) for i in range(20)])
    np.testing.assert_array_equal(video, expected)


def test_a_camera_cut_does_not_lose_the_person():
    video = track_person([[person(0.0 if i < 5 else 1500.0)] for i in range(20)])
    assert np.isfinite(video).all()
    assert (video[5:, 0, 0] == BODY[0, 0] + 1500).all()


def test_a_false_first_detection_is_left_out():
    video = track_person([[person(size=0.01)]] + [[person(1000.0)]] * 19)
    assert np.isnan(video[0]).all()
    assert np.isfinite(video[1:]).all()


@pytest.mark.parametrize("length", [5, 99, 400])
def test_an_occlusion_is_bridged(length):
    """Somebody else in view meanwhile is not taken for the person."""
    other = person(2000.0, size=0.2)
    frames = [[person(i), other] for i in range(200)]
    frames += [[other]] * length + [[other, person(250.0 + i)] for i in range(200)]
    video = track_person(frames)
    assert np.isfinite(video[:200]).all()
    assert np.isfinite(video[200 + length :]).all()
    assert np.isnan(video[200 : 200 + length]).all()
    assert video[-1, 0, 0] == BODY[0, 0] + 449


def test_tracking_takes_linear_time():
    def seconds(count):
        frames = [[person(i % 50), person(900.0, 0.5)] for i in range(count)]
        start = time.process_time()
        track_person(frames)
        return time.process_time() - start

    seconds(100)
    assert seconds(3000) / seconds(500) < 18  # 6 if linear, 36 if quadratic


@pytest.mark.parametrize(
    "ids",
    [
        [3, 4, 7, 9],
        ["3", "4", "7", "9"],
        [3.0, 4.0, 7.0, 9.0],
        ["a/video2_0003.png", "a/video2_0004.png", "a/video2_0007.png", "a/video2_0009.png"],
        [10000030003, 10000030004, 10000030007, 10000030009],
        ["3" * 30 + f"_{i:012}_keypoints" for i in (3, 4, 7, 9)],
    ],
)
def test_frames_without_people_are_kept(tmp_path, ids):
    order = [2, 0, 3, 1]
    content = results([person(5.0 * i) for i in order], [ids[i] for i in order])
    keypoints = read_keypoints(write(tmp_path / "a.json", content), "coco17")["keypoints"]
    assert np.isfinite(keypoints[:, 0, 0]).tolist() == [True, True, False, False, True, False, True]
    np.testing.assert_array_equal(keypoints[[0, 1, 4, 6], 0, 0] - BODY[0, 0], [0, 5, 10, 15])


def test_frames_missing_from_a_folder_stay(tmp_path):
    for i in (0, 1, 2, 5):
        people = [{"pose_keypoints_2d": person(body=np.vstack([BODY, BODY[:1]])).ravel().tolist()}]
        write(tmp_path / f"clip_{i:012}_keypoints.json", {"people": people})
    keypoints = read_keypoints(tmp_path)["keypoints"]
    assert np.isfinite(keypoints[:, 0, 0]).tolist() == [True, True, True, False, False, True]


@pytest.mark.parametrize("ids", [[0, 10**12], ["a1", "a" + "9" * 17], [0.5, 1.5], [True, False], [None, 1], [[1], [2]]])
def test_ids_that_are_no_frames_are_refused_without_memory(tmp_path, ids):
    file = write(tmp_path / "a.json", results([person(), person()], ids))
    with pytest.raises(ValueError, match=r"a\.json: .*image_id"):
        read_keypoints(file)


# ------------------------------------------------------------------------------------------------------ keypoint files


def openpose(tmp_path, people, encoding="utf-8"):
    for i in range(3):
        write(tmp_path / "json" / f"clip_{i:012}_keypoints.json", {"version": 1.3, "people": people}, encoding)
    return read_keypoints(tmp_path / "json")


BODY18 = np.vstack([BODY, BODY[:1] + 7])
TRIPLES18 = person(body=BODY18).ravel().tolist()


@pytest.mark.parametrize(
    ("people", "encoding", "scored"),
    [
        ([{"pose_keypoints_2d": BODY18.ravel().tolist()}], "utf-8", False),
        (
            [{"pose_keypoints_2d": TRIPLES18}, {"pose_keypoints_2d": [], "face_keypoints_2d": [1, 2, 0.5]}],
            "utf-8",
            True,
        ),
        ([{"pose_keypoints_2d": TRIPLES18}], "utf-8-sig", True),
        ([{"pose_keypoints_2d": TRIPLES18}], "utf-16", True),
        ([{"pose_keypoints": TRIPLES18}], "utf-8", True),
    ],
)
def test_openpose_of_every_age(tmp_path, people, encoding, scored):
    video = openpose(tmp_path, people, encoding)
    np.testing.assert_array_equal(video["keypoints"], np.stack([BODY18] * 3))
    assert video["skeleton"] == "openpose18"
    assert ("scores" in video) == scored


def mmpose_frames():
    return [
        {"frame_id": i, "instances": [] if i == 1 else [
            {"keypoints": (BODY + i).tolist(), "keypoint_scores": [0.8] * 17, "bbox": [[1, 2, 3, 4]], "bbox_score": 1}
        ]}
        for i in range(4)
    ]  # fmt: skip


def test_mmpose(tmp_path):
    names = {str(i): name for i, name in enumerate(COCO_NAMES)}
    meta = {"dataset_name": "coco", "keypoint_id2name": names}
    video = read_keypoints(write(tmp_path / "v.json", {"meta_info": meta, "instance_info": mmpose_frames()}))
    assert video["skeleton"] == "coco17"
    np.testing.assert_array_equal(video["keypoints"][[0, 2, 3]], np.stack([BODY, BODY + 2, BODY + 3]))
    assert np.isnan(video["keypoints"][1]).all()
    assert (video["scores"][0] == 0.8).all()
    for frame in mmpose_frames():
        write(tmp_path / "images" / f"{frame['frame_id']}.json", frame["instances"])
    folder = read_keypoints(tmp_path / "images", "coco17")
    np.testing.assert_array_equal(folder["keypoints"], video["keypoints"])
    one = read_keypoints(write(tmp_path / "one.json", mmpose_frames()[0]["instances"]), "coco17")
    assert one["keypoints"].shape == (1, 17, 2)


def test_alphapose(tmp_path):
    frames = [person(3.0 * i) for i in range(3)]
    entries = [{**entry, "image_id": f"{i}.jpg", "idx": 1} for i, entry in enumerate(results(frames))]
    by_image = {f"{i}.jpg": {"version": 0.1, "bodies": [{"joints": p.ravel().tolist()}]} for i, p in enumerate(frames)}
    for content in (entries, by_image):
        video = read_keypoints(write(tmp_path / "alphapose-results.json", content), "coco17")
        np.testing.assert_array_equal(video["keypoints"], np.stack(frames)[..., :2])


def test_mediapipe_needs_the_size_of_the_images(tmp_path):
    pixels = RNG.uniform(50, 400, (3, 33, 2))
    fractions = (pixels + 0.5) / (640, 480)
    frames = [[{"x": x, "y": y, "z": 0.0, "visibility": 0.7} for x, y in frame] for frame in fractions.tolist()]
    bare = write(tmp_path / "bare.json", frames)
    with pytest.raises(ValueError, match=r"fractions of the image; pass its size=\(height, width\)"):
        read_keypoints(bare)
    videos = [
        read_keypoints(bare, size=(480, 640)),
        read_keypoints(write(tmp_path / "a.json", {"width": 640, "height": 480, "frames": frames})),
        read_keypoints(write(tmp_path / "b.json", [{"pose_landmarks": [frame]} for frame in frames]), size=(480, 640)),
    ]
    for video in videos:
        np.testing.assert_allclose(video["keypoints"], pixels, atol=1e-9)
        assert (video["scores"] == 0.7).all()
        assert video["skeleton"][11] == "left_shoulder"


def test_videopose3d(tmp_path):
    points = np.stack([BODY + i for i in range(5)])
    custom = tmp_path / "data_2d_custom_mine.npz"
    np.savez_compressed(
        custom, metadata={"layout_name": "coco", "num_joints": 17}, positions_2d={"v.mp4": {"custom": [points]}}
    )
    video = read_keypoints(custom)
    np.testing.assert_array_equal(video["keypoints"], points)
    assert video["skeleton"] == "coco17"
    np.savez_compressed(custom, metadata={}, positions_2d={"v": {"custom": [points]}, "w": {"custom": [points]}})
    with pytest.raises(ValueError, match="expected one video, got 2"):
        read_keypoints(custom)
    found = np.empty(5, object)
    for i in range(5):
        found[i] = [[], np.concatenate([points[i].T, np.full((1, 17), 9.0), np.full((1, 17), 0.6)])[None]]
    np.savez_compressed(tmp_path / "v.mp4.npz", keypoints=found, boxes=found, segments=found, metadata={"w": 9})
    video = read_keypoints(tmp_path / "v.mp4.npz")
    np.testing.assert_array_equal(video["keypoints"], points)
    assert (video["scores"] == 0.6).all()


COLUMNS = [("net", part, coordinate) for part in ("nose", "left_paw") for coordinate in ("x", "y", "likelihood")]
ROWS = np.array([[10, 20, 0.9, 30, 40, 0.8], [11, 21, 0.9, np.nan, np.nan, np.nan], [12, 22, 0.9, 32, 42, 0.7]])


def check_deeplabcut(video):
    assert video["skeleton"] == ["nose", "left_paw"]
    np.testing.assert_array_equal(video["keypoints"], ROWS.reshape(3, 2, 3)[..., :2])
    np.testing.assert_array_equal(video["scores"], ROWS.reshape(3, 2, 3)[..., 2])


def test_deeplabcut_csv(tmp_path):
    rows = [
        [level, *names]
        for level, names in zip(("scorer", "bodyparts", "coords"), zip(*COLUMNS, strict=True), strict=True)
    ]
    rows += [[i, *("" if np.isnan(value) else value for value in row)] for i, row in enumerate(ROWS)]
    file = tmp_path / "videoDLC.csv"
    file.write_text("\r\n".join(",".join(map(str, row)) for row in rows))
    check_deeplabcut(read_keypoints(file))
    file.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"expected DeepLabCut's \.csv"):
        read_keypoints(file)


def test_deeplabcut_h5(tmp_path):
    """As pandas writes it: a table with pickled names of columns, or levels and codes."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "table.h5", "w") as file:
        group = file.create_group("df_with_missing")
        group.attrs["pandas_type"] = np.bytes_(b"frame_table")
        group.attrs["non_index_axes"] = np.bytes_(pickle.dumps([(1, COLUMNS)], protocol=0))
        kind = np.dtype([("index", "<i8"), ("values_block_0", "<f8", (6,))])
        group["table"] = np.array([(i, row) for i, row in enumerate(ROWS)], kind)
    check_deeplabcut(read_keypoints(tmp_path / "table.h5"))
    with h5py.File(tmp_path / "fixed.h5", "w") as file:
        group = file.create_group("df_with_missing")
        group.attrs["pandas_type"] = np.bytes_(b"frame")
        group.attrs["axis0_nlevels"] = 3
        for level, names in enumerate(zip(*COLUMNS, strict=True)):
            known = sorted(set(names))
            group[f"axis0_level{level}"] = np.array(known, "S")
            group[f"axis0_label{level}"] = np.array([known.index(name) for name in names], np.int8)
        group["axis1"], group["block0_values"] = np.arange(3), ROWS
    check_deeplabcut(read_keypoints(tmp_path / "fixed.h5"))


def test_sleap(tmp_path):
    h5py = pytest.importorskip("h5py")
    points = np.stack([BODY + i for i in range(4)])
    with h5py.File(tmp_path / "v.analysis.h5", "w") as file:
        file["tracks"] = points.transpose(2, 1, 0)[None]
        file["node_names"] = np.array(COCO_NAMES, "S")
        file["point_scores"] = np.full((1, 17, 4), 0.5)
    video = read_keypoints(tmp_path / "v.analysis.h5")
    np.testing.assert_array_equal(video["keypoints"], points)
    assert video["skeleton"] == "coco17"


def test_evaluate_reads_videos_of_one_person(tmp_path):
    truth = write(tmp_path / "gt.json", {"instance_info": mmpose_frames()})
    found = [person(i) + np.array([0, i + 4.0, 0]) for i in range(4)]
    predictions = write(tmp_path / "pred.json", results(found))
    score = evaluate_files(predictions, truth, "mean-pixel-error", skeleton="coco17")
    assert score.values["mean"] == pytest.approx(4)
    write(tmp_path / "pred.json", results([*found, person(900)], [0, 1, 2, 3, 3]))
    with pytest.raises(ValueError, match=r"expected one person in a frame.*coco-ap"):
        evaluate_files(predictions, truth, "mean-pixel-error", skeleton="coco17")


# ---------------------------------------------------------------------------------------------------------- COCO files


def annotation(identity=1, image=1, count=17, **changes):
    triples = np.concatenate([BODY[:count] / 8 + 10, np.full((count, 1), 2.0)], axis=1).ravel().tolist()
    return {"id": identity, "image_id": image, "category_id": 1, "iscrowd": 0, "area": 3000.0,
            "bbox": [10, 10, 80, 80], "num_keypoints": count, "keypoints": triples} | changes  # fmt: skip


def coco_file(tmp_path, annotations, categories=None, name="1.png", **options):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (120, 100)).save(tmp_path / name)
    images = [{"id": 1, "file_name": name, "width": 120, "height": 100}]
    content = {"images": images, "annotations": annotations, "categories": categories or []} | options
    return content, write(tmp_path / "people.json", content)


def test_any_number_of_keypoints(tmp_path):
    names = ["left_front", "right_front", "left_back", "right_back"]
    category = {"id": 3, "name": "car", "keypoints": names, "skeleton": [[1, 2], [3, 4]]}
    _, path = coco_file(tmp_path, [annotation(count=4, category_id=3)], [category])
    cars = COCO(tmp_path, path)
    assert cars[0]["keypoints"].shape == (4, 2)
    assert cars.skeleton.keypoints == tuple(names)
    assert cars.skeleton.bones == ((0, 1), (2, 3))
    assert read_keypoints(path)["skeleton"] == names
    _, path = coco_file(tmp_path, [annotation(count=4)])
    with pytest.raises(ValueError, match=r"annotations have 4 keypoints.*give skeleton="):
        COCO(tmp_path, path)
    assert COCO(tmp_path, path, skeleton=names)[0]["keypoints"].shape == (4, 2)


@pytest.mark.parametrize(
    ("categories", "people", "expected"),
    [
        ([(0, "person", 17)], [(8, 0)], [8]),
        ([(1, "dog", 17), (2, "person", 17)], [(7, 1), (8, 2)], [8]),
        ([(1, "car", 0), (5, "Person", 0)], [(8, 5)], [8]),
        ([(1, "car", 0), (5, "skater", 17)], [(8, 5)], [8]),
    ],
)
def test_the_category_is_found_by_name_and_keypoints(tmp_path, categories, people, expected):
    listed = [{"id": i, "name": name, "keypoints": [f"k{n}" for n in range(count)]} for i, name, count in categories]
    _, path = coco_file(tmp_path, [annotation(i, category_id=category) for i, category in people], listed)
    assert COCO(tmp_path, path).annotation_ids == expected


def test_of_several_categories_one_is_chosen(tmp_path):
    listed = [{"id": i, "name": name, "keypoints": COCO_NAMES} for i, name in ((1, "dog"), (2, "cat"))]
    _, path = coco_file(tmp_path, [annotation(7), annotation(8, category_id=2)], listed)
    with pytest.raises(ValueError, match=r"expected one category called person.*dog \(id 1\), cat \(id 2\)"):
        COCO(tmp_path, path)
    assert COCO(tmp_path, path, category="cat").annotation_ids == [8]
    assert COCO(tmp_path, path, category=1).annotation_ids == [7]


BOX = {"id": 2, "image_id": 1, "iscrowd": 0, "area": 0.0, "bbox": [0, 0, 0, 0], "num_keypoints": 0}


@pytest.mark.parametrize("other", [{"category_id": 1, "keypoints": []}, {"category_id": 1}, {"category_id": 2}])
def test_annotations_without_keypoints(tmp_path, other):
    content, path = coco_file(
        tmp_path, [annotation(), BOX | other], [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]
    )
    assert len(COCO(tmp_path, path)) == len(read_keypoints(path, "coco17")["keypoints"]) == 1
    found = [{"image_id": 1, "category_id": 1, "keypoints": annotation()["keypoints"], "score": 0.9}]
    assert coco_ap(content, found)["AP"] == pytest.approx(1)


def test_areas_that_are_missing_are_of_the_box(tmp_path):
    bare = {key: value for key, value in annotation().items() if key != "area"}
    content, path = coco_file(tmp_path, [bare], [{"id": 1, "name": "person"}])
    assert float(COCO(tmp_path, path)[0]["area"]) == pytest.approx(0.53 * 80 * 80)
    shifted = np.array(bare["keypoints"]) + np.tile([6.0, 0, 0], 17)
    found = [{"image_id": 1, "category_id": 1, "keypoints": shifted.tolist(), "score": 0.9}]
    with_area = {**content, "annotations": [{**bare, "area": 0.53 * 6400}]}
    assert coco_ap(content, found) == coco_ap(with_area, found)


def test_several_categories_of_other_keypoints():
    categories = [
        {"id": 1, "name": "person", "keypoints": COCO_NAMES},
        {"id": 2, "name": "car", "keypoints": list("abcd")},
    ]
    truth = {"images": [{"id": 1}], "annotations": [annotation(), annotation(2, count=4, category_id=2)]}
    found = [{"image_id": 1, "category_id": 1, "keypoints": annotation()["keypoints"], "score": 0.9}]
    assert coco_ap(truth | {"categories": categories}, found)["AP"] == pytest.approx(1)


@pytest.mark.parametrize("name", ["./1.png", "sub/folder/1.png", ".\\sub\\1.png"])
def test_folders_in_file_names(tmp_path, name):
    stored = name.replace("\\", "/")
    _, path = coco_file(
        tmp_path, [annotation()], name=stored, images=[{"id": 1, "file_name": name, "width": 120, "height": 100}]
    )
    assert COCO(tmp_path, path)[0]["image"].shape == (3, 100, 120)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "a/../../b.png"])
def test_files_outside_the_folder_are_refused(tmp_path, name):
    _, path = coco_file(tmp_path, [annotation()], images=[{"id": 1, "file_name": name, "width": 120, "height": 100}])
    with pytest.raises(ValueError, match="outside the folder of images"):
        COCO(tmp_path, path)


def test_images_of_another_size_and_on_their_side(tmp_path):
    _, path = coco_file(tmp_path, [annotation()])
    Image.new("RGB", (60, 50)).save(tmp_path / "1.png")
    with pytest.raises(ValueError, match=r"1\.png is 60 x 50 pixels.*annotations are for 120 x 100"):
        COCO(tmp_path, path)[0]
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (100, 120)).save(tmp_path / "1.png", exif=turned)
    assert COCO(tmp_path, path)[0]["image"].shape == (3, 100, 120)


@pytest.mark.parametrize(
    "changes", [{"bbox": [0.1, 0.1, 0.5, 0.7]}, {"keypoints": [0.25, 0.5, 2, 0.75, 0.9, 2] + [0] * 45}]
)
def test_fractions_are_refused(tmp_path, changes):
    _, path = coco_file(tmp_path, [annotation(**changes)])
    with pytest.raises(ValueError, match=r"annotation 0 .*in fractions of the image"):
        COCO(tmp_path, path)


def test_predictions_in_fractions_are_refused():
    fractions = (np.array(annotation()["keypoints"]).reshape(17, 3) / [120, 100, 1]).ravel().tolist()
    found = [{"image_id": 1, "category_id": 1, "keypoints": fractions, "score": 0.9}]
    truth = {"images": [{"id": 1}], "annotations": [annotation()], "categories": [{"id": 1, "name": "person"}]}
    with pytest.raises(ValueError, match="predictions: keypoints are in fractions"):
        coco_ap(truth, found)


@pytest.mark.parametrize("shift", [0, 397133])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 0, 2]])
def test_results_match_by_file_name(shift, order):
    names = ["b.png", "val/a.png", "./c.png"]
    truth = {
        "images": [{"id": shift + i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [annotation(i + 1, shift + i, keypoints=person(90 * i).ravel().tolist()) for i in range(3)],
        "categories": [{"id": 1, "name": "person"}],
    }
    files = ["/photos/b.png", "a.png", "photos/c.png"]
    found = [
        {
            "file_name": files[i],
            "image_id": at,
            "category_id": 1,
            "keypoints": person(90 * i).ravel().tolist(),
            "score": 1,
        }
        for at, i in enumerate(order)
    ]
    assert coco_ap(truth, found)["AP"] == pytest.approx(1)
    by_id = [{key: value for key, value in entry.items() if key != "file_name"} for entry in found]
    for entry, i in zip(by_id, order, strict=True):
        entry["image_id"] = shift + i
    assert coco_ap(truth, by_id)["AP"] == pytest.approx(1)
    found[0]["file_name"] = "elsewhere.png"
    with pytest.raises(ValueError, match=r"predictions\[0\]: the ground truth has no images with the file_name"):
        coco_ap(truth, found)


# -------------------------------------------------------------------------------------------------------- motion files


@pytest.mark.parametrize(
    ("spelling", "unit"), [("degrees", "deg"), ("Deg", "deg"), ("RADIANS", "rad"), ("radian", "rad")]
)
def test_units_of_angles_in_any_spelling(spelling, unit):
    frames = poses(2)
    expected = read_amc(amc(frames), read_asf(asf().replace("angle deg", f"angle {unit}"))).positions
    found = read_amc(amc(frames), read_asf(asf().replace("angle deg", f"angle {spelling}"))).positions
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="expected the unit angle to be degrees or radians"):
        read_asf(asf().replace("angle deg", "angle turns"))


def test_amc_starts_at_any_frame():
    text, rig = amc(poses(3)), read_asf(asf())
    later = text
    for number in (3, 2, 1):
        later = later.replace(f"\r\n{number}\r\n", f"\r\n{number + 400}\r\n")
    torch.testing.assert_close(read_amc(later, rig).positions, read_amc(text, rig).positions)


CHANNELS = (
    "HIERARCHY ROOT Hips {{ OFFSET 0 0 0 CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation"
    " JOINT Chest {{ OFFSET 0 10 0 CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation"
    " End Site {{ OFFSET 0 5 0 }} }} }} MOTION Frames: 1 Frame Time: 0.02\n0 90 0 90 0 0 {} 0 0 0"
)


@pytest.mark.parametrize(
    ("channels", "chest"), [("0 10 0", (-10, 90, 0)), ("3 12 0", (-12, 93, 0)), ("0 0 0", (-10, 90, 0))]
)
def test_bvh_with_channels_on_every_joint(channels, chest):
    """Positions replace the offset, or are all 0; the root is turned by 90 degrees about z."""
    motion = read_bvh(CHANNELS.format(channels), unit=1)
    end = np.array(chest) - (5, 0, 0)
    np.testing.assert_allclose(motion.positions[0], [(0, 90, 0), chest, end], atol=1e-9)


def test_nan_in_motion_files_names_file_and_line():
    rig, text = read_asf(asf()), amc(poses(3))
    line = next(i for i, row in enumerate(text.splitlines()) if i > 8 and row.startswith("root")) + 1
    rows = text.splitlines()
    rows[line - 1] = "root nan 0 0 0 0 0"
    with pytest.raises(ValueError, match=f"02_01, line {line}: 'nan' is not finite"):
        read_amc("\n".join(rows), rig, "02_01")
    body = bvh(poses(2)).splitlines()
    body[-1] = body[-1].replace(body[-1].split()[3], "1e999", 1)
    with pytest.raises(ValueError, match=f"walk, line {len(body)}: '1e999' is not finite"):
        read_bvh("\n".join(body), "walk", unit=UNIT)
    with pytest.raises(ValueError, match=r"02.asf, line \d+: 'inf' is not finite"):
        read_asf(asf().replace("length 7.2", "length inf", 1), "02.asf")


def test_hostile_motion_files_cost_no_time():
    start = time.process_time()
    with pytest.raises(ValueError, match="is malformed"):
        read_asf(asf().replace(":hierarchy", "  begin\n" * 60000 + ":hierarchy"))
    with pytest.raises(ValueError, match="is it a BVH file"):
        read_bvh(bvh(poses(2)).replace("Frames: 2", "Frames: " + "9" * 5000), unit=1)
    with pytest.raises(ValueError, match="malformed"):
        read_bvh("HIERARCHY " + "ROOT a { OFFSET 0 0 0 " * 5000 + "MOTION Frames: 1 Frame Time: 1\n0", unit=1)
    assert time.process_time() - start < 10


# ----------------------------------------------------------------------------------------------------- hostile archives


def test_one_byte_of_a_mat_file_cannot_take_the_process_down(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    scipy_io.savemat(tmp_path / "a.mat", {"keypoints": np.zeros((3, 17, 2))})
    assert load_mat(tmp_path / "a.mat", "", squeeze=False)["keypoints"].shape == (3, 17, 2)
    data = (tmp_path / "a.mat").read_bytes()
    at = data.index(struct.pack("<II", 9, 8 * 3 * 17 * 2))  # the tag of the doubles
    (tmp_path / "a.mat").write_bytes(data[:at] + b"\x0f" + data[at + 1 :])
    with pytest.raises(ValueError, match=r"a\.mat cannot be read as a MATLAB file"):
        load_mat(tmp_path / "a.mat", "")


def test_sizes_that_an_array_claims_are_compared_with_the_file(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (900000000, 17, 2), }"
    header += b" " * (117 - len(header)) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    (tmp_path / "a.npy").write_bytes(array)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("keypoints.npy", array)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(ValueError, match=rf"{name}.*larger than the file"):
            read_keypoints(tmp_path / name)
        with pytest.raises(ValueError, match="larger than the file"):
            load_arrays(tmp_path / name)


class Command:
    def __reduce__(self):
        return print, ("run",)


def test_pickles_run_no_code(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", keypoints=np.array([Command()], object), boxes=np.zeros(1))
    with pytest.raises(ValueError, match="only arrays are expected"):
        read_keypoints(tmp_path / "a.npz")
    assert capsys.readouterr().out == ""


def test_json_that_nests_too_deep(tmp_path):
    (tmp_path / "a.json").write_text("[" * 200000)
    for read in (read_keypoints, lambda path: COCO(tmp_path, path), lambda path: coco_ap(path, [])):
        with pytest.raises(ValueError, match=r"a\.json"):
            read(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["walk.c3d", "walk.trc"])
def test_marker_files_are_out_of_scope(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"markers in .c3d and .trc files are not"):
        read_keypoints(tmp_path / name)


# ------------------------------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize(
    "call",
    [
        filters.mean_filter,
        filters.median_filter,
        lambda points: filters.gaussian_filter(points, 1.5, scores=points[..., 0] + 500),
        lambda points: filters.one_euro_filter(points, fps=25),
        lambda points: filters.OneEuroStream(fps=25)(points[0]),
    ],
)
def test_filters_return_the_kind_that_they_get(call):
    points = RNG.uniform(0, 400, (9, 17, 2))
    found, expected = call(points), call(torch.from_numpy(points))
    assert isinstance(found, np.ndarray)
    assert isinstance(expected, torch.Tensor)
    np.testing.assert_array_equal(found, expected)


def test_a_kernel_longer_than_the_video():
    points = RNG.uniform(0, 400, (4, 3, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smooth = filters.gaussian_filter(points, sigma=1e7)
    np.testing.assert_allclose(smooth, np.broadcast_to(points.mean(axis=0), points.shape))


# ------------------------------------------------------------------------------------------------ a battery of mistakes

WRONG = (None, "x", -1, 1e400, float("nan"), [], {}, [[]], True, 10**30, "\x1b[2J", [1, 2, 3], {"x": 1}, "9" * 6000)


def documents():
    frame = [{"x": 0.1 * i, "y": 0.2, "visibility": 0.7} for i in range(4)]
    truth = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 120, "height": 100} for i in (1, 2)],
        "annotations": [annotation(count=4), annotation(2, 2, count=4)],
        "categories": [{"id": 1, "name": "person", "keypoints": list("abcd"), "skeleton": [[1, 2]]}],
    }
    found = [{"file_name": f"{i}.png", **entry} for i, entry in enumerate(results([person()[:4]] * 2, [1, 2]), 1)]
    return {
        "results": found,
        "annotations": truth,
        "openpose": {"version": 1.3, "people": [{"pose_keypoints_2d": person()[:4].ravel().tolist()}]},
        "mmpose": {"meta_info": {"keypoint_id2name": dict(enumerate("abcd"))}, "instance_info": [
            {"frame_id": 0, "instances": [{"keypoints": BODY[:4].tolist(), "keypoint_scores": [0.8] * 4}]}
        ]},
        "by image": {"0.jpg": {"people": [{"pose_keypoints_2d": person()[:4].ravel().tolist()}]}},
        "mediapipe": {"width": 640, "height": 480, "frames": [frame, frame]},
    }  # fmt: skip


@pytest.mark.parametrize("name", documents())
def test_every_wrong_value_is_an_error_or_harmless(tmp_path, name):
    """One value of a file is wrong: a ValueError that names the file, or keypoints; never another
    exception.
    """
    random = np.random.default_rng(0)
    document = json.loads(json.dumps(documents()[name]))
    truth = documents()["annotations"]
    for number in range(2):
        Image.new("RGB", (120, 100)).save(tmp_path / f"{number + 1}.png")
    everywhere = list(places(document))
    messages, harmless = [], 0
    for path in everywhere:
        wrong = changed(document, path, WRONG[random.integers(len(WRONG))])
        file = write(tmp_path / "wrong.json", wrong)
        calls = [lambda: read_keypoints(file)["keypoints"]]  # noqa: B023
        if name == "annotations":
            calls += [lambda: COCO(tmp_path, file), lambda: coco_ap(file, [], sigmas=[0.1] * 4)]  # noqa: B023
        if name == "results":
            calls += [lambda: coco_ap(truth, file, sigmas=[0.1] * 4)]  # noqa: B023
        for call in calls:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)
                    call()
                harmless += 1
            except ValueError as error:
                messages.append(str(error))
            except Exception as error:
                raise AssertionError(f"{path} of {wrong!s:.300}: {error!r:.300}") from error
    print(f"{name}: {len(messages)} errors, {harmless} harmless")  # noqa: T201
    assert messages
    assert not [text for text in messages if not text.replace("\n", "").isprintable() or len(text) > 2000]
