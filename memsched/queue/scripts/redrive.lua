-- redrive: send dead letters to their stream again, with all budgets renewed.
--
-- include: now
-- KEYS[1]  <prefix>:{<lane>}:dead
-- KEYS[2]  <prefix>:{<lane>}:stream
-- KEYS[3]  <prefix>:{<lane>}:users
-- KEYS[4+] <prefix>:{<lane>}:task:<item_id>, one per dead letter
-- ARGV[1+] per dead letter: its id in the dead letters, its user id ('' if it is not to be counted)
--
-- Returns how many were sent; those that are no longer there are passed over.
local spent = {errors = true, timeouts = true, crashes = true, deferrals = true, last_error = true}
local sent = 0
for number = 4, #KEYS do
  local at = 2 * (number - 3) - 1
  local id, user = ARGV[at], ARGV[at + 1]
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if entry then
    local fields = {}
    for name = 1, #entry[2], 2 do
      if not spent[entry[2][name]] and not string.find(entry[2][name], '^dead_') then
        fields[#fields + 1] = entry[2][name]
        fields[#fields + 1] = entry[2][name + 1]
      end
    end
    local new = redis.call('XADD', KEYS[2], '*', unpack(fields))
    redis.call('XDEL', KEYS[1], id)
    if user ~= '' then redis.call('HINCRBY', KEYS[3], user, 1) end
    redis.call('DEL', KEYS[number])
    redis.call('HSET', KEYS[number], 'state', 'waiting', 'entry', new, 'submitted', now_ms())
    sent = sent + 1
  end
end
return sent
