/**
 * Match storm: everyone searches at the same moment. How long until all are matched, and is each matched exactly once?
 *
 * Options: urls, users, serverPids, redisPid, awaitSession; interests: {of, most, waitMs}, for people who each name one to
 * `most` interests out of `of`, with an interest wait of waitMs.
 * Result: seconds from the first `find-match` to the last `matched`. With interests: to the last of those who could share
 * one; left: people who could not; seconds_left: from the end of their wait to the last `matched` of these.
 */

"use strict";

const { setTimeout: sleep } = require("node:timers/promises");

const { Client } = require("./client");
const { assertNoneLost, closeAll, connectAll } = require("./crowd");
const { interestMistakes, matchingMistakes } = require("./matching");
const { CpuMeter } = require("./processes");

/** Milliseconds after which people who still wait count as left over. */
const DEADLINE_MS = 60_000;

/** Milliseconds in which a second `matched` of a person would still be noticed. */
const AFTERMATH_MS = 500;

/** Milliseconds after connecting, so that its work is not measured as matching. */
const SETTLE_MS = 1000;

/** Return one to `most` different interests out of `of`. */
function someInterests({ of, most }) {
  const chosen = new Set();
  const count = 1 + Math.floor(Math.random() * most);
  while (chosen.size < count) {
    chosen.add(`interest ${Math.floor(Math.random() * of)}`);
  }
  return [...chosen];
}

async function run(options) {
  const { interests } = options;
  const clients = await connectAll(options.urls, options.users, options);
  const matches = clients.map(() => []);
  const wanted = clients.map(() => (interests ? someInterests(interests) : []));
  const frames = wanted.map((names) => Client.frame("find-match", interests ? { interests: names } : undefined));
  await sleep(SETTLE_MS);

  const answered = new Set();
  let matched = 0;
  let finishedAt;
  let allAnswered = () => {};
  const everybodyAnswered = new Promise((resolve) => {
    allAnswered = resolve;
  });
  const everybody = new Promise((resolve) => {
    clients.forEach((client, index) => {
      client.onMessage = () => {};
      client.onEvent = (name, argument) => {
        if (name === "error") {
          throw new Error(`error ${JSON.stringify(argument)}`);
        }
        if (name !== "matched" && name !== "waiting") {
          return;
        }
        if (answered.add(index).size === clients.length) {
          allAnswered();
        }
        if (name === "matched" && matches[index].push(argument) === 1) {
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
  const startedAt = performance.now();
  for (const [index, client] of clients.entries()) client.write(frames[index]);
  const deadline = sleep(DEADLINE_MS, undefined, { ref: false });
  await Promise.race([interests ? everybodyAnswered : everybody, deadline]);
  const used = meter.stop();
  // With interests: until just before the first interest wait ends.
  const rest = interests ? startedAt + interests.waitMs - SETTLE_MS - performance.now() : AFTERMATH_MS;
  if (rest < AFTERMATH_MS) {
    throw new Error(`${answered.size} of ${clients.length} had an answer after all interest waits`);
  }
  await sleep(rest);
  const seconds = (finishedAt - startedAt) / 1000;
  const left = clients.length - matched;
  const mistakes = [];
  if (interests) {
    mistakes.push(...interestMistakes(matches, wanted));
    await Promise.race([everybody, deadline]);
    await sleep(AFTERMATH_MS);
  }
  assertNoneLost();
  mistakes.push(...matchingMistakes(matches));
  if (mistakes.length > 0) {
    throw new Error(`${mistakes.length} mistakes in matching, the first: ${mistakes[0]}`);
  }
  closeAll(clients);
  return {
    seconds,
    ...(interests && left > 0 && { left, seconds_left: (finishedAt - startedAt - interests.waitMs) / 1000 }),
    cpu_us: used.serverUs / clients.length,
    redis_us: used.redisUs / clients.length,
    load_share: used.loadShare,
  };
}

module.exports = { run };
