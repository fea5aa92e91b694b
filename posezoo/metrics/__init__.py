"""Evaluation metrics: functions on whole arrays of predictions, with results per keypoint."""

from posezoo.metrics.coco import CocoResult, coco_ap
from posezoo.metrics.coco_files import (
    read_coco_ground_truth,
    read_coco_results,
    write_coco_ground_truth,
    write_coco_results,
)
from posezoo.metrics.oks import oks, oks_matrix, oks_nms, oks_sigmas
from posezoo.metrics.pck import (
    LSP_LIMBS,
    auc,
    counted_keypoints,
    heatmap_accuracy,
    labelled_mean,
    mean_pixel_error,
    pck,
    pck_curve,
    pckh,
    pcp,
    pdj,
    rmse,
    rmse_total,
    torso_diameter,
)
from posezoo.metrics.pose3d import (
    PROTOCOLS,
    Protocol,
    acceleration_error,
    auc3d,
    average_by_action,
    bone_length_error,
    by_protocol,
    human36m,
    humaneva,
    limb_angle_error,
    mpjpe,
    mpjve,
    n_mpjpe,
    pa_mpjpe,
    pck3d,
)
from posezoo.metrics.running import Running
from posezoo.metrics.tables import flic_pck, lsp_pck, lsp_pcp, mpii_head_size, mpii_pckh

__all__ = [
    "acceleration_error", "auc", "auc3d", "average_by_action", "bone_length_error", "by_protocol", "coco_ap",
    "CocoResult", "counted_keypoints", "flic_pck", "heatmap_accuracy", "human36m", "humaneva", "labelled_mean",
    "limb_angle_error", "LSP_LIMBS", "lsp_pck", "lsp_pcp", "mean_pixel_error", "mpii_head_size", "mpii_pckh", "mpjpe",
    "mpjve", "n_mpjpe", "oks", "oks_matrix", "oks_nms", "oks_sigmas", "pa_mpjpe", "pck", "pck3d", "pck_curve", "pckh",
    "pcp", "pdj", "Protocol", "PROTOCOLS", "read_coco_ground_truth", "read_coco_results", "rmse", "rmse_total",
    "Running", "torso_diameter", "write_coco_ground_truth", "write_coco_results",
]  # fmt: skip
