/**
 * The person's way through the page: the person's actions become requests, the server's events become screens.
 *
 * The server knows where a person stands; the page only keeps what the person wishes (`wish`), so that both can be brought
 * together again after a connection was lost, whichever of the two had changed in the meantime.
 */
import { Attention } from "./attention.js";
import { holdBack, releaseBack } from "./back.js";
import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { Conversation } from "./conversation.js";
import { dismissDialogs } from "./dialogs.js";
import { Interests } from "./interests.js";
import { Outbox } from "./outbox.js";
import { Partner } from "./partner.js";
import { Replies } from "./replies.js";
import { Safety } from "./safety.js";
import { forgetPerson, keep, ofLobby, recall } from "./storage.js";
import { View } from "./view.js";
import { COUNTED_MS, explain, say } from "./words.js";

// The pause before a failed leave is tried again, in milliseconds.
const LEAVE_AGAIN_MS = 2_000;
// No notice goes sooner, in milliseconds.
const READING_MS = 1_500;

let anyone = false; // this search is for anyone, whatever the interests
let wish = null; // "talk", "rest", or null: whatever the server says, because the page has just been loaded
let inRoom = false;
let leaving = false; // `next-match` is under way
let unsaid = null; // "leave-room" or "cancel-match", until the server has received it
const leftListeners = [];

const attention = new Attention();
export const view = new View({ attention });
export const connection = new Connection({
  session,
  matched,
  waiting,
  message,
  "partner-typing": ({ isTyping }) => inRoom && partner.typing(isTyping),
  "partner-reconnecting": ({ graceMs }) => inRoom && partner.away(graceMs),
  "partner-reconnected": () => inRoom && partner.back(),
  "partner-disconnected": ({ reason }) => inRoom && roomEnded(reason),
  "online-count": (count) => view.online(count),
  announcement: ({ text }) => view.announcement(text),
  error: (error) => error.event !== "typing" && complain(error),
  recovered,
  lost,
  closed: (error) => view.closed(error),
  broken: () => view.closed({ code: "broken" }),
});
export const conversation = new Conversation({ retry: () => outbox.retry() });
const outbox = new Outbox({ connection, conversation, failed });
const composer = new Composer({
  say: (text) => outbox.say(text, replies.take()),
  typing: (isTyping) => connection.signal("typing", isTyping),
  tooLong: () => complain({ code: "message-too-long" }),
  textOnly: () => view.notice("draft.textOnly"),
  changed: (text) => keep(ofLobby("draft"), text ? { roomId: conversation.roomId, text } : null, "sessionStorage"),
});
const partner = new Partner({ view, conversation });
const replies = new Replies({ conversation, composer });
const safety = new Safety({
  request: (...asked) => connection.request(...asked),
  done: settled,
  failed: complain,
});
export const interests = new Interests({ announce: (text) => view.announce(text), changed: interestsChanged });

// --- the person's actions

/** Look for someone, with the interests that stand on the start screen. */
export async function search() {
  wish = "talk";
  leaveRoom();
  if (!connection.ready) {
    view.connecting(); // searches as soon as there is a session
    return;
  }
  view.waiting({ picky: wanted().length > 0 });
  if (unsaid) rest(unsaid); // first: the server receives both in this order
  try {
    await connection.request("find-match", ...wanted());
  } catch (error) {
    // In a room by now: a search from before the connection was lost had come to its end.
    if (error.code === "offline" || inRoom || wish !== "talk") return;
    wish = "rest";
    view.show("start");
    complain(error);
    // Whatever the server does with it must end in the page's present state.
    if (error.code === "timeout") rest("cancel-match");
    if (error.code === "already-in-room") rest("leave-room");
  }
}

/** Search for anyone from now on, this time. */
export function matchAnyone() {
  anyone = true;
  document.getElementById("waiting-title").focus(); // the button goes
  searchAgain();
}

function interestsChanged() {
  anyone = false;
  if (view.screen === "waiting") searchAgain();
}

/** Search with the present interests. A match that comes in between counts. */
async function searchAgain() {
  try {
    await connection.request("cancel-match");
  } catch {
    return; // matched by now, or without a connection: then the next search says it
  }
  if (!inRoom && wish === "talk") search();
}

const wanted = () => (anyone ? [] : interests.wanted);

/** Hand the address of this page, in this lobby, to someone else. */
export async function invite() {
  const url = location.href;
  try {
    if (navigator.share) await navigator.share({ title: document.title, text: say("about"), url });
    else await navigator.clipboard.writeText(url);
    if (!navigator.share) view.notice("invite.copied");
  } catch (error) {
    if (error.name !== "AbortError") view.notice("invite.link", { url }); // it was not just dismissed
  }
}

/** Leave the stranger, if there is one, and look for someone else. */
export async function next() {
  if (!inRoom) {
    search();
    return;
  }
  // The conversation stays until the server has let go of it: a refusal changes nothing.
  if (leaving) return;
  leaving = true;
  view.nextIsPending(true);
  try {
    await connection.request("next-match", ...interests.wanted);
  } catch (error) {
    complain(error);
  } finally {
    leaving = false;
    view.nextIsPending(false);
  }
}

/** Leave the search. */
export function stop() {
  toStart();
  view.announce(say("ended.stopped"));
  rest("cancel-match");
}

/** Leave the chat. The conversation stays visible, and the stranger can be reported. */
export function leave() {
  wish = "rest";
  roomEnded("stopped");
  rest("leave-room");
}

