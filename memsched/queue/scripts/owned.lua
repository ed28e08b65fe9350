-- owned: the fence; included by scripts that may only touch what is still theirs.
--
-- rows_of(command, ...): the rows that XPENDING or XINFO replies, and whether there is such a group at all; where there is
-- none, no rows. What is refused for another reason is raised: it says nothing about who owns what.
local function rows_of(command, ...)
  local reply = redis.pcall(command, ...)
  if not reply.err then return reply, true end
  local problem = tostring(reply.err) -- of memory:// it is no text
  if string.find(problem, 'NOGROUP', 1, true) or string.find(problem, 'no such key', 1, true) then return {}, false end
  error(problem)
end

-- owned(stream, group, consumer, list): which of the listed ids `consumer` has the lease of now, as
-- {[id] = delivery count}. One XPENDING over the stretch of the stream in which they lie answers for nearly all, for
-- what is worked on together was mostly read together; it stops after twice as many rows, so that what else the
-- consumer holds costs next to nothing. The others are asked for one by one.
local function owned(stream, group, consumer, list)
  local mine = {}
  local count = #list
  local first, last = list[1], list[1]
  if count > 3 then
    local first_ms, first_seq, last_ms, last_seq = math.huge, 0, -1, 0
    for _, id in ipairs(list) do
      local ms, seq = string.match(id, '^(%d+)-(%d+)$')
      ms, seq = tonumber(ms), tonumber(seq)
      if not ms then return mine end
      if ms < first_ms or (ms == first_ms and seq < first_seq) then first, first_ms, first_seq = id, ms, seq end
      if ms > last_ms or (ms == last_ms and seq > last_seq) then last, last_ms, last_seq = id, ms, seq end
    end
    local rows = rows_of('XPENDING', stream, group, first, last, 2 * count, consumer)
    for _, row in ipairs(rows) do mine[row[1]] = row[4] end
    if #rows < 2 * count then return mine end
  end
  for _, id in ipairs(list) do
    if not mine[id] then
      local row = rows_of('XPENDING', stream, group, id, id, 1, consumer)[1]
      if row then mine[id] = row[4] end
    end
  end
  return mine
end
