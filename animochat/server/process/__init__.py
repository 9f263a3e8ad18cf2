"""Worker processes: their life, the hand-over of connections, and their shared metrics."""
