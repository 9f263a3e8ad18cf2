/* The protocol between clients, workers and the store, for SPIN (`make model`).
 *
 * Two people, two workers, one store. How each step maps to the code, what each configuration covers and what is left
 * out: docs/decisions/0013-a-model-of-the-protocol.md. Configurations and mutations (tests/model/check.py) are values
 * that do not change during a run, so that one program searches all of them. Every run ends: the budgets below bound
 * what may happen, and a step is enabled only where there is something to do. So "no one waits for ever" is a property
 * of the states in which nothing is left to do (`Judge`).
 */

/* Budgets of a configuration, and what a run begins with: tests/model/check.py sets them in pan's environment. */
c_decl {
\#include <stdlib.h>
\#define SWITCH(name) name = getenv(#name) ? atoi(getenv(#name)) : 0
};
hidden byte SAYS0, SAYS1;       /* messages that the first person says; the second */
hidden byte ENDS0, ENDS1;       /* rooms that the first person ends: leaves or skips; the second */
hidden byte RETRIES;            /* messages that each sends again, where no answer came */
hidden byte FINDS;              /* searches of each */
hidden byte DROPS;              /* connections that the first person's client loses or gives up */
hidden byte LOSSES;             /* commands whose answer is lost, or which are lost themselves */
hidden byte CUTS;               /* subscriptions that are cut, with what is on its way */
hidden byte STOPS;              /* stops of the first worker */
hidden byte DEATHS;             /* deaths of the first worker */
hidden byte GONE;               /* 1: and its client never comes back */
hidden byte BANS;               /* bans of the first person */
hidden byte MET;                /* 1: a run begins in a room */
hidden byte HOME1;              /* the worker that the second person comes to first */

/* Mutations, and assumptions that are not made */
hidden byte ACK_EARLY, LATE_WORDS, LAST_WORDS, SEARCH_ENDS, RESYNC_STEALS, NO_DEFER, NO_VERSIONS, NO_RESYNC, NO_STALE;
hidden byte NO_WARY, NO_CLOSE, CLOSE_LOST, NO_ROUTE, NO_REAPER, NO_LOOK, SLOW_CONNECT;

#define ROOMS 4       /* rooms are numbered from 1; a run that makes more is cut off */
#define SAID 5
#define INF 255       /* a log that is closed */
#define NOBODY 2
#define PUT(c) assert(nfull(c)); c

mtype = {
  none,
  /* client events; `lost` is what the worker sees of a client that is gone */
  connect, find, next, leave, goodbye, say, lost,
  /* further commands */
  bye, append, open, attach, rest, close, endagain, cancel,
  /* answers */
  unavailable, unknown, replaced, banned, idle, waiting, chatting, matched, inroom, notin, left, ok, outdated, ended,
  here, elsewhere, again,
  /* further actions of a connection; `ready` and `done`: between two of them */
  resync, endroom, fetchmissed, farewell, saylater, ready, done,
  /* further notices */
  bump, message, look
};

/* THE STORE: presence, matchmaking and rooms of the lobby */
byte sconn[2];                  /* the person's connection */
byte swork[2];                  /* its worker */
byte sver[2];                     /* the person's version */
byte sroom[2];
bool swait[2], srest[2];
bool saway[2];                  /* gone, and the grace time runs */
bool ssess[2];                  /* its session may be taken up again */
byte sended[2];                 /* the last room that the partner ended */
bool sban[2];
byte rooms;
bool agenda[ROOMS + 1];         /* rooms that are over and whose logs must be closed */

/* THE STORE: a room's log; at a place in its order stands the sender and the sender's number for it (clientId) */
typedef Log { byte version[2]; byte route[2]; byte last; byte sender[SAID]; byte number[SAID]; byte told };
Log logs[ROOMS + 1];            /* `told` is no part of the store: which clients know that the room is over */

/* BETWEEN THEM: commands, answers, the channel, sockets */
chan cmd[2] = [6] of { mtype, byte, byte, byte, byte };
chan ans[2] = [2] of { mtype, byte, mtype, byte, byte, byte };
chan channel[2] = [8] of { mtype, byte, byte, byte, byte };
chan up[4] = [4] of { mtype, byte, byte, byte, byte };
bool subscribed[2] = true;
bool stopped[2], dead[2];
bool lapsed[2];                 /* stopped for longer than its lease */
bool stalled[2];                /* goes on after that, and has not noticed yet */
bool wary[2];                   /* Arrivals.distrust_arrivals */

/* THE WORKERS: Connection, one for each worker and person */
typedef Connection {
  byte id; bool closed; bool registered; bool stale; bool asking; bool wait; byte early;
  byte room; byte received; byte v;
  bool behind;                  /* of the room: its log is about to be read */
  mtype act;                    /* what is under way */
  /* of the action: what the client knows (`_recover`) or the connection did, the registration, what was read */
  byte kroom; byte kgot; byte kstate; mtype state; byte nv; byte nroom; byte nended; bool recovered; bool twice;
  byte attached; byte read
};
Connection c[4];
chan queue[4] = [5] of { mtype, byte, byte, byte };
chan deferred[4] = [6] of { mtype, byte, byte, byte };

/* THE CLIENTS */
typedef Client {
  byte con; byte at; bool session; mtype state; byte room; byte got; bool leaving;
  mtype busy;                   /* the request that is not answered */
  byte out;                     /* banned, or gone for ever */
  byte number; byte pending; bool flying; byte retries; byte says; byte ends; byte finds; byte drops
};
Client k[2];
byte ids;

/* Scratch, written before it is read in each step */
hidden byte i, j, p, q, x, y, z, u, n, m, w2, mr, mf, mt, rr, s1, s2, s3, over, at_worker, following;
hidden mtype ev, st;
hidden byte okay;

/* ------------------------------------------------------------------ the clients' view, with the properties */

#define SEES(i, p) (k[p].con == c[i].id && c[i].id)

/* The partner's first message that the client has not got: `following`, 0 for none. */
inline partners_next(r, p) {
  following = 0;
  for (m : 1 .. SAID - 1) {
    if
    :: m > k[p].got && m <= logs[r].last && logs[r].sender[m] == 1 - p && following == 0 -> following = m
    :: else
    fi
  }
}

