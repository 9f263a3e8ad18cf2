/**
 * The conversation as a text file, made on this device.
 */
import { clock, day } from "./message.js";
import { lobby } from "./storage.js";
import { readable } from "./text.js";
import { locale, say } from "./words.js";

/** Hand the conversation of these items (message.js) to the browser as a download. */
export function save(items) {
  const url = URL.createObjectURL(new Blob([transcript(items)], { type: "text/plain;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `animochat-${stamp(new Date())}.txt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // by then the browser has read it
}

// Each further line of a message stands in from the edge, so that none passes for a line of this file's own...
const FURTHER = "\n    ";
// ... and those that begin as a quotation does have this before them.
const QUOTATION = /^(?=[\s\p{DI}]*>)/u;
const NO_QUOTATION = "| ";

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
      lines.push(`* ${item.seq === 0 ? say("met.system") : oneLine(item.content)}`);
      continue;
    }
    if (item.quote) lines.push(`    > ${name(item.quote.sender)}: ${oneLine(item.quote.content)}`);
    const unsent = item.state === "failed" || item.state === "undelivered" ? ` (${say("message.undelivered")})` : "";
    lines.push(`[${clock(date)}] ${name(item.sender)}: ${indented(item.content)}${unsent}`);
  }
  return `${[...head(items), ...lines].join("\n")}\n`;
}

/** The head of the file: time, place and partner. */
function head(items) {
  const began = new Date(items[0]?.timestamp ?? Date.now());
  const date = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "short" }).format(began);
  return [
    say("save.title"),
    say("save.date", { date }),
    say("save.lobby", { name: lobby }),
    say("save.with", { name: name("partner") }),
  ];
}

const name = (sender) => say(sender === "own" ? "you" : "partner");
const oneLine = (text) => readable(text).join(" ").replace(/\s+/gu, " ");
const indented = (text) => {
  const [first, ...further] = readable(text);
  return [first, ...further.map((line) => line.replace(QUOTATION, NO_QUOTATION))].join(FURTHER);
};

/** 2026-11-24-1235, in local time. */
function stamp(date) {
  const two = (number) => String(number).padStart(2, "0");
  const parts = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())];
  return `${parts.join("-")}-${two(date.getHours())}${two(date.getMinutes())}`;
}
