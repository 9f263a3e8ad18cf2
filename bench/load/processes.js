/** What the servers' processes used, from /proc (Linux): CPU time and resident memory. */

"use strict";

const { readFileSync } = require("node:fs");

/** Microseconds in one clock tick: Linux shows 100 ticks a second to programs, whatever the kernel's own rate. */
const TICK_US = 10_000;

/** CPU time (user and system, all threads) that these processes used so far, in microseconds. */
function cpuMicroseconds(pids) {
  let ticks = 0;
  for (const pid of pids) {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name stands in brackets and may hold spaces; utime and stime are the 12th and 13th after it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * TICK_US;
}

/** Resident memory of these processes together, in kB. */
function residentKilobytes(pids) {
  let total = 0;
  for (const pid of pids) {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    total += Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)[1]);
  }
  return total;
}

/**
 * Measures CPU time from its making to `stop`.
 *
 *     const meter = new CpuMeter(options);
 *     …
 *     const used = meter.stop();   // { elapsedS, serverUs, redisUs, loadShare }
 */
class CpuMeter {
  constructor({ serverPids, redisPid }) {
    this.serverPids = serverPids;
    this.redisPids = [redisPid];
    this.own = process.cpuUsage();
    this.server = cpuMicroseconds(serverPids);
    this.redis = cpuMicroseconds(this.redisPids);
    this.startedAt = process.hrtime.bigint();
  }

  /** loadShare: how much of one core the load generator itself took, 1 = all of it. */
  stop() {
    const elapsedS = Number(process.hrtime.bigint() - this.startedAt) / 1e9;
    const own = process.cpuUsage(this.own);
    return {
      elapsedS,
      serverUs: cpuMicroseconds(this.serverPids) - this.server,
      redisUs: cpuMicroseconds(this.redisPids) - this.redis,
      loadShare: (own.user + own.system) / 1e6 / elapsedS,
    };
  }
}

module.exports = { CpuMeter, residentKilobytes };
