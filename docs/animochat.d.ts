// AniMoChat's events for a typed client of socket.io-client:
//
//   import { io } from "socket.io-client";
//   import type { Auth, ChatSocket } from "./animochat";
//   const auth: Auth = { lobby: "main" };
//   const socket: ChatSocket = io(url, { auth });
//
// Made from the server's own types by `make documents`; each server has its own at /docs/animochat.d.ts.

import type { Socket } from "socket.io-client";

/** The callback that any event takes. */
export type Acknowledge<Answer> = (answer: Answer | Refused) => void;

/** `announcement`: a line of the operator's to everybody. */
export interface Announcement {
  text: string;
}

/** `auth` in the handshake. `pid` and `offset`: the stock client's own, by which it takes a lost connection up. */
export interface Auth {
  token?: string;
  lobby?: string;
  pid?: string;
  offset?: string;
}

/** What an acknowledgement gets: it was done. */
export interface Done {
  ok: true;
}

/** `error`: a refusal, and the event that was refused, where there was one. */
export interface ErrorEvent {
  code: "already-in-room" | "banned" | "empty-message" | "invalid-payload" | "message-too-long" | "not-in-room" | "rate-limited" | "replaced" | "unavailable" | "unknown-lobby";
  message: string;
  event?: string;
  /** Milliseconds */
  retryAfterMs?: number;
}

/** `find-match` and `next-match`. */
export interface FindMatch {
  interests?: string[];
}

/** What a client needs to know of the server's bounds: lengths in characters, times in milliseconds. */
export interface Limits {
  maxMessageLength: number;
  maxClientIdLength: number;
  maxInterests: number;
  maxInterestLength: number;
  /** Milliseconds */
  interestWaitMs: number;
  /** Milliseconds */
  skipCooldownMs: number;
  /** Milliseconds */
  reconnectGraceMs: number;
  maxReportDetailsLength: number;
}

/** `matched`. */
export interface Matched {
  roomId: string;
  partnerId: string;
  userId: string;
  interests: string[];
}

/** `message`. */
export interface Message {
  id: string;
  roomId: string;
  seq: number;
  senderId: string;
  content: string;
  /** Unix time in milliseconds */
  timestamp: number;
  type: "system" | "text";
  replyTo?: Quote;
}

/** `partner-disconnected`. Who blocked or reported is shown as having left. */
export interface PartnerDisconnected {
  reason: "left" | "skipped" | "disconnected";
}

/** `partner-reconnecting`: how long the partner will be waited for. */
export interface PartnerReconnecting {
  /** Milliseconds */
  graceMs: number;
}

/** `partner-typing`. */
export interface PartnerTyping {
  isTyping: boolean;
}

/** `message.replyTo`: the message that a reply answers; `content` has its first MAX_QUOTE characters. */
export interface Quote {
  id: string;
  senderId: string;
  content: string;
}

/** Why something was not done. `retryAfterMs` is there where waiting helps. */
export interface Refusal {
  code: "already-in-room" | "banned" | "empty-message" | "invalid-payload" | "message-too-long" | "not-in-room" | "rate-limited" | "replaced" | "unavailable" | "unknown-lobby";
  message: string;
  /** Milliseconds */
  retryAfterMs?: number;
}

/** What any acknowledgement gets instead, when nothing was changed. */
export interface Refused {
  ok: false;
  error: Refusal;
}

/** `report-partner`. */
export interface ReportPartner {
  reason: "harassment" | "other" | "sexual" | "spam" | "threat" | "underage";
  details?: string | null;
}

/** What the acknowledgement of a search gets. `cooldownMs` is there while waiting. */
export interface Searching {
  ok: true;
  state: "matched" | "waiting";
  /** Milliseconds */
  cooldownMs?: number;
}

/** `send-message`; a bare string is its `content`. */
export interface SendMessage {
  content: string;
  clientId?: string | null;
  replyTo?: string | null;
}

/** `session`. */
export interface Session {
  token: string;
  recovered: boolean;
  state: "idle" | "waiting" | "chatting";
  lobby: string;
  limits: Limits;
  room?: SessionRoom;
}

