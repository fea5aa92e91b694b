"""Datasets, transforms, temporal filters and virtual cameras.

An image dataset yields samples, dictionaries that always have

    image      (3, H, W) uint8, RGB
    keypoints  (K, 2) float32, (x, y) pixels of the image, the centre of the top-left pixel is (0, 0)
    visible    (K,) bool, True where the keypoint is annotated
    box        (4,) float32, (x1, y1, x2, y2) pixels around the person

and never heatmaps: targets are encoded per batch, on the device (`posezoo.heatmaps.encode`).

The motion datasets (`CMU`, `Human36M`, `HumanEva`) yield videos, dictionaries with some of

    name, subject, action, view    texts that identify the video
    fps        frames per second
    pose3d     (T, K, 3) float32, millimetres, in the camera's frame (x right, y down, z forward), not root-relative;
               in world coordinates, y up, for videos without a camera (`CMU`; `project_videos` adds
               one)
    keypoints  (T, K, 2) float32, (x, y) pixels
    camera     the `posezoo.geometry.Camera` that projects `pose3d` to `keypoints`
    frames     T paths of images, or frames of a video file (`posezoo.data.clips`)
    boxes      (T, 4) float32, pixels around the person

and `Windows` cuts videos into the inputs of a network.
"""

from posezoo.data.buffy import Buffy
from posezoo.data.clips import ClipCrop, CroppedClips
from posezoo.data.cmu import CMU, sample_video
from posezoo.data.coco import COCO
from posezoo.data.filters import OneEuroStream, gaussian_filter, mean_filter, median_filter, one_euro_filter
from posezoo.data.flic import FLIC
from posezoo.data.human36m import Human36M
from posezoo.data.humaneva import HumanEva
from posezoo.data.image_parse import ImageParse
from posezoo.data.lsp import LSP
from posezoo.data.mpii import MPII, collate_others
from posezoo.data.paper_crops import CROPS
from posezoo.data.transforms import PersonCrop, cutout, jitter_colour
from posezoo.data.virtual_cameras import add_noise, project_videos, virtual_cameras
from posezoo.data.windows import Windows

__all__ = [
    "CMU",
    "COCO",
    "CROPS",
    "FLIC",
    "LSP",
    "MPII",
    "Buffy",
    "ClipCrop",
    "CroppedClips",
    "Human36M",
    "HumanEva",
    "ImageParse",
    "OneEuroStream",
    "PersonCrop",
    "Windows",
    "add_noise",
    "collate_others",
    "cutout",
    "gaussian_filter",
    "jitter_colour",
    "mean_filter",
    "median_filter",
    "one_euro_filter",
    "project_videos",
    "sample_video",
    "virtual_cameras",
]
