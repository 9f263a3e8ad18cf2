/**
 * Run one scenario against servers that are already running.
 *
 *     node main.js relay '{"urls": ["ws://127.0.0.1:3001"], "pairs": 100, …}'
 *
 * Prints the result as one line of JSON; a failure ends the process with status 1 and a line on stderr.
 */

"use strict";

const SCENARIOS = {
  connects: "./connects",
  conversation: "./conversation",
  idle: "./idle",
  "open-loop": "./open_loop",
  relay: "./relay",
  storm: "./storm",
};

async function main([name, options]) {
  const result = await require(SCENARIOS[name]).run(JSON.parse(options));
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
}

function fail(error) {
  process.stderr.write(`${error.stack}\n`, () => process.exit(1));
}

process.on("uncaughtException", fail);
main(process.argv.slice(2)).catch(fail);
