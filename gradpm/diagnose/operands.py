"""What an op that raised was given, as the user's own line names it."""

from __future__ import annotations

import ast
from dataclasses import replace

from gradpm.diagnose.called import LONGEST
from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Subject
from gradpm.diagnose.op_names import VIEWS
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.statements import variable
from gradpm.trace.model import Frame
from gradpm.trace.schema import FileKind, Op

FARTHEST = 64


def operands_of(case: Case, op: OpRow) -> list[Subject]:
    """The tensors that went into an op, each once; what the user's line handed in by its name."""
    frame = case.places.frame(op.frame)
    found: dict[tuple[str, tuple[int, ...]], Subject] = {}
    for serial in dict.fromkeys(op.ins):
        if serial:
            subject = operand(case, serial, op, frame)
            found.setdefault((subject.name, subject.shape or ()), subject)
    return sorted(found.values(), key=lambda subject: subject.kind == "parameter")


def operand(case: Case, serial: int, op: OpRow, frame: Frame | None) -> Subject:
    """One of them, with the type it has where the op got it."""
    subject = case.called.subject(serial, frame)
    if frame is None or _stands_there(case, subject.name, serial, frame):
        return subject
    name = _from_line(case, serial, case.places.expression(frame), frame)
    return replace(subject, name=name) if name else subject


def _stands_there(case: Case, name: str, serial: int, frame: Frame) -> bool:
    """Whether it has a name that is not just the target of the line that raised."""
    if not case.called.known(serial, frame):
        return False
    last = name.rsplit(".", 1)[-1]
    if last in case.places.names_loaded(frame.path, frame.line):
        return True
    row = case.facts.makers.get(serial)
    own = case.places.frame(case.facts.op(row).frame) if row is not None else None
    return own is None or (own.path, own.line) != (frame.path, frame.line)


def _from_line(case: Case, serial: int, whole: ast.expr | None, frame: Frame) -> str:
    """Back along what the same line computed: a name that it mentions, or a part of it."""
    at = serial
    for _ in range(FARTHEST):
        row = case.facts.makers.get(at)
        if row is None:
            return case.called.known(at, frame)
        op = case.facts.op(row)
        own = case.places.frame(op.frame)
        if own is None or (own.path, own.line) != (frame.path, frame.line):
            return ""
        part = case.places.expression(own)
        if part is not None and part is not whole and op.name not in VIEWS:
            text = case.places.spelled(frame.path, part)
            return text if len(text) <= LONGEST else ""
        before = _taken_from(case, op, at)
        if not before:
            return ""
        at = before
        known = case.called.known(at, frame)
        if known and _stands_there(case, known, at, frame):
            return known
    return ""


def _taken_from(case: Case, op: OpRow, serial: int) -> int:
    """The input that an output most resembles: of the same sizes, else the first one."""
    if op.has(Op.UNSEEN):
        return 0
    sizes = sorted(case.facts.spec_of(serial).shape)
    inputs = [s for s in op.ins if s and s != serial]
    alike = [s for s in inputs if sorted(case.facts.spec_of(s).shape) == sizes]
    return next(iter([*alike, *inputs]), 0)


def mentioned(case: Case, frame: Frame) -> list[Subject]:
    """The tensors that a call in the user's line names among its arguments."""
    call = case.places.expression(frame)
    if not isinstance(call, ast.Call):
        return []
    wanted = [
        variable(argument).rsplit(".", 1)[-1]
        for argument in [*call.args, *(word.value for word in call.keywords)]
    ]
    latest: dict[str, int] = {}
    for serial, names in case.trace.names.items():
        for root, path in names:
            name = (path or root).rsplit(".", 1)[-1]
            if serial > latest.get(name, 0):
                latest[name] = serial
    return [
        replace(case.called.subject(latest[name], frame), name=name)
        for name in dict.fromkeys(wanted)
        if name in latest
    ]


def inside_torch(case: Case, stack: int) -> str:
    """The function of torch's, `LSTM.check_input`, in which a module's forward raised."""
    frames = case.trace.stack(stack)
    inner = []
    for frame in frames:
        if frame.kind is FileKind.USER:
            break
        inner.append(frame)
    is_forward = any("_call_impl" in frame.function for frame in inner)
    if not inner or inner[0].kind is not FileKind.TORCH or not is_forward:
        return ""
    return inner[0].function.rsplit(".<locals>", 1)[0]
