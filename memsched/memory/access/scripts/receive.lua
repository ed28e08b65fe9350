-- receive: invite a user to a cube that another one shares with them, under a name that is free.
--
-- Whoever has accepted it already keeps it, with the permission that is given now.
--
-- KEYS[1]  <prefix>:user:{<user>}:cubes
-- ARGV[1]  the user's name of the cube, escaped
-- ARGV[2]  'read' or 'write'
-- ARGV[3]  number of the owner's change
-- ARGV[4]  '<owner> <owner's name of the cube>', escaped
-- ARGV[5]  'shared' if it is accepted for them, else 'invited'
--
-- Returns 'shared' or 'invited', as it is now; 'taken' if the name stands for another cube; 'overtaken' if a later change
-- of the same owner, or the user's own answer to this one, was here first. Nothing was done in the last two cases.
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if entry == 'own' then return 'taken' end
local state = ARGV[5]
if entry then
  local kind, change, whose = string.match(entry, '^(%a+)%D* (%d+) (%S+ %S+)$')
  if whose == ARGV[4] then
    if tonumber(change) > tonumber(ARGV[3]) then return 'overtaken' end
    if tonumber(change) == tonumber(ARGV[3]) and kind == 'revoked' then return 'overtaken' end
    if kind == 'shared' then state = kind end
  elseif kind ~= 'revoked' then
    return 'taken'
  end
end
redis.call('HSET', KEYS[1], ARGV[1], state .. ' ' .. ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])
return state
