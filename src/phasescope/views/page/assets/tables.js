"use strict";
// Everything of a session but its timeline: how it fares, the phase table, devices, ranks, events.
(() => {
  const { byId, change, clock, colour, count, day, duration, known, make, path, plain, plural, share, size, tail, write, writeTable } = window.phasescope;
  const TINTS = { running: "good", silent: "warn", finished: "", unknown: "" };
  const tintOf = (ending) => TINTS[ending.kind] ?? "bad";
  let answered = null;
  const sorted = { by: null };
  const ranked = { by: null };
  // What a person folded or unfolded; the rest is folded by how much there is.
  const unfolded = new Map();
  const MANY_ROWS = 40;
  const LEAST_ROOM = 8;
  const TILE_LETTERS = 26;

  function cell(text, className = "") {
    const made = make("td", className, text);
    if (className.includes("long") || className.includes("name") || className.includes("phase")) made.title = made.textContent;
    return made;
  }

  function head(state) {
    const { session, ending } = state;
    const tint = tintOf(ending);
    const name = plain(ending.word);
    byId("state").textContent = name;
    byId("state").className = `pill ${tint}`;
    byId("command").textContent = plain(session.what || "a session");
    byId("command").title = plain(session.command || "");
    const began = known(session.started_ns) ? session.started_ns / 1e6 : state.origin_ms;
    const rank = (session.world_size ?? 1) > 1 ? `rank ${session.rank} of ${session.world_size}` : null;
    const facts = [
      known(session.pid) ? `pid ${session.pid}` : null, session.host ? `on ${plain(session.host)}` : null, rank,
      session.job_id ? `job ${plain(session.job_id)}` : null, `began ${day(began)} ${clock(began, false)}`,
      known(state.last_ms) ? `${duration(state.last_ms * 1e6)} recorded` : null, plural(state.counts.events, "event"),
    ];
    byId("facts").textContent = facts.filter(Boolean).join(" · ");
    document.title = `${name} · ${plain(session.what || "").slice(0, 60)} · phasescope`;
    answer(state);
    end(state, tint);
  }

  // The verdict in a line, and all of what `explain` says behind it. Written only where it is another: whoever reads the
  // whole answer, or has some of it selected, goes on.
  function answer(state) {
    const box = byId("answer");
    const { verdict, lines } = state.answer ?? {};
    const told = JSON.stringify([verdict, lines]);
    if (told === answered) return;
    answered = told;
    box.hidden = !verdict;
    if (box.hidden) return;
    const wasOpen = box.querySelector("details")?.open ?? false;
    box.className = `card ending ${verdict.is_good ? "good" : "bad"}`;
    const text = plain(verdict.text);
    write(box, make("strong", "", text.charAt(0).toUpperCase() + text.slice(1)),
      make("details", "", make("summary", "", "the whole answer"), make("pre", "", lines.map(plain).join("\n"))));
    box.querySelector("details").open = wasOpen;
  }

  function end(state, tint) {
    const { ending } = state;
    const box = byId("ending");
    box.hidden = ending.kind === "running";
    if (box.hidden) return;
    box.className = `card ending ${tint || "good"}`;
    const opened = ending.open_phases.map((phase) => `${path(phase.path)}${known(phase.open_ns) ? ` (${duration(phase.open_ns)})` : ""}`);
    const text = plain(ending.text);
    write(box,
      make("strong", "", text.charAt(0).toUpperCase() + text.slice(1)),
      ending.context && !ending.text.includes(ending.context) ? make("p", "", plain(ending.context)) : null,
      opened.length ? make("p", "", `Open ${ending.kind === "silent" ? "now" : "at the end"}: ${opened.slice(-4).join(", ")}`) : null,
      known(ending.last_ms) ? make("p", "", `Last sign of life ${day(state.origin_ms + ending.last_ms)} ${clock(state.origin_ms + ending.last_ms)}`) : null);
  }

  function tile(name, figure, more, title) {
    const made = make("div", "tile", make("div", "name", name), make("div", "figure", figure), make("div", "more", more ?? ""));
    made.title = `${title ?? figure} ${more ?? ""}`;
    return made;
  }

  function tiles(state) {
    const device = state.devices.find((each) => each.label !== "host") ?? state.devices[0];
    const running = state.ending.kind === "running" || state.ending.kind === "silent";
    const now = state.current.length ? state.current[state.current.length - 1] : null;
    const since = now && known(now.since_ms) && running ? `for ${duration(Math.max(0, state.now_ms - now.since_ms) * 1e6)}` : "";
    const lost = [
      state.counts.missed ? `${count(state.counts.missed)} overwritten` : null, state.counts.dropped ? `${count(state.counts.dropped)} not written` : null,
      state.counts.damaged ? `${plural(state.counts.damaged, "place")} damaged` : null,
    ].filter(Boolean);
    const failed = !running && !now && state.ending.path?.length ? state.ending.path : null;
    const place = now?.path ?? failed;
    const what = failed ? "ended in" : running ? "open now" : "open at the end";
    const made = [tile(what, place ? tail(place, TILE_LETTERS) : "no phase", since, place ? path(place) : null)];
    made[0].id = "current";
    if (device) {
      const held = device.label === "host" ? "resident" : `allocated on ${plain(device.label)}`;
      made.push(tile(held, size(device.allocated_bytes), device.label === "host" ? "" : `${size(device.reserved_bytes)} reserved`));
      made.push(tile("peak", size(device.peak?.allocated_bytes), device.peak?.path ? `in ${tail(device.peak.path, TILE_LETTERS + 6)}` : ""));
      const part = known(device.used_bytes) && device.total_bytes ? `${share(device.used_bytes / device.total_bytes)} of ${size(device.total_bytes)}` : "";
      made.push(tile(`in use on ${plain(device.label)}`, size(device.used_bytes), part));
    }
    if (lost.length) made.push(tile("lost events", lost[0], lost.slice(1).join(", ")));
    write(byId("tiles"), ...made);
  }

  const COLUMNS = [
    ["phase", null, "text"], ["count", "count", "less"], ["total", "total_ns", "less"], ["mean", "mean_ns"], ["p95", "p95_ns", "less"],
    ["net/entry", "allocated_delta_mean_bytes"], ["peak", "peak_allocated_bytes"], ["share", "share", "less"],
  ];

  const keyOf = (row) => JSON.stringify(row.path);

  // Which rows show what is below them: where there are many, those in which most time went, until the table is full.
  function unfoldedRows(rows) {
    const below = new Map();
    for (const row of rows) {
      const parent = JSON.stringify(row.path.slice(0, -1));
      below.set(parent, [...(below.get(parent) ?? []), row]);
    }
    const open = new Set();
    const waiting = [...(below.get("[]") ?? rows)];
    let room = Math.max(LEAST_ROOM, MANY_ROWS - waiting.length);
    while (waiting.length) {
      waiting.sort((a, b) => (a.total_ns ?? 0) - (b.total_ns ?? 0));
      const row = waiting.pop();
      const inside = below.get(keyOf(row));
      if (!inside) continue;
      const asked = unfolded.get(keyOf(row));
      if (asked ?? inside.length <= room) {
        open.add(keyOf(row));
        room -= inside.length;
        waiting.push(...inside);
      }
    }
    return { below, open };
  }

  // In the tree: rows below one that is folded are left out, and with a filter all but what it finds and what is above.
  function visible(rows, open) {
    const wanted = byId("phase-filter").value.trim().toLowerCase();
    if (wanted) {
      const found = rows.filter((row) => path(row.path).toLowerCase().includes(wanted));
      if (sorted.by) return found;
      const above = new Set(found.flatMap((row) => row.path.map((_, at) => JSON.stringify(row.path.slice(0, at + 1)))));
      return rows.filter((row) => above.has(keyOf(row)));
    }
    if (sorted.by) return rows;
    let hidden = Infinity;
    return rows.filter((row) => {
      if (row.depth > hidden) return false;
      hidden = open.has(keyOf(row)) ? Infinity : row.depth;
      return true;
    });
  }

  function sortable(columns, state, redraw) {
    return columns.map(([name, key, className]) => {
      const title = make("th", className ?? "");
      if (!key && !state.by) {
        title.append(name);
        return title;
      }
      const button = make("button", "", key && state.by === key ? `${name} ↓` : name);
      button.type = "button";
      button.onclick = () => { state.by = state.by === key ? null : key; redraw(); };
      title.append(button);
      title.setAttribute("aria-sort", key && state.by === key ? "descending" : "none");
      return title;
    });
  }

  function phases(state) {
    const rows = [...state.phases.rows];
    const { below, open } = unfoldedRows(rows);
    if (sorted.by) rows.sort((a, b) => (b[sorted.by] ?? -Infinity) - (a[sorted.by] ?? -Infinity));
    const redraw = () => phases(state);
    byId("phase-filter").oninput = redraw;
    byId("phase-filter").parentElement.hidden = rows.length < 12;
    const shown = visible(rows, open);
    const fold = (row) => {
      if (sorted.by || !below.has(keyOf(row))) return null;
      const isOpen = open.has(keyOf(row)) || byId("phase-filter").value.trim() !== "";
      const button = make("button", "fold", isOpen ? "▾" : "▸");
      button.type = "button";
      button.setAttribute("aria-expanded", String(isOpen));
      button.setAttribute("aria-label", `phases in ${path(row.path)}`);
      button.onclick = () => { unfolded.set(keyOf(row), !isOpen); redraw(); };
      return button;
    };
    writeTable(byId("phases"), "phases: how often, how long, and how much memory", sortable(COLUMNS, sorted, redraw), shown.map((row) => phaseRow(row, fold(row))));
    const atLeast = rows.some((row) => known(row.peak_allocated_bytes) && !row.peak_is_exact);
    byId("phases-note").textContent = [
      ...state.phases.remarks, ...state.phases.missing, state.phases.more ? `${count(state.phases.more)} more not shown` : null,
      shown.length < rows.length ? `${count(shown.length)} of ${count(rows.length)} shown` : null,
      atLeast ? "≥ the largest figure seen" : null,
    ].filter(Boolean).join(" · ");
  }

  function rowTitle(className, ...content) {
    const made = make("th", className, ...content);
    made.scope = "row";
    return made;
  }

  function phaseRow(row, fold) {
    const name = row.path.length ? row.path[row.path.length - 1] : "(more phases)";
    const dot = make("span", "dot");
    dot.style.background = colour(name);
    const first = rowTitle("phase", fold, dot, sorted.by ? path(row.path) || name : plain(name));
    if (!sorted.by) first.style.paddingLeft = `${Math.min(row.depth - 1, 8) * 16 + (fold ? 0 : 18)}px`;
    first.title = path(row.path);
    if (row.open) first.append(make("span", "tag", known(row.open_ns) ? `open ${duration(row.open_ns)}` : "open"));
    if (row.errors) first.append(make("span", "tag bad", `${count(row.errors)} failed`));
    if (row.alloc_retries) first.append(make("span", "tag warn", `${count(row.alloc_retries)} retried`));
    if (row.abandoned) first.append(make("span", "tag warn", "cut off"));
    const part = make("td", "share less", share(known(row.share) ? Math.min(1, row.share) : row.share));
    if (row.share > 1) part.title = "it ran in several threads at once";
    const bar = make("span", "bar", make("i"));
    bar.firstChild.style.width = `${Math.min(100, 100 * (row.share ?? 0))}%`;
    part.append(bar);
    const mark = known(row.peak_allocated_bytes) && !row.peak_is_exact ? "≥" : "";
    const made = make("tr", row.open ? "open" : "", first, cell(count(row.count), "less"), cell(duration(row.total_ns), "less"), cell(duration(row.mean_ns)),
      cell(duration(row.p95_ns), "less"), cell(change(row.allocated_delta_mean_bytes)), cell(mark + size(row.peak_allocated_bytes)), part);
    made.dataset.key = keyOf(row);
    return made;
  }

  function devices(state) {
    write(byId("devices"), ...state.devices.map((device) => {
      const total = device.total_bytes || device.parts.reduce((sum, part) => sum + part.size_bytes, 0);
      const stack = make("div", "stack", ...device.parts.filter((part) => part.size_bytes > 0).map((part) => {
        const piece = make("i", `part-${/^[a-z_]+$/.test(part.name) ? part.name : "unattributed"}`);
        piece.style.width = `${(100 * part.size_bytes) / total}%`;
        piece.title = `${part.label}: ${size(part.size_bytes)}`;
        return piece;
      }));
      const parts = device.parts.map((part) => make("li", "", make("span", "label",
        make("span", `dot part-${/^[a-z_]+$/.test(part.name) ? part.name : "unattributed"}`), plain(part.label)), make("span", "", size(part.size_bytes))));
      const plainly = [["allocated", device.allocated_bytes], ["reserved", device.reserved_bytes], ["in use by all", device.used_bytes], ["free", device.free_bytes]]
        .map(([name, bytes]) => make("li", "", make("span", "label quiet", name), make("span", "", size(bytes))));
      const slack = known(device.fragmented_bytes) ? make("p", "quiet note", `${size(device.fragmented_bytes)} of the slack lies split between live blocks`) : null;
      const made = device.made_of ? make("p", "quiet note", plain(device.made_of)) : null;
      const figures = [[device.utilization_percent, "% busy"], [device.temperature_celsius, " °C"], [device.power_milliwatts, " W", 1000]];
      const work = figures.some(([figure]) => known(figure))
        ? make("p", "quiet note work", figures.map(([figure, unit, scale = 1]) => (known(figure) ? `${Math.round(figure / scale)}${unit}` : "–")).join(" · ")) : null;
      return make("div", "device", make("div", "line", make("strong", "", plain(device.label)), make("span", "quiet", known(device.total_bytes) ? size(device.total_bytes) : "")),
        device.parts.length ? stack : null, make("ul", "parts", ...(parts.length ? parts : plainly)), slack, made, work);
    }));
  }

  const RANK_COLUMNS = [
    ["rank", "rank", "text"], ["host", null, "text less"], ["pid", null, "less"], ["state", null, "text"], ["phase", null, "text less"],
    ["allocated", "allocated", "less"], ["peak", "peak_allocated_bytes"], ["steps", "steps"],
  ];
  const first = (row) => row.devices.find((each) => each.label !== "host") ?? row.devices[0];
  const rankFigure = (row, by) => (by === "allocated" ? first(row)?.allocated_bytes : row[by]) ?? -Infinity;

  function ranks(job, chosen, choose) {
    byId("job-card").hidden = !job;
    if (!job) return;
    const note = [`${job.ranks.length} of ${job.world_size ?? "?"} ranks`, job.step_path ? `steps of ${path(job.step_path)}` : null];
    byId("job-note").textContent = note.filter(Boolean).join(" · ");
    write(byId("job-remarks"), ...(job.remarks ?? []).map((remark) => make("p", "", plain(remark))));
    const most = Math.max(1, ...job.ranks.map((row) => row.peak_allocated_bytes ?? 0));
    const order = job.ranks.map((_, at) => at);
    if (ranked.by && ranked.by !== "rank") order.sort((a, b) => rankFigure(job.ranks[b], ranked.by) - rankFigure(job.ranks[a], ranked.by));
    if (ranked.by === "rank") order.reverse();
    const redraw = () => ranks(job, chosen, choose);
    writeTable(byId("ranks"), "the ranks of this job", sortable(RANK_COLUMNS, ranked, redraw), order.map((at) => rankRow(job, at, most, chosen, choose)));
    byRank(job);
  }

  function rankRow(job, at, most, chosen, choose) {
    const row = job.ranks[at];
    const [name, tint] = [plain(row.ending.word), tintOf(row.ending)];
    const peak = make("td", "share", size(row.peak_allocated_bytes), at === job.fattest ? make("span", "tag", "most") : null);
    const bar = make("span", "bar", make("i"));
    bar.firstChild.style.width = `${(100 * (row.peak_allocated_bytes ?? 0)) / most}%`;
    peak.append(bar);
    const steps = make("td", "", known(row.steps) ? count(row.steps) : `#${row.sequence ?? "–"}`, at === job.behind ? make("span", "tag warn", `${count(row.steps_behind)} behind`) : null);
    const number = make(choose && job.keys ? "button" : "span", "", row.rank ?? "–");
    const made = make("tr", row.session_id === chosen ? "chosen" : "", rowTitle("text", number), cell(plain(row.host ?? "–"), "text name less"), cell(row.pid ?? "–", "less"),
      cell(name, `text ${tint}-text`), cell(row.phase ? path(row.phase) : "–", "text name less"), cell(size(first(row)?.allocated_bytes), "less"), peak, steps);
    made.dataset.key = `${row.rank}/${row.session_id}`;
    if (choose && job.keys) {
      number.type = "button";
      number.setAttribute("aria-label", `show rank ${row.rank ?? "?"}`);
      made.classList.add("click");
      made.onclick = () => choose(job.keys[at]);
    }
    return made;
  }

  function byRank(job) {
    const titles = [make("th", "text", "phase"), ...job.ranks.map((row) => make("th", "", `rank ${row.rank ?? "–"}`))];
    const rows = job.phases.slice(0, 80).map((phase) => {
      const dot = make("span", "dot");
      dot.style.background = colour(phase.path[phase.path.length - 1]);
      const first = rowTitle("phase", dot, plain(phase.path[phase.path.length - 1]));
      first.style.paddingLeft = `${Math.min(phase.path.length - 1, 8) * 16}px`;
      first.title = path(phase.path);
      return make("tr", "", first, ...phase.cells.map((each, at) => {
        const slow = at === phase.slowest && phase.slowdown > 1.1;
        const made = cell(each ? `${slow ? "▲ " : ""}${duration(each.mean_ns)}` : "–", slow ? "warn-text" : "");
        made.title = each ? `${plural(each.count, "time")}, p95 ${duration(each.p95_ns)}, peak ${size(each.peak_allocated_bytes)}` : "it has not run there";
        return made;
      }));
    });
    writeTable(byId("by-rank"), "the mean duration of each phase in each rank", titles, rows);
  }

  function events(state) {
    const marked = state.marks.filter((mark) => mark.type !== "start" && mark.type !== "stop").slice(-100).reverse();
    const late = [...state.events].reverse();
    const titles = [["time", "text"], ["event", "text"], ["phase", "text"], ["took"], ["allocated"], ["change"], ["device and notes", "text"]].map(([name, className]) => make("th", className ?? "", name));
    const serious = { error: "bad-text", critical: "bad-text", warning: "warn-text", collector_degraded: "warn-text" };
    const line = (event) => make("tr", "", cell(clock(state.origin_ms + event.t), "text"),
      cell(plain(event.type), `text ${event.status === "error" ? "bad-text" : serious[event.type] ?? ""}`), cell(path(event.path), "text name"),
      cell(known(event.duration_ns) ? duration(event.duration_ns) : ""), cell(known(event.allocated_bytes) ? size(event.allocated_bytes) : ""),
      cell(known(event.delta_bytes) ? change(event.delta_bytes) : ""),
      cell([event.device, event.status, event.attributes, event.context].filter(Boolean).map(plain).join("  "), "text long"));
    const rule = (text) => { const made = make("td", "text quiet", text); made.colSpan = 7; return make("tr", "", made); };
    writeTable(byId("events"), "the last events, and what stands out", titles, [
      ...(marked.length ? [rule("warnings, errors and the like"), ...marked.map(line)] : []), rule("the last events"), ...late.map(line),
    ]);
    const bad = state.marks.filter((mark) => serious[mark.type]).length;
    byId("events-note").textContent = bad ? `${count(bad)} to look at` : "";
  }

  window.phasescope.tables = { devices, events, head, phases, ranks, tiles };
})();
