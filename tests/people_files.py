"""Small data sets of drawn people with the names and layouts of LSP, MPII, FLIC, COCO, Image Parse
and Buffy.
"""

import json

import numpy as np
import scipy.io
from PIL import Image
from running_examples import write_lspet

WIDTH, HEIGHT = 110, 120


def write_image(path, points, random):
    """Noise with a white dot at each joint."""
    pixels = random.integers(0, 128, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for x, y in np.asarray(points).round().astype(int):
        pixels[y - 2 : y + 1, x - 2 : x + 1] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_lsp(folder, count=6):
    """LSP: axes, third row and names of its own."""
    write_lspet(folder, count)
    joints = scipy.io.loadmat(folder / "joints.mat")["joints"].transpose(1, 0, 2)
    joints[2] = 1 - joints[2]  # occluded, not visible
    scipy.io.savemat(folder / "joints.mat", {"joints": joints})
    for path in sorted((folder / "images").iterdir()):
        path.rename(path.with_name(f"im{int(path.stem[2:]):04d}.jpg"))
    return folder


def write_mpii(folder, count=4):
    """train.json and valid.json; two people in each image."""
    random = np.random.default_rng(1)
    for part in ("train", "valid"):
        records = []
        for number in range(count):
            joints = random.uniform(20, 100, (16, 2))
            image = f"{part}{number // 2}.jpg"
            write_image(folder / "images" / image, joints, random)
            records.append({
                "image": image, "center": [60, 61], "scale": 0.45, "joints": joints.tolist(), "joints_vis": [1] * 16,
            })  # fmt: skip
        (folder / f"{part}.json").write_text(json.dumps(records))
    return folder


def write_flic(folder, count=4):
    """examples.mat with half of the people for training."""
    random = np.random.default_rng(2)
    fields = ("coords", "filepath", "torsobox", "istrain", "istest")
    examples = np.empty((1, count), [(name, object) for name in fields])
    for number in range(count):
        coords = np.full((2, 29), np.nan)
        coords[:, [0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16]] = random.uniform(20, 100, (2, 11))
        write_image(folder / "images" / f"{number}.jpg", coords[:, :7].T, random)
        test = number % 2
        examples[0, number] = (coords, f"{number}.jpg", np.array([[40.0, 40.0, 70.0, 80.0]]), 1 - test, test)
    scipy.io.savemat(folder / "examples.mat", {"examples": examples})
    return folder


def write_image_parse(folder, count=102):
    """labels.mat of 102 images, and the last two, those for tests."""
    points = np.random.default_rng(4).uniform(20, 100, (14, 2, count))
    for number in range(101, count + 1):
        write_image(folder / f"im{number:04d}.jpg", points[..., number - 1], np.random.default_rng(number))
    scipy.io.savemat(folder / "labels.mat", {"ptsAll": points})
    return folder


def write_buffy(folder, count=3):
    """The sticks of three frames of one person, in one episode of five."""
    sticks = [
        [60, 40, 62, 90],
        [45, 42, 35, 60],
        [75, 42, 85, 60],
        [35, 61, 50, 75],
        [85, 61, 95, 40],
        [58, 10, 60, 35],
    ]
    (folder / "data").mkdir(parents=True)
    for episode in (2, 3, 4, 5, 6):
        frames = range(1, count + 1) if episode == 2 else ()
        lines = [" ".join(map(str, [frame, *np.ravel(sticks)])) for frame in frames]
        (folder / "data" / f"buffy_s5e{episode}_sticks.txt").write_text("\n".join(lines))
    ends = np.reshape(sticks, (-1, 2))
    for frame in range(1, count + 1):
        path = folder / "images" / "buffy_s5e2_original" / f"{frame:06d}.jpg"
        write_image(path, ends, np.random.default_rng(frame))
    return folder


def write_coco(folder, count=3):
    """train2017, val2017 and their annotations."""
    random = np.random.default_rng(3)
    (folder / "annotations").mkdir(parents=True)
    for part in ("train2017", "val2017"):
        images, people = [], []
        for number in range(1, count + 1):
            points = random.integers(20, 100, (17, 2))
            write_image(folder / part / f"{number}.jpg", points, random)
            images.append({"id": number, "file_name": f"{number}.jpg", "width": WIDTH, "height": HEIGHT})
            triples = np.concatenate([points, np.full((17, 1), 2)], axis=1).ravel().tolist()
            people.append({
                "id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "area": 2000.0, "num_keypoints": 17,
                "bbox": [15, 15, 90, 90], "keypoints": triples,
            })  # fmt: skip
        file = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
        (folder / "annotations" / f"person_keypoints_{part}.json").write_text(json.dumps(file))
    return folder


def write_h36m(folder, takes=(("S1", "Walking"), ("S9", "Walking")), count=60):
    """VideoPose3D's archive, metadata.xml, and images of one camera below `images/`."""
    random = np.random.default_rng(4)
    camera, lens = [0.0, 0.0, 0.0, 0.0, 0.0, -5000.0], [400.0, 400.0, 32.0, 32.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    numbers = " ".join(map(str, camera * 44 + lens * 4))
    folder.mkdir(parents=True)
    (folder / "metadata.xml").write_text(f"<a><w0>[{numbers}]</w0></a>")
    positions = {}
    for subject, take in takes:
        body, moves = random.normal(0, 0.15, (1, 32, 3)), random.normal(0, 0.02, (count, 32, 3))
        positions.setdefault(subject, {})[take] = (body + moves).astype("f4")
        for number in range(count):
            pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            path = folder / "images" / subject / f"{take}.54138969" / f"{number + 1:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    np.savez_compressed(folder / "data_3d_h36m.npz", positions_3d=positions)
    return folder


def write_humaneva(folder, images=False):
    """Exports of Walking of S1, calibration, and with `images` those of all frames of C1."""
    random = np.random.default_rng(5)
    rotation, shift = np.eye(3), [0.0, 0.0, 5000.0]
    lens = [400.0, 400.0, 32.0, 32.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    (folder / "S1" / "Calibration_Data").mkdir(parents=True)
    for view in ("C1", "C2", "C3"):
        numbers = [*lens, *rotation.ravel(), *shift]
        (folder / "S1" / "Calibration_Data" / f"{view}.cal").write_text(" ".join(map(str, numbers)))
    for split, first, last in (("Validate", 5, 590), ("Train", 590, 1203)):
        solid = random.normal(0, 150, (1, 15, 3)) + random.normal(0, 20, (last - first, 15, 3))
        flat = (400 * solid[..., :2] / (solid[..., 2:] + 5000) + 32)[None].repeat(3, axis=0)
        solid[20:], flat[:, 20:] = np.nan, np.nan  # short: most frames have no pose
        (folder / split / "S1").mkdir(parents=True)
        scipy.io.savemat(folder / split / "S1" / "Walking_1.mat", {"poses_3d": solid, "poses_2d": flat})
        for view in ("C1", "C2", "C3") if images else ():
            for number in range(first, first + 20):
                pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                path = folder / "S1" / f"Walking_1_({view})" / f"{number + 1:06d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return folder
