"""Datasets, one per file, and the transforms that feed them to a network.

A dataset yields samples, plain dictionaries that always hold

    image      (3, H, W) uint8, RGB
    keypoints  (K, 2) float32, (x, y) pixels of the image, the centre of the top-left pixel is (0, 0)
    visible    (K,) bool, True where the keypoint is annotated and may be used as a target
    box        (4,) float32, (x1, y1, x2, y2) pixels around the person

and never heatmaps: targets are made on the batch, on the device (`posezoo.heatmaps.encode`).
"""

from posezoo.data.coco import COCO
from posezoo.data.flic import FLIC
from posezoo.data.lsp import LSP
from posezoo.data.mpii import MPII, collate_others
from posezoo.data.transforms import PersonCrop, cutout, jitter_colour

__all__ = ["COCO", "FLIC", "LSP", "MPII", "PersonCrop", "collate_others", "cutout", "jitter_colour"]
