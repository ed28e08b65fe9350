-- release: give up the leases of messages, if they are still ours, without using up an attempt: they belong to nobody and can be
-- claimed at once, in their old place.
--
-- include: owned notify
-- KEYS[1]  <prefix>:{<lane>}:stream
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that hands back
-- ARGV[3]  the consumer that stands for nobody
-- ARGV[4]  <prefix>:wake
-- ARGV[5]  the lane's name
-- ARGV[6]  'held' for what the consumer holds, at most five hundred, or 'these'
-- ARGV[7+] entry ids
--
-- Returns how many were handed back.
local ids = {}
if ARGV[6] == 'held' then
  for _, row in ipairs(rows_of('XPENDING', KEYS[1], ARGV[1], '-', '+', 500, ARGV[2])) do ids[#ids + 1] = row[1] end
else
  local list = {}
  for at = 7, #ARGV do list[#list + 1] = ARGV[at] end
  local mine = owned(KEYS[1], ARGV[1], ARGV[2], list)
  for _, id in ipairs(list) do
    if mine[id] then ids[#ids + 1] = id end
  end
end
-- In parts: one call of Lua takes some thousand arguments at most.
for at = 1, #ids, 1000 do
  local part = {unpack(ids, at, math.min(at + 999, #ids))}
  part[#part + 1] = 'JUSTID'
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, unpack(part))
end
if #ids > 0 then notify_claimable(ARGV[4], ARGV[5]) end
return #ids
