-- renew: start the idle time of running messages anew, if they are still ours (a plain XCLAIM would steal them back).
--
-- include: owned
-- KEYS[1]  <prefix>:{<lane>}:stream
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that renews
-- ARGV[3+] entry ids
--
-- Returns the ids that no longer belong to the consumer; nothing was done to those.
local list = {unpack(ARGV, 3)}
local mine = owned(KEYS[1], ARGV[1], ARGV[2], list)
local kept, lost = {}, {}
for _, id in ipairs(list) do
  if mine[id] then kept[#kept + 1] = id else lost[#lost + 1] = id end
end
if #kept > 0 then
  local command = {'XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0}
  for _, id in ipairs(kept) do command[#command + 1] = id end
  command[#command + 1] = 'JUSTID'
  redis.call(unpack(command))
end
return lost
