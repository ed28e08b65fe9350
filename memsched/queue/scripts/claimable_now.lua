-- claimable_now: included by scripts that make messages claimable at once.
--
-- An idle time beyond any min idle, in ms, that is added to the real one: the rest still tells how long the message
-- was left alone.
local CLAIMABLE_NOW = 864000000
