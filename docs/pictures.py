"""Draw the pictures of the documentation with the weights in the package.

    python docs/pictures.py            those that are missing
    python docs/pictures.py --all      all of them

The first ones of the README, one for each network with weights in the package, one for each kind of
input, and those that the code of `docs/drawing.md` writes. They are committed. The tests check that
none is missing, not their pixels, which depend on the versions of PyTorch and Pillow.
"""

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from model_pages import PERSON, PICTURES, STREET, input_kind, input_picture, output_picture, shown_weights
from PIL import Image

import posezoo

ROOT = Path(__file__).parents[1]
IMAGES, FOUND = ROOT / "docs" / "images", ("group", "riders", "street")  # whose people the default call finds
DRAWN = IMAGES / "drawing"
ZOOM, MARGIN = 1.4, 30  # of the part of the photograph that is shown
FRAMES = (10, 30, 50)  # of the sample video
CLIP, SIDE, CLIP_FRAMES = IMAGES / "clip.jpg", 192, (1, 5, 9)  # frames in a row
SIZE, WIDEST = 192, 720  # pixels


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=80, optimize=True)
    print(f"wrote {path.relative_to(ROOT)}, {path.stat().st_size / 1000:.0f} kB")


def resized(picture: np.ndarray, height: int) -> np.ndarray:
    width = round(picture.shape[1] * height / picture.shape[0])
    return np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def street() -> tuple[np.ndarray, np.ndarray]:
    """Return the person of the photograph, enlarged, and the first pixel `(x, y)` of that part."""
    x1, y1, x2, y2 = PERSON
    photo = np.array(Image.open(ROOT / STREET).convert("RGB"))
    part = photo[y1 - MARGIN : y2 + MARGIN, x1 - MARGIN : x2 + MARGIN]
    return resized(part, round(ZOOM * len(part))), np.array([x1 - MARGIN, y1 - MARGIN])


def image_output(model: Any) -> np.ndarray:
    """The keypoints on the photograph, and the heatmaps on the input of the network if it has any."""
    part, first = street()
    people = posezoo.predict(ROOT / STREET, model, boxes=[PERSON])
    keypoints = ZOOM * (people.keypoints - first + 0.5) - 0.5
    drawn = posezoo.viz.draw_keypoints(part, keypoints, people.skeleton or model.num_keypoints)
    inputs = posezoo.create_transform(model)(ROOT / STREET, PERSON)
    if model.stride is None:
        return drawn
    with torch.no_grad():
        output = model(inputs[None])
    maps = posezoo.viz.draw_heatmaps(inputs, output[0].clamp(min=0))
    return np.concatenate([drawn, resized(maps, len(drawn))], axis=1)


def sample_frames() -> np.ndarray:
    """The 2D keypoints of some frames of the sample video, below each other."""
    video = posezoo.data.sample_video()
    points = np.asarray(video["keypoints"])
    low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    scale = 0.9 * SIZE / (high - low).max()
    placed = (points - (low + high) / 2) * scale + SIZE / 2
    blank = np.full((SIZE, SIZE, 3), 255, np.uint8)
    drawn = [posezoo.viz.draw_keypoints(blank, placed[frame][None], video["skeleton"]) for frame in FRAMES]
    return np.concatenate(drawn)


def keypoints_output(model: Any) -> np.ndarray:
    video = posezoo.data.sample_video()
    poses = posezoo.lift(video["keypoints"], model, skeleton=video["skeleton"])
    return np.concatenate(list(poses.pictures(index=FRAMES, size=SIZE)))


def clip() -> np.ndarray:
    row = np.array(Image.open(CLIP).convert("RGB"))
    return np.stack(np.split(row, row.shape[1] // SIDE, axis=1))  # (T, H, W, 3)


def clip_output(model: Any) -> np.ndarray:
    inputs = torch.from_numpy(clip()).movedim(-1, 1)[None] / 255
    if tuple(model.input_size) != (SIDE, SIDE):
        inputs = torch.nn.functional.interpolate(inputs[0], tuple(model.input_size), mode="bilinear")[None]
    pose3d, _ = model.predict(inputs)
    pictures = list(posezoo.viz.pose3d_pictures(pose3d[0].numpy(), model.skeleton, size=SIDE))
    return np.concatenate([pictures[frame] for frame in CLIP_FRAMES])


INPUTS = {
    "image": lambda: street()[0],
    "keypoints": sample_frames,
    "clip": lambda: np.concatenate(list(clip()[list(CLIP_FRAMES)])),
}
OUTPUTS = {"image": image_output, "keypoints": keypoints_output, "clip": clip_output}


def draw_guide() -> None:
    """Run the code of the page about drawing, and keep the pictures that it writes."""
    DRAWN.mkdir(parents=True, exist_ok=True)
    page = (ROOT / "docs" / "drawing.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
    with tempfile.TemporaryDirectory() as folder:
        for name in ("docs", "posezoo"):
            Path(folder, name).symlink_to(ROOT / name)
        os.chdir(folder)
        exec(compile(code, "drawing.md", "exec"), {})
        os.chdir(ROOT)
        for name in dict.fromkeys(re.findall(r"images/drawing/(\w+\.\w+)", page)):
            if name.endswith(".gif"):
                (DRAWN / name).write_bytes(Path(folder, name).read_bytes())
                continue
            picture = np.array(Image.open(Path(folder, name).with_suffix(".png")).convert("RGB"))
            save(DRAWN / name, resized(picture, round(len(picture) * min(1, WIDEST / picture.shape[1]))))


def main() -> None:
    everything = "--all" in sys.argv[1:]
    kinds: dict[str, None] = {}
    for record in shown_weights():
        kind = input_kind(record.architecture)
        kinds[kind] = None
        path = PICTURES / output_picture(record)
        if everything or not path.exists():
            model = posezoo.create(f"{record.architecture}.{record.tag}", pretrained=True)
            save(path, OUTPUTS[kind](model))
    for kind in kinds:
        path = PICTURES / input_picture(kind)
        if everything or not path.exists():
            save(path, INPUTS[kind]())
    for name in FOUND:
        path = IMAGES / f"{name}_pose.jpg"
        if everything or not path.exists():
            save(path, np.asarray(posezoo.predict(IMAGES / f"{name}.jpg").draw(boxes=True)))
    if everything or not DRAWN.exists():
        draw_guide()


if __name__ == "__main__":
    main()
