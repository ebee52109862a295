// Parts of several pages: the model's pin, problems, names of features.
import { h, pairs } from "./dom.js";
import { chineseTitle, chineseWarning } from "./chinese.js";
import { currentLanguage, meaningOf, plain, readingOf, t } from "./words.js";

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
  const title = unreachable ? t("unreachable") : ((currentLanguage() === "zh" && chineseTitle(error.kind)) || (error.title ?? error.name));
  const detail = missing ? t("keyLacks", { scope: missing[1] }) : unreachable ? t("unreachableHint") : error.message;
  return h("div", { class: "card refusal", role: "alert" },
    h(document.querySelector("h1") ? "h2" : "h1", {}, title),
    error.violations?.length
      ? h("ul", { lang: "en" }, error.violations.map(({ where, problem }) => h("li", {}, h("code", {}, where), ` ${problem}`)))
      : h("p", { lang: error.kind && !missing ? "en" : null }, detail));
}

/** Return the name of a reading with its meaning and unit. */
export const readingName = (reading) =>
  t("meant", { name: reading.name, meaning: meaningOf(reading) + (unitOf(reading) && `${t("listed")}${unitOf(reading)}`) });

/** Return the unit of a reading, unless its meaning says it, as that of a pH does. */
export const unitOf = (reading) => (reading.unit && meaningOf(reading).includes(reading.unit) ? "" : reading.unit);

/** Return the name of a feature with what it means, where it is a reading or made of readings in a known way. */
export function featureName(feature) {
  const reading = readingOf(feature);
  if (reading) return readingName(reading);
  const [, first, kind, second] = /^(.+?)_(to|per|minus|length|clock|in_shift)(?:_(.+))?$/.exec(feature) ?? [];
  return kind ? t(`feature_${kind}`, { first, second }) : feature.replaceAll("_", " ");
}

/** Return the value of a feature: a clock as hours and minutes, a length in minutes. */
export function featureValue(feature, value) {
  if (value === null) return t("missing");
  if (feature.endsWith("_clock")) return `${Math.floor(value / 60)}:${`${Math.round(value % 60)}`.padStart(2, "0")}`;
  return `${plain(value)}${/_to_|_length$/.test(feature) ? " min" : ""}`;
}

/** Return the message of a warning in the language of the page. */
export const warningText = (warning) => (currentLanguage() === "zh" ? chineseWarning(warning) : warning.message);

/** Return warnings as sentences that begin with the reading. */
export const warningTexts = (found) => found.map((one) => `${one.field}${t("colon")}${warningText(one)}`);

/** Return a list of warnings. */
export const warningList = (found) =>
  found.length
    ? h("ul", { class: "cells" }, warningTexts(found).map((one) => h("li", {}, one)))
    : h("span", { class: "none" }, t("none"));

/** Return the problem of a file that was changed or removed after it was chosen, which browsers no longer read. */
export const fileGone = (name) => ({ status: 1, title: name, message: t("fileGone", { name }) });

/** Return how many outcomes were recorded, corrected, and known already, and which are outside the usual range. */
export function recordedSummary(outcomes) {
  const count = (result) => outcomes.filter((one) => one.result === result).length;
  const unusual = outcomes.filter((one) => one.unusual).map((one) => one.id);
  return [
    t("recordedOf", { recorded: count("recorded"), corrected: count("corrected"), unchanged: count("unchanged") }),
    unusual.length > 0 && h("strong", { class: "flag" }, t("unusualValues", { names: sample(unusual) })),
  ];
}

/** Return the first of some names. */
export const sample = (some) => `${some.slice(0, 8).join(", ")}${some.length > 8 ? ", …" : ""}`;
