-- reply: what a user says to an invitation: from now on they have the cube, or they do not.
--
-- KEYS[1]  <prefix>:user:{<user>}:cubes
-- ARGV[1]  the user's name of the cube, escaped
-- ARGV[2]  'accept', or 'decline', which ends what they had accepted before too
--
-- Returns the entry that the name had; '' if there was none. Said once more it changes nothing.
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if not entry then return '' end
local kind, permission, change, whose = string.match(entry, '^(%a+) (%a+) (%d+) (%S+ %S+)$')
if ARGV[2] == 'accept' then
  if kind == 'invited' then
    redis.call('HSET', KEYS[1], ARGV[1], 'shared ' .. permission .. ' ' .. change .. ' ' .. whose)
  end
elseif kind == 'invited' or kind == 'shared' then
  redis.call('HSET', KEYS[1], ARGV[1], 'revoked ' .. change .. ' ' .. whose)
end
return entry
