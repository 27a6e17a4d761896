"""What every rule is given: the facts, the places, the words, and what was found before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from gradpm.diagnose.called import Called
from gradpm.diagnose.catalogue import NAMES
from gradpm.diagnose.ends import Ends
from gradpm.diagnose.expected import Expected
from gradpm.diagnose.facts import Facts
from gradpm.diagnose.finding import Finding, Location, Severity, Step, Subject
from gradpm.diagnose.flow import Flow
from gradpm.diagnose.graphs import Graphs
from gradpm.diagnose.looks import Looks
from gradpm.diagnose.loop import Loop
from gradpm.diagnose.memory import Memory
from gradpm.diagnose.places import Places
from gradpm.diagnose.raised import Raised, all_raised, mark_provoked
from gradpm.diagnose.watched import Watched
from gradpm.diagnose.words import Words, sentence
from gradpm.trace.model import ErrorRow, Trace
from gradpm.trace.schema import Table

if TYPE_CHECKING:
    from gradpm.diagnose.cut import Cut


class Case:
    """One trace under diagnosis."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.facts = Facts(trace)
        self.places = Places(trace)
        self.words = Words(self.facts, self.places)
        self.findings: list[Finding] = []
        self.cuts: dict[int, Cut] = {}  # by row, as they are asked for
        self.explained: set[int] = set()  # serials that a finding already speaks of

    @cached_property
    def expected(self) -> Expected:
        """Which parameters are expected to learn."""
        return Expected(self.facts, self.loop)

    @cached_property
    def ends(self) -> Ends:
        """Where tracked results end."""
        return Ends(self.facts)

    @cached_property
    def flow(self) -> Flow:
        """The flow of every parameter's value, tracked or not."""
        return Flow(self.facts, self.facts.parameters).run()

    @cached_property
    def raised(self) -> list[Raised]:
        """Every exception that torch, or what torch called, raised."""
        found = all_raised(self.facts)
        if found:
            mark_provoked(found, self.flow, self.expected)
        return found

    @property
    def was_cut_short(self) -> bool:
        """Whether an exception ended the run before silence of a few steps could mean anything."""
        fatal = any(raised.fatal and raised.taken for raised in self.raised)
        return fatal and len(self.facts.accumulating) <= 3

    @cached_property
    def graphs(self) -> Graphs:
        """The graphs that were kept."""
        return Graphs(self.facts)

    @cached_property
    def memory(self) -> Memory:
        """Which tensors share memory, and what changed it."""
        return Memory(self.facts)

    @cached_property
    def loop(self) -> Loop:
        """Optimizer steps and what stands between them."""
        return Loop(self.facts, self.places)

    @cached_property
    def looks(self) -> Looks:
        """What looks at living tensors showed."""
        return Looks(self.facts)

    @cached_property
    def watched(self) -> Watched:
        """The graphs whose gradients were measured node by node."""
        return Watched(self.facts, self.graphs)

    @cached_property
    def called(self) -> Called:
        """What a person calls each tensor."""
        return Called(self.facts, self.places, self.words)

    @cached_property
    def uncaught(self) -> ErrorRow | None:
        """The exception that ended the program."""
        return next((error for error in reversed(self.trace.errors) if error.uncaught), None)

    def module_path(self, scope: int) -> str:
        """`model.trunk.0`: the module whose forward a scope is; its class where it has no name."""
        columns = self.trace.table(Table.SCOPE)
        if not 0 < scope < columns.rows:
            return ""
        module = columns["module"][scope]
        name = self.trace.module_names.get(module, "")
        modules = self.trace.table(Table.MODULE)
        if not name and module < modules.rows:
            return self.trace.string(modules["class"][module])
        return name

    def finding(
        self,
        code: str,
        severity: Severity,
        title: str,
        explanation: str,
        fix: str,
        *,
        subjects: Sequence[Subject] = (),
        locations: Iterable[Location | None] = (),
        path: Sequence[Step] = (),
        backward: int | None = None,
        backwards: int = 0,
    ) -> Finding:
        """Add a finding; places that are not known and repeats of a place are left out."""
        kept: list[Location] = []
        for location in locations:
            if location is not None and not any(
                (location.file, location.line) == (k.file, k.line) for k in kept
            ):
                kept.append(location)
        found = Finding(
            code, NAMES[code], severity, sentence(title), sentence(explanation), fix,
            tuple(subjects), tuple(kept),
            tuple(replace(step, label=step.label.replace("`", "")) for step in path),
            backward, backwards,
        )  # fmt: skip
        self.findings.append(found)
        self.explained.update(subject.serial for subject in subjects if subject.serial)
        return found
