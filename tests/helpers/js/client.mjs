// The stock JavaScript client, controlled from Python (tests/helpers/servers.py, NodeClient). Each line on stdin is a JSON
// object with a command ({id, do, …}); stdout has its result ({id, result}) and received events ({event, args}).

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

let socket;

const write = (message) => process.stdout.write(JSON.stringify(message) + "\n");

// Bytes are encoded as {"$binary": base64}.
const revive = (_, value) => (value?.$binary === undefined ? value : Buffer.from(value.$binary, "base64"));

const actions = {
  connect({ url, options }) {
    socket = io(url, options);
    socket.onAny((event, ...args) => write({ event, args }));
    socket.on("connect", () => write({ event: "connect", args: [] }));
    socket.on("disconnect", (reason) => write({ event: "disconnect", args: [reason] }));
    socket.on("connect_error", (error) => write({ event: "connect_error", args: [error.message] }));
  },
  emit({ event, args }) {
    socket.emit(event, ...args);
  },
  call({ event, args }) {
    // A client made with `retries` calls back as (error, answer), any other as (answer).
    return new Promise((resolve) => socket.emit(event, ...args, (...answer) => resolve(answer.at(-1))));
  },
  state() {
    return { sid: socket.id, recovered: socket.recovered, transport: socket.io.engine.transport.name };
  },
  disconnect() {
    socket.disconnect();
  },
  drop() {
    socket.io.engine.transport.ws.terminate();
  },
};

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, do: action, ...details } = JSON.parse(line, revive);
  write({ id, result: (await actions[action](details)) ?? null });
});
process.stdin.on("end", () => process.exit());
