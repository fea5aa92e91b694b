"""MediaPipe's 33 landmarks of photographs, or of boxes in them, for `compare.py`.

    python examples/compare_mediapipe.py JOBS RESULT --model full --confidence 0.5

It runs in an environment of its own: `pip install "mediapipe==0.10.21" "numpy<2" pillow`. That
package has the full model; `pose_landmark_heavy.tflite` and `pose_landmark_lite.tflite` are in
npm's package `@mediapipe/pose` and belong in the folder `mediapipe/modules/pose_landmark` of the
environment.

JOBS is a json list of `[path, box]`, with a box (x1, y1, x2, y2) in pixels, or null for the whole
photograph. RESULT is an .npz of `keypoints` (N, 33, 2), pixels of the photographs, NaN where nobody
was found, and `seconds`, the processor's from the files to the keypoints.
"""

import argparse
import json
import time
from pathlib import Path

import mediapipe
import numpy as np
from PIL import Image

MODELS = ("lite", "full", "heavy")
LANDMARKS = 33
SIDE, CONTEXT = 384, 1.5  # pixels of the square crop, and its side in longer sides of the box


def landmarks(network, path, box):
    """Return the keypoints `(33, 2)` of one person."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    scale, left, top = 1.0, 0.0, 0.0
    if box is not None:
        x1, y1, x2, y2 = box
        side = CONTEXT * max(x2 - x1, y2 - y1, 1.0)
        # PIL and MediaPipe place the first pixel's centre at 0.5
        scale, left, top = side / SIDE, (x1 + x2 + 1 - side) / 2, (y1 + y2 + 1 - side) / 2
        window = (scale, 0, left, 0, scale, top)
        image = image.transform((SIDE, SIDE), Image.Transform.AFFINE, window, Image.Resampling.BILINEAR)
    found = network.process(np.asarray(image)).pose_landmarks
    if not found:
        return np.full((LANDMARKS, 2), np.nan)
    points = np.array([(point.x, point.y) for point in found.landmark]) * image.size
    return points * scale + (left - 0.5, top - 0.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--model", choices=MODELS, default="full")
    parser.add_argument("--confidence", type=float, default=0.5, help="of the detector, at least")
    args = parser.parse_args()
    folder = Path(mediapipe.__file__).parent / "modules" / "pose_landmark"
    if not (folder / f"pose_landmark_{args.model}.tflite").is_file():
        parser.error(f"{folder} has no pose_landmark_{args.model}.tflite")
    jobs = json.loads(args.jobs.read_text())
    with mediapipe.solutions.pose.Pose(
        static_image_mode=True, model_complexity=MODELS.index(args.model), min_detection_confidence=args.confidence
    ) as network:
        landmarks(network, *jobs[0])  # warms up
        start = time.process_time()
        keypoints = np.array([landmarks(network, path, box) for path, box in jobs])
        seconds = time.process_time() - start
    np.savez(args.result, keypoints=keypoints, seconds=seconds)


if __name__ == "__main__":
    main()
