-- read: lease new messages of several lanes, at most one of each, in the order given and within budgets.
--
-- KEYS            <prefix>:{<lane>}:stream of each lane
-- ARGV[1]         consumer group
-- ARGV[2]         consumer that reads
-- ARGV[3]         how many in all, at most
-- ARGV[4]         how many budgets follow
-- ARGV[5+]        the budgets: how many messages of the lanes that share one, at most
-- then, per lane  the number of its budget, from 1
--
-- Returns what XREADGROUP returns, {the streams that were not looked at}, {those that refuse to be read}.
local left, budgets = tonumber(ARGV[3]), {}
local lanes_at = 4 + tonumber(ARGV[4])
for at = 5, lanes_at do budgets[at - 4] = tonumber(ARGV[at]) end
local found, unseen, refused = {}, {}, {}
for at, stream in ipairs(KEYS) do
  local budget = tonumber(ARGV[lanes_at + at])
  if left < 1 or budgets[budget] < 1 then
    unseen[#unseen + 1] = stream
  else
    local reply = redis.pcall('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', stream, '>')
    if reply and reply.err then
      refused[#refused + 1] = stream
    elseif reply and reply[1] then
      found[#found + 1] = reply[1]
      left = left - 1
      budgets[budget] = budgets[budget] - 1
    end
  end
end
return {found, unseen, refused}
