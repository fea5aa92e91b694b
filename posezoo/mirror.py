"""Weights for machines without network: fill a cache, or copy them into a folder of one's own."""

from collections.abc import Iterable
from pathlib import Path

from posezoo.arrays import explained
from posezoo.registry import create, get_pretrained_cfg, list_pretrained
from posezoo.weights import Weights, find, save_pretrained
from posezoo.weights.published import published_record


@explained
def fetchable(names: Iterable[str]) -> list[str]:
    """Return the full names `arch.tag` of weights; an architecture alone stands for its default.

    Args:
        names: `arch`, `arch.tag`, or wildcards.

    Raises:
        ValueError: a name without weights that posezoo can fetch.

    Examples:
        >>> fetchable(["martinez", "*.cmu"])
        ['martinez.cmu', 'seq2seq3d.cmu', 'temporal_conv_27.cmu']
    """
    chosen: list[str] = []
    for name in names:
        found = list_pretrained(name)
        if not found:
            raise ValueError(f"{name!r}: posezoo can fetch no such weights; `posezoo list --pretrained` lists all")
        chosen += found if "*" in name or "." in name else [_default(name, found)]
    return list(dict.fromkeys(chosen))


@explained
def download(name: str, cache_dir: str | Path | None = None) -> Path:
    """Find the file of weights, and of those they share submodules with, or download and verify it.

    Args:
        name: `arch.tag`.
        cache_dir: as for `posezoo.create`, which finds it there without network.

    Returns:
        The path of the file.

    Raises:
        WeightsNotFoundError: (a ValueError) no source provides the file.

    Examples:
        >>> download("martinez.cmu").name
        'model.safetensors'
    """
    record = published_record(name)
    if record.base:
        find(published_record(record.base), cache_dir)
    return find(record, cache_dir)


@explained
def mirror(name: str, folder: str | Path) -> Path:
    """Write weights into `folder/arch.tag` in posezoo's format, verified, converted if needed.

    With the environment variable `POSEZOO_MIRROR` set to `folder`, `posezoo.create(name,
    pretrained=True)` reads the copy, and needs no network.

    Args:
        name: `arch.tag`.
        folder: created if it does not exist.

    Returns:
        The folder of the copy, for `posezoo.create(f"local-dir:{copy}", pretrained=True)`.

    Raises:
        ValueError: as `posezoo.create`.

    Examples:
        >>> import tempfile
        >>> copy = mirror("martinez.cmu", tempfile.mkdtemp())
        >>> copy.name, sorted(path.name for path in copy.iterdir())
        ('martinez.cmu', ['README.md', 'config.json', 'model.safetensors'])
    """
    record = published_record(name)
    model = create(name, pretrained=True)
    fields = {"metrics_by": record.metrics_by, "protocol": record.protocol, "tag": record.tag}
    return save_pretrained(model, Path(folder).expanduser() / name, metrics=record.metrics, **fields)


def _default(arch: str, found: list[str]) -> str:
    record = get_pretrained_cfg(arch) or Weights()
    name = f"{arch}.{record.tag}"
    return name if name in found else found[0]
