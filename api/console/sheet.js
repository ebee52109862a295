// Sheets as text: what a spreadsheet puts on the clipboard, and what a person takes home.

const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);

/** Rows copied from a spreadsheet are separated by tabs; the service reads commas. */
export function commaSeparated(text) {
  const header = text.trimStart().split("\n", 1)[0];
  if (!header.includes("\t")) return text;
  const rows = text.replace(/\r?\n$/, "").split(/\r?\n/);
  return rows.map((row) => row.split("\t").map(quoted).join(",")).join("\n") + "\n";
}

/** The same lines as `POST /v1/predictions/csv` answers. */
export function csvOf(predictions) {
  const lines = predictions.map((p) => [quoted(p.id ?? ""), p.yield, p.lower, p.upper].join(","));
  return `${["id,yield,lower,upper", ...lines].join("\n")}\n`;
}

export function download(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
