// Calls the service. It uses the same routes as any program.

export class Problem extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    this.status = status;
    this.title = problem.title || `HTTP ${status}`;
    this.kind = (problem.type ?? "").split(":").pop();
    this.violations = problem.violations ?? [];
  }
}

const AGAIN_MS = 400;

let fallbackKey = ""; // where the cookie cannot be set: beyond loopback without TLS

async function answer(path, { once, ...options } = {}) {
  const headers = { ...options.headers, ...(fallbackKey && { "X-API-Key": fallbackKey }) };
  const send = () => fetch(path, { ...options, headers, credentials: "same-origin" });
  const lost = (error) => {
    if (error.name === "AbortError") throw error;
    return new Problem(0, { title: "unreachable", detail: error.message });
  };
  let response;
  try {
    response = await send();
  } catch (error) {
    const problem = lost(error);
    if (once) throw problem;
    await new Promise((done) => setTimeout(done, AGAIN_MS)); // a network that changes loses the requests under way
    response = await send().catch((again) => { throw lost(again); });
  }
  if (response.ok) return response;
  const text = await response.text();
  let problem;
  try {
    problem = JSON.parse(text);
  } catch {
    problem = { detail: text.slice(0, 500) };
  }
  if (response.status === 401) document.dispatchEvent(new CustomEvent("key-needed"));
  throw new Problem(response.status, problem);
}

const json = async (path, options = {}) => (await answer(path, options)).json();

const post = (path, body, options = {}) =>
  json(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, ...options });

/** Return the header that lets the service record a repeated request once. */
const newKey = () => ({ "Idempotency-Key": crypto.getRandomValues(new Uint32Array(4)).join("-") });

const query = (options) => {
  const set = Object.entries(options).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return set.length ? `?${new URLSearchParams(set)}` : "";
};

export const session = () => json("v1/session");

export async function signIn(key) {
  const found = await post("v1/session", { key });
  const kept = await session(); // the browser drops a Secure cookie that comes without TLS
  fallbackKey = kept.name ? "" : key;
  return { ...found, remembered: Boolean(kept.name) };
}

export async function signOut() {
  fallbackKey = "";
  return json("v1/session", { method: "DELETE" });
}

export const readings = () => json("v1/readings");
export const model = () => json("v1/model");
export const evaluation = () => json("v1/model/evaluation");
export const models = () => json("v1/models");
export const monitoring = () => json("v1/monitoring");
export const driftReport = async (options) => (await answer(`v1/monitoring/report${query(options)}`)).blob();
export const predict = (inputs, options = {}, signal) =>
  post(`v1/predictions${query(options)}`, { inputs }, { signal, headers: { "Content-Type": "application/json", ...(options.record !== "false" && newKey()) } });
export const listPredictions = (options) => json(`v1/predictions${query(options)}`);
export const listOutcomes = (options) => json(`v1/outcomes${query(options)}`);
export const recordOutcomes = (outcomes) => post("v1/outcomes", { outcomes });
export const withdrawOutcome = (id) => json(`v1/outcomes/${encodeURIComponent(id)}`, { method: "DELETE", once: true });

export const servedBefore = () => json("v1/admin/models");
export const rollBack = () => json("v1/admin/rollback", { method: "POST", once: true });

export const predictSheet = (csv, signal) =>
  json("v1/predictions/csv", {
    method: "POST", body: csv, signal, headers: { "Content-Type": "text/csv; charset=utf-8", Accept: "application/json", ...newKey() },
  });

const XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/** Return the first sheet of an .xlsx file as CSV text. */
export const readWorkbook = async (file) =>
  (await answer("v1/sheets/csv", { method: "POST", body: await file.arrayBuffer(), headers: { "Content-Type": XLSX } })).text();

/** Return CSV text as the bytes of an .xlsx file. */
export const writeWorkbook = async (csv) =>
  (await answer("v1/sheets/xlsx", { method: "POST", body: csv, headers: { "Content-Type": "text/csv; charset=utf-8" } })).blob();
