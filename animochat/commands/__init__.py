"""What `animochat <command>` does: one module for each command, with `main(arguments) -> exit status`.

`cli` loads the one that is asked for, so that no command pays for what another one needs.
"""
