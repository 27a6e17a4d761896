"""Each editor is told file, line and column in its own way."""

from __future__ import annotations

import pytest

from gradpm.tui.editor import editor_call


@pytest.mark.parametrize(
    ("editor", "arguments", "in_terminal"),
    [
        ("vim", ["+call cursor(31,9)", "--", "m.py"], True),
        ("nvim", ["+call cursor(31,9)", "--", "m.py"], True),
        ("nano", ["+31,9", "m.py"], True),
        ("emacs -nw", ["+31:9", "m.py"], True),
        ("micro", ["+31:9", "m.py"], True),
        ("hx", ["m.py:31:9"], True),
        ("helix", ["m.py:31:9"], True),
        ("code", ["--goto", "m.py:31:9"], False),
        ("code --wait", ["--goto", "m.py:31:9"], True),
        ("cursor", ["--goto", "m.py:31:9"], False),
        ("subl", ["m.py:31:9"], False),
        ("zed", ["m.py:31:9"], False),
        ("pycharm", ["--line", "31", "--column", "8", "m.py"], False),
        ("/usr/local/bin/nvim", ["+call cursor(31,9)", "--", "m.py"], True),
        ("strange", ["+31", "m.py"], True),
    ],
)
def test_syntax_of(editor: str, arguments: list[str], in_terminal: bool) -> None:
    call = editor_call("m.py", 31, 9, {"EDITOR": editor})
    assert call is not None
    assert call.command == [*editor.split(), *arguments]
    assert call.in_terminal is in_terminal


def test_visual_comes_before_editor() -> None:
    call = editor_call("m.py", 1, 0, {"VISUAL": "nano", "EDITOR": "vim"})
    assert call is not None
    assert call.command[0] == "nano"
