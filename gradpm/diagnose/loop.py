"""The training loop: each optimizer's steps, the engine calls before them, what was cleared."""

from __future__ import annotations

import ast
import bisect
from collections.abc import Iterable, Iterator
from functools import cached_property

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.facts import Facts
from gradpm.diagnose.finding import Location
from gradpm.diagnose.gradients import FRESH, GradRow
from gradpm.diagnose.optimizers import Optimizer
from gradpm.diagnose.places import Places
from gradpm.diagnose.steps import Clearing, Step
from gradpm.trace.schema import FileKind, Op

ZEROING = frozenset("zero_ _foreach_zero_ zero_grad".split())
SAME_MEMORY = frozenset("data.__get__ detach detach_".split())
READING = ("grad.__get__",)
SETTING = ("grad.__set__", "_grad.__set__")


def code_of(location: Location) -> str:
    """A line's code without its comment."""
    return location.source.split("#")[0].strip()


class Loop:
    """Steps and what stands between them."""

    def __init__(self, facts: Facts, places: Places) -> None:
        self.facts = facts
        self.places = places

    @cached_property
    def steps(self) -> dict[int, list[Step]]:
        """Every step of each optimizer, by its number; a step inside a step of the same is one."""
        found: dict[int, list[Step]] = {o.id: [] for o in self.facts.optimizers}
        by_id = {o.id: o for o in self.facts.optimizers}
        depth: dict[int, int] = {}
        for event in self.facts.trace.events:
            if event.object not in by_id:
                continue
            rows = found[event.object]
            if event.kind == "optimizer.step":
                depth[event.object] = depth.get(event.object, 0) + 1
                if depth[event.object] == 1:
                    rows.append(Step(by_id[event.object], len(rows), event))
            elif event.kind == "optimizer.stepped" and rows:
                depth[event.object] = max(depth.get(event.object, 0) - 1, 0)
                if depth[event.object] == 0:
                    rows[-1].done = event
        for rows in found.values():
            self._assign(rows)
        return found

    @cached_property
    def every_step(self) -> list[Step]:
        """The steps of all optimizers, in order."""
        found = [step for steps in self.steps.values() for step in steps]
        return sorted(found, key=lambda step: step.event.op)

    def step_after(self, op: int) -> Step | None:
        """The first step of any optimizer from this op id on."""
        at = bisect.bisect_left(self.every_step, op, key=lambda step: step.event.op)
        return self.every_step[at] if at < len(self.every_step) else None

    def _assign(self, rows: list[Step]) -> None:
        """Give every step the engine calls since the one before it, and those inside it."""
        calls = {call.number: call for call in self.facts.backwards}
        first, since = 0, 0
        for step in rows:
            end = step.done if step.done is not None else step.event
            step.since = since
            step.calls = [
                calls[number]
                for number in range(first, end.backward)
                if number in calls and not calls[number].is_grad_call
            ]
            first, since = end.backward, end.op

    @cached_property
    def by_hand(self) -> dict[int, list[int]]:
        """Op ids at which a gradient was set from outside the engine, by parameter."""
        found: dict[int, list[int]] = {}
        for op in self.facts.ops_named(SETTING):
            if op.ins and not op.has(Op.NONE_SET):
                found.setdefault(op.ins[0], []).append(op.id)
        return found

    def set_by_hand(self, serials: Iterable[int], first: int, end: int) -> bool:
        """Whether any of these gradients was set by the program itself in between."""
        for serial in serials if self.by_hand else ():
            ops = self.by_hand.get(serial, ())
            at = bisect.bisect_left(ops, first)
            if at < len(ops) and ops[at] < end:
                return True
        return False

    @cached_property
    def clearings(self) -> list[Clearing]:
        """Everything that cleared gradients, in order: zero_grad, `p.grad = None`, `.zero_()`."""
        facts = self.facts
        owned = {o.id: frozenset(o.params) for o in facts.optimizers}
        found = [
            Clearing(event.op, event.frame, owned.get(event.object, frozenset()))
            for event in facts.trace.events
            if event.kind == "optimizer.zero_grad"
        ]
        found += self._cleared_by_hand()
        return sorted(found, key=lambda clearing: clearing.op)

    def _cleared_by_hand(self) -> Iterator[Clearing]:
        facts = self.facts
        names, reading = facts.op_names, facts.named(READING)
        into, ins, starts, outs, *_ = facts.ragged
        grads: dict[int, int] = {}  # a gradient -> whose it is
        for row in facts.rows_named({*SETTING, *ZEROING, *SAME_MEMORY, *READING}):
            if names[row] in reading:  # by the million where gradients are clipped
                if into[row] < into[row + 1] and starts[row] < starts[row + 1]:
                    grads[outs[starts[row]]] = ins[into[row]]
                continue
            op = facts.op(row)
            if op.name in SAME_MEMORY:
                if op.ins and op.outs and op.ins[0] in grads:
                    grads[op.outs[0]] = grads[op.ins[0]]
            elif op.name in SETTING and op.has(Op.NONE_SET) and op.ins:
                yield Clearing(op.id, op.frame, frozenset(op.ins[:1]))
            elif op.name in ZEROING:
                whose = frozenset(grads[serial] for serial in op.ins if serial in grads)
                if whose:
                    yield Clearing(op.id, op.frame, whose)

    def cleared(self, serials: Iterable[int], first: int, end: int) -> Clearing | None:
        """The last clearing of any of these between two op ids."""
        wanted = set(serials)
        begin, behind = self._within(first, end)
        single, wide = self._whose
        lists = [single[serial] for serial in wanted if serial in single]
        lists += [places for whose, places in wide.items() if not wanted.isdisjoint(whose)]
        last = max((_last_before(places, behind) for places in lists), default=-1)
        return self.clearings[last] if last >= begin else None

    @cached_property
    def _whose(self) -> tuple[dict[int, list[int]], dict[frozenset[int], list[int]]]:
        """Where in `clearings` each serial stands alone, and each set of several."""
        single: dict[int, list[int]] = {}
        wide: dict[frozenset[int], list[int]] = {}
        for at, clearing in enumerate(self.clearings):
            if len(clearing.serials) == 1:
                single.setdefault(next(iter(clearing.serials)), []).append(at)
            else:
                wide.setdefault(clearing.serials, []).append(at)
        return single, wide

    def all_cleared(self, first: int, end: int) -> set[int]:
        """Everything that was cleared between two op ids."""
        return set().union(*(clearing.serials for clearing in self._between(first, end)))

    def _between(self, first: int, end: int) -> list[Clearing]:
        return self.clearings[slice(*self._within(first, end))]

    def _within(self, first: int, end: int) -> tuple[int, int]:
        """From which clearing to before which they stand between two op ids."""
        begin = bisect.bisect_left(self._clearing_ops, first)
        return begin, bisect.bisect_right(self._clearing_ops, end)

    @cached_property
    def _clearing_ops(self) -> list[int]:
        return [clearing.op for clearing in self.clearings]

    def call_after(self, number: int) -> Backward | None:
        """The first call that fills `.grad` and is not before this number."""
        calls = self.facts.accumulating
        at = bisect.bisect_left(calls, number, key=_number_of)
        return calls[at] if at < len(calls) else None

    @cached_property
    def first_fresh(self) -> dict[int, int]:
        """How many engine calls gave each serial a gradient."""
        return {serial: len(rows) for serial, rows in self.facts.gradients.fed.items()}

    @cached_property
    def largest_norms(self) -> dict[int, float]:
        """By call that fills `.grad`, the largest norm among the gradients that it changed."""
        norms, flags = self.facts.gradients.norms, self.facts.gradients.flags
        found = {}
        for call in self.facts.accumulating:
            rows = zip(norms[call.grads.rows], flags[call.grads.rows], strict=True)
            fresh = [norm for norm, flag in rows if flag & FRESH and norm == norm]
            found[call.number] = max(fresh, default=0.0)
        return found

    def at_work(self, serial: int) -> list[Optimizer]:
        """The optimizers that stepped while this parameter was being given gradients."""
        calls = [call.number for call in self.facts.gradients.calls_that_fed(serial)]
        return [
            optimizer
            for optimizer in self.facts.optimizers
            if calls
            and any(
                calls[0] < step.event.backward <= calls[-1] + 1 for step in self.steps[optimizer.id]
            )
        ]

    def held(self, grad: GradRow, since: int, call: Backward) -> bool:
        """Whether a gradient was already there, and not zero, as the engine started.

        Zeroing through `.grad.data` bumps no version counter, so the recorder, which
        looks at that, takes the gradient for untouched: the ops since then tell.
        """
        return grad.held and not self.cleared((grad.leaf,), since, call.op)

    # -- the user's source ---------------------------------------------------------

    def _statements(self) -> Iterator[tuple[str, ast.stmt]]:
        for path, kind in self.facts.trace.files:
            if kind is FileKind.USER:
                for node in self.places.code(path).statements:
                    yield path, node

    def bare(self, attribute: str) -> Location | None:
        """A statement that is `something.attribute` and nothing more: its call was forgotten."""
        for path, node in self._statements():
            value = node.value if isinstance(node, ast.Expr) else None
            if isinstance(value, ast.Attribute) and value.attr == attribute:
                return self.places.line(path, node.lineno, "culprit")
        return None

    def written(self, method: str) -> Location | None:
        """A statement of the user's, in a file that ran, that calls a method of this name."""
        for path, node in self._statements():
            value = node.value if isinstance(node, (ast.Expr, ast.Assign)) else None
            if isinstance(value, ast.Call) and getattr(value.func, "attr", "") == method:
                return self.places.line(path, node.lineno, "never called")
        return None

    def sets_rate(self) -> Location | None:
        """A line `group["lr"] = ...`."""
        for path, node in self._statements():
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AugAssign):
                targets = [node.target]
            if any(_is_rate(target) for target in targets):
                return self.places.line(path, node.lineno, "culprit")
        return None


def _last_before(places: list[int], end: int) -> int:
    """The last of these rising numbers that is below `end`; -1 for none."""
    at = bisect.bisect_left(places, end)
    return places[at - 1] if at else -1


def _number_of(call: Backward) -> int:
    return call.number


def _is_rate(target: ast.expr) -> bool:
    key = target.slice if isinstance(target, ast.Subscript) else None
    return isinstance(key, ast.Constant) and key.value == "lr"
