"""From a stack in the trace to a place in the user's code, and what stands around it."""

from __future__ import annotations

import ast
from functools import cached_property

from gradpm.diagnose.finding import Location
from gradpm.trace.model import Frame, Trace
from gradpm.trace.schema import FileKind

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
GRAD_MODES = {"no_grad", "inference_mode", "set_grad_enabled", "enable_grad"}


class Code:
    """One source file as a syntax tree; empty when it was not embedded or does not parse."""

    def __init__(self, text: str) -> None:
        self.lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        try:
            self.tree: ast.AST | None = ast.parse(text) if text else None
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            self.tree = None

    @cached_property
    def statements(self) -> list[ast.stmt]:
        """Every statement, outer ones before those inside."""
        if self.tree is None:
            return []
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.stmt)]

    def statement(self, line: int) -> ast.stmt | None:
        """The innermost statement that covers a line."""
        if line not in self._by_line:
            self._by_line[line] = self._innermost(line)
        return self._by_line[line]

    @cached_property
    def _by_line(self) -> dict[int, ast.stmt | None]:
        return {}

    def _innermost(self, line: int) -> ast.stmt | None:
        best: ast.stmt | None = None
        for node in self.statements:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            if first <= line <= (node.end_lineno or node.lineno) and (
                best is None or span(node) <= span(best)
            ):
                best = node
        return best

    def enclosing(self, line: int) -> list[ast.AST]:
        """Statements around a line, outermost first."""
        return [
            node
            for node in self.statements
            if node.lineno <= line <= (node.end_lineno or node.lineno)
        ]

    def function(self, first_line: int, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The definition of a function, by its first line (decorators included) and name."""
        for node in self.statements:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                if node.name == name.rsplit(".", 1)[-1] and first_line in (first, node.lineno):
                    return node
        return None

    def returned(self, line: int) -> str:
        """The one variable that the function around a line returns after it; else empty."""
        around = [node for node in self.enclosing(line) if isinstance(node, FUNCTIONS)]
        if not around:
            return ""
        inner = max(around, key=lambda node: getattr(node, "lineno", 0))
        values = {
            node.value.id if isinstance(node.value, ast.Name) else ""
            for node in ast.walk(inner)
            if isinstance(node, ast.Return) and node.lineno > line
        }
        return values.pop() if len(values) == 1 else ""

    def line(self, number: int) -> str:
        """One line of text, without what ends it."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""


def span(node: ast.stmt) -> int:
    """How many lines a statement covers beyond its first."""
    return (node.end_lineno or node.lineno) - node.lineno


class Places:
    """Locations for frames, and the syntax around them."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._code: dict[str, Code] = {}
        self._loaded: dict[tuple[str, int], frozenset[str]] = {}
        self._expressions: dict[int, ast.expr | None] = {}
        self._texts: dict[ast.expr, str] = {}

    def code(self, path: str) -> Code:
        """The parsed source of a file."""
        found = self._code.get(path)
        if found is None:
            found = self._code[path] = Code(self.trace.source(path))
        return found

    def at(self, frame: Frame | None, role: str) -> Location | None:
        """A location for one frame."""
        if frame is None:
            return None
        text = self.code(frame.path).line(frame.line)
        return Location(
            role, frame.path, frame.line, frame.end_line, frame.column, frame.end_column,
            frame.function, text.strip(), indent_of(text),
        )  # fmt: skip

    def of(self, stack: int, role: str) -> Location | None:
        """The location of the innermost user frame of a stack."""
        return self.at(self.frame(stack), role)

    def frame(self, stack: int) -> Frame | None:
        """The innermost user frame; where there is none, the outermost frame not torch's."""
        frames = self.trace.stack(stack)
        for frame in frames:
            if frame.kind is FileKind.USER:
                return frame
        for frame in reversed(frames):
            if frame.kind is FileKind.LIBRARY and not frame.path.startswith("<"):
                return frame
        return frames[-1] if frames else None

    def user_frames(self, stack: int) -> list[Frame]:
        """All user frames of a stack, innermost first."""
        return [frame for frame in self.trace.stack(stack) if frame.kind is FileKind.USER]

    def line(self, path: str, line: int, role: str, function: str = "") -> Location:
        """A location for a line known from the syntax alone."""
        text = self.code(path).line(line)
        indent = indent_of(text)
        end = indent + len(text.strip().encode("utf-8", "replace"))
        column = indent + 1 if text else 0
        return Location(role, path, line, line, column, end + 1, function, text.strip(), indent)

    def target(self, stack: int) -> str:
        """The variable that the statement at a stack's user line assigns to; else empty."""
        frame = self.frame(stack)
        return self.target_at(frame) if frame is not None else ""

    def target_at(self, frame: Frame) -> str:
        """The same for one frame."""
        statement = self.code(frame.path).statement(frame.line)
        return assigned(statement) if statement is not None else ""

    def received_by(self, stack: int) -> str:
        """The variable that gets the value of a line, followed out through `return`s."""
        for frame in self.user_frames(stack):
            statement = self.code(frame.path).statement(frame.line)
            if not isinstance(statement, ast.Return):
                return assigned(statement).rsplit(".", 1)[-1] if statement is not None else ""
        return ""

    def kept_at(self, stack: int) -> Frame | None:
        """The user frame that keeps, or drops, a line's value: out of functions that return it."""
        frames = self.user_frames(stack)
        for frame in frames:
            code = self.code(frame.path)
            statement = code.statement(frame.line)
            if isinstance(statement, ast.Return):
                handed_on = not isinstance(statement.value, ast.Tuple)
            else:
                name = assigned(statement) if statement is not None else ""
                handed_on = bool(name) and name == code.returned(frame.line)
            if not handed_on:
                return frame
        return frames[-1] if frames else self.frame(stack)

    def names_loaded(self, path: str, line: int) -> frozenset[str]:
        """The variables and attributes that the statement at a line reads."""
        key = (path, line)
        found = self._loaded.get(key)
        if found is None:
            statement = self.code(path).statement(line)
            names = set()
            for node in ast.walk(statement) if statement is not None else ():
                if isinstance(getattr(node, "ctx", None), ast.Load):
                    names.add(getattr(node, "id", "") or getattr(node, "attr", ""))
            found = self._loaded[key] = frozenset(names - {""})
        return found

    def expression(self, frame: Frame | None) -> ast.expr | None:
        """The expression that ran at a frame's columns; None where columns are not known."""
        if frame is None or not frame.column:
            return None
        if frame.row not in self._expressions:
            self._expressions[frame.row] = self._expression(frame)
        return self._expressions[frame.row]

    def _expression(self, frame: Frame) -> ast.expr | None:
        statement = self.code(frame.path).statement(frame.line)
        here = (frame.line, frame.column - 1, frame.end_line, frame.end_column - 1)
        for node in ast.walk(statement) if statement is not None else ():
            if isinstance(node, ast.expr) and here == (
                node.lineno, node.col_offset, node.end_lineno, node.end_col_offset,
            ):  # fmt: skip
                return node
        return None

    def unparsed(self, node: ast.expr) -> str:
        """An expression as Python spells it."""
        if node not in self._texts:
            self._texts[node] = ast.unparse(node)
        return self._texts[node]

    def spelled(self, path: str, node: ast.expr) -> str:
        """An expression as the user wrote it, on one line."""
        source = "\n".join(self.code(path).lines)
        return " ".join((ast.get_source_segment(source, node) or ast.unparse(node)).split())

    def grad_mode(self, stack: int) -> tuple[Frame, Location] | None:
        """(frame, where its with-statement or decorator stands) that switched gradients off."""
        for frame in self.user_frames(stack):
            found = self._mode_in(frame)
            if found:
                return frame, self.line(frame.path, found, "grad mode", frame.function)
        return None

    def _mode_in(self, frame: Frame) -> int:
        code = self.code(frame.path)
        inner = 0
        for node in code.enclosing(frame.line):
            if isinstance(node, (ast.With, ast.AsyncWith)) and node.body[0].lineno <= frame.line:
                for item in node.items:
                    if mode_name(item.context_expr) in ("no_grad", "inference_mode", "off"):
                        inner = item.context_expr.lineno
                    elif mode_name(item.context_expr) == "enable_grad":
                        inner = 0
        if inner:
            return inner
        function = code.function(frame.first_line, frame.function)
        for decorator in function.decorator_list if function is not None else []:
            if mode_name(decorator) in ("no_grad", "inference_mode", "off"):
                return decorator.lineno
        return 0


def indent_of(text: str) -> int:
    """The bytes of white space before a line's first character."""
    return len(text.encode("utf-8", "replace")) - len(text.lstrip().encode("utf-8", "replace"))


def mode_name(node: ast.expr) -> str:
    """`no_grad` for `torch.no_grad()`, `off` for `set_grad_enabled(False)` and anything unclear."""
    call = node.func if isinstance(node, ast.Call) else node
    name = call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "")
    if name == "set_grad_enabled":
        argument = node.args[0] if isinstance(node, ast.Call) and node.args else None
        constant = isinstance(argument, ast.Constant) and argument.value is True
        return "enable_grad" if constant else "off"
    return name if name in GRAD_MODES else ""


