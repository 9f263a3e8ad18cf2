/** Order statistics. */

"use strict";

/** Return the value of rank `percent` (nearest rank) of an ascending array. */
function percentile(sorted, percent) {
  const rank = Math.max(1, Math.ceil((percent / 100) * sorted.length));
  return sorted[rank - 1];
}

module.exports = { percentile };