inline see_matched(i, p, r) {
  if
  :: SEES(i, p) ->
    assert(k[p].state != chatting || k[p].leaving);  /* no one in two rooms */
    k[p].state = chatting; k[p].room = r; k[p].got = 0; k[p].leaving = false; k[p].pending = 0; k[p].flying = false
  :: else
  fi
}

/* The partner's messages behind `from`, up to `upto`: exactly once, in order, none left out. */
#define SEE_MESSAGES(i, p, r, from, upto) mr = r; mf = from; mt = upto; see_messages(i, p)

inline see_messages(i, p) {
  for (n : 1 .. SAID - 1) {
    if
    :: n > mf && n <= mt && logs[mr].sender[n] == 1 - p && SEES(i, p) ->
      assert(k[p].state == chatting && k[p].room == mr);
      partners_next(mr, p);
      assert(following == n);
      k[p].got = n
    :: else
    fi
  }
}

inline see_ended(i, p, r) {
  if
  :: SEES(i, p) ->
    assert(k[p].state == chatting && k[p].room == r);
    partners_next(r, p);
    assert(following == 0);                                  /* last words come first */
    assert(sroom[p] != r);                           /* both sides agree */
    room_over(p)
  :: else
  fi
}

/* The client knows from the server that the room is over, or left it: from then on nothing is stored there. */
inline room_over(p) {
  logs[k[p].room].told = logs[k[p].room].told | (1 << p);
  forget_room(p)
}

inline forget_room(p) {
  k[p].state = idle; k[p].room = 0; k[p].got = 0; k[p].leaving = false; k[p].pending = 0; k[p].flying = false
}

inline see_state(i, p, s) {                          /* `waiting`, `match-cancelled` */
  if
  :: SEES(i, p) ->
    if
    :: k[p].state == chatting -> assert(k[p].leaving); forget_room(p)
    :: else
    fi;
    k[p].state = s
  :: else
  fi
}

inline see_session(i, p) {
  if
  :: SEES(i, p) ->
    if
    :: k[p].state == chatting && k[p].room != c[i].room -> forget_room(p)
    :: else
    fi;
    k[p].session = true; k[p].busy = none;
    k[p].state = (c[i].room -> chatting : (c[i].wait -> waiting : idle));
    k[p].room = c[i].room; k[p].got = 0;
    if
    :: c[i].room -> SEE_MESSAGES(i, p, c[i].room, 0, c[i].attached)
    :: else
    fi
  :: else
  fi
}

inline see_acknowledgement(i, p, what) {
  if
  :: SEES(i, p) ->
    if
    :: what == matched -> assert(k[p].state == chatting && !k[p].leaving)  /* it follows what it speaks of */
    :: what == left ->
      assert(k[p].state == chatting);
      room_over(p)
    :: else
    fi;
    k[p].busy = none
  :: else
  fi
}

inline see_refusal(i, p, why) {
  if
  :: SEES(i, p) ->
    if
    :: why == notin -> assert(sroom[p] != k[p].room || k[p].state != chatting)  /* only where the room is over */
    :: else -> if :: k[p].busy != connect -> k[p].leaving = false :: else fi
    fi;
    k[p].busy = none
  :: else
  fi
}

/* The answer to a message. */
inline see_stored(i, p, r, number, what) {
  if
  :: SEES(i, p) && k[p].room == r && k[p].pending == number ->
    k[p].flying = false;
    if
    :: what == notin ->
      assert(sroom[p] != r);
      k[p].pending = 0
    :: what == unavailable -> skip                   /* it may be repeated */
    :: else -> k[p].pending = 0
    fi
  :: else
  fi
}

inline see_disconnected(i, p, o) {
  if
  :: SEES(i, p) ->
    assert(o != 1);                                  /* the newest connection is never `replaced` */
    k[p].con = 0; k[p].busy = none; k[p].flying = false;
    if
    :: o == 2 -> k[p].out = 1; if :: k[p].state == chatting -> forget_room(p) :: else fi
    :: else
    fi
  :: else
  fi
}

/* ---------------------------------------------------------------------------------------------- the store's scripts */

inline publish(at, news, whom, newer, where, more) {
  if
  :: subscribed[at] && !dead[at] -> PUT(channel[at])!news, whom, newer, where, more
  :: else                                            /* a publication that no one receives */
  fi
}

inline notify(who, happened, rm) {                   /* presence/scripts/include/notify.lua */
  sver[who]++;
  if
  :: sconn[who] -> publish(swork[who], happened, who, sver[who], rm, 0)
  :: else
  fi
}

inline end_room(r, leaver) {                         /* rooms/scripts/include/end_room.lua */
  over = r;
  for (q : 0 .. 1) {
    if
    :: sroom[q] == over ->
      sroom[q] = 0;
      if
      :: q != leaver -> sended[q] = over; notify(q, ended, over)
      :: else
      fi
    :: else
    fi
  }
  agenda[over] = true
}

inline vanish(who) {                                 /* presence/scripts/include/vanish.lua */
  sconn[who] = 0;
  if
  :: sroom[who] || swait[who] -> saway[who] = true
  :: else
  fi;
  if
  :: sroom[who] && sroom[1 - who] == sroom[who] -> notify(1 - who, bump, sroom[who])
  :: else
  fi
}

#define ALIVE(p) (sconn[p] && !dead[swork[p]] && !lapsed[swork[p]] && subscribed[swork[p]])
#define MAY_MEET (swait[0] && swait[1] && !srest[0] && !srest[1] && ALIVE(0) && ALIVE(1))

inline match() {                                     /* matchmaking/scripts/include/match.lua */
  assert(rooms < ROOMS);
  rooms++;
  for (q : 0 .. 1) {
    swait[q] = false; sroom[q] = rooms; sver[q]++;
    logs[rooms].route[q] = swork[q]
  }
  for (q : 0 .. 1) { publish(swork[q], matched, q, sver[q], rooms, 0) }
}

#define NEWER_THERE (sconn[p] && sconn[p] != u && n && sver[p] > m && !RESYNC_STEALS)

