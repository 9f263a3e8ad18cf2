import { io } from "socket.io-client";
import { createChatWith } from "./core.js";

export { browserStorage, ChatError, memoryStorage } from "./core.js";

/** Make a chat with the server at `url`, and connect. */
export const createChat = (url, options) => createChatWith(io, url, options);
