// The table of predictions, a page at a time.

const PAGE = 100;
const fixed = (number) => number.toFixed(4);

function cell(content, name) {
  const made = document.createElement("td");
  made.setAttribute("role", "cell"); // a narrow screen shows rows as grids, where cells would lose their role
  if (name) made.className = name;
  made.append(content);
  return made;
}

/** The interval and the prediction in it, on the scale of all that is shown. */
function range(prediction, [least, most]) {
  const percent = (value) => `${((value - least) / (most - least || 1)) * 100}%`;
  const drawn = document.createElement("div");
  drawn.className = "range";
  drawn.setAttribute("role", "img");
  drawn.setAttribute("aria-label", `${fixed(prediction.yield)}, between ${fixed(prediction.lower)} and ${fixed(prediction.upper)}`);
  const interval = document.createElement("i");
  interval.style.left = percent(prediction.lower);
  interval.style.right = `calc(100% - ${percent(prediction.upper)})`;
  const middle = document.createElement("b");
  middle.style.left = percent(prediction.yield);
  drawn.append(interval, middle);
  return drawn;
}

function warnings(found) {
  if (!found.length) {
    const none = document.createElement("span");
    none.className = "none";
    none.textContent = "none";
    return none;
  }
  const list = document.createElement("ul");
  list.className = "cells";
  for (const { field, message } of found) {
    const item = document.createElement("li");
    item.textContent = `${field}: ${message}`;
    list.append(item);
  }
  return list;
}

function row(prediction, scale) {
  const made = document.createElement("tr");
  made.setAttribute("role", "row");
  made.append(
    cell(prediction.id ?? "(no name)"),
    cell(fixed(prediction.yield), "number"),
    cell(fixed(prediction.lower), "number"),
    cell(fixed(prediction.upper), "number"),
    cell(range(prediction, scale), "wide"),
    cell(warnings(prediction.warnings), "warned"),
  );
  return made;
}

function figures(predictions) {
  const yields = predictions.map((p) => p.yield);
  const warned = predictions.filter((p) => p.warnings.length).length;
  const mean = yields.reduce((sum, value) => sum + value, 0) / yields.length;
  const summary = { Batches: yields.length.toLocaleString(), "Mean yield": fixed(mean) };
  const least = yields.reduce((a, b) => Math.min(a, b));
  const most = yields.reduce((a, b) => Math.max(a, b));
  Object.assign(summary, { Lowest: fixed(least), Highest: fixed(most), "With warnings": warned.toLocaleString() });
  return Object.entries(summary).map(([name, value]) => {
    const pair = document.createElement("div");
    const term = document.createElement("dt");
    const detail = document.createElement("dd");
    term.textContent = name;
    detail.textContent = value;
    pair.append(term, detail);
    return pair;
  });
}

/** A function that shows an answer; `at` finds an element of the page by its id. */
export function table(at) {
  let all = [];
  let scale = [0, 1];
  let first = 0;

  function draw() {
    const wanted = at("only-warned").checked ? all.filter((p) => p.warnings.length) : all;
    const shown = wanted.slice(first, first + PAGE);
    at("rows").replaceChildren(...shown.map((prediction) => row(prediction, scale)));
    at("shown").textContent = wanted.length
      ? `${first + 1} to ${first + shown.length} of ${wanted.length.toLocaleString()}`
      : "None has a warning";
    at("previous").disabled = first === 0;
    at("next").disabled = first + PAGE >= wanted.length;
  }

  const turn = (by) => {
    first = Math.max(0, first + by);
    draw();
  };
  at("previous").addEventListener("click", () => turn(-PAGE));
  at("next").addEventListener("click", () => turn(PAGE));
  at("only-warned").addEventListener("change", () => turn(-Infinity));

  return ({ predictions }) => {
    all = predictions;
    scale = [
      predictions.reduce((least, p) => Math.min(least, p.lower), Infinity),
      predictions.reduce((most, p) => Math.max(most, p.upper), -Infinity),
    ];
    at("figures").replaceChildren(...figures(predictions));
    first = 0;
    draw();
  };
}
