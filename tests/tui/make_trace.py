"""Plausible traces without torch: a small transformer, some steps, an encoder cut off."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gradpm.diagnose.finding import Diagnosis, Finding, Location, Severity, Step, Subject
from gradpm.trace.model import MODULE_NAME
from gradpm.trace.schema import COLUMNS, Call, FileKind, GradState, Leaf, LeafKind, Op, Table
from gradpm.trace.writer import LogWriter

MODEL = '''"""A transformer with an encoder in front."""
import torch
from torch import nn
import torch.nn.functional as F


class Encoder(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.fc1 = nn.Linear(32, size)

    def forward(self, x):
        h = self.fc1(x)
        h = F.relu(h)
        h = h.detach()
        return h * 0.5


class Block(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.ln1 = nn.LayerNorm(size)
        self.attn = Attention(size)
        self.ln2 = nn.LayerNorm(size)
        self.fc1 = nn.Linear(size, 4 * size)
        self.fc2 = nn.Linear(4 * size, size)

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        h = F.gelu(self.fc1(self.ln2(x)))
        return x + self.fc2(h)


class Attention(nn.Module):
    def forward(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        a = torch.softmax(q @ k.transpose(-2, -1) / 8.0, dim=-1)
        return self.out(a @ v)


class Model(nn.Module):
    def forward(self, x):
        h = self.encoder(x)
        for block in self.blocks:
            h = block(h)
        return self.head(h)
'''
TRAIN = """import torch
import torch.nn.functional as F
from model import Model

