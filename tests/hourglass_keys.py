"""What the tensors of our hourglasses are called in the published files (specs/models2d_b.md 2.7
and 2.8).
"""

import re

BEARPAW_PARTS = {"up1": 0, "low1": 1, "low3": 2, "low2": 3}


def princeton(key: str) -> str:
    """`hgs.0.low2.up1.0.conv1.weight` to `hgs.0.0.low2.up1.conv1.conv.weight`."""
    key = re.sub(r"^hgs\.(\d+)\.", r"hgs.\1.0.", key)
    key = re.sub(r"\.0\.(bn\d|conv\d|skip_layer)\.", r".\1.", key)  # there is one residual at each place
    key = re.sub(r"\.(conv\d|skip_layer)\.", r".\1.conv.", key)
    key = re.sub(r"^outs\.(\d+)\.", r"outs.\1.conv.", key)
    return re.sub(r"^(merge_\w+\.\d+)\.", r"\1.conv.conv.", key)


def bearpaw(key: str) -> str:
    """`hgs.0.low2.up1.0.conv1.weight` to `hg.0.hg.2.0.0.conv1.weight`."""
    for ours, theirs in {
        "pre.0.conv.": "conv1.",
        "pre.0.bn.": "bn1.",
        "pre.1.": "layer1.0.",
        "pre.3.": "layer2.0.",
        "pre.4.": "layer3.0.",
        "outs.": "score.",
        "merge_features.": "fc_.",
        "merge_preds.": "score_.",
    }.items():
        if key.startswith(ours):
            key = theirs + key.removeprefix(ours)
    key = key.replace(".skip_layer.", ".downsample.0.")
    key = re.sub(r"^features\.(\d+)\.0\.", r"res.\1.", key)
    key = re.sub(r"^features\.(\d+)\.1\.conv\.", r"fc.\1.0.", key)
    key = re.sub(r"^features\.(\d+)\.1\.bn\.", r"fc.\1.1.", key)
    found = re.match(r"hgs\.(\d+)\.((?:\w+\.)+?)(\d+)\.", key)  # stack, way to the part, residual
    if not found:
        return key
    *down, part = found[2].split(".")[:-1]
    level = 3 - len(down)  # numbered from the innermost, whose low2 are residuals
    return f"hg.{found[1]}.hg.{level}.{BEARPAW_PARTS[part]}.{found[3]}." + key[found.end() :]


def mmpose(key: str, head: str = "keypoint_head") -> str:
    """`hourglass.up1.0.conv1.weight` to `backbone.hourglass_modules.0.up1.0.conv1.weight`."""
    if key.startswith("final_layer."):
        return key.replace("final_layer.", f"{head}.multi_final_layers.0.")
    return "backbone." + key.replace("hourglass.", "hourglass_modules.0.").replace("out_conv.", "out_convs.0.")
