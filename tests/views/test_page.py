"""The page as people use it: updated in place, with a keyboard, on paper, by a screen reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import phasescope
from phasescope import cli
from phasescope.views.live_session import Followed
from phasescope.views.page import page_data
from phasescope.views.page.html_page import page
from support.browser import Watched, needs_axe, needs_browser, running_browser, violations
from support.fakes.made_rings import GIB, MADE_OF, MS, MadeRing, made_ring
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("plotly")
browser = pytest.fixture(scope="module")(running_browser)
DRAWN = "document.querySelector('#timeline .main-svg') !== null"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two ranks with many phases, that ran out of memory at its end."""
    folder = tmp_path_factory.mktemp("page")
    with made_ring(folder / "rings", world_size=2, job_id="j") as ring:
        many_phases(ring)
        ring.allocated = 70 * GIB
        ring.event(
            "error", context="CUDA out of memory.", extra={"error_type": "OutOfMemoryError", "out_of_memory": True}
        )
        ring.stop()
        with made_ring(folder / "rings", pid=7, rank=1, world_size=2, job_id="j") as other:
            many_phases(other)
            other.stop()
            assert cli.main(["report", ring.path, "--dir", str(folder / "rings"), "-o", str(folder / "run.html")]) == 0
    return folder / "run.html"


def many_phases(ring: MadeRing) -> None:
    """Sixty steps, and fifty blocks of three layers that run once."""
    ring.allocated = 40 * GIB
    ring.event("start")
    for number in range(60):
        ring.allocated += GIB
        ring.run(["step", "forward"], 60)
        ring.allocated -= GIB
        ring.run(["step", "backward"], 90)
        ring.run(["step"], 160)
        ring.event("sample", extra=MADE_OF if number else None)
    for block in range(50):
        for layer in ("attention", "norm", "linear"):
            ring.run([f"block{block}", layer], 2)
        ring.run([f"block{block}"], 8)


@pytest.fixture
def opened(report: Path, browser: Any) -> Iterator[Watched]:
    watched = Watched(browser, offline=True)
    watched.page.goto(report.as_uri())
    watched.until(DRAWN)
    yield watched
    assert watched.wrong == []
    watched.close()


@needs_browser
def test_what_is_new_keeps_what_is_pressed_focused_and_selected(rings: Path, browser: Any) -> None:
    """The page's own way of taking in what is new, with its elements looked at before and after."""
    with made_ring(rings) as ring:
        ring.run(["step"], 100)
        followed = Followed(phasescope.attach(ring.path))
        followed.catch_up()
        text = page(page_data.snapshot(followed))
        followed.close()
    file = rings.parent / "page.html"
    file.write_text(text, encoding="utf-8")
    watched = Watched(browser, offline=True)
    try:
        watched.page.goto(file.as_uri())
        watched.until(DRAWN)
        watched.page.evaluate(
            """() => {
                const { make, write, byId } = window.phasescope;
                const row = (name, count) => {
                    const made = make("tr", "", make("td", "", make("button", "", name)), make("td", "", count));
                    made.dataset.key = name;
                    return made;
                };
                const body = byId("events");
                write(body, row("a", "1"), row("b", "1"));
                window.before = { a: body.rows[0], button: body.rows[1].querySelector("button") };
                window.before.button.focus();
                getSelection().selectAllChildren(body.rows[0].cells[0]);
                write(body, row("new", "1"), row("b", "2"), row("a", "1"));
            }"""
        )
        look = "(() => { const rows = document.getElementById('events').rows; return [%s]; })()"
        same = (
            "rows[2] === before.a, document.activeElement === before.button, String(getSelection()), rows[1].innerText"
        )
        assert watched.page.evaluate(look % same) == [True, True, "a", "b\t2"]
    finally:
        watched.close()


@needs_browser
def test_many_phases_are_folded_but_for_where_the_time_went(opened: Watched) -> None:
    shown = opened.text("#phases")
    assert "forward" in shown
    few = shown.count("attention")
    assert few <= 2
    assert "59 of 203 shown" in opened.text("#phases-note")
    fold = opened.page.locator("#phases button[aria-label='phases in block30']")
    assert fold.get_attribute("aria-expanded") == "false"
    fold.focus()
    opened.page.keyboard.press("Enter")
    assert fold.get_attribute("aria-expanded") == "true"
    assert opened.text("#phases").count("attention") == few + 1


