"use strict";
// Where the page gets its data from: the server, as events, or the file that it stands in.
(() => {
  const { byId, clock, count, day, make, plain, tables, timeline, write } = window.phasescope;
  const MOST_BANDS = 1500;
  const MOST_POINTS = 6000;
  const EVENTS_EVERY_MS = 1000;
  let state = null;
  let job = null;
  let source = null;
  let key = null;
  let eventsAt = 0;

  const over = () => state.ending.kind !== "running" && state.ending.kind !== "silent";

  function show(everything) {
    byId("waiting").hidden = true;
    byId("session").hidden = false;
    tables.head(state);
    tables.tiles(state);
    if (document.hidden) return;
    timeline.draw(state, everything || over());
    tables.devices(state);
    if (everything || state.phasesAreNew) tables.phases(state);
    if (everything || performance.now() - eventsAt > EVENTS_EVERY_MS || over()) {
      eventsAt = performance.now();
      tables.events(state);
    }
    note();
  }

  function note() {
    const shown = state.bands.length;
    byId("timeline-note").textContent = shown >= 900 ? "The longest and the latest phases are drawn, and every peak of memory." : "";
  }

  function snapshot(told) {
    state = told;
    if (source) link("live", "live");
    show(true);
  }

  function delta(told) {
    if (!state) return;
    for (const [label, points] of Object.entries(told.series)) {
      if (state.series[label]) append(state.series[label], points);
      else state.series[label] = points;
    }
    const ended = state.bands.filter((band) => band[1] !== null);
    state.bands = [...ended, ...told.bands];
    if (state.bands.length > MOST_BANDS) thin();
    state.marks = [...state.marks, ...told.marks].slice(-256);
    state.phasesAreNew = Boolean(told.phases);
    const { series, bands, marks, kind, ...rest } = told;
    Object.assign(state, rest);
    show(false);
  }

  // What comes begins with a bucket that may have been told in part already.
  function append(known, points) {
    if (points.t.length) {
      const from = Math.floor(points.t[0] / state.bucket_ms) * state.bucket_ms;
      let keep = known.t.length;
      while (keep > 0 && known.t[keep - 1] >= from) keep--;
      const begin = Math.max(0, keep - MOST_POINTS);
      const least = known.least ?? known.allocated;
      const join = (old, more) => [...old.slice(begin, keep), ...more];
      known.least = known.least || points.least ? join(least, points.least ?? points.allocated) : null;
      for (const name of ["t", "allocated", "reserved", "used"]) known[name] = join(known[name], points[name]);
    }
    known.total = points.total ?? known.total;
  }

  function thin() {
    const late = state.bands.slice(-MOST_BANDS / 3);
    const longest = state.bands.slice(0, -MOST_BANDS / 3).sort((a, b) => b[1] - b[0] - (a[1] - a[0])).slice(0, MOST_BANDS / 3);
    state.bands = [...longest, ...late].sort((a, b) => a[0] - b[0]);
  }

  function connect(chosen) {
    if (source) source.close();
    key = chosen;
    link("", "connecting");
    source = new EventSource(`api/events${key ? `?session=${encodeURIComponent(key)}` : ""}`);
    const own = source;
    source.onopen = () => link("live", "live");
    source.onerror = () => {
      link("lost", "connection lost, trying again");
      // The browser tries again by itself, unless the server refused.
      if (own.readyState === EventSource.CLOSED) setTimeout(() => own === source && connect(key), 2000);
    };
    source.addEventListener("sessions", (event) => sessions(JSON.parse(event.data)));
    source.addEventListener("reading", (event) => {
      const [done, all] = JSON.parse(event.data);
      link("live", `reading: ${count(done)} of ${count(all)} events`);
    });
    source.addEventListener("snapshot", (event) => snapshot(JSON.parse(event.data)));
    source.addEventListener("delta", (event) => delta(JSON.parse(event.data)));
    source.addEventListener("state", () => link("lost", "this session's file is gone"));
    source.addEventListener("job", (event) => {
      job = JSON.parse(event.data);
      tables.ranks(job, state?.session.session_id, choose);
    });
    byId("save").href = `report${key ? `?session=${encodeURIComponent(key)}` : ""}`;
  }

  function link(className, text) {
    byId("link").className = `link live-only ${className}`;
    byId("link").textContent = text;
  }

  function choose(chosen) {
    if (chosen === key) return;
    state = null;
    job = null;
    timeline.forget();
    tables.ranks(null);
    history.replaceState(null, "", `?session=${encodeURIComponent(chosen)}`);
    connect(chosen);
    byId("sessions").value = chosen;
  }

  function sessions(told) {
    const list = byId("sessions");
    const all = told.jobs.flat();
    list.parentElement.hidden = all.length === 0;
    if (document.activeElement === list) return;
    const option = (entry) => {
      const rank = (entry.world_size ?? 1) > 1 ? ` rank ${entry.rank}` : "";
      const made = make("option", "", `${entry.state === "running" ? "● " : "○ "}${entry.pid ?? "?"}${rank}  ${plain(entry.command).slice(0, 70)}`);
      made.value = entry.key;
      return made;
    };
    write(list, ...told.jobs.map((run) => {
      if (run.length === 1) return option(run[0]);
      const group = make("optgroup", "", ...run.map(option));
      group.label = `${run.length} ranks${run[0].job_id ? `, job ${plain(run[0].job_id).slice(0, 40)}` : ""}`;
      return group;
    }));
    const newest = all.find((entry) => entry.state === "running") ?? all[0];
    if (!key && all.length) key = told.chosen ?? newest.key;
    list.value = key ?? "";
  }

  function fromFile(data) {
    for (const element of document.querySelectorAll(".live-only")) element.hidden = true;
    byId("made").textContent = `written ${day(data.made_ms)} ${clock(data.made_ms, false)}`;
    snapshot(data.snapshot);
    tables.ranks(data.job, state.session.session_id, null);
  }

  const data = byId("data");
  if (data) {
    fromFile(JSON.parse(data.textContent));
  } else {
    byId("sessions").addEventListener("change", (event) => choose(event.target.value));
    connect(new URLSearchParams(location.search).get("session"));
    document.addEventListener("visibilitychange", () => state && show(true));
  }
})();
