"""Images to keypoints: an oracle as the network, every kind of image, every invalid argument.

The oracle computes the centroids of red, green and blue blobs. The linear resampling of crops
moves a centroid exactly as it moves a point, so the predictions are compared with the positions
where the blobs were drawn.
"""

import dataclasses
import inspect
import io
import json
import pickle
import subprocess
import sys
import types
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fresh_process
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from toy import scratch_registry

import posezoo
import posezoo.crops
from posezoo.crops import loaded
from posezoo.geometry import box_to_crop, crop, crop_matrix
from posezoo.images import load_image, load_image_uint8
from posezoo.inputs import crop_filled
from posezoo.metrics import read_coco_results
from posezoo.prediction import People
from posezoo.skeletons import Skeleton, get_skeleton
from posezoo.weights import Weights

SIZE = (64, 48)  # (H, W) of the oracle's input


class Oracle(nn.Module):
    """The part of a model's contract that `predict` needs; records its calls."""

    num_keypoints = 3
    skeleton = get_skeleton(["nose", "left_eye", "right_eye"])
    padding, keep_aspect, corner_aligned = 1.25, True, False

    def __init__(self, size: tuple[int, int] = SIZE, floor: float = 0) -> None:
        super().__init__()
        self.input_size, self.floor = size, floor  # darker values are noise
        self.dummy = nn.Parameter(torch.zeros(1))
        self.frozen = nn.BatchNorm2d(1)
        self.batches: list[Tensor] = []
        self.flips: list[bool] = []
        self.modes: list[bool] = []

    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        self.batches.append(image)
        self.flips.append(flip)
        self.modes.append(self.training or self.frozen.training)
        mass = (image.double() - self.floor).clamp(min=0)
        x, y = torch.arange(image.shape[-1]).double(), torch.arange(image.shape[-2]).double()
        total = mass.sum(dim=(-2, -1)).clamp(min=1e-9)
        points = torch.stack([(mass.sum(dim=-2) * x).sum(dim=-1), (mass.sum(dim=-1) * y).sum(dim=-1)], dim=-1)
        points = points / total[..., None] + self.dummy  # which needs gradients
        return points.to(image.dtype), image.amax(dim=(-2, -1))


def draw(width: int, height: int, points: np.ndarray, sigma: float) -> np.ndarray:
    """Draw blob k in the k-th primary colour at `points[k]`: `(H, W, 3)` uint8 on black."""
    across, down = (
        np.exp(-((np.arange(length)[:, None] - points[:, axis]) ** 2) / (2 * sigma**2)).astype(np.float32)
        for axis, length in enumerate((width, height))
    )
    return (250 * down[:, None] * across + 0.5).astype(np.uint8)


def person(width: int, height: int, sigma: float, seed: int = 0) -> np.ndarray:
    """Sample three points far enough from the border for whole blobs."""
    room = np.array([width, height]) - 1 - 8 * sigma
    return 4 * sigma + np.random.default_rng(seed).random((3, 2)) * room


@pytest.fixture
def photo():
    """An image of 90 x 120 and where its blobs are."""
    points = person(90, 120, sigma=4)
    return draw(90, 120, points, sigma=4), points


# ---------------------------------------------------------------------------------------------------------------------
# Where the keypoints are


@pytest.mark.parametrize("corner_aligned", [False, True])
@pytest.mark.parametrize(
    ("width", "height"),
    [(48, 64), (640, 480), (480, 640), (1201, 1600), (31, 47), (700, 60), (60, 700), (47, 63), (97, 128), (1999, 333)],
)
def test_the_whole_image(width, height, corner_aligned):
    model = Oracle()
    model.corner_aligned = corner_aligned
    shrinkage = max(width / SIZE[1], height / SIZE[0])  # image pixels per crop pixel
    sigma = min(max(1.5, 1.5 * shrinkage), min(width, height) / 9)
    points = person(width, height, sigma)

    people = posezoo.predict(draw(width, height, points, sigma), model)

    assert people.keypoints.shape == (1, 3, 2)
    assert people.keypoints.dtype == people.scores.dtype == people.boxes.dtype == np.float32
    assert people.image_size == (height, width)
    assert people.boxes.tolist() == [[0, 0, width, height]]
    assert people.skeleton is model.skeleton
    assert np.abs(people.keypoints[0] - points).max() < 0.1 * max(1, shrinkage)


@pytest.mark.parametrize(
    "margins",
    [
        (8, 8, 8, 8),  # left, top, right, bottom, around the blobs
        (150, 20, 20, 20),  # half outside on the left
        (20, 200, 20, 250),  # outside above and below
        (400, 400, 400, 400),  # huge
        (8.25, 9.5, 60.75, 11.125),
    ],
)
@pytest.mark.parametrize("origin", [(40, 30), (3000, 2200)])  # of the person; the second is far from (0, 0)
def test_any_box_around_a_person(origin, margins):
    points = np.array([[30.3, 35.8], [60.5, 32.0], [44.7, 90.2]]) + origin
    box = np.array([*(points.min(axis=0) - margins[:2]), *(points.max(axis=0) + margins[2:])])
    shrinkage = 1.25 * max((box[2] - box[0]) / SIZE[1], (box[3] - box[1]) / SIZE[0])
    sigma = max(2.0, 1.2 * shrinkage) if shrinkage < 10 else 8.0
    width, height = origin[0] + 140, origin[1] + 150

    people = posezoo.predict(draw(width, height, points, sigma), Oracle(), boxes=box[None])

    assert np.abs(people.keypoints[0] - points).max() < 0.1 * max(1, shrinkage)
    np.testing.assert_allclose(people.boxes[0], box, rtol=1e-6)


def test_stretched_boxes():
    """With `keep_aspect = False` boxes are stretched to the input, and keypoints are stretched
    back.
    """
    width, height = 300, 200
    points = person(width, height, sigma=4)
    oracle = Oracle()
    oracle.keep_aspect = False
    people = posezoo.predict(draw(width, height, points, sigma=4), model=oracle)
    assert np.abs(people.keypoints[0] - points).max() < 0.5
    (seen,) = oracle.batches
    assert seen.shape[-2:] == SIZE
    centroid = (seen[0, 0].sum(0) * torch.arange(SIZE[1])).sum() / seen[0, 0].sum()
    assert abs(float(centroid) - points[0, 0] * SIZE[1] / width) < 0.5
    centroid = (seen[0, 0].sum(1) * torch.arange(SIZE[0])).sum() / seen[0, 0].sum()
    assert abs(float(centroid) - points[0, 1] * SIZE[0] / height) < 0.5


def test_a_tiny_box():
    points = np.array([[2000.4, 1500.6]] * 3)
    image = draw(2010, 1510, points, sigma=0.8)
    people = posezoo.predict(image, Oracle(), boxes=[[1996, 1496, 2005, 1506]])
    assert np.abs(people.keypoints[0] - points).max() < 0.02


