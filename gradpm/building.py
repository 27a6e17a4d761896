"""How the package is built: an editable installation gets its bytecode, as any other does.

Installers compile what they copy, and an editable installation copies nothing: where python
is told to write no bytecode, every start of gradpm would compile some sixty files anew.
"""

from __future__ import annotations

import compileall
from pathlib import Path

from setuptools.command.build_ext import build_ext


class BuildExt(build_ext):
    """Builds the extension, and the bytecode where the package is used in place."""

    def run(self) -> None:
        """Build what is asked for."""
        super().run()
        if getattr(self, "editable_mode", False) or self.inplace:
            compileall.compile_dir(Path(__file__).parent, quiet=2)
