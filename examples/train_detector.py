r"""Train the detector of `posezoo.predict` on photographs and pictures composed of them.

    python tools/convert_nanodet.py --models MODELS --output runs/nanodet
    python tools/convert_nanodet.py --models MODELS --output runs/nanodet_half --rank 0.5 --photos lspet/images
    python tools/label_people.py --data lspet --detector runs/nanodet --images 1 7000 7501 9500 --output people.npz
    python examples/render_people.py --body BODY --motions CMU ... --output renders --count 4000 --seed 1
    python examples/train_detector.py --data lspet:lspet --labels people.npz --renders renders \
        --start runs/nanodet_half --train-images 1 7000 7501 9300 --val-images 9301 9500 --output runs/detector

Pictures come from `composites.py`, composed on the fly. The start is NanoDet-g, which knows people
of COCO already; its first layers stay as they are, and the saved network is the mean of the start and
the trained one. The report is AP50 of the latter on composed pictures of the test people. `--resume`
continues a run.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

import posezoo
from posezoo.detectors import OWN_OVERLAP, box_nms
from posezoo.geometry import box_iou
from posezoo.person_detector import PersonNetwork, cells, load_network

from composites import CELL, DOUBTFUL, IGNORED, Composites
from data_sources import open_data
from train_heatmap import warm_cosine
from training import options, train

CHOSEN = 10  # cells of a person
SHARPNESS = 6  # exponent of the intersection over union (TOOD, section 3.2)
SIDES_WEIGHT = 2.0  # of the loss of the boxes
FOUND = 0.4  # score above which a doubtful cell is no longer trained to be background
FROZEN_STAGES = 1


def batch_loss(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """Quality focal loss of the scores and generalised IoU of the boxes (Generalized Focal Loss)."""
    scores, boxes = model(batch["image"])
    scores, boxes = scores.float(), boxes.float()
    middles, _ = (values.to(boxes) for values in cells(*batch["image"].shape[-2:]))
    person, quality = assign(scores.detach().sigmoid(), boxes.detach(), batch["boxes"], middles)

    columns, rows = (middles / CELL).long().unbind(-1)
    doubt = batch["doubt"][:, rows, columns]
    chosen = quality > 0
    probability = scores.detach().sigmoid()
    kept = chosen | ((doubt != IGNORED) & ((doubt != DOUBTFUL) | (probability < FOUND)))
    focus = (quality - scores.sigmoid()).square() * kept
    false = focus * F.binary_cross_entropy_with_logits(scores, quality, reduction="none")
    wanted = batch["boxes"].gather(1, person[..., None].expand(-1, -1, 4))
    away = quality[chosen] * (1 - generalised_iou(boxes[chosen], wanted[chosen]))
    return (false.sum() + SIDES_WEIGHT * away.sum()) / quality.sum().clamp(min=1)


def assign(scores: Tensor, boxes: Tensor, truth: Tensor, middles: Tensor) -> tuple[Tensor, Tensor]:
    """Choose the cells of each person (Feng et al., "TOOD", ICCV 2021, section 3.2).

    They are those in the person's box whose score and box fit best.

    Args:
        scores: `(B, A)` in [0, 1].
        boxes: `(B, A, 4)` pixels.
        truth: `(B, N, 4)` pixels, NaN where there is no person.
        middles: of the cells, `(A, 2)` pixels.

    Returns:
        the index of each cell's person `(B, A)`; and the score that the cell should have `(B, A)`,
        0 for background.
    """
    known = truth.isfinite().all(dim=-1)[..., None]
    truth = truth.nan_to_num()[:, :, None]
    inside = known & (middles > truth[..., :2]).all(dim=-1) & (middles < truth[..., 2:]).all(dim=-1)
    overlap = box_iou(boxes[:, None], truth) * inside
    # so that a person has cells whose boxes are all wrong, too
    fit = (scores[:, None] * overlap**SHARPNESS + 1e-12) * inside
    best = fit.topk(min(CHOSEN, fit.shape[-1]), dim=-1).indices
    fit = fit * torch.zeros_like(fit).scatter(-1, best, 1.0)
    quality = fit / fit.amax(dim=-1, keepdim=True).clamp(min=1e-12) * overlap.amax(dim=-1, keepdim=True)
    # a cell that several people chose belongs to the one whom its box overlaps most
    person = torch.where(fit > 0, overlap, -1.0).argmax(dim=1)
    return person, quality.gather(1, person[:, None])[:, 0]


def generalised_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalised intersection over union of pairs of boxes (Rezatofighi et al., CVPR 2019)."""
    overlap = (torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])).clamp(min=0)
    area, other = ((b[:, 2:] - b[:, :2]).prod(dim=1) for b in (boxes, others))
    inter = overlap.prod(dim=1)
    union = area + other - inter
    around = torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])
    hull = around.prod(dim=1).clamp(min=1e-6)
    return inter / union.clamp(min=1e-6) - (hull - union) / hull


