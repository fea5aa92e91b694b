"""Evaluation metrics: functions on whole arrays of predictions, with results per keypoint that the caller reduces."""

from posezoo.metrics.oks import (
    CocoResult,
    coco_ap,
    oks,
    oks_matrix,
    oks_nms,
    read_coco_ground_truth,
    read_coco_results,
    write_coco_ground_truth,
    write_coco_results,
)
from posezoo.metrics.pck import (
    LSP_LIMBS,
    auc,
    flic_pck,
    heatmap_accuracy,
    labelled_mean,
    lsp_pck,
    lsp_pcp,
    mean_pixel_error,
    mpii_head_size,
    mpii_pckh,
    parse_pcp,
    pck,
    pck_curve,
    pckh,
    pcp,
    pdj,
    rmse,
    torso_diameter,
)
from posezoo.metrics.pose3d import (
    PROTOCOLS,
    Protocol,
    acceleration_error,
    auc3d,
    average_by_action,
    bone_length_error,
    human36m,
    humaneva,
    limb_angle_error,
    mpjpe,
    mpjve,
    n_mpjpe,
    pa_mpjpe,
    pck3d,
)

__all__ = [
    "acceleration_error", "auc", "auc3d", "average_by_action", "bone_length_error", "coco_ap", "CocoResult",
    "flic_pck", "heatmap_accuracy", "human36m", "humaneva", "labelled_mean", "limb_angle_error", "LSP_LIMBS",
    "lsp_pck", "lsp_pcp", "mean_pixel_error", "mpii_head_size", "mpii_pckh", "mpjpe", "mpjve", "n_mpjpe", "oks",
    "oks_matrix", "oks_nms", "pa_mpjpe", "parse_pcp", "pck", "pck3d", "pck_curve", "pckh", "pcp", "pdj", "Protocol",
    "PROTOCOLS", "read_coco_ground_truth", "read_coco_results", "rmse", "torso_diameter", "write_coco_ground_truth",
    "write_coco_results",
]  # fmt: skip
