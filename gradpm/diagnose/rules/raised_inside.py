"""GP207: the user's own code that the engine runs, a Function's backward or a hook, raised."""

from __future__ import annotations

import re

from gradpm.diagnose.case import Case
from gradpm.diagnose.failed_node import failed_node, op_behind, unserved
from gradpm.diagnose.finding import Location, Step
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.words import engine_call, listed, place, spoken
from gradpm.trace.schema import FileKind, Op

ENGINE = "_engine_run_backward"
DELIBERATE = frozenset("KeyboardInterrupt SystemExit GeneratorExit".split())
ON_CONTEXT = re.compile(r"'\w+Backward' object has no attribute '(\w+)'")


def find(case: Case) -> None:
    """What ended the program inside an engine call, and no other rule has explained."""
    for raised in case.raised:
        if raised.taken or not raised.fatal or raised.call is None:
            continue
        culprit = None if raised.error.type in DELIBERATE else _inside(case, raised)
        if culprit is not None:
            raised.taken = True
            _tell(case, raised, culprit)
            return


def _inside(case: Case, raised: Raised) -> Location | None:
    """The innermost line of the user's that the engine had called."""
    stack = raised.error.detail.get("stack")
    frames = [frame for frame in stack if len(frame) == 3] if isinstance(stack, list) else []
    functions = [frame[2] for frame in frames]
    if ENGINE not in functions:
        return None
    below = frames[len(functions) - functions[::-1].index(ENGINE) :]
    own = {path for path, kind in case.trace.files if kind is FileKind.USER}
    for path, line, function in reversed(below):
        if path in own and isinstance(line, int):
            return case.places.line(path, line, "culprit", str(function))
    return None


def _tell(case: Case, raised: Raised, culprit: Location) -> None:
    call = raised.call
    assert call is not None
    node = failed_node(case, raised)
    op = op_behind(case, raised, node)
    applied = case.places.of(op.frame, "applied") if op is not None else None
    at = case.places.of(call.frame, "backward")
    subjects = [case.words.parameter(serial) for serial in unserved(case, raised, node)]
    name = culprit.function
    if op is not None and op.has(Op.FUNCTION):
        name = f"{op.name.removesuffix('.apply')}.{culprit.function}"
    said = raised.message.strip().split("\n")[0][:200].rstrip(".")
    kind = raised.error.type.rsplit(".", 1)[-1]
    lost = listed([subject.name for subject in subjects]) or "What lies behind"
    came = f" for {spoken(op)} at {place(applied)}" if op is not None else ""
    missing = ON_CONTEXT.search(raised.message)
    fix = "mend this line; it runs during backward(), where the forward's variables are gone"
    if missing:
        fix = f"set `ctx.{missing.group(1)} = ...` in forward, whose ctx backward is given"
    case.finding(
        "GP207",
        raised.severity,
        f"`{name}` raised {kind} at {place(culprit)}: {said}",
        f"{engine_call(call)} at {place(at)} ran `{name}`{came}, and instead of a gradient it "
        f"raised {kind}: {said}. {lost} got no gradient from this call.",
        fix,
        subjects=subjects,
        locations=[culprit, applied, at],
        path=[
            Step("op", spoken(op).strip("`") if op is not None else "forward", "", applied,
                 op.id if op is not None else -1),
            Step("cut", name, f"raised {kind}", culprit),
        ],
        backward=raised.number,
        backwards=1,
    )  # fmt: skip
