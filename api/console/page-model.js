// The model: pin, card, metrics with their intervals, plots, files, what is in the shadow and what answered before.
import { scatter } from "./charts.js";
import { fill, h, pairs, table } from "./dom.js";
import * as service from "./service.js";
import { problemCard, showPin } from "./shared.js";
import { percent, plain, shown, shownUnit, signed, signedUnit, t, target, time, whole } from "./words.js";

const NEWEST = 1000;
const IN_UNIT = ["mae", "rmse", "width"];
const KNOWN = ["bias", "coverage", "mae", "r2", "rmse", "score", "width"];

export async function modelPage(main) {
  const page = h("div", { class: "stack" }, h("p", {}, t("busy")));
  main.append(page);
  try {
    const found = await service.model();
    showPin(found);
    const { card } = found;
    const list = (label, entries) => table(label, ["", ""], entries.map(([name, value]) => [name, h("code", {}, typeof value === "object" ? JSON.stringify(value) : plain(value))]));
    fill(page, h("section", { class: "card" }, h("h1", {}, `${t("modelTitle")}${t("colon")}${found.name}`),
        pairs("figures", [[t("version"), found.version], [t("trainedOn"), whole(card.rows)], [t("interval"), `${+(card.level * 100).toFixed(1)} %`]]),
        h("p", {}, t("revision"), t("colon"), h("code", {}, found.revision)),
        found.shadow && h("p", {}, `${t("shadow")}${t("colon")}`, h("code", {}, `${found.shadow.version} ${found.shadow.md5}`)),
        found.refused.map((one) => h("p", { class: "flag" }, `${t("refused")}${t("colon")}${t(`role_${one.role}`)} ${one.md5.slice(0, 8)}: ${one.reason}`)),
        h("p", { class: "hint" }, t("rollbackHint"))),
      await evaluationCards(card),
      await versionsCard(),
      h("section", { class: "card" }, h("h2", {}, t("artifacts")), list(t("artifacts"), [...Object.entries(found.artifacts), [t("rawData"), card.data_md5]])),
      h("section", { class: "card" }, h("h2", {}, t("params")), list(t("params"), [...Object.entries(card.params), ...Object.entries(card.versions)])));
    const current = await service.session();
    if (current.scopes.includes("admin")) page.append(await rollbackCard());
    const journalled = await service.listPredictions({ limit: NEWEST });
    const models = new Map();
    for (const one of journalled.predictions) {
      const known = models.get(one.model.md5) ?? { ...one.model, last: one.at, first: one.at, count: 0 };
      models.set(one.model.md5, { ...known, first: one.at, count: known.count + 1 });
    }
    page.append(h("section", { class: "card" }, h("h2", {}, t("deployed")), h("p", { class: "hint" }, t("ofNewest", { count: whole(journalled.predictions.length) })),
      table(t("deployed"), [t("version"), "md5", t("since"), t("until"), [t("predictions"), "number"]],
        [...models.values()].map((m) => [m.version, h("code", { title: m.md5 }, m.md5.slice(0, 8)), [time(m.first), "nowrap"], [time(m.last), "nowrap"], [whole(m.count), "number"]]))));
  } catch (error) {
    if (page.children.length < 2) fill(page, problemCard(error));
  }
}

const metricName = (name) => (KNOWN.includes(name) ? t(`metric_${name}`) : name);

/** Return a metric in the plant's unit, a share in per cent, and others as they are. */
function metric(name, value) {
  if (IN_UNIT.includes(name)) return shownUnit(value);
  if (name === "bias") return signedUnit(value);
  return name === "coverage" || name === "r2" ? percent(value) : plain(value);
}

/** Return the metrics with their intervals and the plots; where they are not known, the card's metrics and why. */
async function evaluationCards(card) {
  const plainMetrics = () => pairs("figures", Object.entries(card.metrics).map(([name, value]) => [metricName(name), metric(name, value)]));
  const of = (title, ...content) => h("section", { class: "card" }, h("h2", {}, title), content);
  let found;
  try {
    found = await service.evaluation();
  } catch (error) {
    if (error.status !== 409) throw error;
    return of(t("metrics"), plainMetrics(), h("p", { class: "hint" }, t("evaluationOther")), h("p", { class: "hint" }, h("code", {}, error.message)));
  }
  const absent = ["metrics", "predicted", "residuals", "learning"].filter((name) => !found[name]).map((name) => t(`evaluation_${name}`));
  const hint = absent.length > 0 && h("p", { class: "hint" }, t("evaluationAbsent", { names: absent.join(t("comma")) }));
  const title = t("evaluation_metrics");
  return [
    found.metrics
      ? of(title, h("p", { class: "hint" }, t("evaluationHint")), table(title,
        [t("metric"), [t("value"), "number"], [t("confidence", { level: +(found.confidence * 100).toFixed(1) }), "number"], t("unit")],
        found.metrics.map((one) => {
          const [write, unit] = inUnit(one);
          return [metricName(one.name), [write(one.value), "number"], [t("range", { low: write(one.low), high: write(one.high) }), "number"], unit];
        })), hint)
      : of(t("metrics"), plainMetrics(), hint),
    ...plots(found).map(([name, points, line, axes]) => {
      const text = t(`evaluation_${name}_hint`, { count: whole(points.length) });
      return of(t(`evaluation_${name}`), h("p", { class: "hint" }, text), scatter(points, line, `${t(`evaluation_${name}`)}${t("colon")}${text}`, axes));
    }),
  ];
}

