"""The recorder of one process: everything the taps share, and its one file."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from types import CodeType
from typing import Any

import torch

from gradpm.record.backward import EngineTap
from gradpm.record.beside import Beside
from gradpm.record.errors import Errors
from gradpm.record.faults import HERE, listen, unlisten
from gradpm.record.growth import Growth
from gradpm.record.guard import Guard
from gradpm.record.hot import OpRows
from gradpm.record.identity import Identity
from gradpm.record.leaves import Leaves
from gradpm.record.left import Left
from gradpm.record.locks import LOCK, renew
from gradpm.record.looks import Looks
from gradpm.record.meta import ending, opening
from gradpm.record.names import Names
from gradpm.record.oprow import OpWriter
from gradpm.record.optimizers import Optimizers
from gradpm.record.options import Options
from gradpm.record.output import Output, Sources
from gradpm.record.patches import Patches
from gradpm.record.plain import HotTap
from gradpm.record.plans import Decision
from gradpm.record.rows import Rows
from gradpm.record.scopes import Scopes
from gradpm.record.singular import Singular
from gradpm.record.stacks import Stacks
from gradpm.record.strings import Specs, Strings
from gradpm.record.tap import OpTap
from gradpm.record.tracebacks import Stands
from gradpm.trace.schema import Op, Table

FLUSH_SECONDS = 1.0


class Recorder(Guard, Beside):
    """Holds the taps' shared state; `on` is False once recording has stopped."""

    def __init__(self, name: Callable[[], str], options: Options) -> None:
        """`name` gives the file's path, and is asked when the file is opened."""
        self.on = False  # once it is False, `plain` is empty too, so that the tap asks
        self.options = options
        self.strings = Strings()
        self.scopes = Scopes()
        call_impl = torch.nn.Module._call_impl.__code__
        self.stacks = Stacks(set(), call_impl, self.scopes)
        self.stands = Stands()
        self.optim_codes: set[int] = set()  # ids of torch.optim's own code objects
        self.kept: list[CodeType] = []  # keeps those ids from being reused
        self.plans: dict[Any, Decision] = {}
        # functions that are mostly only to be written down: (name, whether it KEEPS, its Way)
        self.plain: dict[Any, tuple[int, bool, int]] = {}
        self.passing: dict[int, Any] = {}  # those that leave no row and are hashed in Python, by id
        self.ops = OpRows()
        self.is_root = True  # the process that `gradpm run` started, or a recording's own
        self.always_writes = False  # a recording in a program is a file, whatever was in it
        self.watch_at_most = 20_000
        self._taps: dict[int, OpTap] = {}
        self._threads = 0
        self._paused = False
        self._faulted = False
        self.patches = Patches(self)
        self._begin(name)
        self._hide_own_frames()

    def _begin(self, name: Callable[[], str]) -> None:
        """All that belongs to one file; a forked child comes here again."""
        options = self.options
        self.began = time.time()
        self.sources = Sources(self.strings, embed=options.source and not options.redact)
        self.specs = Specs(self.strings)
        self.identity = Identity()
        self.left = Left()
        self.output = Output(name, options.max_size << 20)
        self.meta = Rows(Table.META)
        self.changes = Rows(Table.CHANGE)
        self.events = Rows(Table.EVENT)
        self.errors = Errors(self)
        self.names = Names(self)
        self.leaves = Leaves(self)
        self.looks = Looks(self)
        self.singular = Singular(self)
        self.growth = Growth(self)
        self.engine = EngineTap(self)
        self.optimizers = Optimizers(self)
        self.steps = 0
        self.last_op = 0  # of threads that have ended
        self.asides = 0  # op ids that stand for no row, see `aside`
        self._has_opened = False
        self._sealed = False
        self.has_learned = False  # whether autograd was used at all
        self.next_op = itertools.count(1).__next__
        self._last_flush = time.monotonic()
        self._pid = os.getpid()

    def begin_again(self, name: Callable[[], str]) -> None:
        """In a forked child: leave the parent's file to the parent, and start one of our own.

        What live frames point to, stacks and scopes, is kept, and said again in the new
        file; tensors are met anew.
        """
        renew()
        self.output.abandon()
        self.on = self.on or self.output.full
        self.is_root = False
        mine = self._taps.get(threading.get_ident())
        self._taps.clear()
        self.ops.clear()
        self.strings.again()
        self._begin(name)
        if mine is not None:
            self._taps[threading.get_ident()] = mine
            mine.begin()

    # -- taps --------------------------------------------------------------------

    def tap(self) -> OpTap:
        """This thread's op tap."""
        found = self._taps.get(threading.get_ident())
        return found if found is not None else self._new_tap()

    def _new_tap(self) -> OpTap:
        main = threading.get_ident() == threading.main_thread().ident
        with LOCK:
            self._threads += not main
            found = OpTap(self, 0 if main else self._threads)
            self._taps[threading.get_ident()] = found
        self.stacks.quick = getattr(found, "at", None)
        return found

    def is_alone(self) -> bool:
        """Whether no other living thread has used torch."""
        return sum(tap.last_op > 0 for tap in self.taps()) <= 1

    def taps(self) -> list[OpTap]:
        """The taps of all living threads."""
        return list(self._taps.values())

    def enter_thread(self) -> None:
        """A thread begins: its number may be that of one that has ended."""
        if self.on:
            self._new_tap().__enter__()  # type: ignore[no-untyped-call]

    def leave_thread(self) -> None:
        """A thread ends."""
        tap = self._taps.pop(threading.get_ident(), None)
        if tap is not None:
            tap.leave()
            self.last_op = max(self.last_op, tap.last_op)

    def is_own(self, code: CodeType) -> bool:
        """Whether a frame of this code is gradpm's."""
        return code.co_filename.startswith(HERE)

    def _hide_own_frames(self) -> None:
        for function in (
            HotTap.__torch_function__, OpTap.otherwise, OpTap.keep, OpTap.refused,
            OpTap.now_and_then, OpTap.row, OpTap.passed, OpTap.called,
            EngineTap.begin, EngineTap.end, EngineTap.differentiated, Recorder.guard,
            Recorder.lightly,
        ):  # fmt: skip
            self.stacks.hide(function.__code__)

    # -- what the taps ask -------------------------------------------------------

    def ops_so_far(self) -> int:
        """The id that the next op will have, or one less."""
        last = self.last_op
        for tap in self._taps.copy().values():
            if tap.last_op > last:
                last = tap.last_op
        return last + 1

    # -- the file ----------------------------------------------------------------

    def flush_ops(self, tap: OpWriter) -> None:
        """A thread's rows are many: put them into the file."""
        if self.output.writer is not None or self.is_root or self.has_learned:
            self.flush(force=True)
        else:
            self.ops.clear()  # a worker that only loads data leaves nothing behind
        self.identity.prune()
        self.leaves.forget_dead()

    def flush(self, *, force: bool = False) -> None:
        """Put everything into the file, if a second has passed since the last time."""
        now = time.monotonic()
        if not force and now - self._last_flush < FLUSH_SECONDS and self._has_opened:
            return
        self._last_flush = now
        if os.getpid() != self._pid:
            self._leave_to_parent()
            return
        with LOCK:
            if not self._has_opened:
                self._has_opened = True
                opening(self)
            taken = [(rows, rows.take()) for rows in self._buffers() if len(rows)]
            self.output.interned(self.stacks, self.sources, self.strings, self.scopes)
            self.output.put(self.specs.rows)
            for rows, (count, columns) in taken:
                self.output.open().frame(int(rows.table), count, columns)
            if self.output.writer is not None:
                self.output.writer.commit()
        if self.on and (self.output.stopped or self.output.full):
            self.on = False
            self.plain.clear()
            size = f"the trace has reached its largest size, {self.options.max_size} MiB"
            self._say_stopped(self.output.stopped or size)

    def _leave_to_parent(self) -> None:
        """Forked, and nobody has told us to begin again: the file is the parent's."""
        self.on = False
        self.plain.clear()
        for rows in self._buffers():
            rows.clear()

    def _buffers(self) -> list[Rows]:
        return [
            self.ops, self.leaves.rows, self.names.rows, self.left.rows, self.changes,
            self.events, self.looks.rows, self.errors.rows, self.engine.rows,
            self.engine.nodes, self.leaves.grads, self.meta,
        ]  # fmt: skip

    # -- life --------------------------------------------------------------------

    def start(self) -> None:
        """Install every tap; all or none."""
        self.on = True
        listen(self.fault)
        self.guard("start", self._install)
        if self._faulted:
            self.remove()

    def _install(self) -> None:
        self.patches.install()
        self.tap().__enter__()  # type: ignore[no-untyped-call]

    def pause(self) -> None:
        """Another recording begins inside this one: stand aside."""
        self._paused = self.on
        self.on = False
        self.plain.clear()
        for act in (self._leave, self.patches.lift, self.stacks.forget_frames):
            self.guard("pause", act)

    def resume(self) -> None:
        """It has ended."""
        self.guard("pause", self._lay)
        self.on = self._paused and not self._faulted

    def finish(self) -> None:
        """Seal the file; idempotent."""
        if os.getpid() != self._pid:
            return
        self.guard("end", self._seal)
        self.on, self._sealed = False, True
        self.plain.clear()
        self.guard("end", self.output.close)

    def has_used_autograd(self) -> bool:
        """Whether there is anything to tell: an engine call, a graph; for the root, a parameter."""
        if self.has_learned or (self.errors.count and self.is_root):
            return True
        if self.is_root and (self.leaves.known or len(self.leaves.rows)):
            return True
        return any(flag & Op.OUT_REQUIRES for flag in dict(self.ops.peek())["flags"])

    def _seal(self) -> None:
        used = self.has_used_autograd() or (self.is_root and self.ops_so_far() > 1)
        if self.output.writer is not None or self.always_writes or used:
            self.leaves.late.read(wait=True)
            ending(self)
            self.flush(force=True)

    def remove(self) -> None:
        """Leave torch exactly as it was found."""
        self.on = False
        self.plain.clear()
        self.guard("end", unlisten, self.fault)
        for act in (
            self._leave, self.patches.remove, self.singular.remove, self.stacks.forget_frames,
        ):  # fmt: skip
            self.guard("end", act)
        self.identity.known.clear()
        self.leaves.known.clear()

    def _lay(self) -> None:
        self.patches.lay()
        self.tap().__enter__()  # type: ignore[no-untyped-call]

    def _leave(self) -> None:
        self.tap().leave()
