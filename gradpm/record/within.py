"""Where a thread is: inside a custom Function, a checkpoint; noted on its op tap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradpm.trace.schema import Op

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder


class _Nowhere:
    """Stands for a thread's tap when recording has failed: where it is matters no more."""

    place = 0


_NOWHERE = (_Nowhere(), 0)


def within(recorder: Recorder, what: Op) -> tuple[Any, int]:
    """(this thread's tap, where it was): from now on it is in `what` as well.

    To be undone by `tap.place = place`.
    """
    return recorder.guard("op tap", _enter, recorder, what) or _NOWHERE


def _enter(recorder: Recorder, what: Op) -> tuple[Any, int]:
    tap = recorder.tap()
    place, tap.place = tap.place, tap.place | int(what)
    return tap, place
