"use strict";
// Everything of a session but its timeline: how it fares, the phase table, devices, ranks, events.
(() => {
  const { byId, change, clock, colour, count, day, duration, known, make, path, plain, share, size, write } = window.phasescope;
  const KINDS = {
    running: ["running", "good"], silent: ["silent", "warn"], finished: ["finished", ""], exception: ["exception", "bad"],
    killed: ["killed", "bad"], device_out_of_memory: ["out of memory", "bad"], host_out_of_memory: ["out of memory", "bad"], unknown: ["ends here", ""],
  };
  const sorted = { by: null };

  function cell(text, className = "") {
    const made = make("td", className, text);
    if (className.includes("long") || className.includes("name") || className.includes("phase")) made.title = made.textContent;
    return made;
  }

  function head(state) {
    const { session, ending } = state;
    const [name, tint] = KINDS[ending.kind] ?? [ending.kind, ""];
    byId("state").textContent = ending.certain || tint === "" ? name : `${name}?`;
    byId("state").className = `pill ${tint}`;
    byId("command").textContent = plain(session.command || "a session");
    const rank = (session.world_size ?? 1) > 1 ? `rank ${session.rank} of ${session.world_size}` : null;
    const facts = [
      known(session.pid) ? `pid ${session.pid}` : null, session.host ? `on ${plain(session.host)}` : null, rank,
      session.job_id ? `job ${plain(session.job_id)}` : null, `began ${day(state.origin_ms)} ${clock(state.origin_ms, false)}`,
      known(state.last_ms) ? `${duration(state.last_ms * 1e6)} recorded` : null, `${count(state.counts.events)} events`,
    ];
    byId("facts").textContent = facts.filter(Boolean).join(" · ");
    document.title = `${name} · ${plain(session.command || "").split("/").pop().slice(0, 60)} · phasescope`;
    end(state, tint);
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

  function tile(name, figure, more) {
    const made = make("div", "tile", make("div", "name", name), make("div", "figure", figure), make("div", "more", more ?? ""));
    made.title = `${figure} ${more ?? ""}`;
    return made;
  }

  function tiles(state) {
    const device = state.devices.find((each) => each.label !== "host") ?? state.devices[0];
    const running = state.ending.kind === "running" || state.ending.kind === "silent";
    const now = state.current.length ? state.current[state.current.length - 1] : null;
    const since = now && known(now.since_ms) && running ? `for ${duration(Math.max(0, state.now_ms - now.since_ms) * 1e6)}` : "";
    const lost = [
      state.counts.missed ? `${count(state.counts.missed)} overwritten` : null, state.counts.dropped ? `${count(state.counts.dropped)} not written` : null,
      state.counts.damaged ? `${count(state.counts.damaged)} places damaged` : null,
    ].filter(Boolean);
    const made = [tile(running ? "open now" : "open at the end", now ? path(now.path) : "no phase", since)];
    made[0].id = "current";
    if (device) {
      const held = device.label === "host" ? "resident" : `allocated on ${plain(device.label)}`;
      made.push(tile(held, size(device.allocated_bytes), device.label === "host" ? "" : `${size(device.reserved_bytes)} reserved`));
      made.push(tile("peak", size(device.peak?.allocated_bytes), device.peak?.path ? `in ${path(device.peak.path)}` : ""));
      const part = known(device.used_bytes) && device.total_bytes ? `${share(device.used_bytes / device.total_bytes)} of ${size(device.total_bytes)}` : "";
      made.push(tile(`in use on ${plain(device.label)}`, size(device.used_bytes), part));
    }
    if (lost.length) made.push(tile("lost events", lost[0], lost.slice(1).join(", ")));
    write(byId("tiles"), ...made);
  }

  const COLUMNS = [
    ["phase", null, "text"], ["count", "count"], ["total", "total_ns", "less"], ["mean", "mean_ns"], ["p95", "p95_ns", "less"],
    ["net alloc", "allocated_delta_bytes"], ["peak", "peak_allocated_bytes"], ["share", "share"],
  ];

  function phases(state) {
    const rows = [...state.phases.rows];
    if (sorted.by) rows.sort((a, b) => (b[sorted.by] ?? -Infinity) - (a[sorted.by] ?? -Infinity));
    const titles = make("tr", "", ...COLUMNS.map(([name, key, className]) => {
      const button = make("button", "", key && sorted.by === key ? `${name} ↓` : name);
      button.addEventListener("click", () => { sorted.by = sorted.by === key ? null : key; phases(state); });
      return make("th", className ?? "", button);
    }));
    write(byId("phases"), make("thead", "", titles), make("tbody", "", ...rows.map((row) => phaseRow(row))));
    const open = rows.some((row) => known(row.peak_allocated_bytes) && !row.peak_is_exact);
    byId("phases-note").textContent = [
      ...state.phases.missing, state.phases.more ? `${count(state.phases.more)} more not shown` : null,
      open ? "≥ the largest figure seen" : null,
    ].filter(Boolean).join(" · ");
  }

  function phaseRow(row) {
    const name = row.path.length ? row.path[row.path.length - 1] : "(more phases)";
    const dot = make("span", "dot");
    dot.style.background = colour(name);
    const first = make("td", "phase", dot, sorted.by ? path(row.path) || name : plain(name));
    if (!sorted.by) first.style.paddingLeft = `${Math.min(row.depth - 1, 8) * 16}px`;
    first.title = path(row.path);
    if (row.open) first.append(make("span", "tag", known(row.open_ns) ? `open ${duration(row.open_ns)}` : "open"));
    if (row.errors) first.append(make("span", "tag bad", `${count(row.errors)} failed`));
    if (row.abandoned) first.append(make("span", "tag warn", "cut off"));
    const part = make("td", "share", share(row.share));
    const bar = make("span", "bar", make("i"));
    bar.firstChild.style.width = `${Math.min(100, 100 * (row.share ?? 0))}%`;
    part.append(bar);
    const mark = known(row.peak_allocated_bytes) && !row.peak_is_exact ? "≥" : "";
    return make("tr", row.open ? "open" : "", first, cell(count(row.count)), cell(duration(row.total_ns), "less"), cell(duration(row.mean_ns)),
      cell(duration(row.p95_ns), "less"), cell(change(row.allocated_delta_bytes)), cell(mark + size(row.peak_allocated_bytes)), part);
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
      return make("div", "device", make("div", "line", make("strong", "", plain(device.label)), make("span", "quiet", known(device.total_bytes) ? size(device.total_bytes) : "")),
        device.parts.length ? stack : null, make("ul", "parts", ...(parts.length ? parts : plainly)), slack);
    }));
  }

  function ranks(job, chosen, choose) {
    byId("job-card").hidden = !job;
    if (!job) return;
    const missing = job.missing.length ? `no session of rank ${job.missing.slice(0, 8).join(", ")}${job.missing.length > 8 ? ", …" : ""}` : null;
    const note = [`${job.ranks.length} of ${job.world_size ?? "?"} ranks`, missing, job.hosts.length > 1 ? plain(job.clocks.text) : null, job.step_path ? `steps of ${path(job.step_path)}` : null];
    byId("job-note").textContent = note.filter(Boolean).join(" · ");
    const titles = ["rank", "host", "pid", "state", "phase", "allocated", "peak", "steps"].map((name) => make("th", ["rank", "host", "state", "phase"].includes(name) ? "text" : "", name));
    const most = Math.max(1, ...job.ranks.map((row) => row.peak_allocated_bytes ?? 0));
    const rows = job.ranks.map((row, at) => {
      const [name, tint] = KINDS[row.ending.kind] ?? [row.ending.kind, ""];
      const device = row.devices.find((each) => each.label !== "host") ?? row.devices[0];
      const peak = make("td", "share", size(row.peak_allocated_bytes), at === job.fattest ? make("span", "tag", "most") : null);
      const bar = make("span", "bar", make("i"));
      bar.firstChild.style.width = `${(100 * (row.peak_allocated_bytes ?? 0)) / most}%`;
      peak.append(bar);
      const steps = make("td", "", known(row.steps) ? count(row.steps) : `#${row.sequence ?? "–"}`, at === job.behind ? make("span", "tag warn", `${count(row.steps_behind)} behind`) : null);
      const made = make("tr", row.session_id === chosen ? "chosen" : "", cell(row.rank ?? "–", "text"), cell(plain(row.host ?? "–"), "text name"), cell(row.pid ?? "–"),
        cell(name, `text ${tint}-text`), cell(row.phase ? path(row.phase) : "–", "text name"), cell(size(device?.allocated_bytes)), peak, steps);
      if (choose && job.keys) {
        made.classList.add("click");
        made.addEventListener("click", () => choose(job.keys[at]));
      }
      return made;
    });
    write(byId("ranks"), make("thead", "", make("tr", "", ...titles)), make("tbody", "", ...rows));
    byRank(job);
  }

  function byRank(job) {
    const titles = [make("th", "text", "phase"), ...job.ranks.map((row) => make("th", "", `rank ${row.rank ?? "–"}`))];
    const rows = job.phases.slice(0, 80).map((phase) => {
      const dot = make("span", "dot");
      dot.style.background = colour(phase.path[phase.path.length - 1]);
      const first = make("td", "phase", dot, plain(phase.path[phase.path.length - 1]));
      first.style.paddingLeft = `${Math.min(phase.path.length - 1, 8) * 16}px`;
      first.title = path(phase.path);
      return make("tr", "", first, ...phase.cells.map((each, at) => {
        const slow = at === phase.slowest && phase.slowdown > 1.1;
        const made = cell(each ? duration(each.mean_ns) : "–", slow ? "warn-text" : "");
        made.title = each ? `${count(each.count)} times, p95 ${duration(each.p95_ns)}, peak ${size(each.peak_allocated_bytes)}` : "it has not run there";
        return made;
      }));
    });
    write(byId("by-rank"), make("thead", "", make("tr", "", ...titles)), make("tbody", "", ...rows));
  }

  function events(state) {
    const marked = state.marks.filter((mark) => mark.type !== "start" && mark.type !== "stop").slice(-100).reverse();
    const late = [...state.events].reverse();
    const titles = [["time", "text"], ["event", "text"], ["phase", "text"], ["took"], ["allocated"], ["change"], ["", "text"]].map(([name, className]) => make("th", className ?? "", name));
    const serious = { error: "bad-text", critical: "bad-text", warning: "warn-text", collector_degraded: "warn-text" };
    const line = (event) => make("tr", "", cell(clock(state.origin_ms + event.t), "text"),
      cell(plain(event.type), `text ${event.status === "error" ? "bad-text" : serious[event.type] ?? ""}`), cell(path(event.path), "text name"),
      cell(known(event.duration_ns) ? duration(event.duration_ns) : ""), cell(known(event.allocated_bytes) ? size(event.allocated_bytes) : ""),
      cell(known(event.delta_bytes) ? change(event.delta_bytes) : ""),
      cell([event.device, event.status, event.attributes, event.context].filter(Boolean).map(plain).join("  "), "text long"));
    const rule = (text) => { const made = make("td", "text quiet", text); made.colSpan = 7; return make("tr", "", made); };
    write(byId("events"), make("thead", "", make("tr", "", ...titles)), make("tbody", "",
      ...(marked.length ? [rule("warnings, errors and the like"), ...marked.map(line)] : []), rule("the last events"), ...late.map(line)));
    const bad = state.marks.filter((mark) => serious[mark.type]).length;
    byId("events-note").textContent = bad ? `${count(bad)} to look at` : "";
  }

  window.phasescope.tables = { devices, events, head, phases, ranks, tiles };
})();
