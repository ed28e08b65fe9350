-- end_probation: say that a suspected poison message has run long enough for others to run beside it, if it is still
-- ours.
--
-- include: owned crash_account
-- KEYS[1]  <prefix>:{<lane>}:stream
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that runs it
-- ARGV[3]  entry id
--
-- Returns the ids that no longer belong to the consumer; nothing was done to those.
local count = owned(KEYS[1], ARGV[1], ARGV[2], {ARGV[3]})[ARGV[3]]
if not count then return {ARGV[3]} end
local account = account_off_probation(count)
if account ~= count then
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'RETRYCOUNT', account, 'JUSTID')
end
return {}
