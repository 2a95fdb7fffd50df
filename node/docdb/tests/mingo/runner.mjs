// Answers cases with mingo, an independent implementation of MongoDB's query language.
//
// Usage: node runner.mjs <node_modules>. One case a line on stdin, canonical extended JSON; one
// answer a line on stdout, in order: {"ok": ...} or {"error": message}.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join, resolve } from "node:path";

const require = createRequire(join(resolve(process.argv[2]), "runner.js"));
const { Query, find, update, aggregate } = require("mingo");

function decode(value) {
  if (Array.isArray(value)) return value.map(decode);
  if (value === null || typeof value !== "object") return value;
  if ("$numberInt" in value) return Number(value.$numberInt);
  if ("$numberLong" in value) return Number(value.$numberLong);
  if ("$numberDouble" in value) return Number(value.$numberDouble);
  if ("$date" in value) return new Date(Number(value.$date.$numberLong));
  if ("$regularExpression" in value) {
    return new RegExp(value.$regularExpression.pattern, value.$regularExpression.options);
  }
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, decode(member)]));
}

function encode(value) {
  if (value === undefined) return { $undefined: true };
  if (typeof value === "number") return { $numberDouble: Object.is(value, -0) ? "0" : String(value) };
  if (Array.isArray(value)) return value.map(encode);
  if (value instanceof Date) return { $date: { $numberLong: String(value.getTime()) } };
  if (value instanceof RegExp) return { $regularExpression: { pattern: value.source, options: value.flags } };
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, encode(member)]));
}

// Fields without a value as MongoDB has them: left out of objects, null in arrays.
function settle(value) {
  if (Array.isArray(value)) return value.map((element) => settle(element) ?? null);
  if (value === null || typeof value !== "object" || value instanceof Date || value instanceof RegExp) return value;
  const members = Object.entries(value).map(([key, member]) => [key, settle(member)]);
  return Object.fromEntries(members.filter(([, member]) => member !== undefined));
}

const answers = {
  filter: ({ documents, filter }) => {
    const query = new Query(filter);
    return documents.map((document) => query.test(document));
  },
  update: ({ document, change }) => {
    update(document, change);
    return document;
  },
  projection: ({ document, projection }) => find([document], {}, projection).all()[0],
  sort: ({ documents, sort }) => find(documents, {}).sort(sort).all().map((document) => document._id),
  pipeline: ({ documents, other, pipeline }) =>
    settle(aggregate(documents, pipeline, { collectionResolver: (name) => (name === "other" ? other : documents) })),
  expression: ({ document, expression }) =>
    aggregate([document], [{ $replaceRoot: { newRoot: { value: expression } } }])[0].value,
};

for await (const line of createInterface({ input: process.stdin })) {
  const { kind, ...operands } = JSON.parse(line);
  let answer;
  try {
    answer = { ok: encode(answers[kind](decode(operands))) };
  } catch (error) {
    answer = { error: String(error.message) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