@needs_browser
def test_a_filter_finds_phases_with_what_is_above_them(opened: Watched) -> None:
    opened.page.fill("#phase-filter", "block7/NORM")
    paths = opened.page.evaluate("[...document.querySelectorAll('#phases tbody th')].map((title) => title.title)")
    assert paths == ["block7", "block7/norm"]
    opened.page.fill("#phase-filter", "")
    assert "forward" in opened.text("#phases")


@needs_browser
def test_the_scale_can_fit_the_curve(opened: Watched) -> None:
    axis = "document.getElementById('timeline').layout.yaxis.range"
    assert opened.page.evaluate(axis)[0] == 0
    opened.page.click("#fit-choice button")
    opened.until(f"{axis}[0] > 0")
    assert opened.page.locator("#fit-choice button").get_attribute("aria-pressed") == "true"


@needs_browser
def test_ranks_are_sorted_by_what_is_asked_for(opened: Watched) -> None:
    order = "[...document.querySelectorAll('#ranks tbody th')].map((title) => title.innerText)"
    assert opened.page.evaluate(order) == ["0", "1"]
    opened.page.click("#ranks thead button:has-text('rank')")
    assert opened.page.evaluate(order) == ["1", "0"]
    opened.page.click("#ranks thead button:has-text('peak')")
    assert opened.page.evaluate(order) == ["0", "1"]


@needs_browser
def test_who_does_not_see_the_plot_has_its_figures(opened: Watched) -> None:
    assert "highest 70.0 GiB" in (opened.page.locator("#timeline").get_attribute("aria-label") or "")
    assert opened.page.locator("#timeline-table tbody tr").count() > 5
    headless = "[...document.querySelectorAll('table')].filter((table) => table.rows.length && !table.caption).length"
    assert opened.page.evaluate(headless) == 0
    assert opened.page.evaluate("document.querySelectorAll('thead th:not([scope])').length") == 0


@needs_browser
def test_what_memory_is_made_of_is_stacked_and_each_category_can_be_left_out_by_keyboard(opened: Watched) -> None:
    areas = (
        "document.getElementById('made-of-plot').data.filter((trace) => trace.stackgroup).map((trace) => trace.name)"
    )
    highest = "Math.max(...document.getElementById('made-of-plot').data.at(-1).y) / 2 ** 30"
    assert opened.page.evaluate(areas) == ["parameters", "optimizer_state", "other", "activations"]
    assert opened.page.evaluate(highest) == 60
    legend = opened.page.locator("#made-of-legend button")
    assert legend.all_inner_texts() == [
        "parameters 9.00 GiB",
        "optimizer state 18.0 GiB",
        "other 13.0 GiB",
        "activations 20.0 GiB",
    ]
    assert opened.text("#made-of-title") == "What the memory of cuda:0 is made of"
    assert opened.text("#made-of-note") == "activations: within a step, on top of what stands at its end"
    assert "at the end parameters 9.00 GiB, " in (
        opened.page.locator("#made-of-plot").get_attribute("aria-label") or ""
    )
    assert opened.page.locator("#made-of-table tbody tr").count() > 5
    assert opened.page.locator("#made-of-table thead th").all_text_contents()[:3] == [
        "time",
        "parameters",
        "optimizer state",
    ]
    legend.nth(3).focus()
    opened.page.keyboard.press("Enter")
    assert opened.page.evaluate(areas) == ["parameters", "optimizer_state", "other"]
    assert opened.page.evaluate(highest) == 40
    assert legend.nth(3).get_attribute("aria-pressed") == "false"
    assert opened.page.evaluate("document.activeElement.dataset.key") == "activations"
    opened.page.keyboard.press("Enter")
    assert opened.page.evaluate(highest) == 60


@needs_browser
def test_new_looks_take_the_place_of_those_told_before(opened: Watched) -> None:
    told = opened.page.evaluate(
        """() => {
            const all = {};
            const { append } = window.phasescope.madeOf;
            append(all, "cuda:0", { t: [1, 2], sizes: { parameters: [5, 6] } });
            append(all, "cuda:0", { t: [], sizes: {} });
            append(all, "cuda:0", { t: [2, 3], sizes: { parameters: [7, 8], gradients: [null, 9] } });
            append(all, "cuda:0", { t: [4], sizes: { gradients: [1] } });
            return all["cuda:0"];
        }"""
    )
    assert told == {"t": [1, 2, 3, 4], "sizes": {"parameters": [5, 7, 8, None], "gradients": [None, None, 9, 1]}}


