-- accept: included by scripts that put a new message on its way; needs users.
--
-- accept(lane, task, user, fields, delay, now): appends the message to its stream, parks it if its user has enough
-- there or, with a delay in ms above 0, adds it to the delayed set; writes its status, and its place in the business
-- task that it names. `fields` is a flat list of names and values. Returns 'queued', 'delayed', or 'duplicate' if the
-- message is already known and nothing was done.
-- Raises what the server refuses; then none of it was done, and a second try finds it unknown.

local PARTS_KEPT_SECONDS = 604800
local MOST_PARTS = 10000

-- join(task, user, fields, delay): notes a message in its business task, for as long as it waits and a week more. It
-- comes first: a part that is named and not there is nothing.
local function join(task, user, fields, delay)
  local name
  for at = 1, #fields, 2 do
    if fields[at] == 'task_id' then name = fields[at + 1] end
  end
  if not name or name == '' or user == '' then return end
  local lane, item = string.match(task, '^(.*}):task:[^/]*/(.*)$')
  local parts = lane .. ':parts:' .. escaped(user) .. '/' .. escaped(name)
  if redis.call('SCARD', parts) >= MOST_PARTS then return end
  redis.call('SADD', parts, item)
  local seconds = PARTS_KEPT_SECONDS + math.ceil(delay / 1000)
  if redis.call('EXPIRE', parts, seconds, 'NX') == 0 then redis.call('EXPIRE', parts, seconds, 'GT') end
end

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
  join(task, user, fields, delay)
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
