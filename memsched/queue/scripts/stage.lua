-- stage: put a page of a handler's follow-ups into a list of its own, while all its messages are still ours. They count
-- for nothing until conclude makes the list a part of the outbox; the list of a worker that dies before that expires.
--
-- include: owned
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2]  <prefix>:{<lane>}:outbox:<batch>
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that runs them
-- ARGV[3]  seconds for which the list is kept unless it is concluded
-- ARGV[4]  number of the page, from 0: one that is there already is not put there again
-- ARGV[5]  the page, JSON
-- ARGV[6+] entry ids of everything that the handler was given
--
-- Returns the ids that no longer belong to the consumer. If there is one, nothing at all was done.
local ids = {unpack(ARGV, 6)}
local mine = owned(KEYS[1], ARGV[1], ARGV[2], ids)
local lost = {}
for _, id in ipairs(ids) do
  if not mine[id] then lost[#lost + 1] = id end
end
if #lost > 0 then return lost end
if redis.call('LLEN', KEYS[2]) == tonumber(ARGV[4]) then redis.call('RPUSH', KEYS[2], ARGV[5]) end
redis.call('EXPIRE', KEYS[2], ARGV[3])
return lost
