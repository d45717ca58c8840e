"use strict";
// Where the page gets its data from: the server, as events, or the file that it stands in.
(() => {
  const { byId, clock, count, day, madeOf, make, plain, plural, tables, timeline, write } = window.phasescope;
  const MOST_BANDS = 1500;
  const MOST_POINTS = 6000;
  const EVENTS_EVERY_MS = 1000;
  const AGAIN_MS = 1000;
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
    byId("reading").hidden = true;
    if (source) link("live", "live");
    show(true);
  }

  function delta(told) {
    if (!state) return;
    for (const [label, points] of Object.entries(told.series)) {
      if (state.series[label]) append(state.series[label], points);
      else state.series[label] = points;
    }
    for (const [label, looks] of Object.entries(told.categories)) madeOf.append(state.categories, label, looks);
    const ended = state.bands.filter((band) => band[1] !== null);
    state.bands = [...ended, ...told.bands];
    if (state.bands.length > MOST_BANDS) thin();
    state.marks = [...state.marks, ...told.marks].slice(-256);
    state.phasesAreNew = Boolean(told.phases);
    const { series, categories, bands, marks, kind, ...rest } = told;
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

  // It can take seconds until all of a long session is read: until then nothing is said of it.
  function reading([done, all]) {
    link("live", `reading: ${count(done)} of ${plural(all, "event")}`);
    if (state) return;
    byId("waiting").hidden = true;
    byId("reading").hidden = false;
    byId("progress").max = Math.max(1, all);
    byId("progress").value = done;
    byId("progress-note").textContent = `${count(done)} of ${plural(all, "event")}`;
  }

  const handlers = {
    sessions,
    snapshot,
    delta,
    reading,
    answer: (told) => {
      if (!state) return;
      state.answer = told;
      tables.head(state);
    },
    state: () => link("lost", "this session's file is gone"),
    job: (told) => {
      job = told;
      tables.ranks(job, state?.session.session_id, choose);
    },
  };

  const ask = (what, options) =>
    fetch(`${what}${key ? `?session=${encodeURIComponent(key)}` : ""}`, {
      ...options,
      headers: token.kept ? { authorization: `Bearer ${token.kept}` } : {},
      cache: "no-store",
    });

  // Not an EventSource: that could send the token in no header.
  async function connect(chosen) {
    if (source) source.abort();
    const own = new AbortController();
    source = own;
    key = chosen;
    link("", "connecting");
    isRefused(false);
    while (source === own) {
      const answer = await ask("api/events", { signal: own.signal }).catch(() => null);
      if (source !== own) return;
      if (answer?.status === 401) return refused(answer);
      if (answer?.ok) {
        link("live", "live");
        await follow(answer, own);
      }
      if (source !== own) return;
      link("lost", "connection lost, trying again");
      await new Promise((over) => setTimeout(over, AGAIN_MS));
    }
  }

  // One event is `event: NAME`, `id: N` and `data: JSON` on lines of their own, and a blank line.
  async function follow(answer, own) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read().catch(() => ({ done: true }));
      if (done || source !== own) return;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        try {
          told(event);
        } catch (error) {
          reportError(error); // the next one may be shown all the same
        }
      }
    }
  }

  function told(event) {
    const lines = event.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]);
    const { event: name, data } = Object.fromEntries(lines);
    if (data !== undefined) handlers[name]?.(JSON.parse(data));
  }

  async function refused(answer) {
    byId("refused-note").textContent = await answer.text();
    link("lost", "refused");
    isRefused(true);
  }

  function isRefused(now) {
    byId("refused").hidden = !now;
    byId("waiting").hidden = now || state !== null;
    byId("session").hidden = now || state === null;
    byId("save").hidden = byId("sessions").parentElement.hidden = now;
  }

  async function save(event) {
    event.preventDefault();
    const answer = await ask("report");
    if (!answer.ok) return link("lost", await answer.text());
    const address = URL.createObjectURL(await answer.blob());
    const file = make("a");
    file.href = address;
    file.download = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition"))?.[1] ?? "phasescope.html";
    file.click();
    setTimeout(() => URL.revokeObjectURL(address), AGAIN_MS);
  }

  // The token comes behind the `#`, which is sent to nobody, and stays with this tab; from the address it goes.
  const token = {
    kept: null,
    take() {
      const found = new URLSearchParams(location.hash.slice(1)).get("token");
      if (found) history.replaceState(null, "", location.pathname + location.search);
      try {
        if (found) sessionStorage.setItem("phasescope-token", found);
        this.kept = sessionStorage.getItem("phasescope-token");
      } catch {
        this.kept = found ?? this.kept; // a browser that keeps nothing forgets it with the page
      }
      return Boolean(found);
    },
  };

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
      const made = make("option", "", `${entry.state === "running" ? "● " : "○ "}${entry.pid ?? "?"}${rank}  ${entry.word ? `${plain(entry.word)}  ` : ""}${plain(entry.what).slice(0, 70)}`);
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
    byId("save").addEventListener("click", save);
    window.addEventListener("hashchange", () => token.take() && connect(key)); // an address with a new one, pasted
    token.take();
    connect(new URLSearchParams(location.search).get("session"));
    document.addEventListener("visibilitychange", () => state && show(true));
  }
})();
