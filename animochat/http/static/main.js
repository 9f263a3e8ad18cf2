/**
 * The page's wiring: what the person does becomes requests, what the server says becomes screens.
 *
 * The server knows where a person stands; the page only keeps what the person wishes (`wish`), so that both can be brought
 * together again after a connection was lost, whichever of the two had changed in the meantime.
 */
import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { Conversation } from "./conversation.js";
import { Outbox } from "./outbox.js";
import { ignoreHeldKeys, onEscapeTwice } from "./shortcut.js";
import { View } from "./view.js";
import { followVisibleArea } from "./viewport.js";
import { words } from "./words.js";

// A partner's typing that is not repeated for this long is over, in milliseconds (the page itself repeats every 2 s).
const TYPING_ENDS_MS = 6_000;
// Leaving is tried again after this long when it failed, in milliseconds.
const LEAVE_AGAIN_MS = 2_000;
const IN_CHAT_KEY = "animochat.chatting";

let wish = null; // "talk", "rest", or null: whatever the server says, because the page has just been loaded
let inRoom = false;
let leaving = false; // `next-match` is under way
let unsaid = null; // "leave-room" or "cancel-match", until the server has heard it
let partnerTyping = 0; // the timer that ends it

const view = new View();
const connection = new Connection({
  session,
  matched,
  waiting,
  message,
  "partner-typing": ({ isTyping }) => showTyping(isTyping),
  "partner-reconnecting": partnerReconnecting,
  "partner-reconnected": partnerReconnected,
  "partner-disconnected": ({ reason }) => inRoom && roomEnded(reason),
  "online-count": (count) => view.online(count),
  error: (error) => error.event !== "typing" && complain(error),
  recovered,
  lost,
  closed: (error) => view.closed(error),
  broken: () => view.closed({ code: "broken" }),
});
const conversation = new Conversation({ retry: (clientId) => outbox.retry(clientId) });
const outbox = new Outbox({ connection, conversation, failed });
const composer = new Composer({
  say: (text) => outbox.say(text),
  typing: (isTyping) => connection.signal("typing", isTyping),
  tooLong: () => complain({ code: "message-too-long" }),
});

// --- what the person does

async function search() {
  wish = "talk";
  leaveRoom();
  if (!connection.ready) {
    view.connecting(); // asked for as soon as there is a session
    return;
  }
  view.waiting();
  if (unsaid) rest(unsaid); // first: the server hears both in this order
  try {
    await connection.request("find-match");
  } catch (error) {
    // In a room by now: a search from before the connection was lost had come to its end.
    if (error.code === "offline" || inRoom || wish !== "talk") return;
    wish = "rest";
    view.show("start");
    complain(error);
    // Whatever the server makes of it after all is to end where the page is now.
    if (error.code === "timeout") rest("cancel-match");
    if (error.code === "already-in-room") rest("leave-room");
  }
}

async function next() {
  if (!inRoom) {
    search();
    return;
  }
  // The conversation stays until the server has let go of it: a refusal changes nothing.
  if (leaving) return;
  leaving = true;
  view.nextIsPending(true);
  try {
    await connection.request("next-match");
  } catch (error) {
    complain(error);
  } finally {
    leaving = false;
    view.nextIsPending(false);
  }
}

function stop() {
  const leave = inRoom ? "leave-room" : "cancel-match";
  wish = "rest";
  leaveRoom();
  view.show("start");
  view.announce(words.stopped);
  rest(leave);
}

/** Tell the server that we have left, however often it takes: nobody may go on talking to an empty chair. */
async function rest(event) {
  unsaid = event;
  try {
    await connection.request(event);
    if (unsaid === event) unsaid = null; // or something else has become due meanwhile
  } catch (error) {
    if (error.code === "offline") return; // `session` or `recovered` brings it up again
    if (["unavailable", "timeout", "rate-limited"].includes(error.code)) {
      setTimeout(() => unsaid && rest(unsaid), error.retryAfterMs ?? LEAVE_AGAIN_MS);
    } else if (unsaid === event) {
      unsaid = null; // there was nothing to leave
    }
  }
}

// --- what the server says

