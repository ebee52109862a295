// Predict and what-if: one batch as a form, its prediction, and why.
import { range } from "./charts.js";
import { batchForm } from "./batch-form.js";
import { announce, fill, h, pairs, table } from "./dom.js";
import * as service from "./service.js";
import { featureName, featureValue, problemCard, showPin } from "./shared.js";
import { readings, shown, shownUnit, signed, signedUnit, t, targetTitle } from "./words.js";

const WAIT = 250; // milliseconds after the last key

export const example = () => ({ id: "sample_1", ...Object.fromEntries(readings().map((r) => [r.name, r.example])) });

/** Return the contributions of an explanation as bars in words. */
function contributions(explanation) {
  const most = Math.max(...[explanation.rest, ...explanation.contributions.map((c) => c.effect)].map(Math.abs), 1e-9);
  const row = (words, effect) => h("li", {},
    h("span", {}, words), h("strong", {}, signedUnit(effect)),
    h("span", { class: `effect ${effect < 0 ? "down" : "up"}`, style: { width: `${(Math.abs(effect) / most) * 100}%` } }));
  return h("div", {},
    h("p", {}, t("whyStart", { value: shownUnit(explanation.baseline) })),
    h("ul", { class: "effects" },
      explanation.contributions.map((c) => {
        const flag = /^(\w+)_missing$/.exec(c.feature);
        const words = flag
          ? t(c.value ? "isBlank" : "isGiven", { name: featureName(flag[1]) })
          : t("insteadOf", { name: featureName(c.feature), value: featureValue(c.feature, c.value), typical: featureValue(c.feature, c.typical) });
        return row(words, c.effect);
      }),
      row(t("whyRest"), explanation.rest)));
}

export function predictPage(main, given) {
  let asking = null, timer = 0, start = null, now = null, strange = 0;
  const result = h("section", { class: "card sticky", "aria-labelledby": "result-title", "aria-live": "polite" });
  const why = h("div");
  const bar = h("p", { class: "card now", "aria-hidden": "true" }); // on a phone, where the form hides the result
  const form = batchForm((batch, count) => {
    strange = count;
    clearTimeout(timer);
    timer = setTimeout(() => ask(batch), WAIT);
  });

  async function ask(batch) {
    asking?.abort(); // an older answer never overwrites a newer one
    asking = new AbortController();
    try {
      const answer = await service.predict([batch], { record: "false" }, asking.signal);
      [now] = answer.predictions;
      start ??= now;
      showPin(answer.model);
      form.warn(now.warnings);
      draw();
    } catch (error) {
      if (error.name !== "AbortError") fill(result, problemCard(error));
    }
  }

  function draw() {
    const scale = [Math.min(start.lower, now.lower), Math.max(start.upper, now.upper)];
    const line = (p) => [[shown(p.yield), "number"], [shown(p.lower), "number"], [shown(p.upper), "number"], range(p, scale, shownUnit(p.yield))];
    why.replaceChildren();
    fill(result, h("h2", { id: "result-title" }, `${targetTitle()}${t("colon")}${shownUnit(now.yield)}`),
      table(t("predict"), ["", [targetTitle(), "number"], [t("lower"), "number"], [t("upper"), "number"], t("interval")],
        [[t("before"), ...line(start)], [t("now"), ...line(now)]]),
      pairs("figures", [[t("change"), signed(now.yield - start.yield)]]),
      h("p", { class: strange ? "flag" : "hint" }, strange ? [h("strong", {}, `${t("unlike")}${t("colon")}`), t("unlikeHint", { count: strange })] : t("like")),
      h("div", { class: "row" },
        h("button", { type: "button", onclick: explain }, t("why")),
        h("button", { type: "button", onclick: () => { start = null; form.fill(origin); } }, t("reset")),
        h("button", { type: "button", class: "primary", onclick: record }, t("record"))),
      why);
    bar.textContent = `${targetTitle()}${t("colon")}${shownUnit(now.yield)} (${signed(now.yield - start.yield)})`;
    announce(shownUnit(now.yield));
  }

  async function explain() {
    try {
      const answer = await service.predict([form.batch()], { record: "false", explain: "true" });
      fill(why, h("h3", {}, t("whyTitle")), contributions(answer.predictions[0].explanation));
    } catch (error) {
      fill(why, problemCard(error));
    }
  }

  async function record() {
    try {
      await service.predict([form.batch()]);
      fill(why, h("p", { class: "done" }, t("recorded")));
    } catch (error) {
      fill(why, problemCard(error));
    }
  }

  const wanted = h("input", { id: "from-id", type: "search", placeholder: t("batchId") });
  const found = h("span", { class: "status", role: "status" });
  async function load(event) {
    event.preventDefault();
    found.textContent = "";
    try {
      const page = await service.listPredictions({ id: wanted.value.trim(), limit: 1 });
      if (!page.predictions.length) found.textContent = t("notFound", { id: wanted.value });
      else begin(page.predictions[0].batch);
    } catch (error) {
      found.textContent = error.message;
    }
  }
  let origin = given ?? example();
  function begin(batch) {
    origin = batch;
    start = null;
    form.fill(batch);
  }

  main.append(
    h("section", { class: "card" },
      h("h1", {}, t("oneBatch")), h("p", { class: "hint" }, t("predictHint")),
      h("form", { class: "row", onsubmit: load },
        h("label", { for: "from-id" }, t("fromJournal")), wanted, h("button", {}, t("load")),
        h("button", { type: "button", onclick: () => begin(example()) }, t("exampleBatch")), found)),
    h("div", { class: "split" }, h("section", { class: "card", "aria-label": t("oneBatch") }, form.element), result, bar));
  begin(origin);
  return () => { asking?.abort(); clearTimeout(timer); };
}
