-- redrive: send dead letters to their stream again, with all budgets renewed.
--
-- include: now users
-- KEYS[1..5] the lane: stream, delayed, dead, users, parked
-- KEYS[6+] <prefix>:{<lane>}:task:<item_id>, one per dead letter
-- ARGV[1]  most messages of one user in the stream (0: no limit)
-- ARGV[2+] per dead letter: its id in the dead letters, its user id ('' if it is not to be counted)
--
-- Returns how many were sent; those that are no longer there are passed over.
local spent = {errors = true, timeouts = true, crashes = true, deferrals = true, last_error = true}
local lane = lane_at(1, ARGV[1])
local sent = 0
for number = 6, #KEYS do
  local at = 2 * (number - 5)
  local id, user = ARGV[at], ARGV[at + 1]
  local entry = redis.call('XRANGE', lane.dead, id, id)[1]
  if entry then
    local fields = {}
    for name = 1, #entry[2], 2 do
      if not spent[entry[2][name]] and not string.find(entry[2][name], '^dead_') then
        fields[#fields + 1] = entry[2][name]
        fields[#fields + 1] = entry[2][name + 1]
      end
    end
    local new = enter(lane, KEYS[number], user, fields)
    redis.call('DEL', KEYS[number])
    redis.call('HSET', KEYS[number], 'state', 'waiting', 'entry', new, 'submitted', now_ms())
    redis.call('XDEL', lane.dead, id)
    sent = sent + 1
  end
end
return sent
