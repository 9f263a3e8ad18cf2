import { useEffect, useMemo, useSyncExternalStore } from "react";
import { createChat } from "./index.js";

/** The chat's state, and the chat itself as `chat`. It connects with the component and leaves with it. */
export function useChat(url, options = {}) {
  // Another server or lobby is another chat; the other options are read once.
  // biome-ignore lint/correctness/useExhaustiveDependencies: an options object is a new one on each render
  const chat = useMemo(() => createChat(url, { ...options, connect: false }), [url, options.lobby]);
  useEffect(() => {
    chat.connect();
    return () => chat.close();
  }, [chat]);
  const state = useSyncExternalStore(chat.subscribe, chat.getState, chat.getState);
  return { ...state, chat };
}
