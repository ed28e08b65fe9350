-- users: included by scripts that put messages into a lane's stream, or take them out. Fairness: a user has at most
-- `most` of their messages in the stream; what comes beyond is parked in a list of their own, and one moves in for
-- each that leaves. Every call costs the same, whatever waits.
--
-- Names of users are escaped as memsched/broker/keys.py does it, for promote and redrive learn them here.
--   <users>          hash: how many delayed messages each user has
--   <users>:<user>   set: the ids of their entries in the stream (a set, so that no entry counts twice)
--   <parked>         hash: how many are parked, by user; the field '' is all of them
--   <parked>:<user>  list: what is parked, the oldest first, in the form of the delayed set: JSON, task key, then fields
-- A message that came by a plain XADD has the user '': it is neither counted nor parked.
local function escaped(text)
  return (string.gsub(text, '[^%w_.~-]', function(byte) return string.format('%%%02X', string.byte(byte)) end))
end

-- lane_at(first, most): the lane whose keys are KEYS[first..first+4]: stream, delayed, dead, users, parked.
-- most: how many messages of one user may be in the stream; 0: no limit.
local function lane_at(first, most)
  return {
    stream = KEYS[first], delayed = KEYS[first + 1], dead = KEYS[first + 2], users = KEYS[first + 3],
    parked = KEYS[first + 4], most = tonumber(most), held = {}, bytes = 0,
  }
end

local function all_parked(lane) return tonumber(redis.call('HGET', lane.parked, '') or '0') end

-- count_parked(lane, name): makes the count of a user's parked messages the length of their list.
local function count_parked(lane, name)
  local before = tonumber(redis.call('HGET', lane.parked, name) or '0')
  local now = redis.call('LLEN', lane.parked .. ':' .. name)
  if now > 0 then redis.call('HSET', lane.parked, name, now) else redis.call('HDEL', lane.parked, name) end
  if redis.call('HINCRBY', lane.parked, '', now - before) <= 0 then redis.call('HDEL', lane.parked, '') end
end

-- Redis takes nothing back when a script breaks off. So a message gets to its new place and is known there (its record
-- is written, its old place forgets it) by a pair of steps of which the second, when it is refused, undoes the first:
-- tried again, nothing is done twice. The second one is `then_do(id)`, which returns what redis.pcall returned.
local function refused(reply) return type(reply) == 'table' and reply.err ~= nil end

-- text_of(problem): what pcall caught, as a text.
local function text_of(problem) return tostring(refused(problem) and problem.err or problem) end

-- park(lane, name, member, then_do): parks a message; raises what the server refuses, then nothing was parked.
local function park(lane, name, member, then_do)
  local list = lane.parked .. ':' .. name
  redis.call('HINCRBY', lane.parked, name, 1)
  redis.call('HINCRBY', lane.parked, '', 1)
  local reply = redis.pcall('RPUSH', list, member)
  if not refused(reply) then
    reply = then_do('')
    if refused(reply) then redis.pcall('LTRIM', list, 0, -2) end
  end
  if refused(reply) then
    pcall(count_parked, lane, name)
    error(reply.err)
  end
  lane.held[name] = math.max(lane.held[name] or 0, lane.most)
end

-- must_park(lane, name): whether the user's next message has to wait: their part of the stream is full, or others of
-- theirs wait already.
local function must_park(lane, name)
  if lane.most == 0 then return false end
  local held = lane.held[name]
  if not held then
    local set = lane.users .. ':' .. name
    held = redis.call('SCARD', set)
    if lane.any_parked == nil then lane.any_parked = redis.call('EXISTS', lane.parked) == 1 end
    if lane.any_parked and redis.call('EXISTS', lane.parked .. ':' .. name) == 1 then
      held = math.max(held, lane.most)
    elseif held >= lane.most and redis.call('XLEN', lane.stream) == 0 then
      redis.call('DEL', set) -- somebody deleted the stream by hand
      held = 0
    end
    lane.held[name] = held
  end
  return held >= lane.most
end

-- append(lane, name, fields, then_do): appends a message to the stream; returns its entry's id, or an error table: then
-- nothing was appended.
local function append(lane, name, fields, then_do)
  local id = redis.pcall('XADD', lane.stream, '*', unpack(fields))
  if type(id) ~= 'string' then return id end
  local set = name and lane.users .. ':' .. name
  local reply = set and redis.pcall('SADD', set, id)
  if not refused(reply) then reply = then_do(id) end
  if refused(reply) then
    redis.pcall('XDEL', lane.stream, id)
    if set then redis.pcall('SREM', set, id) end
    return reply
  end
  if name and lane.held[name] then lane.held[name] = lane.held[name] + 1 end
  return id
end

-- enter(lane, task, user, fields, now): appends a message to the stream or, where it has to wait, parks it, and writes
-- its record. Raises what the server refuses; then none of it was done.
local function enter(lane, task, user, fields, now)
  local name = user ~= '' and escaped(user) or nil
  local function record(id) return redis.pcall('HSET', task, 'state', 'waiting', 'entry', id, 'submitted', now) end
  if name and must_park(lane, name) then
    table.insert(fields, 1, task)
    park(lane, name, cjson.encode(fields), record)
  else
    local id = append(lane, name, fields, record)
    if refused(id) then error(id.err) end
  end