/** Leave the conversation of a chat that is over. */
export function toStart() {
  wish = "rest";
  anyone = false;
  leaveRoom();
  releaseBack();
  view.show("start");
}

/** Whether there is a chat to lose. */
export const isChatting = () => inRoom && view.screen === "chat";

/** Leave, and be someone new: neither this browser nor the server knows us any more. */
export async function forgetMe() {
  if (connection.ready && inRoom) await connection.request("leave-room").catch(() => {});
  connection.close();
  forgetPerson();
  location.reload();
}

/** Ask the server to end the chat or search, until it answers: no one should talk to someone who has left. */
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

/** The partner in a room, this one or the last one, was "blocked" or "reported". */
function settled(reason, roomId) {
  if (roomId === conversation.roomId && view.screen === "chat") {
    if (inRoom) wish = "rest";
    roomEnded(reason);
  } else {
    view.show("start", { again: true }); // the button that was pressed may be gone
    view.notice(`ended.${reason}`);
  }
}

/** Take the chat over from another tab, in any state. */
export function takeOver() {
  wish = null;
  view.returning();
  connection.open();
}

/** Call `listener()` whenever there is no stranger any more, for any reason. */
export function onLeft(listener) {
  leftListeners.push(listener);
}

// --- the server's events

function session({ state, room, limits, lastRoom }) {
  const loaded = wish === null;
  composer.maxLength = limits?.maxMessageLength ?? composer.maxLength;
  if (limits) interests.limits = limits;
  safety.session(limits, lastRoom);
  view.connected();
  if (state === "idle") unsaid = null;
  if (state === "chatting" && (unsaid || wish === "rest")) {
    unsaid = "leave-room"; // left while there was no connection
    if (wish === "talk") search();
    else rest(unsaid);
  } else if (wish === "rest") {
    if (state === "waiting") rest("cancel-match");
  } else if (state === "chatting") {
    wish = "talk";
    enterRoom(room);
    conversation.restore(room);
    if (loaded) view.announce(say("returned"));
    outbox.flush();
  } else if (inRoom) {
    roomEnded("lost");
  } else if (state === "waiting" || (wish === "talk" && view.screen === "waiting")) {
    search(); // also when the server says "waiting": its answer tells about the cooldown
  } else if (loaded) {
    const cutOff = wasChatting();
    leaveRoom();
    view.show("start", { stays: true });
    if (cutOff) view.notice("ended.lost");
  }
}

function recovered() {
  view.connected();
  if (inRoom) outbox.flush();
  else if (view.screen === "waiting") search(); // the last request may not have arrived; repeating it does no harm
  else if (unsaid) rest(unsaid);
}

function lost(how) {
  partner.typing(false);
  view.disconnected(how);
}

function waiting({ cooldownMs }) {
  if (wish !== "talk") return; // stopped in the meantime
  unsaid = null; // someone who waits has left
  leaveRoom();
  view.waiting({ cooldownMs, picky: wanted().length > 0 });
}

function matched({ roomId, userId, partnerId, interests }) {
  if (wish === "rest") {
    rest("leave-room"); // stopped at the very moment of a match
    return;
  }
  enterRoom({ roomId, partnerId, interests });
  conversation.begin(roomId, userId);
  view.announce(say("met"));
  attention.call("met", { counts: true });
}

function enterRoom({ roomId, partnerId, interests }) {
  const isNew = roomId !== conversation.roomId;
  if (isNew) {
    const draft = recall(ofLobby("draft"), null, "sessionStorage"); // from before a reload
    outbox.giveUp();
    composer.clear(); // a draft for one stranger is not for the next
    replies.clear();
    if (draft?.roomId === roomId) composer.restore(draft.text);
  }
  inRoom = true;
  anyone = false;
  safety.entered(roomId);
  holdBack();
  unsaid = null;
  remember(true);
  view.chat({ partnerId, interests, composer, isNew });
}

function leaveRoom() {
  if (inRoom) safety.ended();
  inRoom = false;
  remember(false);
  partner.typing(false);
  outbox.giveUp();
  replies.clear();
  for (const listener of leftListeners) listener();
  dismissDialogs("leave-dialog");
}

function roomEnded(reason) {
  leaveRoom();
  composer.clear();
  view.ended(reason, composer);
  attention.call(`ended.${reason}`);
}

function message(received) {
  const said = received.type !== "system";
  if (said) partner.typing(false);
  if (conversation.add(received) && said) attention.call("notify.message", { counts: true });
}

// --- errors

/** Show the person the outcome of a request. */
export function complain(error) {
  const [key, values] = explain(error, composer.maxLength);
  const counted = error.code === "rate-limited" && error.retryAfterMs <= COUNTED_MS;
  if (counted) view.countedNotice(Math.max(error.retryAfterMs, READING_MS), key, null, say(key, values));
  else view.notice(key, values);
}

function failed(error) {
  // A message that came too late needs no explanation: the page is about to say that the chat is over.
  if (error.code === "not-in-room") view.announce(say("message.failed"));
  else complain(error);
}

// --- coming back after a reload without the start screen in between

function remember(chatting) {
  keep(ofLobby("chatting"), chatting || null, "sessionStorage");
}

function wasChatting() {
  return recall(ofLobby("chatting"), false, "sessionStorage");
}

/** Connect, and show the person's state. */
export function begin() {
  if (wasChatting()) view.returning({ stays: true });
  connection.open();
}
