// Has the official parser read AsyncAPI documents, a JSON list of them on standard input; answers with a list of
// {diagnostics: [{code, message, path}], operations: [id], messages: [id]}, the latter of documents that are right.
import { json } from "node:stream/consumers";
import { Parser } from "@asyncapi/parser";

const parser = new Parser();
const results = [];
for (const given of await json(process.stdin)) {
  const { document, diagnostics } = await parser.parse(given);
  results.push({
    diagnostics: diagnostics.map(({ code, message, path }) => ({ code, message, path: path.join("/") })),
    operations: document?.operations().all().map((operation) => operation.id()),
    messages: document?.messages().all().map((message) => message.id()),
  });
}
console.log(JSON.stringify(results));