/* The script at the head of a worker's commands. Leaves its answer in st, x (version or seq), y (room), z. */
inline run_script(w) {
  st = ok; x = 0; y = 0; z = 0;
  if
  :: ev == connect ->                                /* presence/scripts/connect.lua: u id, n again, m version */
    if
    :: sban[p] -> st = banned
    :: !sban[p] && NEWER_THERE -> st = replaced
    :: !sban[p] && !NEWER_THERE ->
      if
      :: sconn[p] && sconn[p] != u -> publish(swork[p], replaced, p, 0, 0, sconn[p])
      :: else
      fi;
      sconn[p] = u; swork[p] = w; saway[p] = false; sver[p]++;
      x = sver[p]; y = sroom[p];
      z = sended[p] * 2 + ssess[p];
      ssess[p] = true;
      if
      :: sroom[p] -> st = chatting; q = 1 - p; notify(q, bump, y)
      :: !sroom[p] && swait[p] -> st = waiting
      :: else -> st = idle
      fi
    fi
  :: ev == bye ->                                    /* presence/scripts/disconnect.lua: u id, n goodbye */
    if
    :: sconn[p] != u -> st = outdated
    :: sconn[p] == u && n ->
      sconn[p] = 0; swait[p] = false; srest[p] = false; ssess[p] = false;
      if
      :: sroom[p] -> end_room(sroom[p], p)
      :: else
      fi
    :: else -> vanish(p)
    fi
  :: ev == find || ev == next ->                     /* matchmaking/scripts/find_match.lua, next_match.lua */
    if
    :: sconn[p] != u -> st = unknown
    :: sconn[p] == u && sroom[p] && ev == find -> st = inroom
    :: sconn[p] == u && swait[p] -> st = waiting
    :: else ->
      st = waiting; sver[p]++;
      if
      :: sroom[p] -> z = sroom[p]; srest[p] = true; end_room(z, p)
      :: else
      fi;
      swait[p] = true;
      if
      :: MAY_MEET -> match(); st = matched
      :: else
      fi
    fi;
    if
    :: st != unknown -> x = sver[p]; y = sroom[p]
    :: else
    fi
  :: ev == leave ->                                  /* rooms/scripts/leave_room.lua */
    if
    :: sconn[p] != u -> st = unknown
    :: sconn[p] == u && !sroom[p] -> st = notin
    :: else -> st = left; sver[p]++; x = sver[p]; y = sroom[p]; end_room(y, p)
    fi
  :: ev == cancel ->                                 /* matchmaking/scripts/cancel_match.lua, for a resync */
    if
    :: sconn[p] == u && !sroom[p] -> swait[p] = false; srest[p] = false; sver[p]++
    :: else
    fi
  :: ev == endagain ->                               /* rooms/scripts/end_rooms.lua: u room */
    if
    :: u && (sroom[0] == u || sroom[1] == u) -> end_room(u, NOBODY)
    :: else
    fi
  :: ev == open ->                                   /* rooms/scripts/open_rooms.lua: u room, m version */
    if
    :: logs[u].version[p] < m -> logs[u].version[p] = m
    :: else
    fi
  :: ev == attach ->                                 /* rooms/scripts/attach.lua: u room, m version */
    if
    :: logs[u].version[p] <= m ->
      logs[u].version[p] = m;
      if
      :: !NO_ROUTE -> logs[u].route[p] = w
      :: else
      fi
    :: else
    fi;
    x = logs[u].last; y = u
  :: ev == rest ->                                   /* close_rooms.lua, and behind it read_log.lua: u room */
    logs[u].version[0] = INF; logs[u].version[1] = INF; agenda[u] = false;
    x = logs[u].last; y = u
  :: ev == close ->                                  /* rooms/scripts/close_rooms.lua: u room */
    logs[u].version[0] = INF; logs[u].version[1] = INF; agenda[u] = false; y = u
  :: ev == append -> append_message(w)
  fi
}

inline append_message(w) {                         /* rooms/scripts/append_messages.lua: u room, n number, m version */
  y = u; z = n;
  for (q : 1 .. SAID - 1) {
    if
    :: q <= logs[u].last && logs[u].sender[q] == p && logs[u].number[q] == n -> x = q
    :: else
    fi
  }
  if
  :: logs[u].version[p] == INF -> st = ended; x = 0
  :: logs[u].version[p] != INF && (logs[u].version[p] == 0 || logs[u].version[p] > m) && !LATE_WORDS ->
    st = outdated; x = 0
  :: else ->
    if
    :: x -> st = again
    :: else ->
      for (q : 1 .. SAID - 1) {                      /* in the sender's order */
        if
        :: q <= logs[u].last && logs[u].sender[q] == p -> assert(logs[u].number[q] < n)
        :: else
        fi
      }
      assert(!(logs[u].told & (1 << (1 - p))));      /* no one talks to someone who knows that the room is over */
      logs[u].last++; x = logs[u].last;
      logs[u].sender[x] = p; logs[u].number[x] = n;
      if
      :: logs[u].route[1 - p] == w -> st = here
      :: else -> st = elsewhere; q = 1 - p; at_worker = logs[u].route[q]; publish(at_worker, message, q, 0, u, x)
      fi
    fi
  fi
}

byte losses;

#define ORPHAN(p) (sconn[p] && (dead[swork[p]] || lapsed[swork[p]]))

proctype Store() {
  byte w;
  do
  :: atomic {
       len(cmd[0]) && nfull(ans[0]) || len(cmd[1]) && nfull(ans[1]) ->
       if
       :: len(cmd[0]) && nfull(ans[0]) -> w = 0
       :: len(cmd[1]) && nfull(ans[1]) -> w = 1
       fi;
       cmd[w]?ev, p, u, n, m;
       y = u; z = n; okay = 1;
       if
       :: !dead[w]
       :: losses && !dead[w] -> losses--; okay = 0       /* its answer is lost */
       :: losses && !dead[w] -> losses--; okay = 2       /* it never comes here */
       :: dead[w]                                        /* it is on its way all the same, or is not */
       :: dead[w] -> okay = 2
       fi;
       if
       :: okay != 2 -> run_script(w)
       :: else
       fi;
       printf("store: "); printm(ev); printf(" of person %d at worker %d (%d %d %d): ", p, w, u, n, m); printm(st);
       printf(" %d %d %d\n", x, y, z);
       if
       :: dead[w] || (ev == open)
       :: !dead[w] && ev != open && okay == 1 -> ans[w]!ev, p, st, x, y, z
       :: !dead[w] && ev != open && okay != 1 -> ans[w]!ev, p, unavailable, 0, u, n
       fi;
       w = 0
     }
  :: atomic { MAY_MEET -> match() }                  /* matchmaking/scripts/tick.lua, from any worker */
  :: atomic { srest[0] -> srest[0] = false }
  :: atomic { srest[1] -> srest[1] = false }
  :: atomic {
       (saway[0] && !sconn[0]) || (saway[1] && !sconn[1]) ->
       if
       :: saway[0] && !sconn[0] -> p = 0
       :: saway[1] && !sconn[1] -> p = 1
       fi;
       saway[p] = false; swait[p] = false; srest[p] = false; ssess[p] = false;
       if
       :: sroom[p] -> end_room(sroom[p], p)
       :: else
       fi
     }
  :: atomic {                                        /* LogLife.close_ended */
       agenda[1] || agenda[2] || agenda[3] || agenda[4] ->
       for (q : 1 .. ROOMS) {
         if
         :: agenda[q] -> agenda[q] = false; logs[q].version[0] = INF; logs[q].version[1] = INF
         :: else
         fi
       }
     }
  :: atomic {                                        /* presence/scripts/reap_worker.lua, by the other worker */
       !NO_REAPER && (ORPHAN(0) || ORPHAN(1)) ->
       if
       :: ORPHAN(0) -> p = 0
       :: ORPHAN(1) -> p = 1
       fi;
       vanish(p)
     }
  od
}

