-- pause: write down that a label is paused, or no more, and tell the workers.
--
-- include: now notify
-- KEYS[1]  <prefix>:paused, a hash: when each label that is paused was paused
-- ARGV[1]  'pause' or 'resume'
-- ARGV[2]  label
-- ARGV[3]  <prefix>:wake
-- ARGV[4]  the label as a lane's name has it
--
-- Returns 1 if that changed anything, else 0.
local changed
if ARGV[1] == 'pause' then
  changed = redis.call('HSETNX', KEYS[1], ARGV[2], now_ms())
else
  changed = redis.call('HDEL', KEYS[1], ARGV[2])
end
notify_paused(ARGV[3], ARGV[4])
return changed
