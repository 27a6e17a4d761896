"""What kind of cut an op row is, and which line a person must change for it."""

from __future__ import annotations

from gradpm.diagnose import functions
from gradpm.diagnose.case import Case
from gradpm.diagnose.cut import Cut, carrier_of, place_of, value_of
from gradpm.diagnose.detached import detached, first_order, rewrapped
from gradpm.diagnose.finding import Location
from gradpm.diagnose.handed import DETACHING
from gradpm.diagnose.op_names import is_mutating
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.surrogates import surrogate
from gradpm.diagnose.switched import owner_of, switch
from gradpm.diagnose.words import spoken
from gradpm.diagnose.written import comparison, difference, written
from gradpm.trace.schema import Op

COPYING = frozenset("tensor as_tensor asarray new_tensor".split())
LEAVING = frozenset(
    "item tolist numpy __array__ __float__ __int__ __bool__ __index__ __complex__ "
    "__dlpack__ __contains__".split()
)


def classify(case: Case, row: int) -> Cut:
    """Say what kind of cut the op in this row is; thousands of parameters may ask about one."""
    if row not in case.cuts:
        case.cuts[row] = _classified(case, case.facts.op(row))
    return case.cuts[row]


def _classified(case: Case, op: OpRow) -> Cut:
    if op.name == "CheckpointFunction.apply":
        return _checkpoint(case, op)
    if op.has(Op.FUNCTION):
        return _function(case, op)
    if any(op.is_leaf(at) for at in range(len(op.outs))) and (
        op.has(Op.GRAD_ENABLED) or op.name in ("Parameter", "Variable")
    ):
        return rewrapped(case, op)
    if op.name in DETACHING:
        return detached(case, op)
    if op.name in COPYING or op.name in LEAVING or op.has(Op.LEFT):
        return _left(case, op)
    if not op.has(Op.GRAD_ENABLED) or op.has(Op.INFERENCE):
        return _disabled(case, op)
    if op.name == "autograd.grad":
        return first_order(case, op)
    return _non_differentiable(case, op)


def _checkpoint(case: Case, op: OpRow) -> Cut:
    culprit, _, extra = place_of(case, op)
    why = (
        "Re-entrant checkpointing runs the segment without a graph and hangs its backward on the "
        "inputs; no input requires grad here, so there is nothing to hang it on."
    )
    fix = "pass use_reentrant=False to the checkpoint call"
    return Cut(op, "GP111", culprit, tuple(extra), "the re-entrant checkpoint", why, fix, 0)


def _function(case: Case, op: OpRow) -> Cut:
    """A custom Function whose output carries no history at all."""
    applied, _, extra = place_of(case, op)
    marked = functions.marking_line(case, op)
    name = op.name.removesuffix(".apply")
    what = f"`mark_non_differentiable` in `{name}`" if marked else f"`{name}.apply`"
    why = (
        f"`{name}.forward` declares its output non-differentiable, so autograd makes no node for "
        f"the call and `{name}.backward` is never run."
        if marked
        else f"the output of `{name}.apply` carries no history, so `{name}.backward` is never run."
    )
    fix = "mark only the outputs that no loss depends on" if marked else "return a float tensor"
    seconds = ([applied] if applied and marked else []) + extra
    return Cut(op, "GP110", marked or applied, tuple(seconds), what, why, fix, 0)


def _left(case: Case, op: OpRow) -> Cut:
    culprit, _, extra = place_of(case, op)
    what = spoken(op)
    value = value_of(case, op)
    why = (
        f"{what} takes the numbers out of torch; what is built from them afterwards is a new "
        "constant without history."
    )
    given, _ = written(case, op)
    value = given or value
    for ending in (".detach()", ".cpu()", ".detach()", ".data"):
        value = value.removesuffix(ending)
    fix = f"keep `{value}` as a tensor" if value else "keep the value as a tensor"
    fix += " and compute with torch functions from there to the loss"
    if op.name in COPYING:
        fix = f"use `{value or 'the tensor'}` itself (torch.stack joins several), not a copy of it"
    return Cut(op, "GP104", culprit, tuple(extra), what, why, fix, 1)


def _disabled(case: Case, op: OpRow) -> Cut:
    carrier = carrier_of(case, op)
    mode = owner_of(case, op) if not carrier else None
    culprit, frame, extra = place_of(case, op)
    seconds = list(extra)
    name = "inference mode" if op.has(Op.INFERENCE) else "gradients switched off"
    if mode is not None:
        owner, entered = mode
        seconds = [*entered, *extra]
        if frame is None or owner.row != frame.row:
            inner = case.places.at(frame, "inside")
            culprit = case.places.at(owner, "culprit")
            seconds = [*entered, *([inner] if inner else [])]
    elif not carrier:
        event = switch(case, op)
        found = case.places.of(event.frame, "grad mode") if event is not None else None
        seconds = [*([found] if found else []), *extra]
    what = f"`{carrier}()`" if carrier else f"{spoken(op)} with {name}"
    why = (
        f"{what} ran while autograd recorded nothing, so its result has no history and no "
        "gradient passes through it."
    )
    modes = [place for place in seconds if place.role in ("grad mode", "decorated")]
    fix = _outside(culprit, modes[0] if modes else None)
    if carrier == "load_state_dict":
        why = (
            "`load_state_dict()` copies the values into the module's own parameters under "
            "no_grad: the gradient lands in those and never reaches what the values came from."
        )
        fix = (
            "call the module with the computed values: "
            "torch.func.functional_call(module, values, args)"
        )
    elif carrier == "sample":
        fix = "use rsample() (reparameterised) instead of sample()"
    elif is_mutating(op.name) and op.name == "copy_":
        fix = "compute with the tensor itself instead of copying its values under no_grad"
    return Cut(op, "GP102", culprit, tuple(seconds), what, why, fix, 1)


def _outside(culprit: Location | None, mode: Location | None) -> str:
    """How to run the line with gradients: by what switched them off."""
    if culprit is None or mode is None:
        return "run this part outside the no_grad block"
    entered = mode.source.partition("#")[0].strip()
    if entered.startswith("@"):
        return f"remove the decorator `{entered}` at {mode.short()}"
    if entered.startswith(("with ", "async with ")):
        return f"move {culprit.short()} out of the block `{entered}` at {mode.short()}"
    if "grad" not in entered and "inference" not in entered:
        return f"take away what wraps `{culprit.function}` in no_grad"
    return (
        f"undo `{entered}` at {mode.short()} before {culprit.short()} runs; "
        "`with torch.no_grad():` switches gradients back on by itself"
    )


def _non_differentiable(case: Case, op: OpRow) -> Cut:
    culprit, _, extra = place_of(case, op)
    what = comparison(case, op) or spoken(op)
    carrier = carrier_of(case, op)
    if carrier == "sample":
        what = "`sample()`"
    dtypes = {case.trace.spec(spec).dtype for spec in op.specs}
    integer = bool(dtypes) and not any(d.startswith(("float", "bfloat", "complex")) for d in dtypes)
    kind = f" ({', '.join(sorted(dtypes))})" if integer else ""
    why = (
        f"{what} gives a result{kind} that does not change smoothly with its input, so autograd "
        "has no derivative for it and the result carries no history."
    )
    if not integer:
        why = f"torch has no derivative for {what}, so the result carries no history."
    given = difference(case, op) or written(case, op)[0]
    fix = surrogate("sample" if carrier == "sample" else op.name, given)
    return Cut(op, "GP103", culprit, tuple(extra), what, why, fix, 3 if integer else 2)
