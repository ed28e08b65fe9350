-- claim: take over messages whose worker was silent too long, and those that were handed back. Never our own.
--
-- The delivery count keeps the crash account, with no state beside the pending list:
--
--     1        runs for the first time
--     even     waits after a crash, a suspect; count / 2 is the number of crashes it may have caused
--     odd      runs as the only suspect, and nothing else has just started: if the worker dies, it counts as one
--              crash more
--     100+odd  runs beside others that may be to blame: if the worker dies, nobody can tell which one it was; none is
--              blamed, but from then on (100+even) it waits until it can start with no other suspect at all (200+odd)
--
-- So a message that kills its worker is known, mostly after two deaths; those that died with it are not taken for it;
-- and slow innocent ones do not wait for each other: a suspect that has run for a moment lets others start (see
-- end_probation).
--
-- include: claimable_now
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
    local by_hand = owner == ARGV[3]
    local beside = count > 100 and count < 200
    if count % 2 == 1 then
      if by_hand then
        if beside then count = count - 101 elseif count > 1 then count = count - 1 end
      elseif beside then count = count - 1
      else count = count + 1 end
    end
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
