import type { Chat, ChatOptions } from "./core.js";

export type { Chat, ChatMessage, ChatOptions, ChatState, Room, Storage } from "./core.js";
export { browserStorage, ChatError, memoryStorage } from "./core.js";

export function createChat(url: string, options?: ChatOptions): Chat;
