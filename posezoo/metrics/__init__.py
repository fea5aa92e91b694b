"""Evaluation metrics: functions on whole arrays of predictions, per-keypoint results that the caller reduces."""

from posezoo.metrics.pck import labelled_mean, pck, pckh, pdj, torso_diameter

__all__ = ["labelled_mean", "pck", "pckh", "pdj", "torso_diameter"]
