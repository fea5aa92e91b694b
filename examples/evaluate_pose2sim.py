"""Evaluate lifters, and RPSM, on a real recording: single views against triangulated points.

    python examples/evaluate_pose2sim.py --data pose2sim --models martinez seq2seq3d
    temporal_conv_27 rpsm --draw lifted.png

The recording is the demo of Pose2Sim (github.com/perfanalytics/pose2sim, BSD-3): a person balances,
four calibrated cameras, 100 frames at 60 Hz, BODY_25B keypoints of OpenPose in every view, and the
3D points triangulated from them. Each view is lifted separately and compared with the triangulated
points in that camera's frame, relative to the pelvis.

Networks for clips, such as `rpsm`, get the video at `--fps`, cropped around the box of OpenPose's
keypoints; the boxes are smoothed over time. Every frame is predicted once: at 10 fps frames 0, 6,
12 and so on are one clip, frames 1, 7, 13 the next.

The lifters' inputs and all targets are from OpenPose's keypoints, so that their error is of the
lifting alone. The networks, however, were trained on the joint definitions of motion capture, which are not
corrected for:

- `pelvis` is the middle of OpenPose's hips, `thorax` of its shoulders, `spine` the middle of the
  two;
- `head` is the top of the head; in the motion capture it is the end of the head bone;
- `neck_nose` is the nose; in the motion capture it is the base of the skull, some 11 cm behind.

Errors are given for all 17 keypoints and without `head` and `neck_nose`. The baseline `mean pose`
is the mean of the first lifter's training data.

The triangulated points are 8 to 18 px (median) from the detections in the images, where the person
is 800 px high.
"""

import argparse
import configparser
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import posezoo
from posezoo.data.detections import read_keypoints
from posezoo.geometry import Camera, box_to_crop, crop, crop_matrix, tight_box
from posezoo.metrics import mpjpe, n_mpjpe, pa_mpjpe
from posezoo.skeletons import convert
from posezoo.video import read_video
from posezoo.viz import contact_sheet, draw_pose3d, pose3d_bounds

TRIAL = Path("S00_P00_SingleParticipant") / "S00_P00_T01_BalancingTrial"
PARTS = {"Neck": "upper_neck", "Head": "head_top", "Nose": "nose"}  # of the .trc; the others are RHip, LKnee, ...
SKELETON = posezoo.get_skeleton("h36m17")
SAME = [i for i, name in enumerate(SKELETON.keypoints) if name not in ("neck_nose", "head")]


def read_cameras(root: Path) -> list[Camera]:
    calibration = configparser.ConfigParser()  # the file uses no more of TOML than this
    calibration.read(root / "S00_Calibration" / "Calib_qualisys.toml")
    names = sorted(name for name in calibration.sections() if name != "metadata")
    return [camera({key: json.loads(value) for key, value in calibration[name].items()}) for name in names]


def camera(values: dict[str, Any]) -> Camera:
    """OpenCV's conventions: Rodrigues' rotation vector, t in metres, k1 k2 p1 p2."""
    x, y, z = values["rotation"]
    rotation = torch.linalg.matrix_exp(torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64))
    matrix = torch.tensor(values["matrix"], dtype=torch.float64)
    k1, k2, p1, p2 = values["distortions"]
    width, height = values["size"]
    return Camera(
        rotation=rotation,
        translation=-1000 * rotation.T @ torch.tensor(values["translation"], dtype=torch.float64),
        focal=matrix.diagonal()[:2],
        center=matrix[:2, 2],
        radial=torch.tensor([k1, k2, 0.0], dtype=torch.float64),
        tangential=torch.tensor([p1, p2], dtype=torch.float64),
        size=(int(height), int(width)),
    )


def read_trc(path: Path) -> Tensor:
    """The 17 keypoints in world coordinates of the calibration: `(T, 17, 3)` mm."""
    lines = path.read_text().splitlines()
    names = [name for name in lines[3].split("\t")[2:] if name]
    rows = np.array([line.split("\t")[2:] for line in lines[5:] if line.strip()], dtype=np.float64)
    points = 1000 * rows[:, : 3 * len(names)].reshape(len(rows), -1, 3)[..., [2, 0, 1]]  # the file has y up
    converted, _ = convert(points, [called(name) for name in names], SKELETON)
    return torch.from_numpy(converted)


def called(name: str) -> str:
    side = {"R": "right_", "L": "left_"}.get(name[0], "")
    return PARTS.get(name) or side + name[1:].lower()


def predict_video(model: Any, path: Path, keypoints: Tensor, args: argparse.Namespace) -> Tensor:
    """Return poses `(T, 17, 3)` mm of a network for clips, in the crops around keypoints `(T, K, 2)`."""
    matrices = crop_matrix(*smooth_boxes(keypoints, args.padding, args.smooth, model.input_size), model.input_size)
    video = read_video(path)
    frames = [torch.from_numpy(np.array(frame.image)).movedim(-1, 0).float() / 255 for frame in video]
    pairs = zip(frames, matrices.float(), strict=True)
    crops = torch.stack([crop(frame, matrix[None], model.input_size)[0] for frame, matrix in pairs])
    step = max(1, round(video.fps / args.fps))
    poses = torch.zeros(len(crops), model.num_keypoints, 3)
    for first in range(step):
        clip = crops[None, first::step]
        poses[first::step] = model.predict(clip, flip=args.flip, clip_length=args.clip_length)[0][0]
    return poses


