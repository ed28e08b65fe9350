-- begin: say that a message with a past is about to run again, if it is still ours, and get its checkpoint.
--
-- include: now owned crash_account
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2]  <prefix>:{<lane>}:task:<item_id>
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that runs it
-- ARGV[3]  entry id
-- ARGV[4]  '1' if no other suspect runs beside it, else '0'
--
-- Writes the start of a suspect into its crash account. Returns {1 if it is ours, the checkpoint or ''}.
local count = owned(KEYS[1], ARGV[1], ARGV[2], {ARGV[3]})[ARGV[3]]
if not count then return {0, ''} end
local account = account_started(count, ARGV[4] == '1')
if account ~= count then
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'RETRYCOUNT', account, 'JUSTID')
end
redis.call('HSET', KEYS[2], 'state', 'in_progress', 'entry', ARGV[3], 'worker', ARGV[2], 'started', now_ms())
return {1, redis.call('HGET', KEYS[2], 'checkpoint') or ''}