/* ------------------------------------------------------------------------------------------------------ the workers */

#define ask(w, op, p, u, n, m) PUT(cmd[w])!op, p, u, n, m

inline perform(i, a, x1, x2, x3) {                   /* Connection.perform */
  PUT(queue[i])!a, x1, x2, x3;
  if
  :: c[i].act == none -> c[i].act = ready
  :: else
  fi
}

inline mark_stale(i) {                                    /* Connection.mark_stale, Arrivals.resync */
  if
  :: !c[i].stale -> c[i].stale = true; perform(i, resync, 0, 0, 0)
  :: else
  fi
}

inline forget_queued(i) { do :: queue[i]?ev, _, _, _ :: empty(queue[i]) -> break od }

inline remove(i, keep) {                             /* Departures._end: the client is gone; keep: grace time */
  c[i].closed = true;
  forget_queued(i);
  perform(i, farewell, 1 - keep, 0, 0)
}

inline fetch_missed(i, r) {                          /* Delivery.fetch_missed */
  if
  :: !c[i].behind -> c[i].behind = true; perform(i, fetchmissed, r, 0, 0)
  :: else
  fi
}

inline begin_room(i, w, p, r) {                      /* ClientRooms.begin */
  c[i].room = r; c[i].wait = false; c[i].received = 0; c[i].behind = false;
  ask(w, open, p, r, 0, c[i].v);
  see_matched(i, p, r);
  if
  :: c[i].early == r -> fetch_missed(i, r)
  :: else
  fi;
  c[i].early = 0
}

inline deliver(i, p, r, s) {                         /* Delivery.deliver, not deferred */
  if
  :: c[i].room != r -> c[i].early = r
  :: c[i].room == r && s > c[i].received && !c[i].stale && !c[i].behind ->
    SEE_MESSAGES(i, p, r, s - 1, s);
    c[i].received = s
  :: else
  fi
}

/* ChannelHandler._apply, and what else may be held back. */
inline apply_notice(i, w, p, kind, ver, r, seq) {
  if
  :: c[i].closed
  :: !c[i].closed && kind == message -> deliver(i, p, r, seq)
  :: !c[i].closed && kind == look ->
    if
    :: c[i].room == r -> fetch_missed(i, r)
    :: else
    fi
  :: !c[i].closed && kind == banned -> see_disconnected(i, p, 2); remove(i, 0)
  :: !c[i].closed && kind != message && kind != look && kind != banned && (ver > c[i].v || NO_VERSIONS) ->
    c[i].v = ver;
    if
    :: kind == matched -> begin_room(i, w, p, r)
    :: kind == ended && c[i].room == r -> perform(i, endroom, r, 0, 0)
    :: else
    fi
  :: else
  fi
}

inline apply_or_defer(i, w, p, kind, ver, r, seq) {                /* Connection.apply_or_defer */
  if
  :: c[i].id == 0 || c[i].closed
  :: c[i].id && !c[i].closed && c[i].act != none && !NO_DEFER -> PUT(deferred[i])!kind, ver, r, seq
  :: else -> apply_notice(i, w, p, kind, ver, r, seq)
  fi
}

/* ChatEvents._say */
inline say_now(i, w, p, number, r) {
  if
  :: c[i].room == 0 && c[i].registered -> see_stored(i, p, r, number, notin)
  :: c[i].room == 0 && !c[i].registered -> see_stored(i, p, r, number, unavailable)
  :: else -> ask(w, append, p, c[i].room, number, c[i].v)
  fi
}

inline finish(i) {
  c[i].act = done;
  c[i].kroom = 0; c[i].kgot = 0; c[i].kstate = 0; c[i].state = none; c[i].nv = 0; c[i].nroom = 0; c[i].nended = 0;
  c[i].recovered = false; c[i].twice = false; c[i].attached = 0; c[i].read = 0
}

/* An action begins. */
inline begin(i, w, p) {
  queue[i]?ev, x, y, z;
  c[i].act = ev;
  if
  :: ev == connect -> c[i].kroom = x; c[i].kgot = y; c[i].kstate = z
  :: ev == resync && !c[i].registered -> ev = connect; c[i].act = connect
  :: else
  fi;
  if
  :: ev == farewell -> ask(w, bye, p, c[i].id, x, 0)
  :: ev != farewell && c[i].closed -> finish(i)
  :: ev == connect && !c[i].closed -> ask(w, connect, p, c[i].id, 0, 0)
  :: ev == resync && !c[i].closed ->
    c[i].kroom = c[i].room; c[i].kgot = c[i].received; c[i].kstate = (c[i].wait -> 2 : 1);
    ask(w, connect, p, c[i].id, c[i].registered, c[i].v)
  :: (ev == find || ev == next || ev == leave) && !c[i].closed ->
    if
    :: !c[i].registered -> see_refusal(i, p, unavailable); finish(i)
    :: c[i].registered && ev == leave && c[i].room == 0 -> see_refusal(i, p, notin); finish(i)
    :: else ->
      if
      :: ev != leave -> c[i].asking = true
      :: else
      fi;
      ask(w, ev, p, c[i].id, 0, 0)
    fi
  :: ev == saylater && !c[i].closed ->               /* ChatEvents._say_later: y the room then, z the client's */
    if
    :: y != INF && c[i].room != y -> see_stored(i, p, z, x, notin)
    :: else -> say_now(i, w, p, x, z)
    fi;
    finish(i)
  :: ev == endroom && !c[i].closed ->                /* ClientRooms._end */
    if
    :: c[i].room == x && !c[i].stale && !LAST_WORDS -> ask(w, rest, p, x, 0, 0)
    :: c[i].room == x && !c[i].stale && LAST_WORDS -> c[i].room = 0; see_ended(i, p, x); finish(i)
    :: else -> finish(i)
    fi
  :: ev == fetchmissed && !c[i].closed ->            /* Delivery._fetch_missed */
    c[i].behind = false;
    if
    :: c[i].room == x && !c[i].stale -> ask(w, attach, p, x, 0, c[i].v)
    :: else -> finish(i)
    fi
  fi
}

