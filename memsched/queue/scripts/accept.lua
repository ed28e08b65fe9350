-- accept: included by scripts that put a message on its way.
--
-- accept(fields, stream, delayed, users, task, user, delay, now): appends the message to its stream or, with a
-- delay in ms above 0, to the delayed set; counts it as its user's; writes its status. `fields` is a flat list of
-- names and values. Returns 'queued', 'delayed', or 'duplicate' if the message is already known and nothing was done.
local function accept(fields, stream, delayed, users, task, user, delay, now)
  local known = redis.call('HMGET', task, 'state', 'entry')
  if known[1] then
    -- A message whose entry was deleted by hand is not known any more: it may be submitted again.
    local gone = (known[1] == 'waiting' or known[1] == 'in_progress') and known[2] and known[2] ~= ''
      and #redis.call('XRANGE', stream, known[2], known[2]) == 0
    if not gone then return 'duplicate' end
    redis.call('DEL', task)
  end
  -- One that is gone is still counted, unless the counters were put right in the meantime (see unfinished).
  if not known[1] or redis.call('HEXISTS', users, user) == 0 then redis.call('HINCRBY', users, user, 1) end
  fields[#fields + 1] = 'submitted'
  fields[#fields + 1] = now
  if delay > 0 then
    table.insert(fields, 1, task)
    redis.call('ZADD', delayed, now + delay, cjson.encode(fields))
    redis.call('HSET', task, 'state', 'waiting', 'entry', '', 'submitted', now, 'due', now + delay)
    return 'delayed'
  end
  local id = redis.call('XADD', stream, '*', unpack(fields))
  redis.call('HSET', task, 'state', 'waiting', 'entry', id, 'submitted', now)
  return 'queued'
end
