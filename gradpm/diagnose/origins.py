"""Where a property of a tensor came from: its type, its device, its shape."""

from __future__ import annotations

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location
from gradpm.trace.model import Spec
from gradpm.trace.schema import Op

MOST = 200


def origin_rows(case: Case, serial: int, what: str) -> list[int]:
    """Rows from the tensor's maker back to the op that first gave it this property.

    `what` is "dtype", "device", or "shape", for which every step back is kept.
    """
    found: list[int] = []
    at = serial
    for _ in range(MOST):
        row = case.facts.makers.get(at)
        if row is None:
            break
        found.append(row)
        op = case.facts.op(row)
        wanted = of(case.facts.spec_of(at), what)
        same = [s for s in op.ins if s != at and of(case.facts.spec_of(s), what) == wanted]
        if what == "shape":
            same = [s for s in op.ins if s != at and not op.has(Op.UNSEEN)]
        if not same:
            break
        at = same[0]
    return found


def of(spec: Spec, what: str) -> str:
    """One property of a spec."""
    return spec.device if what == "device" else spec.dtype


def origin_places(
    case: Case,
    serial: int,
    what: str,
    role: str,
    most: int = 3,
    skip: Location | None = None,
) -> list[Location]:
    """The distinct user lines of the way back: where it began first, then the nearest steps."""
    leaf = case.trace.leaves.get(serial)
    if leaf is not None and leaf.frame:
        found = case.places.of(leaf.frame, "created")
        return [found] if found is not None else []
    rows = origin_rows(case, serial, what)
    ordered = [*rows[-1:], *rows[:-1]] if what != "shape" else rows
    places: list[Location] = []
    for row in ordered:
        found = case.places.of(case.facts.op(row).frame, role)
        known = [*places, *([skip] if skip is not None else [])]
        if found is not None and all((p.file, p.line) != (found.file, found.line) for p in known):
            places.append(found)
        if len(places) >= most:
            break
    return places