/* Between two actions: apply what was deferred, begin the next one. Nothing else of the worker runs meanwhile. */
inline settle_actions(w) {
  for (j : 0 .. 1) {
    i = w * 2 + j;
    do
    :: c[i].act == ready -> begin(i, w, j)
    :: c[i].act == done ->
      do
      :: deferred[i]?ev, u, y, z -> apply_notice(i, w, j, ev, u, y, z)
      :: empty(deferred[i]) -> break
      od;
      if
      :: nempty(queue[i]) -> c[i].act = ready
      :: empty(queue[i]) ->
        c[i].act = none;
        if
        :: c[i].closed ->                            /* nothing is left of it */
          c[i].id = 0; c[i].closed = false; c[i].registered = false; c[i].stale = false; c[i].asking = false;
          c[i].wait = false; c[i].early = 0; c[i].room = 0; c[i].received = 0; c[i].v = 0; c[i].behind = false
        :: else
        fi
      fi
    :: c[i].act != ready && c[i].act != done -> break
    od
  }
}

inline check_stall(w) {                              /* StallDetector.check, Lobby.mark_all_stale */
  if
  :: stalled[w] ->
    stalled[w] = false; wary[w] = true;
    for (j : 0 .. 1) {
      if
      :: c[w * 2 + j].id && !c[w * 2 + j].closed -> i = w * 2 + j; mark_stale(i)
      :: else
      fi
    }
  :: else
  fi
}

/* What a client sent: x, y, z, u as it came. */
inline client_event(i, w, p) {
  if
  :: ev == connect ->                                /* Arrivals.open */
    c[i].id = u;
    if
    :: wary[w] && !NO_WARY -> see_disconnected(i, p, 0); c[i].id = 0
    :: else -> perform(i, connect, x, y, z)
    fi
  :: ev != connect && (c[i].id != u || c[i].closed)
  :: ev == lost && c[i].id == u && !c[i].closed -> remove(i, 1)
  :: ev == goodbye && c[i].id == u && !c[i].closed -> remove(i, 0)
  :: ev == say && c[i].id == u && !c[i].closed ->
    if
    :: c[i].act == none -> say_now(i, w, p, x, y)
    :: else -> rr = (c[i].registered -> c[i].room : INF); perform(i, saylater, x, rr, y)
    fi
  :: (ev == find || ev == next || ev == leave) && c[i].id == u && !c[i].closed -> perform(i, ev, 0, 0, 0)
  fi
}

/* The end of a room that the client did not leave: ClientRooms.send_end. */
inline tell_end(i, p, r, from, upto) {
  SEE_MESSAGES(i, p, r, from, upto);
  if
  :: c[i].room == r -> c[i].room = 0; c[i].received = 0
  :: else
  fi;
  see_ended(i, p, r)
}

/* The end of FIND and NEXT: ChatEvents._search, ._follow. */
inline follow(i, w, p) {
  if
  :: c[i].nv > c[i].v -> c[i].v = c[i].nv
  :: else
  fi;
  c[i].asking = false;
  if
  :: c[i].nroom && c[i].room == 0 && !ACK_EARLY -> rr = c[i].nroom; begin_room(i, w, p, rr)
  :: c[i].nroom && c[i].room == 0 && ACK_EARLY -> c[i].v = c[i].nv - 1
  :: else
  fi;
  if
  :: c[i].state == inroom -> see_refusal(i, p, inroom)
  :: c[i].state == matched -> see_acknowledgement(i, p, matched)
  :: c[i].state == waiting ->
    c[i].wait = true;
    see_state(i, p, waiting);
    see_acknowledgement(i, p, waiting)
  fi;
  finish(i)
}

inline refused(i, p) {                               /* ChatEvents._perform: Unavailable */
  see_refusal(i, p, unavailable);
  if
  :: !NO_STALE -> mark_stale(i)
  :: else
  fi;
  finish(i)
}

#define SAME (c[i].nroom && c[i].nroom == c[i].kroom)
#define ENDED (c[i].kroom && !SAME && c[i].nended == c[i].kroom)

/* What the store says of a connection's person becomes the connection's, and the client gets the difference:
 * Sync.reconcile behind its last answer. */
inline reconcile(i, w, p) {
  okay = c[i].act == resync;
  c[i].registered = true; c[i].stale = false; c[i].asking = false;
  c[i].v = c[i].nv; c[i].room = c[i].nroom; c[i].wait = (c[i].state == waiting);
  c[i].received = (c[i].nroom -> c[i].attached : 0);
  c[i].behind = false;
  if
  :: c[i].closed && !okay
  :: else ->
    if
    :: !okay && (c[i].kstate == 0 || !c[i].recovered || (c[i].kroom && !SAME && !ENDED && c[i].state == idle)) ->
      see_session(i, p)
    :: else ->
      if
      :: ENDED || (okay && c[i].kroom && !SAME) ->
        SEE_MESSAGES(i, p, c[i].kroom, c[i].kgot, c[i].read);
        rr = c[i].kroom; see_ended(i, p, rr)
      :: else
      fi;
      if
      :: okay && c[i].kroom && !SAME && !ENDED -> see_session(i, p)
      :: else ->
        if
        :: c[i].nroom && !SAME ->
          rr = c[i].nroom; see_matched(i, p, rr); SEE_MESSAGES(i, p, c[i].nroom, 0, c[i].attached)
        :: SAME -> SEE_MESSAGES(i, p, c[i].nroom, c[i].kgot, c[i].attached)
        :: c[i].nroom == 0 && c[i].state == waiting && c[i].kstate != 2 -> see_state(i, p, waiting)
        :: c[i].nroom == 0 && c[i].state == idle && c[i].kstate == 2 -> see_state(i, p, idle)
        :: else
        fi
      fi;
      if
      :: SEES(i, p) && k[p].busy == connect -> k[p].busy = none
      :: else
      fi
    fi
  fi;
  finish(i)
}

