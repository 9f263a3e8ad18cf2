// The client against a real server, whose address is in ANIMOCHAT_URL.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { createChat, memoryStorage } from "../src/index.js";

const URL_ = process.env.ANIMOCHAT_URL;
const chats = [];

function chat(options = {}) {
  const made = createChat(URL_, { storage: memoryStorage(), reconnectionDelay: 50, ...options });
  chats.push(made);
  return made;
}

afterEach(() => {
  for (const made of chats.splice(0)) made.close();
});

/** Wait until the state is as `check` wants it. Every snapshot is looked at. */
function until(one, check, what = check.toString()) {
  return new Promise((resolve, reject) => {
    let stop = () => {};
    const timer = setTimeout(() => {
      stop();
      reject(new Error(`not reached: ${what}; last: ${JSON.stringify(one.getState())}`));
    }, 20_000);
    const look = () => {
      if (!check(one.getState())) return;
      clearTimeout(timer);
      stop();
      resolve(one.getState());
    };
    stop = one.subscribe(look);
    look();
  });
}

const chatting = (one) => until(one, ({ phase }) => phase === "chatting", "chatting");
const contents = ({ messages }) => messages.filter(({ type }) => type === "text").map(({ content }) => content);
const hears = (one, ...texts) => until(one, (state) => JSON.stringify(contents(state)) === JSON.stringify(texts), texts.join());

async function pair(options = {}) {
  const [anna, bert] = [chat(options), chat()];
  for (const one of [anna, bert]) await until(one, ({ connection }) => connection === "online");
  for (const one of [anna, bert]) one.find();
  const [{ room: first }, { room: second }] = await Promise.all([chatting(anna), chatting(bert)]);
  assert.equal(first.roomId, second.roomId);
  return [anna, bert];
}

/** Cut the connection as a tunnel does. */
function drop(one) {
  const gone = until(one, ({ connection }) => connection === "offline");
  one.socket.io.engine.transport.ws?.terminate?.() ?? one.socket.io.engine.close();
  return gone;
}

test("two people meet and talk, and both show one order", async () => {
  const [anna, bert] = await pair();
  for (const text of ["one", "two", "three"]) anna.send(text);
  assert.deepEqual(anna.getState().messages.slice(-3).map(({ state }) => state), ["sending", "sending", "sending"]);
  await hears(bert, "one", "two", "three");
  const state = await until(anna, ({ messages }) => messages.every(({ state }) => state === "sent"));
  assert.deepEqual(state.messages.map(({ seq }) => seq), [0, 1, 2, 3]);
  bert.send("four", { replyTo: bert.getState().messages[1].id });
  const { messages } = await hears(anna, "one", "two", "three", "four");
  assert.equal(messages.at(-1).replyTo.content, "one");
  assert.equal(messages.at(-1).own, false);
});

test("what is said without a connection arrives once, and what was missed is there", async () => {
  const [anna, bert] = await pair();
  anna.send("before");
  await hears(bert, "before");
  const away = until(bert, ({ partner }) => partner.away);
  await drop(anna);
  await away;
  anna.send("meanwhile");
  bert.send("missed");
  await hears(bert, "before", "missed", "meanwhile");
  await until(bert, ({ partner }) => !partner.away);
  const state = await until(anna, (now) => contents(now).length === 3 && now.messages.every(({ state }) => state === "sent"));
  assert.deepEqual(contents(state).sort(), ["before", "meanwhile", "missed"]);
});

test("a message whose answer is lost is sent again, and stored once", async () => {
  const [anna, bert] = await pair();
  anna.send("once");
  anna.socket.io.engine.close();
  await hears(bert, "once");
  await until(anna, ({ messages }) => messages.length === 2 && messages[1].state === "sent");
  anna.send("twice");
  await hears(bert, "once", "twice");
  await hears(anna, "once", "twice");
});