function session({ state, room, limits }) {
  const loaded = wish === null;
  composer.maxLength = limits?.maxMessageLength ?? composer.maxLength;
  view.connected();
  if (state === "idle") unsaid = null;
  if (state === "chatting" && (unsaid || wish === "rest")) {
    unsaid = "leave-room"; // left while nobody could be told
    if (wish === "talk") search();
    else rest(unsaid);
  } else if (wish === "rest") {
    if (state === "waiting") rest("cancel-match");
  } else if (state === "chatting") {
    wish = "talk";
    enterRoom(room);
    conversation.restore(room);
    if (loaded) view.announce(words.returned);
    outbox.flush();
  } else if (inRoom) {
    roomEnded("lost");
  } else if (state === "waiting" || (wish === "talk" && view.screen === "waiting")) {
    search(); // also when the server says "waiting": its answer tells about the cooldown
  } else if (loaded) {
    const cutOff = wasChatting();
    leaveRoom();
    view.show("start", { stays: true });
    if (cutOff) view.notice(words.ended.lost);
  }
}

function recovered() {
  view.connected();
  if (inRoom) outbox.flush();
  else if (view.screen === "waiting") search(); // whether the last request arrived, nobody knows; twice does no harm
  else if (unsaid) rest(unsaid);
}

function lost(everConnected) {
  showTyping(false);
  view.disconnected(everConnected ? words.connection.lost : words.connection.unreachable);
}

function waiting({ cooldownMs }) {
  if (wish !== "talk") return; // stopped in the meantime
  unsaid = null; // whoever waits has left
  leaveRoom();
  view.waiting({ cooldownMs });
}

function matched({ roomId, userId, partnerId }) {
  if (wish === "rest") {
    rest("leave-room"); // stopped in the very moment in which somebody was found
    return;
  }
  enterRoom({ roomId, partnerId });
  conversation.begin(roomId, userId);
  view.announce(words.met);
}

function enterRoom({ roomId, partnerId }) {
  const isNew = roomId !== conversation.roomId;
  if (isNew) {
    outbox.giveUp();
    composer.clear(); // what was meant for one stranger is not for the next
  }
  inRoom = true;
  unsaid = null;
  remember(true);
  view.chat({ partnerId, composer, isNew });
}

function leaveRoom() {
  inRoom = false;
  remember(false);
  showTyping(false);
  outbox.giveUp();
}

function roomEnded(reason) {
  leaveRoom();
  composer.clear();
  view.ended(reason, composer);
}

function message(received) {
  if (received.type !== "system") showTyping(false);
  conversation.add(received);
}

function showTyping(isTyping) {
  if (isTyping ? !inRoom : !partnerTyping) return;
  clearTimeout(partnerTyping);
  partnerTyping = isTyping ? setTimeout(() => showTyping(false), TYPING_ENDS_MS) : 0;
  conversation.showTyping(isTyping);
  view.partner(isTyping ? "typing" : "here");
}

function partnerReconnecting() {
  if (!inRoom) return;
  showTyping(false);
  view.partner("away");
  view.notice(words.partner.reconnecting, { keep: true });
}

function partnerReconnected() {
  if (!inRoom) return;
  view.partner("here");
  view.clearNotice();
  view.toast(words.partner.reconnected);
}

// --- what went wrong

function complain(error) {
  view.notice(words.error(error, composer.maxLength));
}

function failed(error) {
  // A message that came too late needs no explanation: the page is about to say that the chat is over.
  if (error.code === "not-in-room") view.announce(words.message.failed);
  else complain(error);
}

// --- coming back after a reload without the start screen in between

function remember(chatting) {
  try {
    if (chatting) sessionStorage.setItem(IN_CHAT_KEY, "yes");
    else sessionStorage.removeItem(IN_CHAT_KEY);
  } catch {
    // Forbidden: then the start screen is seen for a moment.
  }
}

function wasChatting() {
  try {
    return sessionStorage.getItem(IN_CHAT_KEY) !== null;
  } catch {
    return false;
  }
}

// --- begin

const pressed = { "start-button": search, "waiting-stop": stop, stop, next, "ended-stop": stop, "ended-next": search };
for (const [id, action] of Object.entries(pressed)) document.getElementById(id).addEventListener("click", action);
document.getElementById("take-over").addEventListener("click", () => {
  wish = null; // whatever the other tab has come to
  view.returning();
  connection.open();
});

onEscapeTwice({
  armed: () => view.screen === "chat",
  once: () => view.toast(words.again, 1_000),
  over: () => view.hideToast(),
  twice: next,
});
ignoreHeldKeys();
followVisibleArea();
if (wasChatting()) view.returning({ stays: true });
connection.open();
