// Compiled, never run: what the types let through, and what they refuse (tests/apidocs/test_documents.py).
import { io } from "socket.io-client";
import type { Auth, ChatSocket, Done, Message, Refused, Searching, Stored } from "../../../docs/animochat";

const socket: ChatSocket = io();
const auth: Auth = { lobby: "cebu", token: "from an earlier session" };
io({ auth });

socket.emit("find-match");
socket.emit("find-match", { interests: ["chess"] });
socket.emit("find-match", (answer) => answer.ok && answer.state === "waiting" && answer.cooldownMs);
socket.emit("next-match", { interests: [] }, (answer) => !answer.ok && answer.error.code === "rate-limited");
socket.emit("send-message", "Hello");
socket.emit("send-message", { content: "Hello", clientId: "1" }, (answer) => answer.ok && answer.seq + answer.timestamp);
socket.emit("typing", true);
socket.emit("leave-room", (answer) => answer.ok);

socket.on("session", ({ token, lobby, room }) => [token.length + lobby.length, room?.messages.map((message: Message) => message.seq)]);
socket.on("message", ({ type, timestamp }, offset) => [type === "system", timestamp + 1, offset.length]);
socket.on("online-count", (count) => count + 1);
socket.on("partner-reconnected", () => {});
socket.on("error", ({ code, retryAfterMs }) => [code === "banned", (retryAfterMs ?? 0) + 1]);

/** Compiles for equal types alone, which `any` is to none but itself. */
const is = <Expected>() => <Found>(
  _found: Found,
  ..._equal: (<T>() => T extends Found ? 1 : 2) extends <T>() => T extends Expected ? 1 : 2 ? [] : ["differs"]
) => {};

is<Stored | Refused>()(await socket.emitWithAck("send-message", "Hello"));
is<Stored | Refused>()(await socket.timeout(5000).emitWithAck("send-message", { content: "Hello", clientId: "1" }));
is<Searching | Refused>()(await socket.emitWithAck("find-match"));
is<Searching | Refused>()(await socket.emitWithAck("find-match", { interests: ["chess"] }));
is<Searching | Refused>()(await socket.emitWithAck("next-match", null));
is<Done | Refused>()(await socket.emitWithAck("cancel-match"));
is<Done | Refused>()(await socket.emitWithAck("typing", true));
is<Done | Refused>()(await socket.on("connect", () => {}).emitWithAck("leave-room"));
is<Done | Refused>()(await socket.emitWithAck("block-partner"));
is<Done | Refused>()(await socket.timeout(5000).emitWithAck("report-partner", { reason: "spam" }));
socket.timeout(5000).emit("send-message", "Hello", (error: Error, answer) => is<Stored | Refused>()(answer));

// @ts-expect-error: it may have been refused
is<Stored>()(await socket.emitWithAck("send-message", "Hello"));
// @ts-expect-error: `any` would be no type
is<Stored | Refused>()(JSON.parse(""));
// @ts-expect-error: there is a number only where it was stored
(await socket.emitWithAck("send-message", "Hello")).seq;
// @ts-expect-error: something has to be said
await socket.emitWithAck("send-message");
// @ts-expect-error: within a time too
await socket.timeout(5000).emitWithAck("send-message");
// @ts-expect-error: one argument
await socket.emitWithAck("send-message", "Hello", "again");
// @ts-expect-error: the promise is instead of the callback
await socket.emitWithAck("send-message", "Hello", (answer) => answer.ok);
// @ts-expect-error: the promise is instead of the callback
await socket.emitWithAck("find-match", () => {});
// @ts-expect-error: it has no argument
await socket.emitWithAck("leave-room", "now");
// @ts-expect-error: no such reason
await socket.emitWithAck("report-partner", { reason: "boring" });
// @ts-expect-error: no such event
await socket.emitWithAck("find-partner");
// @ts-expect-error: a lobby is named
io({ auth: { lobby: 5 } satisfies Auth });
// @ts-expect-error: no such event
socket.emit("find-partner");
// @ts-expect-error: interests are a list
socket.emit("find-match", { interests: "chess" });
// @ts-expect-error: something has to be said
socket.emit("send-message");
// @ts-expect-error: no such event
socket.on("messages", () => {});
// @ts-expect-error: a message has no `text`
socket.on("message", ({ text }) => text);
// @ts-expect-error: no such reason
socket.on("partner-disconnected", ({ reason }) => reason === "bored");
