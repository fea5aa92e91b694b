"""Shared by the training scripts: start from the backbone of another network, freeze it, compute
its features once.

    python examples/train_posernn.py --data lspet --output runs/posernn --decoder attention \\
        --backbone tf_efficientnet_lite2 --start runs/default_192/model --freeze-backbone --cache 8

`--start` copies the backbone of a Simple Baselines network and its image normalisation. With
`--cache N` the features of N augmented crops per person are computed once, stored under `--output`
in half precision, and trained on from then: an epoch has all of them.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import posezoo
from posezoo.backbones import load_backbone

Batch = dict[str, Any]

WRITE_EVERY = 20  # batches
PATIENCE = 2.0  # seconds between two looks of the other processes


def add_options(parser: argparse.ArgumentParser, *, cache: bool) -> None:
    """Add `--backbone`, `--start`, `--freeze-backbone` and, where features can be cached,
    `--cache`.
    """
    parser.add_argument("--backbone", help="timm network in place of the paper's, such as tf_efficientnet_lite2")
    parser.add_argument("--start", help="name or folder of a Simple Baselines network whose backbone is copied")
    parser.add_argument("--freeze-backbone", action="store_true")
    parser.set_defaults(cache=0, features=None)
    if cache:
        parser.add_argument("--cache", type=int, metavar="N", help="compute features of N crops per person once")
        parser.add_argument("--features", type=Path, help="folder of the features. Defaults to --output/features")


def check_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Stop with a message if the options do not go together."""
    if (args.start or args.freeze_backbone) and not args.backbone:
        parser.error("--start and --freeze-backbone: name the network with --backbone")
    if args.cache and not args.freeze_backbone:
        parser.error("--cache: features stay valid with --freeze-backbone only")


def start_backbones(model: Any, backbones: Sequence[nn.Module], args: argparse.Namespace) -> list[nn.Module]:
    """Copy the backbone of `--start` into the model's, and freeze them if asked for.

    Returns:
        the frozen backbones, to be kept in eval mode.
    """
    if args.start:
        source = posezoo.from_pretrained(args.start)
        for backbone in backbones:
            load_backbone(backbone, source)
        model.normalize.load_state_dict(source.normalize.state_dict())
    for backbone in backbones:
        backbone.requires_grad_(not args.freeze_backbone)
    return list(backbones) if args.freeze_backbone else []


def cached_loader(
    args: argparse.Namespace, loader: DataLoader, describe: Callable[[Batch], Batch], settings: dict[str, Any]
) -> DataLoader:
    """Replace a loader of crops by one of their features, `args.cache` crops per person."""
    people = loader.dataset.people  # type: ignore[attr-defined]
    folder = args.features or args.output / "features"
    dataset = cache_features(folder, people, loader, describe, count=args.cache * len(people), settings=settings)
    return DataLoader(dataset, args.batch_size, shuffle=True, drop_last=True, num_workers=args.workers)


class CachedFeatures(Dataset[Batch]):
    """Rows that `cache_features` wrote; `people` are the training people, for the mean pose."""

    def __init__(self, folder: Path, people: Any) -> None:
        self.people = people
        self.arrays = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}

    def __len__(self) -> int:
        return min(len(array) for array in self.arrays.values())

    def __getitem__(self, index: int) -> Batch:
        row = {name: torch.from_numpy(np.array(array[index])) for name, array in self.arrays.items()}
        return row | {name: row[name].float() for name in ("features",) if name in row}


def cache_features(
    folder: Path, people: Any, batches: Iterable[Batch], describe: Callable[[Batch], Batch], *, count: int,
    settings: dict[str, Any],
) -> CachedFeatures:  # fmt: skip
    """Write `count` rows of features and labels, or continue or reuse what is in the folder.

    Args:
        folder: created if it does not exist.
        people: the training people.
        batches: iterated again and again until there are enough rows.
        describe: function of a batch to rows of any number, such as "features", stored in half
            precision, and labels.
        count: number of rows.
        settings: of the run. A folder that was written with other ones is an error.

    Raises:
        ValueError: the folder has features of another network, or of other crops.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress, settings = folder / "progress.json", json.loads(json.dumps({**settings, "rows": count}, default=str))
    state = {"done": 0, "settings": settings}
    if progress.is_file():
        state = json.loads(progress.read_text())
        if state["settings"] != settings:
            raise ValueError(
                f"{folder} has features of other settings: {state['settings']}; delete it or choose another --output"
            )
    if int(os.environ.get("RANK", "0")):  # the first process computes, the others wait
        while not progress.is_file() or json.loads(progress.read_text())["done"] < count:
            time.sleep(PATIENCE)
        return CachedFeatures(folder, people)
    arrays: dict[str, Any] = {}
    start, first = time.perf_counter(), state["done"]
    while state["done"] < count:
        before = state["done"]
        for number, batch in enumerate(batches):
            rows = {name: in_half(name, value) for name, value in describe(batch).items()}
            if not arrays:
                arrays = {name: opened(folder / f"{name}.npy", count, rows[name], again=first > 0) for name in rows}
            done, more = state["done"], min(len(next(iter(rows.values()))), count - state["done"])
            for name, value in rows.items():
                arrays[name][done : done + more] = value[:more]
            state["done"] = done + more
            if state["done"] == count or number % WRITE_EVERY == 0:
                write(arrays.values(), progress, state)
                rate = (state["done"] - first) / (time.perf_counter() - start)
                print(f"features: {state['done']} of {count}, {rate:.1f} a second", flush=True)
            if state["done"] == count:
                break
        if state["done"] == before:
            raise ValueError(f"{folder}: a pass over the people gave no rows; are there labelled keypoints?")
    return CachedFeatures(folder, people)


def device_of_features() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def in_half(name: str, value: Tensor) -> np.ndarray:
    return value.detach().to("cpu", torch.float16 if name == "features" else None).numpy()


def opened(path: Path, count: int, rows: np.ndarray, *, again: bool) -> np.memmap:
    if again and path.is_file():
        return np.lib.format.open_memmap(path, mode="r+")
    return np.lib.format.open_memmap(path, mode="w+", dtype=rows.dtype, shape=(count, *rows.shape[1:]))


def write(arrays: Iterable[np.memmap], progress: Path, state: dict[str, Any]) -> None:
    for array in arrays:
        array.flush()
    temporary = progress.with_suffix(".new")
    temporary.write_text(json.dumps(state))
    temporary.replace(progress)
