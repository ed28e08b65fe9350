-- begin: say that a message with a past is about to run again, if it is still ours, and get its checkpoint.
--
-- include: now owned notify record
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2]  <prefix>:{<lane>}:task:<user>/<item_id>
-- KEYS[3]  <prefix>:{<lane>}:deaths
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that runs it
-- ARGV[3]  entry id
-- ARGV[4]  the consumer that stands for nobody
-- ARGV[5]  <prefix>:wake
-- ARGV[6]  the lane's name
-- ARGV[7]  crashes that were counted before this entry (they stand in its fields)
-- ARGV[8]  crashes from which on a message runs on trial (see memsched/queue/crash_account.py)
--
-- The field `begun` of the task remembers for this entry the workers that began with it and of which it is not known
-- whether they died of it, with a '!' before the name of one that had it on trial. Those that are known to be dead now
-- are crashes. If that changes the account, the message does not begin: it is handed back with its new delivery count,
-- so that whoever takes it next knows what it is.
--
-- Returns {1 if it begins, 0 if it is not ours, 2 if it was handed back; the checkpoint or ''}.
local count = owned(KEYS[1], ARGV[1], ARGV[2], {ARGV[3]})[ARGV[3]]
if not count then return {0, ''} end
local before, trial_at = tonumber(ARGV[7]), tonumber(ARGV[8])
local known = before + count - 1
local crashes = known
local begun = {ARGV[3]}
local entry
for word in string.gmatch(record(KEYS[2], 'HGET', 'begun') or '', '%S+') do
  if not entry then
    entry = word
  elseif entry == ARGV[3] then
    local on_trial, worker = string.match(word, '^(!?)(.+)$')
    if worker ~= ARGV[2] and not redis.call('ZSCORE', KEYS[3], worker) then
      begun[#begun + 1] = word
    elseif worker ~= ARGV[2] and (on_trial == '!' or crashes < trial_at) then
      crashes = math.max(crashes + 1, on_trial == '!' and trial_at + 1 or 0)
    end
  end
end
-- Few can be unknown at a time: a worker is known to live, or to be dead, after some seconds.
while #begun > 16 do table.remove(begun, 2) end
if crashes ~= known then
  record(KEYS[2], 'HSET', 'begun', table.concat(begun, ' '))
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[4], 0, ARGV[3], 'RETRYCOUNT', crashes - before + 1, 'JUSTID')
  notify_claimable(ARGV[5], ARGV[6])
  return {2, ''}
end
begun[#begun + 1] = (crashes >= trial_at and '!' or '') .. ARGV[2]
record(KEYS[2], 'HSET', 'state', 'in_progress', 'entry', ARGV[3], 'worker', ARGV[2], 'started', now_ms(),
  'begun', table.concat(begun, ' '))
return {1, record(KEYS[2], 'HGET', 'checkpoint') or ''}
