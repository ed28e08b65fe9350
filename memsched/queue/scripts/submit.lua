-- submit: put messages of one lane on their way, each once, up to the lane's limit.
--
-- include: now accept notify
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2]  <prefix>:{<lane>}:delayed
-- KEYS[3]  <prefix>:{<lane>}:users
-- KEYS[4+] <prefix>:{<lane>}:task:<item_id>, one per message
-- ARGV[1]  most unfinished messages that the lane may hold
-- ARGV[2]  <prefix>:wake, the channel that workers listen on
-- ARGV[3]  the lane's name
-- ARGV[4+] per message: user id, delay in ms, number of field strings, the field strings
--
-- Returns one of queued, delayed, duplicate, full per message. Those that are full were not accepted.
local now = now_ms()
local held = redis.call('XLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2])
local limit = tonumber(ARGV[1])
local outcomes = {}
local at = 4
local earliest, any_delayed
for number = 4, #KEYS do
  local user, delay, count = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local outcome = 'full'
  if held < limit or redis.call('EXISTS', KEYS[number]) == 1 then
    if delay > 0 and not any_delayed then
      any_delayed = true
      earliest = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
    end
    local fields = {unpack(ARGV, at + 3, at + 2 + count)}
    outcome = accept(fields, KEYS[1], KEYS[2], KEYS[3], KEYS[number], user, delay, now)
    if outcome ~= 'duplicate' then held = held + 1 end
  end
  outcomes[#outcomes + 1] = outcome
  at = at + 3 + count
end
if any_delayed then notify_due(KEYS[2], earliest, ARGV[2], ARGV[3]) end
return outcomes
