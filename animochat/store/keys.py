"""Names of all Redis keys and channels. docs/keys.md has their types, contents and expiry.

A name's hash tag decides its slot in a cluster: all keys of one matchmaking script share `{lobby:<name>}`; a room's log
has its own tag. Scripts get the tag as their first key and append the rest; the functions here are for Python.
"""

from __future__ import annotations

#: The lobby that exists if the operator names none.
MAIN_LOBBY = "main"

#: Shared secret that signs tokens if SECRET_KEY is not set.
SECRET = "animochat:secret"

#: Suffix of a lobby's tag: the channel for all workers, as scripts name it (moderation/scripts/include/everybody.lua).
EVERYBODY = ":everybody"

#: All workers' readings of the last hour.
READINGS = "animochat:readings"


def lobby(name: str = MAIN_LOBBY) -> str:
    """Return the common prefix of all keys of one lobby."""
    return "{lobby:" + name + "}"


def room(room_id: str) -> str:
    """Return the common prefix of all keys of one room's log."""
    return "{room:" + room_id + "}"


def worker_channel(worker_id: str, lobby_name: str = MAIN_LOBBY) -> str:
    """Return a worker's channel in a lobby: in the lobby's slot, since the lobby's scripts publish to it."""
    return channel(lobby(lobby_name), worker_id)


def channel(tag: str, worker_id: str) -> str:
    """Do the same as `worker_channel`, given a lobby's tag."""
    return f"{tag}:channel:{worker_id}"


def everybody(lobby_name: str = MAIN_LOBBY, database: int = 0) -> str:
    """Return the channel that all workers of a lobby subscribe to, for messages to everyone.

    Redis separates databases, but not their channels: two deployments may share a server, each with its `database`.
    """
    return lobby(lobby_name) + everybody_suffix(database)


def everybody_suffix(database: int) -> str:
    """Return the suffix of that channel's name, which follows the lobby's tag."""
    return f"{EVERYBODY}:{database}" if database else EVERYBODY
