-- Return the name of the channel that all workers of a lobby subscribe to. It is in the lobby's slot.
local function everybody(lobby) return lobby .. ':everybody' end
