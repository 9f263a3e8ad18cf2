-- EVERYBODY: the channel that all workers listen on.
local EVERYBODY = 'animochat:workers'
