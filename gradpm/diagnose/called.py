"""What a person calls a tensor: the variable in the line that matters, wherever it came from."""

from __future__ import annotations

import ast
import re
from functools import cached_property

from gradpm.diagnose.facts import Facts
from gradpm.diagnose.finding import Subject
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.places import Places
from gradpm.diagnose.statements import variable
from gradpm.diagnose.words import Words, spoken
from gradpm.trace.model import Frame
from gradpm.trace.schema import LeafKind

LONGEST = 48  # characters of an expression that stands for a name
KEY = re.compile(r"\[['\"]([^'\"]+)['\"]\]$")
INDEX = re.compile(r"(\[[^\]]*\])+$")


class Called:
    """Names of tensors, the best first: a module's path, a living variable, the source's target."""

    def __init__(self, facts: Facts, places: Places, words: Words) -> None:
        self.facts = facts
        self.places = places
        self.words = words

    def subject(self, serial: int, frame: Frame | None = None) -> Subject:
        """A tensor or parameter as a subject; `frame` is the line in which it matters."""
        leaf = self.facts.trace.leaves.get(serial)
        if leaf is not None and self._has_module(serial):
            return self.words.parameter(serial)
        spec = self.facts.spec_of(serial)
        kind = "parameter" if leaf is not None and leaf.kind is LeafKind.PARAMETER else "tensor"
        return Subject(kind, self.name(serial, frame), spec.shape, spec.dtype, serial)

    def subjects(self, serial: int, frame: Frame | None = None) -> list[Subject]:
        """The tensor under the name that its maker's line gave it and that of what holds it."""
        first = self.subject(serial, frame)
        holder, target = self.holder(serial), self._from_source(serial)
        if first.kind == "parameter" or not target or self._has_module(serial):
            return [first]
        names = [target, holder] if holder else [first.name]
        if not holder and not f".{first.name}".endswith(f".{target}"):
            names.append(target)
        names += [key for key in self._keys(serial) if key.isidentifier()]
        return [
            Subject(first.kind, name, first.shape, first.dtype, serial)
            for name in dict.fromkeys(names)
        ]

    def holder(self, serial: int) -> str:
        """The list, tuple or dict of the user's that holds a tensor; empty when none does."""
        row = self.facts.makers.get(serial)
        names = [name for _, name in self.facts.trace.names.get(serial, ())]
        held = [bare(name) for name in names if INDEX.search(name)]
        if row is None or not held:
            return ""
        for frame in self.places.user_frames(self.facts.op(row).frame):
            if held[0].rsplit(".", 1)[-1] in self._mentioned(frame):
                return ""  # its maker's own statement fills it anew: a state, no collection
        return held[0]

    def as_written(self, serial: int) -> str:
        """What its maker's line assigns it to, as it stands there: `self.state`; else its name."""
        row = self.facts.makers.get(serial)
        frame = self.places.frame(self.facts.op(row).frame) if row is not None else None
        statement = self.places.code(frame.path).statement(frame.line) if frame else None
        name = self.known(serial)
        for target in getattr(statement, "targets", None) or ():
            parts = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
            for part in parts:
                if variable(part) == name.rsplit(".", 1)[-1]:
                    return ast.unparse(part)
        return name

    def is_part(self, serial: int) -> bool:
        """Whether the user holds it as an element of a tuple or list."""
        return any(INDEX.search(name) for _, name in self.facts.trace.names.get(serial, ()))

    def is_keyed(self, serial: int) -> bool:
        """Whether the user holds it under a word in a dict."""
        return bool(self._keys(serial))

    def _keys(self, serial: int) -> list[str]:
        """`total` of `state['total']`."""
        names = (name for _, name in self.facts.trace.names.get(serial, ()))
        return [match.group(1) for name in names if (match := KEY.search(name)) is not None]

    def name(self, serial: int, frame: Frame | None = None) -> str:
        """The name alone; words for one that has none."""
        found = self.known(serial, frame)
        if found:
            return found
        row = self.facts.makers.get(serial)
        if row is not None:
            return f"the result of {spoken(self.facts.op(row))}"
        return "a tensor"

    def expressed(self, serial: int) -> str:
        """The expression that made it, as it stands in the user's line: `u.sum()`; if short."""
        row = self.facts.makers.get(serial)
        frame = self.places.frame(self.facts.op(row).frame) if row is not None else None
        part = self.places.expression(frame)
        if frame is None or part is None:
            return ""
        text = self.places.spelled(frame.path, part)
        return text if len(text) <= LONGEST else ""

    def known(self, serial: int, frame: Frame | None = None) -> str:
        """A name that stands in the user's code; empty when there is none."""
        if self._has_module(serial):
            return self.facts.trace.name(serial)
        names = [bare(name) for _, name in self.facts.trace.names.get(serial, ())]
        if frame is not None:
            here = self._mentioned(frame)
            for name in names:
                if name in here or name.rsplit(".", 1)[-1] in here:
                    return name
        if names:
            return names[0]
        return self._from_source(serial) or self._from_sibling(serial)

    def _has_module(self, serial: int) -> bool:
        known = self.facts.trace.names.get(serial, ())
        leaf = self.facts.trace.leaves.get(serial)
        if leaf is None or not known:
            return False
        return leaf.kind is not LeafKind.TENSOR and ("." in known[0][1] or bool(known[0][0]))

    def _mentioned(self, frame: Frame) -> set[str]:
        statement = self.places.code(frame.path).statement(frame.line)
        if statement is None:
            return set()
        found = set()
        for node in _own_expressions(statement):
            if isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
        return found

    def _from_source(self, serial: int) -> str:
        """The target that a line assigns it to, or that the line assigns which got it returned."""
        row = self.facts.makers.get(serial)
        if row is None:
            leaf = self.facts.trace.leaves.get(serial)
            return self.places.target(leaf.frame) if leaf is not None else ""
        for maker in [row, *self._again(serial)]:
            op = self.facts.op(maker)
            found = self._assigned(op, op.outs.index(serial))
            if found:
                return found
        return ""

    def _again(self, serial: int) -> list[int]:
        """Rows of in-place ops that handed the same tensor back."""
        rows = self.facts.users.get(serial, ())[:32]
        return [row for row in rows if serial in self.facts.op(row).outs]

    def _assigned(self, op: OpRow, position: int) -> str:
        """What the statement assigns whose whole value the op made; out through `return`s."""
        for frame in self.places.user_frames(op.frame):
            statement = self.places.code(frame.path).statement(frame.line)
            if statement is None or not is_value(statement, frame):
                return ""
            if not isinstance(statement, ast.Return):
                return target_of(statement, position, len(op.outs))
        return ""

    def _from_sibling(self, serial: int) -> str:
        """The name of what the same line made at another time, in the same place."""
        row = self.facts.makers.get(serial)
        if row is None:
            return ""
        op = self.facts.op(row)
        return self._siblings.get((op.frame, op.name, op.outs.index(serial)), "")

    @cached_property
    def _siblings(self) -> dict[tuple[int, str, int], str]:
        found: dict[tuple[int, str, int], str] = {}
        for serial, names in self.facts.trace.names.items():
            row = self.facts.makers.get(serial)
            if row is not None:
                op = self.facts.op(row)
                key = (op.frame, op.name, op.outs.index(serial))
                found.setdefault(key, bare(names[0][1]))
        return found


