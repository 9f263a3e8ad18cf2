/** Wait for a condition. */

"use strict";

const { setTimeout: sleep } = require("node:timers/promises");

/** Milliseconds between two checks. */
const LOOK_MS = 50;

/** Resolve when `condition()` holds, or after `deadlineMs`. */
async function until(condition, deadlineMs) {
  const deadline = performance.now() + deadlineMs;
  while (!condition() && performance.now() < deadline) {
    await sleep(LOOK_MS);
  }
}

module.exports = { until };