/* The next thing to read before that. */
inline read_on(i, w, p) {
  if
  :: ENDED || (c[i].act == resync && c[i].kroom && !SAME) -> ask(w, rest, p, c[i].kroom, 0, 0)
  :: else ->
    if
    :: c[i].act == resync && c[i].state == idle && c[i].wait -> ask(w, find, p, c[i].id, 0, 0)
    :: else -> reconcile(i, w, p)
    fi
  fi
}

inline on_registered(i, w, p) {                         /* the answer to CONNECT */
  if
  :: st == banned -> see_disconnected(i, p, 2); remove(i, 0); finish(i)
  :: st == replaced -> see_disconnected(i, p, 1); c[i].closed = true; forget_queued(i); finish(i)
  :: else ->
    c[i].state = st; c[i].nv = x; c[i].nroom = y; c[i].nended = z / 2; c[i].recovered = z % 2;
    if
    /* Sync._connect_again: into no state that the client did not ask for */
    :: c[i].act == resync && !c[i].twice && !c[i].asking && !(c[i].wait && c[i].kroom == 0) &&
       ((c[i].nroom && !SAME) || st == waiting) ->
      c[i].twice = true;
      if
      :: c[i].nroom -> ask(w, endagain, p, c[i].nroom, 0, 0)
      :: else -> ask(w, cancel, p, c[i].id, 0, 0)
      fi;
    :: else ->
      if
      :: c[i].nroom -> ask(w, attach, p, c[i].nroom, 0, c[i].nv)
      :: else -> read_on(i, w, p)
      fi
    fi
  fi
}

/* An answer of the store's: ev, st, x, y, z. */
inline answer(i, w, p) {
  if
  :: ev == append ->                                 /* ChatEvents._stored */
    if
    :: st == unavailable ->
      see_stored(i, p, y, z, unavailable);
      j = w * 2 + 1 - p;
      if
      :: c[j].id && !c[j].closed && c[j].room == y -> mark_stale(j)
      :: else
      fi
    :: st == ended || st == outdated ->
      if
      :: st == ended -> see_stored(i, p, y, z, notin)
      :: else -> see_stored(i, p, y, z, unavailable)
      fi;
      if
      :: c[i].id && !c[i].closed -> mark_stale(i)
      :: else
      fi
    :: else ->
      if
      :: st == here -> j = 1 - p; s1 = x; s2 = y; s3 = z; i = w * 2 + j;
         apply_or_defer(i, w, j, message, 0, s2, s1);
         i = w * 2 + p; y = s2; z = s3
      :: else
      fi;
      see_stored(i, p, y, z, ok)
    fi
  :: ev == connect && st != unavailable -> on_registered(i, w, p)
  :: (ev == endagain || ev == cancel) && st != unavailable -> ask(w, connect, p, c[i].id, 1, c[i].v)
  :: ev == attach && st != unavailable ->
    if
    :: c[i].act == fetchmissed ->
      if
      :: !c[i].closed -> SEE_MESSAGES(i, p, y, c[i].received, x); c[i].received = x
      :: else
      fi;
      finish(i)
    :: else ->
      c[i].attached = x;
      j = w * 2 + 1 - p;
      if
      :: c[j].id && !NO_LOOK && !(deferred[j]??[look, 0, eval(y), 0]) ->      /* Sync._attach */
        s2 = y; i = j; j = 1 - p; apply_or_defer(i, w, j, look, 0, s2, 0); i = w * 2 + p
      :: else
      fi;
      read_on(i, w, p)
    fi
  :: ev == rest && st != unavailable ->
    if
    :: c[i].act == endroom -> tell_end(i, p, y, c[i].received, x); finish(i)
    :: c[i].act == find || c[i].act == next -> tell_end(i, p, y, c[i].received, x); follow(i, w, p)
    :: else ->
      c[i].read = x;
      if
      :: c[i].act == resync && c[i].state == idle && c[i].wait -> ask(w, find, p, c[i].id, 0, 0)
      :: else -> reconcile(i, w, p)
      fi
    fi
  :: ev == find && c[i].act == resync && st != unavailable ->
    if
    :: st == unknown -> c[i].stale = true; finish(i)
    :: else ->
      c[i].registered = true; c[i].stale = false; c[i].asking = false; c[i].wait = true; c[i].v = x;
      if
      :: y -> begin_room(i, w, p, y)
      :: else
      fi;
      finish(i)
    fi
  :: (ev == find && c[i].act != resync || ev == next) && st != unavailable ->
    if
    :: st == unknown -> refused(i, p)
    :: else ->
      c[i].state = st; c[i].nv = x; c[i].nroom = y;
      if
      :: z -> ask(w, close, p, z, 0, 0)              /* ClientRooms.leave */
      :: !z && c[i].room && c[i].room != y ->        /* the partner ended it */
        if
        :: !SEARCH_ENDS -> ask(w, rest, p, c[i].room, 0, 0)
        :: else -> z = c[i].room; c[i].room = 0; see_ended(i, p, z); follow(i, w, p)
        fi
      :: else -> follow(i, w, p)
      fi
    fi
  :: ev == leave && st != unavailable ->
    if
    :: st == unknown -> refused(i, p)
    :: st == notin -> see_refusal(i, p, notin); finish(i)
    :: st == left ->
      c[i].v = (x > c[i].v -> x : c[i].v);
      if
      :: !NO_CLOSE -> ask(w, close, p, y, 0, 0)
      :: else -> c[i].room = 0; c[i].received = 0; see_acknowledgement(i, p, left); finish(i)
      fi
    fi
  :: ev == close && st == unavailable && c[i].act != farewell && !CLOSE_LOST -> refused(i, p)
  :: ev == close && (st != unavailable || c[i].act == farewell || CLOSE_LOST) ->      /* LogLife.close */
    if
    :: c[i].room == y -> c[i].room = 0; c[i].received = 0
    :: else
    fi;
    if
    :: c[i].act == next -> follow(i, w, p)
    :: c[i].act == leave -> see_acknowledgement(i, p, left); finish(i)
    :: c[i].act == farewell -> finish(i)
    fi
  :: ev == bye ->                                    /* Departures._report_now; where it fails, .report_again */
    if
    :: st == unavailable -> ask(w, bye, p, c[i].id, 0, 0)
    :: st == ok && c[i].room && k[p].out -> ask(w, close, p, c[i].room, 0, 0)
    :: else -> finish(i)
    fi
  :: st == unavailable && ev != append && ev != close && ev != bye ->
    if
    :: c[i].act == connect && c[i].kstate == 0 -> finish(i)
    :: c[i].act == connect && c[i].kstate -> see_disconnected(i, p, 0); remove(i, 1); finish(i)
    :: c[i].act == resync -> c[i].stale = true; finish(i)
    :: c[i].act == find || c[i].act == next || c[i].act == leave -> refused(i, p)
    :: c[i].act == endroom || c[i].act == fetchmissed -> mark_stale(i); finish(i)
    fi
  fi
}

