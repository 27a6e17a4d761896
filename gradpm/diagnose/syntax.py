"""One source file as a syntax tree: which statement covers a line, and what stands around it."""

from __future__ import annotations

import ast
from functools import cached_property

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


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