def smooth_boxes(keypoints: Tensor, padding: float, window: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return centres and extents `(T, 2)` of the crops, averaged over `window` frames."""
    known = keypoints.isfinite().all(dim=-1)
    boxes = torch.stack([tight_box(*frame) for frame in zip(keypoints.nan_to_num(), known, strict=True)])
    mean = torch.nn.functional.avg_pool1d(
        boxes.T[None], window, stride=1, padding=window // 2, count_include_pad=False
    )[0].T
    return box_to_crop(mean, size, padding=padding)


def draw(path: Path, poses: dict[str, Tensor], frames: Sequence[int]) -> None:
    """Draw a row per frame: all poses from the camera's view and from the right, at one scale."""
    bounds = pose3d_bounds(torch.stack(list(poses.values())))
    images = [
        draw_pose3d(pose3d[frame], SKELETON, views=("front", "side"), bounds=bounds)
        for frame in frames
        for pose3d in poses.values()
    ]
    labels = [f"\n{name}, frame {frame}" for frame in frames for name in poses]  # below the labels of the views
    Image.fromarray(contact_sheet(images, labels, columns=len(poses))).save(path)


def main(arguments: list[str] | None = None) -> dict[str, dict[str, float]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with S00_Calibration in it")
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--flip", action="store_true", help="average with the prediction for mirrored keypoints")
    parser.add_argument("--draw", type=Path, help="image file for some frames of the first camera")
    parser.add_argument("--fps", type=float, default=10, help="of the clips of networks for clips")
    parser.add_argument("--clip-length", type=int, help="reset such a network's state every so many frames")
    parser.add_argument("--padding", type=float, default=1.25, help="of the crops around the keypoints' boxes")
    parser.add_argument("--smooth", type=int, default=15, help="frames, odd, that the boxes are averaged over")
    args = parser.parse_args(arguments)
    if args.smooth % 2 == 0:
        parser.error(f"--smooth: expected an odd number of frames, got {args.smooth}")

    world = read_trc(next((args.data / TRIAL / "pose-3d").glob("*_0-100.trc")))
    results: dict[str, dict[str, float]] = {}
    lines: list[str] = []
    models: dict[str, Any] = {name: posezoo.create(name, pretrained=True) for name in args.models}
    lifters = {name: model for name, model in models.items() if model.input_kind != "clip"}
    if not lifters:
        parser.error("--models: add a lifter, such as martinez; the baseline is the mean of its training poses")
    print("| Camera | Model | MPJPE | without head and nose | N-MPJPE | PA-MPJPE | without head and nose |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for number, view in enumerate(read_cameras(args.data), start=1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # other people, missing keypoints: counted below
            detected = read_keypoints(args.data / TRIAL / "pose" / f"cam{number:02d}_json", "body25b")
            lifted = {name: posezoo.lift(**detected, model=model, flip=args.flip) for name, model in lifters.items()}
        truth = view.world_to_camera(world)
        some = next(iter(lifted.values()))
        distance = float((view.project(truth) - torch.from_numpy(some.keypoints)).norm(dim=-1).median())
        truth = truth - truth[:, :1]
        predicted = {name: torch.from_numpy(poses.pose3d).to(truth) for name, poses in lifted.items()}
        observed = torch.from_numpy(some.keypoints)
        path = args.data / TRIAL / "videos" / f"cam{number:02d}.mp4"
        for name in models.keys() - lifters.keys():
            predicted[name] = predict_video(models[name], path, observed, args).to(truth)
        predicted = {name: predicted[name] for name in models}
        mean_pose = next(iter(lifters.values())).normalize.pose3d.mean.expand_as(truth)
        for name, pose3d in {"mean pose": mean_pose, **predicted}.items():
            errors = {
                "MPJPE": mpjpe(pose3d, truth),
                "MPJPE, same": mpjpe(pose3d, truth)[:, SAME],
                "N-MPJPE": n_mpjpe(pose3d, truth),
                "PA-MPJPE": pa_mpjpe(pose3d, truth),
                "PA-MPJPE, same": pa_mpjpe(pose3d[:, SAME], truth[:, SAME]),
            }
            row = {measure: float(error.mean()) for measure, error in errors.items()}
            results[f"{name}, camera {number}"] = row
            print(f"| {number} | {name} | " + " | ".join(f"{value:.1f}" for value in row.values()) + " |", flush=True)
        missing = int(some.interpolated.sum())
        lines.append(
            f"camera {number}: {missing} keypoints interpolated; triangulated points {distance:.1f} px from them"
        )
        if args.draw and number == 1:
            draw(args.draw, {"triangulated": truth, **predicted}, [0, 33, 66, 99])
    for name in ("mean pose", *models):
        rows = [row for key, row in results.items() if key.startswith(f"{name}, ")]
        mean = {measure: sum(row[measure] for row in rows) / len(rows) for measure in rows[0]}
        results[name] = mean
        print(f"| mean | {name} | " + " | ".join(f"{value:.1f}" for value in mean.values()) + " |")
    print("\n".join(["", *lines]))
    return results


if __name__ == "__main__":
    main()