@needs_browser
def test_a_session_began_when_it_says(opened: Watched) -> None:
    began = opened.page.evaluate("new Date(1763900000000).toTimeString().slice(0, 8)")
    assert f"began 2025-11-23 {began}" in opened.text("#facts")


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_paper_the_chart_fits_with_the_moment_that_memory_ran_out(report: Path, browser: Any, scheme: str) -> None:
    watched = Watched(browser, offline=True, color_scheme=scheme)
    try:
        watched.page.goto(report.as_uri())
        watched.until(DRAWN)
        watched.page.evaluate(
            """() => window.addEventListener("beforeprint", () => {
                const box = document.querySelector("#timeline .main-svg").getBoundingClientRect();
                const marks = [...document.querySelectorAll("#timeline .points path")];
                window.paper = {
                    width: box.width,
                    marks: marks.filter((mark) => mark.getBoundingClientRect().right <= box.right).length,
                    ink: getComputedStyle(document.body).color,
                    answer: document.querySelector("#answer details").open,
                    turned: document.querySelectorAll("#timeline .xtick text[transform^='rotate(']").length,
                };
            })"""
        )
        printed = watched.context.new_cdp_session(watched.page).send("Page.printToPDF")
        paper = watched.page.evaluate("window.paper")
        assert paper == {"width": 680, "marks": 1, "ink": "rgb(29, 37, 48)", "answer": True, "turned": 0}
        assert len(printed["data"]) > 20_000
        watched.until("document.querySelector('#timeline .main-svg').getBoundingClientRect().width > 1000")
        assert watched.page.locator("#answer details").get_attribute("open") is None
        watched.page.emulate_media(media="print")
        card = "getComputedStyle(document.querySelector('#timeline').closest('.card')).breakInside"
        assert watched.page.evaluate(card) == "avoid", "the chart is on one page"
        assert watched.wrong == []
    finally:
        watched.close()


@needs_browser
def test_a_phone_shows_a_phase_and_its_peak(report: Path, browser: Any) -> None:
    watched = Watched(browser, offline=True, viewport={"width": 390, "height": 844})
    try:
        watched.page.goto(report.as_uri())
        watched.until(DRAWN)
        right = "document.querySelector('#phases thead th:nth-child(7)').getBoundingClientRect().right"
        assert watched.text("#phases thead th:nth-child(7)") == "peak"
        assert watched.page.evaluate(right) <= 390
        sticks = "getComputedStyle(document.querySelector('#phases tbody th')).position"
        assert watched.page.evaluate(sticks) == "sticky"
    finally:
        watched.close()


@needs_axe
@pytest.mark.parametrize(
    "options",
    [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}],
    ids=["light", "dark", "phone"],
)
def test_axe_has_nothing_to_say(report: Path, browser: Any, options: dict[str, Any]) -> None:
    watched = Watched(browser, offline=True, bypass_csp=True, **options)
    try:
        watched.page.goto(report.as_uri())
        watched.until(DRAWN)
        assert watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert violations(watched.page) == []
        watched.page.evaluate("document.getElementById('facts').style.color = '#ccc'")
        assert [found.split(":")[0] for found in violations(watched.page)] == (
            ["color-contrast"] if options.get("color_scheme") != "dark" else []
        )
    finally:
        watched.close()


@needs_browser
def test_the_chart_is_moved_and_zoomed_by_keyboard(opened: Watched) -> None:
    def shown() -> tuple[float, float]:
        """Return where the view begins, and how wide it is, in parts of the whole."""
        from_ms, to_ms = opened.page.evaluate(
            "document.getElementById('timeline').layout.xaxis.range.map((edge) => new Date(edge).getTime())"
        )
        return float(from_ms - whole[0]) / (whole[1] - whole[0]), float(to_ms - from_ms) / (whole[1] - whole[0])

    def press(key: str) -> tuple[float, float]:
        before = shown()
        opened.page.keyboard.press(key)
        until(lambda: shown() != before, pause_s=0.02)
        return shown()

    whole = (0.0, 1.0)
    first, width = shown()
    whole = (first, first + width)
    for _ in range(40):
        opened.page.keyboard.press("Tab")
        if opened.page.evaluate("document.activeElement.id") == "timeline-keys":
            break
    scrolled = opened.page.evaluate("scrollY")
    assert press("ArrowUp") == pytest.approx((0.25, 0.5), abs=0.03)
    assert press("ArrowRight") == pytest.approx((0.35, 0.5), abs=0.03)
    assert press("ArrowLeft") == pytest.approx((0.25, 0.5), abs=0.03)
    assert press("-") == pytest.approx((0, 1), abs=0.03)
    press("+")
    assert press("Escape") == pytest.approx((0, 1), abs=0.001)
    assert opened.page.evaluate("scrollY") == scrolled


