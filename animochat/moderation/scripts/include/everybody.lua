-- The name of the channel that all workers of a lobby listen on: in its slot, as a worker's own.
local function everybody(lobby) return lobby .. ':everybody' end
