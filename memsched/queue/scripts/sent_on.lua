-- sent_on: take the first page of a batch out of the outbox: its follow-ups have been submitted to their own lanes.
--
-- KEYS[1]  <prefix>:{<lane>}:outbox
-- KEYS[2]  <prefix>:{<lane>}:outbox:<batch>
-- ARGV[1]  the batch
-- ARGV[2]  how many pages the batch had when its first one was read. With fewer, another worker has sent it on.
-- ARGV[3]  number of follow-ups in that page
--
-- Returns 1 if the page was taken out.
local length = redis.call('LLEN', KEYS[2])
if length ~= tonumber(ARGV[2]) then return 0 end
if length > 0 then
  local left = redis.call('HINCRBY', KEYS[1], '', -tonumber(ARGV[3]))
  local reply = redis.pcall('LPOP', KEYS[2])
  if type(reply) == 'table' and reply.err then
    redis.pcall('HINCRBY', KEYS[1], '', ARGV[3]) -- not taken out after all
    error(reply.err)
  end
  if left <= 0 then redis.call('HDEL', KEYS[1], '') end
end
if length <= 1 then redis.call('HDEL', KEYS[1], ARGV[1]) end
return 1
