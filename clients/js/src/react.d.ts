import type { Chat, ChatOptions, ChatState } from "./core.js";

export function useChat(url: string, options?: Omit<ChatOptions, "connect">): ChatState & { chat: Chat };