def test_every_person_of_every_image_has_its_own_keypoints():
    images, boxes, truths = [], [], []
    for seed, side in enumerate((200, 150, 260)):
        left, right = person(side, side, 4, seed), person(side, side, 4, seed + 10) + np.array([2 * side, 0])
        images.append(draw(3 * side, side, left, 4) + draw(3 * side, side, right, 4))
        boxes.append([[2 * side, 0, 3 * side, side], [0, 0, side, side]])  # the right one first
        truths.append(np.stack([right, left]))
    everyone = posezoo.predict(images, Oracle(size=(64, 64)), boxes, batch_size=4)
    for people, truth in zip(everyone, truths, strict=True):
        assert np.abs(people.keypoints - truth).max() < 0.2


def test_order_and_batch_size_do_not_matter(tmp_path):
    kinds = []
    truths = []
    for index, (width, height) in enumerate(
        [(90, 120), (120, 90), (200, 100), (61, 77), (150, 150), (90, 121), (64, 64)]
    ):
        points = person(width, height, 4, seed=index)
        truths.append(points)
        kinds.append(draw(width, height, points, 4))
    Image.fromarray(kinds[0]).save(tmp_path / "0.png")
    Image.fromarray(kinds[1]).save(tmp_path / "1.png")
    images = [
        tmp_path / "0.png",
        str(tmp_path / "1.png"),
        Image.fromarray(kinds[2]),
        kinds[3],
        (kinds[4] / 255).astype(np.float64),
        torch.from_numpy(kinds[5]).movedim(-1, 0),
        torch.from_numpy(kinds[6]).movedim(-1, 0) / 255,
    ]
    boxes = [None, [[0, 0, 120, 90]] * 3, [], None, [[-9, -9, 160, 160]], None, np.zeros((0, 4))]

    model = Oracle()
    together = posezoo.predict(images, model, boxes, batch_size=64)
    assert [len(batch) for batch in model.batches] == [7]
    assert [len(people) for people in together] == [1, 3, 0, 1, 1, 1, 0]
    for people, points in zip(together, truths, strict=True):
        for keypoints in people.keypoints:
            assert np.abs(keypoints - points).max() < 0.3

    for batch_size in (1, 2, 3, 5):
        model = Oracle()
        again = posezoo.predict(tuple(images), model, boxes, batch_size=batch_size)
        assert max(len(batch) for batch in model.batches) <= batch_size
        for a, b in zip(again, together, strict=True):
            np.testing.assert_allclose(a.keypoints, b.keypoints, atol=1e-4)
            np.testing.assert_array_equal(a.boxes, b.boxes)
            assert a.image_size == b.image_size


def test_images_do_not_wait_for_each_other_longer_than_a_batch(photo):
    model = Oracle()
    with pytest.raises(ValueError, match="no such image"):
        posezoo.predict([photo[0]] * 5 + ["nowhere.jpg"], model, batch_size=2)
    assert [len(batch) for batch in model.batches] == [2, 2]


def test_the_crop_has_context_around_a_box_and_none_around_an_image(photo):
    image, _ = photo
    for boxes, padding in ((None, 1.0), ([[10.0, 20, 70, 110]], 1.25), ([[10.0, 20, 70, 110]], 1.6)):
        for corner_aligned in (False, True):
            model = Oracle(size=(96, 80))
            model.corner_aligned = corner_aligned
            if boxes:
                model.padding = padding
            posezoo.predict(image, model, boxes)
            center, extent = box_to_crop(torch.tensor(boxes or [[0.0, 0, 90, 120]]), (96, 80), padding=padding)
            matrix = crop_matrix(center, extent, (96, 80), corner_aligned=corner_aligned)
            torch.testing.assert_close(model.batches[0], crop(load_image(image), matrix, (96, 80)))


# ---------------------------------------------------------------------------------------------------------------------
# How the model is treated


def test_flip_reaches_the_model(photo):
    model = Oracle()
    posezoo.predict(photo[0], model)
    posezoo.predict(photo[0], model, flip=True)
    assert model.flips == [False, True]


