-- record: included by scripts that write about a message in its record (<prefix>:{<lane>}:task:<item_id>).
--
-- record(task, command, ...): does that with the record; returns the reply. Where another program's key stands in its place,
-- returns nil, and nothing was done: one message without a record must not hold up what it shares a script with.
local function record(task, command, ...)
  local reply = redis.pcall(command, task, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  local problem = tostring(reply.err)
  if not string.find(problem, 'WRONGTYPE', 1, true) then error(problem) end
end

-- record_completed(task, now, seconds): the message is done; its record is kept for so long.
local function record_completed(task, now, seconds)
  if record(task, 'HSET', 'state', 'completed', 'finished', now) then
    redis.call('HDEL', task, 'checkpoint')
    redis.call('EXPIRE', task, seconds)
  end
end
