"""PCK@0.2 per joint of a pretrained model on held-out images of LSP or LSPET.

    python examples/evaluate.py --data lspet --images 7001 7500

PCK@0.2 counts a keypoint as correct within 0.2 of the torso diameter (left shoulder to right hip),
in pixels of the image. Joints without annotation are excluded, and so are people whose torso is not
annotated.
"""

import argparse
from pathlib import Path

import torch

import posezoo
from posezoo.data import LSP
from posezoo.metrics import labelled_mean, pdj, torso_diameter
from posezoo.skeletons import convert


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of LSP or LSPET, with joints.mat in it")
    parser.add_argument("--images", type=int, nargs=2, default=(7001, 7500), metavar=("FIRST", "LAST"))
    parser.add_argument("--model", default="simple_baseline_lite.lsp14_192x192")
    parser.add_argument("--no-flip", action="store_true", help="do not average with the mirror image")
    args = parser.parse_args(arguments)

    people = LSP(args.data, images=tuple(args.images))
    samples = [people[index] for index in range(len(people))]
    found = posezoo.predict(
        [sample["image"] for sample in samples],
        args.model,
        boxes=[sample["box"][None] for sample in samples],
        flip=not args.no_flip,
    )
    pred = torch.cat([torch.from_numpy(one.keypoints) for one in found])
    pred, has = convert(pred, found[0].skeleton, LSP.skeleton)
    target, visible = people.keypoints, people.visible & has

    torso = torso_diameter(target, LSP.skeleton, visible=visible)
    per_joint = pdj(pred, target, LSP.skeleton, visible=visible, threshold=0.2)
    total = labelled_mean(per_joint, visible & ~torso.isnan()[:, None])
    for joint, value in zip(LSP.skeleton.keypoints, per_joint.tolist(), strict=True):
        print(f"{joint:>15} {value:6.3f}")
    print(f"{'PCK@0.2':>15} {total:6.3f}   {len(pred)} people, {int(torso.isnan().sum())} of them without a torso")
    return total


if __name__ == "__main__":
    main()
