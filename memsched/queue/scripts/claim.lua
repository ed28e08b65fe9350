-- claim: take over the leases of messages whose worker was silent for the min idle (the visibility timeout), and of
-- those that were handed back. Never our own.
--
-- include: claimable_now crash_account
-- KEYS[1]  <prefix>:{<lane>}:stream
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that claims
-- ARGV[3]  the consumer that stands for nobody
-- ARGV[4]  min idle in ms
-- ARGV[5]  most messages to claim
-- ARGV[6]  most pending entries to look at
-- ARGV[7]  cursor: '-', or '(' and the last id that was looked at
--
-- Returns {next cursor ('-' after the end), {{id, fields, delivery count now, previous owner, idle ms}, ...}}.
local rows = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[7], '+', ARGV[6])
if rows.err then return {'-', {}} end
local min_idle, most = tonumber(ARGV[4]), tonumber(ARGV[5])
local taken = {}
local cursor = '-'
local looked_at = 0
for _, row in ipairs(rows) do
  if #taken >= most then break end
  looked_at = looked_at + 1
  local id, owner, idle, count = row[1], row[2], row[3], row[4]
  cursor = '(' .. id
  if idle >= min_idle and owner ~= ARGV[2] then
    count = account_taken_over(count, owner == ARGV[3])
    local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], min_idle, id, 'RETRYCOUNT', count)[1]
    -- An entry that was deleted while it was pending is dropped from the pending list by XCLAIM itself.
    if entry then
      if idle >= CLAIMABLE_NOW then idle = idle - CLAIMABLE_NOW end
      taken[#taken + 1] = {id, entry[2], count, owner, idle}
    end
  end
end
if looked_at == #rows and #rows < tonumber(ARGV[6]) then cursor = '-' end
return {cursor, taken}
