"""Draw the input and output pictures of the networks' pages, with the weights in the package.

    python docs/pictures.py

They are committed and not compared by the tests, because their pixels depend on the versions of
PyTorch and Pillow.
"""

from pathlib import Path

import numpy as np
from PIL import Image

import posezoo

FOLDER = Path(__file__).parent / "images" / "networks"
STREET = Path(__file__).parent / "images" / "street.jpg"
FRAMES = (10, 30, 50)  # of the sample clip
SIZE = 200


def save(name: str, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(FOLDER / f"{name}.jpg", quality=80, optimize=True)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    photo = np.array(Image.open(STREET).convert("RGB"))
    people = posezoo.predict(photo)
    x1, y1, x2, y2 = (int(side) for side in people.boxes[0])
    window = (slice(max(0, y1 - 20), y2 + 20), slice(max(0, x1 - 60), x2 + 60))
    save("simple_baseline_input", photo[window])
    save("simple_baseline_output", people.draw()[window])

    video = posezoo.data.sample_video()
    points = np.asarray(video["keypoints"])
    low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    scale = 0.9 * SIZE / (high - low).max()
    placed = (points - (low + high) / 2) * scale + SIZE / 2
    blank = np.full((SIZE, SIZE, 3), 255, np.uint8)
    drawn = [posezoo.viz.draw_keypoints(blank, placed[frame][None], video["skeleton"]) for frame in FRAMES]
    for page, name in (("martinez", "martinez"), ("seq2seq3d", "seq2seq3d"), ("temporal_conv", "temporal_conv_27")):
        save(f"{page}_input", np.concatenate(drawn))
        poses = posezoo.lift(points, name, skeleton=video["skeleton"])
        save(f"{page}_output", np.concatenate(list(poses.pictures(index=FRAMES, size=SIZE))))


if __name__ == "__main__":
    main()
