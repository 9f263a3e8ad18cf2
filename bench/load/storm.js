/**
 * Match storm: everybody asks at the same moment. How long until all are matched, and is each matched exactly once?
 *
 * Options: urls, users, serverPids, redisPid, awaitSession.
 * Result: seconds from the first `find-match` to the last `matched`.
 */

"use strict";

const { setTimeout: sleep } = require("node:timers/promises");

const { Client } = require("./client");
const { assertNoneLost, closeAll, connectAll } = require("./crowd");
const { matchingMistakes } = require("./matching");
const { CpuMeter } = require("./processes");

/** Milliseconds after which those who are still waiting are counted as left over. */
const DEADLINE_MS = 60_000;

/** Milliseconds in which a second `matched` for somebody would still be noticed. */
const AFTERMATH_MS = 500;

/** Let connecting settle, so that it is not measured as matching. */
const SETTLE_MS = 1000;

async function run(options) {
  const clients = await connectAll(options.urls, options.users, options);
  const matches = clients.map(() => []);
  await sleep(SETTLE_MS);

  const frame = Client.frame("find-match");
  let matched = 0;
  let startedAt;
  let finishedAt;
  const everybody = new Promise((resolve) => {
    clients.forEach((client, index) => {
      client.onMessage = () => {};
      client.onEvent = (name, argument) => {
        if (name === "error") {
          throw new Error(`error ${JSON.stringify(argument)}`);
        }
        if (name !== "matched") {
          return;
        }
        if (matches[index].push(argument) === 1) {
          matched += 1;
          finishedAt = performance.now();
          if (matched === clients.length) {
            resolve();
          }
        }
      };
    });
  });
  const meter = new CpuMeter(options);
  startedAt = performance.now();
  for (const client of clients) {
    client.write(frame);
  }
  await Promise.race([everybody, sleep(DEADLINE_MS, undefined, { ref: false })]);
  const used = meter.stop();
  await sleep(AFTERMATH_MS);
  assertNoneLost();
  const mistakes = matchingMistakes(matches);
  if (mistakes.length > 0) {
    throw new Error(`${mistakes.length} mistakes in matching, the first: ${mistakes[0]}`);
  }
  closeAll(clients);
  return {
    seconds: (finishedAt - startedAt) / 1000,
    cpu_us: used.serverUs / clients.length,
    redis_us: used.redisUs / clients.length,
    load_share: used.loadShare,
  };
}

module.exports = { run };
