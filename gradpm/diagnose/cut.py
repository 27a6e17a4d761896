"""A place where tracking stopped, and what stands around it in the source."""

from __future__ import annotations

from dataclasses import dataclass

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.words import is_nameless
from gradpm.trace.model import Frame
from gradpm.trace.schema import FileKind

# calls of torch whose cut is theirs: the user's call into them is what must change
CARRIERS = (
    "state_dict",
    "load_state_dict",
    "vector_to_parameters",
    "sample",
    "stack_module_state",
    "_load_from_state_dict",
)


@dataclass(frozen=True)
class Cut:
    """A place where tracking stopped."""

    op: OpRow
    code: str
    culprit: Location | None
    seconds: tuple[Location, ...]
    what: str  # `.detach()`, "the op under no_grad"
    why: str  # a sentence on the mechanism
    fix: str
    rank: int  # the lower, the likelier a real cause among several

    @property
    def site(self) -> tuple[str, str, int]:
        """What makes two cuts the same cause."""
        place = self.culprit
        return (self.code, place.file, place.line) if place else (self.code, "", self.op.row)


def place_of(case: Case, op: OpRow) -> tuple[Location | None, Frame | None, list[Location]]:
    """The user's line, its frame, and the library's line where the cut itself stands."""
    frame = case.places.frame(op.frame)
    extra = []
    stack = case.trace.stack(op.frame)
    inner = stack[0] if stack else None
    inside = inner is not None and frame is not None and inner.row != frame.row
    if inside and inner is not None and inner.kind is FileKind.LIBRARY:
        found = case.places.at(inner, "library")
        if found is not None:
            extra.append(found)
    return case.places.at(frame, "culprit"), frame, extra


def value_of(case: Case, op: OpRow) -> str:
    """The variable that went in, if it has a name."""
    name = case.words.tensor_name(op.ins[0]) if op.ins else ""
    return "" if is_nameless(name) else name


def carrier_of(case: Case, op: OpRow) -> str:
    """`state_dict()` when the cut sits inside such a call of torch's."""
    for frame in case.trace.stack(op.frame):
        if frame.kind is FileKind.USER:
            return ""
        name = frame.function.rsplit(".", 1)[-1]
        if name in CARRIERS:
            return name.lstrip("_").replace("load_from_state_dict", "load_state_dict")
    return ""
