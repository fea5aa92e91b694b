"""The papers' crops by name: settings for `PoseModel.apply_input_settings` and `PersonCrop`.

Sides are relative to the boxes of `posezoo.data`: on MPII and FLIC 200 `scale`, the person's
height. DeepPose's padding on FLIC is fitted to the detector's boxes (`detector_boxes.fit_padding`).
"""

from typing import Any

GREY = 128 / 255  # what Convolutional Pose Machines have outside of the image

CROPS: dict[str, dict[str, Any]] = {
    "deeppose-lsp": {"input_size": (220, 220), "region": "image", "padding": 1.0, "keep_aspect": False},
    "deeppose-flic": {"input_size": (220, 220), "padding": 1.0, "keep_aspect": False},
    "tompson": {"input_size": (256, 256), "padding": 256 / 200, "keep_aspect": True},
    # a person of 200 annotated pixels is 200 * 41/35 of 368 high; on LSP the image is 0.8 of 368 high
    "cpm": {"input_size": (368, 368), "padding": 368 / (200 * 41 / 35), "keep_aspect": True, "fill": GREY},
    "cpm-lsp": {"input_size": (368, 368), "region": "image", "padding": 1 / 0.8, "keep_aspect": True, "fill": GREY},
    # 256 pixels for the person's height, of which the middle 224 are shown
    "ief": {"input_size": (224, 224), "padding": 224 / 256, "keep_aspect": True},
    "hourglass": {"input_size": (256, 256), "padding": 1.25, "keep_aspect": True},
    "posernn": {
        "input_size": (224, 224), "region": "joints", "margin": 20.0, "padding": 1.0, "keep_aspect": False,
    },
    # Simple Baselines and HRNet: boxes of 3:4, the side times 1.25
    "top-down": {"input_size": (256, 192), "padding": 1.25, "keep_aspect": True},
    "top-down-384": {"input_size": (384, 288), "padding": 1.25, "keep_aspect": True},
    "top-down-mpii": {"input_size": (256, 256), "padding": 1.25, "keep_aspect": True},
}  # fmt: skip
