"""Choose DeepPose's number of stages S and its sigma on held-out images, as in section 4.1.

    python examples/select_deeppose.py --data lsp:lsp lspet:lspet --recipe paper --output runs/select

Sigma is the side of a keypoint's square, in diameters of the pose. For each sigma, stages are
trained until the next one does not improve the PDJ@0.2, averaged over all joints, of 50 held-out
images; the best sigma and S are chosen. The paper tried 1.5, 1.7, 2.0 and 2.3 on LSP and chose 2.0;
on FLIC 0.8, 1.0 and 1.2 and chose 1.0; S = 3 on both. The first stage does not depend on sigma and
is trained once. The options are those of `train_deeppose.py`; `--most` is the
maximum of stages.
`choice.json` in `--output` has the table and the choice.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import DataLoader

from posezoo.geometry import invert, transform_points
from posezoo.metrics import pdj
from posezoo.models.deeppose import DeepPose

from data_sources import Cropped
from recipes import parse
from train_deeppose import parser, people_of, predictions, train_stage
from training import loaders_of

SIGMAS = (1.5, 1.7, 2.0, 2.3)  # on LSP (section 4.1)
MOST_STAGES = 5
HELD_OUT = 50  # the last images for training


def select(
    sigmas: Sequence[float], add_stage: Callable[[Any, float], Any], score: Callable[[Any], float], *, most: int
) -> tuple[float, int, dict[float, list[float]]]:
    """Choose sigma and S by the score on held-out images.

    Args:
        sigmas: to try.
        add_stage: function of a cascade, None at first, and a sigma, to the cascade with one more
            trained stage.
        score: function of a cascade, larger is better.
        most: maximum number of stages.

    Returns:
        sigma, S, and for each sigma the scores after 1, 2 ... stages, up to the first that does not
        improve.
    """
    first = add_stage(None, sigmas[0])
    scores: dict[float, list[float]] = {}
    for sigma in sigmas:
        cascade, scores[sigma] = first, [score(first)]
        while len(scores[sigma]) < most:
            cascade = add_stage(cascade, sigma)
            scores[sigma].append(score(cascade))
            if scores[sigma][-1] <= scores[sigma][-2]:
                break
    best = max(sigmas, key=lambda sigma: max(scores[sigma]))
    return best, scores[best].index(max(scores[best])) + 1, scores


def mean_pdj(model: DeepPose, loader: DataLoader) -> float:
    """PDJ@0.2 of the last stage, averaged over all joints that are annotated."""
    found = predictions(model, loader)
    to_image = invert(found["matrix"])
    pred, target = (transform_points(points, to_image) for points in (found["pred"][-1], found["keypoints"]))
    return float(pdj(pred, target, model.skeleton, visible=found["visible"]).nanmean())


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    options = parser(__doc__)
    options.add_argument("--most", type=int, default=MOST_STAGES, help="stages")
    options.add_argument("--held-out", type=int, default=HELD_OUT, help="images for training that are not trained on")
    options.add_argument("--sigmas", type=float, nargs="+", default=SIGMAS)
    args, recipe = parse(options, "deeppose", arguments)
    everyone, _ = people_of(args, recipe)
    last = len(everyone) - args.held_out
    known = Cropped(everyone.people.some(range(last)), everyone.crop)
    unknown = Cropped(everyone.people.some(range(last, len(everyone))), everyone.crop.plain())
    held_out, keypoints = loaders_of(args, known, unknown)[1], len(known.people.skeleton)

    def add_stage(cascade: DeepPose | None, sigma: float) -> DeepPose:
        stage = 1 if cascade is None else cascade.num_stages + 1
        folder = args.output / ("stage1" if stage == 1 else f"sigma{sigma:g}/stage{stage}")
        # a later stage has one sample per keypoint, so that fewer people make up the same batch
        batch_size = args.batch_size if stage == 1 else max(1, args.batch_size // keypoints)
        of_stage = {**vars(args), "sigma": sigma, "output": folder, "batch_size": batch_size}
        return train_stage(argparse.Namespace(**of_stage), stage, (known, unknown), cascade)

    sigma, stages, scores = select(args.sigmas, add_stage, lambda model: mean_pdj(model, held_out), most=args.most)
    for tried, row in scores.items():
        print(f"sigma {tried:g}  PDJ@0.2 after each stage  " + "  ".join(f"{value:.3f}" for value in row))
    print(f"chosen: --sigma {sigma:g} --stages {stages}")
    choice = {"sigma": sigma, "stages": stages, "pdj@0.2": {f"{tried:g}": row for tried, row in scores.items()}}
    (args.output / "choice.json").write_text(json.dumps(choice, indent=1))
    return choice


if __name__ == "__main__":
    main()
