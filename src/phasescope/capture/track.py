"""track(): the fetching of each item as a phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from phasescope.capture import compiled
from phasescope.capture.attributes import clean_attributes
from phasescope.capture.phase import PreparedPhase
from phasescope.capture.scope import Exhausted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")


class track(Generic[T]):  # noqa: N801 - used like a function
    """Iterate over `iterable` with each fetch as a phase, by default named "data": `for batch in track(loader)`.

    The first fetch includes the start of the iterator, and so of a DataLoader's workers. The fetch that only finds the
    end is a phase too, marked `exhausted` in its exit's metadata; summaries do not count it. A `track` can be iterated
    as often as its iterable, and has its length.
    """

    Exhausted = Exhausted
    """Mark a fetch entered by hand that only found the end: `scope.__exit__(track.Exhausted, None, None)`."""

    @compiled.seen_as(compiled.track)
    def __init__(self, iterable: Iterable[T], /, name: str = "data", **attributes: object) -> None:
        self._iterable = iterable
        self._name = name
        self._attributes = clean_attributes(attributes) if attributes else None

    def __len__(self) -> int:
        return len(self._iterable)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        return bool(self._iterable)  # without this, an iterable without a length could not be tested

    def __iter__(self) -> Iterator[T]:
        iterator: Iterator[T] | None = None
        box: list[T] = []
        while True:
            fetch = PreparedPhase(self._name, self._attributes)
            fetch.__enter__()
            try:
                if iterator is None:
                    iterator = iter(self._iterable)
                box.append(next(iterator))
            except StopIteration:
                fetch.__exit__(Exhausted, None, None)
                return
            except BaseException as error:
                fetch.__exit__(type(error), error, None)
                raise
            fetch.__exit__(None, None, None)
            # Through a list, so that no variable here keeps the user's batch alive.
            yield box.pop()
