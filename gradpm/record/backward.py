"""The engine tap: what stands around each `backward()` and `autograd.grad()`.

Both reach `_engine_run_backward`. There the rows so far are kept, the graph is
read, the engine runs as it would have, and every leaf is looked at; what was
raised goes on untouched.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record import anchors
from gradpm.record.calls import (
    CREATE,
    GRAD_CALL,
    arguments_of,
    flags_of,
    is_blind,
    is_tracing,
    loss_of,
    roots_of,
)
from gradpm.record.graph import Graph, read_graph, watch, write_nodes
from gradpm.record.leaves import SHARED
from gradpm.record.mode import pop, push
from gradpm.record.plans import Plan
from gradpm.record.rows import Rows
from gradpm.record.saved import saved_facts
from gradpm.record.tracebacks import strip
from gradpm.trace.schema import Call, LeafKind, Op, Table

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder
    from gradpm.record.tap import OpTap

WHERE = "engine tap"
MOST_NODES = 2_000_000
MOST_SPARE = 24  # calls kept in full beyond the first few
MOST_WINDOWS = 20_000
FLUSHED_AT_ONCE = 3  # the first calls do not wait for the second to pass
# As plain numbers: two enums or-ed take 2 us, and every engine call has a dozen.
IN_BACKWARD, IN_STEP, OTHER_THREAD = int(Op.IN_BACKWARD), int(Op.IN_STEP), int(Op.OTHER_THREAD)
FULL, RAISED, LOSS = int(Call.FULL), int(Call.RAISED), int(Call.LOSS)
NESTED, WATCHED = int(Call.NESTED), int(Call.WATCHED)


@dataclass(slots=True)
class Running:
    """One engine call under way."""

    number: int
    stack: int
    op: int
    flags: int
    parent: int
    roots: list[int]
    inputs: list[int]
    loss: float
    living: list[Any]
    graph: Graph | None
    handles: list[Any]
    began: int
    tap: OpTap
    place: int  # of the tap, before
    has_tap: bool  # whether it acts at this moment
    reached: set[int] = field(default_factory=set)


class EngineTap:
    """Stands in for `_engine_run_backward` while recording."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.rows = Rows(Table.BACKWARD)
        self.nodes = Rows(Table.NODE)
        self.count = 0
        self.suspects: set[int] = set()  # stacks of calls whose next one is kept in full
        self._calls_at: dict[int, int] = {}
        self._spare = MOST_SPARE
        self._open: list[Running] = []
        self._windows: list[tuple[int, int, int]] = []  # (first, end, origin) sequence numbers

    def run(self, t_outputs: Any, *args: Any, **kwargs: Any) -> Any:
        """What `_engine_run_backward` does, and the record of it."""
        recorder, guard = self.recorder, self.recorder.guard
        run_backward = recorder.patches.run_backward
        running = None
        if recorder.on:
            running = guard(WHERE, self.begin, t_outputs, args, kwargs, sys._getframe(1))
        if running is None:
            return run_backward(t_outputs, *args, **kwargs)
        error: BaseException | None = None
        result: Any = None
        try:
            if running.has_tap:
                result = run_backward(t_outputs, *args, **kwargs)
            else:
                push(running.tap)
                try:
                    result = run_backward(t_outputs, *args, **kwargs)
                finally:
                    pop()
            return result
        except BaseException as raised:
            strip(raised)
            error = raised
            raise
        finally:
            running.tap.place = running.place
            guard(WHERE, self.end, running, error, t_outputs)
            if error is None and running.flags & GRAD_CALL:
                guard(WHERE, self.differentiated, running.tap, t_outputs, args, kwargs, result)

    def differentiated(
        self, tap: OpTap, t_outputs: Any, args: Any, kwargs: Any, result: Any
    ) -> None:
        """`autograd.grad` as a row: its gradients are values that flow on."""
        plan = (Plan.OP, self.recorder.strings.id("autograd.grad"), "autograd.grad")
        inputs = arguments_of(args, kwargs)["inputs"]
        tap.row(plan, (list(t_outputs), list(inputs)), None, result, sys._getframe(3))

    def begin(self, t_outputs: Any, args: Any, kwargs: Any, frame: Any) -> Running | None:
        """Read the roots, the graph and the leaves as the engine starts; None: not the user's."""
        if is_tracing(t_outputs):
            return None
        recorder = self.recorder
        tap = recorder.tap()
        if tap.place & IN_STEP:
            recorder.optimizers.find_place(tap, frame)
        stack, _ = recorder.stacks.at(frame)
        tap.turn(stack)
        roots = roots_of(t_outputs)
        call = arguments_of(args, kwargs)
        number = self.count
        self.count += 1
        recorder.has_learned = True
        anchors.let_go()
        recorder.leaves.late.read()
        flags = flags_of(call, roots) | (tap.home & ~OTHER_THREAD)
        outer = self._outer(tap)
        if outer is not None:
            flags |= NESTED
        serials = [tap.serial(r, frame) for r in roots if isinstance(r, torch.Tensor)]
        inputs = [tap.serial(t, frame) for t in call["inputs"] if isinstance(t, torch.Tensor)]
        for tensor in call["inputs"]:
            if isinstance(tensor, torch.Tensor) and tensor.is_leaf:
                recorder.leaves.add(tensor, stack, LeafKind.TENSOR)
        loss, full, found = self._first_look(roots, call, stack)
        flags |= found
        graph, handles = None, []
        looks = recorder.looks.wants_walk(loss)
        if full or looks:
            graph = read_graph(roots, recorder, stack, MOST_NODES)
            if looks:
                recorder.looks.walk(graph.nodes, number)
            flags |= FULL
            stats = recorder.options.stats
            if stats == "all" or (stats == "auto" and len(graph.nodes) <= recorder.watch_at_most):
                handles = watch(graph, recorder)
                flags |= WATCHED
        recorder.names.look(frame, number)
        recorder.growth.turn(frame, number, serials[0] if serials else 0)
        tap.has_called = True
        unsafe = self._unsafe(tap)
        if unsafe:
            leaves = graph or read_graph(roots, recorder, stack, MOST_NODES)
            recorder.leaves.own(set(leaves.leaves.values()), tap.number, unsafe)
        living = recorder.leaves.before(unsafe)
        within = outer.number + 1 if outer is not None else 0
        running = Running(
            number, stack, recorder.ops_so_far(), flags, within, serials, inputs,
            loss, living, graph, handles, time.perf_counter_ns(), tap, tap.place, tap.is_on(),
        )  # fmt: skip
        if graph is not None:
            running.reached = set(graph.leaves.values())
        self._open.append(running)
        tap.running.append(running)
        recorder.flush()
        tap.place |= IN_BACKWARD
        return running

    def _first_look(
        self, roots: list[Any], call: dict[str, Any], stack: int
    ) -> tuple[float, bool, int]:
        """(the loss, whether the call is to be kept in full, flags): a full look may wait."""
        loss, read, stats = 0.0, False, self.recorder.options.stats != "none"
        if stats:
            loss, read = loss_of(roots, wait=False)
        full = not is_blind(roots) and self._wants_graph(loss, call, stack)
        if full and stats and not read:
            loss, read = loss_of(roots, wait=True)
        return loss, full, LOSS if read else 0

    def end(self, running: Running, error: BaseException | None, t_outputs: Any) -> None:
        """Look at the leaves and write the snapshot."""
        recorder, tap = self.recorder, running.tap
        elapsed = time.perf_counter_ns() - running.began
        self._open.remove(running)
        tap.running.remove(running)
        for handle in running.handles:
            handle.remove()
        failed = 0
        if error is not None:
            running.flags |= RAISED
            failed = self._failed(running, error, t_outputs)
        nodes = 0
        shape = 0
        if running.graph is not None:
            if running.flags & CREATE and error is None:
                self._remember(running.graph)
            elif error is None and not self._open:
                self._windows.clear()
            nodes = len(running.graph.nodes)
            write_nodes(running.graph, running.number, self.nodes, recorder.strings)
            running.graph = None
        unsafe = self._unsafe(tap)
        if unsafe:
            running.living = [pair for pair in running.living if pair[0].owner not in unsafe]
        bad = recorder.leaves.after(
            running.living, running.number, running.reached,
            full=bool(running.flags & FULL), stack=running.stack,
        )  # fmt: skip
        if bad or recorder.leaves.newly_zero:
            self.suspects.add(running.stack)
        running.living = []
        self.rows.add(
            running.number, running.flags, running.stack, running.op, recorder.ops_so_far(),
            running.parent,
            failed, nodes, shape, recorder.steps, elapsed, running.loss,
            len(running.roots), len(running.inputs),
            root=running.roots, input=running.inputs,
        )  # fmt: skip
        recorder.scopes.new_turn()
        recorder.singular.new_turn()
        # runs die young: out of memory at the first step, killed at the second
        recorder.flush(force=error is not None or running.number < FLUSHED_AT_ONCE)

    def _unsafe(self, tap: OpTap) -> set[int]:
        """The other threads that call the engine: their leaves are not to be looked at.

        A `.grad` is exchanged without python's lock while the engine runs, and let go
        without it when it is set to None: to read it at that moment can crash.
        """
        taps = self.recorder.taps()
        if len(taps) < 2:
            return set()
        others = {other.number for other in taps if other.has_called}
        others.discard(tap.number)
        return others | {SHARED} if others else others

    def _failed(self, running: Running, error: BaseException, t_outputs: Any) -> int:
        """The exception, and what the graph can still tell of why; the error's row + 1."""
        recorder = self.recorder
        if running.graph is None:
            roots = roots_of(t_outputs)
            running.graph = read_graph(roots, recorder, running.stack, MOST_NODES)
            running.flags |= FULL
        graph = running.graph

        def facts() -> dict[str, Any]:
            recorder.names.read(sys._getframe(1), running.number)
            known = {"engine": running.number, **saved_facts(graph, recorder, error)}
            if graph.entered:
                known["last"] = next(reversed(graph.entered))
            known["born"] = self._born(graph)
            return known

        return recorder.errors.seen(error, recorder.ops_so_far(), None, running.stack, facts) + 1

    def _born(self, graph: Graph) -> dict[int, int]:
        """For nodes that an earlier backward made: the number of the node that it was running."""
        found = {}
        for at, node in enumerate(graph.nodes):
            number = node._sequence_nr() if at not in graph.leaves else -1
            for first, end, origin in reversed(self._windows):
                if first <= number < end:
                    found[at] = number = origin  # a third derivative's origin is itself born
        return found

    def _remember(self, graph: Graph) -> None:
        """With create_graph: which node's backward made which new nodes, by number."""
        entered = list(graph.entered.items())
        if not entered:
            return
        now = torch._C._autograd._get_sequence_nr()
        ends = [first for _, first in entered[1:]] + [now]
        self._windows = self._windows[-MOST_WINDOWS:] + [
            (first, end, graph.nodes[at]._sequence_nr())
            for (at, first), end in zip(entered, ends, strict=True)
            if end > first
        ]

    def _outer(self, tap: OpTap) -> Running | None:
        """The engine call inside which this one runs.

        A device's own thread, which python did not start, works for whoever called last.
        """
        calls = tap.running
        if not calls and threading.get_ident() not in threading._active:  # type: ignore[attr-defined]
            calls = self._open
        return calls[-1] if calls else None

    def _wants_graph(self, loss: float, call: dict[str, Any], stack: int) -> bool:
        """Whether this call's graph is kept in full."""
        options = self.recorder.options
        detail = options.detail
        if detail == "full" or options.stats == "all" or call.get("create_graph"):
            return True
        if options.every and (self.count - 1) % options.every == 0:
            return True
        times = self._calls_at[stack] = self._calls_at.get(stack, 0) + 1
        suspect = stack in self.suspects or not math.isfinite(loss)
        self.suspects.discard(stack)
        if detail == "light":
            return self.count <= 1
        if self.count <= 3:
            return True
        wanted = (suspect or times <= 2) and self._spare > 0
        self._spare -= wanted
        return wanted
