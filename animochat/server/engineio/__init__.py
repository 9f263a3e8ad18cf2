"""Engine.IO: the server, its sessions on both transports, and their packets."""
