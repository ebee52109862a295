// Sheets as text: CSV and what a spreadsheet puts on the clipboard, and their columns against the plant's.

/** Return the rows of CSV text whose separator is a comma, a semicolon or a tab. */
export function parse(text) {
  const separator = separatorOf(text);
  const rows = [];
  let row = [], cell = "", quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const c = text[at];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[at + 1] === '"') { cell += c; at += 1; }
      else quoted = false;
    } else if (c === '"' && !cell.trim()) { quoted = true; cell = ""; }
    else if (c === separator) { row.push(cell); cell = ""; }
    else if (c === "\n" || c === "\r") {
      if (c === "\r" && text[at + 1] === "\n") at += 1;
      row.push(cell);
      rows.push(row);
      row = [];
      cell = "";
    } else cell += c;
  }
  if (cell || row.length) { row.push(cell); rows.push(row); }
  return rows.filter((cells) => cells.some((one) => one.trim()));
}

function separatorOf(text) {
  const line = text.split(/\r?\n/).find((one) => one.trim()) ?? "";
  const counts = [",", ";", "\t"].map((mark) => [line.split(mark).length, mark]);
  return counts.sort((a, b) => b[0] - a[0])[0][1];
}

const quote = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);

/** Return rows as CSV text. */
export const write = (rows) => rows.map((row) => row.map((cell) => quote(`${cell ?? ""}`)).join(",")).join("\n") + "\n";

/** Return a cell that no spreadsheet takes for a formula. */
export const harmless = (cell) => (/^[=+\-@\t\r]/.test(cell) && !/^[+-]?[\d.]+$/.test(cell) ? `'${cell}` : cell);

/** Return the text of a file in UTF-8, or else in the plant's encoding. */
export async function read(file, encoding) {
  const bytes = await file.arrayBuffer();
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder(encoding.toLowerCase()).decode(bytes);
  }
}

/** Optional columns with a batch's place in the plant's order. */
const ORDER = ["sequence", "started_at"];

/** Return the plant's columns before the target: the batch's name, if the file has one, and the readings. */
export const inputColumns = (names, target) => [...(target.id_column ? [target.id_column] : []), ...names];

const IDS = ["批号", "批次", "id", "batch", "batch id", "sample", "样本"];
const clean = (name) => name.trim().replace(/^\ufeff/, "");

/**
 * Compare the columns of a sheet with the plant's.
 *
 * Return `header` (whether the first row is one), `matched` (index of the column -> name), `open` (columns that are not
 * known, each with a suggestion or null) and `absent` (names without a column).
 */
export function compareColumns(rows, names, target) {
  const known = [...inputColumns(names, target), ...ORDER, target.column];
  const first = rows[0].map(clean);
  const exact = new Map(first.map((name, at) => [at, known.includes(name) ? name : null]));
  const lower = new Map(known.map((name) => [name.toLowerCase(), name]));
  const hits = first.filter((name) => lower.has(name.toLowerCase())).length;
  if (hits < Math.min(2, known.length)) return { header: false };
  const matched = new Map(), open = [];
  for (const [at, name] of exact) if (name && ![...matched.values()].includes(name)) matched.set(at, name);
  const taken = () => new Set(matched.values());
  first.forEach((name, at) => {
    if (matched.has(at)) return;
    if (!name && rows.every((row) => !(row[at] ?? "").trim())) return; // an empty column at the end
    const guess = lower.get(name.toLowerCase()) ?? (IDS.includes(name.toLowerCase()) ? target.id_column : null);
    open.push({ at, name, guess: guess && !taken().has(guess) ? guess : null });
  });
  return { header: true, matched, open, absent: () => names.filter((name) => !taken().has(name)) };
}

/** Return the sheet with the columns of `matched` alone, under the plant's names, absent ones blank. */
export function arrange(rows, matched, names, target, hasHeader = true) {
  const at = new Map([...matched].map(([place, name]) => [name, place]));
  const columns = inputColumns(names, target);
  columns.push(...[...ORDER, target.column].filter((name) => at.has(name)));
  const body = hasHeader ? rows.slice(1) : rows;
  const pick = (row) => columns.map((name) => plainNumber(at.has(name) ? (row[at.get(name)] ?? "") : ""));
  return [columns, ...body.map(pick)];
}

/** Return `1,200` as `1200`, and every other cell as it is but on one line. */
function plainNumber(cell) {
  const text = cell.replace(/\s*[\r\n]+\s*/g, " ").trim();
  return /^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$/.test(text) ? text.replaceAll(",", "") : text;
}
