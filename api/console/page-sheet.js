// A sheet in, a table of predictions out: file, paste or drop; columns are checked; CSV and Excel to take home.
import { histogram, range, trend } from "./charts.js";
import { announce, download, fill, h, pairs, table } from "./dom.js";
import * as service from "./service.js";
import { fileGone, problemCard, recordedSummary, showPin, warningList, warningTexts } from "./shared.js";
import * as sheets from "./sheets.js";
import { readings, shown, shownUnit, signed, t, target, targetTitle, targetWord, whole } from "./words.js";

const PAGE = 100;
const kept = { answer: null }; // outlives the page, so that another page and back shows the same results

const names = () => readings().map((reading) => reading.name);

export function sheetPage(main, open) {
  let working = null;
  let last = null; // what to predict again, after signing in or by the button
  let left = ""; // what to say of further files
  const status = h("span", { class: "status", role: "status" });
  const columns = h("div"), results = h("div");
  const file = h("input", { id: "file", class: "visually-hidden", type: "file", accept: ".csv,.xlsx,text/csv" });
  const pasted = h("textarea", { id: "pasted", rows: "4", spellcheck: "false", placeholder: `${target().id_column ?? ""},${names().slice(0, 2)},…` });
  const drop = h("label", { class: "drop", for: "file" },
    h("span", {}, h("strong", {}, t("choose")), " ", t("drop")),
    h("span", { class: "hint" }, t("dropHint", { target: targetWord() })), file);

  async function take(files) {
    if (!files.length) return;
    const [chosen] = files;
    left = files.length > 1 ? t("secondFile", { name: chosen.name }) : "";
    status.textContent = left || t("busy");
    let text;
    try {
      text = /\.xlsx$/i.test(chosen.name) ? await service.readWorkbook(chosen) : await sheets.read(chosen, target().encoding ?? "gb18030");
    } catch (error) {
      const gone = error.status === undefined; // a file that changed after it was chosen cannot be read
      return fail(gone ? fileGone(chosen.name) : error);
    } finally {
      file.value = ""; // so that choosing the same file again is a change
    }
    consider(text, chosen.name);
  }

  function fail(error) {
    if (error.name === "AbortError") return;
    status.textContent = "";
    columns.replaceChildren();
    fill(results, problemCard(error), last && h("button", { type: "button", onclick: () => last() }, t("retry")));
  }

  /** Compare the columns with the plant's; ask where they differ. */
  function consider(text, name) {
    const rows = sheets.parse(text);
    if (!rows.length) { status.textContent = t("emptySheet"); return; }
    const found = sheets.compareColumns(rows, names(), target());
    if (found.header && !found.open.length && !found.absent().length) {
      predict(sheets.arrange(rows, found.matched, names(), target()), name);
      return;
    }
    status.textContent = "";
    results.replaceChildren();
    fill(columns, found.header ? mapping(rows, found, name) : headerless(rows, name));
    columns.querySelector("button")?.focus();
  }

  function headerless(rows, name) {
    const all = sheets.inputColumns(names(), target());
    const fits = rows[0].length >= all.length && rows[0].length <= all.length + 1;
    const matched = new Map([...all, target().column].slice(0, rows[0].length).map((one, at) => [at, one]));
    return h("section", { class: "card notice", role: "alert" }, h("h2", {}, t("columns")), h("p", {}, t("headerMissing")),
      fits && h("button", { type: "button", onclick: () => predict(sheets.arrange(rows, matched, names(), target(), false), name) }, t("plantOrder")));
  }

  function mapping(rows, found, name) {
    const choices = found.open.map(({ at, name: header, guess }) => {
      const free = [...sheets.inputColumns(names(), target()), target().column].filter((one) => ![...found.matched.values()].includes(one));
      const select = h("select", { id: `column-${at}` },
        h("option", { value: "" }, t("ignore")), free.map((one) => h("option", { value: one, selected: one === guess }, one)));
      return { at, select, element: h("p", { class: "row" }, h("label", { for: `column-${at}` }, t("readAs", { name: header || `#${at + 1}` })), select) };
    });
    const absent = h("p", { class: "hint" });
    const matched = () => new Map([...found.matched, ...choices.filter(({ select }) => select.value).map(({ at, select }) => [at, select.value])]);
    const refresh = () => {
      const taken = new Set(matched().values());
      const missing = names().filter((one) => !taken.has(one));
      absent.textContent = missing.length ? t("absent", { names: missing.join(", ") }) : "";
    };
    refresh();
    return h("section", { class: "card notice", role: "alert", onchange: refresh },
      h("h2", {}, t("columns")), h("p", {}, t("columnsHint")), choices.map((choice) => choice.element), absent,
      h("button", { type: "button", class: "primary", onclick: () => predict(sheets.arrange(rows, matched(), names(), target()), name) }, t("goOn")));
  }

  async function predict(rows, name) {
    last = () => predict(rows, name);
    working?.abort(); // an older slow answer never overwrites a newer one
    working = new AbortController();
    fill(columns, h("section", { class: "card row" }, h("progress", { "aria-label": t("busy") }), `${t("busy")} ${name}`,
      h("button", { type: "button", onclick: () => { working.abort(); columns.replaceChildren(); } }, t("cancel"))));
    results.replaceChildren();
    try {
      const answer = await service.predictSheet(sheets.write(rows), working.signal);
      const [header, ...body] = rows;
      const measuredAt = header.indexOf(target().column);
      const predictions = answer.predictions.map((p, at) => {
        const measured = measuredAt < 0 || !row(body, at)[measuredAt] ? null : Number(row(body, at)[measuredAt]);
        return { ...p, at, measured: Number.isFinite(measured) ? measured : null };
      });
      kept.answer = { name, model: answer.model, predictions, batchAt: (at) => toBatch(header, body[at]) };
      columns.replaceChildren();
      status.textContent = left;
      left = "";
      show();
    } catch (error) {
      fail(error);
    }
  }
  const row = (body, at) => body[at] ?? [];

  function show() {
    const { answer } = kept;
    showPin(answer.model);
    fill(results, resultTable(answer, open));
    results.querySelector("h2").focus();
    announce(t("results", { name: answer.name }));
  }

  const form = h("form", {
    onsubmit(event) {
      event.preventDefault();
      if (pasted.value.trim()) consider(pasted.value, t("pastedRows"));
      else if (last) last();
      else status.textContent = t("emptySheet");
    },
  }, drop, h("label", { for: "pasted" }, t("paste")), pasted,
  h("div", { class: "row" }, h("button", { class: "primary" }, t("predictSheet")),
    h("button", {
      type: "button",
      onclick() {
        const examples = new Map(readings().map((r) => [r.name, r.example ?? ""]));
        const columns = sheets.inputColumns(names(), target());
        pasted.value = sheets.write([columns, columns.map((name) => examples.get(name) ?? "sample_1")]);
        form.requestSubmit();
      },
    }, t("useExample")), status));

  file.addEventListener("change", () => take([...file.files]));
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, () => drop.classList.add("over"));
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  const over = (event) => event.preventDefault(); // a file dropped anywhere on the page is taken
  const dropped = (event) => { event.preventDefault(); take([...event.dataTransfer.files]); };
  const signedIn = () => { if (results.querySelector(".refusal")) last?.(); };
  window.addEventListener("dragover", over);
  window.addEventListener("drop", dropped);
  document.addEventListener("signed-in", signedIn);

  main.append(h("section", { class: "card", "aria-labelledby": "sheet-title" }, h("h1", { id: "sheet-title" }, t("sheetTitle")), form), columns, results);
  if (kept.answer) show();
  return () => {
    working?.abort();
    window.removeEventListener("dragover", over);
    window.removeEventListener("drop", dropped);
    document.removeEventListener("signed-in", signedIn);
  };
}

