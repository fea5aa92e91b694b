"""The weights of the papers' networks that were trained on LSPET for posezoo, small and measured
honestly.

Their files are in the package. They have sizes, widths or backbones of their own (`kwargs`), and
the model cards beside them state how they were trained.
"""

import functools
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


taught = functools.partial(trained_on_lspet, data=TAUGHT, data_license=TAUGHT_LICENSE)


LSPET_NETWORKS: tuple[Weights, ...] = (
    trained_on_lspet(
        "posernn_attention",
        "lspet_224x224",
        "ac1588f083e6a90314601aeef06bbda13c544ee198b47d7fe716501eb299f226",
        1_415_606,
        0.360,
        kwargs={"backbone": "tf_efficientnet_lite2", "neck_width": 256},
        base=BASE,
        shared=("backbone",),
    ),
    trained_on_lspet(
        "posernn_lstm",
        "lspet_224x224",
        "914d1f151ba5862a335a23822ef5228c1a29cde463d1b0fde40155f28662f810",
        6_879_028,
        0.344,
        kwargs={"backbone": "tf_efficientnet_lite2", "neck_width": 64},
        base=BASE,
        shared=("backbone",),
    ),
    trained_on_lspet(
        "posernn_cnn",
        "lspet_224x224",
        "b01bde082d53cc34f24050f893970ae2df9f8339abd4af47df31747ab4b4ea4a",
        3_817_708,
        0.325,
        kwargs={"backbone": "tf_efficientnet_lite2", "neck_width": 64, "fc_width": 512, "bn_order": "conv_bn_relu"},
        base=BASE,
        shared=("backbone",),
    ),
    trained_on_lspet(
        "deeppose",
        "lspet_440x440",
        "13f6105e5cf2c9e5b29650a11d03396bc6eba974e6e98263d91405fa4932b417",
        3_287_916,
        0.294,
        kwargs={"num_stages": 1, "dropout": 0.3, "backbone": "tf_efficientnet_lite2", "share_backbone": True},
        base=BASE,
        shared=("backbone",),
        paper="https://arxiv.org/abs/1312.4659",
    ),
    trained_on_lspet(
        "ief",
        "lspet_128x128",
        "a645bbcc758aff295453ce284a34dc83f250401ae553ad2c43b1da364a20c17d",
        8_976_660,
        0.323,
        kwargs={
            "num_steps": 4,
            "backbone": "tf_efficientnet_lite2",
            "size": 128,
            "max_step": 11.428571428571427,
            "sigma": 12.777531299998799,
        },
        paper="https://arxiv.org/abs/1507.06550",
    ),
    taught(
        "hourglass_1",
        "lspet_128x128",
        "115016746ee8ab7e79d0962bb014abe80d7e01341aa46704336945e501164c58",
        1_956_608,
        0.291,
        kwargs={"width": 128},
        paper="https://arxiv.org/abs/1603.06937",
    ),
    taught(
        "hrnet_w18",
        "lspet_96x96",
        "79ddbe108cb79a82761d3b72ccb2c47e2598d4565fde83ff9d811d29b9fa23c3",
        15_129_952,
        0.358,
        kwargs={"width": 16},
        paper="https://arxiv.org/abs/1902.09212",
    ),
    taught(
        "cpm_vgg_6s",
        "lspet_96x96",
        "5f3f15e9d759cdf3d10ebc141709c1adb496630169b983cc2c9f86e95f917ef0",
        8_841_750,
        0.205,
        kwargs={"width": 64, "num_stages": 3},
        paper="https://arxiv.org/abs/1602.00134",
    ),
    taught(
        "tompson_mpii",
        "lspet_128x128",
        "237a72b787dc9479ae8700b48b17a8b56a6a7279cbf3ae571d6672627f0f539c",
        1_162_528,
        0.186,
        kwargs={"width": 32, "fc_width": 128, "crop": 20, "fine": False},
        paper="https://arxiv.org/abs/1411.4280",
    ),
)
