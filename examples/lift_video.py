"""Lift a video to 3D, from its frames or from detected 2D keypoints, and draw an animation.

    python examples/lift_video.py clip.mp4 --output out
    python examples/lift_video.py frames/ --output out
    python examples/lift_video.py openpose_json/ --skeleton body25 --output out
    python examples/lift_video.py people.json --skeleton coco17 --fps 30 --output out

Frames must show one person, who fills a good part of them or of `--box`.
"""

import argparse
from pathlib import Path

import numpy as np

import posezoo
from posezoo.data.detections import in_order, read_keypoints
from posezoo.lifting import predict_single_person
from posezoo.video import is_video, read_video


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
    parser.add_argument("--fps", type=float, help="defaults to 25, for a video to its own")
    parser.add_argument("--output", type=Path, default=Path("lifted"))
    args = parser.parse_args(arguments)

    frames = None
    if is_video(args.input):
        frames = read_video(args.input, fps=args.fps or read_video(args.input).fps)
    elif args.input.is_dir() and not any(args.input.glob("*.json")):
        frames = in_order(args.input)
    if frames is not None:
        people = predict_single_person(frames, args.image_model, args.box, flip=True)
        scores = np.concatenate([person.scores for person in people])
        print(f"{len(people)} frames, mean score of a keypoint {scores.mean():.2f}")
        keypoints = {"keypoints": people}
    else:
        keypoints = read_keypoints(args.input, args.skeleton)
    fps = frames.fps if is_video(args.input) else args.fps
    poses = posezoo.lift(**keypoints, model=args.model, min_score=args.min_score, fps=fps, flip=True)

    args.output.mkdir(parents=True, exist_ok=True)
    np.savez(args.output / "poses.npz", pose3d=poses.pose3d, interpolated=poses.interpolated)
    poses.save(args.output / "poses.bvh")
    for drawing in ("poses.gif", "poses.png"):
        poses.save(args.output / drawing, frames)

    travelled = np.linalg.norm(np.diff(poses.pose3d, axis=0), axis=-1).sum(axis=0)
    for name, distance in zip(poses.skeleton.keypoints, travelled, strict=True):
        print(f"  {name:15} moved {distance / 1000:6.2f} m relative to the pelvis")
    print(f"{len(poses)} frames in {args.output}: poses.npz, poses.bvh, poses.gif, poses.png")
    return poses


if __name__ == "__main__":
    main()
