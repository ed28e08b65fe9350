-- receive: let a user see a cube that another one shares with them, under a name that is free.
--
-- KEYS[1]  <prefix>:user:{<user>}:cubes
-- ARGV[1]  the user's name of the cube, escaped
-- ARGV[2]  'read' or 'write'
-- ARGV[3]  number of the owner's change
-- ARGV[4]  '<owner> <owner's name of the cube>', escaped
--
-- Returns 'received'; 'taken' if the name stands for another cube; 'overtaken' if a later change of the same owner
-- was here first. Nothing was done in the last two cases.
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if entry == 'own' then return 'taken' end
if entry then
  local kind, change, whose = string.match(entry, '^(%a+)%D* (%d+) (%S+ %S+)$')
  if whose == ARGV[4] then
    if tonumber(change) > tonumber(ARGV[3]) then return 'overtaken' end
  elseif kind == 'shared' then
    return 'taken'
  end
end
redis.call('HSET', KEYS[1], ARGV[1], 'shared ' .. ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])
return 'received'
