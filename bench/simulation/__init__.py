"""A discrete-event simulation of one lobby: see bench/simulate.py."""
