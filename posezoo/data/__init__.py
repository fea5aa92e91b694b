"""Datasets, one per file, and the transforms that feed them to a network.

A dataset yields samples, plain dictionaries that always hold

    image      (3, H, W) uint8, RGB
    keypoints  (K, 2) float32, (x, y) pixels of the image, the centre of the top-left pixel is (0, 0)
    visible    (K,) bool, True where the keypoint is annotated and may be used as a target
    box        (4,) float32, (x1, y1, x2, y2) pixels around the person

and never heatmaps: targets are made on the batch, on the device (`posezoo.heatmaps.encode`).

The datasets of motion (`CMU`, `Human36M`, `HumanEva`) yield videos, dictionaries that hold of these what there is

    name, subject, action, view    texts that say which video this is
    fps        frames per second
    pose3d     (T, K, 3) float32, millimetres, in the camera's frame (x right, y down, z forward), not root-relative;
               in the world, y up, where there is no camera yet (`CMU`; `film` adds one)
    keypoints  (T, K, 2) float32, (x, y) pixels
    camera     the `posezoo.geometry.Camera` that sees the one as the other
    frames     T paths of images

and `Windows` cuts videos into what a network takes.
"""

from posezoo.data.buffy import Buffy
from posezoo.data.cmu import CMU, add_noise, film, sample_video, virtual_cameras
from posezoo.data.coco import COCO
from posezoo.data.filters import OneEuroStream, gaussian_filter, mean_filter, median_filter, one_euro_filter
from posezoo.data.flic import FLIC
from posezoo.data.human36m import Human36M
from posezoo.data.humaneva import HumanEva
from posezoo.data.image_parse import ImageParse
from posezoo.data.lsp import LSP
from posezoo.data.mpii import MPII, collate_others
from posezoo.data.transforms import PersonCrop, cutout, jitter_colour
from posezoo.data.windows import Windows

__all__ = [
    "CMU",
    "COCO",
    "FLIC",
    "LSP",
    "MPII",
    "Buffy",
    "Human36M",
    "HumanEva",
    "ImageParse",
    "OneEuroStream",
    "PersonCrop",
    "Windows",
    "add_noise",
    "collate_others",
    "cutout",
    "film",
    "gaussian_filter",
    "jitter_colour",
    "mean_filter",
    "median_filter",
    "one_euro_filter",
    "sample_video",
    "virtual_cameras",
]
