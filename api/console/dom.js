// Builds elements: h("p", { class: "hint" }, "text", child).

const SVG = "http://www.w3.org/2000/svg";

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value); // by script, which the content policy allows
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return an HTML element; `on…` attributes are event listeners; null and false attributes and children are left out. */
export const h = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);

/** Return an SVG element. */
export const svg = (tag, attributes = {}, ...children) => build(document.createElementNS(SVG, tag), attributes, children);

/** Replace the children of an element; null and false ones are left out. */
export const fill = (element, ...children) => {
  element.replaceChildren();
  return build(element, {}, children);
};

/** Return a definition list of pairs. */
export const pairs = (name, entries) =>
  h("dl", { class: name }, entries.map(([term, detail]) => h("div", {}, h("dt", {}, term), h("dd", {}, detail))));

/** Return a table in a region that scrolls; cells are [content, class] or content. */
export function table(label, heads, rows, options = {}) {
  const cell = (tag, extra) => (one) => {
    const [content, name] = Array.isArray(one) ? one : [one];
    return content === "" ? h("td", { class: name }) : h(tag, { class: name, ...extra }, content);
  };
  const body = rows.map((row) => h("tr", row.attributes ?? {}, (row.cells ?? row).map(cell("td"))));
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label },
    h("table", { class: options.class },
      h("caption", { class: "visually-hidden" }, label),
      h("thead", {}, h("tr", {}, heads.map(cell("th", { scope: "col" })))),
      h("tbody", {}, body)));
}

/** Offer bytes or text as a file. */
export function download(content, name, type) {
  const link = h("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Say a sentence to screen readers. */
export const announce = (text) => { document.getElementById("announce").textContent = text; };
