// One batch as a form: readings in process order, with units, ranges, and the warnings beside the reading they concern.
import { h } from "./dom.js";
import { unitOf, warningText } from "./shared.js";
import { meaningOf, percent, plain, readings, t } from "./words.js";

/** Return what the form holds as a batch; texts that are no number are sent as they are, and refused by name. */
function valueOf(reading, text) {
  const trimmed = text.trim();
  if (!trimmed) return null;
  if (reading.kind !== "number") return trimmed;
  const number = Number(trimmed.replace(/^(\d{1,3}),(\d{3})$/, "$1$2"));
  return Number.isNaN(number) ? trimmed : number;
}

/** Return why a value is unlike the training batches, or null. */
export function unlike(reading, value) {
  const trained = reading.trained;
  if (!trained) return null;
  if (value === null || value === undefined) return trained.missing < 0.01 ? t("blankUnusual", { share: percent(trained.missing).replace(" %", "") }) : null;
  const single = Math.fround(value); // as the features are
  if (typeof value === "number" && (single < Math.fround(trained.least) || single > Math.fround(trained.most)))
    return t("outside", { low: plain(trained.least), high: plain(trained.most) });
  return null;
}

/** Return where the training batches lie: most of them, and all. */
function rangeOf({ low, high, least, most }) {
  const all = t("trainedRange", { low: plain(least), high: plain(most) });
  return low === least && high === most ? all : `${t("mostly", { low: plain(low), high: plain(high) })}${all}`;
}

/**
 * Return a form of a batch: `element`, `batch()`, `fill(batch)` and `warn(warnings)`.
 *
 * `changed` is called with the batch after each change.
 */
export function batchForm(changed) {
  const id = h("input", { id: "batch-id", type: "text", maxlength: "128", autocomplete: "off" });
  const fields = new Map();
  const rows = readings().map((reading) => {
    const name = `reading-${reading.name}`;
    const input = h("input", {
      id: name, type: "text", autocomplete: "off", "aria-describedby": `${name}-notes`,
      inputmode: reading.kind === "number" ? "decimal" : "text",
      placeholder: reading.trained ? t("typical", { value: plain(reading.trained.median) }) : t(`kind_${reading.kind}`),
    });
    const notes = h("span", { id: `${name}-notes`, class: "notes" });
    fields.set(reading.name, { reading, input, notes });
    return h("div", { class: "reading" },
      h("label", { for: name }, h("strong", {}, reading.name), " ", meaningOf(reading), unitOf(reading) && h("span", { class: "unit" }, ` ${reading.unit}`)),
      input, notes);
  });

  const batch = () => {
    const made = { id: id.value.trim() || null };
    for (const { reading, input } of fields.values()) made[reading.name] = valueOf(reading, input.value);
    return made;
  };

  function note() {
    let count = 0;
    const held = batch();
    for (const { reading, input, notes } of fields.values()) {
      const strange = unlike(reading, held[reading.name]);
      if (strange) count += 1;
      input.classList.toggle("strange", Boolean(strange));
      const range = reading.trained ? rangeOf(reading.trained) : "";
      notes.replaceChildren(...(strange ? [h("em", {}, strange)] : [range]));
    }
    return count;
  }

  const element = h("div", { class: "form" },
    h("div", { class: "reading" }, h("label", { for: "batch-id" }, h("strong", {}, t("batchId"))), id, h("span", { class: "notes" })),
    rows);
  element.addEventListener("input", () => changed(batch(), note()));

  return {
    element,
    batch,
    fill(found) {
      id.value = found.id ?? "";
      for (const { reading, input } of fields.values()) {
        const value = found[reading.name];
        input.value = value === null || value === undefined ? "" : `${value}`;
      }
      changed(batch(), note());
    },
    warn(warnings) {
      note();
      for (const warning of warnings) {
        const found = fields.get(warning.field);
        if (found) found.notes.replaceChildren(h("em", { class: "warning" }, warningText(warning)));
      }
    },
  };
}
