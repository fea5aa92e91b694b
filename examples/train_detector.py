r"""Train the detector of `posezoo.predict(..., detector="default")` on composed pictures.

    python examples/render_people.py --body BODY --motions CMU ... --output renders --count 4000 --seed 1
    python examples/train_detector.py --data lspet:LSPET --renders renders --output runs/detector \
        --train-images 1 7000 7501 9300 --val-images 9301 9500 --mixed-precision bf16

Pictures come from `composites.py`: photographs of one person, and rendered people, composed on the
fly. The trunk is that of the default network, which knows people already; its first stages and its
batch normalisation stay as they are. The report is AP50 on composed pictures of the test people.
`--resume` continues a run.
"""

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
from posezoo.person_detector import STRIDE, PersonNetwork, boxes_of, cell_middles

from composites import DOUBTFUL, IGNORED, Composites
from data_sources import open_data
from train_heatmap import keep_depthwise_in_float32, warm_cosine
from training import options, train

SPREAD = 0.54 / 6  # standard deviation of the targets in units of the box (TTFNet, section 3.2)
NEAREST = 0.01  # lowest target of a cell that predicts the sides
SIDES_WEIGHT = 2.5  # of the loss of the boxes; TTFNet's is 5
FOUND = 0.4  # score above which a doubtful cell is no longer trained to be background
FROZEN_STAGES = 2


def batch_loss(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """Focal loss of the middles and generalised IoU of the boxes (TTFNet, section 3)."""
    middles, sides = model(batch["image"])
    target, nearest, weight = targets(batch["boxes"], *middles.shape[-2:])
    people = batch["boxes"].isfinite().all(dim=-1).sum().clamp(min=1)

    logits = middles[:, 0].float()
    score = logits.sigmoid()
    positive = target == 1
    kept = batch["doubt"] != IGNORED
    kept &= (batch["doubt"] != DOUBTFUL) | (score.detach() < FOUND)
    missed = (1 - score) ** 2 * F.softplus(-logits) * positive
    false = score**2 * F.softplus(logits) * (1 - target) ** 4 * (kept & ~positive)
    wanted = batch["boxes"].gather(1, nearest.flatten(1)[..., None].expand(-1, -1, 4)).view(*nearest.shape, 4)
    boxes = boxes_of(sides.float())
    chosen = weight > 0
    overlap = weight[chosen] * (1 - generalised_iou(boxes[chosen], wanted[chosen]))
    return (missed.sum() + false.sum() + SIDES_WEIGHT * overlap.sum()) / people


def targets(boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Targets of a batch's maps.

    Args:
        boxes: `(B, N, 4)` pixels, NaN where there is no person.
        height: of the maps.
        width: of the maps.

    Returns:
        Gaussians around the middles `(B, h, w)`, 1 in the cell of a middle; the index `(B, h, w)`
        of the person each cell belongs to; and the cell's weight in the loss of the boxes, of sum 1
        over a person's cells.
    """
    known = boxes.isfinite().all(dim=-1)
    boxes = boxes.nan_to_num()
    middle, extent = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    # of the cell that holds the middle, so that its target is 1
    limits = boxes.new_tensor([width - 1, height - 1])
    middle = ((middle / STRIDE).floor().clamp(min=0).minimum(limits) + 0.5) * STRIDE
    distance = cell_middles(height, width).to(boxes) - middle[:, :, None, None]
    spread = (SPREAD * extent).clamp(min=1e-3)[:, :, None, None]
    gaussian = torch.exp(-0.5 * (distance / spread).square().sum(dim=-1)) * known[..., None, None]
    # where the middles of two people share a cell the smaller one gets it
    area = extent.prod(dim=-1)
    order = gaussian - 1e-3 * (area / area.amax(dim=1, keepdim=True).clamp(min=1))[..., None, None]
    nearest = order.argmax(dim=1)
    target = gaussian.amax(dim=1)
    mine = gaussian.gather(1, nearest[:, None])[:, 0]
    owned = F.one_hot(nearest, boxes.shape[1]).movedim(-1, 1) * (gaussian > NEAREST) * gaussian
    total = owned.sum(dim=(2, 3)).clamp(min=1e-6)
    share = total.gather(1, nearest.flatten(1)).view_as(mine)
    return target, nearest, torch.where(mine > NEAREST, mine / share, 0.0)


def generalised_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalised intersection over union of pairs of boxes (Rezatofighi et al., CVPR 2019)."""
    overlap = (torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])).clamp(min=0)
    area, other = ((b[:, 2:] - b[:, :2]).prod(dim=1) for b in (boxes, others))
    inter = overlap.prod(dim=1)
    union = area + other - inter
    around = torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])
    hull = around.prod(dim=1).clamp(min=1e-6)
    return inter / union.clamp(min=1e-6) - (hull - union) / hull


