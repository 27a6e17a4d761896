"""The exceptions of a run, each tied to the op or the engine call that raised it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.expected import Expected
from gradpm.diagnose.facts import Facts
from gradpm.diagnose.finding import Severity
from gradpm.diagnose.flow import Flow
from gradpm.diagnose.ops import OpRow
from gradpm.trace.model import ErrorRow
from gradpm.trace.schema import FileKind, Op


@dataclass
class Raised:
    """One exception: where it came from and what became of it."""

    error: ErrorRow
    fatal: bool  # it, or what was made of it, ended the program
    call: Backward | None = None
    op: OpRow | None = None
    operands: list[dict[str, Any]] = field(default_factory=list)
    taken: bool = False  # a rule has explained it
    provoked: bool = False  # caught, once, where nothing that an optimizer owns took part

    @property
    def message(self) -> str:
        """What torch said."""
        return self.error.message

    @property
    def severity(self) -> Severity:
        """An error when it ended the program; swallowed, training went on wrongly."""
        if self.fatal:
            return Severity.ERROR
        return Severity.NOTE if self.provoked else Severity.WARNING

    @property
    def mildly(self) -> Severity:
        """Where trying, and falling back on something else, is a common and healthy idiom."""
        return Severity.ERROR if self.fatal else Severity.NOTE

    @property
    def number(self) -> int | None:
        """The engine call, counted from 1."""
        return self.call.number + 1 if self.call is not None else None

    @property
    def end(self) -> str:
        """How the sentence about the raise goes on when the script swallowed it."""
        return (
            "" if self.fatal else " The script caught the exception and went on without this step."
        )


def all_raised(facts: Facts) -> list[Raised]:
    """Every exception once, in the order in which they came."""
    trace = facts.trace
    last = next((e for e in reversed(trace.errors) if e.uncaught), None)
    calls = {call.error: call for call in reversed(facts.backwards) if call.error >= 0}
    found: list[Raised] = []
    for error in trace.errors:
        if error.uncaught:
            if not any(_same(error, other.error) for other in found):
                found.append(Raised(error, True))
            continue
        if not error.detail.get("row") and "engine" not in error.detail:
            continue
        fatal = last is not None and (_same(last, error) or _led_to(error, last))
        if not fatal and _is_libraries_own(facts, error):
            continue
        raised = Raised(error, fatal, calls.get(error.row))
        row = trace.op_row.get(int(error.detail.get("row") or 0))
        if row is not None:
            raised.op = facts.op(row)
        operands = error.detail.get("operands")
        if isinstance(operands, list):
            raised.operands = [entry for entry in operands if isinstance(entry, dict)]
        found.append(raised)
    return found


def mark_provoked(raised: Iterable[Raised], flow: Flow, expected: Expected) -> None:
    """Tell the failures that a script provokes, as tests do, from training that goes on without.

    A swallowed failure of training comes again with the next step, or concerns what an
    optimizer owns.
    """
    raised = list(raised)
    stacks = flow.facts.trace.stack
    lines = [  # the calls that led there too: tests share a helper that expects an exception
        tuple((f.path, f.line) for f in stacks(r.error.frame) if f.kind is FileKind.USER)
        for r in raised
    ]
    often = Counter(lines)
    for one, line in zip(raised, lines, strict=True):
        ours = set(flow.named(_bits(one, flow))) & expected.owned
        one.provoked = not one.fatal and often[line] == 1 and not ours


def _bits(raised: Raised, flow: Flow) -> int:
    """The parameters whose values went into what failed, tracked or not."""
    bits = 0
    if raised.call is not None and raised.call.number in flow.roots:
        state = flow.roots[raised.call.number]
        bits |= state.tracked | state.frozen
        for lost in state.lost.values():
            bits |= lost
    for serial in raised.op.ins if raised.op is not None else ():
        bits |= flow.tracked.get(serial, 0) | flow.frozen.get(serial, 0)
        for lost in flow.lost.get(serial, {}).values():
            bits |= lost
    return bits


def _led_to(error: ErrorRow, last: ErrorRow) -> bool:
    """Whether the exception that ended the program was raised while this one was handled."""
    chain = last.detail.get("led_by")
    kind = error.type.rsplit(".", 1)[-1]
    return isinstance(chain, list) and [kind, error.message] in chain


def _same(one: ErrorRow, other: ErrorRow) -> bool:
    return one.type == other.type and one.message == other.message


def _is_libraries_own(facts: Facts, error: ErrorRow) -> bool:
    """Raised in a library's frame and caught there: a probe, no business of the user's."""
    frames = facts.trace.stack(error.frame)
    inner = next((f for f in frames if f.kind in (FileKind.USER, FileKind.LIBRARY)), None)
    return inner is not None and inner.kind is not FileKind.USER


def in_backward(raised: Raised) -> bool:
    """Whether an op raised while the engine ran: a hook, a custom backward, a recomputation."""
    return raised.op is not None and raised.op.has(Op.IN_BACKWARD)
