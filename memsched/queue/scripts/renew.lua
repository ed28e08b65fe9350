-- renew: renew the leases of running messages, if they are still ours: their idle time starts anew. (A plain XCLAIM
-- would steal back those that are not.)
--
-- include: owned
-- KEYS[1]  <prefix>:{<lane>}:stream
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that renews
-- ARGV[3+] entry ids
--
-- Returns the ids that no longer belong to the consumer; nothing was done to those.
local list = {}
for at = 3, #ARGV do list[#list + 1] = ARGV[at] end
local mine = owned(KEYS[1], ARGV[1], ARGV[2], list)
local lost = {}
-- In parts: one call of Lua takes some thousand arguments at most.
local command = {}
for number, id in ipairs(list) do
  if mine[id] then command[#command + 1] = id else lost[#lost + 1] = id end
  if #command > 0 and (#command == 1000 or number == #list) then
    command[#command + 1] = 'JUSTID'
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(command))
    command = {}
  end
end
return lost
