-- The scripts run inside Redis and Valkey: Lua 5.1 with their globals.
std = "lua51"
max_line_length = 120
-- comes along with LEASE, in presence/scripts/include/workers.lua; with clock, in presence/scripts/include/now.lua
ignore = { "211/worker_is_alive", "231/clock_ahead" }
read_globals = { "redis", "server", "KEYS", "ARGV", "cjson", "cmsgpack", "struct", "bit" }
