"""Colours: dark, light, and the terminal's own.

Hues are from the Okabe-Ito set, which colour-blind eyes tell apart; no status is told by
colour alone. The ansi theme sends no RGB at all, so the terminal's palette rules, half as
many bytes go over ssh, and NO_COLOR leaves no colour code behind.
"""

from __future__ import annotations

from collections.abc import Mapping

from textual.theme import Theme

DARK, LIGHT, ANSI = "gradpm-dark", "gradpm-light", "gradpm-ansi"
ORDER = (DARK, LIGHT, ANSI)

_DARK = {
    "gpm-rule": "#39414f",
    "gpm-dim": "#8b95a7",
    "gpm-faint": "#667085",
    "gpm-error": "#ff8a65",
    "gpm-warning": "#f0c65a",
    "gpm-note": "#7fb8e6",
    "gpm-ok": "#57c4a3",
    "gpm-none": "#d597c4",
    "gpm-accent": "#7fb8e6",
    "gpm-cursor": "#2c3a4f",
    "gpm-cursor-blur": "#242b36",
    "gpm-mark": "#5a3426",
    "gpm-bar": "#47818c",
    "gpm-keyword": "#c3a6ff",
    "gpm-string": "#9ccc8f",
    "gpm-number": "#e8b07a",
    "gpm-function": "#8ec7f4",
}
_LIGHT = {
    "gpm-rule": "#c9cfd8",
    "gpm-dim": "#5d6673",
    "gpm-faint": "#858e9b",
    "gpm-error": "#b23c00",
    "gpm-warning": "#8a6100",
    "gpm-note": "#005c99",
    "gpm-ok": "#00705a",
    "gpm-none": "#8f3f78",
    "gpm-accent": "#005c99",
    "gpm-cursor": "#d5e3f2",
    "gpm-cursor-blur": "#e8ecf1",
    "gpm-mark": "#ffdccb",
    "gpm-bar": "#8fbdb3",
    "gpm-keyword": "#6a3fb5",
    "gpm-string": "#3d6e2e",
    "gpm-number": "#99530a",
    "gpm-function": "#0b5c8f",
}
_ANSI = {
    "gpm-rule": "ansi_bright_black",
    "gpm-dim": "ansi_default",
    "gpm-faint": "ansi_bright_black",
    "gpm-error": "ansi_red",
    "gpm-warning": "ansi_yellow",
    "gpm-note": "ansi_blue",
    "gpm-ok": "ansi_cyan",
    "gpm-none": "ansi_magenta",
    "gpm-accent": "ansi_blue",
    "gpm-cursor": "ansi_default",
    "gpm-cursor-blur": "ansi_default",
    "gpm-mark": "ansi_default",
    "gpm-bar": "ansi_cyan",
    "gpm-keyword": "ansi_magenta",
    "gpm-string": "ansi_green",
    "gpm-number": "ansi_yellow",
    "gpm-function": "ansi_blue",
}

DEFAULTS: Mapping[str, str] = _DARK


def all_themes() -> list[Theme]:
    """The three themes, each with every variable that the stylesheet uses."""
    return [
        Theme(
            name=DARK,
            primary="#7fb8e6",
            secondary="#57c4a3",
            accent="#7fb8e6",
            warning="#f0c65a",
            error="#ff8a65",
            success="#57c4a3",
            foreground="#dde3ec",
            background="#161a21",
            surface="#161a21",
            panel="#1e242d",
            dark=True,
            variables=_DARK,
        ),
        Theme(
            name=LIGHT,
            primary="#005c99",
            secondary="#00705a",
            accent="#005c99",
            warning="#8a6100",
            error="#b23c00",
            success="#00705a",
            foreground="#1f2630",
            background="#fbfbf9",
            surface="#fbfbf9",
            panel="#eef0f2",
            dark=False,
            variables=_LIGHT,
        ),
        Theme(
            name=ANSI,
            ansi=True,
            primary="ansi_blue",
            secondary="ansi_cyan",
            accent="ansi_blue",
            warning="ansi_yellow",
            error="ansi_red",
            success="ansi_cyan",
            foreground="ansi_default",
            background="ansi_default",
            surface="ansi_default",
            panel="ansi_default",
            boost="ansi_default",
            dark=True,
            variables=_ANSI_BASE | _ANSI,
        ),
    ]


# What the stock widgets need from an ansi theme: without these they mix RGB from alpha.
_ANSI_BASE = {
    "ansi-background": "ansi_black",
    "ansi-foreground": "ansi_white",
    "border-blurred": "ansi_black",
    "block-cursor-foreground": "ansi_black",
    "block-cursor-background": "ansi_white",
    "input-cursor-background": "ansi_black",
    "input-cursor-foreground": "ansi_bright_white",
    "input-cursor-text-style": "reverse",
    "input-selection-background": "ansi_bright_blue",
    "input-selection-foreground": "ansi_black",
    "screen-selection-background": "ansi_bright_blue",
    "screen-selection-foreground": "ansi_black",
}


def first_theme(environ: Mapping[str, str], wanted: str = "") -> str:
    """The theme to start with: NO_COLOR, then the config file, then the terminal's background."""
    if "NO_COLOR" in environ:
        return ANSI
    name = wanted if wanted.startswith("gradpm-") else f"gradpm-{wanted}"
    if name in ORDER:
        return name
    # rxvt, konsole and others tell "foreground;background"; 7 and 15 are white
    return LIGHT if environ.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15") else DARK
