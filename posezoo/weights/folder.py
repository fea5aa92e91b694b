"""Save a model into a folder or on the Hugging Face Hub: weights, config and model card.

The weights and config.json are two files, and only one can be replaced at a time. So the weights
hold a copy of the config, too, and both have the same key, a hash of the tensors. Where a save was
interrupted between the two files, or two processes saved at once, the keys differ, and the copy
inside of the weights counts. A folder thus holds the old or the new network at any time.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posezoo.foreign import load_json, printable
from posezoo.skeletons.registered import is_ours, portable
from posezoo.version import __version__
from posezoo.weights.card import model_card
from posezoo.weights.record import WEIGHTS_FILE, Weights, parse_hub_source, split_source
from posezoo.weights.shared import read_shared
from posezoo.weights.sources import file_sha256, find
from posezoo.weights.state_dict import check_memory
from posezoo.writing import replacing

FORMAT = 1  # of config.json
KEY, COPY = "weights_key", "posezoo"  # of the hash in config.json; of config and hash in the weights' metadata
CONFIG_FILE, CARD_FILE = "config.json", "README.md"


def save_pretrained(
    model: nn.Module,
    directory: str | Path,
    *,
    dtype: str | torch.dtype | None = None,
    metrics: dict[str, dict[str, float]] | None = None,
    card: str | None = None,
    thumbnail: str | Path | None = None,
    exclude: Iterable[str] = (),
    **record_fields: Any,
) -> Path:
    """Save a model as model.safetensors, config.json and a model card (README.md) in a folder.

    Args:
        model: made by `posezoo.create`.
        directory: created if it does not exist. Files of the same names are replaced.
        dtype: of the floating tensors in the file, for instance "float16". Defaults to the model's.
        metrics: `{dataset: {metric: value}}`. Those of the initial weights are not taken over.
        card: Markdown that replaces the generated text of the card.
        thumbnail: a picture of predictions, which is copied into the folder and shown in the card.
        exclude: names of submodules to leave out of the file, such as a frozen backbone. They need
            `base=`, the name of published weights with equal tensors, from which loading takes
            them.
        **record_fields: other fields of `Weights`: data, data_license, license, input_size, ...

    Returns:
        The folder, for `posezoo.create(f"local-dir:{folder}", pretrained=True)`.

    Raises:
        ValueError: a model that was not made by `create`, values that are not finite or overflow
            in `dtype`, no such thumbnail, unknown fields, `exclude` without `base`, or excluded
            tensors that differ from the base's.

    Examples:
        >>> import posezoo, tempfile
        >>> folder = posezoo.save_pretrained(posezoo.create("hrnet_w32"), tempfile.mkdtemp())
        >>> sorted(path.name for path in folder.iterdir())
        ['README.md', 'config.json', 'model.safetensors']
    """
    directory = Path(directory).expanduser()
    options: dict[str, Any] = {"dtype": dtype, "metrics": metrics, "card": card, "thumbnail": thumbnail}
    name = f"local-dir:{directory.resolve().name}"
    return write_folder(model, directory, name=name, exclude=exclude, **options, **record_fields)


def push_to_hub(
    model: nn.Module,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str = "Upload a posezoo model",
    **save_kwargs: Any,
) -> str:
    """Publish a model on the Hugging Face Hub, in the format of `save_pretrained`.

    Args:
        model: made by `posezoo.create`.
        repo_id: `org/name`; created if it does not exist.
        private: visibility of a new repository. Defaults to the account's setting.
        token: for writing. Defaults to `HF_TOKEN`, or the token that `hf auth login` stored.
        revision: a branch, created if it does not exist. Defaults to the main one.
        commit_message: of the upload.
        **save_kwargs: as for `save_pretrained`.

    Returns:
        The URL of the commit.

    Raises:
        ValueError: as `save_pretrained`, or a malformed `repo_id`.

    Examples:
        >>> import posezoo
        >>> model = posezoo.create("hrnet_w32", num_keypoints=21)
        >>> url = push_to_hub(model, "you/hand21", private=True)  # doctest: +SKIP
    """
    from huggingface_hub import HfApi

    repo, at, file = parse_hub_source(repo_id)
    if at or file != WEIGHTS_FILE:
        raise ValueError(f"repo_id: expected org/name, got {repo_id!r}; a branch goes to revision=")
    with tempfile.TemporaryDirectory() as folder:
        name = f"hf-hub:{repo}" + (f"@{revision}" if revision else "")
        write_folder(model, Path(folder), name=name, **save_kwargs)  # first, so that an error leaves the Hub as it was
        api = HfApi(token=token)
        api.create_repo(repo, private=private, exist_ok=True)
        if revision:
            api.create_branch(repo, branch=revision, exist_ok=True)
        commit = api.upload_folder(repo_id=repo, folder_path=folder, revision=revision, commit_message=commit_message)
    return str(commit.commit_url)


def read_config(path: str | Path) -> dict[str, Any]:
    """Read the config of saved weights: architecture, kwargs, weights (a record's dictionary).

    Args:
        path: a folder of `save_pretrained`, its config.json, or a file of weights. In a folder the
            copy in the weights precedes a config.json that belongs to other weights.

    Raises:
        ValueError: no such file, another program's, or a newer posezoo's.

    Examples:
        >>> import posezoo, tempfile
        >>> folder = posezoo.save_pretrained(posezoo.create("hrnet_w32"), tempfile.mkdtemp())
        >>> read_config(folder)["architecture"]
        'hrnet_w32'
    """
    path = Path(path).expanduser()
    if path.is_dir() or (not path.exists() and path.name != CONFIG_FILE):
        weights, path = path / WEIGHTS_FILE, path / CONFIG_FILE
        copy = copy_in(weights) if weights.is_file() else None
        config = load_json(path, "") if path.is_file() else {KEY: None}
        if copy and isinstance(config, dict) and config.get(KEY, copy[KEY]) != copy[KEY]:
            return _checked(copy, weights)
    elif path.suffix == ".safetensors" and path.is_file():
        return _checked(copy_in(path), path)
    return _checked(load_json(path, "posezoo.save_pretrained(model, directory) writes it"), path)


def _with_metadata(content: bytes, key: str, text: str) -> bytes:
    """Add an entry to the metadata of a safetensors file.

    Its writer orders several entries at random, and equal networks shall be equal files.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"][key] = text
    packed = json.dumps(header, separators=(",", ":")).encode()
    packed += b" " * (-len(packed) % 8)
    return b"".join([len(packed).to_bytes(8, "little"), packed, memoryview(content)[end:]])


def copy_in(weights: Path) -> dict[str, Any] | None:
    """Read the copy of config.json in a file of weights; None if it has none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="pt") as file:
            config = json.loads((file.metadata() or {}).get(COPY, "null"))
    except (SafetensorError, OSError, RecursionError, ValueError):
        return None  # the reader of the tensors explains
    return config if isinstance(config, dict) and KEY in config else None


def _checked(config: Any, path: Path) -> dict[str, Any]:
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise ValueError(
            f"{path} is not posezoo's: it has no number under 'format'. A checkpoint of another program goes to "
            "posezoo.load_checkpoint"
        )
    if config["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {config['format']}, written by posezoo {config.get('posezoo_version', '?')}, and this "
            f"posezoo reads up to {FORMAT}; pip install --upgrade posezoo"
        )
    for key, kind in (("architecture", str), ("kwargs", dict), ("weights", dict)):
        if not isinstance(config.get(key), kind):
            got = printable(repr(config.get(key)))
            raise ValueError(f"{path}: expected a {kind.__name__} under {key!r}, got {got}")
    return config


def read_record(place: str, cache_dir: str | Path | None = None) -> tuple[str, Weights]:
    """Read the architecture and the record of a model.

    Args:
        place: `local-dir:/path` or `hf-hub:org/name[@revision]`.
        cache_dir: folder for downloads; see `find`.

    Examples:
        >>> import posezoo, tempfile
        >>> model = posezoo.create("martinez", linear_size=64)
        >>> folder = model.save_pretrained(tempfile.mkdtemp(), license="MIT")
        >>> architecture, record = read_record(f"local-dir:{folder}")
        >>> architecture, record.license
        ('martinez', 'MIT')
    """
    kind, rest = split_source(place)
    if kind == "local-dir":
        config = read_config(Path(rest))
    else:
        if parse_hub_source(rest)[2] != WEIGHTS_FILE:
            raise ValueError(f"{place}: expected a repository, hf-hub:org/name[@revision], got a file in it")
        config = read_config(find(Weights(sources=(f"{place}/{CONFIG_FILE}",)), cache_dir))
    settings = config.get("input", {})  # absent in folders of posezoo 0.1
    try:
        record = Weights.from_dict(
            {**config["weights"], "sources": (place,), "kwargs": config["kwargs"], "input": settings}
        )
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    return config["architecture"], dataclasses.replace(record, architecture=config["architecture"])


def mirrored(record: Weights) -> Weights:
    """Return the record with its file in `$POSEZOO_MIRROR`, if `posezoo mirror` copied it there.

    The copy is a folder `arch.tag` in posezoo's format; its config.json has its own sha256.

    Examples:
        >>> import posezoo
        >>> record = posezoo.get_pretrained_cfg("martinez")
        >>> mirrored(record) == record                     # the variable is not set
        True
    """
    folder = Path(os.environ.get("POSEZOO_MIRROR", "")).expanduser() / f"{record.architecture}.{record.tag}"
    if not os.environ.get("POSEZOO_MIRROR") or not (folder / CONFIG_FILE).is_file():
        return record
    copied = read_record(f"local-dir:{folder}")[1]
    same: dict[str, Any] = {"sources": copied.sources, "sha256": copied.sha256, "size": copied.size}
    return dataclasses.replace(record, **same, channel_order="RGB", format="", keypoints=(), base="", shared=())


def write_folder(
    model: nn.Module,
    directory: Path,
    *,
    name: str,
    dtype: str | torch.dtype | None = None,
    metrics: dict[str, dict[str, float]] | None = None,
    card: str | None = None,
    thumbnail: str | Path | None = None,
    exclude: Iterable[str] = (),
    **record_fields: Any,
) -> Path:
    """Write the three files of `save_pretrained`, with the name that `posezoo.create` finds."""
    from safetensors.torch import save

    picture = None if thumbnail is None else Path(thumbnail).expanduser()
    if picture is not None and not picture.is_file():
        raise ValueError(f"thumbnail: expected a picture, there is no {picture}")
    architecture, kwargs = _identity(model)
    check_memory(model)
    tensors = _cast(model.state_dict(), dtype)
    inherited = _inherited(model).to_dict()
    if "data" in record_fields:  # those of the initial weights are of other data
        inherited = {key: value for key, value in inherited.items() if key not in ("data_license", "origin")}
    fields = {**inherited, "architecture": architecture, **record_fields}
    if exclude or fields.get("base"):
        fields["shared"] = tuple(exclude)
        tensors = _without_shared(tensors, fields.get("base", ""), fields["shared"])
    if metrics is not None:
        fields = {**fields, "metrics": metrics, "metrics_by": fields.get("metrics_by") or "posezoo"}
    # training may have changed the input's size; a size that the caller gives wins
    settings: dict[str, Any] = getattr(model, "input_settings", dict)()
    size = record_fields.get("input_size") or settings.get("input_size") or fields.get("input_size")
    fields, settings = {**fields, "input_size": size, "input": {}}, {**settings, "input_size": size and list(size)}
    record = Weights.from_dict(fields)

    content = save(tensors, metadata={"format": "pt"})
    config = {
        "format": FORMAT,
        "posezoo_version": __version__,
        "architecture": architecture,
        "kwargs": kwargs,
        "input": {name: value for name, value in settings.items() if value is not None},
        "weights": record.to_dict(),
        KEY: hashlib.sha256(content).hexdigest(),
        **_timm_fields(model, kwargs),
    }
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(directory / WEIGHTS_FILE) as temporary:
        # not safetensors' save_file: its file would be readable by its owner alone, whatever the umask
        temporary.write_bytes(_with_metadata(content, COPY, json.dumps(config)))
        record = dataclasses.replace(record, sha256=file_sha256(temporary), size=temporary.stat().st_size)
    config["weights"] = record.to_dict()
    with replacing(directory / CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    with replacing(directory / CARD_FILE) as temporary:
        temporary.write_text(model_card(model, record, name, card, picture.name if picture else None), encoding="utf-8")
    if picture is not None and picture.resolve() != (directory / picture.name).resolve():
        shutil.copyfile(picture, directory / picture.name)
    return directory


def _timm_fields(model: nn.Module, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of timm's config.json, which its tools read; posezoo reads its own."""
    described = getattr(model, "pretrained_cfg", None)
    if not isinstance(described, dict):
        return {}
    sizes = {name: value for name in ("num_features",) if isinstance(value := getattr(model, name, None), int)}
    return {"num_classes": described["num_classes"], **sizes, "pretrained_cfg": described, "model_args": kwargs}


def _identity(model: nn.Module) -> tuple[str, dict[str, Any]]:
    """Return the architecture and the constructor arguments of a model, as JSON values."""
    architecture, kwargs = getattr(model, "architecture", ""), getattr(model, "kwargs", None)
    if not isinstance(architecture, str) or not architecture or kwargs is None:
        raise ValueError(
            f"expected a model made by posezoo.create, got a {type(model).__name__} without a registered name; create "
            "it by name, or register its function with posezoo.register_model and create it by that name"
        )
    try:
        given = {key: value for key, value in kwargs.items() if value is not None}
        # whoever loads the folder has not registered this program's skeletons
        given |= {key: portable(given[key]) for key in ("skeleton", "input_keypoints") if key in given}
        return architecture, json.loads(json.dumps(given))
    except TypeError as error:
        raise ValueError(f"{architecture}: the constructor's arguments must be JSON values ({error})") from error


def _inherited(model: nn.Module) -> Weights:
    """Return the fields of the initial weights' record that hold for a model trained from them."""
    record = getattr(model, "weights", None) or Weights()
    record = dataclasses.replace(
        record,
        # the file's identity, its content, and the scores measured with it belong to the other file
        **{"sources": (), "sha256": "", "size": None, "kwargs": {}, "format": "", "tag": ""},
        **{"keypoints": (), "base": "", "shared": ()},
        **{"metrics": {}, "metrics_by": "", "protocol": ""},
        channel_order="RGB" if record.channel_order else "",  # loading has folded BGR into RGB
    )
    if hasattr(model, "skeleton"):  # the head may have been reset to other keypoints
        skeleton = getattr(model.skeleton, "name", "")
        record = dataclasses.replace(record, skeleton=skeleton if is_ours(skeleton) else "")
    return record


def _without_shared(tensors: dict[str, Tensor], base: str, shared: tuple[str, ...]) -> dict[str, Tensor]:
    """Leave out the tensors of the submodules `shared`, which must be equal to the base's."""
    if not base or not shared:
        raise ValueError(
            "exclude and base go together: the submodules to leave out, and the name of published weights that have "
            f"them; got exclude={shared} and base={base!r}"
        )
    theirs = read_shared(base, shared)
    ours = {key: value for key, value in tensors.items() if key.startswith(tuple(f"{name}." for name in shared))}
    differ = [
        key
        for key in {**ours, **theirs}
        if key not in ours or key not in theirs or not torch.equal(ours[key].float(), theirs[key].float())
    ]
    if differ:
        raise ValueError(
            f"nothing was written: {len(differ)} of the excluded tensors are not those of {base}, the first is "
            f"{differ[0]}; leave exclude out to write a complete file"
        )
    return {key: value for key, value in tensors.items() if key not in ours}


def _cast(tensors: dict[str, Tensor], dtype: str | torch.dtype | None) -> dict[str, Tensor]:
    """Copy tensors to the CPU, contiguous, floating ones in another dtype; all must be finite."""
    chosen = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is not None and (not isinstance(chosen, torch.dtype) or not chosen.is_floating_point):
        raise ValueError(f"dtype: expected a floating type such as 'float16', got {dtype!r}")
    result = {}
    for key, value in tensors.items():
        floating = value.is_floating_point()
        copy = value.detach().to("cpu", chosen if floating else None, copy=True).contiguous()
        if floating and not copy.isfinite().all():
            cause = "overflows in " + str(chosen) if value.isfinite().all() else "has NaN or infinite values"
            raise ValueError(f"nothing was written: {key} {cause}")
        result[key] = copy
    return result
