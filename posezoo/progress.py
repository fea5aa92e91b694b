"""Progress bars that count finished work, on a terminal only."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

PROGRESS_FROM = 32  # items

T = TypeVar("T")


def with_progress(
    items: Iterable[T],
    count: int | None,
    progress: bool | None,
    unit: str,
    title: str | None = None,
    *,
    weigh: Callable[[T], int] = lambda _: 1,
) -> Iterator[T]:
    """Yield the items and show a progress bar that counts them.

    Args:
        items: results of the work to count.
        count: their number, or None where nobody knows, as of the frames of a webcam.
        progress: whether to show the bar. None stands for True on a terminal for 32 items or more.
        unit: name of an item.
        title: name of the work. Defaults to none.
        weigh: how many an item counts for. Defaults to one.

    Examples:
        >>> list(with_progress(range(3), 3, False, "frame"))
        [0, 1, 2]
    """
    if progress is False or (progress is None and count is not None and count < PROGRESS_FROM):
        yield from items
        return
    from huggingface_hub.utils import tqdm

    with tqdm(total=count, unit=unit, desc=title, disable=None if progress is None else False) as bar:
        for item in items:
            bar.update(weigh(item))
            yield item


def say(line: str, file: Any) -> None:
    """Print a line to `file`, above a progress bar if one is shown.

    Examples:
        >>> import sys
        >>> say("photo.jpg: 1 box", sys.stdout)
        photo.jpg: 1 box
    """
    from huggingface_hub.utils import tqdm

    tqdm.write(line, file=file)
