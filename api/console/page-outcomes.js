// Measured values: enter one, upload the laboratory's file, see what was recorded, withdraw one.
import { announce, fill, h, table } from "./dom.js";
import * as service from "./service.js";
import { fileGone, problemCard, recordedSummary, sample } from "./shared.js";
import * as sheets from "./sheets.js";
import { plain, shown, t, target, targetTitle, targetWord, time } from "./words.js";

const PART = 5_000; // outcomes of one request

export function outcomesPage(main) {
  const message = h("div", { "aria-live": "polite", tabindex: "-1" });
  const list = h("section", { class: "card", "aria-label": t("outcomesTitle", { target: targetWord() }) });
  const id = h("input", { id: "one-id", required: true, maxlength: "128", autocomplete: "off" });
  const value = h("input", { id: "one-value", required: true, inputmode: "decimal", autocomplete: "off" });
  const file = h("input", { id: "lab", class: "visually-hidden", type: "file", accept: ".csv,.txt,text/csv" });

  async function record(outcomes) {
    const made = [];
    try {
      for (let at = 0; at < outcomes.length; at += PART) made.push(...(await service.recordOutcomes(outcomes.slice(at, at + PART))).outcomes);
    } catch (error) {
      return fill(message, problemCard(error));
    }
    const lost = made.filter((one) => !one.matched).map((one) => one.id);
    fill(message, h("div", { class: "card done" },
      h("p", {}, recordedSummary(made)),
      lost.length > 0 && h("p", {}, t("unmatched", { count: lost.length, names: sample(lost) }))));
    announce(message.textContent);
    await refresh();
    if (outcomes.length === 1 && outcomes[0].id === id.value.trim()) { // the next one may be entered
      id.value = value.value = "";
      id.focus();
    } else message.focus();
  }

  /** Ask in which unit the values are; what they look like is chosen beforehand. */
  function askUnit(pairs, bad) {
    const numbers = pairs.map((pair) => pair.value);
    const low = Math.min(...numbers), high = Math.max(...numbers);
    const scale = target().scale;
    const radio = (wanted, words, checked) => h("label", { class: "check" },
      h("input", { type: "radio", name: "unit", value: wanted, checked }), words);
    const scaled = scale !== 1 && high > (target().highest ?? 1.2);
    const form = h("form", {
      class: "card notice",
      onsubmit(event) {
        event.preventDefault();
        const by = scale === 1 ? 1 : Number(new FormData(form).get("unit"));
        form.remove();
        record(pairs.map(({ id, value, ...rest }) => ({ id, yield: value / by, ...rest })));
      },
    },
    bad.length > 0 && h("p", { class: "flag" }, t("badRows", { count: bad.length, names: sample(bad) })),
    h("p", {}, t("looksLike", { low: plain(low), high: plain(high) })),
    scale !== 1 && h("fieldset", {}, h("legend", {}, t("askUnit", { unit: target().unit })), radio(scale, target().unit, scaled), radio(1, t("fraction"), !scaled)),
    h("button", { class: "primary" }, t("save")));
    fill(message, form);
    form.querySelector("button").focus();
  }

  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    let rows;
    try {
      rows = sheets.parse(await sheets.read(chosen, target().encoding ?? "gb18030"));
    } catch {
      return fill(message, problemCard(fileGone(chosen.name)));
    } finally {
      file.value = "";
    }
    const number = (cell) => Number((cell ?? "").replace(/%$/, "").trim() || NaN);
    const body = Number.isNaN(number(rows[0]?.[1])) ? rows.slice(1) : rows; // with or without a header
    const good = [], bad = [];
    for (const cells of body) {
      const at = (cells[2] ?? "").trim() && new Date(cells[2]);
      const read = { id: cells[0].trim(), value: number(cells[1]), ...(at && { measured_at: at }) };
      if (read.id && !Number.isNaN(read.value) && !Number.isNaN(+at)) good.push(read);
      else bad.push(cells.join(","));
    }
    if (good.length) askUnit(good, bad);
    else fill(message, h("p", { class: "card flag" }, t("badRows", { count: bad.length, names: sample(bad) })));
  });

  async function refresh(before = "", rows = []) {
    try {
      const page = await service.listOutcomes({ before, limit: 50 });
      const all = [...rows, ...page.outcomes];
      fill(list, all.length ? table(t("outcomesTitle", { target: targetWord() }), [t("batch"), [targetTitle(), "number"], t("measuredAt"), t("reported"), t("by"), [t("predictions"), "number"], ""],
          all.map((one) => [one.id, [shown(one.yield), "number"], [one.measured_at ? time(one.measured_at) : "–", "nowrap"], [time(one.at), "nowrap"], one.caller || "–", [`${one.predictions}`, "number"],
            h("button", { type: "button", "aria-label": `${t("withdraw")} ${one.id}`, async onclick() {
              if (!confirm(t("withdrawSure", { id: one.id }))) return;
              try {
                await service.withdrawOutcome(one.id);
                fill(message, h("p", { class: "card done" }, t("withdrawn", { id: one.id })));
                await refresh();
                message.focus(); // the button is gone
              } catch (error) { fill(message, problemCard(error)); }
            } }, t("withdraw"))])) : h("p", {}, t("noneMeasured")),
        page.next && h("button", { type: "button", onclick: () => refresh(page.next, all) }, t("more")));
    } catch (error) {
      fill(list, problemCard(error));
    }
  }

  main.append(
    h("section", { class: "card" }, h("h1", {}, t("outcomesTitle", { target: targetWord() })),
      h("div", { class: "columns" },
        h("form", { onsubmit(event) {
          event.preventDefault();
          const number = Number(value.value.replace(/%$/, "").trim());
          if (Number.isNaN(number)) { value.setCustomValidity(t("badRows", { count: 1, names: value.value })); value.reportValidity(); value.setCustomValidity(""); return; }
          askUnit([{ id: id.value.trim(), value: number }], []);
        } },
        h("h2", {}, t("enterOne")), h("label", { for: "one-id" }, t("batchId")), id, h("label", { for: "one-value" }, t("value")), value,
        h("div", { class: "row" }, h("button", { class: "primary" }, t("save")))),
        h("label", { class: "drop", for: "lab" }, h("strong", {}, t("upload")), h("span", { class: "hint" }, t("uploadHint")), file))),
    message, list);
  refresh();
}