@pytest.mark.parametrize("fails", [False, True])
def test_modes_are_as_they_were(photo, fails, monkeypatch):
    model = Oracle().train()
    model.frozen.eval()  # fine-tuning often freezes batch norms
    if fails:
        monkeypatch.setattr(model, "predict", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            posezoo.predict(photo[0], model)
    else:
        posezoo.predict(photo[0], model)
        assert model.modes == [False]
    assert model.training
    assert not model.frozen.training


def test_half_precision(photo):
    model = Oracle().to(torch.bfloat16)
    people = posezoo.predict(photo[0], model)
    assert model.batches[0].dtype == torch.bfloat16
    assert people.keypoints.dtype == np.float32
    assert np.abs(people.keypoints[0] - photo[1]).max() < 1


def test_where_to_run(photo):
    model = Oracle()
    np.testing.assert_array_equal(
        posezoo.predict(photo[0], model, device="cpu").keypoints, posezoo.predict(photo[0], model).keypoints
    )


def test_unnamed_keypoints(photo):
    model = Oracle()
    model.skeleton = None
    assert posezoo.predict(photo[0], model).skeleton is None


def test_a_name_is_loaded_once_but_a_folder_each_time(tmp_path, photo, monkeypatch):
    create, created = posezoo.prediction.create, []
    counting = lambda *args, **kwargs: created.append(args) or create(*args, **kwargs)  # noqa: E731
    monkeypatch.setattr(posezoo.prediction, "create", counting)

    def tiny(**kwargs):
        """A model with weights."""
        return posezoo.models.hrnet.HRNet(width=2, **kwargs)

    folder = tmp_path / "weights"
    with scratch_registry():
        posezoo.register_model(tiny)
        posezoo.create("tiny", num_keypoints=5).save_pretrained(folder)
        posezoo.register_model(weights={"v1": Weights(sources=(f"local-dir:{folder}",), kwargs={"num_keypoints": 5})})(
            tiny
        )
        for _ in range(2):
            assert posezoo.predict(photo[0], "tiny").keypoints.shape == (1, 5, 2)
        assert len(created) == 1
        for number in (5, 4):
            posezoo.create("tiny", num_keypoints=number).save_pretrained(folder)
            assert posezoo.predict(photo[0], f"local-dir:{folder}").keypoints.shape == (1, number, 2)


@pytest.mark.parametrize(("decoding", "corner_aligned"), [("quarter", False), ("udp", True)])
def test_a_network_decoded_as_udp_is_cropped_as_udp(photo, decoding, corner_aligned, monkeypatch):
    """By the model's own decoding, with or without a weights record."""
    model, inputs = posezoo.create("hrnet_w32", width=2, decoding=decoding), []
    run = model.predict
    monkeypatch.setattr(model, "predict", lambda image, **options: inputs.append(image) or run(image, **options))
    posezoo.predict(photo[0], model, [BOX])
    center, extent = box_to_crop(torch.tensor([BOX]), (256, 192), padding=1.25)
    matrix = crop_matrix(center, extent, (256, 192), corner_aligned=corner_aligned)
    torch.testing.assert_close(inputs[0], crop(load_image(photo[0]), matrix, (256, 192)))


def test_a_model_without_the_contract(photo):
    model = Oracle()
    del model.input_size
    with pytest.raises(ValueError, match="Oracle lacks input_size; see the attributes of PoseModel"):
        posezoo.predict(photo[0], model)


class Cropping(Oracle):
    """Crops the image itself: at twice the resolution that its input would have."""

    def __init__(self, size: tuple[int, int] = SIZE) -> None:
        super().__init__(size)
        self.images: list[Tensor] = []

    def predict_from_image(self, image: Tensor, matrices: Tensor, *, flip: bool) -> tuple[Tensor, Tensor]:
        self.images.append(image)
        height, width = self.input_size
        fine = matrices * matrices.new_tensor([[2.0], [2.0]])
        keypoints, scores = super().predict(crop(image.float(), fine.float(), (2 * height, 2 * width)), flip=flip)
        return keypoints / 2, scores


def test_a_model_that_crops_the_image_itself(photo):
    """It gets the whole image and the matrices, and returns pixels of the crops."""
    image, points = photo
    boxes = [[[0, 0, 90, 120]], [], [[10, 20, 90, 120], [0, 0, 90, 120]]]
    model = Cropping(size=(128, 96)).train()
    expected = posezoo.predict([image, image, image], Oracle(size=(128, 96)), boxes)
    everyone = posezoo.predict([image, image, image], model, boxes, flip=True, batch_size=1)
    assert [len(people) for people in everyone] == [1, 0, 2]
    for people, other in zip(everyone, expected, strict=True):
        assert np.abs(people.keypoints - other.keypoints).max(initial=0) < 0.2
        assert people.keypoints.dtype == people.scores.dtype == np.float32
        np.testing.assert_array_equal(people.boxes, other.boxes)
        assert people.image_size == other.image_size
    assert model.flips == [True] * 3
    assert [len(batch) for batch in model.batches] == [1, 1, 1]
    assert model.modes == [False] * 3
    assert model.training
    for shown in model.images:
        torch.testing.assert_close(shown, load_image(image))

    people = posezoo.predict(image, model, device="cpu")  # the whole image
    assert np.abs(people.keypoints[0] - points).max() < 0.2
    model = model.to(torch.bfloat16)
    posezoo.predict(image, model)
    assert model.images[-1].dtype == torch.bfloat16


# ---------------------------------------------------------------------------------------------------------------------
# Every kind of image


STORED = {  # EXIF orientation -> how a camera's pixels lie in the file
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_of_a_file(tmp_path, photo, orientation):
    image, points = photo
    upright, turn = Image.fromarray(image), STORED[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, options in (("photo.png", {}), ("photo.jpg", {"quality": 100, "subsampling": 0})):
        (upright if turn is None else upright.transpose(turn)).save(tmp_path / name, exif=exif, **options)
    assert torch.equal(load_image(tmp_path / "photo.png"), load_image(image))
    people = posezoo.predict(tmp_path / "photo.jpg", Oracle(floor=0.1))
    assert people.image_size == (120, 90)
    assert np.abs(people.keypoints[0] - points).max() < 0.1


def test_exif_orientation_of_a_pil_image(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo[0]).save(tmp_path / "photo.png", exif=exif)
    with Image.open(tmp_path / "photo.png") as image:
        assert posezoo.predict(image, Oracle()).image_size == (90, 120)


GREY = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)


def as_tensor(array):
    """The expected output of `load_image` for (H, W, 3) uint8."""
    return torch.from_numpy(array / np.float32(255)).movedim(-1, 0)


def palette(transparent: bool) -> Image.Image:
    image = Image.fromarray((GREY // 60).astype(np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    if transparent:
        image.info["transparency"] = 2
    return image


def palette_truth(third: tuple[int, int, int]) -> np.ndarray:
    return np.array([(255, 0, 0), (0, 255, 0), third, (9, 9, 9)], dtype=np.uint8)[GREY // 60]


ALPHA = np.where(GREY > 100, 255, 51).astype(np.uint8)
OVER_WHITE = COLOUR * (ALPHA[..., None] / 255) + 255 * (1 - ALPHA[..., None] / 255)
GREY3 = np.repeat(GREY[..., None], 3, axis=-1)
BINARY = np.where(GREY3 > 100, np.uint8(255), np.uint8(0))
DEEP = GREY.astype(np.uint16) * 257 + (GREY > 100)  # 16 bits: one more than what 8 bits can tell

PICTURES = {
    "RGB": (Image.fromarray(COLOUR), COLOUR),
    "grey": (Image.fromarray(GREY), GREY3),
    "1 bit": (Image.fromarray(GREY > 100), BINARY),
    "palette": (palette(transparent=False), palette_truth((0, 0, 255))),
    "palette with transparency": (palette(transparent=True), palette_truth((255, 255, 255))),
    "grey with alpha": (
        Image.fromarray(np.dstack([GREY, ALPHA]), "LA"),
        GREY3 * (ALPHA[..., None] / 255) + 255 * (1 - ALPHA[..., None] / 255),
    ),
    "RGBA": (Image.fromarray(np.dstack([COLOUR, ALPHA]), "RGBA"), OVER_WHITE),
    "16-bit grey": (Image.fromarray(DEEP), DEEP[..., None].repeat(3, axis=-1) / 65535 * 255),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_conversions_of_pictures(tmp_path, kind):
    picture, truth = PICTURES[kind]
    picture.save(tmp_path / "picture.png")
    for image in (picture, tmp_path / "picture.png"):
        torch.testing.assert_close(load_image(image), as_tensor(truth.astype(np.float32)), atol=2e-7, rtol=0)
        rounded = load_image_uint8(image)
        assert rounded.dtype == torch.uint8
        assert torch.equal(rounded, (load_image(image) * 255).round().byte())


def test_cmyk_jpeg(tmp_path):
    for colour in ((255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)):
        Image.new("RGB", (20, 12), colour).convert("CMYK").save(tmp_path / "print.jpg", quality=100)
        with Image.open(tmp_path / "print.jpg") as image:
            assert image.mode == "CMYK"
        expected = torch.tensor(colour).view(3, 1, 1).expand(3, 12, 20) / 255
        torch.testing.assert_close(load_image(tmp_path / "print.jpg"), expected, atol=0.02, rtol=0)


def test_16_bit_and_float_tiff(tmp_path):
    for order in ("<u2", ">u2"):
        Image.fromarray(DEEP.astype(order)).save(tmp_path / "deep.tif")
        torch.testing.assert_close(load_image(tmp_path / "deep.tif")[1], torch.from_numpy(DEEP / np.float32(65535)))
    Image.fromarray(GREY / np.float32(255)).save(tmp_path / "float.tif")
    torch.testing.assert_close(load_image(tmp_path / "float.tif")[2], torch.from_numpy(GREY / np.float32(255)))


@pytest.mark.parametrize(
    "image",
    [
        COLOUR,
        COLOUR.astype(np.uint16) * 257,
        (COLOUR.astype(np.uint16) * 257).astype(">u2"),
        COLOUR / 255,
        (COLOUR / 255).astype(np.float32),
        (COLOUR / 255).astype(">f4"),
        (COLOUR / 255).astype(np.longdouble),
        np.asfortranarray(COLOUR),
        COLOUR[..., ::-1].copy()[..., ::-1],  # OpenCV's BGR turned round: negative strides
        np.asarray(Image.fromarray(COLOUR)),  # read-only
        torch.from_numpy(COLOUR).movedim(-1, 0),
        torch.from_numpy(COLOUR).movedim(-1, 0) / 255,
        torch.from_numpy(COLOUR).movedim(-1, 0).double().div(255).requires_grad_(),
        (torch.from_numpy(COLOUR).int() * 257).to(torch.uint16).movedim(-1, 0),
    ],
)
def test_conversions_of_arrays_and_tensors(image):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_image(image)
    assert loaded.dtype == torch.float32
    assert not loaded.requires_grad
    torch.testing.assert_close(loaded, as_tensor(COLOUR), atol=1e-6, rtol=0)


def test_half_precision_images():
    for image in ((COLOUR / 255).astype(np.float16), as_tensor(COLOUR).to(torch.bfloat16), as_tensor(COLOUR).half()):
        torch.testing.assert_close(load_image(image), as_tensor(COLOUR), atol=3e-3, rtol=0)


@pytest.mark.parametrize("image", [GREY, GREY[..., None], torch.from_numpy(GREY), torch.from_numpy(GREY)[None]])
def test_grey_is_repeated(image):
    torch.testing.assert_close(load_image(image), as_tensor(GREY3))


def test_alpha_is_over_white():
    rgba = np.dstack([COLOUR, ALPHA])
    for image in (rgba, torch.from_numpy(rgba).movedim(-1, 0), rgba / 255):
        torch.testing.assert_close(load_image(image), as_tensor(OVER_WHITE.astype(np.float32)), atol=1e-6, rtol=0)


def test_one_pixel_is_an_image():
    assert load_image(np.zeros((1, 1, 3), np.uint8)).shape == (3, 1, 1)
    assert posezoo.predict(np.zeros((1, 1, 3), np.uint8), Oracle()).image_size == (1, 1)


def test_the_users_image_is_left_alone(photo):
    image = (photo[0] / 255).astype(np.float32)
    before = image.copy()
    posezoo.predict([image, torch.from_numpy(image).movedim(-1, 0)], Oracle())
    np.testing.assert_array_equal(image, before)


def test_plug_ins_of_pillow_define_image_classes_of_their_own():
    plugged = type("HeifImageFile", (Image.Image,), {"__module__": "pillow_heif"})()
    plugged.im, plugged._mode, plugged._size = Image.fromarray(COLOUR).im, "RGB", (20, 12)
    torch.testing.assert_close(load_image(plugged), as_tensor(COLOUR))


# ---------------------------------------------------------------------------------------------------------------------
# Every mistake


def damaged(folder: Path) -> dict[str, Path]:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8))
    picture.save(folder / "whole.jpg")
    picture.save(folder / "whole.png")
    picture.save(folder / "whole.webp")
    files = {}
    for ending in ("jpg", "png", "webp"):
        content = (folder / f"whole.{ending}").read_bytes()
        files[f"truncated {ending}"] = folder / f"truncated.{ending}"
        files[f"truncated {ending}"].write_bytes(content[: len(content) // 2])
    (folder / "text.jpg").write_text("no image at all\n")
    (folder / "empty.png").write_bytes(b"")
    return {**files, "text": folder / "text.jpg", "empty": folder / "empty.png"}


@pytest.mark.parametrize("kind", ["truncated jpg", "truncated png", "truncated webp", "text", "empty"])
def test_damaged_files(tmp_path, kind):
    path = damaged(tmp_path)[kind]
    with pytest.raises(ValueError, match=r"is damaged, or not an image that Pillow can read|is empty") as caught:
        posezoo.predict([path], Oracle())
    assert str(path) in str(caught.value)


def test_a_damaged_file_behind_a_pil_image(tmp_path):
    with Image.open(damaged(tmp_path)["truncated jpg"]) as image, pytest.raises(ValueError, match="damaged"):
        posezoo.predict(image, Oracle())


def test_decoders_that_raise_errors_of_their_own(tmp_path, monkeypatch):
    def explode(path):
        raise RuntimeError("Missing or empty image item")  # Pillow's AVIF decoder

    Image.new("RGB", (4, 4)).save(tmp_path / "photo.png")
    monkeypatch.setattr(Image, "open", explode)
    with pytest.raises(ValueError, match=r"photo\.png is damaged.*Missing or empty"):
        load_image(tmp_path / "photo.png")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.jpg: there is no such image"):
        posezoo.predict(tmp_path / "nowhere.jpg", Oracle())
    with pytest.raises(ValueError, match=r"is a folder; list its images.*glob"):
        posezoo.predict(tmp_path, Oracle())


FLOAT = (COLOUR / 255).astype(np.float32)


def with_pixel(value: float) -> np.ndarray:
    image = FLOAT.copy()
    image[3, 4, 1] = value
    return image


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (with_pixel(np.nan), "NaN or infinite pixels; replace them"),
        (torch.from_numpy(with_pixel(np.inf)).movedim(-1, 0), "NaN or infinite pixels; replace them"),
        (with_pixel(1.5), r"floats must be in \[0, 1\], got .* to 1.5; divide 0 to 255 by 255"),
        (with_pixel(-0.25), r"floats must be in \[0, 1\], got -0.25 to "),
        (COLOUR.astype(np.float32), r"to 255; divide 0 to 255 by 255"),
        ((FLOAT - 0.45) / 0.225, r"got -2 to .*leave normalisation to the model"),
        (COLOUR.astype(np.int64), "uint8, or of floats.*int64; convert it"),
        (torch.from_numpy(COLOUR).long().movedim(-1, 0), "got torch.int64; convert it to uint8"),
        (COLOUR > 100, "got bool; convert it"),
        (torch.from_numpy(COLOUR > 100).movedim(-1, 0), "got torch.bool; convert it"),
        (COLOUR.astype(complex), "got complex128; convert it"),
        (np.array([["a", "b"]]), "expected an array of uint8"),
        (np.moveaxis(COLOUR, -1, 0), r"array \(H, W, 3\).*got shape \(3, 12, 20\).*channels last, tensors first"),
        (torch.from_numpy(COLOUR), r"tensor \(3, H, W\).*got shape \(12, 20, 3\).*channels last, tensors first"),
        (COLOUR[None], r"got shape \(1, 12, 20, 3\).*several images go in a list"),
        (as_tensor(COLOUR)[None], r"got shape \(1, 3, 12, 20\).*several images go in a list"),
        (COLOUR[..., :2], r"got shape \(12, 20, 2\)"),
        (np.zeros((12, 20, 5), np.uint8), r"got shape \(12, 20, 5\)"),
        (np.zeros((0, 20, 3), np.uint8), r"at least one pixel, got shape \(0, 20, 3\)"),
        (torch.zeros(3, 12, 0), r"at least one pixel, got shape \(3, 12, 0\)"),
        (Image.new("RGB", (0, 4)), r"at least one pixel, got size \(0, 4\)"),
        (np.float32(1), "several images go in a list"),
        (None, "a path, a PIL image, an array or a tensor, got NoneType"),
        (b"photo", "got bytes"),
        ((path for path in ("a.jpg", "b.jpg")), "got generator; several images go in a list"),
        ([[COLOUR]], "got list"),
    ],
)
def test_wrong_images(image, says):
    with pytest.raises(ValueError, match=says):
        posezoo.predict(image, Oracle())


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        ([[50, 40, 20, 30]], r"box 0 is \[50.0, 40.0, 20.0, 30.0\].*\(x, y, w, h\) need x2 = x \+ w"),
        ([[1, 1, 9, 9], [5, 5, 5, 20]], "box 1 .*x2 > x1"),
        ([[5, 5, 20, 5]], "box 0 .*y2 > y1"),
        ([[np.nan, 5, 20, 15]], "box 0 is .*expected finite"),
        ([[1, 5, np.inf, 15]], "box 0 is .*expected finite"),
        ([[90, 10, 100, 20]], r"box 0, .* lies outside its image of 90 x 120 pixels; .*not fractions"),
        ([[1, 1, 9, 9], [1, 120, 9, 130]], "box 1, .* lies outside"),
        ([[-20, 1, 0, 9]], "box 0, .* lies outside"),
        ([[1, -20, 9, -1]], "box 0, .* lies outside"),
        ([1, 2, 30, 40], r"got shape \(4,\); one box is \[\[x1, y1, x2, y2\]\]"),
        ([[1, 2, 30]], r"expected \(N, 4\).*got shape \(1, 3\)"),
        ([[[1, 2, 30, 40]]], r"expected \(N, 4\).*got shape \(1, 1, 4\)"),
        ([["1", "2", "30", "forty"]], r"expected numbers \(N, 4\), got .*forty"),
        ([["1", "2", "30", "40"]], r"expected numbers \(N, 4\)"),
        ([[1, 2, 30, 40], [1, 2]], r"expected numbers \(N, 4\)"),
        ([[True, False, True, True]], r"expected numbers \(N, 4\)"),
        ([[1, 2, 30, None]], r"expected numbers \(N, 4\)"),
        ("boxes", r"expected numbers \(N, 4\)"),
    ],
)
def test_wrong_boxes(photo, boxes, says):
    with pytest.raises(ValueError, match=says):
        posezoo.predict(photo[0], Oracle(), boxes)
    with pytest.raises(ValueError, match=says):
        posezoo.predict([photo[0], photo[0]], Oracle(), [None, boxes])


@pytest.mark.parametrize("boxes", [[[[1, 1, 9, 9]]], np.ones((2, 4)), [[1, 1, 9, 9]], torch.ones(2, 4), "x", 3])
def test_boxes_for_another_number_of_images(photo, boxes):
    with pytest.raises(ValueError, match=r"\(N, 4\) boxes or None for each of the 2 images"):
        posezoo.predict([photo[0]] * 2, Oracle(), boxes)


@pytest.mark.parametrize(
    "boxes",
    [
        [(10, 20, 70, 110)],
        np.array([[10, 20, 70, 110]], np.int16),
        torch.tensor([[10.0, 20, 70, 110]]),
        torch.tensor([[10.0, 20, 70, 110]], dtype=torch.float64, requires_grad=True),
    ],
)
def test_kinds_of_boxes(photo, boxes):
    people = posezoo.predict(photo[0], Oracle(), boxes)
    assert people.boxes.tolist() == [[10, 20, 70, 110]]


@pytest.mark.parametrize("boxes", [[], (), np.zeros((0, 4)), torch.zeros(0, 4), [[]]])
def test_nobody(photo, boxes):
    people = posezoo.predict(photo[0], Oracle(), boxes)
    assert len(people) == 0
    assert people.keypoints.shape == (0, 3, 2)
    assert people.scores.shape == (0, 3)
    assert people.boxes.shape == (0, 4)
    assert people.to_coco() == []


def test_no_images():
    assert posezoo.predict([], Oracle()) == []
    assert posezoo.predict((), Oracle(), boxes=[]) == []


def unpublished(**kwargs):
    """A name without weights."""
    return Oracle(**kwargs)


def test_unknown_models(photo):
    with pytest.raises(ValueError, match=r"unknown model 'hrnet_w33'\. Did you mean 'hrnet_w32'"):
        posezoo.predict(photo[0], "hrnet_w33")
    with scratch_registry():
        posezoo.register_model(unpublished)
        with pytest.raises(ValueError, match="nobody has published weights for unpublished"):
            posezoo.predict(photo[0], "unpublished")
    for model in (None, 3, nn.Linear(1, 1)):
        with pytest.raises(
            ValueError, match=f"expected a name or a model of posezoo.create, got {type(model).__name__}"
        ):
            posezoo.predict(photo[0], model)


def test_batch_size_of_nothing(photo):
    with pytest.raises(ValueError, match="batch_size: expected a whole number, 1 or more, got 0"):
        posezoo.predict(photo[0], Oracle(), batch_size=0)


# ---------------------------------------------------------------------------------------------------------------------
# Detectors


class Stub:
    """Returns given detections, image by image, and records the images."""

    def __init__(self, *answers):
        self.answers, self.shown = list(answers), []

    def __call__(self, images):
        self.shown.append(images)
        return [self.answers.pop(0) for _ in images]


BOX = [10.0, 20, 70, 110]


def test_a_detectors_boxes_are_like_given_ones(photo):
    image, _ = photo
    detector = Stub((torch.tensor([BOX, [5, 5, 80, 100]]), torch.tensor([0.75, 0.5])), ([BOX], [1]), ([], []))
    several = posezoo.predict([image, image[:110], image], Oracle(), detector=detector)
    given = posezoo.predict([image, image[:110], image], Oracle(), [[BOX, [5, 5, 80, 100]], [BOX], []])
    for people, expected, scores in zip(several, given, [[0.75, 0.5], [1], []], strict=True):
        for name in ("keypoints", "scores", "boxes"):
            np.testing.assert_array_equal(getattr(people, name), getattr(expected, name))
        assert people.box_scores.dtype == np.float32
        assert people.box_scores.tolist() == scores
        assert expected.box_scores is None
    assert several[2].keypoints.shape == (0, 3, 2)
    assert several[2].to_coco() == []

    ((shown, cut, _),) = detector.shown  # as the crops see them
    assert cut.shape == (3, 110, 90)
    torch.testing.assert_close(shown, torch.from_numpy(image).movedim(-1, 0) / 255)


def test_a_detector_for_one_image(photo):
    people = posezoo.predict(photo[0], Oracle(), detector=lambda images: [(np.array([BOX]), np.array([0.5]))])
    assert people.boxes.tolist() == [BOX]
    assert people.box_scores.tolist() == [0.5]
    assert people.to_coco()[0]["score"] == pytest.approx(0.5 * people.scores.mean())


def test_a_detector_gets_a_few_images_at_a_time_and_upright_ones(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "lying.jpg", exif=exif)
    detector = Stub(*[([], [])] * 20)
    everyone = posezoo.predict([tmp_path / "lying.jpg"] * 20, Oracle(), detector=detector)
    assert [len(images) for images in detector.shown] == [8, 8, 4]
    assert detector.shown[0][0].shape == (3, 40, 30)
    assert [len(people) for people in everyone] == [0] * 20
    assert posezoo.predict([], Oracle(), detector=detector) == []


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([], r"\(boxes, scores\) for each of 2 images, got 0"),
        ([([], [])] * 3, "2 images, got 3"),
        ([([], []), [[0.0, 0, 5, 5]]], "image 1: not enough values"),
        ([([], []), None], "for image 1: "),
        ([([], []), ([BOX], [])], "image 1: scores: expected 1 finite numbers, one per box"),
        ([([], []), ([BOX], [[0.5]])], "image 1: scores"),
        ([([], []), ([BOX], [float("nan")])], "image 1: scores"),
        ([([], []), ([BOX[:3]], [1])], r"image 1: boxes: expected \(N, 4\)"),
        ([([], []), ([[100.0, 0, 120, 9]], [1])], "image 1: boxes: .* lies outside its image of 90 x 120"),
        ([([], []), ([[50.0, 50, 20, 20]], [1])], "x2 = x . w"),
    ],
)
def test_a_detector_that_is_wrong(photo, answers, says):
    with pytest.raises(ValueError, match=says):
        posezoo.predict([photo[0]] * 2, Oracle(), detector=lambda images: answers)


