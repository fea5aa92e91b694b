"""Geometry: the only package that changes coordinate frames.

affine.py       boxes, affine crops and mirrors, in pixels
cameras.py      world, camera and image coordinates
alignment.py    person-relative coordinates, Procrustes alignment
"""

from posezoo.geometry.affine import (
    box_iou,
    box_to_crop,
    compose,
    crop,
    crop_boxes,
    crop_matrix,
    denormalize_points,
    flip_keypoints,
    invert,
    letterbox,
    normalize_points,
    precise,
    shrink,
    tight_box,
    transform_points,
    warp,
    zoom,
)
from posezoo.geometry.alignment import align, aligned, person_frame, procrustes
from posezoo.geometry.cameras import LENSES, Camera, look_at

__all__ = [
    "LENSES",
    "Camera",
    "align",
    "aligned",
    "box_iou",
    "box_to_crop",
    "compose",
    "crop",
    "crop_boxes",
    "crop_matrix",
    "denormalize_points",
    "flip_keypoints",
    "invert",
    "letterbox",
    "look_at",
    "normalize_points",
    "person_frame",
    "precise",
    "procrustes",
    "shrink",
    "tight_box",
    "transform_points",
    "warp",
    "zoom",
]