model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
for step, (x, y) in enumerate(batches):
    logits = model(x)
    loss = F.cross_entropy(logits, y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
"""


class Builder:
    """Rows of every table, interned as the recorder does; `write` makes the file."""

    def __init__(self, folder: str = "/home/me/proj") -> None:
        self.rows: dict[Table, dict[str, list[Any]]] = {
            table: {name: [] for name in columns} for table, columns in COLUMNS.items()
        }
        self.strings: dict[str, int] = {}
        self.known: dict[tuple[Any, ...], int] = {}
        self.folder = folder
        self.sources: dict[str, str] = {}
        self.string("")
        self.add(Table.FILE, path=0)
        self.add(Table.FRAME)
        self.add(Table.SCOPE)
        self.add(Table.SPEC)
        self.ops = 0
        self.seq = 0
        self.serial = 0

    def add(self, table: Table, **values: Any) -> int:
        """One row; ragged columns take lists, what is left out is zero."""
        columns = self.rows[table]
        row = len(next(iter(columns.values())))
        for name, column in columns.items():
            if name.endswith("*"):
                column.extend(values.get(name[:-1], ()))
            else:
                column.append(values.get(name, 0))
        return row

    def once(self, table: Table, **values: Any) -> int:
        """The row with these values, made when it is new."""
        key = (table, *((k, tuple(v) if isinstance(v, list) else v) for k, v in values.items()))
        if key not in self.known:
            self.known[key] = self.add(table, **values)
        return self.known[key]

    def string(self, text: str) -> int:
        if text not in self.strings:
            utf8 = text.encode("utf-8", "surrogatepass")
            self.strings[text] = self.add(Table.STRING, length=len(utf8), utf8=utf8)
        return self.strings[text]

    def file(self, name: str, source: str, kind: FileKind = FileKind.USER) -> int:
        path = f"{self.folder}/{name}" if kind is FileKind.USER else name
        self.sources[path] = source
        return self.once(
            Table.FILE,
            path=self.string(path),
            kind=int(kind),
            source=self.string(source) if source else 0,
        )

    def frame(self, file: int, function: str, code: str, parent: int = 0) -> int:
        """The frame of the line that holds `code`, marked from its first to its last byte."""
        path = next(t for t, i in self.strings.items() if i == self.rows[Table.FILE]["path"][file])
        number, first = 100, 0
        for at, line in enumerate(self.sources[path].split("\n"), 1):
            if code and code in line:
                number, first = at, len(line[: line.index(code)].encode()) + 1
                break
        last = first + len(code.encode()) if first else 0
        return self.once(
            Table.FRAME, parent=parent, file=file, function=self.string(function), line=number,
            end_line=number, column=first, end_column=last, first_line=1,
        )  # fmt: skip

    def spec(self, *shape: int) -> int:
        return self.once(
            Table.SPEC, dtype=self.string("float32"), device=self.string("cpu"),
            layout=self.string("strided"), ndim=len(shape), dims=list(shape),
        )  # fmt: skip

    def meta(self, **known: Any) -> None:
        for key, value in known.items():
            self.add(Table.META, key=self.string(key), value=self.string(json.dumps(value)))

    def write(self, path: Path, *, seal: bool = True) -> Path:
        with_rows = [table for table in Table if len(next(iter(self.rows[table].values())))]
        writer = LogWriter(path)
        for table in with_rows:
            columns = self.rows[table]
            rows = len(next(iter(columns.values())))
            writer.frame(table, rows, [
                (name, bytes(values) if COLUMNS[table][name] == "B" and name == "utf8*"
                 else array(COLUMNS[table][name], values))
                for name, values in columns.items()
            ])  # fmt: skip
        if seal:
            writer.close()
        else:
            writer.commit()
            writer.abandon()
        return path


class Net(Builder):
    """The transformer of MODEL, run forward and backward."""

    def __init__(self, layers: int, folder: str = "/home/me/proj") -> None:
        super().__init__(folder)
        self.layers = layers
        self.model_py = self.file("model.py", MODEL)
        self.train_py = self.file("train.py", TRAIN)
        self.torch_py = self.file("/usr/lib/torch/nn/linear.py", "", FileKind.TORCH)
        self.modules: dict[str, int] = {}
        self.leaves: dict[str, int] = {}
        self.calls: dict[tuple[Any, ...], int] = {}
        self.main = self.frame(self.train_py, "<module>", "model(x)")
        self.nodes: list[tuple[int, str, list[int], int, int]] = []  # seq, name, kids, leaf, op
        self.accumulators: dict[int, int] = {}
        for name, kind in self._module_kinds():
            self.modules[name] = self.add(Table.MODULE, **{"class": self.string(kind)})
            self.add(
                Table.NAME, kind=MODULE_NAME, object=self.modules[name],
                name=self.string(name), root=self.string("model"),
            )  # fmt: skip

    def _module_kinds(self) -> Iterable[tuple[str, str]]:
        yield from (("", "Model"), ("encoder", "Encoder"), ("encoder.fc1", "Linear"))
        for layer in range(self.layers):
            block = f"blocks.{layer}"
            yield block, "Block"
            yield f"{block}.attn", "Attention"
            for part in ("ln1", "ln2"):
                yield f"{block}.{part}", "LayerNorm"
            for part in ("fc1", "fc2", "attn.q", "attn.k", "attn.v", "attn.out"):
                yield f"{block}.{part}", "Linear"
        yield "head", "Linear"

    def leaf(self, name: str, *shape: int) -> int:
        serial = self.leaves.get(name)
        if serial is None:
            serial = self.leaves[name] = -1 - len(self.leaves)
            made = self.frame(self.model_py, "__init__", "nn.Linear(size, 4 * size)")
            self.add(
                Table.LEAF, serial=serial, kind=int(LeafKind.PARAMETER), spec=self.spec(*shape),
                frame=made, flags=int(Leaf.REQUIRES | Leaf.IS_LEAF | Leaf.PARAMETER | Leaf.OPTIMIZED),
            )  # fmt: skip
            self.add(
                Table.NAME, kind=int(LeafKind.PARAMETER), object=serial,
                name=self.string(name), root=self.string("model"),
            )  # fmt: skip
        return serial

    def call(self, outer: int, name: str, frame: int) -> int:
        """A module call; every turn has its own row, as in the recorder."""
        turn = self.calls.get((outer, name, frame), 0)
        self.calls[outer, name, frame] = turn + 1
        return self.once(
            Table.SCOPE, parent=outer, module=self.modules[name], frame=frame
        ) if turn == 0 else self.once(
            Table.SCOPE, parent=outer, module=self.modules[name], frame=frame, turn=turn
        )  # fmt: skip

    def op(self, name: str, frame: int, scope: int, made: list[tuple[str, list[int]]]) -> int:
        """An op that makes these nodes (name, inputs); the last one's index. -2, -3 ...: earlier."""
        for node, inputs in made:
            kids = [len(self.nodes) + 1 + i if i < -1 else i for i in inputs]
            self.nodes.append((self.seq, node, kids, 0, self.ops + 1))
            self.seq += 1
        self.ops += 1
        self.serial += 1
        self.add(
            Table.OP, id=self.ops, name=self.string(name), frame=frame, scope=scope,
            flags=int(Op.GRAD_ENABLED | Op.IN_REQUIRES | Op.OUT_REQUIRES), seq=self.seq,
            nin=1, nout=1, out=[self.serial], spec=[self.spec(8, 64)], oflags=[1],
            **{"in": [self.serial - 1]},
        )  # fmt: skip
        return len(self.nodes) - 1

    def accumulate(self, serial: int) -> int:
        at = self.accumulators.get(serial)
        if at is None:
            at = self.accumulators[serial] = len(self.nodes)
            self.nodes.append((-1, "torch::autograd::AccumulateGrad", [], serial, -1))
        return at

    def linear(self, x: int, outer: int, name: str, frame: int, *shape: int) -> int:
        scope = self.call(outer, name, frame)
        inside = self.frame(self.torch_py, "forward", "", frame)
        bias = self.accumulate(self.leaf(f"{name}.bias", shape[0]))
        weight = self.accumulate(self.leaf(f"{name}.weight", *shape))
        made = [("TBackward0", [weight]), ("AddmmBackward0", [bias, x, -2])]
        return self.op("linear", inside, scope, made)

    def norm(self, x: int, outer: int, name: str, frame: int) -> int:
        scope = self.call(outer, name, frame)
        inside = self.frame(self.torch_py, "forward", "", frame)
        params = [self.accumulate(self.leaf(f"{name}.{p}", 64)) for p in ("weight", "bias")]
        return self.op("layer_norm", inside, scope, [("NativeLayerNormBackward0", [x, *params])])

    def block(self, x: int, outer: int, name: str, frame: int) -> int:
        def at(code: str, function: str = "forward", parent: int = 0) -> int:
            return self.frame(self.model_py, function, code, parent or frame)

        scope = self.call(outer, name, frame)
        first = at("self.attn(self.ln1(x))")
        y = self.norm(x, scope, f"{name}.ln1", at("self.ln1(x)"))
        inner = self.call(scope, f"{name}.attn", first)
        q, k, v = (
            self.linear(y, inner, f"{name}.attn.{p}", at(f"self.{p}(x)", parent=first), 64, 64)
            for p in "qkv"
        )
        scores = self.op("matmul", at("q @ k.transpose(-2, -1)", parent=first), inner, [
            ("TransposeBackward0", [k]), ("BmmBackward0", [q, -2]), ("DivBackward0", [-2])
        ])  # fmt: skip
        soft = self.op(
            "softmax", at("torch.softmax(", parent=first), inner, [("SoftmaxBackward0", [scores])]
        )
        mixed = self.op("matmul", at("a @ v", parent=first), inner, [("BmmBackward0", [soft, v])])
        y = self.linear(
            mixed, inner, f"{name}.attn.out", at("self.out(a @ v)", parent=first), 64, 64
        )
        x = self.op("add", at("x + self.attn(self.ln1(x))"), scope, [("AddBackward0", [x, y])])
        y = self.norm(x, scope, f"{name}.ln2", at("self.ln2(x)"))
        y = self.linear(y, scope, f"{name}.fc1", at("self.fc1(self.ln2(x))"), 256, 64)
        y = self.op("gelu", at("F.gelu(self.fc1(self.ln2(x)))"), scope, [("GeluBackward0", [y])])
        y = self.linear(y, scope, f"{name}.fc2", at("self.fc2(h)"), 64, 256)
        return self.op("add", at("x + self.fc2(h)"), scope, [("AddBackward0", [x, y])])

    def forward(self, turns: int = 1) -> int:
        """The loss's node."""
        self.nodes, self.accumulators, self.calls = [], {}, {}
        root = self.call(0, "", self.main)
        line = self.frame(self.model_py, "forward", "self.encoder(x)", self.main)
        scope = self.call(root, "encoder", line)
        self.leaf("encoder.fc1.weight", 64, 32)
        self.leaf("encoder.fc1.bias", 64)
        for name, code in (
            ("linear", "self.fc1(x)"), ("relu", "F.relu(h)"), ("detach", "h.detach()"), ("mul", "h * 0.5"),
        ):  # fmt: skip
            self.op(name, self.frame(self.model_py, "forward", code, line), scope, [])
        x = -1
        loop = self.frame(self.model_py, "forward", "block(h)", self.main)
        for _ in range(turns):
            for layer in range(self.layers):
                x = self.block(x, root, f"blocks.{layer}", loop)
        head = self.frame(self.model_py, "forward", "self.head(h)", self.main)
        x = self.linear(x, root, "head", head, 10, 64)
        lossline = self.frame(self.train_py, "<module>", "F.cross_entropy(logits, y)")
        return self.op("cross_entropy", lossline, 0, [
            ("LogSoftmaxBackward0", [x]), ("NllLossBackward0", [-2])
        ])  # fmt: skip

    def backward(self, number: int, root: int, *, full: bool = True, bad: str = "") -> None:
        """One engine call, its nodes in the order in which a walk from the root finds them."""
        at = self.frame(self.train_py, "<module>", "loss.backward()")
        order, place = [root], {root: 0}
        for node in order:
            for kid in self.nodes[node][2]:
                if kid >= 0 and kid not in place:
                    place[kid] = len(order)
                    order.append(kid)
        loss = 2.3 / math.sqrt(number + 1) + (0.1 if number % 3 == 0 else 0.0)
        flags = Call.LOSS | (Call.FULL | Call.WATCHED if full else 0)
        self.add(
            Table.BACKWARD, number=number, flags=int(flags), frame=at, op=self.ops + 1, op_end=self.ops + 2,
            nodes=len(order) if full else 0, step=number, ns=5_000_000, loss=loss, nroot=1, root=[self.serial],
        )  # fmt: skip
        if full:
            for depth, node in enumerate(order):
                seq, name, kids, serial, _ = self.nodes[node]
                norm = 2.0 * math.exp(-0.002 * min(depth, 9000)) if not serial else 0.0
                edges = [place.get(kid, -1) for kid in kids]
                self.add(
                    Table.NODE, backward=number, name=self.string(name), seq=seq, op=-1, leaf=serial,
                    looked=int(not serial), norm=norm, nedge=len(edges), edge=edges, edge_input=[0] * len(edges),
                )  # fmt: skip
        self._grads(number, bad)

    def _grads(self, number: int, bad: str) -> None:
        for index, (name, serial) in enumerate(self.leaves.items()):
            state = GradState.NONE if name.startswith("encoder") else GradState.FINITE
            if bad and bad in name:
                state = GradState.NAN
            flags = Leaf.REQUIRES | Leaf.IS_LEAF | Leaf.PARAMETER | Leaf.OPTIMIZED | Leaf.ALIVE
            reached = Leaf.REACHED | Leaf.FRESH if state is not GradState.NONE else Leaf(0)
            norm = 0.5 / (1 + index % 7) / (1 + number) if state is GradState.FINITE else 0.0
            self.add(
                Table.GRAD, backward=number, leaf=serial, state=int(state), flags=int(flags | reached),
                version=number, norm=norm, absmax=norm / 3,
            )  # fmt: skip


def make_net(layers: int = 4, steps: int = 3, turns: int = 1, folder: str = "/home/me/proj") -> Net:
    """A run of `steps` training steps, each backward kept in full."""
    net = Net(layers, folder)
    net.meta(script="train.py", torch="2.13.0+cpu", python="3.11.7", argv=["train.py"], rank=None)
    for step in range(steps):
        root = net.forward(turns)
        net.backward(
            step, root, full=step < 2 or step >= steps - 2, bad="blocks.1.fc1" if step == 5 else ""
        )
    return net


def place(
    net: Net, name: str, code: str, role: str = "culprit", function: str = "forward"
) -> Location:
    """The place of `code` in one of the user's files."""
    path = f"{net.folder}/{name}"
    for number, line in enumerate(net.sources[path].split("\n"), 1):
        if code in line:
            first = len(line[: line.index(code)].encode()) + 1
            return Location(
                role,
                path,
                number,
                number,
                first,
                first + len(code.encode()),
                function,
                line.strip(),
            )
    raise AssertionError(code)


def detached(net: Net) -> Finding:
    """GP101, as the diagnosis would tell it."""
    cut = place(net, "model.py", "h.detach()")
    made = place(net, "model.py", "nn.Linear(32, size)", "created", "__init__")
    relu = place(net, "model.py", "F.relu(h)", "step")
    linear = place(net, "model.py", "self.fc1(x)", "step")
    later = place(net, "model.py", "h * 0.5", "step")
    head = place(net, "model.py", "self.head(h)", "step")
    loss = place(net, "train.py", "F.cross_entropy(logits, y)", "loss", "<module>")
    return Finding(
        "GP101", "detached", Severity.ERROR,
        "2 parameters of `encoder` got no gradient: `.detach()` at model.py:14 cut them off",
        "`Encoder.forward` calls `h.detach()` on the value that `fc1` made. What follows is computed "
        "from a tensor without history, so `loss.backward()` cannot reach `encoder.fc1.weight`.",
        "use `h` instead of `h.detach()` in `Encoder.forward`.",
        (Subject("parameter", "model.encoder.fc1.weight", (64, 32), "float32", -1),
         Subject("parameter", "model.encoder.fc1.bias", (64,), "float32", -2)),
        (cut, made),
        (Step("parameter", "encoder.fc1.weight", "None", made), Step("op", "linear", "[8, 64]", linear, 1),
         Step("op", "relu", "[8, 64]", relu, 2), Step("cut", ".detach()", "gradient stops", cut, 3),
         Step("left", "mul", "[8, 64]", later, 4), Step("left", "head (Linear)", "‖g‖ 1.2e-2", head),
         Step("loss", "cross_entropy", "2.31", loss)),
        1, 3,
    )  # fmt: skip


def piled(net: Net) -> Finding:
    """GP403, a warning."""
    return Finding(
        "GP403", "not-zeroed", Severity.WARNING,
        "gradients pile up: `loss.backward()` at train.py:10 adds to gradients already stepped with",
        "Every step adds its gradients to those of the step before.",
        "call `optimizer.zero_grad()` before `loss.backward()`.",
        (Subject("parameter", "model.head.weight", (10, 64), "float32", -3),),
        (place(net, "train.py", "loss.backward()", "culprit", "<module>"),), (), 2, 2,
    )  # fmt: skip


def diagnosis(net: Net) -> Diagnosis:
    """Two findings."""
    return Diagnosis((detached(net), piled(net)))
