"""Lift a video to 3D, from its frames or from detected 2D keypoints, and draw an animation.

    python examples/lift_video.py frames/ --output out
    python examples/lift_video.py openpose_json/ --skeleton body25 --output out
    python examples/lift_video.py people.json --skeleton coco17 --fps 30 --output out

Frames must show one person, who fills a good part of them or of `--box`. `ffmpeg -i video.mp4
frames/%05d.jpg` extracts the frames of a video file.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import posezoo
from posezoo.data.detections import in_order, read_keypoints
from posezoo.lifting import predict_single_person
from posezoo.viz import contact_sheet, save_gif


def main(arguments: list[str] | None = None) -> posezoo.Poses3D:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path)
    parser.add_argument("--skeleton", help="skeleton of the keypoints in a file")
    parser.add_argument(
        "--box",
        nargs=4,
        type=float,
        metavar=("X1", "Y1", "X2", "Y2"),
        help="of the person, pixels",
    )
    parser.add_argument("--image-model", default="simple_baseline_lite.people_192x192")
    parser.add_argument("--model", default="martinez")
    parser.add_argument("--min-score", type=float, default=0.3, help="keypoints with lower scores count as missing")
    parser.add_argument("--fps", type=float, default=25)
    parser.add_argument("--output", type=Path, default=Path("lifted"))
    args = parser.parse_args(arguments)

    frames = None
    if args.input.is_dir() and not any(args.input.glob("*.json")):
        frames = in_order(args.input)
        people = predict_single_person(frames, args.image_model, args.box, flip=True)
        scores = np.concatenate([person.scores for person in people])
        print(f"{len(frames)} frames, mean score of a keypoint {scores.mean():.2f}")
        poses = posezoo.lift(people, args.model, min_score=args.min_score, flip=True)
    else:
        keypoints = read_keypoints(args.input, args.skeleton)
        poses = posezoo.lift(**keypoints, model=args.model, min_score=args.min_score, flip=True)

    args.output.mkdir(parents=True, exist_ok=True)
    np.savez(args.output / "poses.npz", pose3d=poses.pose3d, interpolated=poses.interpolated)
    save_gif(args.output / "poses.gif", poses.pictures(frames), fps=args.fps)
    some = np.unique(np.linspace(0, len(poses) - 1, 8).round().astype(int))
    sheet = contact_sheet(poses.pictures(frames, index=some), [f"\nframe {frame}" for frame in some], columns=2)
    Image.fromarray(sheet).save(args.output / "poses.png")

    travelled = np.linalg.norm(np.diff(poses.pose3d, axis=0), axis=-1).sum(axis=0)
    for name, distance in zip(poses.skeleton.keypoints, travelled, strict=True):
        print(f"  {name:15} moved {distance / 1000:6.2f} m relative to the pelvis")
    print(f"{len(poses)} frames in {args.output}: poses.npz, poses.gif, poses.png")
    return poses


if __name__ == "__main__":
    main()
