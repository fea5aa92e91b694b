"""Dataset readers yield the pixels that `posezoo.predict` uses, whatever the file holds."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from running_examples import write_lspet

import posezoo
from posezoo.data import LSP
from posezoo.data.files import read_image
from posezoo.images import load_image

GREY = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)
ALPHA = np.where(GREY > 100, 255, 51).astype(np.uint8)


def over_white(colour):
    return np.rint(colour * (ALPHA[..., None] / 255) + 255 * (1 - ALPHA[..., None] / 255)).astype(np.uint8)


def palette():
    image = Image.fromarray((GREY // 60).astype(np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    image.info["transparency"] = 2
    return image


COLOURS = np.array([(255, 0, 0), (0, 255, 0), (255, 255, 255), (9, 9, 9)], np.uint8)  # the third is transparent
KINDS = {  # what is saved as PNG -> (H, W, 3) uint8
    "RGB": (Image.fromarray(COLOUR), COLOUR),
    "grey": (Image.fromarray(GREY), np.repeat(GREY[..., None], 3, axis=-1)),
    "16 bits": (Image.fromarray(GREY.astype(np.uint16) * 257), np.repeat(GREY[..., None], 3, axis=-1)),
    "alpha": (Image.fromarray(np.dstack([COLOUR, ALPHA]), "RGBA"), over_white(COLOUR)),
    "grey with alpha": (
        Image.fromarray(np.dstack([GREY, ALPHA]), "LA"),
        over_white(np.repeat(GREY[..., None], 3, axis=-1)),
    ),
    "transparent palette": (palette(), COLOURS[GREY // 60]),
}


@pytest.fixture
def reader(tmp_path):
    """LSPET's reader, and the path of its first photograph."""
    root = write_lspet(tmp_path / "lspet", count=4)
    return LSP(root), root / "images" / "im00001.jpg"


def check(people, path, expected):
    image = people[0]["image"]
    assert image.dtype == torch.uint8
    np.testing.assert_array_equal(image.movedim(0, -1).numpy(), expected)
    assert torch.equal(read_image(path), image)
    assert torch.equal((load_image(path) * 255).round().byte(), image)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_files(reader, kind):
    people, path = reader
    image, expected = KINDS[kind]
    image.save(path, format="PNG")  # readers go by the content
    check(people, path, expected)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [(3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_90), (8, Image.Transpose.ROTATE_270)],
)
def test_exif_orientation(reader, orientation, stored):
    people, path = reader
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOUR).transpose(stored).save(path, format="PNG", exif=exif)
    check(people, path, COLOUR)


def test_cmyk(reader):
    people, path = reader
    for colour in ((255, 0, 0), (0, 0, 255), (255, 255, 255)):
        Image.new("RGB", (20, 12), colour).convert("CMYK").save(path, quality=100)
        with Image.open(path) as stored:
            assert stored.mode == "CMYK"
            expected = np.array(stored.convert("RGB"))
        assert np.abs(expected.astype(int) - colour).max() < 5
        check(people, path, expected)


def test_no_other_file_opens_images():
    """Only `images.py` calls `Image.open`, so that there is one set of rules."""
    opening = set()
    for path in Path(posezoo.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "Image.open":
                opening.add(path.name)
    assert opening == {"images.py"}
