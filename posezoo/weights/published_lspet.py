"""The weights of the papers' networks that were trained on LSPET for posezoo, small and measured
honestly.

Their files are in the package. They have sizes, widths or backbones of their own (`kwargs`), and
the model cards beside them state how they were trained.
"""

from typing import Any

from posezoo.weights.record import Weights

BASE = "simple_baseline_lite.people_192x192"  # the frozen backbone of some, and the teacher of others
BACKBONE = "tf_efficientnet_lite2"
PEOPLE = "Leeds Sports Pose Extended (images 1 to 7000 and 7501 to 9500)"
TAUGHT = f"{PEOPLE} and rendered people, labelled by {BASE}"
TAUGHT_LICENSE = "LSPET: none stated, research use; renders: free"


def trained_on_lspet(architecture: str, tag: str, sha256: str, size: int, pck: float, **fields: Any) -> Weights:
    """Make the record of a file in `posezoo/pretrained`; `pck` is PCK@0.2 on LSPET 7001-7500."""
    height, width = map(int, tag.rpartition("_")[2].split("x"))
    fields["kwargs"] = {"num_keypoints": 14, "skeleton": "lsp14", **fields["kwargs"]}
    return Weights(
        **{
            "architecture": architecture,
            "tag": tag,
            "sources": (f"package:{architecture}.{tag}",),
            "sha256": sha256,
            "size": size,
            "input_size": (height, width),
            "input": {"padding": 1.25},  # of the training crops
            "skeleton": "lsp14",
            "channel_order": "RGB",
            "metrics": {"LSPET 7001-7500": {"PCK@0.2": pck}},
            "metrics_by": "posezoo",
            "protocol": "boxes of the annotated joints; averaged with the mirror image",
            "data": PEOPLE,
            "data_license": "LSPET: none stated, research use",
            "license": "research-only",
            **fields,
        }
    )


LSPET_NETWORKS: tuple[Weights, ...] = ()
