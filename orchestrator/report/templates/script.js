"use strict";
// A filter over all figures and tables, tables sorted by a column, and the curves of two steps laid over each other.
(() => {
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const make = (tag, attributes = {}, text = "") => {
    const inSvg = ["svg", "g", "line", "text", "polyline"].includes(tag);
    const node = inSvg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.textContent = text;
    return node;
  };

  // Filter
  const filter = document.getElementById("filter");
  const named = all("[data-name]");
  filter.closest("label").hidden = false;
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const node of named) {
      const name = node.dataset.name.toLowerCase();
      node.hidden = !words.every(word => name.includes(word));
    }
    const rows = all("#figures tbody tr");
    const shown = rows.filter(row => !row.hidden).length;
    document.getElementById("shown").textContent = words.length ? `${shown} of ${rows.length}` : "";
  });

  // Sorting; a third click gives the road's order back
  const number = text => {
    const found = text.replace(/[,−]/g, sign => sign === "," ? "" : "-").match(/[+-]?\d+(\.\d+)?(e[+-]?\d+)?/i);
    if (!found) return null;
    const unit = { k: 1e3, M: 1e6, G: 1e9 }[text[found.index + found[0].length]] || 1;
    return (text.trim().startsWith("<") ? 0.999 : 1) * Number(found[0]) * unit;
  };
  const compare = (isNumber, sign) => (a, b) => {
    const [x, y] = isNumber ? [number(a), number(b)] : [a || null, b || null];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (isNumber ? x - y : x.localeCompare(y));
  };
  for (const table of all("table.sortable")) {
    const body = table.tBodies[0], order = [...body.rows], heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button", title: "sort by this column" }, head.textContent);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: "" };
        const state = head.ariaSort in next ? next[head.ariaSort] : "ascending";
        heads.forEach(other => other.removeAttribute("aria-sort"));
        if (state) head.setAttribute("aria-sort", state);
        const by = compare(head.classList.contains("number"), state === "descending" ? -1 : 1);
        const text = row => row.cells[column].textContent;
        body.append(...(state ? [...order].sort((a, b) => by(text(a), text(b))) : order));
      });
    });
  }

  // Print everything that is folded away
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    folded.forEach(node => { node.open = true; });
  });
  window.addEventListener("afterprint", () => folded.forEach(node => { node.open = false; }));

  // Two steps' curves
  const source = document.getElementById("curve-data");
  if (!source) return;
  const data = JSON.parse(source.textContent), metrics = Object.keys(data);
  const WIDTH = 900, HEIGHT = 320, LEFT = 56, RIGHT = 12, TOP = 10, BOTTOM = 30;
  const place = document.getElementById("overlay");
  const choice = (label, options, chosen) => {
    const select = make("select");
    options.forEach(option => select.append(make("option", { value: option }, option)));
    select.value = chosen;
    const wrap = make("label", {}, label + " ");
    wrap.append(select);
    pick.append(wrap);
    return select;
  };
  const pick = make("div", { class: "pick" });
  const metric = choice("Metric", metrics, metrics[0]);
  if (metrics.length < 2) metric.parentNode.hidden = true;
  const steps = Object.keys(data[metrics[0]]);
  const first = choice("Step", steps, steps[0]), second = choice("over", steps, steps[steps.length - 1]);
  first.before(make("i", { class: "key" }));
  second.before(make("i", { class: "key second" }));
  const late = make("input", { type: "checkbox" });
  const lateLabel = make("label");
  lateLabel.append(late, " second half only");
  pick.append(lateLabel);
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: "0" });
  const readout = make("output", {}, "");
  place.append(pick, svg, readout);
  place.hidden = false;

  const meanOf = curves => {
    const at = new Map();
    for (const curve of Object.values(curves)) for (const [x, y] of curve) at.set(x, [...(at.get(x) || []), y]);
    const most = Math.max(0, ...[...at.values()].map(values => values.length));
    return [...at].filter(([, values]) => values.length === most).sort((a, b) => a[0] - b[0])
      .map(([x, values]) => [x, values.reduce((a, b) => a + b, 0) / values.length, Math.min(...values), Math.max(...values)]);
  };
  const round = size => {
    const power = 10 ** Math.floor(Math.log10(size));
    return [1, 2, 5, 10].map(factor => factor * power).find(step => step >= size * 0.999);
  };
  let shown = [], toX = x => x, fromX = x => x, cross = null, at = null;
  const draw = () => {
    svg.replaceChildren();
    svg.setAttribute("aria-label", `${metric.value} of ${first.value} and ${second.value}`);
    const chosen = [first.value, second.value].map(step => data[metric.value][step] || {});
    const everything = chosen.flatMap(curves => Object.values(curves)).flat();
    const end = Math.max(1, ...everything.map(([x]) => x)), begin = late.checked ? end / 2 : 0;
    const values = everything.filter(([x]) => x >= begin).map(([, y]) => y);
    if (!values.length) return;
    let low = Math.min(...values), high = Math.max(...values);
    const margin = 0.05 * (high - low) || Math.abs(high) * 0.05 || 0.5;
    low -= margin; high += margin;
    toX = x => LEFT + (x - begin) / (end - begin) * (WIDTH - LEFT - RIGHT);
    fromX = x => begin + (x - LEFT) / (WIDTH - LEFT - RIGHT) * (end - begin);
    const toY = y => HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - BOTTOM - TOP);
    const step = round((high - low) / 6), decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) {
      svg.append(make("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: toY(tick), y2: toY(tick) }),
        make("text", { x: LEFT - 6, y: toY(tick) + 4, "text-anchor": "end" }, tick.toFixed(Math.min(decimals, 8))));
    }
    const across = round((end - begin) / 8);
    for (let tick = Math.ceil(begin / across) * across; tick <= end; tick += across)
      svg.append(make("text", { x: toX(tick), y: HEIGHT - 10, "text-anchor": "middle" }, `${+tick.toFixed(6)}`));
    const line = (points, kind) => svg.append(make("polyline",
      { class: kind, points: points.filter(([x]) => x >= begin).map(([x, y]) => `${toX(x).toFixed(1)},${toY(y).toFixed(1)}`).join(" ") }));
    shown = chosen.map(meanOf);
    chosen.forEach((curves, index) => {
      Object.values(curves).forEach(curve => line(curve, `seed ${"ab"[index]}`));
      line(shown[index], `mean ${"ab"[index]}`);
    });
    cross = make("line", { class: "cross", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    svg.append(cross);
    readout.textContent = "Thick: means over seeds; thin: seeds. Point at the drawing, or press the arrow keys, to read values.";
  };
  const show = wanted => {
    const xs = shown.flat().map(([x]) => x);
    if (!xs.length) return;
    at = xs.reduce((best, x) => Math.abs(x - wanted) < Math.abs(best - wanted) ? x : best);
    cross.setAttribute("x1", toX(at));
    cross.setAttribute("x2", toX(at));
    cross.setAttribute("visibility", "visible");
    const text = [first.value, second.value].map((step, index) => {
      const found = shown[index].find(([x]) => x === at);
      return found ? `${step} ${+found[1].toPrecision(6)} (${+found[2].toPrecision(6)} to ${+found[3].toPrecision(6)})` : `${step} –`;
    });
    readout.textContent = `At ${at}: ${text.join("; ")}`;
  };
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect();
    show(fromX((event.clientX - box.left) / box.width * WIDTH));
  });
  svg.addEventListener("keydown", event => {
    const xs = [...new Set(shown.flat().map(([x]) => x))].sort((a, b) => a - b);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !xs.length) return;
    event.preventDefault();
    const index = at === null ? (step > 0 ? -1 : xs.length) : xs.indexOf(at);
    show(xs[Math.min(xs.length - 1, Math.max(0, index + step))]);
  });
  [metric, first, second, late].forEach(node => node.addEventListener("change", () => { at = null; draw(); }));
  draw();
})();
