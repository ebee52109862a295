// The console: a sheet in, a table of predictions out. It calls the same routes as any program.
import { commaSeparated, csvOf, download } from "./sheet.js";
import { table } from "./table.js";

const at = (id) => document.getElementById(id);
let key = "";
let answered = null;

async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(key && { "X-API-Key": key }) };
  const response = await fetch(path, { ...options, headers });
  const text = await response.text();
  if (response.status === 401) at("key-form").hidden = false;
  return { response, text };
}

async function showModel() {
  const { response, text } = await ask("v1/model");
  if (!response.ok) return;
  const model = JSON.parse(text);
  at("pin-name").textContent = model.name;
  at("pin-version").textContent = model.version;
  at("pin-revision").textContent = model.revision.slice(0, 12);
  at("pin-revision").title = model.revision;
  at("pin-md5").textContent = model.md5;
  at("pin-level").textContent = `${+(model.card.level * 100).toFixed(1)} % of yields`;
}

function refuse(title, detail, violations = []) {
  at("refusal-title").textContent = title;
  at("refusal-detail").textContent = violations.length ? "" : detail;
  at("refusal-violations").replaceChildren(
    ...violations.map(({ where, problem }) => {
      const item = document.createElement("li");
      const place = document.createElement("code");
      place.textContent = where;
      item.append(place, ` ${problem}`);
      return item;
    }),
  );
  at("results").hidden = true;
  at("refusal").hidden = false;
  at("refusal").focus();
}

function refusalOf(response, text) {
  try {
    const problem = JSON.parse(text);
    refuse(problem.title, problem.detail, problem.violations);
  } catch {
    refuse(`The service answered ${response.status}`, text.slice(0, 500));
  }
}

async function predict(body, name) {
  at("status").textContent = `Predicting ${name} …`;
  at("refusal").hidden = true;
  const buttons = at("sheet-form").querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  try {
    const { response, text } = await ask("v1/predictions/csv", {
      method: "POST",
      body,
      headers: { "Content-Type": "text/csv", Accept: "application/json" },
    });
    if (!response.ok) return refusalOf(response, text);
    answered = { ...JSON.parse(text), name };
    at("results").hidden = false;
    show(answered);
    at("results").focus();
  } catch (error) {
    refuse("The service cannot be reached", `${error.message}. Try again in a moment.`);
  } finally {
    at("status").textContent = "";
    for (const button of buttons) button.disabled = false;
  }
}

const show = table(at);

at("sheet-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const pasted = at("pasted").value;
  if (pasted.trim()) predict(commaSeparated(pasted), "the pasted rows");
  else if (at("file").files.length) predict(at("file").files[0], at("file").files[0].name);
  else at("status").textContent = "Choose a file or paste rows first.";
});

function take(files) {
  if (!files.length) return;
  at("pasted").value = "";
  predict(files[0], files[0].name);
}

at("file").addEventListener("change", () => take(at("file").files));
for (const kind of ["dragenter", "dragover"]) {
  at("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.add("over");
  });
}
for (const kind of ["dragleave", "drop"]) at("drop").addEventListener(kind, () => at("drop").classList.remove("over"));
at("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  take(event.dataTransfer.files);
});
// A file dropped beside the field would otherwise replace the page.
for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());

at("download").addEventListener("click", () => {
  const stem = answered.name.replace(/\.csv$/i, "").replace(/[^\p{L}\p{N}_.-]+/gu, "-");
  download(csvOf(answered.predictions), `${stem}-yields-${answered.model.md5.slice(0, 8)}.csv`);
});

at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = at("key").value;
  at("key-form").hidden = true;
  showModel();
});

at("json-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("json-status").textContent = "Sending …";
  const started = performance.now();
  try {
    const { response, text } = await ask("v1/predictions", {
      method: "POST",
      body: at("request").value,
      headers: { "Content-Type": "application/json" },
    });
    at("json-status").textContent = `${response.status} in ${Math.round(performance.now() - started)} ms`;
    at("response").value = JSON.stringify(JSON.parse(text), null, 2);
  } catch (error) {
    at("json-status").textContent = error.message;
  }
});

async function prepareExamples() {
  const { text } = await ask("schema/openapi.json");
  const { paths } = JSON.parse(text);
  const examples = (path, type) => paths[path].post.requestBody.content[type].examples;
  at("request").value = JSON.stringify(examples("/v1/predictions", "application/json").batches.value, null, 1);
  at("sample").addEventListener("click", () => {
    at("pasted").value = examples("/v1/predictions/csv", "text/csv").sheet.value;
    at("sheet-form").requestSubmit();
  });
}

showModel();
prepareExamples();
