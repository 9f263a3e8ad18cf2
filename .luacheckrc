-- The scripts run inside Redis and Valkey: Lua 5.1 with their globals.
std = "lua51"
max_line_length = 120
-- comes along with LEASE, in presence/scripts/include/workers.lua
ignore = { "211/worker_is_alive" }
read_globals = { "redis", "server", "KEYS", "ARGV", "cjson", "cmsgpack", "struct", "bit" }
