// Changes of settable readings, inside the ranges seen in training, that raise the predicted value of a batch.
import { fill, h, table } from "./dom.js";
import * as service from "./service.js";
import { example } from "./page-predict.js";
import { problemCard, showPin } from "./shared.js";
import { meaningOf, plain, readings, shown, shownUnit, signed, t } from "./words.js";

const STEPS = 9; // values of a reading that are tried

export function suggestPage(main, open) {
  const id = h("input", { id: "suggest-id", type: "search" });
  const results = h("section", { class: "card", "aria-live": "polite", hidden: true });
  const numbers = readings().filter((reading) => reading.trained && reading.trained.least < reading.trained.most);
  const boxes = new Map(numbers.map((reading) => [reading.name, h("input", { type: "checkbox", checked: reading.settable !== false })]));

  async function go(event) {
    event.preventDefault();
    results.hidden = false;
    try {
      let start = example();
      if (id.value.trim()) {
        const page = await service.listPredictions({ id: id.value.trim(), limit: 1 });
        if (!page.predictions.length) return fill(results, h("p", { class: "flag" }, t("notFound", { id: id.value })));
        start = page.predictions[0].batch;
      }
      const tried = [];
      for (const reading of numbers) {
        if (!boxes.get(reading.name).checked || start[reading.name] === null) continue;
        const { low, high } = reading.trained;
        for (let step = 0; step < STEPS; step += 1) tried.push({ reading, value: +(low + ((high - low) * step) / (STEPS - 1)).toPrecision(4) });
      }
      const batches = [start, ...tried.map(({ reading, value }) => ({ ...start, [reading.name]: value }))];
      const answer = await service.predict(batches, { record: "false" });
      showPin(answer.model);
      const [before, ...after] = answer.predictions;
      const best = new Map();
      after.forEach((p, at) => {
        const { reading, value } = tried[at];
        const gain = p.yield - before.yield;
        if (gain > 1e-6 && gain > (best.get(reading.name)?.gain ?? 0)) best.set(reading.name, { reading, value, gain, p });
      });
      const ranked = [...best.values()].sort((a, b) => b.gain - a.gain).slice(0, 8);
      if (!ranked.length) return fill(results, h("p", {}, t("suggestNone")));
      const three = { ...start, ...Object.fromEntries(ranked.slice(0, 3).map(({ reading, value }) => [reading.name, value])) };
      const [together] = (await service.predict([three], { record: "false" })).predictions;
      const line = (name, meaning, from, to, p, batch) => [name, meaning, [from, "number"], [to, "number"], [signed(p.yield - before.yield), "number"],
        [`${shown(p.yield)} (${t("range", { low: shown(p.lower), high: shown(p.upper) })})`, "number"],
        h("button", { type: "button", onclick: () => open(batch) }, t("use"))];
      fill(results, h("h2", {}, `${start.id ?? t("noName")}${t("colon")}${shownUnit(before.yield)}`),
        table(t("suggestTitle"), [t("reading"), t("meaning"), [t("from"), "number"], [t("to"), "number"], [t("gain"), "number"], [t("predicted"), "number"], ""], [
          ...ranked.map(({ reading, value, p }) => line(reading.name, `${meaningOf(reading)}${reading.unit && ` [${reading.unit}]`}`, plain(start[reading.name]), plain(value), p, { ...start, [reading.name]: value })),
          line("", t("together"), "", "", together, three),
        ]));
    } catch (error) {
      fill(results, problemCard(error));
    }
  }

  main.append(h("section", { class: "card" }, h("h1", {}, t("suggestTitle")), h("p", { class: "flag" }, t("suggestHint")),
    h("form", { onsubmit: go },
      h("div", { class: "row" }, h("label", { for: "suggest-id" }, t("fromJournal")), id, h("button", { class: "primary" }, t("suggestGo"))),
      h("details", {}, h("summary", {}, t("settable")),
        h("div", { class: "ticks" }, numbers.map((reading) => h("label", { class: "check" }, boxes.get(reading.name), `${reading.name} ${meaningOf(reading)}`)))))),
  results);
}
