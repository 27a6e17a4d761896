"""What every part of the recorder may reach: the state that the taps share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from gradpm.record.backward import EngineTap
    from gradpm.record.errors import Errors
    from gradpm.record.identity import Identity
    from gradpm.record.leaves import Leaves
    from gradpm.record.left import Left
    from gradpm.record.names import Names
    from gradpm.record.output import Sources
    from gradpm.record.rows import OpRows, Rows
    from gradpm.record.scopes import Scopes
    from gradpm.record.singular import Singular
    from gradpm.record.stacks import Stacks
    from gradpm.record.strings import Specs, Strings
    from gradpm.record.tap import OpTap
    from gradpm.record.tracebacks import Stands


class Shared:
    """The names of the shared state; `Recorder` gives them their values."""

    strings: Strings
    specs: Specs
    scopes: Scopes
    stacks: Stacks
    stands: Stands
    sources: Sources
    identity: Identity
    left: Left
    leaves: Leaves
    names: Names
    errors: Errors
    engine: EngineTap
    singular: Singular
    ops: OpRows
    plain: dict[Any, tuple[int, bool, int]]
    passing: dict[int, Any]
    changes: Rows
    events: Rows
    meta: Rows
    optim_codes: set[int]
    kept: list[CodeType]
    next_op: Callable[[], int]
    tap: Callable[[], OpTap]
    ops_so_far: Callable[[], int]
    written: Callable[[Any], list[Any]]
    fault: Callable[[str, BaseException], None]
