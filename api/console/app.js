// The console: pages by the address's hash, the session's key, and the language.
import { fill, h } from "./dom.js";
import { batchesPage } from "./page-batches.js";
import { modelPage } from "./page-model.js";
import { monitorPage } from "./page-monitor.js";
import { outcomesPage } from "./page-outcomes.js";
import { predictPage } from "./page-predict.js";
import { sheetPage } from "./page-sheet.js";
import { suggestPage } from "./page-suggest.js";
import * as service from "./service.js";
import { problemCard } from "./shared.js";
import { currentLanguage, setLanguage, setPlant, t } from "./words.js";

const PAGES = { sheet: sheetPage, predict: predictPage, outcomes: outcomesPage, batches: batchesPage, monitor: monitorPage, suggest: suggestPage, model: modelPage };
const at = (id) => document.getElementById(id);

let leave = null; // ends what the page began
let given = null; // the batch that the next page starts from
let ready = false; // the plant's readings are known

const pageNow = () => (PAGES[location.hash.slice(1)] ? location.hash.slice(1) : "sheet");

function open(batch) {
  given = batch;
  if (pageNow() === "predict") show();
  else location.hash = "predict";
}

function drawHeader() {
  document.title = `${t(pageNow())} – batchyield`;
  document.querySelector("[data-word=skip]").textContent = t("skip");
  at("pages").setAttribute("aria-label", t("pages"));
  fill(at("pages"), ...Object.keys(PAGES).map((name) => h("a", { href: `#${name}`, "aria-current": name === pageNow() ? "page" : null }, t(name))),
    h("a", { href: "schema" }, t("reference")));
  at("pin").setAttribute("aria-label", t("modelPin"));
  at("language").textContent = t("language");
  at("language").lang = currentLanguage() === "zh" ? "en" : "zh-CN";
  at("sign-out").textContent = t("signOut");
}

function show() {
  leave?.();
  leave = null;
  drawHeader();
  if (!ready) return;
  const main = at("main");
  main.replaceChildren();
  const batch = given;
  given = null;
  const ended = pageNow() === "predict" ? predictPage(main, batch) : PAGES[pageNow()](main, open);
  leave = typeof ended === "function" ? ended : null;
}

function askForKey() {
  if (at("key-form")) return;
  const key = h("input", { id: "key", type: "password", autocomplete: "off", required: true });
  const message = h("p", { class: "flag", role: "alert" });
  const form = h("form", {
    id: "key-form",
    async onsubmit(event) {
      event.preventDefault();
      message.textContent = "";
      try {
        const session = await service.signIn(key.value.trim());
        form.parentElement.remove();
        await begin(session);
        document.dispatchEvent(new CustomEvent("signed-in"));
      } catch (error) {
        message.textContent = error.status === 401 ? t("keyWrong") : error.message;
        key.select();
      }
    },
  }, h(at("main").querySelector("h1") ? "h2" : "h1", { id: "key-title" }, t("keyTitle")), h("label", { for: "key" }, t("key")),
  h("div", { class: "row" }, key, h("button", { class: "primary" }, t("useKey"))), h("p", { class: "hint" }, t("keyHint")), message);
  at("main").before(h("section", { id: "key-card", class: "card notice", "aria-labelledby": "key-title" }, form));
  key.focus();
}

async function begin(known) {
  try {
    const session = known ?? (await service.session());
    at("who").textContent = session.name ? t("signedIn", { name: session.name }) : "";
    at("who").title = session.remembered === false ? t("keyNotKept") : "";
    at("sign-out").hidden = !session.name;
    if (session.guarded && !session.name) {
      if (!ready) at("main").replaceChildren();
      return askForKey();
    }
    if (ready) return;
    const plant = await service.readings();
    if (ready) return; // by another call meanwhile, whose page may be in use already
    setPlant(plant);
    ready = true;
    show();
  } catch (error) {
    if (error.status !== 401) fill(at("main"), problemCard(error), h("button", { type: "button", onclick: () => begin() }, t("retry")));
  }
}

at("language").addEventListener("click", () => {
  setLanguage(currentLanguage() === "zh" ? "en" : "zh");
  at("key-card")?.remove(); // begin() asks again
  show();
  begin();
});
at("sign-out").addEventListener("click", async () => {
  await service.signOut();
  location.reload();
});
document.addEventListener("key-needed", askForKey);
window.addEventListener("hashchange", () => { show(); at("main").focus(); });
setLanguage(currentLanguage());
drawHeader();
begin();
