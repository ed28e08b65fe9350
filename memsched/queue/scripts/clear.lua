-- clear: drop a part of the unfinished messages for good. Workers that run one of them are told at their next renewal.
-- What is parked goes first, and the stream last: nothing may move in behind what was dropped.
--
-- include: users
-- KEYS[1..5] the lane: stream, delayed, dead, users, parked
-- KEYS[6]  <prefix>:{<lane>}:outbox
-- KEYS[7]  <prefix>:{<lane>}:task: (what the status keys of its messages begin with)
-- KEYS[8]  <prefix>:{<lane>}:oldest (what the status remembers of the stream)
-- ARGV[1]  consumer group
-- ARGV[2]  most messages to drop
-- ARGV[3]  bytes after which no further message is dropped
--
-- Returns {how many were dropped, 1 if there may be more, {id, user id, ...} of entries without an item id}: the status
-- keys of the last follow from the ids, in a way that is not known here.
local lane = lane_at(1, 0)
local most, most_bytes = tonumber(ARGV[2]), tonumber(ARGV[3])
local dropped, bytes = 0, 0
local nameless = {}
local function enough() return dropped >= most or bytes >= most_bytes end

local function drop_member(member)
  local task, _, name = read_member(member)
  if task then redis.call('DEL', task) end
  dropped = dropped + 1
  bytes = bytes + #member
  return name
end

redis.call('DEL', KEYS[8])
while not enough() do
  local name = redis.call('HRANDFIELD', lane.parked, 2) or {}
  name = name[1] ~= '' and name[1] or name[2]
  if not name then break end
  while not enough() do
    local member = redis.call('LPOP', lane.parked .. ':' .. name)
    if not member then break end
    drop_member(member)
  end
  count_parked(lane, name)
end
while not enough() do
  local member = redis.call('ZPOPMIN', lane.delayed)[1]
  if not member then break end
  local name = drop_member(member)
  if name then count_delayed(lane, name, -1) end
end
while not enough() do
  local entry = redis.call('XRANGE', lane.stream, '-', '+', 'COUNT', 1)[1]
  if not entry then break end
  local id, fields = entry[1], {}
  for at = 1, #entry[2], 2 do
    fields[entry[2][at]] = entry[2][at + 1]
    bytes = bytes + #entry[2][at] + #entry[2][at + 1]
  end
  if fields.item_id and fields.item_id ~= '' then
    redis.call('DEL', KEYS[7] .. escaped(fields.user_id or '') .. '/' .. escaped(fields.item_id))
  else
    nameless[#nameless + 1] = id
    nameless[#nameless + 1] = fields.user_id or ''
  end
  if fields.user_id then redis.call('SREM', lane.users .. ':' .. escaped(fields.user_id), id) end
  redis.pcall('XACK', lane.stream, ARGV[1], id)
  dropped = dropped + redis.call('XDEL', lane.stream, id)
end
if enough() then return {dropped, 1, nameless} end
for _, batch in ipairs(redis.call('HKEYS', KEYS[6])) do
  if batch ~= '' then redis.call('UNLINK', KEYS[6] .. ':' .. batch) end
end
dropped = dropped + tonumber(redis.call('HGET', KEYS[6], '') or '0')
redis.call('UNLINK', lane.users, lane.parked, KEYS[6])
return {dropped, 0, nameless}