#define RUNS(w) (!stopped[w] && !dead[w])
#define UNSURE(i) (c[i].id && !c[i].closed && c[i].act == none && (c[i].stale || !c[i].registered))

#define WORK(w) (len(up[w * 2]) || len(up[w * 2 + 1]) || len(ans[w]) || len(channel[w]) || !subscribed[w] || \
  UNSURE(w * 2) || UNSURE(w * 2 + 1) || stalled[w] || wary[w])

proctype Worker(byte w) {
  do
  :: atomic {
       RUNS(w) && WORK(w) ->
       check_stall(w);
       if
       :: len(up[w * 2]) || len(up[w * 2 + 1]) ->
         if
         :: len(up[w * 2]) -> p = 0
         :: len(up[w * 2 + 1]) -> p = 1
         fi;
         i = w * 2 + p;
         up[i]?ev, x, y, z, u;
         printf("worker %d: person %d sends ", w, p); printm(ev); printf("\n");
         client_event(i, w, p)
       :: len(ans[w]) ->
         ans[w]?ev, p, st, x, y, z;
         printf("worker %d: answer to person %d's ", w, p); printm(ev); printf(": "); printm(st);
         printf(" %d %d\n", x, y);
         i = w * 2 + p;
         answer(i, w, p)
       :: len(channel[w]) ->                         /* ChannelHandler.receive */
         channel[w]?ev, p, x, y, z;
         printf("worker %d: notice for person %d: ", w, p); printm(ev); printf(" %d %d %d\n", x, y, z);
         i = w * 2 + p;
         if
         :: ev == replaced ->
           if
           :: c[i].id == z && !c[i].closed ->        /* Departures.replace */
             see_disconnected(i, p, 1); c[i].closed = true;
             if
             :: c[i].act == none -> c[i].act = done
             :: else
             fi
           :: else
           fi
         :: ev == banned && c[i].id != z
         :: else -> apply_or_defer(i, w, p, ev, x, y, z)
         fi
       :: !subscribed[w] ->                          /* Subscription: on_subscribed, Lobby.resync_all */
         subscribed[w] = true;
         for (q : 0 .. 1) {
           if
           :: c[w * 2 + q].id && !c[w * 2 + q].closed && !NO_RESYNC -> i = w * 2 + q; perform(i, resync, 0, 0, 0)
           :: else
           fi
         }
       :: UNSURE(w * 2) -> i = w * 2; perform(i, resync, 0, 0, 0)          /* Lobby.beat */
       :: UNSURE(w * 2 + 1) -> i = w * 2 + 1; perform(i, resync, 0, 0, 0)
       :: wary[w] && empty(up[w * 2]) && empty(up[w * 2 + 1]) -> wary[w] = false
       :: stalled[w] || wary[w]                      /* nothing but time */
       fi;
       settle_actions(w)
     }
  od
}

/* ------------------------------------------------------------------------------------------------------ the clients */

#define CALM(p) (k[p].con && k[p].session && k[p].busy == none && !dead[k[p].at])
#define FREE(w, p) (!dead[w] && !wary[w] && c[(w) * 2 + p].id == 0 && empty(up[(w) * 2 + p]))
#define MAY_GIVE_UP(p) (SLOW_CONNECT || k[p].busy != connect || (lapsed[k[p].at] && nempty(up[k[p].at * 2 + p])))

inline give_up(p) {
  if
  :: !dead[k[p].at] -> PUT(up[k[p].at * 2 + p])!lost, 0, 0, 0, k[p].con
  :: else
  fi;
  k[p].con = 0; k[p].busy = none; k[p].flying = false;
  k[p].out = GONE && dead[k[p].at]                   /* and never comes back */
}

proctype Person(byte me) {
  do
  :: atomic {
       !k[me].con && !k[me].out && (!dead[0] || empty(cmd[0])) && (FREE(0, me) || FREE(1, me)) ->
       if
       :: FREE(0, me) && (ids >= 2 || me == 0 || HOME1 == 0) -> w2 = 0
       :: FREE(1, me) && (ids >= 2 || dead[0] || (me == 1 && HOME1 == 1)) -> w2 = 1
       fi;
       ids++; k[me].con = ids; k[me].at = w2; k[me].busy = connect;
       PUT(up[w2 * 2 + me])!connect, (k[me].state == chatting -> k[me].room : 0), k[me].got,
         (k[me].session -> (k[me].state == waiting -> 2 : 1) : 0), ids
     }
  :: atomic { k[me].con && dead[k[me].at] -> give_up(me) }
  :: atomic {
       CALM(me) && k[me].state == idle && k[me].finds ->
       k[me].finds--; k[me].busy = find; PUT(up[k[me].at * 2 + me])!find, 0, 0, 0, k[me].con
     }
  :: atomic {
       CALM(me) && k[me].state == chatting && !k[me].leaving && k[me].says && !k[me].pending ->
       k[me].says--; k[me].number++; k[me].pending = k[me].number; k[me].flying = true;
       PUT(up[k[me].at * 2 + me])!say, k[me].number, k[me].room, 0, k[me].con
     }
  :: atomic {                                        /* repeat it, or let it be */
       CALM(me) && k[me].state == chatting && !k[me].leaving && k[me].pending && !k[me].flying ->
       if
       :: k[me].retries -> k[me].retries--; k[me].flying = true;
          PUT(up[k[me].at * 2 + me])!say, k[me].pending, k[me].room, 0, k[me].con
       :: k[me].pending = 0
       fi
     }
  :: atomic {                                        /* last words may still be on their way */
       CALM(me) && k[me].state == chatting && !k[me].leaving && k[me].ends ->
       if
       :: k[me].ends--; k[me].leaving = true; k[me].busy = leave; PUT(up[k[me].at * 2 + me])!leave, 0, 0, 0, k[me].con
       :: k[me].ends--; k[me].leaving = true; k[me].busy = next; PUT(up[k[me].at * 2 + me])!next, 0, 0, 0, k[me].con
       :: k[me].ends = 0
       fi
     }
  :: atomic {
       k[me].con && k[me].drops && MAY_GIVE_UP(me) ->
       if
       :: k[me].drops--; give_up(me)
       :: k[me].drops = 0
       fi
     }
  od
}