function toBatch(header, row) {
  const at = new Map(header.map((name, place) => [name, place]));
  const batch = { id: target().id_column ? row[at.get(target().id_column)] || null : null };
  for (const reading of readings()) {
    const text = row[at.get(reading.name)] ?? "";
    batch[reading.name] = text === "" ? null : reading.kind === "number" && !Number.isNaN(Number(text)) ? Number(text) : text;
  }
  return batch;
}

function figures(predictions) {
  const values = predictions.map((p) => p.yield);
  const known = predictions.filter((p) => p.measured !== null);
  const mean = (some) => some.reduce((sum, value) => sum + value, 0) / some.length;
  const made = [
    [t("count"), whole(values.length)], [`${t("mean")} (${target().unit || targetWord()})`, shown(mean(values))],
    [t("lowest"), shown(values.reduce((a, b) => Math.min(a, b)))], [t("highest"), shown(values.reduce((a, b) => Math.max(a, b)))],
    [t("warned"), whole(predictions.filter((p) => p.warnings.length).length)],
  ];
  if (known.length) {
    made.push([t("meanError"), shown(mean(known.map((p) => Math.abs(p.yield - p.measured))))]);
    made.push([t("coverage"), `${Math.round(mean(known.map((p) => (p.lower <= p.measured && p.measured <= p.upper ? 100 : 0))))} %`]);
  }
  return pairs("figures", made);
}

