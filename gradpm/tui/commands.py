"""The command palette: every action by its words, for those who do not know its key."""

from __future__ import annotations

from collections.abc import Iterator

from textual.command import DiscoveryHit, Hit, Hits, Provider

from gradpm.tui.themes import ORDER


class Commands(Provider):
    """The actions of the desk and of the pane in focus. Commands only: the palette's fuzzy
    matching takes 25 to 45 ms for each 10,000 names, so parameters have a search of their own.
    """

    def _commands(self) -> Iterator[tuple[str, str, str]]:
        """(words, key, action)."""
        seen: set[str] = set()
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.id and binding.id not in seen and not binding.id.startswith("list."):
                seen.add(binding.id)
                yield binding.description, self.app.get_key_display(binding), binding.key
        for theme in ORDER:
            yield f"Theme: {theme.removeprefix('gradpm-')}", "", f"theme:{theme}"

    def _run(self, what: str) -> None:
        if what.startswith("theme:"):
            self.app.theme = what.removeprefix("theme:")
        else:
            self.app.simulate_key(what)

    async def discover(self) -> Hits:
        """All of them."""
        for words, key, what in self._commands():
            yield DiscoveryHit(words, lambda what=what: self._run(what), help=key or None)

    async def search(self, query: str) -> Hits:
        """Those that match."""
        matcher = self.matcher(query)
        for words, key, what in self._commands():
            score = matcher.match(words)
            if score > 0:
                yield Hit(score, words, lambda what=what: self._run(what), help=key or None)
