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

local function park(lane, name, member)
  redis.call('RPUSH', lane.parked .. ':' .. name, member)
  redis.call('HINCRBY', lane.parked, name, 1)
  redis.call('HINCRBY', lane.parked, '', 1)
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

-- append(lane, name, fields): appends a message to the stream; returns its entry's id, or an error table.
local function append(lane, name, fields)
  local id = redis.pcall('XADD', lane.stream, '*', unpack(fields))
  if type(id) == 'string' and name then
    redis.call('SADD', lane.users .. ':' .. name, id)
    if lane.held[name] then lane.held[name] = lane.held[name] + 1 end
  end
  return id
end

-- enter(lane, task, user, fields): appends a message to the stream or, where it has to wait, parks it. Returns its
-- entry's id, '' for one that is parked. Raises what the server refuses.
local function enter(lane, task, user, fields)
  local name = user ~= '' and escaped(user) or nil
  if name and must_park(lane, name) then
    table.insert(fields, 1, task)
    park(lane, name, cjson.encode(fields))
    return ''
  end
  local id = append(lane, name, fields)
  if type(id) ~= 'string' then error(id.err) end
  return id
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

local function bury_malformed(lane, member, now)
  redis.call('XADD', lane.dead, '*', 'raw', member, 'dead_reason', 'malformed', 'dead_error',
    'a delayed message that is not a JSON list of fields', 'dead_attempts', '{}', 'dead_first', now,
    'dead_last', now, 'dead_worker', '')
end

local CANCELLED_KEPT_SECONDS = 3600
local MOVED_BYTES = 262144

-- move_in(lane, name, most, now): appends a user's oldest parked messages to the stream, `most` of them at most, and none
-- more after some bytes: the rest is promote's. One that was cancelled meanwhile is dropped. Returns how many left
-- their list.
local function move_in(lane, name, most, now)
  local list = lane.parked .. ':' .. name
  local left, ids = 0, {}
  while #ids < most and left < most + 10 and lane.bytes < MOVED_BYTES do
    local member = redis.call('LINDEX', list, left)
    if not member then break end
    local task, fields = read_member(member)
    if not task then
      bury_malformed(lane, member, now)
    elseif redis.call('HGET', task, 'state') == 'failed' then
      redis.call('EXPIRE', task, CANCELLED_KEPT_SECONDS)
    else
      local id = redis.pcall('XADD', lane.stream, '*', unpack(fields))
      if type(id) ~= 'string' then break end -- the server is full, say: it stays where it is
      redis.call('HSET', task, 'entry', id)
      ids[#ids + 1] = id
    end
    left = left + 1
    lane.bytes = lane.bytes + #member
  end
  if left == 0 then return 0 end
  redis.call('LTRIM', list, left, -1)
  if #ids > 0 then redis.call('SADD', lane.users .. ':' .. name, unpack(ids)) end
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
