-- dead_letter: move messages to the dead letters, if they are still ours. Their fields are copied byte for byte; an item_id
-- or a timestamp that the producer did not send is added, for the entry's own id, which stood for them, ends here.
-- Of an entry with more fields than one call of Lua can pass on, all of them become one field `raw`, a JSON list.
--
-- include: now owned users record
-- KEYS[1..5] the lane: stream, delayed, dead, users, parked
-- KEYS[6+] <prefix>:{<lane>}:task:<user>/<item_id>, one per message
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that gives them up
-- ARGV[3]  seconds for which the status of a finished message is kept
-- ARGV[4]  most messages of one user in the stream (0: no limit)
-- ARGV[5+] per message: entry id, user id ('' if it was never counted), reason, error text, attempts as JSON,
--          item id, timestamp ('' if it has none)
--
-- Returns the ids that no longer belong to the consumer; nothing was done to those. The acknowledgement comes last.
local lane = lane_at(1, ARGV[4])
local ids = {}
for at = 5, #ARGV, 7 do ids[#ids + 1] = ARGV[at] end
local mine = owned(lane.stream, ARGV[1], ARGV[2], ids)
local now = now_ms()
local lost = {}
for number, id in ipairs(ids) do
  if mine[id] then
    local at = 7 * number - 2
    local entry = redis.call('XRANGE', lane.stream, id, id)[1]
    local fields = entry and entry[2] or {}
    if #fields > 4000 then fields = {'raw', cjson.encode(fields)} end
    local first = string.match(id, '^%d+')
    local missing = {item_id = ARGV[at + 5], timestamp = ARGV[at + 6]}
    for name = 1, #fields, 2 do
      if fields[name] == 'submitted' then first = fields[name + 1] end
      missing[fields[name]] = nil
    end
    for name, text in pairs(missing) do
      if text ~= '' then
        fields[#fields + 1] = name
        fields[#fields + 1] = text
      end
    end
    for _, text in ipairs({
      'dead_reason', ARGV[at + 2], 'dead_error', ARGV[at + 3], 'dead_attempts', ARGV[at + 4],
      'dead_first', first, 'dead_last', now, 'dead_worker', ARGV[2],
    }) do fields[#fields + 1] = text end
    local task = KEYS[5 + number]
    -- Called again after a failure in between, it finds that this entry is a dead letter already.
    local known = record(task, 'HMGET', 'state', 'entry') or {}
    local ours = known[1] == 'failed' and known[2] == id
    if not ours then
      local dead = redis.call('XADD', lane.dead, '*', unpack(fields))
      local written, problem = pcall(record, task, 'HSET', 'state', 'failed', 'entry', id, 'finished', now,
        'error', ARGV[at + 3], 'reason', ARGV[at + 2], 'dead', dead)
      if not written then
        redis.pcall('XDEL', lane.dead, dead)
        error(problem)
      end
      ours = problem ~= nil
    end
    if ours then redis.call('EXPIRE', task, ARGV[3]) end
    redis.call('XDEL', lane.stream, id)
    redis.call('XACK', lane.stream, ARGV[1], id)
    uncount(lane, ARGV[at + 1], {id}, now)
  else
    lost[#lost + 1] = id
  end
end
return lost
