// Is the model still good: control chart, live error and coverage, drift by reading.
import { distributions, trend } from "./charts.js";
import { download, fill, h, pairs, table } from "./dom.js";
import * as service from "./service.js";
import { featureName, problemCard, showPin } from "./shared.js";
import { currentLanguage, percent, readingOf, shown, shownUnit, signed, t, targetTitle, time, whole } from "./words.js";

const NEWEST = 500;
const DAY_MS = 86_400_000;

export function monitorPage(main) {
  const page = h("div", { class: "stack" });
  const detail = h("div");
  const verdict = (name) => h("strong", { class: `verdict ${name}` }, t(["steady", "drifted", "worse"].includes(name) ? `verdict_${name}` : "verdict_unknown"));

  async function distribution(name) {
    const reading = readingOf(name);
    if (!reading?.trained) return;
    try {
      const found = await service.listPredictions({ limit: NEWEST });
      const values = found.predictions.map((one) => one.batch[name]).filter((value) => typeof value === "number");
      const { edges, shares } = reading.trained;
      const counts = new Array(shares.length).fill(0);
      for (const value of values) counts[edges.filter((edge) => edge < value).length] += 1 / values.length;
      const label = t("distribution", { name });
      fill(detail, h("section", { class: "card" }, h("h2", {}, `${label}${reading.unit && ` [${reading.unit}]`}`),
        distributions(edges, shares, counts, label, [t("training"), t("newest")])));
      detail.scrollIntoView({ block: "nearest" });
    } catch (error) {
      fill(detail, problemCard(error));
    }
  }

  async function load() {
    try {
      const found = await service.monitoring();
      showPin(found.model);
      fill(page, ...draw(found));
    } catch (error) {
      fill(page, problemCard(error));
    }
  }

  function draw({ at, off, window, chart, live, workers, shadow }) {
    if (off) return [h("p", { class: "card" }, t("journalOff"))];
    const parts = [h("p", { class: "hint" }, at ? `${t("checked", { at: time(at) })} · ` : "", `${t("workers")}${t("colon")}${workers.length}${shadow ? ` · ${t("shadow")}${t("colon")}${shadow.model.md5.slice(0, 8)}` : ""}`)];
    if (window) {
      const { prediction } = window;
      parts.push(h("section", { class: "card" }, h("div", { class: "row spread" }, h("h2", {}, targetTitle()), prediction && verdict(prediction.verdict)),
        pairs("figures", [[t("count"), whole(window.batches)],
          ...(prediction ? [[t("newest"), shownUnit(prediction.mean)], [t("training"), shownUnit(prediction.mean_trained)]] : [])])));
    }
    if (chart?.points?.length) {
      const limits = [["lower", "LCL"], ["center", ""], ["upper", "UCL"]].filter(([name]) => typeof chart[name] === "number").map(([name, label]) => ({ value: chart[name], label }));
      parts.push(h("section", { class: "card" }, h("h2", {}, t("chart")),
        trend(chart.points.map((point) => ({ yield: typeof point === "number" ? point : point.mean })), t("chart"), limits)));
    }
    parts.push(h("section", { class: "card" }, h("div", { class: "row spread" }, h("h2", {}, t("live")), live && verdict(live.verdict)),
      live && live.outcomes ? pairs("figures", [[t("measuredCount"), whole(live.outcomes)],
        ...[["mae", t("meanError")], ["mae_alone", t("meanErrorAlone")], ["bias", t("bias")]].filter(([name]) => live[name]).map(([name, words]) => [words, value(live[name], name === "bias")]),
        ...(live.coverage ? [[t("coverage"), percent(live.coverage.value ?? live.coverage)]] : [])])
        : h("p", {}, t("noneMeasured"))));
    parts.push(reportCard(), detail);
    if (window?.readings) {
      const rows = [...window.readings].sort((a, b) => (b.psi ?? 0) - (a.psi ?? 0)).map((r) => [
        readingOf(r.reading)?.trained
          ? h("button", { type: "button", class: "link", onclick: () => distribution(r.reading) }, featureName(r.reading)) : featureName(r.reading),
        verdict(r.verdict), [r.psi === null ? "–" : r.psi.toFixed(2), "number"], [percent(r.blank ?? 0), "number"]]);
      parts.push(h("section", { class: "card" }, h("h2", {}, t("drift")), table(t("drift"), [t("reading"), "", ["PSI", "number"], [t("blank"), "number"]], rows, { class: "drift" })));
    }
    return parts;
  }
  function reportCard() {
    const days = h("select", { id: "report-days" }, ["7", "30", "90", ""].map((n) => h("option", { value: n, selected: n === "30" }, n ? t("lastDays", { days: n }) : t("all"))));
    const status = h("div", { role: "status" });
    const button = h("button", { type: "button", async onclick() {
      button.disabled = true;
      fill(status, t("busy"));
      try {
        const since = days.value && new Date(Date.now() - days.value * DAY_MS).toISOString();
        download(await service.driftReport({ since, language: currentLanguage() }), "drift-report.html", "text/html");
        status.replaceChildren();
      } catch (error) {
        fill(status, problemCard(error));
      }
      button.disabled = false;
    } }, t("driftReport"));
    return h("section", { class: "card screen-only" }, h("h2", {}, t("driftReport")), h("p", { class: "hint" }, t("driftReportHint")),
      h("div", { class: "row" }, h("label", { for: "report-days" }, t("period")), days, button), status);
  }
  const value = (found, sign) => {
    const number = typeof found === "number" ? found : found.value;
    return sign ? signed(number) : shown(number);
  };

  main.append(h("section", { class: "card row spread" }, h("h1", {}, t("monitorTitle")), h("button", { type: "button", onclick: load }, t("refresh"))), page);
  load();
}