def test_boxes_or_a_detector(photo):
    with pytest.raises(ValueError, match="expected one of them"):
        posezoo.predict(photo[0], Oracle(), [BOX], detector=Stub())
    with pytest.raises(ValueError, match=r"detector 'yolo': expected FILE\.onnx, hf-hub:org/name"):
        posezoo.predict(photo[0], Oracle(), detector="yolo")


def test_a_detectors_own_errors_are_its_own(photo):
    def broken(images):
        raise KeyError("weights")

    with pytest.raises(KeyError, match="weights"):
        posezoo.predict(photo[0], Oracle(), detector=broken)


# ---------------------------------------------------------------------------------------------------------------------
# People


@pytest.fixture
def people():
    return People(
        keypoints=np.array([[[1.5, 2.25], [3, 4]], [[5, 6], [7, 8]]], np.float32),
        scores=np.array([[0.5, 1.0], [0.25, 0.25]], np.float32),
        boxes=np.array([[0, 0, 10, 20], [5, 5, 30, 45.5]], np.float32),
        skeleton=get_skeleton(["left_eye", "right_eye"]),
        image_size=(50, 60),
    )


def test_to_coco(people):
    assert len(people) == 2
    results = json.loads(json.dumps(people.to_coco(image_id=9, category_id=3)))
    assert results == [
        {
            "image_id": 9,
            "category_id": 3,
            "keypoints": [1.5, 2.25, 0.5, 3.0, 4.0, 1.0],
            "score": 0.75,
            "bbox": [0.0, 0.0, 10.0, 20.0],
        },
        {
            "image_id": 9,
            "category_id": 3,
            "keypoints": [5.0, 6.0, 0.25, 7.0, 8.0, 0.25],
            "score": 0.25,
            "bbox": [5.0, 5.0, 25.0, 40.5],
        },
    ]


