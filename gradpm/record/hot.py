"""The hot path of the op tap and of the leaves: compiled where that could be done, else Python."""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record import known, plain, rows
from gradpm.record.mode import depth_of, pop, push
from gradpm.record.oprow import (
    GRAD_ENABLED,
    IN_REQUIRES,
    INFERENCE,
    LOOKED_AT,
    OUT_REQUIRES_GRAD,
    TRACKED,
    TRACKED_LEAF,
    Tensor,
    grad_enabled,
    inference_enabled,
    sequence_number,
)
from gradpm.record.plans import Plan
from gradpm.record.quiet import MEASURED
from gradpm.record.scopes import Calls
from gradpm.record.stacks import Lines, Token
from gradpm.trace.schema import COLUMNS, Table

ASKED_FOR = "GRADPM_HOT_PATH"  # "python": not the compiled one, to compare or to rule it out


def _compiled() -> Any:
    """The compiled module, told what it must know; None where it cannot be had."""
    if os.environ.get(ASKED_FOR) == "python":
        return None
    try:
        from gradpm.record import _hot

        _configure(_hot)
    except (ImportError, TypeError):  # no compiler, no header files; or it is of another gradpm
        return None
    return _hot


def _configure(module: Any) -> None:
    base: Any = torch._C.TensorBase
    # Unlike data_ptr, it copies nothing; a torch without it has nothing to be copied lazily.
    address: Any = getattr(torch._C, "_data_address", base.data_ptr)
    module.configure(
        (Tensor, torch.nn.Parameter, torch.nn.ParameterList, Token, Lines, Calls),
        (grad_enabled, inference_enabled, sequence_number,
         torch.overrides.handle_torch_function.__code__, depth_of, pop, push,
         MEASURED, torch.strided, torch.float32, known.grad_of, known.look, known.state_of_odd,
         known.is_whole, base.numel, base.is_contiguous, base.untyped_storage,
         torch.UntypedStorage.nbytes, base.element_size, base.storage_offset,
         address),
        (int(Plan.PASS), GRAD_ENABLED, INFERENCE, IN_REQUIRES, TRACKED, TRACKED_LEAF,
         OUT_REQUIRES_GRAD, LOOKED_AT, known.IS_LEAF, known.REQUIRES, known.REACHED,
         known.FRESH, known.HELD, known.UNSURE, known.BUFFER, known.NONE, known.FINITE),
    )  # fmt: skip


def _named(packed: Any) -> list[tuple[str, array[Any]]]:
    types = COLUMNS[Table.OP].items()
    return [(name, array(kind, part)) for (name, kind), part in zip(types, packed, strict=True)]


def _rows_of(module: Any) -> Any:
    """The op rows over the compiled module's buffer."""

    class OpRows(module.OpBuffer):  # type: ignore[misc]
        """`rows.OpRows`, its rows in arrays of the machine's own numbers."""

        table = Table.OP

        def take(self) -> tuple[int, list[tuple[str, array[Any]]]]:
            """The rows so far as columns, and an empty buffer again."""
            count, packed = self.drain()
            return count, _named(packed)

        def peek(self) -> list[tuple[str, array[Any]]]:
            """The rows so far as columns; they stay."""
            return _named(self.columns())

        def clear(self) -> None:
            """Forget the rows so far."""
            self.drain()

    return OpRows


mode_off: Any = None  # see `native/mode.c`

if TYPE_CHECKING:
    from gradpm.record.known import Known as Known
    from gradpm.record.known import all_finite as all_finite
    from gradpm.record.known import begin as begin
    from gradpm.record.known import end as end
    from gradpm.record.plain import HotTap as HotTap
    from gradpm.record.rows import OpRows as OpRows
else:
    _module = _compiled()
    HotTap = _module.HotTap if _module is not None else plain.HotTap
    OpRows = _rows_of(_module) if _module is not None else rows.OpRows
    _leaves = _module if _module is not None else known
    Known, begin, end, all_finite = _leaves.Known, _leaves.begin, _leaves.end, _leaves.all_finite
    if _module is not None:
        mode_off = _module.ModeOff

is_compiled = HotTap is not plain.HotTap
