// A chat in the terminal: node examples/client.mjs [http://localhost:3001]
// What is typed goes to the partner, /next finds another one, and the end of the input is a goodbye.
// @ts-check

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

/** @type {import("../docs/animochat").ChatSocket} */
const socket = io(process.argv[2] ?? "http://localhost:3001");

/**
 * One line of words, without what would act on the terminal: control characters, line ends, changes of direction.
 * @param {...string} words
 */
const line = (...words) => words.join(" ").replace(/(?![\u200c\u200d])[\p{C}\p{Zl}\p{Zp}]/gu, " ");

socket.on("session", ({ state }) => {
  if (state === "idle") socket.emit("find-match");
});
socket.on("waiting", ({ cooldownMs }) => console.log(cooldownMs ? `Resting for ${cooldownMs} ms` : "Waiting"));
socket.on("matched", ({ interests }) => console.log(line("Matched", ...interests)));
socket.on("message", ({ type, content }) => console.log(line(type === "text" ? `> ${content}` : content)));
socket.on("partner-disconnected", ({ reason }) => console.log(line(`Alone again (${reason}); /next finds somebody else`)));
socket.on("error", ({ code, message }) => console.error(line(code, message)));

createInterface({ input: process.stdin })
  .on("line", (typed) => {
    if (typed === "/next") socket.emit("next-match");
    else
      socket.emit("send-message", typed, (answer) => {
        if (!answer.ok) console.error(line(answer.error.code, answer.error.message));
      });
  })
  .on("close", () => socket.disconnect());
