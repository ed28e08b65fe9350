-- submit: put messages of one lane on their way, each once, up to the lane's limit.
--
-- include: now users accept notify statistics
-- KEYS[1..5] the lane: stream, delayed, dead, users, parked
-- KEYS[6+] <prefix>:{<lane>}:task:<user>/<item_id>, one per message
-- ARGV[1]  most unfinished messages that the lane may hold
-- ARGV[2]  most messages of one user in the stream (0: no limit)
-- ARGV[3]  <prefix>:wake, the channel that workers listen on
-- ARGV[4]  the lane's name
-- ARGV[5+] per message: user id, delay in ms, number of field strings, the field strings
--
-- Returns one of queued, delayed, duplicate, full per message. Those that are full were not accepted.
local now = now_ms()
local lane = lane_at(1, ARGV[2])
local held = redis.call('XLEN', lane.stream) + redis.call('ZCARD', lane.delayed) + all_parked(lane)
local limit = tonumber(ARGV[1])
local outcomes = {}
local at = 5
local earliest, any_delayed
local submitted = 0
for number = 6, #KEYS do
  local user, delay, count = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local outcome = 'full'
  if held < limit or redis.call('EXISTS', KEYS[number]) == 1 then
    if delay > 0 and not any_delayed then
      any_delayed = true
      earliest = redis.call('ZRANGE', lane.delayed, 0, 0)[1]
    end
    outcome = accept(lane, KEYS[number], user, {unpack(ARGV, at + 3, at + 2 + count)}, delay, now)
    if outcome ~= 'duplicate' then held, submitted = held + 1, submitted + 1 end
  end
  outcomes[#outcomes + 1] = outcome
  at = at + 3 + count
end
if submitted > 0 then add_to_statistics(stats_of(lane), {'submitted', submitted}, now) end
if any_delayed then notify_due(lane.delayed, earliest, ARGV[3], ARGV[4]) end
return outcomes