def bare(name: str) -> str:
    """`state` for `state[0]`."""
    return INDEX.sub("", name) or name


def _own_expressions(statement: ast.stmt) -> list[ast.AST]:
    """What a statement itself says, without the body of a block."""
    if isinstance(statement, (ast.For, ast.AsyncFor)):
        return [*ast.walk(statement.target), *ast.walk(statement.iter)]
    if isinstance(statement, (ast.With, ast.AsyncWith)):
        return [node for item in statement.items for node in ast.walk(item)]
    if isinstance(statement, (ast.If, ast.While)):
        return list(ast.walk(statement.test))
    return list(ast.walk(statement))


def is_value(statement: ast.stmt, frame: Frame) -> bool:
    """Whether what ran at the frame's columns is the value of the statement, no part of it."""
    if not frame.column or isinstance(statement, (ast.For, ast.AsyncFor)):
        return True
    here = (frame.line, frame.column - 1, frame.end_line, frame.end_column - 1)
    if isinstance(statement, ast.AugAssign) and here == _span(statement):
        return True
    value = getattr(statement, "value", None)
    return value is not None and any(_span(part) == here for part in _values(value))


def _span(node: ast.AST) -> tuple[int, int, int, int]:
    return (
        getattr(node, "lineno", 0),
        getattr(node, "col_offset", 0),
        getattr(node, "end_lineno", 0) or 0,
        getattr(node, "end_col_offset", 0) or 0,
    )


def _values(value: ast.expr) -> list[ast.expr]:
    """An expression, and those whose results are its result or its elements."""
    found = [value]
    if isinstance(value, ast.IfExp):
        found += [*_values(value.body), *_values(value.orelse)]
    elif isinstance(value, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
        found += _values(value.elt)
    elif isinstance(value, ast.DictComp):
        found += _values(value.value)
    elif isinstance(value, (ast.Tuple, ast.List)):
        for element in value.elts:
            found += _values(element)
    elif isinstance(value, ast.Dict):
        for item in value.values:
            found += _values(item)
    elif isinstance(value, ast.NamedExpr):
        found += _values(value.value)
    return found


def target_of(statement: ast.stmt, position: int, count: int) -> str:
    """What a statement assigns the result at this position to: `state` of `out, state = ...`."""
    target: ast.expr | None = None
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
        target = statement.target
    elif isinstance(statement, (ast.For, ast.AsyncFor)):
        target = statement.target
        if not isinstance(target, ast.Tuple):
            return variable(target)
    if target is None:
        return ""
    if isinstance(target, (ast.Tuple, ast.List)):
        parts = target.elts
        if count > 1 and parts:
            return variable(parts[min(position, len(parts) - 1)])
        return ""
    return variable(target)
