/**
 * Everything the page says that does not stand in the document itself: one place to read it, and to translate it from.
 */

const number = new Intl.NumberFormat();
const seconds = (ms) => number.format(Math.max(1, Math.ceil(ms / 1000)));

export const words = {
  title: { start: "AniMoChat", waiting: "Looking… · AniMoChat", chat: "Chatting · AniMoChat", closed: "AniMoChat" },

  online: (count) => `${number.format(count)} online`,

  waiting: {
    title: "Looking for somebody…",
    hint: "This usually takes a moment.",
    slow: "Nobody is free right now. Stay here, and you’ll meet whoever is next.",
    alone: "You’re the only one here at the moment. Stay, and whoever comes next is yours.",
    cooldownTitle: "Catching your breath…",
    cooldown: (ms) => `A short pause after skipping. We start looking in ${seconds(ms)}\u00a0s.`,
    connecting: "Connecting…",
    returningTitle: "Coming back…",
    returning: "Picking up your chat where you left it.",
  },

  partner: {
    name: "Stranger",
    you: "You",
    here: "Here with you",
    typing: "Typing…",
    away: "Reconnecting…",
    gone: "Gone",
    reconnecting: "The stranger’s connection dropped. Waiting for them to come back…",
    reconnected: "The stranger is back.",
  },

  ended: {
    left: "The stranger has left the chat.",
    skipped: "The stranger moved on to somebody else.",
    disconnected: "The stranger lost the connection and didn’t come back.",
    lost: "The chat ended while you were away.",
  },

  met: "Somebody is here.",
  returned: "You’re back in your chat.",
  stopped: "You stopped.",

  message: {
    sending: "Sending…",
    sent: "Sent",
    undelivered: "Not delivered",
    retry: "Not sent. Tap to try again",
    failed: "A message was not sent.",
  },

  unseen: (count) => (count === 1 ? "1 new message" : `${number.format(count)} new messages`),
  left: (count) => `${number.format(count)} left`,
  over: (count) => `${number.format(count)} too many`,
  again: "Press Esc again for the next stranger",

  connection: {
    lost: "Connection lost, trying again…",
    unreachable: "The server can’t be reached, trying again…",
    back: "Connected again.",
  },

  closed: {
    replaced: {
      title: "You’re chatting in another tab.",
      text: "This chat was opened somewhere else, and it can only be in one place at a time.",
    },
    banned: {
      title: "You can’t chat for now.",
      text: "You were suspended from this chat.",
      until: (ms) => `You were suspended from this chat until ${new Date(Date.now() + ms).toLocaleString()}.`,
    },
    broken: {
      title: "This page didn’t load completely.",
      text: "Please reload it to try again.",
    },
  },

  /** What an error code of the protocol means to the person in front of the page. */
  error(error, maxMessageLength) {
    switch (error.code) {
      case "rate-limited":
        return error.retryAfterMs
          ? `A little slower, please. Try again in ${seconds(error.retryAfterMs)}\u00a0s.`
          : "A little slower, please. Try again in a moment.";
      case "unavailable":
        return "The chat is not available right now. Please try again in a moment.";
      case "timeout":
        return "The server did not answer. Please try again.";
      case "offline":
        return "There is no connection at the moment.";
      case "message-too-long":
        return `That message is too long. ${number.format(maxMessageLength)} characters fit into one.`;
      case "empty-message":
        return "There is nothing in that message.";
      case "not-in-room":
        return "This chat is over.";
      default:
        return "That didn’t work. Please try again.";
    }
  },
};
