// AniMoChat's events for a typed client of socket.io-client:
//
//   import { io } from "socket.io-client";
//   import type { Auth, ChatSocket } from "./animochat";
//   const auth: Auth = { lobby: "main" };
//   const socket: ChatSocket = io(url, { auth });
//
// Made from the server's own types by `make documents`; each server has its own at /docs/animochat.d.ts.

import type { Socket } from "socket.io-client";

/** The acknowledgement callback of every event. */
export type Acknowledge<Answer> = (answer: Answer | Refused) => void;

/** `announcement`: a text from the operator to everyone. */
export interface Announcement {
  text: string;
}

/** `auth` in the handshake. Stock clients send `pid` and `offset` to recover a lost connection. */
export interface Auth {
  token?: string;
  device?: string;
  lobby?: string;
  pid?: string;
  offset?: string;
}

/** `block-partner`. `roomId`: a room that may have ended; without it the present one. */
export interface BlockPartner {
  roomId?: string | null;
}

/** The acknowledgement of an event that succeeded. */
export interface Done {
  ok: true;
}

/** `error`: a refusal, with the refused event if there was one. `banned` may have a reason, and where to appeal. */
export interface ErrorEvent {
  code: "already-in-room" | "banned" | "empty-message" | "invalid-payload" | "message-too-long" | "not-in-room" | "rate-limited" | "replaced" | "unavailable" | "unknown-lobby";
  message: string;
  event?: string;
  /** Milliseconds */
  retryAfterMs?: number;
  reason?: "harassment" | "other" | "sexual" | "spam" | "threat" | "underage";
  appealUrl?: string;
}

/** `find-match` and `next-match`. */
export interface FindMatch {
  interests?: string[];
}

/** The person's last room that has ended, while its partner may still be blocked and reported. */
export interface LastRoom {
  roomId: string;
  /** Unix time in milliseconds */
  endedAt: number;
}

/** The server's limits: lengths in characters, times in milliseconds.

    `reportAfterMs`: how long after its end a room may be named in `block-partner` and `report-partner`.
    `reportsIncludeMessages`: whether a report has the room's messages. */
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
  /** Milliseconds */
  lostGraceMs: number;
  maxReportDetailsLength: number;
  /** Milliseconds */
  reportAfterMs: number;
  reportsIncludeMessages: boolean;
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

/** `partner-disconnected`. A partner who blocked or reported appears to have left. */
export interface PartnerDisconnected {
  reason: "left" | "skipped" | "disconnected";
}

/** `partner-reconnecting`. `graceMs`: how long the server keeps the partner's place. */
export interface PartnerReconnecting {
  /** Milliseconds */
  graceMs: number;
}

/** `partner-typing`. */
export interface PartnerTyping {
  isTyping: boolean;
}

/** `message.replyTo`: the message being replied to; `content` has its first 200 characters. */
export interface Quote {
  id: string;
  senderId: string;
  content: string;
}

/** The reason for a refusal. `retryAfterMs` is present where waiting helps. */
export interface Refusal {
  code: "already-in-room" | "banned" | "empty-message" | "invalid-payload" | "message-too-long" | "not-in-room" | "rate-limited" | "replaced" | "unavailable" | "unknown-lobby";
  message: string;
  /** Milliseconds */
  retryAfterMs?: number;
}

/** The acknowledgement of a refused event: nothing changed. */
export interface Refused {
  ok: false;
  error: Refusal;
}

/** `report-partner`. `roomId`: as in `block-partner`. */
export interface ReportPartner {
  reason: "harassment" | "other" | "sexual" | "spam" | "threat" | "underage";
  details?: string | null;
  roomId?: string | null;
}

/** The acknowledgement of a search. `cooldownMs` is present while waiting. */
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
  device: string;
  recovered: boolean;
  state: "idle" | "waiting" | "chatting";
  lobby: string;
  limits: Limits;
  room?: SessionRoom;
  lastRoom?: LastRoom;
}

