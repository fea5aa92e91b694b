"""Published checkpoints: recognise the format of a file, and convert its tensors to posezoo's keys.

`formats.py` has a row for each format, `loading.py` turns a file into a `Checkpoint`, `readers/`
reads the files of Torch7, Caffe and TensorFlow.
"""

from posezoo.checkpoints.formats import FORMATS, Format, MissingTensors, convert, detect, infer, left_out, unwrap
from posezoo.checkpoints.image_networks import BEARPAW_MEAN
from posezoo.checkpoints.loading import Checkpoint, known_file, load_weights, read_checkpoint

__all__ = [
    "BEARPAW_MEAN",
    "FORMATS",
    "Checkpoint",
    "Format",
    "MissingTensors",
    "convert",
    "detect",
    "infer",
    "known_file",
    "left_out",
    "load_weights",
    "read_checkpoint",
    "unwrap",
]
