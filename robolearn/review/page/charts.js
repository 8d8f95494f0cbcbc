"use strict";
// Charts as SVG: small stacked panels over one time axis, a shared cursor, a readout beside it.
const NS = "http://www.w3.org/2000/svg";
const COLORS = ["#0072b2", "#e08a00", "#009e73", "#c2568f", "#4aa3dd", "#c4500b", "#5b6470", "#8d6cc2"];
const WIDTH = 1080, LEFT = 62, RIGHT = 14;

function svg(tag, attributes, ...children) {
  const node = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function unpack(text, Type) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Type(bytes.buffer);
}

function ticks(low, high, count) {
  const span = high - low || 1, rough = span / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(f => f * power).find(s => s >= rough);
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-6; v += step) found.push(Math.abs(v) < step / 1e6 ? 0 : v);
  return found;
}

const number = v => v === null || v === undefined || !Number.isFinite(v) ? "–" : Math.abs(v) >= 1e4 || (v && Math.abs(v) < 1e-3) ? v.toExponential(2) : String(+v.toPrecision(4));

// lines: {values: f(i) -> number, color, dash, width}; limits: [number]; steps: draw as bars from zero.
function panel(root, spec, top, height, t, x) {
  let low = Infinity, high = -Infinity;
  for (const line of spec.lines) for (let i = 0; i < t.length; i++) {
    const v = line.values(i);
    if (Number.isFinite(v)) { if (v < low) low = v; if (v > high) high = v; }
  }
  if (spec.floor !== undefined) low = Math.min(low, spec.floor);
  if (!Number.isFinite(low)) { low = 0; high = 1; }
  const near = (high - low) * 0.6 + 1e-9;
  for (const limit of spec.limits || []) if (limit < high + near && limit > low - near || spec.always) { low = Math.min(low, limit); high = Math.max(high, limit); }
  if (high - low < 1e-9) { high += 0.5; low -= spec.floor === undefined ? 0.5 : 0; }
  const room = (high - low) * 0.07;
  high += room; if (spec.floor === undefined || low < spec.floor) low -= room;
  const y = v => top + height - (v - low) / (high - low) * height;
  for (const v of ticks(low, high, 4)) {
    root.append(svg("line", {class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(v), y2: y(v)}));
    root.append(svg("text", {x: LEFT - 8, y: y(v) + 4, "text-anchor": "end"}, number(v)));
  }
  root.append(svg("line", {class: "axis", x1: LEFT, x2: LEFT, y1: top, y2: top + height}));
  root.append(svg("text", {class: "title", x: LEFT, y: top - 8}, spec.title));
  if (spec.note) root.append(svg("text", {class: "quiet", x: WIDTH - RIGHT, y: top - 8, "text-anchor": "end"}, spec.note));
  for (const limit of spec.limits || []) if (limit >= low && limit <= high) root.append(svg("line", {class: "limit", x1: LEFT, x2: WIDTH - RIGHT, y1: y(limit), y2: y(limit)}));
  for (const line of spec.lines) {
    let d = "", pen = false;
    if (line.bars) for (let i = 0; i < t.length; i++) { if (line.values(i) > 0) d += `M${x(t[i]).toFixed(1)} ${y(0).toFixed(1)}V${y(line.values(i)).toFixed(1)}`; }
    else for (let i = 0; i < t.length; i++) {
      const v = line.values(i);
      if (!Number.isFinite(v)) { pen = false; continue; }
      d += `${pen ? "L" : "M"}${x(t[i]).toFixed(1)} ${y(v).toFixed(1)}`;
      pen = true;
    }
    root.append(svg("path", {d, stroke: line.color, "stroke-width": line.width || 1.5, "stroke-dasharray": line.dash || "none", "stroke-opacity": line.opacity || 1}));
  }
}

// panels: specs with a height; readout: f(i) -> node. marks: t of vertical lines. Returns the <svg>.
function chart(panels, t, options) {
  const gap = 34;
  let top = 24;
  const total = top + panels.reduce((sum, p) => sum + p.height + gap, 0) + 6;
  const t0 = t[0], t1 = t[t.length - 1] > t0 ? t[t.length - 1] : t0 + 1;
  const x = v => LEFT + (v - t0) / (t1 - t0) * (WIDTH - LEFT - RIGHT);
  const root = svg("svg", {class: "chart", viewBox: `0 0 ${WIDTH} ${total}`, role: "img", "aria-label": panels.map(p => p.title).join(", ")});
  for (const spec of panels) {
    if (options.shade !== undefined && options.shade < t1) root.append(svg("rect", {class: "after", x: x(options.shade), y: top, width: x(Math.min(options.until ?? t1, t1)) - x(options.shade), height: spec.height}));
    panel(root, spec, top, spec.height, t, x);
    if (options.shade !== undefined) root.append(svg("line", {class: "zero", x1: x(options.shade), x2: x(options.shade), y1: top, y2: top + spec.height}));
    top += spec.height + gap;
  }
  for (const v of ticks(t0, t1, 10)) root.append(svg("text", {x: x(v), y: top - gap + 17, "text-anchor": "middle"}, `${number(v)} s`));
  const cursor = svg("line", {class: "cursor", x1: 0, x2: 0, y1: 24, y2: top - gap, visibility: "hidden"});
  root.append(cursor);
  const box = document.getElementById("readout");
  root.addEventListener("pointermove", event => {
    const rect = root.getBoundingClientRect(), at = (event.clientX - rect.left) / rect.width * WIDTH;
    const want = t0 + (at - LEFT) / (WIDTH - LEFT - RIGHT) * (t1 - t0);
    let low = 0, high = t.length - 1;
    while (low < high) { const middle = (low + high) >> 1; if (t[middle] < want) low = middle + 1; else high = middle; }
    if (low > 0 && want - t[low - 1] < t[low] - want) low--;
    cursor.setAttribute("x1", x(t[low])); cursor.setAttribute("x2", x(t[low])); cursor.setAttribute("visibility", "visible");
    box.replaceChildren(options.readout(low));
    box.hidden = false;
    const wide = box.offsetWidth, high_ = box.offsetHeight;
    box.style.left = `${event.clientX + 18 + wide > innerWidth ? event.clientX - wide - 18 : event.clientX + 18}px`;
    box.style.top = `${Math.max(8, Math.min(event.clientY - high_ / 2, innerHeight - high_ - 8))}px`;
  });
  root.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); box.hidden = true; });
  return root;
}
