"use strict";
// The timeline: memory curves of one device, and below them the phases as bands.
(() => {
  const { byId, clock, colour, duration, inPlot, known, make, path, size, write, writeTable } = window.phasescope;
  const RANGES = [["1 min", 60_000], ["5 min", 300_000], ["all", Infinity]];
  const MOST_LANES = 10;
  const MOST_PATHS = 40;
  const MOST_TEXTS = 120;
  const BAND_PX = 17;
  const MEMORY_PX = 270;
  const FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif";
  const MARGIN = { l: 66, r: 16, t: 8, b: 28 };
  const shown = { device: null, range: null, window: null, asked: false, fit: false, paper: false };
  let state = null;
  const SHORTEST_MS = 450;
  let drawing = false;
  let due = false;
  let drawnAt = -Infinity;

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Plotly shows dates in UTC; what is wanted is the clock on the wall.
  const wall = (ms) => ms - new Date(ms).getTimezoneOffset() * 60_000;
  const at = (t) => wall(state.origin_ms + t);

  // What is new is drawn twice a second at most, what a person asked for at once.
  function draw(given, atOnce = true) {
    state = given;
    if (drawing) { due = true; return; }
    if (!atOnce && performance.now() - drawnAt < SHORTEST_MS) return;
    drawing = true;
    requestAnimationFrame(() => {
      const began = drawnAt = performance.now();
      Promise.resolve(render()).finally(() => {
        document.documentElement.dataset.drawnMs = (performance.now() - began).toFixed(1);
        drawing = false;
        if (due) { due = false; draw(state); }
      });
    });
  }

  function end() {
    return state.ending.kind === "running" ? Math.max(state.now_ms, state.last_ms ?? 0) : state.last_ms ?? 0;
  }

  function view() {
    const last = end();
    if (shown.window) return shown.window;
    const first = Number.isFinite(shown.range) ? last - shown.range : Math.min(0, last);
    const room = Math.max(1, (last - first) * 0.01);
    return [Number.isFinite(shown.range) ? first : first - room, last + room];
  }

  function render() {
    if (!shown.asked) shown.range = state.ending.kind === "running" && end() > 360_000 ? 300_000 : Infinity;
    const labels = Object.keys(state.series);
    if (!labels.includes(shown.device)) shown.device = primary(labels);
    choices(labels);
    const [from, to] = view();
    const lanes = lanesOf(from, to);
    const memory = memoryTraces(inColumns(state.series[shown.device], from, to), from, to, lanes);
    const bands = [...stripTraces(lanes, from, to), ...bandTraces(lanes, from, to)];
    const height = MEMORY_PX + MARGIN.t + MARGIN.b + (lanes.rows.length ? lanes.rows.length * BAND_PX + 14 : 0);
    const split = lanes.rows.length ? (lanes.rows.length * BAND_PX) / (height - MARGIN.t - MARGIN.b) : 0;
    const layout = layoutOf(height, split, lanes, scaleOf(memory), from, to);
    describe(state.series[shown.device]);
    window.phasescope.madeOf.draw(state, {
      device: shown.device, from, to, at, xaxis: timeAxis(from, to), layout: looksOf(), style, sizeTicks,
    });
    const place = byId("timeline");
    const config = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false, doubleClick: false };
    const first = !place.data;
    return window.Plotly.react(place, [...memory.traces, ...bands], layout, config).then(() => first && listen(place));
  }

  // From zero, or as close to the curve as it gets: a slow rise on a large base is seen in the second only.
  function scaleOf(memory) {
    if (!shown.fit || memory.low >= memory.high) return [0, memory.most * 1.08 || 1];
    const room = (memory.high - memory.low) * 0.08;
    return [Math.max(0, memory.low - room), memory.high + room];
  }

  // The same for who does not see the plot: a sentence, and a table of a few moments.
  function describe(series) {
    const place = byId("timeline");
    if (!series || !series.t.length) {
      place.setAttribute("aria-label", "memory over time: nothing is known yet");
      return;
    }
    const label = window.phasescope.plain(shown.device);
    const peak = series.allocated.reduce((most, value, i) => (value !== null && (most < 0 || value > series.allocated[most]) ? i : most), -1);
    const when = (i) => clock(state.origin_ms + series.t[i], false);
    const last = series.t.length - 1;
    const highest = peak < 0 ? "" : `, highest ${size(series.allocated[peak])} at ${when(peak)}`;
    place.setAttribute("aria-label", `memory of ${label} from ${when(0)} to ${when(last)}: ${size(series.allocated[last])} at the end${highest}`);
    const step = Math.max(1, Math.ceil(series.t.length / 12));
    const moments = series.t.map((_, i) => i).filter((i) => i % step === 0 || i === last || i === peak);
    const titles = ["time", "allocated", "reserved", "in use by all"].map((name) => make("th", "", name));
    writeTable(byId("timeline-table"), `memory of ${label} over time`, titles, moments.map((i) => make("tr", "",
      make("td", "", when(i)), ...["allocated", "reserved", "used"].map((name) => make("td", "", size(series[name][i]))))));
  }

  function primary(labels) {
    return labels.find((label) => label !== "host") ?? labels[0];
  }

  function choices(labels) {
    pick("devices-choice", labels.length > 1 ? labels : [], (label) => label === shown.device, (label) => {
      shown.device = label;
    });
    pick("range-choice", RANGES.map(([name]) => name), (name) => !shown.window && RANGES.find((range) => range[0] === name)[1] === shown.range, (name) => {
      shown.range = RANGES.find((range) => range[0] === name)[1];
      shown.window = null;
      shown.asked = true;
    });
    pick("fit-choice", ["fit y"], () => shown.fit, () => { shown.fit = !shown.fit; });
  }

  function pick(id, names, isOn, choose) {
    write(byId(id), ...names.map((name) => {
      const button = make("button", "", window.phasescope.plain(name));
      button.type = "button";
      button.setAttribute("aria-pressed", String(isOn(name)));
      button.onclick = () => { choose(name); draw(state); };
      return button;
    }));
  }

  // By keyboard, what a drag and a double click do: by how much of the width each key moves, and how wide it gets.
  const KEYS = { ArrowLeft: [-0.2, 1], ArrowRight: [0.2, 1], ArrowUp: [0, 0.5], ArrowDown: [0, 2], "+": [0, 0.5], "-": [0, 2] };

  function press(event) {
    if (!state || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") shown.window = null;
    else if (KEYS[event.key]) shown.window = moved(...KEYS[event.key]);
    else return;
    event.preventDefault();
    draw(state);
  }

  function moved(by, wider) {
    const [from, to] = view();
    const [first, last] = [Math.min(0, end()), end()];
    const width = Math.min(Math.max((to - from) * wider, 1), Math.max(last - first, 1));
    const begin = (from + to - width) / 2 + by * (to - from);
    const left = Math.min(Math.max(begin, first), last - width);
    return [left, left + width];
  }

  function listen(place) {
    place.on("plotly_relayout", (change) => {
      const from = change["xaxis.range[0]"];
      if (from === undefined) return;
      const back = (text) => {
        const shownMs = new Date(String(text).replace(" ", "T") + "Z").getTime();
        return shownMs + new Date(shownMs).getTimezoneOffset() * 60_000 - state.origin_ms;
      };
      shown.window = [back(from), back(change["xaxis.range[1]"])];
      draw(state);
    });
    byId("timeline-keys").onkeydown = press;
    place.on("plotly_doubleclick", () => { shown.window = null; draw(state); });
  }

  // Threads below each other, and in each the phases by how deep they lie.
  function lanesOf(from, to) {
    const bands = state.bands.filter((band) => (band[1] ?? end()) >= from && band[0] <= to);
    const strips = state.strips.filter((strip) => strip[1] >= from && strip[0] <= to);
    const depths = new Map();
    for (const band of [...bands, ...strips]) depths.set(band[3], Math.max(depths.get(band[3]) ?? 0, band[2].length));
    const rows = [];
    const row = new Map();
    for (const [thread, depth] of depths) {
      for (let level = 1; level <= depth && rows.length < MOST_LANES; level++) {
        row.set(`${thread}/${level}`, rows.length);
        rows.push(level === 1 ? thread : null);
      }
    }
    return { bands, strips, rows, row, several: depths.size > 1 };
  }

  // The largest and the smallest figure of every two pixels: as much as can be seen, and no peak is lost.
  function inColumns(series, from, to) {
    if (!series) return series;
    const columns = plotPx() / 2;
    const width = Math.max(1e-3, (to - from) / columns);
    const least = series.least ?? series.allocated;
    const found = { t: [], allocated: [], least: [], reserved: [], used: [], total: series.total };
    let last = null;
    let differs = false;
    const more = (a, b) => (a === null || (b !== null && b > a) ? b : a);
    const less = (a, b) => (a === null || (b !== null && b < a) ? b : a);
    series.t.forEach((t, i) => {
      // One point beyond each side, so that lines reach the edge.
      if ((t < from && series.t[i + 1] < from) || (t > to && series.t[i - 1] > to)) return;
      const column = Math.floor((t - from) / width);
      const at = found.t.length - 1;
      if (column === last) {
        found.t[at] = t;
        for (const name of ["allocated", "reserved", "used"]) found[name][at] = more(found[name][at], series[name][i]);
        found.least[at] = less(found.least[at], least[i]);
      } else {
        found.t.push(t);
        for (const name of ["allocated", "reserved", "used"]) found[name].push(series[name][i]);
        found.least.push(least[i]);
        last = column;
      }
      differs ||= found.least[found.t.length - 1] !== found.allocated[found.t.length - 1];
    });
    return { ...found, least: differs ? found.least : null };
  }

  const widthPx = () => (shown.paper ? PAPER_PX : byId("timeline").clientWidth);
  const plotPx = () => Math.max(200, widthPx() - MARGIN.l - MARGIN.r);

  function memoryTraces(series, from, to, lanes) {
    if (!series) return { traces: [], most: 0, low: 0, high: 0 };
    const x = series.t.map(at);
    const seen = (values) => values.reduce((most, value, i) => (series.t[i] >= from && series.t[i] <= to && value > most ? value : most), 0);
    const isHost = shown.device === "host";
    const inside = [...series.allocated, ...(series.least ?? [])].filter((value, i) => {
      const t = series.t[i % series.t.length];
      return known(value) && t >= from && t <= to;
    });
    let most = Math.max(seen(series.allocated), seen(series.reserved));
    const usedFits = !isHost && seen(series.used) > 0;
    if (usedFits) most = Math.max(most, seen(series.used));
    const line = (y, name, stroke, width, dash, more) => ({
      type: "scatter", mode: "lines", x, y, name, line: { color: stroke, width, dash }, hoverinfo: "skip", connectgaps: true, ...more,
    });
    const traces = [];
    if (series.least) {
      traces.push(line(series.least, "least", "transparent", 0, "solid", { showlegend: false }));
      traces.push(line(series.allocated, "lowest to highest", style("--allocated-area"), 0, "solid", { fill: "tonexty", fillcolor: style("--allocated-area") }));
    }
    if (usedFits) traces.push(line(series.used, "in use by all", style("--used"), 1.2, "dot"));
    if (!isHost) traces.push(line(series.reserved, "reserved", style("--reserved"), 1.4, "solid"));
    traces.push(line(series.allocated, isHost ? "resident" : "allocated", style("--allocated"), 1.8, "solid", {
      fill: series.least ? "none" : "tozeroy", fillcolor: style("--allocated-area"), hoverinfo: "text", text: hovers(series, lanes.bands),
    }));
    if (known(series.total) && series.total < 2.5 * most && x.length) {
      most = Math.max(most, series.total);
      traces.push({ ...line([series.total, series.total], "total", style("--total"), 1.2, "dash"), x: [x[0], x[x.length - 1]] });
    }
    const marks = state.marks.filter((mark) => mark.type !== "start" && mark.type !== "stop" && mark.t >= from && mark.t <= to);
    if (marks.length) traces.push(markTrace(marks, most));
    return { traces, most, low: Math.min(...inside, Infinity), high: Math.max(...inside, 0) };
  }

  function markTrace(marks, most) {
    const tint = { warning: style("--warn"), collector_degraded: style("--warn"), collector_recovered: style("--good") };
    return {
      type: "scatter", mode: "markers", name: "events", showlegend: false, cliponaxis: false, x: marks.map((mark) => at(mark.t)), y: marks.map(() => most * 1.04),
      marker: { symbol: "triangle-down", size: 11, color: marks.map((mark) => tint[mark.type] ?? style("--bad")) }, hoverinfo: "text",
      text: marks.map((mark) => [mark.type, clock(state.origin_ms + mark.t), mark.context, path(mark.path)].filter(Boolean).map(inPlot).map((text) => text.slice(0, 160)).join("<br>")),
    };
  }

  function hovers(series, bands) {
    const inner = [...bands].sort((a, b) => a[0] - b[0] || a[2].length - b[2].length);
    let next = 0;
    const open = [];
    return series.t.map((t, i) => {
      while (next < inner.length && inner[next][0] <= t) open.push(inner[next++]);
      for (let k = open.length - 1; k >= 0; k--) if (open[k][1] !== null && open[k][1] < t) open.splice(k, 1);
      const phase = open.reduce((deepest, band) => (!deepest || band[2].length > deepest[2].length ? band : deepest), null);
      const lines = [clock(state.origin_ms + t), `allocated ${size(series.allocated[i])}`, `reserved ${size(series.reserved[i])}`, `in use by all ${size(series.used[i])}`];
      if (phase) lines.push(inPlot(path(phase[2])));
      return lines.join("<br>");
    });
  }

  // One trace for each phase: its bands are thick pieces of one line, which is drawn at once however many there are.
  function bandTraces(lanes, from, to) {
    const traces = new Map();
    const texts = { x: [], y: [], text: [] };
    const perMs = plotPx() / Math.max(1, to - from);
    const cut = (t) => Math.min(Math.max(t, from), to);
    const drawnTo = new Map();
    for (const band of lanes.bands) {
      const row = lanes.row.get(`${band[3]}/${band[2].length}`);
      if (row === undefined) continue;
      const edge = cut(band[1] ?? end()) * perMs;
      if (edge - (drawnTo.get(row) ?? -Infinity) < 0.8 && band[4] === "ok") continue;
      drawnTo.set(row, edge);
      const name = band[2][band[2].length - 1];
      const key = traces.size < MOST_PATHS || traces.has(name) ? name : "";
      if (!traces.has(key)) traces.set(key, { x: [], y: [], text: [] });
      const trace = traces.get(key);
      const [begin, finish] = [band[0], band[1] ?? end()];
      const label = [inPlot(path(band[2])), `${duration((finish - begin) * 1e6)}${band[4] === "ok" ? "" : `, ${band[4]}`}`, clock(state.origin_ms + begin)].join("<br>");
      const [left, right] = [cut(begin), cut(finish)];
      trace.x.push(at(left), at((left + right) / 2), at(Math.max(right, left + 0.7 / perMs)), null);
      trace.y.push(-row, -row, -row, null);
      trace.text.push(label, label, label, "");
      const shortened = window.phasescope.plain(name).slice(0, 40);
      if ((right - left) * perMs > shortened.length * 6.6 + 8 && texts.x.length < MOST_TEXTS) {
        texts.x.push(at((left + right) / 2));
        texts.y.push(-row);
        texts.text.push(inPlot(shortened));
      }
    }
    const found = [...traces].map(([name, trace]) => ({
      type: "scatter", mode: "lines", yaxis: "y2", showlegend: false, hoverinfo: "text", name: inPlot(name),
      line: { color: name === "" ? style("--total") : colour(name), width: BAND_PX - 3, simplify: false }, ...trace,
    }));
    if (texts.x.length) {
      found.push({ type: "scatter", mode: "text", yaxis: "y2", showlegend: false, hoverinfo: "skip", textfont: { size: 11, color: style("--on-band") }, ...texts });
    }
    return found;
  }

  // Where single bands are not kept: which phase took most of a stretch, paler.
  function stripTraces(lanes, from, to) {
    const traces = new Map();
    for (const [begin, finish, names, thread, busy] of lanes.strips) {
      const row = lanes.row.get(`${thread}/${names.length}`);
      if (row === undefined) continue;
      const name = names[names.length - 1];
      if (!traces.has(name)) traces.set(name, { x: [], y: [], text: [] });
      const trace = traces.get(name);
      const label = [inPlot(path(names)), `${window.phasescope.share(Math.min(1, busy))} of ${duration((finish - begin) * 1e6)}`, clock(state.origin_ms + begin)].join("<br>");
      const [left, right] = [Math.max(begin, from), Math.min(finish, to, end())];
      trace.x.push(at(left), at((left + right) / 2), at(right), null);
      trace.y.push(-row, -row, -row, null);
      trace.text.push(label, label, label, "");
    }
    return [...traces].map(([name, trace]) => ({
      type: "scatter", mode: "lines", yaxis: "y2", showlegend: false, hoverinfo: "text", name: inPlot(name), opacity: 0.45,
      line: { color: colour(name), width: BAND_PX - 3, simplify: false }, ...trace,
    }));
  }

  // What both plots look like, and the time below them.
  function looksOf() {
    return {
      ...(shown.paper ? { width: PAPER_PX, autosize: false } : { autosize: true }), margin: MARGIN, uirevision: "kept",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: FONT, size: 12, color: style("--quiet") },
      hoverlabel: { bgcolor: style("--card"), bordercolor: style("--line"), font: { color: style("--ink"), size: 12.5 }, align: "left" },
    };
  }

  function timeAxis(from, to) {
    return {
      type: "date", range: [at(from), at(to)], gridcolor: style("--faint"), linecolor: style("--line"), zeroline: false, tickfont: { size: 11.5 },
      tickformat: to - from > 86_400_000 ? "%m-%d %H:%M" : to - from > 600_000 ? "%H:%M" : to - from > 8000 ? "%H:%M:%S" : "%H:%M:%S.%3f", nticks: shown.paper ? 6 : widthPx() < 560 ? 4 : 10,
    };
  }

  function layoutOf(height, split, lanes, [low, high], from, to) {
    const ticks = sizeTicks(low, high);
    return {
      ...looksOf(), height, hovermode: "closest", dragmode: "zoom", showlegend: true,
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", xanchor: "left", bgcolor: "rgba(0,0,0,0)", font: { size: 12 }, itemclick: "toggle", ...(widthPx() < 560 ? { entrywidth: 80 } : {}) },
      xaxis: { ...timeAxis(from, to), anchor: lanes.rows.length ? "y2" : "y" },
      yaxis: { domain: [split ? split + 0.035 : 0, 1], range: [low, high], fixedrange: true, gridcolor: style("--faint"), zeroline: false, tickvals: ticks, ticktext: ticks.map(size), tickfont: { size: 11.5 } },
      yaxis2: {
        domain: [0, split || 0.001], range: [0.6 - lanes.rows.length, 0.5], fixedrange: true, showgrid: false, zeroline: false,
        tickvals: lanes.several ? lanes.rows.map((thread, row) => (thread === null ? null : -row)).filter(known) : [],
        ticktext: lanes.several ? lanes.rows.filter((thread) => thread !== null).map((thread) => inPlot((state.threads[thread] ?? "").slice(0, 10))) : [],
        tickfont: { size: 10.5 },
      },
    };
  }

  function sizeTicks(low, high) {
    let step = 2 ** Math.floor(Math.log2(Math.max(1, (high - low) / 4)));
    if ((high - low) / step > 6) step *= 2;
    const ticks = [];
    for (let value = Math.ceil(low / step) * step; value <= high; value += step) ticks.push(value);
    return ticks;
  }

  // Paper is light, narrower than a screen, and has the whole answer: nobody can unfold it there.
  const PAPER_PX = 680;
  const unfolded = [];
  const onPaper = (paper) => {
    document.documentElement.classList.toggle("paper", paper);
    shown.paper = paper;
    for (const folded of paper ? document.querySelectorAll("details:not([open])") : unfolded.splice(0)) {
      folded.open = paper;
      if (paper) unfolded.push(folded);
    }
    if (state && byId("timeline").data) render();
  };
  window.addEventListener("beforeprint", () => onPaper(true));
  window.addEventListener("afterprint", () => onPaper(false));

  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => state && draw(state));
  window.phasescope.timeline = { draw, forget: () => { shown.window = null; shown.asked = false; shown.device = null; } };
})();
