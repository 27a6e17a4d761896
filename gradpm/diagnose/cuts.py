"""What kind of cut an op row is, and which line a person must change for it."""

from __future__ import annotations

from dataclasses import dataclass

from gradpm.diagnose import functions
from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location
from gradpm.diagnose.flow import SWITCHES, is_mutating
from gradpm.diagnose.handed import DETACHING, only_leaves
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.surrogates import surrogate
from gradpm.diagnose.switched import owner_of, switch
from gradpm.diagnose.words import is_nameless, place, spoken
from gradpm.diagnose.written import comparison, difference, written
from gradpm.trace.model import Frame
from gradpm.trace.schema import FileKind, Op

COPYING = frozenset("tensor as_tensor asarray new_tensor".split())
LEAVING = frozenset(
    "item tolist numpy __array__ __float__ __int__ __bool__ __index__ __complex__ "
    "__dlpack__ __contains__".split()
)
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
        return _rewrapped(case, op)
    if op.name in DETACHING:
        return _detached(case, op)
    if op.name in COPYING or op.name in LEAVING or op.has(Op.LEFT):
        return _left(case, op)
    if not op.has(Op.GRAD_ENABLED) or op.has(Op.INFERENCE):
        return _disabled(case, op)
    if op.name == "autograd.grad":
        return _first_order(case, op)
    return _non_differentiable(case, op)


def _place(case: Case, op: OpRow) -> tuple[Location | None, Frame | None, list[Location]]:
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


def _value(case: Case, op: OpRow) -> str:
    """The variable that went in, if it has a name."""
    name = case.words.tensor_name(op.ins[0]) if op.ins else ""
    return "" if is_nameless(name) else name


def _carrier(case: Case, op: OpRow) -> str:
    """`state_dict()` when the cut sits inside such a call of torch's."""
    for frame in case.trace.stack(op.frame):
        if frame.kind is FileKind.USER:
            return ""
        name = frame.function.rsplit(".", 1)[-1]
        if name in CARRIERS:
            return name.lstrip("_").replace("load_from_state_dict", "load_state_dict")
    return ""


def _detached(case: Case, op: OpRow) -> Cut:
    culprit, _, extra = _place(case, op)
    carrier = _carrier(case, op)
    value = _value(case, op)
    what = f"`{carrier}()`" if carrier else spoken(op)
    why = (
        f"{what} hands out the same values without their history: autograd sees the result as a "
        "constant, so nothing behind it gets a gradient."
    )
    fix = f"drop {what}"
    if value:
        fix = f"use `{value}` itself instead of its detached copy"
    given, whole = written(case, op)
    if given and not carrier:
        fix = f"write `{given}` instead of `{whole}` at {place(culprit)}"
    if carrier:
        fix = f"do not take the values through `{carrier}()`: it detaches them"
        if carrier == "vector_to_parameters":
            fix = "use torch.func.functional_call with views of the vector instead"
    elif op.name == "data.__set__":
        fix = "compute with the new tensor itself (torch.func.functional_call), not through `.data`"
    if op.outs and not carrier and only_leaves(case, op.outs):
        return _handed_out(op, given or value, culprit, extra)
    turned = _turned_leaf(case, op)
    if turned is not None:
        why = (
            f"{what} drops the history and requires_grad_ makes a new leaf of the result: the "
            "gradient stops in the new tensor and never reaches what the value was computed from."
        )
        what = f"`{carrier}()`" if carrier else what
        fix = (
            f"keep `{given or value or 'the tensor'}` attached, without requires_grad_; "
            "to read its gradient call its retain_grad()"
        )
        if carrier == "stack_module_state":
            fix = "give the optimizer the tensors that stack_module_state returns, which are leaves"
        return Cut(op, "GP114", culprit, (turned, *extra), what, why, fix, 0)
    return Cut(op, "GP101", culprit, tuple(extra), what, why, fix, 0)


def _handed_out(op: OpRow, given: str, culprit: Location | None, extra: list[Location]) -> Cut:
    """Detached because numpy or Python asks for it: the way out of torch is what cuts."""
    why = (
        f"{spoken(op)} lets the numbers out of torch, and what is built from them afterwards is a "
        "new constant without history."
    )
    name = f"`{given}`" if given else "the value"
    fix = f"keep {name} in torch: compute with torch functions from there to the loss"
    return Cut(op, "GP104", culprit, tuple(extra), spoken(op), why, fix, 0)


def _turned_leaf(case: Case, op: OpRow) -> Location | None:
    """Where what was detached here was told to require grad, before anything was made of it."""
    for out in op.outs or op.ins[:1]:
        for row in case.facts.users.get(out, ()):
            later = case.facts.op(row)
            if row > op.row and later.name in SWITCHES:
                if not later.has(Op.NONE_SET):
                    return case.places.of(later.frame, "new leaf")
                break
    return None


def _rewrapped(case: Case, op: OpRow) -> Cut:
    culprit, _, extra = _place(case, op)
    what = spoken(op)
    why = (
        f"{what} makes a new leaf from the value: the gradient stops in the new tensor and never "
        "reaches what the value was computed from."
    )
    value = written(case, op)[0] or _value(case, op) or "the value"
    fix = f"use `{value}` itself; to read its gradient, name it and call its retain_grad()"
    code = "GP114"
    return Cut(op, code, culprit, tuple(extra), what, why, fix, 0)


def _checkpoint(case: Case, op: OpRow) -> Cut:
    culprit, _, extra = _place(case, op)
    why = (
        "Re-entrant checkpointing runs the segment without a graph and hangs its backward on the "
        "inputs; no input requires grad here, so there is nothing to hang it on."
    )
    fix = "pass use_reentrant=False to the checkpoint call"
    return Cut(op, "GP111", culprit, tuple(extra), "the re-entrant checkpoint", why, fix, 0)


def _function(case: Case, op: OpRow) -> Cut:
    """A custom Function whose output carries no history at all."""
    applied, _, extra = _place(case, op)
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
    culprit, _, extra = _place(case, op)
    what = spoken(op)
    value = _value(case, op)
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
    carrier = _carrier(case, op)
    mode = owner_of(case, op) if not carrier else None
    culprit, frame, extra = _place(case, op)
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


def _first_order(case: Case, op: OpRow) -> Cut:
    culprit, _, extra = _place(case, op)
    why = (
        "torch.autograd.grad was called without create_graph=True: the gradients it returns are "
        "constants, so what is computed from them cannot be differentiated again."
    )
    fix = "pass create_graph=True to this torch.autograd.grad call"
    return Cut(op, "GP101", culprit, tuple(extra), spoken(op), why, fix, 3)


def _non_differentiable(case: Case, op: OpRow) -> Cut:
    culprit, _, extra = _place(case, op)
    what = comparison(case, op) or spoken(op)
    carrier = _carrier(case, op)
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
