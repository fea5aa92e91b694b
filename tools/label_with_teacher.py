"""Label photographs of LSP or LSPET with MediaPipe's 33 landmarks, in 2D and in metric 3D.

    python tools/label_with_teacher.py --data lspet --output landmarks.npz

LSP's labels lack face, feet and depth; MediaPipe Pose (Apache-2.0) predicts them. The script runs
in an environment of its own: `pip install "mediapipe==0.10.21" scipy pillow` (it requires numpy <
2). The heavy model, `pose_landmark_heavy.tflite` of npm's package `@mediapipe/pose`, belongs in the
folder `modules/pose_landmark` of the Python package.

The input of the teacher is an upright person: the photograph is rotated by the angle of the torso
and cropped around the labelled joints. `examples/train_default.py` compares the landmarks with the
labels, and uses those that agree.

Writes, for all N records of joints.mat (NaN where no person was found or a record was not asked
for):

    landmarks   (N, 33, 2)   pixels of the photograph, the centre of its top-left pixel is (0, 0)
    visibility  (N, 33)      the teacher's estimate that the landmark can be seen, 0 to 1
    world       (N, 33, 3)   mm from the middle of the hips, turned back as the photograph shows the person
"""

import argparse
import contextlib
import math
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

HIPS, SHOULDERS = (2, 3), (8, 9)  # of LSP-14
SIDE = 384  # pixels of the upright crop
CONTEXT = 1.5  # of the crop around the joints
LANDMARKS = 33


def upright(keypoints: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Return the matrix `(2, 3)` from the photograph to a square crop in which the torso points up."""
    points = keypoints[visible]
    angle = 0.0
    if visible[list(HIPS + SHOULDERS)].all():
        x, y = keypoints[list(SHOULDERS)].mean(axis=0) - keypoints[list(HIPS)].mean(axis=0)
        angle = math.atan2(x, -y)  # of the torso against the vertical
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    turned = points @ turn.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    scale = SIDE / (CONTEXT * max(*(high - low), 1.0))
    return np.concatenate([scale * turn, (SIDE / 2 - scale * (low + high) / 2)[:, None]], axis=1)


def label(record: tuple[Path, np.ndarray, np.ndarray]) -> np.ndarray:
    """Return x, y, visibility, and world X, Y, Z of one photograph, `(33, 6)`; NaN where nobody was
    found.
    """
    path, keypoints, visible = record
    matrix = upright(keypoints, visible)
    square = np.concatenate([matrix, [[0, 0, 1]]])
    back = np.linalg.inv(square)
    with Image.open(path) as image:
        crop = image.convert("RGB").transform(
            (SIDE, SIDE), Image.Transform.AFFINE, back[:2].ravel().tolist(), Image.Resampling.BILINEAR
        )
    found = teacher().process(np.asarray(crop))
    if not found.pose_landmarks:
        return np.full((LANDMARKS, 6), np.nan)
    flat = np.array([(p.x * SIDE - 0.5, p.y * SIDE - 0.5, p.visibility) for p in found.pose_landmarks.landmark])
    world = np.array([(p.x, p.y, p.z) for p in found.pose_world_landmarks.landmark]) * 1000
    flat[:, :2] = flat[:, :2] @ back[:2, :2].T + back[:2, 2]
    turn = matrix[:, :2] / np.linalg.norm(matrix[:, 0])
    world[:, :2] = world[:, :2] @ turn  # rows times the turn: its inverse
    return np.concatenate([flat, world], axis=1)


_teacher = None


def teacher():
    """Return MediaPipe's pose network, one per process."""
    global _teacher
    if _teacher is None:
        import mediapipe

        _teacher = mediapipe.solutions.pose.Pose(
            static_image_mode=True, model_complexity=2, min_detection_confidence=0.1
        )
    return _teacher


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of LSPET, with joints.mat in it")
    parser.add_argument("--images", type=int, nargs=2, metavar=("FIRST", "LAST"), help="numbers of the photographs")
    parser.add_argument("--output", type=Path, required=True, help=".npz to write")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args(arguments)

    joints = scipy.io.loadmat(args.data / "joints.mat")["joints"].transpose(2, 0, 1)
    first, last = args.images or (1, len(joints))
    records = [
        (args.data / "images" / f"im{number:05d}.jpg", joints[number - 1, :, :2] - 1, joints[number - 1, :, 2] > 0)
        for number in range(first, last + 1)
    ]
    labels = np.full((len(joints), LANDMARKS, 6), np.nan, np.float32)
    with Pool(args.processes) if args.processes > 1 else contextlib.nullcontext() as pool:
        results = pool.imap(label, records, chunksize=32) if pool else map(label, records)
        for index, result in enumerate(results):
            labels[first - 1 + index] = result
            if index % 500 == 0:
                print(f"{index} of {len(records)}", flush=True)
    np.savez_compressed(args.output, landmarks=labels[..., :2], visibility=labels[..., 2], world=labels[..., 3:])
    found = np.isfinite(labels[first - 1 : last, 0, 0]).mean()
    print(f"{args.output}: a person in {found:.1%} of {len(records)} photographs")


if __name__ == "__main__":
    main()
