"""Read a checkpoint of any known format, and copy it into a model. Nothing here creates a model."""

import logging
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from posezoo.checkpoints.formats import COUNTERS, FORMATS, MissingTensors, convert, detect, left_out, unwrap
from posezoo.checkpoints.readers import caffe, tensorflow, torch7
from posezoo.checkpoints.state import State
from posezoo.foreign import check_content, printable
from posezoo.weights.folder import CONFIG_FILE, copy_in, read_record
from posezoo.weights.published import PUBLISHED
from posezoo.weights.record import WEIGHTS_FILE, Weights
from posezoo.weights.shared import complete
from posezoo.weights.sources import WeightsNotFoundError, file_sha256, find
from posezoo.weights.state_dict import fit, read_state_dict

logger = logging.getLogger("posezoo")


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file.

    Attributes:
        path: of the file.
        state: its tensors under posezoo's keys.
        format: a name in `posezoo.checkpoints.FORMATS`.
        record: of the published file with the same sha256; None: not a published file.
        missing: the tensors of a model that the format lacks, or None.
        notes: the tensors that were left out, with the reasons.
    """

    path: Path
    state: State
    format: str
    record: Weights | None
    missing: MissingTensors | None
    notes: tuple[str, ...]

    def network(self) -> Weights:
        """Find the network of the checkpoint; return a record of architecture and arguments.

        They come from the config that `save_pretrained` wrote beside the file and into it, from the
        record of a published file, or from the tensors.

        Raises:
            ValueError: neither tells the network.
        """
        folder = self.path.parent
        if self.format == "posezoo" and self.path.name == WEIGHTS_FILE and (folder / CONFIG_FILE).is_file():
            return read_record(f"local-dir:{folder}")[1]
        if self.format == "posezoo" and self.path.suffix == ".safetensors" and copy_in(self.path):
            return read_record(f"local-dir:{self.path}")[1]
        if self.record:
            return self.record
        try:
            if self.format == "posezoo" and "normalize.keypoints.mean" in self.state:
                raise ValueError(
                    "tensors do not tell the frame of a lifter's keypoints; keep the config.json beside its file, "
                    "or give the model that they belong in as the first argument"
                )
            architecture, kwargs = FORMATS[self.format].network(self.state)
        except (LookupError, TypeError) as error:
            raise ValueError(
                f"{self.path}: the tensors do not tell a network of the format {self.format!r} ({error})"
            ) from error
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        return Weights(architecture=architecture, kwargs=kwargs)

    def load_into(self, model: nn.Module) -> tuple[str, ...]:
        """Copy the tensors into a model: all of them or, on any error, none.

        A head for another number of keypoints keeps its values, and so do tensors that the format
        lacks. The logger "posezoo" warns of both.

        Returns:
            All notes: tensors of the file that were left out, tensors of the model that were kept.

        Raises:
            ValueError: the tensors do not fit; the model is unchanged.
        """
        kept = self.missing.keys(model) if self.missing else []
        own = model.state_dict()
        record = self.record or Weights()
        try:
            state = complete(self.state, record)
            notes = fit(model, {**state, **{key: own[key] for key in kept}}, keypoints=record.keypoints)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        for note in self.notes:
            logger.info(note)
        if self.missing and kept:
            shown = ", ".join(kept[:3]) + (f" and {len(kept) - 3} more" if len(kept) > 3 else "")
            notes = (*notes, f"{self.path} {self.missing.note}; these keep their values: {shown}")
            logger.warning(notes[-1])
        return (*self.notes, *notes)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of any known format.

    Args:
        path: .safetensors; a PyTorch file, which is read without running code from it; Torch7's
            .t7; Caffe's .caffemodel; or a TensorFlow checkpoint, by its .index file or by its name
            without an ending.

    Raises:
        ValueError: not a checkpoint, or an unknown format; the message names the nearest one.

    Examples:
        >>> import tempfile, posezoo
        >>> folder = posezoo.create("hrnet_w32").save_pretrained(tempfile.mkdtemp())
        >>> read_checkpoint(folder / "model.safetensors").format
        'posezoo'
    """
    path = Path(path)
    content = _read(path)
    published = unwrap(content)
    try:
        format = detect(published)
        state, notes = convert(published, format), left_out(published, format)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    inside = {id(value) for value in published.values()}
    beside = [key for key, value in content.items() if id(value) not in inside and key not in COUNTERS]
    if beside:
        notes = (*notes, f"left out: what is beside the network, {printable(', '.join(beside[:5]))}")
        logger.warning("%s: %s", path, notes[-1])
    return Checkpoint(path, state, format, known_file(path), FORMATS[format].missing, notes)


def known_file(path: str | Path) -> Weights | None:
    """Look up a file by its sha256 in the table of published weights.

    Returns:
        The record, or None for a file that is not in the table.

    Examples:
        >>> known_file(__file__) is None
        True
    """
    if not Path(path).is_file():  # a TensorFlow checkpoint's name stands for several files
        return None
    digest = file_sha256(Path(path))
    records = (record for tags in PUBLISHED.values() for record in tags.values())
    return next((record for record in records if record.sha256 and digest.startswith(record.sha256)), None)


def load_weights(model: nn.Module, record: Weights, *, cache_dir: str | Path | None = None) -> tuple[str, ...]:
    """Find, verify, read, convert and copy a record's weights into a model.

    Where the keypoints differ, and are not among `record.keypoints`, the head keeps its values,
    everything else is loaded strictly, and a warning of the logger "posezoo" names the tensors left
    out. Tensors that the record shares with its base come from the base's file.

    Args:
        model: loaded in place.
        record: of the weights.
        cache_dir: folder for downloads; see `posezoo.weights.find`.

    Returns:
        The warnings: none if the weights are complete.

    Raises:
        WeightsNotFoundError: (a ValueError) no source provides the file, or the base's.
        ValueError: the file does not fit; the model is unchanged.

    Examples:
        >>> import posezoo, tempfile
        >>> folder = posezoo.save_pretrained(posezoo.create("hrnet_w32"), tempfile.mkdtemp())
        >>> load_weights(posezoo.create("hrnet_w32"), posezoo.Weights(sources=(f"local-dir:{folder}",)))
        ()
    """
    path = find(record, cache_dir)
    state = read_state_dict(path)
    try:
        if record.format:
            for note in left_out(state, record.format):
                logger.info(note)
            state = convert(state, record.format)
        state = complete(state, record, cache_dir)
        return fit(model, state, num_keypoints=record.kwargs.get("num_keypoints"), keypoints=record.keypoints)
    except WeightsNotFoundError:
        raise
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(path: Path) -> State:
    """Read the tensors of a file with the reader that its ending names."""
    if path.is_file():
        check_content(path)
    if path.suffix == ".t7" and path.is_file():
        return torch7.read_tensors(path)
    if path.suffix == ".caffemodel" and path.is_file():
        return caffe.read_tensors(path)
    if tensorflow.name_of(path) != path or (not path.exists() and path.with_name(f"{path.name}.index").is_file()):
        return tensorflow.read_tensors(path)
    return read_state_dict(path)