/* ------------------------------------------------------------------------------------------------------- the faults */

proctype Faults() {
  byte cuts = CUTS, stops = STOPS, deaths = DEATHS, bans = BANS;
  do
  :: atomic { cuts ->
       cuts--;
       if
       :: w2 = 0
       :: w2 = 1
       fi;
       subscribed[w2] = dead[w2];
       do
       :: channel[w2]?ev, _, _, _, _
       :: empty(channel[w2]) -> break
       od }
  :: atomic { stops && !stopped[0] && !dead[0] -> stops--; stopped[0] = true }
  :: atomic { stopped[0] && !lapsed[0] -> lapsed[0] = true }
  :: atomic { stopped[0] -> stopped[0] = false; stalled[0] = lapsed[0]; lapsed[0] = false }
  :: atomic { deaths && !stopped[0] ->
       deaths--; dead[0] = true; subscribed[0] = false;
       do :: ans[0]?ev, _, _, _, _, _ :: empty(ans[0]) -> break od;
       do :: channel[0]?ev, _, _, _, _ :: empty(channel[0]) -> break od;
       for (p : 0 .. 1) {
         do :: up[p]?ev, _, _, _, _ :: empty(up[p]) -> break od;
         do :: queue[p]?ev, _, _, _ :: empty(queue[p]) -> break od;
         do :: deferred[p]?ev, _, _, _ :: empty(deferred[p]) -> break od;
         c[p].id = 0; c[p].closed = false; c[p].registered = false; c[p].stale = false; c[p].asking = false;
         c[p].wait = false; c[p].early = 0; c[p].room = 0; c[p].received = 0; c[p].v = 0; c[p].behind = false;
         finish(p); c[p].act = none
       } }
  :: atomic { bans && sroom[0] ->                    /* moderation/scripts/include/ban.lua */
       bans--; sban[0] = true; swait[0] = false; saway[0] = false;
       x = sconn[0]; sconn[0] = 0; ssess[0] = false;
       end_room(sroom[0], 0);
       if
       :: x -> publish(swork[0], banned, 0, 0, 0, x)
       :: else
       fi }
  :: !stopped[0] && !stopped[1] -> break
  od
}

/* Nothing is left to do: no one waits, and both sides and the store agree. */
proctype Judge() {
  timeout ->
  atomic {
    assert(empty(cmd[0]) && empty(cmd[1]) && empty(ans[0]) && empty(ans[1]));
    for (p : 0 .. 1) {
      if
      :: k[p].out -> assert(sroom[p] == 0)
      :: else ->
        assert(k[p].con && k[p].session && k[p].busy == none && !k[p].flying);
        assert(sconn[p] == k[p].con);
        assert((k[p].state == chatting) == (sroom[p] != 0) && k[p].room == sroom[p]);
        assert((k[p].state == waiting) == swait[p]);
        if
        :: sroom[p] -> partners_next(sroom[p], p); assert(following == 0)
        :: else
        fi
      fi
    }
    assert(!(swait[0] && swait[1]));
    assert(sroom[0] == sroom[1]);
    for (q : 1 .. ROOMS) { assert(q > rooms || sroom[0] == q || logs[q].version[0] == INF) }
  }
}

init {
  atomic {
    c_code {
      SWITCH(SAYS0); SWITCH(SAYS1); SWITCH(ENDS0); SWITCH(ENDS1); SWITCH(FINDS); SWITCH(RETRIES); SWITCH(DROPS);
      SWITCH(LOSSES); SWITCH(CUTS); SWITCH(STOPS); SWITCH(DEATHS); SWITCH(GONE); SWITCH(BANS); SWITCH(MET); SWITCH(HOME1);
      SWITCH(ACK_EARLY); SWITCH(LATE_WORDS); SWITCH(LAST_WORDS); SWITCH(SEARCH_ENDS); SWITCH(RESYNC_STEALS);
      SWITCH(NO_DEFER); SWITCH(NO_VERSIONS); SWITCH(NO_RESYNC); SWITCH(NO_STALE); SWITCH(NO_WARY); SWITCH(NO_CLOSE);
      SWITCH(NO_ROUTE); SWITCH(NO_REAPER); SWITCH(NO_LOOK); SWITCH(SLOW_CONNECT); SWITCH(CLOSE_LOST);
    };
    losses = LOSSES;
    k[0].says = SAYS0; k[1].says = SAYS1; k[0].ends = ENDS0; k[1].ends = ENDS1;
    k[0].drops = DROPS; k[1].drops = 0;
    for (p : 0 .. 1) { k[p].finds = FINDS; k[p].retries = RETRIES; k[p].state = idle; k[p].busy = none }
    for (p : 0 .. 3) { c[p].act = none; c[p].state = none }
    if
    :: MET -> ids = 2; rooms = 1                     /* they are in a room already */
    :: else
    fi;
    for (p : 0 .. MET * 2 - 1) {
      w2 = p * HOME1; i = w2 * 2 + p;
      k[p].con = p + 1; k[p].at = w2; k[p].session = true; k[p].state = chatting; k[p].room = 1;
      c[i].id = p + 1; c[i].registered = true; c[i].room = 1; c[i].v = 3;
      sconn[p] = p + 1; swork[p] = w2; sver[p] = 3; sroom[p] = 1; ssess[p] = true;
      logs[1].version[p] = 3; logs[1].route[p] = w2
    }
    run Store(); run Worker(0); run Worker(1); run Person(0); run Person(1); run Faults(); run Judge()
  }
}
