-- accept: included by scripts that put a new message on its way; needs users.
--
-- accept(lane, task, user, fields, delay, now): appends the message to its stream, parks it if its user has enough
-- there or, with a delay in ms above 0, adds it to the delayed set; writes its status. `fields` is a flat list of
-- names and values. Returns 'queued', 'delayed', or 'duplicate' if the message is already known and nothing was done.
-- Raises what the server refuses; then none of it was done, and a second try finds it unknown.
local function accept(lane, task, user, fields, delay, now)
  local known = redis.call('HMGET', task, 'state', 'entry')
  if known[1] then
    -- A message whose entry was deleted by hand is not known any more: it may be submitted again.
    local gone = (known[1] == 'waiting' or known[1] == 'in_progress') and known[2] and known[2] ~= ''
      and #redis.call('XRANGE', lane.stream, known[2], known[2]) == 0
    if not gone then return 'duplicate' end
    redis.call('DEL', task)
    redis.call('SREM', lane.users .. ':' .. escaped(user), known[2])
  end
  fields[#fields + 1] = 'submitted'
  fields[#fields + 1] = now
  if delay > 0 then
    table.insert(fields, 1, task)
    delay_until(lane, user, now + delay, cjson.encode(fields), function()
      return redis.pcall('HSET', task, 'state', 'waiting', 'entry', '', 'submitted', now, 'due', now + delay)
    end)
    return 'delayed'
  end
  enter(lane, task, user, fields, now)
  return 'queued'
end
