"""What a person calls a parameter: the module's dotted path and the variable that holds it.

Names are read from the live frames when an engine call begins, when an optimizer
is made and when an exception ends the program. Reading a function's `f_locals`
leaves a snapshot of its locals on the frame (Python up to 3.12), which would keep
tensors alive; so the snapshot is emptied again, unless the function itself asks
for its locals and might hold the same dictionary.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.held import fields_of, home_of, modules_in, shown_key
from gradpm.record.rows import Rows
from gradpm.trace.schema import FileKind, LeafKind, Table

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder

OPTIMIZED_CODE = 0x1
ASKS = {"locals", "vars", "eval", "exec", "dir"}
MODULE_NAME = 9
MOST_FRAMES = 64
MOST_LOOKS = 8
MOST_ITEMS = 256


class Names:
    """NAME rows, each pair of object and name written once."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.rows = Rows(Table.NAME)
        self._done: set[tuple[int, str, str]] = set()
        self._looks = 0
        self._leaves_at_look = -1

    def look(self, frame: FrameType | None, backward: int) -> None:
        """Read names from the user's frames, if there is anything yet to be named."""
        leaves = self.recorder.leaves.known
        if self._looks >= 2 and (len(leaves) == self._leaves_at_look or self._looks >= MOST_LOOKS):
            return
        self._looks += 1
        self._leaves_at_look = len(leaves)
        self.read(frame, backward)

    def read(self, frame: FrameType | None, backward: int) -> None:
        """Name what these frames and their callers hold."""
        found: dict[int, tuple[Any, str]] = {}
        seen = 0
        while frame is not None and seen < MOST_FRAMES:
            if self._is_user(frame):
                seen += 1
                for name, value in self._variables(frame):
                    self._variable(name, value, found, backward)
            frame = frame.f_back
        self._modules(found, backward)

    def from_traceback(self, traceback: Any, backward: int) -> None:
        """Name what the frames of a traceback hold, the innermost first."""
        frames = []
        while traceback is not None:
            frames.append(traceback.tb_frame)
            traceback = traceback.tb_next
        found: dict[int, tuple[Any, str]] = {}
        for frame in reversed(frames):
            if self._is_user(frame):
                for name, value in self._variables(frame):
                    self._variable(name, value, found, backward)
        self._modules(found, backward)

    def _is_user(self, frame: FrameType) -> bool:
        return self.recorder.sources.kind(frame.f_code.co_filename) is FileKind.USER

    def variables(self, frame: FrameType) -> list[tuple[str, Any]]:
        """What a user's frame holds; nothing for other frames."""
        return self._variables(frame) if self._is_user(frame) else []

    def _variables(self, frame: FrameType) -> list[tuple[str, Any]]:
        code = frame.f_code
        if not code.co_flags & OPTIMIZED_CODE:
            return list(frame.f_locals.items())
        if sys.version_info < (3, 13) and ASKS & set(code.co_names):
            return []
        variables = frame.f_locals
        found = list(variables.items())
        if sys.version_info < (3, 13):
            variables.clear()
        return found

    def _variable(
        self, name: str, value: Any, found: dict[int, tuple[Any, str]], backward: int
    ) -> None:
        if name.startswith("__"):
            return
        kind = type(value)
        if issubclass(kind, torch.Tensor):
            self.tensor(value, name, backward)
        elif issubclass(kind, torch.nn.Module):
            found.setdefault(id(value), (value, "" if name == "self" else name))
            if name != "self":
                found[id(value)] = (value, found[id(value)][1] or name)
        elif kind in (list, tuple) and 0 < len(value) <= 64:
            for index, item in enumerate(value):
                self._item(f"{name}[{index}]", item, found, backward)
        elif kind is dict and 0 < len(value) <= 64:
            for key, item in list(value.items()):
                self._item(f"{name}[{shown_key(key)}]", item, found, backward)
        elif home_of(kind) not in ("torch", "builtins", "numpy"):
            for field, item in list(fields_of(value).items())[:64]:
                prefix = field if name == "self" else f"{name}.{field}"
                self._item(prefix, item, found, backward)

    def _item(self, name: str, item: Any, found: dict[int, tuple[Any, str]], backward: int) -> None:
        kind = type(item)
        if issubclass(kind, torch.nn.Module):
            found.setdefault(id(item), (item, name))
        elif issubclass(kind, torch.Tensor):
            self.tensor(item, name, backward)
        elif kind in (list, tuple) and 0 < len(item) <= 16:
            for index, inner in enumerate(item):
                if issubclass(type(inner), torch.Tensor):
                    self.tensor(inner, f"{name}[{index}]", backward)

    def tensor(self, tensor: Any, name: str, backward: int, kind: Any = LeafKind.TENSOR) -> None:
        """A variable holds this tensor."""
        serial = self.recorder.identity.find(tensor)
        if serial:
            self._add(kind, serial, name, "", backward)

    def _add(self, kind: int, which: int, name: str, root: str, backward: int) -> None:
        key = (which if kind != MODULE_NAME else -1 - which, root, name)
        if key not in self._done:
            self._done.add(key)
            text = self.recorder.strings.id
            self.rows.add(kind, which, text(name), text(root), backward)

    def _modules(self, found: dict[int, tuple[Any, str]], backward: int) -> None:
        """Name the parameters, buffers and submodules of the outermost modules."""
        for _, module in self.recorder.scopes.alive():
            found.setdefault(id(module), (module, ""))
        self._unregistered(found)
        inner: set[int] = set()
        for module, _ in list(found.values()):
            inner.update(id(child) for _, child in modules_in(module) if child is not module)
        for module, variable in found.values():
            if id(module) not in inner:
                self._root(module, variable, backward)

    def _unregistered(self, found: dict[int, tuple[Any, str]]) -> None:
        """Name the modules that others hold in a plain list or dict, so that torch knows nothing.

        `found` grows meanwhile: such a module may hold others.
        """
        unnamed = {key for key, (_, name) in found.items() if not name}
        queue = [pair for pair in found.values() if pair[1]] if unnamed else []
        for root, variable in queue:
            for path, module in modules_in(root):
                for field, value in list(vars(module).items()):
                    for key, item in _modules_within(value) if field != "_modules" else ():
                        if id(item) in unnamed:
                            name = ".".join(filter(None, (variable, path, field)))
                            found[id(item)] = item, f"{name}[{key}]"
                            unnamed.discard(id(item))
                            queue.append(found[id(item)])

    def _attributes(self, module: Any, path: str, backward: int) -> None:
        """Tensors that a module holds as plain attributes: a hidden state, a cache."""
        for field, value in list(vars(module).items()):
            name = f"{path}.{field}" if path else field
            if issubclass(type(value), torch.Tensor):
                self.tensor(value, name, backward)
            elif type(value) in (list, tuple) and 0 < len(value) <= 16:
                self._item(name, value, {}, backward)
            elif type(value) is dict and 0 < len(value) <= 16 and not field.startswith("_"):
                for key, item in list(value.items()):
                    self._item(f"{name}[{shown_key(key)}]", item, {}, backward)

    def _root(self, root: Any, variable: str, backward: int) -> None:
        recorder = self.recorder
        for path, module in modules_in(root):
            which = recorder.scopes.module(module)
            self._add(MODULE_NAME, which, path, variable, backward)
            self._attributes(module, ".".join(filter(None, (variable, path))), backward)
            for field, tensor in list(module._parameters.items()):
                if tensor is not None and not torch.nn.parameter.is_lazy(tensor):
                    name = f"{path}.{field}" if path else field
                    serial = recorder.leaves.add(tensor, 0, LeafKind.PARAMETER)
                    self._add(LeafKind.PARAMETER, serial, name, variable, backward)
            for field, tensor in list(module._buffers.items()):
                if tensor is not None and type(tensor) is torch.Tensor:
                    name = f"{path}.{field}" if path else field
                    serial = recorder.leaves.add(tensor, 0, LeafKind.BUFFER)
                    self._add(LeafKind.BUFFER, serial, name, variable, backward)


def _modules_within(value: Any) -> list[tuple[str, Any]]:
    """(index or key, module) of the modules in a plain list, tuple or dict."""
    kind = type(value)
    if kind is dict and len(value) <= MOST_ITEMS:
        pairs = [(shown_key(key), item) for key, item in list(value.items())]
    elif kind in (list, tuple) and len(value) <= MOST_ITEMS:
        pairs = [(str(at), item) for at, item in enumerate(value)]
    else:
        return []
    return [(key, item) for key, item in pairs if issubclass(type(item), torch.nn.Module)]
