"""The terminal view itself: keys, the parts of the screen, and when they are drawn again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App
from textual.binding import Binding
from textual.theme import Theme

from phasescope.views.top import palette as palettes
from phasescope.views.top.export import export
from phasescope.views.top.key_bindings import BINDINGS
from phasescope.views.top.screen import PANELS, Picture
from phasescope.views.top.widget import Drawing

if TYPE_CHECKING:
    from pathlib import Path

    from textual import events
    from textual.app import ComposeResult

    from phasescope.views.top.palette import Palette
    from phasescope.views.top.session_list import SessionWatch

TICK_S = 0.25
LOOK_S = 0.5
_POLL_S = 0.02
_CATCH_UP_S = 0.02
"""How long a turn of reading takes, and the pause after it: at most half of a core is used, however much there is."""

PARTS = ("head", "verdict", "sessions", "status", "bars", "legend", "title", "chart", "axis", "panel", "alerts", "keys")


class TopApp(App[None]):
    """`phasescope top`. `export_to` is the directory that `e` writes into, by default the current one."""

    TITLE = "phasescope top"
    ENABLE_COMMAND_PALETTE = False
    CSS = "Screen { layout: vertical; overflow: hidden; }"
    BINDINGS: ClassVar[list[Any]] = [Binding(*binding, show=False, priority=True) for binding in BINDINGS]

    def __init__(self, watch: SessionWatch, places: list[str] | None = None, export_to: Path | None = None) -> None:
        palette = palettes.wanted()
        super().__init__(ansi_color=True if palette is palettes.PLAIN else None)
        self.watching = watch
        self.picture = Picture(watch, palette, places or [])
        self._export_to = export_to
        self._catching_up = False
        self._drawings: dict[str, Drawing] = {}
        for each in (palettes.DARK, palettes.LIGHT):
            self.register_theme(_theme(each))
        self._wear(palette)

    @property
    def palette(self) -> Palette:
        """The present look of the roles."""
        return self.picture.palette

    def compose(self) -> ComposeResult:
        for part in PARTS:
            margin = 0 if part in ("head", "keys") else 1
            self._drawings[part] = Drawing(part, getattr(self.picture, part), lambda: self.palette, margin)
        yield from self._drawings.values()

    def on_mount(self) -> None:
        self.look()
        self.tick()
        self.set_interval(TICK_S, self.tick)
        self.set_interval(LOOK_S, self.look)

    def on_unmount(self) -> None:
        self._drawings.clear()  # a timer may come once more
        self.watching.close()

    def on_resize(self, event: events.Resize) -> None:
        self.show()

    def look(self) -> None:
        """See which sessions there are, and how the ranks compare."""
        self.watching.look()
        self.picture.announce(self.watching.news)
        self.watching.news = None
        self.picture.see_ranks()

    def tick(self) -> None:
        """Read new events and show them."""
        behind = self.watching.poll(_POLL_S)
        self.watching.glance(self.picture.listed)
        self.picture.take()
        self.show()
        if behind:
            self._catch_up_soon()

    def _catch_up_soon(self) -> None:
        if not self._catching_up:
            self._catching_up = True
            self.set_timer(_CATCH_UP_S, self._catch_up)

    def _catch_up(self) -> None:
        self._catching_up = False
        if self.watching.poll(_POLL_S):
            self._catch_up_soon()

    def show(self) -> None:
        """Give each part its place, and draw it again."""
        heights = self.picture.heights(self.size.width, self.size.height)
        with self.batch_update():
            for part, drawing in self._drawings.items():
                drawing.take(getattr(heights, part))
                drawing.redraw()

    def _wear(self, palette: Palette) -> None:
        self.picture.palette = palette
        if palette is palettes.PLAIN:
            themes = self.available_themes
            self.theme = "ansi-dark" if "ansi-dark" in themes else "textual-ansi"
        else:
            self.theme = f"phasescope-{palette.name}"

    def _changed(self) -> None:
        self.picture.take(even_if_held=True)
        self.show()

    def action_session(self, by: int) -> None:
        self.watching.choose_job(by)
        self.picture.begin_anew()
        self._changed()

    def action_rank(self, by: int) -> None:
        self.watching.choose_rank(by)
        self.picture.begin_anew()
        self._changed()

    def action_device(self, by: int) -> None:
        self.picture.choose_device(by)
        self.show()

    def action_panel(self, by: int) -> None:
        self.picture.choose_panel((PANELS.index(self.picture.panel_name) + by) % len(PANELS))
        self.show()

    def action_scroll(self, pages: float) -> None:
        self.picture.scroll_by(pages)
        self.show()

    def action_time(self, by: float) -> None:
        self.picture.move(by)
        self.show()

    def action_edge(self, beginning: bool) -> None:
        self.picture.to_edge(beginning)
        self.show()

    def action_zoom(self, by: int) -> None:
        self.picture.zoom(by)
        self.show()

    def action_scale(self) -> None:
        self.picture.next_scale()
        self.show()

    def action_hold(self) -> None:
        self.picture.hold()
        self._changed() if not self.picture.held else self.show()

    def action_sort(self, by: int) -> None:
        self.picture.sort_by(by)
        self.show()

    def action_colours(self) -> None:
        order = palettes.PALETTES
        self._wear(order[(order.index(self.palette) + 1) % len(order)])
        self.show()

    def action_explain(self) -> None:
        self.picture.helping = not self.picture.helping
        self.show()

    def action_export(self) -> None:
        watched = self.watching.chosen
        if watched is None:
            return
        try:
            self.picture.announce(f"written to {export(watched, self.watching.compared(), self._export_to)}")
        except OSError as error:
            self.picture.announce(f"could not be written: {error.strerror or error}")
        self.show()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.action_scroll(0.2)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.action_scroll(-0.2)


def _theme(palette: Palette) -> Theme:
    background = palette.background or "#000000"
    return Theme(f"phasescope-{palette.name}", primary="#4c9be8", background=background, dark=palette.name == "dark")
