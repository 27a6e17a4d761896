"""The user's settings: a JSON file with keys by binding id, a theme, the mouse.

    {"theme": "light", "mouse": false, "keys": {"app.edit": "ctrl+e,f4", "list.down": "down,n"}}

JSON, not TOML: Python 3.10 reads no TOML. `gradpm.tui.help` shows every id.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Config:
    """What the file says; `complaint` is a sentence about what was wrong with it."""

    keys: dict[str, str] = field(default_factory=dict)
    theme: str = ""
    mouse: bool = True
    complaint: str = ""


def config_path() -> Path:
    """Where the file is; GRADPM_CONFIG names another one."""
    named = os.environ.get("GRADPM_CONFIG")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_config_dir("gradpm", appauthor=False)) / "config.json"


def read_config(path: Path) -> Config:
    """The settings; a missing file is an empty one, a broken one is complained about."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Config()
    except (OSError, ValueError, RecursionError) as error:
        return Config(complaint=f"{path} is not used: {error}")
    if not isinstance(found, dict):
        return Config(complaint=f"{path} is not used: it should hold a JSON object")
    keys, theme, mouse = found.get("keys", {}), found.get("theme", ""), found.get("mouse", True)
    wrong = [
        name
        for name, good in (
            ("keys", isinstance(keys, dict) and all(isinstance(k, str) for k in keys.values())),
            ("theme", isinstance(theme, str)),
            ("mouse", isinstance(mouse, bool)),
        )
        if not good
    ]
    if wrong:
        return Config(complaint=f"{path}: {', '.join(wrong)} cannot be understood")
    return Config(keys, theme, mouse)
