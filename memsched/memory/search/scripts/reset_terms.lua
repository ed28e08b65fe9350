-- reset_terms: forget all word counts of a cube, and which messages were counted: what comes again counts again.
--
-- KEYS[1]  <prefix>:cube:{<cube>}:terms
-- KEYS[2]  <prefix>:cube:{<cube>}:applied
-- ARGV     what the marks of this count begin with; other marks there stay
--
-- Returns how many marks were forgotten.
local forgotten = 0
for _, mark in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  for _, beginning in ipairs(ARGV) do
    if mark:sub(1, #beginning) == beginning then forgotten = forgotten + redis.call('ZREM', KEYS[2], mark) end
  end
end
redis.call('DEL', KEYS[1])
return forgotten
