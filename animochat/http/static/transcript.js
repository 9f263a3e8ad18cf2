/**
 * The conversation as a text file, made on this device.
 */
import { clock, day } from "./message.js";
import { say } from "./words.js";

/** Hand the conversation of these items (message.js) to the browser as a download. */
export function save(items) {
  const url = URL.createObjectURL(new Blob([transcript(items)], { type: "text/plain;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `animochat-${stamp(new Date())}.txt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // by then the browser has read it
}

/** One line for each message, those of an answer below what they answer. */
export function transcript(items) {
  const lines = [];
  let today = null;
  for (const item of items) {
    const date = new Date(item.timestamp);
    if (day(date) !== today) {
      today = day(date);
      lines.push("", `${today} ${date.getFullYear()}`, "");
    }
    if (item.sender === "system") {
      lines.push(`* ${item.seq === 0 ? say("met.system") : item.content}`);
      continue;
    }
    if (item.quote) lines.push(`    > ${name(item.quote.sender)}: ${oneLine(item.quote.content)}`);
    const unsent = item.state === "failed" || item.state === "undelivered" ? ` (${say("message.undelivered")})` : "";
    lines.push(`[${clock(date)}] ${name(item.sender)}: ${item.content.replaceAll("\n", "\n    ")}${unsent}`);
  }
  return `${say("save.title")}\n${lines.join("\n")}\n`;
}

const name = (sender) => say(sender === "own" ? "you" : "partner");
const oneLine = (text) => text.replace(/\s+/gu, " ");

/** 2026-11-24-1235, in local time. */
function stamp(date) {
  const two = (number) => String(number).padStart(2, "0");
  const parts = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())];
  return `${parts.join("-")}-${two(date.getHours())}${two(date.getMinutes())}`;
}
