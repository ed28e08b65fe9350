-- cancel: take a message off the queue for good, wherever it waits or runs. Its record says that it failed, and why; it is no
-- dead letter.
--
-- include: now uncount notify
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2]  <prefix>:{<lane>}:delayed
-- KEYS[3]  <prefix>:{<lane>}:users
-- KEYS[4]  <prefix>:{<lane>}:task:<item_id>
-- ARGV[1]  consumer group
-- ARGV[2]  seconds for which the status of a finished message is kept
-- ARGV[3]  <prefix>:wake
-- ARGV[4]  the lane's name
--
-- Returns 'cancelled', or what there was to find instead: its state, or '' if nothing is known.
local state, entry, due = unpack(redis.call('HMGET', KEYS[4], 'state', 'entry', 'due'))
if state ~= 'waiting' and state ~= 'in_progress' then return state or '' end

-- counted(fields): the user whose unfinished messages this one is counted with; a foreign producer's is nobody's.
local function counted(fields, first)
  local user, submitted = '', false
  for name = first, #fields, 2 do
    if fields[name] == 'user_id' then user = fields[name + 1] end
    if fields[name] == 'submitted' then submitted = true end
  end
  return submitted and user or ''
end

local user = ''
local row = entry and entry ~= '' and redis.call('XRANGE', KEYS[1], entry, entry)[1]
if row then
  user = counted(row[2], 1)
elseif due then
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], due, due)) do
    local head = string.match(member, '^%["[^"]*"')
    if head and cjson.decode(head .. ']')[1] == KEYS[4] then
      user = counted(cjson.decode(member), 2)
      redis.call('ZREM', KEYS[2], member)
      break
    end
  end
end
redis.call('HSET', KEYS[4], 'state', 'failed', 'finished', now_ms(), 'reason', 'cancelled', 'error', 'cancelled')
redis.call('HDEL', KEYS[4], 'checkpoint', 'due')
redis.call('EXPIRE', KEYS[4], ARGV[2])
uncount(KEYS[3], user)
if row then
  redis.call('XACK', KEYS[1], ARGV[1], entry)
  redis.call('XDEL', KEYS[1], entry)
  notify_cancelled(ARGV[3], ARGV[4])
end
return 'cancelled'