def box_ap(
    found: list[tuple[Tensor, Tensor]],
    truth: list[Tensor],
    *,
    threshold: float = 0.5,
    levels: Sequence[float] = (0.3, 0.4, 0.5),
) -> dict[str, float]:
    """Average precision of boxes, interpolated at every recall, and recall at some scores.

    Args:
        found: boxes `(N, 4)` and scores `(N,)` of each image.
        truth: boxes `(M, 4)` of each image.
        threshold: lowest intersection over union of a correct box.
        levels: scores.

    Examples:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
        >>> box_ap([(boxes[:1], torch.tensor([0.9]))], [boxes])["ap50"]
        0.5
    """
    rows = []
    for (boxes, scores), real in zip(found, truth, strict=True):
        free = torch.ones(len(real), dtype=torch.bool)
        for index in scores.argsort(descending=True).tolist():
            overlap = box_iou(boxes[index][None], real) * free if len(real) else torch.zeros(1)
            best = int(overlap.argmax())
            hit = bool(overlap[best] >= threshold)
            if hit:
                free[best] = False
            rows.append((float(scores[index]), hit))
    count = sum(len(real) for real in truth)
    rows.sort(key=lambda row: -row[0])
    score, hit = (np.array(column) for column in zip(*rows, strict=True)) if rows else (np.zeros(0), np.zeros(0))
    right = np.cumsum(hit)
    precision = right / np.arange(1, len(rows) + 1)
    best_after = np.maximum.accumulate(precision[::-1])[::-1]
    report = {"ap50": float((best_after * hit).sum() / max(count, 1)), "people": count}
    for level in levels:
        chosen = score >= level
        report[f"recall@{level}"] = float(hit[chosen].sum() / max(count, 1))
        report[f"precision@{level}"] = float(hit[chosen].sum() / max(chosen.sum(), 1))
    return report


@torch.no_grad()
def evaluation(accelerator: Any, model: PersonNetwork, loader: DataLoader) -> dict[str, float]:
    """AP50 and recall on composed pictures."""
    model.eval()
    found, truth = [], []
    for batch in loader:
        with accelerator.autocast():
            scores, boxes = model(batch["image"])
        for places, values in model.decode(scores, boxes):
            chosen = values > 0.05
            places, values = places[chosen].clamp(0, batch["image"].shape[-1]), values[chosen]
            kept = box_nms(places, values, threshold=OWN_OVERLAP)
            found.append((places[kept], values[kept]))
        truth += [boxes[boxes.isfinite().all(dim=1)] for boxes in batch["boxes"]]
    report = box_ap(found, truth)
    accelerator.print("  ".join(f"{name} {value:.3f}" for name, value in report.items()), flush=True)
    return report


def save(
    model: PersonNetwork, folder: Path, report: dict[str, float], *, start: Path | None = None, share: float = 0.0
) -> None:
    """Save the mean of the trained weights and the start's, of which the latter are `share`.

    Wortsman et al., "Robust Fine-Tuning of Zero-Shot Models", CVPR 2022: what the start knows and the
    training data do not show is kept, here objects that are no people.
    """
    if start is not None:
        old = load_network(start).state_dict()
        mixed = {name: (1 - share) * value.cpu() + share * old[name] for name, value in model.state_dict().items()}
        model.load_state_dict(mixed)
    posezoo.save_pretrained(model, folder, dtype="float16")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = options(__doc__, epochs=30, batch_size=8, lr=3e-4, size=(320, 320), workers=0)
    parser.add_argument("--labels", type=Path, nargs="+", default=(), help="files of tools/label_people.py")
    parser.add_argument("--renders", type=Path, help="folder of examples/render_people.py")
    parser.add_argument("--pictures", type=int, default=1000, help="composed per epoch")
    parser.add_argument("--test-pictures", type=int, default=120)
    parser.add_argument("--start", type=Path, help="folder of a network to start from")
    parser.add_argument("--share", type=float, default=0.5, help="of the start's weights in the saved ones")
    parser.add_argument("--trunk-rate", type=float, default=0.3, help="learning rate of the trunk, in units of --lr")
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the weight average that is evaluated")
    parser.set_defaults(eval_every=2)
    args = parser.parse_args(arguments)

    torch.manual_seed(args.seed)
    model = load_network(args.start) if args.start else PersonNetwork()
    frozen = [model.stem, *model.stages[:FROZEN_STAGES]] if args.start else []
    for part in frozen:
        part.requires_grad_(False)
    trunk = [weight for weight in model.stages.parameters() if weight.requires_grad]
    others = [*model.laterals.parameters(), *model.heads.parameters()]
    if not args.start:
        others += model.stem.parameters()
    groups = [{"params": trunk, "lr": args.trunk_rate * args.lr}, {"params": others}]
    size = args.size[0]
    data = Composites(open_data(args.data, "train", images=args.train_images), args.renders, args.labels, size=size,
                      count=args.pictures)  # fmt: skip
    test = Composites(open_data(args.data, "test", images=args.val_images), args.renders, args.labels, size=size,
                      count=args.test_pictures, seed=7)  # fmt: skip
    loaders = (
        DataLoader(data, batch_size=args.batch_size, shuffle=True, drop_last=True, num_workers=args.workers),
        DataLoader(test, batch_size=args.batch_size),
    )
    return train(
        args,
        model,
        torch.optim.AdamW(groups, lr=args.lr, weight_decay=1e-3),
        batch_loss,
        loaders,
        evaluation=evaluation,
        save=partial(save, start=args.start, share=args.share),
        schedule=partial(warm_cosine, warmup=0.03),
        augment=posezoo.data.jitter_colour,
        ema=args.ema,
        frozen=frozen,
    )


if __name__ == "__main__":
    main()
