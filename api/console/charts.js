// Charts as SVG: bars of contributions, histogram, trend with intervals, control chart, scatter plot.
import { svg } from "./dom.js";
import { shown } from "./words.js";

/** Return the width of a drawing; half of it on a phone, so that texts stay legible. */
const drawingWidth = () => (innerWidth < 640 ? 360 : 720);

function frame(height, label, ...marks) {
  return svg("svg", { viewBox: `0 0 ${drawingWidth()} ${height}`, role: "img", "aria-label": label, class: "chart" }, ...marks);
}

/** Return about `count` round values between two numbers. */
export function ticks(low, high, count = 5) {
  const span = high - low || 1;
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) found.push(value);
  return found;
}

/** Draw the interval and the value in it, on the scale [low, high] of all that is shown. */
export function range(prediction, [low, high], label) {
  const at = (value) => 4 + ((value - low) / (high - low || 1)) * 192;
  return svg("svg", { viewBox: "0 0 200 22", role: "img", "aria-label": label, class: "range", preserveAspectRatio: "none" },
    svg("line", { class: "axis", x1: 0, x2: 200, y1: 11, y2: 11 }),
    svg("line", { class: "interval", x1: at(prediction.lower), x2: at(prediction.upper), y1: 11, y2: 11 }),
    svg("line", { class: "value", x1: at(prediction.yield), x2: at(prediction.yield), y1: 3, y2: 19 }),
    prediction.measured === undefined || prediction.measured === null ? null
      : svg("circle", { class: "measured", cx: at(prediction.measured), cy: 11, r: 4 }));
}

export function histogram(values, label, bins = 24) {
  const across = drawingWidth();
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  const counts = new Array(bins).fill(0);
  for (const value of values) counts[Math.min(bins - 1, Math.floor(((value - low) / (high - low || 1)) * bins))] += 1;
  const most = Math.max(...counts);
  const step = across / bins;
  return frame(180, label,
    counts.map((count, place) => svg("rect", {
      class: "bar", x: place * step + 1, width: step - 2, y: 150 - (count / most) * 140, height: (count / most) * 140,
    }, svg("title", {}, `${count}`))),
    ticks(low, high, across / 144).map((value) => svg("text", {
      class: "tick", x: Math.min(across - 24, Math.max(24, ((value - low) / (high - low || 1)) * across)), y: 172,
    }, shown(value))));
}

/** Draw values in order, with their intervals if they have one, measured values as dots, and horizontal limits. */
export function trend(points, label, limits = []) {
  const across = drawingWidth();
  const all = points.flatMap((p) => [p.yield, p.lower ?? p.yield, p.upper ?? p.yield, p.measured ?? p.yield]);
  all.push(...limits.map((limit) => limit.value));
  const low = all.reduce((a, b) => Math.min(a, b));
  const high = all.reduce((a, b) => Math.max(a, b));
  const x = (place) => 64 + (place / Math.max(1, points.length - 1)) * (across - 74);
  const y = (value) => 205 - ((value - low) / (high - low || 1)) * 185;
  const path = (pick) => points.map((p, place) => `${x(place).toFixed(1)},${y(pick(p)).toFixed(1)}`);
  const band = points.every((p) => p.lower !== undefined)
    ? svg("polygon", { class: "band", points: [...path((p) => p.lower), ...path((p) => p.upper).reverse()].join(" ") }) : null;
  return frame(230, label,
    ticks(low, high).map((value) => [
      svg("line", { class: "grid", x1: 64, x2: across - 10, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick end", x: 58, y: y(value) + 4 }, shown(value)),
    ]),
    band,
    svg("polyline", { class: "line", points: path((p) => p.yield).join(" ") }),
    points.map((p, place) => (p.measured === null || p.measured === undefined ? null
      : svg("circle", { class: "measured", cx: x(place), cy: y(p.measured), r: 3 }))),
    limits.map((limit) => [
      svg("line", { class: "limit", x1: 64, x2: across - 10, y1: y(limit.value), y2: y(limit.value) }),
      svg("text", { class: "tick end", x: across - 12, y: y(limit.value) - 6 }, limit.label),
    ]));
}

/** Draw points [x, y] and a line through others; `axes` has the titles x and y and the functions ofX and ofY that write a value. */
export function scatter(points, line, label, axes) {
  const across = drawingWidth();
  const all = [...points, ...line];
  const [left, right, low, high] = [0, 1].flatMap((axis) => [Math.min(...all.map((p) => p[axis])), Math.max(...all.map((p) => p[axis]))]);
  const x = (value) => 74 + ((value - left) / (right - left || 1)) * (across - 94);
  const y = (value) => 210 - ((value - low) / (high - low || 1)) * 180;
  return frame(264, label,
    ticks(low, high).map((value) => [
      svg("line", { class: "grid", x1: 74, x2: across - 20, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick end", x: 68, y: y(value) + 4 }, axes.ofY(value)),
    ]),
    ticks(left, right, across / 120).map((value) => svg("text", { class: "tick", x: x(value), y: 232 }, axes.ofX(value))),
    svg("text", { class: "tick start", x: 4, y: 14 }, axes.y), svg("text", { class: "tick end", x: across - 20, y: 256 }, axes.x),
    svg("polyline", { class: "line", points: line.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ") }),
    points.map(([a, b, name]) => svg("circle", { class: "measured", cx: x(a).toFixed(1), cy: y(b).toFixed(1), r: 3 }, name && svg("title", {}, name))));
}

/** Draw two distributions over the same bins. */
export function distributions(edges, before, after, label, names) {
  const across = drawingWidth();
  const step = across / before.length;
  const most = Math.max(...before, ...after, 1e-9);
  const bar = (shares, name, left) => shares.map((share, place) => svg("rect", {
    class: name, x: place * step + 4 + left, width: step / 2 - 5, y: 150 - (share / most) * 140, height: (share / most) * 140,
  }));
  return frame(200, label, bar(before, "bar faint", 0), bar(after, "bar", step / 2),
    edges.map((edge, place) => svg("text", { class: "tick", x: (place + 1) * step, y: 168 }, across / edges.length < 36 && place % 2 ? "" : `${+edge.toPrecision(4)}`)),
    svg("text", { class: "tick start", x: 4, y: 192 }, `□ ${names[0]}  ■ ${names[1]}`));
}
