"""From a stack in the trace to a place in the user's code, and what stands around it."""

from __future__ import annotations

import ast

from gradpm.diagnose.finding import Location
from gradpm.diagnose.statements import assigned, mode_name
from gradpm.diagnose.syntax import Code
from gradpm.trace.model import Frame, Trace
from gradpm.trace.schema import FileKind


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
