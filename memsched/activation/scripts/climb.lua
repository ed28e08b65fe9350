-- climb: take into account what a chat found in a model server's cache; after so many misses of one cube, the next step.
--
-- KEYS[1]  <prefix>:ladder:<server and model>
-- ARGV[1]  step under which the chat was
-- ARGV[2]  step where there is none yet
-- ARGV[3]  cube
-- ARGV[4]  tokens that it found, or 'hit'
-- ARGV[5]  so many misses in a row
-- ARGV[6]  step that follows
-- ARGV[7]  now, ms
-- ARGV[8]  ms for which what is learnt is kept
-- ARGV[9]  the same, if the step is taken
--
-- Returns what the chats of the cube found if the step was taken; else nothing.

local step = redis.call('HGET', KEYS[1], 'step') or ARGV[2]
if step ~= ARGV[1] then
  return {}
end
local field = 'missed:' .. ARGV[3]
if ARGV[4] == 'hit' then
  redis.call('HDEL', KEYS[1], field)
  redis.call('HSET', KEYS[1], 'hit', ARGV[7])
  redis.call('PEXPIRE', KEYS[1], ARGV[8])
  return {}
end
local missed = redis.call('HGET', KEYS[1], field)
missed = missed and missed .. ' ' .. ARGV[4] or ARGV[4]
local found = {}
for each in string.gmatch(missed, '%S+') do
  found[#found + 1] = each
end
if #found < tonumber(ARGV[5]) then
  redis.call('HSET', KEYS[1], field, missed)
  redis.call('PEXPIRE', KEYS[1], ARGV[8])
  return {}
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'step', ARGV[6], 'since', ARGV[7])
redis.call('PEXPIRE', KEYS[1], ARGV[9])
return found
