"""LSP and LSPET: both layouts of `joints.mat`, and what the reader says of broken archives."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from posezoo.data import LSP

scipy_io = pytest.importorskip("scipy.io")

LSPET = Path(__file__).parents[2].parent / "shared" / "data" / "lspet"
COUNT = 4


def records(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints `(N, 14, 2)`, counted from 1, and which of them `(N, 14)` carry the flag."""
    rng = np.random.default_rng(seed)
    keypoints, flagged = rng.uniform(1, 60, (COUNT, 14, 2)), rng.random((COUNT, 14)) < 0.3
    flagged[:, :3] = (True, False, False)
    return keypoints, flagged


def unpack(root: Path, joints: np.ndarray, name: str = "im{:04d}.jpg", count: int = COUNT) -> Path:
    """An archive as it lies on the disk; each image is of a colour and size of its own."""
    (root / "images").mkdir(parents=True)
    scipy_io.savemat(root / "joints.mat", {"joints": joints})
    for number in range(1, count + 1):
        Image.new("RGB", (60 + number, 50 + number), (40 * number, 10, 200)).save(root / "images" / name.format(number))
    return root


def lsp(root: Path) -> Path:
    """Layout (3, 14, N), third row 1 for occluded."""
    keypoints, occluded = records()
    return unpack(root, np.concatenate([keypoints, occluded[..., None]], axis=-1).transpose(2, 1, 0))


def lspet(root: Path) -> Path:
    """Layout (14, 3, N), third column 1 for visible."""
    keypoints, hidden = records()
    keypoints[hidden] = -99  # there is no usable position
    joints = np.concatenate([keypoints, ~hidden[..., None]], axis=-1).transpose(1, 2, 0)
    return unpack(root, joints, "im{:05d}.jpg")


# ------------------------------------------------------------------------------------------------------ two layouts


def test_lsp_counts_from_zero_and_keeps_occluded_joints(tmp_path):
    keypoints, _ = records()
    people = LSP(lsp(tmp_path / "lsp"))
    assert len(people) == COUNT
    for i, sample in enumerate(people):
        assert_close(sample["keypoints"], torch.from_numpy(keypoints[i] - 1).float())
        assert sample["visible"].tolist() == [True] * 14


def test_lsp_can_mask_occluded_joints(tmp_path):
    keypoints, occluded = records()
    sample = LSP(lsp(tmp_path / "lsp"), occluded="mask")[2]
    assert sample["visible"].tolist() == (~occluded[2]).tolist()
    seen = keypoints[2][~occluded[2]] - 1
    assert_close(sample["keypoints"][sample["visible"]], torch.from_numpy(seen).float())
    assert sample["keypoints"][~sample["visible"]].abs().max() == 0
    assert_close(sample["box"], torch.from_numpy(np.concatenate([seen.min(0), seen.max(0)])).float())


@pytest.mark.parametrize("occluded", ["keep", "mask"])
def test_lspet_means_the_opposite_and_drops_invisible_joints(tmp_path, occluded):
    keypoints, hidden = records()
    people = LSP(lspet(tmp_path / "lspet"), occluded=occluded)
    for i, sample in enumerate(people):
        assert sample["visible"].tolist() == (~hidden[i]).tolist()
        seen = keypoints[i][~hidden[i]] - 1
        assert_close(sample["keypoints"][sample["visible"]], torch.from_numpy(seen).float())
        assert sample["keypoints"][~sample["visible"]].abs().max() == 0
        assert_close(sample["box"], torch.from_numpy(np.concatenate([seen.min(0), seen.max(0)])).float())


def test_a_sample_has_the_documented_fields(tmp_path):
    sample = LSP(lspet(tmp_path / "lspet"))[1]
    assert sorted(sample) == ["box", "image", "index", "keypoints", "visible"]
    assert sample["image"].shape == (3, 52, 62)
    assert {key: value.dtype for key, value in sample.items() if key != "index"} == {
        "image": torch.uint8, "keypoints": torch.float32, "visible": torch.bool, "box": torch.float32,
    }  # fmt: skip
    assert sample["index"] == 2
    assert (sample["image"][0].float().mean() - 80).abs() < 3  # red: of image 2, and RGB, not BGR
    assert LSP.skeleton.name == "lsp14"


def test_coordinates_that_are_no_numbers_are_invisible(tmp_path):
    keypoints, _ = records()
    joints = np.concatenate([keypoints, np.zeros((COUNT, 14, 1))], axis=-1).transpose(2, 1, 0)
    joints[0, 3, 1] = np.nan
    sample = LSP(unpack(tmp_path / "lsp", joints))[1]
    assert sample["visible"].tolist() == [i != 3 for i in range(14)]
    assert torch.isfinite(sample["keypoints"]).all()


def test_images_are_chosen_by_their_numbers(tmp_path):
    keypoints, _ = records()
    root = lsp(tmp_path / "lsp")
    for image in ("im0001.jpg", "im0004.jpg"):
        (root / "images" / image).unlink()  # not needed for 2 and 3
    people = LSP(root, images=(2, 3))
    assert [sample["index"] for sample in people] == [2, 3]
    assert people[-1]["index"] == 3
    assert people[1]["image"].shape == (3, 53, 63)
    assert_close(people[0]["keypoints"], torch.from_numpy(keypoints[1] - 1).float())
    assert len(LSP(root, images=(3, 3))) == 1
    with pytest.raises(IndexError):
        people[2]


