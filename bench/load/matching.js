/** What must be true of everybody's `matched` events. */

"use strict";

/**
 * What is wrong with these matches, as sentences.
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

module.exports = { matchingMistakes };
