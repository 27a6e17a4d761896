"""gradpm's foot in the door of the user's interpreter; python's `site` imports it at start.

The folder of this file leads PYTHONPATH while `gradpm run` watches a command. Before
the first line of the user's program runs, this file hides every trace of itself that a
program can reasonably look at, gives the user's own `sitecustomize` its turn, and
leaves one finder behind that waits for `import torch`. Only then is gradpm loaded.

What a program sees: `sys.path`, `sys.modules`, `sys.flags`, `sys.argv` and `os.environ`
as without gradpm. What differs, and cannot but: `/proc/self/environ` and the C
environment, which keep the variables so that children started in any way are reached;
`sys.meta_path[0]` until torch is there; and `os.execve`, `os.posix_spawn` and
`_posixsubprocess.fork_exec`, which add those variables to an explicit environment.

Plain old syntax on purpose: a command may bring a python that is older than gradpm's.
Annotations are quoted, since `__future__` would be seen in `sys.modules`.
Nothing is imported that `site` has not imported before: the start costs under a
millisecond.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_NAMES = ("GRADPM_TRACE", "GRADPM_OPTIONS", "GRADPM_HOME", "GRADPM_PARENT", "GRADPM_SIGNS")


def _hide_folder() -> None:
    """Take the boot folder out of `sys.path`, where PYTHONPATH had put it."""
    sys.path[:] = [entry for entry in sys.path if entry != _HERE]
    sys.path_importer_cache.pop(_HERE, None)


def _hide_variables() -> "dict[str, str]":
    """Take gradpm's variables out of `os.environ`, not out of the C environment.

    Deleting through the mapping would call unsetenv, and a child that inherits the C
    environment (multiprocessing's spawn, `subprocess.run` without `env`, `os.system`)
    would be lost: so only the mapping's own dictionary changes.
    """
    kept = {name: os.environ[name] for name in _NAMES if name in os.environ}
    data, key, value = vars(os.environ)["_data"], os.environ.encodekey, os.environ.encodevalue
    for name in kept:
        del data[key(name)]
    parts = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    plain = os.pathsep.join(part for part in parts if part != _HERE)
    if plain:
        data[key("PYTHONPATH")] = value(plain)
    else:
        data.pop(key("PYTHONPATH"), None)
    return kept


def _sign(variables: "dict[str, str]", name: str) -> None:
    """Leave an empty file that tells the waiting `gradpm run` how far python came."""
    folder = variables.get("GRADPM_SIGNS")
    if folder:
        try:
            os.close(os.open(os.path.join(folder, name), os.O_CREAT, 0o600))
        except OSError:
            pass


def _search(
    name: str, path: "Any" = None, target: "Any" = None, skip: object = None
) -> "ModuleSpec | None":
    """The spec that the interpreter's other finders give for `name`, or None."""
    for finder in list(sys.meta_path):
        find = getattr(finder, "find_spec", None)
        if finder is not skip and find is not None:
            spec: "ModuleSpec | None" = find(name, path, target)
            if spec is not None:
                return spec
    return None


class _Carrier:
    """Hands the boot's variables to children that are given an environment of their own.

    torchrun and accelerate start their ranks with a copy of `os.environ`, where the
    variables are hidden: they are put back at the last door before the kernel.
    """

    def __init__(self, variables: "dict[str, str]") -> None:
        self._path = os.environb.get(b"PYTHONPATH")
        self._pairs = {os.fsencode(name): os.fsencode(text) for name, text in variables.items()}
        self._ready = False

    def extend(self, block: "dict[bytes, bytes]") -> "dict[bytes, bytes]":
        """The environment `block` (bytes to bytes), with the variables; as it is if it has some."""
        if b"GRADPM_TRACE" in block:
            return block
        path = block.get(b"PYTHONPATH")
        here = os.fsencode(_HERE) + (os.fsencode(os.pathsep) + path if path else b"")
        return {**block, b"PYTHONPATH": here, **self._pairs}

    def watch_os(self) -> None:
        """Wrap the calls of `os` that take an environment as their third argument."""
        for name in ("execve", "posix_spawn", "posix_spawnp"):
            real = getattr(os, name, None)
            if real is not None:
                setattr(os, name, self._wrapped(real))

    def _wrapped(self, real: "Callable[..., Any]") -> "Callable[..., Any]":
        def call(path: "Any", argv: "Any", env: "Any", *rest: "Any", **named: "Any") -> "Any":
            return real(path, argv, self._mapped(env), *rest, **named)

        call.__name__ = call.__qualname__ = real.__name__
        call.__module__ = "os"  # where pickle finds it
        call.__doc__ = real.__doc__
        return call

    def _mapped(self, env: "Mapping[Any, Any]") -> "Mapping[Any, Any]":
        try:
            return self.extend({os.fsencode(name): os.fsencode(env[name]) for name in env})
        except Exception:
            return env  # python's own call says what is wrong with it

    def watch_subprocess(self) -> None:
        """Wrap the one door of subprocess and multiprocessing, before they import it."""
        if self._ready:
            return
        self._ready = True
        try:
            import _posixsubprocess
        except ImportError:
            return
        real: "Any" = _posixsubprocess.fork_exec

        def fork_exec(*given: "Any") -> int:
            return real(*self._given(given))  # type: ignore[no-any-return]

        setattr(_posixsubprocess, "fork_exec", fork_exec)

    def _given(self, given: "tuple[Any, ...]") -> "tuple[Any, ...]":
        try:
            return given[:5] + (self._listed(given[5]),) + given[6:]
        except Exception:
            return given  # python's own call says what is wrong with it

    def _listed(self, pairs: "list[bytes] | None") -> "list[bytes] | None":
        if pairs is None:
            if os.environb.get(b"PYTHONPATH") == self._path:
                return None  # the C environment still has everything
            block = dict(os.environb)
        else:
            block = dict(pair.split(b"=", 1) for pair in pairs)
        return [name + b"=" + text for name, text in self.extend(block).items()]


def _disguised(function: "Any") -> "Any":
    """`function`, told by its code to be importlib's own.

    Python cuts importlib's frames out of the traceback of a failing import, and skips
    them when it counts a warning's stack level: so ours is cut and skipped as well.
    """
    function.__code__ = function.__code__.replace(
        co_filename="<frozen importlib._bootstrap_external>"
    )
    return function


class _Finder:
    """Waits on `sys.meta_path` for torch; gone from there before torch's first line runs."""

    def __init__(self, variables: "dict[str, str]", carrier: "_Carrier") -> None:
        self._variables = variables
        self._carrier = carrier
        self._direct = str(os.getppid()) == variables.get("GRADPM_PARENT")

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "ModuleSpec | None":
        """None but for torch, whose true spec is returned with a watched loader."""
        if name == "subprocess" or name == "multiprocessing":
            self._carrier.watch_subprocess()
        if name != "torch":
            return None
        spec = _search(name, path, target, skip=self)
        if spec is None:
            _sign(self._variables, "notorch")
        elif spec.loader is not None:
            self._watch(spec.loader)
        return spec

    def _watch(self, loader: "Any") -> None:
        """Let `loader`, made for this import alone, call us when torch is complete.

        An attribute of the instance and no loader of ours: `torch.__loader__` and
        `torch.__spec__` stay what they are, and asking for the spec does no harm.
        """
        inner = loader.exec_module

        def exec_module(module: "ModuleType") -> None:
            loader.__dict__.pop("exec_module", None)
            self._leave()
            try:
                inner(module)
            except BaseException:
                _sign(self._variables, "failed")
                sys.meta_path.insert(0, self)  # the program may mend its path and try again
                raise
            self._start()

        try:
            loader.exec_module = _disguised(exec_module)
        except AttributeError:
            pass

    def _leave(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        self._carrier.watch_subprocess()

    def _start(self) -> None:
        _sign(self._variables, "torch")
        try:
            if sys.version_info < (3, 10):
                raise RuntimeError("gradpm needs Python 3.10")
            import json

            options = json.loads(self._variables["GRADPM_OPTIONS"])
            options["root_pid"] = os.getpid() if self._direct else 0
            _recorder(self._variables["GRADPM_HOME"]).start(
                self._variables["GRADPM_TRACE"], options
            )
        except KeyboardInterrupt:
            raise  # the user's, not ours
        except BaseException as fault:
            _sign(self._variables, "off")
            _say(_off(fault))


def _recorder(home: str) -> "Any":
    """gradpm.record of the gradpm that was started, without a look at `sys.path`.

    The command may run in another environment, with no gradpm or with another one, and
    `home` may hold packages that must not come into the user's reach.
    """
    import importlib
    from importlib.util import module_from_spec, spec_from_file_location

    if "gradpm" not in sys.modules:
        folder = os.path.join(home, "gradpm")
        spec = spec_from_file_location(
            "gradpm", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )
        if spec is None or spec.loader is None:
            raise ImportError("no gradpm in %s" % home)
        module = module_from_spec(spec)
        sys.modules["gradpm"] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            sys.modules.pop("gradpm", None)
            raise
    return importlib.import_module("gradpm.record")


def _off(fault: "BaseException") -> str:
    return "gradpm: recording is off: %s: %s" % (type(fault).__name__, fault)


def _say(text: str) -> None:
    stream = sys.__stderr__
    if stream is not None:
        stream.write(text + "\n")
        stream.flush()


def _enter() -> None:
    _hide_folder()
    variables = _hide_variables()
    if "GRADPM_TRACE" not in variables:
        return
    _sign(variables, "boot")
    carrier = _Carrier(variables)
    carrier.watch_os()
    sys.meta_path.insert(0, _Finder(variables, carrier))


def _chain() -> None:
    """Run the user's own sitecustomize in our place, or be as if there had been none.

    `site` passes over an ImportError that names `sitecustomize`, and importlib then
    forgets this module: `sys.modules` is as it would be.
    """
    spec = _search("sitecustomize")
    if spec is None or spec.loader is None:
        raise ImportError("No module named 'sitecustomize'", name="sitecustomize")
    import _frozen_importlib

    module = _frozen_importlib.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


try:
    _enter()
except Exception as _fault:
    _say(_off(_fault))
_chain()
