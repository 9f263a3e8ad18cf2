/** CPU time and resident memory of the servers' processes, from /proc (Linux). */

"use strict";

const { readFileSync } = require("node:fs");

/** Microseconds per clock tick: Linux shows programs 100 ticks per second, whatever the kernel's own rate. */
const TICK_US = 10_000;

/** Return the CPU time (user and system, all threads) that these processes have used so far, in microseconds. */
function cpuMicroseconds(pids) {
  let ticks = 0;
  for (const pid of pids) {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name is in parentheses and may contain spaces; utime and stime are the 12th and 13th field after it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * TICK_US;
}

/** Return the resident memory of these processes together, in kB. */
function residentKilobytes(pids) {
  let total = 0;
  for (const pid of pids) {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    total += Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)[1]);
  }
  return total;
}

/**
 * Measures CPU time from its construction to `stop`.
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

  /** loadShare: the load generator's own share of one core, 1 = all of it. */
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