def test_coco_results_are_read_back(people, tmp_path):
    """By our own reader and by pycocotools, whose evaluation finds every person."""
    results = people.to_coco(image_id=9)
    read = read_coco_results(results)
    np.testing.assert_array_equal(read["keypoints"][..., :2], people.keypoints)
    np.testing.assert_array_equal(read["score"], [0.75, 0.25])
    found = dataclasses.replace(people, box_scores=np.array([0.5, 1], np.float32))
    assert [person["score"] for person in found.to_coco()] == [0.375, 0.25]

    pytest.importorskip("pycocotools", reason="the package pycocotools is not installed")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    names = get_skeleton("coco17")
    points = np.random.default_rng(0).uniform(20, 180, (3, 17, 2)).astype(np.float32)
    corners = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    crowd = People(points, np.full((3, 17), 0.5, np.float32), corners, names, (200, 200), np.array([0.9, 0.8, 0.7]))
    annotations = [
        {
            "id": number + 1, "image_id": 9, "category_id": 1, "iscrowd": 0, "num_keypoints": 17,
            "bbox": person["bbox"], "area": person["bbox"][2] * person["bbox"][3],
            "keypoints": np.concatenate([points[number], np.full((17, 1), 2)], axis=1).ravel().tolist(),
        }
        for number, person in enumerate(crowd.to_coco(image_id=9))
    ]  # fmt: skip
    truth = {"images": [{"id": 9}], "categories": [{"id": 1, "name": "person"}], "annotations": annotations}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(crowd.to_coco(image_id=9)))
    reference = COCO(str(tmp_path / "truth.json"))
    evaluation = COCOeval(reference, reference.loadRes(str(tmp_path / "results.json")), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_people_compare_by_identity(people):
    other = People(people.keypoints, people.scores, people.boxes, people.skeleton, people.image_size)
    assert people == people
    assert people != other
    assert len({people, other}) == 2


def test_to_supervision(people):
    supervision = pytest.importorskip("supervision", reason="the package supervision is not installed")
    points = people.to_supervision()
    assert isinstance(points, supervision.KeyPoints)
    scores = points.keypoint_confidence if hasattr(points, "keypoint_confidence") else points.confidence
    np.testing.assert_array_equal(points.xy, people.keypoints)
    np.testing.assert_array_equal(scores, people.scores)
    nobody = People(people.keypoints[:0], people.scores[:0], people.boxes[:0], None, (5, 5))
    assert len(nobody.to_supervision()) == 0
    found = dataclasses.replace(people, box_scores=np.array([0.5, 0.25], np.float32)).to_supervision()
    if hasattr(found, "detection_confidence"):
        assert found.detection_confidence.tolist() == [0.5, 0.25]
        np.testing.assert_allclose(points.detection_confidence, [0.75, 0.25])
    np.testing.assert_array_equal(points.data["xyxy"], people.boxes)


def test_the_edge_annotator_of_supervision_draws(people):
    supervision = pytest.importorskip("supervision", reason="the package supervision is not installed")
    arm = Skeleton("arm", ("elbow", "wrist"), bones=((0, 1),))
    boned = dataclasses.replace(people, skeleton=arm)
    assert boned.edges == boned.to_supervision().data["edges"][0] == [(1, 2)]
    canvas = np.zeros((50, 60, 3), np.uint8)
    assert supervision.EdgeAnnotator(edges=boned.edges).annotate(canvas, boned.to_supervision()).any()
    assert len(boned.to_supervision()[1].data["edges"]) == 1


def test_supervision_works_with_them(people):
    """It selects, makes boxes for its trackers, and draws; its edges count keypoints from 1."""
    supervision = pytest.importorskip("supervision", reason="the package supervision is not installed")
    points = people.to_supervision()
    np.testing.assert_array_equal(points[1].xy, people.keypoints[1:])
    np.testing.assert_array_equal(points.as_detections().xyxy, [[1.5, 2.25, 3, 4], [5, 6, 7, 8]])
    edges = [(a + 1, b + 1) for a, b in [(0, 1)]]
    drawn = supervision.EdgeAnnotator(edges=edges, thickness=1).annotate(np.zeros((50, 60, 3), np.uint8), points)
    assert drawn[:9, :9].any()
    assert not drawn[12:, 12:].any()


@pytest.mark.parametrize("name", ["confidence", "keypoint_confidence"])  # until 0.28, and since
def test_to_supervision_whatever_the_release(people, monkeypatch, name):
    def key_points(xy, class_id=None, *rest, **others):
        return dict(zip(["xy", "class_id", name], [xy, class_id, *rest], strict=True), **others)

    monkeypatch.setitem(sys.modules, "supervision", types.SimpleNamespace(KeyPoints=key_points))
    points = people.to_supervision()
    assert points.keys() == {"xy", "class_id", name, "data"}
    np.testing.assert_array_equal(points[name], people.scores)
    assert points["class_id"].tolist() == [0, 0]


def test_to_supervision_without_it(people, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        people.to_supervision()


# ---------------------------------------------------------------------------------------------------------------------
# The function of the package


@pytest.mark.parametrize(
    "imports",
    ["import posezoo", "import posezoo.prediction", "from posezoo.prediction import People, predict"],
)
def test_predict_is_the_function_however_it_was_imported(imports):
    script = f"""
{imports}
import posezoo
from posezoo import predict
assert posezoo.predict is predict is posezoo.prediction.predict
print(predict.__name__)
"""
    assert fresh_process.run(script) == "predict\n"


def test_importing_the_function_does_not_import_pillow():
    fresh_process.run(
        "import posezoo, sys; posezoo.predict; assert not {'PIL', 'timm', 'huggingface_hub'} & set(sys.modules)"
    )


def test_the_first_parameters_may_be_given_by_position():
    assert list(inspect.signature(posezoo.predict).parameters)[:3] == ["images", "model", "boxes"]


def test_it_can_be_sent_to_other_processes():
    assert pickle.loads(pickle.dumps(posezoo.predict)) is posezoo.predict


# ---------------------------------------------------------------------------------------------------------------------
# The progress bar


def test_the_progress_bar_is_shown_on_request(photo, capfd):
    posezoo.predict([photo[0]] * 3, Oracle(), progress=True)
    assert "3/3" in capfd.readouterr().err
    posezoo.predict([photo[0]] * 40, Oracle(), progress=False)
    posezoo.predict([photo[0]] * 40, Oracle())  # not a terminal
    assert capfd.readouterr().err == ""


def test_on_a_terminal_it_is_shown_for_32_images(photo, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for count in (31, 32):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        posezoo.predict([photo[0]] * count, Oracle())
        assert ("32/32" in terminal.getvalue()) == (count == 32)


# ---------------------------------------------------------------------------------------------------------------------
# The second pass


class Spotter(Oracle):
    """Predicts the corners of what is white in its input, and scores by how much of the input that
    is.
    """

    num_keypoints = 4
    skeleton = get_skeleton(["nose", "left_eye", "right_eye", "neck"])

    def predict(self, image, *, flip=False):
        self.batches.append(image)
        points, scores = [], []
        for picture in image[:, 0]:
            y, x = torch.nonzero(picture > 0.5, as_tuple=True)
            corners = [(x.min(), y.min()), (x.max(), y.min()), (x.min(), y.max()), (x.max(), y.max())]
            points.append(torch.tensor(corners).float())
            scores.append(torch.full((4,), float((picture > 0.5).float().mean().sqrt())))
        return torch.stack(points), torch.stack(scores)


def white(width, height, box):
    image = np.zeros((height, width, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


def test_the_second_pass_crops_the_person_of_the_first():
    box = np.array([200, 100, 260, 180])
    model = Spotter()
    people = posezoo.predict(white(480, 640, box), model)
    assert [len(batch) for batch in model.batches] == [1, 1]
    found = np.concatenate([people.keypoints[0].min(axis=0), people.keypoints[0].max(axis=0)])
    assert np.abs(found - box).max() < 5  # three pixels of the crop
    assert np.abs(people.boxes[0] - box).max() < 15  # of the first pass, at a tenth of the resolution
    once = posezoo.predict(white(480, 640, box), model, second_pass=False)
    assert once.boxes.tolist() == [[0, 0, 480, 640]]
    assert once.scores.mean() < people.scores.mean()


def test_second_passes_share_batches_and_leave_given_boxes_alone():
    images = [white(96, 128, (10 + 5 * n, 20, 50 + 5 * n, 90)) for n in range(7)]
    model = Spotter()
    boxes = [None, [[0, 0, 96, 128]], None, None, None, None, None]
    together = posezoo.predict(images, model, boxes, batch_size=64)
    assert [len(batch) for batch in model.batches] == [7, 6]
    assert together[1].boxes.tolist() == [[0, 0, 96, 128]]
    for people, image, given in zip(together, images, boxes, strict=True):
        alone = posezoo.predict(image, Spotter(), given)
        np.testing.assert_allclose(people.keypoints, alone.keypoints, atol=1e-3)
    posezoo.predict(images, detected := Spotter(), detector=lambda shown: [([[0, 0, 96, 128]], [1])] * len(shown))
    assert [len(batch) for batch in detected.batches] == [7]


def test_a_second_pass_that_loses_the_person_is_not_returned(monkeypatch):
    model = Spotter()
    spot = model.predict
    lose = lambda image, *, flip=False: (spot(image)[0], torch.full((len(image), 4), 0.1 / len(model.batches) ** 3))  # noqa: E731
    monkeypatch.setattr(model, "predict", lose)
    assert posezoo.predict(white(96, 128, (10, 20, 50, 90)), model).boxes.tolist() == [[0, 0, 96, 128]]


def test_images_that_wait_for_a_second_pass_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(posezoo.prediction, "IMAGES_TOGETHER", 2 * 3 * 96 * 128 * 4)
    model = Spotter()
    assert len(posezoo.predict([white(96, 128, (10, 20, 50, 90))] * 5, model)) == 5
    assert [len(batch) for batch in model.batches] == [2, 2, 2, 2, 1, 1]


def test_images_of_a_list_are_read_ahead_in_order_and_not_all_at_once(tmp_path):
    taken = []

    def items():
        for number in range(6):
            taken.append(number)
            yield tmp_path / "missing.jpg" if number == 1 else np.full((2, 3, 3), 40 * number, np.uint8)

    stream = loaded(items(), ahead=2)
    (_, first), (path, error), (_, third) = (next(stream) for _ in range(3))
    assert taken == [0, 1, 2, 3, 4]  # two more than were asked for
    assert path == tmp_path / "missing.jpg"
    assert isinstance(error, ValueError)
    values = [first, third, *(image for _, image in stream)]
    assert [round(float(value.mean()) * 255) for value in values] == [0, 80, 120, 160, 200]
    stream = loaded(items(), ahead=0)
    assert next(stream)[1].shape == (3, 2, 3)
    assert taken == [0, 1, 2, 3, 4, 5, 0]


def test_a_stream_comes_one_by_one_and_goes_on_after_damaged_images(tmp_path, photo):
    (tmp_path / "text.jpg").write_text("hello")
    taken = []

    def images():
        for item in [photo[0], tmp_path / "text.jpg", photo[0]]:
            taken.append(item)
            yield item

    stream = posezoo.prediction.predict_stream(images(), Oracle(), batch_size=1, damaged="yield")
    assert next(stream).image is None
    assert len(taken) == 1
    error, last = stream
    assert isinstance(error, ValueError)
    assert "text.jpg is damaged" in str(error)
    np.testing.assert_allclose(last.keypoints[0], photo[1], atol=0.3)
    with pytest.raises(ValueError, match="is damaged"):
        list(posezoo.prediction.predict_stream(images(), Oracle()))


def test_fractions_of_the_image_are_no_boxes(photo):
    with pytest.raises(ValueError, match="smaller than two pixels; boxes are in pixels, not fractions"):
        posezoo.predict(photo[0], Oracle(), [[0.1, 0.1, 0.9, 0.9]])


def test_mixed_precision(photo):
    with pytest.raises(ValueError, match="precision: expected one of fp32, bf16"):
        posezoo.predict(photo[0], Oracle(), precision="fp8")
    exact = posezoo.predict(photo[0])
    np.testing.assert_allclose(posezoo.predict(photo[0], precision="bf16").scores, exact.scores, atol=0.1)


def test_threads_share_a_model_in_training_mode(photo):
    model = posezoo.create("hrnet_w32", width=2, num_keypoints=3).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with ThreadPoolExecutor(4) as pool:
        everyone = list(pool.map(lambda _: posezoo.predict(photo[0], model), range(12)))
    assert all(np.allclose(people.keypoints, everyone[0].keypoints, atol=1e-2) for people in everyone)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


# ---------------------------------------------------------------------------------------------------------------------
# People: selected, drawn, converted, written


def test_people_are_a_sequence(people):
    found = dataclasses.replace(people, box_scores=np.array([0.5, 0.25], np.float32))
    assert [len(person) for person in found] == [1, 1]
    for number, person in enumerate(found):
        np.testing.assert_array_equal(person.keypoints, found.keypoints[number : number + 1])
        assert person.box_scores.tolist() == [found.box_scores[number]]
    np.testing.assert_array_equal(found[-1].scores, found.scores[1:])
    for chosen in (slice(1, None), [1], np.array([False, True])):
        np.testing.assert_array_equal(found[chosen].boxes, found.boxes[1:])
    assert len(found[[]]) == len(found[5:]) == 0
    with pytest.raises(IndexError, match="person 2: there are 2"):
        found[2]
    keypoints, scores = found.unpack()
    assert keypoints is found.keypoints
    assert scores is found.scores
    assert repr(found[0]) == f"People(1 person, 2 keypoints of {people.skeleton.name}, image of 60 x 50)"


def test_people_in_another_skeleton():
    points = np.random.default_rng(0).uniform(0, 50, (2, 14, 2)).astype(np.float32)
    lsp = People(points, np.full((2, 14), 0.5, np.float32), np.zeros((2, 4)), get_skeleton("lsp14"), (50, 60))
    coco = lsp.to("coco17")
    wrist = coco.skeleton.index("left_wrist")
    np.testing.assert_array_equal(coco.keypoints[:, wrist], points[:, lsp.skeleton.index("left_wrist")])
    assert np.isnan(coco.keypoints[:, 0]).all()  # the nose
    assert coco.scores[0].tolist() == [0] * 5 + [0.5] * 12
    results = lsp.to_coco(skeleton="coco17")
    assert results[0]["keypoints"][:3] == [0, 0, 0]
    assert len(results[0]["keypoints"]) == 51
    assert results[0]["score"] == 0.5  # not less for keypoints that the network does not have
    assert json.loads(json.dumps(coco.to_dict()))["people"][0]["keypoints"][0] is None
    with pytest.raises(ValueError, match="have no names"):
        dataclasses.replace(lsp, skeleton=None).to("coco17")


def test_people_are_drawn_on_the_given_image(tmp_path, photo):
    Image.fromarray(photo[0]).save(tmp_path / "photo.png")
    for image in (
        photo[0],
        tmp_path / "photo.png",
        Image.fromarray(photo[0]),
        torch.from_numpy(photo[0]).movedim(2, 0),
    ):
        people = posezoo.predict(image, Oracle())
        drawn = people.draw(threshold=0, names=True, legend=True, boxes=True)
        assert drawn.shape == photo[0].shape
        np.testing.assert_array_equal(drawn, people.draw(photo[0], threshold=0, names=True, legend=True, boxes=True))
        assert (drawn != photo[0]).any()
    with pytest.raises(ValueError, match="expected 90 x 120 pixels, the image of the keypoints, got 120 x 90"):
        people.draw(np.swapaxes(photo[0], 0, 1))
    with pytest.raises(ValueError, match="no image of their own"):
        dataclasses.replace(people, image=None).draw()
    assert people[:0].draw(boxes=True).shape == photo[0].shape


def test_people_are_saved(tmp_path, photo):
    people = posezoo.predict(photo[0], Oracle())
    with Image.open(people.save(tmp_path / "deep" / "drawn.png", threshold=0)) as drawn:
        np.testing.assert_array_equal(np.asarray(drawn), people.draw(threshold=0))
    table = json.loads(people.save(tmp_path / "people.json").read_text())
    np.testing.assert_allclose(table["people"][0]["keypoints"], people.keypoints[0], atol=1e-3)
    assert table["names"] == ["nose", "left_eye", "right_eye"]
    with pytest.raises(ValueError, match=r"expected the name of an image, such as drawn\.png"):
        people.save(tmp_path / "drawn.txt")
    with pytest.raises(ValueError, match="numbers take no image and no names"):
        people.save(tmp_path / "people.json", names=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "drawn.png", "people.json"]


MEMORY = """
import numpy as np, posezoo, resource, sys
model = posezoo.create("simple_baseline_lite").eval()
posezoo.predict(np.zeros((100, 80, 3), np.uint8), model)
photo = np.full((4000, 6000, 3), 7, np.uint8)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
before = peak()
posezoo.predict(photo, model)
print((peak() - before) / photo[..., 0].size)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the module resource is of Unix")
def test_a_large_photograph_needs_few_bytes_per_pixel():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 12 + 8  # float32 RGB, and 8 bytes beyond


def test_a_crowd_is_cropped_in_batches(photo, monkeypatch):
    cut = []

    def counted(image, matrices, *rest):
        cut.append(len(matrices))
        return crop_filled(image, matrices, *rest)

    monkeypatch.setattr(posezoo.crops, "crop_filled", counted)
    low = np.random.default_rng(0).uniform(0, 40, (50, 2))
    boxes = np.concatenate([low, low + 30], axis=1)
    many = posezoo.predict([photo[0]] * 2, Oracle(), [boxes, boxes[:3]], batch_size=8)
    assert max(cut) == 8
    whole = posezoo.predict(photo[0], Oracle(), boxes, batch_size=64)
    np.testing.assert_array_equal(many[0].keypoints, whole.keypoints)
    np.testing.assert_array_equal(many[1].keypoints, whole.keypoints[:3])
    assert len(many[0]) == 50