/** Return the function that writes a metric of the evaluation, and the unit of what it writes. */
function inUnit({ name, unit }) {
  if (IN_UNIT.includes(name)) return [shown, target().unit];
  if (name === "bias") return [signed, target().unit];
  return name === "coverage" || name === "r2" ? [(share) => (share * 100).toFixed(1), "%"] : [plain, unit];
}

/** Return [name, points, line, axes] of each plot whose points are known. */
function plots({ metrics, predicted, residuals, learning }) {
  const made = [], unit = target().unit && ` [${target().unit}]`;
  if (predicted?.length) {
    const ends = [Math.min, Math.max].map((pick) => pick(...predicted.flatMap((one) => [one.measured, one.yield])));
    made.push(["predicted", predicted.map((one) => [one.measured, one.yield, `${one.id}${t("colon")}${shown(one.measured)}, ${shown(one.yield)}`]), ends.map((end) => [end, end]),
      { x: `${t("measured")}${unit}`, y: `${t("predicted")}${unit}`, ofX: shown, ofY: shown }]);
  }
  const ordered = residuals?.filter((one) => one.batch !== null);
  if (ordered?.length) {
    const points = ordered.map((one) => [one.batch, one.residual]);
    made.push(["residuals", points, [[points[0][0], 0], [points.at(-1)[0], 0]],
      { x: t("batchNumber"), y: `${t("residual")}${unit}`, ofX: plain, ofY: signed }]);
  }
  if (learning?.length) {
    const points = learning.map((one) => [one.batches, one.score]);
    const score = metrics?.find((one) => one.name === "score")?.unit;
    made.push(["learning", points, points, { x: t("trainedOn"), y: `${t("metric_score")}${score ? ` [${score}]` : ""}`, ofX: whole, ofY: plain }]);
  }
  return made;
}

async function versionsCard() {
  const { models } = await service.models();
  const rows = models.map((one, place) => {
    const { rmse, mae, coverage } = one.metrics;
    const older = models.slice(place + 1).find((other) => other.role === "before" && other.metrics.rmse !== undefined);
    return [t(`role_${one.role}`), one.model.version, h("code", { title: one.model.md5 }, one.model.md5.slice(0, 8)),
      [one.rows === null ? t("unreadable") : whole(one.rows), "number"], [shown(rmse), "number"],
      [rmse === undefined || !older ? "–" : signed(rmse - older.metrics.rmse), "number"],
      [shown(mae), "number"], [coverage === undefined ? "–" : percent(coverage), "number"]];
  });
  const unit = target().unit && ` [${target().unit}]`;
  return h("section", { class: "card" }, h("h2", {}, t("versions")), h("p", { class: "hint" }, t("versionsHint")),
    table(t("versions"), [t("role"), t("version"), "md5", [t("trainedOn"), "number"], [`${t("metric_rmse")}${unit}`, "number"], [t("against"), "number"],
      [`${t("metric_mae")}${unit}`, "number"], [t("coverage"), "number"]], rows));
}

async function rollbackCard() {
  const { models } = await service.servedBefore();
  const message = h("p", { role: "status" });
  const button = models.length > 0 && h("button", { type: "button", async onclick() {
    if (!confirm(t("rollbackSure", { version: models[0].version, md5: models[0].md5.slice(0, 8) }))) return;
    try {
      const done = await service.rollBack();
      showPin(done.model);
      message.textContent = t("rolledBack", { version: done.model.version, workers: done.workers });
      button.disabled = true;
    } catch (error) {
      fill(message, problemCard(error));
    }
  } }, t("rollback"));
  return h("section", { class: "card" }, h("h2", {}, t("servedBefore")),
    models.length
      ? table(t("servedBefore"), [t("version"), t("revision"), "md5"], models.map((m) => [m.version, h("code", {}, m.revision.slice(0, 12)), h("code", {}, m.md5)]))
      : h("p", {}, t("none")),
    button, message);
}
