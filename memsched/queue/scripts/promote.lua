-- promote: append the delayed messages that are due to their stream.
--
-- include: now
-- KEYS[1]  <prefix>:{<lane>}:delayed
-- KEYS[2]  <prefix>:{<lane>}:stream
-- KEYS[3]  <prefix>:{<lane>}:dead
-- ARGV[1]  most messages to promote
--
-- A member is JSON: the message's task key, then its fields. One that is not goes to the dead letters as it is, and so
-- does one with more fields than one call of Lua can pass on.
-- Returns {how many were promoted, ms until the next one is due ('' if there is none)}.
local now = now_ms()
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, member in ipairs(due) do
  local read, fields = pcall(cjson.decode, member)
  local id
  if read and type(fields) == 'table' and #fields > 2 and #fields <= 4001 and #fields % 2 == 1 then
    local task = table.remove(fields, 1)
    id = redis.pcall('XADD', KEYS[2], '*', unpack(fields))
    if type(id) == 'string' then
      redis.call('HSET', task, 'entry', id)
      redis.call('HDEL', task, 'due')
    end
  end
  if type(id) ~= 'string' then
    redis.call('XADD', KEYS[3], '*', 'raw', member, 'dead_reason', 'malformed', 'dead_error',
      'a delayed message that is not a JSON list of fields', 'dead_attempts', '{}', 'dead_first', now,
      'dead_last', now, 'dead_worker', '')
  end
  redis.call('ZREM', KEYS[1], member)
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {#due, first[2] and string.format('%.0f', math.max(0, tonumber(first[2]) - tonumber(now))) or ''}