end

-- read_member(member): the task key, the fields, and the name of the counted user (nil: none) of a delayed or parked
-- message; nothing if it is no JSON list of texts, or has more fields than one call of Lua can pass on.
local function read_member(member)
  local read, fields = pcall(cjson.decode, member)
  if not read or type(fields) ~= 'table' or #fields < 3 or #fields > 4001 or #fields % 2 == 0 then return nil end
  local user, submitted
  for at = 1, #fields do
    if type(fields[at]) ~= 'string' and type(fields[at]) ~= 'number' then return nil end
    if at % 2 == 0 and fields[at] == 'user_id' then user = fields[at + 1] end
    if at % 2 == 0 and fields[at] == 'submitted' then submitted = true end
  end
  return table.remove(fields, 1), fields, submitted and user and user ~= '' and escaped(user) or nil
end

-- bury(lane, fields, why, now, then_do): as append does, to the dead letters.
local function bury(lane, fields, why, now, then_do)
  for _, text in ipairs({'dead_reason', 'malformed', 'dead_error', why, 'dead_attempts', '{}', 'dead_first', now,
    'dead_last', now, 'dead_worker', ''}) do fields[#fields + 1] = text end
  return append({stream = lane.dead, held = {}}, nil, fields, then_do)
end

-- bury_unfit(lane, member, now, then_do): buries a delayed or parked message that cannot go to the stream: there, it
-- would hold up its label. If it can, returns nil; then its task key, fields, counted user, and record's state.
local function bury_unfit(lane, member, now, then_do)
  local task, fields, name = read_member(member)
  if not task then
    return bury(lane, {'raw', member}, 'a delayed message that is not a JSON list of fields', now, then_do)
  end
  local state = redis.pcall('HGET', task, 'state')
  if refused(state) and string.find(state.err, 'WRONGTYPE', 1, true) then
    return bury(lane, fields, 'the key of its record is of another type: ' .. task, now, then_do), nil, nil, name
  end
  return nil, task, fields, name, state
end

local CANCELLED_KEPT_SECONDS = 3600
local MOVED_BYTES = 262144

-- move_in(lane, name, most, now): appends a user's oldest parked messages to the stream, `most` of them at most, and none
-- more after some bytes: the rest is promote's. One that was cancelled meanwhile is dropped. Returns how many left
-- their list.
local function move_in(lane, name, most, now)
  local list = lane.parked .. ':' .. name
  local function take() return redis.pcall('LPOP', list) end
  local left, entered = 0, 0
  while entered < most and left < most + 10 and lane.bytes < MOVED_BYTES do
    local member = redis.call('LINDEX', list, 0)
    if not member then break end
    local reply, task, fields, _, state = bury_unfit(lane, member, now, take)
    if not reply and state == 'failed' then
      reply = take()
      redis.pcall('EXPIRE', task, CANCELLED_KEPT_SECONDS)
    elseif not reply then
      reply = append(lane, name, fields, take)
      if not refused(reply) then redis.pcall('HSET', task, 'entry', reply) end
      entered = entered + 1
    end
    if refused(reply) then break end -- the server is full, say: it stays where it is
    left = left + 1
    lane.bytes = lane.bytes + #member
  end
  if left == 0 then return 0 end
  if redis.call('HINCRBY', lane.parked, name, -left) <= 0 then
    redis.call('HINCRBY', lane.parked, name, left)
    count_parked(lane, name)
  elseif redis.call('HINCRBY', lane.parked, '', -left) <= 0 then
    redis.call('HDEL', lane.parked, '')
  end
  return left
end

-- room(lane, name): how many messages more a user may have in the stream.
local function room(lane, name)
  if lane.most == 0 then return 1000 end
  return math.max(0, lane.most - redis.call('SCARD', lane.users .. ':' .. name))
end

-- uncount(lane, user, ids, now): messages have left the stream: they are their user's no more, and the next ones move
-- in. Called when they are acknowledged, and never fails: what is done must not stay because of something else.
local function uncount(lane, user, ids, now)
  if user == '' then return end
  pcall(function()
    local name = escaped(user)
    redis.call('SREM', lane.users .. ':' .. name, unpack(ids))
    if redis.call('EXISTS', lane.parked .. ':' .. name) == 1 then
      move_in(lane, name, math.min(#ids, room(lane, name)), now)
    end
  end)
end

-- count_delayed(lane, name, change): so many more messages of this user are delayed. At zero the user is forgotten.
local function count_delayed(lane, name, change)
  if redis.call('HINCRBY', lane.users, name, change) <= 0 then redis.call('HDEL', lane.users, name) end
end

-- delay_until(lane, user, due, member, then_do): adds a message to the delayed set; raises what the server refuses, then
-- it is not there. A member that was there already is not counted again.
local function delay_until(lane, user, due, member, then_do)
  local new = redis.call('ZADD', lane.delayed, due, member) == 1
  local counted = user ~= '' and new and redis.pcall('HINCRBY', lane.users, escaped(user), 1)
  local reply = counted
  if not refused(reply) then reply = then_do() end
  if refused(reply) then
    if new then redis.pcall('ZREM', lane.delayed, member) end
    if type(counted) == 'number' then pcall(count_delayed, lane, escaped(user), -1) end
    error(reply.err)
  end
end
