// The API reference, made of the service's OpenAPI document; requests can be sent from it.
import { fill, h, table } from "./dom.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

/** Return text with `code` and [links](…) as elements, a paragraph each. */
function prose(text = "") {
  return text.split(/\n\n+/).map((paragraph) => h("p", {}, paragraph.split(/(`[^`]+`|\[[^\]]+\]\([^)]+\))/).map((part) => {
    const link = /^\[([^\]]+)\]\(([^)]+)\)$/.exec(part);
    if (link) return h("a", { href: link[2] }, link[1]);
    return part.startsWith("`") && part.length > 1 ? h("code", {}, part.slice(1, -1)) : part;
  })));
}

const nameOf = (reference) => reference.split("/").pop();

/** Return the type of a schema in words, with links to named ones. */
function typeOf(schema = {}) {
  if (schema.$ref) return h("a", { href: `#schema-${nameOf(schema.$ref)}` }, nameOf(schema.$ref));
  for (const word of ["anyOf", "oneOf"]) {
    if (schema[word]) return h("span", {}, schema[word].flatMap((one, at) => (at ? [" or ", typeOf(one)] : [typeOf(one)])));
  }
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  if (schema.items) return h("span", {}, "list of ", typeOf(schema.items));
  return [schema.type ?? "any"].flat().join(" or ") + (schema.format ? ` (${schema.format})` : "");
}

const LIMITS = { minimum: "≥", maximum: "≤", exclusiveMinimum: ">", exclusiveMaximum: "<", minLength: "length ≥", maxLength: "length ≤", minItems: "items ≥", maxItems: "items ≤", pattern: "pattern", default: "default" };
const limits = (schema = {}) => Object.entries(LIMITS).filter(([name]) => schema[name] !== undefined).map(([name, words]) => `${words} ${schema[name]}`).join(", ");

const examplesOf = (content = {}) => Object.values(content.examples ?? {}).map((one) => (typeof one.value === "string" ? one.value : JSON.stringify(one.value, null, 1)));

function attempt(method, path, operation) {
  const bodies = operation.requestBody?.content ?? {};
  const types = Object.keys(bodies).filter((type) => !type.startsWith("multipart"));
  if (types.some((type) => type.includes("officedocument"))) return null;
  const id = operation.operationId;
  const address = h("input", { id: `${id}-url`, type: "text", value: path.slice(1) });
  const key = h("input", { id: `${id}-key`, type: "password", autocomplete: "off" });
  const body = types.length ? h("textarea", { id: `${id}-body`, rows: "8", spellcheck: "false" }, examplesOf(bodies[types[0]])[0] ?? "") : null;
  const answer = h("pre", { tabindex: "0", "aria-label": "Response", hidden: true });
  return h("details", {}, h("summary", {}, "Try"), h("form", {
    async onsubmit(event) {
      event.preventDefault();
      answer.hidden = false;
      const headers = { ...(types.length && { "Content-Type": types[0] }), ...(key.value && { "X-API-Key": key.value }) };
      const started = performance.now();
      try {
        const response = await fetch(address.value, { method: method.toUpperCase(), headers, body: body?.value });
        const text = await response.text();
        const json = response.headers.get("content-type")?.includes("json");
        answer.textContent = `${response.status} in ${Math.round(performance.now() - started)} ms\n\n${json ? JSON.stringify(JSON.parse(text), null, 1) : text.slice(0, 20_000)}`;
      } catch (error) {
        answer.textContent = `The service cannot be reached: ${error.message}`;
      }
    },
  },
  h("label", { for: `${id}-url` }, "Address"), address,
  h("label", { for: `${id}-key` }, "API key ", h("span", { class: "hint" }, "if the service has keys and you are not signed in to the console")), key,
  body && [h("label", { for: `${id}-body` }, types[0]), body],
  h("p", {}, h("button", { class: "primary" }, "Send"))), answer);
}

function operationSection(path, method, operation) {
  const parameters = operation.parameters ?? [];
  const body = operation.requestBody?.content;
  return h("section", { class: "card", id: operation.operationId, "aria-labelledby": `${operation.operationId}-title` },
    h("h2", { id: `${operation.operationId}-title` }, h("span", { class: "method" }, method.toUpperCase()), h("code", {}, path), ` ${operation.summary}`),
    prose(operation.description),
    parameters.length > 0 && table("Parameters", ["Parameter", "Type", "Meaning"],
      parameters.map((p) => [h("code", {}, p.name), [typeOf(p.schema)], `${p.description ?? ""}${limits(p.schema) && ` (${limits(p.schema)})`}`])),
    body && [h("h3", {}, "Request"), Object.entries(body).map(([type, content]) => [
      h("p", {}, h("code", {}, type), ": ", typeOf(content.schema)),
      examplesOf(content).map((example) => h("pre", { tabindex: "0", "aria-label": "Example of a request" }, example))])],
    h("h3", {}, "Responses"),
    table("Responses", ["Status", "Meaning", "Content"], Object.entries(operation.responses).map(([status, response]) => [
      status, h("div", {}, prose(response.description)),
      h("div", {}, Object.entries(response.content ?? {}).map(([type, content]) => h("div", {}, h("code", {}, type), " ", typeOf(content.schema))))])),
    Object.entries(operation.responses["200"]?.content ?? {}).flatMap(([type, content]) => examplesOf(content).map((example) =>
      h("details", {}, h("summary", {}, `Example of a response, ${type}`), h("pre", { tabindex: "0", "aria-label": "Example of a response" }, example)))),
    attempt(method, path, operation));
}

const schemaSection = ([name, schema]) => h("details", { class: "card", id: `schema-${name}` }, h("summary", {}, h("h3", {}, name)), prose(schema.description),
  schema.properties && table(name, ["Field", "Type", "Meaning"], Object.entries(schema.properties).map(([field, one]) =>
    [h("code", {}, field), [typeOf(one)], `${one.description ?? ""}${limits(one) && ` (${limits(one)})`}${schema.required?.includes(field) ? "" : "; may be absent"}`])));

/** Open the schema that the address names, which is closed otherwise. */
function openTarget() {
  const found = document.getElementById(location.hash.slice(1));
  if (found?.tagName === "DETAILS") { found.open = true; found.scrollIntoView(); }
}

const contents = await (await fetch("schema/openapi.json")).json();
const operations = Object.entries(contents.paths).flatMap(([path, methods]) => METHODS.filter((method) => methods[method]).map((method) => ({ path, method, operation: methods[method] })));
fill(document.getElementById("operations"), contents.tags.flatMap((tag) => [
  h("h2", {}, tag.name),
  operations.filter(({ operation }) => operation.tags.includes(tag.name)).map(({ path, method, operation }) =>
    h("a", { href: `#${operation.operationId}` }, h("span", { class: "method" }, method.toUpperCase()), path))]));
fill(document.getElementById("main"),
  h("section", { class: "card" }, h("h1", {}, `${contents.info.title} API ${contents.info.version}`), prose(contents.info.description)),
  contents.tags.map((tag) => operations.filter(({ operation }) => operation.tags.includes(tag.name)).map(({ path, method, operation }) => operationSection(path, method, operation))),
  h("h2", { id: "schemas" }, "Schemas"), Object.entries(contents.components.schemas).map(schemaSection));
window.addEventListener("hashchange", openTarget);
openTarget();
if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