/** The room in `session`, with what was said in it so far, by both. */
export interface SessionRoom {
  roomId: string;
  userId: string;
  partnerId: string;
  interests: string[];
  messages: Message[];
}

/** What the acknowledgement of `send-message` gets, once the message is stored. */
export interface Stored {
  ok: true;
  id: string;
  seq: number;
  /** Unix time in milliseconds */
  timestamp: number;
}

/** `typing`; a bare boolean is its `isTyping`. */
export interface Typing {
  isTyping: boolean;
}

/** `waiting`. `cooldownMs`: what is left of the rest after a skip. */
export interface Waiting {
  /** Milliseconds */
  cooldownMs: number;
}

export interface ClientToServerEvents {
  /** Enter the waiting pool; `waiting` or `matched` follows. */
  "find-match": (...args: [acknowledge: Acknowledge<Searching>] | [argument: FindMatch | null, acknowledge: Acknowledge<Searching>]) => void;
  /** Leave the waiting pool; `match-cancelled` follows. */
  "cancel-match": (acknowledge: Acknowledge<Done>) => void;
  /** Leave the room, rest for the cooldown, and enter the pool again. */
  "next-match": (...args: [acknowledge: Acknowledge<Searching>] | [argument: FindMatch | null, acknowledge: Acknowledge<Searching>]) => void;
  /** Say something to the partner. */
  "send-message": (argument: string | SendMessage, acknowledge: Acknowledge<Stored>) => void;
  /** Begin or end typing; the partner gets `partner-typing`. */
  "typing": (argument: boolean | Typing, acknowledge: Acknowledge<Done>) => void;
  /** Leave the room without searching again. */
  "leave-room": (acknowledge: Acknowledge<Done>) => void;
  /** Leave the room, and do not meet this partner again for 90 days. */
  "block-partner": (acknowledge: Acknowledge<Done>) => void;
  /** File a report with what was said, then as `block-partner`. */
  "report-partner": (argument: ReportPartner, acknowledge: Acknowledge<Done>) => void;
}

export interface ServerToClientEvents {
  /** The first event of every connection that was not recovered. */
  "session": (argument: Session, offset: string) => void;
  /** In the pool. */
  "waiting": (argument: Waiting, offset: string) => void;
  /** A partner was found. */
  "matched": (argument: Matched, offset: string) => void;
  /** The partner said something, or the room's first line. */
  "message": (argument: Message, offset: string) => void;
  /** The partner begins or ends typing. */
  "partner-typing": (argument: PartnerTyping) => void;
  /** The partner's connection dropped without a goodbye. */
  "partner-reconnecting": (argument: PartnerReconnecting, offset: string) => void;
  /** It is back, in the same room. */
  "partner-reconnected": (offset: string) => void;
  /** The room is over. */
  "partner-disconnected": (argument: PartnerDisconnected, offset: string) => void;
  /** No longer in the pool. */
  "match-cancelled": (offset: string) => void;
  /** How many people are here: after connecting, then on change. */
  "online-count": (argument: number) => void;
  /** The operator says a line to everybody. */
  "announcement": (argument: Announcement, offset: string) => void;
  /** Something without a callback was refused, or the connection is closed. */
  "error": (argument: ErrorEvent, offset: string) => void;
}

type StockSocket = Socket<ServerToClientEvents, ClientToServerEvents>;
type AllButLast<List> = List extends [...infer Others, unknown] ? Others : never;

/** A socket of socket.io-client. `emitWithAck` promises what the callback would get. */
export interface ChatSocket extends StockSocket {
  /** The callback may be left out; a refusal then comes as `error`. */
  emit<Event extends keyof ClientToServerEvents>(
    event: Event,
    ...args: Parameters<ClientToServerEvents[Event]> | AllButLast<Parameters<ClientToServerEvents[Event]>>
  ): this;
  timeout(milliseconds: number): Pick<StockSocket, "emitWithAck"> & ReturnType<StockSocket["timeout"]>;
}