test("a reload is the same person with the same chat, and the older one is closed", async () => {
  const storage = memoryStorage();
  const [anna, bert] = await pair({ storage });
  anna.send("before");
  await hears(bert, "before");
  const again = chat({ storage });
  const { messages } = await hears(again, "before");
  assert.equal(messages.at(-1).own, true);
  assert.equal((await until(anna, ({ connection }) => connection === "closed")).error.code, "replaced");
  again.send("after");
  await hears(bert, "before", "after");
  anna.connect(); // takes the chat over
  await hears(anna, "before", "after");
});

test("leaving without a connection reaches the partner", async () => {
  const [anna, bert] = await pair();
  await drop(anna);
  anna.leave();
  assert.equal(anna.getState().phase, "idle");
  assert.equal((await until(bert, ({ phase }) => phase === "ended")).partner.left, "left");
  await until(anna, ({ connection }) => connection === "online");
  assert.equal(anna.getState().phase, "idle");
});

test("a search without a connection begins once there is one", async () => {
  const [anna, bert] = [chat({ connect: false }), chat({ connect: false })];
  for (const one of [anna, bert]) {
    one.find();
    assert.equal(one.getState().phase, "waiting");
    one.connect();
  }
  await Promise.all([chatting(anna), chatting(bert)]);
});

test("a message that is refused says why, and the others go on", async () => {
  const [anna, bert] = await pair();
  const { maxMessageLength } = anna.getState().limits;
  assert.throws(() => anna.send("x".repeat(maxMessageLength + 1)), { code: "message-too-long" });
  assert.throws(() => anna.send("  "), { code: "empty-message" });
  anna.send("reply", { replyTo: 7 });
  anna.send("good");
  await hears(bert, "good");
  const { messages } = await until(anna, (state) => state.messages.some(({ state: sent }) => sent === "undelivered"));
  assert.equal(messages.find(({ content }) => content === "reply").error.code, "invalid-payload");
  bert.leave();
  await until(anna, ({ phase }) => phase === "ended");
  assert.throws(() => anna.send("late"), { code: "not-in-room" });
});

test("more than the rate allows arrives all the same, in order", async () => {
  const [anna, bert] = await pair();
  const texts = Array.from({ length: 60 }, (_, number) => String(number));
  for (const text of texts) anna.send(text);
  await hears(bert, ...texts);
});

test("typing shows and goes, with a message and by itself", async () => {
  const [anna, bert] = await pair();
  anna.typing(true);
  await until(bert, ({ partner }) => partner.typing);
  anna.send("hello");
  const { partner } = await hears(bert, "hello");
  assert.equal(partner.typing, false);
  anna.typing(true);
  await until(bert, ({ partner }) => partner.typing);
  anna.typing(false);
  await until(bert, ({ partner }) => !partner.typing);
});

test("block, report and next end the room for both", async () => {
  for (const act of [(one) => one.block(), (one) => one.report({ reason: "spam" })]) {
    const [one, other] = await pair();
    await act(one);
    assert.match((await until(one, ({ phase }) => phase === "ended")).partner.left, /blocked|reported/);
    assert.equal((await until(other, ({ phase }) => phase === "ended")).partner.left, "left");
  }
  const [gone, stays] = await pair();
  gone.leave();
  await until(stays, ({ phase }) => phase === "ended");
  await stays.report({ reason: "harassment", details: "before leaving" });
  assert.equal(stays.getState().error, null);
  assert.equal(stays.getState().partner.left, "reported");
  const [anna, bert] = await pair();
  await anna.next();
  assert.equal((await until(bert, ({ phase }) => phase === "ended")).partner.left, "skipped");
  assert.equal(anna.getState().phase, "waiting");
  assert.deepEqual(anna.getState().messages, []);
});

test("an unknown lobby closes the chat for good", async () => {
  const lost = chat({ lobby: "nowhere" });
  const { error } = await until(lost, ({ connection }) => connection === "closed");
  assert.equal(error.code, "unknown-lobby");
  assert.equal(lost.socket, null);
});
