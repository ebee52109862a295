// The journal: find batches, see one as a record to print, compare two reading by reading.
import { fill, h, pairs, table } from "./dom.js";
import * as service from "./service.js";
import { problemCard, showPin, warningList } from "./shared.js";
import { meaningOf, plain, readings, shown, shownUnit, signed, t, targetTitle, time } from "./words.js";

/** Return the time of midnight at the beginning of a day here, or so many days later; "" for no day. */
function midnight(day, later = 0) {
  if (!day) return "";
  const [year, month, date] = day.split("-").map(Number);
  return new Date(year, month - 1, date + later).toISOString();
}

export function batchesPage(main, open) {
  const id = h("input", { id: "find-id", type: "search" });
  const since = h("input", { id: "find-since", type: "date" });
  const until = h("input", { id: "find-until", type: "date" });
  const list = h("section", { class: "card", tabindex: "-1", "aria-label": t("batchesTitle") });
  const detail = h("div", { tabindex: "-1" });
  let ticked = [];

  async function search(before = "", rows = []) {
    try {
      const page = await service.listPredictions({ id: id.value.trim(), since: midnight(since.value), until: midnight(until.value, 1), before, limit: 50 });
      const all = [...rows, ...page.predictions];
      const compare = h("button", { type: "button", disabled: true, onclick: () => compareTwo(...ticked) }, t("compare"));
      const tick = (one) => h("input", { type: "checkbox", "aria-label": `${t("compare")} ${one.batch.id ?? ""}`, onchange(event) {
        ticked = event.target.checked ? [...ticked, one] : ticked.filter((other) => other !== one);
        compare.disabled = ticked.length !== 2;
      } });
      ticked = [];
      fill(list, all.length
          ? table(t("batchesTitle"), ["", t("batch"), [t("predicted"), "number"], [t("measured"), "number"], [t("interval"), "number"], t("asked"), t("by"), "md5"],
            all.map((one) => [tick(one),
              h("button", { type: "button", class: "link", onclick: () => record(one) }, one.batch.id ?? t("noName")),
              [shown(one.prediction.yield), "number"], [shown(one.measured), "number"],
              [t("range", { low: shown(one.prediction.lower), high: shown(one.prediction.upper) }), "number"],
              [time(one.at), "nowrap"], one.caller || "–", h("code", {}, one.model.md5.slice(0, 8))]))
          : h("p", {}, t("nothingFits")),
        h("div", { class: "row" }, page.next && h("button", { type: "button", onclick: async () => { await search(page.next, all); list.focus({ preventScroll: true }); } }, t("more")),
          all.length > 1 && [compare, h("span", { class: "hint" }, t("chooseTwo"))]));
    } catch (error) {
      fill(list, problemCard(error));
    }
  }

  function record(one) {
    const { prediction } = one;
    showPin(one.model);
    fill(detail, h("section", { class: "card record", "aria-labelledby": "record-title" },
      h("div", { class: "row spread" }, h("h2", { id: "record-title" }, `${t("recordTitle")}${t("colon")}${one.batch.id ?? t("noName")}`),
        h("div", { class: "row screen-only" },
          h("button", { type: "button", onclick: () => open(one.batch) }, t("whatIf")),
          h("button", { type: "button", onclick: () => print() }, t("print")))),
      pairs("figures", [
        [t("predicted"), shownUnit(prediction.yield)], [t("lower"), shown(prediction.lower)], [t("upper"), shown(prediction.upper)],
        ...(prediction.bias ? [[t("correction"), signed(prediction.bias.value)]] : []),
        [t("measured"), shown(one.measured)],
        ...(one.measured === null ? [] : [[t("error"), signed(prediction.yield - one.measured)]]),
      ]),
      pairs("facts", [[t("asked"), time(one.at)], [t("by"), one.caller || "–"], ["X-Request-ID", h("code", {}, one.request)],
        [t("version"), one.model.version], [t("revision"), h("code", {}, one.model.revision)], ["md5", h("code", {}, one.model.md5)]]),
      h("h3", {}, t("warnings")), warningList(prediction.warnings),
      table(t("recordTitle"), [t("reading"), t("meaning"), [t("value"), "number"], t("unit")],
        readings().map((r) => [r.name, meaningOf(r), [plain(one.batch[r.name]), "number"], r.unit]))));
    detail.focus();
  }

  /** Show the readings that differ, and what each is worth: the first batch is predicted with it exchanged. */
  async function compareTwo(one, other) {
    const differing = readings().filter((r) => one.batch[r.name] !== other.batch[r.name]);
    const variants = [one.batch, other.batch, ...differing.map((r) => ({ ...one.batch, [r.name]: other.batch[r.name] }))];
    try {
      const answer = await service.predict(variants, { record: "false" });
      const [first, second, ...exchanged] = answer.predictions;
      showPin(answer.model);
      const rows = differing
        .map((r, at) => ({ r, worth: exchanged[at].yield - first.yield }))
        .sort((a, b) => Math.abs(b.worth) - Math.abs(a.worth))
        .map(({ r, worth }) => [r.name, meaningOf(r), [plain(one.batch[r.name]), "number"], [plain(other.batch[r.name]), "number"], r.unit, [signed(worth), "number"]]);
      fill(detail, h("section", { class: "card", "aria-labelledby": "compare-title" },
        h("h2", { id: "compare-title" }, `${one.batch.id ?? t("noName")} – ${other.batch.id ?? t("noName")}`),
        pairs("figures", [[`${targetTitle()} 1`, shownUnit(first.yield)], [`${targetTitle()} 2`, shownUnit(second.yield)], [t("difference"), signed(second.yield - first.yield)]]),
        h("p", { class: "hint" }, t("worthHint")),
        table(t("compare"), [t("reading"), t("meaning"), [one.batch.id ?? "1", "number"], [other.batch.id ?? "2", "number"], t("unit"), [t("worth"), "number"]], rows),
        h("p", { class: "hint" }, t("same"))));
      detail.focus();
    } catch (error) {
      fill(detail, problemCard(error));
    }
  }

  main.append(
    h("section", { class: "card screen-only" }, h("h1", {}, t("batchesTitle")),
      h("form", { class: "row", onsubmit(event) { event.preventDefault(); search(); } },
        ...[[t("batchId"), id], [t("since"), since], [t("until"), until]].map(([words, input]) => h("span", { class: "field" }, h("label", { for: input.id }, words), input)),
        h("button", { class: "primary" }, t("find")))),
    detail, list);
  list.classList.add("screen-only");
  search();
}
