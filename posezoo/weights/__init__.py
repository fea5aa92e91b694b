"""Weights: records, the search for their files, reading and copying, folders and the Hub.

A file is verified before it is read, read without running code from it, and copied into the model
only when all its tensors fit: a model is never half loaded.
"""

from posezoo.weights.card import dataset_ids, model_card
from posezoo.weights.folder import (
    CARD_FILE,
    CONFIG_FILE,
    FORMAT,
    push_to_hub,
    read_config,
    read_record,
    save_pretrained,
)
from posezoo.weights.record import WEIGHTS_FILE, Weights
from posezoo.weights.shared import complete, read_shared
from posezoo.weights.sources import WeightsNotFoundError, file_sha256, find
from posezoo.weights.state_dict import fit, load_state_dict, read_state_dict, select_keypoints

__all__ = [
    "CARD_FILE",
    "CONFIG_FILE",
    "FORMAT",
    "WEIGHTS_FILE",
    "Weights",
    "WeightsNotFoundError",
    "complete",
    "dataset_ids",
    "file_sha256",
    "find",
    "fit",
    "load_state_dict",
    "model_card",
    "push_to_hub",
    "read_config",
    "read_record",
    "read_shared",
    "read_state_dict",
    "save_pretrained",
    "select_keypoints",
]