def box_ap(found: list[tuple[Tensor, Tensor]], truth: list[Tensor], *, threshold: float = 0.5) -> dict[str, float]:
    """Average precision of boxes, interpolated at every recall, and recall at two scores.

    Args:
        found: boxes `(N, 4)` and scores `(N,)` of each image.
        truth: boxes `(M, 4)` of each image.
        threshold: lowest intersection over union of a correct box.

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
    for level in (0.3, 0.4, 0.5):
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
            middles, sides = model(batch["image"])
        for boxes, scores in model.decode(middles, sides.float()):
            chosen = scores > 0.05
            boxes, scores = boxes[chosen].clamp(0, batch["image"].shape[-1]), scores[chosen]
            kept = box_nms(boxes, scores, threshold=OWN_OVERLAP)
            found.append((boxes[kept], scores[kept]))
        truth += [boxes[boxes.isfinite().all(dim=1)] for boxes in batch["boxes"]]
    report = box_ap(found, truth)
    accelerator.print("  ".join(f"{name} {value:.3f}" for name, value in report.items()), flush=True)
    return report


def save(model: PersonNetwork, folder: Path, report: dict[str, float]) -> None:
    posezoo.save_pretrained(model, folder, dtype="float16")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = options(__doc__, epochs=30, batch_size=16, lr=1e-3, size=(288, 288), workers=0)
    parser.add_argument("--renders", type=Path, help="folder of examples/render_people.py")
    parser.add_argument("--pictures", type=int, default=2000, help="composed per epoch")
    parser.add_argument("--test-pictures", type=int, default=200)
    parser.add_argument("--trunk", default="simple_baseline_lite", help="network whose backbone to start from")
    parser.add_argument("--trunk-rate", type=float, default=0.3, help="learning rate of the trunk, in units of --lr")
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the weight average that is evaluated")
    parser.set_defaults(eval_every=1)
    args = parser.parse_args(arguments)

    torch.manual_seed(args.seed)
    model = PersonNetwork()
    if args.trunk:
        start(model, args.trunk)
    trunk = model.backbone
    frozen = [trunk.conv_stem, trunk.bn1, *trunk.blocks[:FROZEN_STAGES]]
    for part in frozen:
        part.requires_grad_(False)
    norms = [module for module in trunk.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not torch.cuda.is_available():
        keep_depthwise_in_float32(model)
    learned = [weight for weight in trunk.parameters() if weight.requires_grad]
    others = [weight for name, weight in model.named_parameters() if not name.startswith("backbone.")]
    groups = [{"params": learned, "lr": args.trunk_rate * args.lr}, {"params": others}]
    size = args.size[0]
    data = Composites(open_data(args.data, "train", images=args.train_images), args.renders, size=size,
                      count=args.pictures)  # fmt: skip
    test = Composites(open_data(args.data, "test", images=args.val_images), args.renders, size=size,
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
        save=save,
        schedule=partial(warm_cosine, warmup=0.03),
        augment=posezoo.data.jitter_colour,
        ema=args.ema,
        frozen=[*frozen, *norms],
    )


def start(model: PersonNetwork, name: str) -> None:
    """Copy the stages that the detector has from a published network's backbone."""
    state = posezoo.create(name, pretrained=True).backbone.state_dict()
    own = model.backbone.state_dict()
    model.backbone.load_state_dict({key: state[key] for key in own})


if __name__ == "__main__":
    main()
