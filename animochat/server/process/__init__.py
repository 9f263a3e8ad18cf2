"""Worker processes: their life, the hand-over of connections, and what they share."""
