-- mark: write in the status of messages that they are running, if they are still ours.
--
-- include: now owned record
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2+] <prefix>:{<lane>}:task:<user>/<item_id>, one per message
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that runs them
-- ARGV[3+] per message: entry id, ms since its start (by the worker's clock; the time that is written is the server's)
--
-- Returns the ids that no longer belong to the consumer; nothing was done to those.
local ids = {}
for at = 3, #ARGV, 2 do ids[#ids + 1] = ARGV[at] end
local mine = owned(KEYS[1], ARGV[1], ARGV[2], ids)
local lost = {}
for number, id in ipairs(ids) do
  if mine[id] then
    local task = KEYS[1 + number]
    local known = record(task, 'HMGET', 'state', 'worker', 'entry')
    if known and (known[1] ~= 'in_progress' or known[2] ~= ARGV[2] or known[3] ~= id) then  -- else begin has written it
      local started = string.format('%.0f', tonumber(now_ms()) - tonumber(ARGV[2 + 2 * number]))
      redis.call('HSET', task, 'state', 'in_progress', 'entry', id, 'worker', ARGV[2], 'started', started)
    end
  else
    lost[#lost + 1] = id
  end
end
return lost
