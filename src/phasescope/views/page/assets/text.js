"use strict";
// Text for people, as the command writes it, and elements whose content is text: nothing is ever parsed as HTML.
window.phasescope = (() => {
  const UNKNOWN = "–";

  function inUnits(value, units) {
    const sign = value < 0 ? "-" : "";
    let number = Math.abs(value);
    if (number < units[0][1]) return `${sign}${Math.round(number)} ${units[0][0]}`;
    for (const [unit, next] of units) {
      if (!next || number < next - (next < 100 ? 0.05 : 0.5)) {
        return `${sign}${number.toFixed(number < 9.995 ? 2 : number < 99.95 ? 1 : 0)} ${unit}`;
      }
      number /= next;
    }
    return UNKNOWN;
  }

  const known = (value) => typeof value === "number" && Number.isFinite(value);
  const TIMES = [["ns", 1000], ["µs", 1000], ["ms", 1000], ["s", 60], ["min", 60], ["h", 24], ["d", 0]];
  const SIZES = [["B", 1024], ["KiB", 1024], ["MiB", 1024], ["GiB", 1024], ["TiB", 1024], ["PiB", 0]];
  const duration = (ns) => (known(ns) ? inUnits(ns, TIMES) : UNKNOWN);
  const size = (bytes) => (known(bytes) ? inUnits(bytes, SIZES) : UNKNOWN);
  const change = (bytes) => (known(bytes) && bytes > 0 ? "+" : "") + size(bytes);
  const count = (number) => (known(number) ? number.toLocaleString("en") : UNKNOWN);
  const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

  function share(fraction) {
    if (!known(fraction)) return UNKNOWN;
    const percent = fraction * 100;
    if (percent >= 9.95) return `${percent.toFixed(0)}%`;
    if (percent >= 0.1) return `${percent.toFixed(1)}%`;
    return percent > 0 ? "<0.1%" : "0%";
  }

  function clock(ms, withMillis = true) {
    const when = new Date(ms);
    if (Number.isNaN(when.getTime())) return UNKNOWN;
    const two = (number) => String(number).padStart(2, "0");
    const text = `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}`;
    return withMillis ? `${text}.${String(when.getMilliseconds()).padStart(3, "0")}` : text;
  }

  function day(ms) {
    const when = new Date(ms);
    if (Number.isNaN(when.getTime())) return UNKNOWN;
    return `${when.getFullYear()}-${String(when.getMonth() + 1).padStart(2, "0")}-${String(when.getDate()).padStart(2, "0")}`;
  }

  // Control characters and what turns the direction of writing are shown, not obeyed.
  const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
  const plain = (text) => String(text).replace(HIDDEN, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const path = (names) => (names && names.length ? names.map(plain).join("/") : "");

  // The innermost names of a path say most: they stay where there is no room for all.
  function tail(names, most) {
    const whole = path(names);
    if (whole.length <= most) return whole;
    let kept = plain(names[names.length - 1]);
    for (let at = names.length - 2; at >= 0 && kept.length + names[at].length < most; at--) kept = `${plain(names[at])}/${kept}`;
    return `…/${kept}`;
  }

  function make(tag, className, ...content) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    for (const part of content) {
      if (part === null || part === undefined) continue;
      element.append(part instanceof Node ? part : document.createTextNode(String(part)));
    }
    return element;
  }

  const byId = (id) => document.getElementById(id);

  // What stays keeps its element, so that a press, the focus and a selection outlive what is new.
  function become(kept, made) {
    if (kept.nodeType === Node.TEXT_NODE) {
      if (kept.data !== made.data) kept.data = made.data;
      return;
    }
    for (const { name } of [...kept.attributes]) if (!made.hasAttribute(name)) kept.removeAttribute(name);
    for (const { name, value } of made.attributes) {
      if (name !== "style" && kept.getAttribute(name) !== value) kept.setAttribute(name, value);
    }
    // The page's policy allows a style that a script sets, but none in an attribute.
    if (kept.style.cssText !== made.style.cssText) kept.style.cssText = made.style.cssText;
    kept.onclick = made.onclick;
    fill(kept, [...made.childNodes]);
  }

  const keyOf = (node) => node.dataset?.key ?? "";

  function fill(parent, content) {
    const keyed = new Map([...parent.children].filter(keyOf).map((child) => [keyOf(child), child]));
    let next = parent.firstChild;
    for (const made of content) {
      const kept = keyOf(made) ? keyed.get(keyOf(made)) : next;
      if (!kept || kept.nodeName !== made.nodeName || keyOf(kept) !== keyOf(made)) {
        parent.insertBefore(made, next);
        continue;
      }
      if (kept === next) next = next.nextSibling;
      else parent.insertBefore(kept, next);
      become(kept, made);
    }
    while (next) {
      const after = next.nextSibling;
      next.remove();
      next = after;
    }
  }

  function write(element, ...content) {
    const focused = document.activeElement;
    fill(element, content.filter((part) => part !== null && part !== undefined));
    if (focused !== document.activeElement && element.contains(focused)) focused.focus({ preventScroll: true });
  }

  // A table with a caption for who cannot see it, whose titles name their columns.
  function writeTable(element, caption, titles, rows) {
    for (const title of titles) title.scope = "col";
    write(element, make("caption", "unseen", caption), make("thead", "", make("tr", "", ...titles)), make("tbody", "", ...rows));
  }

  // Plotly reads a small part of HTML in every text that it shows.
  const inPlot = (text) => plain(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  const PALETTE = [
    "#7ea6f4", "#e5b36a", "#79c79a", "#cf8fd3", "#e28a80", "#66bfc9", "#b4b85a", "#a394ec", "#e29dc0", "#94abbd",
  ];
  const given = new Map();
  function colour(name) {
    if (!given.has(name)) given.set(name, PALETTE[given.size % PALETTE.length]);
    return given.get(name);
  }

  return {
    UNKNOWN, byId, change, clock, colour, count, day, duration, inPlot, known, make, path, plain, plural, share, size, tail, write, writeTable,
  };
})();
