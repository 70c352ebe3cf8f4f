"""Work beside the trainings, in a thread of its own."""

import threading
from types import TracebackType
from typing import Self


class Background:
    """A thread that works from where a `with` block is entered until it is left."""

    def __init__(self, name: str) -> None:
        self._closing = threading.Event()
        """Set once the work is to end."""
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._thread.join()

    def _work(self) -> None:
        """Work until `_closing` is set."""
        raise NotImplementedError
