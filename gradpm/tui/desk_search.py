"""The desk as far as it is searched: the box, and from hit to hit."""

from __future__ import annotations

from collections.abc import Sequence

from gradpm.diagnose.finding import Finding, Location
from gradpm.tui.desk_layout import DeskLayout
from gradpm.tui.evidence import Evidence
from gradpm.tui.jobs import Jobs
from gradpm.tui.search import Hits, Search, Searchable, searchable, targets


class DeskSearch(DeskLayout):
    """What can be found is read beside the app, once per trace."""

    def __init__(self, several: list[Evidence], jobs: Jobs, cautions: Sequence[str] = ()) -> None:
        super().__init__(several, jobs)
        self._cautions = cautions  # what is missing in the files, a sentence each
        self._hits: Hits | None = None
        self._searchable: dict[int, Searchable] = {}

    def go_to_finding(self, finding: Finding) -> None:
        """Show this finding."""
        raise NotImplementedError

    def show_place(self, place: Location | None, reason: str = "", role: str = "accent") -> None:
        """The source pane at a place."""
        raise NotImplementedError

    def action_search(self) -> None:
        """Search findings, parameters, modules, lines."""
        box, at, evidence = Search(), self.at, self.evidence
        self.app.push_screen(box, self._found)
        if at in self._searchable:
            self.call_after_refresh(box.fill, self._searchable[at])
            return

        def read() -> Searchable:
            with evidence.deep() as trace:
                return searchable(targets(self, trace))

        def done(known: Searchable) -> None:
            if self.browser.parameters.evidence is evidence:  # else some are still being read
                self._searchable[at] = known
            if box.is_mounted:
                box.fill(known)

        self.jobs.start("search", lambda _: read(), done, self._complain)

    def _found(self, hits: Hits | None) -> None:
        self._hits = hits
        if hits is not None:
            hits.go(0)

    def action_hit(self, step: int) -> None:
        """The next hit of the last search, or the one before."""
        if self._hits is not None:
            self.app.clear_notifications()  # the one before says which hit that was
            self.notify(self._hits.go(step), markup=False, timeout=2)
