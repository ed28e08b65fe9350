-- promote: append the delayed messages that are due to their stream, or park them; and mend what is parked where
-- somebody changed a lane by hand. A bounded part at a time, in messages and in bytes.
--
-- include: now users
-- KEYS[1..5] the lane: stream, delayed, dead, users, parked
-- ARGV[1]  consumer group
-- ARGV[2]  most messages of one user in the stream (0: no limit)
-- ARGV[3]  most messages to move
-- ARGV[4]  bytes after which no further message is moved
-- ARGV[5]  ms after which to look again while messages are parked
--
-- A member of the delayed set that is no JSON list of a task key and fields goes to the dead letters as it is; so does
-- one whose record is a key of another type.
-- Returns {how many were moved, ms until the next look is due: 0 if there is more to do now, '' if nothing waits}.
local now = now_ms()
local lane = lane_at(1, ARGV[2])
local most, most_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local moved = 0
local function enough() return moved >= most or lane.bytes >= most_bytes end

local function promote(member)
  local function take() return redis.pcall('ZREM', lane.delayed, member) end
  local id, task, fields, name = bury_unfit(lane, member, now, take)
  if task and name and must_park(lane, name) then
    park(lane, name, member, take)
  elseif task then
    id = append(lane, name, fields, take)
  end
  if refused(id) then error(id.err) end
  if task then
    if id then redis.pcall('HSET', task, 'entry', id) end
    redis.pcall('HDEL', task, 'due')
  end
  if name then count_delayed(lane, name, -1) end
end

-- Forgets entries of a user that are no longer in the stream, until a random one of theirs is; each makes room.
local function forget_deleted(name)
  local set = lane.users .. ':' .. name
  while not enough() do
    local id = redis.call('SRANDMEMBER', set)
    if not id then return end
    local pending = redis.pcall('XPENDING', lane.stream, ARGV[1], id, id, 1)
    if not pending.err and #pending > 0 then return end -- its owner settles it, and no entry has to be read
    local entry = redis.call('XRANGE', lane.stream, id, id)[1]
    if entry then
      for _, text in ipairs(entry[2]) do lane.bytes = lane.bytes + #text end
      return
    end
    redis.call('SREM', set, id)
    moved = moved + move_in(lane, name, 1, now)
  end
end

local function mend_parked_of(name)
  count_parked(lane, name)
  if not enough() then moved = moved + move_in(lane, name, math.min(most - moved, room(lane, name)), now) end
  if redis.call('EXISTS', lane.parked .. ':' .. name) == 1 then forget_deleted(name) end
end

local problem -- with one user's list; raised when all others are served
local function mend_parked()
  for _, name in ipairs(redis.call('HRANDFIELD', lane.parked, 10)) do
    if name ~= '' then
      local mended, raised = pcall(mend_parked_of, name)
      if not mended then problem = text_of(raised) end
    end
  end
  if redis.call('HLEN', lane.parked) <= 100 then
    local all, counts = 0, redis.call('HGETALL', lane.parked)
    for at = 1, #counts, 2 do
      if counts[at] ~= '' then all = all + tonumber(counts[at + 1]) end
    end
    if all ~= all_parked(lane) then redis.call('HSET', lane.parked, '', all) end
    if all == 0 then redis.call('DEL', lane.parked) end
  end
end

while not enough() do
  local due = redis.call('ZRANGEBYSCORE', lane.delayed, '-inf', now, 'LIMIT', 0, 1)[1]
  if not due then break end
  lane.bytes = lane.bytes + #due
  promote(due)
  moved = moved + 1
end
if redis.call('EXISTS', lane.parked) == 1 then mend_parked() end
if problem then error(problem) end

if enough() then return {moved, '0'} end
local wait = {}
local first = redis.call('ZRANGE', lane.delayed, 0, 0, 'WITHSCORES')[2]
if first then wait[1] = math.max(0, tonumber(first) - tonumber(now)) end
if redis.call('EXISTS', lane.parked) == 1 then wait[#wait + 1] = tonumber(ARGV[5]) end
return {moved, #wait > 0 and string.format('%.0f', math.min(unpack(wait))) or ''}
