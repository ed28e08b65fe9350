-- owned: the fence; included by scripts that may only touch what is still theirs.
--
-- owned(stream, group, consumer, list): which of the listed ids `consumer` has the lease of now, as
-- {[id] = delivery count}. Few are asked for one by one: what else the consumer holds costs nothing then. For many, one
-- XPENDING over all that it holds is cheaper.
local function owned(stream, group, consumer, list)
  local mine = {}
  local count = #list
  if count == 0 then return mine end
  if count <= 100 then
    for _, id in ipairs(list) do
      local reply = redis.pcall('XPENDING', stream, group, id, id, 1, consumer)
      if reply.err then return mine end
      if reply[1] then mine[reply[1][1]] = reply[1][4] end
    end
    return mine
  end
  local reply = redis.pcall('XPENDING', stream, group, '-', '+', 1000000, consumer)
  if reply.err then return mine end
  for _, row in ipairs(reply) do mine[row[1]] = row[4] end
  return mine
end
