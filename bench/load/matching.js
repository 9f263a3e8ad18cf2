/** Rules for all `matched` events. */

"use strict";

/**
 * Return the mistakes in these matches, as sentences.
 *
 * @param {Array<Array<{roomId: string, userId: string, partnerId: string}>>} matches  each person's `matched` events
 */
function matchingMistakes(matches) {
  const mistakes = [];
  const rooms = new Map();
  matches.forEach((events, person) => {
    if (events.length !== 1) {
      mistakes.push(`person ${person} was matched ${events.length} times`);
    }
    for (const event of events) {
      const members = rooms.get(event.roomId) ?? [];
      members.push(event);
      rooms.set(event.roomId, members);
    }
  });
  for (const [roomId, members] of rooms) {
    const [one, two] = members;
    if (members.length !== 2) {
      mistakes.push(`room ${roomId} has ${members.length} people`);
    } else if (one.userId !== two.partnerId || two.userId !== one.partnerId || one.userId === two.userId) {
      mistakes.push(`room ${roomId}: ${one.userId} and ${two.userId} are not each other's partners`);
    }
  }
  return mistakes;
}

/**
 * Return the mistakes in these matches, made during everyone's interest wait, as sentences.
 *
 * @param {Array<Array<{roomId: string, interests: string[]}>>} matches  each person's `matched` events
 * @param {string[][]} wanted  each person's interests
 */
function interestMistakes(matches, wanted) {
  const mistakes = [];
  const rooms = new Map();
  matches.forEach((events, person) => {
    for (const { roomId, interests } of events) {
      const partner = rooms.get(roomId);
      rooms.set(roomId, person);
      if (partner === undefined) {
        continue;
      }
      const shared = wanted[person].filter((name) => wanted[partner].includes(name));
      if (shared.length === 0) {
        mistakes.push(`room ${roomId}: ${wanted[person]} and ${wanted[partner]} share nothing`);
      } else if (String(interests) !== String(shared)) {
        mistakes.push(`room ${roomId}: ${shared} are in common, not ${interests}`);
      }
    }
  });
  const seen = new Set();
  for (const name of wanted.filter((_, person) => matches[person].length === 0).flat()) {
    if (seen.has(name)) {
      mistakes.push(`two who share ${name} are left waiting`);
    }
    seen.add(name);
  }
  return mistakes;
}

module.exports = { interestMistakes, matchingMistakes };
