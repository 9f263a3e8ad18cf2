"""Who is kept from whom, and from the chat: blocks, reports, bans, announcements, the word filter."""
