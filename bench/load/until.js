/** Waiting for something to become true. */

"use strict";

const { setTimeout: sleep } = require("node:timers/promises");

/** Milliseconds between two looks. */
const LOOK_MS = 50;

/** Resolves when `condition()` holds, or after `deadlineMs`, whichever is first. */
async function until(condition, deadlineMs) {
  const deadline = performance.now() + deadlineMs;
  while (!condition() && performance.now() < deadline) {
    await sleep(LOOK_MS);
  }
}

module.exports = { until };
