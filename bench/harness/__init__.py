"""The benchmark's orchestration: processes, servers, scenarios, the table."""