def test_grey_photographs_are_rgb_too(tmp_path):
    root = lsp(tmp_path / "lsp")
    Image.new("L", (30, 20), 77).save(root / "images" / "im0001.jpg")
    image = LSP(root)[0]["image"]
    assert image.shape == (3, 20, 30)
    assert (image.float() - 77).abs().max() <= 1


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("images", [(0, 2), (1, COUNT + 1), (3, 2), (-1, 1)])
def test_errors_about_ranges_name_the_valid_range(tmp_path, images):
    with pytest.raises(ValueError, match=rf"within 1 and {COUNT}, got {re.escape(str(images))}"):
        LSP(lsp(tmp_path / "lsp"), images=images)


def test_bad_treatment_of_occluded_joints(tmp_path):
    with pytest.raises(ValueError, match='"keep" or "mask", got \'drop\''):
        LSP(tmp_path, occluded="drop")


def test_missing_joints_name_the_file(tmp_path):
    with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path / 'joints.mat'))} is missing; root must be"):
        LSP(tmp_path)


@pytest.mark.parametrize(("archive", "name"), [(lsp, "im0003.jpg"), (lspet, "im00003.jpg")])
def test_a_missing_image_is_named_before_training_starts(tmp_path, archive, name):
    root = archive(tmp_path / "data")
    (root / "images" / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} is missing.*unpack the whole archive, or choose images="):
        LSP(root)
    assert len(LSP(root, images=(1, 2))) == 2


@pytest.mark.parametrize("shape", [(14, 2, 4), (4, 14, 3), (3, 14), (3, 16, 4)])
def test_joints_of_another_shape(tmp_path, shape):
    root = unpack(tmp_path / "data", np.ones(shape))
    with pytest.raises(
        ValueError, match=rf"joints.mat: expected joints of shape \(3, 14, N\).*got {re.escape(str(shape))}"
    ):
        LSP(root)


def test_joints_under_another_name(tmp_path):
    scipy_io.savemat(tmp_path / "joints.mat", {"annolist": np.ones((3, 14, 4))})
    with pytest.raises(ValueError, match=r"joints.mat has no array 'joints'"):
        LSP(tmp_path)


@pytest.mark.parametrize("flag", [2, -1, np.nan])
def test_a_broken_flag_names_its_record(tmp_path, flag):
    joints = np.ones((14, 3, COUNT))
    joints[5, 2, 1] = flag
    with pytest.raises(ValueError, match=r"joints.mat: record 2 has a flag other than 0 and 1"):
        LSP(unpack(tmp_path / "data", joints, "im{:05d}.jpg"))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_truncated_joints(tmp_path, keep):
    root = lsp(tmp_path / "lsp")
    whole = (root / "joints.mat").read_bytes()
    (root / "joints.mat").write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(
        ValueError, match=r"joints.mat (cannot be read as a MATLAB file .*; download it again|is empty)"
    ):
        LSP(root)


@pytest.mark.parametrize("content", [b"", b"not a picture at all", None])
def test_damaged_images_are_named(tmp_path, content):
    root = lsp(tmp_path / "lsp")
    path = root / "images" / "im0002.jpg"
    if content is None:
        noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        content = path.read_bytes()[:2000]
    path.write_bytes(content)
    people = LSP(root)
    people[0]
    with pytest.raises(ValueError, match=r"im0002.jpg cannot be read as an image .*download it again"):
        people[1]


def test_a_person_without_joints_is_named(tmp_path):
    joints = np.ones((14, 3, COUNT))
    joints[:, 2, 2] = 0
    root = unpack(tmp_path / "data", joints, "im{:05d}.jpg")
    with pytest.raises(ValueError, match=r"joints.mat: record 3 has no visible joint.*choose images="):
        LSP(root, images=(2, 4))
    assert len(LSP(root, images=(1, 2))) == 2


# ---------------------------------------------------------------------------------------------------------- the real


@pytest.mark.skipif(not LSPET.is_dir(), reason=f"LSPET may not be redistributed; expected in {LSPET}")
def test_the_real_lspet():
    people = LSP(LSPET, images=(1, 7500))
    assert round(people.visible.double().mean().item(), 3) == 0.879
    assert people.visible.any(dim=1).all()
    first = people[0]
    assert first["index"] == 1
    assert first["image"].shape == (3, 105, 157)
    assert first["visible"].tolist() == [False] + [True] * 13
    assert_close(first["keypoints"][1], torch.tensor([25.03094, 85.41023]))
    assert_close(first["box"], torch.tensor([22.13862, 12.80500, 138.12875, 93.79016]))
    # most of the visible joints of a photograph lie in it: the images belong to the records
    inside = [
        ((s["keypoints"] >= 0) & (s["keypoints"] < torch.tensor(s["image"].shape[:0:-1])))
        .all(-1)[s["visible"]]
        .float()
        .mean()
        for s in (people[i] for i in range(0, len(people), 500))
    ]
    assert min(inside) > 0.9
