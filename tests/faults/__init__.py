"""Conversations under faults, and the proof that nothing was lost, doubled or misplaced."""
