// Compiled, never run: what the types let through, and what they refuse (tests/test_documents.py).
import { io, type Socket } from "socket.io-client";
import type { Auth, ClientToServerEvents, Message, ServerToClientEvents } from "../../docs/animochat";

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io();
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
