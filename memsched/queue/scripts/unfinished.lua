-- unfinished: how many messages of one user are not finished in a lane.
--
-- include: users
-- KEYS[1..5] the lane: stream, delayed, dead, users, parked
-- KEYS[6]  <prefix>:{<lane>}:outbox
-- ARGV[1]  user id
-- ARGV[2]  1 if what is not due yet counts, else 0
--
-- Follow-ups in the outbox count as everybody's. Where somebody deleted the stream or the delayed set by hand, nothing
-- in it is unfinished, whatever the counters say: they are dropped then.
local lane = lane_at(1, 0)
local name = escaped(ARGV[1])
if redis.call('XLEN', lane.stream) == 0 then redis.call('UNLINK', lane.users .. ':' .. name) end
if redis.call('ZCARD', lane.delayed) == 0 then redis.call('UNLINK', lane.users) end
return tonumber(redis.call('HGET', KEYS[6], '') or '0') + redis.call('SCARD', lane.users .. ':' .. name)
  + tonumber(ARGV[2]) * tonumber(redis.call('HGET', lane.users, name) or '0') + redis.call('LLEN', lane.parked .. ':' .. name)
