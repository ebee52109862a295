// What a caller writes with the generated types; it must compile, and the mistakes must not.
import type { components, paths } from "./schema";

type Predict = paths["/v1/predictions"]["post"];

const batch: components["schemas"]["Batch"] = { A1: 300, A5: "13:30:00", B14: 400 };
export const sent: Predict["requestBody"]["content"]["application/json"] = { inputs: [batch] };
export const parameters: Predict["parameters"] = { query: { explain: true }, header: { "Idempotency-Key": "a" } };
export const page: paths["/v1/predictions"]["get"]["parameters"] = { query: { since: "2026-11-29" } };
export const first = (answer: components["schemas"]["Predictions"]): number => answer.predictions[0].yield;

// @ts-expect-error no such reading
export const unknown: components["schemas"]["Batch"] = { A99: 300 };
// @ts-expect-error not a boolean
export const wrong: Predict["parameters"] = { query: { explain: "yes" } };
