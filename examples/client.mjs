// A chat in the terminal: node examples/client.mjs [http://localhost:3001]
// What is typed goes to the partner, /next finds another one, and the end of the input is a goodbye.
// @ts-check

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

/** @type {import("../docs/animochat").ChatSocket} */
const socket = io(process.argv[2] ?? "http://localhost:3001");

socket.on("session", ({ state }) => {
  if (state === "idle") socket.emit("find-match");
});
socket.on("waiting", ({ cooldownMs }) => console.log(cooldownMs ? `Resting for ${cooldownMs} ms` : "Waiting"));
socket.on("matched", ({ interests }) => console.log("Matched", ...interests));
socket.on("message", ({ type, content }) => console.log(type === "text" ? `> ${content}` : content));
socket.on("partner-disconnected", ({ reason }) => console.log(`Alone again (${reason}); /next finds somebody else`));
socket.on("error", ({ code, message }) => console.error(code, message));

createInterface({ input: process.stdin })
  .on("line", (line) => {
    if (line === "/next") socket.emit("next-match");
    else
      socket.emit("send-message", line, (answer) => {
        if (!answer.ok) console.error(answer.error.code, answer.error.message);
      });
  })
  .on("close", () => socket.disconnect());
