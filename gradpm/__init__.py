"""The flight recorder and the accident report of PyTorch's autograd.

`gradpm run train.py` needs no change in the script. In a notebook or a test:

    with gradpm.record("t.gpm") as recording: ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradpm.record import record

__version__ = "0.1.0"
__all__ = ["__version__", "record"]


def __getattr__(name: str) -> Any:
    """`gradpm.record`, imported when first asked for: it is the one room that needs torch.

    It is a package that can be called.
    """
    if name == "record":
        import importlib

        return importlib.import_module("gradpm.record")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
