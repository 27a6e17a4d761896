"""What a gradient of zeros is due to, told with the shapes and names of the op that made it."""

from __future__ import annotations

from dataclasses import replace

from gradpm.diagnose.case import Case
from gradpm.diagnose.killers import Kill, Remedy, kill_of, remedy_of
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.single import is_over_one, remedy_over_one
from gradpm.diagnose.words import quoted
from gradpm.trace.schema import LeafKind

ROUNDING = frozenset("floor ceil trunc fix".split())


def remedy_for(case: Case, op: OpRow, kind: str) -> Remedy:
    """Why, and the cure, for this op."""
    if is_over_one(case, op, kind):
        return remedy_over_one(case, op)
    if op.name == "grid_sample":
        return Remedy(
            "every point of the grid lies outside the image, in the zero padding",
            "scale the grid to -1..1, which is what grid_sample takes: 2 * pixel / size - 1",
        )
    if "dropout" in op.name and kill_of(kind) is Kill.PRODUCT:
        return Remedy(
            "it drops every value (p = 1)",
            "give it the share of values to drop, p=0.1, not the share to keep",
        )
    if kill_of(kind) in (Kill.PRODUCT, Kill.MATRIX):
        return _by_factor(case, op, kind)
    found = remedy_of(kind)
    if op.name in ROUNDING:
        return replace(found, fix=found.fix.replace("x.round()", f"x.{op.name}()"))
    return found


def _by_factor(case: Case, op: OpRow, kind: str) -> Remedy:
    """Multiplied by zeros: by a number, or by which tensor."""
    if len(op.ins) == 1:
        return Remedy(
            "the number it is multiplied by is 0",
            "look at how that factor is computed (integer division is a usual reason)",
        )
    leaves = case.trace.leaves
    if kill_of(kind) is Kill.MATRIX:
        weights = [s for s in op.ins[1:2] if s in leaves and leaves[s].kind is LeafKind.PARAMETER]
        if weights:
            name = case.words.parameter(weights[0]).name
            return Remedy(
                f"its weight `{name}` is 0 throughout",
                f"initialise `{name}` with other numbers than 0, the default for one",
            )
        return remedy_of(kind)
    requires = {
        serial
        for serial in op.ins
        if (row := case.facts.makers.get(serial)) is not None
        and any(out == serial and case.facts.op(row).requires(at)
                for at, out in enumerate(case.facts.op(row).outs))
    }  # fmt: skip
    fixed = [serial for serial in op.ins if serial not in requires and serial not in leaves]
    if len(fixed) != 1:
        return remedy_of(kind)
    told = quoted(case.words.tensor_name(fixed[0]))
    return Remedy(
        f"{told}, by which it is multiplied, is 0 everywhere",
        f"check {told}: it is 0 throughout",
    )
