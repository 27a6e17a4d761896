"""Python stacks at the price of one dictionary look-up, however deep they are.

While a frame is alive its callers stand still, so what stands above it is
constant. That constant, a `Token`, is hung on the frame object itself, in
`f_trace`, an attribute that the interpreter consults only while a trace function
is installed (a token is callable and does nothing, so even that is harmless).
An op's stack is then `frame.f_trace.lines[frame.f_lasti]`; only frames never
seen before are walked. The token dies with its frame: no frame, and so no local
variable, is kept alive. Generators and coroutines are resumed by other callers
than those that began them, so they get no token and are walked each time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import islice
from types import CodeType, FrameType
from typing import Any

from gradpm.record.locks import LOCK

MOST_LINES = 1 << 20
MOST_TOKENS = 4096  # of one code object under one caller
MOVING = 0x20 | 0x80 | 0x100 | 0x200  # generator, coroutine, iterable coroutine, async generator


class Token:
    """What stands above a frame: the lines seen in it, and the module call it is in.

    Frames of the same code, with the same callers, in the same module call share one.
    """

    __slots__ = ("lines", "scope")

    def __init__(self, lines: Lines, scope: int) -> None:
        self.lines = lines
        self.scope = scope

    def __call__(self, *_: Any) -> None:
        """A frame's f_trace may be called by a debugger: do nothing, once."""
        return None


class Lines(dict[int, int]):
    """Stack id by instruction offset, for one code object under one caller."""

    __slots__ = ("calls", "code", "inner", "parent", "sites", "tokens")

    def __init__(self, parent: int, code: CodeType) -> None:
        super().__init__()
        self.tokens: dict[int, Token] = {}  # by scope
        # by offset: the stack's id, and what wears the line when torch is called
        self.sites: dict[int, tuple[int, CodeType]] = {}
        self.inner: dict[int, Lines] = {}  # by offset: the lines of what was called there last
        self.calls: dict[int, Any] = {}  # by outer call and module: see `scopes`
        self.parent = parent
        self.code = code

    def token(self, scope: int) -> Token:
        """The token for this scope, made now."""
        if len(self.tokens) >= MOST_TOKENS:
            self.tokens.clear()
        made = self.tokens[scope] = Token(self, scope)
        return made


class Stacks:
    """Interned stacks; id 0 is the empty one, every other names (caller's id, code, offset)."""

    def __init__(self, own_codes: set[CodeType], call_impl: CodeType | None, scopes: Any) -> None:
        self.own = {id(code) for code in own_codes}
        self._hidden = own_codes  # keeps the ids above from being reused
        self.call_impl = call_impl
        self._scopes = scopes
        self.lines: dict[tuple[int, int], Lines] = {}
        self.entries: list[tuple[Lines, int]] = []  # (caller and code, offset) of id - 1
        self.quick: Callable[[FrameType], tuple[int, int] | None] | None = None  # `at`, compiled

    def hide(self, code: CodeType) -> None:
        """Leave frames of this code out of every stack."""
        self._hidden.add(code)
        self.own.add(id(code))

    def hides(self, code: CodeType) -> bool:
        """Whether frames of this code are left out."""
        return id(code) in self.own

    def at(self, frame: FrameType | None) -> tuple[int, int]:
        """(stack id, scope id) of a running frame."""
        found = self.quick(frame) if self.quick is not None and frame is not None else None
        return found or self._at(frame)

    def _at(self, frame: FrameType | None) -> tuple[int, int]:
        while frame is not None and id(frame.f_code) in self.own:
            frame = frame.f_back
        if frame is None:
            return 0, 0
        token = self.token(frame)
        offset = frame.f_lasti
        found = token.lines.get(offset)
        if found is None:
            found = self.intern(token.lines, offset)
        return found, token.scope

    def intern(self, lines: Lines, offset: int) -> int:
        """The id of a new line of a known frame."""
        with LOCK:
            found = lines.get(offset)
            if found is None:
                if len(self.entries) >= MOST_LINES:
                    return 0
                self.entries.append((lines, offset))
                found = lines[offset] = len(self.entries)
        return found

    def token(self, frame: FrameType) -> Token:
        """The frame's token, made now if it has none; walks up to the first that has."""
        fresh: list[FrameType] = []
        at: FrameType | None = frame
        token: Any = None
        while at is not None:
            if id(at.f_code) not in self.own:
                token = at.f_trace
                if type(token) is Token:
                    break
                fresh.append(at)
            at = at.f_back
        parent, scope = 0, 0
        if at is not None:
            if not fresh:
                return token  # type: ignore[no-any-return]
            parent, scope = self._here(token, at), token.scope
        traced = sys.gettrace() is not None
        for child in reversed(fresh):
            code = child.f_code
            lines = self.lines.get((parent, id(code)))
            if lines is None:
                lines = self.lines[parent, id(code)] = Lines(parent, code)
            if code is self.call_impl:
                scope = self._scopes.enter(child, scope, lines)
            token = lines.tokens.get(scope) or lines.token(scope)
            if child.f_trace is None and not code.co_flags & MOVING and not traced:
                child.f_trace = token
            offset = child.f_lasti
            parent = lines.get(offset) or self.intern(lines, offset)
        return token  # type: ignore[no-any-return]

    def _here(self, token: Token, frame: FrameType) -> int:
        offset = frame.f_lasti
        return token.lines.get(offset) or self.intern(token.lines, offset)

    def forget_frames(self) -> None:
        """Take the tokens off every running frame: recording ends, or another one begins."""
        for frame in list(sys._current_frames().values()):
            at: FrameType | None = frame
            while at is not None:
                if type(at.f_trace) is Token:
                    at.f_trace = None
                at = at.f_back

    def line(self, parent: int, code: CodeType, offset: int) -> int:
        """The id of an instruction of `code` under the stack `parent`."""
        key = (parent, id(code))
        lines = self.lines.get(key)
        if lines is None:
            lines = self.lines[key] = Lines(parent, code)
        found = lines.get(offset)
        return found if found is not None else self.intern(lines, offset)

    def position(self, index: int) -> tuple[int, CodeType, tuple[int, int, int, int]]:
        """(caller's id, code, (line, end line, column, end column)) of `entries[index]`."""
        lines, offset = self.entries[index]
        return lines.parent, lines.code, position_of(lines.code, offset)


def position_of(code: CodeType, offset: int) -> tuple[int, int, int, int]:
    """Line, end line, column and end column (1-based, 0 when unknown) of an instruction."""
    if sys.version_info >= (3, 11):
        # Skipped in C: a long function has thousands, and a program thousands of lines.
        for line, end, column, end_column in islice(code.co_positions(), offset // 2, None):
            return (
                line or code.co_firstlineno,
                end or line or 0,
                0 if column is None else column + 1,
                0 if end_column is None else end_column + 1,
            )
    for start, end, line in code.co_lines():
        if start <= offset < end and line:
            return line, line, 0, 0
    return code.co_firstlineno, code.co_firstlineno, 0, 0
