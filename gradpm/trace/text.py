"""Text from a trace, made safe to print.

A trace may come from a stranger. Its strings (paths, names, messages, source lines) could
carry terminal escapes that hide lines or set titles, or bidi controls that reorder code.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0 and C1: ESC, CSI, carriage return, backspace
    "\xad\u061c\u180e\u200b\u200e\u200f"  # invisible marks; joiners stay, scripts need them
    "\u2028-\u202e\u2060-\u206f"  # line separators, bidi embeddings, overrides, isolates
    "\ud800-\udfff"  # lone surrogates: printing one raises
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # byte order mark, annotations, hidden tags
    "]"
)
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def escape(text: str) -> str:
    """One line that is safe for a terminal: unsafe characters become visible escapes."""
    return _UNSAFE.sub(_visible, text)


def escape_block(text: str) -> str:
    r"""Like `escape`, for text of many lines: keeps `\n` and `\t`, and reads `\r\n` as `\n`."""
    return _UNSAFE.sub(_visible_in_block, text.replace("\r\n", "\n"))


def _visible(match: re.Match[str]) -> str:
    char = match.group()
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _visible_in_block(match: re.Match[str]) -> str:
    return match.group() if match.group() in "\n\t" else _visible(match)
