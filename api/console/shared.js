// Parts of several pages: the model's pin, problems, names of features.
import { h, pairs } from "./dom.js";
import { meaningOf, readingOf, t } from "./words.js";

/** Show the model of an answer in the header; it is that of the answer, not of the service now. */
export function showPin(model) {
  document.getElementById("pin").replaceChildren(...pairs("", [
    [t("version"), model.version],
    [t("revision"), h("code", { title: model.revision }, model.revision.slice(0, 12))],
    ["md5", h("code", {}, model.md5)],
  ]).children);
}

/** Return a card that says what is wrong, where, and what to do. */
export function problemCard(error) {
  const unreachable = error.status === 0;
  const missing = /lacks the scope (.+?);/.exec(error.message);
  const title = unreachable ? t("unreachable") : (error.title ?? error.name);
  const detail = missing ? t("keyLacks", { scope: missing[1] }) : unreachable ? t("unreachableHint") : error.message;
  return h("div", { class: "card refusal", role: "alert" },
    h("h2", {}, title),
    error.violations?.length
      ? h("ul", {}, error.violations.map(({ where, problem }) => h("li", {}, h("code", {}, where), ` ${problem}`)))
      : h("p", {}, detail));
}

/** Return the name of a feature with what it means, where it is a reading. */
export function featureName(feature) {
  const reading = readingOf(feature);
  return reading ? `${feature} (${meaningOf(reading)}${reading.unit && `, ${reading.unit}`})` : feature.replaceAll("_", " ");
}

/** Return a list of warnings. */
export const warningList = (found) =>
  found.length
    ? h("ul", { class: "cells" }, found.map(({ field, message }) => h("li", {}, `${field}: ${message}`)))
    : h("span", { class: "none" }, t("none"));

/** Return the problem of a file that was changed or removed after it was chosen, which browsers no longer read. */
export const fileGone = (name) => ({ status: 1, title: name, message: t("fileGone", { name }) });

/** Return how many outcomes were recorded, corrected, and known already, and which are outside the usual range. */
export function recordedSummary(outcomes) {
  const count = (result) => outcomes.filter((one) => one.result === result).length;
  const unusual = outcomes.filter((one) => one.unusual).map((one) => one.id);
  return [
    t("recordedOf", { recorded: count("recorded"), corrected: count("corrected"), unchanged: count("unchanged") }),
    unusual.length > 0 && h("strong", { class: "flag" }, ` ${t("unusualValues", { names: sample(unusual) })}`),
  ];
}

/** Return the first of some names. */
export const sample = (some) => `${some.slice(0, 8).join(", ")}${some.length > 8 ? ", …" : ""}`;
