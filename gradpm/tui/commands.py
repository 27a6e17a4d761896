"""The command palette: every action by its words, for those who do not know its key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from textual.binding import Binding
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.dom import DOMNode
from textual.screen import Screen

from gradpm.tui.themes import ORDER

_UNTOLD = ("list.", "app.quit_at_once", "app.commands")
_PANES = ("graph", "parameters", "steps", "source")


@dataclass(frozen=True, slots=True)
class Command:
    """An action: its words, the key that does the same, and whose action it is."""

    words: str
    action: str
    shown: str
    node: DOMNode
    pane: str = ""  # must be brought into focus first


class Commands(Provider):
    """The actions of the desk and of all its panes. Commands only: the palette's fuzzy
    matching takes 25 to 45 ms for each 10,000 names, so parameters have a search of their own.
    """

    def _commands(self) -> Iterator[Command]:
        seen: set[str] = set()
        for active in self.screen.active_bindings.values():
            yield from self._one(active.binding, active.node, seen)
        for name in _PANES:
            for pane in self.screen.query(f"#{name}"):
                for _, binding in pane._bindings:
                    for one in self._one(binding, pane, seen):
                        yield replace(one, words=f"{name.capitalize()}: {one.words}", pane=name)
        for theme in ORDER:
            short = theme.removeprefix("gradpm-")
            yield Command(f"Theme: {short}", f"app.wear('{theme}')", "", self.app)

    def _one(self, binding: Binding, node: DOMNode, seen: set[str]) -> Iterator[Command]:
        name = binding.id
        if name and name not in seen and not name.startswith(_UNTOLD):
            seen.add(name)
            shown = self.app.get_key_display(binding)
            yield Command(binding.description, binding.action, shown, node)

    def _run(self, command: Command) -> None:
        if command.pane:
            self.screen.action_focus_pane(command.pane)  # type: ignore[attr-defined]
        self.app.call_later(self.app.run_action, command.action, command.node)

    async def discover(self) -> Hits:
        """All of them."""
        for one in self._commands():
            yield DiscoveryHit(one.words, lambda one=one: self._run(one), help=one.shown or None)

    async def search(self, query: str) -> Hits:
        """Those that match."""
        matcher = self.matcher(query)
        for one in self._commands():
            score = matcher.match(one.words)
            if score > 0:
                yield Hit(score, one.words, lambda one=one: self._run(one), help=one.shown or None)


def names(screen: Screen[object]) -> set[str]:
    """The names of all bindings, by which the config file may set their keys."""
    from gradpm.tui.help import HelpScreen
    from gradpm.tui.search import Search

    nodes = [screen.app, screen, *screen.query("*")]
    found = {one.id for node in nodes for _, one in node._bindings if one.id}
    for kind in (Search, HelpScreen):
        found |= {one.id for one in kind.BINDINGS if isinstance(one, Binding) and one.id}
    return found
