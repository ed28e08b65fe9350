-- redrive: send dead letters to their stream again, with all budgets renewed.
--
-- include: now users
-- KEYS[1..5] the lane: stream, delayed, dead, users, parked
-- KEYS[6+] <prefix>:{<lane>}:task:<user>/<item_id>, one per dead letter
-- ARGV[1]  most messages of one user in the stream (0: no limit)
-- ARGV[2+] per dead letter: its id in the dead letters, its user id ('' if it is not to be counted)
--
-- A letter whose item was submitted again meanwhile, and waits, runs or is done by that, is dropped: sent again, it
-- would run twice.
--
-- Returns {how many were sent, how many were dropped}; those that are no longer there are passed over.
local spent = {errors = true, timeouts = true, crashes = true, deferrals = true, last_error = true}
local lane = lane_at(1, ARGV[1])
local sent, dropped = 0, 0
-- Whether the item lives, or has done its work, by another entry than the one that died.
local function known(task)
  local found = redis.call('HMGET', task, 'state', 'entry')
  if not found[1] or found[1] == 'failed' then return false end
  -- One whose entry was deleted by hand does not come any more (see accept).
  return found[1] == 'completed' or not found[2] or found[2] == ''
    or #redis.call('XRANGE', lane.stream, found[2], found[2]) > 0
end
for number = 6, #KEYS do
  local at = 2 * (number - 5)
  local id, user = ARGV[at], ARGV[at + 1]
  local entry = redis.call('XRANGE', lane.dead, id, id)[1]
  if entry and known(KEYS[number]) then
    redis.call('XDEL', lane.dead, id)
    dropped = dropped + 1
  elseif entry then
    local fields = {}
    for name = 1, #entry[2], 2 do
      if not spent[entry[2][name]] and not string.find(entry[2][name], '^dead_') then
        fields[#fields + 1] = entry[2][name]
        fields[#fields + 1] = entry[2][name + 1]
      end
    end
    -- A redrive that breaks off after this is dropped by the next one, for the item lives again.
    enter(lane, KEYS[number], user, fields, now_ms())
    local entry_now = redis.call('HGET', KEYS[number], 'entry')
    redis.call('DEL', KEYS[number])
    redis.call('HSET', KEYS[number], 'state', 'waiting', 'entry', entry_now, 'submitted', now_ms())
    redis.call('XDEL', lane.dead, id)
    sent = sent + 1
  end
end
return {sent, dropped}
