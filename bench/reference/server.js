/**
 * The Node server that AniMoChat is measured against.
 *
 * Stock socket.io 4 with the stock Redis adapter on ioredis, so that any number of these processes, each on its own
 * port, serve one population. It uses the same events as AniMoChat and does the minimum that is correct: one Lua script
 * pairs strangers; a message is checked, gets an id and goes to its room but not to its sender.
 *
 * AniMoChat's further features (storing, one order per room, recovery, cooldown, history, limits) are missing on
 * purpose: every one of these would only make this server slower.
 *
 * Environment: PORT, REDIS_URL, CLIENT_URL (as AniMoChat's).
 */

"use strict";

const { randomUUID } = require("node:crypto");
const { createServer } = require("node:http");

const { createAdapter } = require("@socket.io/redis-adapter");
const { Redis } = require("ioredis");
const { Server } = require("socket.io");

const PORT = Number(process.env.PORT ?? 3001);
const REDIS_URL = process.env.REDIS_URL ?? "redis://localhost:6379";
const CLIENT_URL = process.env.CLIENT_URL ?? "*";

/** Longest message, in code points. */
const MAX_MESSAGE_LENGTH = 2000;

/** Set of waiting people, each as `<server id> <socket id>`. */
const WAITING_KEY = "reference:waiting";

/**
 * Pop a waiting person, or wait.
 *
 * KEYS[1] the waiting set; ARGV[1] the seeker. Returns the partner, or nil if the seeker waits now.
 */
const PAIR_UP = `
  redis.call("SREM", KEYS[1], ARGV[1])
  local partner = redis.call("SPOP", KEYS[1])
  if partner then
    return partner
  end
  redis.call("SADD", KEYS[1], ARGV[1])
  return nil
`;

const serverId = randomUUID();
const redis = new Redis(REDIS_URL);
redis.defineCommand("pairUp", { numberOfKeys: 1, lua: PAIR_UP });

const publisher = redis.duplicate();
const subscriber = redis.duplicate();
for (const connection of [redis, publisher, subscriber]) {
  // ioredis reconnects by itself; without a listener each lost connection would be an uncaught error.
  connection.on("error", (error) => console.error(`redis: ${error.message}`));
}

const httpServer = createServer((request, response) => {
  const known = request.url === "/health";
  response.writeHead(known ? 200 : 404, { "content-type": "application/json" });
  response.end(JSON.stringify({ status: known ? "ok" : "not found" }));
});

const io = new Server(httpServer, {
  adapter: createAdapter(publisher, subscriber),
  cors: { origin: CLIENT_URL === "*" ? "*" : CLIENT_URL.split(",") },
  serveClient: false,
});

/** Send a refusal: to the acknowledgement if there is one, else as an `error` event. */
function refuse(socket, event, ack, code, message) {
  if (ack) {
    ack({ ok: false, error: { code, message } });
  } else {
    socket.emit("error", { code, message, event });
  }
}

/** Return the room that this socket is in: `{roomId, userId, partnerId}`, or undefined. */
function currentChat(socket) {
  const chat = socket.data.chat;
  return chat && socket.rooms.has(chat.roomId) ? chat : undefined;
}

/** Put one member of a pair into its room, on the server that has its connection. */
function enterRoom({ socketId, roomId, userId, partnerId }) {
  const socket = io.sockets.sockets.get(socketId);
  if (!socket) {
    // It left after the script ran: the other member must not wait for an answer that never comes.
    io.to(roomId).emit("partner-disconnected", { reason: "disconnected" });
    return;
  }
  socket.data.chat = { roomId, userId, partnerId };
  socket.join(roomId);
  socket.emit("matched", { roomId, userId, partnerId, interests: [] });
  socket.emit("message", {
    id: randomUUID(),
    roomId,
    seq: 0,
    senderId: "system",
    content: "You are now chatting with a stranger. Say hi!",
    timestamp: Date.now(),
    type: "system",
  });
}