def test_only_new_looks_at_what_memory_is_made_of_are_told_again(rings: Path) -> None:
    with made_ring(rings) as ring:
        ring.event("sample", extra=MADE_OF)
        ring.now_ns += 1000 * MS
        since_ns = ring.now_ns
        ring.event("sample", extra={**MADE_OF, "memory.category.parameters_bytes": 10 * GIB})
        followed = Followed(phasescope.attach(ring.path))
        followed.catch_up()
        told = page_data.snapshot(followed)
        news = page_data.delta(followed, since_ns, 0, with_phases=False)
        followed.close()
    assert told["categories"]["cuda:0"]["t"] == [0.0, 1000.0]
    assert told["categories"]["cuda:0"]["sizes"]["parameters"] == [9 * GIB, 10 * GIB]
    assert told["categories"]["cuda:0"]["sizes"]["buffers"] == [0, 0]
    assert set(told["categories"]["cuda:0"]["sizes"]) < set(told["category_labels"])
    assert news["categories"]["cuda:0"]["t"] == [1000.0]
    assert news["categories"]["cuda:0"]["sizes"]["parameters"] == [10 * GIB]


def test_an_event_names_its_device(rings: Path) -> None:
    with made_ring(rings) as ring:
        ring.run(["step"], 5)
        ring.now_ns += 5 * MS
        followed = Followed(phasescope.attach(ring.path))
        followed.catch_up()
        told = page_data.snapshot(followed)
        followed.close()
    assert {event["device"] for event in told["events"]} == {"cuda:0"}


@needs_browser
def test_beside_a_devices_memory_stands_how_it_is_at_work(tmp_path: Path, browser: Any) -> None:
    at_work = {"utilization_percent": 98, "temperature_celsius": 64, "power_milliwatts": 612_345}
    shown = {}
    for name, extra in (("all", at_work), ("some", {"temperature_celsius": 64}), ("none", {})):
        with made_ring(tmp_path / name) as ring:
            ring.allocated = GIB
            ring.event("start")
            ring.event("sample", extra=extra)
            ring.stop()
            assert cli.main(["report", ring.path, "-o", str(tmp_path / f"{name}.html")]) == 0
        watched = Watched(browser)
        watched.page.goto((tmp_path / f"{name}.html").as_uri())
        watched.until("document.querySelector('#devices .device') !== null")
        assert not watched.page.is_visible("#made-of")  # nothing is known of that: there is no empty chart
        shown[name] = [part.inner_text() for part in watched.page.query_selector_all("#devices .work")]
        watched.close()
    assert shown == {"all": ["98% busy · 64 °C · 612 W"], "some": ["– · 64 °C · –"], "none": []}


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["/opt/env/bin/python", "/opt/env/bin/phasescope", "run", "/data/train.py"], "phasescope run /data/train.py"),
        (["python3.11", "/home/ann/train.py", "--data", "/data/coco"], "train.py --data /data/coco"),
        (["python", "-m", "phasescope", "run", "train.py"], "phasescope run train.py"),
        ("no list", "no list"),
    ],
)
def test_a_session_is_called_by_what_runs_not_by_where_the_interpreter_lies(command: object, shown: str) -> None:
    """In the list of sessions only the first 70 characters are seen, in a tab of a browser fewer."""
    assert page_data.facts({"command": command})["what"] == shown


def test_a_command_of_many_words_is_cut_in_its_middle() -> None:
    what = page_data.facts({"command": ["python", "train.py", *["--test=a"] * 500]})["what"]
    assert what.startswith("train.py --test=a ")
    assert len(what) <= 300
    assert "…" in what


@needs_browser
def test_one_event_is_not_some_events(rings: Path, browser: Any) -> None:
    with made_ring(rings) as ring:
        ring.stop()
        assert cli.main(["report", ring.path, "-o", str(rings / "run.html")]) == 0
    watched = Watched(browser, offline=True)
    watched.page.goto((rings / "run.html").as_uri())
    watched.until("document.querySelector('#facts').innerText !== ''")
    assert watched.text("#facts").endswith(" · 1 event")
    watched.close()
