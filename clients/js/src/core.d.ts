import type { ManagerOptions, SocketOptions } from "socket.io-client";
import type { ChatSocket, Limits, Quote, Refusal, ReportPartner } from "./protocol.js";

export interface Room {
  readonly roomId: string;
  readonly userId: string;
  readonly partnerId: string;
  readonly interests: readonly string[];
}

export interface ChatMessage {
  /** Stays the same while the message is sent; for lists. */
  readonly key: string;
  /** Null while an own message is on its way. */
  readonly id: string | null;
  readonly roomId: string;
  readonly seq: number | null;
  readonly senderId: string;
  readonly own: boolean;
  readonly content: string;
  /** Unix time in milliseconds */
  readonly timestamp: number;
  readonly type: "system" | "text";
  readonly state: "sending" | "sent" | "undelivered";
  readonly error: ChatError | null;
  readonly replyTo?: Quote;
}

export interface ChatState {
  readonly connection: "connecting" | "online" | "offline" | "closed";
  /** `ended`: the partner has gone, and the messages are still there. */
  readonly phase: "idle" | "waiting" | "chatting" | "ended";
  readonly room: Room | null;
  readonly messages: readonly ChatMessage[];
  readonly partner: {
    readonly typing: boolean;
    /** The partner's connection was lost; the room waits. */
    readonly away: boolean;
    readonly left: "left" | "skipped" | "disconnected" | "blocked" | "reported" | null;
  };
  readonly online: number | null;
  readonly limits: Limits | null;
  /** What remained of the skip cooldown when the search began, in milliseconds. */
  readonly cooldownMs: number;
  readonly announcement: string | null;
  /** Why the last request was refused, or the connection is closed. */
  readonly error: ChatError | null;
}

export class ChatError extends Error {
  code: Refusal["code"] | "offline" | "timeout";
  retryAfterMs?: number;
}

export interface Storage {
  get(key: string): string | null;
  set(key: string, value: string): void;
}

export interface ChatOptions extends Partial<ManagerOptions & SocketOptions> {
  lobby?: string;
  /** Where token and device are kept. Default: the browser's storage, else memory. */
  storage?: Storage;
  /** False: not before `connect()`. */
  connect?: boolean;
}

export interface Chat {
  readonly socket: ChatSocket | null;
  getState(): ChatState;
  subscribe(listener: () => void): () => void;
  connect(): void;
  close(): void;
  find(options?: { interests?: string[] }): void;
  next(options?: { interests?: string[] }): Promise<void>;
  leave(): void;
  send(content: string, options?: { replyTo?: string | null }): string;
  typing(isTyping: boolean): void;
  block(): Promise<void>;
  report(report: ReportPartner): Promise<void>;
}

export function createChatWith(io: unknown, url: string, options?: ChatOptions): Chat;
export function browserStorage(): Storage;
export function memoryStorage(): Storage;
