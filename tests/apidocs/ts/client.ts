// The types of clients/js, used as its README does. A line below @ts-expect-error is a mistake that they find.
import { type ChatMessage, ChatError, createChat, memoryStorage } from "../../../clients/js/src/index.js";
import { useChat } from "../../../clients/js/src/react.js";

const chat = createChat("https://chat.example", { lobby: "help", storage: memoryStorage(), reconnectionDelay: 50 });
chat.find({ interests: ["music"] });
const key: string = chat.send("Hello", { replyTo: null });
const { phase, messages, partner, limits, error } = chat.getState();
const last: ChatMessage | undefined = messages.at(-1);
const refused: boolean = error instanceof ChatError && error.code === "rate-limited";
chat.report({ reason: "spam" });
chat.socket?.on("announcement", ({ text }) => text.length);
export const used = [key, phase, last, partner.typing, limits?.maxMessageLength, refused, useChat("/").chat];

// @ts-expect-error
chat.report({ reason: "bored" });
// @ts-expect-error
messages.push(last);
// @ts-expect-error
chat.find(["music"]);
