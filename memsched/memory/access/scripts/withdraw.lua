-- withdraw: take a shared cube away from a user. Their name of it is kept as that of a revoked share.
--
-- It is written even where they have nothing of that name: a grant that is still on its way must not arrive later.
--
-- KEYS[1]  <prefix>:user:{<user>}:cubes
-- ARGV[1]  the user's name of the cube, escaped
-- ARGV[2]  number of the owner's change
-- ARGV[3]  '<owner> <owner's name of the cube>', escaped
--
-- Returns 1, or 0 if the name stands for another cube or a later change of the same owner was here first.
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if entry == 'own' then return 0 end
if entry then
  local kind, change, whose = string.match(entry, '^(%a+)%D* (%d+) (%S+ %S+)$')
  if whose == ARGV[3] then
    if tonumber(change) > tonumber(ARGV[2]) then return 0 end
  elseif kind ~= 'revoked' then
    return 0
  end
end
redis.call('HSET', KEYS[1], ARGV[1], 'revoked ' .. ARGV[2] .. ' ' .. ARGV[3])
return 1
