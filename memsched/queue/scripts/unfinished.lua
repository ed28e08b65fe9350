-- unfinished: how many messages of one user are not finished in a lane.
--
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2]  <prefix>:{<lane>}:delayed
-- KEYS[3]  <prefix>:{<lane>}:users
-- KEYS[4]  <prefix>:{<lane>}:outbox
-- ARGV[1]  user id
--
-- Follow-ups in the outbox count as everybody's. A lane that holds nothing has no unfinished message, whatever the
-- counters say (somebody may have deleted the stream by hand): they are dropped then.
local outbox = redis.call('LLEN', KEYS[4])
if redis.call('XLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2]) + outbox == 0 then
  redis.call('DEL', KEYS[3])
  return 0
end
return outbox + tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or '0')