async function findMatch(socket) {
  const partner = await redis.pairUp(WAITING_KEY, `${serverId} ${socket.id}`);
  if (!partner) {
    if (socket.connected) {
      socket.emit("waiting", { cooldownMs: 0 });
    } else {
      await stopWaiting(socket);
    }
    return;
  }
  const [partnerServer, partnerSocket] = partner.split(" ");
  const roomId = randomUUID();
  const mine = randomUUID();
  const theirs = randomUUID();
  const half = { socketId: partnerSocket, roomId, userId: theirs, partnerId: mine };
  if (partnerServer === serverId) {
    enterRoom(half);
  } else {
    io.serverSideEmit("enter-room", partnerServer, half);
  }
  enterRoom({ socketId: socket.id, roomId, userId: mine, partnerId: theirs });
}

io.on("enter-room", (server, half) => {
  if (server === serverId) {
    enterRoom(half);
  }
});

function stopWaiting(socket) {
  return redis.srem(WAITING_KEY, `${serverId} ${socket.id}`);
}

function leaveRoom(socket, reason) {
  const chat = currentChat(socket);
  if (chat) {
    socket.to(chat.roomId).emit("partner-disconnected", { reason });
    io.in(chat.roomId).socketsLeave(chat.roomId);
    socket.data.chat = undefined;
  }
}

/** Count the code points of `text`, without building an array of them. */
function codePoints(text) {
  let count = 0;
  for (const _ of text) {
    count += 1;
  }
  return count;
}

/** Return why this cannot be sent, as `[code, message]`, or undefined. */
function mistakeIn(content) {
  if (content.length === 0) {
    return ["empty-message", "Message cannot be empty"];
  }
  // A string has at most as many code points as UTF-16 units: most messages need no count.
  if (content.length > MAX_MESSAGE_LENGTH && codePoints(content) > MAX_MESSAGE_LENGTH) {
    return ["message-too-long", `Message cannot be longer than ${MAX_MESSAGE_LENGTH} characters`];
  }
  return undefined;
}

function sendMessage(socket, payload, ack) {
  const text = typeof payload === "string" ? payload : payload?.content;
  if (typeof text !== "string") {
    return refuse(socket, "send-message", ack, "invalid-payload", "Expected a string or {content}");
  }
  const content = text.trim();
  const mistake = mistakeIn(content);
  if (mistake) {
    return refuse(socket, "send-message", ack, ...mistake);
  }
  const chat = currentChat(socket);
  if (!chat) {
    return refuse(socket, "send-message", ack, "not-in-room", "Not in a chat room");
  }
  const message = {
    id: randomUUID(),
    roomId: chat.roomId,
    senderId: chat.userId,
    content,
    timestamp: Date.now(),
    type: "text",
  };
  socket.to(chat.roomId).emit("message", message);
  if (ack) {
    ack({ ok: true, id: message.id, timestamp: message.timestamp });
  }
}

/** Return the trailing argument if it is an acknowledgement callback. */
function ackOf(args) {
  const last = args.at(-1);
  return typeof last === "function" ? last : undefined;
}

/** Run a handler that uses Redis; an outage of the store must not end the process. */
function guarded(socket, event, work) {
  work().catch((error) => {
    console.error(`${event}: ${error.message}`);
    refuse(socket, event, undefined, "unavailable", "Try again");
  });
}

io.on("connection", (socket) => {
  socket.on("find-match", () => {
    if (currentChat(socket)) {
      refuse(socket, "find-match", undefined, "already-in-room", "Already in a room");
      return;
    }
    guarded(socket, "find-match", () => findMatch(socket));
  });

  socket.on("next-match", () => {
    leaveRoom(socket, "skipped");
    guarded(socket, "next-match", () => findMatch(socket));
  });

  socket.on("send-message", (payload, ...rest) => sendMessage(socket, payload, ackOf(rest)));

  socket.on("typing", (payload) => {
    const isTyping = typeof payload === "boolean" ? payload : payload?.isTyping === true;
    const chat = currentChat(socket);
    if (chat) {
      socket.to(chat.roomId).emit("partner-typing", { isTyping });
    }
  });

  socket.on("leave-room", () => leaveRoom(socket, "left"));

  socket.on("disconnecting", () => {
    leaveRoom(socket, "disconnected");
    guarded(socket, "disconnecting", () => stopWaiting(socket));
  });
});

  // AniMoChat's gunicorn gets this backlog, too, so that neither refuses a storm of connections.
httpServer.listen({ port: PORT, host: "127.0.0.1", backlog: 2048 });

process.on("SIGTERM", () => process.exit(0));