/** The room in `session`, with the messages that both people sent so far. */
export interface SessionRoom {
  roomId: string;
  userId: string;
  partnerId: string;
  interests: string[];
  messages: Message[];
}

/** The acknowledgement of `send-message`, once the message is stored. */
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

/** `waiting`. `cooldownMs`: what remains of the skip cooldown. */
export interface Waiting {
  /** Milliseconds */
  cooldownMs: number;
}

export interface ClientToServerEvents {
  /** Enter the waiting pool; `waiting` or `matched` follows. */
  "find-match": (...args: [acknowledge: Acknowledge<Searching>] | [argument: FindMatch | null, acknowledge: Acknowledge<Searching>]) => void;
  /** Leave the waiting pool; `match-cancelled` follows. */
  "cancel-match": (acknowledge: Acknowledge<Done>) => void;
  /** Leave the room, start the skip cooldown, and enter the waiting pool again. */
  "next-match": (...args: [acknowledge: Acknowledge<Searching>] | [argument: FindMatch | null, acknowledge: Acknowledge<Searching>]) => void;
  /** Send a message to the partner. */
  "send-message": (argument: string | SendMessage, acknowledge: Acknowledge<Stored>) => void;
  /** Start or stop typing; the partner gets `partner-typing`. */
  "typing": (argument: boolean | Typing, acknowledge: Acknowledge<Done>) => void;
  /** Leave the room without searching again. */
  "leave-room": (acknowledge: Acknowledge<Done>) => void;
  /** Leave the room and don't meet this partner again for 90 days; also after the room has ended. */
  "block-partner": (...args: [acknowledge: Acknowledge<Done>] | [argument: BlockPartner | null, acknowledge: Acknowledge<Done>]) => void;
  /** File a report with the room's messages, then as `block-partner`; also after the room has ended. */
  "report-partner": (argument: ReportPartner, acknowledge: Acknowledge<Done>) => void;
}

export interface ServerToClientEvents {
  /** The first event of every connection that wasn't recovered. */
  "session": (argument: Session, offset: string) => void;
  /** This person is in the waiting pool. */
  "waiting": (argument: Waiting, offset: string) => void;
  /** A partner was found. */
  "matched": (argument: Matched, offset: string) => void;
  /** A message from the partner, or the room's first system message. */
  "message": (argument: Message, offset: string) => void;
  /** The partner starts or stops typing. */
  "partner-typing": (argument: PartnerTyping) => void;
  /** The partner's connection was lost; the room waits for `graceMs`. */
  "partner-reconnecting": (argument: PartnerReconnecting, offset: string) => void;
  /** The partner is back, in the same room. */
  "partner-reconnected": (offset: string) => void;
  /** The room has ended. */
  "partner-disconnected": (argument: PartnerDisconnected, offset: string) => void;
  /** This person has left the waiting pool. */
  "match-cancelled": (offset: string) => void;
  /** The number of people online: after connecting, then on change. */
  "online-count": (argument: number) => void;
  /** A text from the operator to everyone. */
  "announcement": (argument: Announcement, offset: string) => void;
  /** The offset alone, behind an event of an extension's that ends in a string. */
  "offset": (offset: string) => void;
  /** An event without a callback was refused, or the server closes the connection. */
  "error": (argument: ErrorEvent, offset: string) => void;
}

type StockSocket = Socket<ServerToClientEvents, ClientToServerEvents>;
type AllButLast<List> = List extends [...infer Others, unknown] ? Others : never;

/** A typed socket of socket.io-client. `emitWithAck` returns a promise of the acknowledgement. */
export interface ChatSocket extends StockSocket {
  /** The callback is optional; without it a refusal is emitted as `error`. */
  emit<Event extends keyof ClientToServerEvents>(
    event: Event,
    ...args: Parameters<ClientToServerEvents[Event]> | AllButLast<Parameters<ClientToServerEvents[Event]>>
  ): this;
  timeout(milliseconds: number): Pick<StockSocket, "emitWithAck"> & ReturnType<StockSocket["timeout"]>;
}
