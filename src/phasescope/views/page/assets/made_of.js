"use strict";
// What the chosen device's memory is made of over time: one area for each category, one upon the other.
(() => {
  const { byId, clock, make, plain, size, write, writeTable } = window.phasescope;
  const MOST_LOOKS = 2000;
  const MOST_MOMENTS = 12;
  const HEIGHT_PX = 210;
  // These come and go within a step; the others stand at its end.
  const PASSING = ["activations", "temporary"];
  const left = new Set();
  let last = null;

  // What comes may begin with looks that are known already.
  function append(all, label, looks) {
    const kept = all[label];
    if (!kept) { all[label] = looks; return; }
    if (!looks.t.length) return;
    let keep = kept.t.length;
    while (keep > 0 && kept.t[keep - 1] >= looks.t[0]) keep--;
    const begin = Math.max(0, keep + looks.t.length - MOST_LOOKS);
    const nothing = (count) => new Array(count).fill(null);
    for (const name of new Set([...Object.keys(kept.sizes), ...Object.keys(looks.sizes)])) {
      const before = (kept.sizes[name] ?? nothing(keep)).slice(begin, keep);
      kept.sizes[name] = [...before, ...(looks.sizes[name] ?? nothing(looks.t.length))];
    }
    kept.t = [...kept.t.slice(begin, keep), ...looks.t];
  }

  // Without a category there is no chart; one that is always empty has no area.
  function draw(state, frame) {
    last = [state, frame];
    const looks = state.categories[frame.device];
    const names = Object.keys(state.category_labels).filter((name) => looks?.sizes[name]?.some((bytes) => bytes > 0));
    byId("made-of").hidden = names.length === 0;
    if (names.length === 0) return;
    const label = frame.device === "host" ? "the training's tensors on the host are" : `the memory of ${plain(frame.device)} is`;
    byId("made-of-title").textContent = `What ${label} made of`;
    const shown = names.filter((name) => !left.has(name));
    legend(state, looks, names);
    const passing = names.filter((name) => PASSING.includes(name)).map((name) => state.category_labels[name]);
    byId("made-of-note").textContent = passing.length ? `${passing.join(" and ")}: within a step, on top of what stands at its end` : "at the end of each step";
    describe(state, looks, names, label);
    plot(state, frame, looks, shown);
  }

  function legend(state, looks, names) {
    const end = looks.t.length - 1;
    write(byId("made-of-legend"), ...names.map((name) => {
      const button = make("button", "", make("i", `dot made-${name}`), `${state.category_labels[name]} `, make("span", "figure", size(looks.sizes[name][end])));
      button.type = "button";
      button.dataset.key = name;
      button.setAttribute("aria-pressed", String(!left.has(name)));
      button.onclick = () => {
        if (!left.delete(name)) left.add(name);
        draw(...last);
      };
      return button;
    }));
  }

  // The same for who does not see the plot: a sentence, and a table of a few moments.
  function describe(state, looks, names, label) {
    const end = looks.t.length - 1;
    const when = (i) => clock(state.origin_ms + looks.t[i], false);
    const told = names.map((name) => `${state.category_labels[name]} ${size(looks.sizes[name][end])}`).join(", ");
    byId("made-of-plot").setAttribute("aria-label", `what ${label} made of from ${when(0)} to ${when(end)}; at the end ${told}`);
    const step = Math.max(1, Math.ceil(looks.t.length / MOST_MOMENTS));
    const moments = looks.t.map((_, i) => i).filter((i) => i % step === 0 || i === end);
    const titles = ["time", ...names.map((name) => state.category_labels[name])].map((name) => make("th", "", name));
    writeTable(byId("made-of-table"), `what ${label} made of over time`, titles, moments.map((i) => make("tr", "",
      make("td", "", when(i)), ...names.map((name) => make("td", "", size(looks.sizes[name][i]))))));
  }

  function plot(state, frame, looks, shown) {
    const { from, to, at, style } = frame;
    // One look beyond each side, so that the areas reach the edge.
    const inside = looks.t.map((_, i) => i).filter((i) => (looks.t[i + 1] ?? Infinity) >= from && (looks.t[i - 1] ?? -Infinity) <= to);
    const x = inside.map((i) => at(looks.t[i]));
    const sums = inside.map((i) => shown.reduce((sum, name) => sum + (looks.sizes[name][i] ?? 0), 0));
    const most = Math.max(1, ...sums) * 1.05;
    const traces = shown.map((name) => ({
      type: "scatter", mode: "lines", name, x, y: inside.map((i) => looks.sizes[name][i] ?? 0), stackgroup: "all", hoverinfo: "skip",
      line: { shape: "hv", width: 1, color: style("--card") }, fillcolor: style(`--made-${name}`),
      ...(PASSING.includes(name) ? { fillpattern: { shape: "/", size: 8, solidity: 0.2, fgcolor: style("--card"), bgcolor: style(`--made-${name}`) } } : {}),
    }));
    traces.push({
      type: "scatter", mode: "lines", x, y: sums, line: { shape: "hv", width: 0, color: style("--ink") }, hoverinfo: "text",
      text: inside.map((i) => [clock(state.origin_ms + looks.t[i], false), ...[...shown].reverse().map((name) => `${state.category_labels[name]} ${size(looks.sizes[name][i])}`)].join("<br>")),
    });
    const ticks = frame.sizeTicks(0, most);
    const layout = {
      ...frame.layout, height: HEIGHT_PX, hovermode: "x", dragmode: false, showlegend: false,
      xaxis: { ...frame.xaxis, fixedrange: true, ticks: "outside", ticklen: 6, tickcolor: "transparent" },
      yaxis: { range: [0, most], fixedrange: true, gridcolor: style("--faint"), zeroline: false, tickvals: ticks, ticktext: ticks.map(size), tickfont: { size: 11.5 } },
    };
    window.Plotly.react(byId("made-of-plot"), traces, layout, { responsive: true, displaylogo: false, displayModeBar: false });
  }

  window.phasescope.madeOf = { append, draw };
})();
