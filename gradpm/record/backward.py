"""The engine tap: what stands around each `backward()` and `autograd.grad()`.

Both reach `_engine_run_backward`. There the rows so far are kept, the graph is
read, the engine runs as it would have, and every leaf is looked at; what was
raised goes on untouched.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record import anchors
from gradpm.record.calls import (
    CREATE,
    GRAD_CALL,
    asked_of,
    is_blind,
    is_tracing,
    loss_of,
    roots_of,
)
from gradpm.record.derived import Derived
from gradpm.record.fullness import Fullness
from gradpm.record.graph import Graph, read_graph, watch, write_nodes
from gradpm.record.leaves import SHARED
from gradpm.record.mode import pop, push
from gradpm.record.plans import Plan
from gradpm.record.quiet import is_transformed
from gradpm.record.rows import Rows
from gradpm.record.saved import saved_facts
from gradpm.record.tracebacks import strip
from gradpm.trace.schema import Call, LeafKind, Op, Table

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder
    from gradpm.record.tap import OpTap

WHERE = "engine tap"
MOST_NODES = 2_000_000
FLUSHED_AT_ONCE = 3  # the first calls do not wait for the second to pass
# As plain numbers: two enums or-ed take 2 us, and every engine call has a dozen.
IN_BACKWARD, IN_STEP, OTHER_THREAD = int(Op.IN_BACKWARD), int(Op.IN_STEP), int(Op.OTHER_THREAD)
FULL, RAISED, LOSS = int(Call.FULL), int(Call.RAISED), int(Call.LOSS)
NESTED, WATCHED = int(Call.NESTED), int(Call.WATCHED)
NOBODY: frozenset[int] = frozenset()
NOTHING: set[int] = set()


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
    reached: set[int]


def standing_in(recorder: Recorder, run_backward: Any) -> Any:
    """What stands for `_engine_run_backward` while recording: it, and the record of it."""
    guard = recorder.guard

    @functools.wraps(run_backward)
    def _engine_run_backward(t_outputs: Any, *args: Any, **kwargs: Any) -> Any:
        engine = recorder.engine  # in a forked child, another one
        running: Running | None = None
        error: BaseException | None = None
        result: Any = None
        try:
            if recorder.on:
                running = guard(WHERE, engine.begin, t_outputs, args, kwargs, sys._getframe(1))
            if running is None or running.has_tap:
                result = run_backward(t_outputs, *args, **kwargs)
            else:
                push(running.tap)
                try:
                    result = run_backward(t_outputs, *args, **kwargs)
                finally:
                    pop()
        except BaseException as raised:
            strip(raised)
            error = raised
        try:
            if running is not None:
                running.tap.place = running.place
                guard(WHERE, engine.end, running, error, t_outputs)
                if error is None and running.flags & GRAD_CALL:
                    guard(WHERE, engine.differentiated, running, t_outputs, args, kwargs, result)
            if error is not None:
                raise error
            return result
        except BaseException as raised:
            strip(raised)
            raise
        finally:
            del error

    return _engine_run_backward


class EngineTap:
    """Notes what each engine call finds and leaves behind."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.rows = Rows(Table.BACKWARD)
        self.nodes = Rows(Table.NODE)
        self.count = 0
        self.fullness = Fullness(recorder.options)
        self._derived = Derived()
        self._open: list[Running] = []

    def differentiated(
        self, running: Running, t_outputs: Any, args: Any, kwargs: Any, result: Any
    ) -> None:
        """`autograd.grad` as a row: its gradients are values that flow on."""
        plan = (Plan.OP, self.recorder.strings.id("autograd.grad"), "autograd.grad")
        _, inputs = asked_of(args, kwargs, [])
        given = list(t_outputs), list(inputs)
        running.tap.row(plan, given, None, result, sys._getframe(3))

    def begin(self, t_outputs: Any, args: Any, kwargs: Any, frame: Any) -> Running | None:
        """Read the roots, the graph and the leaves as the engine starts; None: not the user's."""
        roots = roots_of(t_outputs)
        if is_tracing(roots):
            return None
        recorder = self.recorder
        tap = recorder.tap()
        if tap.place & IN_STEP:
            recorder.optimizers.find_place(tap, frame)
        stack, _ = recorder.stacks.at(frame)
        tap.turn(stack)
        flags, inputs = asked_of(args, kwargs, roots)
        flags |= tap.home & ~OTHER_THREAD
        number = self.count
        self.count += 1
        recorder.has_learned = tap.has_called = True
        anchors.let_go()
        recorder.leaves.late.read()
        outer = self._outer(tap)
        serials = [tap.serial(r, frame) for r in roots if isinstance(r, torch.Tensor)]
        into = self._inputs(tap, inputs, stack, frame) if inputs else []
        transformed = is_transformed()
        loss, full, found = self._first_look(roots, number, stack, flags & CREATE, transformed)
        graph: Graph | None = None
        handles: list[Any] = []
        looks = recorder.looks.wants_walk(loss)
        if full or looks:
            graph, handles, more = self._full_look(roots, number, stack, looks)
            found |= more
        recorder.names.look(frame, number)
        recorder.growth.turn(frame, number, serials[0] if serials else 0)
        unsafe = self._unsafe(tap)
        if unsafe:
            leaves = graph or read_graph(roots, recorder, stack, MOST_NODES)
            recorder.leaves.own(set(leaves.leaves.values()), tap.number, unsafe)
        # torch.func fills no .grad, and values cannot be read under it
        living = [] if transformed else recorder.leaves.before(unsafe)
        running = Running(
            number, stack, recorder.ops_so_far(), flags | found | (NESTED if outer else 0),
            outer.number + 1 if outer else 0, serials, into, loss, living, graph, handles,
            time.perf_counter_ns(), tap, tap.place, tap.is_on(),
            set(graph.leaves.values()) if graph is not None else NOTHING,
        )  # fmt: skip
        self._open.append(running)
        tap.running.append(running)
        recorder.flush()
        tap.place |= IN_BACKWARD
        return running

    def _inputs(self, tap: OpTap, inputs: Any, stack: int, frame: Any) -> list[int]:
        """The serials of what gradients are asked for, the leaves among it followed."""
        tensors = [tensor for tensor in inputs if isinstance(tensor, torch.Tensor)]
        serials = [tap.serial(tensor, frame) for tensor in tensors]
        for tensor in tensors:
            if tensor.is_leaf:
                self.recorder.leaves.add(tensor, stack, LeafKind.TENSOR)
        return serials

    def _first_look(
        self, roots: list[Any], number: int, stack: int, create: int, transformed: bool
    ) -> tuple[float, bool, int]:
        """(the loss, whether the call is to be kept in full, flags): a full look may wait."""
        loss, read = 0.0, False
        stats = self.recorder.options.stats != "none" and not transformed
        if stats:
            loss, read = loss_of(roots, wait=False)
        full = not is_blind(roots) and self.fullness.wants(number, stack, loss, bool(create))
        if full and stats and not read:
            loss, read = loss_of(roots, wait=True)
        return loss, full, LOSS if read else 0

    def _full_look(
        self, roots: list[Any], number: int, stack: int, looks: bool
    ) -> tuple[Graph, list[Any], int]:
        """(the graph, handles of the hooks that measure what reaches its nodes, flags)."""
        recorder = self.recorder
        graph = read_graph(roots, recorder, stack, MOST_NODES)
        if looks:
            recorder.looks.walk(graph.nodes, number)
        stats = recorder.options.stats
        if stats == "all" or (stats == "auto" and len(graph.nodes) <= recorder.watch_at_most):
            return graph, watch(graph, recorder), FULL | WATCHED
        return graph, [], FULL

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
                self._derived.remember(running.graph)
            elif error is None and not self._open:
                self._derived.forget()
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
            self.fullness.suspects.add(running.stack)
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

    def _unsafe(self, tap: OpTap) -> set[int] | frozenset[int]:
        """The other threads that call the engine: their leaves are not to be looked at.

        A `.grad` is exchanged without python's lock while the engine runs, and let go
        without it when it is set to None: to read it at that moment can crash.
        """
        taps = self.recorder.taps()
        if len(taps) < 2:
            return NOBODY
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
            known["born"] = self._derived.born(graph)
            return known

        return recorder.errors.seen(error, recorder.ops_so_far(), None, running.stack, facts) + 1

    def _outer(self, tap: OpTap) -> Running | None:
        """The engine call inside which this one runs.

        A device's own thread, which python did not start, works for whoever called last.
        """
        calls = tap.running
        if not calls and threading.get_ident() not in threading._active:  # type: ignore[attr-defined]
            calls = self._open
        return calls[-1] if calls else None
