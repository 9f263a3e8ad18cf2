"""Names of every Redis key and channel. Their types, contents and lives stand in docs/keys.md.

A name's hash tag decides its slot in a cluster: all that one matchmaking script touches shares `{lobby:<name>}`, a
room's log has a tag of its own. Scripts get the tag as their first key and append the rest themselves; the functions
here are for Python.
"""

from __future__ import annotations

#: The lobby that exists where the operator names none.
MAIN_LOBBY = "main"

#: Shared secret that signs tokens where SECRET_KEY is unset.
SECRET = "animochat:secret"

#: Behind a lobby's tag: the channel for everybody, as scripts name it (moderation/scripts/include/everybody.lua).
EVERYBODY = ":everybody"

#: What the workers measured in the last hour.
READINGS = "animochat:readings"


def lobby(name: str = MAIN_LOBBY) -> str:
    """The tag that all keys of one lobby begin with."""
    return "{lobby:" + name + "}"


def room(room_id: str) -> str:
    """The tag that all keys of one room's log begin with."""
    return "{room:" + room_id + "}"


def worker_channel(worker_id: str, lobby_name: str = MAIN_LOBBY) -> str:
    """The channel on which one worker hears what happens in a lobby: in its slot, since its scripts publish to it."""
    return channel(lobby(lobby_name), worker_id)


def channel(tag: str, worker_id: str) -> str:
    """As `worker_channel`, from a lobby's tag."""
    return f"{tag}:channel:{worker_id}"


def everybody(lobby_name: str = MAIN_LOBBY, database: int = 0) -> str:
    """Return the channel that all workers of a lobby listen on, for the few things that are for everybody.

    Redis keeps databases apart, but not their channels: two deployments may share a server, in a `database` each.
    """
    return lobby(lobby_name) + everybody_suffix(database)


def everybody_suffix(database: int) -> str:
    """Return what stands behind a lobby's tag in the name of that channel."""
    return f"{EVERYBODY}:{database}" if database else EVERYBODY