def assigned(statement: ast.stmt) -> str:
    """`h` for `h = ...`, `cache` for `self.cache = ...`; empty for anything else."""
    target: ast.expr | None = None
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
        target = statement.target
    return variable(target) if target is not None else ""


def own_parts(statement: ast.stmt) -> list[ast.AST]:
    """The syntax of a statement itself, without the statements inside it."""
    found: list[ast.AST] = []
    queue: list[ast.AST] = [statement]
    while queue:
        node = queue.pop()
        found.append(node)
        queue += [c for c in ast.iter_child_nodes(node) if not isinstance(c, ast.stmt)]
    return found


def targets_of(statement: ast.stmt) -> set[str]:
    """The variables that a statement fills: assigned, looped over, or told to take something in."""
    nodes: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        nodes += statement.targets
    elif isinstance(statement, (ast.AnnAssign, ast.AugAssign, ast.For, ast.AsyncFor)):
        nodes.append(statement.target)
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        called = statement.value.func
        if isinstance(called, ast.Attribute):
            nodes.append(called.value)
    names: set[str] = set()
    while nodes:
        node = nodes.pop()
        if isinstance(node, (ast.Tuple, ast.List)):
            nodes += node.elts
        else:
            names.add(variable(node).rsplit(".", 1)[-1])
    return names - {"", "self", "_"}


def variable(node: ast.expr) -> str:
    """What a person calls the thing that an expression names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = variable(node.value)
        return node.attr if inner in ("self", "") else f"{inner}.{node.attr}"
    if isinstance(node, ast.Subscript):
        return variable(node.value)
    if isinstance(node, ast.Starred):
        return variable(node.value)
    return ""