/** Return the results with search, sort, pages, charts and downloads. */
function resultTable(answer, open) {
  const { predictions } = answer;
  const known = predictions.some((p) => p.measured !== null);
  const scale = [
    predictions.reduce((least, p) => Math.min(least, p.lower, p.measured ?? p.lower), Infinity),
    predictions.reduce((most, p) => Math.max(most, p.upper, p.measured ?? p.upper), -Infinity),
  ];
  let first = 0, order = "at", down = false;
  const search = h("input", { id: "search", type: "search" });
  const warned = h("input", { id: "only-warned", type: "checkbox" });
  const place = h("div");
  const keys = { at: (p) => p.at, id: (p) => p.id ?? "", yield: (p) => p.yield, width: (p) => p.upper - p.lower,
    measured: (p) => p.measured ?? -1, error: (p) => (p.measured === null ? -1 : Math.abs(p.yield - p.measured)), warnings: (p) => p.warnings.length };

  function draw() {
    const wanted = predictions
      .filter((p) => (!warned.checked || p.warnings.length) && (p.id ?? "").toLowerCase().includes(search.value.toLowerCase()))
      .sort((a, b) => (keys[order](a) < keys[order](b) ? -1 : keys[order](a) > keys[order](b) ? 1 : a.at - b.at) * (down ? -1 : 1));
    const part = wanted.slice(first, first + PAGE);
    const head = (key, words, name) => [h("button", {
      type: "button", class: "sort", "data-control": key, "aria-pressed": order === key ? "true" : "false",
      onclick() { down = order === key && !down; order = key; first = 0; draw(); },
    }, words, order === key ? (down ? " ↓" : " ↑") : ""), name];
    const heads = [head("id", t("batch")), head("yield", targetTitle(), "number"), [t("lower"), "number"], [t("upper"), "number"],
      ...(known ? [head("measured", t("measured"), "number"), head("error", t("error"), "number")] : []),
      head("width", t("interval"), "wide"), head("warnings", t("warnings"), "warned")];
    const label = (p) => `${shownUnit(p.yield)}${t("colon")}${t("range", { low: shown(p.lower), high: shown(p.upper) })}`;
    const rows = part.map((p) => [
      h("button", { type: "button", class: "link", onclick: () => open(answer.batchAt(p.at)), title: t("open") }, p.id ?? t("noName")),
      [shown(p.yield), "number"], [shown(p.lower), "number"], [shown(p.upper), "number"],
      ...(known ? [[shown(p.measured), "number"], [p.measured === null ? "–" : signed(p.yield - p.measured), "number"]] : []),
      [range(p, scale, label(p)), "wide"], [warningList(p.warnings), "warned"],
    ]);
    const used = place.contains(document.activeElement) ? document.activeElement.dataset.control : null;
    fill(place, part.length ? table(t("results", { name: answer.name }), heads, rows, { class: "predictions" }) : h("p", {}, t("nothingFits")),
      h("p", { class: "axis-note hint" }, `${shown(scale[0])} … ${shownUnit(scale[1])}`),
      h("div", { class: "row spread pager" },
        h("button", { type: "button", "data-control": "previous", disabled: first === 0, onclick() { first -= PAGE; draw(); } }, t("previous")),
        h("span", { "aria-live": "polite" }, t("shown", { first: part.length ? first + 1 : 0, last: first + part.length, all: whole(wanted.length) })),
        h("button", { type: "button", "data-control": "next", disabled: first + PAGE >= wanted.length, onclick() { first += PAGE; draw(); } }, t("next"))));
    if (used) (place.querySelector(`[data-control=${used}]:enabled`) ?? place.querySelector(".scroll"))?.focus(); // its control was replaced
  }
  for (const input of [search, warned]) input.addEventListener("input", () => { first = 0; draw(); });
  draw();

  const text = () => csvOf(answer);
  const stem = `${answer.name.replace(/\.(csv|xlsx)$/i, "").replace(/[^\p{L}\p{N}_.-]+/gu, "-")}-${answer.model.md5.slice(0, 8)}`;
  const measured = predictions.filter((p) => p.measured !== null && p.id);
  const done = h("span", { class: "status", role: "status" });
  const printed = h("div", { class: "print-only" }, table(t("results", { name: answer.name }), [t("batch"), targetTitle(), t("lower"), t("upper"), t("measured"), t("warnings")], []));
  // All rows are printed, not only those of the page.
  window.onbeforeprint = () => printed.querySelector("tbody")?.replaceChildren(...predictions.map((p) =>
    h("tr", {}, [p.id ?? t("noName"), shown(p.yield), shown(p.lower), shown(p.upper), shown(p.measured), warningTexts(p.warnings).join("; ")].map((one) => h("td", {}, one)))));
  return h("section", { class: "card", "aria-labelledby": "results-title" },
    h("div", { class: "row spread" },
      h("h2", { id: "results-title", tabindex: "-1" }, t("results", { name: answer.name })),
      h("div", { class: "row" },
        h("button", { type: "button", onclick: () => download(`\ufeff${text()}`, `${stem}.csv`, "text/csv;charset=utf-8") }, t("downloadCsv")),
        h("button", { type: "button", async onclick() {
          try { download(await service.writeWorkbook(text()), `${stem}.xlsx`); } catch (error) { done.textContent = error.message; }
        } }, t("downloadXlsx")))),
    figures(predictions),
    measured.length > 0 && h("p", {}, h("button", { type: "button", async onclick() {
      try {
        const made = await service.recordOutcomes(measured.map((p) => ({ id: p.id, yield: p.measured })));
        fill(done, recordedSummary(made.outcomes));
      } catch (error) { done.textContent = error.message; }
    } }, t("takeMeasured", { count: whole(measured.length) }))),
    done,
    h("div", { class: "row screen-only" }, h("label", { for: "search" }, t("search")), search, h("label", { class: "check" }, warned, t("onlyWarned"))),
    h("div", { class: "screen-only" }, place), printed,
    predictions.length > 1 && [h("h3", {}, t("histogram")), histogram(predictions.map((p) => p.yield), t("histogram")),
      h("h3", {}, t("trend")), trend(predictions.length > 2000 ? predictions.filter((_, at) => at % Math.ceil(predictions.length / 2000) === 0) : predictions, t("trend"))]);
}

/** The answer as CSV with warnings and the pin; cells that a spreadsheet would run as formulas are quoted. */
function csvOf({ predictions, model }) {
  const head = ["id", "yield", "lower", "upper", "measured", "warnings", "model_md5", "model_version"];
  return sheets.write([head, ...predictions.map((p) => [
    sheets.harmless(p.id ?? ""), p.yield, p.lower, p.upper, p.measured ?? "",
    sheets.harmless(warningTexts(p.warnings).join("; ")), model.md5, model.version,
  ])]);
}

