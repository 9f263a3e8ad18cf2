"""Metrics, logs, traces, and the metric history of the last hour for the operator's charts."""
